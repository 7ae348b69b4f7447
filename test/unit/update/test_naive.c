/*
 * The decision against a second implementation that is deliberately naive: it knows nothing of
 * order, asks every firmware every rule, walks every way up, then looks for the best one pair by
 * pair. Catalogs, campaigns, facts and times are generated from a seed.
 */
#include "tests.h"

enum { CATALOGS = 300, CASES = 30, FIRMWARES = 24 };

static const char *const versions[] = {"1.0",     "1.0.0",  "v1",       "1.1",   "1.2-rc1", "1.2",
                                       "1.2.0+b", "1.10.0", "2.0-beta", "2.0",   "V2.0.0",  "2.0a",
                                       "3",       "2024",   "3.0.0.1",  "1_1_0", "0.9"};

/* At most one campaign for each firmware, and where it stands for the device of the case. */
static struct release {
    int64_t campaign; /* 0 = none */
    enum consent_mode mode;
    struct campaign_now now;
} releases[FIRMWARES];

struct naive {
    const struct domain *d;
    const struct device_facts *facts;
    struct firmware *all;
    size_t n;
    int64_t now;
};

static uint64_t seed = 20240808;
static int asked; /* cases in which a user is */

static uint64_t below(uint64_t n)
{
    return domain_random(&seed) % n;
}

static const json_t *attribute(void *arg, const char *name)
{
    return json_object_get(arg, name);
}

static int compare(const struct naive *x, const char *a, const char *b)
{
    return version_compare(x->d->type.scheme, a, b);
}

static bool holds(const struct id_list *l, int64_t id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->ids[i] == id)
            return true;
    return false;
}

static bool from_listed(const struct naive *x, const struct firmware *fw)
{
    for (size_t i = 0; i < fw->n_sources; i++)
        if (compare(x, fw->source_versions[i], x->facts->version) == 0)
            return true;
    return false;
}

/* Opaque: the upload that a version goes by, its newest full image or else its newest delta. */
static int64_t place(const struct naive *x, const char *version)
{
    int64_t full = 0, delta = 0;

    for (size_t i = 0; i < x->n; i++) {
        const struct firmware *fw = &x->all[i];
        int64_t *newest = fw->n_sources ? &delta : &full;

        if (strcmp(fw->version, version) == 0 && strcmp(fw->module, "main") == 0 &&
            fw->id > *newest)
            *newest = fw->id;
    }
    return full ? full : delta;
}

/* >0: a is newer. A version that was never uploaded comes before all. */
static int order(const struct naive *x, const char *a, const char *b)
{
    if (x->d->type.scheme != VERSION_OPAQUE)
        return compare(x, a, b);
    int64_t pa = place(x, a), pb = place(x, b);
    return pa > pb ? 1 : pa < pb ? -1 : 0;
}

static bool is_lost(const struct naive *x)
{
    return x->d->type.scheme == VERSION_OPAQUE && place(x, x->facts->version) == 0;
}

static bool newer(const struct naive *x, const struct firmware *fw)
{
    return is_lost(x) ? from_listed(x, fw) : order(x, fw->version, x->facts->version) > 0;
}

/* Some floor lies above `from` and below `to`. */
static bool floored(const struct naive *x, const char *from, const char *to)
{
    const json_t *hw = json_object_get(x->facts->arg, "hw");

    for (size_t i = 0; i < x->n; i++) {
        const struct firmware *f = &x->all[i];
        bool other = f->hardware && hw && !json_equal(json_object_get(f->hardware, "hw"), hw);

        if (f->must_pass && strcmp(f->module, "main") == 0 && !other &&
            order(x, f->version, from) > 0 && order(x, to, f->version) > 0)
            return true;
    }
    return false;
}

static bool short_of(const struct naive *x, bool set, const char *name, int64_t min)
{
    const json_t *v = json_object_get(x->facts->arg, name);

    return set && !(json_is_integer(v) && json_integer_value(v) >= min);
}

