/* Runs: each device once whatever is lost, the rate, what was missed, and what is overtaken. */
#include "world.h"

#include "../../../src/db/db_priv.h"

static void each_device_once(void **state UNUSED)
{
    struct world w;
    uint64_t seed = 5;

    world_init(&w);
    struct task t = task_of(&w);
    MUST(task_insert(w.d.w, &t, NULL, 0));
    int64_t run = run_now(&w, &t);
    for (int i = 0; i < 500 && !is_over(&w, t.id, run); i++) {
        MUST(db_save(w.d.w));
        MUST(task_tick(&w.env, 8, 1000000));
        if (seed = seed * 6364136223846793005u + 1442695040888963407u, seed >> 62 == 0)
            db_undo(w.d.w); /* a crash before the commit */
        else
            MUST(db_release(w.d.w));
    }
    assert_true(is_over(&w, t.id, run));
    struct tally n = tally(&w, run);
    assert_int_equal(n.offered, DEVICES / 3 * 2);
    assert_int_equal(n.nothing, DEVICES / 3);
    assert_int_equal(task_tick(&w.env, 100, 1000000), 0);
    world_done(&w);
}

static void the_rate_holds(void **state UNUSED)
{
    static const int64_t rates[] = {1, 60, 400, 3000};

    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct world w;
        world_init(&w);
        struct task t = task_of(&w);
        t.rate_per_minute = rates[i];
        t.action = TASK_COMMAND_SEND;
        t.params = "{\"kind\":\"command_send\",\"method\":\"ping\"}";
        MUST(task_insert(w.d.w, &t, NULL, 0));
        int64_t run = run_now(&w, &t), start = w.env.now;
        uint64_t seed = 7;
        while (!is_over(&w, t.id, run)) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            w.env.now += 240 + (int64_t)(seed >> 59); /* as the core's tick: about 250 ms */
            all_seen(&w, w.env.now);
            MUST(task_tick(&w.env, 200, 1000000));
            arena_reset(&w.d.a);
            /* the bound holds at every moment, with what a burst may be */
            int64_t ms = w.env.now - start, burst = rates[i] / 30 > 2 ? rates[i] / 30 : 2;
            assert_true(w.sent <= rates[i] * ms / 60000 + burst + 1);
        }
        double want = (DEVICES - 1) * 60000.0 / (double)rates[i], got = (double)(w.env.now - start);
        assert_true(got > want * 0.95 && got < want * 1.05 + 500);
        world_done(&w);
    }
}

/* Not a millisecond longer or less, so that what may leave need not wait for others of its kind. */
static void who_waits_for_its_rate_says_how_long(void **state UNUSED)
{
    static const int64_t rates[] = {1, 700, 3000, 60000};

    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct world w;
        world_init(&w);
        struct task t = task_of(&w);
        t.rate_per_minute = rates[i];
        t.action = TASK_COMMAND_SEND;
        t.params = "{\"kind\":\"command_send\",\"method\":\"ping\"}";
        MUST(task_insert(w.d.w, &t, NULL, 0));
        int64_t run = run_now(&w, &t);
        MUST(task_tick(&w.env, 200, 1000000));
        for (int k = 0; k < 20; k++) {
            int64_t sent = w.sent, wait = w.env.wait_ms;
            assert_in_range(wait, 1, 60000 / rates[i] + 1);
            w.env.now += wait - 1;
            all_seen(&w, w.env.now);
            MUST(task_tick(&w.env, 200, 1000000));
            assert_int_equal(w.sent, sent);
            assert_in_range(w.env.wait_ms, 1, 2);
            w.env.now++;
            MUST(task_tick(&w.env, 200, 1000000));
            assert_int_equal(w.sent, sent + 1);
        }
        assert_false(is_over(&w, t.id, run));
        world_done(&w);
    }
}

