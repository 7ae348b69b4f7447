/* Version comparison: the written examples, the law of a total preorder on generated versions,
 * and the precedence of semver.org. */
#include "tests.h"
#include "util.h"

#include <stdio.h>

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

/* Lists in rising order; "=" joins what is equal. Every pair is compared in both directions. */
static void check_rising(enum version_scheme scheme, const char *const *v, size_t n)
{
    int rank[64] = {0};
    const char *name[64];
    size_t count = 0;
    assert_true(n < 64);
    for (size_t i = 0; i < n; i++) {
        bool same = v[i][0] == '=';
        name[count] = v[i] + same;
        rank[count] = count == 0 ? 0 : rank[count - 1] + !same;
        count++;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            int want = sign(rank[i] - rank[j]);
            int have = sign(version_compare(scheme, name[i], name[j]));
            if (have != want)
                fail_msg("'%s' against '%s': %d, not %d", name[i], name[j], have, want);
        }
}

#define RISING(scheme, ...)                                                                        \
    do {                                                                                           \
        static const char *const list_[] = {__VA_ARGS__};                                          \
        check_rising(scheme, list_, ARRAY_LEN(list_));                                             \
    } while (0)

static void auto_examples(void **state)
{
    (void)state;
    RISING(VERSION_AUTO, "1.9", "1.10");
    RISING(VERSION_AUTO, "v1.2", "=1.2.0", "=V1.2", "= 1.2 ", "=1-2_0 0", "=01.002", "=1.2+x.9");
    RISING(VERSION_AUTO, "1_0_0", "2_0_0");
    RISING(VERSION_AUTO, "1.0.0-dev", "1.0.0-SNAPSHOT", "1.0.0-alpha", "1.0.0-alpha.1",
           "1.0.0-beta.2", "1.0.0-pre", "=1.0.0-preview", "1.0.0-rc.1", "=1.0-rc1", "=1.0.0RC01",
           "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "=1", "1.0.0a", "=1.0.0-A", "1.0.0b", "1.0.1");
    RISING(VERSION_AUTO, "20240801", "20240808");
    RISING(VERSION_AUTO, "1.0.0+a", "=1.0.0+b");
    RISING(VERSION_AUTO, "V1.0.0_20240101", "V1.0.0_20240808");
    RISING(VERSION_AUTO, "1.0.99999999999999999999", "1.0.100000000000000000000");
    RISING(VERSION_AUTO, "1.0.0-rc", "1.0.0-rc-a", "1.0.0-rc.1", "1.0.0-rc.1a", "1.0", "1.0-a",
           "1.0-a-a", "1.0a1.b", "1.0-ab", "1.0.b", "1.0.1-dev", "1.0.1");
    RISING(VERSION_AUTO, "dev", "rc", "0", "=v", "=0.0", "abc", "b", "1");
}

static void semver_precedence(void **state)
{
    (void)state;
    RISING(VERSION_SEMVER, "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta",
           "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "=1.0.0+build.5", "=v1.0.0",
           "2.0.0", "2.1.0", "2.1.1", "10.0.0", "99999999999999999999.0.0",
           "100000000000000000000.0.0");
    RISING(VERSION_SEMVER, "1.0.0-1", "1.0.0-1.0", "1.0.0-2", "1.0.0-99999999999999999999",
           "1.0.0-100000000000000000000", "1.0.0--", "1.0.0-A", "1.0.0-a", "1.0.0-a-b", "1.0.0-a0",
           "1.0.0");
    /* what is no semantic version comes first, ordered among itself */
    RISING(VERSION_SEMVER, "1.9", "1.10", "01.99.0", "0.0.0-0", "0.0.0");
}

static void opaque_is_text(void **state)
{
    (void)state;
    RISING(VERSION_OPAQUE, "1.10", "1.9", "a");
    assert_int_equal(version_compare(VERSION_OPAQUE, "a", "a"), 0);
}

static void check_says_what_is_wrong(void **state)
{
    (void)state;
    struct fail f = {0};
    char name[VERSION_MAX + 2];
    memset(name, '1', sizeof(name));
    name[VERSION_MAX] = '\0';
    assert_int_equal(version_check(VERSION_AUTO, name, &f), 0);
    name[VERSION_MAX] = '1';
    name[VERSION_MAX + 1] = '\0';
    assert_int_equal(version_check(VERSION_AUTO, name, &f), E_PROTO);
    assert_non_null(strstr(f.text, "64"));
    static const char *const bad[] = {"", "...", " ", "1\n", "1\x7f", "\xffz", "+-_"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(version_check(VERSION_AUTO, bad[i], NULL), E_PROTO);
    static const char *const fine[] = {"V1.0.0_2024", "a", "1.0 beta", "1.0.0正式版", "7"};
    for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
        assert_int_equal(version_check(VERSION_AUTO, fine[i], &f), 0);
        assert_int_equal(version_check(VERSION_OPAQUE, fine[i], &f), 0);
        assert_int_equal(version_check(VERSION_SEMVER, fine[i], &f), E_PROTO);
    }
    static const char *const semver[] = {
        "0.0.0",  "1.2.3-0a.b-", "1.0.0-x+y", "1.0.0+001.-", "99999999999999999999999.0.0",
        "1.0.0--"};
    for (size_t i = 0; i < ARRAY_LEN(semver); i++)
        assert_int_equal(version_check(VERSION_SEMVER, semver[i], &f), 0);
    static const char *const no_semver[] = {
        "1.2",    "1.2.3.4",   "01.2.3",    "1.2.3-", "1.2.3+", "1.2.3-01", "1.2.3-a..b",
        "v1.2.3", "1.2.3+a+b", "1.2.3-a_b", " 1.2.3", "1..3",   "1.2.3-a."};
    for (size_t i = 0; i < ARRAY_LEN(no_semver); i++)
        assert_int_equal(version_check(VERSION_SEMVER, no_semver[i], &f), E_PROTO);
}

/* A small alphabet makes near misses frequent: equal prefixes, zeros, words next to numbers. */
static void generate(char *ret, size_t cap, uint64_t *seed)
{
    static const char *const pieces[] = {
        "0",
        "1",
        "2",
        "10",
        "00",
        "01",
        "9",
        "99999999999999999999",
        "100000000000000000000",
        ".",
        ".",
        ".",
        "-",
        "_",
        " ",
        "v",
        "V",
        "dev",
        "alpha",
        "Beta",
        "pre",
        "preview",
        "rc",
        "RC",
        "a",
        "b",
        "A",
        "ab",
        "+",
        "snapshot",
        "~",
        "/",
        "正",
    };
    unsigned count = 1 + (unsigned)(*seed >> 33) % 8;
    ret[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        const char *piece = pieces[(*seed >> 33) % ARRAY_LEN(pieces)];
        if (strlen(ret) + strlen(piece) + 1 <= cap)
            strcat(ret, piece);
    }
}

static void is_a_total_preorder(void **state)
{
    (void)state;
    enum { N = 4000, TRIPLES = 400000 };
    static char v[N][VERSION_MAX + 1];
    uint64_t seed = rand_u64();
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < N; i++)
        generate(v[i], sizeof(v[i]), &seed);
    for (int scheme = VERSION_AUTO; scheme <= VERSION_OPAQUE; scheme++)
        for (int i = 0; i < TRIPLES; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const char *a = v[(seed >> 20) % N], *b = v[(seed >> 34) % N], *c = v[(seed >> 48) % N];
            enum version_scheme s = (enum version_scheme)scheme;
            int ab = sign(version_compare(s, a, b)), bc = sign(version_compare(s, b, c));
            int ac = sign(version_compare(s, a, c));
            bool fine = version_compare(s, a, a) == 0 && sign(version_compare(s, b, a)) == -ab &&
                        !(ab <= 0 && bc <= 0 && ac > 0) && !(ab >= 0 && bc >= 0 && ac < 0) &&
                        !((ab == 0) && ac != bc) && !(bc == 0 && ac != ab);
            if (!fine)
                fail_msg("scheme %d: '%s' '%s' '%s': %d %d %d", scheme, a, b, c, ab, bc, ac);
        }
}

int test_version(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_examples),       cmocka_unit_test(semver_precedence),
        cmocka_unit_test(opaque_is_text),      cmocka_unit_test(check_says_what_is_wrong),
        cmocka_unit_test(is_a_total_preorder),
    };
    return cmocka_run_group_tests_name("util version", tests, NULL, NULL);
}