static enum reason naive_attempts(const struct naive *x, const struct firmware *fw)
{
    for (size_t i = 0; i < x->facts->n_past; i++) {
        const struct past_attempt *p = &x->facts->past[i];
        int64_t pause = x->d->type.backoff_s * 1000;

        for (size_t k = 0; k < x->n; k++)
            if (x->all[k].id == p->firmware_id && p->canceled &&
                strcmp(x->all[k].module, "main") == 0 &&
                order(x, x->all[k].version, fw->version) == 0)
                return REASON_ATTEMPTS_EXHAUSTED;
        if (p->firmware_id != fw->id)
            continue;
        if (p->attempts >= x->d->type.attempts)
            return REASON_ATTEMPTS_EXHAUSTED;
        for (int64_t k = 1; k < p->attempts; k++)
            pause *= 2;
        if (p->attempts > 0 && p->last_ended_at + pause > x->now)
            return REASON_BACKING_OFF;
    }
    for (size_t i = 0; i < x->facts->n_active; i++) {
        const struct active_update *u = &x->facts->active[i];

        if (u->device_id == x->facts->device->id && strcmp(u->module, "main") == 0 &&
            u->firmware_id == fw->id && u->state == UPDATE_PLANNED && u->retry_at > x->now)
            return REASON_BACKING_OFF;
    }
    return REASON_ELIGIBLE;
}

static enum reason naive_campaign(const struct naive *x, const struct release *r)
{
    const struct consent *q = &r->now.consent;

    if (r->now.state == CAMPAIGN_DRAFT || r->now.state == CAMPAIGN_SCHEDULED)
        return REASON_CAMPAIGN_NOT_STARTED;
    if (r->now.state == CAMPAIGN_PAUSED)
        return REASON_CAMPAIGN_PAUSED;
    if (r->now.state != CAMPAIGN_RUNNING)
        return REASON_CAMPAIGN_ENDED;
    if (r->mode != CONSENT_SILENT && q->state == CONSENT_REFUSED)
        return REASON_CONSENT_REFUSED;
    if (r->mode == CONSENT_APP && q->state != CONSENT_CONFIRMED)
        return REASON_AWAITING_CONSENT;
    if (r->mode == CONSENT_DEVICE && q->state == CONSENT_POSTPONED && q->until > x->now)
        return REASON_AWAITING_CONSENT;
    return REASON_ELIGIBLE;
}

/* Its own campaign, and of a delta those of the full images of its version. The newest that lets it
 * go, or of those that don't the one that comes closest; NULL: there is none. */
static const struct release *naive_release(const struct naive *x, const struct firmware *fw,
                                           enum reason *ret, bool *ret_governed)
{
    static const enum reason near[] = {REASON_CAMPAIGN_ENDED,   REASON_CAMPAIGN_NOT_STARTED,
                                       REASON_CAMPAIGN_PAUSED,  REASON_CONSENT_REFUSED,
                                       REASON_AWAITING_CONSENT, REASON_ELIGIBLE};
    const struct release *best = NULL;
    size_t best_near = 0;

    *ret = REASON_CAMPAIGN_NOT_STARTED;
    *ret_governed = false;
    for (size_t i = 0; i < x->n; i++) {
        const struct release *r = &releases[i];
        const struct firmware *of = &x->all[i];
        bool mine = of == fw || (fw->n_sources > 0 && of->n_sources == 0 &&
                                 strcmp(of->module, fw->module) == 0 &&
                                 compare(x, of->version, fw->version) == 0);
        size_t how = 0;

        if (!mine || !r->campaign)
            continue;
        while (near[how] != naive_campaign(x, r))
            how++;
        *ret_governed |= r->now.state != CAMPAIGN_DRAFT && r->now.state != CAMPAIGN_COMPLETED;
        if (best && (how < best_near || (how == best_near && r->campaign < best->campaign)))
            continue;
        best = r;
        best_near = how;
        *ret = near[how];
    }
    return best;
}

/* anywhere: as if the device ran a version from which it goes there. */
static enum reason naive_rules(const struct naive *x, const struct firmware *fw, bool anywhere)
{
    int64_t id = x->facts->device->id;
    bool governed;
    enum reason r;

