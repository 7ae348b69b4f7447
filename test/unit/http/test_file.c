/* Files: ranges, conditions, old clients, and the count of what the client got. */
#include "http_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 100000, SMALL = 40000, BIG = 16 * 1024 * 1024 };

extern _Atomic uint64_t send_large; /* http/send.c */

static char path[64], big_path[64];
static unsigned char bytes[SIZE];

/* What sent() said, under a lock: it runs on the server's thread. */
struct said {
    uint64_t from, to;
    unsigned calls, lasts, frees;
};
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct said said;
} told = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void on_sent(void *arg, uint64_t from, uint64_t to, bool last)
{
    (void)arg;
    pthread_mutex_lock(&told.lock);
    assert_true(told.said.calls == 0 || (from == told.said.from && to >= told.said.to));
    told.said.from = from;
    told.said.to = to;
    told.said.calls++;
    told.said.lasts += last;
    pthread_cond_broadcast(&told.changed);
    pthread_mutex_unlock(&told.lock);
}

static void on_free(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&told.lock);
    told.said.frees++;
    pthread_cond_broadcast(&told.changed);
    pthread_mutex_unlock(&told.lock);
}

static void forget(void)
{
    pthread_mutex_lock(&told.lock);
    told.said = (struct said){0};
    pthread_mutex_unlock(&told.lock);
}

static struct said wait_for(bool (*holds)(void))
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    pthread_mutex_lock(&told.lock);
    while (!holds())
        if (pthread_cond_timedwait(&told.changed, &told.lock, &until) != 0)
            fail_msg("nothing was told for 30 s");
    struct said now = told.said;
    pthread_mutex_unlock(&told.lock);
    return now;
}

static bool is_freed(void)
{
    return told.said.frees == 1;
}

static bool is_partly(void)
{
    return told.said.to > 0;
}

static void serve(struct http_request *r, const char *name, uint64_t size)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    http_reply_file(r, &(struct http_file){
                           .fd = fd,
                           .size = size,
                           .etag = "e1",
                           .content_type = "application/octet-stream",
                           .filename = http_query(r, "odd") ? "a\"\r\n\xc3\xa4.bin" : "fw.bin",
                           .sent = http_query(r, "quiet") ? NULL : on_sent,
                           .free_fn = http_query(r, "quiet") ? NULL : on_free,
                       });
}

static void on_file(struct http_request *r, void *arg)
{
    (void)arg;
    serve(r, path, SIZE);
}

static void on_small(struct http_request *r, void *arg)
{
    (void)arg;
    serve(r, path, SMALL);
}

static void on_empty(struct http_request *r, void *arg)
{
    (void)arg;
    serve(r, "/dev/null", 0);
}

static void on_big(struct http_request *r, void *arg)
{
    (void)arg;
    serve(r, big_path, BIG);
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/f", .handle = on_file},
    {.method = "GET", .pattern = "/small", .handle = on_small},
    {.method = "GET", .pattern = "/empty", .handle = on_empty},
    {.method = "GET", .pattern = "/big", .handle = on_big},
    {0},
};
static const struct http_route *const tables[] = {routes, NULL};
static struct fixture x;

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 2654435761U >> 13);
    str_copy(path, sizeof(path), "/tmp/http_file_XXXXXX");
    str_copy(big_path, sizeof(big_path), "/tmp/http_big_XXXXXX");
    int fd = mkstemp(path), big = mkstemp(big_path);
    assert_int_equal(write(fd, bytes, SIZE), SIZE);
    assert_int_equal(ftruncate(big, BIG), 0);
    close(fd);
    close(big);
    forget();
    fixture_init(&x, tables);
    fixture_start(&x);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_stop(&x);
    unlink(path);
    unlink(big_path);
    return 0;
}

static void get_file(const char *more, struct answer *a)
{
    char request[512];
    snprintf(request, sizeof(request), "GET /f HTTP/1.1\r\nHost: h\r\n%s\r\n", more);
    ask(x.port, request, a);
}

static void expect(const char *more, int status, size_t from, size_t n, const char *content_range)
{
    struct answer a;
    forget();
    get_file(more, &a);
    assert_int_equal(a.status, status);
    assert_int_equal(a.body.n, n);
    if (n)
        assert_memory_equal(a.body.p, bytes + from, n);
    assert_string_equal(answer_header(&a, "ETag"), "\"e1\"");
    assert_string_equal(answer_header(&a, "Accept-Ranges"), "bytes");
    const char *range = answer_header(&a, "Content-Range");
    assert_string_equal(range ? range : "", content_range);
    assert_null(answer_header(&a, "Transfer-Encoding"));
    answer_done(&a);
    struct said now = wait_for(is_freed);
    assert_int_equal(now.lasts, 1);
    assert_int_equal(now.to - now.from, n);
    if (n)
        assert_int_equal(now.from, from);
}

