/*
 * event: what happened, as rows in the order in which it was committed, for live streams and
 * webhooks. Whoever changes something adds its event in the same transaction; nobody is told
 * before the commit. Old rows go by count and age. Each function uses the calling thread's
 * connection; those that write run on the core thread.
 */
#pragma once

#include "db.h"

struct event {
    int64_t id, at;
    int64_t project_id;           /* event_add: 0 = the device's; else 0 = every project's */
    int64_t device_id, object_id; /* 0 = none; object_id: the update's, firmware's, run's … */
    const char *type;             /* one of event_types */
    const char *data;             /* JSON object; NULL = {} */
};
/* All a caller has to do. It sets no id; 0 or the database's error. */
int event_add(struct db *w, const struct event *e) MUST_USE;

/* ---- types: "update.verified" ---- */
extern const char *const event_types[]; /* NULL-terminated */
/* A filter "a,b.*,c": types, or all of a kind; NULL and "" let everything through. 0, or E_PROTO
 * with a sentence that names the nearest type. Pure. */
int event_filter_check(const char *filter, struct fail *f) MUST_USE;
bool event_filter_match(const char *filter, const char *type);

/* ---- reading ---- */
/* One as those who watch get it: {"id", "type", "timestamp", "data": {…}}, without line breaks. */
struct event_row {
    struct event event;
    const char *text; /* the whole object; valid until the callback returns */
};
/* Ascending, id > after, of all projects. The callback may stop with a non-zero return, which is
 * passed on. */
int event_list(struct db *db, int64_t after, int limit,
               int (*row)(void *arg, const struct event_row *r), void *arg) MUST_USE;
/* The oldest and newest ids that are kept; 0 and 0 when there is none. */
int event_ends(struct db *db, int64_t *ret_first, int64_t *ret_last) MUST_USE;

/* ---- keeping ---- */
/* Remove the oldest, at most max: beyond `keep` rows, or older than `before` (ms). Returns how
 * many; the newest stays. Writes nothing when nothing is due. */
int event_expire(struct db *w, int64_t keep, int64_t before, int max) MUST_USE;
/* After an older copy of the database was put back: as update_ids_skip(); adds server.restored. */
int event_skip(struct db *w, int64_t n, int64_t now) MUST_USE;
