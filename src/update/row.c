/* Rows of updates and of their history: reading, listing, storing. No rule stands here. */
#include "update_priv.h"

#include <assert.h>

void update_row(struct db_stmt *s, struct arena *a, struct update *ret)
{
    enum update_state state;
    int rc = update_state_parse(db_text(s, 8), &state);

    assert(rc == 0); /* only our own names are ever stored */
    *ret = (struct update){
        .id = db_int(s, 0),
        .project_id = db_int(s, 1),
        .device_id = db_int(s, 2),
        .firmware_id = db_int(s, 3),
        .module = arena_strdup(a, db_text(s, 4)),
        .from_version = arena_strdup(a, db_text(s, 5)),
        .to_version = arena_strdup(a, db_text(s, 6)),
        .cause = arena_strdup(a, db_text(s, 7)),
        .state = state,
        .attempt = db_int(s, 9),
        .bytes_total = db_int(s, 10),
        .bytes_served = db_int(s, 11),
        .percent = db_int(s, 12),
        .coverage = arena_strdup(a, db_text(s, 13)),
        .suspect = db_int(s, 14) != 0,
        .link_until = db_int(s, 15),
        .retry_at = db_int(s, 16),
        .deadline_at = db_int(s, 17),
        .created_at = db_int(s, 18),
        .updated_at = db_int(s, 19),
        .ended_at = db_int(s, 20),
        .campaign_id = db_int(s, 21),
        .phase = (int)db_int(s, 22),
    };
    (void)str_copy(ret->reason, sizeof(ret->reason), db_text(s, 23));
}

int update_by_id(struct db *db, int64_t id, struct arena *a, struct update *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_BY_ID);
    int rc;

    db_bind_int(q, 1, id);
    rc = db_row(q);
    if (rc == 0)
        update_row(q, a, ret);
    return rc;
}

int update_linked(struct db *db, int64_t update_id, struct update_linked *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_LINKED);
    int rc;

    db_bind_int(q, 1, update_id);
    rc = db_row(q);
    if (rc < 0)
        return rc;
    ret->project_id = db_int(q, 0);
    ret->firmware_id = db_int(q, 1);
    ret->campaign_id = db_int(q, 5);
    ret->device_id = db_int(q, 6);
    ret->of_main = strcmp(db_text(q, 7), "main") == 0;
    ret->replaces = strcmp(db_text(q, 8), db_text(q, 2)) != 0;
    const char *campaign = db_text(q, 9);
    ret->paused = campaign && strcmp(campaign, campaign_state_name(CAMPAIGN_PAUSED)) == 0;
    ret->ended = db_int(q, 10) != 0;
    (void)str_copy(ret->to_version, sizeof(ret->to_version), db_text(q, 2));
    if (!db_int(q, 4))
        return E_AUTH;
    rc = update_state_parse(db_text(q, 3), &ret->state);
    assert(rc == 0);
    return rc < 0 || update_is_final(ret->state) || ret->state == UPDATE_PLANNED ? E_GONE : 0;
}

int update_active_of(struct db *db, int64_t device_id, const char *module, struct arena *a,
                     struct update *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_ACTIVE_OF);
    int rc;

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, module);
    rc = db_row(q);
    if (rc == 0)
        update_row(q, a, ret);
    return rc;
}

int update_history(struct db *db, int64_t id, int (*row)(void *arg, const struct update_event *e),
                   void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_HISTORY);
    int rc;

    db_bind_int(q, 1, id);
    while ((rc = db_step(q)) == 1) {
        struct update_event e = {
            .seq = db_int(q, 0),
            .at = db_int(q, 1),
            .from_state = db_text(q, 2),
            .to_state = db_text(q, 3),
            .cause = db_text(q, 4),
            .text = db_text(q, 5),
        };

        rc = row(arg, &e);
        if (rc != 0)
            return rc;
    }
    return rc;
}

/* ---- lists ---- */
/* The queries of a kind differ in nothing but the index they walk. */
struct by_filter {
    enum db_query project, device, firmware, state, open;
    enum db_query campaign, campaign_device, campaign_state, campaign_open;
};

