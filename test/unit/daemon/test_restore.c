/*
 * Restoring: whatever goes wrong, a database stands where it stood before. The program's own
 * files are taken in whole, for they are no part of the library.
 */
#include "../../../src/daemon/lock.c"
#include "../../../src/daemon/tools.c"
#include "db_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

struct place {
    char data_dir[64];
    char copy[96]; /* what is restored: an installation whose row says "copy" */
    struct conf conf;
};

static void put_row(struct db *db, const char *word)
{
    struct db_stmt *q = db_use(db, Q_SETTING_PUT);
    db_bind_text(q, 1, "restore");
    db_bind_text(q, 2, word);
    if (db_run(q) < 0)
        abort();
}

static bool has_row(const char *path, const char *word)
{
    struct fail f = {0};
    struct db *db;
    if (access(path, F_OK) < 0 || db_open(path, DB_WRITE, 500, &db, &f) < 0)
        return false;
    struct db_stmt *q = db_use(db, Q_SETTING_GET);
    db_bind_text(q, 1, "restore");
    bool same = db_row(q) == 0 && strcmp(db_text(q, 0), word) == 0;
    db_reset(q);
    db_close(db);
    return same;
}

static void make_db(const char *path, const char *word)
{
    struct fail f = {0};
    struct db *db;
    if (db_open(path, DB_WRITE, 500, &db, &f) < 0)
        abort();
    put_row(db, word);
    db_close(db);
}

static void place_init(struct place *p)
{
    struct fail f = {0};
    char path[96];

    *p = (struct place){0};
    fixture_dir_make(p->data_dir);
    p->conf.data_dir = p->data_dir;
    (void)str_fmt(path, sizeof(path), "%s/otad.db", p->data_dir);
    (void)str_fmt(p->copy, sizeof(p->copy), "%s/copy", p->data_dir);
    make_db(path, "copy");
    assert_int_equal(db_backup(path, p->copy, &f), 0);
    make_db(path, "present");
}

static bool present_is(const struct place *p, const char *word)
{
    AUTO(free) char *path = data_db_path(p->data_dir);
    return has_row(path, word);
}

static void a_copy_takes_the_place(void **state)
{
    struct place p;
    struct fail f = {0};

    (void)state;
    place_init(&p);
    assert_int_equal(tool_restore(&p.conf, p.copy, &f), 0);
    assert_true(present_is(&p, "copy"));
    assert_true(has_row(p.copy, "copy")); /* it may be restored again */
    fixture_dir_remove(p.data_dir);
}

/* An operator restores as root; the service runs as a user of its own, and must get at it. */
static void it_belongs_to_the_owner_of_the_data(void **state)
{
    static const char *const ends[] = {"otad.db", "otad.db-wal", "otad.db-shm", "lock"};
    char path[96];
    struct place p;
    struct fail f = {0};
    struct stat st;

    (void)state;
    if (geteuid() != 0)
        skip(); /* nobody else can give files away */
    place_init(&p);
    assert_int_equal(chown(p.data_dir, 64321, 64322), 0);
    assert_int_equal(tool_restore(&p.conf, p.copy, &f), 0);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        (void)str_fmt(path, sizeof(path), "%s/%s", p.data_dir, ends[i]);
        if (stat(path, &st) < 0 && strchr(ends[i], '-'))
            continue; /* gone with the last connection */
        assert_int_equal(st.st_uid, 64321);
        assert_int_equal(st.st_gid, 64322);
    }
    assert_true(present_is(&p, "copy"));
    fixture_dir_remove(p.data_dir);
}

static void restore_on_full_disk(void *arg)
{
    struct place *p = arg;
    struct fail f = {0};

    fixture_limit_files(40000);
    CHECK(tool_restore(&p->conf, p->copy, &f) < 0);
    fixture_limit_files(-1);
    CHECK(present_is(p, "present"));
    CHECK(tool_restore(&p->conf, p->copy, &f) == 0);
    CHECK(present_is(p, "copy"));
}

static void a_full_disk_leaves_the_present_one(void **state)
{
    struct place p;

    (void)state;
    place_init(&p);
    assert_int_equal(fixture_child(restore_on_full_disk, &p), 0);
    fixture_dir_remove(p.data_dir);
}

/* A copy that a later program made is found out only once it is in place. */
static void a_newer_copy_is_refused(void **state)
{
    static const unsigned char version[4] = {0, 0, 0x7f, 0xff};
    struct place p;
    struct fail f = {0};

    (void)state;
    place_init(&p);
    int fd = open(p.copy, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, version, sizeof(version), 60), sizeof(version)); /* user_version */
    assert_int_equal(close(fd), 0);
    assert_int_equal(tool_restore(&p.conf, p.copy, &f), E_UNSUPPORTED);
    assert_true(present_is(&p, "present"));
    fixture_dir_remove(p.data_dir);
}

/* The second of the three files can't be moved: the third and the second itself stay as they are,
 * and the first comes back. */
static void half_put_aside(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    struct place p;
    struct fail f = {0};
    char path[96], aside[112], name[128], text[16];

    (void)state;
    place_init(&p);
    (void)str_fmt(path, sizeof(path), "%s/live", p.data_dir);
    (void)str_fmt(aside, sizeof(aside), "%s/aside", p.data_dir);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        (void)str_fmt(name, sizeof(name), "%s%s", path, ends[i]);
        FILE *out = fopen(name, "w");
        assert_non_null(out);
        (void)fprintf(out, "live%s", ends[i]);
        (void)fclose(out);
    }
    (void)str_fmt(name, sizeof(name), "%s-wal", aside);
    assert_int_equal(mkdir(name, 0700), 0);
    assert_true(set_aside(path, aside, &f) < 0);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        (void)str_fmt(name, sizeof(name), "%s%s", path, ends[i]);
        FILE *in = fopen(name, "r");
        assert_non_null(in);
        assert_non_null(fgets(text, sizeof(text), in));
        (void)fclose(in);
        assert_string_equal(text + 4, ends[i]);
    }
    fixture_dir_remove(p.data_dir);
}

static void not_while_otad_runs(void **state)
{
    struct place p;
    struct data_lock lock;
    struct fail f = {0};

    (void)state;
    place_init(&p);
    assert_int_equal(data_lock_take(p.data_dir, &lock, &f), 0);
    assert_false(lock.unclean);
    assert_true(tool_restore(&p.conf, p.copy, &f) < 0);
    assert_non_null(strstr(f.text, "in use"));
    data_lock_release(&lock, false);
    assert_int_equal(data_lock_take(p.data_dir, &lock, &f), 0);
    assert_true(lock.unclean); /* its holder did not end cleanly */
    data_lock_release(&lock, true);
    assert_true(present_is(&p, "present"));
    fixture_dir_remove(p.data_dir);
}

int trim_tests(void); /* test_trim.c */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_takes_the_place),
        cmocka_unit_test(it_belongs_to_the_owner_of_the_data),
        cmocka_unit_test(a_full_disk_leaves_the_present_one),
        cmocka_unit_test(a_newer_copy_is_refused),
        cmocka_unit_test(half_put_aside),
        cmocka_unit_test(not_while_otad_runs),
    };
    log_setup(LOG_ERROR, false);
    return (cmocka_run_group_tests_name("daemon restore", tests, NULL, NULL) + trim_tests()) != 0;
}
