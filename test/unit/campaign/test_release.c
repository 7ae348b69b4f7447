/* What devices get from a campaign: phases, gates, thresholds, pacing, rollback; and what decide()
 * says to those that get nothing. */
#include "../../../src/update/update_priv.h"
#include "event.h"
#include "release.h"

/* ---- what those who watch are told ---- */
static int add_told(void *arg, const struct event_row *r)
{
    enum json_fault fault;

    if (strncmp(r->event.type, "campaign.", 9) != 0)
        return 0;
    AUTO(json_free) json_t *j = json_parse(r->text, strlen(r->text), 65536, 8, &fault, NULL);
    const json_t *data = json_object_get(j, "data");

    assert_string_equal(json_get_str(data, "name", ""), "c");
    assert_int_equal(json_get_int(data, "campaign", 0), r->event.object_id);
    sbuf_fmt(arg, "%s %s %d %s|", r->event.type + 9, json_get_str(data, "state", ""),
             (int)json_get_int(data, "phase", -1), json_get_str(data, "reason", ""));
    return 0;
}

/* All of it, in order: each move once. */
static void assert_told(struct release *r, const char *expected)
{
    struct sbuf b = {.p = NULL};

    MUST(event_list(r->d.w, 0, 1000, add_told, &b));
    assert_string_equal(b.p ? b.p : "", expected);
    sbuf_done(&b);
}

static void only_a_running_campaign_releases(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    assert_int_equal(why(&r, 0, T0), REASON_CAMPAIGN_NOT_STARTED);
    r.campaign = declare(&r.d, r.bad, 0, "{}", NULL);
    assert_int_equal(why(&r, 0, T0), REASON_CAMPAIGN_NOT_STARTED);
    MUST(campaign_start(r.d.w, r.campaign, T0, NULL));
    int64_t id = asks(&r, 0, T0, NULL);
    assert_int_not_equal(id, 0);
    MUST(campaign_pause(r.d.w, r.campaign, T0, NULL));
    assert_int_equal(why(&r, 0, T0), REASON_CAMPAIGN_PAUSED); /* what stands is not sent again */
    assert_int_equal(why(&r, 1, T0), REASON_CAMPAIGN_PAUSED);
    assert_int_equal(firmware_delete(r.d.w, r.bad, T0, NULL), E_CONFLICT);
    assert_int_equal(campaign_delete(r.d.w, r.campaign, T0, NULL), E_CONFLICT);
    MUST(campaign_resume(r.d.w, r.campaign, T0, NULL));
    assert_int_equal(asks(&r, 0, T0, NULL), id);
    MUST(campaign_abort(r.d.w, r.campaign, false, T0, NULL));
    assert_int_equal(why(&r, 1, T0), REASON_CAMPAIGN_ENDED);
    assert_int_equal(update_campaigns(r.d.w, T0, 10), 1); /* what waits is canceled */
    assert_int_equal(status_of(&r.d, r.campaign).active, 0);
    assert_int_equal(update_campaigns(r.d.w, T0, 10), 0);
    assert_told(&r, "started running 1 operator|paused paused 1 operator|"
                    "resumed running 1 operator|aborted aborted 1 operator|");
    MUST(campaign_delete(r.d.w, r.campaign, T0, NULL));
    MUST(firmware_delete(r.d.w, r.bad, T0, NULL));
    release_done(&r);
}

static void an_open_firmware_is_governed_too(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    r.bad = domain_firmware(&r.d, "3.0");
    started(&r, "{'phases':[{'devices':['x']},{'percent':100}]}",
            &(struct campaign_lists){.phases = {{&r.devices[1], 1}}});
    assert_int_equal(why(&r, 0, T0), REASON_PHASE_NOT_OPEN);
    assert_int_not_equal(asks(&r, 1, T0, NULL), 0);
    MUST(campaign_abort(r.d.w, r.campaign, false, T0, NULL)); /* it was bad: not for all now */
    assert_int_equal(why(&r, 0, T0), REASON_CAMPAIGN_ENDED);
    release_done(&r);
}

