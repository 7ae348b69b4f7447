/*
 * What fails for itself, and for how long: of the housekeeping, and of what is kept for a device.
 */
#include "site.h"

static const char *sql; /* what a job does to the rows */

static int run_sql(struct note_job *n UNUSED, struct db *w)
{
    return db_exec(w->h, sql) == 0 ? 0 : E_DB;
}

static void run_job(struct site *s, const char *name, bool catalog,
                    int (*more)(struct note_job *n, struct db *w))
{
    struct note_job n = {.more = more, .job.catalog = catalog};

    note_submit(s, &n, name);
    UNTIL(s, n.done);
    CHECK(n.rc == 0);
}

static void change(struct site *s, const char *name, const char *text)
{
    sql = text;
    run_job(s, name, false, run_sql);
}

/* A message through the writer, to its end. */
static void hear(struct site *s, const char *topic, const char *text)
{
    site_inject(s, topic, text);
    turn_batch_end(s->core);
    UNTIL(s, s->core->n_waiting == 0 && !s->core->open && !s->core->committing);
}

static int run_task(struct note_job *n, struct db *w)
{
    const struct device_type *type = &n->site->w.type;
    struct task t = {.project_id = type->project_id,
                     .name = "t",
                     .enabled = true,
                     .action = TASK_COMMAND_SEND,
                     .params = "{\"kind\":\"command_send\",\"method\":\"ping\"}",
                     .type_id = type->id,
                     .schedule = "{\"kind\":\"manual\"}",
                     .timezone = "UTC",
                     .grace_s = 600,
                     .created_at = clock_now_ms()};
    int64_t run;

    CHECK(task_insert(w, &t, NULL, 0) == 0);
    CHECK(task_run_now(w, &t, NULL, 0, clock_now_ms(), &run, NULL) == 0);
    return 0;
}

/* The device spoke, what is kept was on its way, and all of that was undone: it is kept still. */
static void what_is_undone_stays_kept(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    run_job(&s, "task", false, run_task); /* nobody was heard yet: it is kept */
    UNTIL(&s, pushes_has(&s.core->pushes, s.w.device.id) && !s.core->committing);
    change(&s, "break",
           "CREATE TRIGGER broken BEFORE DELETE ON task_kept "
           "BEGIN SELECT RAISE(ABORT, 'broken'); END");
    hear(&s, "attributes/D1", "{\"a\":1}");
    assert_true(pushes_has(&s.core->pushes, s.w.device.id));
    assert_int_equal(s.answers, 0);
    change(&s, "mend", "DROP TRIGGER broken");
    hear(&s, "attributes/D1", "{\"a\":2}");
    assert_false(pushes_has(&s.core->pushes, s.w.device.id));
    UNTIL(&s, s.answers > 0);
    assert_string_equal(s.topic, "command_send/D1");
    assert_non_null(strstr(s.text, "\"ping\""));
    site_close(&s);
}

static int push(struct note_job *n, struct db *w)
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
    return 0;
}

/* Of tasks nothing works any more; also not to find out what may not have left. */
static void broken_tasks_hold_up_no_campaign(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    hear(&s, "attributes/D1", "{\"version\":\"1.1.0\"}");
    change(&s, "break", "ALTER TABLE task_run RENAME TO gone");
    turn_unsent(s.core); /* as after a cut of the broker's session */
    run_job(&s, "campaign", true, push);
    UNTIL(&s, s.answers > 0);
    assert_string_equal(s.topic, "command_send/D1");
    assert_non_null(strstr(s.text, "\"version\":\"2.0.0\""));
    assert_true(s.core->unsent); /* the tasks wait */
    change(&s, "mend", "ALTER TABLE gone RENAME TO task_run");
    UNTIL(&s, !s.core->unsent);
    site_close(&s);
}

/* … nor does anything else that can't get through its rows. */
static void broken_rows_hold_up_no_other_part(void **state UNUSED)
{
    static const char *const tables[] = {"campaign_phase", "event",        "task",
                                         "campaign_flow",  "update_log",   "consent",
                                         "version_point",  "device_module"};
    struct site s;
    char text[128], name[64];

    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        site_open(&s);
        (void)str_fmt(text, sizeof(text), "ALTER TABLE %s RENAME TO gone", tables[i]);
        change(&s, "break", text);
        s.core->next_seen_ms = INT64_MAX; /* the test says when */
        device_seen_note(s.core->seen, s.w.device.id, clock_now_ms());
        s.core->seen_due = device_seen_pending(s.core->seen);
        s.core->expire_due = s.core->event_due = s.core->sweep_due = s.core->task_due = true;
        s.core->points_due = s.core->down_due = true;
        turn_write(s.core);
        UNTIL(&s, !s.core->open && !s.core->committing);
        if (device_seen_pending(s.core->seen) > 0)
            fail_msg("without %s nothing is noted", tables[i]);
        (void)str_fmt(name, sizeof(name), "ALTER TABLE gone RENAME TO %s", tables[i]);
        change(&s, "mend", name);
        site_close(&s);
    }
}

int run_parts_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_undone_stays_kept),
        cmocka_unit_test(broken_tasks_hold_up_no_campaign),
        cmocka_unit_test(broken_rows_hold_up_no_other_part),
    };
    return cmocka_run_group_tests_name("core/parts", tests, NULL, NULL);
}
