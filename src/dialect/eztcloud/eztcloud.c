/*
 * EZtCloud's MQTT device protocol, direct devices: the row of the table. Topics end in the
 * device's username; payloads are JSON. README.md in this folder names the documents.
 */
#include "eztcloud.h"

static const char *const filters[] = {
    "attributes/+", "attributes_get/+", "event_report/+", "command_reply/+", NULL,
};

const struct dialect dialect_eztcloud = {
    .name = "eztcloud",
    .filters = filters,
    .decode = eztcloud_decode,
    .encode = eztcloud_encode,
};
