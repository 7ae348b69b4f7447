/* The engine: what each event of a device does and answers, on the writer and on a reader. */
#include "test_core.h"

static struct world w;

static int setup(void **state)
{
    (void)state;
    world_init(&w);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_done(&w);
    return 0;
}

#define CHECK_TOPIC "event_report/D1"
#define CHECK_TEXT  "{\"method\":\"otaCheck\",\"params\":{}}"

static int64_t id_of(const char *text)
{
    enum json_fault fault;
    AUTO(json_free) json_t *j = json_parse(text, strlen(text), 65536, 16, &fault, NULL);
    assert_non_null(j);
    return json_get_int(j, "id", -1);
}

static void test_unknown_version_gets_nothing(void **state)
{
    (void)state;
    struct said s = say(&w, w.reader, CHECK_TOPIC, CHECK_TEXT);
    assert_int_equal(s.rc, 0);
    assert_string_equal(s.topic, "command_send/D1");
    assert_non_null(strstr(s.text, "\"upgrade\":false"));
    assert_int_equal(s.out.nothing, 1);
}

static void test_a_write_is_left_to_the_writer(void **state)
{
    (void)state;
    struct said s = say(&w, w.reader, "attributes/D1", "{\"version\":\"1.0.0\"}");
    assert_int_equal(s.rc, E_NEEDS_WRITE);
    assert_null(s.text);
    s = tell(&w, "attributes/D1", "{\"version\":\"1.0.0\"}");
    assert_int_equal(s.rc, 0);
    assert_null(s.text); /* receipts are off by default */

    s = say(&w, w.reader, CHECK_TOPIC, CHECK_TEXT);
    assert_int_equal(s.rc, E_NEEDS_WRITE); /* the first offer is a row */
    s = tell(&w, CHECK_TOPIC, CHECK_TEXT);
    assert_int_equal(s.rc, 0);
    assert_non_null(strstr(s.text, "\"upgrade\":true,\"version\":\"1.1.0\""));
    assert_int_equal(s.out.offered, 1);
    int64_t id = id_of(s.text);
    assert_true(id > 0 && id <= INT32_MAX);
    const char *first = s.text;

    s = say(&w, w.reader, CHECK_TOPIC, CHECK_TEXT); /* its repetition writes nothing */
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.out.repeated, 1);
    assert_string_equal(s.text, first);

    s = say(&w, w.reader, "attributes/D1", "{\"version\":\"1.0.0\"}"); /* nor does old news */
    assert_int_equal(s.rc, 0);
}

static void test_report_and_check_in_one(void **state)
{
    (void)state;
    struct said s =
        tell(&w, CHECK_TOPIC, "{\"method\":\"otaCheck\",\"params\":{\"version\":\"1.0.0\"}}");
    assert_int_equal(s.rc, 0);
    assert_non_null(strstr(s.text, "\"upgrade\":true"));
    s = tell(&w, CHECK_TOPIC, "{\"method\":\"otaCheck\",\"params\":{\"version\":\"1.1.0\"}}");
    assert_non_null(strstr(s.text, "\"upgrade\":false"));
}

static void test_module_in_params(void **state)
{
    (void)state;
    tell(&w, "attributes/D1", "{\"version\":\"1.0.0\"}");
    struct said s =
        tell(&w, CHECK_TOPIC, "{\"method\":\"otaCheck\",\"params\":{\"module\":\"mcu\"}}");
    assert_int_equal(s.rc, 0);
    /* no rule of this event is for that module */
    assert_non_null(strstr(s.text, "\"module\":\"mcu\",\"upgrade\":false"));
    assert_null(s.out.first->next);
    assert_int_equal(s.out.without_rule, 1);
    s = tell(&w, CHECK_TOPIC, "{\"method\":\"otaCheck\",\"params\":{\"module\":\"m c u\"}}");
    assert_true(s.rc == 0 && !s.text); /* nor can one be */
    assert_int_equal(s.out.without_rule, 1);
    s = tell(&w, CHECK_TOPIC, "{\"method\":\"otaCheck\",\"params\":{\"module\":\"\"}}");
    assert_true(s.rc == 0 && !s.text && s.out.without_rule == 1);
    s = tell(&w, CHECK_TOPIC, "{\"method\":\"otaCheck\",\"params\":{\"module\":\"main\"}}");
    assert_non_null(strstr(s.text, "\"upgrade\":true"));
    assert_int_equal(s.out.without_rule, 0);
}