static void a_draft_withholds_nothing(void **state UNUSED)
{
    struct release r;
    struct update u;

    release_init(&r);
    r.bad = domain_firmware(&r.d, "3.0");
    r.campaign = declare(&r.d, r.bad, 0, "{}", NULL);
    MUST(update_by_id(r.d.w, asks(&r, 0, T0, NULL), &r.d.a, &u));
    assert_int_equal(u.firmware_id, r.bad);
    assert_int_equal(u.campaign_id, 0);
    release_done(&r);
}

/* Nor does one that is for others. */
static void a_campaign_for_others_withholds_nothing(void **state UNUSED)
{
    struct release r;
    struct update u;

    release_init(&r);
    r.bad = domain_firmware(&r.d, "3.0");
    started(&r, "{'targets':{'devices':['x']}}",
            &(struct campaign_lists){.targets = {&r.devices[1], 1}});
    MUST(update_by_id(r.d.w, asks(&r, 0, T0, NULL), &r.d.a, &u));
    assert_int_equal(u.campaign_id, 0);
    MUST(update_by_id(r.d.w, asks(&r, 1, T0, NULL), &r.d.a, &u));
    assert_int_equal(u.campaign_id, r.campaign);
    release_done(&r);
}

/* Met, no longer met, met again: it soaks from the start, and an approval asked for is void. */
static void a_gate_that_falls_begins_anew(void **state UNUSED)
{
    for (int approval = 0; approval < 2; approval++) {
        struct release r;

        release_init(&r);
        started(&r,
                approval ? "{'phases':[{'devices':['x'],'success_percent':70,'min_sample':2,"
                           "'approval':true},{'percent':100}]}"
                         : "{'phases':[{'devices':['x'],'success_percent':70,'min_sample':2,"
                           "'soak_s':60},{'percent':100}]}",
                &(struct campaign_lists){.phases = {{r.devices, 4}}});
        goes(&r, 0, true, T0);
        goes(&r, 1, true, T0);
        assert_int_equal(status_of(&r.d, r.campaign).approval, approval);
        goes(&r, 2, false, T0 + 1000); /* two of three are too few */
        assert_false(status_of(&r.d, r.campaign).approval);
        MUST(update_campaigns(r.d.w, T0 + 60000, 10));
        assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
        goes(&r, 3, true, T0 + 60000); /* three of four are enough */
        assert_int_equal(status_of(&r.d, r.campaign).approval, approval);
        MUST(update_campaigns(r.d.w, T0 + 119999, 10));
        assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
        MUST(update_campaigns(r.d.w, T0 + 120000, 10));
        assert_int_equal(status_of(&r.d, r.campaign).phase, approval ? 1 : 2);
        release_done(&r);
    }
}

/* A minute is a minute, however the offers lie in it. */
static void an_offer_forgets_none_of_its_minute(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'pacing':{'offers_per_minute':3}}", NULL);
    assert_int_not_equal(asks(&r, 0, T0, NULL), 0);
    assert_int_not_equal(asks(&r, 1, T0, NULL), 0);
    clock_fake_steady_ms(T0 + 40 * 1000);
    assert_int_not_equal(asks(&r, 2, T0, NULL), 0);
    clock_fake_steady_ms(T0 + 41 * 1000);
    assert_int_equal(why(&r, 3, T0), REASON_PACED);
    release_done(&r);
}

/* Whichever came first: what is told is what the device is nearest to. */
static void of_several_the_nearest_is_told(void **state UNUSED)
{
    for (int order = 0; order < 2; order++) {
        struct release r;
        int64_t paused = 0;

        release_init(&r);
        for (int i = 0; i < 2; i++) {
            if (i == order) {
                paused = declare(&r.d, r.bad, 0, "{}", NULL);
                MUST(campaign_start(r.d.w, paused, T0, NULL));
                MUST(campaign_pause(r.d.w, paused, T0, NULL));
                continue;
            }
            started(&r, "{'targets':{'devices':['x']}}",
                    &(struct campaign_lists){.targets = {&r.devices[1], 1}});
            MUST(campaign_abort(r.d.w, r.campaign, false, T0, NULL));
        }
        assert_int_equal(why(&r, 0, T0), REASON_CAMPAIGN_PAUSED);
        assert_int_equal(why(&r, 1, T0), REASON_CAMPAIGN_PAUSED);
        MUST(campaign_abort(r.d.w, paused, false, T0, NULL));
        assert_int_equal(why(&r, 0, T0), REASON_CAMPAIGN_ENDED);
        release_done(&r);
    }
}

