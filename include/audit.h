/*
 * audit: the log of what operators did. A row is written in the transaction of the action that it
 * tells of, holds the hash of the row before it and is never changed or removed. Rows are numbered
 * from 1 without gaps, over all projects. Strings belong to the caller, or to the row callback's
 * statement (valid until it returns). Each function uses the calling thread's connection.
 */
#pragma once

#include "crypto.h"
#include "db.h"

#define AUDIT_TEXT_MAX 16384 /* bytes of `before` and `after`; more is named by its digest */
#define AUDIT_HEX_SIZE (2 * SHA256_SIZE + 1)

struct audit {
    int64_t id, at, project_id, token_id; /* token_id 0: not by way of a token */
    const char *project;                  /* its key; set by audit_add */
    const char *who;                      /* NULL: the token's name */
    const char *address, *request_id;     /* where it came from; "" = this machine */
    const char *action, *object;          /* "PATCH /api/v1/rules/:id", "/api/v1/rules/7" */
    const char *fields;                   /* JSON array: names of the members that were sent */
    const char *before, *after;           /* JSON objects; NULL = there was none */
    char previous[AUDIT_HEX_SIZE], hash[AUDIT_HEX_SIZE];
};
/* In the action's transaction. id, project and the hashes are made here; 0 or the database's
 * error. */
int audit_add(struct db *w, const struct audit *a) MUST_USE;
/* The row as one line of JSON without a line break, ending in ,"hash":"…"}. The hash is the
 * SHA-256 of that line without that member: {…,"previous":"…"}. */
void audit_line(struct sbuf *out, const struct audit *a);

/* Newest first; before 0 = from the newest. */
int audit_list(struct db *db, int64_t project_id, int64_t before, int limit,
               int (*row)(void *arg, const struct audit *a), void *arg) MUST_USE;
int64_t audit_count(struct db *db, int64_t project_id); /* or an error, below 0 */
/* Oldest first; project_id 0 = of all. */
int audit_walk(struct db *db, int64_t project_id, int64_t after, int limit,
               int (*row)(void *arg, const struct audit *a), void *arg) MUST_USE;

/* Recompute the whole chain. 0, with *ret_rows and the newest row's hash; E_CONFLICT with the
 * number of the first row that does not fit in *ret_rows and a sentence; or the database's
 * error. */
int audit_verify(struct db *db, int64_t *ret_rows, char ret_head[AUDIT_HEX_SIZE],
                 struct fail *f) MUST_USE;
/* Is there a row with this hash? 0, E_NOTFOUND, E_PROTO (no hash). */
int audit_find(struct db *db, const char *hash) MUST_USE;
