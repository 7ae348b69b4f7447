/*
 * The OpenAPI 3.1 description, made from the route tables and the field tables that check the
 * requests; nothing in it is written a second time.
 */
#include "priv.h"

static void set(json_t *obj, const char *name, json_t *v)
{
    json_object_set_new(obj, name, v);
}

static json_t *ref(const char *name, const char *suffix)
{
    char text[128];
    json_t *o = json_object();
    (void)str_fmt(text, sizeof(text), "#/components/schemas/%s%s", name, suffix);
    set(o, "$ref", json_string(text));
    return o;
}

static json_t *schema_ref(const struct table *t, const char *suffix)
{
    return ref(t->name, suffix);
}

static json_t *media_of(json_t *schema)
{
    json_t *media = json_object();
    set(media, "schema", schema);
    return media;
}

static json_t *content(const char *type, json_t *schema)
{
    json_t *c = json_object();
    set(c, type, media_of(schema));
    return c;
}

/* "a|b": each of them text. */
static void add_texts(json_t *types, const char *words)
{
    char type[64];
    while (*words) {
        size_t n = strcspn(words, "|");
        json_t *schema = json_object();
        (void)str_fmt(type, sizeof(type), "%.*s", (int)n, words);
        set(schema, "type", json_string("string"));
        set(types, type, media_of(schema));
        words += n + (words[n] == '|');
    }
}

static json_t *parameter(const char *name, const char *in, bool required, const char *type)
{
    json_t *p = json_object(), *schema = json_object();
    set(p, "name", json_string(name));
    set(p, "in", json_string(in));
    set(p, "required", json_boolean(required));
    set(schema, "type", json_string(type));
    set(p, "schema", schema);
    return p;
}

/* "/devices/:key" -> "/devices/{key}", and its parameters into list. */
static char *template_of(const char *pattern, json_t *list)
{
    struct sbuf b = {.p = NULL};
    char name[64];
    while (*pattern) {
        if (*pattern != ':' && *pattern != '*') {
            sbuf_add(&b, pattern++, 1);
            continue;
        }
        size_t n = strcspn(++pattern, "/");
        (void)str_fmt(name, sizeof(name), "%.*s", (int)n, pattern);
        sbuf_fmt(&b, "{%s}", name);
        bool number = strcmp(name, "id") == 0 || strcmp(name, "n") == 0 || strcmp(name, "run") == 0;
        json_array_append_new(list, parameter(name, "path", true, number ? "integer" : "string"));
        pattern += n;
    }
    return sbuf_take(&b);
}

/* A filter takes what the object's member of that name holds. */
static const char *query_type(const struct op *op, const char *name)
{
    const struct json_field *f = table_field(op->out, name);
    bool number = strcmp(name, "limit") == 0 || strcmp(name, "firmware") == 0 ||
                  strcmp(name, "campaign") == 0 || strcmp(name, "phase") == 0;
    bool flag = strcmp(name, "total") == 0 || strcmp(name, "partial") == 0 ||
                strcmp(name, "all") == 0 || (f && f->kind == JK_BOOL);

    return number ? "integer" : flag ? "boolean" : "string";
}

static void add_query(json_t *list, const struct op *op)
{
    const char *words = op->query;
    char name[64];
    while (words && *words) {
        size_t n = strcspn(words, "|");
        (void)str_fmt(name, sizeof(name), "%.*s", (int)n, words);
        json_t *p = parameter(name, "query", false, query_type(op, name));
        const struct json_field *f = table_field(op->out, name);
        if (f && f->kind == JK_ENUM)
            set(json_object_get(p, "schema"), "enum", json_words(f->words));
        json_array_append_new(list, p);
        words += n + (words[n] == '|');
    }
}

/* write_if_match and write_idempotent look at these. */
static void add_headers(json_t *list, const struct http_route *route)
{
    bool changes = (route->flags & ROUTE_SCOPE) > SCOPE_VIEWER;
    if (changes && strcmp(route->method, "POST") == 0)
        json_array_append_new(list, parameter("Idempotency-Key", "header", false, "string"));
    if (strcmp(route->method, "PATCH") == 0 || strcmp(route->method, "DELETE") == 0)
        json_array_append_new(list, parameter("If-Match", "header", false, "string"));
}

static json_t *request_body(const struct op *op)
{
    json_t *body = json_object();
    set(body, "required", json_boolean(!op->may_be_empty));
    if (op->body && strncmp(op->body, "multipart/", 10) == 0) {
        json_t *schema = json_object(), *props = json_object(), *file = json_object(),
               *files = json_object();
        set(file, "type", json_string("string"));
        set(file, "format", json_string("binary"));
        set(files, "type", json_string("array"));
        set(files, "items", file);
        set(files, "minItems", json_integer(1));
        set(files, "maxItems", json_integer(FIRMWARE_FILES_MAX));
        set(props, "meta", schema_ref(op->in, "Create"));
        set(props, "file", files);
        set(schema, "type", json_string("object"));
        set(schema, "properties", props);
        set(body, "content", content(op->body, schema));
    } else if (op->body) {
        json_t *all = json_object();
        add_texts(all, op->body);
        set(body, "content", all);
    } else {
        set(body, "content",
            content("application/json", schema_ref(op->in, op->patch ? "Patch" : "Create")));
    }
    return body;
}

static json_t *page_schema(const struct op *op)
{
    json_t *page = json_object(), *props = json_object(), *items = json_object();
    json_t *next = json_object(), *total = json_object(), *types = json_array();
    set(items, "type", json_string("array"));
    set(items, "items", schema_ref(op->out, ""));
    json_array_append_new(types, json_string("string"));
    json_array_append_new(types, json_string("null"));
    set(next, "type", types);
    set(total, "type", json_string("integer"));
    set(props, "items", items);
    set(props, "next", next);
    set(props, "total", total);
    set(page, "type", json_string("object"));
    set(page, "properties", props);
    return page;
}

