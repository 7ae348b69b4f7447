/*
 * Who and when: targets, phases, windows. Pure, and never a list of all devices: membership of a
 * share comes from a hash that is the same on every machine and for all time.
 */
#include "campaign.h"

#define DAY_MINUTES 1440
#define LOOK_DAYS   10

/* The finalizer of splitmix64: every bit of both numbers moves every bit of the result. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 27;
    x *= UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

int64_t campaign_share_of(int64_t campaign_id, int64_t device_id)
{
    uint64_t seed = mix((uint64_t)campaign_id + UINT64_C(0x9E3779B97F4A7C15));

    return (int64_t)(mix(seed ^ (uint64_t)device_id * UINT64_C(0x9E3779B97F4A7C15)) %
                     CAMPAIGN_SHARE);
}

int64_t campaign_due(const struct campaign *c, int64_t device_id, int phase, int64_t opened_at,
                     int64_t now)
{
    uint64_t seed = mix((uint64_t)c->id * CAMPAIGN_ROLLBACK + (uint64_t)phase);

    if (c->jitter_s == 0 || phase == CAMPAIGN_VERIFICATION || now < opened_at)
        return 1;
    return opened_at + (int64_t)(mix(seed + (uint64_t)device_id * UINT64_C(0x9E3779B97F4A7C15)) %
                                 ((uint64_t)c->jitter_s * 1000));
}

int64_t campaign_rate(const struct campaign *c, int64_t offered, int64_t verified)
{
    const struct campaign_growth *g = &c->growth;

    if (g->base == 0 || (g->offered == 0 && g->verified == 0))
        return c->offers_per_minute;
    int64_t steps = g->offered ? offered / g->offered : verified / g->verified;
    double rate = (double)g->base;
    while (steps-- > 0 && rate < (double)c->offers_per_minute)
        rate = rate * (double)g->factor / 100;
    return rate < (double)c->offers_per_minute ? (int64_t)rate : c->offers_per_minute;
}

/* Tags are stored as a JSON array of words without quotes in them: a quoted word is found as it
 * stands, or it is not there. */
static bool has_tag(const char *tags, const char *tag)
{
    size_t n = strlen(tag);

    for (const char *p = tags ? strstr(tags, tag) : NULL; p; p = strstr(p + 1, tag))
        if (p > tags && p[-1] == '"' && p[n] == '"')
            return true;
    return false;
}

static bool has_any_tag(const struct campaign *c, const char *tags)
{
    for (size_t i = 0; i < c->n_tags; i++)
        if (has_tag(tags, c->tags[i]))
            return true;
    return c->n_tags == 0;
}

enum campaign_match campaign_targets(const struct campaign *c, const struct campaign_device *d,
                                     int64_t device_max)
{
    if (id_list_has(&c->denied, d->id))
        return CAMPAIGN_DENIED;
    if (c->verification && id_list_has(&c->verify.devices, d->id))
        return CAMPAIGN_TARGET;
    if (c->frozen && device_max && d->id > device_max)
        return CAMPAIGN_NO_TARGET;
    if ((c->listed && !id_list_has(&c->devices, d->id)) || !has_any_tag(c, d->tags))
        return CAMPAIGN_NO_TARGET;
    return !c->query || campaign_query_matches(c->query, d->attribute, d->arg) ? CAMPAIGN_TARGET
                                                                               : CAMPAIGN_NO_TARGET;
}

int campaign_phase_of(const struct campaign *c, int64_t device_id, int open,
                      const int64_t offered[CAMPAIGN_PHASES_MAX + 1])
{
    int64_t share = campaign_share_of(c->id, device_id);

    if (c->verification && id_list_has(&c->verify.devices, device_id))
        return CAMPAIGN_VERIFICATION;
    for (int no = 1; no <= open && no <= (int)c->n_phases; no++) {
        const struct campaign_phase *p = &c->phases[no - 1];

        switch (p->kind) {
        case PHASE_PERCENT:
            if (share < p->share)
                return no;
            break;
        case PHASE_COUNT:
            if (offered[no] < p->count)
                return no;
            break;
        case PHASE_DEVICES:
            if (id_list_has(&p->devices, device_id))
                return no;
            break;
        }
    }
    return -1;
}

/* The window that begins on that day, as instants in seconds; false: none does. */
static bool span(const struct campaign_window *w, const struct zone *z, int64_t day,
                 int64_t *ret_from, int64_t *ret_to)
{
    int64_t end = w->to > w->from ? w->to : w->to + DAY_MINUTES;

    if (!(w->days >> civil_weekday(day) & 1))
        return false;
    *ret_from = zone_instant(z, day * DAY_S + w->from * 60);
    *ret_to = zone_instant(z, day * DAY_S + end * 60);
    return true;
}

bool campaign_window_open(const struct campaign *c, const char *zone, int64_t now,
                          int64_t *ret_opens)
{
    const struct zone *z = zone_named(c->timezone ? c->timezone : zone);
    int64_t at = floor_div(now, 1000), opens = 0, from, to;

    *ret_opens = 0;
    if (c->n_windows == 0)
        return true;
    if (!z) /* not known on this machine any more: better late than at a wrong time */
        return false;
    int64_t today = floor_div(at + zone_offset(z, at), DAY_S);
    for (int64_t day = today - 1; day <= today + LOOK_DAYS && !opens; day++)
        for (size_t i = 0; i < c->n_windows; i++) {
            if (!span(&c->windows[i], z, day, &from, &to))
                continue;
            if (at >= from && at < to)
                return true;
            if (from > at && (!opens || from < opens))
                opens = from;
        }
    *ret_opens = opens * 1000;
    return false;
}
