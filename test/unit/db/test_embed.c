/* embed, the build-time program: what it makes of good sources and how it refuses bad ones. */
#include "test_db.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct sources {
    char dir[64];
};

static int setup(void **state)
{
    struct sources *s = xcalloc(1, sizeof(*s));
    char path[128];

    fixture_dir_make(s->dir);
    (void)str_fmt(path, sizeof(path), "%s/m", s->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)str_fmt(path, sizeof(path), "%s/q", s->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    fixture_dir_remove(((struct sources *)*state)->dir);
    free(*state);
    return 0;
}

static void put_file(const struct sources *s, const char *name, const char *text)
{
    char path[160];
    FILE *f;

    (void)str_fmt(path, sizeof(path), "%s/%s", s->dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void read_text(const struct sources *s, const char *name, struct sbuf *ret)
{
    char path[160], part[4096];
    size_t n;
    FILE *f;

    (void)str_fmt(path, sizeof(path), "%s/%s", s->dir, name);
    f = fopen(path, "r");
    assert_non_null(f);
    while ((n = fread(part, 1, sizeof(part), f)) > 0)
        sbuf_add(ret, part, n);
    fclose(f);
}

static void exec_embed(void *arg)
{
    const struct sources *s = arg;
    char out[128], m[128], q[128], err[128];

    (void)str_fmt(out, sizeof(out), "%s/out", s->dir);
    (void)str_fmt(m, sizeof(m), "%s/m", s->dir);
    (void)str_fmt(q, sizeof(q), "%s/q", s->dir);
    (void)str_fmt(err, sizeof(err), "%s/err", s->dir);
    CHECK(freopen(err, "w", stderr));
    execl("build/gen/embed", "embed", out, m, q, (char *)NULL);
    _exit(127);
}

static int embed(struct sources *s)
{
    int status = fixture_child(exec_embed, s);

    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void assert_refused(struct sources *s, const char *why)
{
    struct sbuf err = {0};

    assert_int_equal(embed(s), 1);
    read_text(s, "err", &err);
    if (!strstr(err.p, why))
        fail_msg("'%s' is not in '%s'", why, err.p);
    sbuf_done(&err);
}

static void nothing_to_embed_is_fine(void **state)
{
    struct sources *s = *state;
    struct sbuf h = {0};

    assert_int_equal(embed(s), 0);
    read_text(s, "out.h", &h);
    assert_non_null(strstr(h.p, "Q__COUNT"));
    assert_non_null(strstr(h.p, "DB_MIGRATIONS = 0"));
    sbuf_done(&h);
}

static void text_is_rewritten_outside_quotes_only(void **state)
{
    struct sources *s = *state;
    struct sbuf c = {0}, again = {0};

    put_file(s, "m/0001_init.sql", "CREATE TABLE t (a \"x\");\n");
    put_file(s, "q/t.sql",
             "-- a word before\n\n-- name: first_one :one reader scan\n-- in: a, b\n"
             "SELECT '$1 -- ''it', \"$2\" /* $9 */\n  FROM t -- where?\n WHERE a=$2 AND b=$1;\n\n"
             "-- name: second :exec writer\nDELETE FROM t");
    assert_int_equal(embed(s), 0);
    read_text(s, "out.c", &c);
    assert_non_null(strstr(c.p, "\"SELECT '$1 -- ''it', \\\"$2\\\" FROM t WHERE a=?2 AND b=?1\""));
    assert_non_null(strstr(c.p, "2, false, true, true}"));
    assert_non_null(strstr(c.p, "\"DELETE FROM t\",\n     0, true, false, false}"));
    assert_non_null(strstr(c.p, "\"CREATE TABLE t (a \\\"x\\\");\\n\""));
    assert_int_equal(embed(s), 0);
    read_text(s, "out.c", &again);
    assert_string_equal(c.p, again.p);
    sbuf_done(&c);
    sbuf_done(&again);
}

static void bad_migrations_are_refused(void **state)
{
    struct sources *s = *state;

    put_file(s, "m/0001_init.sql", "");
    put_file(s, "m/0003_more.sql", "");
    assert_refused(s, "number 0003 where 0002 is next");
    put_file(s, "m/0002_a.sql", "");
    put_file(s, "m/0002_b.sql", "");
    assert_refused(s, "number 0002 where 0003 is next");
    put_file(s, "m/0002_b.sql.sql", "");
    put_file(s, "m/0000init.sql", "");
    assert_refused(s, "NNNN_some_name.sql");
}

static void bad_queries_are_refused(void **state)
{
    static const struct {
        const char *text, *why;
    } CASES[] = {
        {"SELECT 1;", "before the first"},
        {"-- name: a reader\nSELECT 1;", "needs :one"},
        {"-- name: a :one\nSELECT 1;", "one of reader and writer"},
        {"-- name: a :one reader writer\nSELECT 1;", "one of reader and writer"},
        {"-- name: a :one reader fast\nSELECT 1;", "what is 'fast'"},
        {"-- name: :one reader\nSELECT 1;", "name is made of"},
        {"-- name: A :one reader\nSELECT 1;", "name is made of"},
        {"-- name: a :one reader\n-- nothing\n", "is empty"},
        {"-- name: a :one reader\nSELECT 1; SELECT 2;", "one statement"},
        {"-- name: a :one reader\nSELECT $2;", "$1 is not used"},
        {"-- name: a :one reader\nSELECT $x;", "a parameter is"},
        {"-- name: a :one reader\nSELECT ?;", "written $1"},
        {"-- name: a :one reader\nSELECT 'x;", "quote is not closed"},
        {"-- name: a :one reader\nSELECT 1 /* x", "comment is not closed"},
        {"-- name: a :one reader\nSELECT 1;\n--name: a :one reader\nSELECT 2;", "stands also at"},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        put_file(*state, "q/t.sql", CASES[i].text);
        assert_refused(*state, CASES[i].why);
    }
}

int embed_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_to_embed_is_fine, setup, teardown),
        cmocka_unit_test_setup_teardown(text_is_rewritten_outside_quotes_only, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_migrations_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_queries_are_refused, setup, teardown),
    };

    return cmocka_run_group_tests_name("embed", tests, NULL, NULL);
}
