/*
 * A seeded world of campaigns that overlap: two release versions of one module to the same devices,
 * a third one of another module. Whatever devices and operators do, no device has two updates under
 * way of a module, none is offered one while another module is being updated, and each campaign's
 * numbers are those of its rows.
 */
#include "tests.h"

enum { SEEDS = 60, DEVICES = 8, STEPS = 250, CAMPAIGNS = 3 };

static const char *const modules[] = {"main", "mcu"};

struct overlap {
    struct domain *d;
    uint64_t seed, random;
    int64_t now;
    int64_t devices[DEVICES], firmwares[CAMPAIGNS], campaigns[CAMPAIGNS];
    const char *runs[DEVICES][2];
    int64_t active[CAMPAIGNS];
    int under_way[DEVICES][2], installing[DEVICES][2];
};

#define HOLDS(w, cond)                                                                             \
    do {                                                                                           \
        if (!(cond))                                                                               \
            fail_msg("seed %llu: %s", (unsigned long long)(w)->seed, #cond);                       \
    } while (0)

/* Over all seeds: a world in which nothing happens proves nothing. */
static int64_t offered[CAMPAIGNS], verified, withheld;

static uint64_t dice(struct overlap *w, uint64_t n)
{
    return domain_random(&w->random) % n;
}

static int of(const struct overlap *w, const struct update *u)
{
    int c = 0;

    while (c < CAMPAIGNS && w->campaigns[c] != u->campaign_id)
        c++;
    return c;
}

static int look_one(void *arg, const struct update *u)
{
    struct overlap *w = arg;
    int i = 0, m = strcmp(u->module, "mcu") == 0, c = of(w, u);

    while (i < DEVICES && w->devices[i] != u->device_id)
        i++;
    HOLDS(w, i < DEVICES && c < CAMPAIGNS);
    HOLDS(w, u->firmware_id == w->firmwares[c] && m == (c == 2));
    w->under_way[i][m]++;
    w->installing[i][m] += u->state >= UPDATE_ACCEPTED;
    w->active[c]++;
    return 0;
}

/* All that is under way, from the rows alone. */
static void look(struct overlap *w)
{
    const struct update_filter flt = {.project_id = w->d->project, .state = -2};

    memset(w->active, 0, sizeof(w->active));
    memset(w->under_way, 0, sizeof(w->under_way));
    memset(w->installing, 0, sizeof(w->installing));
    MUST(update_list(w->d->w, &flt, 0, 10000, look_one, w));
}

static void judge(struct overlap *w)
{
    look(w);
    for (int i = 0; i < DEVICES; i++)
        HOLDS(w, w->under_way[i][0] <= 1 && w->under_way[i][1] <= 1);
    for (int c = 0; c < CAMPAIGNS; c++)
        HOLDS(w, status_of(w->d, w->campaigns[c]).active == w->active[c]);
}

/* ---- what happens ---- */
static void ask(struct overlap *w, int i, int m, const struct device *dev)
{
    struct decision why;
    struct update u;
    bool repeated;

    MUST(update_check(w->d->w, w->d->catalog, dev, modules[m], w->now, LIFETIME, &w->d->a, &u,
                      &repeated, &why));
    withheld += u.id == 0 && why.reason == REASON_UPDATE_IN_PROGRESS;
    if (u.id == 0)
        return;
    HOLDS(w, w->installing[i][!m] == 0 || u.state >= UPDATE_ACCEPTED);
    HOLDS(w, of(w, &u) < CAMPAIGNS);
    if (!repeated)
        HOLDS(w, status_of(w->d, u.campaign_id).state == CAMPAIGN_RUNNING);
    offered[of(w, &u)] += !repeated;
}

static int active_id(void *arg, const struct update *u)
{
    ((struct update *)arg)[strcmp(u->module, "mcu") == 0] = *u;
    return 0;
}

static void reports(struct overlap *w, int i, int m, const struct device *dev)
{
    MUST(update_reported(w->d->w, w->d->catalog, dev, modules[m], w->runs[i][m], w->now, &w->d->a));
}

static void live(struct overlap *w)
{
    static const enum update_state words[] = {UPDATE_ACCEPTED, UPDATE_INSTALLED, UPDATE_FAILED,
                                              UPDATE_REJECTED};
    int i = (int)dice(w, DEVICES), m = (int)dice(w, 2), rc = 0;
    const struct update_filter flt = {
        .project_id = w->d->project, .device_id = w->devices[i], .state = -2};
    struct update u[2] = {{.id = 0}};
    struct device dev;

    MUST(device_by_id(w->d->w, w->devices[i], &w->d->a, &dev));
    MUST(update_list(w->d->w, &flt, 0, 10, active_id, u));
    if (u[m].id == 0 || dice(w, 3) == 0) {
        ask(w, i, m, &dev);
        return;
    }
    switch (dice(w, 4)) {
    case 0:
        rc = update_moved(w->d->w, w->d->catalog, &dev, u[m].id, words[dice(w, ARRAY_LEN(words))],
                          -1, "", w->now, &w->d->a);
        HOLDS(w, rc == 0 || rc == E_CONFLICT);
        break;
    case 1:
        MUST(update_served(w->d->w, w->d->catalog, u[m].id, 1, 0, 1000, 1000, true, w->now,
                           &w->d->a));
        break;
    case 2: /* it is through, whatever was said before */
        w->runs[i][m] = u[m].firmware_id == w->firmwares[1] ? "3.0" : "2.0";
        verified++;
        reports(w, i, m, &dev);
        break;
    default:
        reports(w, i, m, &dev);
        break;
    }
}

static void operate(struct overlap *w)
{
    int64_t id = w->campaigns[dice(w, CAMPAIGNS)];

    switch (dice(w, 8)) {
    case 0:
        (void)!campaign_pause(w->d->w, id, w->now, NULL);
        break;
    case 1:
        if (dice(w, 4) == 0)
            (void)!campaign_abort(w->d->w, id, false, w->now, NULL);
        break;
    case 2:
    case 3:
        (void)!campaign_start(w->d->w, id, w->now, NULL);
        break;
    default:
        (void)!campaign_resume(w->d->w, id, w->now, NULL);
    }
}

static void step(struct overlap *w)
{
    uint64_t what = dice(w, 100);
    int64_t next;

    if (what < 85) {
        live(w);
    } else if (what < 92) {
        operate(w);
    } else if (what < 97) {
        w->now += (int64_t)dice(w, 2 * HOUR);
    } else {
        MUST(update_expire(w->d->w, w->d->catalog, w->now, 100, &next));
        while (update_campaigns(w->d->w, w->now, 50) == 1)
            ;
    }
}

/* ---- the world ---- */
static void run_seed(struct domain *d, uint64_t seed)
{
    static const char *const versions[CAMPAIGNS] = {"2.0", "3.0", "2.0"};
    struct overlap w = {.d = d, .seed = seed, .random = seed * 0x9E3779B97F4A7C15 + 1, .now = T0};
    char key[32];

    for (int i = 0; i < DEVICES; i++) {
        (void)str_fmt(key, sizeof(key), "o%d", i);
        w.devices[i] = domain_device(d, key);
        for (int m = 0; m < 2; m++)
            MUST(
                device_version_set(d->w, w.devices[i], modules[m], w.runs[i][m] = "1.0", T0, NULL));
    }
    for (int c = 0; c < CAMPAIGNS; c++) {
        struct firmware fw = domain_firmware_of(d, versions[c], 1000);

        fw.module = modules[c == 2];
        fw.campaign_only = true;
        MUST(firmware_insert(d->w, &fw, NULL));
        w.firmwares[c] = fw.id;
        w.campaigns[c] = declare(d, fw.id, 0, c == 1 ? "{'phases':[{'percent':60}]}" : "{}", NULL);
        if (c == 2 || dice(&w, 2))
            MUST(campaign_start(d->w, w.campaigns[c], T0, NULL));
    }
    for (int i = 0; i < STEPS; i++) {
        arena_reset(&d->a);
        step(&w);
        judge(&w);
    }
}

static void no_device_has_two_updates_of_a_module(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    clock_fake_steady_ms(T0);
    d.type.attempts_per_day = 100;
    domain_type_changed(&d);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        MUST(db_save(d.w));
        run_seed(&d, seed);
        db_undo(d.w);
    }
    clock_fake_steady_ms(0);
    domain_done(&d);
    for (int c = 0; c < CAMPAIGNS; c++)
        assert_true(offered[c] > SEEDS);
    assert_true(verified > SEEDS);
    assert_true(withheld > SEEDS);
}

int test_overlap(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_device_has_two_updates_of_a_module)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
