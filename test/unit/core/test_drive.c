/*
 * Campaigns that push, against a broker: an offer leaves at a sign of life, is noted until it has
 * reached the broker, and is sent again under the same id when that was not known before a crash.
 */
#include "site.h"

#include <stdlib.h>

static int64_t campaign;
static const char *definition;

static int make_campaign(struct note_job *n, struct db *w)
{
    campaign = site_campaign(n->site, w, definition);
    return 0;
}

static int setup(void **state UNUSED)
{
    definition = "{\"delivery\":\"push\"}";
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

/* … and an operator stopped it in between. */
static int leave_and_pause(struct note_job *n, struct db *w)
{
    CHECK(campaign_pause(w, campaign, clock_now_ms(), NULL) == 0);
    return leave_unsent(n, w);
}

static int leave_and_abort(struct note_job *n, struct db *w)
{
    CHECK(campaign_abort(w, campaign, false, clock_now_ms(), NULL) == 0);
    return leave_unsent(n, w);
}

static int resume(struct note_job *n UNUSED, struct db *w)
{
    CHECK(campaign_resume(w, campaign, clock_now_ms(), NULL) == 0);
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

/* The tick has looked for what to send again, and so have messages of the device: nothing. */
static void nothing_leaves(struct site *s)
{
    int64_t pushed = metric_get(M_CAMPAIGN_PUSHED);
    static int no;
    char name[32];

    for (int i = 0; i < 3; i++) {
        unsigned answers = s->answers;

        UNTIL(s, s->core->drives.resend_ms > 0 && !s->core->open && !s->core->committing);
        (void)str_fmt(name, sizeof(name), "{\"n\":%d}", ++no); /* the writer's */
        site_say(s, "attributes/D1", name);
        site_say(s, "attributes_get/D1", "{}"); /* answered behind it */
        UNTIL(s, s->answers > answers);
        assert_string_equal(s->topic, "attributes_get_response/D1");
    }
    assert_int_equal(metric_get(M_CAMPAIGN_PUSHED), pushed);
}

static void what_is_paused_leaves_later(void **state UNUSED)
{
    int64_t no;
    struct site s;

    site_open(&s);
    run_job(&s, "campaign", true, make_campaign);
    site_say(&s, "attributes/D1", "{\"version\":\"1.1.0\"}");
    UNTIL(&s, s.answers == 1);
    wait_settled(&s);
    run_job(&s, "crash", false, leave_and_pause);
    no = last_update;
    site_core_close(&s);
    site_core_open(&s);
    nothing_leaves(&s);
    unsigned answers = s.answers;
    run_job(&s, "resume", false, resume);
    UNTIL(&s, s.answers > answers); /* it need not speak */
    assert_string_equal(s.topic, "command_send/D1");
    assert_non_null(strstr(s.text, arena_printf(&s.w.arena, "\"id\":%lld", (long long)no)));
    wait_settled(&s);
    site_close(&s);
}

static void what_was_aborted_leaves_never(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    run_job(&s, "campaign", true, make_campaign);
    site_say(&s, "attributes/D1", "{\"version\":\"1.1.0\"}");
    UNTIL(&s, s.answers == 1);
    wait_settled(&s);
    run_job(&s, "crash", false, leave_and_abort);
    site_core_close(&s);
    site_core_open(&s);
    nothing_leaves(&s);
    wait_settled(&s); /* nothing is kept for it either */
    site_close(&s);
}

#define FIRST_HOUR (INT64_C(1700006400000)) /* midnight, UTC */
#define HOUR_MS    (INT64_C(3600000))

static void what_its_window_shuts_out_leaves_later(void **state UNUSED)
{
    struct site s;

    definition = "{\"delivery\":\"push\",\"windows\":{\"timezone\":\"UTC\",\"slots\":["
                 "{\"from\":\"00:00\",\"to\":\"01:00\"},{\"from\":\"03:00\",\"to\":\"04:00\"}]}}";
    clock_fake_ms(FIRST_HOUR + HOUR_MS / 2);
    site_open(&s);
    run_job(&s, "campaign", true, make_campaign);
    site_say(&s, "attributes/D1", "{\"version\":\"1.1.0\"}");
    UNTIL(&s, s.answers == 1);
    wait_settled(&s);
    run_job(&s, "crash", false, leave_unsent);
    site_core_close(&s);
    clock_fake_ms(FIRST_HOUR + 2 * HOUR_MS);
    site_core_open(&s);
    nothing_leaves(&s);
    unsigned answers = s.answers;
    clock_fake_ms(FIRST_HOUR + 3 * HOUR_MS);
    site_say(&s, "attributes/D1", "{\"m\":1}");
    UNTIL(&s, s.answers > answers);
    assert_string_equal(s.topic, "command_send/D1");
    wait_settled(&s);
    site_close(&s);
    clock_fake_ms(0);
}

/* ---- what fails beside them ---- */

/* Messages for devices can't be read any more. */
static int break_down(struct note_job *n UNUSED, struct db *w)
{
    return db_exec(w->h, "ALTER TABLE device_down RENAME TO gone");
}

static int mend_down(struct note_job *n UNUSED, struct db *w)
{
    return db_exec(w->h, "ALTER TABLE gone RENAME TO device_down");
}

/* … and what is tried fills the disk, so that all of the housekeeping is undone. */
static int fill_down(struct note_job *n, struct db *w)
{
    struct device_down m = {
        .device_id = n->site->w.other.id, .params = "{}", .created_at = clock_now_ms()};
    int64_t pages, max;

    CHECK(device_down_insert(w, &m, &device_type_defaults) == 0);
    CHECK(db_exec_int(w->h, "PRAGMA page_count", &pages) == 0);
    CHECK(db_exec_int(w->h,
                      arena_printf(&n->site->w.arena, "PRAGMA max_page_count = %lld",
                                   (long long)pages + 500),
                      &max) == 0);
    return db_exec(w->h, "CREATE TRIGGER broken BEFORE UPDATE ON device_down BEGIN "
                         "INSERT INTO setting VALUES ('big', hex(zeroblob(4000000))); END");
}

static int break_unsent(struct note_job *n, struct db *w)
{
    return db_exec(w->h, arena_printf(&n->site->w.arena,
                                      "CREATE TRIGGER broken BEFORE INSERT ON push_unsent "
                                      "WHEN NEW.device_id = %lld "
                                      "BEGIN SELECT RAISE(ABORT, 'broken'); END",
                                      (long long)n->site->w.device.id));
}

/* Of both devices an offer is left, and one can't be taken off the list. */
static int leave_and_break(struct note_job *n, struct db *w)
{
    CHECK(db_exec(w->h, "INSERT INTO push_unsent SELECT 1000 + device_id, id, device_id "
                        "FROM ota_update WHERE state = 'offered'") == 0);
    return db_exec(w->h, arena_printf(&n->site->w.arena,
                                      "CREATE TRIGGER broken BEFORE DELETE ON push_unsent "
                                      "WHEN OLD.device_id = %lld "
                                      "BEGIN SELECT RAISE(ABORT, 'broken'); END",
                                      (long long)n->site->w.device.id));
}

static int mend(struct note_job *n UNUSED, struct db *w)
{
    return db_exec(w->h, "DROP TRIGGER broken");
}

/* Its id is one of a row, and the row is the device's. */
static void check_offer(struct site *s, int64_t device_id)
{
    const char *id = strstr(s->text, "\"id\":");
    struct update u;

    assert_string_equal(s->topic,
                        device_id == s->w.device.id ? "command_send/D1" : "command_send/D2");
    assert_non_null(id);
    assert_int_equal(update_by_id(s->w.reader, atoll(id + 5), &s->w.arena, &u), 0);
    assert_int_equal(u.device_id, device_id);
}

static void no_offer_leaves_without_its_row(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    site_say(&s, "attributes/D1", "{\"version\":\"1.1.0\"}");
    UNTIL(&s, site_version_is(&s, "D1", "1.1.0"));
    run_job(&s, "break", false, break_down);
    s.core->downs.next_at = 0;
    run_job(&s, "campaign", true, make_campaign);
    UNTIL(&s, s.answers == 1);
    check_offer(&s, s.w.device.id);
    run_job(&s, "mend", false, mend_down);
    wait_settled(&s);
    site_close(&s);
}

static void no_offer_outlives_what_is_undone(void **state UNUSED)
{
    struct site s;

    definition = "{\"delivery\":\"push\",\"pacing\":{\"jitter_s\":4}}"; /* so there are rounds */
    site_open(&s);
    site_say(&s, "attributes/D1", "{\"version\":\"1.1.0\"}");
    UNTIL(&s, site_version_is(&s, "D1", "1.1.0"));
    run_job(&s, "fill", false, fill_down);
    s.core->downs.next_at = 0;
    run_job(&s, "campaign", true, make_campaign);
    for (int i = 0; i < 1200 && s.answers == 0; i++)
        site_turn(&s);
    if (s.answers == 0)
        run_job(&s, "mend", false, mend);
    UNTIL(&s, s.answers > 0 && strcmp(s.topic, "command_send/D1") == 0);
    check_offer(&s, s.w.device.id);
    wait_settled(&s);
    site_close(&s);
}

static void an_offer_that_fails_costs_no_other_its_id(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    site_say(&s, "attributes/D1", "{\"version\":\"1.1.0\"}");
    site_say(&s, "attributes/D2", "{\"version\":\"1.1.0\"}");
    UNTIL(&s, site_version_is(&s, "D2", "1.1.0"));
    run_job(&s, "break", false, break_unsent);
    run_job(&s, "campaign", true, make_campaign);
    UNTIL(&s, s.answers > 0);
    check_offer(&s, s.w.other.id); /* the first, though the other one was to be */
    run_job(&s, "mend", false, mend);
    site_say(&s, "attributes/D1", "{\"n\":1}");
    UNTIL(&s, s.answers == 2);
    check_offer(&s, s.w.device.id);
    wait_settled(&s);
    site_close(&s);
}

static void what_cannot_be_sent_again_holds_up_no_other(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    site_say(&s, "attributes/D1", "{\"version\":\"1.1.0\"}");
    site_say(&s, "attributes/D2", "{\"version\":\"1.1.0\"}");
    UNTIL(&s, site_version_is(&s, "D2", "1.1.0"));
    run_job(&s, "campaign", true, make_campaign);
    UNTIL(&s, s.answers == 2);
    wait_settled(&s);
    run_job(&s, "crash", false, leave_and_break);
    site_core_close(&s);
    site_core_open(&s);
    UNTIL(&s, s.answers == 3);
    check_offer(&s, s.w.other.id);
    run_job(&s, "mend", false, mend);
    UNTIL(&s, s.answers == 4);
    check_offer(&s, s.w.device.id);
    wait_settled(&s);
    site_close(&s);
}

int run_drive_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_offer_leaves_once_and_survives_a_crash, setup),
        cmocka_unit_test_setup(what_is_paused_leaves_later, setup),
        cmocka_unit_test_setup(no_offer_leaves_without_its_row, setup),
        cmocka_unit_test_setup(no_offer_outlives_what_is_undone, setup),
        cmocka_unit_test_setup(an_offer_that_fails_costs_no_other_its_id, setup),
        cmocka_unit_test_setup(what_cannot_be_sent_again_holds_up_no_other, setup),
        cmocka_unit_test_setup(what_was_aborted_leaves_never, setup),
        cmocka_unit_test_setup(what_its_window_shuts_out_leaves_later, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