static enum db_query choose_of_campaign(const struct by_filter *q, const struct update_filter *flt)
{
    if (flt->device_id)
        return q->campaign_device;
    if (flt->state == -2)
        return q->campaign_open;
    return flt->state >= 0 ? q->campaign_state : q->campaign;
}

static enum db_query choose(const struct by_filter *q, const struct update_filter *flt)
{
    if (flt->campaign_id)
        return choose_of_campaign(q, flt);
    if (flt->device_id)
        return q->device;
    if (flt->state == -2)
        return q->open;
    if (flt->firmware_id)
        return q->firmware;
    return flt->state >= 0 ? q->state : q->project;
}

static void bind_filter(struct db_stmt *q, const struct update_filter *flt)
{
    bool one = flt->state >= 0 && flt->state < UPDATE__COUNT;

    db_bind_int(q, 1, flt->project_id);
    db_bind_int(q, 2, flt->device_id);
    db_bind_int(q, 3, flt->firmware_id);
    db_bind_text(q, 4, one ? update_state_name((enum update_state)flt->state) : "");
    db_bind_int(q, 5, flt->state == -2);
}

int update_list(struct db *db, const struct update_filter *flt, int64_t before, int limit,
                int (*row)(void *arg, const struct update *u), void *arg)
{
    static const struct by_filter queries = {Q_UPDATE_LIST,
                                             Q_UPDATE_LIST_DEVICE,
                                             Q_UPDATE_LIST_FIRMWARE,
                                             Q_UPDATE_LIST_STATE,
                                             Q_UPDATE_LIST_OPEN,
                                             Q_UPDATE_LIST_CAMPAIGN,
                                             Q_UPDATE_LIST_CAMPAIGN_DEVICE,
                                             Q_UPDATE_LIST_CAMPAIGN_STATE,
                                             Q_UPDATE_LIST_CAMPAIGN_OPEN};
    AUTO(db_reset) struct db_stmt *q = db_use(db, choose(&queries, flt));
    struct arena a;
    struct update u = {0};
    int rc;

    arena_init(&a);
    bind_filter(q, flt);
    db_bind_int(q, 6, before > 0 ? before : INT64_MAX);
    db_bind_int(q, 7, limit);
    if (flt->campaign_id)
        db_bind_int(q, 8, flt->campaign_id);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        update_row(q, &a, &u);
        rc = row(arg, &u);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}

static int64_t count_kept(struct db *db, const struct update_filter *flt)
{
    bool active = flt->state == -2;
    AUTO(db_reset)
    struct db_stmt *q =
        db_use(db, active ? Q_UPDATE_COUNT_CAMPAIGN_ACTIVE : Q_UPDATE_COUNT_CAMPAIGN_KEPT);

    db_bind_int(q, 1, flt->project_id);
    db_bind_int(q, 2, flt->campaign_id);
    if (!active)
        db_bind_text(q, 3, flt->state < 0 ? "" : update_state_name((enum update_state)flt->state));
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0);
}

/* With one filter alone. */
static int64_t count_plain(struct db *db, const struct update_filter *flt)
{
    bool one = flt->state >= 0 && flt->state < UPDATE__COUNT;
    AUTO(db_reset)
    struct db_stmt *q = db_use(db, flt->firmware_id ? Q_UPDATE_TOTAL_FIRMWARE
                                   : one            ? Q_UPDATE_TOTAL_STATE
                                                    : Q_UPDATE_TOTAL);

    db_bind_int(q, 1, flt->project_id);
    if (flt->firmware_id)
        db_bind_int(q, 2, flt->firmware_id);
    else if (one)
        db_bind_text(q, 2, update_state_name((enum update_state)flt->state));
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0);
}

