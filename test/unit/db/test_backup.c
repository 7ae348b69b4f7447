/* Online copies and the integrity check. */
#include "../../../src/db/db_priv.h"
#include "test_db.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* A writer that keeps two rows equal in every transaction and never pauses. */
struct writer {
    struct db *w;
    atomic_bool stop;
    atomic_int rounds;
};

static void *write_pairs(void *arg)
{
    struct writer *wr = arg;

    for (int i = 0; !atomic_load(&wr->stop); i++) {
        char value[24];
        (void)str_fmt(value, sizeof(value), "%d", i);
        if (db_begin(wr->w) < 0 || put_setting(wr->w, "left", value) < 0 ||
            put_setting(wr->w, "right", value) < 0 || db_commit(wr->w) < 0)
            abort();
        atomic_fetch_add(&wr->rounds, 1);
    }
    return NULL;
}

static void a_copy_under_load_ends_and_is_of_one_moment(void **state)
{
    struct db_fixture *fx = *state;
    struct writer wr = {.w = fx->w};
    struct fail f = {0};
    char to[128];
    pthread_t thread;

    alarm(300);                    /* a copy that begins anew after every commit would never end */
    for (int i = 0; i < 40; i++) { /* many steps' worth of pages */
        char name[8];
        (void)str_fmt(name, sizeof(name), "n%d", i);
        assert_int_equal(put_setting(fx->w, name, long_text(1000000)), 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, write_pairs, &wr), 0);
    while (atomic_load(&wr.rounds) == 0)
        sched_yield();
    for (int i = 0; i < 2; i++) {
        struct db_fixture copy = {0};

        (void)str_fmt(to, sizeof(to), "%s/copy%d", fx->dir, i);
        if (db_backup(fx->path, to, &f) < 0)
            fail_msg("%s", f.text);
        assert_int_equal(db_check(to, &f), 0);
        (void)str_copy(copy.path, sizeof(copy.path), to);
        struct db *r = db_fixture_reader(&copy);
        AUTO(free) char *left = get_setting(r, "left");
        AUTO(free) char *right = get_setting(r, "right");
        assert_non_null(left);
        assert_string_equal(left, right);
        assert_int_equal(count_settings(r), 42);
        db_close(r);
    }
    atomic_store(&wr.stop, true);
    pthread_join(thread, NULL);
    alarm(0);
}

static size_t count_temporaries(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    size_t n = 0;

    assert_non_null(d);
    while ((e = readdir(d)))
        n += strstr(e->d_name, ".tmp-") != NULL;
    closedir(d);
    return n;
}

static void a_copy_never_replaces_a_file(void **state)
{
    struct db_fixture *fx = *state;
    struct fail f = {0};
    char to[128];

    (void)str_fmt(to, sizeof(to), "%s/copy", fx->dir);
    assert_int_equal(db_backup(fx->path, to, &f), 0);
    assert_int_equal(db_backup(fx->path, to, &f), -EEXIST);
    assert_non_null(strstr(f.text, "exists already"));
    (void)str_fmt(to, sizeof(to), "%s/none/copy", fx->dir);
    assert_int_equal(db_backup(fx->path, to, &f), -ENOENT);
    (void)str_fmt(to, sizeof(to), "%s/copy2", fx->dir);
    assert_true(db_backup("/tmp/otad-test-none/none.db", to, &f) < 0);
    assert_int_equal(access(to, F_OK), -1);
    assert_int_equal(count_temporaries(fx->dir), 0);
}

static void copy_to_full_disk(void *arg)
{
    struct db_fixture *fx = arg;
    struct fail f = {0};
    char to[128];

    (void)str_fmt(to, sizeof(to), "%s/copy", fx->dir);
    fixture_limit_files(65536);
    CHECK(db_backup(fx->path, to, &f) == E_DB_FULL);
    CHECK(strstr(f.text, "copy of"));
    CHECK(access(to, F_OK) != 0);
    fixture_limit_files(-1);
    CHECK(db_backup(fx->path, to, &f) == 0);
}

static void a_copy_to_a_full_disk_leaves_nothing(void **state)
{
    struct db_fixture *fx = *state;

    assert_int_equal(put_setting(fx->w, "a", long_text(300000)), 0);
    db_close(fx->w);
    fx->w = NULL;
    assert_int_equal(fixture_child(copy_to_full_disk, fx), 0);
    assert_int_equal(count_temporaries(fx->dir), 0);
}

static void damage_is_found(void **state)
{
    struct db_fixture *fx = *state;
    struct fail f = {0};
    uint8_t junk[4096];
    int fd;

    assert_int_equal(db_check(fx->path, &f), 0);
    for (int i = 0; i < 200; i++) {
        char name[8];
        (void)str_fmt(name, sizeof(name), "n%d", i);
        assert_int_equal(put_setting(fx->w, name, long_text(2000)), 0);
    }
    db_close(fx->w);
    fx->w = NULL;
    memset(junk, 0x5a, sizeof(junk));
    fd = open(fx->path, O_RDWR);
    assert_true(fd >= 0);
    off_t end = lseek(fd, 0, SEEK_END);
    assert_int_equal(pwrite(fd, junk, sizeof(junk), end - 4096 * 20), 4096);
    close(fd);
    assert_int_equal(db_check(fx->path, &f), E_DB);
    assert_non_null(strstr(f.text, "check "));
    /* Not a database at all, and none there. */
    fd = open(fx->path, O_RDWR);
    assert_int_equal(pwrite(fd, junk, sizeof(junk), 0), 4096);
    close(fd);
    assert_int_equal(db_check(fx->path, &f), E_DB);
    assert_int_equal(db_check("/tmp/otad-test-none/none.db", &f), E_DB);
}

int backup_tests(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(a_copy_under_load_ends_and_is_of_one_moment),
        DB_TEST(a_copy_never_replaces_a_file),
        DB_TEST(a_copy_to_a_full_disk_leaves_nothing),
        DB_TEST(damage_is_found),
    };

    return cmocka_run_group_tests_name("backup", tests, NULL, NULL);
}
