/*
 * Answers. Normally MHD sends them. While a body comes in MHD takes none, though a client that
 * sends 100 MiB should learn early that they are refused: on a plain connection the answer is
 * then written here, and the rest of the body is read by a lingering close.
 */
#include "internal.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void auto_sbuf_done(struct sbuf *b)
{
    sbuf_done(b);
}

static const struct {
    int status;
    const char *title;
} titles[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {409, "Conflict"},
    {410, "Gone"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {422, "Unprocessable Content"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {507, "Insufficient Storage"},
};

static const char *title_of(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(titles); i++)
        if (titles[i].status == status)
            return titles[i].title;
    return "Error";
}

void http_add_header(struct http_request *r, const char *name, const char *value)
{
    struct header *h = arena_alloc(&r->arena, sizeof(*h));
    h->name = arena_strdup(&r->arena, name);
    h->value = arena_strdup(&r->arena, value);
    *r->headers_end = h;
    r->headers_end = &h->next;
}

/* The route's pattern stands for the path: that of a download holds a secret. */
static void note_answer(const struct http_request *r, int status)
{
    LOG(LOG_DEBUG, "http", "answer", KV("method", r->method),
        KV("route", r->hit.route ? r->hit.route->pattern : NULL), KV_INT("status", status),
        KV_INT("us", clock_mono_us() - r->started_us));
    if (status >= 500)
        metric_add(M_HTTP_REQUESTS_5XX, 1);
    else if (status >= 400)
        metric_add(M_HTTP_REQUESTS_4XX, 1);
    else if (status >= 300)
        metric_add(M_HTTP_REQUESTS_3XX, 1);
    else
        metric_add(M_HTTP_REQUESTS_2XX, 1);
}

static void keep_for_linger(struct conn *c)
{
    if (c->linger_fd < 0)
        c->linger_fd = dup(c->fd);
}

/* Everything but the body's own headers. */
static void dress(struct http_request *r, struct MHD_Response *resp)
{
    for (const struct header *h = r->headers; h; h = h->next)
        MHD_add_response_header(resp, h->name, h->value);
    MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
    if (r->thread->stopping)
        MHD_add_response_header(resp, "Connection", "close");
    if (r->is_10)
        MHD_set_response_options(
            resp,
            (enum MHD_ResponseFlags)(MHD_RF_HTTP_1_0_COMPATIBLE_STRICT | MHD_RF_HTTP_1_0_SERVER),
            MHD_RO_END);
}

void reply_queue(struct http_request *r, int status, struct MHD_Response *resp)
{
    bool unread = r->has_body && r->step == STEP_HEADERS;

    if (unread && !r->expects && r->listener == LISTEN_TLS) {
        /* No lingering under TLS: let a small body come in first. */
        r->held = resp;
        r->held_status = (unsigned)status;
        r->step = STEP_DRAIN;
        return;
    }
    if (unread)
        keep_for_linger(r->conn); /* MHD closes after this */
    enum MHD_Result rc = MHD_queue_response(r->conn->mhd, (unsigned)status, resp);
    MHD_destroy_response(resp);
    r->step = STEP_ANSWERED;
    r->close |= rc == MHD_NO;
    conn_phase(r->conn, CONN_REPLY);
}

/* Into the middle of the client's body. */
static void reply_raw(struct http_request *r, int status, const char *type, const void *body,
                      size_t n)
{
    AUTO(sbuf_done) struct sbuf out = {0};

    sbuf_fmt(&out, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %zu\r\n", status,
             title_of(status), n);
    for (const struct header *h = r->headers; h; h = h->next)
        if (strcasecmp(h->name, "Connection") != 0)
            sbuf_fmt(&out, "%s: %s\r\n", h->name, h->value);
    if (type)
        sbuf_fmt(&out, "Content-Type: %s\r\n", type);
    sbuf_str(&out, "X-Content-Type-Options: nosniff\r\n\r\n");
    sbuf_add(&out, body, n);
    /* The socket's buffer is empty: nothing was sent but a 100 Continue. */
    if (send(r->conn->fd, out.p, out.n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)out.n)
        keep_for_linger(r->conn);
    r->step = STEP_ANSWERED;
    r->close = true;
}

void http_reply(struct http_request *r, int status, const char *content_type, const void *body,
                size_t n)
{
    assert(r->in_handler && r->step != STEP_ANSWERED && r->step != STEP_DRAIN);
    note_answer(r, status);
    if (r->mid_body && r->listener != LISTEN_TLS) {
        reply_raw(r, status, content_type, body, n);
        return;
    }
    struct MHD_Response *resp = MHD_create_response_from_buffer(
        n, (void *)(uintptr_t)(n ? body : ""), MHD_RESPMEM_MUST_COPY);
    if (!resp) {
        r->close = true;
        r->step = STEP_ANSWERED;
        return;
    }
    if (content_type)
        MHD_add_response_header(resp, "Content-Type", content_type);
    dress(r, resp);
    if (r->mid_body) {
        r->held = resp;
        r->held_status = (unsigned)status;
        r->step = STEP_DRAIN;
        return;
    }
    reply_queue(r, status, resp);
}

void reply_fd(struct http_request *r, int status, int fd, uint64_t first, uint64_t count)
{
    note_answer(r, status);
    struct MHD_Response *resp = MHD_create_response_from_fd_at_offset64(count, fd, first);
    if (!resp) {
        close(fd);
        r->close = true;
        r->step = STEP_ANSWERED;
        return;
    }
    dress(r, resp);
    conn_cork(r->conn, true); /* until the request is completed */
    send_begin(r->conn, fd, first + count);
    reply_queue(r, status, resp);
}

void reply_stream(struct http_request *r, int status, struct MHD_Response *resp)
{
    note_answer(r, status);
    dress(r, resp);
    reply_queue(r, status, resp);
}

void http_reply_json(struct http_request *r, int status, const json_t *j)
{
    AUTO(sbuf_done) struct sbuf out = {0};
    json_add_text(&out, j);
    http_reply(r, status, "application/json", out.p, out.n);
}

static void add_errors(struct sbuf *out, const struct json_errors *errs)
{
    sbuf_str(out, ",\"errors\":[");
    for (size_t i = 0; i < errs->count && i < ARRAY_LEN(errs->list); i++) {
        sbuf_str(out, i ? ",{\"pointer\":" : "{\"pointer\":");
        json_add_string(out, errs->list[i].pointer);
        sbuf_str(out, ",\"code\":");
        json_add_string(out, errs->list[i].code);
        sbuf_str(out, ",\"detail\":");
        json_add_string(out, errs->list[i].detail);
        sbuf_str(out, "}");
    }
    sbuf_str(out, "]");
}

static bool is_bare(const struct http_request *r)
{
    const char *bare = r->thread->server->o.bare;
    return bare && r->is_10 && strcmp(r->method, "GET") == 0 &&
           strncmp(r->path, bare, strlen(bare)) == 0;
}

void http_problem(struct http_request *r, int status, const char *code,
                  const struct json_errors *errs, const char *fmt, ...)
{
    char detail[512];
    va_list ap;
    AUTO(sbuf_done) struct sbuf out = {0};

    if (is_bare(r)) {
        http_reply(r, status, NULL, NULL, 0);
        return;
    }
    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    sbuf_str(&out, "{\"type\":\"about:blank\",\"title\":");
    json_add_string(&out, title_of(status));
    sbuf_fmt(&out, ",\"status\":%d,\"code\":", status);
    json_add_string(&out, code);
    sbuf_str(&out, ",\"detail\":");
    json_add_string(&out, detail);
    sbuf_str(&out, ",\"request_id\":");
    json_add_string(&out, http_request_id(r));
    if (errs && errs->count)
        add_errors(&out, errs);
    sbuf_str(&out, "}");
    http_add_header(r, "X-Request-Id", http_request_id(r));
    http_reply(r, status, "application/problem+json", out.p, out.n);
}

static const char *code_of(int status)
{
    switch (status) {
    case 400:
        return "invalid";
    case 401:
        return "not_authenticated";
    case 403:
        return "forbidden";
    case 404:
        return "not_found";
    case 409:
        return "conflict";
    case 410:
        return "gone";
    case 412:
        return "precondition_failed";
    case 413:
        return "too_large";
    case 415:
        return "unsupported";
    case 503:
        return "unavailable";
    case 507:
        return "no_space";
    default:
        return "internal";
    }
}

void http_fail(struct http_request *r, int rc, const struct fail *f)
{
    int status = err_http(rc);
    if (status == 503)
        http_add_header(r, "Retry-After", "5");
    /* What fails inside is for the log, not for a stranger. */
    bool tell = status < 500 && f && f->text[0];
    http_problem(r, status, code_of(status), NULL, "%s", tell ? f->text : err_str(rc));
}

void http_abort(struct http_request *r)
{
    assert(r->in_handler && r->step != STEP_ANSWERED);
    r->step = STEP_ANSWERED;
    r->close = true;
}
