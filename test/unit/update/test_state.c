/* The table of moves, pair by pair, against the promises in words. */
#include "tests.h"

static bool is_step(enum update_state s)
{
    return s >= UPDATE_ACCEPTED && s <= UPDATE_INSTALLED;
}

/* The same law, told as rules instead of as a table. */
static bool lawful(enum update_state from, enum update_state to)
{
    bool ran = from == UPDATE_DOWNLOADED || from == UPDATE_INSTALLING || from == UPDATE_REBOOTING ||
               from == UPDATE_INSTALLED;

    if (to == UPDATE_DEFERRED) /* also once more */
        return from == UPDATE_OFFERED || from == UPDATE_DEFERRED || from == UPDATE_ACCEPTED;
    if (update_is_final(from) || from == to)
        return false;
    if (to == UPDATE_VERIFIED || to == UPDATE_CANCELED)
        return true;
    if (to == UPDATE_TIMED_OUT)
        return !ran;
    if (from == UPDATE_PLANNED)
        return to == UPDATE_OFFERED || to == UPDATE_FAILED;
    if (to == UPDATE_PLANNED || to == UPDATE_FAILED)
        return true;
    if (to == UPDATE_REJECTED)
        return from <= UPDATE_DOWNLOADED;
    if (to == UPDATE_ROLLED_BACK)
        return ran && from != UPDATE_DOWNLOADED;
    if (to == UPDATE_UNVERIFIED)
        return ran;
    if (from == UPDATE_DOWNLOADED && to == UPDATE_DOWNLOADING)
        return true;
    return is_step(to) && to > from;
}

static void walks_all_pairs(void **state UNUSED)
{
    for (int from = 0; from < UPDATE__COUNT; from++)
        for (int to = 0; to < UPDATE__COUNT; to++)
            if (update_may_move((enum update_state)from, (enum update_state)to) !=
                lawful((enum update_state)from, (enum update_state)to))
                fail_msg("%s -> %s", update_state_name((enum update_state)from),
                         update_state_name((enum update_state)to));
}

static void names_round_trip(void **state UNUSED)
{
    enum update_state s;

    for (int i = 0; i < UPDATE__COUNT; i++) {
        assert_int_equal(update_state_parse(update_state_name((enum update_state)i), &s), 0);
        assert_int_equal(s, i);
    }
    assert_int_equal(update_state_parse("nonsense", &s), E_NOTFOUND);
    assert_int_equal(update_state_parse("", &s), E_NOTFOUND);
    for (int i = 0; i < REASON__COUNT; i++)
        assert_non_null(reason_code((enum reason)i));
}

int test_state(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_all_pairs),
        cmocka_unit_test(names_round_trip),
    };

    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
