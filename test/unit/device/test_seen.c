/* Last seen: coalesced, written oldest first, kept when the commit fails. */
#include "tests.h"

static int64_t seen_at(struct domain *d, const char *key)
{
    struct device dev;

    MUST(device_by_key(d->w, 0, key, &d->a, &dev));
    return dev.seen_at;
}

static void coalesces_and_slices(void **state UNUSED)
{
    struct domain d;
    struct device_seen *s = device_seen_new();

    domain_init(&d);
    int64_t a = domain_device(&d, "a"), b = domain_device(&d, "b"), c = domain_device(&d, "c");
    device_seen_note(s, a, T0 + 1);
    device_seen_note(s, b, T0 + 2);
    device_seen_note(s, a, T0 + 3);
    device_seen_note(s, a, T0 + 2); /* the latest counts */
    device_seen_note(s, c, T0 + 4);
    assert_int_equal(device_seen_pending(s), 3);
    assert_int_equal(device_seen_flush(s, d.w, 2), 2);
    device_seen_note(s, a, T0 + 9); /* while its note is being written */
    device_seen_flushed(s, true);
    assert_int_equal(seen_at(&d, "a"), T0 + 3);
    assert_int_equal(seen_at(&d, "b"), T0 + 2);
    assert_int_equal(seen_at(&d, "c"), 0);
    device_seen_note(s, a, T0 + 8);
    assert_int_equal(device_seen_pending(s), 2); /* a's second note is found again */
    assert_true(device_seen_flush(s, d.w, 10) > 0);
    device_seen_flushed(s, true);
    assert_int_equal(seen_at(&d, "a"), T0 + 9);
    assert_int_equal(seen_at(&d, "c"), T0 + 4);
    assert_int_equal(device_seen_pending(s), 0);
    device_seen_free(s);
    domain_done(&d);
}

static void a_failed_commit_keeps_them(void **state UNUSED)
{
    struct domain d;
    struct device_seen *s = device_seen_new();

    domain_init(&d);
    int64_t a = domain_device(&d, "a");
    device_seen_note(s, a, T0 + 1);
    MUST(db_save(d.w));
    assert_true(device_seen_flush(s, d.w, 10) > 0);
    db_undo(d.w);
    device_seen_note(s, a, T0 + 2);
    device_seen_flushed(s, false);
    assert_int_equal(seen_at(&d, "a"), 0);
    assert_true(device_seen_flush(s, d.w, 10) > 0);
    device_seen_flushed(s, true);
    assert_int_equal(seen_at(&d, "a"), T0 + 2);
    assert_int_equal(device_seen_pending(s), 0);
    device_seen_free(s);
    domain_done(&d);
}

static void a_deleted_device_is_no_error(void **state UNUSED)
{
    struct domain d;
    struct device_seen *s = device_seen_new();

    domain_init(&d);
    int64_t a = domain_device(&d, "a"), b = domain_device(&d, "b");
    device_seen_note(s, a, T0 + 1);
    device_seen_note(s, b, T0 + 1);
    MUST(device_delete(d.w, a, NULL));
    assert_true(device_seen_flush(s, d.w, 10) > 0);
    device_seen_flushed(s, true);
    assert_int_equal(seen_at(&d, "b"), T0 + 1);
    device_seen_free(s);
    domain_done(&d);
}

/* Against a plain table, with growth, slices and lost commits; the devices don't exist, so that
 * every write is the harmless conflict and only the bookkeeping is tried. */
static void bookkeeping_equals_a_table(void **state UNUSED)
{
    enum { N = 3000 };
    struct domain d;
    struct device_seen *s = device_seen_new();
    bool waiting[N] = {0};
    uint64_t seed = 99;
    size_t noted = 0;

    domain_init(&d);
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 200; i++) {
            uint64_t id = domain_random(&seed) % N;
            device_seen_note(s, 100000 + (int64_t)id * 4096, T0);
            noted += !waiting[id];
            waiting[id] = true;
        }
        assert_int_equal(device_seen_pending(s), noted);
        assert_true(device_seen_flush(s, d.w, 50) > 0);
        device_seen_flushed(s, false);
        assert_int_equal(device_seen_pending(s), noted);
        if (round % 5 == 4) {
            assert_true(device_seen_flush(s, d.w, N) > 0);
            device_seen_flushed(s, true);
            assert_int_equal(device_seen_pending(s), 0);
            memset(waiting, 0, sizeof(waiting));
            noted = 0;
        }
    }
    device_seen_free(s);
    domain_done(&d);
}

int test_seen(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coalesces_and_slices),
        cmocka_unit_test(a_failed_commit_keeps_them),
        cmocka_unit_test(a_deleted_device_is_no_error),
        cmocka_unit_test(bookkeeping_equals_a_table),
    };

    return cmocka_run_group_tests_name("seen", tests, NULL, NULL);
}
