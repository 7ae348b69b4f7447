/* Transactions: savepoints, a full disk at every place it can strike, and kill -9. */
#include "../../../src/db/db_priv.h"
#include "test_db.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void savepoints_nest(void **state)
{
    struct db_fixture *fx = *state;
    struct db *w = fx->w;
    int64_t before = db_total_changes(w);

    assert_int_equal(db_begin(w), 0);
    assert_true(db_in_tx(w));
    assert_int_equal(put_setting(w, "a", "1"), 0);
    assert_int_equal(db_save(w), 0);
    assert_int_equal(put_setting(w, "b", "1"), 0);
    assert_int_equal(db_save(w), 0);
    assert_int_equal(put_setting(w, "c", "1"), 0);
    db_undo(w);
    assert_int_equal(count_settings(w), 2);
    assert_int_equal(db_release(w), 0);
    assert_int_equal(db_save(w), 0);
    assert_int_equal(put_setting(w, "d", "1"), 0);
    db_undo(w);
    assert_int_equal(db_commit(w), 0);
    assert_false(db_in_tx(w));
    assert_int_equal(count_settings(w), 2);
    assert_true(db_total_changes(w) > before);
}

static void rollback_undoes_all(void **state)
{
    struct db_fixture *fx = *state;

    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(put_setting(fx->w, "a", "1"), 0);
    db_rollback(fx->w);
    assert_false(db_in_tx(fx->w));
    assert_int_equal(count_settings(fx->w), 0);
    db_rollback(fx->w); /* nothing to do is fine */
}

/* Only commits that wrote something count. */
static void commits_are_measured(void **state)
{
    struct db_fixture *fx = *state;
    int64_t before = metric_get(M_COMMITS);

    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(count_settings(fx->w), 0);
    assert_int_equal(db_commit(fx->w), 0);
    assert_int_equal(metric_get(M_COMMITS), before);
    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(put_setting(fx->w, "a", "1"), 0);
    assert_int_equal(db_commit(fx->w), 0);
    assert_int_equal(metric_get(M_COMMITS), before + 1);
}

/* SQLite answers SQLITE_FULL with a rollback of the whole transaction. The rest of the turn
 * must not then be written statement by statement. */
static void nothing_slips_out_of_a_lost_transaction(void **state)
{
    struct db_fixture *fx = *state;
    int64_t pages = 0;
    char sql[64];

    assert_int_equal(db_exec_int(fx->w->h, "PRAGMA page_count", &pages), SQLITE_OK);
    (void)str_fmt(sql, sizeof(sql), "PRAGMA max_page_count=%d", (int)pages + 4);
    assert_int_equal(db_exec(fx->w->h, sql), SQLITE_OK);
    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(put_setting(fx->w, "a", "1"), 0);
    assert_int_equal(db_save(fx->w), 0);
    assert_int_equal(put_setting(fx->w, "b", long_text(100000)), E_DB_FULL);
    assert_non_null(strstr(db_error(fx->w), "setting_put: "));
    db_undo(fx->w);
    assert_int_equal(put_setting(fx->w, "c", "1"), E_DB_FULL);
    assert_int_equal(db_save(fx->w), E_DB_FULL);
    assert_int_equal(db_release(fx->w), E_DB_FULL);
    assert_true(db_in_tx(fx->w));
    assert_int_equal(db_commit(fx->w), E_DB_FULL);
    assert_false(db_in_tx(fx->w));
    assert_int_equal(count_settings(fx->w), 0);
    /* With space again it goes on. */
    assert_int_equal(db_exec(fx->w->h, "PRAGMA max_page_count=1000000"), SQLITE_OK);
    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(put_setting(fx->w, "b", long_text(100000)), 0);
    assert_int_equal(db_commit(fx->w), 0);
    assert_int_equal(count_settings(fx->w), 1);
}

/* SQLite leaves the transaction open when a deferred reference leads nowhere at its COMMIT. */
static void a_refused_commit_is_rolled_back(void **state)
{
    struct db_fixture *fx = *state;

    assert_int_equal(db_exec(fx->w->h, "CREATE TABLE p (id INTEGER PRIMARY KEY);"
                                       "CREATE TABLE c (p_id INTEGER REFERENCES p (id)"
                                       " DEFERRABLE INITIALLY DEFERRED)"),
                     SQLITE_OK);
    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(put_setting(fx->w, "a", "1"), 0);
    assert_int_equal(db_exec(fx->w->h, "INSERT INTO c VALUES (9)"), SQLITE_OK);
    assert_int_equal(db_commit(fx->w), E_CONFLICT);
    assert_non_null(strstr(db_error(fx->w), "commit: FOREIGN KEY constraint failed"));
    assert_false(db_in_tx(fx->w));
    assert_int_equal(count_settings(fx->w), 0);
    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(put_setting(fx->w, "a", "1"), 0);
    assert_int_equal(db_commit(fx->w), 0);
}

/* ---- a disk that is full when the commit writes ---- */
static int64_t file_size(const char *path, const char *suffix)
{
    char name[128];
    struct stat st;

    (void)str_fmt(name, sizeof(name), "%s%s", path, suffix);
    return stat(name, &st) == 0 ? (int64_t)st.st_size : 0;
}

