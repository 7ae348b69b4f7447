/*
 * db: the only room that sees SQLite. A connection with all named queries prepared, migrations,
 * transactions, online backup. A connection belongs to one thread at a time; who hands it over
 * synchronises (db_committer does). Parameters and columns are numbered from 1 and 0, as in SQL.
 */
#pragma once

#include "db_queries.h" /* generated: enum db_query from sql/queries (build/gen) */
#include "util.h"

struct db;
struct db_stmt;

enum { DB_READ, DB_WRITE };

/* Open the database at path (created when DB_WRITE). WAL, synchronous=FULL, foreign keys on,
 * trusted_schema off, defensive, no mmap; cache_kib of page cache. DB_WRITE runs db_migrate
 * first, then tries every named query: one that does not prepare is an error that names it; DB_READ
 * refuses another schema than this program's.
 * -> 0, E_DB, or what db_migrate says. Any thread. */
int db_open(const char *path, int mode, int cache_kib, struct db **ret, struct fail *f) MUST_USE;
void db_close(struct db *db); /* NULL is fine; runs PRAGMA optimize on a writer */

/* Bring the schema up to date. Each migration is one transaction; before the
 * first one of a start (unless the file is new) a copy goes to <path>.before-<version>. A schema
 * newer than this program is refused (E_UNSUPPORTED), as is a changed text of a migration that
 * ran (E_CONFLICT). E_DB, E_DB_FULL. */
int db_migrate(const char *path, struct fail *f) MUST_USE;
/* PRAGMA quick_check; E_DB with the first finding. */
int db_check(const char *path, struct fail *f) MUST_USE;
/* Online copy of a database to another file, fsynced, as of one moment. Any thread; blocks.
 * -EEXIST when there is such a file. */
int db_backup(const char *path, const char *to, struct fail *f) MUST_USE;

/* ---- statements ---- */
/* The statement (prepared at its first use and kept), reset and with cleared parameters. On a
 * DB_READ handle a writer's query comes back as one whose db_step returns E_NEEDS_WRITE. Give it
 * back with db_reset (AUTO(db_reset)) before the turn ends. Never nest the same query. */
struct db_stmt *db_use(struct db *db, enum db_query q);
void db_reset(struct db_stmt *s);
static inline void auto_db_reset(struct db_stmt **s)
{
    db_reset(*s);
}
void db_bind_int(struct db_stmt *s, int i, int64_t v);
void db_bind_text(struct db_stmt *s, int i,
                  const char *v); /* NULL binds NULL; not copied: keep it until db_reset */
void db_bind_textn(struct db_stmt *s, int i, const char *v, size_t n);
void db_bind_blob(struct db_stmt *s, int i, const void *p, size_t n); /* p NULL binds NULL */
void db_bind_null(struct db_stmt *s, int i);
/* 1 = a row, 0 = done, <0: -EEXIST (unique), E_CONFLICT (foreign key or check), E_DB_FULL,
 * E_DB, E_NEEDS_WRITE, E_LIMIT (a value past SQLite's bounds). */
int db_step(struct db_stmt *s) MUST_USE;
/* Step to the end and reset. 0 or an error. What was bound stays bound until the next db_use, so
 * a loop may bind the rest and run again. */
int db_run(struct db_stmt *s) MUST_USE;
/* Step once, expecting one row, without resetting: 0, E_NOTFOUND or an error. */
int db_row(struct db_stmt *s) MUST_USE;
/* The number that a :one query with one integer gives, or an error, below 0. */
int64_t db_count(struct db *db, enum db_query query, int64_t id);
/* The same with a word behind it; NULL binds NULL. */
int64_t db_count_word(struct db *db, enum db_query query, int64_t id, const char *word);
int64_t db_int(struct db_stmt *s, int col); /* 0 for NULL */
bool db_is_null(struct db_stmt *s, int col);
const char *db_text(struct db_stmt *s,
                    int col); /* NULL for NULL; valid until db_reset or the next step */
size_t db_bytes(struct db_stmt *s, int col);
const void *db_blob(struct db_stmt *s, int col);
int64_t db_last_id(struct db *db);
int64_t db_changed(struct db *db); /* rows changed by the last statement */
/* Sentence of the last error of this connection. */
const char *db_error(struct db *db);

/* ---- transactions ---- */
/* A full disk or an I/O error may end the transaction by itself. From then on every step, save
 * and release repeats that error, until db_commit (which reports it) or db_rollback. */
int db_begin(struct db *db) MUST_USE;  /* deferred: a read transaction until the first write */
int db_commit(struct db *db) MUST_USE; /* on failure it is rolled back */
void db_rollback(struct db *db);
bool db_in_tx(struct db *db);
/* Savepoints nest inside a transaction; one name is enough. */
int db_save(struct db *db) MUST_USE;
int db_release(struct db *db) MUST_USE;
void db_undo(struct db *db); /* rolls back to the savepoint and releases it */
/* Rows changed since the connection was opened: tells whether a turn wrote anything. */
int64_t db_total_changes(struct db *db);

/* ---- the committer: a thread that only commits, so that fsync never holds up the core ---- */
struct db_committer;
/* Called on the committer's thread when the commit ended; pass the word on (loop_wake_send). */
typedef void (*db_committed_cb)(void *arg);
struct db_committer *db_committer_start(struct db *writer, db_committed_cb cb, void *arg);
void db_committer_stop(struct db_committer *c); /* waits for a commit under way; frees */
/* Hand over the writer, which is in a transaction. Until db_committer_take answers, the writer
 * must not be touched. */
void db_committer_give(struct db_committer *c);
/* False while the commit is under way; else true, *ret_rc holds its result and the writer is
 * the caller's again. */
bool db_committer_take(struct db_committer *c, int *ret_rc);

/* Copy the WAL back into the database on a thread of its own, whenever it has grown past
 * 8 MiB; TRUNCATE when stopped: readers still open then may prevent it. (When the writer never
 * pauses and the WAL is past 64 MiB, the committer starts it anew, for which the writer waits.) */
struct db_checkpointer;
struct db_checkpointer *db_checkpointer_start(const char *path);
void db_checkpointer_stop(struct db_checkpointer *c);

/* ---- write jobs: what other threads ask the core thread to do in its transaction ---- */
struct db_job {
    /* Core thread, in a savepoint: rolled back when it returns an error. May run again when a
     * commit failed. */
    int (*run)(struct db_job *job, struct db *w);
    /* Core thread, after the commit (rc 0) or after the failure (rc of run, E_DB or E_DB_FULL). */
    void (*done)(struct db_job *job, int rc);
    bool catalog; /* run changes types, rules, firmwares or projects: rebuild the snapshot first */
    bool patient; /* nobody waits for it: it goes with the next transaction, before its messages,
                   * or with others of its kind a quarter second later; it has no catalog */
    struct db_job *next; /* the queue's */
    int rc;              /* the queue's */
};
/* How a room to the left of core hands over a job; any thread. E_UNAVAILABLE when the queue is
 * full or the core stops (then done is not called). */
typedef int (*db_submit_fn)(void *core, struct db_job *job);
