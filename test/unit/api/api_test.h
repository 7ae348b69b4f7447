/*
 * A whole api under test: a real database, store and http server, and in place of the core a
 * thread that runs each job in a transaction of its own. The client is raw sockets.
 */
#pragma once

#include "api.h"
#include "db_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
    struct db *writer; /* of the thread that stands for the core */
    char dir[64], db_path[96];
    struct conf conf;
    struct store *store;
    struct catalog_cell *catalog;
    struct api *api;
    struct http_server *server;
    int port;
    char token[128]; /* of an admin of project default */
    uint8_t link_key[32];

    pthread_t core;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct db_job *first, **end;
    bool stop, hold;   /* hold: jobs wait */
    int refuse_commit; /* so many commits fail from now on */
    int jobs, credentials;
    char away[32]; /* that device is not connected; of the others nothing is known */
};

/* setup and teardown of a group of tests: *state is a struct fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
void core_hold(struct fixture *x, bool hold);
int core_jobs(struct fixture *x); /* run so far */
void core_wait_jobs(struct fixture *x, int n);
void core_refuse_commits(struct fixture *x, int n);
int core_credentials(struct fixture *x);
void core_away(struct fixture *x, const char *key);

struct answer {
    int status;
    bool closed; /* without an answer */
    char head[8192];
    struct sbuf body;
    json_t *json; /* NULL when the body is none */
};
void answer_done(struct answer *a);
/* NULL when absent; valid until the next call. */
const char *answer_header(const struct answer *a, const char *name);
const char *answer_code(const struct answer *a); /* of a problem; "" */

int dial(const struct fixture *x);
void put(int fd, const void *p, size_t n);
void get_answer(int fd, bool head_only, struct answer *ret);
/* One request on a connection of its own; headers as "Name: value\r\n…" or NULL. */
void ask_raw(struct fixture *x, const char *method, const char *path, const char *headers,
             const void *body, size_t n, struct answer *ret);
/* With the admin's token and a JSON body (NULL = none). Returns the status. */
int ask(struct fixture *x, const char *method, const char *path, const char *headers,
        const char *body, struct answer *ret);
/* Asserts the status and gives the JSON back; new reference (NULL for 204 and 304). */
json_t *must(struct fixture *x, int status, const char *method, const char *path,
             const char *headers, const char *body);
/* Asserts status and code of a problem. */
void refused(struct fixture *x, int status, const char *code, const char *method, const char *path,
             const char *headers, const char *body);

/* Shorthand. */
void make_type(struct fixture *x, const char *key);
void make_device(struct fixture *x, const char *type, const char *key);
/* Part of a multipart request with boundary "b0undary". */
void part(struct sbuf *b, const char *name, const char *filename, const void *data, size_t n);
void parts_end(struct sbuf *b);
#define MULTIPART "Content-Type: multipart/form-data; boundary=b0undary\r\n"
/* Uploads meta and one file named fw.bin; returns the status. */
int upload(struct fixture *x, const char *meta, const char *headers, const void *data, size_t n,
           struct answer *ret);
int64_t make_firmware(struct fixture *x, const char *type, const char *version);
/* Files below <dir>/<folder>. */
int count_files(const struct fixture *x, const char *folder);

extern const struct CMUnitTest access_tests[], resource_tests[], upload_tests[], download_tests[],
    import_tests[], audit_tests[], feed_tests[];
extern const size_t access_count, resource_count, upload_count, download_count, import_count,
    audit_test_count, feed_count;
