/* Strings, numbers, hex, base64, CRC-32. */
#include "tests.h"
#include "util.h"

static void copies_are_bounded(void **state)
{
    (void)state;
    char b[4];
    assert_true(str_copy(b, sizeof(b), "abc"));
    assert_string_equal(b, "abc");
    assert_false(str_copy(b, sizeof(b), "abcd"));
    assert_string_equal(b, "abc");
    assert_false(str_copy(b, 0, "x"));
    assert_true(str_fmt(b, sizeof(b), "%d", 123));
    assert_false(str_fmt(b, sizeof(b), "%d", 1234));
    assert_string_equal(b, "123");
    assert_true(str_eq(STR("abc"), "abc"));
    assert_false(str_eq(STR("abc"), "ab"));
    assert_int_equal(str_of(NULL).n, 0);
}

static void text_is_utf8_without_controls(void **state)
{
    (void)state;
    static const char *const good[] = {
        "",
        "plain ~",
        "OTA升级",
        "\xf0\x9f\x92\xbe",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xf4\x8f\xbf\xbf",
    };
    static const char *const bad[] = {
        "\x80",
        "\xc0\xaf",
        "\xc1\x81",
        "\xe0\x80\xaf",
        "\xed\xa0\x80",
        "\xf5\x80",
        "\xf4\x90\x80\x80",
        "\xf0\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xe5\x8d",
        "a\nb",
        "\x1f",
        "\x7f",
        "\xc2\x80",
        "\xc2\x9f",
        "\xff",
        "\xc3",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(str_is_text(good[i], strlen(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(str_is_text(bad[i], strlen(bad[i])));
    assert_false(str_is_text("a\0b", 3));
}

static void keys_have_a_small_alphabet(void **state)
{
    (void)state;
    assert_true(str_is_key("a.B_c-1:@+", 10));
    assert_false(str_is_key("a.B_c-1:@+", 9));
    assert_false(str_is_key("", 9));
    static const char *const bad[] = {"a/b", "a b", "#", "$SYS", "a\xc3\xa4", "a\n", "a\\b", "*"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(str_is_key(bad[i], 64));
}

static void distances(void **state)
{
    (void)state;
    assert_int_equal(str_distance("", ""), 0);
    assert_int_equal(str_distance("kitten", "sitting"), 3);
    assert_int_equal(str_distance("Listen", "listen"), 0);
    assert_int_equal(str_distance("", "abc"), 3);
    assert_int_equal(str_distance("abc", ""), 3);
    char longer[300];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(str_distance(longer, "x"), 63);
}

static void numbers_are_whole_and_bounded(void **state)
{
    (void)state;
    int64_t v = 5;
    assert_int_equal(num_parse("0", 0, 9, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(num_parse("-12", -12, 9, &v), 0);
    assert_int_equal(v, -12);
    assert_int_equal(num_parse("9223372036854775807", INT64_MIN, INT64_MAX, &v), 0);
    assert_true(v == INT64_MAX);
    assert_int_equal(num_parse("-9223372036854775808", INT64_MIN, INT64_MAX, &v), 0);
    assert_true(v == INT64_MIN);
    assert_int_equal(num_parse("9223372036854775808", INT64_MIN, INT64_MAX, &v), -ERANGE);
    assert_int_equal(num_parse("-9223372036854775809", INT64_MIN, INT64_MAX, &v), -ERANGE);
    assert_int_equal(num_parse("10", 0, 9, &v), -ERANGE);
    assert_int_equal(num_parse("99999999999999999999x", 0, 9, &v), -EINVAL);
    static const char *const bad[] = {"", "-", "+1", " 1", "1 ", "0x1", "1.0", "--1", "1e3"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(num_parse(bad[i], INT64_MIN, INT64_MAX, &v), -EINVAL);
    assert_true(v == INT64_MIN); /* untouched on failure */
}

static void hex_both_ways(void **state)
{
    (void)state;
    uint8_t raw[256], back[256];
    char text[513];
    for (int i = 0; i < 256; i++)
        raw[i] = (uint8_t)i;
    hex_encode(raw, 256, text);
    assert_memory_equal(text, "000102", 6);
    assert_string_equal(text + 508, "feff");
    assert_int_equal(hex_decode(text, 512, back), 0);
    assert_memory_equal(raw, back, 256);
    assert_int_equal(hex_decode("AbCd", 4, back), 0);
    assert_int_equal(back[0], 0xab);
    static const char *const bad[] = {"0", "0g", "g0", "0 ", "/0", ":0", "@0", "`0"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(hex_decode(bad[i], strlen(bad[i]), back), -EINVAL);
}

static void base64_of_rfc4648(void **state)
{
    (void)state;
    static const char *const padded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE="};
    char text[64];
    for (size_t n = 0; n < ARRAY_LEN(padded); n++) {
        assert_int_equal(b64_encode("foobar", n, text), strlen(padded[n]));
        assert_string_equal(text, padded[n]);
    }
    assert_int_equal(b64url_encode("\xfb\xff\xfe", 3, text), 4);
    assert_string_equal(text, "-__-");
    b64_encode("\xfb\xff\xfe", 3, text);
    assert_string_equal(text, "+//+");
}

static void base64url_round_trip_is_strict(void **state)
{
    (void)state;
    uint8_t raw[40], back[40];
    char text[64];
    for (size_t n = 0; n <= sizeof(raw); n++) {
        rand_bytes(raw, n);
        size_t len = b64url_encode(raw, n, text);
        assert_int_equal(strlen(text), len);
        assert_int_equal(b64url_decode(text, len, back, n), (int)n);
        assert_memory_equal(raw, back, n);
        if (n > 0)
            assert_int_equal(b64url_decode(text, len, back, n - 1), -EINVAL);
    }
    static const char *const bad[] = {"A", "AAAAA", "AB==", "A+", "A/", "A A", "Zh", "Zm9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(b64url_decode(bad[i], strlen(bad[i]), back, sizeof(back)), -EINVAL);
}

static uint32_t crc32_plain(uint32_t crc, const uint8_t *p, size_t n)
{
    for (crc = ~crc; n-- > 0; p++) {
        crc ^= *p;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void crc32_of_any_cut(void **state)
{
    (void)state;
    uint8_t raw[300];
    assert_int_equal(crc32_update(0, "123456789", 9), 0xcbf43926u);
    assert_int_equal(crc32_update(0, "", 0), 0);
    rand_bytes(raw, sizeof(raw));
    uint32_t want = crc32_plain(0, raw, sizeof(raw));
    for (size_t cut = 0; cut <= sizeof(raw); cut++) {
        uint32_t c = crc32_update(0, raw, cut);
        assert_int_equal(crc32_update(c, raw + cut, sizeof(raw) - cut), want);
    }
}

static void topic_patterns_that_meet(void **state UNUSED)
{
    static const struct {
        const char *a, *b;
        bool meet;
    } cases[] = {
        {"a/{sn}/c", "a/b/{sn}", true}, {"a/{sn}/c", "a/b/c", true},  {"a/{sn}", "a/b/c", false},
        {"a/{sn}", "b/{sn}", false},    {"a/%u", "a/{sn}", true},     {"a/#", "a", true},
        {"a/#", "a/b/{sn}", true},      {"a/b", "a/b", true},         {"a/b", "a/bc", false},
        {"/a/{sn}", "a/{sn}", false},   {"a/+/c", "a/{sn}/d", false}, {"#", "x/{sn}", true},
        {"a/b/#", "a/{sn}", true},      {"a/{sn}/", "a/{sn}", false}, {"data/%u/#", "data/x", true},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(topic_patterns_meet(cases[i].a, cases[i].b), cases[i].meet);
        assert_int_equal(topic_patterns_meet(cases[i].b, cases[i].a), cases[i].meet);
    }
    assert_true(topic_covers("/dev/{sn}/up", "/dev/S/up", "S"));
    assert_false(topic_covers("/dev/{sn}/up", "/dev/T/up", "S"));
    assert_false(topic_covers("/dev/{sn}/up", "/dev/+/up", "S"));
    assert_false(topic_covers("/dev/{sn}/up", "/dev/{sn}/up", NULL));
}

int test_text(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_are_bounded),
        cmocka_unit_test(text_is_utf8_without_controls),
        cmocka_unit_test(keys_have_a_small_alphabet),
        cmocka_unit_test(distances),
        cmocka_unit_test(numbers_are_whole_and_bounded),
        cmocka_unit_test(hex_both_ways),
        cmocka_unit_test(base64_of_rfc4648),
        cmocka_unit_test(base64url_round_trip_is_strict),
        cmocka_unit_test(crc32_of_any_cut),
        cmocka_unit_test(topic_patterns_that_meet),
    };
    return cmocka_run_group_tests_name("util text", tests, NULL, NULL);
}
