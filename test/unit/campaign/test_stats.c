/* How a campaign gets on: reasons that are bounded, flows by minute, hour and day, targets. */
#include "tests.h"

struct reasons {
    int rows;
    int64_t n, other;
    char top[CAMPAIGN_REASON_MAX + 1];
};

static int reason_one(void *arg, int phase UNUSED, const char *state UNUSED, const char *reason,
                      int64_t n)
{
    struct reasons *r = arg;

    if (r->rows++ == 0)
        (void)str_copy(r->top, sizeof(r->top), reason);
    r->n += n;
    if (strcmp(reason, "other") == 0)
        r->other += n;
    return 0;
}

static struct reasons reasons_of(struct domain *d, int64_t id)
{
    struct reasons r = {0};

    MUST(campaign_reasons(d->w, id, reason_one, &r));
    return r;
}

static int64_t some_campaign(struct domain *d, const char *definition,
                             const struct campaign_lists *lists)
{
    int64_t id = declare(d, domain_firmware(d, "2.0"), 0, definition, lists);

    MUST(campaign_start(d->w, id, T0, NULL));
    domain_reload(d);
    return id;
}

/* An offer to the device, which it fails with its words; returns the update. */
static int64_t fail_once(struct domain *d, int64_t device_id, const char *words, int64_t now)
{
    struct decision why;
    struct device dev;
    struct update u;
    bool repeated;

    MUST(device_by_id(d->w, device_id, &d->a, &dev));
    MUST(update_check(d->w, d->catalog, &dev, "main", now, LIFETIME, &d->a, &u, &repeated, &why));
    assert_true(u.id > 0);
    MUST(update_moved(d->w, d->catalog, &dev, u.id, UPDATE_FAILED, -1, words, now, &d->a));
    return u.id;
}

static int64_t old_device(struct domain *d, const char *key)
{
    int64_t id = domain_device(d, key);

    MUST(device_version_set(d->w, id, "main", "1.0", T0, NULL));
    return id;
}

static void reasons_go_with_their_updates(void **state UNUSED)
{
    struct domain d;
    struct update u;

    domain_init(&d);
    int64_t id = some_campaign(&d, "{'deadlines':{'attempts':1}}", NULL);
    int64_t a = old_device(&d, "a"), b = old_device(&d, "b"), c = old_device(&d, "c");
    int64_t of_a = fail_once(&d, a, "Flash error", T0);
    fail_once(&d, b, "flash  error", T0);
    fail_once(&d, c, "no space", T0);
    struct reasons r = reasons_of(&d, id);
    assert_int_equal(r.rows, 2);
    assert_int_equal(r.n, 3);
    assert_string_equal(r.top, "reply:flash error");
    MUST(update_by_id(d.w, of_a, &d.a, &u));
    assert_string_equal(u.reason, "reply:flash error");
    MUST(device_delete(d.w, a, NULL));
    assert_int_equal(reasons_of(&d, id).n, 2);
    domain_done(&d);
}

static void an_attempt_has_its_reason(void **state UNUSED)
{
    struct domain d;
    struct update u;
    struct device dev;

    domain_init(&d);
    int64_t id = some_campaign(&d, "{'deadlines':{'attempts':2}}", NULL), a = old_device(&d, "a");
    int64_t update = fail_once(&d, a, "crc", T0);
    assert_int_equal(reasons_of(&d, id).n, 1);
    MUST(update_by_id(d.w, update, &d.a, &u));
    assert_int_equal(u.state, UPDATE_PLANNED);
    assert_string_equal(u.reason, "reply:crc");
    fail_once(&d, a, "crc", T0 + HOUR); /* the last one: planned 1, failed 1 */
    assert_int_equal(reasons_of(&d, id).rows, 2);
    MUST(update_by_id(d.w, update, &d.a, &u));
    assert_int_equal(u.state, UPDATE_FAILED);
    /* What verifies in the end has no reason. */
    int64_t b = old_device(&d, "b"), of_b = fail_once(&d, b, "crc", T0);
    MUST(device_by_id(d.w, b, &d.a, &dev));
    MUST(update_reported(d.w, d.catalog, &dev, "main", "2.0", T0 + MIN, &d.a));
    MUST(update_by_id(d.w, of_b, &d.a, &u));
    assert_int_equal(u.state, UPDATE_VERIFIED);
    assert_string_equal(u.reason, "suspect:no_bytes_served");
    domain_done(&d);
}

