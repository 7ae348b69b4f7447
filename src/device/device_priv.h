/* What the files of the device room share. */
#pragma once

#include "device.h"

/* Columns as sql/queries/device.sql lists them; with_state: attributes and seen_at stand behind. */
void device_row(struct db_stmt *s, bool with_state, struct arena *a, struct device *ret);
