/*
 * Campaigns that end by themselves. Whose targets are listed or frozen is over when each of them
 * runs the version, or has had its update and that has ended, or can't get it. Nothing is counted
 * for that: a walk stands at the first device that has not ended, and goes on when it has. So what
 * is left to look at never grows, and while updates are under way nobody is looked at.
 */
#include "update_priv.h"

#define ENDS_MAX 8    /* campaigns of one slice */
#define STRETCH  1000 /* numbers looked at in one query */
#define ASK_MS   2000 /* until the one that it waits for is looked at again */

struct ending {
    struct update_push_env *env;
    const struct campaign *c;
    struct campaign_walk at;
    struct campaign_now now;
    bool waits; /* some of its devices wait for their users */
    int looked, max;
    int64_t until_us;
};

/* What a device reports may change, but it does not follow that it will. */
static bool is_final(enum reason r)
{
    return r == REASON_DEVICE_DISABLED || r == REASON_NOT_IN_DEVICE_LIST || r == REASON_DENIED ||
           r == REASON_SOURCE_VERSION_MISMATCH || r == REASON_NOT_NEWER ||
           r == REASON_BELOW_FLOOR || r == REASON_HARDWARE_MISMATCH;
}

static int judge(struct ending *x, const struct firmware *fw, const struct device *d)
{
    struct facts_load l;
    int rc = facts_load(x->env->db, d, fw->module, x->env->now, x->env->arena, &l);

    if (rc == 0) {
        const struct campaign_device of = {d->id, d->tags, l.facts.attribute, l.facts.arg};

        rc = campaign_targets(x->c, &of, x->now.device_max) != CAMPAIGN_TARGET ||
             is_final(decide_still(x->env->catalog, &l.facts, fw, NULL, x->env->now));
        if (l.rc < 0)
            rc = l.rc;
    }
    facts_done(&l);
    return rc;
}

/* Its user said no, which is for good. */
static int is_refused(struct ending *x, int64_t device_id)
{
    struct consent q;
    int rc = x->c->consent.mode == CONSENT_APP ? consent_of(x->env->db, x->c->id, device_id, &q)
                                               : E_NOTFOUND;

    return rc == E_NOTFOUND ? 0 : rc < 0 ? rc : q.state == CONSENT_REFUSED;
}

/* 1 = it has ended there, or is none of its devices. */
static int has_ended(struct ending *x, const struct firmware *fw, int64_t id)
{
    struct device d;

    int rc = x->waits ? campaign_waits(x->env->db, x->c->id, id) : 0;
    if (rc != 0) /* it has its place: no other phase is looked for */
        return rc < 0 ? rc : 0;
    if (id_list_has(&x->c->denied, id) ||
        campaign_phase_of(x->c, id, (int)x->c->n_phases, x->now.offered) < 0)
        return 1;
    x->looked++;
    rc = campaign_device_ended(x->env->db, x->c->id, id);
    if (rc == 0)
        rc = is_refused(x, id);
    if (rc != 0)
        return rc;
    rc = device_by_id(x->env->db, id, x->env->arena, &d);
    return rc == E_NOTFOUND ? 1 : rc < 0 ? rc : judge(x, fw, &d);
}

/* 1 = the stretch has ended, 0 = it stands; x->at.held_by says at whom, if at anybody. */
static int go_through(struct ending *x, const struct firmware *fw, const int64_t *ids, int n)
{
    for (int i = 0; i < n; i++) {
        int rc = has_ended(x, fw, ids[i]);

        if (rc != 1) {
            x->at.held_by = ids[i];
            return rc;
        }
        x->at.cursor = ids[i];
        if (x->looked >= x->max || ((i & 7) == 7 && clock_mono_us() > x->until_us))
            return 0;
    }
    return 1;
}

static bool may_end(const struct ending *x)
{
    return x->now.state == CAMPAIGN_RUNNING && x->now.phase >= (int)x->c->n_phases &&
           x->now.active == 0;
}

/* 1 = there is more at once, 0 = it waits, or is over. */
static int walk(struct ending *x)
{
    const struct campaign_walk before = x->at;
    const struct firmware *fw = catalog_firmware(x->env->catalog, x->c->firmware_id);
    int64_t ids[STRETCH];
    int n, rc = campaign_now_load(x->env->db, x->c, 0, &x->now);

    if (rc < 0 || !fw || !may_end(x))
        return rc;
    rc = campaign_waits(x->env->db, x->c->id, 0);
    if (rc < 0)
        return rc;
    x->waits = rc == 1;
    x->at.held_by = 0;
    do {
        n = campaign_walk_next(x->env->db, x->c, &x->now, x->at.cursor, ids, STRETCH);
        rc = n < 0 ? n : go_through(x, fw, ids, n);
        if (rc == 1 && n < STRETCH && !x->waits)
            return campaign_finish(x->env->db, x->c, x->env->now);
    } while (rc == 1 && n == STRETCH);
    if (rc < 0)
        return rc;
    bool last = rc == 1; /* one that was passed waits for its user now */
    if (x->at.cursor != before.cursor || x->at.held_by != before.held_by)
        rc = campaign_walk_put(x->env->db, CAMPAIGN_WALK_END, &x->at, true);
    return rc < 0 ? rc : x->at.held_by == 0 && !last;
}

/* Of campaigns that never end so, a row may be left from before they had the choice. */
static int go_on(struct update_push_env *env, const struct campaign_walk *at, int max,
                 int64_t max_us)
{
    struct ending x = {.env = env,
                       .c = catalog_campaign(env->catalog, at->campaign_id),
                       .at = *at,
                       .max = max,
                       .until_us = clock_mono_us() + max_us};

    if (x.c && !campaign_ends_itself(x.c))
        return campaign_walk_put(env->db, CAMPAIGN_WALK_END, at, false);
    return x.c ? walk(&x) : 0;
}

int update_end_walk(struct update_push_env *env, struct update_walks *k, int max, int64_t max_us)
{
    int64_t now_ms = clock_mono_us() / 1000;
    struct campaign_walk list[ENDS_MAX];
    int more = 0, rc = 0;

    if (now_ms < k->end_at_ms)
        return 0;
    int n = campaign_walk_list(env->db, CAMPAIGN_WALK_END, k->end_after, list, ENDS_MAX);
    for (int i = 0; i < n && rc >= 0; i++) {
        rc = go_on(env, &list[i], max / n > 8 ? max / n : 8, max_us / n);
        more |= rc == 1;
    }
    if (n < 0 || rc < 0)
        return n < 0 ? n : rc;
    if (!more) /* those of this turn wait; with the last ones all begin anew, some time later */
        k->end_after = n == ENDS_MAX ? list[n - 1].campaign_id : 0;
    if (!more && n < ENDS_MAX)
        k->end_at_ms = now_ms + ASK_MS;
    return more || n == ENDS_MAX;
}
