/* Runs: each device once whatever is lost, the rate, what was missed, what is kept and overtaken.
 */
#include "tests.h"

#include "../../../src/db/db_priv.h"

enum { DEVICES = 300 };

struct world {
    struct domain d;
    struct device_seen *seen;
    struct task_env env;
    int64_t ids[DEVICES];
    int sent, kept, send_rc, online;
    const char *asked;
};

static int send_one(void *arg, const struct task_message *m)
{
    struct world *w = arg;

    assert_true(m->action != TASK_OTA_PUSH || m->update->id == m->id);
    w->sent++;
    return w->send_rc;
}

static void kept_one(void *arg, int64_t device_id)
{
    assert_true(device_id > 0);
    ((struct world *)arg)->kept++;
}

static int online_one(void *arg, const char *key)
{
    struct world *w = arg;

    w->asked = key;
    return w->online;
}

static void all_seen(struct world *w, int64_t at)
{
    for (int i = 0; i < DEVICES; i++)
        device_seen_note(w->seen, w->ids[i], at);
}

static void world_init(struct world *w)
{
    char key[16];

    memset(w, 0, sizeof(*w));
    domain_init(&w->d);
    w->seen = device_seen_new();
    for (int i = 0; i < DEVICES; i++) {
        (void)str_fmt(key, sizeof(key), "d%d", i);
        w->ids[i] = domain_device(&w->d, key);
        MUST(device_version_set(w->d.w, w->ids[i], "main", i % 3 ? "1.0" : "2.0", T0, NULL));
    }
    (void)domain_firmware(&w->d, "2.0");
    all_seen(w, T0);
    w->env = (struct task_env){.db = w->d.w,
                               .catalog = w->d.catalog,
                               .seen = w->seen,
                               .now = T0,
                               .link_lifetime_ms = 48 * HOUR,
                               .arena = &w->d.a,
                               .send = send_one,
                               .kept = kept_one,
                               .arg = w};
}

static void world_done(struct world *w)
{
    device_seen_free(w->seen);
    domain_done(&w->d);
}

static struct task task_of(struct world *w)
{
    return (struct task){.project_id = w->d.project,
                         .name = "t",
                         .enabled = true,
                         .action = TASK_OTA_PUSH,
                         .params = "{\"kind\":\"ota_push\"}",
                         .type_id = w->d.type.id,
                         .schedule = "{\"kind\":\"manual\"}",
                         .timezone = "UTC",
                         .grace_s = 600,
                         .created_at = T0};
}

static int64_t run_now(struct world *w, const struct task *t)
{
    int64_t run = 0;

    MUST(task_run_now(w->d.w, t, NULL, 0, w->env.now, &run, NULL));
    return run;
}

struct tally {
    int64_t offered, sent, nothing, pending, failed, overtaken, rows;
};

static int count_one(void *arg, const char *result, const char *reason, int64_t n)
{
    struct tally *t = arg;

    *(strcmp(result, "offered") == 0           ? &t->offered
      : strcmp(result, "sent") == 0            ? &t->sent
      : strcmp(result, "pending_offline") == 0 ? &t->pending
      : strcmp(result, "failed") == 0          ? &t->failed
      : strcmp(reason, "overtaken") == 0       ? &t->overtaken
                                               : &t->nothing) += n;
    return 0;
}

static int row_one(void *arg, const struct task_run_device *d)
{
    struct tally *t = arg;
    (void)d;
    t->rows++;
    return 0;
}

static struct tally tally(struct world *w, int64_t run)
{
    struct tally t = {0};

    MUST(task_run_counts(w->d.w, run, count_one, &t));
    MUST(task_run_devices(w->d.w, run, NULL, 0, 100000, row_one, &t));
    assert_int_equal(t.rows, t.offered + t.sent + t.nothing + t.pending + t.failed + t.overtaken);
    return t;
}

static bool is_over(struct world *w, int64_t task, int64_t run)
{
    struct task_run r;

    MUST(task_run_by_id(w->d.w, task, run, &w->d.a, &r));
    return r.ended_at != 0;
}

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

