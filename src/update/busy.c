/*
 * Rule 12: whom an update of the device would get in the way of. Of its own modules one is updated
 * at a time, a gateway and what stands behind it take turns, and behind one gateway only so many
 * are updated together. Pure.
 */
#include "update_priv.h"

int64_t decide_parallel(const struct catalog *c, const struct device_facts *facts)
{
    const struct device_type *t = catalog_type(c, facts->gateway_type_id);

    return t ? t->parallel_updates : device_type_defaults.parallel_updates;
}

bool decide_lapsed(const struct active_update *u, int64_t now)
{
    int64_t age = now - u->updated_at; /* clocks may be set back */

    return (u->state == UPDATE_OFFERED || u->state == UPDATE_DEFERRED) &&
           (age >= PLACE_MS || age <= -PLACE_MS);
}

/* It could begin at any moment, without asking: so an offer counts as well. */
static bool has_place(const struct active_update *u, int64_t now)
{
    return u->state != UPDATE_PLANNED && !update_is_final(u->state) && !decide_lapsed(u, now);
}

int64_t decide_beside(const struct device_facts *facts, int64_t now, bool old)
{
    int64_t n = 0;

    for (size_t i = 0; i < facts->n_beside; i++) {
        const struct active_update *u = &facts->beside[i];
        bool counted = !old && !has_place(u, now);

        for (size_t k = 0; k < i && !counted; k++) /* several modules of one device */
            counted = facts->beside[k].device_id == u->device_id &&
                      (old || has_place(&facts->beside[k], now));
        n += !counted;
    }
    return n;
}

/* Of the device's own modules, one that is merely offered keeps none waiting: the device has the
 * offers of all of them, and takes them one by one. */
const struct active_update *decide_busy(const struct catalog *c, const struct device_facts *facts,
                                        int64_t now)
{
    for (size_t i = 0; i < facts->n_active; i++) {
        const struct active_update *u = &facts->active[i];

        if (!decide_is_own(facts, u) &&
            (u->device_id == facts->device->id ? update_is_in_progress(u->state)
                                               : has_place(u, now)))
            return u;
    }
    if (decide_beside(facts, now, false) < decide_parallel(c, facts))
        return NULL;
    for (size_t i = 0; i < facts->n_beside; i++)
        if (has_place(&facts->beside[i], now))
            return &facts->beside[i];
    return NULL;
}
