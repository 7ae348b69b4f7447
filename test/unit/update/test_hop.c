/* Which of the candidates: deltas and full images of a version, and the way that leads on. */
#include "../../../src/update/update_priv.h"
#include "tests.h"

static int64_t add(struct domain *d, const char *version, const char *from)
{
    struct firmware fw = domain_firmware_of(d, version, 1000);

    fw.source_versions = arena_alloc(&d->a, sizeof(char *));
    fw.source_versions[0] = from;
    fw.n_sources = from != NULL;
    MUST(firmware_insert(d->w, &fw, NULL));
    domain_reload(d);
    return fw.id;
}

static int64_t begin(struct domain *d, const char *version)
{
    domain_init(d);
    int64_t dev = domain_device(d, "dev");
    report(d, dev, version, T0);
    return dev;
}

/* However the delta's update ended, the full image is next, at once. */
static void after_any_bad_end_the_full_image(void **state UNUSED)
{
    static const enum update_state ends[] = {UPDATE_FAILED, UPDATE_ROLLED_BACK, UPDATE_TIMED_OUT,
                                             UPDATE_UNVERIFIED, UPDATE_REJECTED};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct domain d;
        int64_t dev = begin(&d, "1.0"), next;

        d.type.attempts = 1;
        domain_type_changed(&d);
        int64_t full = add(&d, "2.0", NULL), delta = add(&d, "2.0", "1.0");
        struct update u = check(&d, dev, T0, NULL);
        assert_int_equal(u.firmware_id, delta);
        if (ends[i] == UPDATE_UNVERIFIED || ends[i] == UPDATE_ROLLED_BACK)
            served(&d, u.id, 0, 1000, T0);
        if (ends[i] == UPDATE_ROLLED_BACK)
            MUST(moved(&d, u.id, UPDATE_INSTALLED, T0));
        if (ends[i] == UPDATE_TIMED_OUT || ends[i] == UPDATE_UNVERIFIED)
            MUST(update_expire(d.w, d.catalog, T0 + DAY, 10, &next));
        else
            MUST(moved(&d, u.id, ends[i], T0 + DAY));
        assert_int_equal(the_update(&d, u.id).state, ends[i]);
        assert_int_equal(check(&d, dev, T0 + DAY + 1, NULL).firmware_id, full);
        domain_done(&d);
    }
}

/* EZtCloud's devices only fetch and ask. */
static void fetched_twice_and_asked_again(void **state UNUSED)
{
    struct domain d;
    int64_t dev = begin(&d, "1.0");

    int64_t full = add(&d, "2.0", NULL);
    add(&d, "2.0", "1.0");
    struct update u = check(&d, dev, T0, NULL);
    served(&d, u.id, 0, 1000, T0 + 1);
    assert_int_equal(check(&d, dev, T0 + 2, NULL).id, u.id);
    served(&d, u.id, 0, 500, T0 + 3);                        /* again: the first attempt failed */
    assert_int_equal(check(&d, dev, T0 + 4, NULL).id, u.id); /* it is being fetched */
    served(&d, u.id, 500, 1000, T0 + 5);
    assert_int_equal(check(&d, dev, T0 + 6, NULL).firmware_id, full);
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_FAILED);
    assert_int_equal(u.attempt, 2);
    assert_int_equal(the_device(&d, dev).failures, 2);
    domain_done(&d);
}

static void the_last_failure_of_a_day_quarantines_first(void **state UNUSED)
{
    struct domain d;
    struct decision dn;
    int64_t dev = begin(&d, "1.0");

    d.type.attempts_per_day = 2;
    domain_type_changed(&d);
    add(&d, "2.0", NULL);
    add(&d, "2.0", "1.0");
    struct update u = check(&d, dev, T0, NULL);
    served(&d, u.id, 0, 1000, T0 + 1);
    served(&d, u.id, 0, 1000, T0 + 2);
    assert_int_equal(check(&d, dev, T0 + 3, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_QUARANTINED);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_FAILED);
    domain_done(&d);
}

static void of_several_deltas_one_that_did_not_fail(void **state UNUSED)
{
    struct domain d;
    int64_t dev = begin(&d, "1.0");
    int64_t older = add(&d, "2.0", "1.0"), newer = add(&d, "2.0", "1.0");
    struct update u = check(&d, dev, T0, NULL);

    assert_int_equal(u.firmware_id, newer);
    MUST(moved(&d, u.id, UPDATE_FAILED, T0 + 1));
    u = check(&d, dev, T0 + 2, NULL);
    assert_int_equal(u.firmware_id, older);
    MUST(moved(&d, u.id, UPDATE_FAILED, T0 + 3));
    assert_int_equal(check(&d, dev, T0 + HOUR, NULL).id, u.id); /* both failed: it goes on */
    int64_t full = add(&d, "2.0", NULL);
    assert_int_equal(check(&d, dev, T0 + HOUR, NULL).id, u.id);
    MUST(moved(&d, u.id, UPDATE_FAILED, T0 + HOUR));
    assert_int_equal(check(&d, dev, T0 + HOUR, NULL).firmware_id, full);
    domain_done(&d);
}

