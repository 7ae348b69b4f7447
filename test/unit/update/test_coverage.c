/* Coverage against a bitmap. */
#include "../../../src/update/update_priv.h"
#include "tests.h"

static void counts_distinct_bytes(void **state UNUSED)
{
    struct coverage c = {0};

    assert_true(coverage_add(&c, 1, 0, 100));
    assert_false(coverage_add(&c, 1, 10, 100));
    assert_true(coverage_add(&c, 1, 50, 150));
    assert_true(coverage_add(&c, 1, 200, 300));
    assert_int_equal(coverage_bytes(&c), 250);
    assert_true(coverage_add(&c, 1, 150, 200)); /* joins both */
    assert_int_equal(c.files[0].n, 1);
    assert_true(coverage_add(&c, 5, 0, 1));
    assert_int_equal(coverage_bytes(&c), 301);
}

static void refuses_nonsense(void **state UNUSED)
{
    struct coverage c = {0};

    assert_false(coverage_add(&c, 0, 0, 10));
    assert_false(coverage_add(&c, 6, 0, 10));
    assert_false(coverage_add(&c, 1, 10, 10));
    assert_false(coverage_add(&c, 1, 11, 10));
    const char *bad[] = {"x",
                         "1",
                         "1-",
                         "5-5",
                         "9-3",
                         "1-2,,",
                         "1-2x",
                         ";;;;;",
                         "-1-2",
                         "1-2 ;",
                         "1-99999999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        coverage_read(&c, bad[i]);
        assert_int_equal(coverage_bytes(&c), 0);
    }
}

static void text_round_trip(void **state UNUSED)
{
    struct coverage c = {0}, back;
    struct arena a;

    arena_init(&a);
    assert_string_equal(coverage_text(&c, &a), "");
    coverage_add(&c, 1, 0, 512);
    coverage_add(&c, 1, 1024, 2048);
    coverage_add(&c, 3, 5, 6);
    assert_string_equal(coverage_text(&c, &a), "0-512,1024-2048;;5-6");
    coverage_read(&back, coverage_text(&c, &a));
    assert_memory_equal(&c, &back, sizeof(c));
    arena_done(&a);
}

static size_t bits(const bool *map, size_t n)
{
    size_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += map[i];
    return sum;
}

/* Few intervals: exact. */
static void equals_a_bitmap(void **state UNUSED)
{
    uint64_t seed = 42;

    for (int round = 0; round < 300; round++) {
        struct coverage c = {0};
        bool map[256] = {0};

        for (int i = 0; i < 40; i++) {
            uint64_t from = domain_random(&seed) % 16 * 16,
                     to = from + 1 + domain_random(&seed) % 40;
            size_t before = bits(map, 256);

            to = to > 256 ? 256 : to;
            memset(map + from, 1, to - from);
            bool fresh = coverage_add(&c, 1, from, to);
            assert_int_equal(fresh, bits(map, 256) > before);
            assert_int_equal(coverage_bytes(&c), bits(map, 256));
        }
    }
}

static void never_counts_what_was_not_served(void **state UNUSED)
{
    struct coverage c = {0};
    uint64_t served = 10000;

    coverage_add(&c, 1, 20000, 30000);
    for (uint64_t i = 0; i < 1000; i++) {
        coverage_add(&c, 1, i * 10, i * 10 + 1 + i % 5);
        served += 1 + i % 5;
        assert_true(c.files[0].n <= COVERAGE_INTERVALS_MAX);
        assert_true(coverage_bytes(&c) <= served);
        assert_true(coverage_bytes(&c) > 10000); /* what is forgotten is the shortest */
    }
    coverage_add(&c, 1, 0, 30000);
    assert_int_equal(c.files[0].n, 1);
    assert_int_equal(coverage_bytes(&c), 30000);
}

int test_coverage(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_distinct_bytes),
        cmocka_unit_test(refuses_nonsense),
        cmocka_unit_test(text_round_trip),
        cmocka_unit_test(equals_a_bitmap),
        cmocka_unit_test(never_counts_what_was_not_served),
    };

    return cmocka_run_group_tests_name("coverage", tests, NULL, NULL);
}
