/* /api/v1/updates: firmwares on their way to devices, with their history; and cancelling. */
#include "priv.h"

#include <stdio.h>

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number; also the message id at the device."},
    {"device", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Key of the device."},
    {"module", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "The module that is upgraded."},
    {"firmware", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the firmware."},
    {"campaign", JK_INT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "Number of its campaign."},
    {"phase", JK_INT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Of the campaign; 0 is verification, 1000 the rollback."},
    {"from_version", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "What the device ran before."},
    {"to_version", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "What it is to run."},
    {"state", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Where it stands."},
    {"cause", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Why it stands there."},
    {"reason", JK_STRING, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "What its failure, or that of its last attempt, is counted as; null: it did not fail."},
    {"percent", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Of the download."},
    {"attempt", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Counts from 1."},
    {"bytes_total", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Size of all files."},
    {"bytes_served", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "What the device's link served."},
    {"suspect", JK_BOOL, JF_READ_ONLY, 0, 0, NULL, NULL,
     "A success although no byte was served to the device."},
    {"link_until", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "Its link's deadline."},
    {"retry_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "No further attempt before."},
    {"deadline_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "When the present stage times out."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"updated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it last moved."},
    {"ended_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "null while under way."},
    {"history", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{at, from, to, cause, text} for each move; not in lists, but in a device's history."},
};
const struct table update_table = {"Update", fields, ARRAY_LEN(fields)};

static void write_members(struct obj *o, struct db *db, const struct update *u)
{
    struct device d = {.key = NULL};
    struct arena a;

    arena_init(&a);
    if (device_by_id(db, u->device_id, &a, &d) < 0)
        d.key = NULL;
    obj_int(o, "id", u->id);
    obj_str(o, "device", d.key);
    obj_str(o, "module", u->module);
    obj_int(o, "firmware", u->firmware_id);
    if (u->campaign_id) {
        obj_int(o, "campaign", u->campaign_id);
        obj_int(o, "phase", u->phase);
    } else {
        obj_str(o, "campaign", NULL);
        obj_str(o, "phase", NULL);
    }
    obj_str(o, "from_version", u->from_version);
    obj_str(o, "to_version", u->to_version);
    obj_str(o, "state", update_state_name(u->state));
    obj_str(o, "cause", u->cause);
    obj_str(o, "reason", *u->reason ? u->reason : NULL);
    obj_int(o, "percent", u->percent);
    obj_int(o, "attempt", u->attempt);
    obj_int(o, "bytes_total", u->bytes_total);
    obj_int(o, "bytes_served", u->bytes_served);
    obj_bool(o, "suspect", u->suspect);
    obj_time(o, "link_until", u->link_until);
    obj_time(o, "retry_at", u->retry_at);
    obj_time(o, "deadline_at", u->deadline_at);
    obj_time(o, "created_at", u->created_at);
    obj_time(o, "updated_at", u->updated_at);
    obj_time(o, "ended_at", u->ended_at);
    arena_done(&a);
}

struct history {
    struct sbuf *b;
    bool more;
};

static int history_one(void *arg, const struct update_event *e)
{
    struct history *h = arg;
    if (h->more)
        sbuf_add(h->b, ",", 1);
    h->more = true;
    struct obj o = obj_begin(h->b);
    obj_time(&o, "at", e->at);
    obj_str(&o, "from", e->from_state && e->from_state[0] ? e->from_state : NULL);
    obj_str(&o, "to", e->to_state);
    obj_str(&o, "cause", e->cause);
    obj_str(&o, "text", e->text);
    obj_end(&o);
    return 0;
}

static int update_json(struct sbuf *b, struct db *db, const struct update *u)
{
    struct history h = {.b = b};
    struct obj o = obj_begin(b);
    write_members(&o, db, u);
    obj_name(&o, "history");
    sbuf_add(b, "[", 1);
    int rc = update_history(db, u->id, history_one, &h);
    sbuf_add(b, "]", 1);
    obj_end(&o);
    return rc;
}

struct page {
    struct list l;
    struct db *db;
};

static int list_one(void *arg, const struct update *u)
{
    struct page *p = arg;
    if (!list_row(&p->l, u->id))
        return 1;
    struct obj o = obj_begin(&p->l.b);
    write_members(&o, p->db, u);
    obj_end(&o);
    return 0;
}

/* ---- of one device, with all their moves ---- */
static int history_list_one(void *arg, const struct update *u)
{
    struct page *p = arg;
    return list_row(&p->l, u->id) ? update_json(&p->l.b, p->db, u) : 1;
}

static void handle_history(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct update_filter flt = {.project_id = c->who.project_id, .state = -1};
    struct page p = {.db = c->db};
    struct device d;
    (void)arg;
    int rc = device_by_key(c->db, flt.project_id, http_param(r, "key"), http_arena(r), &d);
    if (rc == E_NOTFOUND) {
        answer_not_found(r, "device");
        return;
    }
    if (rc < 0) {
        http_fail(r, rc, NULL);
        return;
    }
    flt.device_id = d.id;
    if (list_begin(r, &p.l) < 0)
        return;
    rc = update_list(c->db, &flt, p.l.after, p.l.limit + 1, history_list_one, &p);
    list_end(&p.l, rc, list_wants_total(&p.l) ? update_count(c->db, &flt) : -1);
}

static int read_state(struct http_request *r, int *ret)
{
    const char *text = http_query(r, "state");
    enum update_state s;
    *ret = -1;
    if (!text)
        return 0;
    if (strcmp(text, "active") == 0) {
        *ret = -2;
        return 0;
    }
    if (update_state_parse(text, &s) == 0) {
        *ret = (int)s;
        return 0;
    }
    http_problem(r, 400, "invalid_parameter", NULL,
                 "The query parameter 'state' takes the name of a state, or active.");
    return E_PROTO;
}

static int export_one(void *arg, const struct update *u)
{
    struct export *x = arg;
    struct obj o = obj_begin(&x->row);
    write_members(&o, x->db, u);
    obj_end(&o);
    return export_row(x, u->id);
}

static int export_page(struct export *x, int limit)
{
    return update_list(x->db, x->filter, x->at, limit, export_one, x);
}

static void export_all(struct http_request *r, enum export_format format,
                       const struct update_filter *flt, bool some)
{
    struct export *x = export_new(r, format, &update_table, export_page);
    struct update_filter *own = arena_alloc(&x->a, sizeof(*own));
    *own = *flt;
    x->filter = own;
    x->none = !some;
    export_go(x, r, "updates");
}

/* The filter's words become ids: 1 = fine, 0 = nothing can match, < 0 = answered. */
static int read_filter(struct http_request *r, struct update_filter *flt)
{
    const struct call *c = call_of(r);
    const char *device = http_query(r, "device");
    struct device d;

    *flt = (struct update_filter){.project_id = c->who.project_id};
    if (read_state(r, &flt->state) < 0 ||
        input_query_int(r, "campaign", 1, INT64_MAX, 0, &flt->campaign_id) < 0 ||
        input_query_int(r, "firmware", 1, INT64_MAX, 0, &flt->firmware_id) < 0)
        return E_PROTO;
    if (!device)
        return 1;
    int rc = device_by_key(c->db, flt->project_id, device, http_arena(r), &d);
    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : (http_fail(r, rc, NULL), rc);
    flt->device_id = d.id;
    return 1;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct page p = {.db = c->db};
    enum export_format format;
    struct update_filter flt;
    int64_t total = -1;
    int rc = 0;
    (void)arg;
    int some = read_filter(r, &flt);
    if (some < 0 || export_wanted(r, &format) < 0)
        return;
    if (format != EXPORT_NONE) {
        export_all(r, format, &flt, some);
        return;
    }
    if (list_begin(r, &p.l) < 0)
        return;
    if (some)
        rc = update_list(c->db, &flt, p.l.after, p.l.limit + 1, list_one, &p);
    if (list_wants_total(&p.l))
        total = some ? update_count(c->db, &flt) : 0;
    list_end(&p.l, rc, total);
}

static int find(struct db *db, int64_t project_id, int64_t id, struct arena *a, struct update *ret)
{
    int rc = update_by_id(db, id, a, ret);
    return rc == 0 && ret->project_id != project_id ? E_NOTFOUND : rc;
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct update u;
    char etag[48];
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    int rc = db_begin(c->db);
    if (rc == 0)
        rc = find(c->db, c->who.project_id, id, http_arena(r), &u);
    if (rc == 0)
        rc = update_json(&b, c->db, &u);
    db_rollback(c->db);
    if (rc == E_NOTFOUND) {
        answer_not_found(r, "update");
    } else if (rc < 0) {
        http_fail(r, rc, NULL);
    } else {
        etag_text(etag, u.updated_at, &b);
        answer_object(r, etag, &b);
    }
    sbuf_done(&b);
}

static int run_cancel(struct write *w, struct db *db)
{
    struct update u;
    int rc = find(db, w->who.project_id, w->id, &w->a, &u);
    if (rc == E_NOTFOUND)
        return write_not_found(w, "update");
    if (rc == 0)
        rc = update_json(&w->before, db, &u);
    if (rc == 0)
        rc = update_cancel(db, w->id, "operator", "", w->now, &w->fail);
    if (rc == E_CONFLICT) {
        w->status = 409;
        w->code = "already_ended";
    }
    if (rc == 0)
        rc = find(db, w->who.project_id, w->id, &w->a, &u);
    return rc < 0 ? rc : update_json(&w->body, db, &u);
}

static void handle_cancel(struct http_request *r, void *arg)
{
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    struct write *w = write_new(r, run_cancel);
    w->id = id;
    if (write_idempotent(w, r, NULL, 0) == 0)
        write_go(w, r);
}

static const struct op op_list = {
    .summary = "List updates, newest first; state=active: all that are under way",
    .out = &update_table,
    .query = LIST_QUERY EXPORT_QUERY "|device|state|firmware|campaign",
    .status = 200,
    .answer = EXPORT_TYPES,
    .list = true};
static const struct op op_history = {
    .summary = "A device's updates over all campaigns, newest first, each with all its moves",
    .out = &update_table,
    .query = LIST_QUERY,
    .status = 200,
    .list = true};
static const struct op op_get = {
    .summary = "One update with its history", .out = &update_table, .status = 200};
static const struct op op_cancel = {
    .summary = "Cancel an update that has not ended", .out = &update_table, .status = 200};

#define PATH "/api/v1/updates"
const struct http_route update_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), VIEWER},
    {"GET", "/api/v1/devices/:key/history", HTTP_BODY_NONE, 0, handle_history, OP(op_history),
     VIEWER},
    {"GET", PATH "/:id", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"POST", PATH "/:id/cancel", HTTP_BODY_WHOLE, 65536, handle_cancel, OP(op_cancel), OPERATOR},
    {.method = NULL},
};
