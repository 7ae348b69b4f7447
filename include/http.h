/*
 * http: the only room that sees libmicrohttpd. N threads, each with its own loop, listening
 * socket (SO_REUSEPORT) and MHD daemon driven from outside (MHD_USE_EPOLL without an internal
 * thread). A request is handled on the thread that took it; slow or writing work is handed away
 * with http_defer and answered later from any thread. Total deadlines against slow clients are
 * ours: MHD's timeout starts anew with each byte.
 */
#pragma once

#include "conf.h"
#include "json.h"
#include "loop.h"

struct http_server;
struct http_request;

enum http_body {
    HTTP_BODY_NONE,      /* a body is refused with 413 unless it is empty */
    HTTP_BODY_WHOLE,     /* collected up to max_body, then the handler runs */
    HTTP_BODY_STREAM,    /* the handler runs at the headers; then on_body for each piece */
    HTTP_BODY_MULTIPART, /* as STREAM, but parsed: on_part for each piece of each part */
};

struct http_route {
    const char *method;  /* "GET" serves HEAD as well */
    const char *pattern; /* "/api/v1/devices/:key/explain"; :x matches one segment, *x the rest */
    enum http_body body;
    size_t max_body; /* WHOLE: bytes; STREAM and MULTIPART take the bound from the handler */
    /* Runs on an http thread: WHOLE when the body is here, else at the headers (before
     * 100-continue: answering here avoids the transfer). Must answer, http_defer, or (STREAM,
     * MULTIPART) http_receive. */
    void (*handle)(struct http_request *r, void *arg);
    void *arg;
    unsigned flags; /* the api room's: scope needed */
};

/* One piece of a multipart part. name and filename are NULL-terminated, bounded to 64 and 255
 * bytes; off is the offset of data in the part. A return < 0 ends reception with that error. */
typedef int (*http_part_fn)(struct http_request *r, void *arg, const char *name,
                            const char *filename, uint64_t off, const void *data, size_t n);
typedef int (*http_body_fn)(struct http_request *r, void *arg, const void *data, size_t n);

struct http_options {
    const struct conf *conf;
    const struct http_route *const
        *tables; /* NULL-terminated list of tables, each ended by a row with method NULL */
    /* Called on every http thread as it starts and ends: its value is http_thread_arg(). */
    void *(*thread_open)(void *arg, int index, struct loop *loop);
    void (*thread_close)(void *arg, void *thread_arg);
    /* Runs before each handler, after routing: 0 goes on; else it has answered. */
    int (*before)(struct http_request *r, const struct http_route *route, void *arg);
    void *arg;
    /* Below this path a GET by HTTP/1.0 gets its errors without a body: those clients take any for
     * the file. NULL = nowhere. */
    const char *bare;
};

/* Bind and start. The main listener is http.listen; https_listen and metrics_listen (which
 * serves only /metrics, /healthz, /readyz) join when set. Port 0 picks one.
 * -EADDRINUSE and the like with a sentence. */
int http_start(const struct http_options *o, struct http_server **ret, struct fail *f) MUST_USE;
int http_port(const struct http_server *s); /* of the main listener */
/* Stop accepting, let requests under way end for up to grace_ms, then close all. Joins. */
void http_stop(struct http_server *s, int grace_ms);

/* ---- the request; its thread, until answered or deferred. Strings live as long as it. ---- */
const char *http_method(const struct http_request *r);
const char *http_path(const struct http_request *r); /* percent-decoded once by MHD */
const char *http_param(const struct http_request *r, const char *name); /* of the pattern; NULL */
const char *http_query(const struct http_request *r,
                       const char *name); /* NULL when absent, "" when empty */
/* Each query parameter in turn, until fn returns non-zero, which is passed on. */
int http_query_each(const struct http_request *r,
                    int (*fn)(void *arg, const char *name, const char *value), void *arg);
const char *http_header(const struct http_request *r, const char *name); /* NULL when absent */
struct str http_body(const struct http_request *r);                      /* WHOLE */
int64_t http_content_length(const struct http_request *r); /* -1 = not said (chunked) */
/* Numeric address of the client: of the peer, or of whom a trusted proxy names. */
const char *http_address(const struct http_request *r);
bool http_is_10(const struct http_request *r); /* HTTP/1.0 */
bool http_is_head(const struct http_request *r);
bool http_is_tls(const struct http_request *r);
const char *http_request_id(const struct http_request *r); /* X-Request-Id taken or made */
struct arena *http_arena(struct http_request *r);          /* lives as long as the request */
void *http_thread_arg(const struct http_request *r);
struct loop *http_loop(const struct http_request *r);
void http_set_state(
    struct http_request *r, void *state,
    void (*free_fn)(void *state)); /* freed when the request ends, however it ends */
void *http_state(const struct http_request *r);
const struct http_route *http_route(const struct http_request *r);

