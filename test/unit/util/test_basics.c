/* Errors, memory, the arena and the growing string. */
#include "tests.h"

#include "util.h"

#include <inttypes.h>
#include <stdio.h>

static void errors_have_words_and_statuses(void **state)
{
    (void)state;
    assert_string_equal(err_str(E_NOTFOUND), "not found");
    assert_string_equal(err_str(-ENOSPC), "no space left");
    assert_non_null(err_str(-ELOOP));
    assert_string_equal(err_str(-999999), "unknown error");
    assert_string_equal(err_str(7), "unknown error");
    for (int rc = E_NOTFOUND; rc >= E_UNSUPPORTED; rc--) {
        assert_string_not_equal(err_str(rc), "unknown error");
        assert_in_range(err_http(rc), 400, 599);
    }
    assert_int_equal(err_http(0), 200);
    assert_int_equal(err_http(E_NOTFOUND), 404);
    assert_int_equal(err_http(E_CONFLICT), 409);
    assert_int_equal(err_http(E_DB), 503);
    assert_int_equal(err_http(E_DB_FULL), 507);
    assert_int_equal(err_http(-ENOSPC), 507);
    assert_int_equal(err_http(-ELOOP), 500);
}

static void fail_carries_the_sentence(void **state)
{
    (void)state;
    struct fail f = {0};
    char word[400];
    assert_int_equal(fail(&f, E_CONFLICT, "version %s exists", "1.2"), E_CONFLICT);
    assert_int_equal(fail_prefix(&f, "firmware %d: ", 7), E_CONFLICT);
    assert_string_equal(f.text, "firmware 7: version 1.2 exists");
    assert_int_equal(fail(NULL, E_AUTH, "unheard"), E_AUTH);
    assert_int_equal(fail_prefix(NULL, "unheard"), 0);

    memset(word, 'x', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    fail(&f, E_PROTO, "%s", word);
    assert_int_equal(strlen(f.text), sizeof(f.text) - 1);
    fail_prefix(&f, "%s", "front ");
    assert_int_equal(strlen(f.text), sizeof(f.text) - 1);
    assert_memory_equal(f.text, "front xxx", 9);
    fail_prefix(&f, "%s", word);
    assert_int_equal(strlen(f.text), sizeof(f.text) - 1);
}

static void auto_frees_and_take_hands_over(void **state)
{
    (void)state;
    char *kept;
    {
        AUTO(free) char *s = xstrdup("hello");
        AUTO(free) char *gone = xstrndup("world", 3);
        assert_string_equal(gone, "wor");
        kept = TAKE(s);
        assert_null(s);
    }
    assert_string_equal(kept, "hello");
    free(kept);
    free(xrealloc(xcalloc(0, 0), 100));
}

static void arena_gives_zeroed_aligned_memory(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a);
    for (int round = 0; round < 3; round++) {
        for (size_t n = 0; n < 20000; n = n * 3 / 2 + 1) {
            unsigned char *p = arena_alloc(&a, n);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(p[i], 0);
            memset(p, 0xaa, n);
        }
        assert_true(a.total > 20000);
        arena_reset(&a);
        assert_int_equal(a.total, 0);
        assert_non_null(a.head);
    }
    arena_done(&a);
    assert_null(a.head);
    assert_non_null(arena_alloc(&a, 1)); /* may be used again */
    arena_done(&a);
}

static void arena_pieces_do_not_overlap(void **state)
{
    (void)state;
    struct arena a;
    char *p[500];
    arena_init(&a);
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        p[i] = arena_printf(&a, "%zu-%0*d", i, (int)(i * 7 % 3000), 0);
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        assert_int_equal(strtoul(p[i], NULL, 10), i);
        assert_true(strlen(p[i]) >= i * 7 % 3000);
    }
    assert_null(arena_strdup(&a, NULL));
    assert_string_equal(arena_strdup(&a, "abc"), "abc");
    assert_string_equal(arena_strndup(&a, "abc", 2), "ab");
    assert_string_equal(arena_strndup(&a, "abc", 9), "abc");
    arena_done(&a);
}

static void sbuf_grows_and_stays_terminated(void **state)
{
    (void)state;
    struct sbuf b = {0};
    sbuf_add(&b, NULL, 0);
    assert_string_equal(b.p, "");
    for (int i = 0; i < 1000; i++) {
        sbuf_fmt(&b, "%d,", i);
        assert_int_equal(strlen(b.p), b.n);
    }
    sbuf_fmt(&b, "%0*d", 5000, 1);
    assert_int_equal(strlen(b.p), b.n);
    assert_memory_equal(b.p, "0,1,2,", 6);
    char *s = sbuf_take(&b);
    assert_null(b.p);
    assert_int_equal(s[strlen(s) - 1], '1');
    free(s);
    s = sbuf_take(&b);
    assert_string_equal(s, "");
    free(s);
    sbuf_str(&b, "x");
    sbuf_done(&b);
    assert_int_equal(b.n, 0);
}

static void sbuf_writes_numbers(void **state)
{
    static const int64_t some[] = {0, 7, -1, 10, 1000000, INT32_MAX, INT64_MAX, INT64_MIN};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(some); i++) {
        struct sbuf b = {0};
        char text[24];
        sbuf_int(&b, some[i]);
        (void)snprintf(text, sizeof(text), "%" PRId64, some[i]);
        assert_string_equal(b.p, text);
        sbuf_done(&b);
    }
}

int test_basics(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_words_and_statuses),
        cmocka_unit_test(fail_carries_the_sentence),
        cmocka_unit_test(auto_frees_and_take_hands_over),
        cmocka_unit_test(arena_gives_zeroed_aligned_memory),
        cmocka_unit_test(arena_pieces_do_not_overlap),
        cmocka_unit_test(sbuf_grows_and_stays_terminated),
        cmocka_unit_test(sbuf_writes_numbers),
    };
    return cmocka_run_group_tests_name("util basics", tests, NULL, NULL);
}