static void canceled_means_the_version(void **state UNUSED)
{
    struct domain d;
    struct decision dn;
    int64_t dev = begin(&d, "1.0");

    add(&d, "2.0", NULL);
    int64_t delta = add(&d, "v2.0", "1.0"), low = add(&d, "1.5", NULL);
    struct update u = check(&d, dev, T0, &dn);
    assert_int_equal(u.firmware_id, delta);
    MUST(update_cancel(d.w, u.id, "operator", "", T0 + 1, NULL));
    assert_int_equal(check(&d, dev, T0 + 2, &dn).firmware_id, low); /* and no other file of 2.0 */
    domain_done(&d);
}

static void opaque_versions_have_deltas_too(void **state UNUSED)
{
    struct domain d;
    int64_t dev = begin(&d, "amber");

    d.type.scheme = VERSION_OPAQUE;
    domain_type_changed(&d);
    add(&d, "amber", NULL);
    int64_t full = add(&d, "brass", NULL), newest = add(&d, "coral", NULL);
    int64_t late = add(&d, "brass", "amber"); /* no newer version by that */
    assert_int_equal(check(&d, dev, T0, NULL).firmware_id, newest);
    MUST(update_cancel(d.w, check(&d, dev, T0, NULL).id, "operator", "", T0, NULL));
    struct update u = check(&d, dev, T0, NULL);
    assert_int_equal(u.firmware_id, late);
    MUST(moved(&d, u.id, UPDATE_FAILED, T0));
    u = check(&d, dev, T0, NULL);
    assert_int_equal(u.firmware_id, full);
    report(&d, dev, "brass", T0 + 1);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_VERIFIED);
    assert_int_equal(check(&d, dev, T0 + 2 * DAY, NULL).firmware_id, newest);
    domain_done(&d);
}

static void explain(struct domain *d, int64_t dev, struct decision *ret)
{
    struct device device = the_device(d, dev);
    struct facts_load l;

    MUST(facts_load(d->w, &device, "main", T0, &d->a, &l));
    decide(d->catalog, &l.facts, T0, true, &d->a, ret);
    facts_done(&l);
}

static void a_chain_of_deltas(void **state UNUSED)
{
    struct domain d;
    struct decision dn;
    int64_t dev = begin(&d, "1.0"), second = add(&d, "2.0", "1.0");

    add(&d, "3.0", "2.0");
    add(&d, "4.0", "3.0");
    add(&d, "5.0", "4.1"); /* nothing leads there */
    explain(&d, dev, &dn);
    assert_int_equal(dn.firmware->id, second);
    assert_string_equal(dn.rows[0].params, "{\"current\":\"1.0\"}");
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(dn.rows[i].reason, REASON_SOURCE_VERSION_MISMATCH);
        assert_string_equal(dn.rows[i].params, "{\"current\":\"1.0\",\"via\":\"2.0\"}");
        assert_non_null(strstr(dn.rows[i].text, "2.0 leads there"));
    }
    report(&d, dev, "3.0", T0);
    explain(&d, dev, &dn);
    assert_string_equal(dn.firmware->version, "4.0");
    domain_done(&d);
}

/* 2.5 is a dead end: 3.0 is made for 2.0 alone. */
static void no_dead_end(void **state UNUSED)
{
    struct domain d;
    struct decision dn;
    int64_t dev = begin(&d, "1.0"), step = add(&d, "2.0", NULL), end = add(&d, "2.5", NULL);
    int64_t delta = add(&d, "3.0", "2.0");

    explain(&d, dev, &dn);
    assert_int_equal(dn.firmware->id, step);
    assert_int_equal(dn.rows[1].firmware->id, end);
    assert_int_equal(dn.rows[1].reason, REASON_BETTER_EXISTS);
    assert_non_null(strstr(dn.rows[1].text, "leads further up"));
    assert_int_equal(check(&d, dev, T0, NULL).firmware_id, step);
    MUST(update_cancel(d.w, check(&d, dev, T0, NULL).id, "superseded", "", T0, NULL));
    int64_t way = add(&d, "3.0", "2.5"); /* now it leads there as well */
    assert_int_equal(check(&d, dev, T0, NULL).firmware_id, end);
    MUST(update_cancel(d.w, check(&d, dev, T0, NULL).id, "superseded", "", T0, NULL));
    for (int i = 0; i < 2; i++) { /* a way that can't be gone is none */
        struct firmware fw;

        MUST(firmware_by_id(d.w, d.project, i ? delta : way, &d.a, &fw));
        fw.enabled = false;
        MUST(firmware_update(d.w, &fw, NULL));
        domain_reload(&d);
        explain(&d, dev, &dn);
        assert_int_equal(dn.firmware->id, i ? end : step);
    }
    domain_done(&d);
}

