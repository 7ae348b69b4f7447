/*
 * What is counted: the states of a campaign's updates, per phase, how many are under way, and the
 * offers of the last minute. Each is moved by atomic statements in the transaction in which the
 * update moves; so they are what a recount of the rows would find, after any crash.
 */
#include "campaign_priv.h"

#define MINUTE_S 60

int count_state(struct db *w, int64_t id, int phase, const char *state, int64_t n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_COUNT_ADD);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, phase);
    db_bind_text(q, 3, state);
    db_bind_int(q, 4, n);
    return db_run(q);
}

static int count_active(struct db *w, int64_t id, int64_t n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_ACTIVE_ADD);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, n);
    return db_run(q);
}

static int count_offered(struct db *w, int64_t id, int phase)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PHASE_OFFERED);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, phase);
    return db_run(q);
}

/* What fails because otad answers nothing while it is paused says nothing about the firmware. */
static int is_withheld(struct db *w, int64_t id, int phase, int64_t device_id,
                       enum campaign_end end)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_WITHHELD);

    if (end != CAMPAIGN_END_FAILED && end != CAMPAIGN_END_TIMED_OUT)
        return 0;
    db_bind_int(q, 1, id);
    db_bind_int(q, 2, device_id);
    db_bind_int(q, 3, phase);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0) != 0;
}

static int count_ended(struct db *w, int64_t id, int phase, enum campaign_end end, bool seen)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PHASE_ENDED);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, phase);
    db_bind_int(q, 3, end == CAMPAIGN_END_VERIFIED);
    db_bind_int(q, 4, seen && end == CAMPAIGN_END_FAILED);
    db_bind_int(q, 5, end == CAMPAIGN_END_ROLLED_BACK);
    db_bind_int(q, 6, seen && end == CAMPAIGN_END_TIMED_OUT);
    db_bind_int(q, 7, end == CAMPAIGN_END_REJECTED);
    db_bind_int(q, 8, seen);
    return db_run(q);
}

struct ends {
    int64_t devices, verified;  /* for gates */
    int64_t rolled_back, ended; /* for thresholds */
};

static int gate_add(struct db *w, int64_t id, int phase, const struct ends *n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_GATE_ADD);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, phase);
    db_bind_int(q, 3, n->devices);
    db_bind_int(q, 4, n->verified);
    db_bind_int(q, 5, n->rolled_back);
    db_bind_int(q, 6, n->ended);
    return db_run(q);
}

/* For gates a device is one, however often it came to an end: its last end counts instead of the
 * one before. */
static int count_device(struct db *w, int64_t id, int phase, int64_t device_id)
{
    int64_t good[2] = {0, 0};
    int n = 0, rc = 0;
    {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_DEVICE_RESULTS);

        db_bind_int(q, 1, id);
        db_bind_int(q, 2, device_id);
        db_bind_int(q, 3, phase);
        while (n < 2 && (rc = db_step(q)) == 1)
            good[n++] = db_int(q, 0);
    }
    const struct ends more = {.devices = n < 2, .verified = good[0] - good[1]};
    return rc < 0 ? rc : gate_add(w, id, phase, &more);
}

/* Copies what it finds: acting on it uses other queries of the same rows. */
static int crossed(struct db *w, int64_t id, int phase, char reason[64], char action[16])
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_CROSSED);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, phase);
    int rc = db_row(q);
    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    (void)str_fmt(reason, 64, "threshold_%s", db_text(q, 0));
    (void)str_copy(action, 16, db_text(q, 1));
    return 1;
}

static int look_at_gate(struct db *w, int64_t id, int phase, int64_t now)
{
    struct campaign_status s = {0};
    struct campaign c;
    struct arena a;

    arena_init(&a);
    int rc = campaign_row_by_id(w, id, &a, &c, &s);
    if (rc == 0 && s.state == CAMPAIGN_RUNNING && s.phase == phase)
        rc = campaign_look_at_gate(w, &c, &s, now);
    arena_done(&a);
    return rc == E_NOTFOUND ? 0 : rc;
}

int campaign_look_at_thresholds(struct db *w, int64_t id, int phase, int64_t now)
{
    char reason[64], action[16];
    int rc = crossed(w, id, phase, reason, action);

    if (rc <= 0)
        return rc;
    rc = campaign_act(w, id, action, reason, now);
    return rc == 0 || rc == E_NOTFOUND ? 1 : rc;
}

static int look(struct db *w, int64_t id, int phase, int64_t now)
{
    int rc = campaign_look_at_thresholds(w, id, phase, now);

    return rc < 0 ? rc : rc == 1 ? 0 : look_at_gate(w, id, phase, now);
}

static int ended(struct db *w, int64_t id, int phase, int64_t device_id, enum campaign_end end,
                 int64_t now)
{
    int rc = is_withheld(w, id, phase, device_id, end);

    if (rc >= 0)
        rc = count_ended(w, id, phase, end, rc == 0);
    if (rc == 0)
        rc = count_device(w, id, phase, device_id);
    return rc < 0 ? rc : look(w, id, phase, now);
}

