/*
 * Campaigns that push: what they have for a device is sent without being asked. Devices that are
 * there are gone through, a slice at a time and by ascending number; the others get it at their
 * next sign of life. Nothing is written of a device before its offer. What one of them gets is
 * decided by the same function that answers a check; whether anybody gets anything at the moment
 * is asked once before and after each offer, so that a walk stands still and costs nothing while
 * a window is closed or the pace is used up.
 */
#include "update_priv.h"

#define WALKS_MAX   16    /* campaigns of one slice */
#define STRETCH     1000  /* numbers looked at in one query */
#define RETRIES_MAX 50    /* of one campaign in one slice */
#define LOOKS_MAX   256   /* campaigns with attempts to come */
#define ASK_MS      500   /* until it is asked again whether it may go on … */
#define ASK_LATE_MS 60000 /* … at a time that is known */
#define QUARTER_S   900
#define ROUNDS      64   /* of a jitter … */
#define ROUND_MS    1000 /* … no shorter than that */
#define ROUND       (-1) /* cursor: all were looked at, and will be again */

/* ---- one device ---- */
static const char *attribute_of(const struct update_push_env *env, const struct device *d,
                                const char *module)
{
    const struct rule *rule;

    return catalog_module_rules(env->catalog, d->type_id, d->id, module, &rule, 1) > 0
               ? rule->version_attribute
               : NULL;
}

/* It runs the version: what most devices that speak cost is this one look. */
static int has_it(struct update_push_env *env, const struct campaign *c, const struct device *d,
                  const struct firmware *fw, bool *ret)
{
    char version[VERSION_MAX + 1];
    int rc = c->allow_reinstall || c->rollback_id
                 ? E_NOTFOUND
                 : device_version(env->db, d->id, fw->module, version, NULL);

    *ret = rc == 0 && strcmp(version, fw->version) == 0;
    return rc == E_NOTFOUND ? 0 : rc;
}

/* What its user confirmed leaves by this. */
static int settle_consent(struct update_push_env *env, const struct campaign *c,
                          const struct device *d)
{
    struct consent q;
    int rc = c->consent.mode == CONSENT_APP ? consent_of(env->db, c->id, d->id, &q) : E_NOTFOUND;

    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    return q.push ? consent_due_set(env->db, &q, false, 0) : 0;
}

int update_push(struct update_push_env *env, const struct campaign *c, const struct device *d,
                struct decision *ret_why)
{
    const struct firmware *fw = catalog_firmware(env->catalog, c->firmware_id);
    struct decision own, *why = ret_why ? ret_why : &own;
    struct update_answer said;
    bool has = false;

    *why = (struct decision){.reason = REASON_NOT_NEWER};
    if (!fw)
        return 0;
    int rc = has_it(env, c, d, fw, &has);
    if (rc < 0 || has)
        return rc;
    const struct update_ask q = {.module = fw->module,
                                 .attribute = attribute_of(env, d, fw->module),
                                 .cause = "campaign",
                                 .now = env->now,
                                 .link_lifetime_ms = env->link_lifetime_ms,
                                 .campaign_id = c->id};
    rc = update_ask(env->db, env->catalog, d, &q, env->arena, &said);
    if (rc < 0)
        return rc;
    *why = said.why;
    if (said.update.id == 0)
        return 0;
    rc = settle_consent(env, c, d);
    if (rc == 0) /* the last: what fails is undone, but not what is sent */
        rc = env->send(env->arg, d, &said.update);
    return rc < 0 ? rc : 1;
}

/* 1 = an update of it waits there for its next attempt. */
static int has_begun(struct update_push_env *env, const struct campaign *c, const struct device *d)
{
    const struct firmware *fw = catalog_firmware(env->catalog, c->firmware_id);
    struct update u;
    int rc = fw ? update_active_of(env->db, d->id, fw->module, env->arena, &u) : E_NOTFOUND;

    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    return u.campaign_id == c->id && u.state == UPDATE_PLANNED;
}

/* 1 = it may offer the device something, as far as that can be told at little cost. */
static int is_open_to(struct update_push_env *env, const struct campaign *c, const struct device *d)
{
    struct campaign_now now;
    int rc = campaign_now_load(env->db, c, d->id, &now);

    if (rc < 0)
        return rc;
    if (govern_any(c, &now, false, env->now).reason == REASON_ELIGIBLE)
        return 1;
    return govern_any(c, &now, true, env->now).reason == REASON_ELIGIBLE ? has_begun(env, c, d) : 0;
}

