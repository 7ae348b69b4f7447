/*
 * Device types: their rows. A new type comes with one rule, so that a device that reports
 * `version` and asks with event `otaCheck` is served without any further set-up.
 */
#include "catalog_priv.h"

const struct device_type device_type_defaults = {
    .name = "",
    .description = "",
    .timezone = "UTC",
    .scheme = VERSION_AUTO,
    .accept_timeout_s = 24 * 3600,
    .download_timeout_s = 2 * 3600,
    .install_timeout_s = 3600,
    .verify_timeout_s = 3600,
    .attempts = 3,
    .attempts_per_day = 6,
    .flaps_per_day = 3,
    .backoff_s = 600,
    .battery_attribute = "battery",
    .signal_attribute = "signal",
    .space_attribute = "free_space",
    .max_children = 1000,
    .parallel_updates = 1,
    .down_interval_ms = 2000,
    .reply_wait_ms = 30000,
    .reply_retries = 2,
    .offline_delay_s = 300,
};

static const char *const scheme_names[] = {
    [VERSION_AUTO] = "auto",
    [VERSION_SEMVER] = "semver",
    [VERSION_OPAQUE] = "opaque",
};

const char *version_scheme_name(enum version_scheme s)
{
    return scheme_names[s];
}

static enum version_scheme scheme_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(scheme_names); i++)
        if (strcmp(scheme_names[i], name) == 0)
            return (enum version_scheme)i;
    return VERSION_AUTO; /* the column's CHECK leaves nothing else */
}

void device_type_row(struct db_stmt *s, struct arena *a, struct device_type *ret)
{
    *ret = (struct device_type){
        .id = db_int(s, 0),
        .project_id = db_int(s, 1),
        .key = arena_strdup(a, db_text(s, 2)),
        .name = arena_strdup(a, db_text(s, 3)),
        .description = arena_strdup(a, db_text(s, 4)),
        .scheme = scheme_of(db_text(s, 5)),
        .timezone = arena_strdup(a, db_text(s, 6)),
        .attributes_response = db_int(s, 7) != 0,
        .event_response = db_int(s, 8) != 0,
        .accept_timeout_s = db_int(s, 9),
        .download_timeout_s = db_int(s, 10),
        .install_timeout_s = db_int(s, 11),
        .verify_timeout_s = db_int(s, 12),
        .attempts = db_int(s, 13),
        .attempts_per_day = db_int(s, 14),
        .backoff_s = db_int(s, 15),
        .battery_attribute = arena_strdup(a, db_text(s, 16)),
        .signal_attribute = arena_strdup(a, db_text(s, 17)),
        .space_attribute = arena_strdup(a, db_text(s, 18)),
        .created_at = db_int(s, 19),
        .updated_at = db_int(s, 20),
        .revision = db_int(s, 21),
        .auto_create = db_int(s, 22) != 0,
        .max_children = db_int(s, 23),
        .parallel_updates = db_int(s, 24),
        .progress_text = arena_strdup(a, db_text(s, 25)),
        .topics_text = arena_strdup(a, db_text(s, 26)),
        .down_interval_ms = db_int(s, 27),
        .reply_wait_ms = db_int(s, 28),
        .reply_retries = db_int(s, 29),
        .offline_delay_s = db_int(s, 30),
        .gateway = db_int(s, 31) != 0,
        .flaps_per_day = db_int(s, 32),
    };
}

/* Bind what a type's insert and update share, from parameter i on; returns the next one. */
static int bind_type(struct db_stmt *q, int i, const struct device_type *t)
{
    db_bind_text(q, i++, t->name);
    db_bind_text(q, i++, t->description ? t->description : "");
    db_bind_text(q, i++, version_scheme_name(t->scheme));
    db_bind_text(q, i++, t->timezone);
    db_bind_int(q, i++, t->attributes_response);
    db_bind_int(q, i++, t->event_response);
    db_bind_int(q, i++, t->accept_timeout_s);
    db_bind_int(q, i++, t->download_timeout_s);
    db_bind_int(q, i++, t->install_timeout_s);
    db_bind_int(q, i++, t->verify_timeout_s);
    db_bind_int(q, i++, t->attempts);
    db_bind_int(q, i++, t->attempts_per_day);
    db_bind_int(q, i++, t->backoff_s);
    db_bind_text(q, i++, t->battery_attribute);
    db_bind_text(q, i++, t->signal_attribute);
    db_bind_text(q, i++, t->space_attribute);
    db_bind_int(q, i++, t->auto_create);
    db_bind_int(q, i++, t->max_children);
    db_bind_int(q, i++, t->parallel_updates);
    if (t->progress_text)
        db_bind_text(q, i, t->progress_text);
    i++;
    db_bind_text(q, i++, t->topics_text ? t->topics_text : "[]");
    db_bind_int(q, i++, t->down_interval_ms);
    db_bind_int(q, i++, t->reply_wait_ms);
    db_bind_int(q, i++, t->reply_retries);
    db_bind_int(q, i++, t->offline_delay_s);
    db_bind_int(q, i++, t->gateway);
    db_bind_int(q, i++, t->flaps_per_day);
    return i;
}

