/* Campaigns that end by themselves: when the last of their devices has ended, and not before. */
#include "tests.h"

enum { DEVICES = 30 };

struct world {
    struct domain d;
    struct update_walks walks;
    int64_t ids[DEVICES], good, fw, campaign;
};

static void setup(struct world *w, const char *definition, const struct campaign_lists *lists)
{
    char key[16];

    memset(w, 0, sizeof(*w));
    domain_init(&w->d);
    for (int i = 0; i < DEVICES; i++) {
        (void)str_fmt(key, sizeof(key), "d%d", i);
        w->ids[i] = domain_device(&w->d, key);
        MUST(device_version_set(w->d.w, w->ids[i], "main", "1.0", T0, NULL));
    }
    w->good = domain_firmware(&w->d, "1.0");
    struct firmware fw = domain_firmware_of(&w->d, "2.0", 1000);
    fw.campaign_only = true;
    MUST(firmware_insert(w->d.w, &fw, NULL));
    w->fw = fw.id;
    w->campaign = declare(&w->d, w->fw, w->good, definition, lists);
    MUST(campaign_start(w->d.w, w->campaign, T0, NULL));
}

static void teardown(struct world *w)
{
    update_walks_done(&w->walks);
    domain_done(&w->d);
}

static struct campaign_status after_a_while(struct world *w)
{
    struct update_push_env env = {
        .db = w->d.w, .catalog = w->d.catalog, .now = T0 + MIN, .arena = &w->d.a};
    int rc;

    do {
        w->walks.end_at_ms = 0;
        rc = update_end_walk(&env, &w->walks, 8, 1000000);
        MUST(rc);
    } while (rc == 1);
    return status_of(&w->d, w->campaign);
}

static struct update ask(struct world *w, int i)
{
    struct device d;
    struct decision why;
    struct update u;
    bool repeated;

    MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &d));
    MUST(
        update_check(w->d.w, w->d.catalog, &d, "main", T0, LIFETIME, &w->d.a, &u, &repeated, &why));
    return u;
}

static void verify(struct world *w, int i)
{
    struct update u = ask(w, i);
    struct device d;

    assert_true(u.id > 0);
    MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &d));
    MUST(update_served(w->d.w, w->d.catalog, u.id, 1, 0, 1000, 1000, true, T0, &w->d.a));
    MUST(update_reported(w->d.w, w->d.catalog, &d, "main", "2.0", T0, &w->d.a));
}

static void refuse(struct world *w, int i)
{
    struct update u = ask(w, i);
    struct device d;

    MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &d));
    MUST(update_moved(w->d.w, w->d.catalog, &d, u.id, UPDATE_REJECTED, -1, "", T0, &w->d.a));
}

static const char *waits_for(struct world *w)
{
    const char *key;

    MUST(campaign_walk_held(w->d.w, w->campaign, &w->d.a, &key));
    return key;
}

static int audit_one(void *arg, const struct audit *a)
{
    int *n = arg;

    *n += strcmp(a->action, "campaign.completed") == 0 && strcmp(a->who, "otad") == 0 &&
          strstr(a->after, "all_ended") != NULL;
    return 0;
}

static void frozen_ends_with_its_last_device(void **state UNUSED)
{
    struct world w;
    int told = 0;

    setup(&w, "{'targets':{'frozen':true}}", NULL);
    (void)domain_device(&w.d, "later"); /* not one of them */
    for (int i = 0; i < DEVICES - 1; i++) {
        i % 5 == 4 ? refuse(&w, i) : verify(&w, i);
        assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    }
    assert_string_equal(waits_for(&w), "d29");
    (void)ask(&w, DEVICES - 1); /* under way is not ended */
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    verify(&w, DEVICES - 1);
    const struct campaign_status s = after_a_while(&w);
    assert_int_equal(s.state, CAMPAIGN_COMPLETED);
    assert_string_equal(s.reason, "all_ended");
    assert_null(waits_for(&w));
    MUST(audit_list(w.d.w, w.d.project, 0, 10, audit_one, &told));
    assert_int_equal(told, 1);
    teardown(&w);
}

