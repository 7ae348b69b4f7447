/* Who and when: the hash, targets, windows over the changes of clocks. */
#include "tests.h"

static void shares_are_even_and_for_ever(void **state UNUSED)
{
    int64_t below[3] = {0};

    /* The same on every machine and in every release: a device never changes its phase. */
    assert_int_equal(campaign_share_of(1, 1), 5140);
    assert_int_equal(campaign_share_of(7, 123456789), 7275);
    for (int64_t i = 1; i <= 100000; i++) {
        below[0] += campaign_share_of(3, i) < 100;
        below[1] += campaign_share_of(3, i) < 1000;
        below[2] += campaign_share_of(3, i) < 1000 && campaign_share_of(4, i) < 1000;
    }
    assert_in_range(below[0], 900, 1100);
    assert_in_range(below[1], 9700, 10300);
    assert_in_range(below[2], 900, 1100); /* other devices in another campaign */
}

static void tags_are_whole_words(void **state UNUSED)
{
    const char *tags[] = {"lab"};
    struct campaign c = {.id = 1, .tags = tags, .n_tags = 1};
    struct campaign_device d = {.id = 5, .tags = "[\"label\",\"a lab\"]"};

    assert_int_equal(campaign_targets(&c, &d, 0), CAMPAIGN_NO_TARGET);
    d.tags = "[\"label\",\"lab\"]";
    assert_int_equal(campaign_targets(&c, &d, 0), CAMPAIGN_TARGET);
    c.denied = (struct id_list){(int64_t[]){5}, 1};
    assert_int_equal(campaign_targets(&c, &d, 0), CAMPAIGN_DENIED);
}

static void a_list_that_lost_its_devices_is_nobodys(void **state UNUSED)
{
    struct campaign c = {.id = 1, .listed = true};
    struct campaign_device d = {.id = 5, .tags = "[]"};

    assert_int_equal(campaign_targets(&c, &d, 0), CAMPAIGN_NO_TARGET);
}

static void frozen_ones_know_no_newcomers(void **state UNUSED)
{
    struct campaign c = {.id = 1, .frozen = true};
    struct campaign_device d = {.id = 5, .tags = "[]"};

    assert_int_equal(campaign_targets(&c, &d, 5), CAMPAIGN_TARGET);
    assert_int_equal(campaign_targets(&c, &d, 4), CAMPAIGN_NO_TARGET);
    c.frozen = false; /* continuous: they join */
    assert_int_equal(campaign_targets(&c, &d, 4), CAMPAIGN_TARGET);
}

static int64_t ms(const char *text)
{
    int64_t t;

    MUST(time_parse(text, &t));
    return t;
}