/* One that waits for its user after an attempt failed has not ended: its reason is of the attempt.
 */
static void a_deferred_update_takes_no_reason_with_it(void **state UNUSED)
{
    struct domain d;
    struct decision why;
    struct device dev;
    struct update u;
    bool repeated;

    domain_init(&d);
    int64_t id = some_campaign(&d, "{'deadlines':{'attempts':2}}", NULL), a = old_device(&d, "a");
    fail_once(&d, a, "crc", T0);
    MUST(device_by_id(d.w, a, &d.a, &dev));
    MUST(
        update_check(d.w, d.catalog, &dev, "main", T0 + HOUR, LIFETIME, &d.a, &u, &repeated, &why));
    MUST(update_moved(d.w, d.catalog, &dev, u.id, UPDATE_DEFERRED, -1, "later", T0 + HOUR, &d.a));
    MUST(update_by_id(d.w, u.id, &d.a, &u));
    assert_int_equal(u.state, UPDATE_DEFERRED);
    assert_string_equal(u.reason, "reply:crc");
    MUST(device_delete(d.w, a, NULL));
    assert_int_equal(reasons_of(&d, id).rows, 1); /* the attempt's */
    assert_int_equal(reasons_of(&d, id).n, 1);
    domain_done(&d);
}

static void reasons_are_bounded(void **state UNUSED)
{
    struct domain d;
    char text[64];
    struct update u;
    int64_t update = 0;

    domain_init(&d);
    int64_t id = some_campaign(&d, "{'deadlines':{'attempts':1}}", NULL);
    for (int i = 0; i < 230; i++) {
        (void)str_fmt(text, sizeof(text), "d%d", i);
        int64_t dev = old_device(&d, text);
        (void)str_fmt(text, sizeof(text), "error %d", i);
        update = fail_once(&d, dev, text, T0);
    }
    struct reasons r = reasons_of(&d, id);
    assert_int_equal(r.rows, 201);
    assert_int_equal(r.n, 230);
    assert_int_equal(r.other, 30);
    MUST(update_by_id(d.w, update, &d.a, &u));
    assert_string_equal(u.reason, "other"); /* as it is counted, so that it can be taken back */
    int64_t gone = u.device_id;
    MUST(device_delete(d.w, gone, NULL));
    assert_int_equal(reasons_of(&d, id).other, 29);
    domain_done(&d);
}

/* ---- flows ---- */
struct flows {
    int n;
    struct campaign_flow first, last;
};

static int flow_one(void *arg, const struct campaign_flow *f)
{
    struct flows *r = arg;

    if (r->n++ == 0)
        r->first = *f;
    r->last = *f;
    return 0;
}

static struct flows flows_of(struct domain *d, int64_t id, int64_t step)
{
    struct flows r = {.n = 0};

    MUST(campaign_flows(d->w, id, step, 0, INT64_MAX, -1, flow_one, &r));
    return r;
}

static void flows_go_by_minute_hour_and_day(void **state UNUSED)
{
    struct domain d;
    int64_t day = T0 - T0 % DAY;

    domain_init(&d);
    int64_t id = some_campaign(&d, "{'deadlines':{'attempts':1}}", NULL);
    fail_once(&d, old_device(&d, "a"), "x", day + HOUR + 5);
    fail_once(&d, old_device(&d, "b"), "x", day + HOUR + 2 * MIN);
    int64_t c = fail_once(&d, old_device(&d, "c"), "x", day + 3 * HOUR);
    MUST(campaign_served(d.w, id, 1, 700, day + 3 * HOUR));
    struct flows f = flows_of(&d, id, CAMPAIGN_FLOW_MINUTE);
    assert_int_equal(f.n, 3);
    assert_int_equal(f.first.at, day + HOUR);
    assert_int_equal(f.first.offered, 1);
    f = flows_of(&d, id, CAMPAIGN_FLOW_HOUR);
    assert_int_equal(f.n, 2);
    assert_int_equal(f.first.failed, 2);
    assert_int_equal(f.last.bytes, 700);
    f = flows_of(&d, id, CAMPAIGN_FLOW_DAY);
    assert_int_equal(f.n, 1);
    assert_int_equal(f.first.at, day);
    assert_int_equal(f.first.offered, 3);
    /* What is old goes: minutes soon, hours late. */
    assert_int_equal(campaign_flow_forget(d.w, day + 4 * HOUR + MIN, 1), 1);
    while (campaign_flow_forget(d.w, day + 4 * HOUR + MIN, 1) == 1)
        ;
    assert_int_equal(flows_of(&d, id, CAMPAIGN_FLOW_MINUTE).n, 2);
    assert_int_equal(flows_of(&d, id, CAMPAIGN_FLOW_HOUR).n, 2);
    while (campaign_flow_forget(d.w, day + 401 * DAY + 3 * HOUR, 10) == 1)
        ;
    assert_int_equal(flows_of(&d, id, CAMPAIGN_FLOW_HOUR).n, 0);
    assert_true(c > 0);
    domain_done(&d);
}