static json_t *responses(const struct op *op)
{
    json_t *all = json_object(), *fine = json_object(), *problem = json_object();
    json_t *types = json_object();
    char status[8];
    (void)str_fmt(status, sizeof(status), "%d", op->status);
    set(fine, "description", json_string("Success"));
    if (op->out)
        set(types, "application/json",
            media_of(op->list ? page_schema(op) : schema_ref(op->out, "")));
    if (op->answer)
        add_texts(types, op->answer);
    if (json_object_size(types))
        json_object_set(fine, "content", types);
    json_decref(types);
    set(all, status, fine);
    set(problem, "description", json_string("A problem (RFC 9457)"));
    set(problem, "content", content("application/problem+json", ref("Problem", "")));
    set(all, "default", problem);
    return all;
}

static json_t *operation(const struct http_route *route, json_t *params)
{
    static const char *const scopes[] = {NULL, "viewer", "operator", "admin"};
    const struct op *op = route->arg;
    const char *scope = scopes[route->flags & ROUTE_SCOPE];
    json_t *o = json_object();

    add_query(params, op);
    add_headers(params, route);
    set(o, "summary", json_string(op->summary));
    if (json_array_size(params))
        json_object_set(o, "parameters", params);
    if (op->in || op->body)
        set(o, "requestBody", request_body(op));
    set(o, "responses", responses(op));
    if (scope) {
        json_t *list = json_array(), *need = json_object(), *words = json_array();
        json_array_append_new(words, json_string(scope));
        set(need, "bearer", words);
        json_array_append_new(list, need);
        set(o, "security", list);
    }
    return o;
}

static void add_route(json_t *paths, const struct http_route *route)
{
    AUTO(json_free) json_t *params = json_array();
    AUTO(free) char *path = template_of(route->pattern, params);
    json_t *item = json_object_get(paths, path);
    char method[16];
    size_t n = 0;

    if (!item) {
        item = json_object();
        set(paths, path, item);
    }
    for (; route->method[n] && n < sizeof(method) - 1; n++)
        method[n] = (char)(route->method[n] | 0x20);
    method[n] = '\0';
    set(item, method, operation(route, params));
}

static json_t *problem_schema(void)
{
    static const struct json_field fields[] = {
        {"type", JK_STRING, JF_REQUIRED, 0, 0, NULL, NULL, "about:blank."},
        {"title", JK_STRING, JF_REQUIRED, 0, 0, NULL, NULL, "The status in words."},
        {"status", JK_INT, JF_REQUIRED, 0, 0, NULL, NULL, "The status."},
        {"code", JK_STRING, JF_REQUIRED, 0, 0, NULL, NULL, "Stable; for programs."},
        {"detail", JK_STRING, 0, 0, 0, NULL, NULL, "A sentence for people."},
        {"request_id", JK_STRING, 0, 0, 0, NULL, NULL, "For the log."},
        {"errors", JK_ARRAY, 0, 0, 0, NULL, NULL, "Findings: {pointer, code, detail}."},
    };
    return json_schema(fields, ARRAY_LEN(fields), false);
}

static json_t *components(void)
{
    static const struct table *const tables[] = {
        &project_table,
        &token_table,
        &type_table,
        &device_table,
        &rule_table,
        &firmware_table,
        &update_table,
        &explain_table,
        &import_table,
        &task_table,
        &run_request_table,
        &run_table,
        &run_device_table,
        &campaign_table,
        &campaign_abort_table,
        &campaign_approve_table,
        &dry_run_request_table,
        &dry_run_table,
        &consent_table,
        &consent_answer_table,
        &audit_table,
        &webhook_table,
        &webhook_delivery_table,
        &command_table,
        &attributes_push_table,
        &app_table,
        &eztcloud_login_table,
        &eztcloud_attrs_table,
        &connect_table,
        &certificate_table,
        &type_versions_table,
        &device_versions_table,
        &campaign_progress_table,
        &campaign_timeline_table,
        &update_log_table,
    };
    json_t *c = json_object(), *schemas = json_object(), *security = json_object(),
           *bearer = json_object();
    char name[64];

    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        const struct table *t = tables[i];
        set(schemas, t->name, json_schema(t->fields, t->n, false));
        (void)str_fmt(name, sizeof(name), "%sCreate", t->name);
        json_t *create = json_schema(t->fields, t->n, true);
        json_t *patch = json_deep_copy(create);
        set(schemas, name, create);
        json_object_del(patch, "required");
        for (size_t k = 0; k < t->n; k++)
            if (t->fields[k].flags & JF_CREATE_ONLY)
                json_object_del(json_object_get(patch, "properties"), t->fields[k].name);
        (void)str_fmt(name, sizeof(name), "%sPatch", t->name);
        set(schemas, name, patch);
    }
    set(schemas, "Problem", problem_schema());
    set(bearer, "type", json_string("http"));
    set(bearer, "scheme", json_string("bearer"));
    set(security, "bearer", bearer);
    set(c, "schemas", schemas);
    set(c, "securitySchemes", security);
    return c;
}

json_t *api_openapi(void)
{
    json_t *doc = json_object(), *info = json_object(), *paths = json_object();

    set(info, "title", json_string("otad"));
    set(info, "version", json_string(OTAD_VERSION));
    for (const struct http_route *const *t = api_tables; *t; t++)
        for (const struct http_route *route = *t; route->method; route++)
            if (route->arg)
                add_route(paths, route);
    set(doc, "openapi", json_string("3.1.0"));
    set(doc, "info", info);
    set(doc, "paths", paths);
    set(doc, "components", components());
    return doc;
}
