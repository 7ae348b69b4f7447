/*
 * What is on its way down to a device because somebody asked for it: rows of device_down. Here is
 * what they hold; when something is sent, and how often, is decided where the broker is known.
 */
#include "device_priv.h"

#define LATE_MS 5000 /* attempts are not made to the millisecond */

static void down_row(struct db_stmt *s, struct arena *a, struct device_down *ret)
{
    *ret = (struct device_down){
        .id = db_int(s, 0),
        .device_id = db_int(s, 1),
        .message_id = db_int(s, 2),
        .method = arena_strdup(a, db_text(s, 3)),
        .params = arena_strdup(a, db_text(s, 4)),
        .app_id = arena_strdup(a, db_text(s, 5)),
        .state = arena_strdup(a, db_text(s, 6)),
        .reply = arena_strdup(a, db_text(s, 7)),
        .attempts = db_int(s, 8),
        .next_at = db_int(s, 9),
        .expires_at = db_int(s, 10),
        .created_at = db_int(s, 11),
        .sent_at = db_int(s, 12),
        .ended_at = db_int(s, 13),
    };
}

/* ---- reading ---- */
int device_down_by_id(struct db *db, int64_t device_id, int64_t id, struct arena *a,
                      struct device_down *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_DOWN_BY_ID);
    int rc;

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, device_id);
    rc = db_row(q);
    if (rc == 0)
        down_row(q, a, ret);
    return rc;
}

int device_down_list(struct db *db, int64_t device_id, int64_t after, int limit,
                     int (*row)(void *arg, const struct device_down *m), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_DOWN_LIST);
    struct device_down m;
    struct arena a;
    int rc;

    arena_init(&a);
    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, limit);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        down_row(q, &a, &m);
        rc = row(arg, &m);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}

int64_t device_down_count(struct db *db, int64_t device_id)
{
    return db_count(db, Q_DEVICE_DOWN_COUNT, device_id);
}

int device_down_due(struct db *db, int64_t now, int64_t *ret, int cap)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_DOWN_DUE);
    int n = 0, rc = 0;

    db_bind_int(q, 1, now);
    db_bind_int(q, 2, cap);
    while (n < cap && (rc = db_step(q)) == 1)
        ret[n++] = db_int(q, 0);
    return rc < 0 ? rc : n;
}

int device_down_next(struct db *db, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_DOWN_NEXT);
    int rc = db_row(q);

    if (rc == 0)
        *ret = db_int(q, 0);
    return rc;
}

int device_down_last(struct db *db, int64_t device_id, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_DOWN_LAST);
    int rc;

    db_bind_int(q, 1, device_id);
    rc = db_row(q);
    *ret = rc == 0 ? db_int(q, 0) : 0;
    return rc == E_NOTFOUND ? 0 : rc;
}

/* ---- writing ---- */

/* Behind what was sent, and behind what waits to be. */
static int find_place(struct db *w, struct device_down *m, const struct device_type *t)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_DOWN_WAITING);
    int64_t last;
    int rc = device_down_last(w, m->device_id, &last);

    if (rc < 0)
        return rc;
    db_bind_int(q, 1, m->device_id);
    rc = db_row(q);
    if (rc < 0)
        return rc;
    if (db_int(q, 0) >= DEVICE_DOWN_MAX)
        return E_LIMIT;
    if (db_int(q, 1) > last)
        last = db_int(q, 1);
    /* A clock that was set back must not hold it up for longer than what may wait needs. */
    int64_t most = m->created_at + DEVICE_DOWN_MAX * t->down_interval_ms;
    m->next_at = last ? last + t->down_interval_ms : 0;
    if (m->next_at < m->created_at)
        m->next_at = m->created_at;
    if (m->next_at > most)
        m->next_at = most;
    m->expires_at = m->next_at + (t->reply_retries + 1) * t->reply_wait_ms + LATE_MS;
    return 0;
}

int device_down_insert(struct db *w, struct device_down *m, const struct device_type *t)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_DOWN_INSERT);
    int rc = find_place(w, m, t);

    if (rc < 0)
        return rc;
    db_bind_int(q, 1, m->device_id);
    db_bind_text(q, 2, m->method);
    db_bind_text(q, 3, m->params);
    if (m->message_id)
        db_bind_int(q, 4, m->message_id);
    db_bind_text(q, 5, m->app_id);
    db_bind_int(q, 6, m->next_at);
    db_bind_int(q, 7, m->expires_at);
    db_bind_int(q, 8, m->created_at);
    rc = db_run(q);
    if (rc < 0)
        return rc;
    m->id = db_last_id(w);
    m->state = "queued";
    return 0;
}

int device_down_update(struct db *w, const struct device_down *m)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_DOWN_UPDATE);

    db_bind_int(q, 1, m->id);
    db_bind_text(q, 2, m->state);
    db_bind_int(q, 3, m->attempts);
    db_bind_int(q, 4, m->next_at);
    if (m->sent_at)
        db_bind_int(q, 5, m->sent_at);
    if (m->ended_at)
        db_bind_int(q, 6, m->ended_at);
    return db_run(q);
}

static int find_message(struct db *w, int64_t device_id, int64_t message_id, struct arena *a,
                        struct device_down *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_DOWN_BY_MESSAGE);
    int rc;

    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, message_id);
    rc = db_row(q);
    if (rc == 0)
        down_row(q, a, ret);
    return rc;
}

int device_down_replied(struct db *w, int64_t device_id, int64_t message_id, const json_t *reply,
                        int64_t now, struct arena *a, struct device_down *ret)
{
    int rc = find_message(w, device_id, message_id, a, ret);

    if (rc < 0 || strcmp(ret->state, "replied") == 0)
        return rc;
    AUTO(free) char *text = reply ? json_text(reply) : NULL;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_DOWN_REPLY);
    db_bind_int(q, 1, ret->id);
    db_bind_text(q, 2, text ? text : "{}");
    db_bind_int(q, 3, now);
    rc = db_run(q);
    ret->state = "replied";
    ret->reply = arena_strdup(a, text ? text : "{}");
    ret->ended_at = now;
    return rc < 0 ? rc : 1;
}

int device_down_forget(struct db *w, int64_t before, int max)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_DOWN_FORGET);
    int rc;

    db_bind_int(q, 1, before);
    db_bind_int(q, 2, max);
    rc = db_run(q);
    return rc < 0 ? rc : (int)db_changed(w);
}