    if (!fw->enabled)
        return REASON_FIRMWARE_DISABLED;
    if (fw->devices.n && !holds(&fw->devices, id))
        return REASON_NOT_IN_DEVICE_LIST;
    if (holds(&fw->denied, id))
        return REASON_DENIED;
    if (!anywhere && fw->n_sources && !from_listed(x, fw))
        return REASON_SOURCE_VERSION_MISMATCH;
    if (!anywhere && !newer(x, fw))
        return REASON_NOT_NEWER;
    if (!anywhere && floored(x, x->facts->version, fw->version))
        return REASON_FLOOR_FIRST;
    if (fw->hardware &&
        !json_equal(json_object_get(fw->hardware, "hw"), json_object_get(x->facts->arg, "hw")))
        return REASON_HARDWARE_MISMATCH;
    if (short_of(x, fw->has_min_battery, "battery", fw->min_battery))
        return REASON_BATTERY_LOW;
    if (short_of(x, fw->has_min_signal, "signal", fw->min_signal))
        return REASON_SIGNAL_LOW;
    if (short_of(x, fw->has_min_free_space, "free_space", fw->min_free_space))
        return REASON_NO_SPACE;
    (void)naive_release(x, fw, &r, &governed);
    if (r != REASON_ELIGIBLE && (governed || fw->campaign_only))
        return r;
    r = naive_attempts(x, fw);
    if (r != REASON_ELIGIBLE)
        return r;
    for (size_t i = 0; i < x->facts->n_active; i++) {
        const struct active_update *u = &x->facts->active[i];
        bool own = u->device_id == id && strcmp(u->module, "main") == 0;

        if (!own && u->state >= UPDATE_ACCEPTED && u->state <= UPDATE_INSTALLED)
            return REASON_UPDATE_IN_PROGRESS;
        if (u->device_id != id && (u->state == UPDATE_OFFERED || u->state == UPDATE_DEFERRED) &&
            u->updated_at > x->now - 10 * MIN)
            return REASON_UPDATE_IN_PROGRESS;
    }
    return REASON_ELIGIBLE;
}

static enum reason naive_one(const struct naive *x, const struct firmware *fw)
{
    return naive_rules(x, fw, false);
}

static bool naive_failed(const struct naive *x, const struct firmware *fw)
{
    for (size_t i = 0; i < x->facts->n_active; i++)
        if (x->facts->active[i].device_id == x->facts->device->id &&
            strcmp(x->facts->active[i].module, "main") == 0 && x->facts->active[i].attempt >= 2 &&
            x->facts->active[i].firmware_id == fw->id)
            return true;
    for (size_t i = 0; i < x->facts->n_past; i++)
        if (x->facts->past[i].firmware_id == fw->id && x->facts->past[i].attempts > 0)
            return true;
    return false;
}

static bool naive_delta_failed(const struct naive *x)
{
    for (size_t k = 0; k < x->n; k++) {
        const struct firmware *fw = &x->all[k];

        for (size_t i = 0; i < x->facts->n_active; i++)
            if (x->facts->active[i].device_id == x->facts->device->id &&
                strcmp(x->facts->active[i].module, "main") == 0 &&
                x->facts->active[i].attempt >= 2 && x->facts->active[i].firmware_id == fw->id &&
                fw->n_sources > 0)
                return true;
        for (size_t i = 0; i < x->facts->n_past; i++)
            if (x->facts->past[i].firmware_id == fw->id && x->facts->past[i].attempts > 0 &&
                fw->n_sources > 0 && strcmp(fw->module, "main") == 0)
                return true;
    }
    return false;
}

/* 0: a delta that failed. A delta is best while none has failed, the full image after that. */
static int naive_worth(const struct naive *x, const struct firmware *fw)
{
    bool any = naive_delta_failed(x);

    if (fw->n_sources == 0)
        return any ? 3 : 1;
    return !any ? 2 : naive_failed(x, fw) ? 0 : 1;
}

