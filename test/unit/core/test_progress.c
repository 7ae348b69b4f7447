/* How an update goes, as devices tell it: replies, and the words of their type's mapping. */
#include "test_core.h"

static struct world w;
static struct device child; /* D1 -> "A", of the same type */

#define NOW 1700000000000

static void must(int rc)
{
    if (rc < 0)
        fail_msg("%s", err_str(rc));
}

static int setup(void **state)
{
    (void)state;
    world_init(&w);
    must(db_begin(w.fx.w));
    child = (struct device){.project_id = w.type.project_id,
                            .type_id = w.type.id,
                            .gateway_id = w.device.id,
                            .key = "child",
                            .address = "A",
                            .enabled = true,
                            .created_at = NOW};
    must(device_insert(w.fx.w, &child, NULL));
    w.firmware.id = 0;
    w.firmware.module = "mcu";
    must(firmware_insert(w.fx.w, &w.firmware, NULL));
    struct rule r = {.project_id = w.type.project_id,
                     .type_id = w.type.id,
                     .name = "mcu",
                     .event = "mcuCheck",
                     .version_attribute = "mcu_version",
                     .module = "mcu",
                     .enabled = true,
                     .created_at = NOW};
    must(rule_insert(w.fx.w, &r, NULL));
    must(db_commit(w.fx.w));
    world_reload(&w);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_done(&w);
    return 0;
}

static void map_as(const char *text)
{
    w.type.progress_text = text;
    must(db_begin(w.fx.w));
    must(device_type_update(w.fx.w, &w.type, NULL));
    must(db_commit(w.fx.w));
    world_reload(&w);
}

static int64_t offer(const char *device, const char *event, const char *attribute)
{
    enum json_fault fault;
    struct said s = tell(&w, arena_printf(&w.arena, "event_report/%s", device),
                         arena_printf(&w.arena, "{\"method\":\"%s\",\"params\":{\"%s\":\"1.0.0\"}}",
                                      event, attribute));
    AUTO(json_free)
    json_t *j =
        json_parse(s.text ? s.text : "{}", strlen(s.text ? s.text : "{}"), 65536, 16, &fault, NULL);

    assert_true(json_get_int(j, "id", 0) > 0);
    return json_get_int(j, "id", 0);
}

static struct update the(int64_t id)
{
    struct update u;

    must(update_by_id(w.fx.w, id, &w.arena, &u));
    return u;
}

static int keep_last(void *arg, const struct update_event *e)
{
    (void)str_fmt(arg, 256, "%s %s", e->to_state, e->text);
    return 0;
}

static const char *last_word(int64_t id)
{
    char *text = arena_alloc(&w.arena, 256);

    must(update_history(w.fx.w, id, keep_last, text));
    return text;
}

/* ---- replies ---- */
static void test_each_result(void **state)
{
    static const struct {
        const char *params;
        enum update_state state; /* planned: an attempt failed */
        const char *history;
    } cases[] = {
        {"{}", UPDATE_ACCEPTED, "accepted the device says so"},
        {"{\"ota_dl_result\":0}", UPDATE_DOWNLOADED, "downloaded the device says so"},
        {"{\"ota_result\":0}", UPDATE_INSTALLED, "installed the device says so"},
        {"{\"ota_result\":1}", UPDATE_PLANNED,
         "planned attempt 1 failed: the device reports ota_result 1: connecting failed"},
        {"{\"ota_result\":3}", UPDATE_PLANNED,
         "planned attempt 1 failed: the device reports ota_result 3: receiving failed"},
        {"{\"ota_dl_result\":4}", UPDATE_PLANNED,
         "planned attempt 1 failed: the device reports ota_dl_result 4: another error"},
    };
    static const char *const methods[] = {"otaUpgrade", "otaFinished"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *device = arena_printf(&w.arena, "R%zu", i);
        struct device d = {.project_id = w.type.project_id,
                           .type_id = w.type.id,
                           .key = device,
                           .enabled = true,
                           .created_at = NOW};
        must(db_begin(w.fx.w));
        must(device_insert(w.fx.w, &d, NULL));
        must(db_commit(w.fx.w));
        int64_t id = offer(device, "otaCheck", "version");
        assert_int_equal(tell(&w, arena_printf(&w.arena, "command_reply/%s", device),
                              arena_printf(&w.arena, "{\"method\":\"%s\",\"params\":%s,\"id\":%d}",
                                           methods[i % 2], cases[i].params, (int)id))
                             .rc,
                         0);
        assert_int_equal(the(id).state, cases[i].state);
        assert_string_equal(last_word(id), cases[i].history);
    }
}

