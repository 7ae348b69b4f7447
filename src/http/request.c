/*
 * A request from its first line to its completion: what MHD calls, in which order, and what the
 * handler may ask of it. MHD's call order for one request is: target, headers (again after each
 * resume there), pieces of the body, the final call (again after each resume), completed.
 */
#include "internal.h"

#include <assert.h>
#include <stdio.h>

void *request_on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct listener *l = (struct listener *)cls;
    struct conn *c = (struct conn *)MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
                         ->socket_context;
    struct http_request *r = xcalloc(1, sizeof(*r));

    arena_init(&r->arena);
    r->conn = c;
    r->thread = l->thread;
    r->listener = l->kind;
    r->headers_end = &r->headers;
    r->started_us = clock_mono_us();
    /* Decoded, it would end the path early for everyone who looks at it as a C string. */
    r->bad_target = strstr(target, "%00") != NULL;
    c->request = r;
    tail_request(c);
    if (c->phase == CONN_IDLE)
        conn_phase(c, CONN_REQUEST);
    return r;
}

void request_free(struct http_request *r)
{
    if (r->state_free)
        r->state_free(r->state);
    body_drop(r);
    if (r->held)
        MHD_destroy_response(r->held);
    sbuf_done(&r->body);
    arena_done(&r->arena);
    free(r);
}

void request_on_completed(void *cls UNUSED, struct MHD_Connection *mhd UNUSED, void **con_cls,
                          enum MHD_RequestTerminationCode how)
{
    struct http_request *r = (struct http_request *)*con_cls;
    if (!r)
        return;
    *con_cls = NULL;
    send_end(r->conn);
    conn_cork(r->conn, false);
    if (r->track) {
        struct track *k = TAKE(r->track);
        if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK)
            tail_begin(r->conn, k);
        else
            track_broken(k, r->conn->fd);
    }
    if (r->resume_fn) { /* the connection broke before the resumed handler could run */
        void (*fn)(struct http_request *, void *) = r->resume_fn;
        r->resume_fn = NULL;
        fn(NULL, r->resume_arg);
    }
    stream_completed(r);
    paced_completed(r);
    body_drop(r);
    r->conn->request = NULL;
    conn_phase(r->conn, CONN_IDLE);
    r->conn = NULL;
    if (r->deferred || r->paused)
        r->gone = true;
    else
        request_free(r);
}

/* ---- the headers ---- */

struct framing {
    unsigned lengths, encodings;
    const char *encoding;
    bool bad_name, bad_length;
    int64_t length;
    bool expects;
};

static enum MHD_Result look_at(void *cls, enum MHD_ValueKind kind UNUSED, const char *name,
                               const char *value)
{
    struct framing *f = (struct framing *)cls;

    if (strpbrk(name, " \t"))
        f->bad_name = true; /* "Content-Length : 5" would frame differently elsewhere */
    if (strcasecmp(name, "Content-Length") == 0) {
        f->lengths++;
        f->bad_length |= !value || num_parse(value, 0, INT64_MAX, &f->length) < 0;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        f->encodings++;
        f->encoding = value;
    } else if (strcasecmp(name, "Expect") == 0) {
        f->expects = value && strcasecmp(value, "100-continue") == 0;
    }
    return MHD_YES;
}

/* Anything that a proxy in front could frame differently ends the connection. */
static bool check_framing(struct http_request *r)
{
    struct framing f = {0};

    MHD_get_connection_values(r->conn->mhd, MHD_HEADER_KIND, look_at, &f);
    r->expects = f.expects && !r->is_10;
    r->content_length = f.encodings ? -1 : f.length;
    r->has_body = f.encodings || f.length > 0;
    bool chunked = f.encoding && strcasecmp(f.encoding, "chunked") == 0;
    if (!f.bad_name && !f.bad_length && f.lengths <= 1 && f.encodings <= 1 &&
        !(f.lengths && f.encodings) && (!f.encodings || (chunked && !r->is_10)))
        return true;
    http_add_header(r, "Connection", "close");
    http_problem(r, 400, "bad_framing", NULL, "the request's length is not clear");
    return false;
}

/* "http://host/path" is a legal target, and modems send it. */
static const char *path_of(const char *url)
{
    if (url[0] == '/')
        return url;
    size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
                    : strncasecmp(url, "https://", 8) == 0 ? 8
                                                           : 0;
    if (scheme == 0)
        return url;
    const char *slash = strchr(url + scheme, '/');
    return slash ? slash : "/";
}

static bool listener_serves(const struct http_request *r)
{
    const struct conf *c = r->thread->server->o.conf;
    bool metrics = strcmp(r->path, "/metrics") == 0;

    if (r->listener != LISTEN_METRICS)
        return !metrics || !c->http_metrics_listen || !c->http_metrics_listen[0];
    return metrics || strcmp(r->path, "/healthz") == 0 || strcmp(r->path, "/readyz") == 0;
}