/* The highest version that the device comes to once it runs that of `from`. */
static const char *naive_reach(const struct naive *x, const struct firmware *from)
{
    const char *best = from->version;

    for (size_t i = 0; i < x->n; i++) {
        const struct firmware *to = &x->all[i];
        enum reason now = naive_one(x, to);
        bool step = to->n_sources == 0;

        if (strcmp(to->module, "main") != 0 || order(x, to->version, from->version) <= 0)
            continue;
        if (now == REASON_SOURCE_VERSION_MISMATCH || now == REASON_FLOOR_FIRST)
            now = naive_rules(x, to, true);
        for (size_t k = 0; k < to->n_sources; k++)
            step |= compare(x, to->source_versions[k], from->version) == 0;
        if (now != REASON_ELIGIBLE || !step || floored(x, from->version, to->version))
            continue;
        const char *on = naive_reach(x, to);
        if (order(x, on, best) > 0)
            best = on;
    }
    return best;
}

static bool beats(const struct naive *x, const struct firmware *a, const struct firmware *b)
{
    int far = is_lost(x) ? 0 : order(x, naive_reach(x, a), naive_reach(x, b));
    int high = order(x, a->version, b->version);
    int worth = naive_worth(x, a) - naive_worth(x, b);

    return far ? far > 0 : high ? high > 0 : worth ? worth > 0 : a->id > b->id;
}

static const struct firmware *naive_decide(const struct naive *x)
{
    const struct firmware *best = NULL;

    if (!x->facts->device->enabled || x->facts->device->quarantined_until > x->now ||
        !x->facts->version)
        return NULL;
    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->all[i].module, "main") == 0 && naive_one(x, &x->all[i]) == REASON_ELIGIBLE &&
            (!best || beats(x, &x->all[i], best)))
            best = &x->all[i];
    return best;
}

/* The campaign that asks the user: of the best firmware that waits for a yes, if nothing as good is
 * there without one. */
static int64_t naive_asks(const struct naive *x)
{
    const struct firmware *best = NULL;
    const struct release *release;
    enum reason r;
    bool governed;

    if (!x->facts->device->enabled || x->facts->device->quarantined_until > x->now ||
        !x->facts->version)
        return 0;
    for (size_t i = 0; i < x->n; i++) {
        const struct firmware *fw = &x->all[i];
        int c = !best ? 1 : order(x, fw->version, best->version);

        if (strcmp(fw->module, "main") == 0 && naive_one(x, fw) == REASON_AWAITING_CONSENT &&
            (c > 0 || (c == 0 && fw->id > best->id)))
            best = fw;
    }
    for (size_t i = 0; best && i < x->n; i++)
        if (strcmp(x->all[i].module, "main") == 0 && naive_one(x, &x->all[i]) == REASON_ELIGIBLE &&
            order(x, x->all[i].version, best->version) >= 0)
            return 0;
    release = best ? naive_release(x, best, &r, &governed) : NULL;
    if (!release || release->now.consent.state != CONSENT_NONE ||
        naive_attempts(x, best) != REASON_ELIGIBLE)
        return 0;
    return release->campaign;
}

/* What the seed must have brought, or it proves nothing. */
static int deltas, floors, detours;

/* ---- generation ---- */
static const struct campaign_now *campaign(void *arg UNUSED, const struct campaign *c)
{
    for (size_t i = 0; i < FIRMWARES; i++)
        if (releases[i].campaign == c->id)
            return &releases[i].now;
    return NULL;
}

static void generate_campaign(struct domain *d, const struct firmware *fw, struct release *r)
{
    static const char *const definitions[] = {"{}", "{\"consent\":{\"mode\":\"app\"}}",
                                              "{\"consent\":{\"mode\":\"device\"}}"};

    *r = (struct release){.campaign = 0};
    if (below(3))
        return;
    r->mode = below(2) ? CONSENT_APP : (enum consent_mode)below(3);
    struct campaign c = {.project_id = d->project,
                         .type_id = d->type.id,
                         .firmware_id = fw->id,
                         .name = "c",
                         .definition = definitions[r->mode],
                         .created_at = T0};
    const struct campaign_lists none = {.targets = {.n = 0}};
    MUST(campaign_insert(d->w, &c, &none));
    r->campaign = c.id;
}

