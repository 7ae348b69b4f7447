/*
 * Packets in and out. Reading: mosquitto_loop_read until the socket is empty or the batch is
 * full; what it takes it answers into the library's one queue of outgoing packets, and
 * mosquitto_loop_write empties that queue, as far as the gate (gate.c) lets it. With deferred_ack
 * there is one rule for every writer here: while a message is unacknowledged, only mqtt_ack and
 * mqtt_ack_before write, or what they allowed before. SUBSCRIBE and pings wait behind the PUBACKs
 * then; PINGREQ has a whole keepalive to leave.
 *
 * The library reads at least one packet per call, and as many as it has publishes in flight;
 * after each packet it looks whether errno is EAGAIN. A callback that has had enough leaves
 * EAGAIN there (traffic_stop_reading). Where that should have no effect, a batch grows larger
 * than asked, nothing else. With TLS it is not done: what OpenSSL has decrypted already would
 * not make the socket readable again.
 */
#include "internal.h"

#include <assert.h>
#include <limits.h>
#include <mqtt_protocol.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define CLOCK_EVERY 16 /* messages between two looks at the clock */
#define CORK_FROM   8  /* packets: below, two system calls more are not worth it */

void traffic_reset(struct mqtt *m)
{
    m->unacked = m->queued = m->qos0 = 0;
    m->dirty = m->stop = m->drained = m->again = false;
    skipped_reset(m);
    gate_reset(&m->gate);
}

void traffic_stop_reading(struct mqtt *m)
{
    m->stop = true;
    errno = m->tls ? 0 : EAGAIN;
}

/* The library closes its socket by itself. Stop watching at once: callbacks may open descriptors,
 * and get the same number. */
static void unwatch_closed(struct mqtt *m)
{
    if (mosquitto_socket(m->lib) == m->fd)
        return;
    loop_poll_free(TAKE(m->poll));
    m->fd = -1;
    session_fail(m, "%s:%d closed the connection", m->host, m->port);
}

/* ---- in ---- */

static bool batch_full(struct mqtt *m)
{
    if (m->taken >= m->batch)
        return true;
    return m->taken % CLOCK_EVERY == 0 && m->taken > 0 && m->batch_us < INT_MAX &&
           clock_mono_us() - m->taken_since_us >= m->batch_us;
}

/* The broker's plugin appends its own; what a device may have put in front is not it. */
static char *last_username(const mosquitto_property *props)
{
    char *user = NULL, *name = NULL, *value = NULL;
    const mosquitto_property *p = props;
    bool skip = false;
    while ((p = mosquitto_property_read_string_pair(p, MQTT_PROP_USER_PROPERTY, &name, &value,
                                                    skip)) != NULL) {
        if (name && value && strcmp(name, "username") == 0) {
            free(user);
            user = TAKE(value);
        }
        free(TAKE(name));
        free(TAKE(value));
        skip = true;
    }
    return user;
}

static void on_message(struct mosquitto *lib UNUSED, void *arg, const struct mosquitto_message *in,
                       const mosquitto_property *props)
{
    struct mqtt *m = arg;
    if (m->lost || m->dead) {
        traffic_stop_reading(m);
        return;
    }
    AUTO(free) char *user = props ? last_username(props) : NULL;
    struct mqtt_message out = {.topic = in->topic,
                               .payload = in->payload ? in->payload : "",
                               .n = (size_t)in->payloadlen,
                               .qos = in->qos,
                               .retain = in->retain,
                               .user = user,
                               .number = m->gate.taken};
    if (m->deferred)
        m->unacked++;
    if (in->qos > 0) {
        m->gate.taken++;
        m->queued++;
    }
    m->taken++;
    skipped_message(m, in->mid);
    if (m->on_message)
        m->on_message(m->arg, &out);
    if (m->lost || m->paused || batch_full(m))
        traffic_stop_reading(m);
    else
        errno = 0;
}

/* One call of the library; false when there is nothing more to do now. */
static bool read_once(struct mqtt *m)
{
    errno = 0;
    m->stop = false;
    m->in_lib = true;
    struct gate_open was = {0};
    if (!m->tls)
        was = gate_open(&m->gate, m->fd, GATE_READ);
    int rc = mosquitto_loop_read(m->lib, 1);
    int errno_then = errno;
    if (!m->tls)
        (void)gate_close(&m->gate, was, true);
    m->in_lib = false;
    if (rc != MOSQ_ERR_SUCCESS)
        session_fail_rc(m, rc, errno_then);
    unwatch_closed(m);
    if (m->lost)
        return false;
    if (m->tell_up) {
        session_tell_up(m);
        if (m->dead || m->lost)
            return false;
    }
    m->drained = errno_then == EAGAIN && !m->stop;
    return !m->drained;
}

