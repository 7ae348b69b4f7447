/*
 * Birth and death of a client, and the door's small questions. Every way in from the loop is
 * bracketed by client_enter and client_leave: callbacks may call mqtt_free or lose the
 * connection, and that takes effect on leaving, when nobody above on the stack uses the client.
 */
#include "internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <limits.h>
#include <mqtt_protocol.h>
#include <sys/socket.h>

#define BATCH_DEFAULT 1000 /* the loop has others to serve */
#define PACKET_MAX    (1 << 20)

static const char system_ca[] = "/etc/ssl/certs";

void mqtt_setup(void)
{
    mosquitto_lib_init();
    gate_setup();
}

void mqtt_cleanup(void)
{
    mosquitto_lib_cleanup();
}

static bool given(const char *s)
{
    return s && s[0];
}

static bool is_numeric(const char *host)
{
    unsigned char address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static int check(const struct mqtt_options *o, struct fail *f)
{
    if (!given(o->host))
        return fail(f, -EINVAL, "no MQTT host is given");
    if (o->port < 1 || o->port > 65535)
        return fail(f, -ERANGE, "%d is not a port", o->port);
    if (o->keepalive_s != 0 && (o->keepalive_s < 5 || o->keepalive_s > 65535))
        return fail(f, -ERANGE, "an MQTT keepalive is 0 or 5 to 65535 seconds, not %d",
                    o->keepalive_s);
    if (o->version != 4 && o->version != 5)
        return fail(f, -EINVAL, "MQTT version %d is neither 4 nor 5", o->version);
    if (!o->clean && !given(o->client_id))
        return fail(f, -EINVAL, "an MQTT session that is kept needs a client id");
    if (o->subscribe_qos < 0 || o->subscribe_qos > 1)
        return fail(f, -ERANGE, "MQTT QoS %d is not supported, only 0 and 1", o->subscribe_qos);
    for (const char *const *p = o->filters; p && *p; p++)
        if (mosquitto_sub_topic_check(*p) != MOSQ_ERR_SUCCESS || !given(*p))
            return fail(f, E_PROTO, "'%s' is not an MQTT topic filter", *p);
    return 0;
}

static int set_tls(struct mosquitto *lib, const struct mqtt_options *o, struct fail *f)
{
    const char *ca = given(o->ca) ? o->ca : NULL;
    const char *cert = given(o->cert) ? o->cert : NULL;
    const char *key = given(o->key) ? o->key : NULL;
    int rc = mosquitto_tls_set(lib, ca, ca ? NULL : system_ca, cert, key, NULL);
    if (rc != MOSQ_ERR_SUCCESS)
        return fail(f, -EINVAL, "cannot use the TLS files (CA %s, certificate %s, key %s)",
                    ca ? ca : system_ca, cert ? cert : "none", key ? key : "none");
    /* Older versions of the library allow TLS 1.1 unless told: this is the least, 1.3 is used. */
    rc = mosquitto_tls_opts_set(lib, 1, "tlsv1.2", NULL);
    return rc == MOSQ_ERR_SUCCESS ? 0 : fail(f, -EINVAL, "TLS: %s", mosquitto_strerror(rc));
}

/* The session's lifetime and the largest packet are properties of CONNECT, which only the blocking
 * connect takes. It keeps the properties and refuses the port before it connects;
 * mosquitto_connect_async uses what was kept. The broker drops what is larger: the library would
 * take up to 256 MiB of memory for one message before we see its length. */
static int set_connect_properties(struct mosquitto *lib, uint32_t seconds)
{
    mosquitto_property *props = NULL;
    int rc = mosquitto_property_add_int32(&props, MQTT_PROP_SESSION_EXPIRY_INTERVAL, seconds);
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_property_add_int32(&props, MQTT_PROP_MAXIMUM_PACKET_SIZE, PACKET_MAX);
    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_connect_bind_v5(lib, "nowhere", -1, 60, NULL, props);
        rc = rc == MOSQ_ERR_INVAL ? MOSQ_ERR_SUCCESS : rc;
    }
    mosquitto_property_free_all(&props);
    return rc;
}

