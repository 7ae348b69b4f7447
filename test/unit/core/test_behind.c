/* Devices behind a gateway, through decode and engine: who may speak of whom, in which form. */
#include "test_core.h"

static struct world w;
static struct device_type sensor; /* auto_create, with firmware 2.0.0 */
static struct device a1, b1, c1;  /* of it: D1 -> "A" -> "B", D1 -> "C" */

#define NOW 1700000000000

static void must(int rc)
{
    if (rc < 0)
        fail_msg("%s", err_str(rc));
}

static void add_child(struct device *d, int64_t gateway_id, const char *key, const char *address)
{
    struct fail f = {0};

    *d = (struct device){.project_id = sensor.project_id,
                         .type_id = sensor.id,
                         .gateway_id = gateway_id,
                         .key = key,
                         .address = address,
                         .enabled = true,
                         .created_at = NOW};
    must(device_insert(w.fx.w, d, &f));
}

static int setup(void **state)
{
    struct fail f = {0};

    (void)state;
    world_init(&w);
    must(db_begin(w.fx.w));
    sensor = device_type_defaults;
    sensor.project_id = w.type.project_id;
    sensor.key = sensor.name = "sensor";
    sensor.auto_create = true;
    sensor.created_at = NOW;
    must(device_type_insert(w.fx.w, &sensor, &f));
    struct firmware fw = w.firmware;
    fw.type_id = sensor.id;
    fw.version = "2.0.0";
    must(firmware_insert(w.fx.w, &fw, &f));
    add_child(&a1, w.device.id, "child-a", "A");
    add_child(&b1, a1.id, "child-b", "B");
    add_child(&c1, w.device.id, "child-c", "C");
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

static void change_type(struct device_type *t)
{
    must(db_begin(w.fx.w));
    must(device_type_update(w.fx.w, t, NULL));
    must(db_commit(w.fx.w));
    world_reload(&w);
}

static const char *attribute(int64_t device_id, const char *name)
{
    AUTO(json_free) json_t *all = NULL;

    must(device_attributes(w.fx.w, device_id, &all));
    return arena_strdup(&w.arena, json_get_str(all, name, NULL));
}

static struct device behind(int64_t gateway_id, const char *address)
{
    struct device d = {0};

    if (device_behind(w.fx.w, gateway_id, address, &w.arena, &d) < 0)
        d.id = 0;
    return d;
}

static int64_t id_in(const char *text)
{
    enum json_fault fault;
    AUTO(json_free) json_t *j = json_parse(text, strlen(text), 65536, 16, &fault, NULL);
    json_t *command = json_object_get(j, "command");

    assert_int_equal(json_get_int(j, "id", -1), json_get_int(command, "id", -2));
    return json_get_int(j, "id", -1);
}

static enum update_state state_of(int64_t id)
{
    struct update u;

    must(update_by_id(w.fx.w, id, &w.arena, &u));
    return u.state;
}

/* ---- reports ---- */
static void test_every_form_of_report_arrives(void **state)
{
    (void)state;
    struct said s = tell(&w, "gateway_attributes/D1", "{\"A\":{\"x\":\"map\"}}");
    assert_int_equal(s.rc, 0);
    assert_null(s.text);
    assert_string_equal(attribute(a1.id, "x"), "map");
    s = tell(&w, "sub_attributes/D1",
             "{\"A\":{\"attributes\":{\"x\":\"tree\"},\"sub\":{\"B\":{\"attributes\":"
             "{\"x\":\"below\",\"version\":\"1.0.0\"}}}}}");
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.out.n_seen, 3);
    assert_string_equal(attribute(a1.id, "x"), "tree");
    assert_string_equal(attribute(b1.id, "x"), "below");
    char version[VERSION_MAX + 1];
    must(device_version(w.fx.w, b1.id, "main", version, NULL));
    assert_string_equal(version, "1.0.0");
    s = tell(&w, "sub_attributes/D1",
             "[{\"device\":[\"A\",\"B\"],\"attributes\":{\"x\":\"list\"}}]");
    assert_int_equal(s.rc, 0);
    assert_string_equal(attribute(b1.id, "x"), "list");
    assert_null(attribute(w.device.id, "x")); /* the gateway itself said nothing of itself */
    s = say(&w, w.reader, "sub_attributes/D1",
            "[{\"device\":[\"A\",\"B\"],\"attributes\":{\"x\":\"list\"}}]");
    assert_int_equal(s.rc, 0); /* said again, it writes nothing */
}

