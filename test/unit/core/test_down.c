/*
 * Commands and attributes for one device, and what applications hear: what the engine makes of the
 * messages of both sides, and the core's part against a broker.
 */
#include "site.h"

#include <signal.h>

#define APP "PR_abcdefghij"

static void add_app(struct db *w, int64_t project, bool live)
{
    const struct project_app app = {.project_id = project,
                                    .key = APP,
                                    .secret_hash = "$7$101$x$y",
                                    .token = "123456",
                                    .live = live,
                                    .created_at = 1};

    CHECK(project_app_insert(w, &app) == 0);
}

static struct world w;

static int setup(void **state UNUSED)
{
    world_init(&w);
    CHECK(db_begin(w.fx.w) == 0);
    add_app(w.fx.w, w.type.project_id, true);
    CHECK(db_commit(w.fx.w) == 0);
    world_reload(&w);
    return 0;
}

static int teardown(void **state UNUSED)
{
    world_done(&w);
    return 0;
}

static struct answers heard(struct db *db, const char *topic, const char *user, const char *text,
                            int *ret_rc)
{
    struct engine x = {&w.conf, w.link_key, w.catalog, db, &w.arena, clock_now_ms(), NULL};
    struct answers out;

    turn_answers_init(&out, &w.arena);
    *ret_rc = down_heard(
        &x, &(struct dialect_in){.topic = topic, .user = user, .payload = text, .n = strlen(text)},
        &out);
    return out;
}

static void test_an_application_asks(void **state UNUSED)
{
    const char *topic = "open/" APP "/D1/command_send", *text = "{\"method\":\"x\",\"id\":\"a\"}";
    struct device_down m;
    int64_t id;
    int rc;

    (void)heard(w.reader, topic, NULL, text, &rc);
    assert_int_equal(rc, E_NEEDS_WRITE);
    assert_int_equal(db_begin(w.fx.w), 0);
    struct answers out = heard(w.fx.w, topic, APP, text, &rc);
    assert_int_equal(rc, 0);
    assert_true(out.queued && !out.first);
    assert_int_equal(device_down_due(w.fx.w, INT64_MAX, &id, 1), 1);
    assert_int_equal(device_down_by_id(w.fx.w, w.device.id, id, &w.arena, &m), 0);
    assert_int_equal(db_commit(w.fx.w), 0);
    assert_true(m.message_id > 0 && m.message_id <= INT32_MAX);
    assert_string_equal(m.app_id, "\"a\"");

    /* the reply is the application's, and under its own id */
    const char *reply = arena_printf(
        &w.arena, "{\"method\":\"x\",\"params\":{\"k\":1},\"id\":%lld}", (long long)m.message_id);
    struct said s = say(&w, w.reader, "command_reply/D1", reply);
    assert_int_equal(s.rc, E_NEEDS_WRITE);
    s = say(&w, w.fx.w, "command_reply/D2", reply);
    assert_int_equal(s.rc, E_PROTO); /* not its own */
    s = tell(&w, "command_reply/D1", reply);
    assert_int_equal(s.rc, 0);
    assert_true(s.out.ended && s.out.ended->id == id && s.out.first->live);
    assert_string_equal(s.topic, "open/" APP "/D1/command_reply");
    assert_string_equal(s.text, "{\"method\":\"x\",\"params\":{\"k\":1},\"id\":\"a\"}");
    s = tell(&w, "command_reply/D1", reply); /* once more: heard, and nothing ends again */
    assert_true(s.rc == 0 && !s.out.ended && s.out.first);
}