static void test_whole_file(void **state)
{
    struct answer a;
    (void)state;
    expect("", 200, 0, SIZE, "");
    ask(x.port, "GET /f?quiet HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_string_equal(answer_header(&a, "Content-Disposition"),
                        "attachment; filename=\"fw.bin\"");
    assert_string_equal(answer_header(&a, "Content-Type"), "application/octet-stream");
    assert_string_equal(answer_header(&a, "X-Content-Type-Options"), "nosniff");
    answer_done(&a);
    ask(x.port, "GET /f?odd&quiet HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_string_equal(answer_header(&a, "Content-Disposition"),
                        "attachment; filename=\"a_____.bin\"; "
                        "filename*=UTF-8''a%22%0D%0A%C3%A4.bin");
    answer_done(&a);
}

static void test_ranges(void **state)
{
    (void)state;
    expect("Range: bytes=0-0\r\n", 206, 0, 1, "bytes 0-0/100000");
    expect("Range: bytes=0-\r\n", 206, 0, SIZE, "bytes 0-99999/100000");
    expect("Range:bytes=65536-99999\r\n", 206, 65536, SIZE - 65536, "bytes 65536-99999/100000");
    expect("Range: bytes=99990-100000\r\n", 206, 99990, 10, "bytes 99990-99999/100000");
    expect("Range: bytes=-1\r\n", 206, SIZE - 1, 1, "bytes 99999-99999/100000");
    expect("Range: bytes=0-1,5-6\r\n", 200, 0, SIZE, "");
    expect("Range: lines=0-1\r\n", 200, 0, SIZE, "");
    expect("Range: bytes=100000-\r\n", 416, 0, 0, "bytes */100000");
}

static void test_conditions(void **state)
{
    (void)state;
    expect("If-None-Match: \"e1\"\r\n", 304, 0, 0, "");
    expect("If-None-Match: \"x\", W/\"e1\"\r\n", 304, 0, 0, "");
    expect("If-None-Match: *\r\n", 304, 0, 0, "");
    expect("If-None-Match: \"e1\"\r\nRange: bytes=0-4\r\n", 304, 0, 0, "");
    expect("If-None-Match: \"e2\"\r\n", 200, 0, SIZE, "");
    expect("If-Range: \"e1\"\r\nRange: bytes=5-9\r\n", 206, 5, 5, "bytes 5-9/100000");
    expect("If-Range: \"e2\"\r\nRange: bytes=5-9\r\n", 200, 0, SIZE, "");
    expect("If-Range: W/\"e1\"\r\nRange: bytes=5-9\r\n", 200, 0, SIZE, "");
}

static void test_head_and_304_leave_the_connection_usable(void **state)
{
    struct answer a;
    (void)state;
    int fd = dial(x.port);
    put(fd, "HEAD /f HTTP/1.1\r\nHost: h\r\nRange: bytes=0-4\r\n\r\n");
    get_answer(fd, true, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Length"), "100000");
    assert_string_equal(answer_header(&a, "ETag"), "\"e1\"");
    answer_done(&a);
    put(fd, "GET /f HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\n");
    get_answer(fd, true, &a);
    assert_int_equal(a.status, 304);
    answer_done(&a);
    forget();
    put(fd, "GET /f HTTP/1.1\r\nHost: h\r\nRange: bytes=0-4\r\n\r\n");
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 206);
    assert_memory_equal(a.body.p, bytes, 5);
    answer_done(&a);
    close(fd);
}

