/* Many messages: bursts, bounds, back-pressure, and what a message carries. */
#include "test_mqtt.h"

#include <stdio.h>

#define BURST 20000

static const char *const filters[] = {"in/#", NULL};

struct pair {
    struct broker b;
    struct loop *l;
    struct peer in, out;
};

static struct pair *pair_open_with(const char *extra, int version, bool deferred, int keepalive_s)
{
    struct pair *t = xcalloc(1, sizeof(*t));
    broker_start(&t->b, extra);
    t->l = loop_bounded();
    struct mqtt_options o = peer_options(&t->in, t->l, &t->b, "consumer");
    o.clean = false;
    o.session_expiry_s = 3600;
    o.deferred_ack = deferred;
    o.filters = filters;
    o.version = version;
    o.keepalive_s = keepalive_s;
    peer_open(&t->in, &o);
    until(&t->in, is_up);
    o = peer_options(&t->out, t->l, &t->b, NULL);
    o.version = version;
    peer_open(&t->out, &o);
    until(&t->out, is_up);
    return t;
}

static struct pair *pair_open(const char *extra, int version, bool deferred)
{
    return pair_open_with(extra, version, deferred, 60);
}

static void pair_close(struct pair *t)
{
    mqtt_free(t->in.m);
    mqtt_free(t->out.m);
    loop_free(t->l);
    broker_stop(&t->b);
    free(t->in.seen);
    free(t);
}

static void publish_numbers(struct peer *p, size_t from, size_t n)
{
    char text[64];
    for (size_t i = from; i < from + n; i++) {
        snprintf(text, sizeof(text), "%zu of a burst", i);
        assert_int_equal(mqtt_publish(p->m, "in/burst", text, strlen(text), 1, NULL), 0);
    }
}

static void expect_numbers(struct peer *p, size_t n)
{
    p->seen = xcalloc(n, 1);
    p->seen_max = p->unseen = n;
}

/* A consumer that takes nothing while the broker takes a burst, with stock queue settings. */
static void test_burst_loses_none(void **state UNUSED)
{
    struct pair *t = pair_open(NULL, 5, true);
    mqtt_pause(t->in.m, true);
    expect_numbers(&t->in, BURST);
    t->out.wanted = BURST;
    publish_numbers(&t->out, 0, BURST);
    until(&t->out, published_wanted);
    assert_int_equal(t->in.got, 0); /* the pause holds */
    mqtt_pause(t->in.m, false);
    until(&t->in, seen_all);
    assert_true(t->in.largest <= 2000);
    pair_close(t);
}

/* So much that the socket is full and the broker skips messages until the next connection. */
static struct pair *pair_overfull(size_t n)
{
    struct pair *t = pair_open(NULL, 5, true);
    enum { SIZE = 4000 };
    char *text = xmalloc(SIZE);
    memset(text, 'x', SIZE);
    mqtt_pause(t->in.m, true);
    expect_numbers(&t->in, n);
    for (size_t i = 0; i < n; i++) {
        text[snprintf(text, SIZE, "%zu", i)] = ' ';
        assert_int_equal(mqtt_publish(t->out.m, "in/large", text, SIZE, 1, NULL), 0);
    }
    free(text);
    t->out.wanted = n;
    until(&t->out, published_wanted);
    mqtt_pause(t->in.m, false);
    return t;
}

static void test_full_socket_loses_none(void **state UNUSED)
{
    struct pair *t = pair_overfull(10000);
    until(&t->in, seen_all);
    assert_true(t->in.downs > 0); /* else this test tests nothing */
    pair_close(t);
}

/* As above, and it is never silent: each message that was published calls for the next. */
static void test_skipped_ones_come_while_others_go_on(void **state UNUSED)
{
    struct pair *t = pair_overfull(5000);
    while (!seen_all(&t->in)) {
        t->out.wanted = t->out.published + 1;
        peer_publish(&t->out, "in/other", "99999 is none of them");
        until(&t->out, published_wanted);
    }
    assert_true(t->in.downs > 0);
    pair_close(t);
}