static void test_who_may_not_ask(void **state UNUSED)
{
    static const struct {
        const char *topic, *user, *text;
        enum metric why;
    } bad[] = {
        {"open/" APP "/D9/attributes_push", NULL, "{\"a\":1}", M_BAD_DEVICE},
        {"open/PR_other/D1/attributes_push", NULL, "{\"a\":1}", M_BAD_IDENTITY},
        {"open/D1/D1/attributes_push", "D1", "{\"a\":1}", M_BAD_IDENTITY},
        {"open/" APP "/D1/attributes_push", "D1", "{\"a\":1}", M_BAD_IDENTITY},
        {"open/" APP "/D1/attributes_push", APP, "a", M_BAD_JSON},
    };
    int rc;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct answers out = heard(w.reader, bad[i].topic, bad[i].user, bad[i].text, &rc);
        assert_int_equal(rc, E_PROTO);
        assert_int_equal(out.refused->why, bad[i].why);
    }
    (void)heard(w.reader, "attributes/D1", NULL, "{}", &rc);
    assert_int_equal(rc, E_NOTFOUND);
    assert_int_equal(db_begin(w.fx.w), 0);
    for (int i = 0; i < DEVICE_DOWN_MAX; i++) {
        (void)heard(w.fx.w, "open/" APP "/D1/attributes_push", APP, "{\"a\":1}", &rc);
        assert_int_equal(rc, 0);
    }
    struct answers out = heard(w.fx.w, "open/" APP "/D1/attributes_push", APP, "{\"a\":1}", &rc);
    assert_int_equal(rc, E_PROTO);
    assert_int_equal(out.refused->why, M_BAD_QUEUE);
    assert_false(out.queued);
    db_rollback(w.fx.w);
}

static void test_what_is_heard(void **state UNUSED)
{
    struct said s = tell(&w, "attributes/D1", "{\"t\":1}");
    assert_string_equal(s.topic, "open/" APP "/D1/attributes");
    assert_string_equal(s.out.live.key, "D1");
    s = say(&w, w.reader, "attributes/D1", "{\"t\":1}"); /* no news for the rows */
    assert_int_equal(s.rc, 0);
    assert_string_equal(s.text, "{\"t\":1}");
    s = tell(&w, "event_report/D1", "{\"method\":\"otaCheck\",\"params\":{}}");
    assert_non_null(s.out.first->next);
    assert_true(!s.out.first->live && s.out.first->next->live); /* the device comes first */
    s = say(&w, w.reader, "attributes_get/D1", "{}");
    assert_null(s.out.first->next);

    /* switched off, nothing is made of it */
    assert_int_equal(db_begin(w.fx.w), 0);
    struct project_app app;
    assert_int_equal(project_app_by_key(w.fx.w, APP, &w.arena, &app), 0);
    app.live = false;
    assert_int_equal(project_app_update(w.fx.w, &app), 0);
    assert_int_equal(db_commit(w.fx.w), 0);
    world_reload(&w);
    s = say(&w, w.reader, "attributes/D1", "{\"t\":1}");
    assert_true(s.rc == 0 && !s.out.first && !s.out.live.key);
}

/* ---- the core's part ---- */

struct asked {
    struct note_job note;
    int64_t interval_ms, wait_ms;
    struct device_down m;
    struct site *site;
    unsigned woke;
};

static int insert(struct note_job *n, struct db *db)
{
    struct asked *a = (struct asked *)n;
    struct device_type t = device_type_defaults;

    t.down_interval_ms = a->interval_ms;
    a->m.created_at = clock_now_ms();
    return device_down_insert(db, &a->m, &t);
}

static void woke(void *arg)
{
    struct asked *a = arg;
    a->woke++;
}

