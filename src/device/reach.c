/*
 * Whether a device is connected, as far as anybody knows: what decides between sending a message
 * at once and keeping it for its next sign of life.
 */
#include "device_priv.h"

/* Who it is that has to be connected for the device to be reached: *ret_behind, when it is another
 * than itself. */
static int connection_of(struct db *db, const struct device *d, struct arena *a,
                         const char **ret_key, bool *ret_behind)
{
    struct device_route route;
    int rc;

    *ret_key = d->key;
    *ret_behind = false;
    if (!d->gateway_id)
        return 0;
    rc = device_route(db, d->id, a, &route);
    if (rc < 0)
        return rc;
    *ret_key = route.gateway;
    *ret_behind = route.n_path > 0;
    return 0;
}

int device_is_there(struct db *db, const struct device_reach *r, const struct device *d,
                    const struct device_type *type, struct arena *a, bool *ret)
{
    int64_t seen = r->seen ? device_seen_at(r->seen, d->id) : 0, said_at = 0;
    bool behind, said_off = false, said_on = false;
    const char *key;
    int rc = connection_of(db, d, a, &key, &behind);

    if (rc < 0)
        return rc;
    {
        AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_SEEN_ROW);
        db_bind_int(q, 1, d->id);
        rc = db_row(q);
        if (rc < 0 && rc != E_NOTFOUND)
            return rc;
        if (rc == 0 && db_int(q, 0) > seen)
            seen = db_int(q, 0);
        if (rc == 0 && behind && !db_is_null(q, 1)) {
            said_on = db_int(q, 1) != 0;
            said_off = !said_on;
            said_at = db_int(q, 2);
        }
    }
    int up = r->online ? r->online(r->arg, key) : -1;
    int64_t heard = r->heard && up != 1 ? r->heard(r->arg, d->id) : -1;
    bool lately = r->now - (heard < 0 ? seen : heard) <= type->offline_delay_s * 1000;

    if (up == 0 || (said_off && seen <= said_at))
        *ret = false;
    else
        *ret = lately || (up == 1 && (!behind || said_on));
    return 0;
}
