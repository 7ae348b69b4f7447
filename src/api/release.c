/*
 * Which changes of a firmware give devices a version that they would not have got: a second person
 * confirms those. Whatever narrows it down, or stops it, is one person's to do at once.
 */
#include "priv.h"

static bool all_in(const struct id_list *few, const struct id_list *many)
{
    for (size_t i = 0; i < few->n; i++)
        if (!id_list_has(many, few->ids[i]))
            return false;
    return true;
}

static bool has_source(const struct firmware *fw, const char *version)
{
    for (size_t i = 0; i < fw->n_sources; i++)
        if (strcmp(fw->source_versions[i], version) == 0)
            return true;
    return false;
}

/* Without a list it is a full image, with one a delta: the one is not less than the other. */
static bool sources_grow(const struct firmware *old, const struct firmware *fw)
{
    for (size_t i = 0; i < fw->n_sources; i++)
        if (!has_source(old, fw->source_versions[i]))
            return true;
    return old->n_sources > 0 && fw->n_sources == 0;
}

static bool devices_grow(const struct firmware *old, const struct firmware *fw)
{
    bool listed = old->devices.n > 0;

    return (listed && (fw->devices.n == 0 || !all_in(&fw->devices, &old->devices))) ||
           !all_in(&old->denied, &fw->denied);
}

int firmware_asks(struct db *db, const struct firmware *old, const struct firmware *fw, bool *ret)
{
    bool demanded, grows;
    int rc = project_second_person(db, fw->project_id, &demanded);

    *ret = false;
    if (rc < 0 || !demanded)
        return rc;
    *ret = old && old->must_pass && !fw->must_pass; /* what is above is free, whatever it is */
    if (*ret || !fw->enabled)
        return 0;
    grows = !old || !old->enabled || sources_grow(old, fw) || devices_grow(old, fw);
    if (!grows || !fw->campaign_only) {
        *ret = grows;
        return 0;
    }
    rc = firmware_is_governed(db, fw);
    *ret = rc == 1;
    return rc < 0 ? rc : 0;
}
