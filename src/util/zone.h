/* What the files of time zones share. Nothing here is for other rooms. */
#pragma once

#include "util.h"

/* ---- posix_tz.c: the rule for instants after the last one that a file names ---- */
struct tz_date { /* when clocks change */
    char kind;   /* 'M' month.week.weekday, 'J' day without leap days, 'N' day from 0 */
    int month, week, day;
    int32_t time_s; /* on the wall; may be negative, or beyond a day */
};
struct tz_rule {
    int32_t standard, daylight; /* seconds east of UTC */
    bool has_daylight;
    struct tz_date start, end;
};
/* "EST5EDT,M3.2.0,M11.1.0": 0, or E_PROTO. */
int tz_rule_parse(const char *text, size_t n, struct tz_rule *ret) MUST_USE;
/* Instants (seconds UTC) of year at which it begins and ends. */
void tz_rule_year(const struct tz_rule *r, int64_t year, int64_t *ret_start, int64_t *ret_end);
int32_t tz_rule_offset(const struct tz_rule *r, int64_t utc_s);
