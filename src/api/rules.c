/* /api/v1/rules: which event of a device or type makes an OTA check of which module. */
#include "priv.h"

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the rule."},
    {"name", JK_STRING, 0, 0, 255, NULL, "", "What people read."},
    {"enabled", JK_BOOL, 0, 0, 0, NULL, "true", "Whether its event makes a check."},
    {"device_type", JK_KEY, JF_NULLABLE | JF_CREATE_ONLY, 1, 64, NULL, NULL,
     "Key of the type it is for; either this or `device`."},
    {"device", JK_KEY, JF_NULLABLE | JF_CREATE_ONLY, 1, DEVICE_KEY_MAX, NULL, NULL,
     "Key of the device it is for."},
    {"devices", JK_STRINGS, 0, 0, RULE_DEVICES_MAX, NULL, "[]",
     "Keys of the only devices of the type that it is for; empty: all of them."},
    {"event", JK_STRING, JF_REQUIRED, 1, 64, NULL, NULL, "Name of the event."},
    {"action", JK_ENUM, 0, 0, 0, "ota_check", "ota_check", "What it does."},
    {"version_attribute", JK_STRING, 0, 1, 64, NULL, "version",
     "The reported attribute that carries the module's version."},
    {"module", JK_KEY, 0, 1, MODULE_MAX, NULL, "main", "The module that is checked."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"updated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it last changed."},
    {"revision", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Counts changes; the ETag's number."},
};
const struct table rule_table = {"Rule", fields, ARRAY_LEN(fields)};

struct keys {
    struct sbuf *b;
    bool more;
};

static int key_one(void *arg, const char *key)
{
    struct keys *k = arg;
    if (k->more)
        sbuf_add(k->b, ",", 1);
    k->more = true;
    json_add_string(k->b, key);
    return 0;
}

static void devices_json(struct sbuf *b, struct db *db, int64_t rule_id)
{
    struct keys k = {.b = b};
    sbuf_add(b, "[", 1);
    if (rule_devices(db, rule_id, key_one, &k) < 0)
        LOG(LOG_ERROR, "api", "reading a rule's devices failed", KV_INT("rule", rule_id));
    sbuf_add(b, "]", 1);
}

static void rule_json(struct sbuf *b, struct db *db, const struct rule *r)
{
    struct device_type t = {.key = NULL};
    struct device d = {.key = NULL};
    struct obj o = obj_begin(b);
    struct arena a;

    arena_init(&a);
    if (r->type_id && device_type_by_id(db, r->type_id, &a, &t) < 0)
        t.key = NULL;
    if (r->device_id && device_by_id(db, r->device_id, &a, &d) < 0)
        d.key = NULL;
    obj_int(&o, "id", r->id);
    obj_str(&o, "name", r->name);
    obj_bool(&o, "enabled", r->enabled);
    obj_str(&o, "device_type", t.key);
    obj_str(&o, "device", d.key);
    obj_name(&o, "devices");
    devices_json(b, db, r->id);
    obj_str(&o, "event", r->event);
    obj_str(&o, "action", "ota_check");
    obj_str(&o, "version_attribute", r->version_attribute);
    obj_str(&o, "module", r->module);
    obj_time(&o, "created_at", r->created_at);
    obj_time(&o, "updated_at", r->updated_at);
    obj_int(&o, "revision", r->revision);
    obj_end(&o);
    arena_done(&a);
}

struct page {
    struct list l;
    struct db *db;
    int64_t count;
};

static int list_one(void *arg, const struct rule *r)
{
    struct page *p = arg;
    if (!list_row(&p->l, r->id))
        return 1;
    rule_json(&p->l.b, p->db, r);
    return 0;
}

static int count_one(void *arg, const struct rule *r)
{
    struct page *p = arg;
    (void)r;
    p->count++;
    return 0;
}

