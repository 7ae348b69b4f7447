/* Migrations, with lists of their own beside the project's real one. */
#include "../../../src/db/db_priv.h"
#include "test_db.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct db_migration_def TWO[] = {
    {1, "init", "CREATE TABLE a (id INTEGER PRIMARY KEY); INSERT INTO a VALUES (7);"},
    {2, "more", "CREATE TABLE b (a_id INTEGER REFERENCES a (id)); INSERT INTO b VALUES (7);"},
};

struct place {
    char dir[64], path[80];
};

static int setup(void **state)
{
    struct place *p = xcalloc(1, sizeof(*p));

    fixture_dir_make(p->dir);
    (void)str_fmt(p->path, sizeof(p->path), "%s/t.db", p->dir);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    fixture_dir_remove(((struct place *)*state)->dir);
    free(*state);
    return 0;
}

static int64_t ask(const char *path, const char *sql)
{
    struct fail f = {0};
    int64_t answer = 0;
    sqlite3 *h;

    if (db_handle_open(path, SQLITE_OPEN_READWRITE, 64, &h, &f) < 0)
        fail_msg("%s", f.text);
    if (db_exec_int(h, sql, &answer) != SQLITE_OK)
        answer = -1;
    sqlite3_close(h);
    return answer;
}

static bool exists(const struct place *p, const char *suffix)
{
    char name[128];

    (void)str_fmt(name, sizeof(name), "%s%s", p->path, suffix);
    return access(name, F_OK) == 0;
}

static size_t count_files(const struct place *p)
{
    char command[128];
    FILE *ls;
    size_t n = 0;
    int c;

    (void)str_fmt(command, sizeof(command), "ls %s", p->dir);
    ls = popen(command, "r");
    assert_non_null(ls);
    while ((c = fgetc(ls)) != EOF)
        n += c == '\n';
    pclose(ls);
    return n;
}

static void a_new_database_needs_no_copy(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    struct stat st;

    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), 0);
    assert_int_equal(ask(p->path, "PRAGMA user_version"), 2);
    assert_int_equal(ask(p->path, "PRAGMA application_id"), DB_APPLICATION_ID);
    assert_int_equal(ask(p->path, "SELECT count(*) FROM migration WHERE at > 0"), 2);
    assert_int_equal(count_files(p), 1);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 077, 0); /* nothing for others */
    /* A second start finds nothing to do, but to shut out others from what an older one made. */
    assert_int_equal(chmod(p->path, 0644), 0);
    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), 0);
    assert_int_equal(count_files(p), 1);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void the_old_database_is_copied_first(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    char copy[128];

    assert_int_equal(db_migrate_with(p->path, TWO, 1, &f), 0);
    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), 0);
    (void)str_fmt(copy, sizeof(copy), "%s.before-1", p->path);
    assert_int_equal(ask(copy, "PRAGMA user_version"), 1);
    assert_int_equal(ask(copy, "SELECT id FROM a"), 7);
    assert_int_equal(ask(p->path, "SELECT a_id FROM b"), 7);
}

static void a_newer_schema_is_refused(void **state)
{
    struct place *p = *state;
    struct fail f = {0};

    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), 0);
    assert_int_equal(db_migrate_with(p->path, TWO, 1, &f), E_UNSUPPORTED);
    assert_non_null(strstr(f.text, "has schema 2, newer than this program's 1"));
    assert_int_equal(ask(p->path, "PRAGMA user_version"), 2);
}

static void a_changed_text_is_refused(void **state)
{
    struct place *p = *state;
    struct db_migration_def changed[2] = {TWO[0], TWO[1]};
    struct fail f = {0};

    assert_int_equal(db_migrate_with(p->path, TWO, 1, &f), 0);
    changed[0].text = "CREATE TABLE a (id INTEGER PRIMARY KEY);";
    assert_int_equal(db_migrate_with(p->path, changed, 2, &f), E_CONFLICT);
    assert_non_null(strstr(f.text, "0001_init ran with another text"));
    assert_int_equal(ask(p->path, "PRAGMA user_version"), 1);
}

