/*
 * Slow work on libuv's thread pool, and name lookups as one kind of it. The pool is shared by
 * all loops of the process; done always runs on the loop that asked.
 */
#include "internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>

struct work {
    uv_work_t uv;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void work_run(uv_work_t *r)
{
    struct work *w = (struct work *)r->data;
    w->work(w->arg);
}

static void work_done(uv_work_t *r, int status UNUSED)
{
    struct work *w = (struct work *)r->data;
    if (w->done)
        w->done(w->arg);
    free(w);
}

void loop_work(struct loop *l, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    assert(loop_here(l));
    struct work *w = xcalloc(1, sizeof(*w));
    w->uv.data = w;
    w->work = work;
    w->done = done;
    w->arg = arg;
    uv_queue_work(&l->uv, &w->uv, work_run, work_done);
}

struct resolve {
    char *host;
    void (*done)(void *arg, const char *address, const char *err);
    void *arg;
    char address[INET6_ADDRSTRLEN + 20]; /* a v6 scope may follow */
    char err[128];
};

static void resolve_run(void *arg)
{
    struct resolve *r = (struct resolve *)arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;

    int rc = getaddrinfo(r->host, NULL, &hints, &list);
    if (rc == 0)
        rc = getnameinfo(list->ai_addr, list->ai_addrlen, r->address, sizeof(r->address), NULL, 0,
                         NI_NUMERICHOST);
    if (rc != 0) {
        r->address[0] = '\0';
        str_copy(r->err, sizeof(r->err), gai_strerror(rc));
    }
    if (list)
        freeaddrinfo(list);
}

static void resolve_done(void *arg)
{
    struct resolve *r = (struct resolve *)arg;
    r->done(r->arg, r->address, r->err);
    free(r->host);
    free(r);
}

void loop_resolve(struct loop *l, const char *host,
                  void (*done)(void *arg, const char *address, const char *err), void *arg)
{
    struct resolve *r = xcalloc(1, sizeof(*r));
    r->host = xstrdup(host);
    r->done = done;
    r->arg = arg;
    loop_work(l, resolve_run, resolve_done, r);
}
