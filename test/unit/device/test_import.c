/* Imports: invisible until finished, gone when dropped. */
#include "tests.h"

static void begin(struct domain *d, int64_t *ret_id, int n)
{
    int64_t gateway = 0;
    char key[16];

    MUST(device_import_begin(d->w, d->project, T0, ret_id));
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "imp%d", i);
        struct device dev = {.project_id = d->project,
                             .type_id = d->type.id,
                             .import_id = *ret_id,
                             .gateway_id = gateway,
                             .key = key,
                             .sn = "s",
                             .password_hash = "$7$",
                             .enabled = true,
                             .created_at = T0};
        MUST(device_insert(d->w, &dev, NULL));
        /* chains: dropping has to take the youngest first */
        gateway = i % DEVICE_DEPTH_MAX == DEVICE_DEPTH_MAX - 1 ? 0 : dev.id;
    }
}

static int64_t visible(struct domain *d)
{
    struct device_filter all = {.project_id = d->project, .enabled = -1};
    struct device_filter sn = {.project_id = d->project, .enabled = -1, .sn = "s"};
    struct device_filter type = {.project_id = d->project, .enabled = -1, .type_id = d->type.id};

    assert_int_equal(device_count(d->w, &all), device_count(d->w, &sn));
    assert_int_equal(device_count(d->w, &all), device_count(d->w, &type));
    return device_count(d->w, &all);
}

static void all_or_nothing(void **state UNUSED)
{
    struct domain d;
    struct device got;
    int64_t id, left;

    domain_init(&d);
    assert_int_equal(device_import_leftover(d.w, &left), E_NOTFOUND);
    begin(&d, &id, 5);
    assert_int_equal(visible(&d), 0);
    assert_int_equal(device_find(d.w, STR("imp0"), &d.a, &got), E_NOTFOUND);
    assert_int_equal(device_by_key(d.w, 0, "imp0", &d.a, &got), E_NOTFOUND);
    MUST(device_import_leftover(d.w, &left));
    assert_int_equal(left, id);
    MUST(device_import_finish(d.w, id));
    assert_int_equal(visible(&d), 5);
    MUST(device_find(d.w, STR("imp0"), &d.a, &got));
    MUST(device_by_id(d.w, got.id, &d.a, &got));
    /* It is done: it can't be dropped any more. */
    assert_int_equal(device_import_drop(d.w, id, 100), 0);
    assert_int_equal(visible(&d), 5);
    assert_int_equal(device_import_finish(d.w, id), E_NOTFOUND);
    assert_int_equal(device_import_leftover(d.w, &left), E_NOTFOUND);
    domain_done(&d);
}

static void dropping_in_slices(void **state UNUSED)
{
    struct domain d;
    int64_t id, left;
    int slices = 0, rc;

    domain_init(&d);
    begin(&d, &id, 10);
    while ((rc = device_import_drop(d.w, id, 3)) > 0)
        slices++;
    MUST(rc);
    assert_int_equal(slices, 3);
    assert_int_equal(device_import_leftover(d.w, &left), E_NOTFOUND);
    begin(&d, &id, 1); /* the keys are free again */
    MUST(device_import_finish(d.w, id));
    assert_int_equal(visible(&d), 1);
    domain_done(&d);
}

/* A later import that is dropped must not take along what an earlier one brought. */
static void numbers_are_not_used_twice(void **state UNUSED)
{
    struct domain d;
    int64_t id, later;

    domain_init(&d);
    begin(&d, &id, 5);
    MUST(device_import_finish(d.w, id));
    MUST(device_import_begin(d.w, d.project, T0, &later));
    assert_true(later > id);
    assert_int_equal(visible(&d), 5);
    MUST(device_import_drop(d.w, later, 100));
    assert_int_equal(visible(&d), 5);
    domain_done(&d);
}

int test_import(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_or_nothing),
        cmocka_unit_test(dropping_in_slices),
        cmocka_unit_test(numbers_are_not_used_twice),
    };

    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
