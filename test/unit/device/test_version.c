/* Versions: counters that a recount of the rows must find, the past of a module, points in time. */
#include "tests.h"

#include <inttypes.h>

#define KINDS 6

/* ---- counters against a recount ---- */
struct seen {
    const char *version;
    int64_t enabled, disabled, rows;
};

static int fleet_one(void *arg, const char *version, int64_t enabled, int64_t disabled)
{
    struct seen *s = arg;

    assert_true(enabled >= 0 && disabled >= 0);
    s->rows++;
    if (!s->version) { /* the sum */
        s->enabled += enabled;
        s->disabled += disabled;
    } else if (strcmp(version, s->version) == 0) {
        s->enabled = enabled;
        s->disabled = disabled;
    }
    return 0;
}

static struct seen counted(struct domain *d, const char *module, const char *version)
{
    struct seen s = {.version = version};

    MUST(device_fleet(d->w, d->type.id, module, fleet_one, &s));
    return s;
}

static void assert_counted(struct domain *d, const char *version, int64_t enabled, int64_t disabled)
{
    struct seen s = counted(d, "main", version);

    assert_int_equal(s.enabled, enabled);
    assert_int_equal(s.disabled, disabled);
}

struct recount {
    struct domain *d;
    const char *module, *version;
    int64_t enabled, disabled;
};

static int recount_one(void *arg, const struct device *dev)
{
    struct recount *r = arg;
    char version[VERSION_MAX + 1];
    int rc = device_version(r->d->w, dev->id, r->module, version, NULL);

    if (rc == 0 && (!r->version || strcmp(version, r->version) == 0)) {
        r->enabled += dev->enabled;
        r->disabled += !dev->enabled;
    }
    return 0;
}

static void assert_recounted(struct domain *d, const char *module, const char *version)
{
    const struct device_filter flt = {.project_id = d->project, .enabled = -1};
    struct recount r = {d, module, version, 0, 0};

    MUST(device_list(d->w, &flt, 0, 100000, recount_one, &r));
    struct seen s = counted(d, module, version);
    assert_int_equal(s.enabled, r.enabled);
    assert_int_equal(s.disabled, r.disabled);
}

static void set_enabled(struct domain *d, int64_t id, bool enabled)
{
    struct device dev;

    MUST(device_by_id(d->w, id, &d->a, &dev));
    dev.enabled = enabled;
    MUST(device_update(d->w, &dev, NULL));
}

static void each_change_moves_one(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t a = domain_device(&d, "a"), b = domain_device(&d, "b");
    assert_int_equal(counted(&d, "main", NULL).rows, 0);
    MUST(device_version_set(d.w, a, "main", "1.0", T0, NULL));
    MUST(device_version_set(d.w, b, "main", "1.0", T0, NULL));
    MUST(device_version_set(d.w, b, "mcu", "7", T0, NULL));
    assert_counted(&d, "1.0", 2, 0);
    int64_t before = db_total_changes(d.w);
    MUST(device_version_set(d.w, b, "main", "1.0", T0 + 1, NULL)); /* no news: nothing is written */
    assert_int_equal(db_total_changes(d.w), before);
    set_enabled(&d, b, false);
    assert_counted(&d, "1.0", 1, 1);
    MUST(device_version_set(d.w, b, "main", "1.1", T0 + 2, NULL));
    assert_counted(&d, "1.0", 1, 0);
    assert_counted(&d, "1.1", 0, 1);
    MUST(device_version_set(d.w, a, "main", "1.1", T0 + 2, NULL));
    assert_counted(&d, "1.1", 1, 1);
    assert_int_equal(counted(&d, "main", NULL).rows, 1); /* 1.0 is gone */
    MUST(device_delete(d.w, b, NULL));
    assert_counted(&d, "1.1", 1, 0);
    assert_int_equal(counted(&d, "mcu", NULL).rows, 0);
    MUST(device_delete(d.w, a, NULL));
    assert_int_equal(counted(&d, "main", NULL).rows, 0);
    domain_done(&d);
}

/* Devices that report what they like cost no more than a hundred rows, and hide no firmware. */
static void the_number_of_counters_is_bounded(void **state UNUSED)
{
    struct domain d;
    char key[24], version[24];
    int64_t ids[150];

    domain_init(&d);
    for (int i = 0; i < 150; i++) {
        (void)str_fmt(key, sizeof(key), "g%d", i);
        (void)str_fmt(version, sizeof(version), "build-%d", i);
        ids[i] = domain_device(&d, key);
        MUST(device_version_set(d.w, ids[i], "main", version, T0, NULL));
    }
    assert_int_equal(counted(&d, "main", NULL).rows, 101);
    assert_counted(&d, "", 50, 0);
    domain_firmware(&d, "2.0");
    MUST(device_version_set(d.w, ids[149], "main", "2.0", T0, NULL)); /* of the others */
    MUST(device_version_set(d.w, ids[0], "main", "2.0", T0, NULL));   /* of a row of its own */
    assert_counted(&d, "2.0", 2, 0);
    assert_counted(&d, "", 49, 0);
    assert_int_equal(counted(&d, "main", NULL).rows, 101);
    /* Who was counted among the others leaves them, though its version has a row by now. */
    MUST(device_version_set(d.w, ids[1], "main", "2.0", T0, NULL));
    MUST(device_version_set(d.w, ids[2], "main", "2.0", T0, NULL));
    MUST(device_version_set(d.w, ids[1], "main", "build-120", T0, NULL));
    assert_counted(&d, "build-120", 1, 0);
    MUST(device_version_set(d.w, ids[120], "main", "2.0", T0, NULL));
    assert_counted(&d, "build-120", 1, 0);
    assert_counted(&d, "", 48, 0);
    set_enabled(&d, ids[130], false);
    assert_counted(&d, "", 47, 1);
    MUST(device_delete(d.w, ids[130], NULL));
    assert_counted(&d, "", 47, 0);
    assert_recounted(&d, "main", NULL);
    domain_done(&d);
}