/* While PUBACKs are held back nothing carries TCP's acknowledgements, the kernel delays them, and
 * mosquitto, which leaves Nagle's algorithm on, does not send the next message before: 40 ms. */
static void hurry(const struct mqtt *m)
{
    (void)setsockopt(m->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int));
}

void traffic_read(struct mqtt *m)
{
    m->taken = 0;
    m->taken_since_us = clock_mono_us();
    skipped_look(m);
    bool suspected = skipped_suspected(m);
    /* In the handshake one call does, and a second could spin. */
    int calls = m->phase < PHASE_SUBACK ? 1 : m->batch;
    while (calls-- > 0 && !m->paused && read_once(m) && !batch_full(m))
        ;
    metric_add(M_MQTT_MESSAGES, m->taken);
    if (m->taken > 0 && m->on_batch_end && !m->dead)
        m->on_batch_end(m->arg);
    if (m->dead || m->lost)
        return;
    if (m->unacked > 0)
        hurry(m);
    if (session_connected(m) && !suspected && skipped_suspected(m))
        session_start_tick(m);
    skipped_fetch(m);
}

void mqtt_pause(struct mqtt *m, bool paused)
{
    m->paused = paused;
    if (!paused && m->held) {
        m->held = false;
        loop_timer_start(m->timer, 0, 0);
    }
    if (m->busy == 0)
        traffic_watch(m);
}

/* ---- out ---- */