static void test_empty_file(void **state)
{
    struct answer a;
    (void)state;
    ask(x.port, "GET /empty HTTP/1.1\r\nHost: h\r\n\r\n", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Length"), "0");
    answer_done(&a);
    ask(x.port, "GET /empty HTTP/1.1\r\nHost: h\r\nRange: bytes=0-\r\n\r\n", &a);
    assert_int_equal(a.status, 416);
    answer_done(&a);
}

/* Modems look for the image right behind the headers in what the first recv brings. */
static void test_first_read_has_headers_and_body(void **state)
{
    static const char *const requests[] = {
        "GET /f?quiet HTTP/1.0\r\n\r\n",
        "GET /f?quiet HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /f?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=10-\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        for (int turn = 0; turn < 20; turn++) {
            char buf[1460];
            int fd = dial(x.port);
            put(fd, requests[i]);
            ssize_t n = TEMP_FAILURE_RETRY(recv(fd, buf, sizeof(buf), 0));
            assert_true(n > 0);
            char *end = memmem(buf, (size_t)n, "\r\n\r\n", 4);
            assert_non_null(end);
            assert_true(end + 4 < buf + n);
            assert_memory_equal(end + 4, bytes + (i == 2 ? 10 : 0), 1);
            close(fd);
        }
}

static void test_http_10(void **state)
{
    struct sbuf all = {0};
    (void)state;
    int fd = dial(x.port);
    put(fd, "GET /f HTTP/1.0\r\nHost: 127.0.0.1:80\r\nUser-Agent: esp-idf/1.0 esp32\r\n\r\n");
    read_all(fd, &all);
    assert_memory_equal(all.p, "HTTP/1.0 200 ", 13);
    char *end = memmem(all.p, all.n, "\r\n\r\n", 4);
    assert_non_null(end);
    assert_int_equal(all.p + all.n - (end + 4), SIZE);
    assert_memory_equal(end + 4, bytes, SIZE);
    *end = '\0';
    assert_non_null(strstr(all.p, "Content-Length: 100000"));
    assert_null(strstr(all.p, "chunked"));
    sbuf_done(&all);
    close(fd);
}

/* The client reads a part and leaves: the rest was never acknowledged, so it does not count. */
static void test_partial_download_is_counted(void **state)
{
    static char buf[1024 * 1024];
    int small = 16384;
    size_t got = 0;
    (void)state;
    int fd = dial(x.port);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    int64_t before = metric_get(M_DOWNLOAD_BYTES);
    put(fd, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
    while (got < 2 * sizeof(buf)) {
        ssize_t n = TEMP_FAILURE_RETRY(recv(fd, buf, sizeof(buf), 0));
        assert_true(n > 0);
        got += (size_t)n;
    }
    wait_for(is_partly); /* told while it goes on */
    close(fd);           /* with unread bytes: a reset */
    struct said now = wait_for(is_freed);
    assert_int_equal(now.lasts, 1);
    assert_true(now.to >= got - 4096);
    assert_true(now.to < BIG);
    assert_int_equal(metric_get(M_DOWNLOAD_BYTES) - before, now.to);
}

/* A client whose window is smaller than the file, which fits into the server's socket. */
static int dial_narrow(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)x.port)};
    struct timeval patience = {.tv_sec = 30};
    int narrow = 4096, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &narrow, sizeof(narrow));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(TEMP_FAILURE_RETRY(connect(fd, (struct sockaddr *)&a, sizeof(a))), 0);
    return fd;
}

static void reset(int fd)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

/* The server has let go of all of it long before; what the client's TCP never took doesn't count,
 * whether the connection stays open, is closed by the server, or waits under a budget. */
static void test_what_stays_in_the_socket_is_not_counted(void **state)
{
    static const char *const requests[] = {"GET /small HTTP/1.1\r\nHost: h\r\n\r\n",
                                           "GET /small HTTP/1.0\r\n\r\n"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        char byte;
        forget();
        int fd = dial_narrow();
        int64_t before = metric_get(M_DOWNLOAD_BYTES);
        put(fd, requests[i]);
        assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, &byte, 1, MSG_PEEK)), 1);
        wait_for(is_partly);
        reset(fd);
        struct said now = wait_for(is_freed);
        assert_int_equal(now.lasts, 1);
        assert_true(now.to < SMALL);
        assert_int_equal(metric_get(M_DOWNLOAD_BYTES) - before, now.to);
    }
}

/* It stands still, and the server has closed already; all counts once it is read. */
static void test_what_is_read_late_is_counted(void **state)
{
    struct answer a;
    char byte;
    (void)state;
    int fd = dial_narrow();
    put(fd, "GET /small HTTP/1.0\r\n\r\n");
    assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, &byte, 1, MSG_PEEK)), 1);
    wait_for(is_partly);
    get_answer(fd, false, &a);
    assert_int_equal(a.body.n, SMALL);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    answer_done(&a);
    struct said now = wait_for(is_freed);
    assert_int_equal(now.to, SMALL);
    close(fd);
}

/* One thread: where another one has closed its loop's descriptor, libuv does it past TSan, and who
 * gets that number next looks like a race. */
static void restart(void)
{
    if (x.server)
        fixture_stop(&x);
    x.conf.http_threads = 1;
    fixture_start(&x);
}

