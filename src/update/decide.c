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

static struct decide_context context_of(const struct catalog *c, const struct device_facts *facts,
                                        int64_t now)
{
    struct decide_context x = {c, facts, decide_type(c, facts->device), NULL, now};

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

/* ---- rules 4 to 6 ---- */
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
        return fw->id == x->current->id ? 0 : fw->id > x->current->id ? 1 : -1;
    if (version_compare(x->type->scheme, fw->version, x->facts->version) == 0)
        return 0;
    return fw->n_sources > 0 && source_matches(x, fw) ? 1 : -1;
}

static bool is_newer(const struct decide_context *x, const struct firmware *fw)
{
    if (x->type->scheme != VERSION_OPAQUE)
        return version_compare(x->type->scheme, fw->version, x->facts->version) > 0;
    if (x->current)
        return fw->id > x->current->id;
    return fw->n_sources > 0 && source_matches(x, fw);
}

/* All that follow in the candidates' order are not newer either. */
static bool ends_here(const struct decide_context *x, const struct firmware *fw)
{
    return (x->type->scheme != VERSION_OPAQUE || x->current) && !is_newer(x, fw) &&
           !catalog_goes_back(x->catalog, x->facts->device->type_id, x->facts->module);
}

/* ---- rules 11 and 12 ---- */
const struct past_attempt *decide_past(const struct device_facts *facts, int64_t firmware_id)
{
    for (size_t i = 0; i < facts->n_past; i++)
        if (facts->past[i].firmware_id == firmware_id)
            return &facts->past[i];
    return NULL;
}

static bool is_own(const struct device_facts *facts, const struct active_update *u)
{
    return u->device_id == facts->device->id && strcmp(u->module, facts->module) == 0;
}

static struct verdict check_attempts(const struct decide_context *x, const struct firmware *fw,
                                     const struct campaign *campaign)
{
    int64_t allowed = campaign && campaign->attempts ? campaign->attempts : x->type->attempts;
    const struct past_attempt *past = decide_past(x->facts, fw->id);

    /* An operator who cancels an update means it for the day. */
    if (past && (past->canceled || past->attempts >= allowed))
        return of(REASON_ATTEMPTS_EXHAUSTED);
    if (past && past->attempts > 0) {
        int64_t retry_at = past->last_ended_at + backoff_ms(x->type, past->attempts);

        if (retry_at > x->now)
            return (struct verdict){.reason = REASON_BACKING_OFF, .retry_at = retry_at};
    }
    for (size_t i = 0; i < x->facts->n_active; i++) {
        const struct active_update *u = &x->facts->active[i];

        if (is_own(x->facts, u) && u->firmware_id == fw->id && u->state == UPDATE_PLANNED &&
            u->retry_at > x->now)
            return (struct verdict){.reason = REASON_BACKING_OFF, .retry_at = u->retry_at};
    }
    return of(REASON_ELIGIBLE);
}

int64_t decide_parallel(const struct catalog *c, const struct device_facts *facts)
{
    const struct device_type *t = catalog_type(c, facts->gateway_type_id);

    return t ? t->parallel_updates : device_type_defaults.parallel_updates;
}

bool decide_lapsed(const struct active_update *u, int64_t now)
{
    int64_t age = now - u->updated_at; /* clocks may be set back */

    return (u->state == UPDATE_OFFERED || u->state == UPDATE_DEFERRED) &&
           (age >= PLACE_MS || age <= -PLACE_MS);
}

/* It could begin at any moment, without asking: so an offer counts as well. */
static bool has_place(const struct active_update *u, int64_t now)
{
    return u->state != UPDATE_PLANNED && !update_is_final(u->state) && !decide_lapsed(u, now);
}

int64_t decide_beside(const struct device_facts *facts, int64_t now, bool old)
{
    int64_t n = 0;

    for (size_t i = 0; i < facts->n_beside; i++) {
        const struct active_update *u = &facts->beside[i];
        bool counted = !old && !has_place(u, now);

        for (size_t k = 0; k < i && !counted; k++) /* several modules of one device */
            counted = facts->beside[k].device_id == u->device_id &&
                      (old || has_place(&facts->beside[k], now));
        n += !counted;
    }
    return n;
}

/* Of the device's own modules, one that is merely offered keeps none waiting: the device has the
 * offers of all of them, and takes them one by one. */
