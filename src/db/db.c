/*
 * Connections: opening with the settings that the rest relies on, preparing every named query,
 * closing, and the one place where SQLite's result codes become ours.
 *
 * No mmap: an I/O error must come back as a code, not as a signal. The database file is never
 * opened by other means in this process, because closing any descriptor of it would drop
 * SQLite's POSIX locks.
 */
#include "db_priv.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void setup_once(void)
{
    /* No accounting of memory: it takes a lock for every allocation. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    /* No pages of cache in advance, for they would be taken at once and for ever. */
    sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
    int rc = sqlite3_initialize();
    assert(rc == SQLITE_OK);
    (void)rc;
}

/* ---- codes ---- */
static bool is_full(int err)
{
    return err == ENOSPC || err == EDQUOT || err == EFBIG;
}

/* errno behind an I/O error. After a COMMIT the connection has lost it, but the WAL's file has it
 * still. (ENOSPC of a write is SQLITE_FULL; this is for quotas, limits and fsync.) */
static int system_error(sqlite3 *h)
{
    int err = h ? sqlite3_system_errno(h) : 0;
    sqlite3_file *wal = NULL;

    if (err || !h)
        return err;
    if (sqlite3_file_control(h, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) == SQLITE_OK && wal &&
        wal->pMethods)
        (void)wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &err);
    return err;
}

int db_code(sqlite3 *h, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        return E_DB_FULL;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return is_full(system_error(h)) ? E_DB_FULL : E_DB;
    case SQLITE_CONSTRAINT:
        if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ||
            rc == SQLITE_CONSTRAINT_ROWID)
            return -EEXIST;
        return E_CONFLICT;
    case SQLITE_TOOBIG:
        return E_LIMIT;
    default:
        return E_DB;
    }
}

int db_fail(struct fail *f, sqlite3 *h, int rc, const char *what, const char *path)
{
    const char *why = h ? sqlite3_errmsg(h) : sqlite3_errstr(rc);
    int err = system_error(h);
    bool io = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN;

    return fail(f, db_code(h, rc), "%s %s: %s%s%s", what, path, why, io && err ? ": " : "",
                io && err ? strerror(err) : "");
}

int db_note_error(struct db *db, int rc, const char *what)
{
    int code = db_code(db->h, rc);

    (void)str_fmt(db->error, sizeof(db->error), "%s: %s", what, sqlite3_errmsg(db->h));
    /* A full disk or an I/O error may end the transaction under our feet. Whatever ran after
     * would commit one by one: db_step and db_commit refuse until the rollback is told. */
    if (db->in_tx && !db->lost && sqlite3_get_autocommit(db->h))
        db->lost = code ? code : E_DB;
    return code;
}

const char *db_error(struct db *db)
{
    return db->error;
}

int db_exec(sqlite3 *h, const char *sql)
{
    return sqlite3_exec(h, sql, NULL, NULL, NULL);
}

int db_exec_int(sqlite3 *h, const char *sql, int64_t *ret)
{
    sqlite3_stmt *s;
    int rc = sqlite3_prepare_v2(h, sql, -1, &s, NULL);

    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(s, 0);
    int end = sqlite3_finalize(s);
    return rc == SQLITE_ROW ? SQLITE_OK : end != SQLITE_OK ? end : SQLITE_ERROR;
}

/* ---- handles ---- */
static int set_up_handle(sqlite3 *h, int flags, int cache_kib)
{
    char sql[320];
    int64_t application;
    int rc;

    sqlite3_extended_result_codes(h, 1);
    sqlite3_busy_timeout(h, DB_BUSY_MS);
    sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* One plan for good: else a value that could make a partial index serve has the statement
     * prepared anew each time that it is bound. */
    sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_QPSG, 1, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    /* journal_size_limit: what a restarted WAL is cut to; the checkpointer acts above it. */
    (void)str_fmt(sql, sizeof(sql),
                  "PRAGMA mmap_size=0; PRAGMA cache_size=-%d; PRAGMA temp_store=MEMORY;"
                  "PRAGMA cell_size_check=ON; PRAGMA foreign_keys=ON; PRAGMA synchronous=FULL;"
                  "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=8388608",
                  cache_kib);
    rc = db_exec(h, sql);
    if (rc == SQLITE_OK)
        rc = db_exec_int(h, "PRAGMA application_id", &application);
    if (rc != SQLITE_OK)
        return rc;
    if (application != 0 && application != DB_APPLICATION_ID)
        return SQLITE_NOTADB;
    if (flags & SQLITE_OPEN_READWRITE)
        rc = db_exec(h, "PRAGMA journal_mode=WAL");
    return rc;
}

/* One that was made when it held less: neither group nor others read it any more. */
static void keep_private(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && (st.st_mode & 077) && chmod(path, st.st_mode & 0700) != 0)
        LOG(LOG_WARN, "db", "others may read the database, which holds secrets", KV("path", path),
            KV("why", strerror(errno)));
}

