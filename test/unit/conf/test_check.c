/* Listen addresses and URLs. */
#include "tests.h"

static void listen_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        int port;
    } good[] = {
        {"0.0.0.0:8080", "0.0.0.0", 8080}, {"127.0.0.1:0", "127.0.0.1", 0},
        {"[::]:65535", "::", 65535},       {"[fe80::1]:80", "fe80::1", 80},
        {"localhost:80", "127.0.0.1", 80},
    };
    static const char *const bad[] = {
        "",
        ":",
        ":80",
        "80",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:x",
        "1.2.3:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "[]:80",
        "[1.2.3.4]:80",
        "*:80",
        "example.com:80",
        "1.2.3.4:80 ",
        " 1.2.3.4:80",
        "1.2.3.4:-0",
    };
    char host[64];
    int port;
    struct fail f;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(conf_listen(good[i].text, host, &port, &f), 0);
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (conf_listen(bad[i], host, &port, &f) != E_PROTO)
            print_error("taken: '%s'\n", bad[i]);
        assert_int_equal(conf_listen(bad[i], host, &port, NULL), E_PROTO);
    }
}

static void broker_urls(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        int port;
        bool tls;
    } good[] = {
        {"mqtt://127.0.0.1", "127.0.0.1", 1883, false},
        {"mqtt://broker.example.com:1884", "broker.example.com", 1884, false},
        {"mqtts://my_broker", "my_broker", 8883, true},
        {"mqtts://[::1]:1", "::1", 1, true},
        {"mqtt://[::1]", "::1", 1883, false},
    };
    static const char *const bad[] = {
        "",
        "mqtt://",
        "mqtt:/x",
        "tcp://x",
        "MQTT://x",
        "mqtt://x:0",
        "mqtt://x:65536",
        "mqtt://x:",
        "mqtt://u:p@x",
        "mqtt://x/y",
        "mqtt://[x]:1",
        "mqtt://a b",
        "mqtt://a..b",
        "mqtt://-a",
        "mqtt://a-",
        "mqtt://:1883",
        "mqtt://[::1",
        "mqtt://升",
    };
    char host[256];
    int port;
    bool tls;
    struct fail f;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(conf_mqtt_url(good[i].text, host, &port, &tls, &f), 0);
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
        assert_int_equal(tls, good[i].tls);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (conf_mqtt_url(bad[i], host, &port, &tls, &f) != E_PROTO)
            print_error("taken: '%s'\n", bad[i]);
        assert_int_equal(conf_mqtt_url(bad[i], host, &port, &tls, NULL), E_PROTO);
    }
    assert_int_equal(conf_mqtt_url("mqtt://user:secret@x", host, &port, &tls, &f), E_PROTO);
    assert_null(strstr(f.text, "secret"));
}

static int load_url(const char *key, const char *url, struct conf **ret, struct fail *f)
{
    char text[400];
    assert_true(str_fmt(text, sizeof(text), "[http]\n%s = '%s'\n", key, url));
    return load_text(text, ret, f);
}

static void public_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "https://a",
        "http://",
        "http:///x",
        "http://a b",
        "http://a?x",
        "http://a#x",
        "http://u@a",
        "http://a:0",
        "http://a:x",
        "a",
        "http://[::g]",
        "http://a/\\",
        "http://a/升",
        "HTTP://a",
        "http://0.0.0.0:80",
        "http://[::]",
    };
    struct conf *c;
    struct fail f;
    assert_int_equal(load_url("public_url", "http://[::1]:80/a/b/", &c, &f), 0);
    assert_string_equal(c->http_public_url, "http://[::1]:80/a/b");
    conf_free(c);
    assert_int_equal(load_url("public_https_url", "https://a.example:8443", &c, &f), 0);
    assert_string_equal(c->http_public_https_url, "https://a.example:8443");
    conf_free(c);
    assert_int_equal(load_url("public_https_url", "", &c, &f), 0);
    conf_free(c);
    assert_int_equal(load_url("public_https_url", "http://a", &c, &f), E_PROTO);
    assert_non_null(strstr(f.text, "https://"));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(load_url("public_url", bad[i], &c, &f), E_PROTO);

    char url[120] = "http://a/";
    while (strlen(url) < 80)
        strcat(url, "x");
    strcat(url, "/"); /* what is cut off does not count */
    assert_int_equal(load_url("public_url", url, &c, &f), 0);
    conf_free(c);
    url[80] = 'x';
    assert_int_equal(load_url("public_url", url, &c, &f), E_PROTO);
    assert_non_null(strstr(f.text, "at most 80"));
}

int test_check(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listen_addresses),
        cmocka_unit_test(broker_urls),
        cmocka_unit_test(public_urls),
    };
    return cmocka_run_group_tests_name("conf check", tests, clean_environment, NULL);
}