static void a_gap_in_the_record_is_refused(void **state)
{
    struct place *p = *state;
    struct fail f = {0};

    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), 0);
    (void)ask(p->path, "DELETE FROM migration WHERE version=1 RETURNING 1");
    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), E_CONFLICT);
    assert_non_null(strstr(f.text, "migration 1 is not recorded"));
    (void)ask(p->path, "DELETE FROM migration RETURNING 1");
    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), E_CONFLICT);
}

/* Neither its changes nor its row stay; what ran before it does; the next start tries again. */
static void a_failing_migration_leaves_the_old_schema(void **state)
{
    struct place *p = *state;
    struct db_migration_def bad[2] = {
        TWO[0], {2, "bad", "CREATE TABLE c (x); INSERT INTO none VALUES (1);"}};
    struct fail f = {0};

    assert_int_equal(db_migrate_with(p->path, bad, 2, &f), E_DB);
    assert_non_null(strstr(f.text, "migration 0002_bad: "));
    assert_non_null(strstr(f.text, "no such table"));
    assert_int_equal(ask(p->path, "PRAGMA user_version"), 1);
    assert_int_equal(ask(p->path, "SELECT count(*) FROM c"), -1);
    bad[1].text = "INSERT INTO a VALUES (8); CREATE TABLE d (a_id REFERENCES a (id));"
                  "INSERT INTO d VALUES (99);";
    assert_int_equal(db_migrate_with(p->path, bad, 2, &f), E_DB);
    assert_non_null(strstr(f.text, "references that lead nowhere"));
    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), 0);
    assert_true(exists(p, ".before-1"));
    assert_int_equal(ask(p->path, "SELECT count(*) FROM a"), 1);
}

static void other_files_are_refused(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    sqlite3 *h;
    FILE *file;

    assert_int_equal(sqlite3_open(p->path, &h), SQLITE_OK);
    assert_int_equal(db_exec(h, "CREATE TABLE theirs (x)"), SQLITE_OK);
    sqlite3_close(h);
    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), E_DB);
    assert_non_null(strstr(f.text, "not an otad database"));
    assert_int_equal(unlink(p->path), 0);
    assert_int_equal(sqlite3_open(p->path, &h), SQLITE_OK);
    assert_int_equal(db_exec(h, "PRAGMA application_id=77"), SQLITE_OK);
    sqlite3_close(h);
    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), E_DB);
    file = fopen(p->path, "w");
    assert_non_null(file);
    fputs(long_text(5000), file);
    fclose(file);
    assert_int_equal(db_migrate_with(p->path, TWO, 2, &f), E_DB);
    assert_non_null(strstr(f.text, "not an otad database"));
}

static void a_connection_needs_the_right_schema(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    struct db *r;

    assert_int_equal(db_open(p->path, DB_READ, 64, &r, &f), E_DB); /* not there */
    assert_non_null(strstr(f.text, p->path));
    assert_int_equal(db_migrate_with(p->path, db_migration_defs, DB_MIGRATIONS, &f), 0);
    (void)ask(p->path, "PRAGMA user_version=9999");
    assert_int_equal(db_open(p->path, DB_READ, 64, &r, &f), E_DB);
    assert_non_null(strstr(f.text, "has schema 9999"));
    assert_int_equal(db_open(p->path, DB_WRITE, 64, &r, &f), E_UNSUPPORTED);
}

/* Devices that were there before versions were counted: a type with more versions than have a
 * counter of their own, and one with few. */
static const char before_versions[] =
    "INSERT INTO project (id, key, name, created_at, updated_at) VALUES (1, 'p', '', 0, 0);"
    "INSERT INTO device_type (id, project_id, key, name, version_scheme, accept_timeout_s,"
    "  download_timeout_s, install_timeout_s, verify_timeout_s, attempts, attempts_per_day,"
    "  backoff_s, created_at, updated_at)"
    " SELECT value, 1, 't' || value, '', 'auto', 1, 1, 1, 1, 1, 1, 1, 0, 0"
    " FROM (SELECT 1 AS value UNION SELECT 2);"
    "INSERT INTO firmware (project_id, type_id, module, version, name, release, created_at,"
    "  updated_at) VALUES (1, 1, 'main', 'v240', '', 'open', 0, 0);"
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)"
    "INSERT INTO device (id, project_id, type_id, key, enabled, created_at, updated_at)"
    " SELECT i, 1, 1 + i / 300, 'd' || i, i % 10 <> 0, 0, 0 FROM n;"
    "INSERT INTO device_module (device_id, module, version, reported_at)"
    " SELECT id, 'main', CASE type_id WHEN 2 THEN '1.0'"
    "   WHEN 1 THEN 'v' || CASE WHEN id > 250 THEN 1 ELSE 100 + id % 150 END END, 0 FROM device;";

