/* Slow clients: a byte now and then must not keep a connection for ever, as it would with
 * MHD's own timeout, which starts anew with each. */
#include "http_test.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_whole(struct http_request *r, void *arg)
{
    (void)arg;
    http_reply(r, 200, NULL, "ok", 2);
}

static int on_bytes(struct http_request *r, void *arg, const void *data, size_t n)
{
    (void)r, (void)arg, (void)data, (void)n;
    return 0;
}

static void on_end(struct http_request *r, void *arg, int rc)
{
    (void)arg;
    assert_int_equal(rc, 0);
    http_reply(r, 200, NULL, "ok", 2);
}

static void on_stream(struct http_request *r, void *arg)
{
    (void)arg;
    http_receive(r, 1000, on_bytes, on_end, NULL);
}

static void on_large(struct http_request *r, void *arg)
{
    enum { N = 32 * 1024 * 1024 };
    char *p = xcalloc(1, N);
    (void)arg;
    http_reply(r, 200, NULL, p, N);
    free(p);
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/ok", .handle = on_whole},
    {.method = "GET", .pattern = "/large", .handle = on_large},
    {.method = "POST",
     .pattern = "/whole",
     .body = HTTP_BODY_WHOLE,
     .max_body = 1000,
     .handle = on_whole},
    {.method = "PUT", .pattern = "/stream", .body = HTTP_BODY_STREAM, .handle = on_stream},
    {0},
};
static const struct http_route *const tables[] = {routes, NULL};
static struct fixture x;

static int setup(void **state)
{
    (void)state;
    fixture_init(&x, tables);
    x.conf.http_request_timeout_s = 1;
    x.conf.http_idle_timeout_s = 1;
    x.conf.http_stall_timeout_s = 60;
    fixture_start(&x);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_stop(&x);
    return 0;
}

/* Drip a byte every 50 ms until the server closes; how long that took. */
static int64_t drip(int fd, const char *byte)
{
    int64_t start = clock_mono_us();
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 50) > 0)
            break; /* an answer or the end */
        assert_true(clock_mono_us() - start < 30 * 1000000LL);
        if (TEMP_FAILURE_RETRY(send(fd, byte, 1, MSG_NOSIGNAL)) < 0)
            break;
    }
    return clock_mono_us() - start;
}

static void expect_cut(const char *beginning, const char *byte)
{
    struct sbuf rest = {0};
    int64_t timed_out = metric_get(M_HTTP_TIMED_OUT);
    int fd = dial(x.port);
    put(fd, beginning);
    drip(fd, byte);
    read_all(fd, &rest);
    assert_int_equal(rest.n, 0);
    assert_int_equal(metric_get(M_HTTP_TIMED_OUT), timed_out + 1);
    close(fd);
}

static void test_dripping_headers(void **state)
{
    (void)state;
    expect_cut("GET /ok HTTP/1.1\r\nHost: h\r\nX: ", "x");
}

static void test_dripping_request_line(void **state)
{
    (void)state;
    expect_cut("GET /", "x");
}

static void test_dripping_small_body(void **state)
{
    (void)state;
    expect_cut("POST /whole HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n", "x");
}

static void test_silent_newcomer_and_idle(void **state)
{
    struct answer a;
    struct sbuf rest = {0};
    (void)state;
    int newcomer = dial(x.port), idle = dial(x.port);
    put(idle, "GET /ok HTTP/1.1\r\nHost: h\r\n\r\n");
    get_answer(idle, false, &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    read_all(newcomer, &rest);
    read_all(idle, &rest);
    assert_int_equal(rest.n, 0);
    close(newcomer);
    close(idle);
}

/* A device that erases flash reads nothing for a while: the request deadline is not for it. */
static void test_slow_upload_and_download_go_on(void **state)
{
    struct answer a;
    (void)state;
    int up = dial(x.port), down = dial(x.port);
    put(down, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    put(up, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 60\r\n\r\n");
    for (int i = 0; i < 60; i++) { /* 3 s, three times the request deadline */
        struct pollfd p = {.fd = up, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 50), 0);
        put(up, "x");
    }
    get_answer(up, false, &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    get_answer(down, false, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, 32 * 1024 * 1024);
    answer_done(&a);
    close(up);
    close(down);
}

static void test_stalled_transfers_are_cut(void **state)
{
    struct sbuf rest = {0};
    (void)state;
    fixture_stop(&x);
    x.conf.http_stall_timeout_s = 1;
    x.conf.http_request_timeout_s = 30;
    fixture_start(&x);
    int64_t timed_out = metric_get(M_HTTP_TIMED_OUT);
    int small = 4096;
    int down = dial(x.port), up = dial(x.port);
    setsockopt(down, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    put(down, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    put(up, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 60\r\n\r\nabc");
    read_all(up, &rest);
    assert_int_equal(rest.n, 0);
    while (metric_get(M_HTTP_TIMED_OUT) < timed_out + 2) {
        struct pollfd none = {.fd = -1};
        poll(&none, 1, 20);
    }
    read_all(down, &rest);
    assert_true(rest.n < 32 * 1024 * 1024);
    sbuf_done(&rest);
    close(up);
    close(down);
}

#define WITH_SERVER(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
const struct CMUnitTest deadline_tests[] = {
    WITH_SERVER(test_dripping_headers),
    WITH_SERVER(test_dripping_request_line),
    WITH_SERVER(test_dripping_small_body),
    WITH_SERVER(test_silent_newcomer_and_idle),
    WITH_SERVER(test_slow_upload_and_download_go_on),
    WITH_SERVER(test_stalled_transfers_are_cut),
};
const size_t deadline_test_count = ARRAY_LEN(deadline_tests);