static void who_cannot_get_it_holds_up_nobody(void **state UNUSED)
{
    struct world w;
    struct campaign_lists lists = {.targets = {.n = 0}};
    int64_t targets[5], denied[1];
    struct device d;
    struct fail f;

    setup(&w, "{}", NULL); /* continuous: never by itself */
    MUST(campaign_abort(w.d.w, w.campaign, false, T0, NULL));
    memcpy(targets, w.ids, sizeof(targets));
    denied[0] = w.ids[1];
    lists.targets = (struct id_list){targets, 5};
    lists.denied = (struct id_list){denied, 1};
    w.campaign = declare(&w.d, w.fw, 0, "{'targets':{'devices':['a'],'deny':['b']}}", &lists);
    MUST(campaign_start(w.d.w, w.campaign, T0, NULL));
    MUST(device_version_set(w.d.w, w.ids[2], "main", "2.0", T0, NULL)); /* from elsewhere */
    MUST(device_by_id(w.d.w, w.ids[3], &w.d.a, &d));
    d.enabled = false;
    MUST(device_update(w.d.w, &d, NULL));
    verify(&w, 0);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    assert_string_equal(waits_for(&w), "d4");
    struct update u = ask(&w, 4);
    MUST(update_cancel(w.d.w, u.id, "gateway", "", T0, &f)); /* it may be offered again */
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    MUST(device_delete(w.d.w, w.ids[4], NULL));
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_COMPLETED);
    teardown(&w);
}

static void a_phase_to_come_is_waited_for(void **state UNUSED)
{
    struct world w;

    setup(&w,
          "{'targets':{'frozen':true},'phases':[{'percent':20,'success_percent':0,'approval':true},"
          "{'percent':60}]}",
          NULL);
    for (int i = 0; i < DEVICES; i++)
        if (campaign_share_of(w.campaign, w.ids[i]) < CAMPAIGN_SHARE / 5)
            verify(&w, i);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    MUST(campaign_approve(w.d.w, w.campaign, true, T0, NULL));
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    for (int i = 0; i < DEVICES; i++) {
        int64_t share = campaign_share_of(w.campaign, w.ids[i]);

        if (share >= CAMPAIGN_SHARE / 5 && share < CAMPAIGN_SHARE * 6 / 10)
            verify(&w, i);
    }
    MUST(campaign_pause(w.d.w, w.campaign, T0, NULL));
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_PAUSED);
    MUST(campaign_resume(w.d.w, w.campaign, T0, NULL));
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_COMPLETED); /* the others get it never */
    teardown(&w);
}

static void continuous_never_ends(void **state UNUSED)
{
    struct world w;

    setup(&w, "{}", NULL);
    for (int i = 0; i < DEVICES; i++)
        verify(&w, i);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    assert_null(waits_for(&w));
    teardown(&w);
}

#define COUNT_ONE "{'targets':{'frozen':true},'phases':[{'count':1}],"
#define APP       "'consent':{'mode':'app'},'texts':{'en':{'title':'New'}}}"

static void answers(struct world *w, int i, enum consent_answer answer)
{
    const struct campaign *c = catalog_campaign(w->d.catalog, w->campaign);
    const char *code;
    struct consent q;

    MUST(consent_of(w->d.w, w->campaign, w->ids[i], &q));
    MUST(consent_answer(w->d.w, c, CAMPAIGN_RUNNING, &q, answer, 0, "user", T0, &code, NULL));
}

/* The one place is taken by whoever is asked: the others have none, but it has not ended. */
static void who_is_asked_is_waited_for(void **state UNUSED)
{
    struct world w;

    setup(&w, COUNT_ONE APP, NULL);
    assert_int_equal(ask(&w, DEVICES - 1).id, 0);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    assert_string_equal(waits_for(&w), "d29");
    answers(&w, DEVICES - 1, CONSENT_REFUSE); /* the place is free: for one long passed, too */
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    assert_int_equal(ask(&w, 3).id, 0);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    assert_string_equal(waits_for(&w), "d3");
    answers(&w, 3, CONSENT_POSTPONE);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    answers(&w, 3, CONSENT_CONFIRM);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    verify(&w, 3);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_COMPLETED);
    teardown(&w);
}

static void who_put_it_off_is_waited_for(void **state UNUSED)
{
    struct world w;
    struct device d;

    setup(&w, COUNT_ONE "'consent':{'mode':'device'}}", NULL);
    struct update u = ask(&w, 3);
    MUST(device_by_id(w.d.w, w.ids[3], &w.d.a, &d));
    MUST(update_moved(w.d.w, w.d.catalog, &d, u.id, UPDATE_DEFERRED, -1, "", T0, &w.d.a));
    assert_int_equal(status_of(&w.d, w.campaign).active, 0);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    assert_string_equal(waits_for(&w), "d3");
    MUST(update_served(w.d.w, w.d.catalog, u.id, 1, 0, 1000, 1000, true, T0, &w.d.a));
    MUST(update_reported(w.d.w, w.d.catalog, &d, "main", "2.0", T0, &w.d.a));
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_COMPLETED);
    teardown(&w);
}

