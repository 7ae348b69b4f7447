/*
 * Which firmware a device gets. decide() is pure: the snapshot, the facts of one device and the
 * time in; one firmware or none, and why, out. Every rule stands here once, in the order of
 * check_device() and check_firmware(): the first that fails is the reason. A check, explain and a
 * dry run ask the same function.
 *
 * Without rows it stops at the first firmware that is not newer: the candidates come highest
 * version first, so a device that is up to date costs one comparison.
 */
#include "update_priv.h"

int64_t backoff_ms(const struct device_type *type, int64_t n)
{
    return type->backoff_s * 1000 * ((int64_t)1 << (n < 1 ? 0 : n > 20 ? 20 : n - 1));
}

const struct device_type *decide_type(const struct catalog *c, const struct device *d)
{
    const struct device_type *t = catalog_type(c, d->type_id);

    return t ? t : &device_type_defaults;
}

const struct firmware *decide_locate(const struct catalog *c, int64_t type_id, const char *module,
                                     const char *version)
{
    const struct firmware *const *list;
    size_t n = catalog_candidates(c, type_id, module, &list);

    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i]->version, version) == 0)
            return list[i];
    return NULL;
}

struct decide_context decide_context_of(const struct catalog *c, const struct device_facts *facts,
                                        int64_t now)
{
    struct decide_context x = {
        .catalog = c, .facts = facts, .type = decide_type(c, facts->device), .now = now};

    if (x.type->scheme == VERSION_OPAQUE && facts->version)
        x.current = decide_locate(c, facts->device->type_id, facts->module, facts->version);
    return x;
}

/* ---- rules 1 and 2: the device ---- */
static struct verdict of(enum reason r)
{
    return (struct verdict){.reason = r};
}

static struct verdict check_device(const struct decide_context *x)
{
    const struct device *d = x->facts->device;

    if (!d->enabled)
        return of(REASON_DEVICE_DISABLED);
    if (d->quarantined_until > x->now)
        return (struct verdict){.reason = REASON_QUARANTINED, .retry_at = d->quarantined_until};
    if (!x->facts->version)
        return of(REASON_VERSION_UNKNOWN);
    return of(REASON_ELIGIBLE);
}

/* ---- rules 4 to 7 ---- */
static bool source_matches(const struct decide_context *x, const struct firmware *fw)
{
    for (size_t i = 0; i < fw->n_sources; i++)
        if (version_compare(x->type->scheme, fw->source_versions[i], x->facts->version) == 0)
            return true;
    return false;
}

/* Opaque versions have the order of their upload. A current version that was never uploaded has
 * no place in it: then only a firmware that names it explicitly is newer. */
int decide_order(const struct decide_context *x, const struct firmware *fw)
{
    if (x->type->scheme != VERSION_OPAQUE)
        return version_compare(x->type->scheme, fw->version, x->facts->version);
    if (x->current)
        return fw->rank == x->current->rank ? 0 : fw->rank > x->current->rank ? 1 : -1;
    return fw->n_sources > 0 && source_matches(x, fw) ? 1 : -1;
}

static bool is_newer(const struct decide_context *x, const struct firmware *fw)
{
    if (x->type->scheme != VERSION_OPAQUE)
        return version_compare(x->type->scheme, fw->version, x->facts->version) > 0;
    if (x->current)
        return fw->rank > x->current->rank;
    return fw->n_sources > 0 && source_matches(x, fw);
}

/* An update under way of a campaign may go back as that says; alone: and as no other one does. */
struct leave {
    bool back, behind_floors, alone;
};

static enum reason check_order(struct decide_context *x, const struct firmware *fw,
                               const struct leave *leave)
{
    if (is_newer(x, fw)) {
        const struct firmware *floor = floor_above(x);

        return floor && fw->rank > floor->rank ? REASON_FLOOR_FIRST : REASON_ELIGIBLE;
    }
    if (!leave || !leave->back)
        return leave && leave->alone ? REASON_NOT_NEWER : govern_goes_back(x, fw);
    return !leave->behind_floors && floor_left(x, fw) ? REASON_BELOW_FLOOR : REASON_ELIGIBLE;
}

static struct leave leave_of(const struct campaign *by, const struct update *u)
{
    if (!by)
        return (struct leave){.back = false};
    return (struct leave){.back = u->phase == CAMPAIGN_ROLLBACK || by->allow_downgrade ||
                                  by->allow_reinstall,
                          .behind_floors = by->allow_downgrade};
}

/* All that follow in the candidates' order are not newer either. */
static bool ends_here(const struct decide_context *x, const struct firmware *fw)
{
    return (x->type->scheme != VERSION_OPAQUE || x->current) && !is_newer(x, fw) &&
           !catalog_goes_back(x->catalog, x->facts->device->type_id, x->facts->module);
}

