/*
 * What follows from the consent of users without anybody asking for it: the offers that they
 * confirmed leave, at once or at the device's next sign of life, and whoever put it off is asked
 * again. Every offer goes through update_ask(): a yes is no way around the other rules. Only
 * campaigns that run have their turn, so those that are paused cost nothing, and go on afterwards.
 */
#include "task_priv.h"

#define CAMPAIGNS_MAX 16
#define SLICE         64
#define PACED_MS      1000  /* a campaign without room is looked at again */
#define BUSY_MS       60000 /* a device that is busy */

/* Neither settled nor waiting for anything: the device's own check is next. */
static int leave(struct task_env *env, struct consent *q)
{
    return consent_due_set(env->db, q, false, 0);
}

static int come_back(struct task_env *env, struct consent *q, const struct decision *why,
                     int64_t *ret_paced)
{
    int64_t at = why->retry_at;

    if (why->reason == REASON_PACED) {
        *ret_paced = at ? at : env->now + PACED_MS;
        return q->due_at ? 0 : consent_due_set(env->db, q, true, *ret_paced);
    }
    if (why->reason == REASON_CAMPAIGN_PAUSED)
        at = env->now;
    if (why->reason == REASON_UPDATE_IN_PROGRESS)
        at = env->now + BUSY_MS;
    return at ? consent_due_set(env->db, q, true, at) : leave(env, q);
}

static bool waits(const struct update *u)
{
    return u->state == UPDATE_OFFERED || u->state == UPDATE_DEFERRED;
}

static int push(struct task_env *env, const struct device *d, const struct firmware *fw,
                struct consent *q, int64_t *ret_paced)
{
    const struct update_ask ask = {.module = fw->module,
                                   .cause = "consent",
                                   .now = env->now,
                                   .link_lifetime_ms = env->link_lifetime_ms};
    struct update_answer said;
    int rc = update_ask(env->db, env->catalog, d, &ask, env->arena, &said);
    int64_t due_at = q->due_at;

    if (rc == 0)
        rc = consent_by_id(env->db, q->id, q); /* it may be offered by now */
    if (rc < 0)
        return rc;
    if (said.update.id == 0) {
        q->due_at = due_at;
        return come_back(env, q, &said.why, ret_paced);
    }
    if (!waits(&said.update))
        return leave(env, q);
    const struct task_message m = {
        .action = TASK_OTA_PUSH, .device = d, .update = &said.update, .id = said.update.id};
    rc = consent_due_set(env->db, q, false, env->now + CONSENT_SETTLE_MS);
    return rc < 0 ? rc : env->send(env->arg, &m); /* the last: what fails is undone */
}

/* online: known to be there, by the sign of life that it gave. */
static int step(struct task_env *env, struct consent *q, bool online, int64_t *ret_paced)
{
    const struct campaign *c = catalog_campaign(env->catalog, q->campaign_id);
    const struct firmware *fw = c ? catalog_firmware(env->catalog, c->firmware_id) : NULL;
    struct device d;
    bool there = online;
    int rc;

    if (!fw)
        return leave(env, q);
    if (!q->push)
        return q->state == CONSENT_POSTPONED ? consent_ask_again(env->db, c, q, env->now)
                                             : leave(env, q);
    rc = device_by_id(env->db, q->device_id, env->arena, &d);
    if (rc == 0 && !online)
        rc = task_is_there(env, &d, &there);
    if (rc < 0)
        return rc;
    if (there)
        return push(env, &d, fw, q, ret_paced);
    rc = consent_due_set(env->db, q, true, 0);
    if (rc == 0)
        env->kept(env->arg, d.id);
    return rc;
}

/* One device that can't be served must not hold up the others. */
static int step_alone(struct task_env *env, struct consent *q, bool online, int64_t *ret_paced)
{
    struct consent was = *q;
    int rc = db_save(env->db);

    if (rc < 0)
        return rc;
    rc = step(env, q, online, ret_paced);
    if (rc == 0)
        return db_release(env->db);
    db_undo(env->db);
    if (rc == E_DB_FULL || rc == E_NEEDS_WRITE)
        return rc;
    if (rc == E_DB && (db_save(env->db) < 0 || db_release(env->db) < 0))
        return rc;
    LOG(LOG_ERROR, "task", "an offer that a user confirmed failed", KV_INT("consent", was.id),
        KV_RC(rc));
    return leave(env, &was);
}

/* Those of a campaign that are due: 1 = there may be more. */
static int walk(struct task_env *env, int64_t campaign_id, bool pushes, int max, int64_t until_us,
                int64_t *ret_paced)
{
    struct consent list[SLICE];
    int most = max < SLICE ? max : SLICE;
    int n = consent_due(env->db, campaign_id, pushes, env->now, list, most);
    int rc = n < 0 ? n : 0;

    for (int i = 0; i < n && rc == 0 && *ret_paced == 0; i++) {
        if (clock_mono_us() > until_us)
            return 1;
        rc = step_alone(env, &list[i], false, ret_paced);
    }
    return rc < 0 ? rc : *ret_paced == 0 && n == most;
}

int task_consents(struct task_env *env, int max, int64_t max_us)
{
    int64_t ids[CAMPAIGNS_MAX], until_us = clock_mono_us() + max_us;
    int n = consent_due_campaigns(env->db, env->now, ids, CAMPAIGNS_MAX);
    bool more = n == CAMPAIGNS_MAX;
    int rc = n < 0 ? n : 0;

    for (int i = 0; i < n && rc == 0; i++) {
        int64_t paced = 0;

        rc = walk(env, ids[i], false, max, until_us, &paced);
        more |= rc == 1;
        if (rc >= 0)
            rc = walk(env, ids[i], true, max, until_us, &paced);
        more |= rc == 1;
        if (rc >= 0)
            rc = consent_due_next(env->db, ids[i], paced);
    }
    return rc < 0 ? rc : more;
}

int consent_deliver(struct task_env *env, const struct device *d)
{
    struct consent list[SLICE];
    int n = consent_kept(env->db, d->id, list, SLICE);
    int rc = n < 0 ? n : 0;

    for (int i = 0; i < n && rc == 0; i++) {
        int64_t paced = 0;

        rc = step_alone(env, &list[i], true, &paced);
    }
    return rc < 0 ? rc : n == SLICE;
}