static bool find_route(struct http_request *r)
{
    if (listener_serves(r))
        router_find(r->thread->server->router, r->method, r->path, &r->hit);
    if (r->hit.route)
        return true;
    if (r->hit.allow[0]) {
        http_add_header(r, "Allow", r->hit.allow);
        http_problem(r, 405, "method_not_allowed", NULL, "this method is not served here");
    } else {
        http_problem(r, 404, "not_found", NULL, "there is nothing here");
    }
    return false;
}

static enum MHD_Result check_body(struct http_request *r)
{
    const struct http_route *route = r->hit.route;
    if (route->body == HTTP_BODY_NONE && r->has_body)
        http_problem(r, 413, "body_not_expected", NULL, "this request takes no body");
    else if (route->body == HTTP_BODY_WHOLE && r->content_length > 0 &&
             (uint64_t)r->content_length > route->max_body)
        http_problem(r, 413, "body_too_large", NULL, "the body exceeds %zu bytes", route->max_body);
    return r->step == STEP_ANSWERED || r->step == STEP_DRAIN ? MHD_NO : MHD_YES;
}

/* Everything is known but the body. */
static enum MHD_Result dispatch(struct http_request *r)
{
    const struct http_options *o = &r->thread->server->o;

    r->step = STEP_HEADERS;
    if (r->bad_target) {
        http_problem(r, 400, "bad_target", NULL, "the target holds a NUL");
        return request_settle(r);
    }
    if (!find_route(r) || check_body(r) == MHD_NO)
        return request_settle(r);
    if (o->before && o->before(r, r->hit.route, o->arg) != 0)
        return request_settle(r);
    if (r->hit.route->body == HTTP_BODY_WHOLE && r->has_body) {
        r->step = STEP_WHOLE;
        return MHD_YES;
    }
    r->hit.route->handle(r, r->hit.route->arg);
    return request_settle(r);
}

/* MHD closes the connection after an answer that is given at the headers, so a request without
 * a body is looked at in its final call. */
static enum MHD_Result at_headers(struct http_request *r)
{
    r->step = STEP_HEADERS;
    if (!check_framing(r))
        return request_settle(r);
    if (r->has_body)
        return dispatch(r);
    r->step = STEP_BARE;
    return MHD_YES;
}

/* ---- MHD's calls ---- */

enum MHD_Result request_settle(struct http_request *r)
{
    if (r->close)
        return MHD_NO;
    if (r->step == STEP_ANSWERED || r->step == STEP_DRAIN)
        return MHD_YES;
    if (r->deferred || r->paused) {
        if (!r->suspended) {
            r->suspended = true;
            conn_phase(r->conn, CONN_HELD);
            MHD_suspend_connection(r->conn->mhd);
        }
        return MHD_YES;
    }
    if (r->step == STEP_HEADERS && r->end)
        return body_start(r);
    if (r->step == STEP_RECEIVE)
        return MHD_YES;
    LOG(LOG_ERROR, "http", "a handler neither answered nor deferred",
        KV("route", r->hit.route ? r->hit.route->pattern : ""));
    http_problem(r, 500, "internal", NULL, "the server failed to answer");
    return r->close ? MHD_NO : MHD_YES;
}

static enum MHD_Result after_hold(struct http_request *r)
{
    if (r->late) {
        http_add_header(r, "Retry-After", "10");
        http_add_header(r, "Connection", "close");
        http_problem(r, 503, "unavailable", NULL, "the answer took too long; try again");
    } else {
        void (*fn)(struct http_request *, void *) = r->resume_fn;
        r->resume_fn = NULL;
        fn(r, r->resume_arg);
    }
    return request_settle(r);
}

static enum MHD_Result call(struct http_request *r, const char *data, size_t *size)
{
    if (r->close)
        return MHD_NO;
    if (r->paused || (r->deferred && !r->late)) /* MHD may call on within one buffer */
        return MHD_YES;
    if (r->resume_fn || (r->late && r->step != STEP_ANSWERED && r->step != STEP_DRAIN))
        return after_hold(r);
    if (r->step == STEP_RECEIVE && r->conn->phase == CONN_HELD)
        conn_phase(r->conn, CONN_UPLOAD);
    if (*size > 0)
        return body_piece(r, data, size);
    if (r->step == STEP_NEW)
        return at_headers(r);
    if (r->step == STEP_BARE)
        return dispatch(r);
    if (r->step == STEP_HEADERS || r->step == STEP_ANSWERED)
        return MHD_YES;
    return body_end(r);
}

enum MHD_Result request_on_call(void *cls UNUSED, struct MHD_Connection *mhd UNUSED,
                                const char *url, const char *method, const char *version,
                                const char *data, size_t *size, void **con_cls)
{
    struct http_request *r = (struct http_request *)*con_cls;

    if (!r) /* MHD made no request of the target; it never does this */
        return MHD_NO;
    if (r->step == STEP_NEW) {
        r->method = arena_strdup(&r->arena, method);
        r->path = arena_strdup(&r->arena, path_of(url));
        r->is_head = strcmp(method, "HEAD") == 0;
        r->is_10 = strcmp(version, "HTTP/1.1") != 0;
    }
    r->in_handler = true;
    r->mid_body = *size > 0;
    enum MHD_Result result = call(r, data, size);
    if (result == MHD_YES && r->step == STEP_DRAIN && *size > 0)
        result = body_drain(r, size);
    r->in_handler = false;
    r->mid_body = false;
    return result;
}

