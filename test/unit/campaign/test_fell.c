/* Devices that do not hold what they install: for gates each device is one, and what fell back is
 * no success. */
#include "release.h"

struct counts {
    int64_t ended, verified;
};

static int phase_zero(void *arg, const struct campaign_phase_status *p)
{
    if (p->no == 0)
        *(struct counts *)arg = (struct counts){p->gate_ended, p->gate_verified};
    return 0;
}

static void assert_gate(struct release *r, int64_t ended, int64_t verified)
{
    struct counts c = {-1, -1};

    MUST(campaign_phases(r->d.w, r->campaign, phase_zero, &c));
    assert_int_equal(c.ended, ended);
    assert_int_equal(c.verified, verified);
}

static void one_device_is_not_two(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'verification':{'devices':['x','y']}}",
            &(struct campaign_lists){.verify = {r.devices, 2}});
    goes(&r, 0, true, T0);
    assert_gate(&r, 1, 1);
    reports(&r, 0, "1.0", T0 + 1);
    assert_gate(&r, 1, 0);
    reports(&r, 0, "2.0", T0 + 2); /* by itself: it is the same success, and no better */
    reports(&r, 0, "1.0", T0 + 3);
    assert_gate(&r, 1, 0);
    goes(&r, 0, true, T0 + 4);
    assert_gate(&r, 1, 1);
    assert_int_equal(status_of(&r.d, r.campaign).phase, 0);
    goes(&r, 1, true, T0 + 5);
    assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
    assert_gate(&r, 2, 2);
    reports(&r, 1, "1.0", T0 + 6);
    assert_gate(&r, 2, 1); /* what is open stays so */
    assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
    release_done(&r);
}

static void a_fall_while_it_soaks_closes_the_gate(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r,
            "{'phases':[{'devices':['x'],'min_sample':2,'success_percent':100,'soak_s':3600},"
            "{'percent':100}]}",
            &(struct campaign_lists){.phases = {{r.devices, 3}}});
    goes(&r, 0, true, T0);
    goes(&r, 1, true, T0);
    reports(&r, 1, "1.0", T0 + MIN);
    MUST(update_campaigns(r.d.w, T0 + HOUR, 10));
    assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
    assert_int_equal(why(&r, 9, T0 + HOUR), REASON_PHASE_NOT_OPEN);
    goes(&r, 1, true, T0 + HOUR); /* of two devices both: never mind how often */
    MUST(update_campaigns(r.d.w, T0 + 2 * HOUR, 10));
    assert_int_equal(status_of(&r.d, r.campaign).phase, 2);
    release_done(&r);
}

static void what_fell_back_counts_as_rolled_back(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'thresholds':{'rolled_back':{'percent':20,'min_sample':5,'action':'pause'}}}",
            NULL);
    for (int i = 0; i < 10; i++)
        goes(&r, i, true, T0);
    for (int i = 0; i < 2; i++)
        reports(&r, i, "1.0", T0 + 1);
    reports(&r, 0, "2.0", T0 + 2);
    reports(&r, 0, "1.0", T0 + 3); /* that one is counted already */
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_RUNNING);
    reports(&r, 2, "1.0", T0 + 4);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    assert_string_equal(status_of(&r.d, r.campaign).reason, "threshold_rolled_back");
    release_done(&r);
}

/* What an operator resumed in spite of is forgiven; what falls back afterwards is not. */
static void also_after_a_resume(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'thresholds':{'rolled_back':{'percent':20,'min_sample':5,'action':'pause'}}}",
            NULL);
    for (int i = 0; i < 10; i++)
        goes(&r, i, true, T0);
    MUST(campaign_pause(r.d.w, r.campaign, T0 + 1, NULL));
    MUST(campaign_resume(r.d.w, r.campaign, T0 + 2, NULL));
    for (int i = 0; i < 5; i++) {
        assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_RUNNING);
        reports(&r, i, "1.0", T0 + 3);
    }
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    release_done(&r);
}

/* A device that rests is not counted as failing once more, but it did fall. */
static void also_one_that_rests(void **state UNUSED)
{
    struct release r;
    struct device dev;

    release_init(&r);
    r.d.type.attempts_per_day = 1;
    domain_type_changed(&r.d);
    started(&r, "{'verification':{'devices':['x','y']}}",
            &(struct campaign_lists){.verify = {r.devices, 2}});
    goes(&r, 0, true, T0);
    bool rests;
    MUST(device_failed(r.d.w, r.devices[0], 1, T0, &rests));
    MUST(device_by_id(r.d.w, r.devices[0], &r.d.a, &dev));
    assert_true(dev.quarantined_until > T0);
    reports(&r, 0, "1.0", T0 + 1);
    assert_gate(&r, 1, 0);
    reports(&r, 0, "2.0", T0 + 2);
    reports(&r, 0, "1.0", T0 + 3);
    assert_gate(&r, 1, 0);
    release_done(&r);
}

int test_fell(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_device_is_not_two),
        cmocka_unit_test(a_fall_while_it_soaks_closes_the_gate),
        cmocka_unit_test(what_fell_back_counts_as_rolled_back),
        cmocka_unit_test(also_after_a_resume),
        cmocka_unit_test(also_one_that_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
