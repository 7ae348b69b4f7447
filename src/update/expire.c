/*
 * Deadlines: what has lasted too long ends as timed out or unverified. But a device is not silent
 * while otad itself sends it nothing: what waits for an offer of a paused campaign, or for its next
 * attempt outside a window, has its time anew.
 */
#include "update_priv.h"

/* ---- whose time runs anew ---- */
/* The new deadline; 0 = the time is over. */
static int64_t withheld_to(const struct device_type *rules, const struct campaign *c,
                           const struct campaign_now *now_of, const char *zone,
                           const struct update *u, int64_t now)
{
    int64_t opens;

    if (now_of->state == CAMPAIGN_PAUSED)
        return life_deadline(rules, u, now);
    if (now_of->state != CAMPAIGN_RUNNING)
        return 0;
    if (u->state == UPDATE_PLANNED && !campaign_window_open(c, zone, now, &opens))
        return life_deadline(rules, u, opens > now ? opens : now);
    /* It was paused meanwhile; the clock may have been set back since. */
    int64_t since = now_of->resumed_at < now ? now_of->resumed_at : now;
    int64_t at = since > u->updated_at ? life_deadline(rules, u, since) : 0;
    return at > now ? at : 0;
}

/* 1 = its deadline was moved. */
static int move_deadline(struct db *w, const struct catalog *c, const struct device_type *rules,
                         const struct device *d, struct update *u, int64_t now)
{
    const struct campaign *by = u->campaign_id ? catalog_campaign(c, u->campaign_id) : NULL;
    struct campaign_now now_of;

    if (!by || u->phase == CAMPAIGN_ROLLBACK || u->state > UPDATE_DEFERRED)
        return 0;
    int rc = campaign_now_load(w, by, d->id, &now_of);
    if (rc < 0)
        return rc;
    int64_t at = withheld_to(rules, by, &now_of, govern_zone(d, decide_type(c, d)), u, now);
    if (at == 0)
        return 0;
    u->deadline_at = at;
    rc = update_store(w, u);
    return rc < 0 ? rc : 1;
}

/* ---- what is due ---- */
static int expire(struct db *w, const struct catalog *c, int64_t update_id, int64_t now,
                  struct arena *a)
{
    const struct device_type *type;
    struct device_type own;
    struct device d = {0};
    struct update u = {0};
    enum update_state end;
    bool quarantined;
    int rc = update_by_id(w, update_id, a, &u);

    if (rc == 0)
        rc = device_by_id(w, u.device_id, a, &d);
    if (rc < 0)
        return rc;
    type = life_rules(c, decide_type(c, &d), &u, &own);
    rc = move_deadline(w, c, type, &d, &u, now);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    end = u.state >= UPDATE_DOWNLOADED ? UPDATE_UNVERIFIED : UPDATE_TIMED_OUT;
    /* What waits as planned failed when it was counted last. */
    if (u.state != UPDATE_PLANNED) {
        rc = life_count_failure(w, type, &d, now, &quarantined);
        if (rc < 0)
            return rc;
    }
    return life_move(
        w, type, &u, end, "deadline",
        arena_printf(a, "no word of the device since it was %s", update_state_name(u.state)), now);
}

/* The ids first: handling one changes the index that the query walks. */
static int64_t due(struct db *w, int64_t now, int max, int64_t *ids)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_DUE);
    int64_t n = 0;
    int rc = 0;

    db_bind_int(q, 1, now);
    db_bind_int(q, 2, max);
    while (n < max && (rc = db_step(q)) == 1)
        ids[n++] = db_int(q, 0);
    return n == max || rc == 0 ? n : rc;
}

int update_expire(struct db *w, const struct catalog *c, int64_t now, int max, int64_t *ret_next)
{
    AUTO(free) int64_t *ids = xcalloc((size_t)(max > 0 ? max : 1), sizeof(*ids));
    int64_t n = due(w, now, max, ids);
    struct arena a;
    int rc = n < 0 ? (int)n : 0;

    arena_init(&a);
    for (int64_t i = 0; rc == 0 && i < n; i++) {
        arena_reset(&a);
        rc = expire(w, c, ids[i], now, &a);
    }
    arena_done(&a);
    if (rc < 0)
        return rc;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_NEXT_DEADLINE);
    rc = db_row(q);
    if (rc < 0 && rc != E_NOTFOUND)
        return rc;
    *ret_next = rc == 0 ? db_int(q, 0) : 0;
    return (int)n;
}
