/* What was stopped stays stopped: a firmware that is open, too, is for nobody whom a campaign held
 * back, however that one came to its end. */
#include "release.h"

/* An open 3.0, of which the first device alone may have it. */
static void held_back(struct release *r, const char *definition)
{
    release_init(r);
    r->bad = domain_firmware(&r->d, "3.0");
    started(r, definition, &(struct campaign_lists){.phases = {{&r->devices[1], 1}}});
    assert_int_equal(why(r, 0, T0), REASON_PHASE_NOT_OPEN);
    assert_int_not_equal(asks(r, 1, T0, NULL), 0);
}

static void ends_at(struct release *r, int64_t at)
{
    struct campaign c;
    struct campaign_status s;

    MUST(campaign_by_id(r->d.w, 0, r->campaign, &r->d.a, &c, &s));
    c.ends_at = at;
    MUST(campaign_update(r->d.w, &c, NULL));
    domain_reload(&r->d);
}

#define TWO_PHASES "{'phases':[{'devices':['x']},{'percent':100}]}"

static void assert_withheld(struct release *r, int64_t now)
{
    domain_reload(&r->d);
    for (int i = 2; i < (int)ARRAY_LEN(r->devices); i++)
        assert_int_equal(why(r, i, now), REASON_CAMPAIGN_ENDED);
}

static void an_end_in_time_frees_nothing(void **state UNUSED)
{
    for (int paused = 0; paused < 2; paused++) {
        struct release r;

        held_back(&r, TWO_PHASES);
        ends_at(&r, T0 + DAY);
        if (paused)
            MUST(campaign_pause(r.d.w, r.campaign, T0, NULL));
        MUST(update_campaigns(r.d.w, T0 + DAY, 10));
        assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_ABORTED);
        assert_string_equal(status_of(&r.d, r.campaign).reason, "ends_at");
        assert_false(status_of(&r.d, r.campaign).rolling_back);
        assert_withheld(&r, T0 + DAY);
        release_done(&r);
    }
}

/* A threshold paused it with its only phase open: nobody looked, and time went by. */
static void a_crossed_threshold_outlives_the_end(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    r.bad = domain_firmware(&r.d, "3.0");
    started(&r, "{'thresholds':{'failed':{'percent':0,'min_sample':1,'action':'pause'}}}", NULL);
    ends_at(&r, T0 + DAY);
    goes(&r, 0, false, T0);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    MUST(update_campaigns(r.d.w, T0 + DAY, 10));
    assert_withheld(&r, T0 + DAY);
    release_done(&r);
}

/* All phases were open, and nothing was wrong: it is for all now, as an open firmware is. */
static void an_end_with_all_phases_open_is_one(void **state UNUSED)
{
    struct release r;

    held_back(&r, TWO_PHASES);
    ends_at(&r, T0 + DAY);
    MUST(campaign_approve(r.d.w, r.campaign, true, T0, NULL));
    MUST(update_campaigns(r.d.w, T0 + DAY, 10));
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_COMPLETED);
    assert_string_equal(status_of(&r.d, r.campaign).reason, "ends_at");
    domain_reload(&r.d);
    assert_int_not_equal(asks(&r, 5, T0 + DAY, NULL), 0);
    release_done(&r);
}

static void set_enabled(struct release *r, bool enabled)
{
    struct firmware fw;

    MUST(firmware_by_id(r->d.w, r->d.project, r->bad, &r->d.a, &fw));
    fw.enabled = enabled;
    MUST(firmware_update(r->d.w, &fw, NULL));
    json_decref(fw.hardware);
    domain_reload(&r->d);
}

static void what_was_aborted_is_not_deleted_away(void **state UNUSED)
{
    struct release r;
    struct fail f;

    held_back(&r, TWO_PHASES);
    MUST(campaign_abort(r.d.w, r.campaign, false, T0, NULL));
    MUST(update_campaigns(r.d.w, T0, 10));
    assert_int_equal(status_of(&r.d, r.campaign).active, 0);
    assert_int_equal(campaign_delete(r.d.w, r.campaign, T0, &f), E_CONFLICT);
    assert_non_null(strstr(f.text, "disable"));
    assert_withheld(&r, T0);
    set_enabled(&r, false);
    MUST(campaign_delete(r.d.w, r.campaign, T0, &f)); /* for nobody now, as the operator says */
    release_done(&r);
}

/* ---- thresholds that change, and a campaign that is paused ---- */
#define FAILED(percent)                                                                            \
    "{\"thresholds\":{\"failed\":{\"percent\":" #percent ",\"min_sample\":5,\"action\":\"pause\"}" \
    "}}"

