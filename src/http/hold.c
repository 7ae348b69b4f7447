/*
 * Deferring and pausing. The request is suspended in MHD and a handle goes out; it comes back
 * through the thread's queue, from any thread. A request that ends while its handle is out (the
 * client left at the end of the server's grace, or it waited for too long) keeps its memory
 * until the handle returns, for the job that holds it may still read from the arena.
 */
#include "internal.h"

#include <assert.h>

_Atomic int64_t hold_max_us = 60 * 1000000; /* a variable for the tests' sake */

static struct http_handle *handle_new(struct http_request *r, bool pause)
{
    struct http_handle *h = xcalloc(1, sizeof(*h));
    h->thread = r->thread;
    h->request = r;
    h->pause = pause;
    pthread_mutex_lock(&h->thread->lock);
    h->thread->refs++;
    pthread_mutex_unlock(&h->thread->lock);
    return h;
}

struct http_handle *http_defer(struct http_request *r)
{
    assert(r->in_handler && !r->deferred && r->step != STEP_ANSWERED);
    r->deferred = handle_new(r, false);
    return r->deferred;
}

void http_pause(struct http_request *r)
{
    assert(r->in_handler && r->mid_body);
    if (!r->paused)
        r->paused = handle_new(r, true);
}

static void wake_request(struct http_request *r)
{
    if (!r->suspended)
        return;
    r->suspended = false;
    conn_phase(r->conn, r->step == STEP_RECEIVE ? CONN_UPLOAD : CONN_REQUEST);
    MHD_resume_connection(r->conn->mhd);
}

/* On the thread, or on any once it has ended. */
static void take_back(struct http_handle *h)
{
    struct http_request *r = h->request;

    if (h->pause)
        r->paused = NULL;
    else
        r->deferred = NULL;
    if (!h->pause && (r->gone || r->late)) {
        h->fn(NULL, h->arg);
    } else if (!h->pause) {
        r->resume_fn = h->fn;
        r->resume_arg = h->arg;
    }
    if (r->gone) {
        if (!r->deferred && !r->paused)
            request_free(r);
    } else if (!r->late) {
        wake_request(r);
    }
    thread_unref(h->thread);
    free(h);
}

static void send_back(struct http_handle *h)
{
    struct http_thread *t = h->thread;

    pthread_mutex_lock(&t->lock);
    bool closed = t->closed;
    if (!closed) {
        *t->back_end = h;
        t->back_end = &h->next;
        loop_wake_send(t->wake); /* under the lock: the loop can't go away meanwhile */
    }
    pthread_mutex_unlock(&t->lock);
    if (closed)
        take_back(h);
}

void http_resume(struct http_handle *h, void (*fn)(struct http_request *r, void *arg), void *arg)
{
    h->fn = fn;
    h->arg = arg;
    send_back(h);
}

void http_continue(struct http_request *r)
{
    send_back(r->paused);
}

void hold_take_back(struct http_thread *t)
{
    pthread_mutex_lock(&t->lock);
    struct http_handle *list = t->back;
    t->back = NULL;
    t->back_end = &t->back;
    pthread_mutex_unlock(&t->lock);
    while (list) {
        struct http_handle *h = list;
        list = h->next;
        take_back(h);
    }
}

void hold_refuse(struct http_request *r)
{
    if (!r || r->late || !r->suspended)
        return;
    if (!r->deferred) { /* paused: whoever drains it is slow; the upload's own bound */
        conn_phase(r->conn, CONN_HELD);
        return;
    }
    r->late = true;
    wake_request(r);
}

void hold_cut(struct http_request *r)
{
    r->late = true;
    r->close = true;
    wake_request(r);
}