static void test_one_unknown_among_others(void **state)
{
    (void)state;
    struct said s = tell(&w, "gateway_attributes/D1",
                         "{\"ghost\":{\"x\":\"1\"},\"A\":{\"x\":\"2\"},\"B\":{\"x\":\"3\"}}");
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.n_refused, 2); /* B stands behind A, not here */
    assert_int_equal(s.refused, M_BAD_DEVICE);
    assert_string_equal(attribute(a1.id, "x"), "2");
    assert_null(attribute(b1.id, "x"));
    s = tell(&w, "gateway_attributes/D1", "{\"ghost\":{\"x\":\"1\"}}");
    assert_int_equal(s.rc, E_PROTO);
    s = tell(&w, "gateway_attributes/nobody", "{\"A\":{\"x\":\"1\"}}");
    assert_int_equal(s.rc, E_PROTO);
    assert_int_equal(s.refused, M_BAD_DEVICE);
}

static void test_nobody_elses_children(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"gateway_attributes/D2", "{\"A\":{\"x\":\"stolen\"}}"},
        {"sub_attributes/D2", "{\"A\":{\"sub\":{\"B\":{\"attributes\":{\"x\":\"stolen\"}}}}}"},
        {"sub_attributes/D2", "[{\"device\":[\"A\"],\"attributes\":{\"x\":\"stolen\"}}]"},
        {"gateway_event_report/D2", "{\"device\":\"A\",\"event\":{\"method\":\"otaCheck\"}}"},
        {"gateway_attributes_get/D2", "{\"device\":\"child-a\",\"get\":{}}"},
        {"sub_connect/D2", "{\"device\":[\"D1\",\"A\"]}"},
        {"sub_connect/D1", "{\"device\":[\"B\"]}"},
    };

    tell(&w, "gateway_attributes/D1", "{\"A\":{\"version\":\"1.0.0\",\"x\":\"mine\"}}");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct said s = tell(&w, texts[i][0], texts[i][1]);
        assert_int_equal(s.rc, E_PROTO);
        assert_int_equal(s.refused, M_BAD_DEVICE);
        assert_null(s.text);
    }
    assert_string_equal(attribute(a1.id, "x"), "mine");
    struct said s = tell(&w, "gateway_event_report/D1",
                         "{\"device\":\"A\",\"event\":{\"method\":\"otaCheck\"}}");
    int64_t id = id_in(s.text);
    const char *reply =
        arena_printf(&w.arena, "{\"device\":\"A\",\"command\":{\"id\":%d}}", (int)id);
    s = tell(&w, "gateway_command_reply/D2", reply);
    assert_int_equal(s.refused, M_BAD_DEVICE);
    s = tell(&w, "command_reply/D1", arena_printf(&w.arena, "{\"id\":%d}", (int)id));
    assert_int_equal(s.refused, M_BAD_REPLY); /* the gateway is not its child */
    assert_int_equal(state_of(id), UPDATE_OFFERED);
    s = tell(&w, "gateway_command_reply/D1", reply);
    assert_int_equal(s.rc, 0);
    assert_int_equal(state_of(id), UPDATE_ACCEPTED);
}

/* ---- answers ---- */
static void test_answers_in_the_form_that_came(void **state)
{
    static const struct {
        const char *prefix, *device;
    } forms[] = {{"gateway_", "\"A\""},
                 {"gateway_", "[\"A\"]"},
                 {"sub_", "\"A\""},
                 {"sub_", "[\"A\",\"B\"]"}};
    struct device_route r;

    (void)state;
    sensor.event_response = true;
    change_type(&sensor);
    tell(&w, "sub_attributes/D1",
         "{\"A\":{\"attributes\":{\"version\":\"1.0.0\"},\"sub\":{\"B\":{\"attributes\":"
         "{\"version\":\"1.0.0\"}}}}}");
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const char *p = forms[i].prefix, *d = forms[i].device;
        struct arena *a = &w.arena;
        if (i == 3) /* B's turn comes when A is done */
            tell(&w, "sub_attributes/D1", "{\"A\":{\"attributes\":{\"version\":\"2.0.0\"}}}");
        struct said s =
            tell(&w, arena_printf(a, "%sevent_report/D1", p),
                 arena_printf(a, "{\"device\":%s,\"event\":{\"method\":\"otaCheck\"}}", d));
        const char *begin = arena_printf(a, "{\"device\":%s,", d);
        assert_int_equal(s.rc, 0);
        assert_string_equal(s.topic, arena_printf(a, "%sevent_response/D1", p));
        assert_memory_equal(s.text, begin, strlen(begin));
        const struct answer *offer = s.out.first->next;
        assert_string_equal(offer->topic, arena_printf(a, "%scommand_send/D1", p));
        assert_memory_equal(offer->payload.p, begin, strlen(begin));
        assert_non_null(strstr(offer->payload.p, "\"upgrade\":true,\"version\":\"2.0.0\""));
        assert_true(id_in(offer->payload.p) > 0);
        s = tell(&w, arena_printf(a, "%sattributes_get/D1", p),
                 arena_printf(a, "{\"device\":%s,\"get\":{\"keys\":[\"version\"]}}", d));
        assert_string_equal(s.topic, arena_printf(a, "%sattributes_get_response/D1", p));
        assert_memory_equal(s.text, begin, strlen(begin));
        assert_non_null(strstr(s.text, "\"attributes\":{\"version\":\"1.0.0\"}"));

        int64_t id = i == 3 ? b1.id : a1.id; /* later pushes know the way, too */
        must(device_route(w.fx.w, id, a, &r));
        assert_string_equal(r.gateway, "D1");
        assert_int_equal(r.form, *p == 'g' ? FORM_GATEWAY : FORM_SUB);
        assert_int_equal(r.as_list, *d == '[');
        assert_int_equal(r.n_path, i == 3 ? 2 : 1);
        assert_string_equal(r.path[0], "A");
        assert_string_equal(r.path[r.n_path - 1], i == 3 ? "B" : "A");
    }
}