static void what_is_kept(void **state UNUSED)
{
    struct device dev;
    struct world w;

    world_init(&w);
    struct task t = task_of(&w);
    MUST(task_insert(w.d.w, &t, NULL, 0));
    w.env.now = T0 + device_type_defaults.offline_delay_s * 1000 + 1;
    int64_t first = run_now(&w, &t);
    while (!is_over(&w, t.id, first))
        MUST(task_tick(&w.env, 500, 1000000));
    struct tally n = tally(&w, first);
    assert_int_equal(n.pending, DEVICES / 3 * 2);
    assert_int_equal(w.kept, DEVICES / 3 * 2);
    assert_int_equal(w.sent, 0);
    assert_int_equal(tally(&w, first).nothing, DEVICES / 3);

    MUST(device_by_id(w.d.w, w.ids[1], &w.d.a, &dev));
    MUST(task_deliver(&w.env, &dev, NULL, 0));
    MUST(task_deliver(&w.env, &dev, NULL, 0)); /* once */
    assert_int_equal(w.sent, 1);
    assert_int_equal(tally(&w, first).offered, 1);

    int64_t second = run_now(&w, &t); /* what the first one kept is overtaken */
    while (!is_over(&w, t.id, second))
        MUST(task_tick(&w.env, 500, 1000000));
    assert_int_equal(tally(&w, first).overtaken, DEVICES / 3 * 2 - 1);
    assert_int_equal(tally(&w, first).pending, 0);
    assert_int_equal(tally(&w, second).pending, DEVICES / 3 * 2);

    t.enabled = false;
    t.updated_at = w.env.now;
    MUST(task_update(w.d.w, &t, NULL, 0));
    MUST(device_by_id(w.d.w, w.ids[2], &w.d.a, &dev));
    MUST(task_deliver(&w.env, &dev, NULL, 0));
    assert_int_equal(w.sent, 1);
    assert_int_equal(task_run_now(w.d.w, &t, NULL, 0, T0, &second, NULL), E_CONFLICT);
    MUST(task_delete(w.d.w, t.id, w.env.now, 1000));
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

static int64_t keep_for_all(struct world *w, struct task *t)
{
    MUST(task_insert(w->d.w, t, NULL, 0));
    w->env.now = T0 + DAY; /* nobody was heard */
    int64_t run = run_now(w, t);
    while (!is_over(w, t->id, run))
        MUST(task_tick(&w->env, 500, 1000000));
    assert_int_equal(tally(w, run).pending, DEVICES);
    t->updated_at = w->env.now;
    return run;
}

static struct task ping_of(struct world *w)
{
    struct task t = task_of(w);

    t.action = TASK_COMMAND_SEND;
    t.params = "{\"kind\":\"command_send\",\"method\":\"ping\"}";
    return t;
}

struct because {
    int64_t device_id;
    const char *result, *reason;
};

static int find_because(void *arg, const struct task_run_device *d)
{
    const struct because *b = arg;

    if (d->device_id != b->device_id)
        return 0;
    assert_string_equal(d->result, b->result);
    assert_string_equal(d->reason, b->reason);
    return 1;
}

/* The device gives a sign of life. */
static void comes(struct world *w, int64_t run, int i, const char *result, const char *reason)
{
    struct device dev;
    struct because b = {w->ids[i], result, reason};

    MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &dev));
    MUST(task_deliver(&w->env, &dev, NULL, 0));
    MUST(task_deliver(&w->env, &dev, NULL, 0)); /* once */
    assert_int_equal(task_run_devices(w->d.w, run, NULL, 0, 100000, find_because, &b), 1);
}

/* Enabled again, the task sends nothing of what it kept before. */
static void what_is_kept_ends_with_disabling(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    struct task t = ping_of(&w);
    int64_t run = keep_for_all(&w, &t);
    t.enabled = false;
    MUST(task_update(w.d.w, &t, NULL, 0));
    comes(&w, run, 0, "nothing", "task_disabled");
    t.enabled = true;
    MUST(task_update(w.d.w, &t, NULL, 0));
    comes(&w, run, 1, "nothing", "task_disabled");
    assert_int_equal(w.sent, 0);

    int64_t second = run_now(&w, &t); /* what it keeps from now on is sent */
    while (!is_over(&w, t.id, second))
        MUST(task_tick(&w.env, 500, 1000000));
    comes(&w, second, 1, "sent", "");
    assert_int_equal(w.sent, 1);
    world_done(&w);
}

