/*
 * webhook: telling others of events over HTTP, after the Standard Webhooks specification: each
 * message has an id, a time and an HMAC-SHA256 over both and the body; failures are tried again
 * for days. The only room that sees libcurl. Row functions take the calling thread's connection;
 * those that write run on the core thread. The worker has a thread and a reading connection of
 * its own, and writes by jobs.
 */
#pragma once

#include "conf.h"
#include "db.h"

#define WEBHOOK_URL_MAX     1024
#define WEBHOOK_SECRET_MAX  100 /* bytes of its text */
#define WEBHOOK_PER_PROJECT 20

struct webhook {
    int64_t id, project_id;
    const char *name, *url;
    const char *types; /* a filter of event.h; "" = all */
    bool enabled;
    const char *disabled_reason;     /* "" = an operator's doing */
    const char *secret, *old_secret; /* old_secret NULL = none */
    int64_t old_secret_until;
    int64_t cursor, failing_since; /* failing_since 0 = its last message arrived */
    int64_t created_at, updated_at, revision;
};
/* ---- rows; strings of a webhook belong to the arena ---- */
/* Sets id; begins with what happens from now on. E_LIMIT beyond WEBHOOK_PER_PROJECT. */
int webhook_insert(struct db *w, struct webhook *h, struct fail *f) MUST_USE;
/* Name, url, types, enabled. Enabled anew: what was pending is sent, and then what happens from
 * now on. */
int webhook_update(struct db *w, const struct webhook *h) MUST_USE;
/* A new secret; the one before it signs as well until old_until (ms). */
int webhook_rotate(struct db *w, int64_t id, const char *secret, int64_t old_until,
                   int64_t now) MUST_USE;
int webhook_delete(struct db *w, int64_t id) MUST_USE; /* with its deliveries */
int webhook_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a,
                  struct webhook *ret) MUST_USE;
/* enabled: -1 = any. */
int webhook_list(struct db *db, int64_t project_id, int enabled, int64_t after, int limit,
                 int (*row)(void *arg, const struct webhook *h), void *arg) MUST_USE;
int64_t webhook_count(struct db *db, int64_t project_id, int enabled); /* or an error, below 0 */

struct webhook_delivery {
    int64_t id, attempts, status;                  /* status: of the last answer; 0 = none came */
    const char *message_id, *type, *state, *error; /* pending, delivered, failed */
    int64_t created_at, next_at, ended_at;         /* 0 = none */
};
/* Newest first; before 0 = from the newest; state NULL = any. */
int webhook_deliveries(struct db *db, int64_t webhook_id, const char *state, int64_t before,
                       int limit, int (*row)(void *arg, const struct webhook_delivery *d),
                       void *arg) MUST_USE;
/* How many, or an error, below 0. */
int64_t webhook_delivery_count(struct db *db, int64_t webhook_id, const char *state);
/* A message webhook.test, sent as any other. */
int webhook_test(struct db *w, int64_t webhook_id, int64_t now, int64_t *ret_delivery) MUST_USE;

/* ---- what the worker's jobs do; core thread ---- */
/* Make deliveries of new events, of at most `max` of them. 1 = there are more, 0 = none. */
int webhook_fan_out(struct db *w, int max, int64_t now) MUST_USE;
struct webhook_result {
    int64_t webhook_id, delivery_id, at;
    int64_t status;        /* 0 = no answer */
    int64_t retry_after_s; /* as the receiver asks; 0 = it does not */
    char error[120];
};
/* Note how an attempt ended: delivered, tried again later, failed; a webhook whose messages have
 * failed for WEBHOOK_FAILING_MS, or that says 410 Gone, is disabled. */
#define WEBHOOK_FAILING_MS ((int64_t)5 * 24 * 3600 * 1000)
int webhook_tried(struct db *w, const struct webhook_result *r) MUST_USE;
/* Remove what ended long ago. */
int webhook_expire(struct db *w) MUST_USE;

/* ---- pure ---- */
/* After so many attempts: ms until the next, without jitter; 0 = that was the last. */
int64_t webhook_backoff_ms(int64_t attempts);
/* "whsec_" and base64 of 24 to 64 bytes. */
void webhook_secret_new(char ret[WEBHOOK_SECRET_MAX]);
bool webhook_secret_ok(const char *secret);
/* The header webhook-signature: one signature per secret, old may be NULL. */
#define WEBHOOK_SIGNATURE_MAX 128
void webhook_sign(const char *secret, const char *old, const char *id, int64_t timestamp_s,
                  const char *body, size_t n, char ret[WEBHOOK_SIGNATURE_MAX]);
/* https:// (plain: http:// as well), a host, no login, no fragment. E_PROTO with a sentence. */
int webhook_url_check(const char *url, bool plain, struct fail *f) MUST_USE;
/* Is the address one of the public internet? Private, loopback, link-local, multicast, reserved
 * and translated ones are not. sa: a struct sockaddr. */
bool webhook_address_is_public(const void *sa);

/* ---- the worker ---- */
struct webhook_worker;
/* db_path must stay. */
int webhook_start(const struct conf *conf, const char *db_path, db_submit_fn submit, void *core,
                  struct webhook_worker **ret, struct fail *f) MUST_USE;
/* Something was committed. The thread that writes; costs next to nothing when no webhook exists. */
void webhook_wake(struct webhook_worker *w);
/* Waits for the job under way, so the core must still run; what is being sent is cut, and sent
 * again at the next start. Any thread; NULL is fine. */
void webhook_stop(struct webhook_worker *w);
void webhook_free(struct webhook_worker *w); /* after it was stopped, and nobody wakes it */