static void test_one_receipt_for_a_report(void **state)
{
    (void)state;
    w.type.attributes_response = true; /* the gateway's type says whether */
    change_type(&w.type);
    struct said s = tell(&w, "gateway_attributes/D1", "{\"A\":{\"x\":\"1\"}}");
    assert_string_equal(s.topic, "gateway_attributes_response/D1");
    assert_memory_equal(s.text, "{\"error_code\":0,\"error_msg\":\"OK\",\"ts\":", 38);
    assert_null(s.out.first->next);
    s = tell(&w, "sub_attributes/D1",
             "{\"A\":{\"attributes\":{\"x\":\"2\"}},\"ghost\":{\"attributes\":{}}}");
    assert_string_equal(s.topic, "sub_attributes_response/D1");
    assert_non_null(strstr(s.text, "\"error_code\":-3"));
    assert_null(s.out.first->next);
    assert_string_equal(attribute(a1.id, "x"), "2");
}

static void test_a_child_is_verified(void **state)
{
    (void)state;
    tell(&w, "gateway_attributes/D1", "{\"A\":{\"version\":\"1.0.0\"}}");
    struct said s = tell(&w, "gateway_event_report/D1",
                         "{\"device\":\"A\",\"event\":{\"method\":\"otaCheck\",\"params\":{},"
                         "\"id\":1000}}");
    assert_string_equal(s.topic, "gateway_command_send/D1");
    int64_t id = id_in(s.text);
    s = tell(&w, "gateway_command_reply/D1",
             arena_printf(&w.arena,
                          "{\"device\":\"A\",\"command\":{\"method\":\"otaUpgrade\"},"
                          "\"id\":%d}",
                          (int)id)); /* the id outside */
    assert_int_equal(s.rc, 0);
    assert_int_equal(state_of(id), UPDATE_ACCEPTED);
    tell(&w, "gateway_attributes/D1", "{\"A\":{\"version\":\"2.0.0\"}}");
    assert_int_equal(state_of(id), UPDATE_VERIFIED);
}

/* ---- presence, and devices that come by themselves ---- */
static int online(const char *key)
{
    struct device d;

    must(device_by_key(w.fx.w, 0, key, &w.arena, &d));
    return d.online;
}

static void test_presence(void **state)
{
    (void)state;
    assert_int_equal(online("child-a"), -1);
    assert_int_equal(tell(&w, "gateway_connect/D1", "{\"device\":\"A\"}").rc, 0);
    assert_int_equal(online("child-a"), 1);
    assert_int_equal(say(&w, w.reader, "gateway_connect/D1", "{\"device\":\"A\"}").rc, 0);
    assert_int_equal(tell(&w, "gateway_disconnect/D1", "{\"device\":\"A\"}").rc, 0);
    assert_int_equal(online("child-a"), 0);
    assert_int_equal(tell(&w, "sub_connect/D1", "{\"device\":[\"A\",\"B\"]}").rc, 0);
    assert_int_equal(online("child-b"), 1);
    assert_int_equal(online("D1"), -1);
}

