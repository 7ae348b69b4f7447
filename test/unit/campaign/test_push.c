/* Campaigns that push: who gets an offer unasked, when, and how often. */
#include "tests.h"

enum { DEVICES = 400 };

struct world {
    struct domain d;
    struct update_walks walks;
    int64_t ids[DEVICES], good, bad, campaign, now;
    bool there[DEVICES], told[DEVICES];
    int asked, sent, send_rc;
    bool consents;
    int64_t last; /* update that was sent */
};

static int index_of(struct world *w, int64_t id)
{
    for (int i = 0; i < DEVICES; i++)
        if (w->ids[i] == id)
            return i;
    fail_msg("a device that is none");
    return 0;
}

static int is_there(void *arg, const struct device *d, bool *ret)
{
    struct world *w = arg;

    w->asked++;
    *ret = w->there[index_of(w, d->id)];
    return 0;
}

static int send_one(void *arg, const struct device *d, const struct update *u)
{
    struct world *w = arg;

    w->told[index_of(w, d->id)] = true;
    w->last = u->id;
    w->sent++;
    assert_int_equal(u->device_id, d->id);
    assert_string_equal(u->cause, "campaign");
    if (w->consents) { /* all of it is written: nothing that fails comes behind what leaves */
        struct consent q;

        MUST(consent_of(w->d.w, w->campaign, d->id, &q));
        assert_true(q.offered && !q.push && q.due_at == 0);
    }
    return w->send_rc;
}

static struct update_push_env env_of(struct world *w)
{
    return (struct update_push_env){.db = w->d.w,
                                    .catalog = w->d.catalog,
                                    .now = w->now,
                                    .link_lifetime_ms = LIFETIME,
                                    .arena = &w->d.a,
                                    .there = is_there,
                                    .send = send_one,
                                    .arg = w};
}

/* Until nothing is to be done at once; how many were sent. */
static int go(struct world *w)
{
    struct update_push_env env = env_of(w);
    int before = w->sent, rc;

    do {
        int asked = w->asked;

        rc = update_push_walk(&env, &w->walks, 50, 1000000);
        MUST(rc);
        assert_true(w->asked - asked <= 50); /* a slice is a slice, however many there are */
    } while (rc == 1);
    return w->sent - before;
}

/* What is kept in memory alone is lost; waits are over too. */
static void restart(struct world *w)
{
    update_walks_done(&w->walks);
    w->walks = (struct update_walks){.after = 0};
}

static int seen(struct world *w, int i)
{
    struct update_push_env env = env_of(w);
    struct device d;
    int before = w->sent;

    MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &d));
    MUST(update_push_seen(&env, &d));
    return w->sent - before;
}

static void report(struct world *w, int i, const char *version)
{
    struct device d;

    MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &d));
    MUST(update_reported(w->d.w, w->d.catalog, &d, "main", version, w->now, &w->d.a));
}

static void setup(struct world *w, const char *definition, const struct campaign_lists *lists)
{
    char key[16];

    memset(w, 0, sizeof(*w));
    w->now = T0;
    domain_init(&w->d);
    for (int i = 0; i < DEVICES; i++) {
        (void)str_fmt(key, sizeof(key), "d%d", i);
        w->ids[i] = domain_device(&w->d, key);
        w->there[i] = i % 4 != 3;
        MUST(device_version_set(w->d.w, w->ids[i], "main", i < 300 ? "1.0" : "2.0", T0, NULL));
    }
    w->good = domain_firmware(&w->d, "1.0");
    struct firmware fw = domain_firmware_of(&w->d, "2.0", 1000);
    fw.campaign_only = true;
    MUST(firmware_insert(w->d.w, &fw, NULL));
    w->bad = fw.id;
    w->campaign = declare(&w->d, w->bad, w->good, definition, lists);
}

static void start(struct world *w)
{
    MUST(campaign_start(w->d.w, w->campaign, w->now, NULL));
}

static void teardown(struct world *w)
{
    update_walks_done(&w->walks);
    domain_done(&w->d);
}

