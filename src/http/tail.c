/*
 * Tails: the end of a file that the library has handed to the kernel and the client's TCP has not
 * acknowledged yet. The request is over by then, and its connection serves the next one or is
 * closed; the file is complete when the client got it, and not before. What is in the socket's
 * queue is looked at again, soon and then more and more seldom, until it is empty or the peer is
 * gone: a device may say at once what it runs now, and its bytes should be told before. Of a
 * connection that is closed a second descriptor is kept, which holds the connection's place in
 * the bounds of conn.c.
 */
#include "internal.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TAILS_MAX = 64, /* of a connection: a client may ask on and on without reading */
    TELL_ROW = 6,   /* before that a part is not told: the end would wait for its commit */
};

struct tail {
    struct track *track;
    uint64_t end; /* of the stream of bytes: where its answer ends */
    struct tail *next;
};

struct tails {
    struct http_thread *thread;
    struct conn *conn; /* NULL: it is closed, fd and place are ours */
    int fd;
    struct tail *first, **end;
    size_t count;
    uint64_t acked;
    int64_t since_us, due_us;
    char address[INET6_ADDRSTRLEN];
    size_t row;
    struct tails *prev, *next; /* of its row: due before and after it */
};

static void leave_row(struct tails *q)
{
    struct tails_row *row = &q->thread->tails[q->row];

    *(q->prev ? &q->prev->next : &row->first) = q->next;
    *(q->next ? &q->next->prev : &row->last) = q->prev;
}

/* Whoever comes later is due later: a row is in order by itself. */
static void enter_row(struct tails *q, size_t number, int64_t now)
{
    struct tails_row *row = &q->thread->tails[number];

    q->row = number;
    q->due_us = now + ((int64_t)1000 << number);
    q->prev = row->last;
    q->next = NULL;
    *(row->last ? &row->last->next : &row->first) = q;
    row->last = q;
}

static void pop(struct tails *q, uint64_t acked)
{
    struct tail *one = q->first;

    q->first = one->next;
    if (!q->first)
        q->end = &q->first;
    q->count--;
    track_done(one->track, one->end > acked ? one->end - acked : 0);
    free(one);
}

static void tails_free(struct tails *q)
{
    leave_row(q);
    q->thread->n_tails--;
    while (q->first)
        pop(q, q->acked);
    if (q->conn) {
        q->conn->tails = NULL;
    } else {
        close(q->fd);
        conn_leave(q->thread->server, q->address);
    }
    if (q->thread->n_tails == 0) {
        loop_timer_stop(q->thread->tails_timer);
        q->thread->tails_due_us = 0;
    }
    free(q);
}

/* False when there is nothing more to come: q is gone. */
static bool look(struct tails *q, int64_t now)
{
    const struct conf *conf = q->thread->server->o.conf;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    bool gone = getsockopt(q->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
                info.tcpi_state == 7 /* CLOSE */;

    if (info.tcpi_bytes_acked > q->acked) {
        q->acked = info.tcpi_bytes_acked;
        q->since_us = now;
    }
    while (q->first && q->first->end <= q->acked)
        pop(q, q->acked);
    if (q->first && !gone && now - q->since_us < conf->http_stall_timeout_s * 1000000) {
        if (q->row >= TELL_ROW)
            track_rest(q->first->track, q->first->end - q->acked);
        return true;
    }
    tails_free(q);
    return false;
}

/* ---- when ---- */
static void arm(struct http_thread *t, int64_t due_us, int64_t now)
{
    if (t->tails_due_us && t->tails_due_us <= due_us)
        return;
    t->tails_due_us = due_us;
    loop_timer_start(t->tails_timer, due_us > now ? (uint64_t)(due_us - now + 999) / 1000 : 0, 0);
}

static void on_timer(void *arg)
{
    struct http_thread *t = (struct http_thread *)arg;
    int64_t now = clock_mono_us(), due = INT64_MAX;

    t->tails_due_us = 0;
    for (size_t i = TAIL_ROWS; i-- > 0;) { /* who moves on is not looked at twice */
        struct tails *q;
        while ((q = t->tails[i].first) && q->due_us <= now) {
            if (!look(q, now))
                continue;
            leave_row(q);
            enter_row(q, i + 1 < TAIL_ROWS ? i + 1 : i, now);
        }
    }
    for (size_t i = 0; i < TAIL_ROWS; i++)
        if (t->tails[i].first && t->tails[i].first->due_us < due)
            due = t->tails[i].first->due_us;
    if (t->n_tails > 0)
        arm(t, due, now);
}

void tail_thread(struct http_thread *t, bool begins)
{
    if (begins) {
        t->tails_timer = loop_timer_new(t->loop, on_timer, t);
        return;
    }
    for (size_t i = 0; i < TAIL_ROWS; i++)
        for (struct tails *q; (q = t->tails[i].first);)
            if (look(q, clock_mono_us()))
                tails_free(q);
    loop_timer_free(t->tails_timer);
}

/* ---- of a connection ---- */
static struct tails *tails_of(struct conn *c, uint64_t acked, int64_t now)
{
    struct http_thread *t = c->listener->thread;

    if (c->tails)
        return c->tails;
    struct tails *q = xcalloc(1, sizeof(*q));
    q->thread = t;
    q->conn = c;
    q->fd = c->fd;
    q->end = &q->first;
    q->acked = acked;
    q->since_us = now;
    (void)str_copy(q->address, sizeof(q->address), c->address);
    enter_row(q, 0, now);
    t->n_tails++;
    c->tails = q;
    return q;
}

/* Where the stream ends now. The kernel tells both numbers, but not at once. */
static uint64_t end_of_stream(int fd, int queued, uint64_t *ret_acked)
{
    for (int turn = 0; turn < 8; turn++) {
        int before = queued;
        *ret_acked = conn_acked(fd);
        (void)ioctl(fd, SIOCOUTQ, &queued);
        if (queued == before)
            break;
    }
    return *ret_acked + (queued > 0 ? (uint64_t)queued : 0);
}

void tail_begin(struct conn *c, struct track *track)
{
    int64_t now = clock_mono_us();
    uint64_t acked;
    int queued = 0;

    if (ioctl(c->fd, SIOCOUTQ, &queued) == 0 && queued == 0) {
        track_done(track, 0);
        return;
    }
    struct tail *one = xcalloc(1, sizeof(*one));
    one->track = track;
    one->end = end_of_stream(c->fd, queued, &acked);
    struct tails *q = tails_of(c, acked, now);
    *q->end = one;
    q->end = &one->next;
    if (++q->count > TAILS_MAX)
        pop(q, acked);
    leave_row(q);
    enter_row(q, 0, now);
    arm(c->listener->thread, q->due_us, now);
}

void tail_request(struct conn *c)
{
    if (c->tails)
        (void)look(c->tails, clock_mono_us());
}

void tail_closed(struct conn *c)
{
    struct tails *q = c->tails;

    if (!q || !look(q, clock_mono_us()))
        return;
    int fd = dup(c->fd);
    if (fd < 0) {
        tails_free(q);
        return;
    }
    shutdown(fd, SHUT_WR); /* ours would keep it from ending */
    q->fd = fd;
    q->conn = NULL;
    c->tails = NULL;
    conn_enter(q->thread->server, q->address);
}
