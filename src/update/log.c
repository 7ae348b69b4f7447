/*
 * What devices log about an update: bytes as they came, over HTTP or in a member that their type's
 * mapping names. So many of an update and so long each; over all, so many and for so many days.
 */
#include "update_priv.h"

int update_log_room(struct db *db, int64_t update_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_LOG_ROOM);

    db_bind_int(q, 1, update_id);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    if (!db_int(q, 1))
        return E_AUTH;
    return db_int(q, 0) >= UPDATE_LOGS_MAX ? E_LIMIT : 0;
}

int update_log_add(struct db *w, int64_t update_id, const char *source, const void *p, size_t n,
                   int64_t now)
{
    int rc = n == 0 || n > UPDATE_LOG_BYTES_MAX ? E_LIMIT : update_log_room(w, update_id);

    if (rc < 0) {
        metric_add(M_UPDATE_LOGS_REFUSED, 1);
        return rc;
    }
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_LOG_ADD);
    db_bind_int(q, 1, update_id);
    db_bind_int(q, 2, now);
    db_bind_text(q, 3, source);
    db_bind_blob(q, 4, p, n);
    rc = db_run(q);
    if (rc == 0)
        metric_add(M_UPDATE_LOGS, 1);
    return rc;
}

int update_logs(struct db *db, int64_t update_id, int (*row)(void *arg, const struct update_log *l),
                void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_LOGS);
    int rc;

    db_bind_int(q, 1, update_id);
    while ((rc = db_step(q)) == 1) {
        const struct update_log l = {
            .id = db_int(q, 0), .at = db_int(q, 1), .source = db_text(q, 2), .size = db_int(q, 3)};
        rc = row(arg, &l);
        if (rc != 0)
            return rc;
    }
    return rc;
}

int update_log_body(struct db *db, int64_t update_id, int64_t id, struct sbuf *out)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_LOG);

    db_bind_int(q, 1, update_id);
    db_bind_int(q, 2, id);
    int rc = db_row(q);
    if (rc == 0)
        sbuf_add(out, db_blob(q, 0), db_bytes(q, 0));
    return rc;
}

int update_log_forget(struct db *w, int64_t keep, int64_t before, int max)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_LOG_FORGET);

    db_bind_int(q, 1, keep);
    db_bind_int(q, 2, before);
    db_bind_int(q, 3, max);
    int rc = db_run(q);
    return rc < 0 ? rc : db_changed(w) >= max;
}

/* ---- in a message ---- */
static int last_update(struct db *db, const struct device *d, const char *module, int64_t now,
                       int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_LOG_OF);

    db_bind_int(q, 1, d->id);
    db_bind_text(q, 2, module);
    db_bind_int(q, 3, now - DAY_MS);
    int rc = db_row(q);
    if (rc == 0)
        *ret = db_int(q, 0);
    return rc;
}

int log_said(struct db *w, const struct device *d, const json_t *log, const json_t *before,
             int64_t update_id, const char *module, int64_t now, struct arena *a)
{
    struct update u;
    int rc = 0;

    if (!json_is_string(log) || (before && json_equal((json_t *)log, (json_t *)before)))
        return 0; /* a report that repeats it is no news */
    if (update_id > 0) {
        rc = update_by_id(w, update_id, a, &u);
        if (rc == 0 && u.device_id != d->id)
            rc = E_NOTFOUND;
    } else {
        rc = last_update(w, d, module, now, &update_id);
    }
    if (rc == 0)
        rc = update_log_add(w, update_id, "mqtt", json_string_value(log), json_string_length(log),
                            now);
    return rc == E_NOTFOUND || rc == E_LIMIT || rc == E_AUTH ? 0 : rc; /* the rest still counts */
}