static void only_a_draft_starts(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{}", NULL);
    assert_int_equal(campaign_start(r.d.w, r.campaign, T0, NULL), E_CONFLICT);
    MUST(campaign_pause(r.d.w, r.campaign, T0, NULL));
    assert_int_equal(campaign_pause(r.d.w, r.campaign, T0, NULL), E_CONFLICT);
    assert_int_equal(campaign_start(r.d.w, r.campaign, T0, NULL), E_CONFLICT);
    MUST(campaign_abort(r.d.w, r.campaign, false, T0, NULL));
    assert_int_equal(campaign_start(r.d.w, r.campaign, T0, NULL), E_CONFLICT);
    assert_int_equal(campaign_abort(r.d.w, r.campaign, true, T0, NULL), E_CONFLICT);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_ABORTED);
    assert_false(status_of(&r.d, r.campaign).rolling_back);
    release_done(&r);
}

/* A gate that was met by a clock that ran ahead soaks from now on, not for hours. */
static void a_soak_survives_a_clock_set_back(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r,
            "{'phases':[{'devices':['x'],'success_percent':100,'min_sample':2,'soak_s':60},"
            "{'percent':100}]}",
            &(struct campaign_lists){.phases = {{r.devices, 3}}});
    goes(&r, 0, true, T0 + 10 * HOUR);
    goes(&r, 1, true, T0 + 10 * HOUR);
    goes(&r, 2, true, T0);
    MUST(update_campaigns(r.d.w, T0 + 59999, 10));
    assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
    MUST(update_campaigns(r.d.w, T0 + 60000, 10));
    assert_int_equal(status_of(&r.d, r.campaign).phase, 2);
    release_done(&r);
}

static int64_t seconds_left(struct release *r, int64_t id, enum update_state to)
{
    struct device dev;
    struct update u;

    MUST(update_by_id(r->d.w, id, &r->d.a, &u));
    if (u.state != to) {
        MUST(device_by_id(r->d.w, u.device_id, &r->d.a, &dev));
        MUST(update_moved(r->d.w, r->d.catalog, &dev, id, to, -1, "", T0, &r->d.a));
        MUST(update_by_id(r->d.w, id, &r->d.a, &u));
    }
    assert_int_equal(u.state, to);
    return (u.deadline_at - T0) / 1000;
}

/* Each stage its own: the campaign's, or where that is silent the type's. */
static void every_stage_has_the_campaigns_deadline(void **state UNUSED)
{
    static const struct {
        enum update_state to;
        int64_t own, types;
    } cases[] = {{UPDATE_OFFERED, 61, 71},     {UPDATE_ACCEPTED, 62, 72},
                 {UPDATE_DOWNLOADING, 62, 72}, {UPDATE_DOWNLOADED, 63 + 64, 73 + 74},
                 {UPDATE_INSTALLING, 63, 73},  {UPDATE_REBOOTING, 64, 74},
                 {UPDATE_INSTALLED, 64, 74}};
    struct release r;

    release_init(&r);
    r.d.type.accept_timeout_s = 71;
    r.d.type.download_timeout_s = 72;
    r.d.type.install_timeout_s = 73;
    r.d.type.verify_timeout_s = 74;
    domain_type_changed(&r.d);
    for (int i = 0; i < 2; i++) {
        started(&r,
                i == 0 ? "{'deadlines':{'accept_s':61,'download_s':62,'install_s':63,"
                         "'verify_s':64}}"
                       : "{}",
                NULL);
        int64_t id = asks(&r, i, T0, NULL);
        for (size_t k = 0; k < ARRAY_LEN(cases); k++)
            assert_int_equal(seconds_left(&r, id, cases[k].to),
                             i == 0 ? cases[k].own : cases[k].types);
        MUST(campaign_abort(r.d.w, r.campaign, false, T0, NULL));
    }
    release_done(&r);
}

