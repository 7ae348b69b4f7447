/*
 * A dry run of a campaign: what it would do with one device after the other, by the rules of the
 * real thing, and nothing is written. What it says differs from a check in one place alone: where
 * the campaign stands. It is running, all its phases are open, and it has offered what it has and
 * what the dry run says of the devices before.
 */
#include "update_priv.h"

struct look {
    struct facts_load l; /* the first: facts.arg points at it */
    struct update_dry *x;
    const struct campaign_now *(*real)(void *arg, const struct campaign *c);
    struct campaign_now then;
    bool known;
    int own; /* the phase of the update of it that is under way on the device; -1: none is */
};

/* Where the campaign would stand as to the device; read anew only where that differs by device. */
static const struct campaign_now *then_of(void *arg, const struct campaign *c)
{
    struct look *d = arg;
    const struct update_dry *x = d->x;

    if (c->id != x->campaign->id)
        return d->real(&d->l, c);
    if (d->known)
        return &d->then;
    c = x->campaign;
    bool differs = c->allow_downgrade || c->allow_reinstall || c->consent.mode != CONSENT_SILENT;
    d->then = differs ? *d->real(&d->l, c) : x->start;
    d->then.state = CAMPAIGN_RUNNING;
    d->then.phase = (int)c->n_phases;
    d->then.approval = false;
    memcpy(d->then.offered, x->offered, sizeof(x->offered));
    if (d->own >= 0)
        d->then.offered[d->own]--; /* its own place is free for it */
    d->known = true;
    return &d->then;
}

static int find_own(struct look *d, const char *module, struct arena *a)
{
    struct update u;
    int rc = update_active_of(d->x->db, d->l.facts.device->id, module, a, &u);

    d->own = -1;
    if (rc == 0 && u.campaign_id == d->x->campaign->id && u.phase <= CAMPAIGN_PHASES_MAX)
        d->own = u.phase;
    return rc == E_NOTFOUND ? 0 : rc;
}

int update_dry_begin(struct update_dry *x)
{
    int rc = campaign_now_load(x->db, x->campaign, 0, &x->start);

    memcpy(x->offered, x->start.offered, sizeof(x->offered));
    return rc;
}

int update_dry_device(struct update_dry *x, const struct device *d, struct arena *a,
                      enum reason *ret, int *ret_phase)
{
    const struct firmware *fw = catalog_firmware(x->catalog, x->campaign->firmware_id);
    const char *module = fw ? fw->module : "main";
    struct look look = {.x = x};

    *ret_phase = -1;
    int rc = facts_load(x->db, d, module, x->now, a, &look.l);
    if (rc == 0)
        rc = find_own(&look, module, a);
    if (rc < 0) {
        facts_done(&look.l);
        return rc;
    }
    look.real = look.l.facts.campaign;
    look.l.facts.campaign = then_of;
    *ret = decide_dry(x->catalog, &look.l.facts, x->campaign, x->now, ret_phase);
    bool gets = *ret == REASON_ELIGIBLE || *ret == REASON_AWAITING_CONSENT;
    /* Who is asked has a place. One that was asked, or offered it, is counted already. */
    if (gets && look.own < 0 && consent_phase(then_of(&look, x->campaign)) < 0)
        x->offered[*ret_phase]++;
    rc = look.l.rc;
    facts_done(&look.l);
    return rc;
}
