/* Each rule of the decision, one test per rule; the numbers are those of the rules. */
#include "../../../src/update/update_priv.h"
#include "tests.h"

struct case_facts {
    struct device device;
    struct device_facts facts;
    json_t *attributes;
};

static const json_t *attribute(void *arg, const char *name)
{
    return json_object_get(*(json_t **)arg, name);
}

static void facts_init(struct case_facts *c, const struct domain *d, const char *version)
{
    memset(c, 0, sizeof(*c));
    c->device = (struct device){.id = 77, .type_id = d->type.id, .enabled = true};
    c->facts = (struct device_facts){.module = "main", .version = version, .attribute = attribute};
}

/* Pointers into itself: set only where it stays. */
static void run(struct domain *d, struct case_facts *c, struct decision *ret)
{
    struct decision quick;

    c->facts.device = &c->device;
    c->facts.arg = &c->attributes;
    decide(d->catalog, &c->facts, T0, true, &d->a, ret);
    decide(d->catalog, &c->facts, T0, false, &d->a, &quick);
    assert_ptr_equal(quick.firmware, ret->firmware); /* rows never change the answer */
    assert_int_equal(quick.reason, ret->reason);
    assert_int_equal(quick.n_rows, 0);
    for (size_t i = 0; i < ret->n_rows; i++) {
        enum json_fault fault;
        AUTO(json_free)
        json_t *params =
            json_parse(ret->rows[i].params, strlen(ret->rows[i].params), 1000, 5, &fault, NULL);
        assert_non_null(params);
        assert_true(ret->rows[i].text[0] != '\0');
    }
}

static enum reason only(struct domain *d, struct case_facts *c)
{
    struct decision dn;

    run(d, c, &dn);
    assert_int_equal(dn.n_rows, 1);
    assert_int_equal(dn.firmware != NULL, dn.reason == REASON_ELIGIBLE);
    assert_int_equal(dn.rows[0].reason, dn.reason);
    return dn.reason;
}

static void store(struct domain *d, struct firmware *fw)
{
    MUST(firmware_insert(d->w, fw, NULL));
    domain_reload(d);
}

static void rule_1_device(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct decision dn;

    domain_init(&d);
    domain_firmware(&d, "2.0");
    facts_init(&c, &d, "1.0");
    c.device.enabled = false;
    run(&d, &c, &dn);
    assert_int_equal(dn.reason, REASON_DEVICE_DISABLED);
    assert_int_equal(dn.n_rows, 1);
    assert_null(dn.rows[0].firmware);
    c.device.enabled = true;
    c.device.quarantined_until = T0 + 5;
    run(&d, &c, &dn);
    assert_int_equal(dn.reason, REASON_QUARANTINED);
    assert_int_equal(dn.retry_at, T0 + 5);
    c.device.quarantined_until = T0;
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    domain_done(&d);
}

static void rule_2_version_unknown(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;

    domain_init(&d);
    domain_firmware(&d, "2.0");
    facts_init(&c, &d, NULL);
    assert_int_equal(only(&d, &c), REASON_VERSION_UNKNOWN);
    domain_done(&d);
}

static void rules_3_to_6(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    int64_t a, b;
    const char *sources[] = {"v1.5", "1.0.0"};

    domain_init(&d);
    a = domain_device(&d, "a");
    b = domain_device(&d, "b");
    struct firmware fw = domain_firmware_of(&d, "2.0", 10);
    fw.enabled = false;
    fw.devices = (struct id_list){(int64_t[]){a, b}, 2};
    fw.denied = (struct id_list){(int64_t[]){b}, 1};
    fw.source_versions = sources;
    fw.n_sources = 2;
    store(&d, &fw);
    facts_init(&c, &d, "3.0");
    assert_int_equal(only(&d, &c), REASON_FIRMWARE_DISABLED);
    fw.enabled = true;
    MUST(firmware_update(d.w, &fw, NULL));
    domain_reload(&d);
    assert_int_equal(only(&d, &c), REASON_NOT_IN_DEVICE_LIST);
    c.device.id = b; /* in both lists: deny wins */
    assert_int_equal(only(&d, &c), REASON_DENIED);
    c.device.id = a;
    assert_int_equal(only(&d, &c), REASON_SOURCE_VERSION_MISMATCH);
    c.facts.version = "1"; /* equal to 1.0.0 */
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    fw.n_sources = 0;
    MUST(firmware_update(d.w, &fw, NULL));
    domain_reload(&d);
    c.facts.version = "2.0.0";
    assert_int_equal(only(&d, &c), REASON_NOT_NEWER);
    c.facts.version = "2.0.1";
    assert_int_equal(only(&d, &c), REASON_NOT_NEWER);
    domain_done(&d);
}

