/*
 * Which device a gateway speaks of. The way leads from the gateway that sent the message, address
 * by address, so what stands behind another gateway can't be reached. A device that is not there
 * yet is made when the message names a type of the gateway's project that allows it.
 */
#include "core_priv.h"

/* The type that a message names; E_NOTFOUND when devices of it don't come by themselves. */
static int find_type(struct engine *x, int64_t project_id, const char *product,
                     struct device_type *ret)
{
    int rc = device_type_by_key(x->db, project_id, product, x->arena, ret);

    return rc == 0 && !ret->auto_create ? E_NOTFOUND : rc;
}

static int64_t max_behind(const struct engine *x, const struct device *gateway)
{
    const struct device_type *t = catalog_type(x->catalog, gateway->type_id);

    return t ? t->max_children : device_type_defaults.max_children;
}

static int create(struct engine *x, const struct device *gateway, int64_t parent_id,
                  const char *address, const char *product, struct device *ret)
{
    struct device_type type;
    int rc = find_type(x, gateway->project_id, product, &type);

    if (rc < 0)
        return rc;
    *ret = (struct device){.project_id = gateway->project_id,
                           .type_id = type.id,
                           .gateway_id = parent_id,
                           .address = address,
                           .created_at = x->now};
    rc = device_create_behind(x->db, ret, gateway->id, max_behind(x, gateway), x->arena);
    if (rc == E_NEEDS_WRITE || rc == E_DB || rc == E_DB_FULL)
        return rc;
    /* Too many, too deep, or an import under way has it: for the gateway it is not there. */
    return rc < 0 ? E_NOTFOUND : device_by_id(x->db, ret->id, x->arena, ret);
}

/* A device comes by saying that it is there, what it is, or what it wants. */
static bool may_bring(const struct device_event *ev)
{
    return ev->product &&
           (ev->kind == EVENT_ONLINE || ev->kind == EVENT_REPORT || ev->kind == EVENT_METHOD);
}

int behind_find(struct engine *x, const struct device *gateway, const struct device_event *ev,
                struct device *ret)
{
    int64_t parent_id = gateway->id;

    for (size_t i = 0; i < ev->n_path; i++) {
        int rc = device_behind(x->db, parent_id, ev->path[i], x->arena, ret);

        /* Only the last one: those on the way have to be there. */
        if (rc == E_NOTFOUND && i + 1 == ev->n_path && may_bring(ev))
            rc = create(x, gateway, parent_id, ev->path[i], ev->product, ret);
        if (rc < 0)
            return rc;
        parent_id = ret->id;
    }
    return 0;
}
