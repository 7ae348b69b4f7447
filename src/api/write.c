/*
 * Changes that requests ask for. A struct write is made on the http thread, runs on the core
 * thread inside its transaction, and answers on the http thread again once the commit is durable.
 * It owns all its memory: the request may be gone before the job is done.
 */
#include "priv.h"

#include <stdio.h>

struct write *write_new(struct http_request *r, int (*run)(struct write *w, struct db *db))
{
    const struct call *c = call_of(r);
    const struct http_route *route = http_route(r);
    struct write *w = xcalloc(1, sizeof(*w));
    const char *key = http_param(r, "key"), *match = http_header(r, "If-Match");

    arena_init(&w->a);
    w->api = c->api;
    w->who = c->who;
    w->now = clock_now_ms();
    w->run = run;
    w->key = arena_strdup(&w->a, key);
    w->if_match = arena_strdup(&w->a, match);
    w->path = arena_strdup(&w->a, http_path(r));
    w->address = arena_strdup(&w->a, http_address(r));
    w->request_id = arena_strdup(&w->a, http_request_id(r));
    w->idem_route = arena_printf(&w->a, "%s %s", route->method, route->pattern);
    return w;
}

struct write *write_of(struct http_request *r, const struct op *op)
{
    struct str body = http_body(r);
    json_t *in = NULL;
    int64_t id = 0;

    if (op->in && (body.n > 0 || !op->may_be_empty) && !(in = input_object(r, op)))
        return NULL;
    if (http_param(r, "id") && input_id(r, "id", &id) < 0) {
        json_decref(in);
        return NULL;
    }
    struct write *w = write_new(r, op->run);
    w->in = in;
    w->id = id;
    w->job.catalog = op->catalog;
    if (strcmp(http_route(r)->method, "POST") != 0)
        return w;
    if (!op->in)
        body.n = 0; /* nobody reads it */
    return write_idempotent(w, r, body.p, body.n) == 0 ? w : NULL;
}

void write_handle(struct http_request *r, void *arg)
{
    struct write *w = write_of(r, arg);
    if (w)
        write_go(w, r);
}

static void idem_release(struct write *w)
{
    if (w->idem_held)
        busy_drop(w->api->busy, w->who.project_id, w->idem_key);
    w->idem_held = false;
}

void write_free(struct write *w)
{
    if (!w)
        return;
    idem_release(w);
    if (w->ext_free)
        w->ext_free(w->ext);
    json_decref(w->in);
    sbuf_done(&w->body);
    sbuf_done(&w->before);
    arena_done(&w->a);
    free(w);
}

/* ---- Idempotency-Key ---- */
int idem_key_of(struct http_request *r, const char **ret)
{
    const char *key = http_header(r, "Idempotency-Key");
    *ret = key;
    if (!key)
        return 0;
    size_t n = strlen(key);
    if (n >= 1 && n <= 255 && str_is_text(key, n))
        return 0;
    http_problem(r, 400, "invalid_header", NULL, "Idempotency-Key takes 1 to 255 characters.");
    return E_PROTO;
}

void write_idem_hash(struct write *w, const uint8_t hash[SHA256_SIZE])
{
    memcpy(w->idem_hash, hash, SHA256_SIZE);
}

int write_idempotent(struct write *w, struct http_request *r, const void *body, size_t n)
{
    const char *key;
    uint8_t both[2 * SHA256_SIZE];

    if (idem_key_of(r, &key) < 0) {
        write_free(w);
        return E_PROTO;
    }
    if (!key)
        return 0;
    if (!busy_take(w->api->busy, w->who.project_id, key)) {
        http_problem(r, 409, "idempotency_in_progress", NULL,
                     "A request with this Idempotency-Key is still under way.");
        write_free(w);
        return E_CONFLICT;
    }
    w->idem_key = arena_strdup(&w->a, key);
    w->idem_held = true;
    const char *path = http_path(r);
    crypto_sha256(path, strlen(path), both);
    crypto_sha256(body ? body : "", n, both + SHA256_SIZE);
    crypto_sha256(both, sizeof(both), w->idem_hash);
    return 0;
}