static void other_types_and_modules_do_not_exist(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct decision dn;

    domain_init(&d);
    domain_firmware(&d, "2.0");
    facts_init(&c, &d, "1.0");
    c.facts.module = "mcu";
    run(&d, &c, &dn);
    assert_null(dn.firmware);
    assert_int_equal(dn.n_rows, 0);
    c.facts.module = "main";
    c.device.type_id = d.type.id + 1;
    run(&d, &c, &dn);
    assert_null(dn.firmware);
    domain_done(&d);
}

static void rule_8_hardware(void **state UNUSED)
{
    static const struct {
        const char *reported;
        enum reason expected;
    } cases[] = {
        {"{}", REASON_HARDWARE_MISMATCH},
        {"{\"hw\":\"A\",\"rev\":1}", REASON_ELIGIBLE},
        {"{\"hw\":\"B\",\"rev\":1.0}", REASON_ELIGIBLE},
        {"{\"hw\":\"B\",\"rev\":\"1\"}", REASON_ELIGIBLE},
        {"{\"hw\":\"C\",\"rev\":1}", REASON_HARDWARE_MISMATCH},
        {"{\"hw\":\"A\",\"rev\":2}", REASON_HARDWARE_MISMATCH},
        {"{\"hw\":\"A\",\"rev\":true}", REASON_HARDWARE_MISMATCH},
        {"{\"hw\":[\"A\"],\"rev\":1}", REASON_HARDWARE_MISMATCH},
        {"{\"hw\":null,\"rev\":1}", REASON_HARDWARE_MISMATCH},
    };
    struct domain d;
    struct case_facts c;

    domain_init(&d);
    struct firmware fw = domain_firmware_of(&d, "2.0", 10);
    fw.hardware = json_pack("{s:[s,s],s:i}", "hw", "A", "B", "rev", 1);
    store(&d, &fw);
    json_decref(fw.hardware);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        facts_init(&c, &d, "1.0");
        c.attributes = json_loads(cases[i].reported, 0, NULL);
        assert_int_equal(only(&d, &c), cases[i].expected);
        json_decref(c.attributes);
    }
    domain_done(&d);
}

static void rule_9_minimums(void **state UNUSED)
{
    static const struct {
        const char *reported;
        enum reason expected;
    } cases[] = {
        {"{}", REASON_BATTERY_LOW},
        {"{\"bat\":29,\"signal\":-80,\"free_space\":1000}", REASON_BATTERY_LOW},
        {"{\"bat\":29.9,\"signal\":-80,\"free_space\":1000}", REASON_BATTERY_LOW},
        {"{\"bat\":\"29\",\"signal\":-80,\"free_space\":1000}", REASON_BATTERY_LOW},
        {"{\"bat\":\"full\",\"signal\":-80,\"free_space\":1000}", REASON_BATTERY_LOW},
        {"{\"bat\":\"40.5V\",\"signal\":-80,\"free_space\":1000}", REASON_BATTERY_LOW},
        {"{\"bat\":\"inf\",\"signal\":-80,\"free_space\":1000}", REASON_BATTERY_LOW},
        {"{\"bat\":true,\"signal\":-80,\"free_space\":1000}", REASON_BATTERY_LOW},
        {"{\"bat\":30,\"signal\":-101,\"free_space\":1000}", REASON_SIGNAL_LOW},
        {"{\"bat\":30,\"free_space\":1000}", REASON_SIGNAL_LOW},
        {"{\"bat\":30,\"signal\":-100,\"free_space\":999}", REASON_NO_SPACE},
        {"{\"bat\":\"30.5\",\"signal\":\"-100\",\"free_space\":1e3}", REASON_ELIGIBLE},
    };
    struct domain d;
    struct case_facts c;
    struct decision dn;

    domain_init(&d);
    d.type.battery_attribute = "bat";
    domain_type_changed(&d);
    struct firmware fw = domain_firmware_of(&d, "2.0", 10);
    fw.has_min_battery = fw.has_min_signal = fw.has_min_free_space = true;
    fw.min_battery = 30;
    fw.min_signal = -100;
    fw.min_free_space = 1000;
    store(&d, &fw);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        facts_init(&c, &d, "1.0");
        c.attributes = json_loads(cases[i].reported, 0, NULL);
        assert_int_equal(only(&d, &c), cases[i].expected);
        json_decref(c.attributes);
    }
    facts_init(&c, &d, "1.0");
    run(&d, &c, &dn);
    assert_string_equal(dn.rows[0].params, "{\"reported\":null,\"required\":30}");
    domain_done(&d);
}

