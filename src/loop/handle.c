/*
 * Timers, watched descriptors, wakes and signals: thin owners of one libuv handle each.
 * Freeing closes the handle; the memory goes when libuv says so, hence freeing inside the
 * handle's own callback is fine.
 */
#include "internal.h"

#include <assert.h>

struct loop_timer {
    uv_timer_t uv;
    loop_timer_cb cb;
    void *arg;
};

struct loop_poll {
    uv_poll_t uv;
    loop_poll_cb cb;
    void *arg;
};

struct loop_wake {
    uv_async_t uv;
    void (*cb)(void *arg);
    void *arg;
};

struct signal_watch {
    uv_signal_t uv;
    void (*cb)(void *arg, int signo);
    void *arg;
};

/* libuv refuses a handle only when the process is out of descriptors or the caller is wrong. */
static void must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    LOG(LOG_ERROR, "loop", "libuv refused a handle", KV("what", what),
        KV("reason", uv_strerror(rc)));
    abort();
}

static bool here(const uv_handle_t *h)
{
    return loop_here((const struct loop *)h->loop->data);
}

static void close_one(uv_handle_t *h)
{
    assert(here(h));
    uv_close(h, loop_closed);
}

/* ---- timers ---- */

static void on_timer(uv_timer_t *h)
{
    struct loop_timer *t = (struct loop_timer *)h->data;
    t->cb(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_timer_cb cb, void *arg)
{
    assert(loop_here(l));
    struct loop_timer *t = xcalloc(1, sizeof(*t));
    t->cb = cb;
    t->arg = arg;
    uv_timer_init(&l->uv, &t->uv);
    t->uv.data = t;
    return t;
}

void loop_timer_start(struct loop_timer *t, uint64_t after_ms, uint64_t repeat_ms)
{
    assert(here((uv_handle_t *)&t->uv));
    /* libuv counts from its idea of now, which is as old as this turn's first callback. */
    uv_update_time(t->uv.loop);
    uv_timer_start(&t->uv, on_timer, after_ms, repeat_ms);
}

void loop_timer_stop(struct loop_timer *t)
{
    assert(here((uv_handle_t *)&t->uv));
    uv_timer_stop(&t->uv);
}

void loop_timer_free(struct loop_timer *t)
{
    if (t)
        close_one((uv_handle_t *)&t->uv);
}

/* ---- descriptors ---- */

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct loop_poll *p = (struct loop_poll *)h->data;
    int seen = 0;
    if (status >= 0)
        seen = ((events & UV_READABLE) ? LOOP_READ : 0) | ((events & UV_WRITABLE) ? LOOP_WRITE : 0);
    p->cb(p->arg, seen);
}

struct loop_poll *loop_poll_new(struct loop *l, int fd, loop_poll_cb cb, void *arg)
{
    assert(loop_here(l));
    struct loop_poll *p = xcalloc(1, sizeof(*p));
    p->cb = cb;
    p->arg = arg;
    must(uv_poll_init(&l->uv, &p->uv, fd), "poll");
    p->uv.data = p;
    return p;
}

void loop_poll_set(struct loop_poll *p, int events)
{
    assert(here((uv_handle_t *)&p->uv));
    if (events == 0) {
        uv_poll_stop(&p->uv);
        return;
    }
    int want = ((events & LOOP_READ) ? UV_READABLE : 0) | ((events & LOOP_WRITE) ? UV_WRITABLE : 0);
    must(uv_poll_start(&p->uv, want, on_poll), "poll start");
}

void loop_poll_free(struct loop_poll *p)
{
    if (p)
        close_one((uv_handle_t *)&p->uv);
}

/* ---- wakes ---- */

static void on_wake(uv_async_t *h)
{
    struct loop_wake *w = (struct loop_wake *)h->data;
    w->cb(w->arg);
}

struct loop_wake *loop_wake_new(struct loop *l, void (*cb)(void *arg), void *arg)
{
    assert(loop_here(l));
    struct loop_wake *w = xcalloc(1, sizeof(*w));
    w->cb = cb;
    w->arg = arg;
    must(uv_async_init(&l->uv, &w->uv, on_wake), "wake");
    w->uv.data = w;
    return w;
}

void loop_wake_send(struct loop_wake *w)
{
    uv_async_send(&w->uv);
}

void loop_wake_free(struct loop_wake *w)
{
    if (w)
        close_one((uv_handle_t *)&w->uv);
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *h, int signo)
{
    struct signal_watch *s = (struct signal_watch *)h->data;
    s->cb(s->arg, signo);
}

void loop_on_signal(struct loop *l, int signo, void (*cb)(void *arg, int signo), void *arg)
{
    assert(loop_here(l));
    struct signal_watch *s = xcalloc(1, sizeof(*s));
    s->cb = cb;
    s->arg = arg;
    must(uv_signal_init(&l->uv, &s->uv), "signal");
    s->uv.data = s;
    must(uv_signal_start(&s->uv, on_signal, signo), "signal start");
}
