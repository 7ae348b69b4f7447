/*
 * Offers that were sent unasked and may not have reached the broker: rows that are made with the
 * offer and go, many at once, when everything sent so far has arrived. What a crash leaves of them
 * is sent again under the same id, unless the device has answered meanwhile. Numbers are the
 * caller's, ascending.
 */
#include "update_priv.h"

int update_unsent_add(struct db *w, const struct update_unsent *u)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_PUSH_UNSENT_ADD);

    db_bind_int(q, 1, u->no);
    db_bind_int(q, 2, u->update_id);
    db_bind_int(q, 3, u->device_id);
    return db_run(q);
}

int update_unsent_drop(struct db *w, int64_t no)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_PUSH_UNSENT_DROP);

    db_bind_int(q, 1, no);
    return db_run(q);
}

int update_unsent_reached(struct db *w, int64_t after, int64_t upto)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_PUSH_UNSENT_REACHED);

    db_bind_int(q, 1, after);
    db_bind_int(q, 2, upto);
    return db_run(q);
}

int update_unsent_list(struct db *db, int64_t device_id, int64_t after, int64_t upto,
                       struct update_unsent *ret, int cap)
{
    AUTO(db_reset)
    struct db_stmt *q = db_use(db, device_id ? Q_PUSH_UNSENT_OF : Q_PUSH_UNSENT_LIST);
    int n = 0, rc = 0;

    if (device_id)
        db_bind_int(q, 4, device_id);
    db_bind_int(q, 1, after);
    db_bind_int(q, 2, upto);
    db_bind_int(q, 3, cap);
    while (n < cap && (rc = db_step(q)) == 1)
        ret[n++] = (struct update_unsent){db_int(q, 0), db_int(q, 1), db_int(q, 2)};
    return rc < 0 ? rc : n;
}
