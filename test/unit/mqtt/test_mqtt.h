/* What the tests of the mqtt room share: a loop that ends, and a client that remembers. */
#pragma once

#include "broker.h"
#include "mqtt.h"

#include <setjmp.h>

#include <cmocka.h>

/* A client and all that it was told. Callbacks stop the loop so that until() looks again. */
struct peer {
    struct loop *l;
    struct mqtt *m;
    int ups, downs;
    size_t got, batches, published;
    size_t in_batch, largest; /* messages of this batch; of the largest one */
    size_t unseen;            /* numbers that did not come yet */
    size_t wanted;            /* see got_wanted, published_wanted */
    char first[64];           /* payload of the first message since peer_forget */
    char last[64];            /* … and of the last */
    char topic[64];
    char user[64];
    char why[256];
    uint64_t number;     /* of the last message */
    bool ack;            /* mqtt_ack at each end of a batch */
    bool retained;       /* one had the retain flag */
    size_t pause_after;  /* mqtt_pause in on_message when so many came; 0 = never */
    unsigned char *seen; /* counts by the number in the payload, when not NULL */
    size_t seen_max;
    void (*on_first)(struct peer *p); /* called once, at the end of a batch */
};

#define TWO_ADDRESSES "two-addresses.invalid" /* 127.0.0.2, where nobody listens, and .1 */
extern bool localhost_is_v6_first;

struct loop *loop_bounded(void); /* aborts when a test takes minutes */
/* Run the loop until cond(p), looking after each event of any peer on it. */
void until(struct peer *p, bool (*cond)(const struct peer *p));
bool is_up(const struct peer *p);
bool is_down(const struct peer *p);
bool seen_all(const struct peer *p);
bool got_wanted(const struct peer *p);
bool published_wanted(const struct peer *p);

/* Defaults for a peer at this broker, to be changed before peer_open. */
struct mqtt_options peer_options(struct peer *p, struct loop *l, const struct broker *b,
                                 const char *client_id);
void peer_open(struct peer *p, const struct mqtt_options *o); /* and connect */
void peer_forget(struct peer *p);
void peer_publish(struct peer *p, const char *topic, const char *text);
void loop_spin(struct loop *l, int turns);

/* test_ack.c, test_connect.c, test_flow.c, test_tls.c */
extern const struct CMUnitTest ack_tests[], connect_tests[], flow_tests[], tls_tests[];
extern const size_t ack_test_count, connect_test_count, flow_test_count, tls_test_count;
extern const struct CMUnitTest filter_tests[]; /* test_filters.c */
extern const size_t filter_test_count;
extern const struct CMUnitTest backoff_tests[]; /* test_backoff.c */
extern const size_t backoff_test_count;
extern const struct CMUnitTest gate_tests[]; /* test_gate.c */
extern const size_t gate_test_count;
