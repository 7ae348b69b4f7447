/*
 * A check: what a device that asks is offered. An update under way is offered again with the same
 * id and nothing is written; so repeated checks are answered from a reading connection, and only
 * a new offer needs the writer. Everything is decided by decide() and decide_still().
 */
#include "update_priv.h"

#include <inttypes.h>

struct check {
    struct db *db;
    const struct catalog *catalog;
    const struct device *device;
    const struct device_type *type;
    struct device_type own; /* the type with what a campaign says instead */
    const char *cause;      /* who asks */
    int64_t campaign_id;    /* only what it has to offer now; 0 = anything */
    int64_t now, link_lifetime_ms;
    struct arena *arena;
    struct facts_load facts;
    struct update *ret_update;
    bool *ret_repeated;
    struct decision *ret_decision;
};

/* ---- an update under way ---- */
/* What passes by itself withholds the offer, it does not end the update. */
static bool passes_by(enum reason r, const struct update *u)
{
    if (r == REASON_CAMPAIGN_ENDED) /* what the device has begun it may end */
        return update_is_in_progress(u->state);
    if (r == REASON_FLOOR_FIRST || r == REASON_BELOW_FLOOR) /* too late to stop it */
        return u->state >= UPDATE_INSTALLING;
    if (r == REASON_CAMPAIGN_PAUSED || r == REASON_WINDOW_CLOSED || r == REASON_PACED ||
        r == REASON_AWAITING_CONSENT)
        return true;
    return r == REASON_DEVICE_DISABLED || r == REASON_QUARANTINED || r == REASON_VERSION_UNKNOWN ||
           r == REASON_BATTERY_LOW || r == REASON_SIGNAL_LOW || r == REASON_NO_SPACE;
}

static int nothing(struct check *k, enum reason r, int64_t retry_at)
{
    k->ret_decision->reason = r;
    k->ret_decision->retry_at = retry_at;
    return 0;
}

static int extend_link(struct check *k, struct update *u)
{
    AUTO(db_reset) struct db_stmt *q = db_use(k->db, Q_UPDATE_LINK);

    u->link_until = k->now + k->link_lifetime_ms;
    u->updated_at = k->now;
    db_bind_int(q, 1, u->id);
    db_bind_int(q, 2, u->link_until);
    db_bind_int(q, 3, u->updated_at);
    return db_run(q);
}

/* ---- a place on a gateway's connection ---- */
/* Taken back: its link is dead until it asks again, so it can't begin beside this one. */
static int withdraw(struct check *k, int64_t update_id)
{
    struct update u = {0};
    struct device d = {0};
    int rc = update_by_id(k->db, update_id, k->arena, &u);

    if (rc == 0)
        rc = device_by_id(k->db, u.device_id, k->arena, &d);
    return rc < 0
               ? rc
               : life_move(k->db, decide_type(k->catalog, &d), &u, UPDATE_PLANNED, "gateway",
                           "the offer lapsed, and its gateway is updating another device", k->now);
}

static int withdraw_lapsed(struct check *k, const struct active_update *list, size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++)
        if (list[i].device_id != k->device->id && decide_lapsed(&list[i], k->now))
            rc = withdraw(k, list[i].id);
    return rc;
}

/* This device's offer takes a place, so those that don't keep theirs must not begin any more. */
static int take_place(struct check *k)
{
    const struct device_facts *facts = &k->facts.facts;
    bool full = decide_beside(facts, k->now, true) >= decide_parallel(k->catalog, facts);
    int rc = withdraw_lapsed(k, facts->active, facts->n_active);

    return rc == 0 && full ? withdraw_lapsed(k, facts->beside, facts->n_beside) : rc;
}

static int offer_again(struct check *k, struct update *u, const struct firmware *fw)
{
    bool wrote = true;
    int rc = 0;

    if (u->state == UPDATE_PLANNED) {
        u->link_until = k->now + k->link_lifetime_ms;
        rc = take_place(k);
        if (rc == 0)
            rc = life_move(k->db, k->type, u, UPDATE_OFFERED, k->cause,
                           arena_printf(k->arena, "attempt %" PRId64, u->attempt), k->now);
        if (rc == 0 && u->campaign_id)
            rc = campaign_offered(k->db, u->campaign_id);
    } else if (u->link_until - k->now < k->link_lifetime_ms / 4) {
        rc = extend_link(k, u);
    } else {
        wrote = false;
    }
    if (rc < 0)
        return rc;
    *k->ret_update = *u;
    *k->ret_repeated = !wrote;
    k->ret_decision->firmware = fw;
    k->ret_decision->reason = REASON_ELIGIBLE;
    return 0;
}

/* A delta that failed here takes another file set's way out. It waits for its next attempt, or it
 * was fetched again from its start, whole, and its device asks nevertheless. */
