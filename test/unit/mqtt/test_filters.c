/* Subscriptions that change while connected, and what a next connection begins with. */
#include "test_mqtt.h"

#define MANY 1000

static const char *const one[] = {"a/+", NULL};
static const char *const two[] = {"b/#", "a/+", NULL};
static const char *const other[] = {"b/#", NULL};

/* Others may be on their way still. */
static void expect(struct peer *in, struct peer *out, const char *topic)
{
    peer_publish(out, topic, "x");
    while (strcmp(in->topic, topic) != 0) {
        in->wanted = in->got + 1;
        until(in, got_wanted);
    }
}

static void test_filters_change(void **state UNUSED)
{
    struct broker b = {0};
    struct peer in = {0}, out = {0};
    struct fail f = {0};
    static char text[MANY][16];
    static const char *many[MANY + 1];

    broker_start(&b, NULL);
    struct loop *l = loop_bounded();
    struct mqtt_options o = peer_options(&in, l, &b, "consumer");
    o.clean = false;
    o.session_expiry_s = 3600;
    o.deferred_ack = true;
    o.filters = one;
    peer_open(&in, &o);
    until(&in, is_up);
    o = peer_options(&out, l, &b, NULL);
    peer_open(&out, &o);
    until(&out, is_up);

    assert_int_equal(mqtt_filters(in.m, two, &f), 0);
    assert_int_equal(mqtt_filters(in.m, two, &f), 0); /* nothing to tell */
    for (in.got = 0; in.got == 0; loop_spin(l, 1))
        peer_publish(&out, "b/2", "again");
    expect(&in, &out, "a/1");

    const char *bad[] = {"a/#/b", NULL};
    assert_int_equal(mqtt_filters(in.m, bad, &f), E_PROTO);
    assert_non_null(strstr(f.text, "a/#/b"));
    assert_int_equal(mqtt_filters(in.m, other, &f), 0);
    mqtt_drop(in.m, "a test"); /* perhaps before the broker was told: the list is what counts */
    until(&in, is_down);
    until(&in, is_up);
    expect(&in, &out, "b/3");

    for (int i = 0; i < MANY; i++) {
        (void)str_fmt(text[i], sizeof(text[i]), "m/%d/+", i);
        many[i] = text[i];
    }
    assert_int_equal(mqtt_filters(in.m, many, &f), 0);
    for (in.got = 0; in.got == 0; loop_spin(l, 1))
        peer_publish(&out, "m/999/x", "again");
    expect(&in, &out, "m/0/x");
    assert_true(mqtt_is_up(in.m));
    mqtt_free(in.m);
    mqtt_free(out.m);
    loop_free(l);
    broker_stop(&b);
}

/* Nothing more comes by what was given up while the broker was away: the session had it. */
static void test_what_is_given_up_while_away(void **state UNUSED)
{
    struct broker b = {0};
    struct peer in = {0}, out = {0};
    struct fail f = {0};

    broker_start(&b, NULL);
    struct loop *l = loop_bounded();
    struct mqtt_options o = peer_options(&in, l, &b, "consumer");
    o.clean = false;
    o.session_expiry_s = 3600;
    o.deferred_ack = true;
    o.filters = two;
    peer_open(&in, &o);
    until(&in, is_up);
    o = peer_options(&out, l, &b, NULL);
    peer_open(&out, &o);
    until(&out, is_up);
    mqtt_drop(in.m, "a test");
    until(&in, is_down);
    assert_int_equal(mqtt_filters(in.m, other, &f), 0); /* a/+ is not wanted any more */
    assert_int_equal(mqtt_owed(in.m), 1);
    assert_int_equal(mqtt_filters(in.m, two, &f), 0); /* but it is */
    assert_int_equal(mqtt_owed(in.m), 0);
    assert_int_equal(mqtt_filters(in.m, other, &f), 0);
    while (mqtt_owed(in.m) > 0)
        loop_spin(l, 1);
    peer_forget(&in);
    peer_publish(&out, "a/1", "x");
    expect(&in, &out, "b/1");
    assert_int_equal(in.got, 1);

    /* A process that has begun anew knows what the one before may have subscribed. */
    mqtt_free(in.m);
    loop_spin(l, 1);
    o = peer_options(&in, l, &b, "consumer");
    o.clean = false;
    o.session_expiry_s = 3600;
    o.deferred_ack = true;
    o.filters = two; /* b/# was all: this one may be more than there is */
    assert_int_equal(mqtt_new(l, &o, &in.m, &f), 0);
    assert_int_equal(mqtt_filters(in.m, one, &f), 0);
    mqtt_connect(in.m);
    until(&in, is_up);
    while (mqtt_owed(in.m) > 0)
        loop_spin(l, 1);
    peer_publish(&out, "b/2", "x");
    expect(&in, &out, "a/2");
    assert_int_equal(in.got, 1);
    mqtt_free(in.m);
    mqtt_free(out.m);
    loop_free(l);
    broker_stop(&b);
}

const struct CMUnitTest filter_tests[] = {cmocka_unit_test(test_filters_change),
                                          cmocka_unit_test(test_what_is_given_up_while_away)};
const size_t filter_test_count = ARRAY_LEN(filter_tests);
