/* Bodies: whole, streamed, multipart; refusals before and in the middle of them. */
#include "http_test.h"

#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define H "Host: h\r\n"

static void on_whole(struct http_request *r, void *arg)
{
    struct str b = http_body(r);
    (void)arg;
    http_reply(r, 200, NULL, b.p, b.n);
}

struct sink {
    uint64_t bytes;
    uint32_t crc;
    struct sbuf parts;
    int fail_at, pieces;
};

static int live_sinks;

static void sink_free(void *p)
{
    struct sink *s = p;
    sbuf_done(&s->parts);
    free(s);
    __atomic_fetch_sub(&live_sinks, 1, __ATOMIC_SEQ_CST);
}

static struct sink *sink_new(struct http_request *r)
{
    struct sink *s = xcalloc(1, sizeof(*s));
    const char *fail = http_query(r, "fail");
    if (fail)
        s->fail_at = atoi(fail);
    __atomic_fetch_add(&live_sinks, 1, __ATOMIC_SEQ_CST);
    http_set_state(r, s, sink_free);
    return s;
}

static int on_bytes(struct http_request *r, void *arg, const void *data, size_t n)
{
    struct sink *s = arg;
    assert_ptr_equal(http_state(r), s);
    s->bytes += n;
    s->crc = crc32_update(s->crc, data, n);
    return ++s->pieces == s->fail_at ? E_CONFLICT : 0;
}

static void on_resumed(struct http_request *r, void *arg)
{
    (void)arg;
    if (r)
        http_fail(r, E_CONFLICT, NULL);
}

static void on_end(struct http_request *r, void *arg, int rc)
{
    struct sink *s = arg;
    if (rc < 0 && http_query(r, "defer")) {
        http_resume(http_defer(r), on_resumed, NULL);
        return;
    }
    if (rc < 0) {
        http_fail(r, rc, NULL);
        return;
    }
    if (s->parts.n) {
        http_reply(r, 200, NULL, s->parts.p, s->parts.n);
        return;
    }
    char text[64];
    snprintf(text, sizeof(text), "%llu %08x", (unsigned long long)s->bytes, s->crc);
    http_reply(r, 200, NULL, text, strlen(text));
}

static void on_stream(struct http_request *r, void *arg)
{
    (void)arg;
    if (http_query(r, "early")) {
        http_fail(r, E_FORBIDDEN, NULL);
        return;
    }
    http_receive(r, 100 * 1024 * 1024, on_bytes, on_end, sink_new(r));
}

static int on_part(struct http_request *r, void *arg, const char *name, const char *filename,
                   uint64_t off, const void *data, size_t n)
{
    struct sink *s = arg;
    (void)r, (void)data;
    s->bytes += n;
    if (off == 0)
        sbuf_fmt(&s->parts, "%s/%s;", name, filename ? filename : "");
    if (n > 0 && n < 16)
        sbuf_fmt(&s->parts, "%.*s;", (int)n, (const char *)data);
    return ++s->pieces == s->fail_at ? E_CONFLICT : 0;
}

static void on_parts(struct http_request *r, void *arg)
{
    (void)arg;
    http_receive_parts(r, 64 * 1024 * 1024, on_part, on_end, sink_new(r));
}

static void on_none(struct http_request *r, void *arg)
{
    (void)arg;
    http_reply(r, 204, NULL, NULL, 0);
}

static const struct http_route routes[] = {
    {.method = "POST",
     .pattern = "/whole",
     .body = HTTP_BODY_WHOLE,
     .max_body = 1000,
     .handle = on_whole},
    {.method = "PUT", .pattern = "/stream", .body = HTTP_BODY_STREAM, .handle = on_stream},
    {.method = "POST", .pattern = "/parts", .body = HTTP_BODY_MULTIPART, .handle = on_parts},
    {.method = "POST", .pattern = "/none", .handle = on_none},
    {0},
};
static const struct http_route *const tables[] = {routes, NULL};
static struct fixture x;

static int setup(void **state)
{
    (void)state;
    fixture_init(&x, tables);
    fixture_start(&x);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_stop(&x);
    assert_int_equal(live_sinks, 0);
    return 0;
}