static void phases_open_by_their_gates(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r,
            "{'phases':[{'devices':['x'],'success_percent':100,'min_sample':2,'soak_s':60},"
            "{'count':1,'approval':true},{'percent':100}]}",
            &(struct campaign_lists){.phases = {{r.devices, 2}}});
    assert_int_equal(campaign_approve(r.d.w, r.campaign, false, T0, NULL), E_CONFLICT);
    goes(&r, 0, true, T0);
    assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
    goes(&r, 1, true, T0);
    assert_int_equal(why(&r, 2, T0), REASON_PHASE_NOT_OPEN);
    MUST(update_campaigns(r.d.w, T0 + 59999, 10));
    assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
    MUST(update_campaigns(r.d.w, T0 + 60000, 10));
    assert_int_equal(status_of(&r.d, r.campaign).phase, 2);
    goes(&r, 2, true, T0 + MIN);
    assert_true(status_of(&r.d, r.campaign).approval);
    assert_int_equal(why(&r, 3, T0 + MIN), REASON_AWAITING_APPROVAL);
    MUST(campaign_approve(r.d.w, r.campaign, false, T0 + MIN, NULL));
    assert_int_equal(status_of(&r.d, r.campaign).phase, 3);
    goes(&r, 3, true, T0 + MIN);
    assert_int_equal(campaign_approve(r.d.w, r.campaign, true, T0, NULL), E_CONFLICT);
    assert_told(&r, "started running 1 operator|phase_opened running 2 gate|"
                    "awaiting_approval running 2 gate|phase_opened running 3 operator|");
    release_done(&r);
}

static void test_devices_come_first(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'verification':{'devices':['x']}}",
            &(struct campaign_lists){.verify = {r.devices, 2}});
    assert_int_equal(why(&r, 5, T0), REASON_PHASE_NOT_OPEN);
    goes(&r, 0, true, T0);
    assert_int_equal(status_of(&r.d, r.campaign).phase, 0);
    goes(&r, 1, true, T0);
    assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
    goes(&r, 5, true, T0);
    assert_told(&r, "started running 0 operator|phase_opened running 1 gate|");
    release_done(&r);
}

/* Verified is each of them: one that failed closes the phase, however many came to an end. */
static void each_test_device_must_be_verified(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'verification':{'devices':['x']}}",
            &(struct campaign_lists){.verify = {r.devices, 2}});
    goes(&r, 0, false, T0);
    goes(&r, 1, true, T0);
    assert_int_equal(status_of(&r.d, r.campaign).phase, 0);
    assert_int_equal(why(&r, 5, T0), REASON_PHASE_NOT_OPEN);
    release_done(&r);
}

/* An offer that was taken back says nothing of the firmware: it is no sample. */
static void what_is_canceled_is_no_sample(void **state UNUSED)
{
    struct release r;
    struct fail f;

    release_init(&r);
    started(&r, "{'thresholds':{'failed':{'percent':10,'min_sample':5,'action':'pause'}}}", NULL);
    for (int i = 0; i < 4; i++)
        MUST(update_cancel(r.d.w, asks(&r, i, T0, NULL), "operator", "", T0, &f));
    goes(&r, 4, false, T0);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_RUNNING);
    for (int i = 5; i < 9; i++)
        goes(&r, i, true, T0);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    release_done(&r);
}

/* A gate that has soaked while the campaign was paused opens as soon as it goes on. */
static void who_resumes_waits_for_no_clock(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r,
            "{'phases':[{'devices':['x'],'success_percent':100,'min_sample':1,'soak_s':60},"
            "{'percent':100}]}",
            &(struct campaign_lists){.phases = {{r.devices, 1}}});
    goes(&r, 0, true, T0);
    MUST(campaign_pause(r.d.w, r.campaign, T0 + 1, NULL));
    MUST(update_campaigns(r.d.w, T0 + HOUR, 10));
    assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
    MUST(campaign_resume(r.d.w, r.campaign, T0 + HOUR, NULL));
    MUST(update_campaigns(r.d.w, T0 + HOUR, 10));
    assert_int_equal(status_of(&r.d, r.campaign).phase, 2);
    release_done(&r);
}