static void whatever_happens_a_recount_finds_the_same(void **state UNUSED)
{
    struct domain d;
    char key[24], version[24];
    int64_t ids[40] = {0};
    uint64_t random = 4711;

    domain_init(&d);
    for (int step = 0; step < 4000; step++) {
        size_t i = domain_random(&random) % ARRAY_LEN(ids);
        arena_reset(&d.a);
        (void)str_fmt(key, sizeof(key), "d%zu-%d", i, step);
        (void)str_fmt(version, sizeof(version), "%d", (int)(domain_random(&random) % KINDS));
        if (!ids[i]) {
            ids[i] = domain_device(&d, key);
        } else if (domain_random(&random) % 20 == 0) {
            MUST(device_delete(d.w, ids[i], NULL));
            ids[i] = 0;
        } else if (domain_random(&random) % 5 == 0) {
            set_enabled(&d, ids[i], domain_random(&random) & 1);
        } else {
            MUST(device_version_set(d.w, ids[i], domain_random(&random) & 1 ? "main" : "mcu",
                                    version, T0 + step, NULL));
        }
        if (step % 50)
            continue;
        for (int k = 0; k < KINDS; k++) {
            (void)str_fmt(version, sizeof(version), "%d", k);
            assert_recounted(&d, "main", version);
            assert_recounted(&d, "mcu", version);
        }
        assert_recounted(&d, "main", NULL);
    }
    domain_done(&d);
}

static void an_import_brings_no_versions(void **state UNUSED)
{
    struct domain d;
    int64_t import;
    struct fail f;

    domain_init(&d);
    MUST(device_import_begin(d.w, d.project, T0, &import));
    struct device dev = {.project_id = d.project,
                         .type_id = d.type.id,
                         .key = "i1",
                         .enabled = true,
                         .import_id = import,
                         .created_at = T0};
    MUST(device_insert(d.w, &dev, &f));
    MUST(device_import_finish(d.w, import));
    assert_int_equal(counted(&d, "main", NULL).rows, 0);
    MUST(device_version_set(d.w, dev.id, "main", "1.0", T0, NULL));
    assert_counted(&d, "1.0", 1, 0);
    domain_done(&d);
}

/* ---- the past ---- */
struct past {
    int n;
    char versions[DEVICE_VERSIONS_KEPT + 2][8];
    int64_t since[DEVICE_VERSIONS_KEPT + 2];
};

static int past_one(void *arg, const char *version, int64_t since)
{
    struct past *p = arg;

    assert_true(p->n < DEVICE_VERSIONS_KEPT + 2);
    (void)str_copy(p->versions[p->n], 8, version);
    p->since[p->n++] = since;
    return 0;
}

/* Those that are not shown as well. */
static int past_rows(struct db *db, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_VERSION_PAST);
    int n = 0;

    db_bind_int(q, 1, id);
    db_bind_text(q, 2, "main");
    db_bind_int(q, 3, 1000);
    while (db_step(q) == 1)
        n++;
    return n;
}

static void a_module_keeps_what_it_ran(void **state UNUSED)
{
    struct domain d;
    struct past p = {0};
    char version[8];

    domain_init(&d);
    int64_t id = domain_device(&d, "dev");
    MUST(device_version_set(d.w, id, "main", "0", T0, NULL));
    MUST(device_version_past(d.w, id, "main", past_one, &p));
    assert_int_equal(p.n, 0);
    for (int i = 1; i <= DEVICE_VERSIONS_KEPT + 5; i++) {
        (void)str_fmt(version, sizeof(version), "%d", i);
        MUST(device_version_set(d.w, id, "main", version, T0 + i, NULL));
        MUST(device_version_set(d.w, id, "main", version, T0 + i, NULL)); /* no change */
    }
    MUST(device_version_set(d.w, id, "mcu", "x", T0, NULL));
    MUST(device_version_past(d.w, id, "main", past_one, &p));
    assert_int_equal(p.n, DEVICE_VERSIONS_KEPT);
    assert_in_range(past_rows(d.w, id), DEVICE_VERSIONS_KEPT, DEVICE_VERSIONS_KEPT + 7);
    assert_string_equal(p.versions[0], "24");
    assert_int_equal(p.since[0], T0 + 24);
    assert_string_equal(p.versions[DEVICE_VERSIONS_KEPT - 1], "5");
    p.n = 0;
    MUST(device_version_past(d.w, id, "mcu", past_one, &p));
    assert_int_equal(p.n, 0);
    MUST(device_delete(d.w, id, NULL)); /* its past goes with it */
    MUST(device_version_past(d.w, id, "main", past_one, &p));
    assert_int_equal(p.n, 0);
    domain_done(&d);
}

