#include "tests.h"

static void tell(struct device_presence *p, const char *lines)
{
    device_presence_tell(p, lines, strlen(lines));
}

static void test_list_and_changes(void **state)
{
    struct device_presence *p = device_presence_new();
    (void)state;

    assert_int_equal(device_presence(p, "a"), -1);
    tell(p, "+a\n"); /* before the list nothing is known */
    assert_int_equal(device_presence(p, "a"), -1);
    assert_false(device_presence_known(p));
    tell(p, "=\n+b\n");
    assert_false(device_presence_known(p));
    tell(p, "+c\n.\n");
    assert_true(device_presence_known(p));
    assert_int_equal(device_presence(p, "a"), 0);
    assert_int_equal(device_presence(p, "b"), 1);
    assert_int_equal(device_presence(p, "c"), 1);
    tell(p, "-b\n+a");
    assert_int_equal(device_presence(p, "a"), 1);
    assert_int_equal(device_presence(p, "b"), 0);
    tell(p, "=\n+d\n"); /* a new list: the one before counts until it is whole */
    assert_int_equal(device_presence(p, "c"), 1);
    tell(p, "=\n+b\n.\n");
    assert_int_equal(device_presence(p, "c"), 0);
    assert_int_equal(device_presence(p, "d"), 0); /* of a list that was broken off */
    assert_int_equal(device_presence(p, "b"), 1);
    tell(p, "\n\nnonsense\n.\n+\n-\n-unknown\n+b\n");
    assert_int_equal(device_presence(p, "b"), 1);
    assert_int_equal(metric_get(M_DEVICES_ONLINE), 1);
    device_presence_forget(p);
    assert_int_equal(device_presence(p, "b"), -1);
    device_presence_free(p);
    device_presence_free(NULL);
}

static void test_may(void **state)
{
    (void)state;
    assert_true(device_may("U", true, "attributes/U"));
    assert_true(device_may("U", false, "command_send/U"));
    assert_false(device_may("U", true, "command_send/U"));
    assert_false(device_may("U", false, "attributes/U"));
    assert_false(device_may("U", true, "attributes/V"));
    assert_false(device_may("U", true, "attributes")); /* only the plugin knows who it is */
    assert_false(device_may("U", false, "command/send/+"));
}

int test_presence(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_and_changes),
        cmocka_unit_test(test_may),
    };
    return cmocka_run_group_tests_name("presence", tests, NULL, NULL);
}