/* The filter's words become ids: 1 = fine, 0 = nothing can match, < 0 = error. */
static int read_filter(struct http_request *r, int64_t *ret_type, int64_t *ret_device)
{
    const struct call *c = call_of(r);
    const char *type = http_query(r, "device_type"), *device = http_query(r, "device");
    struct device_type t = {.id = 0};
    struct device d = {.id = 0};
    int rc = 0;

    if (type)
        rc = device_type_by_key(c->db, c->who.project_id, type, http_arena(r), &t);
    if (rc == 0 && device)
        rc = device_by_key(c->db, c->who.project_id, device, http_arena(r), &d);
    *ret_type = t.id;
    *ret_device = d.id;
    return rc == 0 ? 1 : rc == E_NOTFOUND ? 0 : rc;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct page p = {.db = c->db};
    int64_t type_id, device_id, total = -1, project = c->who.project_id;
    (void)arg;
    if (list_begin(r, &p.l) < 0)
        return;
    int rc = read_filter(r, &type_id, &device_id);
    bool some = rc > 0;
    if (some)
        rc = rule_list(c->db, project, type_id, device_id, p.l.after, p.l.limit + 1, list_one, &p);
    if (rc >= 0 && list_wants_total(&p.l)) {
        int counted =
            some ? rule_list(c->db, project, type_id, device_id, 0, INT32_MAX, count_one, &p) : 0;
        rc = counted < 0 ? counted : rc;
        total = p.count;
    }
    list_end(&p.l, rc, total);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct rule rule = {.revision = 0};
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    int rc = rule_by_id(c->db, c->who.project_id, id, http_arena(r), &rule);
    if (rc == 0)
        rule_json(&b, c->db, &rule);
    answer_read(r, rc, "rule", rule.revision, false, &b);
}

static void rule_take(const json_t *in, struct rule *r)
{
    r->name = json_get_str(in, "name", r->name);
    r->enabled = json_get_bool(in, "enabled", r->enabled);
    r->event = json_get_str(in, "event", r->event);
    r->version_attribute = json_get_str(in, "version_attribute", r->version_attribute);
    r->module = json_get_str(in, "module", r->module);
}

static int rule_owner(struct write *w, struct db *db, struct rule *r)
{
    const char *type = json_get_str(w->in, "device_type", NULL);
    const char *device = json_get_str(w->in, "device", NULL);
    struct device_type t;
    struct device d;
    int rc;

    if (!type == !device)
        return write_invalid(w, "/device_type", "required",
                             "A rule is for a device type or for a device, one of the two.");
    if (type) {
        rc = device_type_by_key(db, w->who.project_id, type, &w->a, &t);
        if (rc == E_NOTFOUND)
            return write_invalid(w, "/device_type", "not_found", "There is no such device type.");
        r->type_id = rc == 0 ? t.id : 0;
    } else {
        rc = device_by_key(db, w->who.project_id, device, &w->a, &d);
        if (rc == E_NOTFOUND)
            return write_invalid(w, "/device", "not_found", "There is no such device.");
        r->device_id = rc == 0 ? d.id : 0;
    }
    return rc;
}

static int take_device(struct write *w, struct db *db, const struct rule *r, const char *key,
                       size_t i, int64_t *ret)
{
    struct device d;
    char at[32];
    int rc = device_find(db, str_of(key ? key : ""), &w->a, &d);

    if (rc < 0 && rc != E_NOTFOUND)
        return rc;
    (void)str_fmt(at, sizeof(at), "/devices/%zu", i);
    if (rc == E_NOTFOUND || d.project_id != r->project_id)
        (void)write_invalid(w, at, "not_found", "There is no device %.64s.", key ? key : "");
    else if (d.type_id != r->type_id)
        (void)write_invalid(w, at, "invalid",
                            "Device %.64s is of another type than the rule, which would never be "
                            "for it.",
                            d.key);
    else
        *ret = d.id;
    return 0;
}

