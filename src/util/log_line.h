/* One line of the log while it is put together: for log.c and log_ring.c only. */
#pragma once

#include "util.h"

extern const char *const log_level_names[]; /* by enum log_level */

#define LINE_MAX_BYTES 4096

struct line {
    bool json;
    size_t n;
    char text[LINE_MAX_BYTES];
};

/* With "<priority>" in front under journald; at_ms 0: without a time. */
void line_begin(struct line *l, bool json, bool journal, enum log_level level, int64_t at_ms);
/* False when there was no room for all of it. */
bool line_pair(struct line *l, const char *key, const char *value);
/* End the line and write it to stderr. */
void line_emit(struct line *l);

/* log_ring.c: keep a line that is not printed. */
void ring_add(enum log_level level, const char *room, const char *msg, va_list pairs);
/* log.c: write a line that was kept; text holds n bytes: room, message, names and values. */
void log_write_kept(enum log_level level, int64_t at_ms, const char *text, size_t n);
