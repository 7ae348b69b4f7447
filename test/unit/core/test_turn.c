/*
 * The turn, against a real broker and a real disk: what is acknowledged and answered, when, and
 * what happens to it when the commit fails. Where a commit must be under way, messages are given
 * to the turn by hand: its end is not noticed before the loop runs.
 */
#include "site.h"

#include <sys/stat.h>

static int64_t wal_size(const struct site *s)
{
    char path[96];
    struct stat st;

    (void)str_fmt(path, sizeof(path), "%s-wal", s->w.fx.path);
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

static void disk_is_full(const struct site *s)
{
    fixture_limit_files(wal_size(s));
}

/* ---- a full disk ---- */

static void failed_commit(void *arg UNUSED)
{
    struct site s;
    struct note_job job = {.ran = 0};

    site_open(&s);
    site_say(&s, "attributes/D1", "{\"version\":\"1.0.0\"}");
    UNTIL(&s, site_version_is(&s, "D1", "1.0.0"));

    disk_is_full(&s);
    int64_t failed = metric_get(M_COMMIT_FAILED), offered = metric_get(M_CHECK_OFFERED);
    site_say(&s, "event_report/D1", CHECK_TEXT);          /* an offer is a row */
    UNTIL(&s, metric_get(M_COMMIT_FAILED) >= failed + 2); /* so it came again once */
    note_submit(&s, &job, "full");
    UNTIL(&s, job.done);
    CHECK(job.rc == E_DB_FULL && !job.was_committed);
    CHECK(s.answers == 0 && metric_get(M_CHECK_OFFERED) == offered);

    fixture_limit_files(-1); /* said once, answered: it was never acknowledged */
    UNTIL(&s, s.answers > 0);
    CHECK(strstr(s.text, "\"upgrade\":true") && strcmp(s.topic, "command_send/D1") == 0);
    site_close(&s);
}

static void test_a_failed_commit_settles_nothing(void **state UNUSED)
{
    assert_int_equal(fixture_child(failed_commit, NULL), 0);
}

/* What needs no write goes on: a job that fails must not cost the devices their session. */
static void failed_job(void *arg UNUSED)
{
    struct site s;
    struct note_job job = {.ran = 0};

    site_open(&s);
    disk_is_full(&s);
    int64_t connects = metric_get(M_MQTT_CONNECTS);
    note_submit(&s, &job, "full");
    UNTIL(&s, job.done);
    CHECK(job.rc == E_DB_FULL);
    site_say(&s, "attributes_get/D1", "{}");
    UNTIL(&s, s.answers > 0);
    CHECK(metric_get(M_MQTT_CONNECTS) == connects);
    fixture_limit_files(-1);
    site_close(&s);
}

static void test_a_failed_job_costs_no_session(void **state UNUSED)
{
    assert_int_equal(fixture_child(failed_job, NULL), 0);
}

/* ---- one transaction ---- */

static int sees_report(struct note_job *n, struct db *w)
{
    char version[VERSION_MAX + 1];
    CHECK(device_version(w, n->site->w.device.id, "main", version, NULL) == 0);
    CHECK(!site_version_is(n->site, "D1", "1.0.0"));
    return 0;
}

static void test_job_and_messages_in_one(void **state UNUSED)
{
    struct site s;
    struct note_job job = {.more = sees_report};

    site_open(&s);
    int64_t commits = metric_get(M_COMMITS);
    note_submit(&s, &job, "one");

    site_inject(&s, "attributes/D1", "{\"version\":\"1.0.0\"}");
    site_inject(&s, "attributes/D2", "{\"version\":\"1.0.0\"}");
    turn_batch_end(s.core);
    assert_true(s.core->committing);
    assert_int_equal(job.ran + job.done, 1);
    UNTIL(&s, job.done);
    assert_true(job.rc == 0 && job.was_committed);
    assert_true(site_version_is(&s, "D1", "1.0.0") && site_version_is(&s, "D2", "1.0.0"));
    assert_int_equal(job.commits, commits + 1);
    site_close(&s);
}

static int says_broken(struct note_job *n UNUSED, struct db *w UNUSED)
{
    return E_DB;
}

/* A job that fails alone is undone alone. */
static void test_a_failing_job_is_undone_alone(void **state UNUSED)
{
    struct site s;
    struct note_job bad = {.more = says_broken}, good = {.more = NULL};

    site_open(&s);
    int64_t connects = metric_get(M_MQTT_CONNECTS);
    note_submit(&s, &bad, "bad");
    note_submit(&s, &good, "good");
    site_inject(&s, "attributes/D1", "{\"version\":\"1.0.0\"}");
    turn_batch_end(s.core);
    UNTIL(&s, bad.done && good.done);
    assert_true(bad.rc == E_DB && !bad.was_committed);
    assert_true(good.rc == 0 && good.was_committed);
    assert_true(site_version_is(&s, "D1", "1.0.0"));
    assert_true(core_mqtt_up(s.core));
    assert_int_equal(metric_get(M_MQTT_CONNECTS), connects);
    site_close(&s);
}

/* ---- order ---- */

static void test_a_check_waits_for_the_report_before_it(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    site_inject(&s, "attributes/D1", "{\"version\":\"1.0.0\"}");
    turn_batch_end(s.core);
    assert_true(s.core->committing);
    site_inject(&s, "event_report/D1", CHECK_TEXT);
    assert_int_equal(s.core->n_waiting, 1); /* though the reader could answer: with the past */
    int64_t nothing = metric_get(M_CHECK_NOTHING);
    site_inject(&s, "event_report/D2", CHECK_TEXT); /* another device needs not wait */
    assert_int_equal(metric_get(M_CHECK_NOTHING), nothing + 1);
    turn_batch_end(s.core);
    UNTIL(&s, s.answers >= 2);
    assert_string_equal(s.topic, "command_send/D1");
    assert_non_null(strstr(s.text, "\"upgrade\":true"));
    assert_false(busy_is(&s.core->busy, hash_bytes("D1", 2)));
    site_close(&s);
}

/* A transaction that takes many messages lets others be read in between. A machine that is busy
 * with something else may use its time up in one slice: another try then. */
static unsigned open_between_slices(struct site *s)
{
    char text[64];

    for (unsigned n = 1; n <= 100000; n++) {
        (void)str_fmt(text, sizeof(text), "{\"version\":\"1.0.%u\",\"n\":%u}", n, n);
        site_inject(s, "attributes/D1", text);
        if (n % 2000 != 0)
            continue;
        turn_batch_end(s->core);
        if (s->core->open && !s->core->committing)
            return n;
        UNTIL(s, !s->core->open && !s->core->committing && s->core->n_waiting == 0);
    }
    fail_msg("no transaction had a second slice");
    return 0;
}

static void test_plain_checks_do_not_wait_for_many_reports(void **state UNUSED)
{
    struct site s;
    char text[64];

    site_open(&s);
    unsigned n = open_between_slices(&s);
    int64_t nothing = metric_get(M_CHECK_NOTHING);
    site_inject(&s, "event_report/D2", CHECK_TEXT);
    assert_int_equal(metric_get(M_CHECK_NOTHING), nothing + 1);
    site_inject(&s, "attributes_get/D1", "{\"keys\":[\"n\"]}");
    assert_true(s.core->open && s.core->n_waiting > 1); /* behind its reports */
    turn_batch_end(s.core);
    UNTIL(&s, s.answers >= 2);
    (void)str_fmt(text, sizeof(text), "{\"n\":%u}", n);
    assert_non_null(strstr(s.text, text));
    UNTIL(&s, !s.core->open && !s.core->committing && s.core->n_waiting == 0);
    (void)str_fmt(text, sizeof(text), "1.0.%u", n);
    assert_true(site_version_is(&s, "D1", text));
    site_close(&s);
}

/* The same through the broker, many times over: every check sees the report before it. */
static void test_order_through_the_broker(void **state UNUSED)
{
    struct site s;
    char text[64];

    site_open(&s);
    for (unsigned i = 1; i <= 200; i++) {
        (void)str_fmt(text, sizeof(text), "{\"version\":\"1.0.%u\",\"n\":%u}", i, i);
        site_say(&s, "attributes/D1", text);
        site_say(&s, "attributes_get/D1", "{\"keys\":[\"n\"]}");
    }
    UNTIL(&s, s.answers == 200);
    assert_non_null(strstr(s.text, "{\"n\":200}"));
    assert_true(site_version_is(&s, "D1", "1.0.200"));
    site_close(&s);
}

/* ---- answers without a way out ---- */

static void test_a_question_comes_again_when_its_answer_is_lost(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    mqtt_drop(s.core->tx, "a test");
    site_inject(&s, "event_report/D1", CHECK_TEXT);
    assert_false(mqtt_is_up(s.core->rx)); /* cut, not acknowledged */
    turn_batch_end(s.core);
    UNTIL(&s, core_mqtt_up(s.core));
    site_say(&s, "event_report/D1", CHECK_TEXT);
    UNTIL(&s, s.answers == 1);
    site_close(&s);
}

/* ---- what fails for itself ---- */

static int break_row(struct note_job *n UNUSED, struct db *w)
{
    return db_exec(w->h, "UPDATE device_state SET attributes = '['") == 0 ? 0 : E_DB;
}

/* A row that can't be read makes its message fail for ever: not the others'. */
static void test_a_stubborn_message_is_left_out(void **state UNUSED)
{
    struct site s;
    struct note_job job = {.more = break_row};
    int rounds = 0;

    site_open(&s);
    site_say(&s, "attributes/D2", "{\"a\":1}");
    site_say(&s, "attributes_get/D2", "{}");
    UNTIL(&s, s.answers == 1);
    note_submit(&s, &job, "break");
    UNTIL(&s, job.done);
    assert_int_equal(job.rc, 0);
    for (; rounds < 20 && !site_version_is(&s, "D1", "1.0.0"); rounds++) {
        site_inject(&s, "attributes/D2", "{\"a\":2}");
        site_inject(&s, "attributes/D1", "{\"version\":\"1.0.0\"}");
        turn_batch_end(s.core);
        UNTIL(&s, !s.core->committing);
    }
    assert_in_range(rounds, 3, 10); /* not at once either: it may have been bad luck */
    site_close(&s);
}

static void test_a_long_message_is_not_kept(void **state UNUSED)
{
    struct site s;
    struct mqtt_message m = {.topic = "attributes/D1", .n = DIALECT_PAYLOAD_MAX + 1};
    AUTO(free) char *payload = xcalloc(1, m.n);

    site_open(&s);
    site_inject(&s, "attributes/D1", "{\"version\":\"1.0.0\"}");
    turn_batch_end(s.core);
    int64_t refused = metric_get(M_BAD_LENGTH);
    m.payload = payload;
    turn_message(s.core, &m);
    assert_int_equal(s.core->n_waiting, 0);
    assert_int_equal(metric_get(M_BAD_LENGTH), refused + 1);
    turn_batch_end(s.core);
    site_close(&s);
}

static int not_reported_yet(struct note_job *n, struct db *w)
{
    char version[VERSION_MAX + 1];
    CHECK(device_version(w, n->site->w.device.id, "main", version, NULL) == E_NOTFOUND);
    return 0;
}

/* A job that nobody waits for begins no transaction of its own at once; it comes before the
 * messages of the next one, and does not wait for ever. */
static void test_a_patient_job_goes_along(void **state UNUSED)
{
    struct site s;
    struct note_job along = {.job.patient = true, .more = not_reported_yet};
    struct note_job alone = {.job.patient = true};

    site_open(&s);
    UNTIL(&s, !s.core->committing);
    note_submit(&s, &along, "along");
    s.core->patient_due = s.core->task_due = s.core->expire_due = false;
    turn_write(s.core);
    assert_true(!s.core->committing && along.ran == 0);
    site_inject(&s, "attributes/D1", "{\"version\":\"9.9\"}");
    turn_batch_end(s.core);
    assert_true(s.core->committing && along.ran == 1 && along.done == 0);
    UNTIL(&s, along.done);
    assert_true(along.rc == 0 && along.was_committed && site_version_is(&s, "D1", "9.9"));
    note_submit(&s, &alone, "alone");
    UNTIL(&s, alone.done);
    assert_true(alone.rc == 0 && site_has_setting(&s, "alone"));
    site_close(&s);
}

static int fail_once_more(struct note_job *n UNUSED, struct db *w UNUSED)
{
    return E_CONFLICT;
}

/* They share a savepoint: one that fails takes none of the others with it. */
static void test_a_patient_job_fails_alone(void **state UNUSED)
{
    struct site s;
    struct note_job before = {.job.patient = true}, after = {.job.patient = true};
    struct note_job bad = {.job.patient = true, .more = fail_once_more};

    site_open(&s);
    UNTIL(&s, !s.core->committing);
    note_submit(&s, &before, "before");
    note_submit(&s, &bad, "bad");
    note_submit(&s, &after, "after");
    UNTIL(&s, before.done && bad.done && after.done);
    assert_true(before.rc == 0 && after.rc == 0 && bad.rc == E_CONFLICT);
    assert_true(before.done == 1 && bad.done == 1 && after.done == 1);
    assert_true(site_has_setting(&s, "before") && site_has_setting(&s, "after"));
    assert_false(site_has_setting(&s, "bad"));
    site_close(&s);
}

/* However many there are: first the bytes that were fetched, then what the device says. */
static void test_patient_jobs_come_before_messages(void **state UNUSED)
{
    static struct note_job jobs[3000];
    static char names[ARRAY_LEN(jobs)][8]; /* on a slow machine they take two transactions */
    struct site s;

    site_open(&s);
    UNTIL(&s, !s.core->committing);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        jobs[i] = (struct note_job){.job.patient = true, .more = not_reported_yet};
        (void)str_fmt(names[i], sizeof(names[i]), "m%zu", i);
        note_submit(&s, &jobs[i], names[i]);
    }
    site_inject(&s, "attributes/D1", "{\"version\":\"9.9\"}");
    turn_batch_end(s.core);
    UNTIL(&s, site_version_is(&s, "D1", "9.9"));
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        assert_true(jobs[i].ran == 1);
    UNTIL(&s, jobs[ARRAY_LEN(jobs) - 1].done);
    site_close(&s);
}