static void cork(const struct mqtt *m, int on)
{
    (void)setsockopt(m->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

bool traffic_has_unwritten(const struct mqtt *m)
{
    return gate_waits(&m->gate) || mosquitto_want_write(m->lib);
}

void traffic_write(struct mqtt *m)
{
    if (m->lost || m->fd < 0 || m->in_pool || m->phase == PHASE_LEAVING ||
        !traffic_has_unwritten(m))
        return;
    /* With TLS it writes packet by packet; corked, they travel together. */
    bool corked = m->tls && m->queued >= CORK_FROM;
    if (corked)
        cork(m, 1);
    struct gate_open was = {0};
    if (!m->tls)
        was = gate_open(&m->gate, m->fd, GATE_WRITE);
    errno = 0;
    m->in_lib = m->writing = true;
    int rc = mosquitto_loop_write(m->lib, 1);
    int errno_then = errno;
    m->in_lib = m->writing = false;
    m->queued = 0;
    bool stands = rc == MOSQ_ERR_SUCCESS && mosquitto_socket(m->lib) == m->fd;
    int failed = m->tls ? 0 : gate_close(&m->gate, was, stands);
    if (rc != MOSQ_ERR_SUCCESS)
        session_fail_rc(m, rc, errno_then);
    else if (failed)
        session_fail_rc(m, MOSQ_ERR_ERRNO, failed);
    else if (corked && stands)
        cork(m, 0);
    unwatch_closed(m);
}

static bool may_write(const struct mqtt *m)
{
    return !m->deferred || (m->unacked == 0 && !m->dirty) || gate_owes(&m->gate);
}

void traffic_flush_own(struct mqtt *m)
{
    if (may_write(m))
        traffic_write(m);
}

static void write_and_watch(struct mqtt *m)
{
    traffic_write(m);
    if (m->busy == 0)
        traffic_watch(m);
}

void mqtt_ack(struct mqtt *m)
{
    assert(!m->in_lib); /* not from on_message or on_published */
    m->unacked = 0;
    m->gate.allowed = m->gate.taken;
    m->dirty = false;
    traffic_write(m);
    skipped_fetch(m);
    if (m->busy == 0)
        traffic_watch(m);
}

bool mqtt_ack_before(struct mqtt *m, uint64_t number)
{
    assert(!m->in_lib);
    if (!m->gate.asked || m->tls || m->lost)
        return false;
    if (number <= m->gate.allowed)
        return true;
    uint64_t n = number - m->gate.allowed;
    m->unacked -= n < m->unacked ? (size_t)n : m->unacked;
    m->gate.allowed = number;
    write_and_watch(m);
    return true;
}

void mqtt_flush(struct mqtt *m)
{
    assert(!m->in_lib);
    if (m->deferred && m->unacked > 0)
        return;
    m->dirty = false;
    write_and_watch(m);
}

static int code_of(int lib_rc)
{
    switch (lib_rc) {
    case MOSQ_ERR_SUCCESS:
        return 0;
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_MALFORMED_UTF8:
    case MOSQ_ERR_QOS_NOT_SUPPORTED:
        return E_PROTO;
    case MOSQ_ERR_PAYLOAD_SIZE:
    case MOSQ_ERR_OVERSIZE_PACKET:
        return E_LIMIT;
    default:
        return E_UNAVAILABLE;
    }
}

int mqtt_publish(struct mqtt *m, const char *topic, const void *payload, size_t n, int qos,
                 int *ret_mid)
{
    if (!session_connected(m) || m->dead)
        return E_UNAVAILABLE;
    if (n > INT_MAX || (qos > 0 ? inflight_full(&m->inflight, m->seq) : m->qos0 >= IN_FLIGHT_MAX))
        return E_LIMIT;
    int mid = 0;
    struct gate_open was = gate_open(&m->gate, m->fd, GATE_QUEUE);
    int rc = code_of(mosquitto_publish(m->lib, &mid, topic, (int)n, payload, qos, false));
    (void)gate_close(&m->gate, was, true);
    if (rc < 0)
        return rc;
    m->seq++;
    m->queued++;
    m->dirty = true;
    if (qos > 0)
        inflight_add(&m->inflight, m->seq, (uint16_t)mid);
    else
        m->qos0++;
    metric_add(M_MQTT_PUBLISHED, 1);
    if (ret_mid)
        *ret_mid = mid;
    if (!m->deferred && m->busy == 0) /* else on leaving */
        write_and_watch(m);
    return 0;
}

/* PUBACK, or, while writing, a QoS 0 message that went out. */
static void on_publish(struct mosquitto *lib UNUSED, void *arg, int mid, int reason UNUSED,
                       const mosquitto_property *props UNUSED)
{
    struct mqtt *m = arg;
    if (m->writing) {
        m->qos0 -= m->qos0 > 0;
        return;
    }
    if (inflight_del(&m->inflight, (uint16_t)mid) && m->on_published && !m->dead && !m->lost)
        m->on_published(m->arg, mid);
    if (m->lost)
        traffic_stop_reading(m);
    else
        errno = 0;
}

/* ---- the descriptor ---- */

static void tcp_connected(struct mqtt *m)
{
    int error = 0;
    socklen_t n = sizeof(error);
    (void)getsockopt(m->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    /* With TLS the library has written already, and taken the error. */
    struct sockaddr_storage peer;
    n = sizeof(peer);
    if (!error && getpeername(m->fd, (struct sockaddr *)&peer, &n) < 0)
        error = ECONNREFUSED;
    if (error) {
        session_fail(m, "cannot connect to %s:%d: %s", m->host, m->port, strerror(error));
        return;
    }
    m->phase = PHASE_CONNACK;
    if (m->tls)
        traffic_read(m); /* starts the TLS handshake */
    traffic_write(m);
}

static void socket_error(struct mqtt *m)
{
    int error = 0;
    socklen_t n = sizeof(error);
    (void)getsockopt(m->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    session_fail(m, "%s %s:%d: %s", m->phase == PHASE_TCP ? "cannot connect to" : "lost", m->host,
                 m->port, error ? strerror(error) : "the connection was closed");
}

static bool may_read(const struct mqtt *m)
{
    return m->phase >= PHASE_CONNACK && m->phase != PHASE_LEAVING &&
           !(m->paused && m->phase >= PHASE_SUBACK);
}

void traffic_on_more(void *arg)
{
    struct mqtt *m = arg;
    client_enter(m);
    if (!m->lost && gate_has_input(&m->gate) && may_read(m))
        traffic_read(m);
    client_leave(m);
}

static void on_poll(void *arg, int events)
{
    struct mqtt *m = arg;
    client_enter(m);
    if (m->lost)
        ;
    else if (m->phase == PHASE_LEAVING)
        skipped_leave(m);
    else if (events == 0)
        socket_error(m);
    else if (m->phase == PHASE_TCP)
        tcp_connected(m);
    else {
        if (events & LOOP_READ)
            traffic_read(m);
        if (!m->dead && !m->lost && m->phase == PHASE_CONNACK)
            traffic_write(m);
    }
    client_leave(m);
}

/* While TLS shakes hands a writable socket tells nothing: its answers fit into the buffer. */
static int wanted_events(const struct mqtt *m)
{
    if (m->phase == PHASE_TCP)
        return LOOP_WRITE;
    if (m->phase == PHASE_LEAVING)
        return LOOP_READ;
    int events = may_read(m) ? LOOP_READ : 0;
    if (!(m->tls && m->phase == PHASE_CONNACK) && may_write(m) && traffic_has_unwritten(m))
        events |= LOOP_WRITE;
    return events;
}

void traffic_watch(struct mqtt *m)
{
    if (m->lost || m->in_pool || m->fd < 0)
        return;
    int events = wanted_events(m);
    if (!m->poll)
        m->poll = loop_poll_new(m->loop, m->fd, on_poll, m);
    if (events != m->watched)
        loop_poll_set(m->poll, events);
    m->watched = events;
    if (gate_has_input(&m->gate) && may_read(m))
        loop_timer_start(m->more, 0, 0);
}

void traffic_hooks(struct mosquitto *lib)
{
    mosquitto_message_v5_callback_set(lib, on_message);
    mosquitto_publish_v5_callback_set(lib, on_publish);
}