/* ---- rule 11 ---- */
const struct past_attempt *decide_past(const struct device_facts *facts, int64_t firmware_id)
{
    for (size_t i = 0; i < facts->n_past; i++)
        if (facts->past[i].firmware_id == firmware_id)
            return &facts->past[i];
    return NULL;
}

bool decide_canceled(const struct device_facts *facts, const struct firmware *fw)
{
    for (size_t i = 0; i < facts->n_past; i++)
        for (size_t k = 0; facts->past[i].canceled && k < fw->n_peers; k++)
            if (fw->peers[k]->id == facts->past[i].firmware_id)
                return true;
    return false;
}

bool decide_is_own(const struct device_facts *facts, const struct active_update *u)
{
    return u->device_id == facts->device->id && strcmp(u->module, facts->module) == 0;
}

static struct verdict check_attempts(const struct decide_context *x, const struct firmware *fw,
                                     const struct campaign *campaign)
{
    int64_t allowed = campaign && campaign->attempts ? campaign->attempts : x->type->attempts;
    const struct past_attempt *past = decide_past(x->facts, fw->id);

    /* An operator who cancels an update means it for the day. */
    if (decide_canceled(x->facts, fw) || (past && past->attempts >= allowed))
        return of(REASON_ATTEMPTS_EXHAUSTED);
    if (past && past->attempts > 0) {
        int64_t retry_at = past->last_ended_at + backoff_ms(x->type, past->attempts);

        if (retry_at > x->now)
            return (struct verdict){.reason = REASON_BACKING_OFF, .retry_at = retry_at};
    }
    for (size_t i = 0; i < x->facts->n_active; i++) {
        const struct active_update *u = &x->facts->active[i];

        if (decide_is_own(x->facts, u) && u->firmware_id == fw->id && u->state == UPDATE_PLANNED &&
            u->retry_at > x->now)
            return (struct verdict){.reason = REASON_BACKING_OFF, .retry_at = u->retry_at};
    }
    return of(REASON_ELIGIBLE);
}

/* ---- the rules of one firmware, in order ---- */
enum reason decide_lists(const struct firmware *fw, int64_t device_id)
{
    if (!fw->enabled)
        return REASON_FIRMWARE_DISABLED;
    if (fw->n_missing > 0)
        return REASON_FILE_MISSING;
    if (fw->devices.n > 0 && !id_list_has(&fw->devices, device_id))
        return REASON_NOT_IN_DEVICE_LIST;
    return id_list_has(&fw->denied, device_id) ? REASON_DENIED : REASON_ELIGIBLE;
}

static enum reason check_conditions(const struct decide_context *x, const struct firmware *fw)
{
    if (fw->hardware && conditions_hardware(x->facts, fw))
        return REASON_HARDWARE_MISMATCH;
    return conditions_minimum(x->facts, x->type, fw).reason;
}

static enum reason check_firmware(struct decide_context *x, const struct firmware *fw,
                                  const struct leave *leave)
{
    enum reason r = decide_lists(fw, x->facts->device->id);

    if (r == REASON_ELIGIBLE && fw->n_sources > 0 && !source_matches(x, fw))
        return REASON_SOURCE_VERSION_MISMATCH;
    if (r == REASON_ELIGIBLE)
        r = check_order(x, fw, leave);
    return r == REASON_ELIGIBLE ? check_conditions(x, fw) : r;
}

static struct verdict check_release(const struct decide_context *x, const struct firmware *fw)
{
    bool governed;
    struct verdict by = govern(x, fw, &governed), v;

    if (by.asks) /* only for what could begin after a yes */
        by.asks = check_attempts(x, fw, by.campaign).reason == REASON_ELIGIBLE;
    if (by.reason != REASON_ELIGIBLE && (governed || fw->campaign_only || !is_newer(x, fw)))
        return by;
    if (by.reason != REASON_ELIGIBLE)
        by = of(REASON_ELIGIBLE); /* open, and no campaign minds */
    v = check_attempts(x, fw, by.campaign);
    if (v.reason == REASON_ELIGIBLE && decide_busy(x->catalog, x->facts, x->now))
        v.reason = REASON_UPDATE_IN_PROGRESS;
    v.campaign = by.campaign;
    v.phase = by.phase;
    return v;
}

static struct verdict check_all(struct decide_context *x, const struct firmware *fw)
{
    enum reason r = check_firmware(x, fw, NULL);

    return r == REASON_ELIGIBLE ? check_release(x, fw) : of(r);
}