/* ---- housekeeping ---- */

static int break_notes(struct note_job *n UNUSED, struct db *w)
{
    return db_exec(w->h, "CREATE TRIGGER broken BEFORE INSERT ON device_state "
                         "BEGIN INSERT INTO nowhere VALUES (1); END");
}

static int mend_notes(struct note_job *n UNUSED, struct db *w)
{
    return db_exec(w->h, "DROP TRIGGER broken");
}

/* What fails there takes no job with it, and is done when it can be. */
static void test_failed_housekeeping_is_undone_alone(void **state UNUSED)
{
    struct site s;
    struct note_job bad = {.more = break_notes}, good = {.more = NULL}, mend = {.more = mend_notes};
    struct device d;

    site_open(&s);
    note_submit(&s, &bad, "bad");
    UNTIL(&s, bad.done);
    assert_int_equal(bad.rc, 0);
    site_inject(&s, "event_report/D1", CHECK_TEXT);
    turn_batch_end(s.core);
    UNTIL(&s, !s.core->committing && device_seen_pending(s.core->seen) > 0);
    note_submit(&s, &good, "good");
    s.core->seen_due = device_seen_pending(s.core->seen);
    turn_write(s.core);
    UNTIL(&s, good.done);
    assert_true(good.rc == 0 && good.was_committed && site_has_setting(&s, "good"));
    assert_true(device_seen_pending(s.core->seen) > 0);
    note_submit(&s, &mend, "mend");
    UNTIL(&s, mend.done);
    s.core->seen_due = device_seen_pending(s.core->seen);
    turn_write(s.core);
    UNTIL(&s, device_seen_pending(s.core->seen) == 0 && !s.core->committing);
    arena_reset(&s.w.arena);
    assert_int_equal(device_by_key(s.w.reader, 0, "D1", &s.w.arena, &d), 0);
    assert_true(d.seen_at > 0);
    site_close(&s);
}

