/*
 * EZtCloud's MQTT device protocol, direct devices and gateways: the row of the table. Topics end in
 * the device's username; payloads are JSON. README.md in this folder names the documents.
 */
#include "eztcloud.h"

static const char *const filters[] = {
    "attributes/+",
    "attributes_get/+",
    "event_report/+",
    "command_reply/+",
    "gateway_connect/+",
    "gateway_disconnect/+",
    "gateway_attributes/+",
    "gateway_attributes_get/+",
    "gateway_event_report/+",
    "gateway_command_reply/+",
    "sub_connect/+",
    "sub_disconnect/+",
    "sub_attributes/+",
    "sub_attributes_get/+",
    "sub_event_report/+",
    "sub_command_reply/+",
    NULL,
};

const struct dialect dialect_eztcloud = {
    .name = "eztcloud",
    .filters = filters,
    .decode = eztcloud_decode,
    .encode = eztcloud_encode,
};