static int served_one(void *arg, int phase, int64_t attempts UNUSED, int64_t bytes)
{
    assert_int_equal(phase, 1);
    *(int64_t *)arg += bytes;
    return 0;
}

/* Bytes count once, however often they are told, and again in another attempt. */
static void bytes_are_those_that_were_new(void **state UNUSED)
{
    struct domain d;
    struct decision why;
    struct device dev;
    struct update u;
    int64_t bytes = 0;
    bool repeated;

    domain_init(&d);
    int64_t id = some_campaign(&d, "{}", NULL), a = old_device(&d, "a");
    MUST(device_by_id(d.w, a, &d.a, &dev));
    MUST(update_check(d.w, d.catalog, &dev, "main", T0, LIFETIME, &d.a, &u, &repeated, &why));
    MUST(update_served(d.w, d.catalog, u.id, 1, 0, 600, 600, true, T0, &d.a));
    MUST(update_served(d.w, d.catalog, u.id, 1, 100, 600, 500, false, T0, &d.a));
    MUST(update_served(d.w, d.catalog, u.id, 1, 500, 1000, 500, false, T0, &d.a));
    MUST(campaign_flow_phases(d.w, id, served_one, &bytes));
    assert_int_equal(bytes, 1000);
    MUST(update_served(d.w, d.catalog, u.id, 1, 0, 400, 400, true, T0 + MIN, &d.a));
    bytes = 0;
    MUST(campaign_flow_phases(d.w, id, served_one, &bytes));
    assert_int_equal(bytes, 1400);
    domain_done(&d);
}

/* ---- targets ---- */
static void targets_are_counted_where_that_is_cheap(void **state UNUSED)
{
    struct campaign_status s;
    struct campaign c;
    struct domain d;
    int64_t n, denied;
    bool exact;

    domain_init(&d);
    int64_t a = old_device(&d, "a"), b = old_device(&d, "b");
    const struct campaign_lists lists = {.targets = {(int64_t[]){a, b}, 2},
                                         .denied = {(int64_t[]){b}, 1}};
    int64_t id = some_campaign(&d, "{'targets':{'devices':['a','b'],'deny':['b']}}", &lists);
    MUST(campaign_by_id(d.w, 0, id, &d.a, &c, &s));
    MUST(campaign_count_targets(d.w, &c, &n, &denied, &exact));
    assert_int_equal(n, 1);
    assert_true(exact);
    id = declare(&d, domain_firmware(&d, "3.0"), 0, "{'targets':{'frozen':true,'tags':['x']}}",
                 NULL);
    MUST(campaign_by_id(d.w, 0, id, &d.a, &c, &s));
    assert_int_equal(campaign_count_targets(d.w, &c, &n, &denied, &exact), E_NOTFOUND);
    MUST(campaign_start(d.w, id, T0, NULL));
    old_device(&d, "later");
    MUST(campaign_count_targets(d.w, &c, &n, &denied, &exact));
    assert_int_equal(n, 2);
    assert_false(exact);
    id = some_campaign(&d, "{}", NULL);
    MUST(campaign_by_id(d.w, 0, id, &d.a, &c, &s));
    assert_int_equal(campaign_count_targets(d.w, &c, &n, &denied, &exact), E_NOTFOUND);
    domain_done(&d);
}

int test_stats(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasons_go_with_their_updates),
        cmocka_unit_test(an_attempt_has_its_reason),
        cmocka_unit_test(a_deferred_update_takes_no_reason_with_it),
        cmocka_unit_test(reasons_are_bounded),
        cmocka_unit_test(flows_go_by_minute_hour_and_day),
        cmocka_unit_test(bytes_are_those_that_were_new),
        cmocka_unit_test(targets_are_counted_where_that_is_cheap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
