/*
 * A small HTTP/1.1 download client on the loop, as a careful device has: one connection at a
 * time, the digests computed as the bytes come, and after a cut or a stall it goes on where it
 * stopped (Range with If-Range). A server that answers 200 to that starts over. With a rate it
 * takes a little and rests, as a device with a slow flash does. Redirects, chunked bodies and TLS
 * are not for it.
 */
#include "sim.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, PIECE = 65536, PIECES_PER_TURN = 16, BITE_MIN = 256, REST_MS = 100 };

enum phase { PHASE_RESOLVE, PHASE_CONNECT, PHASE_SEND, PHASE_HEAD, PHASE_BODY, PHASE_WAIT };

struct fetch {
    struct loop *loop;
    struct fetch_options o;
    char *url_text;
    struct fetch_url url;
    char address[128];
    enum phase phase;
    bool resolving, dead; /* a name lookup can't be taken back: it frees a dead fetch */
    bool cut_done, resting;
    int fd, tries;
    struct loop_poll *poll;
    struct loop_timer *timer; /* stall, or the wait before the next try */
    struct sbuf out;
    size_t out_done;
    char head[HEAD_MAX + 1];
    size_t head_n;
    char etag[128];
    int64_t off, end; /* of the file: next byte, one past the last of this answer */
    struct digest_stream *digests;
};

static void start_try(struct fetch *f);

static void close_socket(struct fetch *f)
{
    loop_poll_free(TAKE(f->poll));
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* Last thing that any path does: the callback may free f. */
static void finish(struct fetch *f, int rc, const char *why)
{
    struct digests d = {0};

    close_socket(f);
    loop_timer_stop(f->timer);
    if (rc == 0)
        digest_end(f->digests, &d);
    f->o.on_done(f->o.arg, rc, why, &d);
}

static void retry(struct fetch *f, const char *why)
{
    char text[200];

    close_socket(f);
    if (f->tries >= f->o.attempts) {
        (void)str_fmt(text, sizeof(text), "gave up after %d connections: %s", f->tries, why);
        finish(f, E_UNAVAILABLE, text);
        return;
    }
    (void)str_fmt(text, sizeof(text), "goes on at byte %lld (%s)", (long long)f->off, why);
    f->o.on_note(f->o.arg, text);
    f->phase = PHASE_WAIT;
    f->resting = false;
    loop_timer_start(f->timer, (uint64_t)f->o.retry_ms, 0);
}

static void on_timer(void *arg)
{
    struct fetch *f = (struct fetch *)arg;

    if (f->resting) {
        f->resting = false;
        loop_poll_set(f->poll, LOOP_READ);
        loop_timer_start(f->timer, (uint64_t)f->o.stall_ms, 0);
    } else if (f->phase == PHASE_WAIT) {
        start_try(f);
    } else {
        retry(f, "nothing came for too long");
    }
}

static void start_over(struct fetch *f)
{
    digest_free(f->digests);
    f->digests = digest_new();
    f->off = 0;
    if (f->o.save_fd >= 0 && ftruncate(f->o.save_fd, 0) < 0)
        f->o.on_note(f->o.arg, "cannot truncate the saved file");
}

/* The answer's head: 0 and f stands at its first byte, or the sentence why not. */
static int take_answer(struct fetch *f, const struct fetch_head *h, struct fail *why)
{
    if (h->status == 503 || h->status == 429)
        return fail(why, E_UNAVAILABLE, "the server is busy");
    if (h->status != 200 && h->status != 206)
        return fail(why, E_PROTO, "the server answered %d", h->status);
    if (h->status == 200)
        start_over(f);
    else if (h->from != f->off)
        return fail(why, E_PROTO, "the server sent another range than asked for");
    if (*h->etag)
        (void)str_copy(f->etag, sizeof(f->etag), h->etag);
    f->end = f->off + h->length;
    if (f->o.size >= 0 && f->end != f->o.size)
        return fail(why, E_PROTO, "the file has %lld bytes, the offer said %lld", (long long)f->end,
                    (long long)f->o.size);
    f->phase = PHASE_BODY;
    return 0;
}

/* False when f came to an end or waits to try again (and may be gone). */
static bool on_head(struct fetch *f, char *text)
{
    struct fetch_head h;
    struct fail why = {0};

    int rc = fetch_head_parse(text, &h, &why);
    if (rc == 0)
        rc = take_answer(f, &h, &why);
    if (rc == 0 && f->off < f->end)
        return true;
    if (rc == E_UNAVAILABLE)
        retry(f, why.text);
    else
        finish(f, rc, why.text);
    return false;
}

/* Body bytes; false when f came to an end (and may be gone). */
static bool take_body(struct fetch *f, const char *p, size_t n)
{
    bool cuts = f->o.cut_after >= 0 && !f->cut_done;

    if ((int64_t)n > f->end - f->off)
        n = (size_t)(f->end - f->off);
    if (cuts && f->off + (int64_t)n > f->o.cut_after)
        n = f->off < f->o.cut_after ? (size_t)(f->o.cut_after - f->off) : 0;
    digest_add(f->digests, p, n);
    if (f->o.save_fd >= 0 && pwrite(f->o.save_fd, p, n, f->off) != (ssize_t)n) {
        finish(f, -errno, "cannot save the file");
        return false;
    }
    f->off += (int64_t)n;
    if (f->off == f->end) {
        finish(f, 0, "");
        return false;
    }
    if (cuts && f->off >= f->o.cut_after) {
        f->cut_done = true;
        retry(f, "this side cut the connection");
        return false;
    }
    return true;
}

static bool take_head(struct fetch *f, const char *p, size_t n)
{
    size_t take = n < HEAD_MAX - f->head_n ? n : HEAD_MAX - f->head_n;

    memcpy(f->head + f->head_n, p, take);
    size_t before = f->head_n;
    f->head_n += take;
    f->head[f->head_n] = '\0';
    char *blank = strstr(f->head, "\r\n\r\n");
    if (!blank) {
        if (f->head_n < HEAD_MAX)
            return true;
        finish(f, E_LIMIT, "the server's headers are too long");
        return false;
    }
    size_t used = (size_t)(blank + 4 - f->head) - before;
    *blank = '\0';
    return on_head(f, f->head) && (used == n || take_body(f, p + used, n - used));
}

/* How much may be taken in one go, and how often: with a rate a little, then a rest. */
static size_t bite(const struct fetch *f)
{
    int64_t n = f->o.rate * REST_MS / 1000;

    return f->o.rate == 0 || n > PIECE ? PIECE : n > BITE_MIN ? (size_t)n : BITE_MIN;
}

static void rest(struct fetch *f)
{
    f->resting = true;
    loop_poll_set(f->poll, 0);
    loop_timer_start(f->timer, REST_MS, 0);
}

static void readable(struct fetch *f)
{
    static char piece[PIECE];

    for (int i = 0; i < PIECES_PER_TURN; i++) {
        ssize_t n = recv(f->fd, piece, bite(f), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            retry(f, n == 0 ? "the server closed the connection" : strerror(errno));
            return;
        }
        bool on = f->phase == PHASE_BODY ? take_body(f, piece, (size_t)n)
                                         : take_head(f, piece, (size_t)n);
        if (!on)
            return;
        if (f->o.rate > 0) {
            rest(f);
            return;
        }
    }
    loop_timer_start(f->timer, (uint64_t)f->o.stall_ms, 0);
}

static void writable(struct fetch *f)
{
    if (f->phase == PHASE_CONNECT) {
        int err = 0;
        socklen_t n = sizeof(err);
        getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &n);
        if (err) {
            retry(f, strerror(err));
            return;
        }
        f->phase = PHASE_SEND;
    }
    ssize_t n = send(f->fd, f->out.p + f->out_done, f->out.n - f->out_done, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        retry(f, strerror(errno));
        return;
    }
    f->out_done += (size_t)n;
    if (f->out_done == f->out.n) {
        f->phase = PHASE_HEAD;
        loop_poll_set(f->poll, LOOP_READ);
    }
}