/* Another action is not what was kept. */
static void what_is_kept_ends_with_another_action(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    struct task t = ping_of(&w);
    int64_t run = keep_for_all(&w, &t);
    t.name = "other";
    t.params = "{\"method\":\"ping\", \"kind\":\"command_send\"}"; /* the same */
    MUST(task_update(w.d.w, &t, NULL, 0));
    comes(&w, run, 0, "sent", "");
    t.params = "{\"kind\":\"command_send\",\"method\":\"erase\"}";
    MUST(task_update(w.d.w, &t, NULL, 0));
    comes(&w, run, 1, "nothing", "task_changed");
    assert_int_equal(w.sent, 1);

    /* a run under way goes on with the new one, and so does what it keeps */
    int64_t second = run_now(&w, &t);
    MUST(task_tick(&w.env, 10, 1000000));
    assert_false(is_over(&w, t.id, second));
    t.params = "{\"kind\":\"command_send\",\"method\":\"reset\"}";
    MUST(task_update(w.d.w, &t, NULL, 0));
    comes(&w, second, 1, "sent", "");
    assert_int_equal(w.sent, 2);
    world_done(&w);
}

static void what_is_kept_is_for_targets(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    struct task t = ping_of(&w);
    int64_t run = keep_for_all(&w, &t);
    t.type_id = 0;
    MUST(task_update(w.d.w, &t, w.ids, 2));
    comes(&w, run, 0, "sent", "");
    comes(&w, run, 1, "sent", "");
    comes(&w, run, 2, "nothing", "not_a_target");
    assert_int_equal(w.sent, 2);
    world_done(&w);
}

/* One message takes so many; whoever knows which devices something waits for is told again. */
static void the_rest_waits_for_the_next_message(void **state UNUSED)
{
    enum { TASKS = 70 };
    struct device dev;
    struct world w;

    world_init(&w);
    struct task t = ping_of(&w);
    t.type_id = 0;
    w.env.now = T0 + DAY;
    for (int i = 0; i < TASKS; i++) {
        MUST(task_insert(w.d.w, &t, w.ids, 1));
        (void)run_now(&w, &t);
    }
    while (w.kept < TASKS)
        MUST(task_tick(&w.env, 500, 1000000));
    w.kept = 0;
    MUST(device_by_id(w.d.w, w.ids[0], &w.d.a, &dev));
    MUST(task_deliver(&w.env, &dev, NULL, 0));
    assert_true(w.sent < TASKS);
    assert_int_equal(w.kept, 1);
    MUST(task_deliver(&w.env, &dev, NULL, 0));
    assert_int_equal(w.sent, TASKS);
    assert_int_equal(w.kept, 1);
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

/* So many of the first devices get what is kept for them. */
static int deliver_some(struct world *w, int n)
{
    struct device dev;

    w->sent = 0;
    for (int i = 0; i < n; i++) {
        MUST(device_by_id(w->d.w, w->ids[i], &w->d.a, &dev));
        MUST(task_deliver(&w->env, &dev, NULL, 0));
    }
    return w->sent;
}

/* What was kept stays until it is with the broker, also when its run is over for long. */
static void what_was_kept_after_a_crash(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    struct task t = task_of(&w);
    MUST(task_insert(w.d.w, &t, NULL, 0));
    w.env.now = T0 + DAY; /* nobody was heard */
    int64_t run = run_now(&w, &t);
    while (!is_over(&w, t.id, run))
        MUST(task_tick(&w.env, 500, 1000000));
    w.env.settled = true;
    MUST(task_tick(&w.env, 0, 0));
    assert_int_equal(deliver_some(&w, 30), 20);
    assert_int_equal(deliver_some(&w, 30), 0); /* under way */
    w.env.delivered = true;
    MUST(task_tick(&w.env, 0, 0)); /* in the transaction that sends it */
    MUST(task_recover(w.d.w));
    assert_int_equal(deliver_some(&w, 30), 20);
    assert_int_equal(tally(&w, run).offered, 20);
    w.env.delivered = false;
    MUST(task_tick(&w.env, 0, 0)); /* it has arrived */
    MUST(task_recover(w.d.w));
    assert_int_equal(deliver_some(&w, 30), 0);
    assert_int_equal(deliver_some(&w, DEVICES), 180);
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
        cmocka_unit_test(what_is_kept),
        cmocka_unit_test(what_is_kept_ends_with_disabling),
        cmocka_unit_test(what_is_kept_ends_with_another_action),
        cmocka_unit_test(what_is_kept_is_for_targets),
        cmocka_unit_test(the_rest_waits_for_the_next_message),
        cmocka_unit_test(a_device_that_fails_holds_up_nobody),
        cmocka_unit_test(one_that_lies_too_deep),
        cmocka_unit_test(after_a_crash),
        cmocka_unit_test(what_was_kept_after_a_crash),
        cmocka_unit_test(presence_decides),
        cmocka_unit_test(a_task_goes_in_slices),
        cmocka_unit_test(old_runs_go),
    };

    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