static void test_batch_is_bounded(void **state UNUSED)
{
    struct pair *t = pair_open(NULL, 5, true);
    mqtt_free(t->in.m);
    struct mqtt_options o = peer_options(&t->in, t->l, &t->b, "bounded");
    o.deferred_ack = true;
    o.filters = filters;
    o.batch = 10;
    o.keepalive_s = 0; /* nothing else makes the socket readable */
    peer_open(&t->in, &o);
    until(&t->in, is_up);
    /* Publishes in flight make the library read as many packets at once: it must not matter. */
    mqtt_pause(t->in.m, true);
    for (int i = 0; i < 500; i++)
        assert_int_equal(mqtt_publish(t->in.m, "side", "x", 1, 1, NULL), 0);
    t->in.wanted = t->out.wanted = 500;
    publish_numbers(&t->out, 0, 500);
    until(&t->out, published_wanted);
    mqtt_pause(t->in.m, false);
    until(&t->in, got_wanted);
    assert_int_equal(t->in.largest, 10);
    pair_close(t);
}

static void test_pause_in_a_callback(void **state UNUSED)
{
    struct pair *t = pair_open_with(NULL, 5, true, 0); /* no ping makes the socket readable */
    t->in.pause_after = 7;
    t->out.wanted = 100;
    publish_numbers(&t->out, 0, 100);
    until(&t->out, published_wanted);
    t->in.wanted = 7;
    until(&t->in, got_wanted);
    /* A round trip of somebody else: what was to come would have come. */
    t->out.wanted = 101;
    peer_publish(&t->out, "elsewhere", "x");
    until(&t->out, published_wanted);
    loop_spin(t->l, 20);
    assert_int_equal(t->in.got, 7);
    mqtt_pause(t->in.m, false);
    t->in.wanted = 100;
    until(&t->in, got_wanted);
    pair_close(t);
}

static void test_publishes_in_flight_are_bounded(void **state UNUSED)
{
    struct pair *t = pair_open(NULL, 5, true);
    size_t n = 0;
    int rc;
    while ((rc = mqtt_publish(t->in.m, "side", "x", 1, 1, NULL)) == 0)
        n++;
    assert_int_equal(rc, E_LIMIT);
    assert_int_equal(n, 30000);
    assert_int_equal(mqtt_in_flight(t->in.m), 30000);
    mqtt_flush(t->in.m);
    t->in.wanted = 30000;
    until(&t->in, published_wanted);
    assert_int_equal(mqtt_in_flight(t->in.m), 0);
    assert_int_equal(mqtt_publish(t->in.m, "side", "x", 1, 1, NULL), 0);
    pair_close(t);
}

/* QoS 0 uses message ids up too: one that waits must not meet its own id again. */
static void test_ids_do_not_come_round(void **state UNUSED)
{
    struct pair *t = pair_open(NULL, 5, true);
    assert_int_equal(mqtt_publish(t->in.m, "side", "x", 1, 1, NULL), 0); /* waits: not flushed */
    for (int i = 0; i < 30000; i++)
        assert_int_equal(mqtt_publish(t->in.m, "side", "", 0, 0, NULL), 0);
    assert_int_equal(mqtt_publish(t->in.m, "side", "", 0, 0, NULL), E_LIMIT);
    mqtt_flush(t->in.m);
    t->in.wanted = 1;
    until(&t->in, published_wanted);
    for (int i = 0; i < 30000; i++)
        assert_int_equal(mqtt_publish(t->in.m, "side", "", 0, 0, NULL), 0);
    mqtt_flush(t->in.m);
    pair_close(t);
}

static void test_bad_topics_are_refused(void **state UNUSED)
{
    struct pair *t = pair_open(NULL, 5, true);
    assert_int_equal(mqtt_publish(t->in.m, "a/#", "x", 1, 1, NULL), E_PROTO);
    assert_int_equal(mqtt_publish(t->in.m, "", "x", 1, 1, NULL), E_PROTO);
    assert_int_equal(mqtt_publish(t->in.m, "\xff", "x", 1, 1, NULL), E_PROTO);
    assert_int_equal(mqtt_in_flight(t->in.m), 0);
    pair_close(t);
}