/* A busy server always hears somebody while it commits: that is for the next time, or it would
 * write without end. */
static void test_who_is_heard_during_a_commit_is_noted_later(void **state UNUSED)
{
    struct site s;
    struct device d;

    site_open(&s);
    site_inject(&s, "event_report/D1", CHECK_TEXT);
    turn_batch_end(s.core);
    UNTIL(&s, !s.core->committing && device_seen_pending(s.core->seen) > 0);
    arena_reset(&s.w.arena);
    assert_int_equal(device_by_key(s.w.reader, 0, "D1", &s.w.arena, &d), 0);
    s.core->next_seen_ms = INT64_MAX; /* the test says when */
    s.core->seen_due = device_seen_pending(s.core->seen);
    turn_write(s.core);
    assert_true(s.core->committing);
    device_seen_note(s.core->seen, d.id, clock_now_ms() + 1000);
    UNTIL(&s, !s.core->committing);
    assert_int_equal(s.core->seen_due, 0);
    assert_int_equal(device_seen_pending(s.core->seen), 1);
    site_close(&s);
}

/* ---- the catalog ---- */

static int break_catalog(struct note_job *n UNUSED, struct db *w)
{
    return db_exec(w->h, "UPDATE firmware SET hardware = '[', enabled = 0") == 0 ? 0 : E_DB;
}

