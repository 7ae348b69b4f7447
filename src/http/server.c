/*
 * The server as a whole: opens all sockets first, so that a port in use is told before a thread
 * runs, then starts the threads; and stops them within their grace.
 */
#include "internal.h"

#include <assert.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { THREADS_MAX = 64, RESERVED_FDS = 128 };

static void on_panic(void *cls UNUSED, const char *file, unsigned line, const char *reason)
{
    LOG(LOG_ERROR, "http", "library gave up", KV("file", file), KV_INT("line", line),
        KV("reason", reason));
    abort();
}

/* Every connection is a descriptor; a download is two. */
static void raise_fd_limit(int64_t connections)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        return;
    if (lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    if ((int64_t)lim.rlim_cur < 2 * connections + RESERVED_FDS)
        LOG(LOG_WARN, "http", "the open files limit may not suffice for max_connections",
            KV_INT("limit", lim.rlim_cur), KV_INT("max_connections", connections));
}

static size_t thread_count(const struct conf *c)
{
    if (c->http_threads > 0)
        return c->http_threads < THREADS_MAX ? (size_t)c->http_threads : THREADS_MAX;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 8 ? 8 : (size_t)n;
}

static int open_listener(struct http_thread *t, enum listener_kind kind, const char *where,
                         int *io_port, struct fail *f)
{
    int fd = -1;
    int rc = listen_open(where, io_port, t->index > 0, &fd, f);
    if (rc < 0)
        return rc;
    return listen_daemon(&t->listeners[kind], fd, f);
}

static int open_thread(struct http_server *s, struct http_thread *t, struct fail *f)
{
    int *ports = s->ports;
    const struct conf *c = s->o.conf;

    int rc = open_listener(t, LISTEN_MAIN, c->http_listen, &ports[LISTEN_MAIN], f);
    if (rc == 0 && s->tls_cert)
        rc = open_listener(t, LISTEN_TLS, c->http_https_listen, &ports[LISTEN_TLS], f);
    if (rc == 0 && t->index == 0 && c->http_metrics_listen && c->http_metrics_listen[0])
        rc = open_listener(t, LISTEN_METRICS, c->http_metrics_listen, &ports[LISTEN_METRICS], f);
    return rc;
}

static int read_keys(struct http_server *s, struct fail *f)
{
    const struct conf *c = s->o.conf;
    if (!c->http_https_listen || !c->http_https_listen[0])
        return 0;
    int rc = listen_read_file(c->http_tls_cert, &s->tls_cert, f);
    return rc < 0 ? rc : listen_read_file(c->http_tls_key, &s->tls_key, f);
}

static void server_free(struct http_server *s)
{
    for (size_t i = 0; i < s->thread_count; i++)
        thread_unref(s->threads[i]);
    free(s->threads);
    router_free(s->router);
    map_done(&s->per_address);
    pthread_mutex_destroy(&s->lock);
    free(s->tls_cert);
    free(s->tls_key);
    free(s);
}

/* Threads that were made but never started. */
static void drop_threads(struct http_server *s)
{
    for (size_t i = 0; i < s->thread_count; i++) {
        struct http_thread *t = s->threads[i];
        for (size_t k = 0; k < LISTEN__COUNT; k++)
            if (t->listeners[k].daemon)
                MHD_stop_daemon(t->listeners[k].daemon);
        loop_free(t->loop);
    }
}

int http_start(const struct http_options *o, struct http_server **ret, struct fail *f)
{
    struct http_server *s = xcalloc(1, sizeof(*s));

    MHD_set_panic_func(on_panic, NULL);
    raise_fd_limit(o->conf->http_max_connections);
    s->o = *o;
    pthread_mutex_init(&s->lock, NULL);
    s->router = router_new(o->tables);
    size_t count = thread_count(o->conf);
    s->threads = xcalloc(count, sizeof(struct http_thread *));

    int rc = read_keys(s, f);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        s->threads[i] = thread_new(s, (int)i);
        s->thread_count++;
        rc = open_thread(s, s->threads[i], f);
    }
    if (rc < 0) {
        drop_threads(s);
        server_free(s);
        return rc;
    }
    for (size_t i = 0; i < count; i++)
        thread_start(s->threads[i]);
    *ret = s;
    return 0;
}

int http_port(const struct http_server *s)
{
    return s->ports[LISTEN_MAIN];
}

void http_stop(struct http_server *s, int grace_ms)
{
    if (!s)
        return;
    atomic_store(&s->grace_ms, grace_ms);
    atomic_store(&s->stopping, true);
    for (size_t i = 0; i < s->thread_count; i++)
        loop_wake_send(s->threads[i]->wake);
    for (size_t i = 0; i < s->thread_count; i++)
        loop_thread_join(s->threads[i]->os);
    server_free(s);
}