/* Thresholds count anew from a resume on: what ended before, and falls back only now, is one more
 * that ended, or nothing but what was offered since could ever cross one. */
static int ended_before(struct db *w, int64_t id, int64_t ended_at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_NOW);

    db_bind_int(q, 1, id);
    int rc = db_row(q);
    return rc < 0 ? rc : ended_at <= db_int(q, 6);
}

int campaign_fell_back(struct db *w, int64_t id, int phase, bool suspect, int64_t ended_at,
                       int64_t now)
{
    if (phase == CAMPAIGN_ROLLBACK)
        return 0;
    int before = ended_before(w, id, ended_at);
    if (before < 0)
        return before;
    const struct ends more = {.verified = suspect ? 0 : -1, .rolled_back = 1, .ended = before};
    int rc = gate_add(w, id, phase, &more);
    return rc < 0 ? rc : look(w, id, phase, now);
}

/* A user's no says nothing about the firmware: it opens and closes no gate, and is no attempt. */
int count_refused(struct db *w, int64_t id, int phase, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PHASE_REFUSED);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, phase);
    int rc = db_run(q);
    if (rc == 0)
        rc = campaign_look_at_thresholds(w, id, phase, now);
    return rc < 0 ? rc : 0;
}

/* Under way, for the pace: a device that waits for its user is not. */
static bool is_active(const char *state, enum campaign_end end)
{
    return end == CAMPAIGN_END_NONE && strcmp(state, "deferred") != 0;
}

int campaign_moved(struct db *w, int64_t id, int phase, int64_t device_id, const char *from,
                   const char *to, enum campaign_end end, int64_t now)
{
    int64_t more = (int64_t)is_active(to, end) - (from && is_active(from, CAMPAIGN_END_NONE));
    int rc = from ? count_state(w, id, phase, from, -1) : 0;

    if (rc == 0)
        rc = count_state(w, id, phase, to, 1);
    if (rc == 0 && !from)
        rc = count_offered(w, id, phase);
    if (rc == 0 && more)
        rc = count_active(w, id, more);
    if (rc == 0)
        rc = campaign_flow_moved(w, id, phase, !from, end, now);
    if (rc < 0 || end == CAMPAIGN_END_NONE || end == CAMPAIGN_END_CANCELED ||
        phase == CAMPAIGN_ROLLBACK)
        return rc;
    return end == CAMPAIGN_END_REFUSED ? count_refused(w, id, phase, now)
                                       : ended(w, id, phase, device_id, end, now);
}

int campaign_forget_device(struct db *w, int64_t device_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_OF_DEVICE);
    int rc;

    db_bind_int(q, 1, device_id);
    while ((rc = db_step(q)) == 1) {
        rc = count_state(w, db_int(q, 0), (int)db_int(q, 1), db_text(q, 2), -1);
        if (rc == 0 && db_int(q, 3) && is_active(db_text(q, 2), CAMPAIGN_END_NONE))
            rc = count_active(w, db_int(q, 0), -1);
        else if (rc == 0 && !db_int(q, 3) && *db_text(q, 4)) /* of its end, not of an attempt */
            rc = campaign_reason_count(w, db_int(q, 0), (int)db_int(q, 1), db_text(q, 2),
                                       db_text(q, 4), -1);
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? rc : consent_forget_device(w, device_id);
}

/* ---- the pace ---- */
int campaign_offered(struct db *w, int64_t id)
{
    int64_t second = clock_steady_ms() / 1000;
    {
        AUTO(db_reset) struct db_stmt *drop = db_use(w, Q_CAMPAIGN_PACE_DROP);
        db_bind_int(drop, 1, id);
        db_bind_int(drop, 2, second - MINUTE_S - 1);
        int rc = db_run(drop);
        if (rc < 0)
            return rc;
    }
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PACE_ADD);
    db_bind_int(q, 1, id);
    db_bind_int(q, 2, second);
    return db_run(q);
}

/* How long until one more offer is fine. A second counts whole, so that a minute that begins in
 * the middle of one holds no more than it may. */
static int pace_wait(struct db *db, int64_t id, int64_t limit, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_PACE_LIST);
    int64_t now = clock_steady_ms(), seconds[MINUTE_S + 2], counts[MINUTE_S + 2], sum = 0;
    size_t n = 0, i = 0;
    int rc = 0;

    *ret = 0;
    db_bind_int(q, 1, id);
    db_bind_int(q, 2, now / 1000 - MINUTE_S - 1);
    while (n < ARRAY_LEN(seconds) && (rc = db_step(q)) == 1) {
        seconds[n] = db_int(q, 0);
        sum += counts[n++] = db_int(q, 1);
    }
    for (; i < n && sum >= limit; i++) {
        sum -= counts[i];
        *ret = (seconds[i] + MINUTE_S + 1) * 1000 - now;
    }
    return rc < 0 ? rc : 0;
}