/* More runs than a slice takes, and the first ones all wait for their rate. */
static void who_waits_keeps_nobody_out(void **state UNUSED)
{
    enum { WAITING = 32 };
    int64_t after = 0, run = 0;
    struct world w;

    world_init(&w);
    w.env.run_after = &after;
    struct task t = task_of(&w);
    t.action = TASK_COMMAND_SEND;
    t.params = "{\"kind\":\"command_send\",\"method\":\"ping\"}";
    t.rate_per_minute = 1;
    for (int i = 0; i < WAITING; i++) {
        MUST(task_insert(w.d.w, &t, NULL, 0));
        (void)run_now(&w, &t);
    }
    assert_int_equal(task_tick(&w.env, 400, 1000000), 0);
    assert_int_equal(w.sent, WAITING); /* one may leave at once */
    w.sent = 0;
    t.rate_per_minute = 0;
    MUST(task_insert(w.d.w, &t, NULL, 0));
    MUST(task_run_now(w.d.w, &t, w.ids, 1, w.env.now, &run, NULL));
    MUST(task_tick(&w.env, 200, 1000000));
    MUST(task_tick(&w.env, 200, 1000000));
    assert_true(is_over(&w, t.id, run));
    assert_int_equal(w.sent, 1);

    /* and those that wait have not lost their turn */
    MUST(task_run_now(w.d.w, &t, w.ids, 1, w.env.now, &run, NULL));
    w.env.now += MIN;
    all_seen(&w, w.env.now);
    MUST(task_tick(&w.env, 400, 1000000));
    MUST(task_tick(&w.env, 400, 1000000));
    assert_int_equal(w.sent, 1 + WAITING + 1);
    assert_true(is_over(&w, t.id, run));
    world_done(&w);
}

struct runs {
    struct world *w;
    struct task_run *list;
    size_t n, cap;
};

static int take_run(void *arg, const struct task_run *r)
{
    struct runs *l = arg;

    assert_true(l->n < l->cap);
    l->list[l->n] = *r;
    l->list[l->n].state = arena_strdup(&l->w->d.a, r->state);
    l->list[l->n++].reason = arena_strdup(&l->w->d.a, r->reason);
    return 0;
}

static int64_t runs_of(struct world *w, int64_t task, struct task_run *ret, size_t cap)
{
    struct runs l = {w, ret, 0, cap};

    MUST(task_run_list(w->d.w, task, NULL, 0, 100, take_run, &l));
    return (int64_t)l.n;
}

/* T0 is 2023-11-14T22:13:20Z; the task runs at every full hour. */
static void what_was_missed(void **state UNUSED)
{
    struct task_run runs[10];
    struct world w;

    world_init(&w);
    struct task t = task_of(&w);
    t.schedule = "{\"kind\":\"cron\",\"cron\":\"0 * * * *\"}";
    MUST(task_insert(w.d.w, &t, NULL, 0));
    int64_t eleven = 1700002800000;
    w.env.now = eleven - 1;
    MUST(task_tick(&w.env, 500, 1000000));
    assert_int_equal(runs_of(&w, t.id, runs, 10), 0);

    w.env.now = eleven + 599 * 1000; /* late, within the grace */
    MUST(task_tick(&w.env, 0, 0));
    assert_int_equal(runs_of(&w, t.id, runs, 10), 1);
    assert_string_equal(runs[0].state, "running");
    assert_int_equal(runs[0].due_at, eleven);

    w.env.now = eleven + HOUR; /* the one before is still under way */
    MUST(task_tick(&w.env, 0, 0));
    assert_int_equal(runs_of(&w, t.id, runs, 10), 2);
    assert_string_equal(runs[0].state, "skipped");
    assert_string_equal(runs[0].reason, "run_under_way");
    while (task_tick(&w.env, 500, 1000000) == 1)
        ;
    assert_true(is_over(&w, t.id, runs[1].id));

    w.env.now =
        eleven + 5 * HOUR + 601 * 1000 + TASK_LATE_MS; /* down for hours, back too late for each */
    MUST(task_tick(&w.env, 0, 0));
    assert_int_equal(runs_of(&w, t.id, runs, 10), 3);
    assert_string_equal(runs[0].state, "skipped");
    assert_string_equal(runs[0].reason, "missed");

    w.env.now = eleven + 9 * HOUR + 60 * 1000; /* again, but the last one is within the grace */
    MUST(task_tick(&w.env, 0, 0));
    assert_int_equal(runs_of(&w, t.id, runs, 10), 5);
    assert_string_equal(runs[0].state, "running");
    assert_int_equal(runs[0].due_at, eleven + 9 * HOUR);
    assert_string_equal(runs[1].reason, "missed");
    MUST(task_tick(&w.env, 0, 0));
    assert_int_equal(runs_of(&w, t.id, runs, 10), 5);
    world_done(&w);
}

