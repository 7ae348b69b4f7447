/*
 * One connection after the other: connect, CONNACK, SUBACK, up, lost, back-off, again. The
 * library's own reconnecting is not used: it gives up for good on a refusal.
 *
 * A numeric address is connected from the loop (the library's connect does not block then). A
 * name goes through the thread pool, the whole call, not only the lookup (lookup.c): with TLS the
 * library does that itself.
 */
#include "internal.h"

#include <assert.h>
#include <mqtt_protocol.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>

#define HANDSHAKE_MS 30000
#define SUSPECT_MS   250
#define ADDRESS_MAX  96                      /* a v6 scope may follow */
#define LASTING_US   (30 * (int64_t)1000000) /* up for this long: the next loss starts afresh */

/* The library sets TLS up at the first use, unlocked. */
static struct {
    pthread_mutex_t mutex;
    bool ready;
} tls_first = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- the end of a connection ---- */

void session_fail(struct mqtt *m, const char *fmt, ...)
{
    if (m->lost || m->dead)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m->why, sizeof(m->why), fmt, ap);
    va_end(ap);
    m->lost = true;
    if (m->busy == 0)
        loop_timer_start(m->timer, 0, 0);
}

void session_fail_rc(struct mqtt *m, int lib_rc, int errno_then)
{
    if (m->lib_error[0])
        session_fail(m, "%s:%d: %s", m->host, m->port, m->lib_error);
    else if (lib_rc == MOSQ_ERR_EAI)
        session_fail(m, "cannot look up %s: %s", m->host, gai_strerror(errno_then));
    else if (lib_rc == MOSQ_ERR_ERRNO)
        session_fail(m, "%s:%d: %s", m->host, m->port, strerror(errno_then));
    else if (lib_rc == MOSQ_ERR_KEEPALIVE)
        session_fail(m, "%s:%d does not answer pings", m->host, m->port);
    else
        session_fail(m, "%s:%d: %s", m->host, m->port, mosquitto_strerror(lib_rc));
}

/* Make the library close its socket without a byte on the wire: shut for writing, the DISCONNECT
 * that is queued behind whatever else was queued fails, and on failure it closes. */
static void cut(struct mqtt *m)
{
    int fd = mosquitto_socket(m->lib);
    if (fd < 0)
        return;
    shutdown(fd, SHUT_RDWR);
    m->in_lib = true;
    mosquitto_disconnect(m->lib);
    mosquitto_loop_write(m->lib, 1);
    m->in_lib = false;
}

static uint64_t wait_ms_of(const struct mqtt *m)
{
    if (m->again)
        return BACKOFF_MIN;
    return m->taken_over ? BACKOFF_MAX : session_backoff_ms(m->attempts, rand_u64());
}

void session_wind_up(struct mqtt *m)
{
    loop_poll_free(TAKE(m->poll));
    cut(m);
    if (m->phase == PHASE_UP && clock_mono_us() - m->up_since_us > LASTING_US)
        m->attempts = 0;
    uint64_t wait_ms = wait_ms_of(m);
    m->attempts += !m->again;
    LOG(LOG_DEBUG, "mqtt", "session ended",
        KV("session", m->filter_count > 0 ? "taking" : "sending"), KV("why", m->why),
        KV_INT("retry_ms", wait_ms));
    if (m->taken_over)
        LOG(LOG_ERROR, "mqtt", "another client has our client id; is a second otad running?",
            KV("broker", m->host), KV_INT("retry_s", wait_ms / 1000));
    m->taken_over = false;
    m->address += m->phase < PHASE_SUBACK; /* nobody is there, or not who we look for */
    m->phase = PHASE_DOWN;
    m->fd = -1;
    m->watched = 0;
    m->lost = false;
    m->tell_up = false;
    m->unacked = 0;
    loop_timer_start(m->timer, wait_ms, 0);
    if (m->on_state)
        m->on_state(m->arg, false, m->why);
}

/* ---- the start of one ---- */

static void connect_now(void *arg)
{
    struct mqtt *m = arg;
    char address[ADDRESS_MAX] = "";
    int rc = m->by_name ? lookup(m->host, m->address, address, sizeof(address)) : 0;
    const char *host = *address && !m->tls ? address : m->host, *from = NULL;

    if (rc != 0) {
        m->connect_rc = MOSQ_ERR_EAI;
        m->connect_errno = rc;
        return;
    }
    if (*address && m->tls)
        from = strchr(address, ':') ? "::" : "0.0.0.0";
    errno = 0;
    m->connect_rc = mosquitto_connect_bind_async(m->lib, host, m->port, m->keepalive_s, from);
    m->connect_errno = errno;
}