/* While the end of a file waits in the socket, the next requests are answered like any. */
static void test_odd_requests_behind_an_end_that_waits(void **state)
{
    static const struct {
        const char *request;
        int status;
        size_t n;
        const char *range;
    } rows[] = {
        {"GET /small HTTP/1.1\r\nHost: h\r\n", 200, SMALL, NULL},
        {"HEAD /f?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=5-9\r\n", 200, 0, NULL},
        {"GET /f?quiet HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"e1\"\r\n", 304, 0, NULL},
        {"GET /f?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=100000-\r\n", 416, 0, "bytes */100000"},
        {"GET /f?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=-0\r\n", 416, 0, "bytes */100000"},
        {"GET /empty?quiet HTTP/1.1\r\nHost: h\r\n", 200, 0, NULL},
        {"GET /f?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1,5-6\r\n", 200, SIZE, NULL},
        {"GET /f?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=99990-200000\r\n", 206, 10,
         "bytes 99990-99999/100000"},
        {"GET /f?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=7-3\r\n", 200, SIZE, NULL},
    };
    char byte;
    (void)state;
    restart();
    int fd = dial_narrow();
    int64_t before = metric_get(M_DOWNLOADS), was = metric_get(M_DOWNLOAD_BYTES);
    size_t bodies = 0, sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        put(fd, rows[i].request);
        put(fd, "\r\n");
        if (i > 0)
            continue;
        assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, &byte, 1, MSG_PEEK)), 1);
        wait_for(is_partly);
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct answer a;
        get_answer(fd, strncmp(rows[i].request, "HEAD", 4) == 0, &a);
        assert_int_equal(a.status, rows[i].status);
        assert_int_equal(a.body.n, rows[i].n);
        const char *range = answer_header(&a, "Content-Range");
        assert_string_equal(range ? range : "", rows[i].range ? rows[i].range : "");
        if (rows[i].n > 10)
            assert_memory_equal(a.body.p, bytes, rows[i].n);
        answer_done(&a);
        bodies += rows[i].n > 0;
        sum += rows[i].n;
    }
    struct said now = wait_for(is_freed);
    assert_int_equal(now.lasts, 1);
    assert_int_equal(now.to, SMALL);
    assert_int_equal(metric_get(M_DOWNLOADS) - before, bodies);
    fixture_stop(&x); /* the last ones are counted when all has ended */
    assert_int_equal(metric_get(M_DOWNLOAD_BYTES) - was, sum);
    close(fd);
}

/* It gets its one answer, whole, and the end; what it sent behind is not answered. */
static void test_http_10_is_not_kept_alive(void **state)
{
    struct sbuf all = {0};
    (void)state;
    int fd = dial_narrow();
    put(fd, "GET /small HTTP/1.0\r\nConnection: keep-alive\r\nRange: bytes=10-\r\n\r\n"
            "GET /f?quiet HTTP/1.0\r\n\r\n");
    read_all(fd, &all);
    char *end = memmem(all.p, all.n, "\r\n\r\n", 4);
    assert_non_null(end);
    assert_int_equal(all.p + all.n - (end + 4), SMALL - 10);
    assert_memory_equal(end + 4, bytes + 10, SMALL - 10);
    sbuf_done(&all);
    close(fd);
    wait_for(is_freed);
}

/* They are read in another order than they came, and late. */
static void test_many_ends_wait_together(void **state)
{
    enum { MANY = 200 };
    static int fds[MANY];
    char byte;
    (void)state;
    restart();
    int64_t before = metric_get(M_DOWNLOAD_BYTES);
    for (size_t i = 0; i < MANY; i++) {
        fds[i] = dial_narrow();
        put(fds[i], i % 3 ? "GET /small?quiet HTTP/1.1\r\nHost: h\r\n\r\n"
                          : "GET /small?quiet HTTP/1.0\r\n\r\n");
    }
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(TEMP_FAILURE_RETRY(recv(fds[i], &byte, 1, MSG_PEEK)), 1);
    for (size_t i = MANY; i-- > 0;) {
        struct answer a;
        size_t which = i * 7 % MANY;
        get_answer(fds[which], false, &a);
        assert_int_equal(a.body.n, SMALL);
        assert_memory_equal(a.body.p, bytes, SMALL);
        answer_done(&a);
        close(fds[which]);
    }
    fixture_stop(&x);
    assert_int_equal(metric_get(M_DOWNLOAD_BYTES) - before, MANY * SMALL);
}

