/*
 * What the library writes, packet by packet, on its way to the socket. It has one queue of outgoing
 * packets, PUBACKs among them in the order of their messages, and mosquitto_loop_write empties it,
 * all of it, with a system call for each. It calls write by name, and a program's own definition
 * comes before libc's: while a gate stands open on this thread, packets for its socket are gathered
 * and leave in a few calls, and a PUBACK that is not allowed to leave yet finds the socket full, so
 * that it stays in the library's queue with all behind it. Everything else goes on to the next
 * definition of write as it is.
 *
 * Where the library does not come here (with TLS, or if it should write in another way),
 * gate.asked stays false, and nothing may be built on the counts.
 */
#include "internal.h"

#include <dlfcn.h>
#include <unistd.h>

enum { GATHER_MAX = 32 * 1024, GATHER_MIN = 512 };
enum { PUBLISH = 3, PUBACK = 4 }; /* MQTT 3.1.1 and 5.0, 2.1.2: the packet's type */

static _Thread_local struct gate *open_gate;

typedef ssize_t write_fn(int fd, const void *p, size_t n);

static write_fn *_Atomic next_write;

void gate_setup(void)
{
    write_fn *fn;

    *(void **)&fn = dlsym(RTLD_NEXT, "write");
    next_write = fn;
}

static ssize_t write_on(int fd, const void *p, size_t n)
{
    if (!next_write)
        gate_setup();
    return next_write(fd, p, n);
}

/* False when the socket takes no more, or broke: errno says. */
static bool flush(struct gate *g)
{
    while (g->at < g->n) {
        ssize_t n = write_on(g->fd, g->buf + g->at, g->n - g->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        g->at += (size_t)n;
    }
    g->at = g->n = 0;
    return true;
}

/* Room for n more; false when they are too many. */
static bool make_room(struct gate *g, size_t n)
{
    size_t need = g->n + n, cap = g->cap ? g->cap : GATHER_MIN;

    if (need > GATHER_MAX)
        return false;
    while (cap < need)
        cap *= 2;
    if (cap > g->cap) {
        g->buf = xrealloc(g->buf, cap);
        g->cap = cap;
    }
    return true;
}

static ssize_t straight(struct gate *g, const void *p, size_t n)
{
    ssize_t done = flush(g) ? write_on(g->fd, p, n) : -1;

    if (done >= 0)
        g->left = n - (size_t)done;
    return done;
}

/* The library gives a whole packet, or what is left of one that was written in part. */
static ssize_t take(struct gate *g, const void *p, size_t n)
{
    unsigned type = n ? *(const unsigned char *)p >> 4 : 0;

    g->asked = true;
    if (g->left > 0)
        return straight(g, p, n);
    if (type == PUBACK && g->holds && g->sent == g->allowed) {
        errno = EAGAIN;
        return -1;
    }
    if (type != PUBLISH && type != PUBACK) /* after DISCONNECT the library closes */
        return straight(g, p, n);
    if (!make_room(g, n) && (!flush(g) || !make_room(g, n)))
        return g->n == 0 ? straight(g, p, n) : -1;
    memcpy(g->buf + g->n, p, n);
    g->n += n;
    g->sent += type == PUBACK;
    return (ssize_t)n;
}

ssize_t write(int fd, const void *p, size_t n)
{
    struct gate *g = open_gate;

    return g && g->fd == fd ? take(g, p, n) : write_on(fd, p, n);
}

void gate_reset(struct gate *g)
{
    g->allowed = g->sent = g->taken;
    g->left = g->at = g->n = 0;
    g->asked = false;
}

void gate_open(struct gate *g, int fd)
{
    g->fd = fd;
    open_gate = g;
}

int gate_close(struct gate *g, bool stands)
{
    open_gate = NULL;
    if (!stands || flush(g) || errno == EAGAIN || errno == EWOULDBLOCK)
        return 0;
    return errno;
}

bool gate_waits(const struct gate *g)
{
    return g->at < g->n;
}

bool gate_owes(const struct gate *g)
{
    return g->asked && (gate_waits(g) || g->sent < g->allowed);
}

void gate_done(struct gate *g)
{
    free(g->buf);
}
