/*
 * Devices that fetch their login themselves: who they are by their serial number, and whether
 * one may still have a login. What is handed out can't be read back: only its hash is kept. So
 * handing out means a new login, and a device that is at work must never lose its own to a
 * stranger who has read a serial number.
 */
#include "device_priv.h"

int device_by_project_sn(struct db *db, int64_t project_id, int64_t type_id, const char *sn,
                         struct arena *a, struct device *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_BY_PROJECT_SN);
    int rc;

    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, type_id);
    db_bind_text(q, 3, sn);
    rc = db_row(q);
    if (rc < 0)
        return rc;
    device_row(q, false, a, ret);
    rc = db_step(q);
    return rc == 1 ? E_CONFLICT : rc;
}

int device_claim_open(struct db *w, int64_t device_id, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_CLAIM_OPEN);

    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, now);
    return db_run(q);
}

int device_claim_close(struct db *w, int64_t device_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_CLAIM_CLOSE);

    db_bind_int(q, 1, device_id);
    return db_run(q);
}

int device_claim_fetched(struct db *w, int64_t device_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_CLAIM_FETCHED);

    db_bind_int(q, 1, device_id);
    return db_run(q);
}

int device_claim(struct db *db, int64_t device_id, struct device_claim *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_CLAIM);
    int rc;

    db_bind_int(q, 1, device_id);
    rc = db_row(q);
    if (rc == 0)
        *ret = (struct device_claim){db_int(q, 0), db_int(q, 1) != 0, db_int(q, 2) != 0};
    return rc;
}