static void on_socket(void *arg, int events)
{
    struct fetch *f = (struct fetch *)arg;

    if (f->phase == PHASE_CONNECT || f->phase == PHASE_SEND)
        writable(f);
    else if (events & LOOP_READ)
        readable(f);
    else if (events == 0)
        retry(f, "the connection broke");
}

static void make_request(struct fetch *f)
{
    f->out.n = 0;
    f->out_done = 0;
    sbuf_fmt(&f->out, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: otasim\r\nConnection: close\r\n",
             f->url.path, f->url.authority);
    if (f->off > 0)
        sbuf_fmt(&f->out, "Range: bytes=%lld-\r\n", (long long)f->off);
    if (f->off > 0 && *f->etag)
        sbuf_fmt(&f->out, "If-Range: %s\r\n", f->etag);
    sbuf_str(&f->out, "\r\n");
}

static void start_connect(struct fetch *f)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *list = NULL;
    char port[16];
    int one = 1;

    (void)str_fmt(port, sizeof(port), "%d", f->url.port);
    if (getaddrinfo(f->address, port, &hints, &list) != 0) {
        retry(f, "the address can't be used");
        return;
    }
    f->fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc = f->fd < 0 ? -1 : connect(f->fd, list->ai_addr, list->ai_addrlen);
    int err = errno;
    freeaddrinfo(list);
    if (rc < 0 && err != EINPROGRESS) {
        retry(f, strerror(err));
        return;
    }
    setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    make_request(f);
    f->head_n = 0;
    f->phase = PHASE_CONNECT;
    f->poll = loop_poll_new(f->loop, f->fd, on_socket, f);
    loop_poll_set(f->poll, LOOP_WRITE);
    loop_timer_start(f->timer, (uint64_t)f->o.stall_ms, 0);
}

static void on_resolved(void *arg, const char *address, const char *err)
{
    struct fetch *f = (struct fetch *)arg;

    f->resolving = false;
    if (f->dead) {
        fetch_free(f);
        return;
    }
    if (!*address || !str_copy(f->address, sizeof(f->address), address)) {
        retry(f, err);
        return;
    }
    start_connect(f);
}

static void start_try(struct fetch *f)
{
    struct fail why;

    if (f->tries == 0 && fetch_url_parse(f->url_text, &f->url, &why) < 0) {
        finish(f, why.rc, why.text);
        return;
    }
    f->tries++;
    f->phase = PHASE_RESOLVE;
    f->resolving = true;
    loop_resolve(f->loop, f->url.host, on_resolved, f);
}

struct fetch *fetch_new(struct loop *l, const struct fetch_options *o)
{
    struct fetch *f = xcalloc(1, sizeof(*f));

    f->loop = l;
    f->o = *o;
    f->fd = -1;
    f->url_text = xstrdup(o->url);
    f->o.url = f->url_text;
    f->digests = digest_new();
    f->timer = loop_timer_new(l, on_timer, f);
    f->phase = PHASE_WAIT;
    loop_timer_start(f->timer, 0, 0);
    return f;
}

void fetch_free(struct fetch *f)
{
    if (!f)
        return;
    close_socket(f);
    loop_timer_free(TAKE(f->timer));
    if (f->resolving) {
        f->dead = true;
        return;
    }
    digest_free(f->digests);
    sbuf_done(&f->out);
    free(f->url_text);
    free(f);
}
