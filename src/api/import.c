/*
 * POST /api/v1/devices/import. Rows are read and checked on the http thread and go to the core
 * thread in batches, one job at a time; when two are waiting the request is paused. The rows
 * belong to an import that nobody else sees until its last job ends it, so that all appear at
 * once or, after an error, none: they are removed again slice by slice.
 *
 * The struct is shared by both threads under its lock. It ends in exactly one of: the answer
 * (on_end was called and no job is under way), or the request's end without one.
 */
#include "import.h"

#include "event.h"

#include <stdio.h>

enum { WAITING_MAX = 2, DROP_ROWS = 500 };

static const struct json_field fields[] = {
    {"imported", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Devices that are registered now."},
    {"failed", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Rows that could not be taken."},
    {"without_login", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Of these, those with neither a password nor a gateway: they can't log in to the broker "
     "before they get a password or fetch a login."},
    {"errors", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{row, code, detail} of the first 100; rows count from 1, without the header."},
};
const struct table import_table = {"ImportResult", fields, ARRAY_LEN(fields)};

void import_note(struct row_errors *e, uint64_t row, const char *code, const char *detail)
{
    e->count++;
    if (e->listed == IMPORT_LISTED_MAX)
        return;
    struct row_error *x = &e->list[e->listed++];
    x->row = row;
    (void)str_copy(x->code, sizeof(x->code), code);
    (void)str_copy(x->detail, sizeof(x->detail), detail);
}

static void merge(struct row_errors *to, const struct row_errors *from)
{
    uint64_t more = from->count - from->listed;
    for (size_t i = 0; i < from->listed; i++)
        import_note(to, from->list[i].row, from->list[i].code, from->list[i].detail);
    to->count += more;
}

static void batch_free(struct batch *b)
{
    if (!b)
        return;
    arena_done(&b->a);
    free(b);
}

static void import_free(void *ext)
{
    struct import *im = ext;
    while (im->waiting) {
        struct batch *b = im->waiting;
        im->waiting = b->next;
        batch_free(b);
    }
    batch_free(im->filling);
    import_parser_done(&im->parser);
    digest_free(im->digest);
    pthread_mutex_destroy(&im->lock);
    free(im);
}

/* ---- removing what must not stay ---- */
struct drop {
    struct db_job job;
    struct api *api;
    int64_t id;
    int left;
    struct write *then; /* answered when all is gone; NULL = nobody waits */
};

static void answer_failure(struct http_request *r, void *arg);

static void drop_end(struct drop *d)
{
    if (d->then)
        http_resume(d->then->h, answer_failure, d->then);
    free(d);
}

static int drop_run(struct db_job *job, struct db *w)
{
    struct drop *d = (struct drop *)job;
    d->left = device_import_drop(w, d->id, DROP_ROWS);
    return d->left < 0 ? d->left : 0;
}

static void drop_done(struct db_job *job, int rc)
{
    struct drop *d = (struct drop *)job;
    if (rc == 0 && d->left > 0 && d->api->env.submit(d->api->env.core, &d->job) == 0)
        return;
    if (rc < 0) /* the next start removes the rest */
        LOG(LOG_WARN, "api", "rows of a failed import stay for now", KV_RC(rc));
    drop_end(d);
}

/* Whoever waits is answered after: its next try must not find the keys taken by this one. */
static void drop_start(struct api *api, int64_t id, struct write *then)
{
    struct drop *d = xcalloc(1, sizeof(*d));
    d->job.run = drop_run;
    d->job.done = drop_done;
    d->api = api;
    d->id = id;
    d->then = then;
    if (id == 0 || api->env.submit(api->env.core, &d->job) < 0)
        drop_end(d);
}

/* ---- the end ---- */
static void result_members(struct obj *o, uint64_t imported, uint64_t without_login,
                           const struct row_errors *e)
{
    obj_int(o, "imported", (int64_t)imported);
    obj_int(o, "failed", (int64_t)e->count);
    obj_int(o, "without_login", (int64_t)without_login);
    obj_name(o, "errors");
    sbuf_add(o->b, "[", 1);
    for (size_t i = 0; i < e->listed; i++) {
        if (i)
            sbuf_add(o->b, ",", 1);
        struct obj x = obj_begin(o->b);
        obj_int(&x, "row", (int64_t)e->list[i].row);
        obj_str(&x, "code", e->list[i].code);
        obj_str(&x, "detail", e->list[i].detail);
        obj_end(&x);
    }
    sbuf_add(o->b, "]", 1);
}

static int run_finish(struct write *w, struct db *db)
{
    struct import *im = w->ext;
    char data[64];
    int rc = im->id ? device_import_finish(db, im->id) : 0;
    (void)str_fmt(data, sizeof(data), "{\"imported\":%llu}", (unsigned long long)im->imported);
    if (rc == 0 && im->imported)
        rc = event_add(db, &(struct event){.at = w->now,
                                           .project_id = w->who.project_id,
                                           .type = "device.imported",
                                           .data = data});
    struct obj o = obj_begin(&w->body);
    result_members(&o, im->imported, im->without_login, &im->errs);
    obj_end(&o);
    return rc;
}

/* When finishing failed the rows must go; a replay has none. */
static void after_finish(struct write *w, struct http_request *r, int rc)
{
    struct import *im = w->ext;
    (void)r;
    if (rc < 0)
        drop_start(im->api, im->id, NULL);
}

static void answer_rows(struct http_request *r, const struct import *im)
{
    struct sbuf b = {.p = NULL};
    struct obj o = obj_begin(&b);
    obj_str(&o, "type", "about:blank");
    obj_str(&o, "title", "Unprocessable Content");
    obj_int(&o, "status", 422);
    obj_str(&o, "code", "import_failed");
    obj_str(&o, "detail", "Nothing was imported, because of the rows listed in `errors`.");
    obj_str(&o, "request_id", http_request_id(r));
    result_members(&o, 0, 0, &im->errs);
    obj_end(&o);
    http_reply(r, 422, "application/problem+json", b.p, b.n);
    sbuf_done(&b);
}

/* On the request's thread, r NULL when the client is gone. */
static void answer_failure(struct http_request *r, void *arg)
{
    struct write *w = arg;
    struct import *im = w->ext;

    if (r && im->rc < 0)
        http_fail(r, im->rc, NULL);
    else if (r && w->code)
        http_problem(r, w->status, w->code, NULL, "%s", w->fail.text);
    else if (r)
        answer_rows(r, im);
    write_free(w);
}

/* Everything is in, nothing is under way. Any thread. */
static void conclude(struct import *im)
{
    struct write *w = im->w;
    bool failed = im->rc < 0 || w->code || (im->errs.count > 0 && !im->partial);
    if (failed)
        drop_start(im->api, im->id, w);
    else
        write_submit(w);
}

/* ---- batches ---- */
static int find_gateway(struct db *w, const struct import *im, int64_t import_id, const char *key,
                        int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_IMPORT_GATEWAY);
    db_bind_int(q, 1, im->w->who.project_id);
    db_bind_text(q, 2, key);
    db_bind_int(q, 3, import_id);
    int rc = db_row(q);
    if (rc == 0)
        *ret = db_int(q, 0);
    return rc;
}

static bool is_of_the_row(int rc)
{
    return rc == -EEXIST || rc == E_CONFLICT || rc == E_PROTO || rc == E_LIMIT;
}

static int insert_row(struct batch *b, struct db *w, const struct import_row *row)
{
    struct device d = row->device;
    struct fail f = {.rc = 0};
    int rc = 0;

    d.import_id = b->import_id;
    if (row->gateway) {
        rc = find_gateway(w, b->im, b->import_id, row->gateway, &d.gateway_id);
        if (rc == E_NOTFOUND) {
            import_note(&b->errs, row->row, "gateway_not_found",
                        "The gateway does not exist and stands nowhere earlier in the file.");
            return 0;
        }
    }
    if (rc == 0)
        rc = device_insert(w, &d, &f);
    if (rc == 0) {
        b->inserted++;
        b->without_login += !d.password_hash && !d.gateway_id;
    }
    if (!is_of_the_row(rc))
        return rc;
    import_note(&b->errs, row->row, rc == -EEXIST ? "exists" : "invalid", f.text);
    return 0;
}

static int batch_run(struct db_job *job, struct db *w)
{
    struct batch *b = (struct batch *)job;
    struct import *im = b->im;
    int rc = 0;

    b->inserted = b->without_login = 0;
    b->errs.count = b->errs.listed = 0;
    b->import_id = im->id; /* only batches write it, and they come one after the other */
    if (!b->import_id)
        rc = device_import_begin(w, im->w->who.project_id, im->w->now, &b->import_id);
    for (size_t i = 0; i < b->n && rc == 0; i++)
        rc = insert_row(b, w, &b->rows[i]);
    return rc;
}

static void batch_done(struct db_job *job, int rc);

/* Under the lock: the next batch goes to the core. */
static void push(struct import *im)
{
    struct batch *b = im->waiting;
    if (!b || im->in_flight || im->rc < 0 || im->gone)
        return;
    im->waiting = b->next;
    if (!im->waiting)
        im->waiting_end = &im->waiting;
    im->n_waiting--;
    b->next = NULL;
    b->job.run = batch_run;
    b->job.done = batch_done;
    int rc = im->api->env.submit(im->api->env.core, &b->job);
    im->in_flight = rc == 0;
    if (rc < 0) {
        im->rc = rc;
        batch_free(b);
    }
}

static bool is_idle(const struct import *im)
{
    return !im->in_flight && (!im->waiting || im->rc < 0 || im->gone);
}

static void batch_done(struct db_job *job, int rc)
{
    struct batch *b = (struct batch *)job;
    struct import *im = b->im;
    bool go_on, over, gone;

    pthread_mutex_lock(&im->lock);
    im->in_flight = false;
    if (rc == 0) {
        im->id = b->import_id;
        im->imported += b->inserted;
        im->without_login += b->without_login;
        merge(&im->errs, &b->errs);
    } else {
        im->rc = rc;
    }
    push(im);
    go_on = im->paused && (im->n_waiting < WAITING_MAX || im->rc < 0);
    if (go_on)
        im->paused = false;
    over = im->ended && is_idle(im);
    gone = im->gone && is_idle(im);
    struct http_request *r = im->r;
    pthread_mutex_unlock(&im->lock);
    batch_free(b);
    if (go_on)
        http_continue(r);
    else if (over)
        conclude(im);
    else if (gone) {
        drop_start(im->api, im->id, NULL);
        write_free(im->w);
    }
}

void import_hand_over(struct import *im)
{
    struct batch *b = im->filling;
    im->filling = NULL;
    if (!b)
        return;
    pthread_mutex_lock(&im->lock);
    *im->waiting_end = b;
    im->waiting_end = &b->next;
    im->n_waiting++;
    push(im);
    pthread_mutex_unlock(&im->lock);
}

/* ---- the request ---- */
static int on_body(struct http_request *r, void *arg, const void *data, size_t n)
{
    struct import *im = arg;
    int rc;

    if (im->digest)
        digest_add(im->digest, data, n);
    if (im->replay)
        return 0;
    rc = import_parse(&im->parser, data, n);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&im->lock);
    if (im->rc < 0)
        rc = im->rc;
    else if (im->in_flight && im->n_waiting >= WAITING_MAX && !im->paused) {
        im->paused = true;
        http_pause(r);
    }
    pthread_mutex_unlock(&im->lock);
    return rc;
}

static void hash_body(struct import *im)
{
    struct digests d;
    if (!im->digest)
        return;
    digest_end(im->digest, &d);
    write_idem_hash(im->w, d.sha256);
}

static void on_end(struct http_request *r, void *arg, int rc)
{
    struct import *im = arg;
    struct write *w = im->w;
    bool over;

    if (rc == 0 && !im->replay)
        rc = import_parse_end(&im->parser);
    hash_body(im);
    import_hand_over(im);
    if (rc == E_LIMIT) {
        w->status = 413;
        w->code = "too_large";
        (void)fail(&w->fail, rc, "The request is too large.");
    }
    call_own(r, NULL, NULL);
    w->h = http_defer(r);
    pthread_mutex_lock(&im->lock);
    /* A record that can't be read is in the list already and ends the import even if partial. */
    if (rc == E_PROTO && !w->code)
        im->partial = false;
    else if (rc < 0 && rc != E_PROTO && rc != E_LIMIT && im->rc == 0)
        im->rc = rc;
    im->ended = true;
    over = is_idle(im);
    pthread_mutex_unlock(&im->lock);
    if (over)
        conclude(im);
}

/* The request ended without our answer: the client left. */
static void on_gone(void *own)
{
    struct import *im = own;
    pthread_mutex_lock(&im->lock);
    im->gone = true;
    bool idle = !im->in_flight;
    pthread_mutex_unlock(&im->lock);
    if (!idle)
        return; /* the job under way cleans up */
    drop_start(im->api, im->id, NULL);
    write_free(im->w);
}

static int content_kind(struct http_request *r)
{
    static const char *const types[] = {"text/csv", "application/x-ndjson", "application/ndjson"};
    const char *type = http_header(r, "Content-Type");
    for (size_t i = 0; type && i < ARRAY_LEN(types); i++) {
        size_t n = strlen(types[i]);
        if (strncasecmp(type, types[i], n) == 0 && (!type[n] || strchr("; \t", type[n])))
            return i == 0;
    }
    return -1;
}

static bool key_is_stored(const struct write *w, struct db *db)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_IDEMPOTENCY_GET);
    db_bind_int(q, 1, w->who.project_id);
    db_bind_text(q, 2, w->idem_key);
    db_bind_int(q, 3, w->now - (int64_t)24 * 3600 * 1000);
    return db_row(q) == 0;
}

void device_import_handle(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    int partial, csv = content_kind(r);
    (void)arg;
    if (input_query_bool(r, "partial", &partial) < 0)
        return;
    if (csv < 0) {
        http_problem(r, 415, "unsupported_media_type", NULL,
                     "Send text/csv or application/x-ndjson.");
        return;
    }
    struct write *w = write_new(r, run_finish);
    struct import *im = xcalloc(1, sizeof(*im));
    im->w = w;
    im->api = c->api;
    im->db = c->db;
    im->r = r;
    im->partial = partial == 1;
    im->waiting_end = &im->waiting;
    pthread_mutex_init(&im->lock, NULL);
    import_parser_init(&im->parser, csv);
    im->parser.record = import_record;
    im->parser.bad_header = import_bad_header;
    im->parser.arg = im;
    w->ext = im;
    w->ext_free = import_free;
    w->after = after_finish;
    w->credentials = true;
    if (write_idempotent(w, r, NULL, 0) < 0)
        return;
    if (w->idem_key) {
        im->digest = digest_new();
        im->replay = key_is_stored(w, c->db);
    }
    call_own(r, im, on_gone);
    http_receive(r, (uint64_t)1 << 32, on_body, on_end, im);
}
