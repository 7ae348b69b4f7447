/*
 * What devices log about an update. POST /d/<token>/log: the link of the offer, with `log` for the
 * file's name, takes the bytes of a log; who has the link may, also when the update has ended,
 * which is when there is something to tell. /api/v1/updates/{id}/logs: operators read them, as
 * text that no browser takes for something else.
 */
#include "priv.h"

enum { PER_MINUTE = 6 }; /* of an update */

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the log."},
    {"at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it came."},
    {"source", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "http or mqtt."},
    {"size", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Bytes."},
};
const struct table update_log_table = {"UpdateLog", fields, ARRAY_LEN(fields)};

/* ---- taking ---- */
struct posted {
    struct db_job job; /* first: the job is the struct */
    struct http_handle *h;
    int64_t update_id;
    char *body;
    size_t n;
};

static void refuse(struct http_request *r, int rc)
{
    switch (rc) {
    case E_AUTH:
        http_problem(r, 403, "forbidden", NULL, "This link is not valid.");
        break;
    case E_GONE:
    case E_NOTFOUND:
        http_problem(r, 410, "gone", NULL, "This link is no longer valid.");
        break;
    case E_LIMIT:
        http_problem(r, 409, "too_many_logs", NULL, "An update has at most %d logs.",
                     UPDATE_LOGS_MAX);
        break;
    default:
        http_fail(r, rc, NULL);
    }
}

static void finish(struct http_request *r, void *arg)
{
    struct posted *p = arg;

    if (r && p->job.rc == 0)
        http_reply(r, 204, NULL, NULL, 0);
    else if (r)
        refuse(r, p->job.rc);
    free(p->body);
    free(p);
}

static int run(struct db_job *job, struct db *w)
{
    struct posted *p = (struct posted *)job;

    return update_log_add(w, p->update_id, "http", p->body, p->n, clock_now_ms());
}

static void done(struct db_job *job, int rc)
{
    struct posted *p = (struct posted *)job;

    job->rc = rc;
    http_resume(p->h, finish, p);
}

/* Few in a minute: each is a row of up to 64 KiB. */
static int within_limit(struct http_request *r, int64_t update_id)
{
    struct limit *l = call_of(r)->api->logs;
    int64_t now_us = clock_mono_us(), wait;
    char key[24], text[24];

    log_int(key, update_id);
    wait = limit_wait(l, key, now_us);
    if (!wait) {
        limit_failed(l, key, now_us); /* each one counts here */
        return 0;
    }
    metric_add(M_UPDATE_LOGS_REFUSED, 1);
    http_add_header(r, "Retry-After", log_int(text, wait));
    http_problem(r, 429, "too_many_requests", NULL, "At most %d logs a minute.", PER_MINUTE);
    return E_LIMIT;
}

struct limit *log_limit_new(void)
{
    return limit_new(PER_MINUTE, 60);
}

/* The link's update is the call's own. */
static int check_link(struct http_request *r)
{
    const struct call *c = call_of(r);
    int64_t *update_id = arena_alloc(http_arena(r), sizeof(*update_id));
    int file_no;

    int rc = c->db ? link_read(c->api->env.link_key, http_param(r, "token"), clock_now_ms(),
                               update_id, &file_no)
                   : E_UNAVAILABLE;
    if (rc < 0)
        refuse(r, rc);
    else
        call_own(r, update_id, NULL);
    return rc;
}

static void handle_post(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct str body = http_body(r);
    int64_t update_id = *(const int64_t *)c->own;
    (void)arg;

    if (body.n == 0) {
        http_problem(r, 400, "empty", NULL, "The body is the log: 1 to %d bytes.",
                     UPDATE_LOG_BYTES_MAX);
        return;
    }
    if (within_limit(r, update_id) < 0)
        return;
    int rc = update_log_room(c->db, update_id);
    if (rc < 0) {
        refuse(r, rc);
        return;
    }
    struct posted *p = xcalloc(1, sizeof(*p));
    p->job.run = run;
    p->job.done = done;
    p->update_id = update_id;
    p->body = xcalloc(1, body.n);
    p->n = body.n;
    memcpy(p->body, body.p, body.n);
    p->h = http_defer(r);
    rc = c->api->env.submit(c->api->env.core, &p->job);
    if (rc < 0)
        done(&p->job, rc);
}

