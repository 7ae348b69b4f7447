/* Budgets: the line by itself, and files that share one while others go as fast as they can. */
#include "../../../src/http/internal.h"
#include "http_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { SIZE = 60000, PIECES = 20000 };

static char path[64];
static unsigned char bytes[SIZE];
static struct http_budget *budget;
static char paced; /* marks the route */

static void handle(struct http_request *r, void *arg)
{
    struct http_file f = {
        .fd = open(path, O_RDONLY), .size = SIZE, .etag = "e", .budget = arg ? budget : NULL};

    http_reply_file(r, &f);
}

static const struct http_route routes[] = {
    {"GET", "/paced", HTTP_BODY_NONE, 0, handle, &paced, 0},
    {"GET", "/free", HTTP_BODY_NONE, 0, handle, NULL, 0},
    {.method = NULL},
};
static const struct http_route *const tables[] = {routes, NULL};

static void start(struct fixture *x, uint64_t rate)
{
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 251);
    (void)snprintf(path, sizeof(path), "/tmp/otad-budget-XXXXXX");
    int fd = mkstemp(path);
    assert_int_equal(write(fd, bytes, SIZE), SIZE);
    close(fd);
    budget = http_budget_new(rate);
    fixture_init(x, tables);
    x->conf.http_threads = 1;
    fixture_start(x);
}

static void stop(struct fixture *x)
{
    fixture_stop(x);
    http_budget_unref(budget);
    unlink(path);
}

/* In any stretch of time no more than the rate, and what an idle budget lets go at once. */
static void the_line_holds(void **state)
{
    static int64_t at[PIECES];
    static uint64_t n[PIECES];
    uint64_t random = 7;
    (void)state;
    for (uint64_t rate = 1000; rate < 200000000; rate *= 17) {
        struct http_budget *b = http_budget_new(rate);
        int64_t now = 1000000000;
        uint64_t sum = 0;

        for (int i = 0; i < PIECES; i++) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            if (random >> 60 == 0)
                now += (int64_t)(random >> 40 & 0xfffff);
            n[i] = budget_reserve(b, 1 + (random >> 33) % 20000, now, &at[i]);
            assert_true(n[i] > 0 && n[i] <= 16384);
            if (at[i] < now)
                at[i] = now; /* it leaves when it may, and no sooner than it asked */
            assert_true(i == 0 || at[i] >= at[i - 1]);
        }
        for (int from = 0; from < PIECES; from += 997) {
            sum = 0;
            for (int i = from; i < PIECES && i < from + 3000; i++) {
                sum += n[i];
                double most = (double)rate * ((double)(at[i] - at[from]) / 1e6 + 0.25);
                assert_true((double)sum <= most + 2 * 16384);
            }
        }
        http_budget_unref(b);
    }
}

static void files_come_whole_and_no_faster(void **state)
{
    struct fixture x;
    struct answer a;
    (void)state;
    start(&x, 40000);
    int64_t began = clock_mono_us();
    int fd = dial(x.port);
    put(fd, "GET /paced HTTP/1.1\r\nHost: h\r\n\r\n");
    ask(x.port, "GET /paced HTTP/1.1\r\nHost: h\r\nRange: bytes=20000-\r\n\r\n", &a);
    assert_int_equal(a.status, 206);
    assert_int_equal(a.body.n, SIZE - 20000);
    assert_memory_equal(a.body.p, bytes + 20000, SIZE - 20000);
    answer_done(&a);
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Length"), "60000");
    assert_memory_equal(a.body.p, bytes, SIZE);
    answer_done(&a);
    /* both together: 100,000 bytes, of which a quarter of a second's worth may go at once */
    assert_true(clock_mono_us() - began >= (100000 - 10000 - 2 * 16384) / 40 * 1000);
    put(fd, "GET /free HTTP/1.1\r\nHost: h\r\n\r\n"); /* the connection is good for more */
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    ask(x.port, "HEAD /paced HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    close(fd);
    stop(&x);
}

/* There is one thread: while a hundred wait for hours, others are served; and it can be stopped. */
static void who_waits_holds_up_nobody(void **state)
{
    struct fixture x;
    struct answer a;
    int fds[100];
    (void)state;
    start(&x, 100);
    for (int i = 0; i < 100; i++) {
        fds[i] = dial(x.port);
        put(fds[i], "GET /paced HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for (int i = 0; i < 20; i++) {
        ask(x.port, "GET /free HTTP/1.1\r\nHost: h\r\n\r\n", &a);
        assert_int_equal(a.body.n, SIZE);
        answer_done(&a);
    }
    for (int i = 0; i < 50; i++) /* half of them leave meanwhile */
        close(fds[i]);
    ask(x.port, "GET /free HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    stop(&x);
    for (int i = 50; i < 100; i++)
        close(fds[i]);
}

const struct CMUnitTest budget_tests[] = {
    cmocka_unit_test(the_line_holds),
    cmocka_unit_test(files_come_whole_and_no_faster),
    cmocka_unit_test(who_waits_holds_up_nobody),
};
const size_t budget_test_count = sizeof(budget_tests) / sizeof(budget_tests[0]);
