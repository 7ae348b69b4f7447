/*
 * Request bodies: collected, handed on in pieces, or parsed as multipart/form-data. MHD takes
 * no answer while a body comes in; a refusal in its middle is therefore written by reply.c
 * itself on a plain connection, and on a TLS one waits until the (bounded) rest is drained.
 */
#include "internal.h"

#include <assert.h>

enum { PARSER_BYTES = 16 * 1024 };

void body_drop(struct http_request *r)
{
    if (r->parser)
        MHD_destroy_post_processor(r->parser);
    r->parser = NULL;
}

/* ---- WHOLE ---- */

static enum MHD_Result whole_piece(struct http_request *r, const char *data, size_t *size)
{
    if (r->body.n + *size > r->hit.route->max_body) {
        sbuf_done(&r->body);
        http_problem(r, 413, "body_too_large", NULL, "the body exceeds %zu bytes",
                     r->hit.route->max_body);
        return request_settle(r);
    }
    sbuf_add(&r->body, data, *size);
    *size = 0;
    return MHD_YES;
}

/* ---- in pieces ---- */

static int check_part(struct http_request *r, const char *name, const char *filename)
{
    if (!name || strlen(name) > PART_NAME_MAX)
        return E_PROTO;
    if (filename && strlen(filename) > PART_FILENAME_MAX)
        return E_PROTO;
    return ++r->parts > PARTS_MAX ? E_LIMIT : 0;
}

static enum MHD_Result on_part(void *cls, enum MHD_ValueKind kind UNUSED, const char *key,
                               const char *filename, const char *type UNUSED,
                               const char *encoding UNUSED, const char *data, uint64_t off,
                               size_t size)
{
    struct http_request *r = (struct http_request *)cls;

    if (r->rc == 0 && off == 0)
        r->rc = check_part(r, key, filename);
    if (r->rc == 0)
        r->rc = r->on_part(r, r->receive_arg, key, filename, off, data, size);
    return r->rc < 0 ? MHD_NO : MHD_YES;
}

void http_receive(struct http_request *r, uint64_t max, http_body_fn on_body,
                  void (*end)(struct http_request *r, void *arg, int rc), void *arg)
{
    assert(r->step == STEP_HEADERS && r->hit.route->body == HTTP_BODY_STREAM);
    r->max = max;
    r->on_body = on_body;
    r->end = end;
    r->receive_arg = arg;
}

void http_receive_parts(struct http_request *r, uint64_t max, http_part_fn fn,
                        void (*end)(struct http_request *r, void *arg, int rc), void *arg)
{
    assert(r->step == STEP_HEADERS && r->hit.route->body == HTTP_BODY_MULTIPART);
    r->max = max;
    r->on_part = fn;
    r->end = end;
    r->receive_arg = arg;
}

static bool is_multipart(const struct http_request *r)
{
    const char *type = http_header(r, "Content-Type");
    return type && strncasecmp(type, "multipart/form-data", 19) == 0;
}

/* Reception is over, one way or the other; the handler's end answers or defers. */
static enum MHD_Result run_end(struct http_request *r, int rc)
{
    void (*end)(struct http_request *, void *, int) = r->end;
    r->end = NULL;
    end(r, r->receive_arg, rc);
    return request_settle(r);
}

enum MHD_Result body_start(struct http_request *r)
{
    int rc = 0;
    if (r->content_length > 0 && (uint64_t)r->content_length > r->max)
        rc = E_LIMIT;
    else if (r->on_part) {
        if (is_multipart(r))
            r->parser = MHD_create_post_processor(r->conn->mhd, PARSER_BYTES, on_part, r);
        if (!r->parser)
            rc = E_UNSUPPORTED;
    }
    if (rc < 0)
        return run_end(r, rc); /* still at the headers: the body need not come */
    r->step = STEP_RECEIVE;
    if (!r->has_body)
        return body_end(r);
    conn_phase(r->conn, CONN_UPLOAD);
    return MHD_YES;
}

static enum MHD_Result receive_piece(struct http_request *r, const char *data, size_t *size)
{
    r->conn->since_us = clock_mono_us();
    r->received += *size;
    if (r->received > r->max)
        r->rc = E_LIMIT;
    else if (r->on_body)
        r->rc = r->on_body(r, r->receive_arg, data, *size);
    else if (MHD_post_process(r->parser, data, *size) == MHD_NO && r->rc == 0)
        r->rc = E_PROTO;
    if (r->rc < 0) {
        body_drop(r);
        r->step = STEP_FAILED;
        return run_end(r, r->rc); /* *size stays: MHD calls again if end defers */
    }
    *size = 0;
    return request_settle(r);
}

enum MHD_Result body_drain(struct http_request *r, size_t *size)
{
    r->drained += *size;
    *size = 0;
    return r->drained > DRAIN_MAX_BYTES ? MHD_NO : MHD_YES;
}

enum MHD_Result body_piece(struct http_request *r, const char *data, size_t *size)
{
    switch (r->step) {
    case STEP_WHOLE:
        return whole_piece(r, data, size);
    case STEP_RECEIVE:
        return receive_piece(r, data, size);
    case STEP_DRAIN:
        return body_drain(r, size);
    case STEP_FAILED: /* resumed: its fn has run before */
    case STEP_NEW:
    case STEP_BARE:
    case STEP_HEADERS:
    case STEP_FINAL:
    case STEP_ANSWERED:
        break;
    }
    return MHD_NO;
}

enum MHD_Result body_end(struct http_request *r)
{
    if (r->step == STEP_WHOLE) {
        r->step = STEP_FINAL;
        r->hit.route->handle(r, r->hit.route->arg);
        return request_settle(r);
    }
    if (r->step == STEP_DRAIN) {
        struct MHD_Response *resp = TAKE(r->held);
        r->step = STEP_FINAL;
        reply_queue(r, (int)r->held_status, resp);
        return request_settle(r);
    }
    r->step = STEP_FINAL;
    if (r->parser) {
        struct MHD_PostProcessor *parser = TAKE(r->parser);
        bool ended = MHD_destroy_post_processor(parser) == MHD_YES;
        if (r->rc == 0 && (!ended || r->parts == 0))
            r->rc = E_PROTO; /* the closing boundary, or any, never came */
    }
    return run_end(r, r->rc);
}
