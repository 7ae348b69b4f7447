/* Bounded parsing with its faults, writing, and the checks and schemas of field tables. */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum json_fault parse_fault(const char *text, size_t max_bytes, unsigned depth)
{
    enum json_fault fault = JSON_FAULT_SYNTAX;
    struct fail where = {0};
    AUTO(json_free)
    json_t *j = json_parse(text, strlen(text), max_bytes, depth, &fault, &where);
    assert_true((j != NULL) == (fault == JSON_OK));
    assert_true((where.text[0] != '\0') == (j == NULL));
    return fault;
}

static void faults_are_told_apart(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}",
        "[]",
        " {\"a\":[1,-2.5e3,true,null,\"OTA\\u5347\xe7\xba\xa7\"]} ",
        "{\"a\":{\"b\":1},\"b\":{\"a\":1}}",
        "{\"id\":9223372036854775807}",
        "[\"}]}]\\\"]]]\\\\\"]",
    };
    static const char *const syntax[] = {
        "",
        " ",
        "1",
        "\"text\"",
        "null",
        "{",
        "{\"a\":1}x",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\":9223372036854775808}",
        "{\"a\":1e999}",
        "{\"a\":NaN}",
        "[\"\\ud800\"]",
        "[\"\\u0000\"]",
        "[\"\xff\"]",
        "[\"\xc0\xaf\"]",
        "\xef\xbb\xbf{}",
        "]]]]",
        "[\"",
        "[\"\\",
        "[01]",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(parse_fault(good[i], 100, 3), JSON_OK);
    for (size_t i = 0; i < ARRAY_LEN(syntax); i++)
        assert_int_equal(parse_fault(syntax[i], 100, 3), JSON_FAULT_SYNTAX);
    assert_int_equal(parse_fault("{\"a\":1,\"a\":1}", 100, 3), JSON_FAULT_DUPLICATE_KEY);
    assert_int_equal(parse_fault("{\"x\":{\"a\":1,\"\\u0061\":1}}", 100, 3),
                     JSON_FAULT_DUPLICATE_KEY);
    assert_int_equal(parse_fault("[[[]]]", 6, 3), JSON_OK);
    assert_int_equal(parse_fault("[[[]]]", 5, 3), JSON_FAULT_TOO_LONG);
    assert_int_equal(parse_fault("[[[]]]", 6, 2), JSON_FAULT_TOO_DEEP);
    assert_int_equal(parse_fault("{\"a\":[{}]}", 100, 2), JSON_FAULT_TOO_DEEP);
    assert_int_equal(parse_fault("[[],[],[[]]]", 100, 3), JSON_OK);
}

static void big_integers_become_text(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: refused */
    } cases[] = {
        {"{\"a\":1}", "{\"a\":1}"},
        {"{\"a\":9223372036854775807,\"b\":9223372036854775808}",
         "{\"a\":9223372036854775807,\"b\":\"9223372036854775808\"}"},
        {"[-9223372036854775808,-9223372036854775809]",
         "[-9223372036854775808,\"-9223372036854775809\"]"},
        {"{\"v\":12,\"iccid\":89860318740012345678}",
         "{\"v\":12,\"iccid\":\"89860318740012345678\"}"},
        {"{\"99999999999999999999\":\"\\\"99999999999999999999\",\"a\":99999999999999999999 }",
         "{\"99999999999999999999\":\"\\\"99999999999999999999\",\"a\":\"99999999999999999999\"}"},
        {"[99999999999999999999,1.5]", "[\"99999999999999999999\",1.5]"},
        /* what is no integer stays what it is */
        {"[99999999999999999999,099999999999999999999]", NULL},
        {"[99999999999999999999x]", NULL},
        {"[99999999999999999999\"x\"]", NULL},
        {"[99999999999999999999,1e999]", NULL},
        {"[1e999]", NULL},
        {"[--99999999999999999999]", NULL},
        {"[99999999999999999999", NULL},
        {"{\"a\":99999999999999999999,\"a\":1}", NULL},
        {"{99999999999999999999 :1}", NULL},
        {"99999999999999999999", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum json_fault fault;
        struct fail where = {0};
        AUTO(json_free)
        json_t *j = json_parse_big(cases[i].text, strlen(cases[i].text), 100, 3, &fault, &where);
        AUTO(free) char *got = j ? json_text(j) : NULL;
        if (!cases[i].want) {
            assert_null(j);
            assert_true(where.text[0] != '\0' && fault != JSON_OK);
        } else {
            assert_non_null(got);
            assert_string_equal(got, cases[i].want);
        }
    }
    enum json_fault fault;
    assert_null(json_parse_big("[99999999999999999999]", 22, 21, 3, &fault, NULL));
    assert_int_equal(fault, JSON_FAULT_TOO_LONG);
    AUTO(json_free)
    json_t *fits = json_parse_big("[99999999999999999999]", 22, 22, 3, &fault, NULL);
    assert_non_null(fits); /* what was sent is measured */
}

