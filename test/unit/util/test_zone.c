/* Time zones against test/golden/util/zones.txt, which comes from another implementation. */
#include "util.h"

#include <stdio.h>

#include "tests.h"

#define MUST(x) assert_int_equal(x, 0)

static const char *golden(void)
{
    static char path[512];
    const char *dir = getenv("GOLDEN_DIR");

    (void)str_fmt(path, sizeof(path), "%s/util/zones.txt", dir ? dir : "test/golden");
    return path;
}

static void as_others_say(void **state UNUSED)
{
    char line[256], name[64], loaded[64] = "", kind;
    struct zone *z = NULL;
    long long at, want;
    int n = 0;
    FILE *f = fopen(golden(), "r");

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        assert_int_equal(sscanf(line, "%63s %c %lld %lld", name, &kind, &at, &want), 4);
        if (strcmp(name, loaded) != 0) {
            zone_free(z);
            MUST(zone_load(name, &z));
            (void)str_copy(loaded, sizeof(loaded), name);
        }
        int64_t got = kind == 'u' ? zone_offset(z, at) : zone_instant(z, at);
        if (got != want)
            fail_msg("%s: got %lld", line, (long long)got);
        n++;
    }
    assert_true(n > 4000);
    zone_free(z);
    fclose(f);
}

/* For each instant, the wall shows a time whose instant is it, or an earlier one of the two. */
static void there_and_back(void **state UNUSED)
{
    static const char *const names[] = {"America/New_York", "Australia/Lord_Howe",
                                        "Africa/Casablanca", "Pacific/Apia", "UTC"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct zone *z;
        int64_t last = INT64_MIN;
        MUST(zone_load(names[i], &z));
        for (int64_t t = 1300000000; t < 1340000000; t += 1800) {
            int64_t back = zone_instant(z, t + zone_offset(z, t));
            assert_true(back <= t && back > t - 4 * 3600);
            assert_true(back == t || zone_offset(z, back) > zone_offset(z, t));
            int64_t of_wall = zone_instant(z, t);
            assert_true(of_wall >= last); /* later on the wall is never earlier in time */
            last = of_wall;
        }
        zone_free(z);
    }
}

static void what_is_no_zone(void **state UNUSED)
{
    static const char *const names[] = {
        "",         "Mars/Base", "../../../etc/passwd", "/etc/passwd",
        "zone.tab", "Europe",    "tzdata.zi",           "Asia/\nTokyo"};
    struct zone *z = NULL;

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(zone_load(names[i], &z), E_NOTFOUND);
    assert_int_equal(zone_parse("", 0, &z), E_PROTO);
    assert_int_equal(zone_parse("TZif2", 5, &z), E_PROTO);
}

/* Every shorter file is refused, none is read beyond its end. */
static void cut_files(void **state UNUSED)
{
    char bytes[8192];
    FILE *f = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");

    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    assert_true(n > 100 && n < sizeof(bytes));
    for (size_t k = 0; k < n; k++) {
        struct zone *z = NULL;
        char *copy = xmalloc(k + 1);
        memcpy(copy, bytes, k);
        copy = xrealloc(copy, k ? k : 1);
        assert_int_equal(zone_parse(copy, k, &z), E_PROTO);
        free(copy);
    }
}

int test_zone(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_others_say),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(what_is_no_zone),
        cmocka_unit_test(cut_files),
    };

    return cmocka_run_group_tests_name("zone", tests, NULL, NULL);
}
