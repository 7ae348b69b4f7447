/* Webhooks, their deliveries, and how an attempt's end changes both. */
#include "webhook_priv.h"

#include "event.h"

enum { PENDING_MAX = 1000, KEEP = 1000, EXPIRE_SLICE = 500 };

/* ---- webhooks ---- */
static void webhook_row(struct db_stmt *q, struct arena *a, struct webhook *ret)
{
    *ret = (struct webhook){
        .id = db_int(q, 0),
        .project_id = db_int(q, 1),
        .name = arena_strdup(a, db_text(q, 2)),
        .url = arena_strdup(a, db_text(q, 3)),
        .types = arena_strdup(a, db_text(q, 4)),
        .enabled = db_int(q, 5) != 0,
        .disabled_reason = arena_strdup(a, db_text(q, 6)),
        .secret = arena_strdup(a, db_text(q, 7)),
        .old_secret = arena_strdup(a, db_text(q, 8)),
        .old_secret_until = db_int(q, 9),
        .cursor = db_int(q, 10),
        .failing_since = db_int(q, 11),
        .created_at = db_int(q, 12),
        .updated_at = db_int(q, 13),
        .revision = db_int(q, 14),
    };
}

atomic_bool webhook_rows_changed;

int webhook_insert(struct db *w, struct webhook *h, struct fail *f)
{
    atomic_store(&webhook_rows_changed, true);
    int64_t first, n = webhook_count(w, h->project_id, -1);
    int rc = n < 0 ? (int)n : event_ends(w, &first, &h->cursor);

    if (rc == 0 && n >= WEBHOOK_PER_PROJECT)
        return fail(f, E_LIMIT, "A project has at most %d webhooks.", WEBHOOK_PER_PROJECT);
    if (rc < 0)
        return rc;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_INSERT);
    db_bind_int(q, 1, h->project_id);
    db_bind_text(q, 2, h->name);
    db_bind_text(q, 3, h->url);
    db_bind_text(q, 4, h->types);
    db_bind_int(q, 5, h->enabled);
    db_bind_text(q, 6, h->secret);
    db_bind_int(q, 7, h->cursor);
    db_bind_int(q, 8, h->created_at);
    rc = db_run(q);
    if (rc == 0)
        h->id = db_last_id(w);
    return rc;
}

/* What is pending is tried at next_at; 0 = it waits. */
static int hold(struct db *w, int64_t id, int64_t next_at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_HOLD);
    db_bind_int(q, 1, id);
    if (next_at)
        db_bind_int(q, 2, next_at);
    return db_run(q);
}

int webhook_update(struct db *w, const struct webhook *h)
{
    struct webhook old;
    struct arena a;
    int64_t first, cursor;

    atomic_store(&webhook_rows_changed, true);
    arena_init(&a);
    int rc = webhook_by_id(w, h->project_id, h->id, &a, &old);
    bool was = rc == 0 && old.enabled;
    cursor = rc == 0 ? old.cursor : 0;
    int64_t failing = rc == 0 && was ? old.failing_since : 0;
    arena_done(&a);
    if (rc == 0 && h->enabled && !was)
        rc = event_ends(w, &first, &cursor);
    if (rc == 0 && h->enabled != was)
        rc = hold(w, h->id, h->enabled ? h->updated_at : 0);
    if (rc < 0)
        return rc;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_UPDATE);
    db_bind_int(q, 1, h->id);
    db_bind_text(q, 2, h->name);
    db_bind_text(q, 3, h->url);
    db_bind_text(q, 4, h->types);
    db_bind_int(q, 5, h->enabled);
    db_bind_text(q, 6, h->enabled == was ? h->disabled_reason : "");
    db_bind_int(q, 7, cursor);
    db_bind_int(q, 8, failing);
    db_bind_int(q, 9, h->updated_at);
    return db_run(q);
}

int webhook_rotate(struct db *w, int64_t id, const char *secret, int64_t old_until, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_ROTATE);
    db_bind_int(q, 1, id);
    db_bind_text(q, 2, secret);
    db_bind_int(q, 3, old_until);
    db_bind_int(q, 4, now);
    return db_run(q);
}

int webhook_delete(struct db *w, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_DELETE);
    db_bind_int(q, 1, id);
    return db_run(q);
}

int webhook_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a,
                  struct webhook *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_WEBHOOK_BY_ID);
    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, id);
    int rc = db_row(q);
    if (rc == 0)
        webhook_row(q, a, ret);
    return rc;
}