static void a_bomb_of_brackets_is_harmless(void **state)
{
    (void)state;
    enum { N = 4 << 20 };
    char *text = xmalloc(N);
    enum json_fault fault;
    memset(text, '[', N);
    assert_null(json_parse(text, N, N, 32, &fault, NULL));
    assert_int_equal(fault, JSON_FAULT_TOO_DEEP);
    assert_null(json_parse(NULL, 0, N, 32, &fault, NULL));
    assert_int_equal(fault, JSON_FAULT_SYNTAX);
    free(text);
}

static void the_place_of_a_fault_is_named(void **state)
{
    (void)state;
    struct fail where;
    enum json_fault fault;
    assert_null(json_parse("{\n \"a\": x}", 10, 100, 3, &fault, &where));
    assert_memory_equal(where.text, "line 2, column ", 15);
}

static json_t *object(const char *text)
{
    enum json_fault fault;
    json_t *j = json_parse(text, strlen(text), 1 << 20, 32, &fault, NULL);
    assert_non_null(j);
    return j;
}

static void text_round_trip(void **state)
{
    (void)state;
    static const char text[] = "{\"z\":[1,2.5,true,null],\"a\":\"x\\\"\\\\\\n\xe5\x8d\x87\"}";
    AUTO(json_free) json_t *j = object(text);
    AUTO(free) char *back = json_text(j);
    assert_string_equal(back, text);
    struct sbuf b = {0};
    sbuf_str(&b, ">");
    json_add_text(&b, j);
    assert_string_equal(b.p + 1, text);
    sbuf_done(&b);
}

