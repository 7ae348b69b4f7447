/* /api/v1/tasks/{id}/run and /runs: starting a task by hand, and what became of its devices. */
#include "priv.h"

#include <stdio.h>

static const struct json_field request_fields[] = {
    {"devices", JK_STRINGS, 0, 1, 1000, NULL, NULL,
     "Keys of devices among its targets; absent: all of them."},
};
const struct table run_request_table = {"TaskRunRequest", request_fields,
                                        ARRAY_LEN(request_fields)};

static const struct json_field fields[] = {
    {"run_id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the run."},
    {"task", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the task."},
    {"cause", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "schedule, or operator (by hand)."},
    {"state", JK_ENUM, JF_READ_ONLY, 0, 0, "running|done|skipped|canceled", NULL,
     "Where it stands."},
    {"reason", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Why it was skipped or canceled: missed, run_under_way, task_disabled."},
    {"due_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When the schedule wanted it."},
    {"started_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it began."},
    {"ended_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "null while under way."},
    {"devices", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "How many were handled so far."},
    {"counts", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{result, reason, n}; results: offered, sent, answered, nothing, pending_offline, failed."},
};
const struct table run_table = {"TaskRun", fields, ARRAY_LEN(fields)};

static const struct json_field device_fields[] = {
    {"device", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Key of the device."},
    {"result", JK_ENUM, JF_READ_ONLY, 0, 0, "offered|sent|answered|nothing|pending_offline|failed",
     NULL, "What became of it."},
    {"reason", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Why; the codes of explain, or overtaken, task_disabled, task_changed, not_a_target."},
    {"message_id", JK_INT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Id of the message; of ota_push: number of the update."},
    {"at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When."},
};
const struct table run_device_table = {"TaskRunDevice", device_fields, ARRAY_LEN(device_fields)};

/* ---- answers ---- */
struct counts {
    struct sbuf *b;
    bool more;
    int64_t sum;
};

static int count_one(void *arg, const char *result, const char *reason, int64_t n)
{
    struct counts *c = arg;
    if (c->more)
        sbuf_add(c->b, ",", 1);
    c->more = true;
    c->sum += n;
    struct obj o = obj_begin(c->b);
    obj_str(&o, "result", result);
    obj_str(&o, "reason", reason);
    obj_int(&o, "n", n);
    obj_end(&o);
    return 0;
}

static int run_json(struct sbuf *b, struct db *db, const struct task_run *r)
{
    struct sbuf list = {.p = NULL};
    struct counts c = {.b = &list};
    struct obj o = obj_begin(b);

    sbuf_add(&list, "[", 1);
    int rc = task_run_counts(db, r->id, count_one, &c);
    sbuf_add(&list, "]", 1);
    obj_int(&o, "run_id", r->id);
    obj_int(&o, "task", r->task_id);
    obj_str(&o, "cause", r->cause);
    obj_str(&o, "state", r->state);
    obj_str(&o, "reason", r->reason);
    obj_time(&o, "due_at", r->due_at);
    obj_time(&o, "started_at", r->started_at);
    obj_time(&o, "ended_at", r->ended_at);
    obj_int(&o, "devices", c.sum);
    obj_raw(&o, "counts", list.p);
    obj_end(&o);
    sbuf_done(&list);
    return rc;
}

struct page {
    struct list l;
    struct db *db;
};

static int list_one(void *arg, const struct task_run *r)
{
    struct page *p = arg;
    if (!list_row(&p->l, r->id))
        return 1;
    return run_json(&p->l.b, p->db, r);
}

/* The task of the path, in the caller's project; < 0: answered. */
static int find_task(struct http_request *r, struct task *ret)
{
    const struct call *c = call_of(r);
    int64_t id;
    if (input_id(r, "id", &id) < 0)
        return E_NOTFOUND;
    return read_found(r, task_by_id(c->db, c->who.project_id, id, http_arena(r), ret), "task");
}

static int find_run(struct http_request *r, struct task_run *ret)
{
    const struct call *c = call_of(r);
    struct task t;
    int64_t id;
    if (find_task(r, &t) < 0 || input_id(r, "run", &id) < 0)
        return E_NOTFOUND;
    return read_found(r, task_run_by_id(c->db, t.id, id, http_arena(r), ret), "run");
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct page p = {.db = c->db};
    const char *state;
    struct task t;
    (void)arg;
    if (find_task(r, &t) < 0 || input_query_word(r, &run_table, "state", &state) < 0 ||
        list_begin(r, &p.l) < 0)
        return;
    int rc = task_run_list(c->db, t.id, state, p.l.after, p.l.limit + 1, list_one, &p);
    list_end(&p.l, rc, list_wants_total(&p.l) ? task_run_list_count(c->db, t.id, state) : -1);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct task_run run;
    char etag[48];
    (void)arg;
    int rc = db_begin(c->db);
    if (rc < 0) {
        http_fail(r, rc, NULL);
        return;
    }
    if (find_run(r, &run) == 0) {
        rc = run_json(&b, c->db, &run);
        if (rc < 0) {
            http_fail(r, rc, NULL);
        } else {
            etag_text(etag, run.id, &b);
            answer_object(r, etag, &b);
        }
    }
    db_rollback(c->db);
    sbuf_done(&b);
}

static int device_one(void *arg, const struct task_run_device *d)
{
    struct list *l = arg;
    if (!list_row(l, d->device_id))
        return 1;
    struct obj o = obj_begin(&l->b);
    obj_str(&o, "device", d->key);
    obj_str(&o, "result", d->result);
    obj_str(&o, "reason", d->reason);
    if (d->message_id)
        obj_int(&o, "message_id", d->message_id);
    else
        obj_raw(&o, "message_id", "null");
    obj_time(&o, "at", d->at);
    obj_end(&o);
    return 0;
}

static void handle_devices(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    const char *result;
    struct task_run run;
    struct list l;
    (void)arg;
    if (find_run(r, &run) < 0 || input_query_word(r, &run_device_table, "result", &result) < 0 ||
        list_begin(r, &l) < 0)
        return;
    int rc = task_run_devices(c->db, run.id, result, l.after, l.limit + 1, device_one, &l);
    list_end(&l, rc, list_wants_total(&l) ? task_run_devices_count(c->db, run.id, result) : -1);
}

/* ---- by hand ---- */
static int targets_only(struct write *w, struct db *db, const struct task *t, const int64_t *ids,
                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char at[64];
        int rc = task_targets(db, t, ids[i]);
        if (rc < 0)
            return rc;
        (void)str_fmt(at, sizeof(at), "/devices/%zu", i);
        if (rc == 0)
            (void)write_invalid(w, at, "not_a_target", "The task is not for this device.");
    }
    return w->errs.count ? E_PROTO : 0;
}

static int run_now(struct write *w, struct db *db)
{
    const json_t *keys = json_object_get(w->in, "devices");
    int64_t *ids = NULL, run = 0;
    struct task t;
    size_t n = 0;
    int rc = task_by_id(db, w->who.project_id, w->id, &w->a, &t);

    rc = write_found(w, rc, "task");
    if (rc == 0 && keys)
        rc = device_ids(w, db, keys, "/devices", &ids, &n);
    if (rc == 0)
        rc = targets_only(w, db, &t, ids, n);
    if (rc < 0)
        return rc;
    rc = write_conflict(w, task_run_now(db, &t, ids, n, w->now, &run, &w->fail),
                        t.enabled ? "run_under_way" : "task_disabled");
    if (rc < 0)
        return rc;
    struct obj o = obj_begin(&w->body);
    obj_int(&o, "run_id", run);
    obj_end(&o);
    w->status = 202;
    (void)str_fmt(w->location, sizeof(w->location), "/api/v1/tasks/%lld/runs/%lld", (long long)t.id,
                  (long long)run);
    return 0;
}

static void handle_run(struct http_request *r, void *arg)
{
    struct str body = http_body(r);
    int64_t id;
    json_t *in = body.n ? input_object(r, arg) : json_object();
    if (!in)
        return;
    if (input_id(r, "id", &id) < 0) {
        json_decref(in);
        return;
    }
    struct write *w = write_new(r, run_now);
    w->in = in;
    w->id = id;
    if (write_idempotent(w, r, body.p, body.n) == 0)
        write_go(w, r);
}

static const struct op op_run = {.summary = "Run a task by hand, on all its targets or on some",
                                 .may_be_empty = true,
                                 .in = &run_request_table,
                                 .out = &run_table,
                                 .status = 202};
static const struct op op_list = {.summary = "Runs of a task, newest first",
                                  .out = &run_table,
                                  .query = LIST_QUERY "|state",
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {
    .summary = "One run with its counts", .out = &run_table, .status = 200};
static const struct op op_devices = {.summary = "What became of each device of a run",
                                     .out = &run_device_table,
                                     .query = LIST_QUERY "|result",
                                     .status = 200,
                                     .list = true};

#define PATH "/api/v1/tasks/:id"
const struct http_route run_routes[] = {
    {"POST", PATH "/run", HTTP_BODY_WHOLE, 256 * 1024, handle_run, OP(op_run), OPERATOR},
    {"GET", PATH "/runs", HTTP_BODY_NONE, 0, handle_list, OP(op_list), VIEWER},
    {"GET", PATH "/runs/:run", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"GET", PATH "/runs/:run/devices", HTTP_BODY_NONE, 0, handle_devices, OP(op_devices), VIEWER},
    {.method = NULL},
};
