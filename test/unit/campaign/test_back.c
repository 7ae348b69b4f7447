/* Updates that go back: a rollback, and what a campaign allows to be older. */
#include "release.h"

/* The device goes on reporting what it still runs, as it does every few minutes. */
static void assert_stands(struct release *r, int i, const char *runs, int64_t now)
{
    static const enum update_state words[] = {UPDATE_OFFERED,    UPDATE_DEFERRED,
                                              UPDATE_ACCEPTED,   UPDATE_DOWNLOADING,
                                              UPDATE_DOWNLOADED, UPDATE_INSTALLING};
    const int64_t id = asks(r, i, now, NULL);
    struct device dev;
    struct update u;

    assert_int_not_equal(id, 0);
    for (size_t k = 0; k < ARRAY_LEN(words); k++) {
        MUST(device_by_id(r->d.w, r->devices[i], &r->d.a, &dev));
        if (k > 0)
            MUST(update_moved(r->d.w, r->d.catalog, &dev, id, words[k], -1, "", now, &r->d.a));
        reports(r, i, runs, now);
        MUST(update_by_id(r->d.w, id, &r->d.a, &u));
        assert_string_equal(update_state_name(u.state), update_state_name(words[k]));
        assert_int_equal(asks(r, i, now, NULL), id);
    }
    MUST(fetched(r, id, now));
    reports(r, i, "1.0", now);
    MUST(update_by_id(r->d.w, id, &r->d.a, &u));
    assert_int_equal(u.state, UPDATE_VERIFIED);
}

static void what_it_still_runs_cancels_nothing(void **state UNUSED)
{
    for (int opaque = 0; opaque < 2; opaque++) {
        struct release r;

        release_init(&r);
        r.d.type.scheme = opaque ? VERSION_OPAQUE : r.d.type.scheme;
        domain_type_changed(&r.d);
        started(&r, "{}", NULL);
        goes(&r, 0, true, T0);
        MUST(campaign_abort(r.d.w, r.campaign, true, T0, NULL));
        assert_stands(&r, 0, "2.0", T0 + 1);

        reports(&r, 1, "2.0", T0);
        r.campaign = declare(&r.d, r.good, 0, "{'allow_downgrade':true}", NULL);
        MUST(campaign_start(r.d.w, r.campaign, T0, NULL));
        assert_stands(&r, 1, "2.0", T0 + 1);
        release_done(&r);
    }
}

/* It went on by itself: the update is done with. */
static void another_version_beyond_still_does(void **state UNUSED)
{
    struct release r;
    struct update u;

    release_init(&r);
    started(&r, "{}", NULL);
    goes(&r, 0, true, T0);
    MUST(campaign_abort(r.d.w, r.campaign, true, T0, NULL));
    int64_t id = asks(&r, 0, T0 + 1, NULL);
    reports(&r, 0, "3.0", T0 + 1);
    MUST(update_by_id(r.d.w, id, &r.d.a, &u));
    assert_int_equal(u.state, UPDATE_CANCELED);
    assert_string_equal(u.cause, "superseded");
    release_done(&r);
}

/* Completed is no reason to stop a device that is at it, in whatever direction it goes. */
static void what_is_begun_goes_on_after_the_end(void **state UNUSED)
{
    static const char *const definitions[] = {"{'allow_reinstall':true}",
                                              "{'allow_downgrade':true}"};

    for (int i = 0; i < (int)ARRAY_LEN(definitions); i++) {
        struct release r;
        struct device dev;

        release_init(&r);
        if (i == 1)
            reports(&r, i, "2.0", T0);
        r.campaign = declare(&r.d, r.good, 0, definitions[i], NULL);
        MUST(campaign_start(r.d.w, r.campaign, T0, NULL));
        int64_t id = asks(&r, i, T0, NULL);
        assert_int_not_equal(id, 0);
        MUST(device_by_id(r.d.w, r.devices[i], &r.d.a, &dev));
        MUST(update_moved(r.d.w, r.d.catalog, &dev, id, UPDATE_ACCEPTED, -1, "", T0, &r.d.a));
        MUST(campaign_complete(r.d.w, r.campaign, T0, NULL));
        domain_reload(&r.d);
        assert_int_equal(asks(&r, i, T0 + 1, NULL), id);
        release_done(&r);
    }
}