static void connect_on_pool(void *arg)
{
    const struct mqtt *m = arg;
    if (m->tls) {
        pthread_mutex_lock(&tls_first.mutex);
        if (!tls_first.ready) {
            connect_now(arg);
            tls_first.ready = true;
            pthread_mutex_unlock(&tls_first.mutex);
            return;
        }
        pthread_mutex_unlock(&tls_first.mutex);
    }
    connect_now(arg);
}

static void connect_started(struct mqtt *m)
{
    m->fd = mosquitto_socket(m->lib);
    if (m->connect_rc > 0 || m->fd < 0) {
        session_fail_rc(m, m->connect_rc > 0 ? m->connect_rc : MOSQ_ERR_NO_CONN, m->connect_errno);
        return;
    }
    m->phase = PHASE_TCP;
    loop_timer_start(m->timer, HANDSHAKE_MS, 0);
}

static void connect_done(void *arg)
{
    struct mqtt *m = arg;
    client_enter(m);
    m->in_pool = false;
    if (!m->dead && !m->lost)
        connect_started(m);
    client_leave(m);
}

static void on_log(struct mosquitto *lib UNUSED, void *arg, int level, const char *line)
{
    struct mqtt *m = arg;
    if (level == MOSQ_LOG_ERR && !m->lib_error[0])
        str_copy(m->lib_error, sizeof(m->lib_error), line);
}

static void start(struct mqtt *m)
{
    m->held = m->paused;
    if (m->held)
        return;
    LOG(LOG_DEBUG, "mqtt", "connecting", KV("session", m->filter_count > 0 ? "taking" : "sending"),
        KV("host", m->host), KV_INT("port", m->port), KV_INT("attempts", m->attempts));
    traffic_reset(m);
    m->lib_error[0] = '\0';
    if (m->tls) /* it formats a line for each packet, hence only while connecting */
        mosquitto_log_callback_set(m->lib, on_log);
    if (m->by_name || m->tls) {
        m->phase = PHASE_POOL;
        m->in_pool = true;
        loop_work(m->loop, connect_on_pool, connect_done, m);
        return;
    }
    connect_now(m);
    connect_started(m);
}

void mqtt_connect(struct mqtt *m)
{
    if (m->wanted)
        return;
    m->wanted = true;
    client_enter(m);
    start(m);
    client_leave(m);
}

/* ---- while it stands ---- */

/* The library pings when its keepalive is due, and tells when an answer is missing. In between
 * brokers allow half a keepalive of lateness: an eighth is fine and cheap for many clients. */
void session_start_tick(struct mqtt *m)
{
    if (skipped_suspected(m)) {
        loop_timer_start(m->timer, SUSPECT_MS, SUSPECT_MS);
        return;
    }
    if (m->keepalive_s == 0) {
        loop_timer_stop(m->timer);
        return;
    }
    uint64_t ms = (uint64_t)m->keepalive_s * 1000 / 8;
    ms = ms > 5000 ? 5000 : ms;
    loop_timer_start(m->timer, ms, ms);
}

void session_tell_up(struct mqtt *m)
{
    LOG(LOG_DEBUG, "mqtt", "session is up",
        KV("session", m->filter_count > 0 ? "taking" : "sending"));
    m->tell_up = false;
    m->up_since_us = clock_mono_us();
    m->lib_error[0] = '\0';
    if (m->tls)
        mosquitto_log_callback_set(m->lib, NULL);
    metric_add(M_MQTT_CONNECTS, 1);
    session_start_tick(m);
    if (m->on_state)
        m->on_state(m->arg, true, "");
}

static void tick(struct mqtt *m)
{
    errno = 0;
    m->in_lib = true;
    int rc = mosquitto_loop_misc(m->lib);
    m->in_lib = false;
    if (rc != MOSQ_ERR_SUCCESS)
        session_fail_rc(m, rc, errno);
    bool suspected = skipped_suspected(m);
    if (session_connected(m))
        skipped_tick(m);
    if (suspected && !m->lost && m->phase == PHASE_UP && !skipped_suspected(m))
        session_start_tick(m);
    if (m->lost) /* it closed the socket */
        loop_poll_free(TAKE(m->poll));
}

static void start_subscribe_tick(struct mqtt *m)
{
    if (m->lost || m->phase != PHASE_SUBACK)
        return;
    uint64_t ms = m->paused ? 1000 : HANDSHAKE_MS;
    loop_timer_start(m->timer, skipped_suspected(m) ? SUSPECT_MS : ms, 0);
}

