/* The pauses between connections: bounded, longer each time, and spread over all of the bound. */
#include "../../../src/mqtt/internal.h"
#include "test_mqtt.h"

/* xorshift64*: the same numbers each time. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static void test_pauses_are_bounded(void **state)
{
    static const uint64_t random[] = {0,         1, 949, 950, 951, 59950, 59951, UINT64_MAX - 1,
                                      UINT64_MAX};
    (void)state;
    for (unsigned attempts = 0; attempts < 200; attempts++)
        for (size_t i = 0; i < ARRAY_LEN(random); i++) {
            uint64_t ms = session_backoff_ms(attempts, random[i]);
            assert_in_range(ms, 50, attempts < 6 ? 1000u << attempts : 60000);
        }
    assert_in_range(session_backoff_ms(UINT32_MAX, 7), 50, 60000);
    assert_int_equal(session_backoff_ms(0, 0), 50);
    assert_int_equal(session_backoff_ms(0, 950), 1000);
    assert_int_equal(session_backoff_ms(100, 59950), 60000);
}

/* Ten thousand clients that lost the broker at once: each tenth of the time sees a tenth of them.
 */
static void test_pauses_are_spread(void **state)
{
    uint64_t seed = 20240808;
    (void)state;
    for (unsigned attempts = 0; attempts < 10; attempts++) {
        uint64_t bound = attempts < 6 ? 1000u << attempts : 60000;
        unsigned tenths[10] = {0};
        for (int i = 0; i < 10000; i++) {
            uint64_t ms = session_backoff_ms(attempts, next_random(&seed));
            tenths[(ms - 50) * 10 / (bound - 50 + 1)]++;
        }
        for (size_t i = 0; i < ARRAY_LEN(tenths); i++)
            assert_in_range(tenths[i], 850, 1150);
    }
}

const struct CMUnitTest backoff_tests[] = {
    cmocka_unit_test(test_pauses_are_bounded),
    cmocka_unit_test(test_pauses_are_spread),
};
const size_t backoff_test_count = ARRAY_LEN(backoff_tests);
