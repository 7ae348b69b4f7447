/* Requests, routing, odd clients, many sockets, start and stop. */
#include "../../../src/http/internal.h"
#include "http_test.h"

#include <dirent.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_hello(struct http_request *r, void *arg)
{
    (void)arg;
    http_reply(r, 200, "text/plain", "hello", 5);
}

/* Says back what the getters say. */
static void on_echo(struct http_request *r, void *arg)
{
    const char *q = http_query(r, "q"), *none = http_query(r, "none");
    const char *h = http_header(r, "X-Thing");
    char *text = arena_printf(http_arena(r), "%s|%s|%s|%s|%s|%s|%s|%d|%d|%s|%s", http_method(r),
                              http_path(r), http_param(r, "key"), q ? q : "NULL",
                              none ? none : "NULL", h ? h : "NULL", http_address(r), http_is_10(r),
                              http_is_tls(r), (const char *)http_thread_arg(r),
                              http_param(r, "absent") ? "?" : http_route(r)->pattern);
    (void)arg;
    http_add_header(r, "X-Request-Id", http_request_id(r));
    http_reply(r, 200, "text/plain", text, strlen(text));
}

static void on_json(struct http_request *r, void *arg)
{
    json_t *j = json_pack("{s:i}", "n", 7);
    (void)arg;
    http_reply_json(r, 200, j);
    json_decref(j);
}

static void on_fail(struct http_request *r, void *arg)
{
    struct fail f;
    (void)arg;
    if (http_query(r, "inside"))
        http_fail(r, E_DB, ((fail)(&f, E_DB, "table secrets is gone"), &f));
    else
        http_fail(r, E_CONFLICT, ((fail)(&f, E_CONFLICT, "\"it\" exists"), &f));
}

static void on_errors(struct http_request *r, void *arg)
{
    struct json_errors e = {0};
    (void)arg;
    str_copy(e.list[0].pointer, sizeof(e.list[0].pointer), "/name");
    str_copy(e.list[0].code, sizeof(e.list[0].code), "required");
    str_copy(e.list[0].detail, sizeof(e.list[0].detail), "a name is needed");
    e.count = 1;
    http_problem(r, 422, "invalid", &e, "%d field is wrong", 1);
}

static void on_abort(struct http_request *r, void *arg)
{
    (void)arg;
    http_abort(r);
}

static void on_forget(struct http_request *r, void *arg)
{
    (void)r, (void)arg;
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/hello", .handle = on_hello},
    {.method = "GET", .pattern = "/echo/:key", .handle = on_echo},
    {.method = "GET", .pattern = "/json", .handle = on_json},
    {.method = "GET", .pattern = "/fail", .handle = on_fail},
    {.method = "GET", .pattern = "/errors", .handle = on_errors},
    {.method = "GET", .pattern = "/abort", .handle = on_abort},
    {.method = "GET", .pattern = "/forget", .handle = on_forget},
    {.method = "GET", .pattern = "/metrics", .handle = on_hello},
    {.method = "GET", .pattern = "/healthz", .handle = on_hello},
    {0},
};
static const struct http_route *const tables[] = {routes, NULL};

static atomic_int opened, closed;

static void *on_open(void *arg, int index, struct loop *loop)
{
    assert_true(loop_here(loop));
    (void)index;
    atomic_fetch_add(&opened, 1);
    return arg;
}

static void on_close(void *arg, void *thread_arg)
{
    assert_ptr_equal(arg, thread_arg);
    atomic_fetch_add(&closed, 1);
}

static int guard(struct http_request *r, const struct http_route *route, void *arg)
{
    (void)route, (void)arg;
    if (!http_header(r, "X-Forbidden"))
        return 0;
    http_fail(r, E_FORBIDDEN, NULL);
    return -1;
}

static struct fixture x;

static int setup(void **state)
{
    (void)state;
    fixture_init(&x, tables);
    x.options.thread_open = on_open;
    x.options.thread_close = on_close;
    x.options.before = guard;
    x.options.arg = (void *)(uintptr_t) "thread";
    atomic_store(&opened, 0);
    atomic_store(&closed, 0);
    fixture_start(&x);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (x.server)
        fixture_stop(&x);
    assert_int_equal(atomic_load(&opened), atomic_load(&closed));
    return 0;
}

static bool body_is(const struct answer *a, const char *text)
{
    return a->body.n == strlen(text) && memcmp(a->body.p, text, a->body.n) == 0;
}