void session_on_timer(void *arg)
{
    struct mqtt *m = arg;
    client_enter(m);
    if (!m->lost)
        switch (m->phase) {
        case PHASE_DOWN:
            start(m);
            break;
        case PHASE_POOL:
            break;
        case PHASE_LEAVING:
            session_fail(m, "%s:%d did not close the connection", m->host, m->port);
            break;
        case PHASE_SUBACK:
            /* The answer may wait behind messages that nobody takes, or be skipped like them. */
            if (m->paused || skipped_suspected(m)) {
                tick(m);
                start_subscribe_tick(m);
                break;
            }
            /* fallthrough */
        case PHASE_TCP:
        case PHASE_CONNACK:
            session_fail(m, "%s:%d did not complete the MQTT handshake within %d s", m->host,
                         m->port, HANDSHAKE_MS / 1000);
            break;
        case PHASE_UP:
            tick(m);
            break;
        }
    client_leave(m);
}

void mqtt_drop(struct mqtt *m, const char *why)
{
    if (m->phase == PHASE_DOWN || m->lost || m->dead)
        return;
    if (m->fd >= 0 && !m->in_pool)
        shutdown(m->fd, SHUT_RDWR); /* from here on nothing can be written */
    session_fail(m, "%s", why);
}

/* ---- what the library reports ---- */

static void subscribe(struct mqtt *m)
{
    int rc = mosquitto_subscribe_multiple(m->lib, NULL, m->filter_count, m->filters,
                                          m->subscribe_qos, MQTT_SUB_OPT_SEND_RETAIN_NEVER, NULL);
    m->seq++;
    if (rc != MOSQ_ERR_SUCCESS)
        session_fail_rc(m, rc, errno);
}

static void on_connect(struct mosquitto *lib UNUSED, void *arg, int reason, int flags UNUSED,
                       const mosquitto_property *props UNUSED)
{
    struct mqtt *m = arg;
    if (m->lost || m->dead)
        return;
    if (reason != 0) {
        session_fail(m, "%s:%d refused us: %s", m->host, m->port,
                     m->v5 ? mosquitto_reason_string(reason) : mosquitto_connack_string(reason));
        return;
    }
    if (m->filter_count > 0) {
        m->phase = PHASE_SUBACK;
        subscribe(m);
        filters_give_up(m);
    } else {
        m->phase = PHASE_UP;
        m->tell_up = true;
    }
    /* SUBSCRIBE should leave before there are PUBACKs in the queue behind it. */
    traffic_stop_reading(m);
}

static void on_subscribe(struct mosquitto *lib UNUSED, void *arg, int mid UNUSED, int n,
                         const int *granted, const mosquitto_property *props UNUSED)
{
    struct mqtt *m = arg;
    if (m->lost || m->dead)
        return;
    if (m->phase == PHASE_UP) { /* mqtt_filters: what was subscribed before goes on */
        for (int i = 0; i < n; i++)
            if (granted[i] >= 0x80)
                LOG(LOG_ERROR, "mqtt", "the broker does not let us subscribe to a topic",
                    KV("why", m->v5 ? mosquitto_reason_string(granted[i]) : "not granted"));
        errno = 0;
        return;
    }
    if (m->phase != PHASE_SUBACK)
        return;
    for (int i = 0; i < n && i < m->filter_count; i++)
        if (granted[i] >= 0x80) {
            session_fail(m, "%s:%d does not let us subscribe to '%s': %s", m->host, m->port,
                         m->filters[i],
                         m->v5 ? mosquitto_reason_string(granted[i]) : "not granted");
            traffic_stop_reading(m);
            return;
        }
    m->phase = PHASE_UP;
    m->tell_up = true;
    errno = 0;
}

static void on_disconnect(struct mosquitto *lib UNUSED, void *arg, int rc,
                          const mosquitto_property *props UNUSED)
{
    struct mqtt *m = arg;
    int errno_then = errno;
    if (m->lost || m->dead)
        return;
    if (rc == MQTT_RC_SESSION_TAKEN_OVER) {
        m->taken_over = true;
        session_fail(m, "session taken over: another client connected to %s:%d with our client id",
                     m->host, m->port);
    } else if (rc >= 0x80 || rc == 0) {
        session_fail(m, "%s:%d closed the connection: %s", m->host, m->port,
                     rc ? mosquitto_reason_string(rc) : "normal disconnection");
    } else if (rc == MOSQ_ERR_CONN_LOST && m->phase == PHASE_UP && m->attempts >= 3) {
        /* Older brokers (mosquitto 2.0.11) do not say that the session was taken over. */
        session_fail(m, "%s:%d keeps closing the connection; does another client use our id?",
                     m->host, m->port);
    } else {
        session_fail_rc(m, rc, errno_then);
    }
}

void session_hooks(struct mosquitto *lib)
{
    mosquitto_connect_v5_callback_set(lib, on_connect);
    mosquitto_subscribe_v5_callback_set(lib, on_subscribe);
    mosquitto_disconnect_v5_callback_set(lib, on_disconnect);
}
