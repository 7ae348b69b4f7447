/*
 * Answers whose end is not known when they begin: exports, live events. Whoever answers gives a
 * function that fills a buffer whenever the client has taken what was there, so a slow client
 * costs one buffer and holds up nobody. While there is nothing to say the connection is suspended:
 * thousands that wait cost no turn.
 */
#include "internal.h"

#include <assert.h>

enum { BLOCK = 16 * 1024 };

struct stream {
    struct http_request *request; /* NULL once it is completed */
    struct http_thread *thread;
    struct http_stream_source source;
    struct sbuf out;
    size_t taken; /* of out */
    bool waiting, ended, cut;
};

/* HTTP_STREAM_MORE: there are bytes. */
static int refill(struct stream *s)
{
    s->out.n = s->taken = 0;
    if (s->ended)
        return HTTP_STREAM_END;
    int rc = s->source.fill(s->source.arg, &s->out);
    if (rc < 0) {
        s->cut = true;
        return HTTP_STREAM_END;
    }
    s->ended = rc == HTTP_STREAM_END || (rc == HTTP_STREAM_WAIT && s->thread->stopping);
    if (s->out.n)
        return HTTP_STREAM_MORE;
    return s->ended ? HTTP_STREAM_END : rc;
}

static ssize_t on_read(void *cls, uint64_t pos UNUSED, char *buf, size_t max)
{
    struct stream *s = cls;

    if (s->cut)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (s->taken == s->out.n) {
        int rc = refill(s);
        if (rc == HTTP_STREAM_END)
            return s->cut ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
        if (rc == HTTP_STREAM_WAIT && s->request) {
            s->waiting = true;
            conn_phase(s->request->conn, CONN_STREAM);
            MHD_suspend_connection(s->request->conn->mhd);
            return 0;
        }
    }
    size_t n = s->out.n - s->taken < max ? s->out.n - s->taken : max;
    if (n)
        memcpy(buf, s->out.p + s->taken, n);
    s->taken += n;
    return (ssize_t)n;
}

static void on_free(void *cls)
{
    struct stream *s = cls;

    if (s->request)
        s->request->stream = NULL;
    if (s->source.free_fn)
        s->source.free_fn(s->source.arg);
    sbuf_done(&s->out);
    free(s);
}

static void go_on(struct stream *s)
{
    if (!s->waiting || !s->request)
        return;
    s->waiting = false;
    conn_phase(s->request->conn, CONN_REPLY);
    MHD_resume_connection(s->request->conn->mhd);
}

struct http_stream *http_reply_stream(struct http_request *r, int status,
                                      const struct http_stream_source *source)
{
    struct stream *s = xcalloc(1, sizeof(*s));

    assert(r->in_handler && r->step != STEP_ANSWERED && !r->mid_body);
    *s = (struct stream){.request = r, .thread = r->thread, .source = *source};
    struct MHD_Response *resp =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_read, s, on_free);
    if (!resp) {
        s->request = NULL;
        on_free(s);
        r->close = true;
        r->step = STEP_ANSWERED;
        return NULL;
    }
    MHD_add_response_header(resp, "Content-Type", source->content_type);
    r->stream = s;
    reply_stream(r, status, resp);
    return (struct http_stream *)s;
}

void http_stream_wake(struct http_stream *stream)
{
    struct stream *s = (struct stream *)stream;

    if (!s->waiting)
        return;
    go_on(s);
    loop_wake_send(s->thread->wake); /* MHD wants a turn */
}

void stream_completed(struct http_request *r)
{
    if (r->stream)
        r->stream->request = NULL;
    r->stream = NULL;
}

void stream_stop(struct http_request *r)
{
    if (r->stream)
        go_on(r->stream);
}

void stream_cut(struct http_request *r)
{
    if (!r->stream)
        return;
    r->stream->cut = true;
    go_on(r->stream);
}
