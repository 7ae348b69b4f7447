/* Queries over attributes: what they match, and what is no query. */
#include "tests.h"

static const json_t *attribute(void *arg, const char *name)
{
    return json_object_get(arg, name);
}

static void they_match(void **state UNUSED)
{
    static const struct {
        const char *query;
        bool match;
    } cases[] = {
        {"battery=gt=30", true},
        {"battery=gt=80", false},
        {"battery=ge=80", true},
        {"battery=lt=80.5", true},
        {"battery=lt=80", false},
        {"battery=le=80", true},
        {"battery=le=79", false},
        {"hw==B", true},
        {"hw!=B", false},
        {"hw==b", false},
        {"battery=gt=30;hw==B,site==lab", true},
        {"battery=gt=90;hw==B,site==lab", false},
        {"battery=gt=90;hw==B,site==hall", true},
        {"battery=gt=90;(hw==B,site==hall)", false},
        {"site==ha*", true},
        {"site==*ll", true},
        {"site==*al*", true},
        {"site==*x*", false},
        {"hw=in=(A,B)", true},
        {"hw=out=(A,B)", false},
        {"hw=out=(A,C)", true},
        {"fw=lt=1.10", true}, /* versions, not decimals: 1.9 is older */
        {"battery==80.0", true},
        {"on==true", true},
        {"name=='a;b'", true},
        {"none==1", false},
        {"none!=1", false}, /* what was not reported is no target */
        {"none=out=(1)", false},
        {"list==1", false},
    };
    AUTO(json_free)
    json_t *all = json_pack("{s:i,s:s,s:s,s:s,s:b,s:s,s:[i]}", "battery", 80, "hw", "B", "site",
                            "hall", "fw", "v1.9", "on", 1, "name", "a;b", "list", 1);
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct campaign_query *q;
        struct fail f = {.rc = 0};

        if (campaign_query_parse(cases[i].query, &a, &q, &f) < 0)
            fail_msg("%s: %s", cases[i].query, f.text);
        if (campaign_query_matches(q, attribute, all) != cases[i].match)
            fail_msg("%s: not %d", cases[i].query, cases[i].match);
    }
    arena_done(&a);
}

static int parses(const char *name, int comparisons)
{
    struct campaign_query *q;
    struct fail f = {.rc = 0};
    struct sbuf b = {.p = NULL};
    struct arena a;

    arena_init(&a);
    for (int i = 0; i < comparisons; i++)
        sbuf_fmt(&b, "%s%s==1", i ? ";" : "", name);
    int rc = campaign_query_parse(b.p, &a, &q, &f);
    arena_done(&a);
    sbuf_done(&b);
    return rc;
}

static void names_and_comparisons_are_bounded(void **state UNUSED)
{
    char name[66] = {0};

    memset(name, 'n', 64);
    assert_int_equal(parses(name, 1), 0);
    name[64] = 'n';
    assert_int_equal(parses(name, 1), E_PROTO);
    assert_int_equal(parses("a", 64), 0);
    assert_int_equal(parses("a", 65), E_PROTO);
}

static void what_is_wrong_is_told_with_its_place(void **state UNUSED)
{
    static const struct {
        const char *query, *text;
    } cases[] = {
        {"battery>30", "at character 8: one of"},
        {"battery=gt=", "at character 12: a value"},
        {"==1", "at character 1: the name"},
        {"a==1;", "at character 6: the name"},
        {"a==1 b==2)", "at character 10: ; (and)"},
        {"(a==1", "at character 6: a closing"},
        {"a=in=1", "at character 6: =in="},
        {"a=in=(1", "at character 8: the list"},
        {"a=='x", "at character 6: the closing quote"},
        {"((((((((((((((((((a==1))))))))))))))))))", "at character 17: too many"},
    };
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct campaign_query *q;
        struct fail f = {.rc = 0};

        assert_int_equal(campaign_query_parse(cases[i].query, &a, &q, &f), E_PROTO);
        if (strncmp(f.text, cases[i].text, strlen(cases[i].text)) != 0)
            fail_msg("%s: %s", cases[i].query, f.text);
    }
    arena_done(&a);
}

int test_query(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_match),
        cmocka_unit_test(names_and_comparisons_are_bounded),
        cmocka_unit_test(what_is_wrong_is_told_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
