/*
 * What a device reports: attributes, versions among them, and how an update goes. A report of
 * times past is taken as far as it is news.
 */
#include "core_priv.h"

#define MODULES_MAX 16

/* One attribute that carries versions. */
static int report_version(struct engine *x, const struct device *d, const char *module,
                          const json_t *value, struct answers *out)
{
    int rc = update_reported_value(x->db, x->catalog, d, module, value, x->now, x->arena);

    out->bad_versions += rc == E_PROTO;
    return rc == E_PROTO ? 0 : rc;
}

int report_versions(struct engine *x, const struct device *d, json_t *attributes,
                    struct answers *out)
{
    const char *name, *modules[MODULES_MAX];
    json_t *value;

    json_object_foreach(attributes, name, value)
    {
        size_t n = catalog_version_modules(x->catalog, d->type_id, d->id, name, modules,
                                           ARRAY_LEN(modules));
        for (size_t i = 0; i < n; i++) {
            int rc = report_version(x, d, modules[i], value, out);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

int report_progress(struct engine *x, const struct device *d, const json_t *said,
                    const json_t *before, struct answers *out)
{
    const struct device_type *type = catalog_type(x->catalog, d->type_id);
    int rc = update_progress(x->db, x->catalog, d, type->progress, said, before, x->now, x->arena);

    out->bad_progress += rc == E_PROTO;
    return rc == E_PROTO ? 0 : rc;
}

static int on_report(struct engine *x, const struct device *d, const struct device_event *ev,
                     struct answers *out, enum metric *ret_refused)
{
    const struct device_type *type = catalog_type(x->catalog, d->type_id);
    bool progress = type && type->progress && update_progress_in(type->progress, ev->body);
    AUTO(json_free) json_t *before = NULL;
    int rc = progress ? device_attributes(x->db, d->id, &before) : 0;

    if (rc == 0 && ev->body)
        rc = device_attributes_merge(x->db, d->id, ev->body);
    if (rc == E_LIMIT) {
        *ret_refused = M_BAD_LIMIT;
        return E_PROTO;
    }
    /* The version first: a device that claims to have installed still runs the old one. */
    if (rc == 0 && ev->body)
        rc = report_versions(x, d, ev->body, out);
    return rc == 0 && progress ? report_progress(x, d, ev->body, before, out) : rc;
}

/* Is the version that a report of times past has older than the one that is known? */
static int is_outdated(struct engine *x, const struct device *d, const char *name, int64_t at)
{
    const char *modules[MODULES_MAX];
    size_t n =
        catalog_version_modules(x->catalog, d->type_id, d->id, name, modules, ARRAY_LEN(modules));
    char version[VERSION_MAX + 1];
    int64_t known_at;

    for (size_t i = 0; i < n; i++) {
        int rc = device_version(x->db, d->id, modules[i], version, &known_at);
        if (rc < 0 && rc != E_NOTFOUND)
            return rc;
        if (rc == 0 && at < known_at)
            return 1;
    }
    return 0;
}

/* What was true must not undo what was told since: of a report of times past without versions
 * that are older than those that are known. New reference. */
static int what_is_new(struct engine *x, const struct device *d, const struct device_event *ev,
                       json_t **ret)
{
    const char *name;
    json_t *at;
    int rc = 0;

    *ret = json_copy(ev->body);
    json_object_foreach(ev->times, name, at)
    {
        rc = is_outdated(x, d, name, json_integer_value(at));
        if (rc < 0)
            break;
        if (rc == 1)
            json_object_del(*ret, name);
    }
    return rc < 0 ? rc : 0;
}

int report_take(struct engine *x, const struct device *d, const struct device_event *ev,
                struct answers *out, enum metric *ret_refused)
{
    AUTO(json_free) json_t *body = NULL;
    struct device_event now = *ev;
    int rc = ev->times ? what_is_new(x, d, ev, &body) : 0;

    if (body)
        now.body = body;
    if (rc == 0)
        rc = on_report(x, d, &now, out, ret_refused);
    return rc < 0 ? rc : live_add(x, d, &now, NULL, out);
}
