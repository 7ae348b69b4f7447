/* Answers without a known end: in pieces, waiting, woken, cut, and at the server's stop. */
#include "http_test.h"

#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

static struct source {
    atomic_int say; /* lines that may be said */
    int said;       /* the thread's */
    atomic_int freed, fills;
    int end_after; /* 0 = never */
    struct loop_timer *timer;
    struct http_stream *stream;
} src;

static void on_timer(void *arg)
{
    (void)arg;
    if (src.stream && src.said < atomic_load(&src.say))
        http_stream_wake(src.stream);
}

static int fill(void *arg, struct sbuf *out)
{
    assert_ptr_equal(arg, &src);
    atomic_fetch_add(&src.fills, 1);
    for (int i = 0; i < 100 && src.said < atomic_load(&src.say); i++)
        sbuf_fmt(out, "line %d\n", ++src.said);
    if (src.end_after && src.said >= src.end_after)
        return HTTP_STREAM_END;
    return src.said < atomic_load(&src.say) ? HTTP_STREAM_MORE : HTTP_STREAM_WAIT;
}

static void on_free(void *arg)
{
    (void)arg;
    src.stream = NULL;
    loop_timer_free(src.timer);
    atomic_fetch_add(&src.freed, 1);
}

static void handle(struct http_request *r, void *arg)
{
    (void)arg;
    src.said = 0;
    src.timer = loop_timer_new(http_loop(r), on_timer, NULL);
    loop_timer_start(src.timer, 1, 1);
    src.stream = http_reply_stream(
        r, 200,
        &(struct http_stream_source){
            .content_type = "text/plain", .fill = fill, .arg = &src, .free_fn = on_free});
}

static const struct http_route routes[] = {
    {"GET", "/s", HTTP_BODY_NONE, 0, handle, NULL, 0},
    {.method = NULL},
};
static const struct http_route *const tables[] = {routes, NULL};

static void start(struct fixture *x, int say, int end_after)
{
    memset(&src, 0, sizeof(src));
    atomic_store(&src.say, say);
    src.end_after = end_after;
    fixture_init(x, tables);
    fixture_start(x);
}

static void read_until(int fd, struct sbuf *b, const char *what)
{
    char c;
    while (!b->p || !strstr(b->p, what)) {
        assert_int_equal(TEMP_FAILURE_RETRY(read(fd, &c, 1)), 1);
        sbuf_add(b, &c, 1);
    }
}

static void long_answers_come_whole(void **state)
{
    struct fixture x;
    struct sbuf b = {0};
    (void)state;
    start(&x, 50000, 50000);
    int fd = dial(x.port);
    put(fd, "GET /s HTTP/1.0\r\n\r\n");
    read_all(fd, &b);
    assert_non_null(strstr(b.p, "\nline 1\n"));
    assert_string_equal(b.p + b.n - 11, "line 50000\n");
    close(fd);
    sbuf_done(&b);
    fixture_stop(&x);
    assert_int_equal(atomic_load(&src.freed), 1);
}

static void what_waits_costs_nothing_and_goes_on(void **state)
{
    struct fixture x;
    struct sbuf b = {0};
    (void)state;
    start(&x, 1, 0);
    int fd = dial(x.port);
    put(fd, "GET /s HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(fd, &b, "line 1\n");
    assert_non_null(strstr(b.p, "chunked"));
    for (int i = 2; i < 20; i++) {
        char want[20];
        (void)str_fmt(want, sizeof(want), "line %d\n", i);
        atomic_store(&src.say, i);
        read_until(fd, &b, want);
    }
    /* at most two calls a line: one that fills, one that finds nothing */
    assert_true(atomic_load(&src.fills) <= 2 * 20);
    /* a stop does not wait for what has no end */
    int64_t begin = clock_mono_us();
    http_stop(x.server, 20000);
    assert_true(clock_mono_us() - begin < 15000000);
    assert_int_equal(atomic_load(&src.freed), 1);
    read_all(fd, &b);
    assert_string_equal(b.p + b.n - 5, "0\r\n\r\n"); /* a clean end */
    close(fd);

    sbuf_done(&b);
}

static void a_client_that_left_is_noticed(void **state)
{
    struct fixture x;
    struct sbuf b = {0};
    (void)state;
    start(&x, 1, 0);
    int fd = dial(x.port);
    put(fd, "GET /s HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(fd, &b, "line 1\n");
    close(fd);
    while (!atomic_load(&src.freed)) {
        atomic_fetch_add(&src.say, 1);
        (void)poll(NULL, 0, 1);
    }
    sbuf_done(&b);
    fixture_stop(&x);
}

static void a_grace_of_nothing_cuts_it(void **state)
{
    struct fixture x;
    struct sbuf b = {0};
    (void)state;
    start(&x, INT32_MAX, 0); /* it always has more, and the client reads nothing */
    int fd = dial(x.port);
    put(fd, "GET /s HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(fd, &b, "line 1\n");
    http_stop(x.server, 0);
    assert_int_equal(atomic_load(&src.freed), 1);
    close(fd);
    sbuf_done(&b);
}

const struct CMUnitTest stream_tests[] = {
    cmocka_unit_test(long_answers_come_whole),
    cmocka_unit_test(what_waits_costs_nothing_and_goes_on),
    cmocka_unit_test(a_client_that_left_is_noticed),
    cmocka_unit_test(a_grace_of_nothing_cuts_it),
};
const size_t stream_test_count = ARRAY_LEN(stream_tests);
