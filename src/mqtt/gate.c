/*
 * What the library writes and reads, packet by packet, between it and the socket. It calls write
 * (2.0.21: send) and read by name, and a program's own definitions come before libc's; everything
 * that is not a gate's own socket goes on to the next definition as it is.
 *
 * Writing: the library has one queue of outgoing packets, PUBACKs among them in the order of their
 * messages, and mosquitto_loop_write empties it, all of it, with a system call for each. While a
 * gate stands open for writing, packets are gathered and leave in a few calls, and a PUBACK that is
 * not allowed to leave yet finds the socket full, so that it stays in the library's queue with all
 * behind it. Where the library does not come here (with TLS, or if it should write in another way),
 * gate.asked stays false, and nothing may be built on the counts.
 *
 * Reading: it takes three calls for a packet, one of them for its first byte. Open for reading, a
 * gate takes as much as there is, and hands it out. What the library leaves is kept, and the
 * socket says nothing of it: gate_has_input does.
 *
 * Queueing: for each packet the library writes a byte into a pipe that would wake a thread of its
 * own. There is none, so the byte goes nowhere.
 */
#include "internal.h"

#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GATHER_MAX = 32 * 1024, GATHER_MIN = 512, READ_MAX = 16 * 1024 };
enum { PUBLISH = 3, PUBACK = 4 }; /* MQTT 3.1.1 and 5.0, 2.1.2: the packet's type */

static _Thread_local struct gate_open now_open; /* gate NULL: none */
static _Thread_local char came[READ_MAX];       /* of the gate that is open for reading */

typedef ssize_t write_fn(int fd, const void *p, size_t n);
typedef ssize_t send_fn(int fd, const void *p, size_t n, int flags);
typedef ssize_t read_fn(int fd, void *p, size_t n);

static write_fn *_Atomic next_write;
static send_fn *_Atomic next_send;
static read_fn *_Atomic next_read;

void gate_setup(void)
{
    write_fn *w;
    send_fn *s;
    read_fn *r;

    *(void **)&w = dlsym(RTLD_NEXT, "write");
    *(void **)&s = dlsym(RTLD_NEXT, "send");
    *(void **)&r = dlsym(RTLD_NEXT, "read");
    next_write = w;
    next_send = s;
    next_read = r;
}

static ssize_t write_on(int fd, const void *p, size_t n)
{
    if (!next_write)
        gate_setup();
    return next_write(fd, p, n);
}

static ssize_t read_on(int fd, void *p, size_t n)
{
    if (!next_read)
        gate_setup();
    return next_read(fd, p, n);
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
    struct gate *g = now_open.gate;

    if (g && now_open.way == GATE_WRITE && g->fd == fd)
        return take(g, p, n);
    return g && now_open.way == GATE_QUEUE && g->fd != fd && n == 1 ? 1 : write_on(fd, p, n);
}

/* flags: MSG_NOSIGNAL from the library; what is gathered needs none, as programs ignore SIGPIPE. */
ssize_t send(int fd, const void *p, size_t n, int flags)
{
    struct gate *g = now_open.gate;

    if (g && now_open.way == GATE_WRITE && g->fd == fd)
        return take(g, p, n);
    if (!next_send)
        gate_setup();
    return next_send(fd, p, n, flags);
}

static ssize_t give(struct gate *g, void *p, size_t n)
{
    if (g->in_at == g->in_n) {
        free(TAKE(g->kept));
        if (n >= READ_MAX)
            return read_on(g->fd, p, n);
        ssize_t got = read_on(g->fd, came, READ_MAX);
        if (got <= 0)
            return got;
        g->in = came;
        g->in_at = 0;
        g->in_n = (size_t)got;
    }
    if (n > g->in_n - g->in_at)
        n = g->in_n - g->in_at;
    memcpy(p, g->in + g->in_at, n);
    g->in_at += n;
    return (ssize_t)n;
}

ssize_t read(int fd, void *p, size_t n)
{
    struct gate *g = now_open.gate;

    return g && now_open.way == GATE_READ && g->fd == fd ? give(g, p, n) : read_on(fd, p, n);
}

void gate_reset(struct gate *g)
{
    g->allowed = g->sent = g->taken;
    g->left = g->at = g->n = g->in_at = g->in_n = 0;
    g->asked = false;
    free(TAKE(g->kept));
}

struct gate_open gate_open(struct gate *g, int fd, enum gate_way way)
{
    struct gate_open was = now_open;

    g->fd = fd;
    now_open = (struct gate_open){g, way};
    return was;
}

/* `came` is the next one's. */
static void keep(struct gate *g)
{
    size_t n = g->in_n - g->in_at;

    if (n == 0) {
        free(TAKE(g->kept));
    } else if (!g->kept) {
        g->kept = xmalloc(n);
        memcpy(g->kept, g->in + g->in_at, n);
        g->in = g->kept;
        g->in_at = 0;
        g->in_n = n;
    }
}

int gate_close(struct gate *g, struct gate_open was, bool stands)
{
    enum gate_way way = now_open.way;

    now_open = was;
    if (way == GATE_READ)
        keep(g);
    if (way != GATE_WRITE || !stands || flush(g) || errno == EAGAIN || errno == EWOULDBLOCK)
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

bool gate_has_input(const struct gate *g)
{
    return g->in_at < g->in_n;
}

void gate_done(struct gate *g)
{
    free(g->buf);
    free(g->kept);
}
