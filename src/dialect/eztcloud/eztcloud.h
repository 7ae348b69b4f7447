/* The parts of the eztcloud dialect, for each other only. */
#pragma once

#include "dialect.h"

int eztcloud_decode(const char *topic, const void *payload, size_t n, struct arena *a,
                    struct device_event *ret, enum metric *ret_refused);
int eztcloud_encode(const struct device_command *cmd, struct arena *a, struct dialect_out *ret);