/* Take the body in pieces; at most max bytes. end runs once and must answer or defer: with 0
 * after the last piece; with E_LIMIT as soon as more than max bytes are announced or came, or
 * more than 16 parts; with E_PROTO for broken and E_UNSUPPORTED for other than
 * multipart/form-data; or with the code that a callback returned. Answered early, the client
 * hears it at once, the rest of its body is dropped, and the connection closes. A connection
 * that breaks runs only the state's free_fn. */
void http_receive(struct http_request *r, uint64_t max, http_body_fn on_body,
                  void (*end)(struct http_request *r, void *arg, int rc), void *arg);
void http_receive_parts(struct http_request *r, uint64_t max, http_part_fn on_part,
                        void (*end)(struct http_request *r, void *arg, int rc), void *arg);
/* Hold reception (back-pressure) from inside on_body/on_part until http_continue (any thread),
 * which must follow. on_part may still run for what stands in the same buffer (16 KiB). r and its
 * state stay valid in between, even when the client goes. */
void http_pause(struct http_request *r);
void http_continue(struct http_request *r);

/* ---- answers ---- */
void http_add_header(struct http_request *r, const char *name,
                     const char *value); /* before answering; copied */
/* Any of these answers, exactly once; body is copied. Content-Length is always set. */
void http_reply(struct http_request *r, int status, const char *content_type, const void *body,
                size_t n);
void http_reply_json(struct http_request *r, int status,
                     const json_t *j); /* j stays the caller's */
/* RFC 9457 problem+json {type, title, status, code, detail, request_id} and, when given, errors. */
void http_problem(struct http_request *r, int status, const char *code,
                  const struct json_errors *errs, const char *fmt, ...) PRINTF(5, 6);
/* The problem for an error code of a lower room. */
void http_fail(struct http_request *r, int rc, const struct fail *f);
/* Close the connection without an answer (what firmware of 2017 would flash as an image). */
void http_abort(struct http_request *r);

/* Bytes per second that any number of answers share. Any thread; counted references. */
struct http_budget;
struct http_budget *http_budget_new(uint64_t bytes_per_second);
struct http_budget *http_budget_ref(struct http_budget *b);
void http_budget_unref(struct http_budget *b); /* NULL is fine */
void http_budget_set(struct http_budget *b, uint64_t bytes_per_second);

/* A file with Range (one range, its end clamped), If-Range, ETag, If-None-Match, HEAD, 416.
 * fd is taken over, whatever comes. sendfile without TLS. sent (may be NULL) is told now and
 * then, on this thread, which bytes of the file the client's TCP acknowledged: [from, to) only
 * grows; last is true once (with from == to when no bytes were due: HEAD, 304, 416), which may be
 * after the request has ended, as the last bytes wait in the socket. arg is freed with free_fn
 * after that. */
struct http_file {
    int fd;
    uint64_t size;
    const char *etag; /* without quotes */
    const char *content_type;
    const char *filename; /* for Content-Disposition; NULL = none */
    void (*sent)(void *arg, uint64_t from, uint64_t to, bool last);
    void *arg;
    void (*free_fn)(void *arg);
    struct http_budget *budget; /* NULL = as fast as it goes; the answer takes a reference */
};
void http_reply_file(struct http_request *r, const struct http_file *file);

/* An answer without a known end. fill runs on the request's thread whenever the client can take
 * more: it appends to out (64 KiB at most is kind) and says what follows; < 0 cuts the connection.
 * HTTP_STREAM_WAIT: it is not asked again before http_stream_wake; when the server stops, that is
 * the end. arg is freed with free_fn when the answer is over, however it ends; the stream is gone
 * then. */
enum { HTTP_STREAM_END, HTTP_STREAM_MORE, HTTP_STREAM_WAIT };
struct http_stream;
struct http_stream_source {
    const char *content_type;
    int (*fill)(void *arg, struct sbuf *out);
    void *arg;
    void (*free_fn)(void *arg);
};
/* NULL when it could not begin (arg is freed by then). */
struct http_stream *http_reply_stream(struct http_request *r, int status,
                                      const struct http_stream_source *source);
void http_stream_wake(struct http_stream *s); /* the request's thread */

/* Suspend the request: its handler returns without an answer, and http_resume runs fn on the
 * request's own thread, where it answers. Every deferred request is resumed exactly once (the
 * server bounds the wait: after 60 s the client gets 503). The handle, the request's arena and its
 * state stay valid until http_resume, also beyond http_stop. */
struct http_handle;
struct http_handle *http_defer(struct http_request *r);
void http_resume(
    struct http_handle *h, void (*fn)(struct http_request *r, void *arg),
    void *arg); /* any thread; frees h; fn gets r NULL when there is nobody left to answer, to
                 * free arg: on the request's thread, or right here once the server has stopped */
