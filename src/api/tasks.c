/*
 * /api/v1/tasks: an action, the devices that it is for, and when. What an action and a schedule
 * may hold is the task room's to check; the target's words become ids here.
 */
#include "priv.h"

#include <stdio.h>

#define DEVICES_MAX    1000
#define DELETE_AT_ONCE 1000 /* rows; the rest follows */

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the task."},
    {"name", JK_STRING, JF_REQUIRED, 1, 255, NULL, NULL, "What people read."},
    {"enabled", JK_BOOL, 0, 0, 0, NULL, "true",
     "false: nothing starts, a run under way ends, nothing that is kept is sent."},
    {"action", JK_OBJECT, JF_REQUIRED, 0, 0, NULL, NULL,
     "{kind: ota_push, version_attribute, module}, {kind: command_send, method, params} or {kind: "
     "attributes_push, attributes}."},
    {"target", JK_OBJECT, JF_REQUIRED, 0, 0, NULL, NULL,
     "{device_type}, {tags: […]} (any of them) or {devices: […]}."},
    {"schedule", JK_OBJECT, 0, 0, 0, NULL, "{kind: manual}",
     "{kind: manual}, {kind: once, at}, {kind: interval, every, unit: minutes|hours|days, from}, "
     "{kind: repeat, weekdays: [mon, …] or days: [1, …], time: hh:mm}, {kind: hourly, hours: [0, "
     "…]} or {kind: cron, cron: \"minute hour day month weekday\"}."},
    {"timezone", JK_STRING, 0, 1, 64, NULL, "UTC", "IANA name; the schedule's clock."},
    {"grace_s", JK_INT, 0, 0, 7 * DAY_S, NULL, "600",
     "A time that was missed for no longer than this and 30 seconds still runs, once."},
    {"rate_per_minute", JK_INT, 0, 0, 1000000, NULL, "0", "Messages at most; 0 = no bound."},
    {"next_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "When it runs next."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"updated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it last changed."},
    {"revision", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Counts changes; the ETag's number."},
};
const struct table task_table = {"Task", fields, ARRAY_LEN(fields)};

/* The filter of lists: an action's kind. */
static const struct json_field kind_fields[] = {
    {"action", JK_ENUM, 0, 0, 0, "ota_push|command_send|attributes_push", NULL, "Its kind."}};
static const struct table task_kinds = {"TaskKind", kind_fields, ARRAY_LEN(kind_fields)};

static const struct json_field target_fields[] = {
    {"device_type", JK_KEY, 0, 1, 64, NULL, NULL, "Key of a type."},
    {"tags", JK_STRINGS, 0, 1, 32, NULL, NULL, "Devices with any of them."},
    {"devices", JK_STRINGS, 0, 1, DEVICES_MAX, NULL, NULL, "Keys."},
};

/* ---- answers ---- */
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

static void target_json(struct sbuf *b, struct db *db, const struct task *t)
{
    struct obj o = obj_begin(b);
    struct keys k = {.b = b};
    struct device_type type;
    struct arena a;

    arena_init(&a);
    if (t->type_id) {
        int rc = device_type_by_id(db, t->type_id, &a, &type);
        obj_str(&o, "device_type", rc == 0 ? type.key : NULL);
    } else if (t->tags) {
        obj_raw(&o, "tags", t->tags);
    } else {
        obj_name(&o, "devices");
        sbuf_add(b, "[", 1);
        if (task_devices(db, t->id, key_one, &k) < 0)
            LOG(LOG_ERROR, "api", "reading a task's devices failed", KV_INT("task", t->id));
        sbuf_add(b, "]", 1);
    }
    obj_end(&o);
    arena_done(&a);
}

static void task_json(struct sbuf *b, struct db *db, const struct task *t)
{
    struct obj o = obj_begin(b);

    obj_int(&o, "id", t->id);
    obj_str(&o, "name", t->name);
    obj_bool(&o, "enabled", t->enabled);
    obj_raw(&o, "action", t->params);
    obj_name(&o, "target");
    target_json(b, db, t);
    obj_raw(&o, "schedule", t->schedule);
    obj_str(&o, "timezone", t->timezone);
    obj_int(&o, "grace_s", t->grace_s);
    obj_int(&o, "rate_per_minute", t->rate_per_minute);
    obj_time(&o, "next_at", t->next_at);
    obj_time(&o, "created_at", t->created_at);
    obj_time(&o, "updated_at", t->updated_at);
    obj_int(&o, "revision", t->revision);
    obj_end(&o);
}

struct page {
    struct list l;
    struct db *db;
};

static int list_one(void *arg, const struct task *t)
{
    struct page *p = arg;
    if (!list_row(&p->l, t->id))
        return 1;
    task_json(&p->l.b, p->db, t);
    return 0;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct task_filter flt = {.project_id = c->who.project_id};
    struct page p = {.db = c->db};
    int64_t total = -1;
    (void)arg;
    int some = input_query_type(r, &flt.type_id);
    if (some < 0 || input_query_bool(r, "enabled", &flt.enabled) < 0 ||
        input_query_word(r, &task_kinds, "action", &flt.action) < 0 || list_begin(r, &p.l) < 0)
        return;
    int rc = some ? task_list(c->db, &flt, p.l.after, p.l.limit + 1, list_one, &p) : 0;
    if (list_wants_total(&p.l))
        total = some ? task_count(c->db, &flt) : 0;
    list_end(&p.l, rc, total);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct task t = {.revision = 0};
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    int rc = task_by_id(c->db, c->who.project_id, id, http_arena(r), &t);
    if (rc == 0)
        task_json(&b, c->db, &t);
    answer_read(r, rc, "task", t.revision, true, &b); /* next_at moves by itself */
}

/* ---- requests ---- */
int device_ids(struct write *w, struct db *db, const json_t *keys, const char *pointer,
               int64_t **ret, size_t *ret_n)
{
    size_t n = json_array_size(keys);
    int64_t *ids = arena_alloc(&w->a, (n + 1) * sizeof(*ids));
    char at[160];

    for (size_t i = 0; i < n; i++) {
        struct device d;
        const char *key = json_string_value(json_array_get(keys, i));
        int rc = device_by_key(db, w->who.project_id, key ? key : "", &w->a, &d);
        if (rc == E_NOTFOUND) {
            (void)str_fmt(at, sizeof(at), "%s/%zu", pointer, i);
            (void)write_invalid(w, at, "not_found", "There is no device %.64s.", key ? key : "");
        } else if (rc < 0) {
            return rc;
        } else {
            ids[i] = d.id;
        }
    }
    *ret = ids;
    *ret_n = n;
    return w->errs.count ? E_PROTO : 0;
}

static int take_target(struct write *w, struct db *db, struct task *t, int64_t **ret, size_t *ret_n)
{
    const json_t *target = json_object_get(w->in, "target");
    struct json_errors own = {.count = 0};
    struct device_type type;

    if (!target)
        return 0;
    if (json_check(target, target_fields, ARRAY_LEN(target_fields), false, &own) < 0) {
        for (unsigned i = 0; i < own.count && i < ARRAY_LEN(own.list); i++) {
            char at[160];
            (void)str_fmt(at, sizeof(at), "/target%s", own.list[i].pointer);
            (void)write_invalid(w, at, own.list[i].code, "%s", own.list[i].detail);
        }
        return E_PROTO;
    }
    if (json_object_size(target) != 1)
        return write_invalid(w, "/target", "required",
                             "A task is for a device_type, for tags or for devices, one of them.");
    t->type_id = 0;
    t->tags = NULL;
    *ret = NULL;
    const char *key = json_get_str(target, "device_type", NULL);
    if (key) {
        int rc = device_type_by_key(db, w->who.project_id, key, &w->a, &type);
        if (rc == E_NOTFOUND)
            return write_invalid(w, "/target/device_type", "not_found",
                                 "There is no such device type.");
        t->type_id = rc == 0 ? type.id : 0;
        return rc;
    }
    const json_t *tags = json_object_get(target, "tags");
    if (tags)
        return strings_text(tags, &w->a, &t->tags);
    return device_ids(w, db, json_object_get(target, "devices"), "/target/devices", ret, ret_n);
}

/* The member's text as it is stored, or what *dflt holds. */
static json_t *take_object(struct write *w, const char *name, const char **text)
{
    enum json_fault fault;
    json_t *v = json_object_get(w->in, name);

    if (!v)
        return *text ? json_parse(*text, strlen(*text), 1 << 20, 32, &fault, NULL) : NULL;
    AUTO(free) char *own = json_text(v);
    *text = arena_strdup(&w->a, own);
    return json_incref(v);
}

static int take(struct write *w, struct db *db, struct task *t, int64_t **ret_ids, size_t *ret_n)
{
    AUTO(json_free) json_t *action = take_object(w, "action", &t->params);
    AUTO(json_free) json_t *schedule = take_object(w, "schedule", &t->schedule);
    const char *kind = json_get_str(action, "kind", "");

    t->name = json_get_str(w->in, "name", t->name);
    t->enabled = json_get_bool(w->in, "enabled", t->enabled);
    t->timezone = json_get_str(w->in, "timezone", t->timezone);
    t->grace_s = json_get_int(w->in, "grace_s", t->grace_s);
    t->rate_per_minute = json_get_int(w->in, "rate_per_minute", t->rate_per_minute);
    for (int a = 0; a < TASK_ACTION__COUNT; a++)
        if (strcmp(kind, task_action_name((enum task_action)a)) == 0)
            t->action = (enum task_action)a;
    int rc = task_check(action, schedule, t->timezone, &w->errs);
    int rc2 = take_target(w, db, t, ret_ids, ret_n);
    return rc < 0 ? rc : rc2;
}

static int answer_with(struct write *w, struct db *db, int64_t id)
{
    struct task t;
    int rc = task_by_id(db, w->who.project_id, id, &w->a, &t);
    if (rc < 0)
        return rc;
    task_json(&w->body, db, &t);
    etag_text(w->etag, t.revision, &w->body);
    return 0;
}

static int run_create(struct write *w, struct db *db)
{
    struct task t = {.project_id = w->who.project_id,
                     .name = "",
                     .enabled = true,
                     .schedule = "{\"kind\":\"manual\"}",
                     .timezone = "UTC",
                     .grace_s = 600,
                     .created_at = w->now};
    int64_t *devices = NULL;
    size_t n = 0;
    int rc = take(w, db, &t, &devices, &n);

    if (rc == 0)
        rc = task_insert(db, &t, devices, n);
    if (rc == 0)
        rc = answer_with(w, db, t.id);
    if (rc == 0)
        write_created(w, 0, "/api/v1/tasks/%lld", (long long)t.id);
    return rc;
}

static int find(struct write *w, struct db *db, struct task *t)
{
    int rc = write_found(w, task_by_id(db, w->who.project_id, w->id, &w->a, t), "task");
    if (rc == 0)
        task_json(&w->before, db, t);
    return rc < 0 ? rc : write_if_match(w, t->revision);
}

static int run_patch(struct write *w, struct db *db)
{
    static int64_t none[1];
    int64_t *devices = NULL;
    struct task t;
    size_t n = 0;
    int rc = find(w, db, &t);

    if (rc == 0)
        rc = take(w, db, &t, &devices, &n);
    if (rc < 0)
        return rc;
    t.updated_at = w->now;
    if (json_object_get(w->in, "target") && !devices)
        devices = none; /* no list any more */
    rc = task_update(db, &t, devices, n);
    return rc < 0 ? rc : answer_with(w, db, w->id);
}

static int run_delete(struct write *w, struct db *db)
{
    struct task t;
    int rc = find(w, db, &t);
    w->status = 204;
    return rc < 0 ? rc : task_delete(db, w->id, w->now, DELETE_AT_ONCE);
}

static const struct op op_list = {.summary = "List the tasks",
                                  .out = &task_table,
                                  .query = LIST_QUERY "|device_type|enabled|action",
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {.summary = "One task", .out = &task_table, .status = 200};
static const struct op op_create = {.summary = "Make a task",
                                    .in = &task_table,
                                    .out = &task_table,
                                    .status = 201,
                                    .run = run_create};
static const struct op op_patch = {.summary = "Change a task",
                                   .in = &task_table,
                                   .out = &task_table,
                                   .status = 200,
                                   .patch = true,
                                   .run = run_patch};
static const struct op op_delete = {
    .summary = "Delete a task and its runs", .status = 204, .run = run_delete};

#define PATH     "/api/v1/tasks"
#define BODY_MAX (256 * 1024)
const struct http_route task_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), VIEWER},
    {"POST", PATH, HTTP_BODY_WHOLE, BODY_MAX, write_handle, OP(op_create), OPERATOR},
    {"GET", PATH "/:id", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"PATCH", PATH "/:id", HTTP_BODY_WHOLE, BODY_MAX, write_handle, OP(op_patch), OPERATOR},
    {"DELETE", PATH "/:id", HTTP_BODY_NONE, 0, write_handle, OP(op_delete), OPERATOR},
    {.method = NULL},
};
