/* Clocks and RFC 3339. libc's calendar is the witness. */
#include "tests.h"
#include "util.h"

#include <stdio.h>
#include <time.h>

static void text_equals_libc(void **state)
{
    (void)state;
    char buf[TIME_TEXT_MAX], want[64];
    const int64_t lo = -62167219200000, hi = 253402300799999;
    for (int i = 0; i < 20000; i++) {
        int64_t ms = lo + (int64_t)(rand_u64() % (uint64_t)(hi - lo + 1)), back;
        int64_t frac = ((ms % 1000) + 1000) % 1000;
        time_t t = (time_t)((ms - frac) / 1000);
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        (void)snprintf(want, sizeof(want), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)frac);
        assert_string_equal(time_text(ms, buf), want);
        assert_int_equal(time_parse(buf, &back), 0);
        assert_true(back == ms);
    }
    assert_string_equal(time_text(1723109840093, buf), "2024-08-08T09:37:20.093Z");
    assert_string_equal(time_text(-1, buf), "1969-12-31T23:59:59.999Z");
    assert_string_equal(time_text(INT64_MAX, buf), "9999-12-31T23:59:59.999Z");
    assert_string_equal(time_text(INT64_MIN, buf), "0000-01-01T00:00:00.000Z");
}

static void parses_rfc3339(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2024-08-08T09:37:20.093Z", 1723109840093},
        {"2024-08-08t09:37:20.093999999z", 1723109840093},
        {"2024-08-08T17:37:20.093+08:00", 1723109840093},
        {"2024-08-08T04:07:20.093-05:30", 1723109840093},
        {"2024-08-08T09:37:20.1Z", 1723109840100},
        {"2024-02-29T00:00:00Z", 1709164800000},
        {"2000-02-29T00:00:00Z", 951782400000},
        {"2016-12-31T23:59:60Z", 1483228800000},
    };
    static const char *const bad[] = {
        "",
        "2024",
        "2024-08-08",
        "2024-08-08T09:37:20",
        "2024-08-08 09:37:20Z",
        "2024-08-08T09:37Z",
        "2024-08-08T09:37:20.Z",
        "2024-08-08T09:37:20.1234567890Z",
        "2024-08-08T24:00:00Z",
        "2024-08-08T09:60:00Z",
        "2024-08-08T09:37:61Z",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2024-00-08T09:37:20Z",
        "2024-13-08T09:37:20Z",
        "2024-04-31T09:37:20Z",
        "2024-04-00T09:37:20Z",
        "2024-08-08T09:37:20Z ",
        "2024-08-08T09:37:20+0800",
        "2024-08-08T09:37:20+08",
        "2024-08-08T09:37:20+24:00",
        "2024-08-08T09:37:20+08:60",
        "+024-08-08T09:37:20Z",
        "2024-8-08T09:37:20Z",
        "2024-08-08T09:37:20+08:00Z",
    };
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(time_parse(good[i].text, &ms), 0);
        assert_true(ms == good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(time_parse(bad[i], &ms), -EINVAL);
}

static void clocks(void **state)
{
    (void)state;
    int64_t us = clock_mono_us();
    assert_true(clock_mono_us() >= us);
    assert_true(clock_now_ms() > 1700000000000);
    clock_fake_ms(42);
    assert_true(clock_now_ms() == 42);
    clock_fake_ms(0);
    assert_true(clock_now_ms() > 1700000000000);
}

int test_time(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_equals_libc),
        cmocka_unit_test(parses_rfc3339),
        cmocka_unit_test(clocks),
    };
    return cmocka_run_group_tests_name("util time", tests, NULL, NULL);
}