static void added_strings_parse_back(void **state)
{
    (void)state;
    char all[128];
    for (int i = 0; i < 127; i++)
        all[i] = (char)(i + 1);
    all[127] = '\0';
    const char *const texts[] = {"", "plain", all, "OTA升级", "\"\\/", "\x01\x1f\x7f", "\n\r\t"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct sbuf b = {0};
        sbuf_str(&b, "[");
        json_add_string(&b, texts[i]);
        sbuf_str(&b, "]");
        AUTO(json_free) json_t *j = object(b.p);
        assert_string_equal(json_string_value(json_array_get(j, 0)), texts[i]);
        sbuf_done(&b);
    }
    struct sbuf b = {0};
    json_add_string(&b, "a\xff\xc3");
    assert_string_equal(b.p, "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
    sbuf_done(&b);
}

static void getters_have_defaults(void **state)
{
    (void)state;
    AUTO(json_free) json_t *j = object("{\"s\":\"x\",\"i\":7,\"t\":true,\"n\":null}");
    assert_string_equal(json_get_str(j, "s", "d"), "x");
    assert_string_equal(json_get_str(j, "n", "d"), "d");
    assert_string_equal(json_get_str(j, "i", "d"), "d");
    assert_null(json_get_str(j, "none", NULL));
    assert_int_equal(json_get_int(j, "i", 1), 7);
    assert_int_equal(json_get_int(j, "s", 1), 1);
    assert_true(json_get_bool(j, "t", false));
    assert_true(json_get_bool(j, "n", true));
    assert_int_equal(json_get_int(NULL, "i", 3), 3);
}

static const struct json_field fields[] = {
    {"key", JK_KEY, JF_REQUIRED | JF_CREATE_ONLY, 0, 0, NULL, NULL, "The key."},
    {"name", JK_STRING, 0, 1, 8, NULL, "", "A name."},
    {"notes", JK_TEXT, JF_NULLABLE, 0, 0, NULL, NULL, "Notes."},
    {"count", JK_INT, 0, 1, 10, NULL, "3", "A count."},
    {"any_int", JK_INT, 0, 0, 0, NULL, NULL, "Any."},
    {"enabled", JK_BOOL, 0, 0, 0, NULL, "true", "On."},
    {"scheme", JK_ENUM, 0, 0, 0, "auto|semver|opaque", "auto", "How."},
    {"at", JK_TIME, JF_NULLABLE, 0, 0, NULL, NULL, "When."},
    {"tags", JK_STRINGS, 0, 0, 2, NULL, NULL, "Tags."},
    {"password", JK_STRING, JF_WRITE_ONLY, 0, 0, NULL, NULL, "Secret."},
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number."},
    {"attributes", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL, "Attributes."},
};

static struct json_errors check(const char *text, bool patch)
{
    AUTO(json_free) json_t *j = object(text);
    struct json_errors errs = {0};
    int rc = json_check(j, fields, ARRAY_LEN(fields), patch, &errs);
    assert_int_equal(rc, errs.count ? E_PROTO : 0);
    return errs;
}

static void good_objects_pass(void **state)
{
    (void)state;
    assert_int_equal(check("{\"key\":\"a\"}", false).count, 0);
    assert_int_equal(check("{}", true).count, 0);
    assert_int_equal(check("{\"key\":\"a-B.1\",\"name\":\"12345678\",\"notes\":\"a\\n\\tb\","
                           "\"count\":10,\"any_int\":-9223372036854775808,\"enabled\":false,"
                           "\"scheme\":\"opaque\",\"at\":null,\"tags\":[\"x\",\"y\"]}",
                           false)
                         .count,
                     0);
    assert_int_equal(check("{\"notes\":null,\"at\":\"2024-08-08T09:37:20+08:00\"}", true).count, 0);
}

static void each_fault_has_its_code(void **state)
{
    (void)state;
    static const struct {
        const char *member, *pointer, *code;
    } cases[] = {
        {"\"nmae\":\"x\"", "/nmae", "unknown_field"},
        {"\"a/b~c\":1", "/a~1b~0c", "unknown_field"},
        {"\"name\":1", "/name", "wrong_type"},
        {"\"name\":null", "/name", "wrong_type"},
        {"\"name\":\"\"", "/name", "too_short"},
        {"\"name\":\"123456789\"", "/name", "too_long"},
        {"\"name\":\"a\\nb\"", "/name", "invalid"},
        {"\"notes\":\"a\\u0007\"", "/notes", "invalid"},
        {"\"count\":0", "/count", "out_of_range"},
        {"\"count\":11", "/count", "out_of_range"},
        {"\"count\":1.0", "/count", "wrong_type"},
        {"\"count\":\"1\"", "/count", "wrong_type"},
        {"\"enabled\":1", "/enabled", "wrong_type"},
        {"\"scheme\":\"aut\"", "/scheme", "not_allowed"},
        {"\"scheme\":\"\"", "/scheme", "not_allowed"},
        {"\"scheme\":\"auto|semver\"", "/scheme", "not_allowed"},
        {"\"at\":\"tomorrow\"", "/at", "invalid"},
        {"\"at\":1", "/at", "wrong_type"},
        {"\"tags\":\"x\"", "/tags", "wrong_type"},
        {"\"tags\":[\"x\",2]", "/tags/1", "wrong_type"},
        {"\"tags\":[\"\"]", "/tags/0", "too_short"},
        {"\"tags\":[\"a\",\"b\",\"c\"]", "/tags", "too_long"},
        {"\"id\":1", "/id", "read_only"},
        {"\"attributes\":{}", "/attributes", "read_only"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[200];
        assert_true(str_fmt(text, sizeof(text), "{\"key\":\"a\",%s}", cases[i].member));
        struct json_errors errs = check(text, false);
        assert_int_equal(errs.count, 1);
        assert_string_equal(errs.list[0].pointer, cases[i].pointer);
        assert_string_equal(errs.list[0].code, cases[i].code);
        assert_true(errs.list[0].detail[0] != '\0');
    }
    assert_string_equal(check("{}", false).list[0].code, "required");
    assert_string_equal(check("{}", false).list[0].pointer, "/key");
    assert_string_equal(check("{\"key\":\"a\"}", true).list[0].code, "immutable");
    assert_string_equal(check("{\"key\":\"a/b\"}", false).list[0].code, "invalid");
    assert_string_equal(check("{\"key\":\"\"}", false).list[0].code, "too_short");
    assert_string_equal(check("[]", false).list[0].code, "wrong_type");
}

static void unknown_members_get_a_hint(void **state)
{
    (void)state;
    struct json_errors errs = check("{\"pasword\":1}", true);
    assert_non_null(strstr(errs.list[0].detail, "'password'"));
    errs = check("{\"zzzzzzzz\":1}", true);
    assert_null(strstr(errs.list[0].detail, "did you mean"));
}

static void findings_are_bounded(void **state)
{
    (void)state;
    struct sbuf b = {0};
    sbuf_str(&b, "{\"key\":\"a\"");
    for (int i = 0; i < 40; i++)
        sbuf_fmt(&b, ",\"升%0*d\":1", 300 + i, i); /* names longer than any buffer */
    sbuf_str(&b, "}");
    struct json_errors errs = check(b.p, false);
    assert_int_equal(errs.count, 40);
    for (size_t i = 0; i < ARRAY_LEN(errs.list); i++) {
        assert_true(str_is_text(errs.list[i].pointer, strlen(errs.list[i].pointer)));
        assert_true(str_is_text(errs.list[i].detail, strlen(errs.list[i].detail)));
    }
    sbuf_done(&b);

    memset(&errs, 0, sizeof(errs));
    for (size_t n = 0; n < 8; n++) { /* a cut inside a character */
        char text[256];
        memset(text, 'x', n);
        text[n] = '\0';
        while (strlen(text) < 220)
            strcat(text, "升");
        json_error_add(&errs, text, "invalid", "%s", text);
        assert_true(str_is_text(errs.list[n].detail, strlen(errs.list[n].detail)));
        assert_true(str_is_text(errs.list[n].pointer, strlen(errs.list[n].pointer)));
    }
}

static void schema_follows_the_table(void **state)
{
    (void)state;
    AUTO(json_free) json_t *request = json_schema(fields, ARRAY_LEN(fields), true);
    AUTO(json_free) json_t *answer = json_schema(fields, ARRAY_LEN(fields), false);
    json_t *in = json_object_get(request, "properties");
    json_t *out = json_object_get(answer, "properties");
    assert_null(json_object_get(in, "id"));
    assert_non_null(json_object_get(in, "password"));
    assert_non_null(json_object_get(out, "id"));
    assert_null(json_object_get(out, "password"));

    static const struct {
        const char *name, *want;
    } cases[] = {
        {"key", "{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9._:@+-]+$\",\"minLength\":1,"
                "\"maxLength\":64,\"description\":\"The key.\"}"},
        {"count", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":10,\"default\":3,"
                  "\"description\":\"A count.\"}"},
        {"any_int", "{\"type\":\"integer\",\"description\":\"Any.\"}"},
        {"enabled", "{\"type\":\"boolean\",\"default\":true,\"description\":\"On.\"}"},
        {"scheme", "{\"type\":\"string\",\"enum\":[\"auto\",\"semver\",\"opaque\"],"
                   "\"default\":\"auto\",\"description\":\"How.\"}"},
        {"at", "{\"type\":[\"string\",\"null\"],\"format\":\"date-time\","
               "\"description\":\"When.\"}"},
        {"tags", "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":1},"
                 "\"maxItems\":2,\"description\":\"Tags.\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(free) char *text = json_text(json_object_get(in, cases[i].name));
        assert_string_equal(text, cases[i].want);
    }
    AUTO(free) char *required = json_text(json_object_get(request, "required"));
    assert_string_equal(required, "[\"key\"]");
    assert_true(json_is_false(json_object_get(request, "additionalProperties")));
    assert_null(json_object_get(answer, "required"));
}

/* A device gets back what it reported: as few digits as read back to the same value. */
static void reals_stay_short(void **state)
{
    static const char text[] = "[31.2,0.1,-28.5,1.0,1e+300,0.30000000000000004,5e-324]";
    enum json_fault fault;
    (void)state;
    AUTO(json_free) json_t *j = json_parse(text, sizeof(text) - 1, 1024, 4, &fault, NULL);
    AUTO(free) char *back = json_text(j);
    assert_string_equal(back,
                        "[31.2,0.1,-28.5,1.0,1e+300,0.30000000000000004,4.94065645841247e-324]");
}

static void paths_lead_to_members(void **state UNUSED)
{
    static const char text[] =
        "{\"data\":{\"fw\":\"1.2\",\"a/b\":{\"m~n\":3},\"list\":[1,{\"x\":4}],\"\":5},\"a.b\":6}";
    enum json_fault fault;
    AUTO(json_free) json_t *doc = json_parse(text, sizeof(text) - 1, 1000, 9, &fault, NULL);
    static const struct {
        const char *path;
        int64_t want; /* 0: nothing is there */
    } cases[] = {{"/data/a~1b/m~0n", 3},
                 {"data.list.1.x", 4},
                 {"/data/list/1/x", 4},
                 {"/data/", 5},
                 {"/a.b", 6},
                 {"data.list.2", 0},
                 {"data.list.x", 0},
                 {"data.fw.x", 0},
                 {"/data/list/0", 1},
                 {"a.b", 0}};
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "/a~", "/a~2", "a\nb"};

    assert_string_equal(json_string_value(json_path_get(doc, "/data/fw")), "1.2");
    assert_string_equal(json_string_value(json_path_get(doc, "data.fw")), "1.2");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(json_path_ok(cases[i].path));
        assert_int_equal(json_integer_value(json_path_get(doc, cases[i].path)), cases[i].want);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(json_path_ok(bad[i]));
        assert_null(json_path_get(doc, bad[i]));
    }
    char deep[2 * JSON_PATH_STEPS_MAX + 3];
    for (size_t i = 0; i < sizeof(deep); i++)
        deep[i] = i % 2 ? '.' : 'a';
    deep[2 * JSON_PATH_STEPS_MAX - 1] = '\0';
    assert_true(json_path_ok(deep));
    deep[2 * JSON_PATH_STEPS_MAX - 1] = '.';
    deep[2 * JSON_PATH_STEPS_MAX + 1] = '\0';
    assert_false(json_path_ok(deep));
    char wide[JSON_PATH_MAX + 2];
    memset(wide, 'a', sizeof(wide));
    wide[JSON_PATH_MAX + 1] = '\0';
    assert_false(json_path_ok(wide));
    assert_true(json_path_ok(wide + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reals_stay_short),
        cmocka_unit_test(faults_are_told_apart),
        cmocka_unit_test(big_integers_become_text),
        cmocka_unit_test(a_bomb_of_brackets_is_harmless),
        cmocka_unit_test(the_place_of_a_fault_is_named),
        cmocka_unit_test(text_round_trip),
        cmocka_unit_test(added_strings_parse_back),
        cmocka_unit_test(getters_have_defaults),
        cmocka_unit_test(good_objects_pass),
        cmocka_unit_test(each_fault_has_its_code),
        cmocka_unit_test(unknown_members_get_a_hint),
        cmocka_unit_test(findings_are_bounded),
        cmocka_unit_test(schema_follows_the_table),
        cmocka_unit_test(paths_lead_to_members),
    };
    json_setup();
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