/* The clock is looked at now and then: being that late is not missed, whatever the grace. */
static void no_grace_at_all(void **state UNUSED)
{
    const int64_t eleven = 1700002800000;
    struct task_run runs[4];
    struct world w;

    world_init(&w);
    struct task t = task_of(&w);
    t.schedule = "{\"kind\":\"cron\",\"cron\":\"0 * * * *\"}";
    t.grace_s = 0;
    MUST(task_insert(w.d.w, &t, NULL, 0));
    w.env.now = eleven + 200;
    MUST(task_tick(&w.env, 0, 0));
    assert_int_equal(runs_of(&w, t.id, runs, 4), 1);
    assert_string_equal(runs[0].state, "running");
    assert_int_equal(runs[0].due_at, eleven);
    while (task_tick(&w.env, 500, 1000000) == 1)
        ;

    w.env.now = eleven + HOUR + TASK_LATE_MS + 1;
    MUST(task_tick(&w.env, 0, 0));
    assert_int_equal(runs_of(&w, t.id, runs, 4), 2);
    assert_string_equal(runs[0].state, "skipped");
    assert_string_equal(runs[0].reason, "missed");
    world_done(&w);
}

static void a_device_that_fails_holds_up_nobody(void **state UNUSED)
{
    struct update_filter open = {.state = -2};
    struct world w;

    world_init(&w);
    struct task t = task_of(&w);
    MUST(task_insert(w.d.w, &t, NULL, 0));
    int64_t run = run_now(&w, &t);
    w.send_rc = E_NOTFOUND;
    while (!is_over(&w, t.id, run))
        MUST(task_tick(&w.env, 500, 1000000));
    assert_int_equal(tally(&w, run).failed, DEVICES / 3 * 2);
    open.project_id = w.d.project;
    assert_int_equal(update_count(w.d.w, &open), 0); /* nothing half done stays */
    world_done(&w);
}

/* As it can't be made any more. */
static void one_that_lies_too_deep(void **state UNUSED)
{
    struct update_filter open = {.state = -2};
    struct world w;
    char sql[128];
    int64_t run;

    world_init(&w);
    for (int i = 0; i < DEVICE_DEPTH_MAX + 1; i++) {
        (void)str_fmt(sql, sizeof(sql),
                      "UPDATE device SET gateway_id=%lld, address='A' WHERE id=%lld",
                      (long long)w.ids[2 + 3 * i + 3], (long long)w.ids[2 + 3 * i]);
        MUST(db_exec(w.d.w->h, sql));
    }
    struct task t = task_of(&w);
    MUST(task_insert(w.d.w, &t, NULL, 0));
    MUST(task_run_now(w.d.w, &t, (const int64_t[]){w.ids[1], w.ids[2]}, 2, w.env.now, &run, NULL));
    for (int i = 0; i < 10 && !is_over(&w, t.id, run); i++)
        MUST(task_tick(&w.env, 500, 1000000));
    assert_true(is_over(&w, t.id, run));
    assert_int_equal(tally(&w, run).offered, 1);
    assert_int_equal(tally(&w, run).failed, 1);
    open.project_id = w.d.project;
    assert_int_equal(update_count(w.d.w, &open), 1);
    world_done(&w);
}

/* What was sent, but not known to have reached the broker, is kept after a crash. */
static void after_a_crash(void **state UNUSED)
{
    struct device dev;
    struct world w;

    world_init(&w);
    struct task t = task_of(&w);
    MUST(task_insert(w.d.w, &t, NULL, 0));
    int64_t run = run_now(&w, &t);
    MUST(task_tick(&w.env, 90, 1000000));
    w.env.settled = true;
    MUST(task_tick(&w.env, 30, 1000000)); /* the 90 have arrived, these 30 perhaps not */
    MUST(task_recover(w.d.w));
    w.sent = 0;
    for (int i = 0; i < DEVICES; i++) {
        MUST(device_by_id(w.d.w, w.ids[i], &w.d.a, &dev));
        MUST(task_deliver(&w.env, &dev, NULL, 0));
    }
    assert_int_equal(w.sent, 20);
    assert_int_equal(tally(&w, run).offered, 80);
    world_done(&w);
}

