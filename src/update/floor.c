/*
 * Rule 7: floors. A firmware that is marked must-pass stands between what is below its version and
 * what is above it. It speaks of versions, not of delivery: while something keeps the floor itself
 * from a device (it is disabled, not for the device, not released yet, asks for another version
 * first), the device waits below it. Only a floor for other hardware than the device reports is
 * none of its business. Of several the lowest comes first. Going back behind a floor is for a
 * campaign that allows downgrades.
 */
#include "update_priv.h"

static bool concerns(const struct decide_context *x, const struct firmware *f)
{
    return !f->hardware || !conditions_elsewhere(x->facts, f);
}

/* An opaque version that was never uploaded has no place: any floor may lie above it. */
static bool is_above(const struct decide_context *x, const struct firmware *f)
{
    if (x->type->scheme == VERSION_OPAQUE)
        return !x->current || f->rank > x->current->rank;
    return version_compare(x->type->scheme, f->version, x->facts->version) > 0;
}

static size_t floors_of(const struct decide_context *x, const struct firmware *const **ret)
{
    return catalog_floors(x->catalog, x->facts->device->type_id, x->facts->module, ret);
}

const struct firmware *floor_above(struct decide_context *x)
{
    const struct firmware *const *list;
    size_t n = x->floor_known ? 0 : floors_of(x, &list);

    x->floor_known = true;
    for (size_t i = 0; i < n && !x->floor; i++)
        if (is_above(x, list[i]) && concerns(x, list[i]))
            x->floor = list[i];
    return x->floor;
}

const struct firmware *floor_over(const struct decide_context *x, size_t rank)
{
    const struct firmware *const *list;
    size_t n = floors_of(x, &list);

    for (size_t i = 0; i < n; i++)
        if (list[i]->rank > rank && concerns(x, list[i]))
            return list[i];
    return NULL;
}

const struct firmware *floor_left(const struct decide_context *x, const struct firmware *fw)
{
    const struct firmware *f = floor_over(x, fw->rank);

    return f && !is_above(x, f) ? f : NULL;
}

const struct firmware *update_floor_between(const struct catalog *c, const struct firmware *low,
                                            const struct firmware *high, bool back)
{
    const struct firmware *const *list;
    size_t n = catalog_floors(c, low->type_id, low->module, &list);

    for (size_t i = 0; i < n; i++)
        if (json_object_size(list[i]->hardware) == 0 && list[i]->rank > low->rank &&
            list[i]->rank < high->rank + back)
            return list[i];
    return NULL;
}

/* ---- what was offered before the floor was one ---- */
static bool has_others(const struct catalog *c, const struct firmware *fw)
{
    const struct firmware *const *list;
    size_t n = catalog_floors(c, fw->type_id, fw->module, &list);

    return n > 0 && (list[0]->rank != fw->rank || list[n - 1]->rank != fw->rank);
}

static int judge(struct db *db, const struct catalog *c, int64_t update_id,
                 const struct firmware *fw, int64_t now, struct arena *a)
{
    struct facts_load l;
    struct device d = {0};
    struct update u = {0};
    int rc = update_by_id(db, update_id, a, &u);

    if (rc == 0)
        rc = device_by_id(db, u.device_id, a, &d);
    if (rc == 0)
        rc = facts_load(db, &d, u.module, now, a, &l);
    if (rc < 0)
        return rc;
    enum reason r = decide_floor(c, &l.facts, fw, &u, now);
    rc = l.rc < 0 ? l.rc : r == REASON_ELIGIBLE ? 0 : E_GONE;
    facts_done(&l);
    return rc;
}

int update_floor(struct db *db, const struct catalog *c, int64_t update_id,
                 const struct firmware *fw, int64_t now)
{
    struct arena a;

    if (!has_others(c, fw))
        return 0;
    arena_init(&a);
    int rc = judge(db, c, update_id, fw, now, &a);
    arena_done(&a);
    return rc;
}
