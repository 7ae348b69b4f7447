/* What the http room's tests share: a server with a table of routes, and a raw socket client. */
#pragma once

#include "http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
    struct conf conf;
    struct http_options options;
    struct http_server *server;
    int port;
};

/* Short deadlines, two threads, port 0. setup starts it; tests may adjust and restart. */
void fixture_init(struct fixture *x, const struct http_route *const *tables);
void fixture_start(struct fixture *x);
void fixture_stop(struct fixture *x);

/* A connected socket; every read on it gives up (and fails the test) after 30 s. */
int dial(int port);
void put(int fd, const char *text);
void put_n(int fd, const void *p, size_t n);

/* One response: status line and headers in head, the body by Content-Length. */
struct answer {
    int status;
    char head[4096];
    struct sbuf body;
    bool closed; /* the server closed instead of answering */
};
void get_answer(int fd, bool head_only, struct answer *ret);
void answer_done(struct answer *a);
/* A header's value in a->head, or NULL; static buffer. */
const char *answer_header(const struct answer *a, const char *name);
/* put + get_answer on a fresh connection. */
void ask(int port, const char *request, struct answer *ret);
/* Everything until the server closes. */
void read_all(int fd, struct sbuf *ret);

extern const struct CMUnitTest range_tests[], route_tests[], server_tests[], body_tests[],
    client_tests[], file_tests[], budget_tests[], hold_tests[], deadline_tests[], tls_tests[],
    stream_tests[];
extern const size_t range_test_count, route_test_count, server_test_count, body_test_count,
    client_test_count, file_test_count, budget_test_count, hold_test_count, deadline_test_count,
    tls_test_count, stream_test_count;