int update_push_seen(struct update_push_env *env, const struct device *d)
{
    const struct campaign *const *list;
    size_t n = catalog_pushes(env->catalog, d->type_id, &list);
    int sent = 0;

    for (size_t i = 0; i < n; i++) {
        int rc = is_open_to(env, list[i], d);

        if (rc == 1)
            rc = update_push(env, list[i], d, NULL);
        if (rc < 0)
            return rc;
        sent += rc;
    }
    return sent;
}

/* ---- what has to wait ---- */
void update_walks_done(struct update_walks *k)
{
    const void *key;
    void *value;
    size_t it = 0, n;

    while (map_next(&k->waits, &it, &key, &n, &value))
        free(value);
    map_done(&k->waits);
}

/* It waits where it stands: one that was sent back to the start does not. With jitter it goes round
 * after round, each for the devices whose turn came since the one before. */
struct wait {
    int64_t until_ms, cursor;
    int64_t from, at; /* due after `from` and by `at`: this round's; ms UTC */
    bool partial;     /* how far the round before had come is not known any more */
    /* Attempts that were due by then were looked at. While the campaign waits it stays. */
    int64_t retry_at, retry_id;
};

void update_walks_anew(struct update_walks *k)
{
    const void *key;
    void *value;
    size_t it = 0, n;

    while (map_next(&k->waits, &it, &key, &n, &value))
        *(struct wait *)value = (struct wait){.until_ms = 0};
}

static struct wait *state_of(struct update_walks *k, int64_t id)
{
    struct wait *w = map_get(&k->waits, &id, sizeof(id));

    if (!w) {
        w = xcalloc(1, sizeof(*w));
        (void)map_put(&k->waits, &id, sizeof(id), w);
    }
    return w;
}

static bool waits(struct update_walks *k, const struct campaign_walk *at)
{
    const struct wait *w = map_get(&k->waits, &at->campaign_id, sizeof(at->campaign_id));

    return w && w->until_ms > clock_steady_ms() && w->cursor == at->cursor;
}

static void wait_for(struct update_walks *k, const struct campaign_walk *at, int64_t ms)
{
    struct wait *w = state_of(k, at->campaign_id);

    w->until_ms = clock_steady_ms() + (ms < 1 ? 1 : ms);
    w->cursor = at->cursor;
}

/* ---- going through devices ---- */
struct walk {
    struct update_push_env *env;
    struct update_walks *k;
    const struct campaign *c;
    struct campaign_walk at;
    struct campaign_now now;
    const struct wait *round;
    int handled, max;
    int64_t until_us;
};

/* 1 = it may offer something to somebody, or once more. Else it waits. */
static int is_open(struct walk *x, bool again)
{
    int rc = campaign_now_load(x->env->db, x->c, 0, &x->now);
    struct verdict v;

    if (rc < 0)
        return rc;
    v = govern_any(x->c, &x->now, again, x->env->now);
    if (v.reason == REASON_ELIGIBLE)
        return 1;
    /* The clock may be set meanwhile, and the declaration may change. */
    int64_t ms = v.retry_at ? v.retry_at - x->env->now : ASK_MS;
    if (x->at.campaign_id)
        wait_for(x->k, &x->at, ms > ASK_LATE_MS ? ASK_LATE_MS : ms);
    return 0;
}

/* By number alone: of a million devices of which a phase wants a hundred no others are read. */
static bool is_out(const struct walk *x, int64_t id)
{
    if (x->now.rolling_back)
        return false;
    int phase = campaign_phase_of(x->c, id, x->now.phase, x->now.offered);
    if (phase < 0 || id_list_has(&x->c->denied, id))
        return true;
    if (x->c->jitter_s == 0)
        return false;
    int64_t due = campaign_due(x->c, id, phase, x->now.opened[phase], x->env->now);
    return due > x->round->at || due <= x->round->from;
}

static int push_if_there(struct walk *x, int64_t id)
{
    struct device d;
    bool there = false;
    int rc = device_by_id(x->env->db, id, x->env->arena, &d);

    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc; /* of an import that is not there yet, or gone */
    if (!d.enabled || d.type_id != x->c->type_id)
        return 0;
    rc = x->env->there(x->env->arg, &d, &there);
    return rc < 0 || !there ? rc : update_push(x->env, x->c, &d, NULL);
}

