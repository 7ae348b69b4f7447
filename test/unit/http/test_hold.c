/* Deferring, pausing, and stopping while something is held. */
#include "../../../src/http/internal.h"
#include "http_test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* A stand-in for the core: takes handles and gives them back from its own thread. */
static struct core {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct http_handle *handles[256];
    size_t count;
    bool open, quit; /* open: give back at once */
    unsigned answered, abandoned;
} core = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
static struct loop_thread *core_thread;
static atomic_int freed;

static void on_freed(void *state)
{
    (void)state;
    atomic_fetch_add(&freed, 1);
}

static void count(unsigned *what)
{
    pthread_mutex_lock(&core.lock);
    ++*what;
    pthread_cond_broadcast(&core.changed);
    pthread_mutex_unlock(&core.lock);
}

static unsigned value(const unsigned *what)
{
    pthread_mutex_lock(&core.lock);
    unsigned v = *what;
    pthread_mutex_unlock(&core.lock);
    return v;
}

static void on_answer(struct http_request *r, void *arg)
{
    assert_ptr_equal(arg, &core);
    if (!r) {
        count(&core.abandoned);
        return;
    }
    assert_true(loop_here(http_loop(r)));
    count(&core.answered);
    const char *text = http_body(r).n ? http_body(r).p : "none";
    http_reply(r, 200, NULL, text, strlen(text));
}

static void core_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&core.lock);
    while (!core.quit || core.count) {
        if (!core.count || !(core.open || core.quit)) {
            pthread_cond_wait(&core.changed, &core.lock);
            continue;
        }
        struct http_handle *h = core.handles[--core.count];
        pthread_mutex_unlock(&core.lock);
        http_resume(h, on_answer, &core);
        pthread_mutex_lock(&core.lock);
    }
    pthread_mutex_unlock(&core.lock);
}

static void on_deferred(struct http_request *r, void *arg)
{
    (void)arg;
    http_set_state(r, &core, on_freed);
    struct http_handle *h = http_defer(r);
    pthread_mutex_lock(&core.lock);
    assert_true(core.count < ARRAY_LEN(core.handles));
    core.handles[core.count++] = h;
    pthread_cond_broadcast(&core.changed);
    pthread_mutex_unlock(&core.lock);
}

static void on_same_thread(struct http_request *r, void *arg)
{
    (void)arg;
    http_resume(http_defer(r), on_answer, &core);
}

/* ---- pausing ---- */

struct pausing {
    struct http_request *r;
    struct loop_thread *thread;
    uint64_t bytes;
    unsigned pauses;
};

static void continue_it(void *arg)
{
    http_continue(((struct pausing *)arg)->r);
}

static int on_piece(struct http_request *r, void *arg, const void *data, size_t n)
{
    struct pausing *p = arg;
    (void)data;
    loop_thread_join(p->thread); /* of the last pause; it is over, or we were not here */
    p->bytes += n;
    p->pauses++;
    http_pause(r);
    p->thread = loop_thread_start("continue", continue_it, p);
    return 0;
}

static void on_pausing_end(struct http_request *r, void *arg, int rc)
{
    struct pausing *p = arg;
    char text[64];
    assert_int_equal(rc, 0);
    snprintf(text, sizeof(text), "%llu %d", (unsigned long long)p->bytes, p->pauses > 1);
    http_reply(r, 200, NULL, text, strlen(text));
}

static void pausing_free(void *state)
{
    struct pausing *p = state;
    loop_thread_join(p->thread);
    free(p);
}

static void on_pausing(struct http_request *r, void *arg)
{
    struct pausing *p = xcalloc(1, sizeof(*p));
    (void)arg;
    p->r = r;
    http_set_state(r, p, pausing_free);
    http_receive(r, 1 << 30, on_piece, on_pausing_end, p);
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/defer", .handle = on_deferred},
    {.method = "POST",
     .pattern = "/defer",
     .body = HTTP_BODY_WHOLE,
     .max_body = 100,
     .handle = on_deferred},
    {.method = "GET", .pattern = "/same", .handle = on_same_thread},
    {.method = "PUT", .pattern = "/pausing", .body = HTTP_BODY_STREAM, .handle = on_pausing},
    {0},
};
static const struct http_route *const tables[] = {routes, NULL};
static struct fixture x;

static int setup(void **state)
{
    (void)state;
    core.open = true;
    core.quit = false;
    core.count = core.answered = core.abandoned = 0;
    atomic_store(&freed, 0);
    core_thread = loop_thread_start("core", core_main, NULL);
    fixture_init(&x, tables);
    fixture_start(&x);
    return 0;
}

static void end_core(void)
{
    pthread_mutex_lock(&core.lock);
    core.quit = true;
    pthread_cond_broadcast(&core.changed);
    pthread_mutex_unlock(&core.lock);
    loop_thread_join(core_thread);
    core_thread = NULL;
}

static int teardown(void **state)
{
    (void)state;
    if (x.server)
        fixture_stop(&x);
    if (core_thread)
        end_core();
    return 0;
}

static void open_core(bool open)
{
    pthread_mutex_lock(&core.lock);
    core.open = open;
    pthread_cond_broadcast(&core.changed);
    pthread_mutex_unlock(&core.lock);
}

static void wait_count(const size_t *what, size_t n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    pthread_mutex_lock(&core.lock);
    while (*what < n)
        if (pthread_cond_timedwait(&core.changed, &core.lock, &until) != 0)
            fail_msg("30 s went by");
    pthread_mutex_unlock(&core.lock);
}