static void test_it_is_sent_and_who_waits_is_woken(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    struct asked a = {.note.more = insert, .site = &s};
    a.m = (struct device_down){
        .device_id = s.w.device.id, .method = "x", .params = "{}", .message_id = 4711};
    note_submit(&s, &a.note, "asked");
    UNTIL(&s, a.note.done);
    assert_int_equal(a.note.rc, 0);
    core_down_queued(s.core, a.m.id, 600000, woke, &a);
    turn_write(s.core);
    UNTIL(&s, s.answers > 0);
    assert_string_equal(s.topic, "command_send/D1");
    assert_string_equal(s.text, "{\"method\":\"x\",\"params\":{},\"id\":4711}");
    assert_int_equal(a.woke, 0);
    site_say(&s, "command_reply/D1", "{\"method\":\"x\",\"params\":{},\"id\":4711}");
    UNTIL(&s, a.woke > 0);

    /* a wait ends by itself, and with the core */
    core_down_queued(s.core, 1000, 0, woke, &a);
    UNTIL(&s, a.woke > 1);
    core_down_queued(s.core, 1001, 600000, woke, &a);
    site_close(&s);
    assert_int_equal(a.woke, 3);
}

/* One without a way to its device is given up; those behind it leave. */
static void test_a_spoilt_one_holds_up_nobody(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    struct asked a = {.note.more = insert, .site = &s}, b = a;
    a.m = (struct device_down){.device_id = s.w.device.id, .params = "no JSON"};
    b.m = (struct device_down){
        .device_id = s.w.device.id, .method = "y", .params = "{}", .message_id = 1};
    note_submit(&s, &a.note, "spoilt");
    note_submit(&s, &b.note, "good");
    UNTIL(&s, a.note.done && b.note.done);
    UNTIL(&s, s.answers > 0);
    assert_string_equal(s.text, "{\"method\":\"y\",\"params\":{},\"id\":1}");
    site_close(&s);
}

/* By an operator's sqlite3, which keeps no foreign keys. */
static void spoil(struct site *s, const char *sql)
{
    sqlite3 *h;

    CHECK(sqlite3_open(s->w.fx.path, &h) == SQLITE_OK);
    CHECK(sqlite3_busy_timeout(h, 60000) == SQLITE_OK);
    CHECK(db_exec(h, sql) == SQLITE_OK);
    CHECK(sqlite3_close(h) == SQLITE_OK);
}

static bool has_ended(struct site *s, const struct asked *a)
{
    struct device_down m;

    arena_reset(&s->w.arena);
    CHECK(device_down_by_id(s->w.reader, 0, a->m.id, &s->w.arena, &m) == 0);
    return m.ended_at > 0 && strcmp(m.state, "canceled") == 0 && m.sent_at == 0;
}

/* Rows that can't be read, whose device has gone, or that can't be written any more: all others
 * leave, and what can be ended is. */
static void test_unreadable_rows_hold_up_nobody(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    s.core->tx_up = false; /* not yet */
    struct asked a = {.note.more = insert, .site = &s}, b = a, lost = a, stuck = a, good = a;
    a.m = (struct device_down){.device_id = s.w.device.id, .params = "{}"};
    b.m = (struct device_down){.device_id = s.w.device.id, .method = "x", .params = "{}"};
    b.m.message_id = 1;
    stuck.m = lost.m = a.m;
    good.m = (struct device_down){
        .device_id = s.w.other.id, .method = "y", .params = "{}", .message_id = 2};
    struct asked *all[] = {&a, &b, &lost, &stuck, &good};
    static const char *const names[] = {"a", "b", "lost", "stuck", "good"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        note_submit(&s, &all[i]->note, names[i]);
        UNTIL(&s, all[i]->note.done);
        assert_int_equal(all[i]->note.rc, 0);
    }
    spoil(&s, arena_printf(&s.w.arena,
                           "UPDATE device_down SET params = '{\"a' WHERE id = %lld;"
                           "UPDATE device_down SET params = '[1]' WHERE id = %lld;"
                           "UPDATE device_down SET device_id = 4711 WHERE id = %lld;"
                           "UPDATE device_down SET next_at = 1, params = '' WHERE id = %lld;"
                           "CREATE TRIGGER stuck BEFORE UPDATE ON device_down WHEN OLD.id = %lld "
                           "BEGIN SELECT RAISE(ABORT, 'stuck'); END",
                           (long long)a.m.id, (long long)b.m.id, (long long)lost.m.id,
                           (long long)stuck.m.id, (long long)stuck.m.id));
    core_down_queued(s.core, b.m.id, 600000, woke, &b);
    s.core->downs.next_at = 0;
    s.core->tx_up = true;
    UNTIL(&s, s.answers > 0);
    assert_string_equal(s.topic, "command_send/D2");
    UNTIL(&s, has_ended(&s, &a) && has_ended(&s, &b) && has_ended(&s, &lost));
    assert_int_equal(b.woke, 1);
    assert_false(has_ended(&s, &stuck));

    /* and when it can be written again, it is ended too */
    spoil(&s, "DROP TRIGGER stuck");
    s.core->downs.forget_ms = 0;
    UNTIL(&s, has_ended(&s, &stuck));
    assert_int_equal(s.answers, 1);
    site_close(&s);
}

