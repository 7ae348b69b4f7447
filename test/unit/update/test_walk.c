/*
 * A random walk over the lives of a few devices: checks, words, reports, bytes, deadlines,
 * cancels, in any order. After each step the promises hold: one active update per device and
 * module, ends never change, ids are unique, attempts are bounded, history is a legal path.
 */
#include "tests.h"

enum { DEVICES = 4, STEPS = 4000 };

static const char *const reported[] = {"1.0", "1.5", "2.0", "3.0", "0.9"};
static const char *const modules[] = {"main", "mcu"};

struct walk {
    struct domain d;
    int64_t devices[DEVICES];
    int64_t now;
    struct map ended; /* update id -> state at its end + 1 */
    struct map ids;   /* update id -> 1 */
    uint64_t seed;
};

static uint64_t below(struct walk *w, uint64_t n)
{
    return domain_random(&w->seed) % n;
}

static int64_t some_update(struct walk *w)
{
    size_t it = 0, n, stop = w->ids.count ? below(w, w->ids.count) : 0;
    const void *key;
    void *value;
    int64_t id = 0;

    while (map_next(&w->ids, &it, &key, &n, &value)) {
        memcpy(&id, key, sizeof(id));
        if (stop-- == 0)
            break;
    }
    return id;
}

static void step_check(struct walk *w)
{
    struct device dev = the_device(&w->d, w->devices[below(w, DEVICES)]);
    struct decision dn;
    struct update u;
    bool repeated;

    MUST(update_check(w->d.w, w->d.catalog, &dev, modules[below(w, 2)], w->now, LIFETIME, &w->d.a,
                      &u, &repeated, &dn));
    if (!u.id)
        return;
    bool known = map_get(&w->ids, &u.id, sizeof(u.id)) != NULL;
    assert_true(u.id > 0 && u.id <= INT32_MAX);
    assert_true(known || !repeated);
    assert_null(map_get(&w->ended, &u.id, sizeof(u.id))); /* an ended id never comes back */
    map_put(&w->ids, &u.id, sizeof(u.id), w);
}

static void step(struct walk *w)
{
    int64_t id = some_update(w), next;
    struct device dev = the_device(&w->d, w->devices[below(w, DEVICES)]);
    int rc;

    switch (below(w, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        step_check(w);
        break;
    case 4:
    case 5:
    case 6:
        rc =
            update_moved(w->d.w, w->d.catalog, &dev, id, (enum update_state)below(w, UPDATE__COUNT),
                         (int64_t)below(w, 120) - 10, "word", w->now, &w->d.a);
        assert_true(rc == 0 || rc == E_CONFLICT || rc == E_NOTFOUND);
        break;
    case 7:
        MUST(update_reported(w->d.w, w->d.catalog, &dev, modules[below(w, 2)],
                             reported[below(w, 5)], w->now, &w->d.a));
        break;
    case 8:
    case 9: {
        uint64_t from = below(w, 3) * 400, n = below(w, 700);
        rc = update_served(w->d.w, w->d.catalog, id, 1, from, from + n, n, from == 0, w->now,
                           &w->d.a);
        assert_true(rc == 0 || rc == E_NOTFOUND);
        break;
    }
    case 10:
        MUST(update_expire(w->d.w, w->d.catalog, w->now, 10, &next));
        assert_true(next == 0 || next > w->now);
        break;
    default:
        if (below(w, 8) == 0)
            MUST(device_release(w->d.w, dev.id, w->now));
        rc = below(w, 8) ? 0 : update_cancel(w->d.w, id, "operator", "x", w->now, NULL);
        assert_true(rc == 0 || rc == E_CONFLICT || rc == E_NOTFOUND);
        break;
    }
}

struct path {
    struct walk *w;
    const char *at;
    char now[32];
    int64_t seq;
};

static int follow(void *arg, const struct update_event *e)
{
    struct path *p = arg;
    enum update_state from, to;

    assert_int_equal(e->seq, ++p->seq);
    assert_string_equal(e->from_state, p->now);
    assert_int_equal(update_state_parse(e->to_state, &to), 0);
    if (p->seq > 1) {
        assert_int_equal(update_state_parse(e->from_state, &from), 0);
        assert_true(update_may_move(from, to) ||
                    (to == UPDATE_VERIFIED && strcmp(e->cause, "fell_back") == 0));
    }
    assert_true(*e->cause != '\0');
    snprintf(p->now, sizeof(p->now), "%s", e->to_state);
    return 0;
}

static int judge(void *arg, const struct update *u)
{
    struct walk *w = arg;
    void *end = map_get(&w->ended, &u->id, sizeof(u->id));
    struct path p = {.w = w};

    assert_non_null(map_get(&w->ids, &u->id, sizeof(u->id)));
    assert_true(u->attempt >= 1 && u->attempt <= w->d.type.attempts);
    assert_true(u->bytes_served <= u->bytes_total && u->percent >= 0 && u->percent <= 100);
    assert_int_equal(update_is_final(u->state), u->ended_at != 0);
    assert_int_equal(update_is_final(u->state), u->deadline_at == 0);
    if (end)
        assert_int_equal((intptr_t)end, (intptr_t)u->state + 1);
    else if (update_is_final(u->state))
        map_put(&w->ended, &u->id, sizeof(u->id), (void *)((intptr_t)u->state + 1));
    MUST(update_history(w->d.w, u->id, follow, &p));
    assert_string_equal(p.now, update_state_name(u->state));
    return 0;
}

static int count_active(void *arg, const struct update *u)
{
    (*(int(*)[2])arg)[strcmp(u->module, "mcu") == 0]++;
    return 0;
}

static void promises_hold(struct walk *w, bool all)
{
    struct update_filter flt = {.project_id = w->d.project, .state = -1};

    /* The newest always, everything now and then. */
    MUST(update_list(w->d.w, &flt, 0, all ? 1000000 : 3, judge, w));
    for (int i = 0; i < DEVICES; i++) {
        struct update_filter open = {w->d.project, w->devices[i], 0, -2, 0};
        int n[2] = {0};

        MUST(update_list(w->d.w, &open, 0, 100, count_active, &n));
        assert_true(n[0] <= 1 && n[1] <= 1);
    }
}

static void random_walk(void **state UNUSED)
{
    struct walk w = {.now = T0, .seed = 4711};
    char key[16];

    domain_init(&w.d);
    w.d.type.attempts_per_day = 20;
    domain_type_changed(&w.d);
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < 2; i++) {
            struct firmware fw = domain_firmware_of(&w.d, i ? "2.0" : "1.5", 1000);

            fw.module = modules[m];
            MUST(firmware_insert(w.d.w, &fw, NULL));
        }
    domain_reload(&w.d);
    for (int i = 0; i < DEVICES; i++) {
        snprintf(key, sizeof(key), "d%d", i);
        w.devices[i] = domain_device(&w.d, key);
    }
    w.d.type.key = "cam";
    for (int i = 0; i < STEPS; i++) {
        w.now += (int64_t)below(&w, 40 * (uint64_t)MIN);
        step(&w);
        promises_hold(&w, i % 250 == 0);
        arena_reset(&w.d.a);
    }
    promises_hold(&w, true);
    assert_true(w.ended.count > 50); /* the walk went somewhere */
    map_done(&w.ended);
    map_done(&w.ids);
    domain_done(&w.d);
}

int test_walk(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_walk)};

    return cmocka_run_group_tests_name("walk", tests, NULL, NULL);
}
