/*
 * Who goes is not there: a gateway's word that a device behind it has gone sends nothing of what
 * waits for that device, nor does a request whose answer has no room for it; and who is heard in
 * requests alone listens nowhere.
 */
#include "site.h"

static struct device child;
static int64_t campaign;
static int kept_rows;
static bool there;

#define GONE "{\"device\":\"A\"}"

/* D1 -> "A", of the same type as D1. */
static int make_child(struct note_job *n, struct db *w)
{
    const struct world *x = &n->site->w;

    child = (struct device){.project_id = x->type.project_id,
                            .type_id = x->type.id,
                            .gateway_id = x->device.id,
                            .key = "child-a",
                            .address = "A",
                            .enabled = true,
                            .created_at = 1};
    CHECK(device_insert(w, &child, NULL) == 0);
    return 0;
}

static struct task ping(const struct site *s)
{
    return (struct task){.project_id = s->w.type.project_id,
                         .name = "t",
                         .enabled = true,
                         .action = TASK_COMMAND_SEND,
                         .params = "{\"kind\":\"command_send\",\"method\":\"ping\"}",
                         .schedule = "{\"kind\":\"manual\"}",
                         .timezone = "UTC",
                         .grace_s = 600,
                         .created_at = 1};
}

/* A command for it. */
static int make_task(struct note_job *n, struct db *w)
{
    struct task t = ping(n->site);
    int64_t run;

    CHECK(task_insert(w, &t, &child.id, 1) == 0);
    CHECK(task_run_now(w, &t, NULL, 0, clock_now_ms(), &run, NULL) == 0);
    return 0;
}

/* A campaign that pushes a second firmware. */
static int make_campaign(struct note_job *n, struct db *w)
{
    campaign = site_campaign(n->site, w, "{\"delivery\":\"push\"}");
    return 0;
}

static int count_kept(void *arg UNUSED, int64_t device_id)
{
    kept_rows += device_id == child.id;
    return 0;
}

static int look(struct note_job *n, struct db *w)
{
    const struct site *s = n->site;
    const struct device_reach reach = {.seen = s->core->seen, .now = clock_now_ms()};
    struct arena a;

    kept_rows = 0;
    CHECK(task_kept_devices(w, count_kept, NULL) == 0);
    arena_init(&a);
    CHECK(device_is_there(w, &reach, &child, &s->w.type, &a, &there) == 0);
    arena_done(&a);
    return 0;
}

static int64_t offers(struct site *s)
{
    const struct update_filter flt = {
        .project_id = s->w.type.project_id, .state = -1, .campaign_id = campaign};

    return update_count(s->w.reader, &flt);
}

static void run_job(struct site *s, bool catalog, int (*more)(struct note_job *n, struct db *w))
{
    struct note_job n = {.more = more, .job.catalog = catalog};
    static int no;
    char name[32];

    (void)str_fmt(name, sizeof(name), "job%d", ++no);
    note_submit(s, &n, name);
    UNTIL(s, n.done);
    CHECK(n.rc == 0);
}

/* What it said before is handled when this is answered, and everything that it led to was sent. */
static void mark(struct site *s)
{
    unsigned before = s->answers;

    site_say(s, "attributes_get/D1", "{\"keys\":[]}");
    UNTIL(s, s->answers > before);
    CHECK(strcmp(s->topic, "attributes_get_response/D1") == 0);
    CHECK(s->answers == before + 1);
}

static void who_goes_gets_nothing(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    run_job(&s, true, make_child);
    site_say(&s, "gateway_attributes/D1", "{\"A\":{\"version\":\"1.1.0\"}}");
    site_say(&s, "gateway_disconnect/D1", GONE);
    mark(&s);
    run_job(&s, false, make_task);
    do
        run_job(&s, false, look);
    while (kept_rows == 0);
    run_job(&s, true, make_campaign);
    site_say(&s, "gateway_disconnect/D1", GONE); /* said again */
    site_say(&s, "gateway_disconnect/D1", GONE);
    mark(&s);
    run_job(&s, false, look);
    assert_int_equal(kept_rows, 1);
    assert_false(there);
    assert_int_equal(offers(&s), 0);

    unsigned before = s.answers;
    site_say(&s, "gateway_connect/D1", GONE);
    UNTIL(&s, s.answers == before + 2); /* the command and the offer, once */
    assert_string_equal(s.topic, "gateway_command_send/D1");
    assert_int_equal(offers(&s), 1);
    mark(&s);
    do
        run_job(&s, false, look);
    while (kept_rows > 0);
    assert_true(there);
    site_close(&s);
}

/* It spoke since it was said to be gone, and goes again. */
static void who_goes_twice_is_gone(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    run_job(&s, true, make_child);
    site_say(&s, "gateway_disconnect/D1", GONE);
    mark(&s);
    const int64_t then = clock_now_ms();
    UNTIL(&s, clock_now_ms() > then);
    site_say(&s, "gateway_attributes/D1", "{\"A\":{\"x\":1}}");
    mark(&s);
    run_job(&s, false, look);
    assert_true(there);
    site_say(&s, "gateway_disconnect/D1", GONE);
    mark(&s);
    run_job(&s, false, look);
    assert_false(there);
    site_close(&s);
}

