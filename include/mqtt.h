/*
 * mqtt: the only room that sees libmosquitto. Two kinds of client on somebody's loop, never
 * mosquitto_loop*(): an external loop over one descriptor, MQTT v5, own reconnect with full
 * jitter (1 s doubling to 60 s), TCP_NODELAY, names resolved on the thread pool.
 *
 * Acknowledging is the caller's: PUBACKs of what was taken are queued in the library and leave
 * only with mqtt_ack() or mqtt_ack_before(). The library has one queue of outgoing packets: while
 * something is unacknowledged, everything else waits behind it for mqtt_ack, pings too, so
 * acknowledge at least every keepalive.
 *
 * All functions belong to the loop's thread. Messages of a kept session may come before
 * on_state(true); publishing works from then on too. From inside on_message and on_published
 * call neither mqtt_ack, mqtt_flush nor mqtt_free; everything else is allowed anywhere.
 */
#pragma once

#include "loop.h"
#include "util.h"

struct mqtt;

struct mqtt_message {
    const char *topic;
    const void *payload;
    size_t n;
    int qos;
    bool retain;
    const char *user; /* last user property "username", set by a broker plugin; NULL */
    uint64_t number;  /* how many that need a PUBACK came before it, since mqtt_new */
};

struct mqtt_options {
    const char *host;
    int port;
    bool tls;
    const char *ca, *cert, *key; /* NULL or "" = system's, none */
    const char *username, *password, *client_id;
    bool clean;                /* clean start, no session kept */
    uint32_t session_expiry_s; /* when not clean */
    int keepalive_s;
    int version; /* 5 or 4 (MQTT 3.1.1), for simulated devices */
    /* Nothing is written but by mqtt_ack and mqtt_flush; while nothing is unacknowledged or
     * published but not flushed, also the handshake, pings and what was flushed before. */
    bool deferred_ack;
    const char *const *filters; /* NULL-terminated; subscribed QoS 1 at each connect, no retained
                                   messages sent (v5 retain handling 2) */
    int subscribe_qos;
    int batch;    /* messages taken per readiness at most; 0 = 1,000 */
    int batch_us; /* … or this long; 0 = no limit */
    /* A message; its memory is valid during the call only. */
    void (*on_message)(void *arg, const struct mqtt_message *m);
    /* After all that was readable in one go (at most batch) was given to on_message. */
    void (*on_batch_end)(void *arg);
    /* up: connected and subscribed (granted). Else why it went down, a sentence. */
    void (*on_state)(void *arg, bool up, const char *why);
    void (*on_published)(void *arg, int mid); /* PUBACK of our own publish; may be NULL */
    void *arg;
};

int mqtt_new(struct loop *l, const struct mqtt_options *o, struct mqtt **ret,
             struct fail *f) MUST_USE; /* copies o's strings */
/* Another list of filters: what is not yet subscribed will be, what is no longer listed is given
 * up, at once or with the next connection. Copies. E_PROTO, changing nothing, when one is none. */
int mqtt_filters(struct mqtt *m, const char *const *filters, struct fail *f) MUST_USE;
/* Filters that were given up and of which the broker has not said that it has forgotten them. Said
 * again with each connection, as a session that is kept may have them. */
size_t mqtt_owed(const struct mqtt *m);
void mqtt_connect(struct mqtt *m); /* now, and again after each loss */
void mqtt_free(struct mqtt *m);    /* disconnects cleanly when it can */
bool mqtt_is_up(const struct mqtt *m);

/* Stop or go on taking messages from the socket (back-pressure: TCP holds the broker). Answers to
 * pings are not read either: a pause longer than two keepalives costs the connection, and it is
 * made anew only when the pause is over. Mosquitto skips messages for a client whose socket is full
 * until its next connection: when ours was (deferred_ack), we reconnect as soon as all is read and
 * acknowledged. */
void mqtt_pause(struct mqtt *m, bool paused);
/* Send the PUBACKs of everything given to on_message so far (deferred_ack). */
void mqtt_ack(struct mqtt *m);
/* Send the PUBACKs of those with a smaller number, the oldest ones, and hold back the others.
 * False, and nothing is done, where PUBACKs can only leave all together: with TLS. */
bool mqtt_ack_before(struct mqtt *m, uint64_t number);
/* Messages given to on_message and not acknowledged. */
size_t mqtt_unacked(const struct mqtt *m);
/* Cut the socket without DISCONNECT and without acknowledging; reconnects after its back-off.
 * The broker then sends again what was not acknowledged. on_state follows in a later turn. */
void mqtt_drop(struct mqtt *m, const char *why);

/* Queue a message; mqtt_flush writes (done by itself at once, or on leaving the callback that we
 * are in, when not deferred). E_UNAVAILABLE when not connected, E_LIMIT when 30,000 publishes wait
 * for their PUBACK (message ids are 16 bits, and libmosquitto does not look whether one is in
 * use), or 30,000 of QoS 0 to be written; E_PROTO for a bad topic. What is in flight when the
 * connection breaks is sent again by itself. */
int mqtt_publish(struct mqtt *m, const char *topic, const void *payload, size_t n, int qos,
                 int *ret_mid) MUST_USE;
/* Write what was published. While messages are unacknowledged (deferred_ack) it does nothing:
 * mqtt_ack writes it. */
void mqtt_flush(struct mqtt *m);
size_t mqtt_in_flight(const struct mqtt *m);
/* QoS 0 messages that the socket did not take yet. */
size_t mqtt_unsent(const struct mqtt *m);

void mqtt_setup(void); /* once at start of the process */
void mqtt_cleanup(void);