int webhook_next(struct db *db, int64_t after, struct arena *a, struct webhook *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_WEBHOOK_NEXT);
    db_bind_int(q, 1, after);
    int rc = db_row(q);
    if (rc == 0)
        webhook_row(q, a, ret);
    return rc;
}

int webhook_list(struct db *db, int64_t project_id, int enabled, int64_t after, int limit,
                 int (*row)(void *arg, const struct webhook *h), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_WEBHOOK_LIST);
    struct webhook h;
    struct arena a;
    int rc;

    arena_init(&a);
    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, limit);
    db_bind_int(q, 4, enabled);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        webhook_row(q, &a, &h);
        rc = row(arg, &h);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}

int64_t webhook_count(struct db *db, int64_t project_id, int enabled)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_WEBHOOK_COUNT);

    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, enabled);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0);
}

/* ---- deliveries ---- */
int64_t webhook_delivery_count(struct db *db, int64_t webhook_id, const char *state)
{
    return db_count_word(db, Q_WEBHOOK_DELIVERY_COUNT, webhook_id, state);
}

int webhook_deliveries(struct db *db, int64_t webhook_id, const char *state, int64_t before,
                       int limit, int (*row)(void *arg, const struct webhook_delivery *d),
                       void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_WEBHOOK_DELIVERY_LIST);
    int rc;

    db_bind_int(q, 1, webhook_id);
    db_bind_int(q, 2, before > 0 ? before : INT64_MAX);
    db_bind_int(q, 3, limit);
    db_bind_text(q, 4, state);
    while ((rc = db_step(q)) == 1) {
        struct webhook_delivery d = {.id = db_int(q, 0),
                                     .message_id = db_text(q, 1),
                                     .type = db_text(q, 2),
                                     .state = db_text(q, 3),
                                     .attempts = db_int(q, 4),
                                     .status = db_int(q, 5),
                                     .error = db_text(q, 6),
                                     .created_at = db_int(q, 7),
                                     .next_at = db_int(q, 8),
                                     .ended_at = db_int(q, 9)};
        rc = row(arg, &d);
        if (rc != 0)
            break;
    }
    return rc;
}

static int delivery_add(struct db *w, int64_t webhook_id, const char *message_id, const char *type,
                        const char *body, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_DELIVERY_ADD);
    db_bind_int(q, 1, webhook_id);
    db_bind_text(q, 2, message_id);
    db_bind_text(q, 3, type);
    db_bind_text(q, 4, body);
    db_bind_int(q, 5, now);
    return db_run(q);
}

int webhook_test(struct db *w, int64_t webhook_id, int64_t now, int64_t *ret_delivery)
{
    char body[160], at[TIME_TEXT_MAX], id[40];

    (void)str_fmt(id, sizeof(id), "tst_%016llx", (unsigned long long)rand_u64());
    (void)str_fmt(body, sizeof(body),
                  "{\"type\":\"webhook.test\",\"timestamp\":\"%s\",\"data\":{\"webhook\":%lld}}",
                  time_text(now, at), (long long)webhook_id);
    int rc = delivery_add(w, webhook_id, id, "webhook.test", body, now);
    if (rc == 0)
        *ret_delivery = db_last_id(w);
    return rc;
}

/* ---- fanning out ---- */
struct fan {
    struct db *w;
    const struct webhook *h;
    int64_t now, cursor;
    int n;
};

static int fan_one(void *arg, const struct event_row *r)
{
    struct fan *x = arg;
    const struct event *e = &r->event;
    char id[32];

    x->cursor = e->id;
    x->n++;
    if ((e->project_id != x->h->project_id && e->project_id != 0) ||
        !event_filter_match(x->h->types, e->type))
        return 0;
    (void)str_fmt(id, sizeof(id), "evt_%lld", (long long)e->id);
    return delivery_add(x->w, x->h->id, id, e->type, r->text, x->now);
}

static int fan_webhook(struct db *w, const struct webhook *h, int max, int64_t now, int *ret_n)
{
    struct fan x = {w, h, now, h->cursor, 0};
    int64_t open = db_count(w, Q_WEBHOOK_DELIVERY_OPEN, h->id);

    *ret_n = 0;
    if (open < 0 || open >= PENDING_MAX) /* it goes on when some of these have ended */
        return open < 0 ? (int)open : 0;
    int rc = event_list(w, h->cursor, max, fan_one, &x);
    if (rc < 0 || x.cursor == h->cursor)
        return rc;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_CURSOR);
    db_bind_int(q, 1, h->id);
    db_bind_int(q, 2, x.cursor);
    *ret_n = x.n;
    return db_run(q);
}

