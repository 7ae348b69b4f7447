/* What the files of the device room share. */
#pragma once

#include "device.h"

/* An event about the device, in the transaction. */
int device_tell(struct db *w, int64_t id, const char *type, int64_t now) MUST_USE;

/* Columns as sql/queries/device.sql lists them; with_state: attributes and seen_at stand behind. */
void device_row(struct db_stmt *s, bool with_state, struct arena *a, struct device *ret);

/* ---- depth.c: whether a device may stand where it says ---- */
int depth_check_new(struct db *w, const struct device *d, struct fail *f) MUST_USE;
int depth_check_move(struct db *w, const struct device *d, struct fail *f) MUST_USE;

/* ---- version.c: counted where its rows of device_module say, n times (1 or -1) ---- */
int version_count_device(struct db *w, int64_t device_id, int64_t n) MUST_USE;
/* Counters of its type that stand at zero go. */
int version_count_drop(struct db *w, int64_t device_id) MUST_USE;