enum { IDEM_MS = 24 * 3600 * 1000, IDEM_EXPIRE = 20 };

/* Stored as "location\netag\nbody". */
static int replay_text(struct write *w, const char *text)
{
    const char *etag = strchr(text, '\n');
    const char *body = etag ? strchr(etag + 1, '\n') : NULL;
    if (!body)
        return E_DB;
    (void)str_fmt(w->location, sizeof(w->location), "%.*s", (int)(etag - text), text);
    (void)str_fmt(w->etag, sizeof(w->etag), "%.*s", (int)(body - etag - 1), etag + 1);
    sbuf_str(&w->body, body + 1);
    w->replayed = true;
    return 1;
}

int write_replay(struct write *w, struct db *db)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_IDEMPOTENCY_GET);
    db_bind_int(q, 1, w->who.project_id);
    db_bind_text(q, 2, w->idem_key);
    db_bind_int(q, 3, w->now - IDEM_MS);
    int rc = db_row(q);
    if (rc == E_NOTFOUND)
        return 0;
    if (rc < 0)
        return rc;
    if (strcmp(db_text(q, 0), w->idem_route) != 0 || db_bytes(q, 1) != SHA256_SIZE ||
        !crypto_equal(db_blob(q, 1), w->idem_hash, SHA256_SIZE)) {
        w->status = 422;
        w->code = "idempotency_mismatch";
        return fail(&w->fail, E_CONFLICT,
                    "This Idempotency-Key was used for another request within the last day.");
    }
    w->status = (int)db_int(q, 2);
    return replay_text(w, db_text(q, 3));
}

int write_remember(struct write *w, struct db *db)
{
    {
        AUTO(db_reset) struct db_stmt *old = db_use(db, Q_IDEMPOTENCY_EXPIRE);
        db_bind_int(old, 1, w->now - IDEM_MS);
        db_bind_int(old, 2, IDEM_EXPIRE);
        int rc = db_run(old);
        if (rc < 0)
            return rc;
    }
    struct sbuf text = {.p = NULL};
    sbuf_fmt(&text, "%s\n%s\n", w->location, w->etag);
    sbuf_add(&text, w->body.p, w->body.n);
    struct db_stmt *q = db_use(db, Q_IDEMPOTENCY_PUT);
    db_bind_int(q, 1, w->who.project_id);
    db_bind_text(q, 2, w->idem_key);
    db_bind_text(q, 3, w->idem_route);
    db_bind_blob(q, 4, w->idem_hash, SHA256_SIZE);
    db_bind_int(q, 5, w->status);
    db_bind_textn(q, 6, text.p, text.n);
    db_bind_int(q, 7, w->now);
    int rc = db_run(q);
    sbuf_done(&text);
    return rc;
}

/* ---- the job ---- */
static void reset_answer(struct write *w)
{
    w->status = 200;
    w->body.n = w->before.n = 0;
    w->etag[0] = w->location[0] = '\0';
    w->code = NULL;
    w->fail = (struct fail){.rc = 0};
    w->errs.count = 0;
    w->replayed = false;
}

static int job_run(struct db_job *job, struct db *db)
{
    struct write *w = (struct write *)job;
    int rc = 0;

    reset_answer(w);
    if (w->idem_key)
        rc = write_replay(w, db);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = w->run(w, db);
    if (rc == 0 && !w->unlogged)
        rc = write_audit(w, db);
    if (rc == 0 && w->idem_key)
        rc = write_remember(w, db);
    return rc;
}