/* The list of the request, if it brings one: it replaces the rule's. */
static int take_devices(struct write *w, struct db *db, const struct rule *r)
{
    const json_t *list = json_object_get(w->in, "devices");
    size_t n = json_array_size(list);
    int64_t *ids;

    if (!list)
        return 0;
    if (n > 0 && r->device_id)
        return write_invalid(w, "/devices", "not_allowed",
                             "A rule of one device has no list; only a device type's has.");
    ids = arena_alloc(&w->a, (n + 1) * sizeof(*ids));
    for (size_t i = 0; i < n; i++) {
        int rc = take_device(w, db, r, json_string_value(json_array_get(list, i)), i, &ids[i]);
        if (rc < 0)
            return rc;
    }
    return w->errs.count ? E_PROTO : rule_set_devices(db, r, ids, n, &w->fail);
}

/* What the room has no place for is a finding at the event. */
static int too_many(struct write *w, int rc)
{
    return rc == E_LIMIT ? write_invalid(w, "/event", "too_many", "%s", w->fail.text) : rc;
}

static int answer_with(struct write *w, struct db *db, int64_t id)
{
    struct rule r;
    int rc = rule_by_id(db, w->who.project_id, id, &w->a, &r);
    if (rc < 0)
        return rc;
    rule_json(&w->body, db, &r);
    etag_text(w->etag, r.revision, NULL);
    return 0;
}

static int run_create(struct write *w, struct db *db)
{
    struct rule r = {.project_id = w->who.project_id,
                     .name = "",
                     .enabled = true,
                     .version_attribute = "version",
                     .module = "main",
                     .created_at = w->now};
    int rc = rule_owner(w, db, &r);
    rule_take(w->in, &r);
    if (rc == 0)
        rc = too_many(w, rule_insert(db, &r, &w->fail));
    if (rc == 0)
        rc = take_devices(w, db, &r);
    if (rc == 0)
        rc = answer_with(w, db, r.id);
    if (rc == 0)
        write_created(w, 1, "/api/v1/rules/%lld", (long long)r.id);
    return rc;
}

static int find(struct write *w, struct db *db, struct rule *r)
{
    int rc = write_found(w, rule_by_id(db, w->who.project_id, w->id, &w->a, r), "rule");
    if (rc == 0)
        rule_json(&w->before, db, r);
    return rc < 0 ? rc : write_if_match(w, r->revision);
}

static int run_patch(struct write *w, struct db *db)
{
    struct rule r;
    int rc = find(w, db, &r);
    if (rc < 0)
        return rc;
    rule_take(w->in, &r);
    r.updated_at = w->now;
    rc = too_many(w, rule_update(db, &r, &w->fail));
    if (rc == 0)
        rc = take_devices(w, db, &r);
    return rc < 0 ? rc : answer_with(w, db, w->id);
}

static int run_delete(struct write *w, struct db *db)
{
    struct rule r;
    int rc = find(w, db, &r);
    w->status = 204;
    return rc < 0 ? rc : rule_delete(db, w->id);
}

static const struct op op_list = {.summary = "List the rules",
                                  .out = &rule_table,
                                  .query = LIST_QUERY "|device_type|device",
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {.summary = "One rule", .out = &rule_table, .status = 200};
static const struct op op_create = {.summary = "Make a rule",
                                    .in = &rule_table,
                                    .out = &rule_table,
                                    .status = 201,
                                    .run = run_create,
                                    .catalog = true};
static const struct op op_patch = {.summary = "Change a rule",
                                   .in = &rule_table,
                                   .out = &rule_table,
                                   .status = 200,
                                   .patch = true,
                                   .run = run_patch,
                                   .catalog = true};
static const struct op op_delete = {
    .summary = "Delete a rule", .status = 204, .run = run_delete, .catalog = true};

#define PATH     "/api/v1/rules"
#define BODY_MAX (256 * 1024)
const struct http_route rule_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), VIEWER},
    {"POST", PATH, HTTP_BODY_WHOLE, BODY_MAX, write_handle, OP(op_create), OPERATOR},
    {"GET", PATH "/:id", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"PATCH", PATH "/:id", HTTP_BODY_WHOLE, BODY_MAX, write_handle, OP(op_patch), OPERATOR},
    {"DELETE", PATH "/:id", HTTP_BODY_NONE, 0, write_handle, OP(op_delete), OPERATOR},
    {.method = NULL},
};