/* Windows by the device's clock: its own zone, and without one its type's. */
static void a_device_has_its_own_night(void **state UNUSED)
{
    static const char *const zones[] = {"Asia/Shanghai", "America/New_York", NULL};
    const int64_t midnight = T0 / DAY * DAY + DAY;
    struct release r;
    struct device dev;

    release_init(&r);
    r.d.type.timezone = "America/New_York";
    domain_type_changed(&r.d);
    for (int i = 0; i < 3; i++) {
        MUST(device_by_id(r.d.w, r.devices[i], &r.d.a, &dev));
        dev.timezone = zones[i];
        MUST(device_update(r.d.w, &dev, NULL));
    }
    started(&r, "{'windows':{'timezone':'device','slots':[{'from':'01:00','to':'02:00'}]}}", NULL);
    for (int i = 0; i < 3; i++) { /* 17:00 of the day before in UTC, and 06:00 */
        int64_t east = midnight - 7 * HOUR, west = midnight + 6 * HOUR;

        assert_int_equal(why(&r, i, i == 0 ? west : east), REASON_WINDOW_CLOSED);
        assert_int_not_equal(asks(&r, i, i == 0 ? east : west, NULL), 0);
    }
    release_done(&r);
}

/* A campaign that pushes leaves alone what is not its own. */
static void what_another_has_planned_is_not_pushed(void **state UNUSED)
{
    struct release r;
    struct update_answer got;
    struct device dev;
    struct update u;

    release_init(&r);
    r.d.type.attempts = 3;
    domain_type_changed(&r.d);
    started(&r, "{}", NULL);
    goes(&r, 0, false, T0);
    MUST(device_by_id(r.d.w, r.devices[0], &r.d.a, &dev));
    MUST(update_active_of(r.d.w, dev.id, "main", &r.d.a, &u));
    assert_int_equal(u.state, UPDATE_PLANNED);
    struct update_ask q = {.module = "main",
                           .cause = "campaign",
                           .campaign_id = r.campaign + 1,
                           .now = T0 + HOUR,
                           .link_lifetime_ms = LIFETIME};
    MUST(update_ask(r.d.w, r.d.catalog, &dev, &q, &r.d.a, &got));
    assert_int_equal(got.update.id, 0);
    assert_int_equal(got.why.reason, REASON_UPDATE_IN_PROGRESS);
    q.campaign_id = r.campaign;
    MUST(update_ask(r.d.w, r.d.catalog, &dev, &q, &r.d.a, &got));
    assert_int_equal(got.update.id, u.id);
    release_done(&r);
}

static void a_success_without_bytes_opens_nothing(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'phases':[{'devices':['x']},{'percent':100}]}",
            &(struct campaign_lists){.phases = {{r.devices, 1}}});
    assert_int_not_equal(asks(&r, 0, T0, NULL), 0);
    reports(&r, 0, "2.0", T0);
    assert_int_equal(status_of(&r.d, r.campaign).phase, 1);
    release_done(&r);
}

/* Nor does it quicken a rate that grows with what is verified. */
static void nor_makes_it_a_rate_grow(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r,
            "{'pacing':{'offers_per_minute':100,'exponential':{'base_per_minute':1,"
            "'increment_factor':2,'verified':1}}}",
            NULL);
    assert_int_not_equal(asks(&r, 0, T0, NULL), 0);
    reports(&r, 0, "2.0", T0);
    assert_int_equal(why(&r, 1, T0), REASON_PACED);
    clock_fake_steady_ms(T0 + 2 * MIN);
    goes(&r, 1, true, T0);
    assert_int_not_equal(asks(&r, 2, T0, NULL), 0); /* this one was a success: two in a minute */
    assert_int_equal(why(&r, 3, T0), REASON_PACED);
    release_done(&r);
}

