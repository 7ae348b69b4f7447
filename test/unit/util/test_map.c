/* The map against an array that tells the truth, and the hash behind it. */
#include "tests.h"
#include "util.h"

#include <stdio.h>

enum { KEYS = 3000 };

static int64_t truth[KEYS]; /* 0: not in the map */

static size_t key_of(char *buf, size_t cap, unsigned i)
{
    return (size_t)snprintf(buf, cap, "device-%u", i);
}

static void check_all(const struct map *m)
{
    size_t count = 0, seen = 0, it = 0, n;
    const void *key;
    void *value;
    char buf[32];
    for (unsigned i = 0; i < KEYS; i++) {
        int64_t have = (int64_t)(intptr_t)map_get(m, buf, key_of(buf, sizeof(buf), i));
        assert_true(have == truth[i]);
        count += truth[i] != 0;
    }
    while (map_next(m, &it, &key, &n, &value)) {
        char text[32] = {0};
        assert_true(n < sizeof(text));
        memcpy(text, key, n);
        unsigned i = (unsigned)strtoul(text + 7, NULL, 10);
        assert_true(truth[i] == (int64_t)(intptr_t)value);
        seen++;
    }
    assert_int_equal(seen, count);
    assert_int_equal(m->count, count);
}

static void behaves_as_an_array(void **state)
{
    (void)state;
    struct map m = {0};
    char buf[32];
    memset(truth, 0, sizeof(truth));
    check_all(&m);
    assert_null(map_del(&m, "x", 1));
    for (int64_t step = 1; step <= 60000; step++) {
        unsigned i = (unsigned)(rand_u64() % KEYS);
        size_t n = key_of(buf, sizeof(buf), i);
        int64_t next = rand_u64() % 3 ? step : 0;
        void *old = next ? map_put(&m, buf, n, (void *)(intptr_t)next) : map_del(&m, buf, n);
        assert_true((int64_t)(intptr_t)old == truth[i]);
        truth[i] = next;
        if (step % 10000 == 0)
            check_all(&m);
    }
    for (unsigned i = 0; i < KEYS; i++) {
        map_del(&m, buf, key_of(buf, sizeof(buf), i));
        truth[i] = 0;
    }
    check_all(&m);
    map_done(&m);
    assert_int_equal(m.cap, 0);
}

static void keys_are_bytes(void **state)
{
    (void)state;
    struct map m = {0};
    int a, b, c;
    assert_null(map_put(&m, "", 0, &a));
    assert_null(map_put(&m, "\0", 1, &b));
    assert_null(map_put(&m, "\0\0", 2, &c));
    assert_ptr_equal(map_get(&m, "", 0), &a);
    assert_ptr_equal(map_get(&m, "\0", 1), &b);
    assert_ptr_equal(map_put(&m, "\0\0", 2, &a), &c);
    assert_ptr_equal(map_del(&m, "", 0), &a);
    assert_null(map_get(&m, "", 0));
    map_done(&m);
}

static void hash_depends_on_every_byte(void **state)
{
    (void)state;
    uint8_t p[40] = {0};
    for (size_t n = 0; n < sizeof(p); n++) {
        uint64_t h = hash_bytes(p, n);
        assert_true(h == hash_bytes(p, n));
        assert_true(h != hash_bytes(p, n + 1));
        for (size_t i = 0; i < n; i++) {
            p[i] ^= 1;
            assert_true(h != hash_bytes(p, n));
            p[i] ^= 1;
        }
    }
}

int test_map(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_as_an_array),
        cmocka_unit_test(keys_are_bytes),
        cmocka_unit_test(hash_depends_on_every_byte),
    };
    return cmocka_run_group_tests_name("util map", tests, NULL, NULL);
}
