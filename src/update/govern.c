/*
 * Rule 10: campaigns. Whether one of those that name a firmware admits the device now, and if none,
 * why not. Pure: the declarations are the snapshot's, where each campaign stands comes with the
 * facts. On the writer those facts are of its transaction, and there is one writer: so what is
 * decided here is the admission itself.
 */
#include "update_priv.h"

#include <inttypes.h>
#include <stdio.h>

static struct verdict of(enum reason r, const struct campaign *c, int64_t retry_at)
{
    return (struct verdict){.reason = r, .retry_at = retry_at, .campaign = c};
}

const char *govern_zone(const struct device *d, const struct device_type *type)
{
    const char *own = d->timezone;

    return own && *own ? own : type->timezone ? type->timezone : "UTC";
}

static const char *zone_of(const struct decide_context *x)
{
    return govern_zone(x->facts->device, x->type);
}

static bool is_over(enum campaign_state s)
{
    return s == CAMPAIGN_COMPLETED || s == CAMPAIGN_ABORTED;
}

enum campaign_match govern_match(const struct decide_context *x, const struct campaign *c,
                                 const struct campaign_now *now)
{
    const struct device *d = x->facts->device;
    const struct campaign_device of_campaign = {d->id, d->tags, x->facts->attribute, x->facts->arg};

    return campaign_targets(c, &of_campaign, now->device_max);
}

/* What is not newer goes once to each device: or it would go to and fro for ever. */
bool govern_order_fits(const struct decide_context *x, const struct campaign *c,
                       const struct campaign_now *now, const struct firmware *fw)
{
    int order = decide_order(x, fw);

    if (order > 0)
        return true;
    return !now->verified && (order < 0 ? c->allow_downgrade : c->allow_reinstall);
}

/* ---- one campaign ---- */
static struct verdict by_state(const struct decide_context *x, const struct campaign *c,
                               const struct campaign_now *now)
{
    switch (now->state) {
    case CAMPAIGN_DRAFT:
    case CAMPAIGN_SCHEDULED:
        return of(REASON_CAMPAIGN_NOT_STARTED, c, c->starts_at > x->now ? c->starts_at : 0);
    case CAMPAIGN_PAUSED:
        return of(REASON_CAMPAIGN_PAUSED, c, 0);
    case CAMPAIGN_COMPLETED:
    case CAMPAIGN_ABORTED:
        return of(REASON_CAMPAIGN_ENDED, c, 0);
    case CAMPAIGN_RUNNING:
    case CAMPAIGN_STATE__COUNT:
        break;
    }
    if (c->ends_at && c->ends_at <= x->now)
        return of(REASON_CAMPAIGN_ENDED, c, 0);
    return of(REASON_ELIGIBLE, c, 0);
}

static struct verdict by_phase(const struct decide_context *x, const struct campaign *c,
                               const struct campaign_now *now)
{
    struct verdict v = of(REASON_ELIGIBLE, c, 0);

    v.phase = consent_phase(now);
    if (v.phase < 0)
        v.phase = campaign_phase_of(c, x->facts->device->id, now->phase, now->offered);
    if (v.phase >= 0)
        return v;
    bool next = now->approval &&
                campaign_phase_of(c, x->facts->device->id, now->phase + 1, now->offered) >= 0;
    return of(next ? REASON_AWAITING_APPROVAL : REASON_PHASE_NOT_OPEN, c, 0);
}

struct verdict govern_place(const struct decide_context *x, const struct campaign *c,
                            const struct campaign_now *now)
{
    struct verdict v = by_phase(x, c, now);

    return v.reason == REASON_ELIGIBLE ? consent_admits(x, c, now, v) : v;
}

/* The device's own update counts among those under way: what takes its place needs no other. */
static int64_t own_of(const struct decide_context *x, const struct campaign *c)
{
    for (size_t i = 0; i < x->facts->n_active; i++) {
        const struct active_update *u = &x->facts->active[i];

        if (decide_is_own(x->facts, u) && u->campaign_id == c->id && u->state != UPDATE_DEFERRED)
            return 1;
    }
    return 0;
}

/* What does not depend on the device. zone: its own, for windows without one; own: as of own_of. */
static struct verdict by_pace(const struct campaign *c, const struct campaign_now *now,
                              const char *zone, int64_t own, int64_t at)
{
    int64_t opens;

    if (!campaign_window_open(c, zone, at, &opens))
        return of(REASON_WINDOW_CLOSED, c, opens);
    if (c->in_progress && now->active - own >= c->in_progress)
        return of(REASON_PACED, c, 0);
    if (now->wait_ms > 0)
        return of(REASON_PACED, c, at + now->wait_ms);
    return of(REASON_ELIGIBLE, c, 0);
}

