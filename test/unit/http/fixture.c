/* The server under test and its raw client. */
#include "http_test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

void fixture_init(struct fixture *x, const struct http_route *const *tables)
{
    memset(x, 0, sizeof(*x));
    x->conf = (struct conf){
        .http_listen = "127.0.0.1:0",
        .http_https_listen = "",
        .http_metrics_listen = "",
        .http_threads = 2,
        .http_max_connections = 4096,
        .http_request_timeout_s = 30,
        .http_idle_timeout_s = 30,
        .http_stall_timeout_s = 60,
    };
    x->options = (struct http_options){.conf = &x->conf, .tables = tables};
}

void fixture_start(struct fixture *x)
{
    struct fail f = {0};
    int rc = http_start(&x->options, &x->server, &f);
    if (rc < 0)
        fprintf(stderr, "http_start: %s\n", f.text);
    assert_int_equal(rc, 0);
    x->port = http_port(x->server);
    assert_true(x->port > 0);
}

void fixture_stop(struct fixture *x)
{
    http_stop(x->server, 2000);
    x->server = NULL;
}

int dial(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = 30};

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    int rc;
    do {
        rc = connect(fd, (struct sockaddr *)&a, sizeof(a));
    } while (rc < 0 && (errno == EINTR || errno == EALREADY));
    assert_true(rc == 0 || errno == EISCONN);
    return fd;
}

/* A call that has a time limit is interrupted without a signal where libuv uses io_uring: here and
 * in other tests it is made again. */
void put_n(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = TEMP_FAILURE_RETRY(send(fd, at, n, MSG_NOSIGNAL));
        assert_true(done > 0);
        at += done;
        n -= (size_t)done;
    }
}

void put(int fd, const char *text)
{
    put_n(fd, text, strlen(text));
}

/* What a test waits for must come within 30 s; 0 = closed or reset. */
static size_t get(int fd, void *p, size_t n)
{
    ssize_t got = TEMP_FAILURE_RETRY(recv(fd, p, n, 0));
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        fail_msg("the server was silent for 30 s");
    return got > 0 ? (size_t)got : 0;
}

void get_answer(int fd, bool head_only, struct answer *ret)
{
    size_t n = 0;
    memset(ret, 0, sizeof(*ret));
    while (n < 4 || memcmp(ret->head + n - 4, "\r\n\r\n", 4) != 0) {
        assert_true(n < sizeof(ret->head) - 1);
        if (get(fd, ret->head + n, 1) == 0) {
            ret->closed = true;
            return;
        }
        n++;
    }
    assert_int_equal(sscanf(ret->head, "HTTP/1.%*d %d ", &ret->status), 1);
    if (ret->status == 100) {
        get_answer(fd, head_only, ret);
        return;
    }
    const char *length = answer_header(ret, "Content-Length");
    if (head_only || !length || ret->status == 304)
        return;
    size_t left = strtoul(length, NULL, 10);
    char buf[65536];
    while (left > 0) {
        size_t got = get(fd, buf, left < sizeof(buf) ? left : sizeof(buf));
        if (got == 0) {
            ret->closed = true;
            return;
        }
        sbuf_add(&ret->body, buf, got);
        left -= got;
    }
}

void answer_done(struct answer *a)
{
    sbuf_done(&a->body);
    memset(a, 0, sizeof(*a));
}

const char *answer_header(const struct answer *a, const char *name)
{
    static char value[512];
    size_t n = strlen(name);

    for (const char *p = strstr(a->head, "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
            const char *v = p + n + 1 + strspn(p + n + 1, " ");
            str_fmt(value, sizeof(value), "%.*s", (int)strcspn(v, "\r"), v);
            return value;
        }
    }
    return NULL;
}

void ask(int port, const char *request, struct answer *ret)
{
    int fd = dial(port);
    put(fd, request);
    get_answer(fd, strncmp(request, "HEAD", 4) == 0, ret);
    close(fd);
}

void read_all(int fd, struct sbuf *ret)
{
    char buf[65536];
    size_t got;
    while ((got = get(fd, buf, sizeof(buf))) > 0)
        sbuf_add(ret, buf, got);
}