static void versions_are_counted_once(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    sqlite3 *h;

    assert_int_equal(db_migrate_with(p->path, db_migration_defs, 14, &f), 0);
    assert_int_equal(db_handle_open(p->path, SQLITE_OPEN_READWRITE, 64, &h, &f), 0);
    assert_int_equal(db_exec(h, before_versions), SQLITE_OK);
    sqlite3_close(h);
    assert_int_equal(db_migrate_with(p->path, db_migration_defs, DB_MIGRATIONS, &f), 0);
    static const char *const recounts[][2] = {
        {"SELECT sum(enabled) FROM version_count",
         "SELECT count(*) FROM device_module m JOIN device d ON d.id = m.device_id AND d.enabled"},
        {"SELECT sum(disabled) FROM version_count",
         "SELECT count(*) FROM device WHERE NOT enabled"},
        {"SELECT enabled + disabled FROM version_count WHERE type_id = 2 AND version = '1.0'",
         "SELECT count(*) FROM device WHERE type_id = 2"},
        {"SELECT enabled + disabled FROM version_count WHERE type_id = 1 AND version = ''",
         "SELECT count(*) FROM device_module WHERE counted = 0"},
        {"SELECT count(*) FROM version_count WHERE type_id = 1 AND version = 'v240'", "SELECT 1"},
        {"SELECT count(*) FROM version_count WHERE type_id = 1", "SELECT 102"},
        {"SELECT count(*) FROM version_count c WHERE version <> '' AND enabled + disabled <>"
         " (SELECT count(*) FROM device_module m JOIN device d ON d.id = m.device_id"
         "  WHERE m.counted AND m.version = c.version AND d.type_id = c.type_id)",
         "SELECT 0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(recounts); i++)
        assert_int_equal(ask(p->path, recounts[i][0]), ask(p->path, recounts[i][1]));
}

/* ---- the project's own, on rows of an older version ---- */
static void run(const char *path, const char *sql)
{
    struct fail f = {0};
    sqlite3 *h;

    if (db_handle_open(path, SQLITE_OPEN_READWRITE, 64, &h, &f) < 0)
        fail_msg("%s", f.text);
    if (sqlite3_exec(h, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(h));
    sqlite3_close(h);
}

/* Three campaigns, running, paused and aborted, with the same updates of the same six devices in
 * phase 1 each: dev1 failed, then it is verified; dev2 is verified, then it failed; dev3 fell back
 * from what it was verified with; of dev4 the success is suspect; dev5's first was canceled, its
 * second is under way; dev6's user refused. Of phase 2 one alone: dev5, verified. */
static const char OLD[] =
    "INSERT INTO project (id, key, name, created_at, updated_at) VALUES (1, 'p', 'p', 1, 1);"
    "INSERT INTO device_type (id, project_id, key, name, version_scheme, accept_timeout_s,"
    " download_timeout_s, install_timeout_s, verify_timeout_s, attempts, attempts_per_day, "
    "backoff_s,"
    " created_at, updated_at) VALUES (1, 1, 't', 't', 'auto', 1, 1, 1, 1, 1, 1, 1, 1, 1);"
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6)"
    "INSERT INTO device (id, project_id, type_id, key, created_at, updated_at)"
    " SELECT i, 1, 1, 'dev' || i, 1, 1 FROM n;"
    "INSERT INTO firmware (id, project_id, type_id, module, version, name, release, created_at,"
    " updated_at) VALUES (1, 1, 1, 'main', '2', 'f', 'campaign', 1, 1);"
    "INSERT INTO campaign (id, project_id, type_id, firmware_id, name, definition, state, phase,"
    " created_at, updated_at) VALUES (1, 1, 1, 1, 'c', '{}', 'running', 1, 1, 1),"
    " (2, 1, 1, 1, 'c', '{}', 'paused', 1, 1, 1), (3, 1, 1, 1, 'c', '{}', 'aborted', 1, 1, 1);"
    "INSERT INTO campaign_phase (campaign_id, no, gate_share, gate_sample, soak_s, approval, ended,"
    " verified) SELECT c.id, p.no, 9000, 1, 0, 0, 7, 4 FROM campaign c,"
    " (SELECT 1 AS no UNION ALL SELECT 2 UNION ALL SELECT 3) p;"
    "CREATE TEMP TABLE u (i INTEGER, device INTEGER, state TEXT, suspect INTEGER, cause TEXT,"
    " phase INTEGER);"
    "INSERT INTO u VALUES (1, 1, 'failed', 0, 'device', 1), (2, 1, 'verified', 0, '', 1),"
    " (3, 2, 'verified', 0, '', 1), (4, 2, 'failed', 0, 'device', 1),"
    " (5, 3, 'verified', 0, '', 1), (6, 4, 'verified', 1, '', 1),"
    " (7, 5, 'canceled', 0, 'operator', 1), (8, 5, 'downloading', 0, '', 1),"
    " (9, 6, 'rejected', 0, 'consent_refused', 1), (10, 5, 'verified', 0, '', 2);"
    "INSERT INTO ota_update (id, project_id, device_id, module, firmware_id, from_version,"
    " to_version, state, bytes_total, suspect, cause, link_until, created_at, updated_at, ended_at,"
    " campaign_id, phase) SELECT c.id * 100 + u.i, 1, u.device, 'mod' || c.id, 1, '1', '2', "
    "u.state,"
    " 1, u.suspect, u.cause, 1, 1, 1, CASE WHEN u.state = 'downloading' THEN NULL ELSE 1 END, c.id,"
    " u.phase FROM campaign c, u;"
    "INSERT INTO ota_update_history (update_id, seq, at, from_state, to_state, cause, text)"
    " SELECT c.id * 100 + 5, 1, 1, 'verified', 'verified', 'fell_back', '' FROM campaign c;"
    "INSERT INTO campaign_request (campaign_id, action, body, revision, token_id, asked_by, "
    "asked_at,"
    " expires_at) VALUES (2, 'resume', '{}', 4, 1, 'me', 5, 6);";

static int64_t gate(const char *path, int campaign, int phase)
{
    char sql[160];

    (void)str_fmt(sql, sizeof(sql),
                  "SELECT gate_ended * 100 + gate_verified FROM campaign_phase"
                  " WHERE campaign_id = %d AND no = %d",
                  campaign, phase);
    return ask(path, sql);
}

/* Gates of campaigns on their way count the devices that ended before there was such a counter. */
static void gates_are_counted_from_old_rows(void **state)
{
    struct place *p = *state;
    struct fail f = {0};

    assert_int_equal(db_migrate_with(p->path, db_migration_defs, 20, &f), 0);
    run(p->path, OLD);
    assert_int_equal(db_migrate(p->path, &f), 0);
    for (int c = 1; c <= 2; c++) {
        assert_int_equal(gate(p->path, c, 1), 401); /* dev1 to dev4; dev1 */
        assert_int_equal(gate(p->path, c, 2), 101);
        assert_int_equal(gate(p->path, c, 3), 0);
    }
    assert_int_equal(gate(p->path, 3, 1), 0); /* nobody looks at it any more */
    assert_int_equal(ask(p->path, "SELECT sum(ended) * 100 + sum(verified) FROM campaign_phase"),
                     6336); /* what was counted stays */
    assert_int_equal(ask(p->path, "SELECT count(*) FROM request WHERE kind = 'campaign' AND"
                                  " object_id = 2 AND action = 'resume' AND revision = 4 AND"
                                  " asked_by = 'me' AND expires_at = 6"),
                     1);
    assert_int_equal(ask(p->path, "SELECT count(*) FROM request"), 1);
}

int migrate_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_database_needs_no_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(the_old_database_is_copied_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_schema_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_text_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_gap_in_the_record_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failing_migration_leaves_the_old_schema, setup, teardown),
        cmocka_unit_test_setup_teardown(other_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_needs_the_right_schema, setup, teardown),
        cmocka_unit_test_setup_teardown(versions_are_counted_once, setup, teardown),
        cmocka_unit_test_setup_teardown(gates_are_counted_from_old_rows, setup, teardown),
    };

    return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
