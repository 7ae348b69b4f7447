/*
 * mqtt, inside: one client and the seams between its files.
 *
 *   client.c    birth, death, options; entering and leaving
 *   session.c   connecting, the handshake, loss, back-off, the keepalive tick
 *   traffic.c   reading, writing, acknowledging, publishing
 *   filters.c   subscriptions that change
 *   lookup.c    the addresses of a name
 *   skipped.c   what the broker did not send because we were slow
 *   inflight.c  which of our own publishes wait for their PUBACK
 *   gate.c      which PUBACKs may leave, and few system calls for many packets
 *
 * The library's callbacks only note what happened. What follows from it (telling the caller,
 * reconnecting, freeing) is done in client_leave, when no frame of the library is on the stack.
 */
#pragma once

#include "mqtt.h"

#include <mosquitto.h>

enum phase {
    PHASE_DOWN,    /* no socket: waiting for the timer, or for mqtt_connect */
    PHASE_POOL,    /* the thread pool looks the name up and connects */
    PHASE_TCP,     /* connect() is under way */
    PHASE_CONNACK, /* TLS, CONNECT, until CONNACK */
    PHASE_LEAVING, /* our side is shut: what we acknowledged shall be read before we go */
    PHASE_SUBACK,  /* connected, the subscription is not granted yet */
    PHASE_UP,
};

#define IN_FLIGHT_MAX 30000

struct inflight_slot {
    uint32_t seq; /* how many ids were used up when this one was taken */
    uint16_t mid; /* 0: acknowledged */
};

/* A ring in the order of publishing; it grows and stays. */
struct inflight {
    struct inflight_slot *ring;
    size_t head, span, cap; /* span counts the gaps too */
    size_t count;
};

/* Traces, on this connection, of messages that the broker skipped. */
struct skipped {
    int last_id;
    bool unordered;     /* the broker does not count ids up */
    bool was_full;      /* our end of the socket was, since it was last silent */
    bool some;          /* some were skipped, or seem so: reconnect */
    size_t burst;       /* messages since it was full */
    size_t came;        /* messages with an id, in all */
    size_t came_before; /* … at the last tick */
};

enum gate_way {
    GATE_WRITE,
    GATE_READ,
    GATE_QUEUE, /* nothing is written but into the library's queue */
};

struct gate_open {
    struct gate *gate;
    enum gate_way way;
};

/* Between the library and the socket. Numbers count messages that need a PUBACK, over all
 * connections. */
struct gate {
    uint64_t taken;         /* given to on_message */
    uint64_t allowed, sent; /* PUBACKs that may leave, and that left the library */
    bool holds;             /* PUBACKs need to be allowed */
    bool asked;             /* the library does come here, on this connection */
    int fd;
    size_t left; /* of a packet that was written in part */
    char *buf;   /* gathered: from `at` to n */
    size_t at, n, cap;
    const char *in; /* read, from in_at to in_n, and not yet given to the library */
    char *kept;     /* it stands here between two gos; or NULL */
    size_t in_at, in_n;
};

struct mqtt {
    struct loop *loop;
    struct mosquitto *lib;
    struct loop_poll *poll;
    struct loop_timer *more;  /* the gate has input, of which the socket says nothing */
    struct loop_timer *timer; /* back-off, deadline of the handshake, keepalive: one at a time */
    void (*on_message)(void *arg, const struct mqtt_message *m);
    void (*on_batch_end)(void *arg);
    void (*on_state)(void *arg, bool up, const char *why);
    void (*on_published)(void *arg, int mid);
    void *arg;

    char *host;
    char **filters;
    int filter_count;
    char **owed; /* given up, and not yet confirmed by the broker */
    int owed_count, owed_mid;
    int port, keepalive_s, subscribe_qos;
    int batch, batch_us;
    bool v5, tls, deferred, by_name;

    enum phase phase;
    int fd, watched;
    unsigned attempts; /* connections that did not last, in a row */
    unsigned address;  /* which one of the name's is tried */
    int64_t up_since_us;
    bool wanted;     /* mqtt_connect was called */
    bool paused;     /* take nothing from the socket */
    bool held;       /* it is time to connect, but we are paused */
    bool lost;       /* the connection is over; client_leave winds it up */
    bool taken_over; /* … because somebody else has our client id */
    bool tell_up;    /* on_state(true) is due */
    bool dead;       /* mqtt_free was called */
    bool in_pool;    /* the thread pool has the library's client now */
    bool in_lib;     /* a frame of the library is on the stack */
    bool writing;    /* … and it is mosquitto_loop_write */
    bool stop;       /* a callback asked mosquitto_loop_read to return */
    bool drained;    /* the socket was read empty */
    bool again;      /* lost on purpose, to have those sent again */
    bool dirty;      /* published, and not flushed since (deferred) */
    int busy;        /* depth of client_enter */
    int connect_rc, connect_errno;