static void generate_standing(struct release *r)
{
    static const enum campaign_state states[] = {
        CAMPAIGN_RUNNING,   CAMPAIGN_RUNNING, CAMPAIGN_RUNNING,   CAMPAIGN_DRAFT,
        CAMPAIGN_SCHEDULED, CAMPAIGN_PAUSED,  CAMPAIGN_COMPLETED, CAMPAIGN_ABORTED};

    r->now = (struct campaign_now){.state = states[below(ARRAY_LEN(states))], .phase = 1};
    r->now.consent.state =
        below(2) ? CONSENT_NONE : (enum consent_state)below(CONSENT_STATE__COUNT);
    r->now.consent.phase = 1;
    r->now.consent.offered = r->mode == CONSENT_DEVICE;
    r->now.consent.until = T0 - 1 + (int64_t)below(3);
}

static struct id_list some_devices(struct arena *a, const int64_t *devices)
{
    struct id_list l = {arena_alloc(a, 3 * sizeof(int64_t)), 0};

    for (int i = 0; i < 3; i++)
        if (below(2))
            l.ids[l.n++] = devices[i];
    return l;
}

static void generate_firmware(struct domain *d, const int64_t *devices, struct firmware *fw)
{
    *fw = domain_firmware_of(d, versions[below(ARRAY_LEN(versions))], 10);
    fw->module = below(8) ? "main" : "mcu";
    fw->enabled = below(8) != 0;
    fw->campaign_only = below(10) == 0;
    fw->must_pass = below(6) == 0;
    if (below(5) == 0)
        fw->devices = some_devices(&d->a, devices);
    if (below(5) == 0)
        fw->denied = some_devices(&d->a, devices);
    if (below(2) == 0) {
        fw->source_versions = arena_alloc(&d->a, 3 * sizeof(char *));
        while (fw->n_sources < 1 + below(3))
            fw->source_versions[fw->n_sources++] = versions[below(ARRAY_LEN(versions))];
    }
    if (below(6) == 0)
        fw->hardware = json_pack("{s:s}", "hw", below(2) ? "A" : "B");
    fw->has_min_battery = below(6) == 0;
    fw->min_battery = (int64_t)below(100);
    fw->has_min_signal = below(6) == 0;
    fw->min_signal = -(int64_t)below(100);
    fw->has_min_free_space = below(6) == 0;
    fw->min_free_space = (int64_t)below(100);
    MUST(firmware_insert(d->w, fw, NULL));
}

static json_t *generate_attributes(void)
{
    json_t *o = json_object();

    if (below(4))
        json_object_set_new(o, "hw", json_string(below(2) ? "A" : "B"));
    if (below(4))
        json_object_set_new(o, "battery", json_integer((json_int_t)below(100)));
    if (below(4))
        json_object_set_new(o, "signal", json_integer(-(json_int_t)below(100)));
    if (below(4))
        json_object_set_new(o, "free_space", json_integer((json_int_t)below(100)));
    return o;
}

static void check_rows(const struct naive *x, const struct decision *dn)
{
    for (size_t i = 0; i < dn->n_rows; i++) {
        const struct reason_row *row = &dn->rows[i];
        enum reason expected = REASON__COUNT;

        if (!row->firmware)
            continue;
        for (size_t k = 0; k < x->n; k++)
            if (x->all[k].id == row->firmware->id)
                expected = naive_one(x, &x->all[k]);
        if (expected == REASON_ELIGIBLE && row->firmware != dn->firmware)
            expected = REASON_BETTER_EXISTS;
        assert_int_equal(row->reason, expected);
    }
}

