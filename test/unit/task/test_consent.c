/* What follows from a user's yes by itself: the offer leaves at once, or when the device is there
 * and the campaign lets it; who put it off is asked again. */
#include "event.h"
#include "tests.h"

#define UNITS 6

struct world {
    struct domain d;
    struct device_seen *seen;
    struct task_env env;
    int64_t ids[UNITS], firmware, campaign;
    int sent, kept, send_rc;
    int64_t last;
};

static int send_one(void *arg, const struct task_message *m)
{
    struct world *w = arg;

    struct consent q;

    assert_int_equal(m->action, TASK_OTA_PUSH);
    assert_int_equal(m->update->campaign_id, w->campaign);
    /* All of it is written by then: nothing that fails comes behind what leaves. */
    MUST(consent_of(w->d.w, w->campaign, m->device->id, &q));
    assert_true(!q.push && q.due_at == w->env.now + CONSENT_SETTLE_MS);
    w->sent++;
    w->last = m->id;
    return w->send_rc;
}

static void kept_one(void *arg, int64_t device_id UNUSED)
{
    ((struct world *)arg)->kept++;
}

static void all_seen(struct world *w, int64_t at)
{
    for (int i = 0; i < UNITS; i++)
        device_seen_note(w->seen, w->ids[i], at);
    w->env.now = at;
}

static void world_init(struct world *w, const char *definition)
{
    const struct campaign_lists none = {.targets = {.n = 0}};
    struct device dev;
    char key[16];

    *w = (struct world){.sent = 0};
    domain_init(&w->d);
    clock_fake_steady_ms(T0);
    w->seen = device_seen_new();
    struct firmware fw = domain_firmware_of(&w->d, "2.0", 1000);
    fw.campaign_only = true;
    MUST(firmware_insert(w->d.w, &fw, NULL));
    w->firmware = fw.id;
    struct campaign c = {.project_id = w->d.project,
                         .type_id = w->d.type.id,
                         .firmware_id = fw.id,
                         .name = "c",
                         .definition = definition,
                         .created_at = T0};
    MUST(campaign_insert(w->d.w, &c, &none));
    w->campaign = c.id;
    domain_reload(&w->d);
    MUST(campaign_start(w->d.w, c.id, T0, NULL));
    for (int i = 0; i < UNITS; i++) {
        (void)str_fmt(key, sizeof(key), "dev%d", i);
        w->ids[i] = domain_device(&w->d, key);
        MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &dev));
        MUST(update_reported(w->d.w, w->d.catalog, &dev, "main", "1.0", T0, &w->d.a));
    }
    w->env = (struct task_env){.db = w->d.w,
                               .catalog = w->d.catalog,
                               .seen = w->seen,
                               .link_lifetime_ms = 48 * HOUR,
                               .arena = &w->d.a,
                               .send = send_one,
                               .kept = kept_one,
                               .arg = w};
    all_seen(w, T0);
}

static void world_done(struct world *w)
{
    clock_fake_steady_ms(0);
    device_seen_free(w->seen);
    domain_done(&w->d);
}

static void asks(struct world *w, int i)
{
    struct decision why;
    struct device dev;
    struct update u;
    bool repeated;

    MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &dev));
    MUST(update_check(w->d.w, w->d.catalog, &dev, "main", w->env.now, HOUR, &w->d.a, &u, &repeated,
                      &why));
}

static struct consent consent(struct world *w, int i)
{
    struct consent q;

    MUST(consent_of(w->d.w, w->campaign, w->ids[i], &q));
    return q;
}

static void says(struct world *w, int i, enum consent_answer answer)
{
    struct consent q = consent(w, i);
    struct campaign_status s;
    const char *code = NULL;
    struct campaign c;

    MUST(campaign_by_id(w->d.w, 0, w->campaign, &w->d.a, &c, &s));
    MUST(consent_answer(w->d.w, &c, s.state, &q, answer, 0, "user", w->env.now, &code, NULL));
}

static void confirmed(struct world *w, int i)
{
    asks(w, i);
    says(w, i, CONSENT_CONFIRM);
}

