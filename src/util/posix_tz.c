/*
 * The rule at the end of a time zone file (RFC 8536 3.3: POSIX TZ, with hours from -167 to 167):
 * standard time, and daylight saving between two dates of each year.
 */
#include "zone.h"

#include <ctype.h>

struct reader {
    const char *p, *end;
};

static bool take(struct reader *r, char c)
{
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static bool number(struct reader *r, int max, int *ret)
{
    int v = 0;

    if (r->p == r->end || !isdigit((unsigned char)*r->p))
        return false;
    while (r->p < r->end && isdigit((unsigned char)*r->p) && v <= max)
        v = v * 10 + (*r->p++ - '0');
    *ret = v;
    return v <= max;
}

/* "CET" or "<+03>" */
static bool name(struct reader *r)
{
    const char *from = r->p;

    if (take(r, '<')) {
        while (r->p < r->end && *r->p != '>')
            r->p++;
        return take(r, '>');
    }
    while (r->p < r->end && isalpha((unsigned char)*r->p))
        r->p++;
    return r->p - from >= 3;
}

/* [+-]hh[:mm[:ss]] */
static bool hms(struct reader *r, int max_hours, int32_t *ret)
{
    bool minus = take(r, '-');
    int h, m = 0, s = 0;

    if (!minus)
        (void)take(r, '+');
    if (!number(r, max_hours, &h))
        return false;
    if (take(r, ':') && (!number(r, 59, &m) || (take(r, ':') && !number(r, 59, &s))))
        return false;
    *ret = (minus ? -1 : 1) * (h * 3600 + m * 60 + s);
    return true;
}

static bool date(struct reader *r, struct tz_date *d)
{
    bool fine;

    *d = (struct tz_date){.time_s = 2 * 3600};
    if (take(r, 'M')) {
        d->kind = 'M';
        fine = number(r, 12, &d->month) && d->month >= 1 && take(r, '.') &&
               number(r, 5, &d->week) && d->week >= 1 && take(r, '.') && number(r, 6, &d->day);
    } else if (take(r, 'J')) {
        d->kind = 'J';
        fine = number(r, 365, &d->day) && d->day >= 1;
    } else {
        d->kind = 'N';
        fine = number(r, 365, &d->day);
    }
    return fine && (!take(r, '/') || hms(r, 167, &d->time_s));
}

int tz_rule_parse(const char *text, size_t n, struct tz_rule *ret)
{
    struct reader r = {text, text + n};

    *ret = (struct tz_rule){0};
    if (!name(&r) || !hms(&r, 24, &ret->standard))
        return E_PROTO;
    ret->standard = -ret->standard; /* POSIX counts westward */
    if (r.p == r.end)
        return 0;
    ret->has_daylight = true;
    ret->daylight = ret->standard + 3600;
    if (!name(&r))
        return E_PROTO;
    if (r.p < r.end && *r.p != ',') {
        if (!hms(&r, 24, &ret->daylight))
            return E_PROTO;
        ret->daylight = -ret->daylight;
    }
    if (!take(&r, ',') || !date(&r, &ret->start) || !take(&r, ',') || !date(&r, &ret->end))
        return E_PROTO;
    return r.p == r.end ? 0 : E_PROTO;
}

static bool is_leap(int64_t y)
{
    return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
}

/* Seconds of the date on the wall since 1970-01-01 00:00. */
static int64_t wall(const struct tz_date *d, int64_t year)
{
    int64_t days;

    if (d->kind == 'M') {
        int64_t first = civil_days(year, d->month, 1);
        int64_t next =
            d->month == 12 ? civil_days(year + 1, 1, 1) : civil_days(year, d->month + 1, 1);
        days = first + (d->day - civil_weekday(first) + 7) % 7 + 7 * (d->week - 1);
        if (days >= next) /* week 5 is the last one */
            days -= 7;
    } else {
        days = civil_days(year, 1, 1) + d->day;
        if (d->kind == 'J')
            days -= !(is_leap(year) && d->day >= 60);
    }
    return days * DAY_S + d->time_s;
}

void tz_rule_year(const struct tz_rule *r, int64_t year, int64_t *ret_start, int64_t *ret_end)
{
    *ret_start = wall(&r->start, year) - r->standard;
    *ret_end = wall(&r->end, year) - r->daylight;
}

int32_t tz_rule_offset(const struct tz_rule *r, int64_t utc_s)
{
    int64_t year, start, end;
    int month, day;

    if (!r->has_daylight)
        return r->standard;
    civil_date(floor_div(utc_s + r->standard, DAY_S), &year, &month, &day);
    tz_rule_year(r, year, &start, &end);
    bool on = start < end ? utc_s >= start && utc_s < end : utc_s >= start || utc_s < end;
    return on ? r->daylight : r->standard;
}
