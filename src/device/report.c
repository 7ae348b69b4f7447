/*
 * What a device said of itself: attributes; its versions are in version.c. A repeated report
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

static int put_attributes(struct db *w, enum db_query query, int64_t device_id, const char *text)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, query);

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, text);
    return db_run(q);
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
    rc = put_attributes(w, Q_DEVICE_ATTRIBUTES_PUT, device_id, text);
    if (rc == 0 && db_changed(w) == 0)
        rc = put_attributes(w, Q_DEVICE_ATTRIBUTES_FIRST, device_id, text);
    return rc;
}