static int mend_catalog(struct note_job *n UNUSED, struct db *w)
{
    return db_exec(w->h, "UPDATE firmware SET hardware = '{}'") == 0 ? 0 : E_DB;
}

static void test_a_failed_snapshot_is_made_later(void **state UNUSED)
{
    struct site s;
    struct note_job bad = {.more = break_catalog, .job.catalog = true};
    struct note_job good = {.more = mend_catalog};

    site_open(&s);
    note_submit(&s, &bad, "break");
    UNTIL(&s, bad.done);
    assert_int_equal(bad.rc, 0); /* it is committed */
    assert_true(s.core->catalog_stale);
    note_submit(&s, &good, "mend"); /* not a change that makes a new one by itself */
    UNTIL(&s, good.done && !s.core->catalog_stale);
    struct catalog *c = catalog_cell_get(s.cell);
    assert_false(catalog_firmware(c, s.w.firmware.id)->enabled);
    catalog_unref(c);
    site_close(&s);
}

/* ---- the end ---- */

static void test_stop_settles_everything(void **state UNUSED)
{
    struct site s;
    struct note_job jobs[50] = {0}, late = {.ran = 0};
    struct device d;
    char name[50][16];

    site_open(&s);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        (void)str_fmt(name[i], sizeof(name[i]), "job %zu", i);
        note_submit(&s, &jobs[i], name[i]);
    }
    site_inject(&s, "attributes/D1", "{\"version\":\"1.0.0\"}");
    site_inject(&s, "event_report/D1", CHECK_TEXT);
    turn_batch_end(s.core);
    site_inject(&s, "attributes/D2", "{\"version\":\"1.0.0\"}");
    site_core_close(&s);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        assert_true(jobs[i].done == 1 && jobs[i].rc == 0 && jobs[i].was_committed);
    assert_true(site_version_is(&s, "D1", "1.0.0") && site_version_is(&s, "D2", "1.0.0"));
    UNTIL(&s, s.answers == 1); /* it had left before the end */
    assert_non_null(strstr(s.text, "\"upgrade\":true"));
    arena_reset(&s.w.arena);
    assert_int_equal(device_by_key(s.w.reader, 0, "D1", &s.w.arena, &d), 0);
    assert_true(d.seen_at > 0);

    site_core_open(&s); /* nothing of it comes again */
    core_stop(s.core, NULL, NULL);
    late.job.done = NULL; /* is not called */
    assert_int_equal(core_submit(s.core, &late.job), E_UNAVAILABLE);
    core_close(TAKE(s.core));
    site_close(&s);
}

