/*
 * Imports: thousands of rows in many short transactions, that become visible in one. While an
 * import's row exists in device_import, no query of this room sees its devices; ending it shows
 * them all, and dropping it removes them slice by slice.
 */
#include "device_priv.h"

int device_import_begin(struct db *w, int64_t project_id, int64_t now, int64_t *ret_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_IMPORT_BEGIN);
    int rc;

    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, now);
    rc = db_run(q);
    if (rc == 0)
        *ret_id = db_last_id(w);
    return rc;
}

int device_import_finish(struct db *w, int64_t import_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_IMPORT_END);
    int rc;

    db_bind_int(q, 1, import_id);
    rc = db_run(q);
    return rc == 0 && db_changed(w) == 0 ? E_NOTFOUND : rc;
}

static bool is_pending(struct db *w, int64_t import_id, int *ret_rc)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_IMPORT_EXISTS);

    db_bind_int(q, 1, import_id);
    *ret_rc = db_row(q);
    return *ret_rc == 0;
}

int device_import_drop(struct db *w, int64_t import_id, int max)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_IMPORT_DROP);
    int rc;

    /* One that was finished is no longer ours to drop: its devices are in use. */
    if (!is_pending(w, import_id, &rc))
        return rc == E_NOTFOUND ? 0 : rc;
    db_bind_int(q, 1, import_id);
    db_bind_int(q, 2, max);
    rc = db_run(q);
    if (rc < 0)
        return rc;
    if (db_changed(w) >= max)
        return max;
    return device_import_finish(w, import_id);
}

int device_import_leftover(struct db *db, int64_t *ret_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_IMPORT_LEFTOVER);
    int rc = db_row(q);

    if (rc == 0)
        *ret_id = db_int(q, 0);
    return rc;
}