static void test_whole(void **state)
{
    struct answer a;
    (void)state;
    int fd = dial(x.port);
    put(fd, "POST /whole HTTP/1.1\r\n" H "Content-Length: 11\r\n\r\nhello ");
    put(fd, "world\r\n"); /* a stray CRLF follows, as some modems send it */
    get_answer(fd, false, &a);
    assert_string_equal(a.body.p, "hello world");
    answer_done(&a);
    put(fd, "POST /whole HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    get_answer(fd, false, &a);
    assert_string_equal(a.body.p, "abcdefg");
    answer_done(&a);
    put(fd, "POST /whole HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n");
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, 0);
    answer_done(&a);
    close(fd);
}

static void test_whole_is_bounded(void **state)
{
    struct answer a;
    char big[1001];
    (void)state;
    memset(big, 'a', sizeof(big));
    int fd = dial(x.port);
    put(fd, "POST /whole HTTP/1.1\r\n" H "Content-Length: 1001\r\n\r\n");
    put_n(fd, big, sizeof(big));
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 413);
    answer_done(&a);
    close(fd);

    fd = dial(x.port); /* the length is not said */
    put(fd, "POST /whole HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3e9\r\n");
    put_n(fd, big, sizeof(big));
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 413);
    answer_done(&a);
    close(fd);

    fd = dial(x.port); /* exactly the bound is fine */
    put(fd, "POST /whole HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\n");
    put_n(fd, big, 1000);
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, 1000);
    answer_done(&a);
    close(fd);
}

static void test_no_body_expected(void **state)
{
    struct answer a;
    (void)state;
    ask(x.port, "POST /none HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}", &a);
    assert_int_equal(a.status, 413);
    answer_done(&a);
    ask(x.port, "POST /none HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", &a);
    assert_int_equal(a.status, 204);
    assert_null(answer_header(&a, "Content-Length"));
    answer_done(&a);
}