static void test_rule_after_report(void **state)
{
    struct fail f;
    struct rule rule = {
        .project_id = w.type.project_id,
        .type_id = w.type.id,
        .name = "mcu",
        .event = "mcuCheck",
        .version_attribute = "mcu_version",
        .module = "mcu",
        .enabled = true,
        .created_at = 1,
    };

    (void)state;
    tell(&w, "attributes/D1", "{\"mcu_version\":7}");
    struct said s = tell(&w, CHECK_TOPIC, "{\"method\":\"mcuCheck\"}");
    assert_int_equal(s.out.without_rule, 1);
    assert_null(s.text);
    assert_int_equal(db_begin(w.fx.w), 0);
    assert_int_equal(rule_insert(w.fx.w, &rule, &f), 0);
    assert_int_equal(db_commit(w.fx.w), 0);
    world_reload(&w);
    s = tell(&w, CHECK_TOPIC, "{\"method\":\"mcuCheck\"}");
    assert_non_null(strstr(s.text, "\"module\":\"mcu\",\"upgrade\":false"));
    char version[VERSION_MAX + 1];
    int64_t at;
    assert_int_equal(device_version(w.fx.w, w.device.id, "mcu", version, &at), 0);
    assert_string_equal(version, "7");
}

static void test_odd_versions_are_counted(void **state)
{
    static const char *const odd[] = {
        "{\"version\":\"\"}",
        "{\"version\":\"...\"}",
        "{\"version\":true}",
        "{\"version\":{\"a\":1}}",
        "{\"version\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        struct said s = tell(&w, "attributes/D1", odd[i]);
        assert_int_equal(s.rc, 0);
        assert_int_equal(s.out.bad_versions, 1);
    }
}

static void test_attributes_get(void **state)
{
    (void)state;
    tell(&w, "attributes/D1", "{\"a\":1,\"b\":\"x\",\"c\":[2]}");
    tell(&w, "attributes/D1", "{\"b\":null}");
    struct said s = say(&w, w.reader, "attributes_get/D1", "{\"keys\":[]}");
    assert_string_equal(s.topic, "attributes_get_response/D1");
    assert_non_null(strstr(s.text, "\"attributes\":{\"a\":1,\"c\":[2]}"));
    s = say(&w, w.reader, "attributes_get/D1", "{\"keys\":[\"c\",\"none\"]}");
    assert_non_null(strstr(s.text, "\"attributes\":{\"c\":[2]}"));
}

static void test_receipts(void **state)
{
    struct fail f;
    (void)state;
    w.type.attributes_response = w.type.event_response = true;
    assert_int_equal(db_begin(w.fx.w), 0);
    assert_int_equal(device_type_update(w.fx.w, &w.type, &f), 0);
    assert_int_equal(db_commit(w.fx.w), 0);
    world_reload(&w);
    struct said s = tell(&w, "attributes/D1", "{\"a\":1}");
    assert_string_equal(s.topic, "attributes_response/D1");
    assert_non_null(strstr(s.text, "\"error_code\":0,\"error_msg\":\"OK\""));
    s = tell(&w, CHECK_TOPIC, CHECK_TEXT);
    assert_string_equal(s.topic, "event_response/D1");
    assert_string_equal(s.out.first->next->topic, "command_send/D1");
}

static void test_unknown_device(void **state)
{
    (void)state;
    struct said s = say(&w, w.reader, "attributes/nobody", "{\"version\":\"1\"}");
    assert_int_equal(s.rc, E_PROTO);
    assert_int_equal(s.refused, M_BAD_DEVICE);
}

