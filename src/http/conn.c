/*
 * Connections: admission, phases and deadlines. MHD's own timeout starts anew with every byte,
 * so it is off; a tick per thread walks the connections and shuts down the late ones, which MHD
 * then sees as closed by the peer. A download's progress is what the peer's TCP acknowledged.
 */
#include "internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <linux/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static void address_text(const struct sockaddr *sa, char *ret, size_t cap)
{
    ret[0] = '\0';
    if (!sa)
        return;
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;
        inet_ntop(AF_INET, &v4->sin_addr, ret, (socklen_t)cap);
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)sa;
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
            inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], ret, (socklen_t)cap);
        else
            inet_ntop(AF_INET6, &v6->sin6_addr, ret, (socklen_t)cap);
    }
}

/* ---- admission: bounds over all threads ---- */

static intptr_t count_of(const void *value)
{
    return (intptr_t)value;
}

enum MHD_Result conn_may_enter(void *cls, const struct sockaddr *addr, socklen_t len UNUSED)
{
    struct http_server *s = ((struct listener *)cls)->thread->server;
    const struct conf *c = s->o.conf;

    if (atomic_load(&s->connections) >= c->http_max_connections)
        return MHD_NO;
    if (c->http_max_connections_per_address <= 0)
        return MHD_YES;
    char text[INET6_ADDRSTRLEN];
    address_text(addr, text, sizeof(text));
    if (client_is_proxy(&c->http_trusted_proxies, text))
        return MHD_YES;
    pthread_mutex_lock(&s->lock);
    intptr_t n = count_of(map_get(&s->per_address, text, strlen(text)));
    pthread_mutex_unlock(&s->lock);
    return n < c->http_max_connections_per_address ? MHD_YES : MHD_NO;
}

static void count_address(struct http_server *s, const char *address, int delta)
{
    if (s->o.conf->http_max_connections_per_address <= 0 ||
        client_is_proxy(&s->o.conf->http_trusted_proxies, address))
        return;
    size_t len = strlen(address);
    pthread_mutex_lock(&s->lock);
    intptr_t n = count_of(map_get(&s->per_address, address, len)) + delta;
    if (n > 0)
        map_put(&s->per_address, address, len, (void *)n);
    else
        map_del(&s->per_address, address, len);
    pthread_mutex_unlock(&s->lock);
}

void conn_enter(struct http_server *s, const char *address)
{
    count_address(s, address, 1);
    atomic_fetch_add(&s->connections, 1);
}

void conn_leave(struct http_server *s, const char *address)
{
    count_address(s, address, -1);
    atomic_fetch_sub(&s->connections, 1);
}

/* ---- life ---- */

static struct conn *conn_new(struct listener *l, struct MHD_Connection *mhd)
{
    struct conn *c = xcalloc(1, sizeof(*c));
    c->listener = l;
    c->mhd = mhd;
    c->linger_fd = -1;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    const union MHD_ConnectionInfo *who =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    address_text(who ? who->client_addr : NULL, c->address, sizeof(c->address));
    c->is_proxy = client_is_proxy(&l->thread->server->o.conf->http_trusted_proxies, c->address);
    conn_phase(c, CONN_REQUEST); /* a silent newcomer has no more time than a slow one */

    c->next = l->thread->conns;
    if (c->next)
        c->next->prev = c;
    l->thread->conns = c;
    conn_enter(l->thread->server, c->address);
    metric_add(M_HTTP_CONNECTIONS, 1);
    return c;
}

static void conn_free(struct conn *c)
{
    struct http_thread *t = c->listener->thread;

    if (c->prev)
        c->prev->next = c->next;
    else
        t->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    metric_add(M_HTTP_CONNECTIONS, -1);
    tail_closed(c);
    if (c->linger_fd >= 0)
        linger_start(t, c->linger_fd, c->address);
    conn_leave(t->server, c->address);
    free(c);
}

void conn_on_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                    enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = conn_new((struct listener *)cls, mhd);
    } else if (*socket_context) {
        conn_free((struct conn *)*socket_context);
        *socket_context = NULL;
    }
}

/* ---- deadlines ---- */

void conn_phase(struct conn *c, enum conn_phase phase)
{
    c->phase = phase;
    c->since_us = clock_mono_us();
    if (phase == CONN_REPLY)
        c->acked = conn_acked(c->fd);
}

uint64_t conn_acked(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return 0;
    return info.tcpi_bytes_acked;
}

void conn_cork(struct conn *c, bool on)
{
    if (c->corked == on)
        return;
    int value = on;
    c->corked = on;
    setsockopt(c->fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
}

void conn_cut(struct conn *c)
{
    if (c->cut)
        return;
    c->cut = true;
    if (c->phase == CONN_REPLY) { /* whoever reads nothing must not keep the kernel's buffers */
        struct linger reset = {.l_onoff = 1};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    shutdown(c->fd, SHUT_RDWR);
}

static void check_reply(struct conn *c, int64_t now)
{
    uint64_t acked = conn_acked(c->fd);
    if (acked != c->acked) {
        c->acked = acked;
        c->since_us = now;
    }
    if (c->request && c->request->track)
        track_sample(c->request->track, c->fd);
}

static int64_t bound_us(const struct conn *c)
{
    const struct conf *conf = c->listener->thread->server->o.conf;
    switch (c->phase) {
    case CONN_IDLE:
        return conf->http_idle_timeout_s * 1000000;
    case CONN_REQUEST:
        return conf->http_request_timeout_s * 1000000;
    case CONN_UPLOAD:
    case CONN_REPLY:
        return conf->http_stall_timeout_s * 1000000;
    case CONN_HELD:
        return atomic_load(&hold_max_us);
    case CONN_STREAM:
        return INT64_MAX;
    }
    return 0;
}

/* MHD 0.9.75 under epoll misses a peer that goes away in the middle of its upload (cured upstream
 * in February 2023), maybe with bytes before the end that it has not read either: the body would
 * be waited for until the stall timeout. Whoever has said all and waits for our answer is not
 * meant: then bytes come in, or it is our turn. */
static bool upload_is_gone(const struct conn *c, int64_t now)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    return c->phase == CONN_UPLOAD && now - c->since_us > 1000000 &&
           getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           info.tcpi_state == 8 /* CLOSE_WAIT; <netinet/tcp.h> can't stand beside <linux/tcp.h> */;
}

void conn_tick(struct http_thread *t)
{
    int64_t now = clock_mono_us();
    for (struct conn *c = t->conns, *next; c; c = next) {
        next = c->next;
        if (c->phase == CONN_REPLY)
            check_reply(c, now);
        else if (c->phase == CONN_STREAM && c->request && c->request->track)
            track_sample(c->request->track, c->fd);
        if ((t->stopping && c->phase == CONN_IDLE) || upload_is_gone(c, now))
            conn_cut(c);
        if (c->cut || now - c->since_us < bound_us(c))
            continue;
        if (c->phase == CONN_HELD) {
            hold_refuse(c->request);
            continue;
        }
        if (c->phase != CONN_IDLE)
            metric_add(M_HTTP_TIMED_OUT, 1);
        conn_cut(c);
    }
}