int64_t update_count(struct db *db, const struct update_filter *flt)
{
    static const struct by_filter of_campaign = {.campaign = Q_UPDATE_COUNT_CAMPAIGN,
                                                 .campaign_device = Q_UPDATE_COUNT_CAMPAIGN_DEVICE,
                                                 .campaign_state = Q_UPDATE_COUNT_CAMPAIGN_STATE,
                                                 .campaign_open = Q_UPDATE_COUNT_CAMPAIGN_OPEN};
    if (flt->campaign_id && !flt->device_id && !flt->firmware_id)
        return count_kept(db, flt);
    if (!flt->campaign_id && !flt->device_id && flt->state != -2 &&
        (!flt->firmware_id || flt->state == -1))
        return count_plain(db, flt);
    AUTO(db_reset)
    struct db_stmt *q = db_use(db, flt->campaign_id   ? choose_of_campaign(&of_campaign, flt)
                                   : flt->device_id   ? Q_UPDATE_COUNT_DEVICE
                                   : flt->state == -2 ? Q_UPDATE_COUNT_OPEN
                                                      : Q_UPDATE_COUNT_FIRMWARE);

    bind_filter(q, flt);
    if (flt->campaign_id)
        db_bind_int(q, 6, flt->campaign_id);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0);
}

/* ---- writing ---- */
static void bind_time(struct db_stmt *q, int i, int64_t at)
{
    if (at)
        db_bind_int(q, i, at);
    else
        db_bind_null(q, i);
}

int update_insert(struct db *w, const struct update *u)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_INSERT);

    db_bind_int(q, 1, u->id);
    db_bind_int(q, 2, u->project_id);
    db_bind_int(q, 3, u->device_id);
    db_bind_text(q, 4, u->module);
    db_bind_int(q, 5, u->firmware_id);
    db_bind_text(q, 6, u->from_version);
    db_bind_text(q, 7, u->to_version);
    db_bind_text(q, 8, update_state_name(u->state));
    db_bind_text(q, 9, u->cause);
    db_bind_int(q, 10, u->bytes_total);
    db_bind_int(q, 11, u->link_until);
    bind_time(q, 12, u->deadline_at);
    db_bind_int(q, 13, u->created_at);
    if (u->campaign_id)
        db_bind_int(q, 14, u->campaign_id);
    else
        db_bind_null(q, 14);
    db_bind_int(q, 15, u->phase);
    return db_run(q);
}

int update_store(struct db *w, const struct update *u)
{
    AUTO(db_reset)
    struct db_stmt *q = db_use(w, u->ended_at ? Q_UPDATE_STORE : Q_UPDATE_STORE_OPEN);

    db_bind_int(q, 1, u->id);
    db_bind_text(q, 2, update_state_name(u->state));
    db_bind_int(q, 3, u->attempt);
    db_bind_int(q, 4, u->bytes_served);
    db_bind_text(q, 5, u->coverage);
    db_bind_int(q, 6, u->percent);
    db_bind_int(q, 7, u->suspect);
    db_bind_text(q, 8, u->cause);
    db_bind_int(q, 9, u->link_until);
    bind_time(q, 10, u->retry_at);
    bind_time(q, 11, u->deadline_at);
    db_bind_int(q, 12, u->updated_at);
    db_bind_text(q, 13, u->reason);
    if (u->ended_at)
        db_bind_int(q, 14, u->ended_at);
    return db_run(q);
}

int update_store_progress(struct db *w, const struct update *u)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_PROGRESS);

    db_bind_int(q, 1, u->id);
    db_bind_int(q, 2, u->bytes_served);
    db_bind_text(q, 3, u->coverage);
    db_bind_int(q, 4, u->percent);
    db_bind_int(q, 5, u->suspect);
    db_bind_int(q, 6, u->updated_at);
    return db_run(q);
}

int update_history_add(struct db *w, int64_t id, int64_t now, const char *from, const char *to,
                       const char *cause, const char *text)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_HISTORY_ADD);

    LOG(LOG_DEBUG, "update", "state", KV_INT("update", id), KV("from", from), KV("to", to),
        KV("cause", cause));

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, now);
    db_bind_text(q, 3, from);
    db_bind_text(q, 4, to);
    db_bind_text(q, 5, cause);
    db_bind_text(q, 6, text);
    return db_run(q);
}