static void rule_10_campaign_only(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;

    domain_init(&d);
    struct firmware fw = domain_firmware_of(&d, "2.0", 10);
    fw.campaign_only = true;
    store(&d, &fw);
    facts_init(&c, &d, "1.0");
    assert_int_equal(only(&d, &c), REASON_CAMPAIGN_NOT_STARTED);
    domain_done(&d);
}

static void rule_11_attempts(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct past_attempt past = {0};
    struct decision dn;

    domain_init(&d);
    past.firmware_id = domain_firmware(&d, "2.0");
    facts_init(&c, &d, "1.0");
    c.facts.past = &past;
    c.facts.n_past = 1;
    past.attempts = 3;
    past.last_ended_at = T0 - DAY / 2;
    assert_int_equal(only(&d, &c), REASON_ATTEMPTS_EXHAUSTED);
    past.attempts = 2; /* the second pause is 20 minutes */
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    past.last_ended_at = T0 - 20 * MIN + 1;
    run(&d, &c, &dn);
    assert_int_equal(dn.reason, REASON_BACKING_OFF);
    assert_int_equal(dn.retry_at, T0 + 1);
    past.last_ended_at = T0 - 20 * MIN;
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    d.type.attempts = 100;
    domain_type_changed(&d);
    past.attempts = 90; /* it doubles twenty times, and no more */
    run(&d, &c, &dn);
    assert_int_equal(dn.retry_at, past.last_ended_at + 10 * MIN * (1 << 20));
    past.attempts = 0;
    past.canceled = true; /* an operator's no lasts a day */
    assert_int_equal(only(&d, &c), REASON_ATTEMPTS_EXHAUSTED);
    c.facts.n_past = 0;
    struct active_update own = {.id = 1,
                                .device_id = 77,
                                .firmware_id = past.firmware_id,
                                .module = "main",
                                .state = UPDATE_PLANNED,
                                .retry_at = T0 + 9};
    c.facts.active = &own;
    c.facts.n_active = 1;
    run(&d, &c, &dn);
    assert_int_equal(dn.reason, REASON_BACKING_OFF);
    assert_int_equal(dn.retry_at, T0 + 9);
    own.device_id = 5; /* its gateway waits; that is no reason for it to wait */
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    domain_done(&d);
}

static void rule_12_other_updates(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct active_update other = {.id = 9, .device_id = 77, .module = "mcu"};

    domain_init(&d);
    domain_firmware(&d, "2.0");
    facts_init(&c, &d, "1.0");
    c.facts.active = &other;
    c.facts.n_active = 1;
    for (int s = UPDATE_PLANNED; s <= UPDATE_INSTALLED; s++) {
        enum reason expected = s >= UPDATE_ACCEPTED ? REASON_UPDATE_IN_PROGRESS : REASON_ELIGIBLE;

        other.state = (enum update_state)s;
        other.device_id = 77;
        other.module = "mcu";
        assert_int_equal(only(&d, &c), expected);
        other.device_id = 5; /* the gateway, whatever module */
        other.module = "main";
        assert_int_equal(only(&d, &c), expected);
        other.device_id = 77; /* its own */
        assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    }
    /* An offer keeps its place for ten minutes; but not among the modules of one device. */
    other.state = UPDATE_OFFERED;
    other.updated_at = T0 - 10 * MIN + 1;
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    other.module = "mcu";
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    other.device_id = 5;
    assert_int_equal(only(&d, &c), REASON_UPDATE_IN_PROGRESS);
    other.updated_at--;
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    other.updated_at = T0 + 10 * MIN; /* the clock was set back */
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    domain_done(&d);
}