static int insert_default_rule(struct db *w, const struct device_type *t, struct fail *f)
{
    struct rule r = {
        .project_id = t->project_id,
        .type_id = t->id,
        .name = "otaCheck",
        .event = "otaCheck",
        .version_attribute = "version",
        .module = "main",
        .enabled = true,
        .created_at = t->created_at,
    };

    return rule_insert(w, &r, f);
}

int device_type_insert(struct db *w, struct device_type *t, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_TYPE_INSERT);
    int rc;

    if (!str_is_key(t->key, 64))
        return fail(f, E_PROTO, "a device type's key has 1 to 64 letters, digits or . _ - : @ +");
    db_bind_int(q, 1, t->project_id);
    db_bind_text(q, 2, t->key);
    db_bind_int(q, bind_type(q, 3, t), t->created_at);
    rc = db_run(q);
    if (rc == -EEXIST)
        return fail(f, rc, "device type %s exists already", t->key);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the device type", f);
    t->id = db_last_id(w);
    t->updated_at = t->created_at;
    t->revision = 1;
    return insert_default_rule(w, t, f);
}

int device_type_update(struct db *w, const struct device_type *t, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_TYPE_UPDATE);
    int rc;

    db_bind_int(q, 1, t->id);
    db_bind_int(q, bind_type(q, 2, t), t->updated_at);
    rc = db_run(q);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the device type", f);
    return db_changed(w) ? 0 : fail(f, E_NOTFOUND, "there is no such device type");
}

int device_type_delete(struct db *w, int64_t id, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *used = db_use(w, Q_DEVICE_TYPE_USED);
    AUTO(db_reset) struct db_stmt *campaigns = db_use(w, Q_DEVICE_TYPE_DELETE_CAMPAIGNS);
    AUTO(db_reset) struct db_stmt *firmwares = db_use(w, Q_DEVICE_TYPE_DELETE_FIRMWARES);
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_TYPE_DELETE);
    int rc;

    db_bind_int(used, 1, id);
    rc = db_row(used);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot delete the device type", f);
    if (db_int(used, 0))
        return fail(f, E_CONFLICT, "devices of this type are left");
    if (db_int(used, 1))
        return fail(f, E_CONFLICT, "firmwares of this type are left");
    db_bind_int(campaigns, 1, id);
    rc = db_run(campaigns);
    db_bind_int(firmwares, 1, id);
    if (rc == 0)
        rc = db_run(firmwares);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot delete the device type", f);
    db_bind_int(q, 1, id);
    rc = db_run(q);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot delete the device type", f);
    return db_changed(w) ? 0 : fail(f, E_NOTFOUND, "there is no such device type");
}

int device_type_by_key(struct db *db, int64_t project_id, const char *key, struct arena *a,
                       struct device_type *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_TYPE_BY_KEY);
    int rc;

    db_bind_int(q, 1, project_id);
    db_bind_text(q, 2, key);
    rc = db_row(q);
    if (rc == 0)
        device_type_row(q, a, ret);
    return rc;
}

int device_type_by_id(struct db *db, int64_t id, struct arena *a, struct device_type *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_TYPE_BY_ID);
    int rc;

    db_bind_int(q, 1, id);
    rc = db_row(q);
    if (rc == 0)
        device_type_row(q, a, ret);
    return rc;
}

int device_type_topics_each(struct db *db,
                            int (*row)(void *arg, int64_t type_id, int64_t project_id,
                                       const char *key, const char *topics_text),
                            void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_TYPE_TOPICS);
    int rc;

    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_int(q, 0), db_int(q, 1), db_text(q, 2), db_text(q, 3));
        if (rc != 0)
            break;
    }
    return rc;
}

int device_type_list(struct db *db, int64_t project_id, int64_t after, int limit,
                     int (*row)(void *arg, const struct device_type *t), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_TYPE_LIST);
    struct arena a;
    struct device_type t;
    int rc;

    arena_init(&a);
    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, limit);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        device_type_row(q, &a, &t);
        rc = row(arg, &t);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}