/* What was said through the broker and settled is acknowledged by the time the core has stopped. */
static void test_stop_acknowledges(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    for (int i = 0; i < 100; i++)
        site_say(&s, "attributes/D1", "{\"version\":\"1.0.0\"}");
    site_say(&s, "attributes/D2", "{\"version\":\"1.0.0\"}");
    UNTIL(&s, site_version_is(&s, "D2", "1.0.0"));
    site_core_close(&s);
    int64_t messages = metric_get(M_MQTT_MESSAGES);
    site_core_open(&s);
    site_say(&s, "attributes_get/D1", "{}");
    UNTIL(&s, s.answers == 1);
    /* the question, and its answer at the client */
    assert_int_equal(metric_get(M_MQTT_MESSAGES), messages + 2);
    site_close(&s);
}

static void inject_retained(struct site *s, const char *topic, const char *text)
{
    struct mqtt_message m = {
        .topic = topic, .payload = text, .n = strlen(text), .qos = 1, .retain = true};

    turn_message(s->core, &m);
}

/* Old news of unknown age: neither heard nor answered. */
static void test_retained_is_counted_and_changes_nothing(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    int64_t before = metric_get(M_BAD_RETAINED);
    inject_retained(&s, "attributes/D1", "{\"version\":\"0.9.0\"}");
    inject_retained(&s, "event_report/D1", CHECK_TEXT);
    assert_int_equal(metric_get(M_BAD_RETAINED), before + 2);
    assert_int_equal(s.core->n_waiting, 0);
    site_inject(&s, "attributes/D2", "{\"version\":\"1.0.0\"}");
    site_inject(&s, "event_report/D2", CHECK_TEXT);
    turn_batch_end(s.core);
    UNTIL(&s, s.answers > 0);
    assert_string_equal(s.topic, "command_send/D2");
    assert_int_equal(s.answers, 1);
    assert_true(site_version_is(&s, "D2", "1.0.0"));
    assert_false(site_version_is(&s, "D1", "0.9.0"));
    site_close(&s);
}

