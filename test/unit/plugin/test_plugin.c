/* The plugin without a broker: logins from the file and told, rights over topics. */
#include "../../../src/plugin/plugin.h"

#include <errno.h>
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

/* But it may have been the newer one: a device that was deleted and imported again. */
static void test_read_again(void **state)
{
    struct world *w = *state;
    AUTO(free) char *first = lines("a", "pa", "b", "pb");
    AUTO(free) char *second = lines("a", "pa2", "b", "pb");

    write_file(w, first);
    assert_int_equal(load(w, SECOND), 2);
    assert_false(logins_due(&w->logins, 1000 * SECOND)); /* nothing was told */
    logins_revoke(&w->logins, "a", 10 * SECOND);
    write_file(w, second);
    assert_int_equal(load(w, 20 * SECOND), 2);
    assert_false(fits(w, "a", "pa2"));
    assert_false(logins_due(&w->logins, 70 * SECOND - 1));
    assert_true(logins_due(&w->logins, 70 * SECOND));
    assert_int_equal(load(w, 70 * SECOND), 2);
    assert_true(fits(w, "a", "pa2"));
    assert_false(logins_due(&w->logins, 1000 * SECOND));

    /* one reading for all; one that fails is made good */
    logins_set(&w->logins, "a", hash_of("other"), 100 * SECOND);
    logins_set(&w->logins, "c", hash_of("pc"), 110 * SECOND);
    logins_revoke(&w->logins, "d", 115 * SECOND); /* the file has none either */
    assert_int_equal(load(w, 120 * SECOND), 2);
    assert_false(logins_due(&w->logins, 169 * SECOND));
    assert_true(logins_due(&w->logins, 170 * SECOND));
    (void)unlink(w->path);
    assert_int_equal(load(w, 170 * SECOND), -ENOENT);
    assert_false(logins_due(&w->logins, 229 * SECOND));
    assert_true(logins_due(&w->logins, 230 * SECOND));
    write_file(w, second);
    assert_int_equal(load(w, 230 * SECOND), 2);
    assert_true(fits(w, "a", "pa2"));
    assert_null(logins_find(&w->logins, "c"));
    assert_false(logins_due(&w->logins, 1000 * SECOND));

    /* told what the file says by now */
    logins_revoke(&w->logins, "b", 300 * SECOND);
    write_file(w, strchr(second, '#')); /* without the first line, and b there */
    assert_int_equal(load(w, 301 * SECOND), 1);
    assert_true(logins_due(&w->logins, 360 * SECOND));
    assert_int_equal(load(w, 360 * SECOND), 1);
    const char *hash = strchr(strstr(second, "b:"), ':') + 1;
    AUTO(free) char *same = xstrndup(hash, strcspn(hash, "\n"));
    logins_set(&w->logins, "b", same, 400 * SECOND);
    assert_int_equal(load(w, 401 * SECOND), 1);
    assert_false(logins_due(&w->logins, 1000 * SECOND));
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
                                       "attributes/series/x",
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

/* ---- foreign topics ---- */
struct shared {
    struct world w;
    struct places p;
    char dir[64], passwd[96], topics[96];
};

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void gone(void *arg, struct login *l)
{
    struct shared *s = (struct shared *)arg;
    places_set(&s->p, l, (struct str){NULL, 0});
}

static void load_both(struct shared *s, const char *passwd, const char *topics, int64_t now_us,
                      int want)
{
    struct fail f = {0};

    put(s->passwd, passwd);
    put(s->topics, topics);
    assert_true(logins_load(&s->w.logins, s->passwd, now_us, &f) >= 0);
    assert_int_equal(places_load(&s->p, &s->w.logins, now_us, &f), want);
}

static bool may(struct shared *s, const char *name, enum place_access access, const char *topic)
{
    return places_may(&s->p, logins_find(&s->w.logins, name), access, topic);
}

#define TYPES "type 3 write /f/{sn}/up\ntype 3 read /f/{sn}/down\ntype 4 write /g/{sn}\n"
#define THREE "a:$7$x\nb:$7$x\nc:$7$x\n"

static void test_places(void **state)
{
    struct shared s = {.dir = "/tmp/places.XXXXXX"};
    (void)state;

    assert_non_null(mkdtemp(s.dir));
    (void)snprintf(s.passwd, sizeof(s.passwd), "%s/passwd", s.dir);
    (void)snprintf(s.topics, sizeof(s.topics), "%s/topics", s.dir);
    logins_init(&s.w.logins, NULL, &s);
    s.w.logins.on_gone = gone;
    places_init(&s.p);
    places_beside(&s.p, s.passwd);
    assert_string_equal(s.p.file, s.topics);
    load_both(&s, THREE, "# remark\n" TYPES "device a 3/S1\ndevice b 3/S2\ndevice zz 3/S1\n",
              SECOND, 7);
    assert_true(may(&s, "a", PLACE_PUBLISH, "/f/S1/up") && may(&s, "a", PLACE_READ, "/f/S1/down"));
    static const char *const mine[] = {"/f/S1/down", "/f/S1/#", "/f/S1/+", "+/f/S1/down"};
    for (size_t i = 0; i < ARRAY_LEN(mine); i++)
        assert_true(may(&s, "a", PLACE_SUBSCRIBE, mine[i]));
    static const char *const others[] = {"/f/S2/down", "/f/+/down", "/f/S1/down/+", "/f/#",
                                         "#",          "+/f/#",     "/f/S1",        "/f/S1/up",
                                         "/g/S1",      "",          "/f/S1/",       "/+/S2/down"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(may(&s, "a", PLACE_SUBSCRIBE, others[i]) ||
                     may(&s, "a", PLACE_READ, others[i]));
    assert_false(may(&s, "a", PLACE_PUBLISH, "/f/S1/down"));
    assert_false(may(&s, "a", PLACE_PUBLISH, "/f/S2/up"));
    assert_false(may(&s, "c", PLACE_PUBLISH, "/f/S1/up") ||
                 may(&s, "d", PLACE_PUBLISH, "/f/S1/up"));

    /* told: a second one with the same number, until that is mended */
    logins_set(&s.w.logins, "c", "$7$x", 2 * SECOND);
    places_set(&s.p, logins_find(&s.w.logins, "c"), str_of("3/S1"));
    assert_false(may(&s, "c", PLACE_PUBLISH, "/f/S1/up") ||
                 may(&s, "a", PLACE_PUBLISH, "/f/S1/up"));
    assert_true(may(&s, "b", PLACE_PUBLISH, "/f/S2/up"));
    load_both(&s, THREE, TYPES "device a 3/S1\n", 3 * SECOND, 4); /* older than what was told */
    assert_false(may(&s, "a", PLACE_PUBLISH, "/f/S1/up") ||
                 may(&s, "b", PLACE_PUBLISH, "/f/S2/up"));
    places_set(&s.p, logins_find(&s.w.logins, "c"), str_of("4/S1"));
    assert_true(may(&s, "a", PLACE_PUBLISH, "/f/S1/up") && may(&s, "c", PLACE_PUBLISH, "/g/S1"));
    load_both(&s, "a:$7$x\nc:$7$x\n", TYPES "device a 3/S1\ndevice c 4/S1\n", 4 * SECOND, 5);
    assert_false(logins_due(&s.w.logins, 1000 * SECOND)); /* as told */
    load_both(&s, "a:$7$x\nc:$7$x\n", TYPES "device a 3/S1\n", 4 * SECOND, 4);
    assert_true(logins_due(&s.w.logins, 62 * SECOND));
    load_both(&s, "a:$7$x\nc:$7$x\n", TYPES "device c 4/S2\n", 4 * SECOND, 4);
    assert_true(logins_due(&s.w.logins, 62 * SECOND) && !may(&s, "c", PLACE_PUBLISH, "/g/S2"));
    load_both(&s, "a:$7$x\nc:$7$x\n", TYPES "device c 4/S2\n", 62 * SECOND, 4);
    assert_false(logins_due(&s.w.logins, 1000 * SECOND));
    assert_true(may(&s, "c", PLACE_PUBLISH, "/g/S2"));
    load_both(&s, "a:$7$x\n", TYPES "device a 4/S9\n", 90 * SECOND, 4);
    assert_true(may(&s, "a", PLACE_PUBLISH, "/g/S9") && !may(&s, "a", PLACE_PUBLISH, "/f/S1/up"));
    assert_int_equal(s.p.claims.count, 1);

    static const char *const broken[] = {
        "x\n",        "type 3 write\n",       "type 3 both /x/{sn}\n",
        "device a\n", "device a 3/S1 more\n", "device a 3/S1"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        AUTO(free) char *text = xmalloc(256);
        (void)snprintf(text, 256, "device a 3/S3\n%s", broken[i]);
        load_both(&s, "a:$7$x\n", text, 91 * SECOND, E_PROTO);
        assert_true(may(&s, "a", PLACE_PUBLISH, "/g/S9")); /* as it was */
    }
    places_done(&s.p);
    logins_done(&s.w.logins);
    (void)unlink(s.passwd);
    (void)unlink(s.topics);
    (void)rmdir(s.dir);
}

/* ---- client ids ---- */

#define DAY (86400 * SECOND)

static struct session *fake(uintptr_t n)
{
    return (struct session *)n; /* only compared */ // NOLINT(performance-no-int-to-ptr)
}

static void test_ids(void **state)
{
    struct login service = {0}, a = {.hash = (char *)"$7$x"}, b = {.hash = (char *)"$7$x"};
    struct ids d;
    (void)state;

    ids_init(&d, &service);
    ids_reserve(&d, "otad");
    assert_ptr_equal(ids_owner(&d, "otad", 0), &service);
    assert_null(ids_owner(&d, "x", 0));
    assert_null(ids_owner(&d, "", 0));
    assert_null(ids_take(&d, "x", &a, fake(1)));
    assert_ptr_equal(ids_owner(&d, "x", 9 * DAY), &a); /* connected, however long */
    assert_ptr_equal(ids_take(&d, "x", &a, fake(2)), fake(1));
    ids_leave(&d, "x", fake(1), true, 9 * DAY); /* it was taken over */
    assert_ptr_equal(ids_owner(&d, "x", 99 * DAY), &a);
    ids_leave(&d, "x", fake(2), true, 9 * DAY);
    assert_ptr_equal(ids_owner(&d, "x", 16 * DAY), &a);
    assert_null(ids_owner(&d, "x", 16 * DAY + 1));
    a.hash = NULL; /* disabled: it holds nothing */
    assert_null(ids_owner(&d, "x", 10 * DAY));
    assert_null(ids_take(&d, "x", &b, fake(3)));
    assert_ptr_equal(ids_owner(&d, "x", 10 * DAY), &b);
    assert_null(a.ids);
    ids_leave(&d, "x", fake(3), false, 10 * DAY);
    assert_null(ids_owner(&d, "x", 10 * DAY));
    assert_null(b.ids);

    /* the service has its own always, those that it came with too, and takes any */
    assert_null(ids_take(&d, "house", &b, fake(4)));
    assert_ptr_equal(ids_take(&d, "house", &service, fake(5)), fake(4));
    ids_leave(&d, "house", fake(4), false, DAY);
    ids_leave(&d, "house", fake(5), true, DAY);
    assert_ptr_equal(ids_owner(&d, "house", 99 * DAY), &service);
    assert_null(ids_take(&d, "otad", &service, fake(6)));
    ids_leave(&d, "otad", fake(6), false, DAY);
    assert_ptr_equal(ids_owner(&d, "otad", 99 * DAY), &service);
    ids_done(&d);
}

/* A device that thinks of a new client id each time holds the last few alone. */
static void test_ids_are_bounded(void **state)
{
    struct login service = {0}, a = {.hash = (char *)"$7$x"}, b = {.hash = (char *)"$7$x"};
    struct ids d;
    char id[16];
    (void)state;

    ids_init(&d, &service);
    assert_null(ids_take(&d, "b", &b, fake(1)));
    ids_leave(&d, "b", fake(1), true, 0);
    assert_null(ids_take(&d, "connected", &a, fake(2)));
    for (int i = 0; i < 100; i++) {
        (void)snprintf(id, sizeof(id), "id%d", i);
        assert_null(ids_take(&d, id, &a, fake(3)));
        ids_leave(&d, id, fake(3), true, i);
    }
    assert_int_equal(d.map.count, 6);
    assert_ptr_equal(ids_owner(&d, "b", 100), &b);
    assert_ptr_equal(ids_owner(&d, "connected", 100), &a);
    assert_ptr_equal(ids_owner(&d, "id96", 100), &a);
    assert_null(ids_owner(&d, "id95", 100));
    ids_leave(&d, "connected", fake(2), false, 100);
    ids_forget(&d, &a);
    assert_int_equal(d.map.count, 1);
    assert_null(ids_owner(&d, "id99", 100));
    ids_done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_again, setup, teardown),
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_ids_are_bounded),
    };
    return cmocka_run_group_tests_name("plugin", tests, NULL, NULL);
}
