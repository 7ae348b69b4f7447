/*
 * The loop itself: run, stop, step, and its orderly end. Handles are allocated one by one and
 * freed by libuv's close callback, never before; loop_free closes those that are still open, so
 * whoever made them must not free them after it. Timers, descriptors and wakes are in handle.c,
 * slow work in work.c, threads in thread.c.
 */
#include "internal.h"

#include <assert.h>

void loop_closed(uv_handle_t *h)
{
    free(h->data);
}

static void on_stop(uv_async_t *a)
{
    uv_stop(a->loop);
}

static void run_turns(struct loop *l)
{
    for (struct turn *t = l->turns; t; t = t->next)
        t->cb(t->arg);
}

static void on_prepare(uv_prepare_t *h)
{
    run_turns((struct loop *)h->loop->data);
}

static void on_check(uv_check_t *h)
{
    run_turns((struct loop *)h->loop->data);
}

struct loop *loop_new(void)
{
    struct loop *l = xcalloc(1, sizeof(*l));

    /* Only out of descriptors or memory can make these fail: nothing works then. */
    if (uv_loop_init(&l->uv) < 0 || uv_async_init(&l->uv, &l->stop, on_stop) < 0) {
        LOG(LOG_ERROR, "loop", "cannot make an event loop: out of file descriptors");
        abort();
    }
    l->uv.data = l;
    uv_prepare_init(&l->uv, &l->prepare);
    uv_check_init(&l->uv, &l->check);
    uv_unref((uv_handle_t *)&l->stop);
    return l;
}

bool loop_here(const struct loop *l)
{
    return !atomic_load_explicit(&l->running, memory_order_acquire) ||
           pthread_equal(l->owner, pthread_self());
}

static int run(struct loop *l, uv_run_mode mode)
{
    assert(!atomic_load(&l->running));
    l->owner = pthread_self();
    atomic_store_explicit(&l->running, true, memory_order_release);
    int alive = uv_run(&l->uv, mode);
    atomic_store_explicit(&l->running, false, memory_order_release);
    return alive;
}

void loop_run(struct loop *l)
{
    /* Referenced, the stop handle alone keeps an idle loop waiting. */
    uv_ref((uv_handle_t *)&l->stop);
    run(l, UV_RUN_DEFAULT);
    uv_unref((uv_handle_t *)&l->stop);
}

bool loop_step(struct loop *l)
{
    return run(l, UV_RUN_NOWAIT) != 0;
}

void loop_stop(struct loop *l)
{
    uv_async_send(&l->stop);
}

void loop_on_turn(struct loop *l, void (*cb)(void *arg), void *arg)
{
    assert(loop_here(l));
    struct turn **end = &l->turns;
    while (*end)
        end = &(*end)->next;
    struct turn *t = xcalloc(1, sizeof(*t));
    t->cb = cb;
    t->arg = arg;
    *end = t;
    if (l->turns == t) {
        uv_prepare_start(&l->prepare, on_prepare);
        uv_check_start(&l->check, on_check);
        uv_unref((uv_handle_t *)&l->prepare);
        uv_unref((uv_handle_t *)&l->check);
    }
}

static void close_handle(uv_handle_t *h, void *arg UNUSED)
{
    if (!uv_is_closing(h))
        uv_close(h, loop_closed);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    assert(!atomic_load(&l->running));
    uv_prepare_stop(&l->prepare); /* whoever collected in turns may be gone by now */
    uv_check_stop(&l->check);
    uv_walk(&l->uv, close_handle, NULL);
    /* Work on the pool ends and its done runs; done may have opened new handles. */
    while (uv_loop_close(&l->uv) == UV_EBUSY) {
        run(l, UV_RUN_DEFAULT);
        uv_walk(&l->uv, close_handle, NULL);
    }
    while (l->turns) {
        struct turn *t = l->turns;
        l->turns = t->next;
        free(t);
    }
    free(l);
}