static bool is_sent(struct world *w, const struct task *t, int64_t device)
{
    int64_t run = 0;
    int before = w->sent;

    MUST(task_run_now(w->d.w, t, &device, 1, w->env.now, &run, NULL));
    while (!is_over(w, t->id, run))
        MUST(task_tick(&w->env, 500, 1000000));
    return w->sent > before;
}

static void presence_decides(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    struct task t = task_of(&w);
    t.action = TASK_COMMAND_SEND;
    t.params = "{\"kind\":\"command_send\",\"method\":\"ping\"}";
    MUST(task_insert(w.d.w, &t, NULL, 0));
    w.env.online = online_one;
    w.online = 0;
    assert_false(is_sent(&w, &t, w.ids[0])); /* heard a moment ago, but gone */
    assert_string_equal(w.asked, "d0");
    w.env.now = T0 + device_type_defaults.offline_delay_s * 1000 + 1;
    w.online = 1;
    assert_true(is_sent(&w, &t, w.ids[0])); /* silent, but there */
    w.online = -1;
    assert_false(is_sent(&w, &t, w.ids[0]));

    /* behind a gateway: its connection, and its word */
    struct device child = {.project_id = w.d.project,
                           .type_id = w.d.type.id,
                           .gateway_id = w.ids[1],
                           .address = "A",
                           .key = "child",
                           .enabled = true,
                           .created_at = T0};
    MUST(device_insert(w.d.w, &child, NULL));
    w.online = 1;
    assert_false(is_sent(&w, &t, child.id)); /* nobody ever spoke of it */
    assert_string_equal(w.asked, "d1");
    MUST(device_online_set(w.d.w, child.id, true, 0, w.env.now));
    assert_true(is_sent(&w, &t, child.id));
    w.online = 0;
    assert_false(is_sent(&w, &t, child.id)); /* the gateway is gone */
    w.online = -1;
    assert_false(is_sent(&w, &t, child.id));
    device_seen_note(w.seen, child.id, w.env.now);
    assert_true(is_sent(&w, &t, child.id));
    MUST(device_online_set(w.d.w, child.id, false, 0, w.env.now));
    w.online = 1;
    assert_false(is_sent(&w, &t, child.id)); /* the gateway says so */
    device_seen_note(w.seen, child.id, w.env.now + 1);
    w.env.now += 2;
    assert_true(is_sent(&w, &t, child.id)); /* it spoke since */
    world_done(&w);
}

static int64_t rows_left(struct world *w, int64_t run)
{
    struct tally t = {0};

    MUST(task_run_devices(w->d.w, run, NULL, 0, 100000, row_one, &t));
    return t.rows;
}

