/* Foreign topics of types: whose they are. */
#include "tests.h"

#define UP(topic) "{\"topic\":\"" topic "\",\"as\":\"attributes\"}"

static const char *clash(struct domain *d, int64_t project_id, int64_t type_id, const char *text)
{
    struct json_errors errs = {.count = 0};
    struct type_topics t;

    MUST(type_topics_read(text, type_id, &d->a, &t));
    int rc = device_topics_clash(d->w, project_id, type_id, &t, &errs);
    assert_true((rc == E_PROTO) == (errs.count > 0));
    return errs.count ? arena_strdup(&d->a, errs.list[0].detail) : NULL;
}

static void a_topic_is_one_types(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    d.type.topics_text = "[" UP("/a/{sn}/up") "," UP("/a/x/{sn}/y") "]";
    domain_type_changed(&d);
    assert_null(clash(&d, d.project, d.type.id, d.type.topics_text)); /* its own */
    assert_null(clash(&d, d.project, 99, "[" UP("/b/{sn}/up") "]"));
    assert_null(clash(&d, d.project, 99, "[" UP("/a/{sn}/up/more") "]"));
    assert_non_null(strstr(clash(&d, d.project, 99, "[" UP("/a/{sn}/up") "]"), "device type cam"));
    assert_non_null(strstr(clash(&d, 77, 99, "[" UP("/a/{sn}/up") "]"), "another project's"));
    assert_non_null(clash(&d, d.project, 99, "[" UP("/a/b/{sn}") "]")); /* sn b, sn up */
    assert_non_null(clash(&d, d.project, 99, "[" UP("/{sn}/z/up") "]"));
    assert_non_null(clash(&d, d.project, 99, "[" UP("/a/{sn}/q/y") "]"));
    static const char *const taken[] = {
        "[" UP("attributes/{sn}") "]",   "[" UP("data/{sn}") "]",
        "[" UP("data/x/{sn}/y") "]",     "[" UP("sub_command_send/{sn}") "]",
        "[" UP("otad/to/{sn}/x") "]",    "[" UP("open/{sn}") "]",
        "[" UP("command/send/{sn}") "]", "[" UP("attributes/get/response/{sn}") "]"};
    for (size_t i = 0; i < ARRAY_LEN(taken); i++)
        assert_non_null(strstr(clash(&d, d.project, 99, taken[i]), "protocol"));
    domain_done(&d);
}

static void all_together_are_bounded(void **state UNUSED)
{
    struct domain d;
    int n = CATALOG_TOPICS_MAX / TYPE_TOPICS_MAX;

    domain_init(&d);
    for (int i = 0; i < n; i++) {
        struct device_type t = device_type_defaults;
        struct sbuf b = {0};

        for (int k = 0; k < TYPE_TOPICS_MAX; k++)
            sbuf_fmt(&b, "%s{\"topic\":\"/%d/{sn}/%d\",\"as\":\"attributes\"}", k ? "," : "[", i,
                     k);
        sbuf_str(&b, "]");
        t.project_id = d.project;
        t.key = arena_printf(&d.a, "t%d", i);
        t.topics_text = b.p;
        t.created_at = T0;
        MUST(device_type_insert(d.w, &t, NULL));
        sbuf_done(&b);
    }
    domain_reload(&d);
    const struct type_topic *const *all;
    assert_int_equal(catalog_topics(d.catalog, &all), n * TYPE_TOPICS_MAX);
    struct str sn;
    for (size_t i = 0; i < catalog_topics(d.catalog, &all); i++) {
        const char *topic = topic_with_sn(all[i]->pattern, str_of("S:7"), &d.a);
        assert_ptr_equal(catalog_topic(d.catalog, topic, &sn), all[i]);
        assert_true(str_eq(sn, "S:7"));
    }
    assert_null(clash(&d, d.project, 0, "[" UP("/x/{sn}/1") "," UP("/x/{sn}/2") "]"));
    struct sbuf b = {0};
    for (int k = 0; k < TYPE_TOPICS_MAX; k++)
        sbuf_fmt(&b, "%s{\"topic\":\"/x/{sn}/%d\",\"as\":\"attributes\"}", k ? "," : "[", k);
    sbuf_str(&b, "]");
    assert_non_null(strstr(clash(&d, d.project, 0, b.p), "1000"));
    sbuf_done(&b);
    domain_done(&d);
}

int test_topics(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topic_is_one_types),
        cmocka_unit_test(all_together_are_bounded),
    };

    return cmocka_run_group_tests_name("topics", tests, NULL, NULL);
}
