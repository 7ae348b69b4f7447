/*
 * What a device said of itself: attributes and the versions of its modules. A repeated report
 * finds its own words stored and writes nothing.
 */
#include "device_priv.h"

/* ---- attributes ---- */
int device_attributes(struct db *db, int64_t device_id, json_t **ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_ATTRIBUTES);
    enum json_fault fault;
    int rc;

    db_bind_int(q, 1, device_id);
    rc = db_row(q);
    if (rc == E_NOTFOUND) {
        *ret = json_object();
        return 0;
    }
    if (rc < 0)
        return rc;
    *ret = json_parse(db_text(q, 0), db_bytes(q, 0), SIZE_MAX, 64, &fault, NULL);
    return json_is_object(*ret) ? 0 : E_DB;
}

/* Returns whether anything changed. */
static bool merge(json_t *stored, const json_t *reported)
{
    const char *name;
    json_t *value;
    bool changed = false;

    json_object_foreach((json_t *)reported, name, value)
    {
        json_t *old = json_object_get(stored, name);

        if (json_is_null(value)) {
            changed |= json_object_del(stored, name) == 0;
        } else if (!old || !json_equal(old, value)) {
            json_object_set_nocheck(stored, name, value);
            changed = true;
        }
    }
    return changed;
}

int device_attributes_merge(struct db *w, int64_t device_id, const json_t *reported)
{
    AUTO(json_free) json_t *stored = NULL;
    int rc = device_attributes(w, device_id, &stored);

    if (rc < 0)
        return rc;
    if (!merge(stored, reported))
        return 0;
    if (json_object_size(stored) > DEVICE_ATTRIBUTES_MAX)
        return E_LIMIT;
    AUTO(free) char *text = json_text(stored);
    if (strlen(text) > DEVICE_ATTRIBUTES_BYTES_MAX)
        return E_LIMIT;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_ATTRIBUTES_PUT);
    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, text);
    return db_run(q);
}

/* ---- versions ---- */
int device_version(struct db *db, int64_t device_id, const char *module, char *ret,
                   int64_t *ret_reported_at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_VERSION);
    int rc;

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, module);
    rc = db_row(q);
    if (rc < 0)
        return rc;
    if (!str_copy(ret, VERSION_MAX + 1, db_text(q, 0)))
        return E_DB;
    if (ret_reported_at)
        *ret_reported_at = db_int(q, 1);
    return 0;
}

int device_version_set(struct db *w, int64_t device_id, const char *module, const char *version,
                       int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_VERSION_PUT);
    char stored[VERSION_MAX + 1];
    int rc;

    if (strlen(version) > VERSION_MAX)
        return E_LIMIT;
    rc = device_version(w, device_id, module, stored, NULL);
    if (rc == 0 && strcmp(stored, version) == 0)
        return 0;
    if (rc < 0 && rc != E_NOTFOUND)
        return rc;
    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, module);
    db_bind_text(q, 3, version);
    db_bind_int(q, 4, now);
    return db_run(q);
}

int device_versions(struct db *db, int64_t device_id,
                    int (*row)(void *arg, const char *module, const char *version,
                               int64_t reported_at),
                    void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_VERSIONS);
    int rc;

    db_bind_int(q, 1, device_id);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_text(q, 0), db_text(q, 1), db_int(q, 2));
        if (rc != 0)
            return rc;
    }
    return rc;
}
