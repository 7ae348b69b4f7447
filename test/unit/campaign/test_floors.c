/* Campaigns and floors, and a campaign's deltas: who waits for what, and what goes with what. */
#include "tests.h"

struct line {
    struct domain d;
    int64_t dev, floor, high; /* 1.5 (a floor) and 2.0, both by campaign only */
};

static int64_t add(struct domain *d, const char *version, const char *from, bool campaign_only)
{
    struct firmware fw = domain_firmware_of(d, version, 1000);

    fw.source_versions = arena_alloc(&d->a, sizeof(char *));
    fw.source_versions[0] = from;
    fw.n_sources = from != NULL;
    fw.campaign_only = campaign_only;
    fw.must_pass = strcmp(version, "1.5") == 0;
    MUST(firmware_insert(d->w, &fw, NULL));
    domain_reload(d);
    return fw.id;
}

static void reports(struct domain *d, int64_t dev, const char *version, int64_t now)
{
    struct device device;

    MUST(device_by_id(d->w, dev, &d->a, &device));
    MUST(update_reported(d->w, d->catalog, &device, "main", version, now, &d->a));
}

static void line_init(struct line *l)
{
    domain_init(&l->d);
    clock_fake_steady_ms(T0);
    l->dev = domain_device(&l->d, "dev");
    reports(&l->d, l->dev, "1.0", T0);
    l->floor = add(&l->d, "1.5", NULL, true);
    l->high = add(&l->d, "2.0", NULL, true);
}

static void line_done(struct line *l)
{
    clock_fake_steady_ms(0);
    domain_done(&l->d);
}

static int64_t started(struct line *l, int64_t firmware, int64_t rollback, const char *text)
{
    int64_t id = declare(&l->d, firmware, rollback, text, NULL);

    MUST(campaign_start(l->d.w, id, T0, NULL));
    domain_reload(&l->d);
    return id;
}

static struct update asks(struct line *l, int64_t now, enum reason *ret_why)
{
    struct decision why;
    struct device dev;
    struct update u;
    bool repeated;

    MUST(device_by_id(l->d.w, l->dev, &l->d.a, &dev));
    MUST(update_check(l->d.w, l->d.catalog, &dev, "main", now, LIFETIME, &l->d.a, &u, &repeated,
                      &why));
    if (ret_why)
        *ret_why = why.reason;
    return u;
}

static enum reason row_of(struct line *l, int64_t firmware)
{
    struct decision dn;
    struct device dev;
    struct facts_load f;
    enum reason r = REASON__COUNT;

    MUST(device_by_id(l->d.w, l->dev, &l->d.a, &dev));
    MUST(facts_load(l->d.w, &dev, "main", T0, &l->d.a, &f));
    decide(l->d.catalog, &f.facts, T0, true, &l->d.a, &dn);
    for (size_t i = 0; i < dn.n_rows; i++)
        if (dn.rows[i].firmware->id == firmware)
            r = dn.rows[i].reason;
    facts_done(&f);
    return r;
}

static enum reason dry(struct line *l, int64_t id, int *ret_phase)
{
    struct campaign_status s;
    struct campaign c;
    struct device dev;
    struct update_dry x = {.db = l->d.w, .catalog = l->d.catalog, .campaign = &c, .now = T0};
    enum reason r;

    MUST(campaign_by_id(l->d.w, 0, id, &l->d.a, &c, &s));
    MUST(device_by_id(l->d.w, l->dev, &l->d.a, &dev));
    MUST(update_dry_begin(&x));
    MUST(update_dry_device(&x, &dev, &l->d.a, &r, ret_phase));
    return r;
}

static int moved(struct line *l, int64_t id, enum update_state to, int64_t now)
{
    struct device dev;

    MUST(device_by_id(l->d.w, l->dev, &l->d.a, &dev));
    return update_moved(l->d.w, l->d.catalog, &dev, id, to, -1, "", now, &l->d.a);
}

/* The campaign for what is above waits for the floor, the floor for its own campaign. */
static void each_by_its_own_campaign(void **state UNUSED)
{
    struct line l;
    enum reason why;
    int phase;

    line_init(&l);
    int64_t high = started(&l, l.high, 0, "{}");
    assert_int_equal(asks(&l, T0, &why).id, 0);
    assert_int_equal(why, REASON_FLOOR_FIRST);
    assert_int_equal(row_of(&l, l.floor), REASON_CAMPAIGN_NOT_STARTED);
    assert_int_equal(dry(&l, high, &phase), REASON_FLOOR_FIRST);
    assert_int_equal(phase, -1);
    int64_t low = started(&l, l.floor, 0, "{'phases':[{'percent':100}]}");
    assert_int_equal(dry(&l, low, &phase), REASON_ELIGIBLE);
    struct update u = asks(&l, T0, NULL);
    assert_int_equal(u.firmware_id, l.floor);
    assert_int_equal(u.campaign_id, low);
    assert_int_equal(status_of(&l.d, high).active, 0);
    reports(&l.d, l.dev, "1.5", T0 + 1);
    u = asks(&l, T0 + 1, NULL);
    assert_int_equal(u.firmware_id, l.high);
    assert_int_equal(u.campaign_id, high);
    line_done(&l);
}

