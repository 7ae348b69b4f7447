/* Logs of devices: bounded per update and over all, whole, and gone in time. */
#include "tests.h"

struct logs {
    int n;
    int64_t first, last, size;
};

static int log_one(void *arg, const struct update_log *l)
{
    struct logs *x = arg;

    if (x->n++ == 0)
        x->first = l->id;
    x->last = l->id;
    x->size = l->size;
    return 0;
}

static struct logs logs_of(struct domain *d, int64_t update_id)
{
    struct logs x = {0};

    MUST(update_logs(d->w, update_id, log_one, &x));
    return x;
}

static int64_t offer(struct domain *d, int64_t device_id, int64_t now)
{
    struct device dev = the_device(d, device_id);
    struct decision why;
    struct update u;
    bool repeated;

    MUST(device_version_set(d->w, device_id, "main", "1.0", T0, NULL));
    MUST(update_check(d->w, d->catalog, &dev, "main", now, LIFETIME, &d->a, &u, &repeated, &why));
    assert_true(u.id > 0);
    return u.id;
}

static void logs_are_whole_and_few(void **state UNUSED)
{
    static char big[UPDATE_LOG_BYTES_MAX + 1];
    struct sbuf got = {.p = NULL};
    struct domain d;

    domain_init(&d);
    domain_firmware(&d, "2.0");
    int64_t dev = domain_device(&d, "dev"), id = offer(&d, dev, T0);
    memset(big, 0, sizeof(big)); /* NUL bytes are bytes */
    big[5] = '\xff';
    assert_int_equal(update_log_add(d.w, id, "http", big, 0, T0), E_LIMIT);
    assert_int_equal(update_log_add(d.w, id, "http", big, sizeof(big), T0), E_LIMIT);
    assert_int_equal(update_log_add(d.w, id + 1, "http", big, 1, T0), E_NOTFOUND);
    for (int i = 0; i < UPDATE_LOGS_MAX; i++)
        MUST(update_log_add(d.w, id, "http", big, UPDATE_LOG_BYTES_MAX, T0));
    assert_int_equal(update_log_add(d.w, id, "mqtt", "x", 1, T0), E_LIMIT);
    struct logs x = logs_of(&d, id);
    assert_int_equal(x.n, UPDATE_LOGS_MAX);
    assert_int_equal(x.size, UPDATE_LOG_BYTES_MAX);
    MUST(update_log_body(d.w, id, x.last, &got));
    assert_int_equal(got.n, UPDATE_LOG_BYTES_MAX);
    assert_memory_equal(got.p, big, got.n);
    assert_int_equal(update_log_body(d.w, id + 1, x.last, &got), E_NOTFOUND);
    sbuf_done(&got);
    MUST(device_delete(d.w, dev, NULL)); /* with its updates, and their logs */
    assert_int_equal(logs_of(&d, id).n, 0);
    domain_done(&d);
}

static void old_logs_go(void **state UNUSED)
{
    struct domain d;
    char key[16];
    int64_t ids[10];

    domain_init(&d);
    domain_firmware(&d, "2.0");
    for (int i = 0; i < 10; i++) {
        (void)str_fmt(key, sizeof(key), "d%d", i);
        ids[i] = offer(&d, domain_device(&d, key), T0);
        MUST(update_log_add(d.w, ids[i], "http", "x", 1, T0 + i * DAY));
    }
    assert_int_equal(update_log_forget(d.w, 1000, T0, 100), 0);
    assert_int_equal(logs_of(&d, ids[0]).n, 1);
    assert_int_equal(update_log_forget(d.w, 1000, T0 + 3 * DAY, 2), 1); /* a slice */
    assert_int_equal(update_log_forget(d.w, 1000, T0 + 3 * DAY, 2), 0);
    assert_int_equal(logs_of(&d, ids[2]).n, 0);
    assert_int_equal(logs_of(&d, ids[3]).n, 1);
    assert_int_equal(update_log_forget(d.w, 4, 0, 100), 0); /* the newest four stay */
    assert_int_equal(logs_of(&d, ids[5]).n, 0);
    assert_int_equal(logs_of(&d, ids[6]).n, 1);
    domain_done(&d);
}

static void say(struct domain *d, int64_t device_id, const json_t *before, int64_t now,
                const char *text)
{
    const struct progress *p = catalog_type(d->catalog, d->type.id)->progress;
    struct device dev = the_device(d, device_id);
    AUTO(json_free) json_t *said = json_loads(text, 0, NULL);

    assert_non_null(said);
    MUST(update_progress(d->w, d->catalog, &dev, p, said, before, now, &d->a));
}

static void a_message_may_hold_a_log(void **state UNUSED)
{
    struct sbuf got = {.p = NULL};
    struct domain d;

    domain_init(&d);
    d.type.progress_text = "{\"event\":\"ota\",\"log_field\":\"log\",\"id_field\":\"id\","
                           "\"states\":{\"bad\":\"rejected\"}}";
    domain_type_changed(&d);
    domain_firmware(&d, "2.0");
    int64_t dev = domain_device(&d, "dev"), other = domain_device(&d, "other");
    int64_t id = offer(&d, dev, T0);
    say(&d, dev, NULL, T0, "{\"log\":\"line 1\\nline 2\"}");
    say(&d, dev, NULL, T0, "{\"state\":\"bad\",\"log\":\"the end\"}");
    assert_int_equal(the_update(&d, id).state, UPDATE_REJECTED);
    say(&d, dev, NULL, T0 + HOUR, "{\"log\":\"after the end\"}");
    struct logs x = logs_of(&d, id);
    assert_int_equal(x.n, 3);
    MUST(update_log_body(d.w, id, x.first, &got));
    assert_int_equal(got.n, strlen("line 1\nline 2"));
    sbuf_done(&got);
    /* Of nothing lately, of another's, without a text: dropped. */
    say(&d, dev, NULL, T0 + 2 * DAY, "{\"log\":\"too late\"}");
    say(&d, other, NULL, T0, "{\"log\":\"of no update\"}");
    say(&d, other, NULL, T0, arena_printf(&d.a, "{\"log\":\"x\",\"id\":%d}", (int)id));
    say(&d, dev, NULL, T0, "{\"log\":{\"a\":1}}");
    /* A report that repeats it is no news. */
    AUTO(json_free) json_t *before = json_loads("{\"log\":\"same\"}", 0, NULL);
    say(&d, dev, before, T0, "{\"log\":\"same\"}");
    assert_int_equal(logs_of(&d, id).n, 3);
    domain_done(&d);
}

int test_log(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_are_whole_and_few),
        cmocka_unit_test(old_logs_go),
        cmocka_unit_test(a_message_may_hold_a_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
