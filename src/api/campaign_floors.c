/*
 * What floors mean to a campaign: those that stand before its firmware are shown with it, as the
 * devices below them are not its yet; and a rollback that one forbids is refused before anybody
 * relies on it. Both ask the snapshot.
 */
#include "priv.h"

void campaign_write_floors(struct obj *o, struct api *api, const struct campaign *c)
{
    struct catalog *cat = catalog_cell_get(api->env.catalog);
    const struct firmware *fw = catalog_firmware(cat, c->firmware_id), *const * list;
    size_t n = fw ? catalog_floors(cat, fw->type_id, fw->module, &list) : 0;

    obj_name(o, "floors");
    sbuf_add(o->b, "[", 1);
    for (size_t i = 0; i < n && list[i]->rank < fw->rank; i++) {
        if (i)
            sbuf_add(o->b, ",", 1);
        struct obj in = obj_begin(o->b);
        obj_int(&in, "firmware", list[i]->id);
        obj_str(&in, "version", list[i]->version);
        obj_bool(&in, "enabled", list[i]->enabled);
        obj_end(&in);
    }
    sbuf_add(o->b, "]", 1);
    catalog_unref(cat);
}

static int check(struct write *w, const struct catalog *cat, const struct campaign *c)
{
    const struct firmware *bad = catalog_firmware(cat, c->firmware_id);
    const struct firmware *good = catalog_firmware(cat, c->rollback_id);
    const struct firmware *floor = bad && good ? update_floor_between(cat, good, bad, true) : NULL;

    if (!floor)
        return 0;
    return write_invalid(w, "/rollback_firmware", "below_floor",
                         "It lies below %s (firmware %lld), which devices must pass. Name one that "
                         "does not, or set allow_downgrade.",
                         floor->version, (long long)floor->id);
}

int campaign_check_floors(struct write *w, const struct campaign *c, bool allow_downgrade)
{
    static const char *const about[] = {"firmware", "rollback_firmware", "allow_downgrade"};
    bool asked = false;

    for (size_t i = 0; i < ARRAY_LEN(about); i++)
        asked |= json_object_get(w->in, about[i]) != NULL;
    if (!asked || !c->rollback_id || allow_downgrade)
        return 0;
    struct catalog *cat = catalog_cell_get(w->api->env.catalog);
    int rc = check(w, cat, c);
    catalog_unref(cat);
    return rc;
}