/* As ThingsCloud's own demo sends it. */
#define FINISHED "{\"method\":\"otaFinished\",\"params\":{\"ota_result\":3}}"

static struct said reply(const char *text)
{
    return tell(&w, "command_reply/D1", text);
}

static void test_a_result_without_id(void **state)
{
    (void)state;
    assert_int_equal(reply(FINISHED).rc, 0); /* of nothing */
    int64_t id = offer("D1", "otaCheck", "version");
    assert_int_equal(reply("{\"method\":\"otaUpgrade\",\"params\":{}}").rc, 0);
    assert_int_equal(the(id).state, UPDATE_OFFERED); /* no result: a receipt for whatever */
    assert_int_equal(reply("{\"params\":{\"ota_result\":3},\"id\":0}").rc, 0);
    assert_int_equal(the(id).state, UPDATE_OFFERED); /* the id of nothing */
    assert_int_equal(reply(FINISHED).rc, 0);
    assert_int_equal(the(id).state, UPDATE_PLANNED);
    assert_int_equal(the(id).attempt, 2); /* comes next */
    assert_string_equal(last_word(id), "planned attempt 1 failed: the device reports ota_result 3: "
                                       "receiving failed");
    assert_int_equal(reply(FINISHED).rc, 0); /* said again */
    assert_int_equal(the(id).state, UPDATE_PLANNED);
    assert_int_equal(the(id).attempt, 2); /* comes next */
}

static void test_a_result_without_id_of_two(void **state)
{
    (void)state;
    int64_t first = offer("D1", "otaCheck", "version");
    int64_t second = offer("D1", "mcuCheck", "mcu_version");
    struct said s = reply(FINISHED);
    assert_int_equal(s.rc, E_PROTO); /* both are offered */
    assert_int_equal(s.refused, M_BAD_REPLY);
    assert_int_equal(the(first).state, UPDATE_OFFERED);
    assert_int_equal(the(second).state, UPDATE_OFFERED);
    reply(arena_printf(&w.arena, "{\"params\":{},\"id\":%d}", (int)second));
    assert_int_equal(the(second).state, UPDATE_ACCEPTED);
    assert_int_equal(reply("{\"params\":{\"ota_result\":0}}").rc, 0);
    assert_int_equal(the(second).state, UPDATE_INSTALLED); /* it is further on its way */
    assert_int_equal(the(first).state, UPDATE_OFFERED);
    assert_int_equal(tell(&w, "command_reply/D2", FINISHED).rc, 0); /* another device's own */
    assert_int_equal(the(second).state, UPDATE_INSTALLED);
}

/* ---- an event of a configured name ---- */
#define EVENT                                                                                      \
    "{\"event\":\"otaProgress\",\"percent_field\":\"pct\",\"text_field\":\"msg\",\"id_field\":"    \
    "\"job\","                                                                                     \
    "\"module_field\":\"part\",\"states\":{\"DL\":\"downloading\",\"DL_OK\":\"downloaded\",\"2\":" \
    "\"installing\",\"true\":\"rebooting\",\"OK\":\"installed\",\"ERR\":\"failed\",\"NO\":"        \
    "\"rejected\","                                                                                \
    "\"idle\":\"none\"}}"