/* ---- points ---- */
struct points {
    int n;
    int64_t first, last;
    char text[1024];
};

static int point_one(void *arg, int64_t at, const char *members)
{
    struct points *p = arg;

    if (p->n++ == 0)
        p->first = at;
    p->last = at;
    (void)str_copy(p->text, sizeof(p->text), members);
    return 0;
}

static struct points points_of(struct domain *d, int64_t step)
{
    struct points p = {0};

    MUST(device_points(d->w, d->type.id, "main", step, 0, INT64_MAX, point_one, &p));
    return p;
}

static void tick_all(struct domain *d, struct device_points_at *at, int64_t now)
{
    int rc;

    while ((rc = device_points_tick(d->w, at, now, 1)) == 1)
        ;
    MUST(rc);
    assert_false(device_points_due(at, now));
}

static void points_are_copied_from_the_counters(void **state UNUSED)
{
    struct device_points_at at = {0};
    struct domain d;
    int64_t day = T0 - T0 % DAY;

    domain_init(&d);
    int64_t a = domain_device(&d, "a"), b = domain_device(&d, "b"), c = domain_device(&d, "c");
    MUST(device_version_set(d.w, a, "main", "1.0", T0, NULL));
    MUST(device_version_set(d.w, b, "main", "say \"1.1\"", T0, NULL));
    MUST(device_version_set(d.w, b, "mcu", "9", T0, NULL));
    MUST(device_version_set(d.w, c, "main", "1.0", T0, NULL));
    set_enabled(&d, c, false);
    assert_true(device_points_due(&at, day + 5));
    tick_all(&d, &at, day + 5);
    struct points p = points_of(&d, DEVICE_POINTS_HOUR);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.first, day);
    assert_string_equal(p.text, "\"versions\":{\"1.0\":1,\"say \\\"1.1\\\"\":1},\"other\":0,"
                                "\"disabled\":1");
    /* The same hour again, also after a restart: it stays as it was. */
    MUST(device_version_set(d.w, a, "main", "1.1", T0, NULL));
    at = (struct device_points_at){0};
    tick_all(&d, &at, day + 3 * MIN);
    assert_string_equal(points_of(&d, DEVICE_POINTS_HOUR).text, p.text);
    tick_all(&d, &at, day + HOUR);
    p = points_of(&d, DEVICE_POINTS_HOUR);
    assert_int_equal(p.n, 2);
    assert_int_equal(p.last, day + HOUR);
    assert_non_null(strstr(p.text, "\"1.1\":1"));
    assert_int_equal(points_of(&d, DEVICE_POINTS_DAY).n, 1);
    domain_done(&d);
}

static void old_points_go(void **state UNUSED)
{
    struct device_points_at at = {0};
    struct domain d;
    int64_t day = T0 - T0 % DAY;

    domain_init(&d);
    MUST(device_version_set(d.w, domain_device(&d, "a"), "main", "1.0", T0, NULL));
    for (int i = 0; i < 24 * 9; i++)
        tick_all(&d, &at, day + i * HOUR);
    struct points p = points_of(&d, DEVICE_POINTS_HOUR);
    assert_int_equal(p.last, day + (24 * 9 - 1) * HOUR);
    assert_int_equal(p.n, 7 * 24 + 1);
    for (int i = 10; i < 420; i++)
        tick_all(&d, &at, day + i * DAY);
    p = points_of(&d, DEVICE_POINTS_DAY);
    assert_int_equal(p.last, day + 419 * DAY);
    assert_int_equal(p.first, day + 19 * DAY);
    domain_done(&d);
}

static void a_point_names_few_versions(void **state UNUSED)
{
    struct device_points_at at = {0};
    struct domain d;
    char text[24];

    domain_init(&d);
    for (int i = 0; i < 40; i++) {
        (void)str_fmt(text, sizeof(text), "v%d", i);
        MUST(device_version_set(d.w, domain_device(&d, text), "main", text, T0, NULL));
    }
    tick_all(&d, &at, T0);
    assert_non_null(strstr(points_of(&d, DEVICE_POINTS_HOUR).text, "\"other\":16"));
    domain_done(&d);
}

int test_version(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_change_moves_one),
        cmocka_unit_test(the_number_of_counters_is_bounded),
        cmocka_unit_test(whatever_happens_a_recount_finds_the_same),
        cmocka_unit_test(an_import_brings_no_versions),
        cmocka_unit_test(a_module_keeps_what_it_ran),
        cmocka_unit_test(points_are_copied_from_the_counters),
        cmocka_unit_test(old_points_go),
        cmocka_unit_test(a_point_names_few_versions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