static void commit_on_full_disk(void *arg)
{
    struct db_fixture fx = {0};
    struct fail f = {0};
    int64_t failed = metric_get(M_COMMIT_FAILED);

    (void)str_copy(fx.path, sizeof(fx.path), arg);
    CHECK(db_open(fx.path, DB_WRITE, 2000, &fx.w, &f) == 0);
    CHECK(put_setting(fx.w, "before", "1") == 0);
    for (int round = 0; round < 3; round++) {
        fixture_limit_files(file_size(fx.path, "-wal") + 8192);
        CHECK(db_begin(fx.w) == 0);
        CHECK(put_setting(fx.w, "a", long_text(200000)) == 0); /* in memory so far */
        CHECK(db_commit(fx.w) == E_DB_FULL);
        CHECK(!db_in_tx(fx.w));
        CHECK(db_error(fx.w)[0] != '\0');
        CHECK(count_settings(fx.w) == 1);
        CHECK(metric_get(M_COMMIT_FAILED) == failed + round + 1);
    }
    fixture_limit_files(-1);
    CHECK(db_begin(fx.w) == 0);
    CHECK(put_setting(fx.w, "a", long_text(200000)) == 0);
    CHECK(db_commit(fx.w) == 0);
    CHECK(count_settings(fx.w) == 2);
    db_close(fx.w);
    CHECK(db_check(fx.path, &f) == 0);
}

static void a_commit_on_a_full_disk_is_rolled_back(void **state)
{
    struct db_fixture *fx = *state;

    db_close(fx->w);
    fx->w = NULL;
    assert_int_equal(fixture_child(commit_on_full_disk, fx->path), 0);
}

/* With a small cache the pages go to the WAL before the commit. */
static void spill_on_full_disk(void *arg)
{
    struct db *w;
    struct fail f = {0};
    int rc = 0;

    CHECK(db_open(arg, DB_WRITE, 64, &w, &f) == 0);
    CHECK(put_setting(w, "before", "1") == 0);
    fixture_limit_files(file_size(arg, "-wal") + 65536);
    CHECK(db_begin(w) == 0);
    for (int i = 0; i < 50 && rc == 0; i++) {
        char name[8];
        (void)str_fmt(name, sizeof(name), "n%d", i);
        rc = put_setting(w, name, long_text(50000));
    }
    CHECK(rc == E_DB_FULL);
    CHECK(put_setting(w, "after", "1") == E_DB_FULL);
    CHECK(db_commit(w) == E_DB_FULL);
    CHECK(count_settings(w) == 1);
    fixture_limit_files(-1);
    CHECK(put_setting(w, "after", "1") == 0);
    db_close(w);
}

static void a_statement_on_a_full_disk_ends_the_transaction(void **state)
{
    struct db_fixture *fx = *state;

    db_close(fx->w);
    fx->w = NULL;
    assert_int_equal(fixture_child(spill_on_full_disk, fx->path), 0);
}

/* ---- kill -9 ---- */
struct victim {
    const char *path;
    bool commit;
};

static void write_and_die(void *arg)
{
    const struct victim *v = arg;
    struct db *w;
    struct fail f = {0};

    CHECK(db_open(v->path, DB_WRITE, 64, &w, &f) == 0);
    CHECK(db_begin(w) == 0);
    for (int i = 0; i < 20; i++) { /* more than the cache holds: some of it is in the WAL */
        char name[8];
        (void)str_fmt(name, sizeof(name), "n%d", i);
        CHECK(put_setting(w, name, long_text(50000)) == 0);
    }
    if (v->commit)
        CHECK(db_commit(w) == 0);
    kill(getpid(), SIGKILL);
}

static void die_and_look(struct db_fixture *fx, bool commit, int64_t expected)
{
    struct victim v = {fx->path, commit};
    struct fail f = {0};
    int status;

    db_close(fx->w);
    fx->w = NULL;
    status = fixture_child(write_and_die, &v);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_true(file_size(fx->path, "-wal") > 100000);
    assert_int_equal(db_check(fx->path, &f), 0);
    db_fixture_reopen(fx);
    assert_int_equal(count_settings(fx->w), expected);
}

static void kill_before_the_commit_leaves_nothing(void **state)
{
    die_and_look(*state, false, 0);
}

static void kill_after_the_commit_loses_nothing(void **state)
{
    die_and_look(*state, true, 20);
}

int tx_tests(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(savepoints_nest),
        DB_TEST(rollback_undoes_all),
        DB_TEST(commits_are_measured),
        DB_TEST(nothing_slips_out_of_a_lost_transaction),
        DB_TEST(a_refused_commit_is_rolled_back),
        DB_TEST(a_commit_on_a_full_disk_is_rolled_back),
        DB_TEST(a_statement_on_a_full_disk_ends_the_transaction),
        DB_TEST(kill_before_the_commit_leaves_nothing),
        DB_TEST(kill_after_the_commit_loses_nothing),
    };

    return cmocka_run_group_tests_name("tx", tests, NULL, NULL);
}
