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

const struct CMUnitTest filter_tests[] = {cmocka_unit_test(test_filters_change)};
const size_t filter_test_count = ARRAY_LEN(filter_tests);