enum reason decide_still(const struct catalog *c, const struct device_facts *facts,
                         const struct firmware *fw, const struct update *u, int64_t now)
{
    struct decide_context x = decide_context_of(c, facts, now);
    const struct campaign *by = u && u->campaign_id ? catalog_campaign(c, u->campaign_id) : NULL;
    const struct leave leave = leave_of(by, u);
    struct verdict v = check_device(&x);

    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    v.reason = check_firmware(&x, fw, &leave);
    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    if (u && u->campaign_id)
        return govern_still(&x, u);
    return fw->campaign_only ? REASON_CAMPAIGN_NOT_STARTED : REASON_ELIGIBLE;
}

enum reason decide_floor(const struct catalog *c, const struct device_facts *facts,
                         const struct firmware *fw, const struct update *u, int64_t now)
{
    struct decide_context x = decide_context_of(c, facts, now);
    const struct campaign *by = u->campaign_id ? catalog_campaign(c, u->campaign_id) : NULL;
    const struct leave leave = leave_of(by, u);

    if (!facts->version)
        return REASON_ELIGIBLE;
    enum reason r = check_order(&x, fw, &leave);
    return r == REASON_FLOOR_FIRST || r == REASON_BELOW_FLOOR ? r : REASON_ELIGIBLE;
}

/* ---- a dry run: the rules of one campaign, as if it alone were there ---- */
static enum reason dry_firmware(struct decide_context *x, const struct campaign *campaign,
                                const struct campaign_now *as, const struct firmware *fw)
{
    const struct leave leave = {.back = govern_order_fits(x, campaign, as, fw),
                                .behind_floors = campaign->allow_downgrade,
                                .alone = true};

    return check_firmware(x, fw, &leave);
}

/* Of what the campaign releases, the file set that the device would get; if none, the one that
 * the campaign names. */
static const struct firmware *dry_choose(struct decide_context *x, const struct campaign *campaign,
                                         const struct campaign_now *as, const struct firmware *fw)
{
    for (size_t i = 0; fw->n_sources == 0 && i < fw->n_peers; i++) {
        const struct firmware *peer = fw->peers[i];

        if ((peer == fw || peer->n_sources > 0) &&
            dry_firmware(x, campaign, as, peer) == REASON_ELIGIBLE &&
            check_attempts(x, peer, campaign).reason == REASON_ELIGIBLE)
            return peer;
    }
    return fw;
}

enum reason decide_dry(const struct catalog *c, const struct device_facts *facts,
                       const struct campaign *campaign, int64_t now, int *ret_phase)
{
    const struct campaign_now *as = facts->campaign(facts->arg, campaign);
    const struct firmware *fw = catalog_firmware(c, campaign->firmware_id);
    struct decide_context x = decide_context_of(c, facts, now);
    struct verdict v = check_device(&x);
    enum campaign_match match = govern_match(&x, campaign, as);

    if (match != CAMPAIGN_TARGET)
        return match == CAMPAIGN_DENIED ? REASON_DENIED : REASON_NOT_IN_DEVICE_LIST;
    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    if (!fw)
        return REASON_FIRMWARE_DISABLED;
    fw = dry_choose(&x, campaign, as, fw);
    v.reason = dry_firmware(&x, campaign, as, fw);
    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    v = govern_place(&x, campaign, as);
    if (v.reason == REASON_PHASE_NOT_OPEN)
        return v.reason;
    *ret_phase = v.phase;
    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    v = check_attempts(&x, fw, campaign);
    return v.reason == REASON_ELIGIBLE && decide_busy(c, facts, now) ? REASON_UPDATE_IN_PROGRESS
                                                                     : v.reason;
}

/* ---- the choice ---- */
bool decide_instead(const struct catalog *c, const struct device_facts *facts,
                    const struct firmware *delta, int64_t now)
{
    struct decide_context x = decide_context_of(c, facts, now);

    for (size_t i = 0; i < delta->n_peers; i++)
        if (hop_is_better(&x, delta->peers[i], delta) &&
            check_all(&x, delta->peers[i]).reason == REASON_ELIGIBLE)
            return true;
    return false;
}

static void note_retry(struct decision *ret, const struct verdict *v)
{
    if (v->retry_at && (!ret->retry_at || v->retry_at < ret->retry_at))
        ret->retry_at = v->retry_at;
}

/* A user is asked for one at a time, the best; and not for what another firmware of the same
 * version brings without a word. */
static void note_asks(const struct firmware *fw, const struct verdict *v, struct decision *ret,
                      const struct firmware **awaited)
{
    if (v->reason == REASON_ELIGIBLE && *awaited && fw->rank == (*awaited)->rank)
        ret->asks = NULL;
    if (v->reason != REASON_AWAITING_CONSENT || *awaited || ret->firmware)
        return;
    *awaited = fw;
    ret->asks = v->asks ? v->campaign : NULL;
    ret->asks_phase = v->phase;
}

