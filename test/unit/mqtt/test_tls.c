/* TLS: the name is looked up by us and still compared with the certificate. */
#include "test_mqtt.h"

#include <stdio.h>

static const char *const filters[] = {"in/#", NULL};

/* A certificate that signs itself, for localhost. */
static void tls_broker(struct broker *b)
{
    char key[128], cert[128];
    broker_init(b);
    snprintf(key, sizeof(key), "%s/key.pem", b->dir);
    snprintf(cert, sizeof(cert), "%s/cert.pem", b->dir);
    assert_int_equal(broker_run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                                "ec_paramgen_curve:P-256", "-nodes", "-batch", "-days", "2",
                                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                                "-keyout", key, "-out", cert, (char *)NULL),
                     0);
    broker_start(b, "allow_anonymous true\ncertfile cert.pem\nkeyfile key.pem");
}

static struct mqtt_options client(struct peer *p, struct loop *l, const struct broker *b,
                                  const char *host, char ca[128])
{
    struct mqtt_options o = peer_options(p, l, b, "tls");
    snprintf(ca, 128, "%s/cert.pem", b->dir);
    o.host = host;
    o.tls = true;
    o.ca = ca;
    o.filters = filters;
    o.deferred_ack = true;
    return o;
}

static void test_tls_by_name(void **state UNUSED)
{
    struct broker b;
    tls_broker(&b);
    char ca[128];
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = client(&p, l, &b, "localhost", ca);
    o.batch = 10;
    localhost_is_v6_first = true; /* where the broker does not listen */
    peer_open(&p, &o);
    until(&p, is_up);
    localhost_is_v6_first = false;
    /* More than one batch within one TLS record. */
    char text[64];
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(mqtt_publish(p.m, "in/tls", text, strlen(text), 1, NULL), 0);
    }
    mqtt_flush(p.m);
    p.wanted = 2000;
    until(&p, got_wanted);
    until(&p, published_wanted);
    assert_string_equal(p.last, "1999");

    mqtt_drop(p.m, "again");
    until(&p, is_down);
    until(&p, is_up);
    mqtt_free(p.m);
    loop_free(l);
    broker_stop(&b);
}

/* By what was there; a name may have an address where nobody is. */
static bool is_refused(const struct peer *p)
{
    return p->downs > 0 && !strstr(p->why, "cannot connect");
}

static void check_refused(const char *host, const char *ca_name, const char *expect)
{
    struct broker b;
    tls_broker(&b);
    char ca[128];
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = client(&p, l, &b, host, ca);
    if (ca_name)
        o.ca = ca_name;
    peer_open(&p, &o);
    until(&p, is_refused);
    assert_int_equal(p.ups, 0);
    if (!strstr(p.why, expect))
        fail_msg("'%s' does not say '%s'", p.why, expect);
    mqtt_free(p.m);
    loop_free(l);
    broker_stop(&b);
}

static void test_tls_wrong_name(void **state UNUSED)
{
    check_refused("127.0.0.1", NULL, "host name verification failed");
}

static void test_tls_unknown_authority(void **state UNUSED)
{
    localhost_is_v6_first = true;
    check_refused("localhost", "", "certificate verify failed");
    localhost_is_v6_first = false;
}

const struct CMUnitTest tls_tests[] = {
    cmocka_unit_test(test_tls_by_name),
    cmocka_unit_test(test_tls_wrong_name),
    cmocka_unit_test(test_tls_unknown_authority),
};
const size_t tls_test_count = ARRAY_LEN(tls_tests);
