/*
 * Schedules: from JSON by field tables, and the next instant. All that goes by the clock on the
 * wall is one pattern of minutes; a matching minute becomes an instant by the zone, so that one
 * that is skipped in spring comes right after the gap, and one that comes twice counts once.
 */
#include "task_priv.h"

#include <stdio.h>

#define KINDS "manual|once|interval|repeat|hourly|cron"
#define YEARS 9 /* a 29 February is at most 8 years away */
#define KIND_ROW                                                                                   \
    {                                                                                              \
        "kind", JK_ENUM, JF_REQUIRED, 0, 0, KINDS, NULL, "Kind of the schedule."                   \
    }

static const struct json_field manual_fields[] = {KIND_ROW};
static const struct json_field once_fields[] = {
    KIND_ROW,
    {"at", JK_TIME, JF_REQUIRED, 0, 0, NULL, NULL, "When it runs."},
};
static const struct json_field interval_fields[] = {
    KIND_ROW,
    {"every", JK_INT, JF_REQUIRED, 1, 100000, NULL, NULL, "So many units."},
    {"unit", JK_ENUM, JF_REQUIRED, 0, 0, "minutes|hours|days", NULL, "Unit of `every`."},
    {"from", JK_TIME, JF_REQUIRED, 0, 0, NULL, NULL, "The first time."},
};
static const struct json_field repeat_fields[] = {
    KIND_ROW,
    {"weekdays", JK_STRINGS, 0, 1, 7, NULL, NULL, "mon, tue, …; either this or `days`."},
    {"days", JK_ARRAY, 0, 0, 0, NULL, NULL, "Days of the month."},
    {"time", JK_STRING, JF_REQUIRED, 5, 5, NULL, NULL, "hh:mm"},
};
static const struct json_field hourly_fields[] = {
    KIND_ROW,
    {"hours", JK_ARRAY, JF_REQUIRED, 0, 0, NULL, NULL, "Hours of the day, 0 to 23."},
};
static const struct json_field cron_fields[] = {
    KIND_ROW,
    {"cron", JK_STRING, JF_REQUIRED, 9, 255, NULL, NULL, "minute hour day month weekday"},
};

#define TABLE(t) t, ARRAY_LEN(t)
static const struct {
    const char *name;
    const struct json_field *fields;
    size_t n;
} kinds[] = {
    [SCHEDULE_MANUAL] = {"manual", TABLE(manual_fields)},
    [SCHEDULE_ONCE] = {"once", TABLE(once_fields)},
    [SCHEDULE_INTERVAL] = {"interval", TABLE(interval_fields)},
    [SCHEDULE_REPEAT] = {"repeat", TABLE(repeat_fields)},
    [SCHEDULE_HOURLY] = {"hourly", TABLE(hourly_fields)},
    [SCHEDULE_CRON] = {"cron", TABLE(cron_fields)},
};

/* ---- reading ---- */
static int finding(struct json_errors *errs, const char *at, const char *member, const char *text)
{
    char pointer[128];

    (void)str_fmt(pointer, sizeof(pointer), "%s/%s", at, member);
    json_error_add(errs, pointer, "invalid", "%s", text);
    return E_PROTO;
}

int check_object(const json_t *in, const char *at, const struct json_field *fields, size_t n,
                 struct json_errors *errs)
{
    struct json_errors own = {.count = 0};
    char pointer[192];

    if (json_check(in, fields, n, false, &own) == 0)
        return 0;
    for (unsigned i = 0; i < own.count && i < ARRAY_LEN(own.list); i++) {
        (void)str_fmt(pointer, sizeof(pointer), "%s%s", at, own.list[i].pointer);
        json_error_add(errs, pointer, own.list[i].code, "%s", own.list[i].detail);
    }
    return E_PROTO;
}

static bool numbers(const json_t *array, int min, int max, uint32_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *v = json_array_get(array, i);
        if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
            return false;
        *ret |= UINT32_C(1) << json_integer_value(v);
    }
    return *ret != 0;
}