/* The client asked whether it may send: the answer comes instead of "100 Continue". */
static void test_refused_before_the_body(void **state)
{
    char first[32] = "";
    (void)state;
    int fd = dial(x.port);
    put(fd, "PUT /stream?early HTTP/1.1\r\n" H
            "Content-Length: 50000000\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, first, 12, MSG_WAITALL)), 12);
    assert_string_equal(first, "HTTP/1.1 403");
    close(fd);

    fd = dial(x.port); /* longer than the handler takes */
    put(fd,
        "PUT /stream HTTP/1.1\r\n" H "Content-Length: 500000000\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, first, 12, MSG_WAITALL)), 12);
    assert_string_equal(first, "HTTP/1.1 413");
    close(fd);

    fd = dial(x.port);
    put(fd, "PUT /stream HTTP/1.1\r\n" H "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, first, 12, MSG_WAITALL | MSG_PEEK)), 12);
    assert_string_equal(first, "HTTP/1.1 100");
    put(fd, "ab");
    struct answer a;
    get_answer(fd, false, &a); /* passes over the 100 */
    assert_int_equal(a.status, 200);
    answer_done(&a);
    close(fd);
}

/* A client that sends without asking and reads only then must still find the answer. */
static void test_refused_answer_survives_the_body(void **state)
{
    static const char *const targets[] = {"/stream?early", "/stream?fail=1", "/stream?fail=9",
                                          "/stream?fail=1&defer"};
    static const int statuses[] = {403, 409, 409, 409};
    static char body[3000000];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(targets); i++)
        for (int chunked = 0; chunked < 2; chunked++) {
            char head[200];
            struct answer a;
            int fd = dial(x.port);
            snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\n" H "%s\r\n\r\n%s", targets[i],
                     chunked ? "Transfer-Encoding: chunked" : "Content-Length: 3000000",
                     chunked ? "2dc6c0\r\n" : "");
            put(fd, head);
            put_n(fd, body, sizeof(body)); /* a reset would end it, and cost others the answer */
            get_answer(fd, false, &a);
            assert_int_equal(a.status, statuses[i]);
            assert_false(a.closed);
            answer_done(&a);
            close(fd);
        }
}

static long rss_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void test_upload_takes_flat_memory(void **state)
{
    enum { TOTAL = 64 * 1024 * 1024 };
    static char block[65536];
    struct answer a;
    uint32_t crc = 0;
    char want[64];
    (void)state;
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (char)(i * 31);
    int fd = dial(x.port);
    put(fd, "PUT /stream HTTP/1.1\r\n" H "Content-Length: 67108864\r\n\r\n");
    put_n(fd, block, sizeof(block));
    crc = crc32_update(crc, block, sizeof(block));
    long before = rss_kib();
    for (size_t sent = sizeof(block); sent < TOTAL; sent += sizeof(block)) {
        put_n(fd, block, sizeof(block));
        crc = crc32_update(crc, block, sizeof(block));
    }
    get_answer(fd, false, &a);
    assert_true(rss_kib() - before < 8 * 1024);
    snprintf(want, sizeof(want), "%d %08x", TOTAL, crc);
    assert_string_equal(a.body.p, want);
    answer_done(&a);
    close(fd);
}

static void send_parts(int fd, const char *target, const char *body)
{
    struct sbuf out = {0};
    sbuf_fmt(&out,
             "POST %s HTTP/1.1\r\n" H "Content-Type: multipart/form-data; boundary=XX\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             target, strlen(body), body);
    put_n(fd, out.p, out.n);
    sbuf_done(&out);
}

static void test_multipart(void **state)
{
    struct answer a;
    (void)state;
    int fd = dial(x.port);
    send_parts(fd, "/parts",
               "--XX\r\nContent-Disposition: form-data; name=\"meta\"\r\n\r\n{\"a\":1}\r\n"
               "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"fw.bin\"\r\n"
               "Content-Type: application/octet-stream\r\n\r\nBYTES\r\n"
               "--XX\r\nContent-Disposition: form-data; name=\"none\"\r\n\r\n\r\n--XX--\r\n");
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.p, "meta/;{\"a\":1};file/fw.bin;BYTES;none/;");
    answer_done(&a);
    close(fd);
}

static void expect_parts_status(const char *target, const char *body, int status)
{
    struct answer a;
    int fd = dial(x.port);
    send_parts(fd, target, body);
    get_answer(fd, false, &a);
    assert_int_equal(a.status, status);
    answer_done(&a);
    close(fd);
}

static void test_bad_multipart(void **state)
{
    struct sbuf many = {0}, longer = {0};
    (void)state;
    expect_parts_status("/parts", "nonsense", 400);
    expect_parts_status("/parts", "--XX\r\n\r\nno name\r\n--XX--\r\n", 400);
    expect_parts_status("/parts",
                        "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ncut short", 400);
    expect_parts_status("/parts?fail=1",
                        "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--XX--\r\n",
                        409);
    for (int i = 0; i < 17; i++)
        sbuf_str(&many, "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n");
    sbuf_str(&many, "--XX--\r\n");
    expect_parts_status("/parts", many.p, 413);
    sbuf_done(&many);
    sbuf_str(&longer, "--XX\r\nContent-Disposition: form-data; name=\"");
    for (int i = 0; i < 65; i++)
        sbuf_str(&longer, "n");
    sbuf_str(&longer, "\"\r\n\r\nb\r\n--XX--\r\n");
    expect_parts_status("/parts", longer.p, 400);
    sbuf_done(&longer);

    struct answer a;
    ask(x.port,
        "POST /parts HTTP/1.1\r\n" H
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        &a);
    assert_int_equal(a.status, 415);
    answer_done(&a);
}

/* Nothing is answered, and the state is freed. */
static void test_client_leaves_in_the_middle(void **state)
{
    (void)state;
    int fd = dial(x.port);
    put(fd, "PUT /stream HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\nabc");
    while (__atomic_load_n(&live_sinks, __ATOMIC_SEQ_CST) == 0)
        sched_yield();
    close(fd);
    while (__atomic_load_n(&live_sinks, __ATOMIC_SEQ_CST) != 0)
        sched_yield();
}

#define WITH_SERVER(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
const struct CMUnitTest body_tests[] = {
    WITH_SERVER(test_whole),
    WITH_SERVER(test_whole_is_bounded),
    WITH_SERVER(test_no_body_expected),
    WITH_SERVER(test_refused_before_the_body),
    WITH_SERVER(test_refused_answer_survives_the_body),
    WITH_SERVER(test_upload_takes_flat_memory),
    WITH_SERVER(test_multipart),
    WITH_SERVER(test_bad_multipart),
    WITH_SERVER(test_client_leaves_in_the_middle),
};
const size_t body_test_count = ARRAY_LEN(body_tests);