static void test_getters(void **state)
{
    struct answer a;
    (void)state;
    ask(x.port,
        "GET /echo/a%20b?q=1%2B1&x HTTP/1.1\r\nHost: h\r\nX-Thing: t\r\nX-Request-Id: me-1\r\n\r\n",
        &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.p, "GET|/echo/a b|a b|1+1|NULL|t|127.0.0.1|0|0|thread|/echo/:key");
    assert_string_equal(answer_header(&a, "X-Request-Id"), "me-1");
    assert_string_equal(answer_header(&a, "X-Content-Type-Options"), "nosniff");
    answer_done(&a);
    ask(x.port, "GET /echo/k?q HTTP/1.1\r\nHost: h\r\nX-Request-Id: <b>\r\n\r\n", &a);
    assert_string_equal(a.body.p, "GET|/echo/k|k||NULL|NULL|127.0.0.1|0|0|thread|/echo/:key");
    assert_int_equal(strlen(answer_header(&a, "X-Request-Id")), 16); /* theirs was not a key */
    answer_done(&a);
}

static void test_keep_alive_and_pipelining(void **state)
{
    struct answer a;
    (void)state;
    int fd = dial(x.port);
    for (int i = 0; i < 3; i++) {
        put(fd, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
        get_answer(fd, false, &a);
        assert_true(body_is(&a, "hello"));
        answer_done(&a);
    }
    put(fd, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\nGET /json HTTP/1.1\r\nHost: h\r\n\r\n");
    get_answer(fd, false, &a);
    assert_true(body_is(&a, "hello"));
    answer_done(&a);
    get_answer(fd, false, &a);
    assert_true(body_is(&a, "{\"n\":7}"));
    assert_string_equal(answer_header(&a, "Content-Type"), "application/json");
    answer_done(&a);
    close(fd);
}

static void test_odd_clients(void **state)
{
    static const char *const requests[] = {
        "GET http://ota.example.com:8080/hello HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET HTTPS://ota.example.com/hello?x=1 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost:h\r\nRange:bytes=0-1\r\n\r\n",
        "\r\nGET /hello HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /hello HTTP/1.0\r\n\r\n",
    };
    struct answer a;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        ask(x.port, requests[i], &a);
        assert_int_equal(a.status, 200);
        assert_true(body_is(&a, "hello"));
        answer_done(&a);
    }
}

static void test_http_10_is_answered_as_10_and_closed(void **state)
{
    struct sbuf all = {0};
    (void)state;
    int fd = dial(x.port);
    put(fd, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    read_all(fd, &all); /* ends because the server closes */
    assert_memory_equal(all.p, "HTTP/1.0 200 ", 13);
    assert_non_null(strstr(all.p, "Content-Length: 5\r\n"));
    assert_null(strstr(all.p, "chunked"));
    assert_memory_equal(all.p + all.n - 9, "\r\n\r\nhello", 9);
    sbuf_done(&all);
    close(fd);
}

static void test_not_found_and_not_allowed(void **state)
{
    struct answer a;
    (void)state;
    ask(x.port, "GET /<script> HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 404);
    assert_string_equal(answer_header(&a, "Content-Type"), "application/problem+json");
    assert_null(strstr(a.body.p, "script"));
    assert_non_null(strstr(a.body.p, "\"code\":\"not_found\""));
    assert_non_null(strstr(a.body.p, "\"request_id\":\""));
    answer_done(&a);
    ask(x.port, "DELETE /hello HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 405);
    assert_string_equal(answer_header(&a, "Allow"), "GET, HEAD");
    answer_done(&a);
    ask(x.port, "HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Length"), "5");
    answer_done(&a);
}

static void test_problems(void **state)
{
    struct answer a;
    (void)state;
    ask(x.port, "GET /fail HTTP/1.1\r\nHost: h\r\nX-Request-Id: r1\r\n\r\n", &a);
    assert_int_equal(a.status, 409);
    assert_string_equal(a.body.p,
                        "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,\"code\":"
                        "\"conflict\",\"detail\":\"\\\"it\\\" exists\",\"request_id\":\"r1\"}");
    answer_done(&a);
    ask(x.port, "GET /fail?inside HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 503);
    assert_null(strstr(a.body.p, "secrets"));
    assert_non_null(answer_header(&a, "Retry-After"));
    answer_done(&a);
    ask(x.port, "GET /errors HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 422);
    assert_non_null(strstr(a.body.p, "\"errors\":[{\"pointer\":\"/name\",\"code\":\"required\","
                                     "\"detail\":\"a name is needed\"}]"));
    answer_done(&a);
    ask(x.port, "GET /forget HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 500);
    answer_done(&a);
    ask(x.port, "GET /hello HTTP/1.1\r\nHost: h\r\nX-Forbidden: 1\r\n\r\n", &a);
    assert_int_equal(a.status, 403);
    answer_done(&a);
}

static void test_abort_says_nothing(void **state)
{
    struct sbuf all = {0};
    (void)state;
    int fd = dial(x.port);
    put(fd, "GET /abort HTTP/1.1\r\nHost: h\r\n\r\n");
    read_all(fd, &all);
    assert_int_equal(all.n, 0);
    close(fd);
}

/* Whatever a proxy may frame differently must end the connection. */
static void test_smuggling_is_refused(void **state)
{
    static const char *const requests[] = {
        ("GET /hello HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "GET /hello HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 33\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: h\r\nContent-Length : 33\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello",
        "GET /hello HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /hello%00x HTTP/1.1\r\nHost: h\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct sbuf all = {0};
        int fd = dial(x.port);
        put(fd, requests[i]);
        if (i < ARRAY_LEN(requests) - 1) {
            put(fd, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
            read_all(fd, &all);
            if (all.n > 0) { /* a bare close is as good */
                assert_non_null(strstr(all.p, " 400 "));
                assert_null(strstr(all.p, " 200 "));
            }
        } else {
            struct answer a;
            get_answer(fd, false, &a);
            assert_int_equal(a.status, 400);
            answer_done(&a);
        }
        sbuf_done(&all);
        close(fd);
    }
}

/* A header that exceeds the pool must not hurt anybody else. */
static void test_giant_header(void **state)
{
    struct answer a;
    char *big = xmalloc(200000);
    (void)state;
    memset(big, 'a', 200000);
    int fd = dial(x.port);
    put(fd, "GET /hello HTTP/1.1\r\nHost: h\r\nX: ");
    (void)!TEMP_FAILURE_RETRY(send(fd, big, 200000, MSG_NOSIGNAL));
    (void)!TEMP_FAILURE_RETRY(send(fd, "\r\n\r\n", 4, MSG_NOSIGNAL));
    get_answer(fd, false, &a);
    assert_true(a.closed || a.status == 431);
    answer_done(&a);
    close(fd);
    free(big);
    ask(x.port, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
}

/* One thread, n connections that all have a request waiting when it looks. */
static void wake_together(int n)
{
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";
    int *fds = xcalloc((size_t)n, sizeof(int));

    for (int i = 0; i < n; i++)
        fds[i] = dial(x.port);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < n; i++)
            put_n(fds[i], request, sizeof(request) - 1);
        for (int i = 0; i < n; i++) {
            struct answer a;
            get_answer(fds[i], false, &a);
            assert_int_equal(a.status, 200);
            answer_done(&a);
        }
    }
    for (int i = 0; i < n; i++)
        close(fds[i]);
    free(fds);
}

static atomic_bool hold_thread;

static void on_block(struct http_request *r, void *arg)
{
    (void)arg;
    while (atomic_load(&hold_thread))
        sched_yield();
    http_reply(r, 200, "text/plain", "hello", 5);
}

/* While one request blocks the only thread, exactly n sockets become ready; then it looks. */
static void ready_at_once(int n)
{
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";
    struct answer a;
    int *fds = xcalloc((size_t)n, sizeof(int));

    for (int i = 0; i < n; i++) {
        fds[i] = dial(x.port);
        put_n(fds[i], request, sizeof(request) - 1);
        get_answer(fds[i], false, &a);
        answer_done(&a);
    }
    int blocker = dial(x.port);
    atomic_store(&hold_thread, true);
    put(blocker, "GET /block HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int i = 0; i < n; i++)
        put_n(fds[i], request, sizeof(request) - 1);
    atomic_store(&hold_thread, false);
    for (int i = 0; i < n; i++) {
        get_answer(fds[i], false, &a);
        assert_int_equal(a.status, 200);
        answer_done(&a);
        close(fds[i]);
    }
    get_answer(blocker, false, &a);
    answer_done(&a);
    close(blocker);
    free(fds);
}

static void test_128_sockets_wake_together(void **state)
{
    static const struct http_route block[] = {
        {.method = "GET", .pattern = "/block", .handle = on_block},
        {.method = "GET", .pattern = "/hello", .handle = on_hello},
        {0},
    };
    static const struct http_route *const block_tables[] = {block, NULL};
    static const int counts[] = {127, 128, 129, 256};
    (void)state;
    fixture_stop(&x);
    fixture_init(&x, block_tables);
    x.conf.http_threads = 1;
    fixture_start(&x);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        wake_together(counts[i]);
        ready_at_once(counts[i]);
    }
}

static void test_more_than_1100_open_connections(void **state)
{
    enum { N = 1200 };
    static int fds[N];
    struct rlimit lim;
    (void)state;
    getrlimit(RLIMIT_NOFILE, &lim); /* http_start raised it */
    if (lim.rlim_cur < 2 * N + 100)
        skip();
    for (int i = 0; i < N; i++)
        fds[i] = dial(x.port);
    for (int i = 0; i < N; i++)
        put(fds[i], "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int i = 0; i < N; i++) {
        struct answer a;
        get_answer(fds[i], false, &a);
        assert_int_equal(a.status, 200);
        answer_done(&a);
    }
    assert_true(metric_get(M_HTTP_CONNECTIONS) >= N);
    for (int i = 0; i < N; i++)
        close(fds[i]);
}

static void test_bounds_on_connections(void **state)
{
    struct answer a;
    (void)state;
    fixture_stop(&x);
    x.conf.http_max_connections_per_address = 3;
    fixture_start(&x);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(x.port);
        put(fds[i], "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
        get_answer(fds[i], false, &a);
        assert_int_equal(a.status, 200);
        answer_done(&a);
    }
    int fd = dial(x.port); /* the kernel takes it, we don't */
    get_answer(fd, false, &a);
    assert_true(a.closed);
    close(fd);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    do /* once they are gone there is room again */
        ask(x.port, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    while (a.closed);
    assert_int_equal(a.status, 200);
    answer_done(&a);
}

static int descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Refused at the headers: what waits for the rest of the body is a connection like others. */
static void test_who_is_refused_keeps_its_place(void **state)
{
    enum { MANY = 50 };
    static const char request[] = "POST /nothing HTTP/1.1\r\nHost: h\r\n"
                                  "Content-Length: 100000\r\n\r\n";
    struct answer a;
    int fds[MANY], answered = 0;
    (void)state;
    fixture_stop(&x);
    x.conf.http_max_connections_per_address = 4;
    fixture_start(&x);
    int before = descriptors();
    for (int i = 0; i < MANY; i++) {
        fds[i] = dial(x.port);
        (void)!TEMP_FAILURE_RETRY(send(fds[i], request, sizeof(request) - 1, MSG_NOSIGNAL));
        get_answer(fds[i], false, &a);
        answered += a.status == 404;
        answer_done(&a);
    }
    assert_in_range(descriptors() - before - MANY, 0, 12);
    assert_in_range(answered, 1, 12);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    do /* once they are gone there is room again */
        ask(x.port, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    while (a.closed);
    assert_int_equal(a.status, 200);
    answer_done(&a);
}

static void test_port_in_use_is_told(void **state)
{
    char listen[64];
    struct fail f = {0};
    struct conf conf = x.conf;
    struct http_options o = x.options;
    struct http_server *second = NULL;
    (void)state;
    snprintf(listen, sizeof(listen), "127.0.0.1:%d", x.port);
    conf.http_listen = listen;
    o.conf = &conf;
    assert_int_equal(http_start(&o, &second, &f), -EADDRINUSE);
    assert_non_null(strstr(f.text, listen));
}

static void test_metrics_listener(void **state)
{
    struct answer a;
    (void)state;
    ask(x.port, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    fixture_stop(&x);

    x.conf.http_metrics_listen = "127.0.0.1:0";
    fixture_start(&x);
    int metrics_port = x.server->ports[LISTEN_METRICS];
    ask(x.port, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 404);
    answer_done(&a);
    ask(metrics_port, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    ask(metrics_port, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
    ask(metrics_port, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 404);
    answer_done(&a);
}

static void test_stop_ends_idle_connections_at_once(void **state)
{
    struct answer a;
    struct sbuf rest = {0};
    (void)state;
    int fd = dial(x.port);
    put(fd, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
    get_answer(fd, false, &a);
    answer_done(&a);
    int64_t start = clock_mono_us();
    http_stop(x.server, 60000);
    x.server = NULL;
    assert_true(clock_mono_us() - start < 30 * 1000000LL);
    read_all(fd, &rest);
    assert_int_equal(rest.n, 0);
    close(fd);
}

#define WITH_SERVER(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
const struct CMUnitTest server_tests[] = {
    WITH_SERVER(test_getters),
    WITH_SERVER(test_keep_alive_and_pipelining),
    WITH_SERVER(test_odd_clients),
    WITH_SERVER(test_http_10_is_answered_as_10_and_closed),
    WITH_SERVER(test_not_found_and_not_allowed),
    WITH_SERVER(test_problems),
    WITH_SERVER(test_abort_says_nothing),
    WITH_SERVER(test_smuggling_is_refused),
    WITH_SERVER(test_giant_header),
    WITH_SERVER(test_128_sockets_wake_together),
    WITH_SERVER(test_more_than_1100_open_connections),
    WITH_SERVER(test_bounds_on_connections),
    WITH_SERVER(test_who_is_refused_keeps_its_place),
    WITH_SERVER(test_port_in_use_is_told),
    WITH_SERVER(test_metrics_listener),
    WITH_SERVER(test_stop_ends_idle_connections_at_once),
};
const size_t server_test_count = ARRAY_LEN(server_tests);
