/* What a task keeps for devices that are away: delivered once, if it is still right then. */
#include "world.h"

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

int test_kept(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept),
        cmocka_unit_test(what_is_kept_ends_with_disabling),
        cmocka_unit_test(what_is_kept_ends_with_another_action),
        cmocka_unit_test(what_is_kept_is_for_targets),
        cmocka_unit_test(the_rest_waits_for_the_next_message),
        cmocka_unit_test(what_was_kept_after_a_crash),
    };

    return cmocka_run_group_tests_name("kept", tests, NULL, NULL);
}
