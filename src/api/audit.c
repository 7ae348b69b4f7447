/*
 * The audit log: each change that a request asked for leaves a row, in its own transaction
 * (write_audit, called for every struct write); and /api/v1/audit, where admins read and export
 * them. Nothing changes or removes a row.
 */
#include "priv.h"

#include "audit.h"

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Number of the row, without gaps over all projects."},
    {"at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was done."},
    {"project_id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the project."},
    {"project", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Key of the project."},
    {"token_id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "By which token; 0: not by way of one."},
    {"who", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Name of the token, or `application <app_key>`; empty: a device that fetched its login."},
    {"address", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Where it came from; empty: this machine."},
    {"request_id", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "The request's X-Request-Id."},
    {"action", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Method and route."},
    {"object", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Path of what was changed."},
    {"fields", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Names of the members that the request had; passwords show here alone."},
    {"before", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "The object as it was; null when it was made."},
    {"after", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "The object as it is then, or the answer; null when it was deleted."},
    {"previous", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "The hash of the row before."},
    {"hash", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "SHA-256 of the row's text without this member."},
};
const struct table audit_table = {"AuditRow", fields, ARRAY_LEN(fields)};

/* ---- writing ---- */
enum { PARSE_MAX = 128 * 1024 };

/* What a device reported, and an update's life, are no operator's doing and may be long. */
static char *settled(const struct sbuf *object)
{
    static const char *const volatile_members[] = {"attributes", "versions", "history", "online",
                                                   "last_seen_at"};
    enum json_fault fault;
    json_t *j = object->n ? json_parse(object->p, object->n, PARSE_MAX, 32, &fault, NULL) : NULL;
    char *text;

    if (!json_is_object(j)) {
        json_decref(j);
        return object->n ? xstrndup(object->p, object->n) : NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(volatile_members); i++)
        (void)json_object_del(j, volatile_members[i]);
    text = json_text(j);
    json_decref(j);
    return text;
}

static char *names_of(json_t *in)
{
    json_t *list = json_array(), *value;
    const char *name;

    json_object_foreach(in, name, value) json_array_append_new(list, json_string(name));
    char *text = json_text(list);
    json_decref(list);
    return text;
}

/* NULL: the token's name. */
static const char *who_of(struct write *w)
{
    struct catalog *cat = catalog_cell_get(w->api->env.catalog);
    const struct project_app *app = w->who.application ? catalog_app(cat, w->who.project_id) : NULL;
    const char *who = app ? arena_printf(&w->a, "application %.60s", app->key) : NULL;

    catalog_unref(cat);
    return who;
}

int write_audit(struct write *w, struct db *db)
{
    AUTO(free) char *before = settled(&w->before);
    AUTO(free) char *after = w->status == 204 ? NULL : settled(&w->body);
    AUTO(free) char *names = names_of(w->in);
    struct audit row = {.at = w->now,
                        .project_id = w->who.project_id,
                        .token_id = w->who.token_id,
                        .who = who_of(w),
                        .address = w->address,
                        .request_id = w->request_id,
                        .action = w->idem_route,
                        .object = w->location[0] ? w->location : w->path,
                        .fields = names,
                        .before = before,
                        .after = after};
    return audit_add(db, &row);
}

/* ---- reading ---- */
static int list_one(void *arg, const struct audit *a)
{
    struct list *l = arg;
    if (!list_row(l, a->id))
        return 1;
    audit_line(&l->b, a);
    return 0;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct list l;
    (void)arg;
    if (list_begin(r, &l) < 0)
        return;
    int rc = audit_list(c->db, c->who.project_id, l.after, l.limit + 1, list_one, &l);
    list_end(&l, rc, list_wants_total(&l) ? audit_count(c->db, c->who.project_id) : -1);
}

enum { EXPORT_ROWS = 100, EXPORT_BYTES = 64 * 1024 };

/* The thread's connection outlives every answer of the thread. */
struct export_state {
    struct db *db;
    struct sbuf *out;
    int64_t project_id, after;
    int n;
};

static int export_one(void *arg, const struct audit *a)
{
    struct export_state *x = arg;
    audit_line(x->out, a);
    sbuf_add(x->out, "\n", 1);
    x->after = a->id;
    x->n++;
    return x->out->n >= EXPORT_BYTES;
}

static int export_fill(void *arg, struct sbuf *out)
{
    struct export_state *x = arg;
    x->out = out;
    x->n = 0;
    int rc = audit_walk(x->db, x->project_id, x->after, EXPORT_ROWS, export_one, x);
    if (rc < 0)
        return rc;
    return rc > 0 || x->n == EXPORT_ROWS ? HTTP_STREAM_MORE : HTTP_STREAM_END;
}

static void handle_export(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    int all;
    (void)arg;
    if (input_query_bool(r, "all", &all) < 0)
        return;
    if (all == 1 && c->who.project_id != c->api->default_project) {
        http_problem(r, 403, "forbidden", NULL,
                     "Rows of all projects take an admin token of the project `default`.");
        return;
    }
    struct export_state *x = xcalloc(1, sizeof(*x));
    x->db = c->db;
    x->project_id = all == 1 ? 0 : c->who.project_id;
    (void)http_reply_stream(r, 200,
                            &(struct http_stream_source){.content_type = "application/x-ndjson",
                                                         .fill = export_fill,
                                                         .arg = x,
                                                         .free_fn = free});
}

static const struct op op_list = {.summary = "What operators did, newest first",
                                  .out = &audit_table,
                                  .query = LIST_QUERY,
                                  .status = 200,
                                  .list = true};
static const struct op op_export = {
    .summary = "All rows of the project as NDJSON, oldest first; all=1 (admins of `default`): of "
               "every project",
    .query = "all",
    .status = 200,
    .answer = "application/x-ndjson"};

#define PATH "/api/v1/audit"
const struct http_route audit_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), ADMIN},
    {"GET", PATH "/export", HTTP_BODY_NONE, 0, handle_export, OP(op_export), ADMIN},
    {.method = NULL},
};
