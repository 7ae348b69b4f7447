/*
 * Named statements: taking one (prepared at its first use), binding, stepping, reading columns.
 * Parameters are not copied (SQLITE_STATIC): the caller keeps them until the step is over, which
 * saves a malloc each.
 */
#include "db_priv.h"

#include <assert.h>

struct db_stmt *db_use(struct db *db, enum db_query q)
{
    struct db_stmt *s;

    assert(q < Q__COUNT);
    s = &db->stmts[q];
    assert(!s->in_use); /* nested use of one query, or a db_reset that is missing */
    s->in_use = true;
    s->bind_rc = SQLITE_OK;
    if (s->s) {
        if (db_query_defs[q].n_params > 0)
            sqlite3_clear_bindings(s->s);
    } else if (!s->denied) {
        s->bind_rc = db_prepare(db, db_query_defs[q].text, &s->s);
    }
    return s;
}

void db_reset(struct db_stmt *s)
{
    if (!s)
        return;
    if (s->s)
        sqlite3_reset(s->s);
    s->in_use = false;
}

/* ---- binding ---- */
static void bound(struct db_stmt *s, int rc)
{
    assert(rc != SQLITE_RANGE && rc != SQLITE_MISUSE); /* no such parameter; not reset */
    if (rc != SQLITE_OK && s->bind_rc == SQLITE_OK)
        s->bind_rc = rc;
    s->in_use = true;
}

void db_bind_int(struct db_stmt *s, int i, int64_t v)
{
    if (s->s)
        bound(s, sqlite3_bind_int64(s->s, i, v));
}

void db_bind_text(struct db_stmt *s, int i, const char *v)
{
    db_bind_textn(s, i, v, v ? strlen(v) : 0);
}

void db_bind_textn(struct db_stmt *s, int i, const char *v, size_t n)
{
    if (s->s)
        bound(s, sqlite3_bind_text64(s->s, i, v, n, SQLITE_STATIC, SQLITE_UTF8));
}

void db_bind_blob(struct db_stmt *s, int i, const void *p, size_t n)
{
    if (s->s)
        bound(s, sqlite3_bind_blob64(s->s, i, p, n, SQLITE_STATIC));
}

void db_bind_null(struct db_stmt *s, int i)
{
    if (s->s)
        bound(s, sqlite3_bind_null(s->s, i));
}

/* ---- stepping ---- */
int db_step(struct db_stmt *s)
{
    struct db *db = s->db;
    int rc;

    if (s->denied) {
        (void)str_fmt(db->error, sizeof(db->error), "%s: needs the writer",
                      db_query_defs[s->query].name);
        return E_NEEDS_WRITE;
    }
    if (db->lost)
        return db->lost;
    if (s->bind_rc != SQLITE_OK)
        return db_note_error(db, s->bind_rc, db_query_defs[s->query].name);
    s->in_use = true;
    rc = sqlite3_step(s->s);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    return db_note_error(db, rc, db_query_defs[s->query].name);
}

int db_run(struct db_stmt *s)
{
    int rc;

    do
        rc = db_step(s);
    while (rc == 1);
    db_reset(s);
    return rc;
}

int db_row(struct db_stmt *s)
{
    int rc = db_step(s);

    return rc == 1 ? 0 : rc == 0 ? E_NOTFOUND : rc;
}

int64_t db_count(struct db *db, enum db_query query, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, query);

    db_bind_int(q, 1, id);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0);
}

int64_t db_count_word(struct db *db, enum db_query query, int64_t id, const char *word)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, query);

    db_bind_int(q, 1, id);
    db_bind_text(q, 2, word);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0);
}

/* ---- columns ---- */
int64_t db_int(struct db_stmt *s, int col)
{
    return sqlite3_column_int64(s->s, col);
}

bool db_is_null(struct db_stmt *s, int col)
{
    return sqlite3_column_type(s->s, col) == SQLITE_NULL;
}

const char *db_text(struct db_stmt *s, int col)
{
    return (const char *)sqlite3_column_text(s->s, col);
}

size_t db_bytes(struct db_stmt *s, int col)
{
    return (size_t)sqlite3_column_bytes(s->s, col);
}

const void *db_blob(struct db_stmt *s, int col)
{
    return sqlite3_column_blob(s->s, col);
}

int64_t db_last_id(struct db *db)
{
    return sqlite3_last_insert_rowid(db->h);
}

int64_t db_changed(struct db *db)
{
    return sqlite3_changes64(db->h);
}

int64_t db_total_changes(struct db *db)
{
    return sqlite3_total_changes64(db->h);
}