static void test_replies(void **state)
{
    char text[160];
    struct update u;

    (void)state;
    tell(&w, "attributes/D1", "{\"version\":\"1.0.0\"}");
    struct said s = tell(&w, CHECK_TOPIC, CHECK_TEXT);
    int64_t id = id_of(s.text);

    (void)str_fmt(text, sizeof(text), "{\"method\":\"otaUpgrade\",\"params\":{},\"id\":%d}",
                  (int)id);
    s = tell(&w, "command_reply/D2", text); /* somebody else's update */
    assert_int_equal(s.rc, E_PROTO);
    assert_int_equal(s.refused, M_BAD_REPLY);
    s = tell(&w, "command_reply/D1", text);
    assert_int_equal(s.rc, 0);
    assert_int_equal(update_by_id(w.fx.w, id, &w.arena, &u), 0);
    assert_int_equal(u.state, UPDATE_ACCEPTED);
    s = say(&w, w.reader, "command_reply/D1", text); /* twice is once */
    assert_int_equal(s.rc, 0);

    s = tell(&w, "command_reply/D1", "{\"id\":0}"); /* the id of "nothing to do" */
    assert_int_equal(s.rc, 0);
    s = tell(&w, "command_reply/D1", "{\"id\":5}");
    assert_int_equal(s.refused, M_BAD_REPLY);
    s = tell(&w, "command_reply/D1", "{\"id\":99999999999}");
    assert_int_equal(s.refused, M_BAD_REPLY);
}

/* The contract: an offer with its link stays under 480 bytes, whatever is configured. */
static void test_offer_is_small(void **state)
{
    char url[81], name[256];
    (void)state;
    memset(url, 'u', sizeof(url));
    memcpy(url, "https://", 8);
    url[80] = '\0';
    memset(name, 'n', sizeof(name));
    memcpy(name + 251, ".bin", 5);
    w.conf.http_public_url = url;
    w.conf.ota_command_name = "OTA升级 123456";
    struct update u = {
        .id = INT32_MAX,
        .module = "a-module-name-of-20-",
        .to_version = "1.22.333-rc.4444.20240808.abcdef0",
        .firmware_id = w.firmware.id,
    };
    struct engine x = {&w.conf, w.link_key, w.catalog, w.fx.w, &w.arena, 0, NULL};
    struct device_command cmd = {0};
    struct dialect_out out;
    struct firmware *fw = (struct firmware *)(uintptr_t)catalog_firmware(w.catalog, w.firmware.id);
    fw->files[0].name = name;
    fw->files[0].digests.size = 4294967296;
    assert_int_equal(offer_command(&x, &u, &cmd), 0);
    cmd.device = STR("D1");
    assert_int_equal(dialect_eztcloud.encode(&cmd, &w.arena, &out), 0);
    assert_true(out.payload.n < 480);
    assert_non_null(strstr(out.payload.p, ".bin\""));
}

/* What ArduinoJson 6 takes on 32 bits for a text that it copies: per member 16 bytes, and its name
 * and value with a NUL each. */
static size_t document_of(json_t *in)
{
    const char *name;
    json_t *value;
    size_t n = 0;

    json_object_foreach(in, name, value)
    {
        n += 16 + strlen(name) + 1;
        if (json_is_string(value))
            n += json_string_length(value) + 1;
        else if (json_is_object(value))
            n += document_of(value);
    }
    return n;
}