static void test_deferred_requests_are_answered(void **state)
{
    enum { CONNS = 100, ROUNDS = 10 };
    int fds[CONNS];
    struct answer a;
    (void)state;
    for (int i = 0; i < CONNS; i++)
        fds[i] = dial(x.port);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CONNS; i++)
            put(fds[i], i % 2 ? "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n"
                              : "POST /defer HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
        for (int i = 0; i < CONNS; i++) {
            get_answer(fds[i], false, &a);
            assert_int_equal(a.status, 200);
            assert_string_equal(a.body.p, i % 2 ? "none" : "body");
            answer_done(&a);
        }
    }
    for (int i = 0; i < CONNS; i++)
        close(fds[i]);
    assert_int_equal(value(&core.answered), CONNS * ROUNDS);
    assert_int_equal(value(&core.abandoned), 0);
}

static void test_resumed_within_the_handler(void **state)
{
    struct answer a;
    (void)state;
    ask(x.port, "GET /same HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
}

/* The client is gone when the answer comes: nothing breaks, everything is freed. */
static void test_client_leaves_while_deferred(void **state)
{
    struct answer a;
    struct linger reset = {1, 0};
    (void)state;
    open_core(false);
    for (int i = 0; i < 10; i++) {
        int fd = dial(x.port);
        put(fd, "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n");
        wait_count(&core.count, (size_t)i + 1);
        if (i % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
    }
    open_core(true);
    while (atomic_load(&freed) < 10)
        sched_yield();
    ask(x.port, "GET /same HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
}

/* The grace ends before the core gives back; it does so long after the server is gone. */
static void test_stop_with_deferred_requests(void **state)
{
    struct sbuf rest = {0};
    int fds[5];
    (void)state;
    open_core(false);
    for (int i = 0; i < 5; i++) {
        fds[i] = dial(x.port);
        put(fds[i], "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n");
        wait_count(&core.count, (size_t)i + 1);
    }
    int64_t start = clock_mono_us();
    http_stop(x.server, 50);
    x.server = NULL;
    assert_true(clock_mono_us() - start < 20 * 1000000LL);
    for (int i = 0; i < 5; i++) {
        read_all(fds[i], &rest);
        assert_int_equal(rest.n, 0);
        close(fds[i]);
    }
    assert_int_equal(atomic_load(&freed), 0); /* a job may still hold the arena */
    end_core();
    assert_int_equal(value(&core.abandoned), 5);
    assert_int_equal(atomic_load(&freed), 5);
}

/* Within the grace they are answered, and told to go. */
static void stop_it(void *arg)
{
    (void)arg;
    http_stop(x.server, 60000);
}

static void test_stop_waits_for_answers(void **state)
{
    struct answer a;
    (void)state;
    open_core(false);
    int fd = dial(x.port);
    put(fd, "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_count(&core.count, 1);
    int idle = dial(x.port); /* closed at once, which shows that the stop has begun */
    put(idle, "GET /same HTTP/1.1\r\nHost: h\r\n\r\n");
    get_answer(idle, false, &a);
    answer_done(&a);
    struct loop_thread *t = loop_thread_start("stop", stop_it, NULL);
    get_answer(idle, false, &a);
    assert_true(a.closed);
    close(idle);
    open_core(true);
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    loop_thread_join(t);
    x.server = NULL;
    close(fd);
}

/* The core is stuck: the client gets 503, the handle stays good, and the job's memory too. */
static void test_late_answers_are_given_up(void **state)
{
    struct answer a;
    (void)state;
    atomic_store(&hold_max_us, 1000);
    open_core(false);
    static const char *const requests[] = {
        "GET /defer HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /defer HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        int fd = dial(x.port);
        put(fd, requests[i]);
        get_answer(fd, false, &a);
        assert_int_equal(a.status, 503);
        assert_non_null(answer_header(&a, "Retry-After"));
        answer_done(&a);
        get_answer(fd, false, &a);
        assert_true(a.closed);
        close(fd);
    }
    atomic_store(&hold_max_us, 60 * 1000000);
    assert_int_equal(atomic_load(&freed), 0);
    open_core(true);
    while (atomic_load(&freed) < 2)
        sched_yield();
    assert_int_equal(value(&core.abandoned), 2);
}

static void pausing_upload(const char *framing, bool chunked)
{
    static char block[200000];
    struct answer a;
    int fd = dial(x.port);
    put(fd, framing);
    for (int i = 0; i < 5; i++) {
        if (chunked)
            put(fd, "30d40\r\n");
        put_n(fd, block, sizeof(block));
        if (chunked)
            put(fd, "\r\n");
    }
    if (chunked)
        put(fd, "0\r\n\r\n");
    get_answer(fd, false, &a);
    assert_string_equal(a.body.p, "1000000 1");
    answer_done(&a);
    close(fd);
}

static void test_pause_and_continue(void **state)
{
    (void)state;
    pausing_upload("PUT /pausing HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n", false);
    pausing_upload("PUT /pausing HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", true);
}

#define WITH_SERVER(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
const struct CMUnitTest hold_tests[] = {
    WITH_SERVER(test_deferred_requests_are_answered),
    WITH_SERVER(test_resumed_within_the_handler),
    WITH_SERVER(test_client_leaves_while_deferred),
    WITH_SERVER(test_stop_with_deferred_requests),
    WITH_SERVER(test_stop_waits_for_answers),
    WITH_SERVER(test_late_answers_are_given_up),
    WITH_SERVER(test_pause_and_continue),
};
const size_t hold_test_count = ARRAY_LEN(hold_tests);