static void those_that_are_there_and_the_others_later(void **state UNUSED)
{
    struct world w;

    setup(&w, "{'delivery':'push'}", NULL);
    assert_int_equal(go(&w), 0); /* a draft */
    assert_int_equal(seen(&w, 3), 0);
    start(&w);
    assert_int_equal(go(&w), 225);
    assert_int_equal(w.asked, 400);
    for (int i = 0; i < DEVICES; i++)
        assert_int_equal(w.told[i], i < 300 && w.there[i]);
    restart(&w);
    assert_int_equal(go(&w), 0); /* once */
    assert_int_equal(seen(&w, 0), 0);
    assert_int_equal(seen(&w, 3), 1);
    assert_int_equal(seen(&w, 3), 0);
    assert_int_equal(seen(&w, 399), 0); /* it runs it already */
    MUST(campaign_pause(w.d.w, w.campaign, w.now, NULL));
    assert_int_equal(seen(&w, 7), 0);
    MUST(campaign_resume(w.d.w, w.campaign, w.now, NULL));
    w.there[11] = true; /* it came while all was paused */
    assert_int_equal(go(&w), 1);
    assert_int_equal(seen(&w, 7), 1);
    teardown(&w);
}

static void an_offer_campaign_pushes_nothing(void **state UNUSED)
{
    struct world w;

    setup(&w, "{}", NULL);
    start(&w);
    assert_int_equal(go(&w), 0);
    assert_int_equal(seen(&w, 0), 0);
    assert_int_equal(w.asked, 0);
    teardown(&w);
}

static void a_phase_that_opens_is_gone_through(void **state UNUSED)
{
    struct world w;
    int in_phase = 0, reachable = 0;

    setup(&w, "{'delivery':'push','phases':[{'percent':10},{'percent':100,'approval':true}]}",
          NULL);
    for (int i = 0; i < DEVICES; i++) {
        bool in = campaign_share_of(w.campaign, w.ids[i]) < CAMPAIGN_SHARE / 10;
        in_phase += in;
        reachable += in && i < 300 && w.there[i];
    }
    assert_true(in_phase > 10 && in_phase < 100);
    start(&w);
    assert_int_equal(go(&w), reachable);
    assert_int_equal(w.asked, in_phase); /* others are not even read */
    MUST(campaign_approve(w.d.w, w.campaign, true, w.now, NULL));
    assert_int_equal(go(&w), 225 - reachable);
    teardown(&w);
}

static void the_pace_holds_and_it_goes_on(void **state UNUSED)
{
    struct world w;

    clock_fake_steady_ms(T0);
    setup(&w, "{'delivery':'push','pacing':{'offers_per_minute':40,'in_progress':60}}", NULL);
    start(&w);
    assert_int_equal(go(&w), 40);
    int asked = w.asked;
    assert_int_equal(go(&w), 0);
    assert_int_equal(seen(&w, 299), 0); /* nor by its word */
    restart(&w);
    MUST(campaign_recover(w.d.w));
    assert_int_equal(go(&w), 0);
    assert_int_equal(w.asked, asked); /* while it waits, nobody is asked */
    clock_fake_steady_ms(T0 + 2 * MIN);
    restart(&w);
    assert_int_equal(go(&w), 20); /* in_progress */
    report(&w, 0, "2.0");
    clock_fake_steady_ms(T0 + 4 * MIN);
    restart(&w);
    assert_int_equal(go(&w), 1);
    teardown(&w);
    clock_fake_steady_ms(0);
}

/* Each device's turn comes, whenever the process ends in between, and not before. */
static void jitter_spreads_them(void **state UNUSED)
{
    struct campaign_status s;
    struct campaign c;
    struct world w;
    int sent = 0, steps = 0;

    setup(&w, "{'delivery':'push','pacing':{'jitter_s':3600}}", NULL);
    start(&w);
    MUST(campaign_by_id(w.d.w, 0, w.campaign, &w.d.a, &c, &s));
    for (; w.now <= T0 + HOUR + MIN; w.now += MIN, steps++) {
        struct update_push_env env = env_of(&w);

        for (int i = 0; i < 200; i++) { /* rounds, some of which are cut short */
            MUST(update_push_walk(&env, &w.walks, 1 + i % 50, 1000000));
            if (i % 67 == 50)
                restart(&w);
        }
        for (int i = 0; i < DEVICES; i++)
            if (i < 300 && w.there[i])
                assert_int_equal(w.told[i], campaign_due(&c, w.ids[i], 1, T0, w.now) <= w.now);
        if (steps == 30)
            sent = w.sent;
    }
    assert_in_range(sent, 80, 145); /* about half of them in half of the time */
    assert_int_equal(w.sent, 225);
    teardown(&w);
}

