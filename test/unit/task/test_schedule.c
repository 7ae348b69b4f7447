/* Schedules: tables of known next times, and a naive walk over every minute as a witness. */
#include "tests.h"

#include <time.h>

static struct schedule parsed(const char *text)
{
    struct json_errors errs = {.count = 0};
    enum json_fault fault;
    struct schedule s;
    AUTO(json_free) json_t *in = json_parse(text, strlen(text), 4096, 8, &fault, NULL);

    assert_non_null(in);
    if (schedule_parse(in, "/schedule", &s, &errs) < 0)
        fail_msg("%s: %s %s", text, errs.list[0].pointer, errs.list[0].detail);
    return s;
}

static const struct {
    const char *zone, *schedule, *after, *next[4];
} table[] = {
    {"UTC", "{'kind':'manual'}", "2024-01-01T00:00:00Z", {"-"}},
    {"UTC",
     "{'kind':'once','at':'2024-05-01T10:00:00+08:00'}",
     "2024-01-01T00:00:00Z",
     {"2024-05-01T02:00:00Z", "-"}},
    {"UTC",
     "{'kind':'interval','every':90,'unit':'minutes','from':'2024-01-01T00:10:00Z'}",
     "2024-01-01T00:00:00Z",
     {"2024-01-01T00:10:00Z", "2024-01-01T01:40:00Z", "2024-01-01T03:10:00Z"}},
    {"UTC",
     "{'kind':'interval','every':7,'unit':'hours','from':'2024-01-01T00:00:00Z'}",
     "2025-01-01T00:00:00Z",
     {"2025-01-01T01:00:00Z", "2025-01-01T08:00:00Z"}},
    /* days go by the wall: 09:00 in New York in winter and in summer; 02:30 on the day of the gap
     * comes right after it, and at 02:30 again the day after */
    {"America/New_York",
     "{'kind':'interval','every':1,'unit':'days','from':'2024-03-09T14:00:00Z'}",
     "2024-03-09T13:00:00Z",
     {"2024-03-09T14:00:00Z", "2024-03-10T13:00:00Z", "2024-03-11T13:00:00Z"}},
    {"America/New_York",
     "{'kind':'interval','every':1,'unit':'days','from':'2024-03-09T07:30:00Z'}",
     "2024-03-09T07:30:00Z",
     {"2024-03-10T07:00:00Z", "2024-03-11T06:30:00Z", "2024-03-12T06:30:00Z"}},
    /* 01:30 comes twice on 3 November: the first is meant */
    {"America/New_York",
     "{'kind':'repeat','weekdays':['sun','mon'],'time':'01:30'}",
     "2024-11-02T00:00:00Z",
     {"2024-11-03T05:30:00Z", "2024-11-04T06:30:00Z", "2024-11-10T06:30:00Z"}},
    {"America/New_York",
     "{'kind':'repeat','weekdays':['sun'],'time':'02:30'}",
     "2024-03-04T00:00:00Z",
     {"2024-03-10T07:00:00Z", "2024-03-17T06:30:00Z"}},
    {"Asia/Shanghai",
     "{'kind':'repeat','days':[1,31],'time':'00:05'}",
     "2024-01-31T00:00:00Z",
     {"2024-01-31T16:05:00Z", "2024-02-29T16:05:00Z", "2024-03-30T16:05:00Z"}},
    {"Asia/Shanghai",
     "{'kind':'hourly','hours':[0,13]}",
     "2024-01-01T00:00:00Z",
     {"2024-01-01T05:00:00Z", "2024-01-01T16:00:00Z", "2024-01-02T05:00:00Z"}},
    /* 02 and 03 are the same instant on the day of the gap */
    {"America/New_York",
     "{'kind':'hourly','hours':[1,2,3,4]}",
     "2024-03-10T05:00:00Z",
     {"2024-03-10T06:00:00Z", "2024-03-10T07:00:00Z", "2024-03-10T08:00:00Z",
      "2024-03-11T05:00:00Z"}},
    {"Australia/Lord_Howe",
     "{'kind':'hourly','hours':[2]}",
     "2024-10-05T00:00:00Z",
     {"2024-10-05T15:30:00Z", "2024-10-06T15:00:00Z"}},
    {"Africa/Casablanca",
     "{'kind':'repeat','days':[10],'time':'02:30'}",
     "2024-03-01T00:00:00Z",
     {"2024-03-10T01:30:00Z", "2024-04-10T02:30:00Z", "2024-05-10T01:30:00Z"}},
    {"UTC",
     "{'kind':'cron','cron':'*/20 8-9 * * *'}",
     "2024-01-01T08:40:00Z",
     {"2024-01-01T09:00:00Z", "2024-01-01T09:20:00Z", "2024-01-01T09:40:00Z",
      "2024-01-02T08:00:00Z"}},
    {"UTC",
     "{'kind':'cron','cron':'0 0 13 * fri'}",
     "2024-09-01T00:00:00Z",
     {"2024-09-06T00:00:00Z", "2024-09-13T00:00:00Z", "2024-09-20T00:00:00Z"}},
    {"UTC",
     "{'kind':'cron','cron':'0 0 */2 * 1'}",
     "2024-09-01T00:00:00Z",
     {"2024-09-09T00:00:00Z", "2024-09-23T00:00:00Z", "2024-10-07T00:00:00Z"}},
    {"UTC",
     "{'kind':'cron','cron':'59 23 29 FEB *'}",
     "2096-03-01T00:00:00Z",
     {"2104-02-29T23:59:00Z"}},
    {"UTC",
     "{'kind':'cron','cron':'5,10-12/2 0 1 jan,Jul 5-7'}",
     "2024-01-07T00:10:00Z",
     {"2024-01-07T00:12:00Z", "2024-01-12T00:05:00Z", "2024-01-12T00:10:00Z",
      "2024-01-12T00:12:00Z"}},
};

