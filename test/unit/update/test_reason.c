/* What failures are counted as: causes, and devices' words made alike. */
#include "../../../src/update/update_priv.h"
#include "tests.h"

static void assert_reason(enum update_state from, enum update_state to, const char *cause,
                          const char *said, const char *expected)
{
    const struct update u = {.state = to, .cause = cause, .said = said};
    char got[CAMPAIGN_REASON_MAX + 1];

    reason_of(&u, from, got);
    assert_string_equal(got, expected);
}

static void causes_have_names(void **state UNUSED)
{
    assert_reason(UPDATE_DOWNLOADING, UPDATE_TIMED_OUT, "deadline", NULL, "deadline:downloading");
    assert_reason(UPDATE_INSTALLED, UPDATE_UNVERIFIED, "deadline", NULL, "deadline:installed");
    assert_reason(UPDATE_INSTALLED, UPDATE_ROLLED_BACK, "report", NULL, "report:old_version");
    assert_reason(UPDATE_DOWNLOADED, UPDATE_FAILED, "download", NULL, "download:again_and_again");
    assert_reason(UPDATE_PLANNED, UPDATE_FAILED, "delta", NULL, "delta:full_image_instead");
    assert_reason(UPDATE_OFFERED, UPDATE_REJECTED, "reply", "", "reply:unspecified");
    assert_reason(UPDATE_OFFERED, UPDATE_CANCELED, "operator", NULL, "");
    assert_reason(UPDATE_INSTALLED, UPDATE_VERIFIED, "report", NULL, "");
    assert_reason(UPDATE_DEFERRED, UPDATE_REJECTED, "consent_refused", "not today",
                  "consent_refused:by_the_user");
    assert_reason(UPDATE_PLANNED, UPDATE_TIMED_OUT, "deadline", "said before", "deadline:planned");
}

static void a_success_without_bytes_is_one(void **state UNUSED)
{
    const struct update u = {.state = UPDATE_VERIFIED, .cause = "report", .suspect = true};
    char got[CAMPAIGN_REASON_MAX + 1];

    reason_of(&u, UPDATE_INSTALLED, got);
    assert_string_equal(got, "suspect:no_bytes_served");
}

static void words_are_made_alike(void **state UNUSED)
{
    static const char *const words[][2] = {
        {"Flash write FAILED at 0x3f2000", "reply:flash write failed at #"},
        {"  flash \t write\nfailed at 0x410000 ", "reply:flash write failed at #"},
        {"esp_err 0x1503", "reply:esp_err 0x1503"},
        {"error -5", "reply:error -5"},
        {"HTTP 404", "reply:http 404"},
        {"offset 1048576 of 2097152", "reply:offset # of #"},
        {"sha deadbeef01", "reply:sha #"},
        {"dead beef", "reply:dead beef"},
        {"v1.10.2", "reply:v1.10.2"},
        {"Prüfsumme falsch", "reply:prüfsumme falsch"},
        {"校验失败", "reply:校验失败"},
        {"\x01\x02", "reply:unspecified"},
        {"0x", "reply:0x"},
        {"the device reports ota_result 1: connecting failed",
         "reply:ota_result 1: connecting failed"},
    };

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        assert_reason(UPDATE_OFFERED, UPDATE_FAILED, "reply", words[i][0], words[i][1]);
}

/* However long the words are, what is kept is short and whole. */
static void words_are_bounded(void **state UNUSED)
{
    char long_text[1000];
    char got[CAMPAIGN_REASON_MAX + 1];

    for (size_t shift = 0; shift < 4; shift++) {
        memset(long_text, 'x', sizeof(long_text));
        for (size_t i = shift; i + 3 < sizeof(long_text); i += 3)
            memcpy(long_text + i, "校", 3);
        long_text[sizeof(long_text) - 4] = '\0';
        const struct update u = {.state = UPDATE_FAILED, .cause = "reply", .said = long_text};
        reason_of(&u, UPDATE_OFFERED, got);
        assert_true(strlen(got) <= CAMPAIGN_REASON_MAX);
        assert_true(strlen(got) > CAMPAIGN_REASON_MAX - 4);
        assert_true(str_is_text(got, strlen(got)));
    }
}

int test_reason(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(causes_have_names),
        cmocka_unit_test(a_success_without_bytes_is_one),
        cmocka_unit_test(words_are_made_alike),
        cmocka_unit_test(words_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