int campaign_recover(struct db *w)
{
    AUTO(db_reset) struct db_stmt *shift = db_use(w, Q_CAMPAIGN_PACE_SHIFT);
    AUTO(db_reset) struct db_stmt *forget = db_use(w, Q_CAMPAIGN_PACE_FORGET);
    int64_t second = clock_steady_ms() / 1000;

    db_bind_int(shift, 1, second);
    int rc = db_run(shift);
    db_bind_int(forget, 1, second);
    return rc < 0 ? rc : db_run(forget);
}

/* ---- where it stands ---- */
/* What the phases say, for whom it matters: phases by count, a rate that grows, jitter. */
static int phases(struct db *db, const struct campaign *c, struct campaign_now *ret)
{
    int64_t offered = 0, verified = 0;
    bool any = c->growth.base > 0 || c->jitter_s > 0;
    int rc;

    ret->rate = c->offers_per_minute;
    for (size_t i = 0; i < c->n_phases; i++)
        any |= c->phases[i].kind == PHASE_COUNT;
    if (!any)
        return 0;
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_PHASE_COUNTS);
    db_bind_int(q, 1, c->id);
    while ((rc = db_step(q)) == 1) {
        if (db_int(q, 0) < 0 || db_int(q, 0) > CAMPAIGN_PHASES_MAX)
            continue;
        ret->offered[db_int(q, 0)] = db_int(q, 1) + db_int(q, 2);
        ret->opened[db_int(q, 0)] = db_int(q, 4);
        offered += db_int(q, 1);
        verified += db_int(q, 3);
    }
    ret->rate = campaign_rate(c, offered, verified);
    return rc;
}

static int past(struct db *db, const struct campaign *c, int64_t device_id,
                struct campaign_now *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_DEVICE_PAST);

    db_bind_int(q, 1, c->id);
    db_bind_int(q, 2, device_id);
    db_bind_text(q, 3, "verified");
    int rc = db_row(q);
    if (rc == 0)
        ret->verified = db_int(q, 0) > 0;
    return rc;
}

static int brought(struct db *db, const struct campaign *c, int64_t device_id,
                   struct campaign_now *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_BROUGHT);

    db_bind_int(q, 1, c->id);
    db_bind_int(q, 2, c->firmware_id);
    db_bind_int(q, 3, device_id);
    int rc = db_row(q);
    ret->brought = rc == 0 && db_int(q, 0) != 0;
    return rc == E_NOTFOUND ? 0 : rc;
}

int campaign_device_ended(struct db *db, int64_t id, int64_t device_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_DEVICE_ENDED);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, device_id);
    int rc = db_row(q);
    return rc == E_NOTFOUND ? 0 : rc < 0 ? rc : 1;
}

int campaign_waits(struct db *db, int64_t id, int64_t device_id)
{
    AUTO(db_reset)
    struct db_stmt *q = db_use(db, device_id ? Q_CAMPAIGN_DEVICE_WAITS : Q_CAMPAIGN_WAITING);

    db_bind_int(q, 1, id);
    if (device_id)
        db_bind_int(q, 2, device_id);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0) > 0;
}

int campaign_now_load(struct db *db, const struct campaign *c, int64_t device_id,
                      struct campaign_now *ret)
{
    *ret = (struct campaign_now){.state = CAMPAIGN_DRAFT};
    {
        AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_NOW);
        db_bind_int(q, 1, c->id);
        int rc = db_row(q);
        if (rc == 0)
            rc = campaign_state_parse(db_text(q, 0), &ret->state);
        if (rc < 0)
            return rc == E_NOTFOUND ? E_DB : rc;
        ret->phase = (int)db_int(q, 1);
        ret->approval = db_int(q, 2) != 0;
        ret->rolling_back = db_int(q, 3) != 0;
        ret->device_max = db_int(q, 4);
        ret->active = db_int(q, 5);
        ret->resumed_at = db_int(q, 6);
    }
    int rc = phases(db, c, ret);
    if (rc == 0 && ret->rate)
        rc = pace_wait(db, c->id, ret->rate, &ret->wait_ms);
    if (rc == 0 && (c->allow_downgrade || c->allow_reinstall))
        rc = past(db, c, device_id, ret);
    if (rc == 0 && ret->rolling_back)
        rc = brought(db, c, device_id, ret);
    if (rc == 0 && c->consent.mode != CONSENT_SILENT) {
        rc = consent_of(db, c->id, device_id, &ret->consent);
        rc = rc == E_NOTFOUND ? 0 : rc;
    }
    return rc;
}

/* ---- what ended campaigns left ---- */
int campaign_leftovers(struct db *w, int64_t *ids, int max)
{
    int64_t id = 0;
    int n = 0, rc;
    {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_LEFTOVER);
        rc = db_row(q);
        if (rc < 0)
            return rc == E_NOTFOUND ? 0 : rc;
        id = db_int(q, 0);
    }
    {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_LEFTOVERS);
        db_bind_int(q, 1, id);
        db_bind_int(q, 2, max);
        while (n < max && (rc = db_step(q)) == 1)
            ids[n++] = db_int(q, 0);
    }
    if (rc < 0 || n > 0)
        return rc < 0 ? rc : n;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_SWEPT);
    db_bind_int(q, 1, id);
    return db_run(q);
}