static void a_task_goes_in_slices(void **state UNUSED)
{
    struct task_keep keep = {.runs = 10};
    struct device dev;
    struct world w;

    world_init(&w);
    struct task t = task_of(&w), other = task_of(&w);
    MUST(task_insert(w.d.w, &t, w.ids, 100));
    MUST(task_insert(w.d.w, &other, NULL, 0));
    w.env.now = T0 + device_type_defaults.offline_delay_s * 1000 + 1;
    int64_t run = run_now(&w, &t), kept = run_now(&w, &other);
    while (!is_over(&w, t.id, run) || !is_over(&w, other.id, kept))
        MUST(task_tick(&w.env, 500, 1000000));
    int64_t under_way = run_now(&w, &t);
    const struct task_filter all = {.project_id = w.d.project, .enabled = -1};
    int64_t tasks = task_count(w.d.w, &all);

    MUST(task_delete(w.d.w, t.id, w.env.now, 50));
    assert_int_equal(task_by_id(w.d.w, 0, t.id, &w.d.a, &t), E_NOTFOUND);
    assert_int_equal(task_count(w.d.w, &all), tasks - 1);
    struct task_run r;
    assert_int_equal(rows_left(&w, run), DEVICES); /* what was kept goes first */
    w.sent = 0;
    MUST(device_by_id(w.d.w, w.ids[DEVICES - 1], &w.d.a, &dev));
    MUST(task_deliver(&w.env, &dev, NULL, 0)); /* of the other one alone */
    assert_int_equal(w.sent, 1);
    int slices = 0;
    for (int64_t left = DEVICES; task_sweep(w.d.w, &keep, 50) == 1; slices++) {
        int64_t now = rows_left(&w, run);
        assert_true(left - now <= 50);
        left = now;
        MUST(task_tick(&w.env, 500, 1000000)); /* what goes on meanwhile */
    }
    assert_true(slices > 8);
    assert_int_equal(rows_left(&w, run), 0);
    assert_int_equal(task_run_by_id(w.d.w, t.id, run, &w.d.a, &r), E_NOTFOUND);
    assert_int_equal(task_run_by_id(w.d.w, t.id, under_way, &w.d.a, &r), E_NOTFOUND);
    assert_int_equal(rows_left(&w, kept), DEVICES);
    world_done(&w);
}

static void sweep_all(struct world *w, struct task_keep *k)
{
    for (int i = 0; i < 3; i++) /* more than one round over the tasks */
        while (task_sweep(w->d.w, k, 100) == 1)
            ;
}

static void old_runs_go(void **state UNUSED)
{
    struct task_keep keep = {.runs = 3, .before = T0 - DAY};
    struct task_run runs[10];
    struct world w;

    world_init(&w);
    struct task t = task_of(&w);
    MUST(task_insert(w.d.w, &t, NULL, 0));
    w.env.now = T0 + device_type_defaults.offline_delay_s * 1000 + 1;
    int64_t kept = run_now(&w, &t); /* messages of it wait */
    while (!is_over(&w, t.id, kept))
        MUST(task_tick(&w.env, 500, 1000000));
    for (int i = 0; i < 5; i++) {
        w.env.now += MIN;
        (void)is_sent(&w, &t, w.ids[0]); /* a device with nothing newer: nothing is kept */
    }
    assert_int_equal(runs_of(&w, t.id, runs, 10), 6);
    int64_t fourth = runs[2].id, third = runs[3].id;
    w.env.now += MIN;
    int64_t under_way = run_now(&w, &t);
    sweep_all(&w, &keep);
    assert_int_equal(runs_of(&w, t.id, runs, 10), 5);
    assert_int_equal(runs[0].id, under_way);
    assert_int_equal(runs[3].id, fourth);
    assert_int_equal(runs[4].id, kept);
    assert_int_equal(rows_left(&w, third), 0);
    assert_int_equal(rows_left(&w, fourth), 1);
    assert_int_equal(rows_left(&w, kept), DEVICES);

    keep = (struct task_keep){.runs = 100, .before = w.env.now + DAY};
    sweep_all(&w, &keep); /* all have ended before that, but one */
    assert_int_equal(runs_of(&w, t.id, runs, 10), 2);
    while (!is_over(&w, t.id, under_way)) /* it takes over what waits */
        MUST(task_tick(&w.env, 500, 1000000));
    sweep_all(&w, &keep);
    assert_int_equal(runs_of(&w, t.id, runs, 10), 1);
    assert_int_equal(runs[0].id, under_way);
    world_done(&w);
}

int test_task(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_device_once),
        cmocka_unit_test(the_rate_holds),
        cmocka_unit_test(who_waits_for_its_rate_says_how_long),
        cmocka_unit_test(who_waits_keeps_nobody_out),
        cmocka_unit_test(what_was_missed),
        cmocka_unit_test(no_grace_at_all),
        cmocka_unit_test(a_device_that_fails_holds_up_nobody),
        cmocka_unit_test(one_that_lies_too_deep),
        cmocka_unit_test(after_a_crash),
        cmocka_unit_test(presence_decides),
        cmocka_unit_test(a_task_goes_in_slices),
        cmocka_unit_test(old_runs_go),
    };

    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
