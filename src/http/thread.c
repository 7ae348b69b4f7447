/*
 * One http thread: its loop drives the MHD daemons from outside. MHD_run goes after every event
 * on a daemon's epoll descriptor and after every resume, and MHD's own wish for another turn
 * becomes a timer. The thread outlives its end as a small block of memory for as long as handles
 * of deferred requests are out.
 */
#include "internal.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

static void arm(struct listener *l)
{
#if MHD_VERSION >= 0x00097602
    uint64_t ms;
    bool wanted = MHD_get_timeout64(l->daemon, &ms) == MHD_YES;
#else
    MHD_UNSIGNED_LONG_LONG ms;
    bool wanted = MHD_get_timeout(l->daemon, &ms) == MHD_YES;
#endif
    if (wanted)
        loop_timer_start(l->timer, ms, 0);
    else
        loop_timer_stop(l->timer);
}

void thread_pump(struct listener *l)
{
    assert(!l->ran);
    l->ran = true;
    MHD_run(l->daemon);
    l->ran = false;
    arm(l);
}

static void on_event(void *arg, int events UNUSED)
{
    thread_pump((struct listener *)arg);
}

static void on_timer(void *arg)
{
    thread_pump((struct listener *)arg);
}

/* ---- the end ---- */

static void stop_accepting(struct http_thread *t)
{
    t->stopping = true;
    t->stop_at_us = clock_mono_us() + (int64_t)atomic_load(&t->server->grace_ms) * 1000;
    for (size_t i = 0; i < LISTEN__COUNT; i++) {
        if (!t->listeners[i].daemon)
            continue;
        MHD_socket fd = MHD_quiesce_daemon(t->listeners[i].daemon);
        if (fd != MHD_INVALID_SOCKET)
            close(fd);
    }
    for (struct conn *c = t->conns; c; c = c->next)
        if (c->request)
            stream_stop(c->request);
}

static void pump_all(struct http_thread *t)
{
    for (size_t i = 0; i < LISTEN__COUNT; i++)
        if (t->listeners[i].daemon)
            thread_pump(&t->listeners[i]);
}

static void step_stop(struct http_thread *t)
{
    conn_tick(t);
    pump_all(t);
    bool over = clock_mono_us() >= t->stop_at_us;
    if ((!t->conns && !t->n_tails) || over)
        loop_stop(t->loop);
    else
        loop_timer_start(t->tick, 20, 20);
}

static void on_tick(void *arg)
{
    struct http_thread *t = (struct http_thread *)arg;
    if (t->stopping) {
        step_stop(t);
        return;
    }
    conn_tick(t);
    linger_tick(t);
    pump_all(t); /* requests that were refused as late are resumed */
}

static void on_wake(void *arg)
{
    struct http_thread *t = (struct http_thread *)arg;
    hold_take_back(t);
    pump_all(t);
    if (atomic_load(&t->server->stopping)) {
        if (!t->stopping)
            stop_accepting(t);
        step_stop(t);
    }
}

/* What is still open when the grace is over. Suspended connections must be resumed before
 * MHD_stop_daemon, which is undefined otherwise. */
static void cut_all(struct http_thread *t)
{
    for (struct conn *c = t->conns; c; c = c->next) {
        if (c->request) {
            stream_cut(c->request);
            paced_cut(c->request);
            hold_cut(c->request);
        }
        conn_cut(c);
    }
    pump_all(t);
    for (size_t i = 0; i < LISTEN__COUNT; i++) {
        struct listener *l = &t->listeners[i];
        if (!l->daemon)
            continue;
        loop_poll_free(l->poll);
        loop_timer_free(l->timer);
        MHD_stop_daemon(l->daemon);
        l->daemon = NULL;
    }
    linger_end_all(t);
    tail_thread(t, false);
}

static void close_queue(struct http_thread *t)
{
    hold_take_back(t);
    pthread_mutex_lock(&t->lock);
    t->closed = true;
    pthread_mutex_unlock(&t->lock);
    hold_take_back(t); /* what came between */
}

static void thread_main(void *arg)
{
    struct http_thread *t = (struct http_thread *)arg;
    const struct http_options *o = &t->server->o;

    send_thread(t);
    tail_thread(t, true);
    if (o->thread_open)
        t->arg = o->thread_open(o->arg, t->index, t->loop);
    for (size_t i = 0; i < LISTEN__COUNT; i++) {
        struct listener *l = &t->listeners[i];
        if (!l->daemon)
            continue;
        int fd = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
        l->timer = loop_timer_new(t->loop, on_timer, l);
        l->poll = loop_poll_new(t->loop, fd, on_event, l);
        loop_poll_set(l->poll, LOOP_READ);
        thread_pump(l);
    }
    t->tick = loop_timer_new(t->loop, on_tick, t);
    loop_timer_start(t->tick, TICK_MS, TICK_MS);
    loop_run(t->loop);

    cut_all(t);
    close_queue(t);
    if (o->thread_close)
        o->thread_close(o->arg, t->arg);
    send_thread(NULL);
    map_done(&t->sending);
    loop_free(t->loop);
    t->loop = NULL;
}

/* ---- life ---- */

struct http_thread *thread_new(struct http_server *s, int index)
{
    struct http_thread *t = xcalloc(1, sizeof(*t));
    t->server = s;
    t->index = index;
    t->refs = 1;
    t->back_end = &t->back;
    t->id_base = rand_u64();
    pthread_mutex_init(&t->lock, NULL);
    t->loop = loop_new();
    t->wake = loop_wake_new(t->loop, on_wake, t);
    for (size_t i = 0; i < LISTEN__COUNT; i++) {
        t->listeners[i].thread = t;
        t->listeners[i].kind = (enum listener_kind)i;
    }
    return t;
}

void thread_start(struct http_thread *t)
{
    char name[16];
    snprintf(name, sizeof(name), "http-%u", (unsigned)t->index % 1000U);
    t->os = loop_thread_start(name, thread_main, t);
}

void thread_unref(struct http_thread *t)
{
    pthread_mutex_lock(&t->lock);
    bool last = --t->refs == 0;
    pthread_mutex_unlock(&t->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}