static const char *json_of(char *buf, size_t cap, const char *text)
{
    (void)str_copy(buf, cap, text);
    for (char *p = buf; *p; p++)
        if (*p == '\'')
            *p = '"';
    return buf;
}

static void known_times(void **state UNUSED)
{
    char buf[512];

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct schedule s = parsed(json_of(buf, sizeof(buf), table[i].schedule));
        struct zone *z;
        int64_t t, want;

        MUST(zone_load(table[i].zone, &z));
        MUST(time_parse(table[i].after, &t));
        for (size_t k = 0; k < 4 && table[i].next[k]; k++) {
            t = schedule_next(&s, z, t);
            want = 0;
            if (strcmp(table[i].next[k], "-") != 0)
                MUST(time_parse(table[i].next[k], &want));
            if (t != want)
                fail_msg("%s in %s: %s is not %s", table[i].schedule, table[i].zone,
                         time_text(t, buf), table[i].next[k]);
        }
        zone_free(z);
    }
}

/* The witness: goes over every minute, looks what the wall shows, and what it has passed over. */
static bool matches(const struct cron *c, int64_t wall)
{
    struct tm tm;
    time_t t = (time_t)wall;

    gmtime_r(&t, &tm);
    bool day = c->days >> tm.tm_mday & 1, weekday = c->weekdays >> tm.tm_wday & 1;
    return (c->minutes >> tm.tm_min & 1) && (c->hours >> tm.tm_hour & 1) &&
           (c->months >> (tm.tm_mon + 1) & 1) &&
           (c->any_day || c->any_weekday ? day && weekday : day || weekday);
}

static void walk(const char *zone, const char *text, int64_t from, int64_t to)
{
    struct schedule s = parsed(text);
    struct zone *z;
    char buf[32];

    MUST(zone_load(zone, &z));
    int64_t shown = from - 60 + zone_offset(z, from - 60);
    int64_t next = schedule_next(&s, z, from * 1000 - 1);
    for (int64_t t = from; t < to; t += 60) {
        int64_t wall = t + zone_offset(z, t);
        bool due = false;
        for (; shown < wall; shown += 60)
            due |= matches(&s.pattern, shown + 60);
        if (due != (next == t * 1000))
            fail_msg("%s in %s: at %s naively %d", text, zone, time_text(t * 1000, buf), due);
        if (due) {
            int64_t later = schedule_next(&s, z, next);
            assert_true(later > next);
            next = later;
        }
    }
    zone_free(z);
}

static void no_instant_is_left_out_or_repeated(void **state UNUSED)
{
    static const char *const zones[] = {"America/New_York", "Australia/Lord_Howe",
                                        "Africa/Casablanca", "Europe/London", "Asia/Shanghai"};
    static const char *const texts[] = {
        "{\"kind\":\"cron\",\"cron\":\"*/7 1-3 * * *\"}",
        "{\"kind\":\"cron\",\"cron\":\"* * * * *\"}",
        "{\"kind\":\"cron\",\"cron\":\"15 2 */3 * 0,3\"}",
        "{\"kind\":\"cron\",\"cron\":\"0,30 0-4 7 3-5,9-12 sun\"}",
        "{\"kind\":\"hourly\",\"hours\":[0,1,2,3,12,23]}",
        "{\"kind\":\"repeat\",\"days\":[1,7,10,29,30,31],\"time\":\"02:15\"}",
    };

    for (size_t i = 0; i < ARRAY_LEN(zones); i++)
        for (size_t k = 0; k < ARRAY_LEN(texts); k++)
            walk(zones[i], texts[k], 1704067200, 1704067200 + 366 * 86400);
    walk("Pacific/Apia", texts[1], 1324900800, 1325635200); /* a day that never was */
}