static void rule_12_beside(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct decision dn;
    struct active_update beside[2] = {
        {.id = 8, .device_id = 78, .module = "main", .state = UPDATE_DOWNLOADING},
        {.id = 9, .device_id = 79, .module = "main", .state = UPDATE_ACCEPTED}};

    domain_init(&d);
    domain_firmware(&d, "2.0");
    facts_init(&c, &d, "1.0");
    c.facts.beside = beside;
    for (int64_t allowed = 1; allowed <= 3; allowed++) {
        d.type.parallel_updates = allowed;
        domain_type_changed(&d);
        c.facts.gateway_type_id = d.type.id;
        for (c.facts.n_beside = 0; c.facts.n_beside <= 2; c.facts.n_beside++)
            assert_int_equal(only(&d, &c), (int64_t)c.facts.n_beside < allowed
                                               ? REASON_ELIGIBLE
                                               : REASON_UPDATE_IN_PROGRESS);
    }
    beside[1].device_id = 78; /* two modules of one device */
    d.type.parallel_updates = 2;
    domain_type_changed(&d);
    c.facts.n_beside = 2;
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE);
    beside[1].device_id = 79;
    beside[1].state = UPDATE_OFFERED;
    assert_int_equal(only(&d, &c), REASON_ELIGIBLE); /* long ago */
    beside[1].updated_at = T0;
    assert_int_equal(only(&d, &c), REASON_UPDATE_IN_PROGRESS);
    c.facts.gateway_type_id = 0; /* a type that is gone: one */
    c.facts.n_beside = 2;
    run(&d, &c, &dn);
    assert_int_equal(dn.rows[0].reason, REASON_UPDATE_IN_PROGRESS);
    assert_string_equal(dn.rows[0].params, "{\"update\":8,\"module\":\"main\",\"state\":"
                                           "\"downloading\",\"in_progress\":2,\"allowed\":1}");
    assert_non_null(strstr(dn.rows[0].text, "2 other devices behind its gateway"));
    domain_done(&d);
}

static void the_highest_wins(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct decision dn;

    domain_init(&d);
    domain_firmware(&d, "1.9");
    int64_t high = domain_firmware(&d, "1.10");
    domain_firmware(&d, "1.1");
    facts_init(&c, &d, "1.5");
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, high);
    assert_int_equal(dn.n_rows, 3);
    assert_int_equal(dn.rows[0].reason, REASON_ELIGIBLE);
    assert_int_equal(dn.rows[1].reason, REASON_BETTER_EXISTS);
    assert_int_equal(dn.rows[2].reason, REASON_NOT_NEWER);
    domain_done(&d);
}

static void of_equal_ones_delta_then_newest(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct decision dn;
    const char *sources[] = {"1.0"};

    domain_init(&d);
    domain_firmware(&d, "2.0");
    struct firmware delta = domain_firmware_of(&d, "2.0.0", 10);
    delta.source_versions = sources;
    delta.n_sources = 1;
    store(&d, &delta);
    struct firmware other = domain_firmware_of(&d, "1.5", 10);
    other.source_versions = sources;
    other.n_sources = 1;
    store(&d, &other);
    int64_t low = domain_firmware(&d, "1.4"), newest = domain_firmware(&d, "v2.0");
    facts_init(&c, &d, "1.0");
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, delta.id);
    struct past_attempt past = {delta.id, 1, T0 - HOUR, false};
    c.facts.past = &past;
    c.facts.n_past = 1;
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, newest);
    past.attempts = 0; /* none was made */
    past.firmware_id = other.id;
    past.canceled = true;
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, delta.id);
    past =
        (struct past_attempt){low, 1, T0 - HOUR, false}; /* a full image says nothing of deltas */
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, delta.id);
    past.firmware_id = other.id; /* a delta of another version does */
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, newest);
    c.facts.n_past = 0;
    c.facts.version = "1.1"; /* the delta is not for this one */
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, newest);
    domain_done(&d);
}