static void comes_to_high(struct line *l)
{
    reports(&l->d, l->dev, "1.5", T0 + 1);
    struct update u = asks(l, T0 + 1, NULL);
    assert_int_equal(u.firmware_id, l->high);
    reports(&l->d, l->dev, "2.0", T0 + 2);
}

/* A rollback is no leave to go behind a floor; a campaign that allows downgrades is. */
static void a_rollback_stops_at_a_floor(void **state UNUSED)
{
    for (int allowed = 0; allowed < 2; allowed++) {
        struct line l;
        enum reason why;

        line_init(&l);
        int64_t low = add(&l.d, "1.0", NULL, false);
        int64_t id = started(&l, l.high, low, allowed ? "{'allow_downgrade':true}" : "{}");
        comes_to_high(&l);
        MUST(campaign_abort(l.d.w, id, true, T0 + 3, NULL));
        domain_reload(&l.d);
        struct update u = asks(&l, T0 + 4, &why);
        if (allowed) {
            assert_int_equal(u.firmware_id, low);
            assert_int_equal(u.phase, CAMPAIGN_ROLLBACK);
        } else {
            assert_int_equal(u.id, 0);
            assert_int_equal(row_of(&l, low), REASON_BELOW_FLOOR);
        }
        line_done(&l);
    }
}

static void a_rollback_to_the_floor_itself(void **state UNUSED)
{
    struct line l;

    line_init(&l);
    int64_t id = started(&l, l.high, l.floor, "{}");
    comes_to_high(&l);
    MUST(campaign_abort(l.d.w, id, true, T0 + 3, NULL));
    domain_reload(&l.d);
    struct update u = asks(&l, T0 + 4, NULL);
    assert_int_equal(u.firmware_id, l.floor);
    /* Marked meanwhile, a floor between stops what was not begun. */
    struct firmware fw;
    int64_t mid = add(&l.d, "1.8", NULL, false);
    MUST(firmware_by_id(l.d.w, l.d.project, mid, &l.d.a, &fw));
    fw.must_pass = true;
    MUST(firmware_update(l.d.w, &fw, NULL));
    domain_reload(&l.d);
    assert_int_equal(asks(&l, T0 + 5, NULL).id, 0);
    MUST(update_by_id(l.d.w, u.id, &l.d.a, &u));
    assert_int_equal(u.state, UPDATE_CANCELED);
    assert_string_equal(u.cause, "below_floor");
    line_done(&l);
}

static void a_downgrade_that_is_allowed(void **state UNUSED)
{
    struct line l;
    int phase;

    line_init(&l);
    reports(&l.d, l.dev, "2.0", T0);
    int64_t low = add(&l.d, "1.0", NULL, true);
    int64_t plain = started(&l, low, 0, "{'allow_reinstall':true}");
    assert_int_equal(dry(&l, plain, &phase), REASON_NOT_NEWER);
    assert_int_equal(asks(&l, T0, NULL).id, 0);
    int64_t back = started(&l, low, 0, "{'allow_downgrade':true}");
    assert_int_equal(dry(&l, back, &phase), REASON_ELIGIBLE);
    struct update u = asks(&l, T0, NULL);
    assert_int_equal(u.firmware_id, low);
    assert_int_equal(asks(&l, T0 + 1, NULL).id, u.id);
    line_done(&l);
}

