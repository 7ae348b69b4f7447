/* What the files of room db share with each other and with its unit tests. Nobody else. */
#pragma once

#include "db.h"

#include <sqlite3.h>

#define DB_APPLICATION_ID 0x6f746164 /* "otad" */
#define DB_BUSY_MS        5000

enum db_tx_query { TX_BEGIN, TX_COMMIT, TX_ROLLBACK, TX_SAVE, TX_RELEASE, TX_UNDO, TX__COUNT };

struct db_stmt {
    sqlite3_stmt *s; /* NULL: not used yet, or denied */
    struct db *db;
    enum db_query query;
    int bind_rc; /* first failure of a bind, told by the next step */
    bool denied; /* a writer's query on a reader */
    bool in_use;
};

struct db {
    sqlite3 *h;
    int mode;
    bool in_tx;
    int lost;       /* SQLite rolled the transaction back by itself: why */
    int wal_frames; /* a writer's: pages in the WAL after its last commit */
    int restart_at; /* checkpointer.c's: so many make it try */
    sqlite3_stmt *tx[TX__COUNT];
    char error[256];
    struct db_stmt stmts[Q__COUNT + 1];
};

/* A bare handle with our pragmas and checks, without statements. create: make the file. */
int db_handle_open(const char *path, int flags, int cache_kib, sqlite3 **ret,
                   struct fail *f) MUST_USE;
/* Our code for a result code of SQLite. h may be NULL. */
int db_code(sqlite3 *h, int rc);
/* fail() with the handle's own sentence. what: "open", "backup of" … */
int db_fail(struct fail *f, sqlite3 *h, int rc, const char *what, const char *path);
int db_exec(sqlite3 *h, const char *sql);                           /* result code of SQLite */
int db_prepare(struct db *db, const char *sql, sqlite3_stmt **ret); /* result code of SQLite */
/* First column of the first row as a number, for pragmas. */
int db_exec_int(sqlite3 *h, const char *sql, int64_t *ret) MUST_USE; /* result code of SQLite */
/* Remember why a statement failed; returns our code. what: name of the query. */
int db_note_error(struct db *db, int rc, const char *what);

/* checkpointer.c: after a commit, by whoever has the writer: when the WAL has grown too large, wait
 * for the readers (not for long) and start it anew. */
void checkpoint_restart(struct db *w);
extern int checkpoint_restart_frames;

int db_migrate_with(const char *path, const struct db_migration_def *defs, int n,
                    struct fail *f) MUST_USE;
int db_backup_to(const char *path, const char *to, bool replace, struct fail *f) MUST_USE;
