/* The parts of the thingscloud dialect, for each other. */
#pragma once

#include "../eztcloud/eztcloud.h"

/* ---- series.c: attributes of times past; from: who says so, and of whom (form) ---- */
int thingscloud_decode_series(const struct dialect_in *in, const struct device_event *from,
                              struct arena *a, struct device_events *ret, enum metric *ret_refused);
