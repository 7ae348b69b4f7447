/* The audit log: what is written is what is hashed, and no change goes unseen. */
#include "audit.h"
#include "db_fixture.h"
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sqlite3.h>

static void add(struct db *w, int64_t project, const char *object, const char *after)
{
    const struct audit a = {.at = 1700000000000,
                            .project_id = project,
                            .who = "anna",
                            .address = "192.0.2.7",
                            .action = "PATCH /api/v1/rules/:id",
                            .object = object,
                            .fields = "[\"name\"]",
                            .before = "{\"name\":\"a\"}",
                            .after = after};
    assert_int_equal(db_begin(w), 0);
    assert_int_equal(audit_add(w, &a), 0);
    assert_int_equal(db_commit(w), 0);
}

static int collect(void *arg, const struct audit *a)
{
    struct sbuf *b = arg;
    audit_line(b, a);
    sbuf_add(b, "\n", 1);
    return 0;
}

static void tamper(struct db_fixture *fx, const char *sql)
{
    sqlite3 *h;
    assert_int_equal(sqlite3_open(fx->path, &h), SQLITE_OK);
    assert_int_equal(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(h);
}

static int verify(struct db_fixture *fx, int64_t *ret_row, char head[AUDIT_HEX_SIZE])
{
    struct db *r = db_fixture_reader(fx);
    struct fail f = {0};
    int rc = audit_verify(r, ret_row, head, &f);
    if (rc < 0)
        assert_non_null(strstr(f.text, "row "));
    db_close(r);
    return rc;
}

static void each_line_proves_itself_and_names_the_one_before(void **state)
{
    struct db_fixture *fx = *state;
    struct sbuf b = {0};
    char previous[AUDIT_HEX_SIZE], head[AUDIT_HEX_SIZE];
    int64_t rows;
    int n = 0;

    memset(previous, '0', sizeof(previous) - 1);
    previous[sizeof(previous) - 1] = '\0';
    add(fx->w, 1, "/api/v1/rules/1", "{\"name\":\"ü \\\"b\\\"\"}");
    add(fx->w, 2, "/api/v1/rules/2", NULL);
    add(fx->w, 1, "/api/v1/rules/1\n", "{}");
    assert_int_equal(audit_walk(fx->w, 0, 0, 10, collect, &b), 0);
    for (char *line = b.p, *end; *line; line = end + 1, n++) {
        uint8_t hash[SHA256_SIZE];
        char hex[AUDIT_HEX_SIZE];
        enum json_fault fault;

        end = strchr(line, '\n');
        AUTO(json_free)
        json_t *j = json_parse(line, (size_t)(end - line), 65536, 8, &fault, NULL);
        assert_non_null(j);
        assert_string_equal(json_get_str(j, "previous", ""), previous);
        char *cut = strstr(line, ",\"hash\":\"");
        *cut = '}'; /* as anybody can check it: the text without its last member */
        crypto_sha256(line, (size_t)(cut + 1 - line), hash);
        hex_encode(hash, sizeof(hash), hex);
        assert_string_equal(json_get_str(j, "hash", ""), hex);
        memcpy(previous, hex, sizeof(hex));
    }
    assert_int_equal(n, 3);
    sbuf_done(&b);
    assert_int_equal(verify(fx, &rows, head), 0);
    assert_int_equal(rows, 3);
    assert_string_equal(head, previous);
    assert_int_equal(audit_find(fx->w, head), 0);
    assert_int_equal(audit_find(fx->w, "00"), E_PROTO);
    /* a project sees its own */
    assert_int_equal(audit_walk(fx->w, 2, 0, 10, collect, &b), 0);
    assert_non_null(strstr(b.p, "\"id\":2,"));
    assert_null(strstr(b.p, "\"id\":1,"));
    sbuf_done(&b);
}

static void a_change_a_gap_and_a_cut_are_found(void **state)
{
    struct db_fixture *fx = *state;
    char head[AUDIT_HEX_SIZE], newest[AUDIT_HEX_SIZE];
    int64_t row;

    add(fx->w, 1, "/x", "{}");
    assert_int_equal(verify(fx, &row, newest), 0);
    db_close(TAKE(fx->w));
    tamper(fx, "DROP TRIGGER audit_fixed; DROP TRIGGER audit_kept");
    /* each column is part of the hash */
    static const char *const columns[] = {"at = at + 1",      "project_id = 9", "project = 'x'",
                                          "token_id = 5",     "who = 'bob'",    "address = ''",
                                          "request_id = 'x'", "action = 'x'",   "object = 'x'",
                                          "fields = '[]'",    "before = NULL",  "after = '{ }'"};
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        char sql[200];
        tamper(fx, "CREATE TABLE kept AS SELECT * FROM audit");
        (void)str_fmt(sql, sizeof(sql), "UPDATE audit SET %s WHERE id = 3", columns[i]);
        tamper(fx, sql);
        if (verify(fx, &row, head) != E_CONFLICT || row != 3)
            fail_msg("%s was not seen", columns[i]);
        tamper(fx, "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept; DROP TABLE kept");
        assert_int_equal(verify(fx, &row, head), 0);
    }
    tamper(fx, "DELETE FROM audit WHERE id = 4");
    assert_int_equal(verify(fx, &row, head), 0); /* the end alone proves nothing … */
    struct db *r = db_fixture_reader(fx);
    assert_int_equal(audit_find(r, newest), E_NOTFOUND); /* … but what was noted does */
    db_close(r);
    tamper(fx, "DELETE FROM audit WHERE id = 2");
    assert_int_equal(verify(fx, &row, head), E_CONFLICT);
    assert_int_equal(row, 2);
}