    size_t unacked;
    size_t queued; /* packets given to the library since the last write, about */
    size_t qos0;   /* QoS 0 publishes that wait to be written */
    int taken;     /* messages in this go */
    int64_t taken_since_us;
    uint32_t seq; /* message ids used up */
    struct inflight inflight;
    struct skipped skipped;
    struct gate gate;
    char why[192];
    char lib_error[128]; /* the library's last error line while connecting with TLS */
};

/* ---- client.c ---- */
void client_enter(struct mqtt *m);
void client_leave(struct mqtt *m); /* m may be gone afterwards */

/* ---- backoff.c ---- */
#define BACKOFF_MIN ((uint64_t)50) /* ms: full jitter may come out as nothing */
#define BACKOFF_MAX ((uint64_t)60000)
/* After so many connections in a row that did not last; random: any number. */
uint64_t session_backoff_ms(unsigned attempts, uint64_t random);

/* ---- session.c ---- */
void session_hooks(struct mosquitto *lib);
void session_on_timer(void *arg);
/* Note why the connection is over (the first reason counts) and have it wound up. */
void session_fail(struct mqtt *m, const char *fmt, ...) PRINTF(2, 3);
void session_fail_rc(struct mqtt *m, int lib_rc, int errno_then);
void session_wind_up(struct mqtt *m);
void session_tell_up(struct mqtt *m);
void session_start_tick(struct mqtt *m);
static inline bool session_connected(const struct mqtt *m)
{
    return m->phase >= PHASE_SUBACK && !m->lost;
}

/* ---- traffic.c ---- */
void traffic_hooks(struct mosquitto *lib);
void traffic_reset(struct mqtt *m); /* a new connection starts */
void traffic_read(struct mqtt *m);
void traffic_on_more(void *arg);
void traffic_write(struct mqtt *m);
/* Write unless that would acknowledge, or send, what the caller has not released. */
void traffic_flush_own(struct mqtt *m);
void traffic_watch(struct mqtt *m);
bool traffic_has_unwritten(const struct mqtt *m);
void traffic_stop_reading(struct mqtt *m); /* from a callback, as the last thing it does */

/* ---- skipped.c ---- */
void skipped_reset(struct mqtt *m);           /* a new connection starts */
void skipped_message(struct mqtt *m, int id); /* a message came; id 0 has QoS 0 */
void skipped_look(struct mqtt *m);            /* before reading: is our end full? */
bool skipped_suspected(const struct mqtt *m); /* ticks should be close together now */
void skipped_tick(struct mqtt *m);
void skipped_fetch(struct mqtt *m); /* reconnect when it is due and nothing is in the way */
void skipped_leave(struct mqtt *m); /* while leaving: something can be read */

/* ---- filters.c ---- */
void filters_hooks(struct mosquitto *lib);
void filters_give_up(struct mqtt *m); /* tell the broker all that is owed */
void filters_done(struct mqtt *m);

/* ---- lookup.c ---- */
/* A numeric address of a name, the nth, counted around; any thread, blocks. 0, or what getaddrinfo
 * returns. */
int lookup(const char *host, unsigned nth, char *ret, size_t cap) MUST_USE;

/* ---- gate.c ---- */
void gate_setup(void);           /* once: signal handlers write, and may not look a name up */
void gate_reset(struct gate *g); /* a new connection starts */
/* From open to close, what this thread writes to fd, or reads from it, goes through the gate.
 * Returns what was open before, for gate_close: that goes on then. */
struct gate_open gate_open(struct gate *g, int fd, enum gate_way way);
/* What was gathered leaves, as far as the socket takes it; stands: it is open still. 0 or errno. */
int gate_close(struct gate *g, struct gate_open was, bool stands);
bool gate_waits(const struct gate *g);     /* something gathered did not leave yet */
bool gate_owes(const struct gate *g);      /* … or is allowed to */
bool gate_has_input(const struct gate *g); /* read, and the library did not take it yet */
void gate_done(struct gate *g);

/* ---- inflight.c ---- */
bool inflight_full(const struct inflight *f, uint32_t seq);
void inflight_add(struct inflight *f, uint32_t seq, uint16_t mid);
bool inflight_del(struct inflight *f, uint16_t mid); /* false: not ours */
void inflight_done(struct inflight *f);