struct verdict govern_any(const struct campaign *c, const struct campaign_now *now, bool again,
                          int64_t at)
{
    struct campaign always = *c;

    if (now->rolling_back)
        return of(REASON_ELIGIBLE, c, 0);
    if (now->state != CAMPAIGN_RUNNING)
        return of(now->state == CAMPAIGN_PAUSED ? REASON_CAMPAIGN_PAUSED : REASON_CAMPAIGN_ENDED, c,
                  0);
    if (c->ends_at && c->ends_at <= at)
        return of(REASON_CAMPAIGN_ENDED, c, 0);
    if (!c->timezone)
        always.n_windows = 0;
    struct verdict v = by_pace(&always, now, "UTC", again ? now->active : 0, at);
    v.campaign = c;
    return v;
}

static struct verdict admit(const struct decide_context *x, const struct campaign *c,
                            const struct campaign_now *now, const struct firmware *fw)
{
    enum campaign_match match = govern_match(x, c, now);

    if (match != CAMPAIGN_TARGET)
        return of(match == CAMPAIGN_DENIED ? REASON_DENIED : REASON_NOT_IN_DEVICE_LIST, c, 0);
    if (!govern_order_fits(x, c, now, fw))
        return of(REASON_NOT_NEWER, c, 0);
    struct verdict v = by_state(x, c, now);
    if (v.reason == REASON_ELIGIBLE)
        v = govern_place(x, c, now);
    if (v.reason != REASON_ELIGIBLE)
        return v;
    int64_t due = campaign_due(c, x->facts->device->id, v.phase, now->opened[v.phase], x->now);
    struct verdict pace = by_pace(c, now, zone_of(x), own_of(x, c), x->now);
    /* Users who say yes spread the offers themselves. */
    if (pace.reason == REASON_ELIGIBLE && c->consent.mode != CONSENT_APP && due > x->now)
        pace = of(REASON_PACED, c, due);
    return pace.reason == REASON_ELIGIBLE ? v : pace;
}

/* Taken back: the device runs the bad version, and has it from this campaign; not if another one
 * has released it there since. */
static bool takes_back(const struct decide_context *x, const struct campaign *c)
{
    const struct firmware *bad = catalog_firmware(x->catalog, c->firmware_id);
    const struct campaign_now *now = x->facts->campaign(x->facts->arg, c);

    return bad && now->rolling_back && now->brought &&
           version_compare(x->type->scheme, bad->version, x->facts->version) == 0;
}

/* … but not behind a floor, unless its campaign goes there anyway. */
static bool may_take_back(const struct decide_context *x, const struct campaign *c,
                          const struct firmware *fw)
{
    return c->allow_downgrade || !floor_left(x, fw);
}

/* ---- all that name the firmware ---- */
/* Of several refusals the one that comes closest to an offer is told. */
static int nearness(enum reason r)
{
    static const enum reason order[] = {
        REASON_NOT_IN_DEVICE_LIST,
        REASON_NOT_NEWER,
        REASON_DENIED,
        REASON_CAMPAIGN_ENDED,
        REASON_CAMPAIGN_NOT_STARTED,
        REASON_CAMPAIGN_PAUSED,
        REASON_PHASE_NOT_OPEN,
        REASON_AWAITING_APPROVAL,
        REASON_CONSENT_REFUSED,
        REASON_AWAITING_CONSENT,
        REASON_WINDOW_CLOSED,
        REASON_PACED,
    };
    int i = 0;

    while (i < (int)ARRAY_LEN(order) && order[i] != r)
        i++;
    return i;
}

struct verdict govern(const struct decide_context *x, const struct firmware *fw, bool *ret_governed)
{
    struct verdict best = of(REASON_CAMPAIGN_NOT_STARTED, NULL, 0);
    const struct campaign *const *list;
    size_t n = catalog_campaigns(x->catalog, fw->id, true, &list);

    *ret_governed = false;
    for (size_t i = 0; i < n; i++)
        if (takes_back(x, list[i]) && may_take_back(x, list[i], fw))
            return (struct verdict){.campaign = list[i], .phase = CAMPAIGN_ROLLBACK};
    n = catalog_campaigns(x->catalog, fw->id, false, &list);
    for (size_t i = 0; i < n; i++) {
        const struct campaign_now *now = x->facts->campaign(x->facts->arg, list[i]);
        struct verdict v = admit(x, list[i], now, fw);

        if (v.reason == REASON_ELIGIBLE)
            return v;
        /* Not the end of the release by campaign: what was aborted is not released by that. */
        *ret_governed |= v.reason != REASON_NOT_IN_DEVICE_LIST && now->state != CAMPAIGN_DRAFT &&
                         now->state != CAMPAIGN_COMPLETED;
        if (!best.campaign || nearness(v.reason) > nearness(best.reason))
            best = v;
    }
    return best;
}

