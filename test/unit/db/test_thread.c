/* The committer and the checkpointer: meant to be run under the thread sanitizer, too. */
#include "../../../src/db/db_priv.h"
#include "test_db.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

/* ---- the committer ---- */
struct bell {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int rung;
};

static void ring(void *arg)
{
    struct bell *b = arg;

    pthread_mutex_lock(&b->mutex);
    b->rung++;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->mutex);
}

static void wait_for_bell(struct bell *b, int rung)
{
    pthread_mutex_lock(&b->mutex);
    while (b->rung < rung)
        pthread_cond_wait(&b->cond, &b->mutex);
    pthread_mutex_unlock(&b->mutex);
}

#define BELL                                                                                       \
    {                                                                                              \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER                       \
    }

static void the_writer_goes_to_and_fro(void **state)
{
    struct db_fixture *fx = *state;
    struct bell bell = BELL;
    struct db_committer *c = db_committer_start(fx->w, ring, &bell);
    int rc = -1;

    assert_true(db_committer_take(c, &rc)); /* nothing under way: it is ours */
    for (int i = 1; i <= 200; i++) {
        char name[8];
        (void)str_fmt(name, sizeof(name), "n%d", i);
        assert_int_equal(db_begin(fx->w), 0);
        assert_int_equal(put_setting(fx->w, name, "1"), 0);
        db_committer_give(c);
        wait_for_bell(&bell, i);
        rc = -1;
        assert_true(db_committer_take(c, &rc));
        assert_int_equal(rc, 0);
        assert_false(db_in_tx(fx->w));
        assert_int_equal(count_settings(fx->w), i);
    }
    db_committer_stop(c);
    assert_int_equal(bell.rung, 200);
}

static void stop_waits_for_the_commit(void **state)
{
    struct db_fixture *fx = *state;
    struct bell bell = BELL;
    struct db_committer *c = db_committer_start(fx->w, ring, &bell);

    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(put_setting(fx->w, "a", "1"), 0);
    db_committer_give(c);
    db_committer_stop(c);
    assert_int_equal(bell.rung, 1);
    db_fixture_reopen(fx);
    assert_int_equal(count_settings(fx->w), 1);
}

static void fail_to_commit(void *arg)
{
    struct bell bell = BELL;
    struct fail f = {0};
    struct db_committer *c;
    struct db *w;
    int rc = 0;

    CHECK(db_open(arg, DB_WRITE, 2000, &w, &f) == 0);
    c = db_committer_start(w, ring, &bell);
    CHECK(db_begin(w) == 0);
    CHECK(put_setting(w, "a", long_text(500000)) == 0);
    fixture_limit_files(65536);
    db_committer_give(c);
    wait_for_bell(&bell, 1);
    CHECK(db_committer_take(c, &rc));
    CHECK(rc == E_DB_FULL);
    CHECK(!db_in_tx(w) && count_settings(w) == 0);
    fixture_limit_files(-1);
    CHECK(db_begin(w) == 0);
    CHECK(put_setting(w, "a", "1") == 0);
    db_committer_give(c);
    wait_for_bell(&bell, 2);
    CHECK(db_committer_take(c, &rc));
    CHECK(rc == 0 && count_settings(w) == 1);
    db_committer_stop(c);
    db_close(w);
}

static void a_failed_commit_is_told(void **state)
{
    struct db_fixture *fx = *state;

    db_close(fx->w);
    fx->w = NULL;
    assert_int_equal(fixture_child(fail_to_commit, fx->path), 0);
}

/* ---- the checkpointer ---- */
static int64_t size_of(const char *path, const char *suffix)
{
    char name[128];
    struct stat st;

    (void)str_fmt(name, sizeof(name), "%s%s", path, suffix);
    return stat(name, &st) == 0 ? (int64_t)st.st_size : -1;
}

static void fill(struct db *w, int megabytes)
{
    for (int i = 0; i < megabytes; i++) {
        char name[8];
        (void)str_fmt(name, sizeof(name), "n%d", i);
        assert_int_equal(put_setting(w, name, long_text(1000000)), 0);
    }
}