static void test_auto_creation(void **state)
{
    (void)state;
    const char *connect = "{\"device\":\"S1\",\"product\":\"sensor\"}";
    assert_int_equal(say(&w, w.reader, "gateway_connect/D1", connect).rc, E_NEEDS_WRITE);
    assert_int_equal(tell(&w, "gateway_connect/D1", connect).rc, 0);
    struct device s1 = behind(w.device.id, "S1");
    assert_true(s1.id > 0);
    assert_memory_equal(s1.key, "SD_", 3);
    assert_int_equal(strlen(s1.key), 13);
    assert_int_equal(s1.type_id, sensor.id);
    assert_null(s1.password_hash);
    assert_int_equal(online(s1.key), 1);
    assert_int_equal(tell(&w, "gateway_connect/D1", connect).rc, 0);
    assert_int_equal(behind(w.device.id, "S1").id, s1.id); /* once */

    struct said s =
        tell(&w, "sub_attributes/D1",
             "{\"S2\":{\"product\":\"sensor\",\"attributes\":{\"version\":\"1.0.0\"},"
             "\"sub\":{\"S3\":{\"product\":\"sensor\",\"attributes\":{\"x\":\"3\"}}}}}");
    assert_int_equal(s.rc, 0);
    struct device s2 = behind(w.device.id, "S2");
    assert_string_equal(attribute(behind(s2.id, "S3").id, "x"), "3");
    s = tell(&w, "sub_event_report/D1",
             "{\"device\":[\"S4\"],\"product\":\"sensor\",\"event\":{\"method\":\"otaCheck\","
             "\"params\":{\"version\":\"1.0.0\"}}}");
    assert_non_null(strstr(s.text, "\"upgrade\":true")); /* made, known and served in one */
}

static void test_auto_creation_refused(void **state)
{
    static const char *const connects[] = {
        "{\"device\":[\"N\"]}", "{\"device\":[\"N\"],\"product\":\"nosuch\"}",
        "{\"device\":[\"N\"],\"product\":\"lamp\"}",         /* its type does not allow it */
        "{\"device\":[\"N\",\"M\"],\"product\":\"sensor\"}", /* N has to be there */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(connects); i++) {
        struct said s = tell(&w, "sub_connect/D1", connects[i]);
        assert_int_equal(s.rc, E_PROTO);
        assert_int_equal(s.refused, M_BAD_DEVICE);
    }
    struct said s = tell(&w, "gateway_disconnect/D1", "{\"device\":\"N\",\"product\":\"sensor\"}");
    assert_int_equal(s.rc, E_PROTO);
    assert_int_equal(behind(w.device.id, "N").id, 0);

    w.type.max_children = 4; /* three stand there already */
    change_type(&w.type);
    assert_int_equal(
        tell(&w, "sub_connect/D1", "{\"device\":[\"A\",\"N\"],\"product\":\"sensor\"}").rc, 0);
    assert_int_equal(tell(&w, "sub_connect/D1", "{\"device\":[\"M\"],\"product\":\"sensor\"}").rc,
                     E_PROTO);
    assert_int_equal(behind(w.device.id, "M").id, 0);
}

static void test_one_at_a_time(void **state)
{
    const char *check_a = "{\"device\":[\"A\"],\"event\":{\"method\":\"otaCheck\","
                          "\"params\":{\"version\":\"1.0.0\"}}}";
    const char *check_c = "{\"device\":[\"C\"],\"event\":{\"method\":\"otaCheck\","
                          "\"params\":{\"version\":\"1.0.0\"}}}";

    (void)state;
    struct said s = tell(&w, "sub_event_report/D1", check_a);
    int64_t id = id_in(s.text);
    s = tell(&w, "sub_event_report/D1", check_c);
    assert_non_null(strstr(s.text, "\"upgrade\":false")); /* A could begin at any moment */
    const char *accept =
        arena_printf(&w.arena, "{\"device\":[\"A\"],\"command\":{\"id\":%d}}", (int)id);
    tell(&w, "sub_command_reply/D1", accept);
    assert_int_equal(state_of(id), UPDATE_ACCEPTED);
    s = tell(&w, "sub_event_report/D1", check_c);
    assert_non_null(strstr(s.text, "\"upgrade\":false"));
    w.type.parallel_updates = 2;
    change_type(&w.type);
    s = tell(&w, "sub_event_report/D1", check_c);
    assert_non_null(strstr(s.text, "\"upgrade\":true"));
    int64_t id_c = id_in(s.text);
    w.type.parallel_updates = 1;
    change_type(&w.type);
    tell(&w, "sub_attributes/D1", "{\"A\":{\"attributes\":{\"version\":\"2.0.0\"}}}");
    s = tell(&w, "sub_event_report/D1", check_c);
    assert_int_equal(id_in(s.text), id_c);
}

int run_behind_tests(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_every_form_of_report_arrives),
        T(test_one_unknown_among_others),
        T(test_nobody_elses_children),
        T(test_answers_in_the_form_that_came),
        T(test_one_receipt_for_a_report),
        T(test_a_child_is_verified),
        T(test_presence),
        T(test_auto_creation),
        T(test_auto_creation_refused),
        T(test_one_at_a_time),
    };
#undef T
    return cmocka_run_group_tests_name("behind", tests, NULL, NULL);
}