static bool weekday_names(const json_t *array, uint32_t *ret)
{
    static const char *const names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

    *ret = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *name = json_string_value(json_array_get(array, i));
        size_t day = 0;
        while (day < ARRAY_LEN(names) && (!name || strcmp(names[day], name) != 0))
            day++;
        if (day == ARRAY_LEN(names))
            return false;
        *ret |= UINT32_C(1) << day;
    }
    return *ret != 0;
}

static bool clock_time(const char *s, int *ret_hour, int *ret_minute)
{
    int64_t h, m;
    char part[3];

    if (strlen(s) != 5 || s[2] != ':' || !strchr("0123456789", s[0]) || !strchr("0123456789", s[3]))
        return false;
    (void)str_fmt(part, sizeof(part), "%.2s", s);
    if (num_parse(part, 0, 23, &h) < 0 || num_parse(s + 3, 0, 59, &m) < 0)
        return false;
    *ret_hour = (int)h;
    *ret_minute = (int)m;
    return true;
}

static int take_repeat(const json_t *in, const char *at, struct cron *c, struct json_errors *errs)
{
    const json_t *weekdays = json_object_get(in, "weekdays"), *days = json_object_get(in, "days");
    int hour, minute;

    if (!weekdays == !days)
        return finding(errs, at, "weekdays", "either weekdays or days of the month are needed");
    if (weekdays && !weekday_names(weekdays, &c->weekdays))
        return finding(errs, at, "weekdays", "weekdays are mon, tue, wed, thu, fri, sat, sun");
    if (days && !numbers(days, 1, 31, &c->days))
        return finding(errs, at, "days", "days must be a list of numbers from 1 to 31");
    if (!clock_time(json_get_str(in, "time", ""), &hour, &minute))
        return finding(errs, at, "time", "time must be hh:mm, from 00:00 to 23:59");
    c->any_day = !days;
    c->any_weekday = !weekdays;
    if (!days)
        c->days = 0xfffffffe;
    if (!weekdays)
        c->weekdays = 0x7f;
    c->months = 0x1ffe;
    c->hours = UINT32_C(1) << hour;
    c->minutes = UINT64_C(1) << minute;
    return 0;
}

static int take_hourly(const json_t *in, const char *at, struct cron *c, struct json_errors *errs)
{
    *c = (struct cron){1, 0, 0xfffffffe, 0x1ffe, 0x7f, true, true};
    if (!numbers(json_object_get(in, "hours"), 0, 23, &c->hours))
        return finding(errs, at, "hours", "hours must be a list of numbers from 0 to 23");
    return 0;
}

static bool ever(const struct cron *c);

static int take_cron(const json_t *in, const char *at, struct cron *c, struct json_errors *errs)
{
    struct fail f;

    if (cron_parse(json_get_str(in, "cron", ""), c, &f) < 0)
        return finding(errs, at, "cron", f.text);
    if (!ever(c))
        return finding(errs, at, "cron", "there is no such day in any year");
    return 0;
}

static int64_t time_of(const json_t *in, const char *name)
{
    int64_t ms = 0;

    return time_parse(json_get_str(in, name, ""), &ms) == 0 ? ms : 0;
}

int schedule_parse(const json_t *in, const char *at, struct schedule *ret, struct json_errors *errs)
{
    const char *name = json_get_str(in, "kind", NULL), *unit;
    size_t kind = 0;

    *ret = (struct schedule){0};
    while (kind < SCHEDULE__COUNT && (!name || strcmp(kinds[kind].name, name) != 0))
        kind++;
    if (kind == SCHEDULE__COUNT) { /* the others' members are unknown to this table */
        AUTO(json_free) json_t *only = json_object();
        if (json_object_get(in, "kind"))
            json_object_set(only, "kind", json_object_get(in, "kind"));
        return check_object(json_is_object(in) ? only : in, at, TABLE(manual_fields), errs);
    }
    int rc = check_object(in, at, kinds[kind].fields, kinds[kind].n, errs);
    if (rc < 0)
        return rc;
    ret->kind = (enum schedule_kind)kind;
    switch (ret->kind) {
    case SCHEDULE_ONCE:
        ret->at = time_of(in, "at");
        break;
    case SCHEDULE_INTERVAL:
        unit = json_get_str(in, "unit", "");
        ret->at = time_of(in, "from");
        ret->every = json_get_int(in, "every", 1);
        ret->unit_s = unit[0] == 'm' ? 60 : unit[0] == 'h' ? 3600 : DAY_S;
        break;
    case SCHEDULE_REPEAT:
        return take_repeat(in, at, &ret->pattern, errs);
    case SCHEDULE_HOURLY:
        return take_hourly(in, at, &ret->pattern, errs);
    case SCHEDULE_CRON:
        return take_cron(in, at, &ret->pattern, errs);
    case SCHEDULE_MANUAL:
    case SCHEDULE__COUNT:
        break;
    }
    return 0;
}

