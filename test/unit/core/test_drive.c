/*
 * Campaigns that push, against a broker: an offer leaves at a sign of life, is noted until it has
 * reached the broker, and is sent again under the same id when that was not known before a crash.
 */
#include "site.h"

static int64_t campaign;

/* A campaign of a second firmware, started; on the core's writer. */
static int make_campaign(struct note_job *n, struct db *w)
{
    struct world *x = &n->site->w;
    struct firmware fw = x->firmware;
    struct campaign c = {.project_id = x->type.project_id,
                         .type_id = x->type.id,
                         .name = "c",
                         .definition = "{\"delivery\":\"push\"}",
                         .created_at = 1};
    const struct campaign_lists none = {.targets = {.n = 0}};

    fw.version = "2.0.0";
    fw.campaign_only = true;
    CHECK(firmware_insert(w, &fw, NULL) == 0);
    c.firmware_id = fw.id;
    CHECK(campaign_insert(w, &c, &none) == 0);
    CHECK(campaign_start(w, c.id, clock_now_ms(), NULL) == 0);
    campaign = c.id;
    return 0;
}

static int64_t last_update;
static int64_t unsent_rows;

static int look_one(void *arg UNUSED, const struct update *u)
{
    last_update = u->id;
    return 1;
}

static int look(struct note_job *n, struct db *w)
{
    const struct update_filter flt = {
        .project_id = n->site->w.type.project_id, .state = -1, .campaign_id = campaign};
    struct update_unsent list[4];

    CHECK(update_list(w, &flt, 0, 1, look_one, NULL) >= 0);
    unsent_rows = update_unsent_list(w, 0, 0, INT64_MAX, list, 4);
    return 0;
}

/* As a crash leaves it that came between the commit and the broker's word. */
static int leave_unsent(struct note_job *n, struct db *w)
{
    CHECK(update_unsent_add(w, &(struct update_unsent){1000, last_update, n->site->w.device.id}) ==
          0);
    return 0;
}

static void run_job(struct site *s, const char *name, bool catalog,
                    int (*more)(struct note_job *n, struct db *w))
{
    struct note_job n = {.more = more, .job.catalog = catalog};

    note_submit(s, &n, name);
    UNTIL(s, n.done);
    CHECK(n.rc == 0);
}

static void wait_settled(struct site *s)
{
    static int no;
    char name[32];

    do {
        site_turn(s);
        (void)str_fmt(name, sizeof(name), "look%d", ++no);
        run_job(s, name, false, look);
    } while (unsent_rows > 0);
}

static void an_offer_leaves_once_and_survives_a_crash(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    run_job(&s, "campaign", true, make_campaign);
    site_say(&s, "attributes/D1", "{\"version\":\"1.1.0\"}");
    UNTIL(&s, s.answers == 1);
    assert_non_null(strstr(s.text, "\"version\":\"2.0.0\""));
    assert_string_equal(s.topic, "command_send/D1");
    wait_settled(&s);
    assert_true(last_update > 0);
    site_say(&s, "attributes/D1", "{\"other\":1}"); /* another sign of life: nothing more */
    site_say(&s, "event_report/D1", CHECK_TEXT);    /* but a question is answered */
    UNTIL(&s, s.answers == 2);
    run_job(&s, "crash", false, leave_unsent);
    site_core_close(&s);
    site_core_open(&s);
    UNTIL(&s, s.answers == 3); /* it was seen lately: it need not speak */
    const char *id = arena_printf(&s.w.arena, "\"id\":%lld", (long long)last_update);
    assert_non_null(strstr(s.text, id));
    wait_settled(&s);
    site_core_close(&s);
    site_core_open(&s);
    site_say(&s, "attributes/D2", "{\"version\":\"1.1.0\"}"); /* after it nothing else is to come */
    UNTIL(&s, s.answers == 4);
    assert_string_equal(s.topic, "command_send/D2");
    site_close(&s);
}

int run_drive_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offer_leaves_once_and_survives_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
