/* Deleting, holding, and the sweep after a crash. */
#include "test_store.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_there(const struct place *p, const struct digests *d)
{
    int fd;

    if (store_get(p->s, d->sha256, d->size, &fd) < 0)
        return false;
    close(fd);
    return true;
}

static bool is_wanted(void *arg, const uint8_t sha256[SHA256_SIZE])
{
    return memcmp(arg, sha256, SHA256_SIZE) == 0;
}

static void the_sweep_keeps_what_is_used(void **state)
{
    struct place *p = *state;
    size_t kept;
    struct digests keep = put_blob(p->s, "keep", 4), drop = put_blob(p->s, "drop", 4),
                   held = put_blob(p->s, "held", 4);

    store_hold(p->s, held.sha256);
    assert_int_equal(store_sweep(p->s, is_wanted, keep.sha256, &kept), 0);
    assert_true(is_there(p, &keep));
    assert_true(is_there(p, &held));
    assert_false(is_there(p, &drop));
    store_unhold(p->s, held.sha256);
    assert_int_equal(store_sweep(p->s, is_wanted, keep.sha256, &kept), 0);
    assert_false(is_there(p, &held));
    assert_true(is_there(p, &keep));
    assert_int_equal(kept, 0);
    assert_int_equal(count_below(p, "strays"), 0);
}

static void put_file(const struct place *p, const char *name)
{
    char path[160];
    FILE *f;

    (void)str_fmt(path, sizeof(path), "%s/%s", p->dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("x", f);
    fclose(f);
}

static void the_sweep_leaves_strangers_alone(void **state)
{
    struct place *p = *state;
    uint8_t none[SHA256_SIZE] = {0};
    char path[128];
    size_t kept;

    (void)str_fmt(path, sizeof(path), "%s/blobs/sha256/zz", p->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    put_file(p, "blobs/sha256/README");
    put_file(p, "blobs/sha256/ab"); /* a file where a folder should be */
    put_file(p, "blobs/sha256/zz/short");
    put_file(p, "blobs/sha256/zz/"
                "00112233445566778899aabbccddeeff00112233445566778899aabbccddee");
    put_file(p, "tmp/left-over");
    assert_int_equal(store_sweep(p->s, is_wanted, none, &kept), 0);
    assert_int_equal(count_below(p, "tmp"), 0);
    assert_int_equal(count_below(p, "blobs"), 4);
}

static void a_held_blob_is_not_deleted(void **state)
{
    struct place *p = *state;
    struct digests d = put_blob(p->s, "x", 1);

    store_hold(p->s, d.sha256);
    store_hold(p->s, d.sha256);
    assert_int_equal(store_delete(p->s, d.sha256), 0);
    store_unhold(p->s, d.sha256);
    assert_int_equal(store_delete(p->s, d.sha256), 0);
    assert_true(is_there(p, &d));
    store_unhold(p->s, d.sha256);
    assert_int_equal(store_delete(p->s, d.sha256), 0);
    assert_false(is_there(p, &d));
    assert_int_equal(store_delete(p->s, d.sha256), E_NOTFOUND);
}

/* The second upload of a content finds it there; the first one's firmware is deleted in that
 * moment. Until the put is freed the blob stays. */
static void a_finished_put_holds_its_blob(void **state)
{
    struct place *p = *state;
    struct digests d = put_blob(p->s, "twice", 5);
    struct fail f = {0};
    struct store_put *put;

    assert_int_equal(store_put_new(p->s, &put, &f), 0);
    assert_int_equal(store_put_write(put, "twice", 5, &f), 0);
    assert_int_equal(store_put_commit(put, &d, &f), 0);
    assert_int_equal(store_delete(p->s, d.sha256), 0);
    assert_true(is_there(p, &d));
    store_hold(p->s, d.sha256);
    store_put_free(put);
    assert_int_equal(store_delete(p->s, d.sha256), 0);
    assert_true(is_there(p, &d));
    store_unhold(p->s, d.sha256);
    assert_int_equal(store_delete(p->s, d.sha256), 0);
    assert_false(is_there(p, &d));
}

struct deleter {
    struct place *p;
    uint8_t sha256[SHA256_SIZE];
    atomic_bool stop;
};

static void *delete_all_the_time(void *arg)
{
    struct deleter *d = arg;

    while (!atomic_load(&d->stop))
        if (store_delete(d->p->s, d->sha256) == -EINVAL)
            abort();
    return NULL;
}

static void a_delete_never_takes_a_blob_from_its_put(void **state)
{
    struct place *p = *state;
    struct digests first = put_blob(p->s, "race", 4);
    struct deleter d = {.p = p};
    pthread_t thread;

    memcpy(d.sha256, first.sha256, SHA256_SIZE);
    assert_int_equal(pthread_create(&thread, NULL, delete_all_the_time, &d), 0);
    for (int i = 0; i < 200; i++) {
        struct fail f = {0};
        struct store_put *put;
        struct digests got;

        assert_int_equal(store_put_new(p->s, &put, &f), 0);
        assert_int_equal(store_put_write(put, "race", 4, &f), 0);
        assert_int_equal(store_put_commit(put, &got, &f), 0);
        assert_true(is_there(p, &got));
        store_put_free(put);
    }
    atomic_store(&d.stop, true);
    pthread_join(thread, NULL);
}

static void die_while_receiving(void *arg)
{
    struct place *p = arg;
    struct fail f = {0};
    struct store_put *put;

    CHECK(put_blob(p->s, "whole", 5).size == 5);
    CHECK(store_put_new(p->s, &put, &f) == 0);
    CHECK(store_put_write(put, "half", 4, &f) == 0);
    kill(getpid(), SIGKILL);
}

static void a_kill_leaves_nothing_after_the_sweep(void **state)
{
    struct place *p = *state;
    struct digests whole;
    size_t kept;
    int status = fixture_child(die_while_receiving, p);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(count_below(p, "tmp"), 1);
    assert_int_equal(count_below(p, "blobs"), 1);
    crypto_sha256("whole", 5, whole.sha256);
    assert_int_equal(store_sweep(p->s, is_wanted, whole.sha256, &kept), 0);
    assert_int_equal(count_below(p, "tmp"), 0);
    assert_int_equal(count_below(p, "blobs"), 1);
}

static void die_before_the_row(void *arg)
{
    struct place *p = arg;

    CHECK(put_blob(p->s, "nameless", 8).size == 8);
    kill(getpid(), SIGKILL);
}

static void a_kill_before_the_row_leaves_nothing_after_the_sweep(void **state)
{
    struct place *p = *state;
    uint8_t none[SHA256_SIZE] = {0};
    size_t kept;

    assert_true(WIFSIGNALED(fixture_child(die_before_the_row, p)));
    assert_int_equal(count_below(p, "blobs"), 1);
    assert_int_equal(store_sweep(p->s, is_wanted, none, &kept), 0);
    assert_int_equal(count_below(p, "blobs") + count_below(p, "strays"), 0);
}

static void put_named(const struct place *p, struct digests *ret)
{
    struct fail f = {0};
    struct store_put *put;

    assert_int_equal(store_put_new(p->s, &put, &f), 0);
    assert_int_equal(store_put_write(put, "named", 5, &f), 0);
    assert_int_equal(store_put_commit(put, ret, &f), 0);
    store_put_named(put);
    store_put_free(put);
}

static void note_is_older(const struct place *p, const struct digests *d, int days)
{
    char path[160], hex[2 * SHA256_SIZE + 1];
    struct stat st;

    hex_encode(d->sha256, SHA256_SIZE, hex);
    (void)str_fmt(path, sizeof(path), "%s/strays/%s", p->dir, hex);
    assert_int_equal(stat(path, &st), 0);
    const struct timespec at = {.tv_sec = st.st_mtim.tv_sec - (time_t)days * 86400};
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){at, at}, 0), 0);
}

