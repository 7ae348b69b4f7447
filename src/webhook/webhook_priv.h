/* What the files of the webhook room share. */
#pragma once

#include "webhook.h"

#include <stdatomic.h>

/* The next enabled one after an id, of any project; E_NOTFOUND. */
int webhook_next(struct db *db, int64_t after, struct arena *a, struct webhook *ret) MUST_USE;

/* A webhook was made or changed, in a transaction that may be under way. It is set by the thread
 * that writes, and taken by webhook_wake when that has committed. */
extern atomic_bool webhook_rows_changed;

/* ---- send.c: messages on their way; the worker's thread ---- */
struct sender;
struct sender *sender_new(const struct conf *conf);
void sender_free(struct sender *s); /* cuts what is under way */
struct outgoing {
    int64_t webhook_id, delivery_id;
    const char *url, *secret, *old_secret; /* old_secret NULL = none */
    const char *message_id, *body;         /* all are copied */
};
void sender_send(struct sender *s, const struct outgoing *o);
size_t sender_count(const struct sender *s, int64_t webhook_id); /* under way; 0 = of all */
/* Go on; each that ended is told. */
void sender_run(struct sender *s, void (*ended)(void *arg, const struct webhook_result *r),
                void *arg);
void sender_wait(struct sender *s, int ms); /* for news of the network, or sender_wake */
void sender_wake(struct sender *s);         /* any thread */