static struct said event(const char *params)
{
    return tell(&w, "event_report/D1",
                arena_printf(&w.arena, "{\"method\":\"otaProgress\",\"params\":%s}", params));
}

static void test_an_event_moves_the_update(void **state)
{
    (void)state;
    map_as(EVENT);
    assert_int_equal(event("{\"state\":\"DL\"}").rc, 0); /* none under way: it is of the past */
    int64_t id = offer("D1", "otaCheck", "version");
    struct said s = event("{\"state\":\"idle\"}");
    assert_int_equal(the(id).state, UPDATE_OFFERED);
    assert_int_equal(s.out.without_rule + s.out.bad_progress, 0);
    event("{\"state\":\"DL\",\"pct\":12}");
    assert_int_equal(the(id).state, UPDATE_DOWNLOADING);
    assert_int_equal(the(id).percent, 12);
    event("{\"state\":\"DL\",\"pct\":\"57%\"}");
    assert_int_equal(the(id).percent, 57);
    event("{\"pct\":58.9}");
    assert_int_equal(the(id).percent, 58);
    event("{\"state\":\"DL_OK\",\"msg\":\"crc fine\"}");
    assert_string_equal(last_word(id), "downloaded the device reports DL_OK: crc fine");
    int64_t illegal = metric_get(M_UPDATE_ILLEGAL);
    event("{\"state\":\"DL\"}"); /* never back */
    assert_int_equal(the(id).state, UPDATE_DOWNLOADED);
    assert_int_equal(metric_get(M_UPDATE_ILLEGAL), illegal + 1);
    event("{\"state\":2}");
    assert_int_equal(the(id).state, UPDATE_INSTALLING);
    event("{\"state\":true}");
    assert_int_equal(the(id).state, UPDATE_REBOOTING);
    event("{\"state\":\"OK\"}");
    assert_int_equal(the(id).state, UPDATE_INSTALLED); /* claimed, not verified */
    assert_true(the(id).suspect);
    tell(&w, "attributes/D1", "{\"version\":\"1.1.0\"}");
    assert_int_equal(the(id).state, UPDATE_VERIFIED);
    event(arena_printf(&w.arena, "{\"state\":\"OK\",\"job\":%d}", (int)id)); /* late, true */
    assert_int_equal(metric_get(M_UPDATE_ILLEGAL), illegal + 1);
    event(arena_printf(&w.arena, "{\"state\":\"ERR\",\"job\":\"%d\"}", (int)id));
    assert_int_equal(metric_get(M_UPDATE_ILLEGAL), illegal + 2);
    assert_int_equal(the(id).state, UPDATE_VERIFIED);
}

static void test_failures_keep_the_text(void **state)
{
    struct sbuf long_text = {.p = NULL};

    (void)state;
    map_as(EVENT);
    int64_t id = offer("D1", "otaCheck", "version");
    for (int i = 0; i < 150; i++)
        sbuf_str(&long_text, "错");
    event(arena_printf(&w.arena, "{\"state\":\"ERR\",\"msg\":\"flash\\n%s\"}", long_text.p));
    sbuf_done(&long_text);
    assert_int_equal(the(id).state, UPDATE_PLANNED);
    const char *said = last_word(id);
    assert_non_null(strstr(said, "attempt 1 failed: the device reports ERR: flash 错"));
    assert_true(strlen(said) < 256 && str_is_text(said, strlen(said)));
    int64_t illegal = metric_get(M_UPDATE_ILLEGAL);
    event("{\"state\":\"ERR\"}"); /* sent again: not one more attempt */
    assert_int_equal(metric_get(M_UPDATE_ILLEGAL), illegal + 1);
    assert_int_equal(the(id).attempt, 2);
    id = offer("D2", "otaCheck", "version");
    tell(&w, "event_report/D2", "{\"method\":\"otaProgress\",\"params\":{\"state\":\"NO\"}}");
    assert_int_equal(the(id).state, UPDATE_REJECTED);
}