static int runs(struct world *w)
{
    int before = w->sent, rc;

    do
        MUST(rc = task_consents(&w->env, 2, INT64_C(1000000)));
    while (rc == 1);
    return w->sent - before;
}

static int lives(struct world *w, int i)
{
    struct device dev;
    int before = w->sent;

    MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &dev));
    MUST(task_deliver(&w->env, &dev, NULL, 0));
    return w->sent - before;
}

#define APP "{\"consent\":{\"mode\":\"app\",\"postpone_s\":3600}"

static void a_yes_brings_it_once(void **state UNUSED)
{
    struct world w;

    world_init(&w, APP "}");
    assert_int_equal(runs(&w), 0);
    for (int i = 0; i < 5; i++)
        confirmed(&w, i);
    asks(&w, 4); /* it was quicker than otad */
    assert_int_equal(runs(&w), 4);
    assert_int_equal(runs(&w), 0);
    assert_true(consent(&w, 0).offered && !consent(&w, 0).push);
    all_seen(&w, T0 + CONSENT_SETTLE_MS);
    assert_int_equal(runs(&w), 0); /* it has left by now */
    assert_int_equal(consent(&w, 0).due_at, 0);
    MUST(consent_recover(w.d.w));
    assert_int_equal(runs(&w), 0);
    world_done(&w);
}

/* Killed before the messages left: they are sent again, and are the same. */
static void what_did_not_leave_is_sent_again(void **state UNUSED)
{
    struct world w;

    world_init(&w, APP "}");
    confirmed(&w, 0);
    assert_int_equal(runs(&w), 1);
    int64_t first = w.last;
    MUST(consent_recover(w.d.w));
    all_seen(&w, T0 + CONSENT_SETTLE_MS);
    assert_int_equal(runs(&w), 1);
    assert_int_equal(w.last, first);
    world_done(&w);
}

static void who_is_away_gets_it_later(void **state UNUSED)
{
    struct world w;

    world_init(&w, APP "}");
    confirmed(&w, 0);
    confirmed(&w, 1);
    w.env.now = T0 + HOUR; /* not heard of since */
    assert_int_equal(runs(&w), 0);
    assert_int_equal(w.kept, 2);
    assert_true(consent(&w, 0).push && consent(&w, 0).due_at == 0 && !consent(&w, 0).offered);
    all_seen(&w, T0 + HOUR);
    assert_int_equal(runs(&w), 0);
    assert_int_equal(lives(&w, 0), 1);
    assert_int_equal(lives(&w, 0), 0);
    MUST(campaign_pause(w.d.w, w.campaign, w.env.now, NULL));
    assert_int_equal(lives(&w, 1), 0);
    MUST(campaign_resume(w.d.w, w.campaign, w.env.now, NULL));
    assert_int_equal(runs(&w), 1);
    world_done(&w);
}

static void a_yes_is_no_way_around_the_rules(void **state UNUSED)
{
    struct world w;

    world_init(&w, APP ",\"pacing\":{\"in_progress\":2}}");
    for (int i = 0; i < 4; i++)
        confirmed(&w, i);
    MUST(campaign_pause(w.d.w, w.campaign, T0, NULL));
    assert_int_equal(runs(&w), 0);
    MUST(campaign_resume(w.d.w, w.campaign, T0, NULL));
    assert_int_equal(runs(&w), 2); /* the pace */
    asks(&w, 5);
    says(&w, 5, CONSENT_POSTPONE);
    MUST(update_cancel(w.d.w, w.last, "operator", "", T0, &(struct fail){.rc = 0}));
    all_seen(&w, T0 + 2000);
    assert_int_equal(runs(&w), 1);
    all_seen(&w, T0 + HOUR);
    assert_int_equal(runs(&w), 0); /* the fourth waits, and keeps nobody from being asked */
    assert_int_equal(consent(&w, 5).state, CONSENT_ASKED);
    MUST(campaign_abort(w.d.w, w.campaign, false, T0 + HOUR, NULL));
    all_seen(&w, T0 + 2 * HOUR);
    assert_int_equal(runs(&w), 0);
    world_done(&w);
    world_init(&w, APP ",\"windows\":{\"timezone\":\"UTC\",\"slots\":[{\"from\":\"01:00\",\"to\":"
                       "\"02:00\"}]}}");
    int64_t noon = T0 / DAY * DAY + DAY / 2;
    all_seen(&w, noon);
    confirmed(&w, 0);
    assert_int_equal(runs(&w), 0);
    all_seen(&w, noon + 12 * HOUR);
    assert_int_equal(runs(&w), 0);
    all_seen(&w, noon + 13 * HOUR);
    assert_int_equal(runs(&w), 1);
    world_done(&w);
}

