/*
 * Migrations: forward only, each in one transaction with its row in table migration and the new
 * user_version. Before the first one of a start the old database is copied aside. What ran once
 * must still have the text that it had then; a schema of a later program is not touched.
 *
 * Foreign keys are off while a migration runs, because SQLite rebuilds a table by dropping it;
 * they are checked as a whole before its commit.
 */
#include "crypto.h"
#include "db_priv.h"

#include <stdio.h>

struct migrator {
    const char *path;
    sqlite3 *h;
    const struct db_migration_def *defs;
    int n;
    int64_t version; /* the database's */
};

static int db_failure(const struct migrator *m, int rc, const char *what, struct fail *f)
{
    return db_fail(f, m->h, rc, what, m->path);
}

static int read_version(struct migrator *m, struct fail *f)
{
    int64_t tables = 0;
    int rc = db_exec_int(m->h, "PRAGMA user_version", &m->version);

    if (rc == SQLITE_OK)
        rc = db_exec_int(m->h, "PRAGMA schema_version", &tables);
    if (rc != SQLITE_OK)
        return db_failure(m, rc, "read", f);
    if (m->version > m->n)
        return fail(f, E_UNSUPPORTED,
                    "%s has schema %lld, newer than this program's %d: start the later version",
                    m->path, (long long)m->version, m->n);
    if (m->version < 0 || (m->version == 0 && tables != 0))
        return fail(f, E_DB, "%s: not an otad database", m->path);
    return 0;
}

static int check_row(const struct migrator *m, sqlite3_stmt *s, int expected, struct fail *f)
{
    const struct db_migration_def *def = &m->defs[expected - 1];
    uint8_t hash[SHA256_SIZE];

    if (sqlite3_column_int(s, 0) != expected)
        return fail(f, E_CONFLICT, "%s: migration %d is not recorded", m->path, expected);
    crypto_sha256(def->text, strlen(def->text), hash);
    if (sqlite3_column_bytes(s, 2) != SHA256_SIZE ||
        memcmp(sqlite3_column_blob(s, 2), hash, SHA256_SIZE) != 0)
        return fail(f, E_CONFLICT, "%s: migration %04d_%s ran with another text than this one",
                    m->path, expected, def->name);
    return 0;
}

/* Every migration up to the database's version ran, with the text that we know. */
static int check_history(struct migrator *m, struct fail *f)
{
    sqlite3_stmt *s;
    int seen = 0, code = 0, rc;

    if (m->version == 0)
        return 0;
    rc = sqlite3_prepare_v2(m->h, db_query_defs[Q_MIGRATION_LIST].text, -1, &s, NULL);
    if (rc != SQLITE_OK)
        return db_failure(m, rc, "history of", f);
    while (code == 0 && seen < m->version && (rc = sqlite3_step(s)) == SQLITE_ROW)
        code = check_row(m, s, ++seen, f);
    if (code == 0 && seen < m->version)
        code = rc == SQLITE_DONE
                   ? fail(f, E_CONFLICT, "%s: migration %d is not recorded", m->path, seen + 1)
                   : db_failure(m, rc, "history of", f);
    sqlite3_finalize(s);
    return code;
}

static int record(struct migrator *m, const struct db_migration_def *def)
{
    char sql[40];
    uint8_t hash[SHA256_SIZE];
    sqlite3_stmt *s;
    int rc;

    crypto_sha256(def->text, strlen(def->text), hash);
    rc = sqlite3_prepare_v2(m->h, db_query_defs[Q_MIGRATION_ADD].text, -1, &s, NULL);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_bind_int(s, 1, def->version);
    sqlite3_bind_text(s, 2, def->name, -1, SQLITE_STATIC);
    sqlite3_bind_blob(s, 3, hash, SHA256_SIZE, SQLITE_STATIC);
    sqlite3_bind_int64(s, 4, clock_now_ms());
    sqlite3_step(s);
    rc = sqlite3_finalize(s);
    if (rc != SQLITE_OK)
        return rc;
    (void)str_fmt(sql, sizeof(sql), "PRAGMA user_version=%d", def->version);
    return db_exec(m->h, sql);
}

/* A row of foreign_key_check is a reference that leads nowhere. */
static int check_references(struct migrator *m, bool *ret_broken)
{
    sqlite3_stmt *s;
    int rc = sqlite3_prepare_v2(m->h, "PRAGMA foreign_key_check", -1, &s, NULL);

    if (rc != SQLITE_OK)
        return rc;
    *ret_broken = sqlite3_step(s) == SQLITE_ROW;
    return sqlite3_finalize(s);
}

static int apply(struct migrator *m, const struct db_migration_def *def, struct fail *f)
{
    bool broken = false;
    int rc, code;

    rc = db_exec(m->h, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK)
        rc = db_exec(m->h, db_query_defs[Q_MIGRATION_TABLE].text);
    if (rc == SQLITE_OK && m->version == 0) {
        char sql[48];
        (void)str_fmt(sql, sizeof(sql), "PRAGMA application_id=%d", DB_APPLICATION_ID);
        rc = db_exec(m->h, sql);
    }
    if (rc == SQLITE_OK)
        rc = db_exec(m->h, def->text);
    if (rc == SQLITE_OK)
        rc = record(m, def);
    if (rc == SQLITE_OK)
        rc = check_references(m, &broken);
    if (rc == SQLITE_OK && !broken)
        rc = db_exec(m->h, "COMMIT");
    if (rc == SQLITE_OK && !broken) {
        m->version = def->version;
        return 0;
    }
    code = broken ? fail(f, E_DB, "it leaves references that lead nowhere")
                  : db_failure(m, rc, "migrate", f);
    if (!sqlite3_get_autocommit(m->h))
        (void)db_exec(m->h, "ROLLBACK");
    fail_prefix(f, "migration %04d_%s: ", def->version, def->name);
    return code;
}

static int keep_copy(const struct migrator *m, struct fail *f)
{
    AUTO(free) char *to = NULL;
    struct sbuf b = {0};
    int rc;

    sbuf_fmt(&b, "%s.before-%lld", m->path, (long long)m->version);
    to = sbuf_take(&b);
    /* One of an earlier attempt is older than what is there now, of the same schema. */
    rc = db_backup_to(m->path, to, true, f);
    if (rc < 0)
        fail_prefix(f, "copy before the migration: ");
    return rc;
}

static int migrate(struct migrator *m, struct fail *f)
{
    int rc = read_version(m, f);

    if (rc == 0)
        rc = check_history(m, f);
    if (rc < 0 || m->version == m->n)
        return rc;
    if (m->version > 0) {
        rc = keep_copy(m, f);
        if (rc < 0)
            return rc;
    }
    for (int i = (int)m->version; i < m->n && rc == 0; i++)
        rc = apply(m, &m->defs[i], f);
    return rc;
}

int db_migrate_with(const char *path, const struct db_migration_def *defs, int n, struct fail *f)
{
    struct migrator m = {.path = path, .defs = defs, .n = n};
    int rc;

    rc = db_handle_open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 2000, &m.h, f);
    if (rc < 0)
        return rc;
    rc = db_exec(m.h, "PRAGMA foreign_keys=OFF") == SQLITE_OK ? 0 : E_DB;
    if (rc == 0)
        rc = migrate(&m, f);
    sqlite3_close(m.h);
    return rc;
}

int db_migrate(const char *path, struct fail *f)
{
    return db_migrate_with(path, db_migration_defs, DB_MIGRATIONS, f);
}
