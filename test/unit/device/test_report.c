/* What devices report: attributes, versions; and failures with quarantine. */
#include "tests.h"

static int merge(struct domain *d, int64_t dev, const char *text)
{
    AUTO(json_free) json_t *o = json_loads(text, 0, NULL);

    return device_attributes_merge(d->w, dev, o);
}

static void assert_attributes(struct domain *d, int64_t dev, const char *expected)
{
    AUTO(json_free) json_t *got = NULL, *want = json_loads(expected, 0, NULL);

    MUST(device_attributes(d->w, dev, &got));
    assert_true(json_equal(got, want));
}

static void attributes_merge(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev");
    assert_attributes(&d, dev, "{}");
    MUST(merge(&d, dev, "{\"t\":28.5,\"version\":\"1.1\",\"o\":{\"a\":[1]}}"));
    MUST(merge(&d, dev, "{\"t\":29,\"o\":null,\"none\":null}"));
    assert_attributes(&d, dev, "{\"t\":29,\"version\":\"1.1\"}");
    int64_t before = db_total_changes(d.w);
    MUST(merge(&d, dev, "{\"version\":\"1.1\",\"x\":null}"));
    MUST(merge(&d, dev, "{}"));
    assert_int_equal(db_total_changes(d.w), before);
    struct device got;
    MUST(device_by_key(d.w, 0, "dev", &d.a, &got));
    assert_non_null(strstr(got.attributes, "\"t\":29"));
    domain_done(&d);
}

static void attributes_are_bounded(void **state UNUSED)
{
    struct domain d;
    char name[24];

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev");
    for (int i = 0; i < DEVICE_ATTRIBUTES_MAX; i++) {
        snprintf(name, sizeof(name), "{\"a%d\":1}", i);
        MUST(merge(&d, dev, name));
    }
    assert_int_equal(merge(&d, dev, "{\"more\":1}"), E_LIMIT);
    MUST(merge(&d, dev, "{\"a0\":2}"));
    MUST(merge(&d, dev, "{\"more\":1,\"a1\":null}"));
    AUTO(free) char *big = xcalloc(1, DEVICE_ATTRIBUTES_BYTES_MAX + 100);
    memset(big, 'x', DEVICE_ATTRIBUTES_BYTES_MAX + 1);
    AUTO(json_free) json_t *o = json_pack("{s:s}", "a0", big);
    assert_int_equal(device_attributes_merge(d.w, dev, o), E_LIMIT);
    AUTO(json_free) json_t *got = NULL;
    MUST(device_attributes(d.w, dev, &got));
    assert_int_equal(json_get_int(got, "a0", 0), 2); /* nothing was stored */
    domain_done(&d);
}

static int join(void *arg, const char *module, const char *version, int64_t at)
{
    char *text = arg;
    size_t n = strlen(text);

    snprintf(text + n, 200 - n, "%s=%s@%d ", module, version, (int)(at - T0));
    return 0;
}

static void versions(void **state UNUSED)
{
    struct domain d;
    char got[VERSION_MAX + 1], text[200] = "", longest[VERSION_MAX + 2];
    int64_t at;

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev");
    assert_int_equal(device_version(d.w, dev, "main", got, &at), E_NOTFOUND);
    MUST(device_version_set(d.w, dev, "main", "1.0", T0 + 1, NULL));
    MUST(device_version_set(d.w, dev, "mcu", "7", T0 + 2, NULL));
    int64_t before = db_total_changes(d.w);
    MUST(device_version_set(d.w, dev, "main", "1.0", T0 + 3, NULL));
    assert_int_equal(db_total_changes(d.w), before);
    MUST(device_version_set(d.w, dev, "main", "1.0.0", T0 + 4, NULL)); /* equal, but other words */
    MUST(device_version(d.w, dev, "main", got, &at));
    assert_string_equal(got, "1.0.0");
    assert_int_equal(at, T0 + 4);
    MUST(device_versions(d.w, dev, join, text));
    assert_string_equal(text, "main=1.0.0@4 mcu=7@2 ");
    memset(longest, '1', sizeof(longest));
    longest[VERSION_MAX + 1] = '\0';
    assert_int_equal(device_version_set(d.w, dev, "main", longest, T0, NULL), E_LIMIT);
    longest[VERSION_MAX] = '\0';
    MUST(device_version_set(d.w, dev, "main", longest, T0, NULL));
    MUST(device_version(d.w, dev, "main", got, NULL));
    assert_string_equal(got, longest);
    domain_done(&d);
}

static bool failed(struct domain *d, int64_t dev, int64_t now)
{
    bool quarantined;

    MUST(device_failed(d->w, dev, 3, now, &quarantined));
    return quarantined;
}

static void quarantine(void **state UNUSED)
{
    struct domain d;
    struct device got;
    bool q;

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev");
    assert_false(failed(&d, dev, T0));
    assert_false(failed(&d, dev, T0 + HOUR));
    /* The first one is a day old: a new count begins. */
    assert_false(failed(&d, dev, T0 + DAY));
    assert_false(failed(&d, dev, T0 + DAY + 1));
    assert_true(failed(&d, dev, T0 + DAY + 2));
    MUST(device_by_id(d.w, dev, &d.a, &got));
    assert_int_equal(got.quarantined_until, T0 + 2 * DAY + 2);
    /* More of it does not prolong it, nor is it told twice. */
    assert_false(failed(&d, dev, T0 + DAY + 3));
    MUST(device_by_id(d.w, dev, &d.a, &got));
    assert_int_equal(got.quarantined_until, T0 + 2 * DAY + 2);
    MUST(device_release(d.w, dev, T0 + DAY + 4));
    MUST(device_by_id(d.w, dev, &d.a, &got));
    assert_int_equal(got.quarantined_until, 0);
    assert_int_equal(got.failures, 0);
    assert_int_equal(got.released_at, T0 + DAY + 4);
    assert_false(failed(&d, dev, T0 + DAY + 5));
    assert_int_equal(device_release(d.w, dev + 1, T0), E_NOTFOUND);
    assert_int_equal(device_failed(d.w, dev + 1, 3, T0, &q), E_NOTFOUND);
    domain_done(&d);
}

int test_report(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_merge),
        cmocka_unit_test(attributes_are_bounded),
        cmocka_unit_test(versions),
        cmocka_unit_test(quarantine),
    };

    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