/* ThingsCloud's SDK for ESP: DynamicJsonDocument doc(512). */
static void test_offer_fits_a_small_document(void **state)
{
    struct engine x = {&w.conf, w.link_key, w.catalog, w.fx.w, &w.arena, 0, NULL};
    struct firmware *fw = (struct firmware *)(uintptr_t)catalog_firmware(w.catalog, w.firmware.id);
    struct update u = {
        .id = INT32_MAX, .module = "main", .to_version = "1.22.333", .firmware_id = w.firmware.id};
    size_t longest = 0, n_cut = 0, n_whole = 0;
    char url[128];

    (void)state;
    fw->files[0].name = "a-firmware-of-24-by.bin";
    for (size_t len = 16; len <= 92; len++) { /* of 118 with module, version, command and x.bin */
        struct device_command cmd = {.device = STR("D1")};
        struct dialect_out out;
        enum json_fault fault;

        memset(url, 'u', len);
        memcpy(url, "https://", 8);
        url[len] = '\0';
        w.conf.http_public_url = url;
        assert_int_equal(offer_command(&x, &u, &cmd), 0);
        assert_int_equal(dialect_thingscloud.encode(&cmd, &w.arena, &out), 0);
        AUTO(json_free)
        json_t *in = json_parse(out.payload.p, out.payload.n, 4096, 8, &fault, NULL);
        size_t n = document_of(in);
        assert_in_range(n, 1, 512);
        longest = n > longest ? n : longest;
        n_whole += strstr(out.payload.p, "/a-firmware-of-24-by.bin\"") != NULL;
        n_cut += strstr(out.payload.p, "/a-firmware-of-24-by.bin\"") == NULL;
        assert_non_null(strstr(out.payload.p, ".bin\""));
    }
    assert_int_equal(longest, 512); /* no more is cut than has to be */
    assert_true(n_cut > 0 && n_whole > 50);
}

/* The same behind a gateway, as far as the shortest name of a file goes. */
static void test_offer_behind_is_small(void **state)
{
    static const char *const paths[] = {"floor-2/lamp-7", "\"7\"", "B"};
    static const struct {
        enum address_form form;
        bool as_list;
        size_t n_path;
    } forms[] = {{FORM_GATEWAY, false, 1},
                 {FORM_GATEWAY, true, 1},
                 {FORM_SUB, false, 1},
                 {FORM_SUB, true, 3}};
    struct engine x = {&w.conf, w.link_key, w.catalog, w.fx.w, &w.arena, 0, NULL};
    struct update u = {.id = INT32_MAX,
                       .module = "main",
                       .to_version = "1.22.333-rc.4444.abcdef0",
                       .firmware_id = w.firmware.id};
    struct firmware *fw = (struct firmware *)(uintptr_t)catalog_firmware(w.catalog, w.firmware.id);
    char url[81], name[256];
    size_t longest = 0;

    (void)state;
    memset(name, 'n', sizeof(name));
    memcpy(name + 251, ".bin", 5);
    memset(url, 'u', sizeof(url));
    memcpy(url, "https://", 8);
    url[80] = '\0';
    w.conf.http_public_url = url;
    fw->files[0].name = name;
    fw->files[0].digests.size = 4294967296;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct device_command cmd = {.device = STR("D1"),
                                     .path = (const char **)(uintptr_t)paths,
                                     .n_path = forms[i].n_path,
                                     .form = forms[i].form,
                                     .as_list = forms[i].as_list};
        struct dialect_out out;
        assert_int_equal(offer_command(&x, &u, &cmd), 0);
        assert_int_equal(dialect_eztcloud.encode(&cmd, &w.arena, &out), 0);
        assert_non_null(strstr(out.payload.p, ".bin\""));
        assert_true(out.payload.n < 480);
        longest = out.payload.n > longest ? out.payload.n : longest;
    }
    assert_true(longest > 470); /* so that it was a matter of the room */
}

int run_engine_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_unknown_version_gets_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_write_is_left_to_the_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_report_and_check_in_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_module_in_params, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rule_after_report, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_versions_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attributes_get, setup, teardown),
        cmocka_unit_test_setup_teardown(test_receipts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_device, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offer_is_small, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offer_fits_a_small_document, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offer_behind_is_small, setup, teardown),
    };
    return cmocka_run_group_tests_name("core engine", tests, NULL, NULL);
}