static void a_large_wal_is_copied_back(void **state)
{
    struct db_fixture *fx = *state;
    struct db_checkpointer *c = db_checkpointer_start(fx->path);
    int64_t deadline = clock_mono_us() + 60 * 1000000LL;

    fill(fx->w, 12);
    assert_true(size_of(fx->path, "-wal") > 12000000);
    /* Nothing tells when a checkpoint on another thread has ended; the file's size does. */
    while (size_of(fx->path, "") < 12000000 && clock_mono_us() < deadline)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    assert_true(size_of(fx->path, "") >= 12000000);
    /* The commit after it starts the WAL anew and cuts it to 8 MiB. */
    for (int i = 0; size_of(fx->path, "-wal") > 8 << 20 && clock_mono_us() < deadline; i++) {
        /* SQLite writes nothing for a value that is the same. */
        assert_int_equal(put_setting(fx->w, "next", i % 2 ? "1" : "2"), 0);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    assert_true(size_of(fx->path, "-wal") <= 8 << 20);
    db_checkpointer_stop(c);
    assert_int_equal(size_of(fx->path, "-wal"), 0);
    assert_int_equal(count_settings(fx->w), 13);
}

/* One transaction that reads before it writes, as the turn's do, and its commit. */
static void commit_one(struct db *w, struct db_committer *c, struct bell *bell, size_t i)
{
    int rc = -1, rung = bell->rung;

    assert_int_equal(db_begin(w), 0);
    assert_true(count_settings(w) >= 0);
    assert_int_equal(put_setting(w, "n", long_text(100000 + i % 2)), 0);
    db_committer_give(c);
    wait_for_bell(bell, rung + 1);
    assert_true(db_committer_take(c, &rc));
    assert_int_equal(rc, 0);
}

/* The writer never pauses, so PASSIVE alone would let the WAL grow for ever. */
static void a_wal_that_is_never_at_rest_is_made_to_start_anew(void **state)
{
    struct db_fixture *fx = *state;
    struct bell bell = BELL;
    struct db_checkpointer *c = db_checkpointer_start(fx->path);
    struct db_committer *committer = db_committer_start(fx->w, ring, &bell);
    int64_t deadline = clock_mono_us() + 60 * 1000000LL;
    int64_t largest = 0, size = 0;

    for (size_t i = 0; size >= largest && clock_mono_us() < deadline; i++) {
        largest = size;
        commit_one(fx->w, committer, &bell, i);
        size = size_of(fx->path, "-wal");
    }
    assert_true(size < largest);
    db_committer_stop(committer);
    db_checkpointer_stop(c);
}

/* Starting the WAL anew locks out writers for as long as a reader is in the way: one that had
 * read before its first write was told that the database is locked, and lost its transaction. */
static void starting_the_wal_anew_fails_no_writer(void **state)
{
    struct db_fixture *fx = *state;
    struct db *r = db_fixture_reader(fx);
    struct bell bell = BELL;
    struct db_checkpointer *c = db_checkpointer_start(fx->path);
    struct db_committer *committer = db_committer_start(fx->w, ring, &bell);
    int usual = checkpoint_restart_frames;
    int64_t until = clock_mono_us() + 2 * 1000000LL;

    checkpoint_restart_frames = 500;
    assert_int_equal(db_begin(r), 0);
    assert_int_equal(count_settings(r), 0);
    /* With more than 64 MiB in the WAL, for a few of the checkpointer's rounds. */
    for (size_t i = 0; i < 800 || clock_mono_us() < until; i++)
        commit_one(fx->w, committer, &bell, i);
    assert_true(fx->w->wal_frames > 16384);
    assert_true(fx->w->restart_at > fx->w->wal_frames); /* it was tried */
    assert_int_equal(count_settings(r), 0);
    assert_int_equal(db_commit(r), 0);
    db_committer_stop(committer);
    db_checkpointer_stop(c);
    checkpoint_restart_frames = usual;
    db_close(r);
}

static void a_reader_in_the_way_stops_nobody(void **state)
{
    struct db_fixture *fx = *state;
    struct db *r = db_fixture_reader(fx);
    struct db_checkpointer *c;

    assert_int_equal(db_begin(r), 0);
    assert_int_equal(count_settings(r), 0);
    c = db_checkpointer_start(fx->path);
    fill(fx->w, 12);
    assert_int_equal(count_settings(r), 0);
    db_checkpointer_stop(c); /* cannot truncate, and does not hang */
    assert_true(size_of(fx->path, "-wal") > 0);
    assert_int_equal(count_settings(r), 0);
    assert_int_equal(db_commit(r), 0);
    assert_int_equal(count_settings(r), 12);
    db_close(r);
}

int thread_tests(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(the_writer_goes_to_and_fro),
        DB_TEST(stop_waits_for_the_commit),
        DB_TEST(a_failed_commit_is_told),
        DB_TEST(a_large_wal_is_copied_back),
        DB_TEST(starting_the_wal_anew_fails_no_writer),
        DB_TEST(a_reader_in_the_way_stops_nobody),
        DB_TEST(a_wal_that_is_never_at_rest_is_made_to_start_anew),
    };

    return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