static void test_which_update(void **state)
{
    (void)state;
    map_as(EVENT);
    int64_t main = offer("D1", "otaCheck", "version"), mcu = offer("D1", "mcuCheck", "mcu_version");
    int64_t other = offer("D2", "otaCheck", "version");
    assert_int_equal(event("{\"state\":\"DL\"}").out.bad_progress, 1); /* of which? */
    assert_int_equal(event("{\"state\":\"DL\",\"job\":[]}").out.bad_progress, 1);
    assert_int_equal(event("{\"state\":\"DL\",\"job\":-5}").out.bad_progress, 1);
    const char *theirs = arena_printf(&w.arena, "{\"state\":\"DL\",\"job\":%d}", (int)other);
    assert_int_equal(event(theirs).out.bad_progress, 1);
    assert_int_equal(event("{\"state\":\"WHAT\"}").out.bad_progress, 1);
    assert_int_equal(event("{\"state\":{\"a\":1}}").out.bad_progress, 0); /* says nothing */
    assert_int_equal(the(main).state, UPDATE_OFFERED);
    assert_int_equal(the(other).state, UPDATE_OFFERED);
    event("{\"state\":\"DL\",\"part\":\"mcu\"}");
    assert_int_equal(the(mcu).state, UPDATE_DOWNLOADING);
    event("{\"state\":\"DL_OK\"}"); /* the one that is under way */
    assert_int_equal(the(mcu).state, UPDATE_DOWNLOADED);
    event(arena_printf(&w.arena, "{\"state\":\"DL\",\"job\":%d}", (int)main));
    assert_int_equal(the(main).state, UPDATE_DOWNLOADING);
}

/* ---- attributes ---- */
static struct said report(const char *attributes)
{
    return tell(&w, "attributes/D1", attributes);
}

static void test_an_attribute_moves_the_update(void **state)
{
    (void)state;
    map_as("{\"attribute\":\"ota\",\"percent_field\":\"ota_pct\",\"text_field\":\"ota_err\","
           "\"states\":"
           "{\"busy\":\"downloading\",\"done\":\"installed\",\"bad\":\"failed\"}}");
    report("{\"version\":\"1.0.0\",\"ota\":\"bad\",\"ota_pct\":100,\"ota_err\":\"of old\"}");
    int64_t id = offer("D1", "otaCheck", "version");
    /* What stood so before is no news, in whatever company it comes. */
    report("{\"ota\":\"bad\",\"ota_pct\":100,\"ota_err\":\"of old\",\"t\":1}");
    report("{\"ota\":\"bad\",\"t\":2}");
    report("{\"ota_pct\":100}");
    assert_int_equal(the(id).state, UPDATE_OFFERED);
    report("{\"ota\":\"busy\",\"ota_pct\":3}");
    assert_int_equal(the(id).state, UPDATE_DOWNLOADING);
    report("{\"ota_pct\":40}");
    assert_int_equal(the(id).percent, 40);
    assert_int_equal(say(&w, w.reader, "attributes/D1", "{\"ota\":\"busy\",\"ota_pct\":40}").rc,
                     0); /* repeated, it writes nothing */
    assert_int_equal(report("{\"ota\":\"strange\",\"x\":1}").out.bad_progress, 1);
    report("{\"ota\":\"bad\",\"ota_err\":\"no space\"}");
    assert_string_equal(last_word(id),
                        "planned attempt 1 failed: the device reports bad: no space");
    /* Claimed while the old version still runs: it has yet to boot. */
    id = offer("D2", "otaCheck", "version");
    tell(&w, "attributes/D2", "{\"version\":\"1.0.0\",\"ota\":\"done\"}");
    assert_int_equal(the(id).state, UPDATE_INSTALLED);
    tell(&w, "attributes/D2", "{\"version\":\"1.1.0\",\"ota\":\"done\"}");
    assert_int_equal(the(id).state, UPDATE_VERIFIED);
}