/* ---- reading ---- */
struct items {
    struct sbuf *b;
    bool more;
};

static int log_one(void *arg, const struct update_log *l)
{
    struct items *x = arg;
    sbuf_str(x->b, x->more ? "," : "");
    x->more = true;
    struct obj o = obj_begin(x->b);
    obj_int(&o, "id", l->id);
    obj_time(&o, "at", l->at);
    obj_str(&o, "source", l->source);
    obj_int(&o, "size", l->size);
    obj_end(&o);
    return 0;
}

/* The update of the path, if it is the project's. */
static int find(struct http_request *r, int64_t *ret_id)
{
    const struct call *c = call_of(r);
    struct update u;
    if (input_id(r, "id", ret_id) < 0)
        return E_PROTO;
    int rc = update_by_id(c->db, *ret_id, http_arena(r), &u);
    if (rc == 0 && u.project_id != c->who.project_id)
        rc = E_NOTFOUND;
    if (rc == E_NOTFOUND)
        answer_not_found(r, "update");
    else if (rc < 0)
        http_fail(r, rc, NULL);
    return rc;
}

static void handle_list(struct http_request *r, void *arg)
{
    struct sbuf b = {.p = NULL};
    struct items x = {.b = &b};
    int64_t id;
    (void)arg;
    if (find(r, &id) < 0)
        return;
    sbuf_str(&b, "{\"items\":[");
    int rc = update_logs(call_of(r)->db, id, log_one, &x);
    sbuf_str(&b, "],\"next\":null}"); /* so few that they need no pages */
    if (rc < 0)
        http_fail(r, rc, NULL);
    else
        http_reply(r, 200, "application/json", b.p, b.n);
    sbuf_done(&b);
}

static void handle_get(struct http_request *r, void *arg)
{
    struct sbuf b = {.p = NULL};
    int64_t id, n;
    char name[96];
    (void)arg;
    if (find(r, &id) < 0 || input_id(r, "n", &n) < 0)
        return;
    int rc = update_log_body(call_of(r)->db, id, n, &b);
    if (rc == E_NOTFOUND) {
        answer_not_found(r, "log");
    } else if (rc < 0) {
        http_fail(r, rc, NULL);
    } else {
        (void)str_fmt(name, sizeof(name), "attachment; filename=\"update-%lld-%lld.log\"",
                      (long long)id, (long long)n);
        http_add_header(r, "Content-Disposition", name);
        http_reply(r, 200, "text/plain; charset=utf-8", b.p, b.n);
    }
    sbuf_done(&b);
}

static const struct op op_post = {
    .summary = "A device's log of an update: the offer's link with `log` for the file name; 1 to "
               "65536 bytes, at most 8 of an update and 6 a minute",
    .status = 204,
    .check = check_link,
    .body = "text/plain|application/octet-stream"};
static const struct op op_list = {.summary = "What the device logged about the update",
                                  .out = &update_log_table,
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {
    .summary = "One log, as it came", .status = 200, .answer = "text/plain"};

const struct http_route log_routes[] = {
    {"POST", "/d/:token/log", HTTP_BODY_WHOLE, UPDATE_LOG_BYTES_MAX, handle_post, OP(op_post), 0},
    {"GET", "/api/v1/updates/:id/logs", HTTP_BODY_NONE, 0, handle_list, OP(op_list), VIEWER},
    {"GET", "/api/v1/updates/:id/logs/:n", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {.method = NULL},
};