static bool gives_way(const struct check *k, const struct update *u, const struct firmware *fw)
{
    return (u->state == UPDATE_PLANNED || u->state == UPDATE_DOWNLOADED) && u->attempt > 1 &&
           fw->n_sources > 0 && decide_instead(k->catalog, &k->facts.facts, fw, k->now);
}

static int give_way(struct check *k, struct update *u)
{
    bool quarantined; /* then the decision that follows says so */
    int rc = 0;

    if (u->state == UPDATE_PLANNED)
        u->attempt--; /* the one that it waited for is not made */
    else
        rc = life_count_failure(k->db, k->type, k->device, k->now, &quarantined);
    if (rc == 0)
        rc = life_move(k->db, k->type, u, UPDATE_FAILED, "delta",
                       "another file set of this version is offered instead", k->now);
    return rc < 0 ? rc : 1;
}

/* 0 = answered, 1 = it has ended: decide anew. */
static int check_active(struct check *k)
{
    struct update *u = k->facts.active;
    const struct firmware *fw = catalog_firmware(k->catalog, u->firmware_id);
    const struct device_facts *facts = &k->facts.facts;
    enum reason r = fw ? decide_still(k->catalog, facts, fw, u, k->now) : REASON_FIRMWARE_DISABLED;
    bool waits =
        u->state == UPDATE_PLANNED || u->state == UPDATE_OFFERED || u->state == UPDATE_DEFERRED;
    int rc;

    k->type = life_rules(k->catalog, k->type, u, &k->own);
    if (k->facts.rc < 0)
        return k->facts.rc;
    if (passes_by(r, u))
        return nothing(k, r,
                       r == REASON_QUARANTINED        ? k->device->quarantined_until
                       : r == REASON_AWAITING_CONSENT ? consent_until(&k->facts, k->catalog, u)
                                                      : 0);
    if (r != REASON_ELIGIBLE) {
        rc = life_move(k->db, k->type, u, UPDATE_CANCELED, reason_code(r),
                       "it may not be offered any more", k->now);
        return rc < 0 ? rc : 1;
    }
    if (gives_way(k, u, fw))
        return k->facts.rc < 0 ? k->facts.rc : give_way(k, u);
    if (waits && decide_busy(k->catalog, facts, k->now))
        return nothing(k, REASON_UPDATE_IN_PROGRESS, 0);
    if (u->state == UPDATE_PLANNED && u->retry_at > k->now)
        return nothing(k, REASON_BACKING_OFF, u->retry_at);
    return offer_again(k, u, fw);
}

int update_still(struct db *db, const struct catalog *c, const struct device *d,
                 const struct update *u, int64_t now, struct arena *a)
{
    const struct firmware *fw = catalog_firmware(c, u->firmware_id);
    enum reason r = REASON_ELIGIBLE;
    struct facts_load l;

    if (u->state != UPDATE_OFFERED || u->link_until <= now || !fw)
        return E_GONE;
    int rc = facts_load(db, d, u->module, now, a, &l);
    if (rc == 0) {
        r = decide_still(c, &l.facts, fw, u, now);
        if (r == REASON_ELIGIBLE && decide_busy(c, &l.facts, now))
            r = REASON_UPDATE_IN_PROGRESS;
        rc = l.rc;
    }
    facts_done(&l);
    if (rc < 0)
        return rc;
    if (r == REASON_ELIGIBLE)
        return 1;
    return r == REASON_UPDATE_IN_PROGRESS || passes_by(r, u) ? 0 : E_GONE;
}

/* A campaign that pushes has nothing to say to an update that has its offer, or is not its own. */
static bool is_foreign(const struct check *k, const struct update *u)
{
    return k->campaign_id && (u->campaign_id != k->campaign_id || u->state != UPDATE_PLANNED);
}

/* ---- a new one ---- */
int update_next_id(struct db *db, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_COUNTER_NEXT);
    int rc;

    db_bind_text(q, 1, "update");
    rc = db_row(q);
    if (rc < 0)
        return rc == E_NOTFOUND ? E_DB : rc;
    *ret = db_int(q, 0);
    /* Ids are positive int32 on every protocol, and none is ever used twice. */
    return *ret > 0 && *ret <= INT32_MAX ? 0 : E_LIMIT;
}

int update_ids_skip(struct db *w, int64_t n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_COUNTER_SKIP);

    db_bind_text(q, 1, "update");
    db_bind_int(q, 2, n);
    return db_run(q);
}

