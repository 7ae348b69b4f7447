/* What the files of the device room share. */
#pragma once

#include "device.h"

/* An event about the device, in the transaction. */
int device_tell(struct db *w, int64_t id, const char *type, int64_t now) MUST_USE;

/* Columns as sql/queries/device.sql lists them; with_state: attributes and seen_at stand behind. */
void device_row(struct db_stmt *s, bool with_state, struct arena *a, struct device *ret);