/* A device whose rows can't be read holds nobody else up; a lost transaction does. */
static int push_one(struct walk *x, int64_t id)
{
    int rc = db_save(x->env->db);

    if (rc < 0)
        return rc;
    rc = push_if_there(x, id);
    if (rc >= 0) {
        int ended = db_release(x->env->db);
        return ended < 0 ? ended : rc;
    }
    db_undo(x->env->db);
    if (rc == E_DB_FULL || rc == E_NEEDS_WRITE)
        return rc;
    if (rc == E_DB && (db_save(x->env->db) < 0 || db_release(x->env->db) < 0))
        return rc;
    LOG(LOG_DEBUG, "update", "a push failed", KV_INT("campaign", x->c->id), KV_INT("device", id),
        KV_RC(rc));
    return 0;
}

enum { OUT = 2 };

/* 1 = the stretch is done, 0 = the slice or the campaign's patience ends first. */
static int go_through(struct walk *x, const int64_t *ids, int n)
{
    for (int i = 0; i < n; i++) {
        int rc = is_out(x, ids[i]) ? OUT : push_one(x, ids[i]);

        if (rc < 0)
            return rc;
        x->at.cursor = ids[i];
        if (rc == OUT)
            continue;
        if (rc == 1 && (rc = is_open(x, false)) != 1) /* the pace may be used up with it */
            return rc;
        x->handled++;
        if (x->handled >= x->max || ((x->handled & 7) == 7 && clock_mono_us() > x->until_us))
            return 0;
    }
    return clock_mono_us() <= x->until_us;
}

/* Windows in the devices' own zones open at any quarter of an hour: then all are looked at again.
 * ms UTC until the next one. */
static int64_t quarter_ms(const struct campaign *c, int64_t now)
{
    int64_t least = QUARTER_S * 1000;

    for (size_t i = 0; i < c->n_windows; i++) {
        int64_t past = (now - (int64_t)c->windows[i].from * 60000) % (QUARTER_S * 1000);
        int64_t left = past < 0 ? -past : QUARTER_S * 1000 - past;

        least = left < least ? left : least;
    }
    return least;
}

/* How long until devices may be due that were not; 0 = never by the time alone. */
static int64_t round_ms(const struct walk *x)
{
    const struct campaign *c = x->c;
    int64_t jitter_ms = c->jitter_s * 1000, step = jitter_ms / ROUNDS, ms = 0;

    if (x->now.rolling_back)
        return 0;
    if (x->round->at < x->now.opened[x->now.phase] + jitter_ms)
        ms = step > ROUND_MS ? step : ROUND_MS;
    if (c->n_windows > 0 && !c->timezone) {
        int64_t quarter = quarter_ms(c, x->env->now);
        ms = ms && ms < quarter ? ms : quarter;
    }
    return ms;
}

/* All were looked at. */
static int end_walk(struct walk *x)
{
    int64_t ms = round_ms(x);

    if (ms) {
        x->at.cursor = ROUND;
        wait_for(x->k, &x->at, ms);
    } else {
        struct wait *w = state_of(x->k, x->c->id);
        *w = (struct wait){.retry_at = w->retry_at, .retry_id = w->retry_id};
    }
    return campaign_walk_put(x->env->db, CAMPAIGN_WALK_PUSH, &x->at, ms > 0);
}

/* It begins, or begins anew. */
static void begin_round(struct walk *x)
{
    struct wait *w = state_of(x->k, x->c->id);
    bool own_zones = x->c->n_windows > 0 && !x->c->timezone; /* may have kept any of them out */

    x->round = w;
    if (x->at.cursor > 0 && w->at)
        return;
    w->from =
        x->at.cursor == ROUND && !own_zones && !w->partial && w->at <= x->env->now ? w->at : 0;
    w->at = x->env->now;
    w->partial = x->at.cursor > 0;
}

/* 1 = there is more at once. */
static int walk(struct walk *x)
{
    const int64_t before = x->at.cursor;
    int64_t ids[STRETCH];
    int n, rc = is_open(x, false);

    if (rc != 1)
        return rc;
    begin_round(x);
    do {
        n = campaign_walk_next(x->env->db, x->c, &x->now, x->at.cursor, ids, STRETCH);
        rc = n < 0 ? n : go_through(x, ids, n);
        if (rc == 1 && n < STRETCH)
            return end_walk(x);
    } while (rc == 1);
    if (rc < 0 || x->at.cursor == before)
        return rc;
    rc = campaign_walk_put(x->env->db, CAMPAIGN_WALK_PUSH, &x->at, true);
    return rc < 0 ? rc : !waits(x->k, &x->at);
}

/* Those behind where the last slice left off; then from the front. */
static int open_walks(struct update_push_env *env, struct update_walks *k,
                      struct campaign_walk *list)
{
    int n = campaign_walk_list(env->db, CAMPAIGN_WALK_PUSH, k->after, list, WALKS_MAX);