/* ---- more than one message takes ---- */
enum { TASKS = 70 };
static int64_t runs[TASKS];
static int64_t waits, sent;

static int make_tasks(struct note_job *n, struct db *w)
{
    struct task t = ping(n->site);

    for (int i = 0; i < TASKS; i++) {
        CHECK(task_insert(w, &t, &child.id, 1) == 0);
        CHECK(task_run_now(w, &t, NULL, 0, clock_now_ms(), &runs[i], NULL) == 0);
    }
    return 0;
}

static int count_result(void *arg UNUSED, const char *result, const char *reason UNUSED, int64_t n)
{
    waits += strcmp(result, "pending_offline") == 0 ? n : 0;
    sent += strcmp(result, "sent") == 0 ? n : 0;
    return 0;
}

static int count_results(struct note_job *n UNUSED, struct db *w)
{
    waits = sent = 0;
    for (int i = 0; i < TASKS; i++)
        CHECK(task_run_counts(w, runs[i], count_result, NULL) == 0);
    return 0;
}

static void the_rest_comes_with_the_next_message(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    run_job(&s, true, make_child);
    site_say(&s, "gateway_disconnect/D1", GONE);
    mark(&s);
    run_job(&s, false, make_tasks);
    do
        run_job(&s, false, count_results);
    while (waits < TASKS);
    for (int i = 0; i < 2; i++)
        site_say(&s, "gateway_connect/D1", GONE);
    UNTIL(&s, s.answers >= 1 + TASKS);
    mark(&s);
    run_job(&s, false, count_results);
    assert_int_equal(sent, TASKS);
    site_close(&s);
}

/* ---- over HTTP ---- */
/* Bytes of commands in the answer. */
static size_t post(struct site *s, struct db *w, bool takes_all)
{
    struct device_post m = {.key = "D1",
                            .topic = "attributes",
                            .payload = "{\"version\":\"1.1.0\"}",
                            .n = 19,
                            .takes_all = takes_all};

    CHECK(core_post(s->core, w, &m) == 0);
    size_t n = m.commands.n;
    sbuf_done(&m.commands);
    sbuf_done(&m.pushed);
    sbuf_done(&m.attributes);
    return n;
}

/* In one transaction: the campaign goes through devices after it. */
static int post_twice(struct note_job *n, struct db *w)
{
    const struct update_filter flt = {
        .project_id = n->site->w.type.project_id, .state = -1, .campaign_id = campaign};

    CHECK(post(n->site, w, false) == 0);
    CHECK(update_count(w, &flt) == 0);
    CHECK(post(n->site, w, true) > 0);
    CHECK(update_count(w, &flt) == 1);
    return 0;
}

static void a_request_without_room_gets_no_offer(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    run_job(&s, true, make_campaign);
    run_job(&s, false, post_twice);
    site_close(&s);
}

static int post_report(struct note_job *n, struct db *w)
{
    CHECK(post(n->site, w, false) == 0);
    return 0;
}

static int64_t bytes;

static int post_event(struct note_job *n, struct db *w)
{
    bytes = (int64_t)post(n->site, w, true);
    return 0;
}

static int make_task_of_d1(struct note_job *n, struct db *w)
{
    struct task t = ping(n->site);

    CHECK(task_insert(w, &t, &n->site->w.device.id, 1) == 0);
    CHECK(task_run_now(w, &t, NULL, 0, clock_now_ms(), &runs[0], NULL) == 0);
    return 0;
}

static int count_one(struct note_job *n UNUSED, struct db *w)
{
    waits = sent = 0;
    CHECK(task_run_counts(w, runs[0], count_result, NULL) == 0);
    return 0;
}

static void run_task(struct site *s)
{
    run_job(s, false, make_task_of_d1);
    do
        run_job(s, false, count_one);
    while (waits + sent == 0);
}

static void who_only_posts_listens_nowhere(void **state UNUSED)
{
    struct site s;

    site_open(&s);
    run_job(&s, false, post_report);
    run_task(&s);
    assert_int_equal(waits, 1);
    assert_int_equal(s.answers, 0);
    run_job(&s, false, post_event);
    assert_true(bytes > 0);
    run_job(&s, false, count_one);
    assert_int_equal(sent, 1);

    mark(&s); /* it comes by the broker: there it listens, also if it posts meanwhile */
    run_job(&s, false, post_report);
    mark(&s);
    unsigned before = s.answers;
    run_task(&s);
    assert_int_equal(sent, 1);
    UNTIL(&s, s.answers > before);
    run_job(&s, false, post_report);
    run_task(&s);
    assert_int_equal(sent, 1);
    site_close(&s);
}

int run_left_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_goes_gets_nothing),
        cmocka_unit_test(who_goes_twice_is_gone),
        cmocka_unit_test(the_rest_comes_with_the_next_message),
        cmocka_unit_test(a_request_without_room_gets_no_offer),
        cmocka_unit_test(who_only_posts_listens_nowhere),
    };
    return cmocka_run_group_tests_name("left", tests, NULL, NULL);
}