/* A database that knows it may come back: it is the time since it was first missed that counts,
 * and that begins anew when it was known in between. */
static void what_was_named_once_is_kept_for_a_month(void **state)
{
    struct place *p = *state;
    uint8_t none[SHA256_SIZE] = {0};
    struct digests d;
    size_t kept;

    put_named(p, &d);
    assert_int_equal(count_below(p, "strays"), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_sweep(p->s, is_wanted, none, &kept), 0);
        assert_int_equal(kept, 1);
        note_is_older(p, &d, STORE_STRAY_DAYS - 1);
        assert_int_equal(store_sweep(p->s, is_wanted, none, &kept), 0);
        assert_int_equal(kept, 1);
        assert_int_equal(store_delete(p->s, d.sha256), 0); /* an upload of the same that failed */
        assert_true(is_there(p, &d));
        note_is_older(p, &d, 2);
        if (i == 0)
            assert_int_equal(store_sweep(p->s, is_wanted, d.sha256, &kept), 0);
    }
    assert_int_equal(store_sweep(p->s, is_wanted, none, &kept), 0);
    assert_int_equal(kept, 0);
    assert_int_equal(count_below(p, "blobs") + count_below(p, "strays"), 0);
}

static void notes_of_what_is_gone_go(void **state)
{
    struct place *p = *state;
    uint8_t none[SHA256_SIZE] = {0};
    size_t kept;

    put_file(p, "strays/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    put_file(p, "strays/README");
    assert_int_equal(store_sweep(p->s, is_wanted, none, &kept), 0);
    assert_int_equal(count_below(p, "strays"), 1);
}

int sweep_tests(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(the_sweep_keeps_what_is_used),
        STORE_TEST(the_sweep_leaves_strangers_alone),
        STORE_TEST(a_held_blob_is_not_deleted),
        STORE_TEST(a_finished_put_holds_its_blob),
        STORE_TEST(a_delete_never_takes_a_blob_from_its_put),
        STORE_TEST(a_kill_leaves_nothing_after_the_sweep),
        STORE_TEST(a_kill_before_the_row_leaves_nothing_after_the_sweep),
        STORE_TEST(what_was_named_once_is_kept_for_a_month),
        STORE_TEST(notes_of_what_is_gone_go),
    };

    return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