static int set_up_library(struct mosquitto *lib, const struct mqtt_options *o, struct fail *f)
{
    bool v5 = o->version == 5;
    int rc = mosquitto_threaded_set(lib, true); /* so that it queues, and writes when told */
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_int_option(lib, MOSQ_OPT_PROTOCOL_VERSION,
                                  v5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_int_option(lib, MOSQ_OPT_TCP_NODELAY, 1);
    if (rc == MOSQ_ERR_SUCCESS && v5)
        rc = mosquitto_int_option(lib, MOSQ_OPT_RECEIVE_MAXIMUM, 65535);
    /* The library walks its unacknowledged messages for each PUBACK: bound the window where the
     * broker sets none. */
    if (rc == MOSQ_ERR_SUCCESS && v5)
        rc = mosquitto_int_option(lib, MOSQ_OPT_SEND_MAXIMUM, 256);
    if (rc == MOSQ_ERR_SUCCESS && v5)
        rc = set_connect_properties(lib, o->clean ? 0 : o->session_expiry_s);
    if (rc == MOSQ_ERR_SUCCESS && (given(o->username) || given(o->password)))
        rc = mosquitto_username_pw_set(lib, given(o->username) ? o->username : NULL,
                                       given(o->password) ? o->password : NULL);
    if (rc != MOSQ_ERR_SUCCESS)
        return fail(f, -EINVAL, "MQTT: %s", mosquitto_strerror(rc));
    session_hooks(lib);
    traffic_hooks(lib);
    filters_hooks(lib);
    return o->tls ? set_tls(lib, o, f) : 0;
}

static void copy_filters(struct mqtt *m, const char *const *filters)
{
    int n = 0;
    while (filters && filters[n])
        n++;
    m->filters = xcalloc((size_t)n + 1, sizeof(*m->filters));
    for (int i = 0; i < n; i++)
        m->filters[i] = xstrdup(filters[i]);
    m->filter_count = n;
}

int mqtt_new(struct loop *l, const struct mqtt_options *o, struct mqtt **ret, struct fail *f)
{
    int rc = check(o, f);
    if (rc < 0)
        return rc;

    struct mqtt *m = xcalloc(1, sizeof(*m));
    m->lib = mosquitto_new(given(o->client_id) ? o->client_id : NULL, o->clean, m);
    if (!m->lib) {
        rc = errno ? -errno : -EINVAL;
        free(m);
        return fail(f, rc, "cannot make an MQTT client: %s", strerror(-rc));
    }
    rc = set_up_library(m->lib, o, f);
    if (rc < 0) {
        mosquitto_destroy(m->lib);
        free(m);
        return rc;
    }
    m->loop = l;
    m->timer = loop_timer_new(l, session_on_timer, m);
    m->more = loop_timer_new(l, traffic_on_more, m);
    m->on_message = o->on_message;
    m->on_batch_end = o->on_batch_end;
    m->on_state = o->on_state;
    m->on_published = o->on_published;
    m->arg = o->arg;
    m->host = xstrdup(o->host);
    copy_filters(m, o->filters);
    m->port = o->port;
    m->keepalive_s = o->keepalive_s;
    m->subscribe_qos = o->subscribe_qos;
    m->batch = o->batch > 0 ? o->batch : BATCH_DEFAULT;
    m->batch_us = o->batch_us > 0 ? o->batch_us : INT_MAX;
    m->v5 = o->version == 5;
    m->tls = o->tls;
    m->deferred = m->gate.holds = o->deferred_ack;
    m->by_name = !is_numeric(o->host);
    m->fd = -1;
    *ret = m;
    return 0;
}

static void destroy(struct mqtt *m)
{
    mosquitto_destroy(m->lib); /* closes the socket, writes nothing of MQTT */
    inflight_done(&m->inflight);
    gate_done(&m->gate);
    for (int i = 0; i < m->filter_count; i++)
        free(m->filters[i]);
    free(m->filters);
    filters_done(m);
    free(m->host);
    free(m);
}

void client_enter(struct mqtt *m)
{
    m->busy++;
}

void client_leave(struct mqtt *m)
{
    if (m->busy == 1 && !m->dead && !m->in_pool && m->lost)
        session_wind_up(m);
    if (m->busy == 1 && !m->dead && session_connected(m))
        traffic_flush_own(m);
    m->busy--;
    if (m->busy > 0)
        return;
    if (!m->dead)
        traffic_watch(m);
    else if (!m->in_pool)
        destroy(m);
}

/* DISCONNECT goes through the same queue as the PUBACKs: only when none of them is held back. */
static void say_goodbye(struct mqtt *m)
{
    if (!session_connected(m) || (m->deferred && m->unacked > 0))
        return;
    mosquitto_disconnect(m->lib);
    traffic_write(m);
}

void mqtt_free(struct mqtt *m)
{
    if (!m || m->dead)
        return;
    assert(!m->in_lib); /* not from on_message or on_published */
    client_enter(m);
    m->dead = true;
    loop_poll_free(TAKE(m->poll));
    loop_timer_free(TAKE(m->timer));
    loop_timer_free(TAKE(m->more));
    if (!m->in_pool)
        say_goodbye(m);
    client_leave(m);
}

bool mqtt_is_up(const struct mqtt *m)
{
    return m->phase == PHASE_UP && !m->lost;
}

size_t mqtt_unacked(const struct mqtt *m)
{
    return m->unacked;
}

size_t mqtt_in_flight(const struct mqtt *m)
{
    return m->inflight.count;
}

size_t mqtt_unsent(const struct mqtt *m)
{
    return m->qos0;
}