/* ---- the server stops ---- */
static const char *const small_requests[] = {"GET /small HTTP/1.1\r\nHost: h\r\n\r\n",
                                             "GET /small HTTP/1.0\r\n\r\n"};

static int dial_and_wait(const char *request)
{
    char byte;
    int fd = dial_narrow();
    forget();
    put(fd, request);
    assert_int_equal(TEMP_FAILURE_RETRY(recv(fd, &byte, 1, MSG_PEEK)), 1);
    wait_for(is_partly);
    return fd;
}

static void test_who_reads_nothing_does_not_hold_up_the_stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(small_requests); i++) {
        restart();
        int fd = dial_and_wait(small_requests[i]);
        http_stop(TAKE(x.server), 0);
        struct said now = wait_for(is_freed); /* all was let go before it returned */
        assert_int_equal(now.lasts, 1);
        assert_true(now.to > 0 && now.to < SMALL);
        close(fd);
    }
}

static void *read_late(void *arg)
{
    struct sbuf all = {0};
    int fd = *(int *)arg;
    read_all(fd, &all);
    assert_true(all.n > SMALL);
    sbuf_done(&all);
    return NULL;
}

static void test_who_reads_until_the_end_gets_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(small_requests); i++) {
        pthread_t reader;
        restart();
        int fd = dial_and_wait(small_requests[i]);
        assert_int_equal(pthread_create(&reader, NULL, read_late, &fd), 0);
        http_stop(TAKE(x.server), 60000); /* patience that it does not need */
        assert_int_equal(pthread_join(reader, NULL), 0);
        struct said now = wait_for(is_freed);
        assert_int_equal(now.to, SMALL);
        close(fd);
    }
}

/* Behind the first answer stand the next ones. */
static void test_answers_in_a_row_are_counted_apart(void **state)
{
    enum { ROW = 100 };
    (void)state;
    int fd = dial_narrow();
    for (int i = 0; i < ROW; i++)
        put(fd, i % 2 ? "GET /f?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=0-9\r\n\r\n"
                      : "GET /f?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=0-99\r\n\r\n");
    put(fd, "GET /small HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int i = 0; i <= ROW; i++) {
        struct answer a;
        get_answer(fd, false, &a);
        assert_int_equal(a.body.n, i == ROW ? SMALL : i % 2 ? 10 : 100);
        answer_done(&a);
    }
    struct said now = wait_for(is_freed);
    assert_int_equal(now.to, SMALL);
    close(fd);
}

/* In one go, but not a byte beyond the range: the next answer begins where it should. */
static void test_large_pieces_end_with_the_range(void **state)
{
    enum { FROM = 1000, TO = 1500000 };
    struct answer a;
    (void)state;
    int fd = dial(x.port);
    uint64_t before = atomic_load(&send_large);
    put(fd, "GET /big?quiet HTTP/1.1\r\nHost: h\r\nRange: bytes=1000-1500000\r\n\r\n");
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 206);
    assert_int_equal(a.body.n, TO - FROM + 1);
    answer_done(&a);
    assert_true(atomic_load(&send_large) > before);
    put(fd, "GET /f?quiet HTTP/1.1\r\nHost: h\r\n\r\n");
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 200);
    assert_memory_equal(a.body.p, bytes, SIZE);
    answer_done(&a);
    close(fd);
}

#define WITH_SERVER(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
const struct CMUnitTest file_tests[] = {
    WITH_SERVER(test_whole_file),
    WITH_SERVER(test_ranges),
    WITH_SERVER(test_conditions),
    WITH_SERVER(test_head_and_304_leave_the_connection_usable),
    WITH_SERVER(test_empty_file),
    WITH_SERVER(test_first_read_has_headers_and_body),
    WITH_SERVER(test_http_10),
    WITH_SERVER(test_partial_download_is_counted),
    WITH_SERVER(test_what_stays_in_the_socket_is_not_counted),
    WITH_SERVER(test_what_is_read_late_is_counted),
    WITH_SERVER(test_answers_in_a_row_are_counted_apart),
    WITH_SERVER(test_large_pieces_end_with_the_range),
    WITH_SERVER(test_odd_requests_behind_an_end_that_waits),
    WITH_SERVER(test_http_10_is_not_kept_alive),
    WITH_SERVER(test_many_ends_wait_together),
    WITH_SERVER(test_who_reads_nothing_does_not_hold_up_the_stop),
    WITH_SERVER(test_who_reads_until_the_end_gets_it),
};
const size_t file_test_count = ARRAY_LEN(file_tests);