/* A transaction that is lost takes what was sent in it back: in memory as well. */
static void a_round_that_is_undone_is_made_again(void **state UNUSED)
{
    struct campaign_status s;
    struct campaign c;
    struct world w;

    setup(&w, "{'delivery':'push','pacing':{'jitter_s':3600}}", NULL);
    start(&w);
    MUST(campaign_by_id(w.d.w, 0, w.campaign, &w.d.a, &c, &s));
    for (; w.now <= T0 + HOUR + MIN; w.now += MIN) {
        static bool told[DEVICES];
        int sent = w.sent;

        clock_fake_steady_ms(w.now);
        memcpy(told, w.told, sizeof(told));
        MUST(db_save(w.d.w));
        (void)go(&w);
        db_undo(w.d.w);
        update_walks_anew(&w.walks);
        memcpy(w.told, told, sizeof(told));
        w.sent = sent;
        (void)go(&w);
        for (int i = 0; i < DEVICES; i++)
            if (i < 300 && w.there[i])
                assert_int_equal(w.told[i], campaign_due(&c, w.ids[i], 1, T0, w.now) <= w.now);
    }
    assert_int_equal(w.sent, 225);
    clock_fake_steady_ms(0);
    teardown(&w);
}

static void the_rate_grows(void **state UNUSED)
{
    struct world w;
    int n = 0;

    clock_fake_steady_ms(T0);
    setup(
        &w,
        "{'delivery':'push','pacing':{'offers_per_minute':100,'exponential':{'base_per_minute':10,"
        "'increment_factor':2,'offered':30}}}",
        NULL);
    start(&w);
    for (int minute = 0; minute < 10; minute++) {
        clock_fake_steady_ms(T0 + minute * 2 * MIN);
        restart(&w);
        MUST(campaign_recover(w.d.w));
        clock_fake_steady_ms(T0 + (minute * 2 + 1) * MIN + 2000);
        int sent = go(&w);
        n += sent;
        assert_true(minute < 2 ? sent == 10 : sent <= 100);
    }
    assert_int_equal(n, 225);
    teardown(&w);
    clock_fake_steady_ms(0);
}

static void only_the_listed(void **state UNUSED)
{
    struct world w;
    struct campaign_lists lists = {.targets = {.n = 0}};
    int64_t targets[2], verify[1];

    setup(&w, "{}", NULL);
    targets[0] = w.ids[1];
    targets[1] = w.ids[8];
    verify[0] = w.ids[4];
    lists.targets = (struct id_list){targets, 2};
    lists.verify = (struct id_list){verify, 1};
    w.campaign = declare(&w.d, w.bad, 0,
                         "{'delivery':'push','targets':{'devices':['x','y']},'verification':"
                         "{'devices':['z']}}",
                         &lists);
    start(&w);
    assert_int_equal(go(&w), 1);
    assert_true(w.told[4] && w.asked == 1);
    MUST(update_served(w.d.w, w.d.catalog, w.last, 1, 0, 1000, 1000, true, w.now, &w.d.a));
    report(&w, 4, "2.0");
    assert_int_equal(go(&w), 2);
    assert_true(w.told[1] && w.told[8] && w.asked <= 4);
    teardown(&w);
}

static void a_failed_attempt_is_pushed_again(void **state UNUSED)
{
    struct world w;
    struct device d;

    setup(&w, "{'delivery':'push'}", NULL);
    start(&w);
    assert_int_equal(go(&w), 225);
    MUST(device_by_id(w.d.w, w.ids[0], &w.d.a, &d));
    struct update_push_env env = env_of(&w);
    struct update_answer again;
    MUST(update_ask(
        env.db, env.catalog, &d,
        &(struct update_ask){
            .module = "main", .cause = "check", .now = w.now, .link_lifetime_ms = LIFETIME},
        env.arena, &again));
    MUST(update_moved(w.d.w, w.d.catalog, &d, again.update.id, UPDATE_FAILED, -1, "", w.now,
                      &w.d.a));
    assert_int_equal(go(&w), 0);
    w.now += HOUR;
    assert_int_equal(go(&w), 1);
    assert_int_equal(w.last, again.update.id); /* under the same id */
    assert_int_equal(go(&w), 0);
    teardown(&w);
}

/* The device says that what it was offered last failed. */
static void fails(struct world *w, int i, int64_t id)
{
    struct device d;

    MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &d));
    MUST(update_moved(w->d.w, w->d.catalog, &d, id, UPDATE_FAILED, -1, "", w->now, &w->d.a));
}