enum reason govern_goes_back(const struct decide_context *x, const struct firmware *fw)
{
    const struct campaign *const *list;
    enum reason r = REASON_NOT_NEWER;
    size_t n;

    if (!catalog_goes_back(x->catalog, fw->type_id, fw->module))
        return r;
    n = catalog_campaigns(x->catalog, fw->id, true, &list);
    for (size_t i = 0; i < n; i++) {
        if (!takes_back(x, list[i]))
            continue;
        if (may_take_back(x, list[i], fw))
            return REASON_ELIGIBLE;
        r = REASON_BELOW_FLOOR;
    }
    n = catalog_campaigns(x->catalog, fw->id, false, &list);
    for (size_t i = 0; i < n; i++) {
        const struct campaign *c = list[i];

        if (!c->allow_downgrade && !c->allow_reinstall)
            continue;
        const struct campaign_now *now = x->facts->campaign(x->facts->arg, c);
        if ((now->state == CAMPAIGN_RUNNING || now->state == CAMPAIGN_PAUSED) &&
            govern_order_fits(x, c, now, fw) && govern_match(x, c, now) == CAMPAIGN_TARGET)
            return REASON_ELIGIBLE;
    }
    return r;
}

/* ---- an update under way ---- */
enum reason govern_still(const struct decide_context *x, const struct update *u)
{
    const struct campaign *c = catalog_campaign(x->catalog, u->campaign_id);
    bool waits = !update_is_in_progress(u->state);
    int64_t opens;

    if (!c)
        return REASON_CAMPAIGN_ENDED;
    const struct campaign_now *now = x->facts->campaign(x->facts->arg, c);
    if (u->phase == CAMPAIGN_ROLLBACK)
        return REASON_ELIGIBLE;
    if (now->state == CAMPAIGN_PAUSED)
        return REASON_CAMPAIGN_PAUSED;
    if (now->state == CAMPAIGN_ABORTED || (waits && is_over(now->state)))
        return REASON_CAMPAIGN_ENDED;
    if (waits && !campaign_window_open(c, zone_of(x), x->now, &opens))
        return REASON_WINDOW_CLOSED;
    if (u->state == UPDATE_PLANNED && now->wait_ms > 0)
        return REASON_PACED;
    return consent_still(x, c, now, u);
}

/* ---- words ---- */
static void say(struct reason_row *r, const struct campaign *c, const char *what)
{
    (void)snprintf(r->text, sizeof(r->text), "campaign %" PRId64 " %s", c->id, what);
}

static void paced(const struct campaign_now *now, const struct verdict *v, struct reason_row *r)
{
    char what[120];

    if (now->wait_ms > 0)
        (void)snprintf(what, sizeof(what), "lets %" PRId64 " offers leave in a minute", now->rate);
    else if (v->retry_at)
        (void)snprintf(what, sizeof(what),
                       "spreads the offers of a phase over %" PRId64
                       " s; this device's turn is yet to come",
                       v->campaign->jitter_s);
    else
        (void)snprintf(what, sizeof(what),
                       "has %" PRId64 " updates under way; %" PRId64 " are allowed at once",
                       now->active, v->campaign->in_progress);
    say(r, v->campaign, what);
}

static const char *words_of(enum reason r)
{
    switch ((int)r) {
    case REASON_CAMPAIGN_NOT_STARTED:
        return "has not started";
    case REASON_CAMPAIGN_PAUSED:
        return "is paused";
    case REASON_CAMPAIGN_ENDED:
        return "has ended";
    case REASON_PHASE_NOT_OPEN:
        return "has not opened the phase that this device belongs to";
    case REASON_AWAITING_APPROVAL:
        return "waits for an operator's approval of the phase that this device belongs to";
    case REASON_CONSENT_REFUSED:
        return "was refused by the device's user";
    case REASON_AWAITING_CONSENT:
        return "waits for the consent of the device's user";
    case REASON_WINDOW_CLOSED:
        return "sends nothing outside its windows";
    case REASON_DENIED:
        return "has the device in its deny list";
    default:
        return "is for other devices";
    }
}

void govern_explain(const struct decide_context *x, const struct verdict *v, struct reason_row *ret)
{
    const struct campaign_now *now = x->facts->campaign(x->facts->arg, v->campaign);
    char at[TIME_TEXT_MAX];

    if (v->retry_at)
        (void)snprintf(ret->params, sizeof(ret->params),
                       "{\"campaign\":%" PRId64 ",\"phase\":%d,\"retry_at\":\"%s\"}",
                       v->campaign->id, now->phase, time_text(v->retry_at, at));
    else
        (void)snprintf(ret->params, sizeof(ret->params), "{\"campaign\":%" PRId64 ",\"phase\":%d}",
                       v->campaign->id, now->phase);
    if (v->reason == REASON_PACED)
        paced(now, v, ret);
    else
        say(ret, v->campaign, words_of(v->reason));
}