/* A delta that the device could not have from there is no reason to stop below the highest: it is
 * not released, for other devices, or asks for more than the device has. */
static void what_it_could_not_have_leads_nowhere(void **state UNUSED)
{
    for (int i = 0; i < 4; i++) {
        struct domain d;
        struct decision dn;
        int64_t dev = begin(&d, "1.0"), step = add(&d, "2.0", NULL), end = add(&d, "2.5", NULL);
        int64_t other = domain_device(&d, "other");
        struct firmware fw = domain_firmware_of(&d, "3.0", 1000);

        fw.source_versions = (const char *[]){"2.0"};
        fw.n_sources = 1;
        fw.campaign_only = i == 1;
        if (i == 2)
            fw.devices = (struct id_list){&other, 1};
        fw.has_min_battery = i == 3;
        fw.min_battery = 50;
        MUST(firmware_insert(d.w, &fw, NULL));
        domain_reload(&d);
        explain(&d, dev, &dn);
        assert_int_equal(dn.firmware->id, i == 0 ? step : end);
        domain_done(&d);
    }
}

/* 2.0 leads to 4.0 by its delta, but 3.0 must not be passed by. */
static void no_way_leads_around_a_floor(void **state UNUSED)
{
    struct domain d;
    struct decision dn;
    int64_t dev = begin(&d, "1.0");

    add(&d, "2.0", NULL);
    int64_t end = add(&d, "2.5", NULL);
    struct firmware floor = domain_firmware_of(&d, "3.0", 1000);
    floor.must_pass = true;
    floor.source_versions = (const char *[]){"2.7"};
    floor.n_sources = 1;
    MUST(firmware_insert(d.w, &floor, NULL));
    add(&d, "4.0", "2.0");
    explain(&d, dev, &dn);
    assert_int_equal(dn.firmware->id, end);
    domain_done(&d);
}

/* What is made for a version that nothing leads to is on no way. */
static void only_what_is_reached_leads_on(void **state UNUSED)
{
    struct domain d;
    struct decision dn;
    int64_t dev = begin(&d, "1.0"), step = add(&d, "2.0", "1.0");

    add(&d, "2.5", "2.4");
    add(&d, "3.0", "2.5");
    explain(&d, dev, &dn);
    assert_int_equal(dn.firmware->id, step);
    for (int i = 0; i < 2; i++)
        assert_string_equal(dn.rows[i].params, "{\"current\":\"1.0\"}");
    domain_done(&d);
}

/* Another delta failed here today; but this one is on the device, and it is being installed. */
static void a_first_attempt_gives_way_to_nothing(void **state UNUSED)
{
    struct domain d;
    int64_t dev = begin(&d, "1.0"), low = add(&d, "1.5", "1.0");

    d.type.attempts = 1;
    domain_type_changed(&d);
    struct update u = check(&d, dev, T0, NULL);
    assert_int_equal(u.firmware_id, low);
    MUST(moved(&d, u.id, UPDATE_FAILED, T0));
    add(&d, "2.0", "1.0");
    u = check(&d, dev, T0 + 1, NULL);
    served(&d, u.id, 0, 1000, T0 + 2);
    add(&d, "2.0", NULL);
    assert_int_equal(check(&d, dev, T0 + 3, NULL).id, u.id);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_DOWNLOADED);
    domain_done(&d);
}

int test_hop(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_any_bad_end_the_full_image),
        cmocka_unit_test(fetched_twice_and_asked_again),
        cmocka_unit_test(the_last_failure_of_a_day_quarantines_first),
        cmocka_unit_test(of_several_deltas_one_that_did_not_fail),
        cmocka_unit_test(canceled_means_the_version),
        cmocka_unit_test(opaque_versions_have_deltas_too),
        cmocka_unit_test(a_chain_of_deltas),
        cmocka_unit_test(no_dead_end),
        cmocka_unit_test(what_it_could_not_have_leads_nowhere),
        cmocka_unit_test(no_way_leads_around_a_floor),
        cmocka_unit_test(only_what_is_reached_leads_on),
        cmocka_unit_test(a_first_attempt_gives_way_to_nothing),
    };

    return cmocka_run_group_tests_name("hop", tests, NULL, NULL);
}