static void a_threshold_acts_before_the_next_offer(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'thresholds':{'failed':{'percent':20,'min_sample':5,'action':'pause'}}}", NULL);
    for (int i = 0; i < 4; i++)
        goes(&r, i, true, T0);
    goes(&r, 4, false, T0); /* 1 of 5 is no more than 20 percent */
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_RUNNING);
    goes(&r, 5, false, T0);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    assert_string_equal(status_of(&r.d, r.campaign).reason, "threshold_failed");
    assert_told(&r, "started running 1 operator|paused paused 1 threshold_failed|");
    assert_int_equal(why(&r, 6, T0), REASON_CAMPAIGN_PAUSED);
    MUST(campaign_resume(r.d.w, r.campaign, T0, NULL));
    for (int i = 6; i < 10; i++) /* counted anew: four of four are below the sample */
        goes(&r, i, false, T0);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_RUNNING);
    goes(&r, 10, false, T0);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_PAUSED);
    release_done(&r);
}

/* What a campaign says of attempts goes before what the type says: also when they are over. */
static void attempts_are_the_campaigns(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    r.d.type.attempts = 3;
    domain_type_changed(&r.d);
    started(&r, "{'deadlines':{'attempts':1}}", NULL);
    goes(&r, 0, false, T0);
    assert_int_equal(status_of(&r.d, r.campaign).active, 0);
    assert_int_equal(why(&r, 0, T0 + DAY / 2), REASON_ATTEMPTS_EXHAUSTED);
    assert_int_not_equal(asks(&r, 0, T0 + 2 * DAY, NULL), 0);
    release_done(&r);
}

static void the_release_is_taken_back(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'thresholds':{'failed':{'percent':10,'min_sample':3,'action':'rollback'}}}",
            NULL);
    goes(&r, 0, true, T0);
    goes(&r, 1, true, T0);
    assert_int_equal(why(&r, 0, T0), REASON_NOT_NEWER);
    goes(&r, 2, false, T0);
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_ABORTED);
    assert_true(status_of(&r.d, r.campaign).rolling_back);
    assert_told(&r, "started running 1 operator|aborted aborted 1 threshold_failed|");
    reports(&r, 9, "2.0", T0); /* it has the bad version from elsewhere */
    assert_int_equal(why(&r, 9, T0), REASON_NOT_NEWER);
    assert_int_equal(why(&r, 8, T0), REASON_CAMPAIGN_ENDED);
    int64_t id = asks(&r, 0, T0 + 1, NULL);
    struct update u;
    MUST(update_by_id(r.d.w, id, &r.d.a, &u));
    assert_int_equal(u.firmware_id, r.good);
    assert_int_equal(u.phase, CAMPAIGN_ROLLBACK);
    assert_int_equal(asks(&r, 0, T0 + 2, NULL), id);
    MUST(fetched(&r, id, T0 + 2));
    reports(&r, 0, "1.0", T0 + 3);
    MUST(update_by_id(r.d.w, id, &r.d.a, &u));
    assert_int_equal(u.state, UPDATE_VERIFIED);
    assert_int_equal(asks(&r, 0, T0 + 4, NULL), 0); /* and that is where it ends */
    release_done(&r);
}

static void pacing_holds(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{'pacing':{'offers_per_minute':3,'in_progress':5}}", NULL);
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(asks(&r, i, T0, NULL), 0);
    assert_int_equal(why(&r, 3, T0), REASON_PACED);
    assert_int_equal(why(&r, 3, T0 + 24 * HOUR), REASON_PACED); /* the wall clock jumped */
    assert_int_equal(why(&r, 3, T0 - 24 * HOUR), REASON_PACED);
    clock_fake_steady_ms(T0 + 61 * 1000);
    MUST(campaign_recover(r.d.w)); /* after a crash the minute counts from here */
    assert_int_equal(why(&r, 3, T0), REASON_PACED);
    clock_fake_steady_ms(T0 + 122 * 1000);
    for (int i = 3; i < 5; i++)
        assert_int_not_equal(asks(&r, i, T0 + 62 * 1000, NULL), 0);
    assert_int_equal(why(&r, 5, T0 + 62 * 1000), REASON_PACED); /* five are under way */
    MUST(fetched(&r, asks(&r, 0, T0 + MIN, NULL), T0 + MIN));
    reports(&r, 0, "2.0", T0 + MIN);
    assert_int_not_equal(asks(&r, 5, T0 + 62 * 1000, NULL), 0);
    release_done(&r);
}