static void it_is_never_changed_and_what_is_too_long_is_named(void **state)
{
    struct db_fixture *fx = *state;
    struct sbuf big = {0}, b = {0};
    sqlite3 *h;

    assert_int_equal(sqlite3_open(fx->path, &h), SQLITE_OK);
    assert_int_equal(sqlite3_exec(h,
                                  "INSERT INTO audit VALUES (1,1,1,'','1','','','','','','','','',"
                                  "x'00')",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_not_equal(sqlite3_exec(h, "UPDATE audit SET who = 'x'", NULL, NULL, NULL),
                         SQLITE_OK);
    assert_int_not_equal(sqlite3_exec(h, "DELETE FROM audit", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_exec(h, "DROP TRIGGER audit_kept; DELETE FROM audit", NULL, NULL, NULL);
    sqlite3_close(h);
    sbuf_str(&big, "{\"x\":\"");
    for (int i = 0; i < AUDIT_TEXT_MAX; i++)
        sbuf_add(&big, "a", 1);
    sbuf_str(&big, "\"}");
    add(fx->w, 1, "/big", big.p);
    assert_int_equal(audit_list(fx->w, 1, 0, 1, collect, &b), 0);
    assert_non_null(strstr(b.p, "\"after\":{\"omitted_bytes\":16392,\"sha256\":\""));
    sbuf_done(&big);
    sbuf_done(&b);
}

static int setup(void **state)
{
    struct db_fixture *fx = xcalloc(1, sizeof(*fx));
    db_fixture_init(fx);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    db_fixture_done(*state);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest chain[] = {
        cmocka_unit_test(each_line_proves_itself_and_names_the_one_before),
        cmocka_unit_test(a_change_a_gap_and_a_cut_are_found),
    };
    const struct CMUnitTest rest[] = {
        cmocka_unit_test(it_is_never_changed_and_what_is_too_long_is_named),
    };
    json_setup();
    return cmocka_run_group_tests_name("audit chain", chain, setup, teardown) +
           cmocka_run_group_tests_name("audit rows", rest, setup, teardown);
}
