/* The TOML reader: what it takes, and that it refuses the rest with the right line. */
#include "tests.h"

static void assert_data_dir(const char *text, const char *want)
{
    struct conf *c;
    struct fail f;
    int rc = load_text(text, &c, &f);
    if (rc < 0)
        print_error("%s\n", f.text);
    assert_int_equal(rc, 0);
    assert_string_equal(c->data_dir, want);
    conf_free(c);
}

static void takes_strings(void **state)
{
    (void)state;
    assert_data_dir("data_dir=\"/a\"", "/a");
    assert_data_dir("# c\n\n \t data_dir\t=  \"/a\" # \"c\"\n#", "/a");
    assert_data_dir("\"data_dir\" = '/a\\n#b'\r\n\r\n", "/a\\n#b");
    assert_data_dir("'data_dir' = \"a\\\\b\\\"c\\u5347\\U0001F4BE\\u00e9\"",
                    "a\\b\"c\xe5\x8d\x87\xf0\x9f\x92\xbe\xc3\xa9");
    assert_data_dir("data_dir = \"OTA升级\"", "OTA升级");
    assert_data_dir("data_dir = '\"'", "\"");
    assert_data_dir("\xef\xbb\xbf"
                    "data_dir = '/a'\r\n",
                    "/a"); /* of a Windows editor */
    assert_data_dir("[ http ] # c\nthreads = 3\n[\"log\"]\n['db']\n", "/var/lib/otad");
}

static void takes_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"[http]\nthreads = 0", 0},
        {"[http]\nthreads = 12", 12},
        {"[http]\nthreads = +1_2#c", 12},
        {"[http]\nthreads = -0", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf *c;
        struct fail f;
        assert_int_equal(load_text(cases[i].text, &c, &f), 0);
        assert_true(c->http_threads == cases[i].value);
        conf_free(c);
    }
}

static void refuses_wrong_numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "1.5", "1e3", "0x10", "0b1", "_1", "1_",    "1__0",       "+",  "-",     "--1",
        "inf", "nan", "1h",   "",    "#",  "12:00", "2024-08-08", "1-", "+true", "1 2",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[64];
        (void)str_fmt(text, sizeof(text), "[http]\n\nthreads = %s\n", bad[i]);
        assert_refused(text, 3, "");
    }
    assert_refused("[http]\nthreads = 01\n", 2, "leading zero");
    assert_refused("[http]\nthreads = 9223372036854775808\n", 2, "64 bits");
    assert_refused("[http]\nthreads = 99999999999999999999999999999999999999\n", 2, "");
}

static void refuses_broken_strings(void **state)
{
    (void)state;
    assert_refused("data_dir = \"/a\n", 1, "closing \"");
    assert_refused("data_dir = '/a", 1, "closing '");
    assert_refused("data_dir = \"/a\\", 1, "backslash");
    assert_refused("data_dir = \"C:\\dir\"", 1, "single quotes");
    assert_refused("data_dir = \"\\u12\"", 1, "hexadecimal");
    assert_refused("data_dir = \"\\ud800\"", 1, "U+D800");
    assert_refused("data_dir = \"\\u0000\"", 1, "U+0000");
    assert_refused("data_dir = \"\\UFFFFFFFF\"", 1, "no character");
    assert_refused("data_dir = \"a\\nb\"", 1, "control characters");
    assert_refused("data_dir = \"\"\"a\"\"\"", 1, "multi-line");
    assert_refused("data_dir = '''a'''", 1, "multi-line");
    assert_refused("data_dir = /a", 1, "a value is");
    assert_refused("data_dir = \"/a\" \"/b\"", 1, "line must end");
    assert_refused("data_dir = \"/a\" x = 1", 1, "one key or section a line");
}

static void refuses_what_is_no_statement(void **state)
{
    (void)state;
    assert_refused("\n\nhttp.listen = 1\n", 3, "dots");
    assert_refused("[http.x]\n", 1, "dots");
    assert_refused("[[http]]\n", 1, "[[");
    assert_refused("[http\n", 1, "closing ]");
    assert_refused("[]\n", 1, "name of a section");
    assert_refused("[http] threads = 1\n", 1, "line must end");
    assert_refused("= 1\n", 1, "key");
    assert_refused("\"\" = 1\n", 1, "key");
    assert_refused("data_dir\n", 1, "data_dir = ");
    assert_refused("data_dir : \"x\"\n", 1, "data_dir = ");
    assert_refused("data_dir = {a = 1}\n", 1, "a value is");
    assert_refused("ключ = 1\n", 1, "key");
    assert_refused("data_dir = \"a\"\rx\n", 1, "control character");
    assert_refused("# a\n# \x01\n", 2, "control character");
    assert_refused("\n\n# \xff\n", 3, "UTF-8");
}

static void arrays_are_read_to_their_end(void **state)
{
    (void)state;
    /* no item is an array: the refusal shows that the reader understood where it ends */
    assert_refused("data_dir = [\n 'a', # c\n\n \"b\",\n]\n", 1, "text in quotes");
    assert_refused("data_dir = []", 1, "text in quotes");
    assert_refused("data_dir = [1]", 1, "strings only");
    assert_refused("data_dir = ['a'\n\n'b']", 3, "comma");
    assert_refused("data_dir = ['a',", 1, "strings only");
    assert_refused("data_dir = true", 1, "text in quotes");
    assert_refused("data_dir = trueish", 1, "a value is");
    struct sbuf b = {0};
    sbuf_str(&b, "data_dir = [");
    for (int i = 0; i < 300; i++)
        sbuf_str(&b, "'a',");
    sbuf_str(&b, "]");
    assert_refused(b.p, 1, "at most 256");
    sbuf_done(&b);
}

static void every_cut_of_a_file_is_survived(void **state)
{
    (void)state;
    static const char text[] = "data_dir = \"a\\u5347\"\r\n[http]\nthreads = +1_0 # c\n"
                               "listen = '0.0.0.0:1'\n[mqtt]\nca=[ 'a', # x\n \"b\" ]\n";
    for (size_t n = 0; n <= strlen(text); n++) {
        struct conf *c;
        struct fail f;
        int rc = load_bytes(text, n, &c, &f);
        assert_true(rc == 0 || (rc == E_PROTO && f.text[0]));
        conf_free(c);
    }
    struct conf *c;
    struct fail f;
    assert_int_equal(load_bytes("data_dir = \"a\0b\"", 16, &c, &f), E_PROTO);
}

int test_toml(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_strings),
        cmocka_unit_test(takes_numbers),
        cmocka_unit_test(refuses_wrong_numbers),
        cmocka_unit_test(refuses_broken_strings),
        cmocka_unit_test(refuses_what_is_no_statement),
        cmocka_unit_test(arrays_are_read_to_their_end),
        cmocka_unit_test(every_cut_of_a_file_is_survived),
    };
    return cmocka_run_group_tests_name("conf toml", tests, clean_environment, NULL);
}
