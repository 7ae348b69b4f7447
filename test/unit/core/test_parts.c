/* What fails for itself, and for how long: of what is kept for a device. */
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

int run_parts_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_undone_stays_kept),
    };
    return cmocka_run_group_tests_name("core/parts", tests, NULL, NULL);
}
