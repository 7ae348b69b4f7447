/*
 * Transactions and savepoints of one connection. SQLite may end a transaction by itself when
 * the disk is full or fails; db->lost remembers that, so that nothing written after it can slip
 * through as a commit of its own and the commit reports the first cause.
 */
#include "db_priv.h"

#include <assert.h>

static int run(struct db *db, enum db_tx_query q, const char *what)
{
    int rc = sqlite3_step(db->tx[q]);

    /* The reset comes after the error is noted: it clears nothing, but repeats the code. */
    int code = rc == SQLITE_DONE ? 0 : db_note_error(db, rc, what);
    sqlite3_reset(db->tx[q]);
    return code;
}

int db_begin(struct db *db)
{
    int rc;

    assert(!db->in_tx);
    rc = run(db, TX_BEGIN, "begin");
    db->in_tx = rc == 0;
    db->lost = 0;
    return rc;
}

int db_commit(struct db *db)
{
    bool wrote = sqlite3_txn_state(db->h, "main") == SQLITE_TXN_WRITE;
    int64_t start = clock_mono_us();
    int rc;

    assert(db->in_tx);
    wrote |= db->lost != 0;
    rc = db->lost ? db->lost : run(db, TX_COMMIT, "commit");
    if (rc < 0)
        db_rollback(db);
    db->in_tx = false;
    db->lost = 0;
    if (!wrote)
        return rc;
    metric_observe_us(M_COMMIT_SECONDS, clock_mono_us() - start);
    metric_add(rc < 0 ? M_COMMIT_FAILED : M_COMMITS, 1);
    return rc;
}

void db_rollback(struct db *db)
{
    char why[sizeof(db->error)];

    if (!sqlite3_get_autocommit(db->h)) {
        (void)str_copy(why, sizeof(why), db->error);
        if (run(db, TX_ROLLBACK, "rollback") == 0)
            (void)str_copy(db->error, sizeof(db->error), why);
    }
    /* Even a ROLLBACK that reports an I/O error has ended the transaction. */
    assert(sqlite3_get_autocommit(db->h));
    db->in_tx = false;
    db->lost = 0;
}

bool db_in_tx(struct db *db)
{
    return db->in_tx;
}

int db_save(struct db *db)
{
    assert(db->in_tx);
    return db->lost ? db->lost : run(db, TX_SAVE, "savepoint");
}

int db_release(struct db *db)
{
    assert(db->in_tx);
    return db->lost ? db->lost : run(db, TX_RELEASE, "release");
}

void db_undo(struct db *db)
{
    assert(db->in_tx);
    if (db->lost)
        return;
    if (run(db, TX_UNDO, "rollback to") == 0)
        (void)run(db, TX_RELEASE, "release");
}