static void intervals_never_stand_still(void **state UNUSED)
{
    static const char *const texts[] = {
        "{\"kind\":\"interval\",\"every\":3,\"unit\":\"days\",\"from\":\"2024-03-01T06:30:00."
        "250Z\"}",
        "{\"kind\":\"interval\",\"every\":1,\"unit\":\"days\",\"from\":\"2024-11-03T06:30:00Z\"}",
        "{\"kind\":\"interval\",\"every\":1,\"unit\":\"minutes\",\"from\":\"2024-03-01T06:30:"
        "00Z\"}",
    };
    struct zone *z;

    MUST(zone_load("America/New_York", &z));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct schedule s = parsed(texts[i]);
        int64_t t = 1709000000000;
        for (int k = 0; k < 3000; k++) {
            int64_t next = schedule_next(&s, z, t);
            assert_true(next > t);
            /* nothing between: from anywhere before, the same one comes */
            assert_int_equal(schedule_next(&s, z, next - 1), next);
            assert_int_equal(schedule_next(&s, z, t + (next - t) / 2), next);
            t = next;
        }
    }
    zone_free(z);
}

static void what_is_refused(void **state UNUSED)
{
    static const struct {
        const char *text, *pointer;
    } bad[] = {
        {"{}", "/schedule/kind"},
        {"{'kind':'yearly'}", "/schedule/kind"},
        {"{'kind':'manual','at':'x'}", "/schedule/at"},
        {"{'kind':'once'}", "/schedule/at"},
        {"{'kind':'once','at':'tomorrow'}", "/schedule/at"},
        {"{'kind':'interval','every':0,'unit':'days','from':'2024-01-01T00:00:00Z'}",
         "/schedule/every"},
        {"{'kind':'interval','every':1,'unit':'weeks','from':'2024-01-01T00:00:00Z'}",
         "/schedule/unit"},
        {"{'kind':'repeat','time':'10:00'}", "/schedule/weekdays"},
        {"{'kind':'repeat','time':'10:00','days':[1],'weekdays':['mon']}", "/schedule/weekdays"},
        {"{'kind':'repeat','time':'10:00','weekdays':['monday']}", "/schedule/weekdays"},
        {"{'kind':'repeat','time':'24:00','days':[1]}", "/schedule/time"},
        {"{'kind':'repeat','time':'1:000','days':[1]}", "/schedule/time"},
        {"{'kind':'repeat','time':'10:00','days':[0]}", "/schedule/days"},
        {"{'kind':'repeat','time':'10:00','days':[32]}", "/schedule/days"},
        {"{'kind':'hourly','hours':[]}", "/schedule/hours"},
        {"{'kind':'hourly','hours':[24]}", "/schedule/hours"},
        {"{'kind':'hourly','hours':['1']}", "/schedule/hours"},
        {"{'kind':'cron','cron':'* * * *  '}", "/schedule/cron"},
        {"{'kind':'cron','cron':'* * * * * *'}", "/schedule/cron"},
        {"{'kind':'cron','cron':'60 * * * *'}", "/schedule/cron"},
        {"{'kind':'cron','cron':'5-1 * * * *'}", "/schedule/cron"},
        {"{'kind':'cron','cron':'*/0 * * * *'}", "/schedule/cron"},
        {"{'kind':'cron','cron':'5/10 * * * *'}", "/schedule/cron"},
        {"{'kind':'cron','cron':'1, * * * *'}", "/schedule/cron"},
        {"{'kind':'cron','cron':'* * * januar *'}", "/schedule/cron"},
        {"{'kind':'cron','cron':'* * * * 8'}", "/schedule/cron"},
        {"{'kind':'cron','cron':'0 0 31 2,4 *'}", "/schedule/cron"},
        {"{'kind':'cron','cron':'@daily sir'}", "/schedule/cron"},
    };
    char buf[256];

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct json_errors errs = {.count = 0};
        enum json_fault fault;
        struct schedule s;
        const char *text = json_of(buf, sizeof(buf), bad[i].text);
        json_t *in = json_parse(text, strlen(text), 4096, 8, &fault, NULL);

        assert_non_null(in);
        if (schedule_parse(in, "/schedule", &s, &errs) == 0)
            fail_msg("%s is taken", text);
        assert_string_equal(errs.list[0].pointer, bad[i].pointer);
        assert_true(errs.list[0].detail[0] != '\0');
        json_decref(in);
    }
}

int test_schedule(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_times),
        cmocka_unit_test(no_instant_is_left_out_or_repeated),
        cmocka_unit_test(intervals_never_stand_still),
        cmocka_unit_test(what_is_refused),
    };

    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
