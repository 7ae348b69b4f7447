/* Foreign topics of types: how one is found. */
#include "domain_fixture.h"

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
/* clang-format on */

int run_topics_tests(void);

#define UP(topic) "{\"topic\":\"" topic "\",\"as\":\"attributes\"}"

static void one_is_found(void **state UNUSED)
{
    struct domain d;
    struct str sn;

    domain_init(&d);
    assert_null(catalog_topic(d.catalog, "/a/b/up", &sn));
    d.type.topics_text = "[" UP("/a/{sn}/up") "," UP("b/{sn}") ",{\"topic\":\"/a/{sn}/down\","
                                                               "\"as\":\"command_send\"}]";
    domain_type_changed(&d);
    const struct type_topic *t = catalog_topic(d.catalog, "/a/SN-1/up", &sn);
    assert_non_null(t);
    assert_true(str_eq(sn, "SN-1") && t->type_id == d.type.id);
    assert_non_null(catalog_topic(d.catalog, "b/x", &sn));
    static const char *const none[] = {
        "/a/SN-1/down", "/a//up",    "/a/up", "/a/SN-1/up/", "b/",  "b",   "/b/x",
        "b/x y",        "a/SN-1/up", "",      "/a/+/up",     "b/#", "b/温"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_null(catalog_topic(d.catalog, none[i], &sn));
    char *longest = arena_printf(&d.a, "b/%0*d", TOPIC_SN_MAX, 7);
    assert_non_null(catalog_topic(d.catalog, longest, &sn));
    assert_null(catalog_topic(d.catalog, arena_printf(&d.a, "%s1", longest), &sn));
    const struct type_topics *all = &catalog_type(d.catalog, d.type.id)->topics;
    assert_true(type_topics_may(all, "S", true, "/a/S/up"));
    assert_true(type_topics_may(all, "S", false, "/a/S/down"));
    assert_false(type_topics_may(all, "S", false, "/a/S/up"));
    assert_false(type_topics_may(all, "S", true, "/a/T/up"));
    assert_false(type_topics_may(all, "S", false, "/a/+/down"));
    domain_done(&d);
}

static void serial_numbers(void **state UNUSED)
{
    static const char *const bad[] = {"", "a b", "a/b", "+", "a#", "%u", "a\n", "温"};

    assert_true(topic_sn_ok("A-1:2_3.{}", 10));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(topic_sn_ok(bad[i], strlen(bad[i])));
}

int run_topics_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_is_found),
        cmocka_unit_test(serial_numbers),
    };
    return cmocka_run_group_tests_name("catalog: topics", tests, NULL, NULL);
}