/* ---- what the handler reads ---- */

const char *http_method(const struct http_request *r)
{
    return r->method;
}

const char *http_path(const struct http_request *r)
{
    return r->path;
}

const char *http_param(const struct http_request *r, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < r->hit.param_count; i++)
        if (r->hit.params[i].name_len == n && memcmp(r->hit.params[i].name, name, n) == 0)
            return arena_strndup(http_arena((struct http_request *)(uintptr_t)r),
                                 r->hit.params[i].value, r->hit.params[i].value_len);
    return NULL;
}

static const char *lookup(const struct http_request *r, enum MHD_ValueKind kind, const char *name)
{
    const char *value = NULL;
    size_t size = 0;

    if (!r->conn || MHD_lookup_connection_value_n(r->conn->mhd, kind, name, strlen(name), &value,
                                                  &size) == MHD_NO)
        return NULL;
    struct arena *a = http_arena((struct http_request *)(uintptr_t)r);
    return arena_strndup(a, value ? value : "", value ? size : 0);
}

const char *http_query(const struct http_request *r, const char *name)
{
    return lookup(r, MHD_GET_ARGUMENT_KIND, name);
}

struct each {
    int (*fn)(void *arg, const char *name, const char *value);
    void *arg;
    int rc;
};

static enum MHD_Result on_each(void *cls, enum MHD_ValueKind kind UNUSED, const char *name,
                               const char *value)
{
    struct each *e = (struct each *)cls;
    e->rc = e->fn(e->arg, name, value ? value : "");
    return e->rc == 0 ? MHD_YES : MHD_NO;
}

int http_query_each(const struct http_request *r,
                    int (*fn)(void *arg, const char *name, const char *value), void *arg)
{
    struct each e = {.fn = fn, .arg = arg};
    if (r->conn)
        MHD_get_connection_values(r->conn->mhd, MHD_GET_ARGUMENT_KIND, on_each, &e);
    return e.rc;
}

const char *http_header(const struct http_request *r, const char *name)
{
    return lookup(r, MHD_HEADER_KIND, name);
}

struct str http_body(const struct http_request *r)
{
    return (struct str){r->body.p ? r->body.p : "", r->body.n};
}

int64_t http_content_length(const struct http_request *r)
{
    return r->content_length;
}

struct lines {
    const struct conf_nets *trusted;
    char client[INET6_ADDRSTRLEN];
};

/* A NUL would hide what a proxy wrote behind it. */
static enum MHD_Result on_line(void *cls, enum MHD_ValueKind kind UNUSED, const char *name,
                               size_t name_n UNUSED, const char *value, size_t n)
{
    struct lines *l = (struct lines *)cls;
    if (strcasecmp(name, "X-Forwarded-For") != 0)
        return MHD_YES;
    if (value && strlen(value) == n)
        client_line(l->trusted, value, l->client);
    else
        l->client[0] = '\0';
    return MHD_YES;
}

const char *http_address(const struct http_request *r)
{
    struct http_request *w = (struct http_request *)(uintptr_t)r;
    struct lines l = {.client = ""};

    if (r->client || !r->conn)
        return r->client ? r->client : "";
    if (!r->conn->is_proxy)
        return r->conn->address;
    l.trusted = &r->thread->server->o.conf->http_trusted_proxies;
    MHD_get_connection_values_n(r->conn->mhd, MHD_HEADER_KIND, on_line, &l);
    w->client = arena_strdup(&w->arena, l.client[0] ? l.client : r->conn->address);
    return w->client;
}

bool http_is_10(const struct http_request *r)
{
    return r->is_10;
}

bool http_is_head(const struct http_request *r)
{
    return r->is_head;
}

bool http_is_tls(const struct http_request *r)
{
    return r->listener == LISTEN_TLS;
}

const char *http_request_id(const struct http_request *r)
{
    struct http_request *w = (struct http_request *)(uintptr_t)r;
    if (w->id)
        return w->id;
    const char *given = http_header(r, "X-Request-Id");
    w->id = given && str_is_key(given, 64)
                ? given
                : arena_printf(&w->arena, "%016llx",
                               (unsigned long long)r->thread->id_base + r->thread->id_next++);
    return w->id;
}

struct arena *http_arena(struct http_request *r)
{
    return &r->arena;
}

void *http_thread_arg(const struct http_request *r)
{
    return r->thread->arg;
}

struct loop *http_loop(const struct http_request *r)
{
    return r->thread->loop;
}

void http_set_state(struct http_request *r, void *state, void (*free_fn)(void *state))
{
    assert(!r->state_free || !state);
    r->state = state;
    r->state_free = free_fn;
}

void *http_state(const struct http_request *r)
{
    return r->state;
}

const struct http_route *http_route(const struct http_request *r)
{
    return r->hit.route;
}