    if (n == 0 && k->after > 0)
        n = campaign_walk_list(env->db, CAMPAIGN_WALK_PUSH, 0, list, WALKS_MAX);
    k->after = n == WALKS_MAX ? list[n - 1].campaign_id : 0;
    return n;
}

static int go_on(struct update_push_env *env, struct update_walks *k,
                 const struct campaign_walk *at, int max, int64_t max_us)
{
    struct walk x = {.env = env,
                     .k = k,
                     .c = catalog_campaign(env->catalog, at->campaign_id),
                     .at = *at,
                     .max = max,
                     .until_us = clock_mono_us() + max_us};

    if (waits(k, at))
        return 0;
    if (x.c)
        return walk(&x);
    wait_for(k, at, ASK_MS); /* the snapshot is older than it */
    return 0;
}

/* ---- attempts that are due again ---- */
struct retry {
    int64_t at, id, device_id;
};

static int due(struct walk *x, struct wait *w, struct retry *list)
{
    AUTO(db_reset) struct db_stmt *q = db_use(x->env->db, Q_UPDATE_RETRIES);
    int n = 0, rc = 0;

    if (w->retry_at > x->env->now) /* the clock was set back */
        w->retry_at = w->retry_id = 0;
    db_bind_int(q, 1, x->c->id);
    db_bind_int(q, 2, w->retry_at);
    db_bind_int(q, 3, w->retry_id);
    db_bind_int(q, 4, x->env->now);
    db_bind_int(q, 5, x->max);
    while (n < x->max && (rc = db_step(q)) == 1)
        list[n++] = (struct retry){db_int(q, 0), db_int(q, 1), db_int(q, 2)};
    return rc < 0 ? rc : n;
}

/* Of one campaign. Whoever is not there gets it with a sign of life. 1 = there is more at once. */
static int retry(struct walk *x)
{
    struct wait *w = state_of(x->k, x->c->id);
    struct retry list[RETRIES_MAX];
    int n = due(x, w, list), rc = n > 0 ? is_open(x, true) : n;

    for (int i = 0; i < n && rc == 1; i++) {
        rc = push_one(x, list[i].device_id);
        if (rc < 0)
            return rc;
        w->retry_at = list[i].at;
        w->retry_id = list[i].id;
        rc = rc == 1 ? is_open(x, true) : 1;
        if (clock_mono_us() > x->until_us)
            return rc;
    }
    return rc == 1 ? n == x->max : rc;
}

/* The next campaign of which an update waits for an attempt, due or not; 0 = none. */
static int next_with_retries(struct update_push_env *env, int64_t after, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(env->db, Q_UPDATE_RETRIES_NEXT);
    int rc;

    *ret = 0;
    db_bind_int(q, 1, after);
    rc = db_row(q);
    if (rc == 0)
        *ret = db_int(q, 0);
    return rc == E_NOTFOUND ? 0 : rc;
}

/* One campaign after the other has its turn. */
static int retries(struct update_push_env *env, struct update_walks *k, int64_t max_us)
{
    const int64_t until_us = clock_mono_us() + max_us;
    int more = 0, rc = 0;

    for (int i = 0; i < LOOKS_MAX && rc >= 0; i++) {
        struct walk x = {.env = env, .k = k, .max = RETRIES_MAX, .until_us = until_us};

        rc = next_with_retries(env, k->retry_after, &k->retry_after);
        if (rc < 0 || k->retry_after == 0)
            break;
        x.c = catalog_campaign(env->catalog, k->retry_after);
        if (x.c && x.c->push)
            rc = retry(&x);
        more |= rc == 1;
        if (clock_mono_us() > until_us)
            break;
    }
    return rc < 0 ? rc : more;
}

int update_push_walk(struct update_push_env *env, struct update_walks *k, int max, int64_t max_us)
{
    const int64_t start_us = clock_mono_us();
    struct campaign_walk list[WALKS_MAX];
    int more = catalog_any_push(env->catalog) ? retries(env, k, max_us / 2) : 0;
    int n = more < 0 ? more : open_walks(env, k, list), rc = n < 0 ? n : 0;

    for (int i = 0; i < n && rc >= 0; i++) {
        const int64_t left = max_us - (clock_mono_us() - start_us);

        rc = go_on(env, k, &list[i], max / n > 8 ? max / n : 8, left / (n - i));
        more |= rc == 1;
    }
    return rc < 0 ? rc : more;
}