static void test_an_unknown_topic_is_counted(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    int64_t before = metric_get(M_BAD_TOPIC);
    site_inject(&s, "nonsense/D1", "{\"version\":\"0.9.0\"}");
    assert_int_equal(metric_get(M_BAD_TOPIC), before + 1);
    assert_int_equal(s.core->n_waiting, 0);
    turn_batch_end(s.core);
    site_close(&s);
}

int run_turn_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failed_commit_settles_nothing),
        cmocka_unit_test(test_a_failed_job_costs_no_session),
        cmocka_unit_test(test_job_and_messages_in_one),
        cmocka_unit_test(test_a_failing_job_is_undone_alone),
        cmocka_unit_test(test_a_check_waits_for_the_report_before_it),
        cmocka_unit_test(test_order_through_the_broker),
        cmocka_unit_test(test_plain_checks_do_not_wait_for_many_reports),
        cmocka_unit_test(test_a_question_comes_again_when_its_answer_is_lost),
        cmocka_unit_test(test_a_stubborn_message_is_left_out),
        cmocka_unit_test(test_a_long_message_is_not_kept),
        cmocka_unit_test(test_retained_is_counted_and_changes_nothing),
        cmocka_unit_test(test_an_unknown_topic_is_counted),
        cmocka_unit_test(test_a_patient_job_goes_along),
        cmocka_unit_test(test_a_patient_job_fails_alone),
        cmocka_unit_test(test_patient_jobs_come_before_messages),
        cmocka_unit_test(test_failed_housekeeping_is_undone_alone),
        cmocka_unit_test(test_who_is_heard_during_a_commit_is_noted_later),
        cmocka_unit_test(test_a_failed_snapshot_is_made_later),
        cmocka_unit_test(test_stop_settles_everything),
        cmocka_unit_test(test_stop_acknowledges),
    };
    mqtt_setup();
    int failed = cmocka_run_group_tests_name("core turn", tests, NULL, NULL);
    mqtt_cleanup();
    return failed;
}
