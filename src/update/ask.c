/*
 * What rules and tasks ask: they name the attribute that carries a module's version, and it may
 * have been reported before anybody named it. Then the stored attribute holds the version.
 */
#include "update_priv.h"

/* A version as it was reported: text, or a number written as the device wrote it. */
static const char *version_text(struct arena *a, const json_t *value)
{
    if (json_is_string(value))
        return json_string_value(value);
    if (json_is_integer(value))
        return arena_printf(a, "%lld", (long long)json_integer_value(value));
    if (json_is_real(value))
        return arena_printf(a, "%.15g", json_real_value(value));
    return NULL;
}

int update_reported_value(struct db *w, const struct catalog *c, const struct device *d,
                          const char *module, const json_t *value, int64_t now, struct arena *a)
{
    const char *version = version_text(a, value);

    if (!version || version_check(VERSION_AUTO, version, NULL) < 0)
        return E_PROTO;
    return update_reported(w, c, d, module, version, now, a);
}

/* 1 = there is such a version now. */
static int take_stored(struct db *db, const struct catalog *c, const struct device *d,
                       const struct update_ask *q, struct arena *a, bool *ret_bad)
{
    AUTO(json_free) json_t *all = NULL;
    int rc = device_attributes(db, d->id, &all);

    if (rc < 0)
        return rc;
    json_t *value = json_object_get(all, q->attribute);
    if (!value)
        return 0;
    rc = update_reported_value(db, c, d, q->module, value, q->now, a);
    *ret_bad = rc == E_PROTO;
    return rc == E_PROTO ? 0 : rc < 0 ? rc : 1;
}

int update_ask(struct db *db, const struct catalog *c, const struct device *d,
               const struct update_ask *q, struct arena *a, struct update_answer *ret)
{
    ret->bad_version = false;
    int rc = check_run(db, c, d, q, a, ret);

    if (rc < 0 || ret->update.id != 0 || ret->why.reason != REASON_VERSION_UNKNOWN || !q->attribute)
        return rc;
    rc = take_stored(db, c, d, q, a, &ret->bad_version);
    return rc == 1 ? check_run(db, c, d, q, a, ret) : rc;
}