static void test_last_username_counts(void **state UNUSED)
{
    struct pair *t = pair_open(NULL, 5, true);
    char port[16];
    snprintf(port, sizeof(port), "%d", t->b.port);
    assert_int_equal(broker_run("mosquitto_pub", "-V", "5", "-p", port, "-q", "1", "-t", "in/x",
                                "-n", "-D", "publish", "user-property", "username", "forged", "-D",
                                "publish", "user-property", "clientid", "c", "-D", "publish",
                                "user-property", "username", "real", (char *)NULL),
                     0);
    t->in.wanted = 1;
    until(&t->in, got_wanted);
    assert_string_equal(t->in.user, "real");
    assert_string_equal(t->in.topic, "in/x");
    peer_publish(&t->out, "in/y", "plain");
    t->in.wanted = 2;
    until(&t->in, got_wanted);
    assert_string_equal(t->in.user, "");
    pair_close(t);
}

static void test_retained_is_not_sent(void **state UNUSED)
{
    struct pair *t = pair_open(NULL, 5, true);
    mqtt_free(t->in.m);
    char port[16];
    snprintf(port, sizeof(port), "%d", t->b.port);
    assert_int_equal(broker_run("mosquitto_pub", "-p", port, "-q", "1", "-r", "-t", "in/old", "-m",
                                "retained", (char *)NULL),
                     0);
    struct mqtt_options o = peer_options(&t->in, t->l, &t->b, "fresh");
    o.filters = filters;
    peer_open(&t->in, &o);
    until(&t->in, is_up);
    mqtt_drop(t->in.m, "again");
    until(&t->in, is_down);
    until(&t->in, is_up);
    peer_publish(&t->out, "in/new", "marker");
    t->in.wanted = 1;
    until(&t->in, got_wanted);
    assert_string_equal(t->in.first, "marker");
    assert_false(t->in.retained);
    pair_close(t);
}

/* As a simulated device: MQTT 3.1.1, acknowledging by itself. */
static void test_version_4(void **state UNUSED)
{
    struct pair *t = pair_open(NULL, 4, false);
    t->in.ack = false;
    t->in.wanted = t->out.wanted = 500;
    publish_numbers(&t->out, 0, 500);
    until(&t->in, got_wanted);
    until(&t->out, published_wanted);
    assert_int_equal(mqtt_unacked(t->in.m), 0);
    assert_int_equal(t->in.downs, 0);
    pair_close(t);
}

static size_t up_count(struct peer *p, size_t n)
{
    size_t up = 0;
    for (size_t i = 0; i < n; i++)
        up += mqtt_is_up(p[i].m);
    return up;
}

static void test_many_devices_in_one_process(void **state UNUSED)
{
    enum { N = 300 };
    struct pair *t = pair_open(NULL, 4, false);
    struct peer *p = xcalloc(N, sizeof(*p));
    t->in.ack = false;
    for (int i = 0; i < N; i++) {
        struct mqtt_options o = peer_options(&p[i], t->l, &t->b, NULL);
        o.version = 4;
        p[i].ack = false;
        peer_open(&p[i], &o);
    }
    while (up_count(p, N) < N)
        loop_run(t->l);
    for (int i = 0; i < N; i++)
        peer_publish(&p[i], "in/many", "x");
    t->in.wanted = N;
    until(&t->in, got_wanted);
    for (int i = 0; i < N; i++)
        mqtt_free(p[i].m);
    free(p);
    pair_close(t);
}

const struct CMUnitTest flow_tests[] = {
    cmocka_unit_test(test_burst_loses_none),
    cmocka_unit_test(test_full_socket_loses_none),
    cmocka_unit_test(test_skipped_ones_come_while_others_go_on),
    cmocka_unit_test(test_batch_is_bounded),
    cmocka_unit_test(test_pause_in_a_callback),
    cmocka_unit_test(test_publishes_in_flight_are_bounded),
    cmocka_unit_test(test_ids_do_not_come_round),
    cmocka_unit_test(test_bad_topics_are_refused),
    cmocka_unit_test(test_last_username_counts),
    cmocka_unit_test(test_retained_is_not_sent),
    cmocka_unit_test(test_version_4),
    cmocka_unit_test(test_many_devices_in_one_process),
};
const size_t flow_test_count = ARRAY_LEN(flow_tests);
