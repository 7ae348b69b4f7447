/*
 * The table of dialects: one row each, in the order in which topics are tried. A new protocol is
 * a folder, a row here, golden files, a fuzz target and a README.
 */
#include "dialect.h"

const struct dialect *const dialects[] = {
    &dialect_eztcloud,
    &dialect_thingscloud,
    &dialect_mapped,
    NULL,
};

const struct dialect *dialect_named(const char *name)
{
    for (size_t i = 0; dialects[i]; i++)
        if (strcmp(dialects[i]->name, name) == 0)
            return dialects[i];
    return dialects[0];
}

void device_events_done(struct device_events *evs)
{
    json_decref(evs->root);
    *evs = (struct device_events){0};
}