static void opaque_goes_by_upload(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct decision dn;
    const char *sources[] = {"field-7"};

    domain_init(&d);
    d.type.scheme = VERSION_OPAQUE;
    domain_type_changed(&d);
    domain_firmware(&d, "zebra");
    int64_t apple = domain_firmware(&d, "apple");
    facts_init(&c, &d, "zebra");
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, apple);
    c.facts.version = "apple";
    run(&d, &c, &dn);
    assert_null(dn.firmware);
    c.facts.version = "field-7"; /* never uploaded: no place in the order */
    run(&d, &c, &dn);
    assert_null(dn.firmware);
    struct firmware fw = domain_firmware_of(&d, "mango", 10);
    fw.source_versions = sources;
    fw.n_sources = 1;
    store(&d, &fw);
    domain_firmware(&d, "cherry");
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, fw.id);
    domain_done(&d);
}

static void long_words_stay_valid(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct decision dn;
    char name[300];

    domain_init(&d);
    for (size_t i = 0; i + 3 < sizeof(name); i += 3)
        memcpy(name + i, "\xe7\x89\x88", 4);
    struct firmware fw = domain_firmware_of(&d, "2.0", 10);
    fw.hardware = json_pack("{s:s}", name, "A");
    store(&d, &fw);
    json_decref(fw.hardware);
    facts_init(&c, &d, "1.0");
    c.attributes = json_pack("{s:s}", name, name);
    run(&d, &c, &dn);
    assert_int_equal(dn.reason, REASON_HARDWARE_MISMATCH);
    assert_true(str_is_text(dn.rows[0].text, strlen(dn.rows[0].text)));
    assert_string_equal(dn.rows[0].params, "{}");
    json_decref(c.attributes);
    domain_done(&d);
}

/* What a delta of another module did says nothing of this one's. */
static void deltas_fail_by_module(void **state UNUSED)
{
    struct domain d;
    struct case_facts c;
    struct decision dn;
    const char *sources[] = {"1.0"};
    int64_t ids[2];

    domain_init(&d);
    domain_firmware(&d, "2.0");
    for (int i = 0; i < 2; i++) {
        struct firmware delta = domain_firmware_of(&d, "2.0", 10);

        delta.module = i ? "mcu" : "main";
        delta.source_versions = sources;
        delta.n_sources = 1;
        store(&d, &delta);
        ids[i] = delta.id;
    }
    facts_init(&c, &d, "1.0");
    struct past_attempt past = {ids[1], 1, T0 - HOUR, false};
    c.facts.past = &past;
    c.facts.n_past = 1;
    run(&d, &c, &dn);
    assert_int_equal(dn.firmware->id, ids[0]);
    domain_done(&d);
}

int test_decide(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule_1_device),
        cmocka_unit_test(rule_2_version_unknown),
        cmocka_unit_test(rules_3_to_6),
        cmocka_unit_test(other_types_and_modules_do_not_exist),
        cmocka_unit_test(rule_8_hardware),
        cmocka_unit_test(rule_9_minimums),
        cmocka_unit_test(rule_10_campaign_only),
        cmocka_unit_test(rule_11_attempts),
        cmocka_unit_test(rule_12_other_updates),
        cmocka_unit_test(rule_12_beside),
        cmocka_unit_test(the_highest_wins),
        cmocka_unit_test(of_equal_ones_delta_then_newest),
        cmocka_unit_test(opaque_goes_by_upload),
        cmocka_unit_test(long_words_stay_valid),
        cmocka_unit_test(deltas_fail_by_module),
    };

    return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