static int fill(struct note_job *n, struct db *db)
{
    struct device_down m = {.device_id = n->site->w.device.id, .method = "x", .params = "{}"};

    add_app(db, n->site->w.type.project_id, false);
    m.created_at = clock_now_ms();
    for (int i = 0; i < DEVICE_DOWN_MAX; i++) {
        m.message_id = 1000 + i;
        CHECK(device_down_insert(db, &m, &device_type_defaults) == 0);
    }
    return 0;
}

/* So many that no reply has come to: one more is counted, and another device's is sent. */
static void test_a_full_queue_is_counted(void **state UNUSED)
{
    struct note_job job = {.job.catalog = true, .more = fill};
    struct site s;

    site_open(&s);
    note_submit(&s, &job, "full");
    UNTIL(&s, job.done);
    assert_int_equal(job.rc, 0);
    int64_t before = metric_get(M_BAD_QUEUE);
    site_say(&s, "open/" APP "/D1/command_send", "{\"method\":\"y\"}");
    UNTIL(&s, metric_get(M_BAD_QUEUE) > before);
    site_say(&s, "open/" APP "/D2/command_send", "{\"method\":\"y\"}");
    UNTIL(&s, strcmp(s.topic, "command_send/D2") == 0);
    assert_int_equal(metric_get(M_BAD_QUEUE), before + 1);
    site_close(&s);
}

/* A broker that takes nothing: what applications would hear is dropped, and bounded. Devices get
 * their answers when it goes on. */
static void test_applications_hold_up_nobody(void **state UNUSED)
{
    char *text = xcalloc(1, 32768);
    struct answer live = {.topic = "open/" APP "/D1/attributes", .payload = {text, 32767}};
    struct site s;

    site_open(&s);
    memset(text, ' ', 32767);
    int64_t sent = metric_get(M_LIVE_SENT), dropped = metric_get(M_LIVE_DROPPED);
    assert_int_equal(kill(s.b.pid, SIGSTOP), 0);
    for (int i = 0; i < 2000; i++)
        live_send(s.core, &live);
    assert_int_equal(kill(s.b.pid, SIGCONT), 0);
    sent = metric_get(M_LIVE_SENT) - sent;
    dropped = metric_get(M_LIVE_DROPPED) - dropped;
    assert_true(sent > 0 && dropped > 0 && sent + dropped == 2000);
    site_say(&s, "attributes_get/D1", "{}");
    UNTIL(&s, s.answers > 0);
    site_close(&s);
    free(text);
}

int run_down_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_application_asks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_may_not_ask, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_heard, setup, teardown),
        cmocka_unit_test(test_it_is_sent_and_who_waits_is_woken),
        cmocka_unit_test(test_a_spoilt_one_holds_up_nobody),
        cmocka_unit_test(test_unreadable_rows_hold_up_nobody),
        cmocka_unit_test(test_a_full_queue_is_counted),
        cmocka_unit_test(test_applications_hold_up_nobody),
    };
    return cmocka_run_group_tests_name("core/down", tests, NULL, NULL);
}