static void a_tighter_threshold_acts_at_once(void **state UNUSED)
{
    struct release r;
    struct campaign c;
    struct campaign_status s;

    release_init(&r);
    started(&r, FAILED(30), NULL);
    for (int i = 0; i < 10; i++)
        goes(&r, i, i < 8, T0);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_RUNNING);
    MUST(campaign_by_id(r.d.w, 0, r.campaign, &r.d.a, &c, &s));
    c.definition = FAILED(20); /* just so many */
    MUST(campaign_update(r.d.w, &c, NULL));
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_RUNNING);
    c.definition = FAILED(10);
    c.updated_at = T0 + 5;
    MUST(campaign_update(r.d.w, &c, NULL));
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    assert_string_equal(status_of(&r.d, r.campaign).reason, "threshold_failed");
    release_done(&r);
}

static void expire(struct release *r, int64_t now)
{
    int64_t next;

    MUST(update_expire(r->d.w, r->d.catalog, now, 100, &next));
    assert_true(next == 0 || next > now);
}

static int64_t in_state(struct release *r, enum update_state s)
{
    const struct update_filter f = {
        .project_id = r->d.project, .campaign_id = r->campaign, .state = (int)s};

    return update_count(r->d.w, &f);
}

/* Nobody was silent: otad itself sent nothing. */
static void a_pause_lets_nothing_time_out(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'thresholds':{'timed_out':{'percent':5,'min_sample':3,'action':'rollback'}}}",
            NULL);
    for (int i = 0; i < 10; i++)
        assert_int_not_equal(asks(&r, i, T0, NULL), 0);
    MUST(campaign_pause(r.d.w, r.campaign, T0 + HOUR, NULL));
    for (int h = 25; h <= 73; h += 24) { /* a weekend */
        expire(&r, T0 + h * HOUR);
        assert_int_equal(in_state(&r, UPDATE_OFFERED), 10);
        assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    }
    struct device dev;
    MUST(device_by_id(r.d.w, r.devices[0], &r.d.a, &dev));
    assert_int_equal(dev.failures, 0);
    MUST(campaign_resume(r.d.w, r.campaign, T0 + 96 * HOUR, NULL));
    expire(&r, T0 + 98 * HOUR); /* the devices have their time from here on */
    assert_int_equal(in_state(&r, UPDATE_OFFERED), 10);
    goes(&r, 0, true, T0 + 98 * HOUR);
    expire(&r, T0 + 121 * HOUR); /* now they are silent */
    assert_int_equal(in_state(&r, UPDATE_OFFERED), 0);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_ABORTED);
    assert_true(status_of(&r.d, r.campaign).rolling_back);
    release_done(&r);
}

static void fails(struct release *r, int i, int64_t update, enum update_state to)
{
    struct device dev;

    MUST(device_by_id(r->d.w, r->devices[i], &r->d.a, &dev));
    MUST(update_moved(r->d.w, r->d.catalog, &dev, update, to, -1, "", T0, &r->d.a));
}

/* The first five have fetched it, the next five only have the offer; then it is paused. */
static void paused_on_the_way(struct release *r, const char *definition, int64_t ids[10])
{
    release_init(r);
    started(r, definition, NULL);
    for (int i = 0; i < 10; i++) {
        ids[i] = asks(r, i, T0, NULL);
        if (i < 5)
            MUST(fetched(r, ids[i], T0));
    }
    MUST(campaign_pause(r->d.w, r->campaign, T0, NULL));
}

static void a_pause_does_not_keep_the_worst_from_being_taken_back(void **state UNUSED)
{
    struct release r;
    int64_t ids[10];

    paused_on_the_way(
        &r, "{'thresholds':{'failed':{'percent':0,'min_sample':3,'action':'rollback'}}}", ids);
    for (int i = 0; i < 2; i++)
        fails(&r, i, ids[i], UPDATE_FAILED);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED); /* of three at least */
    fails(&r, 2, ids[2], UPDATE_FAILED);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_ABORTED);
    assert_string_equal(status_of(&r.d, r.campaign).reason, "threshold_failed");
    assert_true(status_of(&r.d, r.campaign).rolling_back);
    release_done(&r);
}

/* What was verified before it was paused falls back meanwhile. */
static void what_falls_back_during_a_pause_is_heard(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'thresholds':{'rolled_back':{'percent':10,'min_sample':3,'action':'abort'}}}",
            NULL);
    for (int i = 0; i < 4; i++)
        goes(&r, i, true, T0);
    MUST(campaign_pause(r.d.w, r.campaign, T0, NULL));
    reports(&r, 0, "1.0", T0 + HOUR);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_ABORTED);
    assert_string_equal(status_of(&r.d, r.campaign).reason, "threshold_rolled_back");
    assert_false(status_of(&r.d, r.campaign).rolling_back);
    release_done(&r);
}

/* Their links answer 503: that they fail is the pause's own doing, and is never held against the
 * firmware, now or when others fail for real. */
