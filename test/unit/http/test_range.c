/* Range, If-Range and If-None-Match. */
#include "../../../src/http/internal.h"
#include "http_test.h"

static void check(const char *text, uint64_t size, enum range_kind kind, uint64_t first,
                  uint64_t last)
{
    uint64_t a = 0, b = 0;
    if (range_parse(text, size, &a, &b) != kind || (kind == RANGE_OK && (a != first || b != last)))
        fail_msg("%s of %lu: got %lu-%lu", text ? text : "nothing", (unsigned long)size,
                 (unsigned long)a, (unsigned long)b);
}

static void test_one_range(void **state)
{
    (void)state;
    check("bytes=0-0", 10, RANGE_OK, 0, 0);
    check("bytes=0-", 10, RANGE_OK, 0, 9);
    check("bytes=3-5", 10, RANGE_OK, 3, 5);
    check("bytes=3-10", 10, RANGE_OK, 3, 9); /* one past the end, as esp_https_ota asks */
    check("bytes=9-99999999999999999999999", 10, RANGE_OK, 9, 9);
    check("bytes=-4", 10, RANGE_OK, 6, 9);
    check("bytes=-40", 10, RANGE_OK, 0, 9);
    check("BYTES= 1-2 ", 10, RANGE_OK, 1, 2);
}

static void test_out_of_the_file(void **state)
{
    (void)state;
    check("bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0);
    check("bytes=10-20", 10, RANGE_UNSATISFIABLE, 0, 0);
    check("bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0);
    check("bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0);
    check("bytes=99999999999999999999999-", 10, RANGE_UNSATISFIABLE, 0, 0);
    check("bytes=18446744073709551621-", 10, RANGE_UNSATISFIABLE, 0, 0); /* 5, were it to wrap */
}

static void test_ignored(void **state)
{
    static const char *const texts[] = {
        NULL,         "",          "bytes",      "bytes=",        "bytes=-",    "bytes=a-b",
        "bytes=5-3",  "items=0-",  "bytes=1-2,", "bytes=0-1,4-5", "bytes=1",    "bytes=--1",
        "bytes=1-2x", "bytes=+1-", "bytes 0-1",  "bytes=0x1-2",   "bytes=1--2", "-",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        check(texts[i], 10, RANGE_NONE, 0, 0);
}

static void test_if_none_match(void **state)
{
    (void)state;
    assert_true(etag_listed("\"abc\"", "abc"));
    assert_true(etag_listed("W/\"abc\"", "abc"));
    assert_true(etag_listed(" \"x\" , W/\"y\",\"abc\"", "abc"));
    assert_true(etag_listed("*", "abc"));
    assert_true(etag_listed(" * ", "abc"));
    assert_false(etag_listed("", "abc"));
    assert_false(etag_listed("\"abcd\"", "abc"));
    assert_false(etag_listed("\"ab\"", "abc"));
    assert_false(etag_listed("abc", "abc"));
    assert_false(etag_listed("\"abc", "abc"));
    assert_false(etag_listed("\"x\", abc", "abc"));
    assert_false(etag_listed("*x", "abc"));
}

static void test_if_range_is_strong(void **state)
{
    (void)state;
    assert_true(etag_same("\"abc\"", "abc"));
    assert_false(etag_same("W/\"abc\"", "abc"));
    assert_false(etag_same("\"abc\", \"d\"", "abc"));
    assert_false(etag_same("Sat, 29 Oct 1994 19:43:31 GMT", "abc"));
    assert_false(etag_same("", "abc"));
}

const struct CMUnitTest range_tests[] = {
    cmocka_unit_test(test_one_range),
    cmocka_unit_test(test_out_of_the_file),
    cmocka_unit_test(test_ignored),
    cmocka_unit_test(test_if_none_match),
    cmocka_unit_test(test_if_range_is_strong),
};
const size_t range_test_count = ARRAY_LEN(range_tests);
