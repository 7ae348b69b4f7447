/*
 * Lingering close. Closing a socket with unread bytes in it sends a reset, which can destroy an
 * answer that the client has not read yet; so a connection that was refused in the middle of
 * its body keeps a second descriptor here, whose rest is read and dropped, within bounds. It keeps
 * its place among the connections as well: refusals are given to anybody.
 */
#include "internal.h"

#include <sys/socket.h>
#include <unistd.h>

enum { LINGER_MAX_BYTES = 8 * 1024 * 1024, LINGER_MAX_MS = 10 * 1000 };

struct lingering {
    struct http_thread *thread;
    struct loop_poll *poll;
    int fd;
    uint64_t dropped;
    int64_t until_us;
    char address[INET6_ADDRSTRLEN];
    struct lingering *next;
};

static void linger_end(struct lingering *g)
{
    for (struct lingering **at = &g->thread->lingers; *at; at = &(*at)->next)
        if (*at == g) {
            *at = g->next;
            break;
        }
    loop_poll_free(g->poll);
    close(g->fd);
    conn_leave(g->thread->server, g->address);
    free(g);
}

static void on_readable(void *arg, int events)
{
    struct lingering *g = (struct lingering *)arg;
    char buf[16384];

    ssize_t n = events ? recv(g->fd, buf, sizeof(buf), MSG_DONTWAIT) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && (g->dropped += (uint64_t)n) <= LINGER_MAX_BYTES)
        return;
    linger_end(g);
}

void linger_start(struct http_thread *t, int fd, const char *address)
{
    struct lingering *g = xcalloc(1, sizeof(*g));
    shutdown(fd, SHUT_WR);
    g->thread = t;
    g->fd = fd;
    (void)str_copy(g->address, sizeof(g->address), address);
    conn_enter(t->server, g->address);
    g->until_us = clock_mono_us() + (int64_t)LINGER_MAX_MS * 1000;
    g->poll = loop_poll_new(t->loop, fd, on_readable, g);
    loop_poll_set(g->poll, LOOP_READ);
    g->next = t->lingers;
    t->lingers = g;
}

void linger_tick(struct http_thread *t)
{
    int64_t now = clock_mono_us();
    for (struct lingering *g = t->lingers, *next; g; g = next) {
        next = g->next;
        if (now >= g->until_us)
            linger_end(g);
    }
}

void linger_end_all(struct http_thread *t)
{
    for (struct lingering *g = t->lingers, *next; g; g = next) {
        next = g->next;
        linger_end(g);
    }
}