static void what_a_pause_makes_fail_crosses_nothing(void **state UNUSED)
{
    struct release r;
    int64_t ids[10];

    paused_on_the_way(
        &r, "{'thresholds':{'failed':{'percent':30,'min_sample':3,'action':'rollback'}}}", ids);
    for (int i = 5; i < 10; i++)
        fails(&r, i, ids[i], UPDATE_FAILED);
    assert_int_equal(in_state(&r, UPDATE_FAILED), 5); /* counted, and for an operator to see */
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    for (int i = 1; i < 5; i++) {
        fails(&r, i, ids[i], UPDATE_INSTALLED);
        reports(&r, i, "2.0", T0);
    }
    fails(&r, 0, ids[0], UPDATE_FAILED); /* one of the five that had it */
    assert_int_equal(in_state(&r, UPDATE_FAILED), 6);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    release_done(&r);
}

static void a_paused_campaign_is_not_paused_again(void **state UNUSED)
{
    struct release r;
    int64_t ids[10];

    paused_on_the_way(&r, "{'thresholds':{'failed':{'percent':0,'min_sample':1,'action':'pause'}}}",
                      ids);
    fails(&r, 0, ids[0], UPDATE_FAILED);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    assert_string_equal(status_of(&r.d, r.campaign).reason, "operator");
    release_done(&r);
}

/* Tuesdays, for an hour: the second attempt is a week away, and that is no silence. */
static void a_closed_window_is_no_silence(void **state UNUSED)
{
    struct release r;
    const int64_t late = T0 + 45 * MIN, week = T0 + 7 * DAY;
    struct update u;

    release_init(&r);
    started(&r,
            "{'windows':{'timezone':'UTC','slots':[{'days':['tue'],'from':'22:00','to':'23:00'}]},"
            "'deadlines':{'attempts':2}}",
            NULL);
    goes(&r, 0, false, late);
    assert_int_equal(in_state(&r, UPDATE_PLANNED), 1);
    for (int d = 1; d <= 6; d++)
        expire(&r, late + d * DAY + HOUR);
    assert_int_equal(in_state(&r, UPDATE_PLANNED), 1);
    MUST(update_by_id(r.d.w, asks(&r, 0, week, NULL), &r.d.a, &u));
    assert_int_equal(u.attempt, 2);
    expire(&r, week + 25 * HOUR); /* it was offered, and not taken */
    assert_int_equal(in_state(&r, UPDATE_TIMED_OUT), 1);
    release_done(&r);
}

/* Updates that wait are canceled a slice at a time; their links are dead at once. */
static void an_end_closes_the_links_of_who_waits(void **state UNUSED)
{
    for (int aborted = 0; aborted < 2; aborted++) {
        struct update_linked u;
        struct release r;

        release_init(&r);
        started(&r, "{}", NULL);
        goes(&r, 2, true, T0);
        int64_t waits = asks(&r, 0, T0, NULL), begun = asks(&r, 1, T0, NULL);
        MUST(update_served(r.d.w, r.d.catalog, begun, 1, 0, 400, 400, true, T0, &r.d.a));
        const struct firmware *fw = catalog_firmware(r.d.catalog, r.bad);
        MUST(update_linked(r.d.w, waits, &u));
        MUST(update_linked_still(&u, fw));
        MUST(aborted ? campaign_abort(r.d.w, r.campaign, true, T0, NULL)
                     : campaign_complete(r.d.w, r.campaign, T0, NULL));
        MUST(update_linked(r.d.w, waits, &u));
        assert_int_equal(update_linked_still(&u, fw), E_GONE);
        MUST(update_linked(r.d.w, begun, &u)); /* what the device has begun it may end */
        MUST(update_linked_still(&u, fw));
        if (aborted) {
            MUST(update_linked(r.d.w, asks(&r, 2, T0 + 1, NULL), &u));
            MUST(update_linked_still(&u, catalog_firmware(r.d.catalog, r.good)));
        }
        release_done(&r);
    }
}

int test_stop(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_end_in_time_frees_nothing),
        cmocka_unit_test(a_crossed_threshold_outlives_the_end),
        cmocka_unit_test(an_end_with_all_phases_open_is_one),
        cmocka_unit_test(what_was_aborted_is_not_deleted_away),
        cmocka_unit_test(a_tighter_threshold_acts_at_once),
        cmocka_unit_test(a_pause_lets_nothing_time_out),
        cmocka_unit_test(a_pause_does_not_keep_the_worst_from_being_taken_back),
        cmocka_unit_test(what_falls_back_during_a_pause_is_heard),
        cmocka_unit_test(what_a_pause_makes_fail_crosses_nothing),
        cmocka_unit_test(a_paused_campaign_is_not_paused_again),
        cmocka_unit_test(a_closed_window_is_no_silence),
        cmocka_unit_test(an_end_closes_the_links_of_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