/* ---- deltas ---- */
static void it_uses_deltas_of_its_version(void **state UNUSED)
{
    struct line l;
    int phase;

    line_init(&l);
    reports(&l.d, l.dev, "1.6", T0);
    int64_t id = started(&l, l.high, 0, "{'pacing':{'in_progress':1}}");
    int64_t delta = add(&l.d, "v2.0.0", "1.6", true);
    assert_int_equal(dry(&l, id, &phase), REASON_ELIGIBLE);
    struct update u = asks(&l, T0, NULL);
    assert_int_equal(u.firmware_id, delta);
    assert_int_equal(u.campaign_id, id);
    assert_int_equal(status_of(&l.d, id).active, 1);
    /* The one place that there is goes from the delta to the full image. */
    MUST(moved(&l, u.id, UPDATE_FAILED, T0 + 1));
    struct update full = asks(&l, T0 + 2, NULL);
    assert_int_equal(full.firmware_id, l.high);
    assert_int_equal(full.campaign_id, id);
    assert_int_equal(status_of(&l.d, id).active, 1);
    reports(&l.d, l.dev, "2.0", T0 + 3);
    MUST(update_by_id(l.d.w, full.id, &l.d.a, &full));
    assert_int_equal(full.state, UPDATE_VERIFIED);
    line_done(&l);
}

static void of_a_delta_no_more_than_that(void **state UNUSED)
{
    struct line l;
    enum reason why;

    line_init(&l);
    reports(&l.d, l.dev, "1.6", T0);
    int64_t other = add(&l.d, "2.0", "1.7", true);
    started(&l, other, 0, "{}");
    assert_int_equal(asks(&l, T0, &why).id, 0);
    assert_int_equal(row_of(&l, l.high), REASON_CAMPAIGN_NOT_STARTED);
    line_done(&l);
}

/* Else an open delta would carry the release past its phases. */
static void open_deltas_are_governed_with_it(void **state UNUSED)
{
    struct line l;
    enum reason why;
    int64_t delta;

    line_init(&l);
    reports(&l.d, l.dev, "1.6", T0);
    delta = add(&l.d, "2.0", "1.6", false);
    int64_t id = started(&l, l.high, 0, "{}");
    MUST(campaign_pause(l.d.w, id, T0, NULL));
    domain_reload(&l.d);
    assert_int_equal(asks(&l, T0, &why).id, 0);
    assert_int_equal(row_of(&l, delta), REASON_CAMPAIGN_PAUSED);
    MUST(campaign_resume(l.d.w, id, T0, NULL));
    domain_reload(&l.d);
    struct update u = asks(&l, T0, NULL);
    assert_int_equal(u.firmware_id, delta);
    assert_int_equal(u.campaign_id, id);
    line_done(&l);
}

/* Between is above the lower and below the higher; on the way back the higher counts as well, for
 * who goes back from it goes behind it. */
static void between_two_versions(void **state UNUSED)
{
    struct line l;

    line_init(&l);
    int64_t low = add(&l.d, "1.0", NULL, false);
    const struct firmware *lo = catalog_firmware(l.d.catalog, low);
    const struct firmware *floor = catalog_firmware(l.d.catalog, l.floor);
    const struct firmware *hi = catalog_firmware(l.d.catalog, l.high);

    for (int back = 0; back < 2; back++) {
        assert_ptr_equal(update_floor_between(l.d.catalog, lo, hi, back), floor);
        assert_null(update_floor_between(l.d.catalog, floor, hi, back));
        assert_ptr_equal(update_floor_between(l.d.catalog, lo, floor, back), back ? floor : NULL);
    }
    line_done(&l);
}

/* A floor above both the bad version and the good one is no reason not to go back. */
static void a_floor_above_both_lets_it_back(void **state UNUSED)
{
    struct line l;
    struct update u;

    line_init(&l);
    int64_t good = add(&l.d, "1.0", NULL, false), bad = add(&l.d, "1.2", NULL, true);
    int64_t id = started(&l, bad, good, "{}");
    u = asks(&l, T0, NULL);
    assert_int_equal(u.firmware_id, bad);
    MUST(update_served(l.d.w, l.d.catalog, u.id, 1, 0, 1000, 1000, true, T0, &l.d.a));
    reports(&l.d, l.dev, "1.2", T0);
    MUST(campaign_abort(l.d.w, id, true, T0, NULL));
    domain_reload(&l.d);
    u = asks(&l, T0 + 1, NULL);
    assert_int_equal(u.firmware_id, good);
    assert_int_equal(u.phase, CAMPAIGN_ROLLBACK);
    line_done(&l);
}

int test_floors(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_by_its_own_campaign),
        cmocka_unit_test(a_rollback_stops_at_a_floor),
        cmocka_unit_test(a_rollback_to_the_floor_itself),
        cmocka_unit_test(a_downgrade_that_is_allowed),
        cmocka_unit_test(it_uses_deltas_of_its_version),
        cmocka_unit_test(of_a_delta_no_more_than_that),
        cmocka_unit_test(open_deltas_are_governed_with_it),
        cmocka_unit_test(between_two_versions),
        cmocka_unit_test(a_floor_above_both_lets_it_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
