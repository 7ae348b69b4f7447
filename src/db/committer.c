/*
 * The committer: a thread that runs COMMIT of a writer handed over to it, so that the thread of
 * the turn does not wait for fsync. There is one writer and one commit at a time; the mutex
 * makes the hand-over, so the connection itself needs no lock. It decides nothing: a commit
 * that failed is rolled back and its code waits to be taken. A WAL that has grown too large is
 * started anew here as well, for nobody else has the writer between two transactions.
 */
#include "db_priv.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>

enum state { IDLE, GIVEN, DONE };

struct db_committer {
    struct db *writer;
    db_committed_cb cb;
    void *arg;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t given;
    enum state state; /* this and the rest: under the mutex */
    bool stop;
    int rc;
};

static void *committer_main(void *arg)
{
    struct db_committer *c = arg;

    pthread_mutex_lock(&c->mutex);
    for (;;) {
        while (c->state != GIVEN && !c->stop)
            pthread_cond_wait(&c->given, &c->mutex);
        if (c->state != GIVEN)
            break;
        pthread_mutex_unlock(&c->mutex);
        int rc = db_commit(c->writer);
        if (rc == 0)
            checkpoint_restart(c->writer);
        pthread_mutex_lock(&c->mutex);
        c->rc = rc;
        c->state = DONE;
        pthread_mutex_unlock(&c->mutex);
        c->cb(c->arg);
        pthread_mutex_lock(&c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

struct db_committer *db_committer_start(struct db *writer, db_committed_cb cb, void *arg)
{
    struct db_committer *c = xcalloc(1, sizeof(*c));
    sigset_t all, old;

    c->writer = writer;
    c->cb = cb;
    c->arg = arg;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->given, NULL);
    crash_only(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the main thread */
    int rc = pthread_create(&c->thread, NULL, committer_main, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) /* as an allocation that fails at start */
        abort();
    pthread_setname_np(c->thread, "db-commit");
    return c;
}

void db_committer_stop(struct db_committer *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->mutex);
    c->stop = true;
    pthread_cond_signal(&c->given);
    pthread_mutex_unlock(&c->mutex);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->given);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

void db_committer_give(struct db_committer *c)
{
    assert(db_in_tx(c->writer));
    pthread_mutex_lock(&c->mutex);
    assert(c->state == IDLE);
    c->state = GIVEN;
    pthread_cond_signal(&c->given);
    pthread_mutex_unlock(&c->mutex);
}

bool db_committer_take(struct db_committer *c, int *ret_rc)
{
    pthread_mutex_lock(&c->mutex);
    bool mine = c->state != GIVEN;
    if (mine) {
        *ret_rc = c->state == DONE ? c->rc : 0;
        c->state = IDLE;
    }
    pthread_mutex_unlock(&c->mutex);
    return mine;
}