static int only_told(const struct world *w)
{
    for (int i = 0; i < DEVICES; i++)
        if (w->told[i])
            return i;
    return -1;
}

/* What waits for its next attempt holds its place: that is no reason to keep it waiting. */
static void a_full_pace_holds_no_attempt_up(void **state UNUSED)
{
    struct world w;

    setup(&w, "{'delivery':'push','pacing':{'in_progress':1},'attempts':3}", NULL);
    start(&w);
    assert_int_equal(go(&w), 1);
    int64_t id = w.last;
    int i = only_told(&w);
    fails(&w, i, id);
    assert_int_equal(go(&w), 0);
    assert_int_equal(seen(&w, i), 0);
    w.now += HOUR;
    assert_int_equal(go(&w), 1);
    assert_int_equal(w.last, id);
    assert_int_equal(go(&w), 0);
    assert_int_equal(seen(&w, i), 0);
    fails(&w, i, id);
    w.now += HOUR;
    w.there[i] = false;
    assert_int_equal(go(&w), 0);
    assert_int_equal(seen(&w, (i + 4) % 300), 0); /* there is no room for another */
    assert_int_equal(seen(&w, i), 1);
    assert_int_equal(w.last, id);
    assert_int_equal(seen(&w, i), 0);
    assert_int_equal(status_of(&w.d, w.campaign).active, 1);
    w.told[i] = false;
    assert_int_equal(only_told(&w), -1);
    teardown(&w);
}

/* Due while the campaign may send nothing: it leaves when that passes, whoever else is out. */
static void an_attempt_waits_with_its_campaign(void **state UNUSED)
{
#define AT_NIGHT "'windows':{'timezone':'UTC','slots':[{'from':'00:00','to':'00:05'}]}"
    static const char *const definitions[] = {
        "{'delivery':'push','phases':[{'count':1}]," AT_NIGHT "}",
        "{'delivery':'push','pacing':{'jitter_s':1}," AT_NIGHT "}",
        "{'delivery':'push','pacing':{'in_progress':300}," AT_NIGHT "}",
    };

    for (size_t k = 0; k < ARRAY_LEN(definitions); k++) {
        struct world w;

        setup(&w, definitions[k], NULL);
        w.now = T0 - T0 % DAY + DAY;
        start(&w);
        w.now += MIN;
        assert_true(go(&w) > 0);
        int64_t id = w.last;
        struct update u;
        MUST(update_by_id(w.d.w, id, &w.d.a, &u));
        fails(&w, index_of(&w, u.device_id), id);
        w.now += HOUR;
        assert_int_equal(go(&w), 0);
        w.now += 2 * HOUR;
        assert_int_equal(go(&w), 0);
        MUST(campaign_pause(w.d.w, w.campaign, w.now, NULL));
        w.now += 22 * HOUR - 5 * MIN;
        assert_int_equal(go(&w), 0);
        MUST(campaign_resume(w.d.w, w.campaign, w.now, NULL));
        w.now += 2 * MIN;
        assert_int_equal(go(&w), 0); /* 00:58 */
        w.now += DAY - HOUR + 2 * MIN;
        assert_int_equal(go(&w), 1);
        assert_int_equal(w.last, id);
        teardown(&w);
    }
}

static void it_is_taken_back_where_it_went(void **state UNUSED)
{
    struct world w;

    setup(&w, "{'delivery':'push'}", NULL);
    start(&w);
    w.there[0] = w.there[1] = false;
    assert_int_equal(go(&w), 223);
    report(&w, 2, "2.0");
    report(&w, 300, "2.0");
    MUST(campaign_abort(w.d.w, w.campaign, true, w.now, NULL));
    while (update_campaigns(w.d.w, w.now, 50) == 1)
        ;
    w.asked = 0;
    assert_int_equal(go(&w), 1);
    assert_int_equal(w.asked, 223); /* nobody else */
    assert_int_equal(seen(&w, 300), 0);
    teardown(&w);
}

/* Who was away while it was taken back has it taken back at its next contact. */
static void also_from_who_was_away(void **state UNUSED)
{
    struct world w;

    setup(&w, "{'delivery':'push'}", NULL);
    start(&w);
    (void)go(&w);
    report(&w, 2, "2.0");
    w.there[2] = false;
    MUST(campaign_abort(w.d.w, w.campaign, true, w.now, NULL));
    while (update_campaigns(w.d.w, w.now, 50) == 1)
        ;
    domain_reload(&w.d);
    assert_int_equal(go(&w), 0);
    w.there[2] = true;
    assert_int_equal(seen(&w, 2), 1);
    teardown(&w);
}