/* ---- taken back is what came by the campaign, and stands ---- */
static void another_release_of_it_is_not_taken_back(void **state UNUSED)
{
    struct release r;
    struct update u;

    release_init(&r);
    started(&r, "{}", NULL);
    goes(&r, 0, true, T0);
    goes(&r, 1, true, T0);
    MUST(campaign_abort(r.d.w, r.campaign, true, T0, NULL));
    int64_t id = asks(&r, 0, T0 + 1, NULL);
    MUST(fetched(&r, id, T0 + 1));
    reports(&r, 0, "1.0", T0 + 1);
    int64_t again = declare(&r.d, r.bad, r.good, "{}", NULL);
    MUST(campaign_start(r.d.w, again, T0 + 2, NULL));
    id = asks(&r, 0, T0 + 2, NULL);
    MUST(update_by_id(r.d.w, id, &r.d.a, &u));
    assert_int_equal(u.campaign_id, again);
    assert_int_equal(u.firmware_id, r.bad);
    MUST(fetched(&r, id, T0 + 2));
    reports(&r, 0, "2.0", T0 + 2);
    assert_int_equal(asks(&r, 0, T0 + 3, NULL), 0); /* or it would go to and fro for ever */
    id = asks(&r, 1, T0 + 3, NULL);
    MUST(update_by_id(r.d.w, id, &r.d.a, &u)); /* that one has it from the first still */
    assert_int_equal(u.phase, CAMPAIGN_ROLLBACK);
    release_done(&r);
}

static void only_what_came_by_it_is_taken_back(void **state UNUSED)
{
    struct release r;
    struct device dev;
    struct update u;
    struct fail f;
    int64_t next;

    release_init(&r);
    started(&r, "{}", NULL);
    MUST(update_cancel(r.d.w, asks(&r, 0, T0, NULL), "operator", "", T0, &f));
    reports(&r, 0, "2.0", T0 + 1); /* somebody installed it by hand */
    int64_t late = asks(&r, 1, T0, NULL);
    MUST(device_by_id(r.d.w, r.devices[1], &r.d.a, &dev));
    MUST(update_moved(r.d.w, r.d.catalog, &dev, late, UPDATE_INSTALLING, -1, "", T0, &r.d.a));
    MUST(update_expire(r.d.w, r.d.catalog, T0 + 2 * DAY, 10, &next));
    MUST(update_by_id(r.d.w, late, &r.d.a, &u));
    assert_int_equal(u.state, UPDATE_UNVERIFIED);
    reports(&r, 1, "2.0", T0 + 2 * DAY); /* it took its time */
    MUST(campaign_abort(r.d.w, r.campaign, true, T0 + 2 * DAY, NULL));
    assert_int_equal(why(&r, 0, T0 + 4 * DAY), REASON_NOT_NEWER);
    MUST(update_by_id(r.d.w, asks(&r, 1, T0 + 4 * DAY, NULL), &r.d.a, &u));
    assert_int_equal(u.phase, CAMPAIGN_ROLLBACK);
    release_done(&r);
}

/* A rollback is the installation's affair: the deadlines of the campaign that failed are not. */
static void a_rollback_has_the_types_deadlines(void **state UNUSED)
{
    struct release r;
    struct update u;

    release_init(&r);
    r.d.type.accept_timeout_s = 3600;
    domain_type_changed(&r.d);
    started(&r, "{'deadlines':{'accept_s':60}}", NULL);
    goes(&r, 0, true, T0);
    MUST(campaign_abort(r.d.w, r.campaign, true, T0, NULL));
    MUST(update_by_id(r.d.w, asks(&r, 0, T0, NULL), &r.d.a, &u));
    assert_int_equal(u.phase, CAMPAIGN_ROLLBACK);
    assert_int_equal(u.deadline_at, T0 + HOUR);
    release_done(&r);
}

/* ---- falling back from what went back ---- */
static int64_t failures(struct release *r, int i)
{
    struct device dev;

    MUST(device_by_id(r->d.w, r->devices[i], &r->d.a, &dev));
    return dev.failures;
}

