/* The plugin without a broker: logins from the file and told, rights over topics. */
#include "../../../src/plugin/plugin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)

struct world {
    struct logins logins;
    char path[64], changed[256];
};

static void note_change(void *arg, struct login *l)
{
    struct world *w = arg;
    size_t n = strlen(w->changed);
    (void)snprintf(w->changed + n, sizeof(w->changed) - n, "%s ", l->name);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    logins_init(&w->logins, note_change, w);
    strcpy(w->path, "/tmp/plugin.XXXXXX");
    close(mkstemp(w->path));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    logins_done(&w->logins);
    unlink(w->path);
    free(w);
    return 0;
}

static void write_file(const struct world *w, const char *text)
{
    FILE *f = fopen(w->path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int load(struct world *w, int64_t now_us)
{
    struct fail f = {0};
    w->changed[0] = '\0';
    return logins_load(&w->logins, w->path, now_us, &f);
}

static bool fits(struct world *w, const char *name, const char *password)
{
    struct login *l = logins_find(&w->logins, name);
    return l && login_check(l, password);
}

static const char *hash_of(const char *password)
{
    static char text[4][CRYPTO_PASSWORD_TEXT];
    static unsigned i;
    char *one = text[i++ % 4];
    crypto_password_hash(password, one);
    return one;
}

static char *lines(const char *a, const char *pa, const char *b, const char *pb)
{
    struct sbuf s = {0};
    sbuf_fmt(&s, "%s:%s\n", a, hash_of(pa));
    if (b)
        sbuf_fmt(&s, "\n# a remark\n%s:%s\n", b, hash_of(pb));
    return sbuf_take(&s);
}

static void test_file(void **state)
{
    struct world *w = *state;
    AUTO(free) char *two = lines("a", "pa", "b", "pb");
    AUTO(free) char *one = lines("a", "pa2", NULL, NULL);

    write_file(w, two);
    assert_int_equal(load(w, SECOND), 2);
    assert_true(fits(w, "a", "pa") && fits(w, "a", "pa") && fits(w, "b", "pb"));
    assert_false(fits(w, "a", "pb") || fits(w, "a", "") || fits(w, "c", "pa") || fits(w, "", ""));
    assert_int_equal(load(w, SECOND), 2);
    assert_string_equal(w->changed, ""); /* the same again */
    write_file(w, one);
    assert_int_equal(load(w, SECOND), 1);
    assert_string_equal(w->changed, "a b ");
    assert_true(fits(w, "a", "pa2"));
    assert_false(fits(w, "a", "pa")); /* which was right lately */
    assert_null(logins_find(&w->logins, "b"));
}

static void test_broken_file(void **state)
{
    struct world *w = *state;
    static const char *const broken[] = {"x\n", ":$7$\n", "x:\n", "x:plain\n", "x:$7$101$cut", "a"};
    AUTO(free) char *one = lines("a", "pa", NULL, NULL);

    (void)unlink(w->path);
    assert_int_equal(load(w, SECOND), -ENOENT);
    write_file(w, one);
    assert_int_equal(load(w, SECOND), 1);
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        AUTO(free) char *text = xmalloc(1024);
        (void)snprintf(text, 1024, "b:$7$x\n%s", broken[i]);
        write_file(w, text);
        assert_int_equal(load(w, SECOND), E_PROTO);
        assert_true(fits(w, "a", "pa"));
        assert_null(logins_find(&w->logins, "b"));
    }
    write_file(w, "");
    assert_int_equal(load(w, SECOND), 0);
    assert_false(fits(w, "a", "pa"));
    write_file(w, "a:$7$101$nonsense\n"); /* well formed, and fits nothing */
    assert_int_equal(load(w, SECOND), 1);
    assert_false(fits(w, "a", "") || fits(w, "a", "nonsense"));
}

/* The file may be older than what was told: for a minute it does not win. */
static void test_told(void **state)
{
    struct world *w = *state;
    AUTO(free) char *two = lines("a", "pa", "b", "pb");

    write_file(w, two);
    assert_int_equal(load(w, SECOND), 2);
    logins_set(&w->logins, "a", hash_of("new"), 10 * SECOND);
    logins_revoke(&w->logins, "b", 10 * SECOND);
    logins_set(&w->logins, "c", hash_of("pc"), 10 * SECOND);
    logins_revoke(&w->logins, "d", 10 * SECOND);
    assert_string_equal(w->changed, "a b ");
    assert_int_equal(load(w, 69 * SECOND), 2);
    assert_string_equal(w->changed, "");
    assert_true(fits(w, "a", "new") && fits(w, "c", "pc"));
    assert_false(fits(w, "a", "pa") || fits(w, "b", "pb") || fits(w, "d", ""));
    assert_int_equal(load(w, 71 * SECOND), 2);
    assert_string_equal(w->changed, "a c ");
    assert_true(fits(w, "a", "pa") && fits(w, "b", "pb"));
    assert_null(logins_find(&w->logins, "c"));
    assert_null(logins_find(&w->logins, "d"));
}

static void test_rights(void **state)
{
    (void)state;
    static const char *const publish[] = {
        "attributes/U",     "event_report/U",     "data/U/x/y",     "gateway_connect/U",
        "sub_attributes/U", "attributes",         "event/report/1", "command/reply/abc",
        "attributes/get/1", "gateway/attributes", "data/x"};
    static const char *const subscribe[] = {
        "command_send/U",       "data_set/U/#",    "data_set/U/x",    "data_set/U/+",
        "sub_command_send/U",   "command/send/+",  "attributes/push", "attributes/get/response/+",
        "gateway/command/send", "event/response/7"};
    static const char *const none[] = {"",
                                       "/",
                                       "#",
                                       "+",
                                       "+/#",
                                       "attributes/V",
                                       "attributes/U/x",
                                       "attributes/",
                                       "/attributes/U",
                                       "attributes/series",
                                       "command_send/V",
                                       "command_send/+",
                                       "command_send/#",
                                       "command/#",
                                       "command/send/#",
                                       "command/send",
                                       "command/send/1/2",
                                       "data_set/V/#",
                                       "data_set/#",
                                       "data_set/+/x",
                                       "otad/presence",
                                       "otad/to/U/command/send/1",
                                       "$CONTROL/otad/v1",
                                       "$SYS/#",
                                       "$share/g/command_send/U",
                                       "event/#"};

    for (size_t i = 0; i < ARRAY_LEN(publish); i++) {
        assert_true(rights_publish("U", publish[i]));
        assert_false(rights_read("U", publish[i]));
        if (strchr(publish[i], 'U'))
            assert_false(rights_publish("V", publish[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(subscribe); i++) {
        assert_true(rights_subscribe("U", subscribe[i]));
        assert_false(rights_publish("U", subscribe[i]));
        if (strchr(subscribe[i], 'U'))
            assert_false(rights_subscribe("V", subscribe[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        assert_false(rights_publish("U", none[i]));
        assert_false(rights_subscribe("U", none[i]));
        assert_false(rights_read("U", none[i]));
    }
    assert_true(rights_read("U", "command_send/U"));
    assert_true(rights_read("U", "data_set/U/x/y"));
    assert_false(rights_read("U", "command_send/V"));
    assert_false(rights_read("U", "command/send/1")); /* handed over, never read */
    assert_false(rights_read("U", "data/U/set"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_told, setup, teardown),
        cmocka_unit_test(test_rights),
    };
    return cmocka_run_group_tests_name("plugin", tests, NULL, NULL);
}