static void one_that_fails_holds_up_nobody(void **state UNUSED)
{
    struct world w;

    world_init(&w, APP "}");
    confirmed(&w, 0);
    w.send_rc = E_UNSUPPORTED;
    assert_int_equal(runs(&w), 1);
    assert_false(consent(&w, 0).offered); /* undone: its own check will find it */
    w.send_rc = 0;
    confirmed(&w, 1);
    assert_int_equal(runs(&w), 1);
    asks(&w, 0);
    assert_true(consent(&w, 0).offered);
    world_done(&w);
}

static void the_device_is_reminded(void **state UNUSED)
{
    struct device dev;
    struct world w;

    world_init(&w, "{\"consent\":{\"mode\":\"device\",\"postpone_s\":3600}}");
    asks(&w, 0);
    MUST(device_by_id(w.d.w, w.ids[0], &w.d.a, &dev));
    struct update_filter flt = {.project_id = w.d.project, .state = UPDATE_OFFERED};
    assert_int_equal(update_count(w.d.w, &flt), 1);
    struct facts_load l;
    MUST(facts_load(w.d.w, &dev, "main", T0, &w.d.a, &l));
    int64_t id = l.active->id;
    facts_done(&l);
    MUST(update_moved(w.d.w, w.d.catalog, &dev, id, UPDATE_DEFERRED, -1, "", T0, &w.d.a));
    assert_int_equal(runs(&w), 0);
    all_seen(&w, T0 + HOUR);
    assert_int_equal(runs(&w), 1);
    assert_int_equal(w.last, id);
    assert_int_equal(runs(&w), 0);
    world_done(&w);
}

/* The user of a device that a task can't reach may well be reached. */
static void a_task_asks_for_those_who_are_away(void **state UNUSED)
{
    struct world w;
    struct consent q;

    world_init(&w, APP "}");
    struct task t = {.project_id = w.d.project,
                     .name = "t",
                     .enabled = true,
                     .action = TASK_OTA_PUSH,
                     .params = "{\"kind\":\"ota_push\"}",
                     .type_id = w.d.type.id,
                     .schedule = "{\"kind\":\"manual\"}",
                     .timezone = "UTC",
                     .grace_s = 600,
                     .created_at = T0};
    int64_t run;
    MUST(task_insert(w.d.w, &t, NULL, 0));
    MUST(task_run_now(w.d.w, &t, NULL, 0, T0, &run, NULL));
    w.env.now = T0 + HOUR;
    while (task_tick(&w.env, 10, 1000000) == 1)
        ;
    for (int i = 0; i < UNITS; i++) {
        MUST(consent_of(w.d.w, w.campaign, w.ids[i], &q));
        assert_int_equal(q.state, CONSENT_ASKED);
    }
    assert_int_equal(w.sent, 0);
    world_done(&w);
}

int test_consent(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_yes_brings_it_once),
        cmocka_unit_test(what_did_not_leave_is_sent_again),
        cmocka_unit_test(who_is_away_gets_it_later),
        cmocka_unit_test(a_yes_is_no_way_around_the_rules),
        cmocka_unit_test(one_that_fails_holds_up_nobody),
        cmocka_unit_test(the_device_is_reminded),
        cmocka_unit_test(a_task_asks_for_those_who_are_away),
    };
    return cmocka_run_group_tests_name("consent", tests, NULL, NULL);
}