const struct active_update *decide_busy(const struct catalog *c, const struct device_facts *facts,
                                        int64_t now)
{
    for (size_t i = 0; i < facts->n_active; i++) {
        const struct active_update *u = &facts->active[i];

        if (!is_own(facts, u) &&
            (u->device_id == facts->device->id ? update_is_in_progress(u->state)
                                               : has_place(u, now)))
            return u;
    }
    if (decide_beside(facts, now, false) < decide_parallel(c, facts))
        return NULL;
    for (size_t i = 0; i < facts->n_beside; i++)
        if (has_place(&facts->beside[i], now))
            return &facts->beside[i];
    return NULL;
}

/* ---- the rules of one firmware, in order ---- */
static enum reason check_firmware(const struct decide_context *x, const struct firmware *fw,
                                  bool may_go_back)
{
    int64_t device_id = x->facts->device->id;

    if (!fw->enabled)
        return REASON_FIRMWARE_DISABLED;
    if (fw->devices.n > 0 && !id_list_has(&fw->devices, device_id))
        return REASON_NOT_IN_DEVICE_LIST;
    if (id_list_has(&fw->denied, device_id))
        return REASON_DENIED;
    if (fw->n_sources > 0 && !source_matches(x, fw))
        return REASON_SOURCE_VERSION_MISMATCH;
    if (!is_newer(x, fw) && !may_go_back && !govern_goes_back(x, fw))
        return REASON_NOT_NEWER;
    if (fw->hardware && conditions_hardware(x->facts, fw))
        return REASON_HARDWARE_MISMATCH;
    return conditions_minimum(x->facts, x->type, fw).reason;
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

static struct verdict check_all(const struct decide_context *x, const struct firmware *fw)
{
    enum reason r = check_firmware(x, fw, false);

    return r == REASON_ELIGIBLE ? check_release(x, fw) : of(r);
}

enum reason decide_still(const struct catalog *c, const struct device_facts *facts,
                         const struct firmware *fw, const struct update *u, int64_t now)
{
    struct decide_context x = context_of(c, facts, now);
    const struct campaign *by = u && u->campaign_id ? catalog_campaign(c, u->campaign_id) : NULL;
    bool back = by && (u->phase == CAMPAIGN_ROLLBACK || by->allow_downgrade || by->allow_reinstall);
    struct verdict v = check_device(&x);

    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    v.reason = check_firmware(&x, fw, back);
    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    if (u && u->campaign_id)
        return govern_still(&x, u);
    return fw->campaign_only ? REASON_CAMPAIGN_NOT_STARTED : REASON_ELIGIBLE;
}

enum reason decide_dry(const struct catalog *c, const struct device_facts *facts,
                       const struct campaign *campaign,
                       const int64_t offered[CAMPAIGN_PHASES_MAX + 1], int64_t now, int *ret_phase)
{
    const struct firmware *fw = catalog_firmware(c, campaign->firmware_id);
    struct decide_context x = context_of(c, facts, now);
    const struct device *d = facts->device;
    const struct campaign_device of_campaign = {d->id, d->tags, facts->attribute, facts->arg};
    struct verdict v = check_device(&x);
    enum campaign_match match = campaign_targets(campaign, &of_campaign, 0);

    if (match != CAMPAIGN_TARGET)
        return match == CAMPAIGN_DENIED ? REASON_DENIED : REASON_NOT_IN_DEVICE_LIST;
    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    if (!fw)
        return REASON_FIRMWARE_DISABLED;
    int order = decide_order(&x, fw);
    v.reason =
        check_firmware(&x, fw, order < 0 ? campaign->allow_downgrade : campaign->allow_reinstall);
    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    *ret_phase = campaign_phase_of(campaign, d->id, (int)campaign->n_phases, offered);
    if (*ret_phase < 0)
        return REASON_PHASE_NOT_OPEN;
    if (campaign->consent.mode != CONSENT_SILENT)
        v = consent_admits(&x, campaign, facts->campaign(facts->arg, campaign), v);
    if (v.reason != REASON_ELIGIBLE)
        return v.reason;
    v = check_attempts(&x, fw, campaign);
    return v.reason == REASON_ELIGIBLE && decide_busy(c, facts, now) ? REASON_UPDATE_IN_PROGRESS
                                                                     : v.reason;
}

/* ---- the choice ---- */
/* Its update has ended so, or has failed attempts behind it. */
static bool delta_failed(const struct decide_context *x)
{
    for (size_t i = 0; i < x->facts->n_active; i++) {
        const struct active_update *u = &x->facts->active[i];
        const struct firmware *fw = catalog_firmware(x->catalog, u->firmware_id);

        if (is_own(x->facts, u) && u->attempt > 1 && fw && fw->n_sources > 0)
            return true;
    }
    for (size_t i = 0; i < x->facts->n_past; i++) {
        const struct past_attempt *past = &x->facts->past[i];
        const struct firmware *fw = catalog_firmware(x->catalog, past->firmware_id);

        if (fw && past->attempts > 0 && fw->n_sources > 0 &&
            strcmp(fw->module, x->facts->module) == 0)
            return true;
    }
    return false;
}

static bool same_version(const struct decide_context *x, const struct firmware *a,
                         const struct firmware *b)
{
    return x->type->scheme != VERSION_OPAQUE &&
           version_compare(x->type->scheme, a->version, b->version) == 0;
}

/* Of one version: a delta before a full image, until one failed here; then the other way round.
 * A candidate with source versions is a delta from the current one (rule 5). The newest comes
 * first anyway. */
static bool is_better(const struct decide_context *x, const struct firmware *fw,
                      const struct firmware *best)
{
    bool delta = fw->n_sources > 0, best_delta = best->n_sources > 0;

    return delta != best_delta && same_version(x, fw, best) && delta == !delta_failed(x);
}

bool decide_full(const struct catalog *c, const struct device_facts *facts,
                 const struct firmware *delta, int64_t now)
{
    struct decide_context x = context_of(c, facts, now);
    const struct firmware *const *list;
    size_t n = catalog_candidates(c, facts->device->type_id, facts->module, &list);

    for (size_t i = 0; i < n; i++)
        if (list[i]->n_sources == 0 && same_version(&x, list[i], delta) &&
            check_all(&x, list[i]).reason == REASON_ELIGIBLE)
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
static void note_asks(const struct decide_context *x, const struct firmware *fw,
                      const struct verdict *v, struct decision *ret,
                      const struct firmware **awaited)
{
    if (v->reason == REASON_ELIGIBLE && *awaited && same_version(x, fw, *awaited))
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
    explain_row(x, v, NULL, NULL, ret->rows);
}

static void fill_rows(const struct decide_context *x, const struct firmware *const *list,
                      const struct verdict *verdicts, size_t n, struct arena *a,
                      struct decision *ret)
{
    ret->rows = arena_alloc(a, n * sizeof(*ret->rows));
    ret->n_rows = n;
    for (size_t i = 0; i < n; i++) {
        struct verdict v = verdicts[i];

        if (v.reason == REASON_ELIGIBLE && list[i] != ret->firmware)
            v.reason = REASON_BETTER_EXISTS;
        explain_row(x, &v, list[i], ret->firmware, &ret->rows[i]);
    }
}

void decide(const struct catalog *c, const struct device_facts *facts, int64_t now, bool rows,
            struct arena *a, struct decision *ret)
{
    struct decide_context x = context_of(c, facts, now);
    struct verdict v = check_device(&x), *verdicts = NULL;
    const struct firmware *const *list, *awaited = NULL;
    size_t n;

    *ret = (struct decision){.reason = REASON_NOT_NEWER};
    if (v.reason != REASON_ELIGIBLE) {
        device_only(&x, &v, rows, a, ret);
        return;
    }
    n = catalog_candidates(c, facts->device->type_id, facts->module, &list);
    if (rows && n > 0)
        verdicts = arena_alloc(a, n * sizeof(*verdicts));
    for (size_t i = 0; i < n; i++) {
        if (!rows && ret->firmware && !same_version(&x, list[i], ret->firmware))
            break;
        v = check_all(&x, list[i]);
        if (i == 0)
            ret->reason = v.reason;
        if (rows)
            verdicts[i] = v;
        note_retry(ret, &v);
        note_asks(&x, list[i], &v, ret, &awaited);
        if (v.reason == REASON_ELIGIBLE &&
            (!ret->firmware || is_better(&x, list[i], ret->firmware))) {
            ret->firmware = list[i];
            ret->campaign = v.campaign;
            ret->phase = v.phase;
        }
        if (!rows && ends_here(&x, list[i]))
            break;
    }
    if (ret->firmware) {
        ret->reason = REASON_ELIGIBLE;
        ret->retry_at = 0;
    }
    if (rows && n > 0)
        fill_rows(&x, list, verdicts, n, a, ret);
}