static void back_and_again_only_where_it_is_said(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    for (int i = 0; i < 3; i++)
        reports(&r, i, i == 0 ? "3.0" : "2.0", T0);
    r.campaign = declare(&r.d, r.bad, 0, "{'allow_downgrade':true}", NULL);
    MUST(campaign_start(r.d.w, r.campaign, T0, NULL));
    assert_int_equal(why(&r, 1, T0), REASON_NOT_NEWER);
    goes(&r, 0, true, T0);
    reports(&r, 0, "3.0", T0 + 1);
    assert_int_equal(why(&r, 0, T0 + 2), REASON_NOT_NEWER); /* once, or it would go to and fro */
    MUST(campaign_complete(r.d.w, r.campaign, T0, NULL));
    int64_t again = declare(&r.d, r.bad, 0, "{'allow_reinstall':true}", NULL);
    MUST(campaign_start(r.d.w, again, T0, NULL));
    assert_int_equal(why(&r, 0, T0), REASON_NOT_NEWER);
    int64_t offer = asks(&r, 1, T0, NULL);
    reports(&r, 1, "2.0", T0); /* what it runs anyway proves nothing */
    assert_int_not_equal(offer, 0);
    assert_int_equal(asks(&r, 1, T0, NULL), offer);
    goes(&r, 1, true, T0);
    assert_int_equal(why(&r, 1, T0), REASON_NOT_NEWER);
    release_done(&r);
}

/* When it is worth asking again, as decide() says. */
static int64_t not_before(struct release *r, int i, int64_t now, enum reason expected)
{
    struct decision why;
    struct device dev;
    struct update u;
    bool repeated;

    MUST(device_by_id(r->d.w, r->devices[i], &r->d.a, &dev));
    MUST(update_check(r->d.w, r->d.catalog, &dev, "main", now, LIFETIME, &r->d.a, &u, &repeated,
                      &why));
    assert_int_equal(u.id, 0);
    assert_int_equal(why.reason, expected);
    return why.retry_at;
}

static void times_come_and_pass(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    r.campaign =
        declare(&r.d, r.bad, 0,
                "{'windows':{'timezone':'UTC','slots':[{'from':'01:00','to':'02:00'}]}}", NULL);
    struct campaign c;
    struct campaign_status s;
    int64_t midnight = T0 / DAY * DAY + DAY;
    MUST(campaign_by_id(r.d.w, 0, r.campaign, &r.d.a, &c, &s));
    c.starts_at = midnight;
    c.ends_at = midnight + DAY;
    MUST(campaign_update(r.d.w, &c, NULL));
    domain_reload(&r.d);
    MUST(campaign_start(r.d.w, r.campaign, T0, NULL));
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_SCHEDULED);
    assert_int_equal(not_before(&r, 0, T0, REASON_CAMPAIGN_NOT_STARTED), midnight);
    MUST(update_campaigns(r.d.w, midnight, 10));
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_RUNNING);
    assert_int_equal(not_before(&r, 0, midnight, REASON_WINDOW_CLOSED), midnight + HOUR);
    int64_t id = asks(&r, 0, midnight + HOUR, NULL);
    assert_int_not_equal(id, 0);
    assert_int_equal(why(&r, 0, midnight + 2 * HOUR), REASON_WINDOW_CLOSED);
    MUST(update_campaigns(r.d.w, midnight + DAY, 10));
    assert_int_equal(status_of(&r.d, r.campaign).state, CAMPAIGN_COMPLETED);
    assert_int_equal(status_of(&r.d, r.campaign).active, 0);
    assert_told(&r, "scheduled scheduled 0 operator|started running 1 starts_at|"
                    "completed completed 1 ends_at|");
    release_done(&r);
}

static int64_t sum;
static int add(void *arg UNUSED, int phase UNUSED, const char *st UNUSED, int64_t n)
{
    sum += n;
    return 0;
}