static int begin(struct check *k, const struct firmware *fw)
{
    const struct decision *by = k->ret_decision;
    struct update u = {
        .project_id = k->device->project_id,
        .device_id = k->device->id,
        .firmware_id = fw->id,
        .module = fw->module,
        .from_version = k->facts.facts.version,
        .to_version = fw->version,
        .cause = k->cause,
        .state = UPDATE_OFFERED,
        .attempt = 1,
        .bytes_total = (int64_t)fw->bytes_total,
        .coverage = "",
        .link_until = k->now + k->link_lifetime_ms,
        .campaign_id = by->campaign ? by->campaign->id : 0,
        .phase = by->phase,
        .created_at = k->now,
        .updated_at = k->now,
    };
    const char *words = "";
    int rc = take_place(k);

    k->type = life_rules(k->catalog, decide_type(k->catalog, k->device), &u, &k->own);
    u.deadline_at = k->now + k->type->accept_timeout_s * 1000;
    if (rc == 0)
        rc = update_next_id(k->db, &u.id);
    if (rc == 0)
        rc = update_insert(k->db, &u);
    if (rc == 0 && u.campaign_id)
        rc = campaign_moved(k->db, u.campaign_id, u.phase, u.device_id, NULL,
                            update_state_name(u.state), CAMPAIGN_END_NONE, k->now);
    if (rc == 0 && u.campaign_id)
        rc = campaign_offered(k->db, u.campaign_id);
    if (rc == 0)
        rc = consent_begin(k->db, by->campaign, u.device_id, u.phase, &words, k->arena);
    if (rc == 0)
        rc = update_history_add(
            k->db, u.id, k->now, "", update_state_name(UPDATE_PLANNED), k->cause,
            arena_printf(k->arena, "from %s to %s%s", u.from_version, u.to_version, words));
    if (rc == 0)
        rc = life_record(k->db, &u, update_state_name(UPDATE_PLANNED), k->cause, "attempt 1",
                         k->now);
    if (rc == 0)
        *k->ret_update = u;
    return rc;
}

/* The first word of it is a row; a device that asks again finds it, and nothing is written. */
static int ask_user(struct check *k)
{
    const struct decision *by = k->ret_decision;

    return consent_ask(k->db, by->asks, k->device->id, by->asks_phase, k->now);
}

/* The update that was under way has ended: what follows counts it among those that did. 1. */
static int look_again(struct check *k, struct device *ret)
{
    struct facts_load *l = &k->facts;
    const char *module = l->facts.module;
    int rc = device_by_id(k->db, k->device->id, k->arena, ret);

    facts_done(l);
    if (rc < 0)
        return rc;
    k->device = ret;
    rc = facts_load(k->db, ret, module, k->now, k->arena, l);
    return rc < 0 ? rc : 1;
}

int check_run(struct db *db, const struct catalog *c, const struct device *d,
              const struct update_ask *q, struct arena *a, struct update_answer *ret)
{
    struct check k = {.db = db,
                      .catalog = c,
                      .device = d,
                      .type = decide_type(c, d),
                      .cause = q->cause,
                      .campaign_id = q->campaign_id,
                      .now = q->now,
                      .link_lifetime_ms = q->link_lifetime_ms,
                      .arena = a,
                      .ret_update = &ret->update,
                      .ret_repeated = &ret->repeated,
                      .ret_decision = &ret->why};
    struct device again;
    int rc;

    ret->update = (struct update){0};
    ret->why = (struct decision){.reason = REASON_NOT_NEWER};
    ret->repeated = ret->asked = false;
    rc = facts_load(db, d, q->module, q->now, a, &k.facts);
    if (rc == 0 && k.facts.active && is_foreign(&k, k.facts.active))
        rc = nothing(&k, REASON_UPDATE_IN_PROGRESS, 0);
    else if (rc == 0 && !k.facts.active)
        rc = 1;
    else if (rc == 0 && (rc = check_active(&k)) == 1)
        rc = look_again(&k, &again);
    if (rc == 1) {
        decide(c, &k.facts.facts, q->now, false, a, &ret->why);
        rc = k.facts.rc;
        if (q->campaign_id && (!ret->why.campaign || ret->why.campaign->id != q->campaign_id))
            ret->why.firmware = NULL; /* it is for others to offer */
        if (rc == 0 && ret->why.firmware)
            rc = begin(&k, ret->why.firmware);
        if (rc == 0 && ret->why.asks)
            rc = ask_user(&k);
        ret->asked = rc == 0 && ret->why.asks;
    }
    facts_done(&k.facts);
    return rc;
}

int update_check(struct db *db, const struct catalog *c, const struct device *d, const char *module,
                 int64_t now, int64_t link_lifetime_ms, struct arena *a, struct update *ret_update,
                 bool *ret_repeated, struct decision *ret_decision)
{
    const struct update_ask q = {
        .module = module, .cause = "check", .now = now, .link_lifetime_ms = link_lifetime_ms};
    struct update_answer answer;
    int rc = check_run(db, c, d, &q, a, &answer);

    *ret_update = answer.update;
    *ret_repeated = answer.repeated;
    *ret_decision = answer.why;
    return rc;
}
