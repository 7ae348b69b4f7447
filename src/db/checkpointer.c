/*
 * The checkpointer: copies the WAL back into the database on a thread and connection of its
 * own, because a checkpoint stalls whoever runs it for tens of milliseconds. PASSIVE holds up
 * nobody, and the next commit starts the WAL anew when nothing newer and no reader is in it.
 * Under writes that never pause that moment does not come; past 64 MiB RESTART makes it, between
 * two transactions of the writer and on its connection: RESTART locks out all writers, and one
 * that has read already is refused at its first write, however long it is willing to wait.
 */
#include "db_priv.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

enum {
    TICK_MS = 250,
    RESTART_WAIT_MS = 100,
    STOP_WAIT_MS = 1000,
};
#define PASSIVE_BYTES ((int64_t)8 << 20)

/* In pages, about 64 and 8 MiB. Not a constant for the tests' sake. */
int checkpoint_restart_frames = 16384;
#define RESTART_STEP_FRAMES 2048

struct db_checkpointer {
    char *path, *wal_path;
    sqlite3 *h; /* the thread's; opened when first needed */
    int last_rc;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t stopped;
    bool stop; /* under the mutex */
};

static int64_t wal_size(const struct db_checkpointer *c)
{
    struct stat st;

    return stat(c->wal_path, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* This thread has no caller to tell: it logs, once per change. */
static void note(struct db_checkpointer *c, int rc, const char *text)
{
    LOG(LOG_DEBUG, "db", "checkpoint", KV_INT("wal_bytes", wal_size(c)), KV_RC(rc));
    if (rc != c->last_rc && rc < 0)
        LOG(LOG_WARN, "db", "checkpoint failed", KV("why", text), KV_RC(rc));
    else if (rc != c->last_rc)
        LOG(LOG_INFO, "db", "checkpoint works again");
    c->last_rc = rc;
}

static int run_checkpoint(sqlite3 *h, int how, int wait_ms)
{
    sqlite3_busy_timeout(h, wait_ms);
    int rc = sqlite3_wal_checkpoint_v2(h, "main", how, NULL, NULL);
    /* A reader is in the way, or another checkpoint: the next time tries again. */
    return (rc & 0xff) == SQLITE_BUSY ? SQLITE_OK : rc;
}

static void checkpoint(struct db_checkpointer *c, int how, int wait_ms)
{
    struct fail f = {0};
    int rc;

    if (!c->h) {
        rc = db_handle_open(c->path, SQLITE_OPEN_READWRITE, 64, &c->h, &f);
        if (rc < 0) {
            c->h = NULL;
            note(c, rc, f.text);
            return;
        }
    }
    rc = run_checkpoint(c->h, how, wait_ms);
    note(c, db_code(c->h, rc), sqlite3_errmsg(c->h));
}

static void tick(struct db_checkpointer *c)
{
    if (wal_size(c) > PASSIVE_BYTES)
        checkpoint(c, SQLITE_CHECKPOINT_PASSIVE, 0);
}

void checkpoint_restart(struct db *w)
{
    if (w->wal_frames <= checkpoint_restart_frames) {
        w->restart_at = checkpoint_restart_frames;
        return;
    }
    if (w->wal_frames <= w->restart_at)
        return;
    w->restart_at = w->wal_frames + RESTART_STEP_FRAMES;
    /* The passive ones left it little to copy. */
    int rc = run_checkpoint(w->h, SQLITE_CHECKPOINT_RESTART, RESTART_WAIT_MS);
    sqlite3_busy_timeout(w->h, DB_BUSY_MS);
    if (rc != SQLITE_OK)
        LOG(LOG_WARN, "db", "the write-ahead log could not be started anew",
            KV("why", sqlite3_errmsg(w->h)));
}

static struct timespec next_tick(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += TICK_MS * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_nsec -= 1000000000L;
        t.tv_sec++;
    }
    return t;
}

static void *checkpointer_main(void *arg)
{
    struct db_checkpointer *c = arg;

    pthread_mutex_lock(&c->mutex);
    while (!c->stop) {
        struct timespec until = next_tick();
        while (!c->stop && pthread_cond_timedwait(&c->stopped, &c->mutex, &until) == 0)
            ;
        if (c->stop)
            break;
        pthread_mutex_unlock(&c->mutex);
        tick(c);
        pthread_mutex_lock(&c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    if (wal_size(c) > 0)
        checkpoint(c, SQLITE_CHECKPOINT_TRUNCATE, STOP_WAIT_MS);
    sqlite3_close(c->h);
    return NULL;
}

struct db_checkpointer *db_checkpointer_start(const char *path)
{
    struct db_checkpointer *c = xcalloc(1, sizeof(*c));
    struct sbuf wal = {0};
    pthread_condattr_t attr;
    sigset_t all, old;

    c->path = xstrdup(path);
    sbuf_fmt(&wal, "%s-wal", path);
    c->wal_path = sbuf_take(&wal);
    pthread_mutex_init(&c->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->stopped, &attr);
    pthread_condattr_destroy(&attr);
    crash_only(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the main thread */
    int rc = pthread_create(&c->thread, NULL, checkpointer_main, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) /* as an allocation that fails at start */
        abort();
    pthread_setname_np(c->thread, "db-checkpoint");
    return c;
}

void db_checkpointer_stop(struct db_checkpointer *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->mutex);
    c->stop = true;
    pthread_cond_signal(&c->stopped);
    pthread_mutex_unlock(&c->mutex);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->stopped);
    pthread_mutex_destroy(&c->mutex);
    free(c->path);
    free(c->wal_path);
    free(c);
}