/* ---- what users confirmed ---- */
static void confirm(struct world *w, int i)
{
    struct campaign_status s;
    const char *code = NULL;
    struct campaign c;
    struct consent q;

    MUST(consent_of(w->d.w, w->campaign, w->ids[i], &q));
    MUST(campaign_by_id(w->d.w, 0, w->campaign, &w->d.a, &c, &s));
    MUST(consent_answer(w->d.w, &c, s.state, &q, CONSENT_CONFIRM, 0, "user", w->now, &code, NULL));
}

static void assert_is_kept(struct world *w, int i)
{
    const struct update_filter flt = {
        .project_id = w->d.project, .state = -1, .device_id = w->ids[i]};
    struct consent q;

    MUST(consent_of(w->d.w, w->campaign, w->ids[i], &q));
    assert_true(q.state == CONSENT_CONFIRMED && q.push && q.due_at == w->now && !q.offered);
    assert_int_equal(update_count(w->d.w, &flt), 0);
}

/* The yes is settled with its offer, or not at all: what is undone in between, or lost with a
 * crash, is found again, by the walk over what users confirmed too. */
static void a_yes_is_settled_with_its_offer(void **state UNUSED)
{
    struct world w;
    struct consent q;

    setup(&w, "{\"delivery\":\"push\",\"consent\":{\"mode\":\"app\"}}", NULL);
    start(&w);
    w.consents = true;
    assert_int_equal(go(&w), 0); /* they are asked */
    confirm(&w, 0);
    confirm(&w, 1);
    assert_is_kept(&w, 0);

    w.send_rc = E_UNSUPPORTED; /* in the walk: that device's part is undone */
    MUST(campaign_walk_again(w.d.w));
    restart(&w);
    assert_int_equal(go(&w), 2);
    assert_is_kept(&w, 0);
    assert_is_kept(&w, 1);
    w.send_rc = 0;

    MUST(db_save(w.d.w)); /* at a sign of life: its transaction is lost */
    assert_int_equal(seen(&w, 0), 1);
    db_undo(w.d.w);
    assert_is_kept(&w, 0);
    assert_int_equal(consent_due(w.d.w, w.campaign, true, w.now, &q, 1), 1);

    assert_int_equal(seen(&w, 0), 1);
    int64_t first = w.last;
    MUST(campaign_walk_again(w.d.w));
    restart(&w);
    assert_int_equal(go(&w), 1); /* the other one */
    assert_int_equal(consent_due(w.d.w, w.campaign, true, w.now, &q, 1), 0);

    /* Due again, since it may not have left before a crash, and it failed: the next attempt is what
     * leaves, and it alone. */
    fails(&w, 0, first);
    w.now += HOUR;
    MUST(consent_of(w.d.w, w.campaign, w.ids[0], &q));
    MUST(consent_due_set(w.d.w, &q, true, w.now));
    MUST(db_save(w.d.w));
    assert_int_equal(seen(&w, 0), 1);
    db_undo(w.d.w);
    assert_int_equal(consent_due(w.d.w, w.campaign, true, w.now, &q, 1), 1);
    assert_int_equal(seen(&w, 0), 1);
    assert_int_equal(w.last, first);
    assert_int_equal(consent_due(w.d.w, w.campaign, true, w.now, &q, 1), 0);
    teardown(&w);
}

int test_push(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_that_are_there_and_the_others_later),
        cmocka_unit_test(an_offer_campaign_pushes_nothing),
        cmocka_unit_test(a_phase_that_opens_is_gone_through),
        cmocka_unit_test(the_pace_holds_and_it_goes_on),
        cmocka_unit_test(jitter_spreads_them),
        cmocka_unit_test(a_round_that_is_undone_is_made_again),
        cmocka_unit_test(the_rate_grows),
        cmocka_unit_test(only_the_listed),
        cmocka_unit_test(a_failed_attempt_is_pushed_again),
        cmocka_unit_test(a_yes_is_settled_with_its_offer),
        cmocka_unit_test(a_full_pace_holds_no_attempt_up),
        cmocka_unit_test(an_attempt_waits_with_its_campaign),
        cmocka_unit_test(it_is_taken_back_where_it_went),
        cmocka_unit_test(also_from_who_was_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