static void what_went_back_may_fall_back_upwards(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    reports(&r, 0, "2.0", T0);
    r.campaign = declare(&r.d, r.good, 0, "{'allow_downgrade':true}", NULL);
    MUST(campaign_start(r.d.w, r.campaign, T0, NULL));
    MUST(fetched(&r, asks(&r, 0, T0, NULL), T0));
    reports(&r, 0, "1.0", T0 + 1);
    assert_int_equal(failures(&r, 0), 0);
    reports(&r, 0, "2.0", T0 + 2); /* what it came from: it did not hold */
    assert_int_equal(failures(&r, 0), 1);
    release_done(&r);
}

/* From and to are one version: said in other words it has not fallen anywhere. */
static void a_reinstall_in_other_words_is_no_fall(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    r.campaign = declare(&r.d, r.good, 0, "{'allow_reinstall':true}", NULL);
    MUST(campaign_start(r.d.w, r.campaign, T0, NULL));
    MUST(fetched(&r, asks(&r, 0, T0, NULL), T0));
    reports(&r, 0, "1.0", T0 + 1);
    reports(&r, 0, "v1.0.0", T0 + 2);
    reports(&r, 0, "1.0", T0 + 3);
    assert_int_equal(failures(&r, 0), 0);
    release_done(&r);
}

/* What the device runs came by the campaign, however its update was counted in the end. */
static void assert_taken_back(struct release *r, int i, int64_t now)
{
    int64_t id = asks(r, i, now, NULL);
    struct update u;

    assert_int_not_equal(id, 0);
    MUST(update_by_id(r->d.w, id, &r->d.a, &u));
    assert_int_equal(u.phase, CAMPAIGN_ROLLBACK);
    assert_int_equal(u.firmware_id, r->good);
}

static void what_came_late_is_taken_back(void **state UNUSED)
{
    struct release r;
    struct device dev;
    struct update u;
    int64_t next;

    release_init(&r);
    started(&r, "{}", NULL);
    int64_t slow = asks(&r, 0, T0, NULL), fetches = asks(&r, 1, T0, NULL),
            fails = asks(&r, 2, T0, NULL);
    MUST(update_served(r.d.w, r.d.catalog, slow, 1, 0, 400, 400, true, T0, &r.d.a));
    MUST(update_expire(r.d.w, r.d.catalog, T0 + 3 * HOUR, 10, &next));
    MUST(update_by_id(r.d.w, slow, &r.d.a, &u));
    assert_int_equal(u.state, UPDATE_TIMED_OUT);
    MUST(fetched(&r, fetches, T0));
    MUST(fetched(&r, fails, T0));
    MUST(device_by_id(r.d.w, r.devices[2], &r.d.a, &dev));
    MUST(update_moved(r.d.w, r.d.catalog, &dev, fails, UPDATE_FAILED, -1, "no", T0, &r.d.a));
    MUST(campaign_abort(r.d.w, r.campaign, true, T0 + 3 * HOUR, NULL));
    (void)asks(&r, 1, T0 + 3 * HOUR, NULL); /* it asks, and installs what it has nevertheless */
    for (int i = 0; i < 3; i++) {
        reports(&r, i, "2.0", T0 + 3 * HOUR + 1);
        assert_taken_back(&r, i, T0 + 4 * DAY);
    }
    release_done(&r);
}

/* The other slot: it comes up again with what was taken back. */
static void what_comes_back_is_taken_back_again(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{}", NULL);
    goes(&r, 0, true, T0);
    MUST(campaign_abort(r.d.w, r.campaign, true, T0, NULL));
    int64_t id = asks(&r, 0, T0 + 1, NULL);
    MUST(fetched(&r, id, T0 + 1));
    reports(&r, 0, "1.0", T0 + 1);
    reports(&r, 0, "2.0", T0 + 2);
    assert_taken_back(&r, 0, T0 + 2 * DAY);
    release_done(&r);
}

int test_back(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_still_runs_cancels_nothing),
        cmocka_unit_test(another_version_beyond_still_does),
        cmocka_unit_test(what_is_begun_goes_on_after_the_end),
        cmocka_unit_test(another_release_of_it_is_not_taken_back),
        cmocka_unit_test(only_what_came_by_it_is_taken_back),
        cmocka_unit_test(a_rollback_has_the_types_deadlines),
        cmocka_unit_test(what_went_back_may_fall_back_upwards),
        cmocka_unit_test(a_reinstall_in_other_words_is_no_fall),
        cmocka_unit_test(what_came_late_is_taken_back),
        cmocka_unit_test(what_comes_back_is_taken_back_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