/* A word that stood before is news with another text; a percentage is one, or it is nothing. */
static void test_what_is_news(void **state)
{
    (void)state;
    map_as("{\"attribute\":\"ota\",\"percent_field\":\"ota_pct\",\"text_field\":\"ota_err\","
           "\"states\":{\"busy\":\"downloading\",\"bad\":\"failed\"}}");
    report("{\"version\":\"1.0.0\",\"ota\":\"bad\",\"ota_err\":\"of old\"}");
    int64_t id = offer("D1", "otaCheck", "version");
    report("{\"ota\":\"bad\",\"ota_err\":\"of old\"}");
    assert_int_equal(the(id).state, UPDATE_OFFERED);
    report("{\"ota_pct\":\"12 of 90\"}");
    assert_int_equal(the(id).state, UPDATE_OFFERED);
    report("{\"ota_pct\":\"12%\"}");
    assert_int_equal(the(id).percent, 12);
    report("{\"ota\":\"bad\",\"ota_err\":\"of today\"}");
    assert_string_equal(last_word(id),
                        "planned attempt 1 failed: the device reports bad: of today");
    int64_t illegal = metric_get(M_UPDATE_ILLEGAL);
    report("{\"ota_pct\":50}"); /* the attempt is over: it is of nothing */
    assert_int_equal(the(id).state, UPDATE_PLANNED);
    assert_int_equal(metric_get(M_UPDATE_ILLEGAL), illegal);
}

static void test_an_attribute_that_is_an_object(void **state)
{
    (void)state;
    map_as("{\"attribute\":\"ota\",\"state_field\":\"step\",\"percent_field\":\"step\","
           "\"text_field\":\"desc\",\"states\":{\"-3\":\"failed\"}}");
    int64_t id = offer("D1", "otaCheck", "version");
    report("{\"step\":9,\"ota\":\"text\"}");
    assert_int_equal(the(id).state, UPDATE_OFFERED);
    report("{\"ota\":{\"step\":\"45\"}}");
    assert_int_equal(the(id).state, UPDATE_DOWNLOADING);
    assert_int_equal(the(id).percent, 45);
    report("{\"ota\":{\"step\":-3,\"desc\":\"checksum\"}}");
    assert_string_equal(last_word(id), "planned attempt 1 failed: the device reports -3: checksum");
}

static void test_behind_a_gateway(void **state)
{
    (void)state;
    map_as(EVENT);
    struct said s = tell(&w, "sub_event_report/D1",
                         "{\"device\":[\"A\"],\"event\":{\"method\":\"otaCheck\",\"params\":"
                         "{\"version\":\"1.0.0\"}}}");
    assert_non_null(s.text);
    int64_t id = s.out.ids[0];
    tell(&w, "gateway_event_report/D1",
         "{\"device\":\"A\",\"event\":{\"method\":\"otaProgress\",\"params\":{\"state\":\"DL\","
         "\"pct\":7}}}");
    assert_int_equal(the(id).state, UPDATE_DOWNLOADING);
    assert_int_equal(
        event(arena_printf(&w.arena, "{\"state\":\"ERR\",\"job\":%d}", (int)id)).out.bad_progress,
        1); /* the gateway is not its child */
    map_as("{\"attribute\":\"ota\",\"states\":{\"ok\":\"downloaded\"}}");
    tell(&w, "sub_attributes/D1", "[{\"device\":[\"A\"],\"attributes\":{\"ota\":\"ok\"}}]");
    assert_int_equal(the(id).state, UPDATE_DOWNLOADED);
}

int run_progress_tests(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_each_result),
        T(test_a_result_without_id),
        T(test_a_result_without_id_of_two),
        T(test_an_event_moves_the_update),
        T(test_failures_keep_the_text),
        T(test_which_update),
        T(test_an_attribute_moves_the_update),
        T(test_what_is_news),
        T(test_an_attribute_that_is_an_object),
        T(test_behind_a_gateway),
    };
#undef T
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
