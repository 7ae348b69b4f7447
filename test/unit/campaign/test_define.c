/* Declarations: what is refused, with its place and a sentence; what is stored and read back. */
#include "tests.h"

void is_refused(const char *text, const char *pointer)
{
    struct json_errors errs = {.count = 0};
    enum json_fault fault;
    char json[1024];

    (void)str_copy(json, sizeof(json), text);
    for (char *p = json; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    AUTO(json_free) json_t *in = json_parse(json, strlen(json), SIZE_MAX, 16, &fault, NULL);
    assert_non_null(in);
    assert_int_equal(campaign_check(in, &errs), E_PROTO);
    assert_string_equal(errs.list[0].pointer, pointer);
    assert_true(strlen(errs.list[0].detail) > 10);
}

static void what_is_wrong_is_refused(void **state UNUSED)
{
    is_refused("{'targets':{'query':'a>1'}}", "/targets/query");
    is_refused("{'targets':{'tag':['a']}}", "/targets/tag");
    is_refused("{'phases':[]}", "/phases");
    is_refused("{'phases':[{}]}", "/phases/0");
    is_refused("{'phases':[{'percent':1,'count':2}]}", "/phases/0");
    is_refused("{'phases':[{'percent':10},{'percent':10}]}", "/phases/1");
    is_refused("{'phases':[{'percent':0}]}", "/phases/0");
    is_refused("{'phases':[{'percent':101}]}", "/phases/0/percent");
    is_refused("{'phases':[{'percent':'all'}]}", "/phases/0/percent");
    is_refused("{'verification':{}}", "/verification/devices");
    is_refused("{'windows':{'timezone':'Mars/Olympus','slots':[{'from':'01:00','to':'02:00'}]}}",
               "/windows/timezone");
    is_refused("{'windows':{'timezone':'UTC','slots':[]}}", "/windows/slots");
    is_refused("{'windows':{'timezone':'UTC','slots':[{'from':'1:000','to':'02:00'}]}}",
               "/windows/slots/0");
    is_refused(
        "{'windows':{'timezone':'UTC','slots':[{'days':['Mo'],'from':'01:00','to':'02:00'}]}}",
        "/windows/slots/0");
    is_refused("{'pacing':{'in_progress':-1}}", "/pacing/in_progress");
    is_refused("{'pacing':{'jitter_s':90000}}", "/pacing/jitter_s");
    is_refused("{'pacing':{'exponential':{'increment_factor':2,'offered':1}}}",
               "/pacing/exponential/base_per_minute");
    is_refused("{'pacing':{'offers_per_minute':9,'exponential':{'base_per_minute':1,"
               "'increment_factor':1.05,'offered':1}}}",
               "/pacing/exponential/increment_factor");
    is_refused("{'pacing':{'offers_per_minute':9,'exponential':{'base_per_minute':1,"
               "'increment_factor':2}}}",
               "/pacing/exponential");
    is_refused("{'pacing':{'exponential':{'base_per_minute':5,'increment_factor':2,'offered':1}}}",
               "/pacing/offers_per_minute");
    is_refused("{'thresholds':{'broken':{}}}", "/thresholds/broken");
    is_refused("{'thresholds':{'failed':{'percent':5,'min_sample':40,'action':'cry'}}}",
               "/thresholds/failed/action");
    is_refused("{'deadlines':{'attempts':0}}", "/deadlines/attempts");
}

static void the_rate_follows_what_was_done(void **state UNUSED)
{
    struct campaign c = {.offers_per_minute = 500,
                         .growth = {.base = 10, .factor = 150, .verified = 100}};
    static const struct {
        int64_t verified, rate;
    } cases[] = {{0, 10},   {99, 10},   {100, 15},   {200, 22},
                 {300, 33}, {900, 384}, {1000, 500}, {INT64_MAX, 500}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(campaign_rate(&c, 7, cases[i].verified), cases[i].rate);
    c.growth = (struct campaign_growth){.base = 1, .factor = 200, .offered = 10};
    assert_int_equal(campaign_rate(&c, 39, 1000), 8);
    c.growth.base = 0;
    assert_int_equal(campaign_rate(&c, 39, 1000), 500);
}

static void it_is_read_as_it_was_declared(void **state UNUSED)
{
    struct domain d;
    struct campaign c;
    struct campaign_status s;
    int64_t ids[2];

    domain_init(&d);
    ids[0] = domain_device(&d, "a");
    ids[1] = domain_device(&d, "b");
    int64_t fw = domain_firmware(&d, "2.0");
    const struct campaign_lists lists = {
        .targets = {ids, 2}, .denied = {ids, 1}, .phases = {{ids + 1, 1}}};
    int64_t id = declare(&d, fw, 0,
                         "{'targets':{'devices':['a','b'],'deny':['a'],'tags':['x','y'],'query':'a="
                         "=1','frozen':true},"
                         "'phases':[{'devices':['b']},{'percent':0.5,'success_percent':80,'min_"
                         "sample':5,'soak_s':60,"
                         "'approval':true},{'count':7},{'percent':100}],"
                         "'windows':{'timezone':'device','slots':[{'days':['sun','sat'],'from':'22:"
                         "00','to':'24:00'}]},"
                         "'pacing':{'offers_per_minute':3,'in_progress':4},'allow_downgrade':true,"
                         "'thresholds':{'failed':{'percent':5,'min_sample':40,'action':'pause'}},"
                         "'deadlines':{'accept_s':60,'attempts':2}}",
                         &lists);
    MUST(campaign_by_id(d.w, d.project, id, &d.a, &c, &s));
    assert_int_equal(s.state, CAMPAIGN_DRAFT);
    assert_true(c.listed && c.frozen && c.allow_downgrade && !c.allow_reinstall && c.query);
    assert_int_equal(c.devices.n, 2);
    assert_int_equal(c.denied.ids[0], ids[0]);
    assert_int_equal(c.n_tags, 2);
    assert_int_equal(c.n_phases, 4);
    assert_int_equal(c.phases[0].devices.ids[0], ids[1]);
    assert_int_equal(c.phases[1].share, 50);
    assert_int_equal(c.phases[1].gate_share, 8000);
    assert_int_equal(c.phases[1].gate_sample, 5);
    assert_true(c.phases[1].approval);
    assert_int_equal(c.phases[2].count, 7);
    assert_int_equal(c.windows[0].days, 1 | 1 << 6);
    assert_int_equal(c.windows[0].to, 1440);
    assert_null(c.timezone);
    assert_int_equal(c.offers_per_minute, 3);
    assert_int_equal(c.thresholds[CAMPAIGN_END_FAILED].share, 500);
    assert_int_equal(c.accept_s, 60);
    assert_int_equal(c.attempts, 2);
    assert_null(strstr(c.definition, "'a'"));
    assert_int_equal(campaign_by_id(d.w, d.project + 1, id, &d.a, &c, &s), E_NOTFOUND);
    domain_done(&d);
}

int test_define(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(the_rate_follows_what_was_done),
        cmocka_unit_test(it_is_read_as_it_was_declared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
