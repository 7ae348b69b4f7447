/*
 * How a campaign gets on: what it did by the minute and by the hour, and why updates failed. Both
 * are counted by atomic statements in the transaction in which the update moves. Flows tell what
 * happened, so they stay when a device is deleted; reasons are of updates, and go with them.
 */
#include "campaign_priv.h"

#define MINUTE_MS   INT64_C(60000)
#define HOUR_MS     (60 * MINUTE_MS)
#define DAY_MS      (24 * HOUR_MS)
#define KEEP_HOURS  (400 * DAY_MS)
#define REASONS_MAX 200 /* rows of a campaign, over all phases and states */

/* ---- flows ---- */
static int flow_add(struct db *w, int64_t id, int phase, const struct campaign_flow *f, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_FLOW_ADD);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, phase);
    db_bind_int(q, 3, now - now % MINUTE_MS);
    db_bind_int(q, 4, now - now % HOUR_MS);
    db_bind_int(q, 5, f->offered);
    db_bind_int(q, 6, f->verified);
    db_bind_int(q, 7, f->suspect);
    db_bind_int(q, 8, f->failed);
    db_bind_int(q, 9, f->rolled_back);
    db_bind_int(q, 10, f->timed_out);
    db_bind_int(q, 11, f->rejected);
    db_bind_int(q, 12, f->canceled);
    db_bind_int(q, 13, f->attempts);
    db_bind_int(q, 14, f->bytes);
    return db_run(q);
}

int campaign_flow_moved(struct db *w, int64_t id, int phase, bool begins, enum campaign_end end,
                        int64_t now)
{
    const struct campaign_flow f = {.offered = begins,
                                    .verified = end == CAMPAIGN_END_VERIFIED,
                                    .suspect = end == CAMPAIGN_END_SUSPECT,
                                    .failed = end == CAMPAIGN_END_FAILED,
                                    .rolled_back = end == CAMPAIGN_END_ROLLED_BACK,
                                    .timed_out = end == CAMPAIGN_END_TIMED_OUT,
                                    .rejected =
                                        end == CAMPAIGN_END_REJECTED || end == CAMPAIGN_END_REFUSED,
                                    .canceled = end == CAMPAIGN_END_CANCELED};

    return begins || end != CAMPAIGN_END_NONE ? flow_add(w, id, phase, &f, now) : 0;
}

int campaign_served(struct db *w, int64_t id, int phase, int64_t bytes, int64_t now)
{
    const struct campaign_flow f = {.bytes = bytes};

    return flow_add(w, id, phase, &f, now);
}

int campaign_flows(struct db *db, int64_t id, int64_t step_s, int64_t from, int64_t to, int phase,
                   int (*row)(void *arg, const struct campaign_flow *f), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_FLOW_LIST);
    int rc;

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, step_s == CAMPAIGN_FLOW_MINUTE ? CAMPAIGN_FLOW_MINUTE : CAMPAIGN_FLOW_HOUR);
    db_bind_int(q, 3, from);
    db_bind_int(q, 4, to);
    db_bind_int(q, 5, phase);
    db_bind_int(q, 6, step_s * 1000);
    while ((rc = db_step(q)) == 1) {
        const struct campaign_flow f = {.at = db_int(q, 0),
                                        .offered = db_int(q, 1),
                                        .verified = db_int(q, 2),
                                        .suspect = db_int(q, 3),
                                        .failed = db_int(q, 4),
                                        .rolled_back = db_int(q, 5),
                                        .timed_out = db_int(q, 6),
                                        .rejected = db_int(q, 7),
                                        .canceled = db_int(q, 8),
                                        .attempts = db_int(q, 9),
                                        .bytes = db_int(q, 10)};
        rc = row(arg, &f);
        if (rc != 0)
            return rc;
    }
    return rc;
}