int webhook_fan_out(struct db *w, int max, int64_t now)
{
    struct webhook h = {.id = 0};
    struct arena a;
    int left = max, n = 0, rc, more = 0;

    arena_init(&a);
    while ((rc = webhook_next(w, h.id, &a, &h)) == 0) {
        /* Each gets a look, however much the one before had. */
        int share = left > 10 ? left : 10;
        rc = fan_webhook(w, &h, share, now, &n);
        if (rc < 0)
            break;
        left -= n;
        more |= n == share;
        arena_reset(&a);
    }
    arena_done(&a);
    return rc == E_NOTFOUND ? more : rc;
}

/* ---- the end of an attempt ---- */
static int note_failing(struct db *w, int64_t webhook_id, int64_t since)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_FAILING);
    db_bind_int(q, 1, webhook_id);
    db_bind_int(q, 2, since);
    return db_run(q);
}

static int disable(struct db *w, int64_t webhook_id, const char *reason, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_DISABLE);
    db_bind_int(q, 1, webhook_id);
    db_bind_text(q, 2, reason);
    db_bind_int(q, 3, now);
    int rc = db_run(q);
    LOG(LOG_WARN, "webhook", "disabled", KV_INT("webhook", webhook_id), KV("why", reason));
    return rc < 0 ? rc : hold(w, webhook_id, 0);
}

static int store_try(struct db *w, const struct webhook_result *r, const char *state,
                     int64_t next_at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_DELIVERY_TRIED);
    db_bind_int(q, 1, r->delivery_id);
    db_bind_text(q, 2, state);
    db_bind_int(q, 3, r->status);
    db_bind_text(q, 4, r->error);
    if (next_at)
        db_bind_int(q, 5, next_at);
    else
        db_bind_int(q, 6, r->at);
    return db_run(q);
}

static int note_failure(struct db *w, const struct webhook_result *r, const struct webhook *h)
{
    int64_t since = h->failing_since ? h->failing_since : r->at;
    char reason[200];

    if (!h->enabled)
        return hold(w, h->id, 0); /* it was disabled while this was under way */
    if (r->status == 410)
        return disable(w, h->id, "the receiver says 410 Gone", r->at);
    if (r->at - since >= WEBHOOK_FAILING_MS) {
        (void)str_fmt(reason, sizeof(reason), "no message arrived for 5 days; the last error: %s",
                      r->error);
        return disable(w, h->id, reason, r->at);
    }
    return h->failing_since ? 0 : note_failing(w, h->id, since);
}

int webhook_tried(struct db *w, const struct webhook_result *r)
{
    int64_t attempts = db_count(w, Q_WEBHOOK_DELIVERY_ATTEMPTS, r->delivery_id);
    struct webhook h;
    struct arena a;

    if (attempts < 0) /* deleted meanwhile */
        return attempts == E_NOTFOUND ? 0 : (int)attempts;
    arena_init(&a);
    int rc = webhook_by_id(w, 0, r->webhook_id, &a, &h);
    if (rc == 0 && r->status >= 200 && r->status < 300) {
        rc = store_try(w, r, "delivered", 0);
        if (rc == 0 && h.failing_since)
            rc = note_failing(w, h.id, 0);
        metric_add(M_WEBHOOK_DELIVERED, 1);
    } else if (rc == 0) {
        int64_t wait = webhook_backoff_ms(attempts + 1);
        bool last = wait == 0 || r->status == 410;
        /* A tenth to and fro, so that a receiver that comes back is not met by all at once. */
        wait = wait - wait / 10 + (int64_t)(rand_u64() % (uint64_t)(wait / 5 + 1));
        if (wait < r->retry_after_s * 1000)
            wait = r->retry_after_s * 1000;
        rc = store_try(w, r, last ? "failed" : "pending", last ? 0 : r->at + wait);
        if (rc == 0)
            rc = note_failure(w, r, &h);
        metric_add(last ? M_WEBHOOK_FAILED : M_WEBHOOK_RETRIED, 1);
    }
    arena_done(&a);
    return rc == E_NOTFOUND ? 0 : rc;
}

int webhook_expire(struct db *w)
{
    struct webhook h = {.id = 0};
    struct arena a;
    int rc;

    arena_init(&a);
    while ((rc = webhook_next(w, h.id, &a, &h)) == 0) {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_WEBHOOK_DELIVERY_EXPIRE);
        db_bind_int(q, 1, h.id);
        db_bind_int(q, 2, KEEP);
        db_bind_int(q, 3, EXPIRE_SLICE);
        rc = db_run(q);
        if (rc < 0)
            break;
        arena_reset(&a);
    }
    arena_done(&a);
    return rc == E_NOTFOUND ? 0 : rc;
}
