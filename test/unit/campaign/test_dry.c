/*
 * A dry run against what then happens: generated campaigns, draft or on their way, over a fleet of
 * all sorts. What it says of each device, reason and phase, is what a check gets once all phases
 * are open. And that walking through it writes nothing.
 */
#include "tests.h"

enum { SEEDS = 300, DEVICES = 14 };

struct fleet {
    struct domain d;
    uint64_t seed, random;
    int64_t devices[DEVICES], firmware, campaign;
};

#define HOLDS(w, cond)                                                                             \
    do {                                                                                           \
        if (!(cond))                                                                               \
            fail_msg("seed %llu, device %d: %s", (unsigned long long)(w)->seed, i, #cond);         \
    } while (0)

/* Over all seeds: which reasons were met. */
static int64_t met[REASON__COUNT], phases_met[4];

static bool one_of(struct fleet *w, uint64_t n)
{
    return domain_random(&w->random) % n == 0;
}

static struct device device_of(struct fleet *w, int i)
{
    struct device dev;

    MUST(device_by_id(w->d.w, w->devices[i], &w->d.a, &dev));
    return dev;
}

/* ---- the fleet ---- */
static int64_t add_firmware(struct fleet *w, const char *version, bool campaign, const char *source,
                            bool floor)
{
    struct firmware fw = domain_firmware_of(&w->d, version, 1000);

    fw.campaign_only = campaign;
    fw.must_pass = floor;
    fw.source_versions = &source;
    fw.n_sources = source ? 1 : 0;
    if (campaign && !source && one_of(w, 6))
        fw.denied = (struct id_list){w->devices, 2};
    MUST(firmware_insert(w->d.w, &fw, NULL));
    return fw.id;
}

static void add_device(struct fleet *w, int i)
{
    static const char *const versions[] = {"1.0", "1.0", "1.0", "1.5", "2.0", "3.0"};
    char *key = arena_printf(&w->d.a, "dev%d", i);
    struct device dev;

    w->devices[i] = domain_device(&w->d, key);
    dev = device_of(w, i);
    dev.tags = one_of(w, 2) ? "[\"site\"]" : "[]";
    dev.enabled = !one_of(w, 12);
    MUST(device_update(w->d.w, &dev, NULL));
    if (one_of(w, 12))
        return;
    dev = device_of(w, i);
    MUST(update_reported(w->d.w, w->d.catalog, &dev, "main",
                         versions[domain_random(&w->random) % ARRAY_LEN(versions)], T0, &w->d.a));
}

static void declare_it(struct fleet *w)
{
    static const char *const phases[] = {
        "[{'percent':100}]",
        "[{'percent':30},{'percent':80}]",
        "[{'count':2},{'count':3},{'percent':50}]",
        "[{'devices':['x']},{'count':4}]",
        "[{'count':1},{'percent':100}]",
    };
    static const char *const asks[] = {
        "", "", ",'consent':{'mode':'app'},'texts':{'en':{'title':'t','notes':'n'}}",
        ",'consent':{'mode':'device'}"};
    const char *back[] = {"", ",'allow_downgrade':true", ",'allow_reinstall':true"};
    struct campaign_lists l = {.denied = {&w->devices[3], one_of(w, 3)},
                               .verify = {&w->devices[5], 1},
                               .phases = {{&w->devices[6], 3}}};
    const char *text = arena_printf(
        &w->d.a, "{'targets':{%s%s'deny':[]},'phases':%s%s%s%s,'deadlines':{'attempts':1}}",
        one_of(w, 4) ? "'tags':['site']," : "", one_of(w, 4) ? "'frozen':true," : "",
        phases[domain_random(&w->random) % ARRAY_LEN(phases)],
        one_of(w, 4) ? ",'verification':{'devices':['x']}" : "",
        asks[domain_random(&w->random) % ARRAY_LEN(asks)],
        back[domain_random(&w->random) % ARRAY_LEN(back)]);

    w->campaign = declare(&w->d, w->firmware, 0, text, &l);
}

static void fleet_init(struct fleet *w, uint64_t seed)
{
    *w = (struct fleet){.seed = seed, .random = seed * 0x9E3779B97F4A7C15 + 1};
    domain_init(&w->d);
    clock_fake_steady_ms(T0);
    for (int i = 0; i < DEVICES; i++)
        add_device(w, i);
    (void)add_firmware(w, "1.0", false, NULL, false);
    if (one_of(w, 3))
        (void)add_firmware(w, "1.5", true, NULL, one_of(w, 2));
    w->firmware = add_firmware(w, "2.0", true, NULL, false);
    if (one_of(w, 3))
        (void)add_firmware(w, "2.0", true, "1.0", false);
    domain_reload(&w->d);
    declare_it(w);
}

static void fleet_done(struct fleet *w)
{
    clock_fake_steady_ms(0);
    domain_done(&w->d);
}

/* ---- what happens ---- */
static struct update check(struct fleet *w, int i, enum reason *ret)
{
    struct device dev = device_of(w, i);
    struct decision why;
    struct update u;
    bool repeated;

    MUST(update_check(w->d.w, w->d.catalog, &dev, "main", T0, LIFETIME, &w->d.a, &u, &repeated,
                      &why));
    *ret = why.reason;
    return u;
}

/* Of the campaign's firmware, or of the device as a whole. */
static enum reason row_of(struct fleet *w, int i)
{
    struct device dev = device_of(w, i);
    struct facts_load f;
    struct decision dn;
    enum reason r = REASON__COUNT;

    MUST(facts_load(w->d.w, &dev, "main", T0, &w->d.a, &f));
    decide(w->d.catalog, &f.facts, T0, true, &w->d.a, &dn);
    for (size_t k = 0; k < dn.n_rows; k++)
        if (!dn.rows[k].firmware || dn.rows[k].firmware->id == w->firmware)
            r = dn.rows[k].reason;
    facts_done(&f);
    return r;
}

/* Some have been there before: they have it, failed, or their users were asked and answered. */
static void goes_on_its_way(struct fleet *w)
{
    static const enum update_state ends[] = {UPDATE_FAILED, UPDATE_REJECTED, UPDATE_DEFERRED};
    const char *code;
    enum reason why;

    MUST(campaign_start(w->d.w, w->campaign, T0, NULL));
    for (int i = 0; i < DEVICES; i += 2) {
        struct update u = check(w, i, &why);
        struct device dev = device_of(w, i);
        struct campaign_status s;
        struct campaign c;
        struct consent q;

        MUST(campaign_by_id(w->d.w, 0, w->campaign, &w->d.a, &c, &s));
        if (u.id && one_of(w, 2))
            MUST(update_moved(w->d.w, w->d.catalog, &dev, u.id,
                              ends[domain_random(&w->random) % ARRAY_LEN(ends)], -1, "", T0,
                              &w->d.a));
        else if (u.id)
            MUST(update_reported(w->d.w, w->d.catalog, &dev, "main", "2.0", T0, &w->d.a));
        else if (consent_of(w->d.w, w->campaign, dev.id, &q) == 0 && one_of(w, 2))
            MUST(consent_answer(w->d.w, &c, s.state, &q,
                                (enum consent_answer)(domain_random(&w->random) % 3), 0, "user", T0,
                                &code, NULL));
    }
}

static void open_all(struct fleet *w)
{
    if (status_of(&w->d, w->campaign).state == CAMPAIGN_DRAFT)
        MUST(campaign_start(w->d.w, w->campaign, T0, NULL));
    while (campaign_approve(w->d.w, w->campaign, true, T0, NULL) == 0)
        ;
    domain_reload(&w->d);
}

static bool is_under_way(struct fleet *w, int i)
{
    const struct update_filter f = {
        .project_id = w->d.project, .device_id = w->devices[i], .state = -2};

    return update_count(w->d.w, &f) > 0;
}

static void judge(struct fleet *w, int i, enum reason said, int phase)
{
    enum reason why, row = row_of(w, i);
    struct update u = check(w, i, &why);

    met[said]++;
    if (said == REASON_NOT_IN_DEVICE_LIST) { /* before all else; the firmware is not open */
        HOLDS(w, u.id == 0);
        return;
    }
    HOLDS(w, (u.id != 0) == (said == REASON_ELIGIBLE));
    if (u.id == 0) {
        if (said != row && !(said == REASON_DENIED && why != REASON_ELIGIBLE))
            fail_msg("seed %llu, device %d: said %s, got %s", (unsigned long long)w->seed, i,
                     reason_code(said), reason_code(row));
        return;
    }
    HOLDS(w, u.campaign_id == w->campaign && u.phase == phase);
    phases_met[phase < 3 ? phase : 3]++;
}

static void what_it_says_is_what_happens(void **state UNUSED)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        enum reason said[DEVICES];
        int phase[DEVICES];
        bool skip[DEVICES];
        struct campaign_status s;
        struct campaign c;
        struct fleet w;

        fleet_init(&w, seed);
        if (one_of(&w, 2))
            goes_on_its_way(&w);
        MUST(campaign_by_id(w.d.w, 0, w.campaign, &w.d.a, &c, &s));
        struct update_dry x = {.db = w.d.w, .catalog = w.d.catalog, .campaign = &c, .now = T0};
        const int64_t before = db_total_changes(w.d.w);
        MUST(update_dry_begin(&x));
        for (int i = 0; i < DEVICES; i++) {
            struct device dev = device_of(&w, i);
            MUST(update_dry_device(&x, &dev, &w.d.a, &said[i], &phase[i]));
            skip[i] = is_under_way(&w, i); /* it is where it is; a check repeats that */
        }
        assert_int_equal(db_total_changes(w.d.w), before);
        open_all(&w);
        for (int i = 0; i < DEVICES; i++)
            if (!skip[i])
                judge(&w, i, said[i], phase[i]);
        fleet_done(&w);
    }
    static const enum reason all[] = {
        REASON_ELIGIBLE,        REASON_DEVICE_DISABLED,    REASON_VERSION_UNKNOWN,
        REASON_DENIED,          REASON_NOT_IN_DEVICE_LIST, REASON_NOT_NEWER,
        REASON_FLOOR_FIRST,     REASON_PHASE_NOT_OPEN,     REASON_AWAITING_CONSENT,
        REASON_CONSENT_REFUSED, REASON_ATTEMPTS_EXHAUSTED,
    };
    for (size_t k = 0; k < ARRAY_LEN(all); k++)
        if (met[all[k]] == 0)
            fail_msg("no world had %s", reason_code(all[k]));
    for (int p = 0; p < 4; p++)
        assert_true(phases_met[p] > 0);
}

int test_dry(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_says_is_what_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
