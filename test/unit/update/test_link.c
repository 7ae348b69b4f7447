/* Links: round trip, expiry, and that no other token passes. */
#include "tests.h"

static const uint8_t key[32] = {1, 2, 3};

static void round_trip(void **state UNUSED)
{
    char token[LINK_TOKEN_MAX];
    int64_t id;
    int no;

    link_make(key, INT32_MAX, 5, T0 + 1, token);
    assert_int_equal(strlen(token), 28);
    assert_int_equal(link_read(key, token, T0, &id, &no), 0);
    assert_int_equal(id, INT32_MAX);
    assert_int_equal(no, 5);
}

static void expires(void **state UNUSED)
{
    char token[LINK_TOKEN_MAX];
    int64_t id;
    int no;

    link_make(key, 7, 1, T0 + 1500, token);
    assert_int_equal(link_read(key, token, T0 + 1500, &id, &no), 0); /* never shortened */
    assert_int_equal(link_read(key, token, T0 + 2001, &id, &no), E_GONE);
}

static void every_changed_character_is_refused(void **state UNUSED)
{
    static const char alphabet[] = "Aa0-_+/= ";
    char token[LINK_TOKEN_MAX], other[LINK_TOKEN_MAX];
    int64_t id;
    int no;

    link_make(key, 123456, 1, T0, token);
    for (size_t i = 0; i < strlen(token); i++)
        for (const char *c = alphabet; *c; c++) {
            if (token[i] == *c)
                continue;
            memcpy(other, token, sizeof(other));
            other[i] = *c;
            assert_int_equal(link_read(key, other, T0, &id, &no), E_AUTH);
        }
}

static void other_keys_and_lengths_are_refused(void **state UNUSED)
{
    static const uint8_t other_key[32] = {1, 2, 4};
    char token[LINK_TOKEN_MAX], longer[64];
    int64_t id;
    int no;

    link_make(other_key, 5, 1, T0, token);
    assert_int_equal(link_read(key, token, T0, &id, &no), E_AUTH);
    link_make(key, 5, 1, T0, token);
    snprintf(longer, sizeof(longer), "%sA", token);
    assert_int_equal(link_read(key, longer, T0, &id, &no), E_AUTH);
    token[27] = '\0';
    assert_int_equal(link_read(key, token, T0, &id, &no), E_AUTH);
    assert_int_equal(link_read(key, "", T0, &id, &no), E_AUTH);
    /* A forged one is not told that it is merely old. */
    link_make(other_key, 5, 1, 1000, token);
    assert_int_equal(link_read(key, token, T0, &id, &no), E_AUTH);
}

/* Lists hold until the device installs, a pause and an end for who has not begun. */
static void operators_have_their_say(void **state UNUSED)
{
    int64_t others[] = {8, 9}, own[] = {7};
    struct firmware fw = {.enabled = true};
    struct update_linked u = {.device_id = 7};

    for (u.state = UPDATE_OFFERED; u.state <= UPDATE_INSTALLED; u.state++) {
        bool open = u.state >= UPDATE_INSTALLING, new = u.state <= UPDATE_DEFERRED;

        fw.devices = fw.denied = (struct id_list){NULL, 0};
        u.paused = false;
        assert_int_equal(update_linked_still(&u, &fw), 0);
        u.paused = true;
        assert_int_equal(update_linked_still(&u, &fw), new ? E_UNAVAILABLE : 0);
        u.paused = false;
        u.ended = true;
        assert_int_equal(update_linked_still(&u, &fw), new ? E_GONE : 0);
        u.ended = false;
        fw.denied = (struct id_list){own, 1};
        assert_int_equal(update_linked_still(&u, &fw), open ? 0 : E_GONE);
        fw.denied = fw.devices = (struct id_list){others, 2};
        assert_int_equal(update_linked_still(&u, &fw), open ? 0 : E_GONE);
        fw.devices = (struct id_list){own, 1};
        assert_int_equal(update_linked_still(&u, &fw), 0);
    }
}

int test_link(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(expires),
        cmocka_unit_test(every_changed_character_is_refused),
        cmocka_unit_test(other_keys_and_lengths_are_refused),
        cmocka_unit_test(operators_have_their_say),
    };

    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
