/* Whose request it is behind proxies: the pure part, and as handlers see it. */
#include "../../../src/http/internal.h"
#include "http_test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

static struct conf_net nets[2]; /* 127.0.0.0/8 and fd00::/8 */
static struct conf_nets trusted = {nets, ARRAY_LEN(nets)};

static void fill_nets(void)
{
    assert_true(conf_address("127.0.0.0", nets[0].start));
    assert_true(conf_address("fd00::", nets[1].start));
    nets[0].bits = 96 + 8;
    nets[1].bits = 8;
}

/* Lines are parted by |. */
static void check(const char *lines, const char *want)
{
    char all[256], client[INET6_ADDRSTRLEN] = "", *rest = all;

    (void)str_copy(all, sizeof(all), lines);
    for (const char *line; (line = strsep(&rest, "|"));)
        client_line(&trusted, line, client);
    if (strcmp(client, want) != 0)
        fail_msg("%s: %s", lines, client);
}

static void test_the_last_that_is_no_proxy(void **state)
{
    (void)state;
    fill_nets();
    check("192.0.2.1", "192.0.2.1");
    check("192.0.2.1, 198.51.100.2", "198.51.100.2"); /* the first one the client made up */
    check("192.0.2.1, 198.51.100.2, 127.0.0.9 ,fd00::1", "198.51.100.2");
    check("192.0.2.1|198.51.100.2", "198.51.100.2"); /* haproxy adds a line */
    check("192.0.2.1, 127.0.0.2|127.0.0.1", "192.0.2.1");
    check("2001:DB8::1", "2001:db8::1");
    check("[2001:db8::1]", "2001:db8::1");
    check("[2001:db8::1]:443,127.0.0.1:9", "2001:db8::1");
    check("192.0.2.1:65535", "192.0.2.1");
    check("::ffff:192.0.2.1", "192.0.2.1");
    check(" \t192.0.2.1\t , ,", "192.0.2.1");
    check("::ffff:127.0.0.1", ""); /* none but proxies */
    check("", "");
    check("junk, 192.0.2.1", "192.0.2.1");
}

static void test_what_cannot_be_read_names_nobody(void **state)
{
    static const char *const bad[] = {
        "unknown",
        "_hidden",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:-0",
        "1.2.3.4:65536",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[1.2.3.4]",
        "::1%lo",
        "1.2.3.4 5.6.7.8",
        "\"1.2.3.4\"",
        ":",
        "[]",
        "1.2.3.4;",
        "for=1.2.3.4",
        "11111111111111111111111111111111111111111111111111111111111111111111111111111111",
    };
    char lines[256];
    (void)state;
    fill_nets();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        check(bad[i], "");
        (void)str_fmt(lines, sizeof(lines), "192.0.2.1, %s, 127.0.0.1|fd00::2", bad[i]);
        check(lines, "");
        (void)str_fmt(lines, sizeof(lines), "%s|192.0.2.1", bad[i]);
        check(lines, "192.0.2.1");
    }
}

/* Only the end of a long line is looked at, and no entry is cut to another address. */
static void test_long_lines(void **state)
{
    enum { MANY = 3000 };
    char *line = xmalloc(MANY + 64), client[INET6_ADDRSTRLEN] = "";
    (void)state;
    fill_nets();
    memset(line, '1', MANY);
    (void)str_copy(line + MANY, 64, ".2.3.4");
    client_line(&trusted, line, client);
    assert_string_equal(client, "");
    (void)str_copy(line + MANY, 64, ".2.3.4, 127.0.0.1");
    client_line(&trusted, line, client);
    assert_string_equal(client, "");
    (void)str_copy(line + MANY, 64, ", 192.0.2.1, 127.0.0.1");
    client_line(&trusted, line, client);
    assert_string_equal(client, "192.0.2.1");
    memset(line, ',', MANY);
    line[MANY] = '\0';
    client_line(&trusted, line, client);
    assert_string_equal(client, ""); /* what stood before was on another line, and is not known */
    free(line);
}

/* ---- as handlers see it ---- */
static void on_who(struct http_request *r, void *arg)
{
    (void)arg;
    assert_ptr_equal(http_address(r), http_address(r));
    http_reply(r, 200, NULL, http_address(r), strlen(http_address(r)));
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/who", .handle = on_who},
    {0},
};
static const struct http_route *const tables[] = {routes, NULL};
static struct fixture x;

static int setup(void **state)
{
    (void)state;
    fill_nets();
    fixture_init(&x, tables);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (x.server)
        fixture_stop(&x);
    return 0;
}

static void who(int fd, const char *lines, const char *want)
{
    char request[512];
    struct answer a;
    (void)str_fmt(request, sizeof(request), "GET /who HTTP/1.1\r\nHost: h\r\n%s\r\n", lines);
    put(fd, request);
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, strlen(want));
    assert_memory_equal(a.body.p, want, a.body.n);
    answer_done(&a);
}

static void test_only_a_proxy_is_believed(void **state)
{
    (void)state;
    fixture_start(&x);
    int fd = dial(x.port);
    who(fd, "X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.1");
    close(fd);
    fixture_stop(&x);

    x.conf.http_trusted_proxies = trusted;
    fixture_start(&x);
    fd = dial(x.port); /* one connection of the proxy, requests of many */
    who(fd, "", "127.0.0.1");
    who(fd, "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1");
    who(fd, "x-forwarded-for: 192.0.2.1\r\nX-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7");
    who(fd, "X-Forwarded-For: 192.0.2.1, unknown\r\n", "127.0.0.1");
    who(fd, "X-Forwarded-For: 127.0.0.3\r\n", "127.0.0.1");
    who(fd, "X-Forwarded-For:\r\n", "127.0.0.1");
    who(fd, "X-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n", "127.0.0.1");
    close(fd);
}

static void test_a_proxy_has_no_bound_of_connections(void **state)
{
    int fds[4];
    (void)state;
    x.conf.http_max_connections_per_address = 1;
    x.conf.http_trusted_proxies = trusted;
    fixture_start(&x);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = dial(x.port);
        who(fds[i], "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1");
    }
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
}

#define WITH_CONF(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
const struct CMUnitTest client_tests[] = {
    cmocka_unit_test(test_the_last_that_is_no_proxy),
    cmocka_unit_test(test_what_cannot_be_read_names_nobody),
    cmocka_unit_test(test_long_lines),
    WITH_CONF(test_only_a_proxy_is_believed),
    WITH_CONF(test_a_proxy_has_no_bound_of_connections),
};
const size_t client_test_count = ARRAY_LEN(client_tests);