static void one_case(struct domain *d, const int64_t *devices, struct firmware *all, size_t n)
{
    AUTO(json_free) json_t *attributes = generate_attributes();
    struct device device = {.id = devices[below(3)],
                            .type_id = d->type.id,
                            .enabled = below(20) != 0,
                            .quarantined_until = below(20) ? 0 : T0 + 1 - (int64_t)below(3)};
    struct past_attempt past[2] = {
        {all[below(n)].id, (int64_t)below(4), T0 - (int64_t)below(3000) * 1000, below(8) == 0},
        {all[0].id, (int64_t)below(3), T0 - (int64_t)below(3000) * 1000, false},
    };
    struct active_update active[2] = {
        {1, device.id, all[below(n)].id, T0 - 1 + (int64_t)below(3), 0, "main",
         (enum update_state)below(UPDATE_VERIFIED), 1 + (int64_t)below(3), 0},
        {2, below(2) ? device.id : 5000, all[below(n)].id, 0, T0 - (int64_t)below(20) * MIN, "mcu",
         (enum update_state)below(UPDATE_VERIFIED), 1 + (int64_t)below(3), 0},
    };
    struct device_facts facts = {
        .device = &device,
        .module = "main",
        .version = below(30) ? versions[below(ARRAY_LEN(versions))] : NULL,
        .past = past,
        .n_past = past[0].firmware_id == past[1].firmware_id ? below(2) : below(3),
        .active = active,
        .n_active = below(4) ? below(2) : 2,
        .attribute = attribute,
        .campaign = campaign,
        .arg = attributes,
    };
    struct naive x = {d, &facts, all, n, T0};
    for (size_t i = 0; i < n; i++)
        generate_standing(&releases[i]);
    const struct firmware *expected = naive_decide(&x);
    struct decision dn, quick;

    decide(d->catalog, &facts, T0, true, &d->a, &dn);
    decide(d->catalog, &facts, T0, false, &d->a, &quick);
    assert_int_equal(dn.firmware ? dn.firmware->id : 0, expected ? expected->id : 0);
    deltas += expected && expected->n_sources > 0;
    for (size_t i = 0; i < dn.n_rows; i++) {
        floors += dn.rows[i].reason == REASON_FLOOR_FIRST;
        detours += dn.firmware && dn.rows[i].reason == REASON_BETTER_EXISTS &&
                   order(&x, dn.rows[i].firmware->version, dn.firmware->version) > 0;
    }
    assert_ptr_equal(quick.firmware, dn.firmware);
    assert_int_equal(quick.reason, dn.reason);
    assert_int_equal(dn.asks ? dn.asks->id : 0, naive_asks(&x));
    assert_ptr_equal(quick.asks, dn.asks);
    asked += dn.asks != NULL;
    check_rows(&x, &dn);
    /* What decide() offers may still be offered in the same breath. */
    const struct update u = {
        .campaign_id = dn.campaign ? dn.campaign->id : 0, .phase = 1, .state = UPDATE_OFFERED};
    if (dn.firmware)
        assert_int_equal(decide_still(d->catalog, &facts, dn.firmware, dn.campaign ? &u : NULL, T0),
                         REASON_ELIGIBLE);
}

static void one_catalog(struct domain *d, const int64_t *devices)
{
    struct firmware all[FIRMWARES];
    size_t n = 1 + below(ARRAY_LEN(all));

    MUST(db_save(d->w));
    d->type.scheme = below(4) ? VERSION_AUTO : VERSION_OPAQUE;
    domain_type_changed(d);
    for (size_t i = 0; i < n; i++)
        generate_firmware(d, devices, &all[i]);
    for (size_t i = 0; i < FIRMWARES; i++)
        if (i < n)
            generate_campaign(d, &all[i], &releases[i]);
        else
            releases[i].campaign = 0;
    domain_reload(d);
    for (int i = 0; i < CASES; i++)
        one_case(d, devices, all, n);
    for (size_t i = 0; i < n; i++)
        json_decref(all[i].hardware);
    db_undo(d->w);
    arena_reset(&d->a);
}

static void equals_the_naive_one(void **state UNUSED)
{
    struct domain d;
    int64_t devices[3];

    domain_init(&d);
    devices[0] = domain_device(&d, "a");
    devices[1] = domain_device(&d, "b");
    devices[2] = domain_device(&d, "c");
    d.type.key = "cam"; /* not the arena's, which is reset */
    for (int i = 0; i < CATALOGS; i++)
        one_catalog(&d, devices);
    domain_done(&d);
    assert_true(asked > CATALOGS * CASES / 100);
    print_message("%d deltas, %d held by floors, %d detours\n", deltas, floors, detours);
    assert_true(deltas > 100 && floors > 1000 && detours > 20);
}

int test_naive(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_the_naive_one)};

    return cmocka_run_group_tests_name("naive", tests, NULL, NULL);
}