/* ---- the next instant ---- */
static bool day_matches(const struct cron *c, int64_t days)
{
    int64_t year;
    int month, day;

    civil_date(days, &year, &month, &day);
    if (!(c->months >> month & 1))
        return false;
    bool of_month = c->days >> day & 1, of_week = c->weekdays >> civil_weekday(days) & 1;
    return c->any_day || c->any_weekday ? of_month && of_week : of_month || of_week;
}

static bool ever(const struct cron *c)
{
    for (int64_t d = 0; d < 366 * YEARS; d++)
        if (day_matches(c, d))
            return true;
    return false;
}

/* The first matching minute on the wall from `local` (whole minutes) on; INT64_MIN = none. */
static int64_t next_wall(const struct cron *c, int64_t local)
{
    int64_t day = floor_div(local, DAY_S);
    int from = (int)(local - day * DAY_S) / 60;

    for (int64_t d = day; d < day + 366 * YEARS; d++, from = 0) {
        if (!day_matches(c, d))
            continue;
        for (int hour = from / 60; hour < 24; hour++) {
            if (!(c->hours >> hour & 1))
                continue;
            for (int minute = hour == from / 60 ? from % 60 : 0; minute < 60; minute++)
                if (c->minutes >> minute & 1)
                    return d * DAY_S + hour * 3600 + minute * 60;
        }
    }
    return INT64_MIN;
}

static int64_t next_pattern(const struct cron *c, const struct zone *z, int64_t after_s)
{
    int64_t local = after_s + zone_offset(z, after_s), t;

    local = floor_div(local, 60) * 60;
    do {
        local = next_wall(c, local);
        if (local == INT64_MIN)
            return 0;
        t = zone_instant(z, local);
        local += 60;
    } while (t <= after_s);
    return t * 1000;
}

static int64_t next_interval(const struct schedule *s, const struct zone *z, int64_t after_ms)
{
    int64_t step_ms = s->every * s->unit_s * 1000;

    if (after_ms < s->at)
        return s->at;
    if (s->unit_s != DAY_S)
        return s->at + ((after_ms - s->at) / step_ms + 1) * step_ms;

    /* Whole days on the wall: the same time of the day, whatever clocks do in between. */
    int64_t at_s = floor_div(s->at, 1000), after_s = floor_div(after_ms, 1000);
    int64_t from = at_s + zone_offset(z, at_s), now = after_s + zone_offset(z, after_s), t;
    int64_t k = (now - from) / (s->every * DAY_S) - 1;
    do {
        k++;
        t = zone_instant(z, from + (k > 0 ? k : 1) * s->every * DAY_S);
    } while (t * 1000 + s->at - at_s * 1000 <= after_ms);
    return t * 1000 + s->at - at_s * 1000;
}

int64_t schedule_next(const struct schedule *s, const struct zone *z, int64_t after_ms)
{
    switch (s->kind) {
    case SCHEDULE_ONCE:
        return s->at > after_ms ? s->at : 0;
    case SCHEDULE_INTERVAL:
        return next_interval(s, z, after_ms);
    case SCHEDULE_REPEAT:
    case SCHEDULE_HOURLY:
    case SCHEDULE_CRON:
        return next_pattern(&s->pattern, z, floor_div(after_ms, 1000));
    case SCHEDULE_MANUAL:
    case SCHEDULE__COUNT:
        break;
    }
    return 0;
}
