/*
 * Files under a budget. The library asks for bytes piece by piece; while this answer's turn is yet
 * to come its connection is suspended and a timer of the thread's loop takes it up again, so that
 * thousands that wait cost nothing and hold up nobody. Files without a budget never come here.
 */
#include "internal.h"

#include <unistd.h>

enum { BLOCK = 16 * 1024 };

struct paced {
    struct http_request *request; /* NULL once it is completed */
    struct http_thread *thread;
    struct http_budget *budget;
    struct loop_timer *timer; /* made with the first wait */
    int fd;
    uint64_t first, left; /* first: of the file, where the answer begins */
    uint64_t granted;     /* may be sent now */
    bool waiting, cut;
};

static void go_on(struct paced *p)
{
    if (!p->waiting || !p->request)
        return;
    p->waiting = false;
    conn_phase(p->request->conn, CONN_REPLY);
    MHD_resume_connection(p->request->conn->mhd);
}

static void on_timer(void *arg)
{
    struct paced *p = arg;

    go_on(p);
    loop_wake_send(p->thread->wake); /* MHD wants a turn, one for all of them */
}

static void wait_until(struct paced *p, int64_t us)
{
    p->waiting = true;
    if (!p->timer)
        p->timer = loop_timer_new(p->thread->loop, on_timer, p);
    loop_timer_start(p->timer, (uint64_t)(us / 1000 + 1), 0);
    conn_phase(p->request->conn, CONN_STREAM);
    MHD_suspend_connection(p->request->conn->mhd);
}

static ssize_t on_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct paced *p = cls;
    int64_t now = clock_mono_us(), at;

    if (p->cut)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (p->granted == 0) {
        p->granted = budget_reserve(p->budget, p->left, now, &at);
        if (at > now && p->request) {
            wait_until(p, at - now);
            return 0;
        }
    }
    size_t n = p->granted < max ? p->granted : max;
    ssize_t got = pread(p->fd, buf, n, (off_t)(p->first + pos));
    if (got <= 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    p->granted -= (uint64_t)got;
    p->left -= (uint64_t)got;
    return got;
}

static void on_free(void *cls)
{
    struct paced *p = cls;

    if (p->request)
        p->request->paced = NULL;
    if (p->timer)
        loop_timer_free(p->timer);
    http_budget_unref(p->budget);
    close(p->fd);
    free(p);
}

void paced_reply(struct http_request *r, int status, int fd, uint64_t first, uint64_t count,
                 struct http_budget *budget)
{
    struct paced *p = xcalloc(1, sizeof(*p));

    *p = (struct paced){.request = r,
                        .thread = r->thread,
                        .budget = http_budget_ref(budget),
                        .fd = fd,
                        .first = first,
                        .left = count};
    struct MHD_Response *resp =
        MHD_create_response_from_callback(count, BLOCK, on_read, p, on_free);
    if (!resp) {
        p->request = NULL;
        on_free(p);
        r->close = true;
        r->step = STEP_ANSWERED;
        return;
    }
    r->paced = p;
    reply_stream(r, status, resp);
}

void paced_completed(struct http_request *r)
{
    if (!r->paced)
        return;
    if (r->paced->timer)
        loop_timer_stop(r->paced->timer);
    r->paced->request = NULL;
    r->paced = NULL;
}

void paced_cut(struct http_request *r)
{
    if (!r->paced)
        return;
    r->paced->cut = true;
    go_on(r->paced);
}