/* It could not get it and was passed, then it could: nothing ends while its user is asked. */
static void also_who_was_passed_before(void **state UNUSED)
{
    struct world w;
    struct device d;

    setup(&w, "{'targets':{'frozen':true}," APP, NULL);
    MUST(device_by_id(w.d.w, w.ids[0], &w.d.a, &d));
    d.enabled = false;
    MUST(device_update(w.d.w, &d, NULL));
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    assert_string_equal(waits_for(&w), "d1");
    d.enabled = true;
    MUST(device_update(w.d.w, &d, NULL));
    assert_int_equal(ask(&w, 0).id, 0);
    for (int i = 1; i < DEVICES; i++) {
        assert_int_equal(ask(&w, i).id, 0);
        answers(&w, i, CONSENT_CONFIRM);
        verify(&w, i);
    }
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    answers(&w, 0, CONSENT_REFUSE);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_COMPLETED);
    teardown(&w);
}

static void who_refused_holds_up_nobody(void **state UNUSED)
{
    struct world w;

    setup(&w, "{'targets':{'frozen':true}," APP, NULL);
    for (int i = 0; i < DEVICES; i++) {
        assert_int_equal(ask(&w, i).id, 0);
        answers(&w, i, i % 7 == 5 ? CONSENT_REFUSE : CONSENT_CONFIRM);
        if (i % 7 != 5)
            verify(&w, i);
    }
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_COMPLETED);
    teardown(&w);
}

static void nothing_ends_but_what_runs(void **state UNUSED)
{
    struct world w;

    setup(&w, "{'targets':{'frozen':true}}", NULL);
    const struct campaign *c = catalog_campaign(w.d.catalog, w.campaign);
    MUST(campaign_pause(w.d.w, w.campaign, T0, NULL));
    MUST(campaign_finish(w.d.w, c, T0));
    assert_int_equal(status_of(&w.d, w.campaign).state, CAMPAIGN_PAUSED);
    teardown(&w);
}

/* It can't get it by what its firmware says: each of them for a reason of its own. */
static void whom_the_firmware_leaves_out_holds_up_nobody(void **state UNUSED)
{
    static const char *const sources[] = {"1.0"};
    struct campaign_lists lists = {.targets = {.n = 5}};
    struct world w;

    setup(&w, "{}", NULL);
    struct firmware fw = domain_firmware_of(&w.d, "2.0", 1000);
    fw.campaign_only = true;
    fw.source_versions = (const char **)(uintptr_t)sources;
    fw.n_sources = 1;
    fw.devices = (struct id_list){w.ids, 4};
    fw.denied = (struct id_list){&w.ids[1], 1};
    fw.hardware = json_pack("{s:s}", "hw", "A");
    MUST(firmware_insert(w.d.w, &fw, NULL));
    for (int i = 0; i < 5; i++) {
        AUTO(json_free) json_t *said = json_pack("{s:s}", "hw", i == 2 ? "B" : "A");

        MUST(device_attributes_merge(w.d.w, w.ids[i], said));
    }
    json_decref(fw.hardware);
    MUST(device_version_set(w.d.w, w.ids[3], "main", "0.9", T0, NULL));
    lists.targets.ids = w.ids;
    w.campaign = declare(&w.d, fw.id, 0, "{'targets':{'devices':['a']}}", &lists);
    MUST(campaign_start(w.d.w, w.campaign, T0, NULL));
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_RUNNING);
    assert_string_equal(waits_for(&w), "d0");
    verify(&w, 0);
    assert_int_equal(after_a_while(&w).state, CAMPAIGN_COMPLETED);
    teardown(&w);
}

int test_finish(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_ends_with_its_last_device),
        cmocka_unit_test(who_cannot_get_it_holds_up_nobody),
        cmocka_unit_test(a_phase_to_come_is_waited_for),
        cmocka_unit_test(continuous_never_ends),
        cmocka_unit_test(who_is_asked_is_waited_for),
        cmocka_unit_test(who_put_it_off_is_waited_for),
        cmocka_unit_test(also_who_was_passed_before),
        cmocka_unit_test(who_refused_holds_up_nobody),
        cmocka_unit_test(nothing_ends_but_what_runs),
        cmocka_unit_test(whom_the_firmware_leaves_out_holds_up_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
