/*
 * Consent of the device's user, as a campaign asks for it: before anything is sent (app), or by the
 * device that has the offer (device). What a decision makes of it is pure; what a check and the
 * device's words do to it is written in the transaction of the update that moves. A rollback asks
 * nobody.
 */
#include "update_priv.h"

#include <inttypes.h>

/* ---- the decision ---- */
struct verdict consent_admits(const struct decide_context *x, const struct campaign *c,
                              const struct campaign_now *now, struct verdict v)
{
    const struct consent *q = &now->consent;
    bool later = q->state == CONSENT_POSTPONED && q->until > x->now;

    if (c->consent.mode == CONSENT_SILENT)
        return v;
    v.retry_at = later ? q->until : 0;
    if (q->state == CONSENT_REFUSED)
        v.reason = REASON_CONSENT_REFUSED;
    else if (c->consent.mode == CONSENT_APP ? q->state != CONSENT_CONFIRMED : later)
        v.reason = REASON_AWAITING_CONSENT;
    v.asks = v.reason == REASON_AWAITING_CONSENT && q->state == CONSENT_NONE;
    return v;
}

int consent_phase(const struct campaign_now *now)
{
    const struct consent *q = &now->consent;
    bool held = !q->offered && q->state != CONSENT_NONE && q->state != CONSENT_REFUSED;

    return held ? q->phase : -1;
}

enum reason consent_still(const struct decide_context *x, const struct campaign *c,
                          const struct campaign_now *now, const struct update *u)
{
    if (c->consent.mode != CONSENT_DEVICE || u->state != UPDATE_DEFERRED)
        return REASON_ELIGIBLE;
    if (now->consent.until > x->now)
        return REASON_AWAITING_CONSENT;
    /* It waited outside the pace; it comes back into it. */
    return c->in_progress && now->active >= c->in_progress ? REASON_PACED : REASON_ELIGIBLE;
}

int64_t consent_until(const struct facts_load *l, const struct catalog *c, const struct update *u)
{
    const struct campaign *by = catalog_campaign(c, u->campaign_id);

    return by ? l->facts.campaign(l->facts.arg, by)->consent.until : 0;
}

/* ---- a check ---- */
int consent_begin(struct db *w, const struct campaign *c, int64_t device_id, int phase,
                  const char **ret_words, struct arena *a)
{
    struct consent q;

    *ret_words = "";
    if (!c || c->consent.mode != CONSENT_APP || phase == CAMPAIGN_ROLLBACK)
        return 0;
    int rc = consent_of(w, c->id, device_id, &q);
    if (rc < 0)
        return rc;
    *ret_words = arena_printf(a, "; confirmed by %s", q.who);
    return q.offered ? 0 : consent_offered(w, &q);
}

/* ---- the device's words ---- */
static const struct campaign *asking(const struct catalog *c, const struct update *u)
{
    const struct campaign *by = u->campaign_id ? catalog_campaign(c, u->campaign_id) : NULL;
    bool asks = by && by->consent.mode == CONSENT_DEVICE && u->phase != CAMPAIGN_ROLLBACK;

    return asks ? by : NULL;
}

/* One more than allowed is a refusal: otad can't make a user say yes. */
static int hear_later(struct consent_word *x, const struct consent *q)
{
    if (q->postponed >= x->by->consent.postpone_max) {
        x->to = UPDATE_REJECTED;
        x->cause = CONSENT_CAUSE;
        x->words = arena_printf(x->arena, "%s; it was postponed %" PRId64 " times, so this is a no",
                                x->words, q->postponed);
        return 0;
    }
    x->own->accept_timeout_s += x->by->consent.postpone_s;
    x->words = arena_printf(x->arena, "%s; its user postponed it %" PRId64 " of %" PRId64 " times",
                            x->words, q->postponed + 1, x->by->consent.postpone_max);
    return 0;
}

int consent_hear(struct consent_word *x, struct db *w, const struct catalog *c,
                 const struct update *u, int64_t now)
{
    struct consent q = {.id = 0};
    int rc;

    x->by = asking(c, u);
    if (!x->by)
        return 0;
    rc = consent_of(w, x->by->id, u->device_id, &q);
    if (rc < 0 && rc != E_NOTFOUND)
        return rc;
    x->known = rc == 0;
    if (!update_may_move(u->state, x->to)) /* it is refused as it is */
        return 0;
    if (x->to == UPDATE_DEFERRED) {
        if (u->state == UPDATE_DEFERRED && q.until > now)
            return 1; /* the same word again */
        return hear_later(x, &q);
    }
    if (x->to == UPDATE_REJECTED)
        x->cause = CONSENT_CAUSE;
    else if (u->state <= UPDATE_DEFERRED && x->to >= UPDATE_DOWNLOADING &&
             x->to <= UPDATE_INSTALLED)
        x->words = arena_printf(x->arena, "%s; without a word of its user, which counts as consent",
                                x->words);
    return 0;
}

int consent_heard(const struct consent_word *x, struct db *w, const struct update *u, int64_t now)
{
    int64_t until = now + (x->by ? x->by->consent.postpone_s * 1000 : 0);

    if (!x->by)
        return 0;
    if (u->state == UPDATE_DEFERRED)
        return consent_said(w, x->by, u->device_id, u->phase, CONSENT_POSTPONED, until, x->words,
                            now);
    if (u->state == UPDATE_REJECTED)
        return consent_said(w, x->by, u->device_id, u->phase, CONSENT_REFUSED, 0, x->words, now);
    if (x->known && update_is_in_progress(u->state))
        return consent_said(w, x->by, u->device_id, u->phase, CONSENT_CONFIRMED, 0, x->words, now);
    return 0;
}