static void device_only(const struct decide_context *x, const struct verdict *v, bool rows,
                        struct arena *a, struct decision *ret)
{
    ret->reason = v->reason;
    ret->retry_at = v->retry_at;
    if (!rows)
        return;
    ret->rows = arena_alloc(a, sizeof(*ret->rows));
    ret->n_rows = 1;
    explain_row(x, v, NULL, NULL, false, ret->rows);
}

static void fill_rows(const struct decide_context *x, const struct firmware *const *list,
                      const struct verdict *verdicts, const bool *on_the_way, size_t n,
                      struct arena *a, struct decision *ret)
{
    ret->rows = arena_alloc(a, n * sizeof(*ret->rows));
    ret->n_rows = n;
    for (size_t i = 0; i < n; i++) {
        struct verdict v = verdicts[i];

        if (v.reason == REASON_ELIGIBLE && list[i] != ret->firmware)
            v.reason = REASON_BETTER_EXISTS;
        explain_row(x, &v, list[i], ret->firmware, on_the_way[i], &ret->rows[i]);
    }
}

static void take(struct decision *ret, const struct firmware *fw, const struct verdict *v)
{
    ret->firmware = fw;
    ret->campaign = v->campaign;
    ret->phase = v->phase;
}

/* It could be offered now, were the device at another version. */
static bool is_later(struct decide_context *x, const struct firmware *fw, enum reason r)
{
    return (r == REASON_SOURCE_VERSION_MISMATCH || r == REASON_FLOOR_FIRST) &&
           decide_lists(fw, x->facts->device->id) == REASON_ELIGIBLE &&
           check_conditions(x, fw) == REASON_ELIGIBLE &&
           check_release(x, fw).reason == REASON_ELIGIBLE;
}

/* There are deltas above what was chosen, for other versions: a lower one may lead to them. */
static void look_ahead(struct decide_context *x, const struct firmware *const *list, size_t n,
                       bool *on_the_way, struct arena *a, struct decision *ret)
{
    unsigned char *can;
    struct verdict *v;
    size_t newer = 0;

    while (newer < n && newer <= HOPS_MAX && is_newer(x, list[newer]))
        newer++;
    if (newer > HOPS_MAX || (x->type->scheme == VERSION_OPAQUE && !x->current))
        return;
    can = arena_alloc(a, newer);
    v = arena_alloc(a, newer * sizeof(*v));
    for (size_t i = 0; i < newer; i++) {
        v[i] = check_all(x, list[i]);
        can[i] = v[i].reason == REASON_ELIGIBLE      ? HOP_NOW | HOP_LATER
                 : is_later(x, list[i], v[i].reason) ? HOP_LATER
                                                     : 0;
    }
    size_t hop = hop_choose(x, list, newer, can, a);
    if (hop == newer)
        return;
    take(ret, list[hop], &v[hop]);
    if (on_the_way)
        hop_mark(x, list, newer, can, hop, on_the_way);
}

void decide(const struct catalog *c, const struct device_facts *facts, int64_t now, bool rows,
            struct arena *a, struct decision *ret)
{
    struct decide_context x = decide_context_of(c, facts, now);
    struct verdict v = check_device(&x), *verdicts = NULL;
    const struct firmware *const *list, *awaited = NULL;
    bool *on_the_way = NULL, missed = false;
    size_t n;

    *ret = (struct decision){.reason = REASON_NOT_NEWER};
    if (v.reason != REASON_ELIGIBLE) {
        device_only(&x, &v, rows, a, ret);
        return;
    }
    n = catalog_candidates(c, facts->device->type_id, facts->module, &list);
    if (rows && n > 0) {
        verdicts = arena_alloc(a, n * sizeof(*verdicts));
        on_the_way = arena_alloc(a, n * sizeof(*on_the_way));
    }
    for (size_t i = 0; i < n; i++) {
        if (!rows && ret->firmware && list[i]->rank != ret->firmware->rank)
            break;
        v = check_all(&x, list[i]);
        if (i == 0)
            ret->reason = v.reason;
        if (rows)
            verdicts[i] = v;
        note_retry(ret, &v);
        note_asks(list[i], &v, ret, &awaited);
        missed |= !ret->firmware && v.reason == REASON_SOURCE_VERSION_MISMATCH;
        if (v.reason == REASON_ELIGIBLE &&
            (!ret->firmware || hop_is_better(&x, list[i], ret->firmware)))
            take(ret, list[i], &v);
        if (!rows && ends_here(&x, list[i]))
            break;
    }
    if (ret->firmware) {
        ret->reason = REASON_ELIGIBLE;
        ret->retry_at = 0;
    }
    if (missed && ret->firmware && is_newer(&x, ret->firmware))
        look_ahead(&x, list, n, on_the_way, a, ret);
    if (rows && n > 0)
        fill_rows(&x, list, verdicts, on_the_way, n, a, ret);
}