int campaign_flow_phases(struct db *db, int64_t id,
                         int (*row)(void *arg, int phase, int64_t attempts, int64_t bytes),
                         void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_FLOW_PHASES);
    int rc;

    db_bind_int(q, 1, id);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, (int)db_int(q, 0), db_int(q, 1), db_int(q, 2));
        if (rc != 0)
            return rc;
    }
    return rc;
}

static int forget(struct db *w, int64_t step_s, int64_t before, int max)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_FLOW_FORGET);

    db_bind_int(q, 1, step_s);
    db_bind_int(q, 2, before);
    db_bind_int(q, 3, max);
    int rc = db_run(q);
    return rc < 0 ? rc : db_changed(w) >= max;
}

int campaign_flow_forget(struct db *w, int64_t now, int max)
{
    int minutes = forget(w, CAMPAIGN_FLOW_MINUTE, now - CAMPAIGN_MINUTES_KEPT * MINUTE_MS, max);
    int hours = minutes < 0 ? minutes : forget(w, CAMPAIGN_FLOW_HOUR, now - KEEP_HOURS, max);

    return hours < 0 ? hours : minutes | hours;
}

/* ---- reasons ---- */
int campaign_reason_count(struct db *w, int64_t id, int phase, const char *state,
                          const char *reason, int64_t n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_REASON_ADD);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, phase);
    db_bind_text(q, 3, state);
    db_bind_text(q, 4, reason);
    db_bind_int(q, 5, n);
    return db_run(q);
}

/* 1 = it is told apart, 0 = it goes with the others. */
static int reason_fits(struct db *w, int64_t id, int phase, const char *state, const char *reason)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_REASON_FITS);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, phase);
    db_bind_text(q, 3, state);
    db_bind_text(q, 4, reason);
    db_bind_int(q, 5, REASONS_MAX);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0) != 0;
}

int campaign_failed(struct db *w, int64_t id, int phase, const char *state,
                    char reason[CAMPAIGN_REASON_MAX + 1], int64_t now)
{
    const struct campaign_flow f = {.attempts = 1};
    int rc = reason_fits(w, id, phase, state, reason);

    if (rc < 0)
        return rc;
    if (rc == 0)
        (void)str_copy(reason, CAMPAIGN_REASON_MAX + 1, "other");
    rc = campaign_reason_count(w, id, phase, state, reason, 1);
    return rc == 0 && strcmp(state, "planned") == 0 ? flow_add(w, id, phase, &f, now) : rc;
}

int campaign_reasons(struct db *db, int64_t id,
                     int (*row)(void *arg, int phase, const char *state, const char *reason,
                                int64_t n),
                     void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_REASONS);
    int rc;

    db_bind_int(q, 1, id);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, (int)db_int(q, 0), db_text(q, 1), db_text(q, 2), db_int(q, 3));
        if (rc != 0)
            return rc;
    }
    return rc;
}

/* ---- how many are meant ---- */
static int count_frozen(struct db *db, const struct campaign *c, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_FROZEN);

    db_bind_int(q, 1, c->id);
    db_bind_int(q, 2, CAMPAIGN_COUNTED_MAX + 1);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    *ret = db_int(q, 0);
    return *ret > CAMPAIGN_COUNTED_MAX || *ret == 0 ? E_NOTFOUND : 0;
}

int campaign_count_targets(struct db *db, const struct campaign *c, int64_t *ret_n,
                           int64_t *ret_denied, bool *ret_exact)
{
    *ret_exact = c->n_tags == 0 && !c->query;
    {
        AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_LISTED);
        db_bind_int(q, 1, c->id);
        int rc = db_row(q);
        if (rc < 0)
            return rc;
        *ret_n = db_int(q, 0);
        *ret_denied = db_int(q, 1);
    }
    if (c->listed)
        return 0;
    int rc = c->frozen ? count_frozen(db, c, ret_n) : E_NOTFOUND;
    if (rc == 0)
        *ret_n = *ret_n > *ret_denied ? *ret_n - *ret_denied : 0;
    return rc;
}