int db_handle_open(const char *path, int flags, int cache_kib, sqlite3 **ret, struct fail *f)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sqlite3 *h = NULL;
    int rc;

    pthread_once(&once, setup_once);
    if (flags & SQLITE_OPEN_CREATE) {
        /* Only to choose its mode, as it holds secrets; when it exists it is not opened here. */
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
        else if (errno != EEXIST)
            return fail(f, is_full(errno) ? E_DB_FULL : E_DB, "create %s: %s", path,
                        strerror(errno));
        else
            keep_private(path);
    }
    rc = sqlite3_open_v2(path, &h, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = set_up_handle(h, flags, cache_kib);
    if (rc != SQLITE_OK) {
        if (rc == SQLITE_NOTADB && h)
            rc = fail(f, E_DB, "open %s: not an otad database", path);
        else
            rc = db_fail(f, h, rc, "open", path);
        sqlite3_close(h);
        return rc;
    }
    *ret = h;
    return 0;
}

/* ---- connections ---- */
int db_prepare(struct db *db, const char *sql, sqlite3_stmt **ret)
{
    return sqlite3_prepare_v3(db->h, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
}

static int prepare_tx(struct db *db, struct fail *f)
{
    static const char *const TX_SQL[TX__COUNT] = {
        [TX_BEGIN] = "BEGIN",       [TX_COMMIT] = "COMMIT",      [TX_ROLLBACK] = "ROLLBACK",
        [TX_SAVE] = "SAVEPOINT sp", [TX_RELEASE] = "RELEASE sp", [TX_UNDO] = "ROLLBACK TO sp",
    };

    for (size_t i = 0; i < TX__COUNT; i++) {
        int rc = db_prepare(db, TX_SQL[i], &db->tx[i]);
        if (rc != SQLITE_OK)
            return db_fail(f, db->h, rc, "prepare", TX_SQL[i]);
    }
    return 0;
}

/* A wrong query stops the daemon at its start. The statements themselves are made at first use:
 * kept from the start on every connection they would take 0.6 MiB each. */
static int check_query(struct db *db, const struct db_query_def *def, struct fail *f)
{
    sqlite3_stmt *s;
    int rc = db_prepare(db, def->text, &s);

    if (rc != SQLITE_OK)
        return fail(f, db_code(db->h, rc), "query %s of %s: %s", def->name, def->file,
                    sqlite3_errmsg(db->h));
    rc = 0;
    if (sqlite3_bind_parameter_count(s) != def->n_params)
        rc = fail(f, E_DB, "query %s of %s: parameters are not $1 to $%d", def->name, def->file,
                  def->n_params);
    else if (!def->writer && !sqlite3_stmt_readonly(s))
        rc = fail(f, E_DB, "query %s of %s: is marked reader but writes", def->name, def->file);
    sqlite3_finalize(s);
    return rc;
}

static int open_queries(struct db *db, struct fail *f)
{
    for (unsigned q = 0; q < Q__COUNT; q++) {
        const struct db_query_def *def = &db_query_defs[q];
        struct db_stmt *s = &db->stmts[q];

        s->db = db;
        s->query = (enum db_query)q;
        s->denied = def->writer && db->mode == DB_READ;
        int rc = db->mode == DB_WRITE ? check_query(db, def, f) : 0;
        if (rc < 0)
            return rc;
    }
    return prepare_tx(db, f);
}

static int on_wal(void *arg, sqlite3 *h, const char *name, int frames)
{
    struct db *db = arg;

    (void)h, (void)name;
    db->wal_frames = frames;
    return SQLITE_OK;
}

static int check_version(struct db *db, const char *path, struct fail *f)
{
    int64_t version = 0;
    int rc = db_exec_int(db->h, "PRAGMA user_version", &version);

    if (rc != SQLITE_OK)
        return db_fail(f, db->h, rc, "read", path);
    if (version != DB_MIGRATIONS)
        return fail(f, E_DB, "%s has schema %d, this program needs %d", path, (int)version,
                    DB_MIGRATIONS);
    return 0;
}

int db_open(const char *path, int mode, int cache_kib, struct db **ret, struct fail *f)
{
    struct db *db;
    int rc;

    if (mode == DB_WRITE) {
        rc = db_migrate(path, f);
        if (rc < 0)
            return rc;
    }
    db = xcalloc(1, sizeof(*db));
    db->mode = mode;
    rc = db_handle_open(path, mode == DB_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY,
                        cache_kib, &db->h, f);
    if (rc == 0)
        rc = check_version(db, path, f);
    if (rc == 0)
        rc = open_queries(db, f);
    if (rc < 0) {
        db_close(db);
        return rc;
    }
    if (mode == DB_WRITE)
        sqlite3_wal_hook(db->h, on_wal, db);
    sqlite3_db_release_memory(db->h); /* the pages of the schema, which has been read */
    *ret = db;
    return 0;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < TX__COUNT; i++)
        sqlite3_finalize(db->tx[i]);
    for (size_t q = 0; q < Q__COUNT; q++)
        sqlite3_finalize(db->stmts[q].s);
    if (db->h && db->mode == DB_WRITE && sqlite3_get_autocommit(db->h))
        (void)db_exec(db->h, "PRAGMA analysis_limit=400; PRAGMA optimize");
    int rc = sqlite3_close(db->h);
    assert(rc == SQLITE_OK);
    (void)rc;
    free(db);
}
