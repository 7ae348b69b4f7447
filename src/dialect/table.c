/*
 * The table of dialects: one row each, in the order in which topics are tried. A new protocol is
 * a folder, a row here, golden files, a fuzz target and a README.
 */
#include "dialect.h"

const struct dialect *const dialects[] = {
    &dialect_eztcloud,
    &dialect_thingscloud,
    NULL,
};

void device_event_done(struct device_event *ev)
{
    json_decref(ev->root);
    *ev = (struct device_event){0};
}