static void answer_failure(struct http_request *r, const struct write *w, int rc)
{
    const char *text = w->fail.text[0] ? w->fail.text : NULL;
    if (w->errs.count && !w->code)
        input_invalid(r, &w->errs);
    else if (w->code)
        http_problem(r, w->status >= 400 ? w->status : err_http(rc), w->code,
                     w->errs.count ? &w->errs : NULL, "%s", text ? text : err_str(rc));
    else
        http_fail(r, rc, text ? &w->fail : NULL);
}

static void answer(struct http_request *r, struct write *w)
{
    if (w->etag[0])
        http_add_header(r, "ETag", w->etag);
    if (w->location[0])
        http_add_header(r, "Location", w->location);
    if (w->replayed)
        http_add_header(r, "Idempotency-Replayed", "true");
    if (w->status == 204) {
        http_reply(r, 204, NULL, NULL, 0);
        return;
    }
    if (w->secret && !w->replayed && w->body.n > 1) {
        struct obj o = {&w->body, true};
        w->body.p[--w->body.n] = '\0';
        obj_str(&o, w->secret_name, w->secret);
        if (w->secret2)
            obj_str(&o, w->secret2_name, w->secret2);
        obj_end(&o);
    }
    http_reply(r, w->status, "application/json", w->body.p, w->body.n);
}

/* On the request's thread; r is NULL when the client is gone. */
static void finish(struct http_request *r, void *arg)
{
    struct write *w = arg;
    int rc = w->job.rc;

    idem_release(w);
    if (w->after)
        w->after(w, r, rc);
    if (r && rc < 0)
        answer_failure(r, w, rc);
    else if (r)
        answer(r, w);
    write_free(w);
}

static void job_done(struct db_job *job, int rc)
{
    struct write *w = (struct write *)job;
    struct api *api = w->api;

    w->job.rc = rc;
    if (rc == 0 && !w->replayed && w->tokens)
        atomic_fetch_add(&api->tokens_changed, 1);
    if (rc == 0 && !w->replayed && w->credentials && api->env.credentials_changed)
        api->env.credentials_changed(api->env.core, w->login);
    if (rc == 0 && !w->replayed && w->committed && w->committed(w))
        return;
    http_resume(w->h, finish, w);
}

void write_resume(struct write *w)
{
    http_resume(w->h, finish, w);
}

void write_submit(struct write *w)
{
    w->job.run = job_run;
    w->job.done = job_done;
    int rc = w->api->env.submit(w->api->env.core, &w->job);
    if (rc < 0) {
        w->job.rc = rc;
        reset_answer(w);
        http_resume(w->h, finish, w);
    }
}

void write_go(struct write *w, struct http_request *r)
{
    w->h = http_defer(r);
    write_submit(w);
}

/* ---- words for run ---- */
int write_invalid(struct write *w, const char *pointer, const char *code, const char *fmt, ...)
{
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    json_error_add(&w->errs, pointer, code, "%s", text);
    return E_PROTO;
}

int write_if_match(struct write *w, int64_t revision)
{
    if (etag_matches(w->if_match, revision))
        return 0;
    w->code = "precondition_failed";
    return fail(&w->fail, E_PRECONDITION, "It has changed since: its revision is %lld now.",
                (long long)revision);
}

int write_not_found(struct write *w, const char *what)
{
    w->code = "not_found";
    return fail(&w->fail, E_NOTFOUND, "There is no such %s.", what);
}

int write_found(struct write *w, int rc, const char *what)
{
    return rc == E_NOTFOUND ? write_not_found(w, what) : rc;
}

int write_conflict(struct write *w, int rc, const char *code)
{
    if (rc == E_CONFLICT) {
        w->status = 409;
        w->code = code;
    }
    return rc;
}

void write_created(struct write *w, int64_t revision, const char *fmt, ...)
{
    va_list ap;
    w->status = 201;
    if (revision)
        etag_text(w->etag, revision, NULL);
    va_start(ap, fmt);
    (void)vsnprintf(w->location, sizeof(w->location), fmt, ap);
    va_end(ap);
}