static void windows_follow_the_clock_on_the_wall(void **state UNUSED)
{
    static const struct {
        const char *zone, *own;
        struct campaign_window w;
        const char *now;
        bool open;
        const char *opens;
    } cases[] = {
        {"UTC", NULL, {0x7f, 60, 120}, "2024-05-01T01:00:00Z", true, NULL},
        {"UTC", NULL, {0x7f, 60, 120}, "2024-05-01T02:00:00Z", false, "2024-05-02T01:00:00Z"},
        {"UTC", NULL, {0x7f, 60, 120}, "2024-05-01T00:59:59Z", false, "2024-05-01T01:00:00Z"},
        /* over midnight: the window is of the day on which it begins */
        {"UTC", NULL, {1 << 5, 22 * 60, 240}, "2024-05-04T03:59:00Z", true, NULL},
        {"UTC",
         NULL,
         {1 << 5, 22 * 60, 240},
         "2024-05-04T22:30:00Z",
         false,
         "2024-05-10T22:00:00Z"},
        {"UTC", NULL, {0x7f, 0, 1440}, "2024-05-04T23:59:59Z", true, NULL},
        {"Asia/Shanghai", NULL, {0x7f, 60, 120}, "2024-04-30T17:30:00Z", true, NULL},
        /* the device's own */
        {NULL, "Asia/Shanghai", {0x7f, 60, 120}, "2024-04-30T17:30:00Z", true, NULL},
        {NULL, "UTC", {0x7f, 60, 120}, "2024-04-30T17:30:00Z", false, "2024-05-01T01:00:00Z"},
        /* 02:30 does not happen on 2024-03-10 there: it begins right after the gap */
        {"America/New_York",
         NULL,
         {0x7f, 150, 240},
         "2024-03-10T06:59:59Z",
         false,
         "2024-03-10T07:00:00Z"},
        {"America/New_York", NULL, {0x7f, 150, 240}, "2024-03-10T07:00:00Z", true, NULL},
        /* 01:30 happens twice on 2024-11-03 there: the first counts */
        {"America/New_York", NULL, {0x7f, 60, 90}, "2024-11-03T05:29:00Z", true, NULL},
        {"America/New_York",
         NULL,
         {0x7f, 60, 90},
         "2024-11-03T06:15:00Z",
         false,
         "2024-11-04T06:00:00Z"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct campaign c = {.timezone = cases[i].zone, .windows = {cases[i].w}, .n_windows = 1};
        int64_t opens, want = cases[i].opens ? ms(cases[i].opens) : 0;
        bool open = campaign_window_open(&c, cases[i].own, ms(cases[i].now), &opens);

        if (open != cases[i].open || opens != want)
            fail_msg("case %zu: %d, %lld instead of %lld", i, open, (long long)opens,
                     (long long)want);
    }
}

/* A share is of those below it: so 0 percent is nobody, and phases add up without a gap. */
static void a_share_ends_before_its_bound(void **state UNUSED)
{
    const int64_t offered[CAMPAIGN_PHASES_MAX + 1] = {0}, share = campaign_share_of(1, 5);
    struct campaign_phase phases[] = {{.kind = PHASE_PERCENT, .share = share},
                                      {.kind = PHASE_PERCENT, .share = share + 1}};
    struct campaign c = {.id = 1, .n_phases = 2};

    memcpy(c.phases, phases, sizeof(phases));
    assert_int_equal(campaign_phase_of(&c, 5, 1, offered), -1);
    assert_int_equal(campaign_phase_of(&c, 5, 2, offered), 2);
}

static const json_t *attribute(void *arg, const char *name)
{
    return json_object_get(arg, name);
}

static void a_query_chooses_targets(void **state UNUSED)
{
    AUTO(json_free) json_t *all = json_pack("{s:s}", "hw", "B");
    struct campaign c = {.id = 1};
    struct campaign_query *q;
    struct arena a;

    arena_init(&a);
    MUST(campaign_query_parse("hw==B", &a, &q, NULL));
    c.query = q;
    struct campaign_device d = {.id = 5, .tags = "[]", .attribute = attribute, .arg = all};
    assert_int_equal(campaign_targets(&c, &d, 0), CAMPAIGN_TARGET);
    MUST(campaign_query_parse("hw==A", &a, &q, NULL));
    c.query = q;
    assert_int_equal(campaign_targets(&c, &d, 0), CAMPAIGN_NO_TARGET);
    arena_done(&a);
}

/* Test devices that are listed as well come once. */
static void two_lists_are_gone_through_as_one(void **state UNUSED)
{
    const struct campaign_now now = {.phase = 1};
    struct campaign c = {.id = 1, .listed = true, .verification = true};
    int64_t got[8];

    c.devices = (struct id_list){(int64_t[]){1, 3, 4}, 3};
    c.verify.devices = (struct id_list){(int64_t[]){2, 3, 5}, 3};
    assert_int_equal(campaign_walk_next(NULL, &c, &now, 0, got, 8), 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(got[i], i + 1);
    assert_int_equal(campaign_walk_next(NULL, &c, &now, 3, got, 8), 2);
    assert_int_equal(got[0], 4);
}

int test_scope(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_even_and_for_ever),
        cmocka_unit_test(tags_are_whole_words),
        cmocka_unit_test(a_list_that_lost_its_devices_is_nobodys),
        cmocka_unit_test(frozen_ones_know_no_newcomers),
        cmocka_unit_test(windows_follow_the_clock_on_the_wall),
        cmocka_unit_test(a_share_ends_before_its_bound),
        cmocka_unit_test(a_query_chooses_targets),
        cmocka_unit_test(two_lists_are_gone_through_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