static void deleted_devices_are_not_counted(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{}", NULL);
    goes(&r, 0, true, T0);
    assert_int_not_equal(asks(&r, 1, T0, NULL), 0);
    MUST(device_delete(r.d.w, r.devices[0], NULL));
    MUST(device_delete(r.d.w, r.devices[1], NULL));
    sum = 0;
    MUST(campaign_counts(r.d.w, r.campaign, add, NULL));
    assert_int_equal(sum, 0);
    assert_int_equal(status_of(&r.d, r.campaign).active, 0);
    release_done(&r);
}

/* ---- its updates, listed and counted by any filter ---- */
static int count_one(void *arg, const struct update *u UNUSED)
{
    (*(int64_t *)arg)++;
    return 0;
}

static void lists_are_what_counts_say(void **state UNUSED)
{
    struct release r;

    release_init(&r);
    started(&r, "{}", NULL);
    for (int i = 0; i < 4; i++)
        goes(&r, i, i > 0, T0);
    assert_int_not_equal(asks(&r, 4, T0, NULL), 0);
    const struct {
        struct update_filter filter;
        int64_t n;
    } cases[] = {
        {{.state = -1}, 5},
        {{.state = UPDATE_VERIFIED}, 3},
        {{.state = -2}, 1},
        {{.state = -2, .firmware_id = r.good}, 0},
        {{.state = UPDATE_VERIFIED, .firmware_id = r.bad}, 3},
        {{.state = -1, .device_id = r.devices[0]}, 1},
        {{.state = UPDATE_VERIFIED, .device_id = r.devices[0]}, 0},
        {{.state = UPDATE_FAILED, .device_id = r.devices[0]}, 1},
        {{.state = -2, .device_id = r.devices[4]}, 1},
        {{.state = -2, .device_id = r.devices[1]}, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct update_filter f = cases[i].filter;
        int64_t n = 0;

        f.project_id = r.d.project;
        f.campaign_id = r.campaign;
        MUST(update_list(r.d.w, &f, 0, 100, count_one, &n));
        assert_int_equal(n, cases[i].n);
        assert_int_equal(update_count(r.d.w, &f), cases[i].n);
        f.campaign_id = r.campaign + 1;
        assert_int_equal(update_count(r.d.w, &f), 0);
    }
    release_done(&r);
}

int test_release(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_running_campaign_releases),
        cmocka_unit_test(an_open_firmware_is_governed_too),
        cmocka_unit_test(a_draft_withholds_nothing),
        cmocka_unit_test(a_campaign_for_others_withholds_nothing),
        cmocka_unit_test(a_gate_that_falls_begins_anew),
        cmocka_unit_test(an_offer_forgets_none_of_its_minute),
        cmocka_unit_test(of_several_the_nearest_is_told),
        cmocka_unit_test(only_a_draft_starts),
        cmocka_unit_test(a_soak_survives_a_clock_set_back),
        cmocka_unit_test(every_stage_has_the_campaigns_deadline),
        cmocka_unit_test(phases_open_by_their_gates),
        cmocka_unit_test(test_devices_come_first),
        cmocka_unit_test(each_test_device_must_be_verified),
        cmocka_unit_test(what_is_canceled_is_no_sample),
        cmocka_unit_test(who_resumes_waits_for_no_clock),
        cmocka_unit_test(a_device_has_its_own_night),
        cmocka_unit_test(what_another_has_planned_is_not_pushed),
        cmocka_unit_test(a_success_without_bytes_opens_nothing),
        cmocka_unit_test(nor_makes_it_a_rate_grow),
        cmocka_unit_test(a_threshold_acts_before_the_next_offer),
        cmocka_unit_test(attempts_are_the_campaigns),
        cmocka_unit_test(the_release_is_taken_back),
        cmocka_unit_test(pacing_holds),
        cmocka_unit_test(back_and_again_only_where_it_is_said),
        cmocka_unit_test(times_come_and_pass),
        cmocka_unit_test(deleted_devices_are_not_counted),
        cmocka_unit_test(lists_are_what_counts_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
