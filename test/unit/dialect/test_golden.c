/*
 * Golden files of the dialects. test/golden/DIALECT/up/NAME holds a topic, where the dialect
 * needs it the user, the payload and after a line "---" the event as text; down/NAME holds the
 * topic and the bytes of a command that this file builds. GOLDEN_DIR can name another place.
 */
#include "test_open.h"
#include "tests.h"

#include <dirent.h>

const char *golden(struct arena *a, const struct dialect *dialect, const char *part,
                   const char *name)
{
    const char *dir = getenv("GOLDEN_DIR");
    return arena_printf(a, "%s/%s/%s/%s", dir ? dir : "test/golden", dialect->name, part, name);
}

char *slurp(struct arena *a, const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "re");
    char *p = arena_alloc(a, 262144);
    if (!f)
        fail_msg("no golden file %s", path);
    *ret_n = fread(p, 1, 262143, f);
    (void)fclose(f);
    return p;
}

static const char *metric_word(enum metric m)
{
    switch ((int)m) {
    case M_BAD_JSON:
        return "not_json";
    case M_BAD_DUPLICATE_KEY:
        return "duplicate_key";
    case M_BAD_DEPTH:
        return "too_deep";
    case M_BAD_LENGTH:
        return "too_long";
    case M_BAD_TYPE:
        return "wrong_type";
    case M_BAD_IDENTITY:
        return "no_identity";
    default:
        return "?";
    }
}

static void render_address(struct sbuf *b, const struct device_event *ev)
{
    static const char *const names[] = {"", " gateway", " sub"};

    sbuf_fmt(b, " device=%.*s", (int)ev->device.n, ev->device.p);
    if (ev->form == FORM_DIRECT)
        return;
    sbuf_fmt(b, "%s%s=", names[ev->form], ev->as_list ? "[]" : "");
    for (size_t i = 0; i < ev->n_path; i++)
        sbuf_fmt(b, "%s%s", i ? "/" : "", ev->path[i]);
    if (ev->product)
        sbuf_fmt(b, " product=%s", ev->product);
}

static void render_one(struct sbuf *b, const struct device_event *ev)
{
    static const char *const kinds[] = {"report", "attributes_get", "method",
                                        "reply",  "online",         "offline"};
    static const char *const results[] = {"received", "downloaded", "installed", "failed"};

    sbuf_str(b, kinds[ev->kind]);
    render_address(b, ev);
    if (ev->ref.n)
        sbuf_fmt(b, " ref=%.*s", (int)ev->ref.n, ev->ref.p);
    if (ev->method)
        sbuf_fmt(b, " method=%s", ev->method);
    if (ev->has_id)
        sbuf_fmt(b, " id=%lld", (long long)ev->id);
    for (size_t i = 0; i < ev->n_keys; i++)
        sbuf_fmt(b, " key=%s", ev->keys[i]);
    if (ev->kind == EVENT_REPLY)
        sbuf_fmt(b, " result=%s", results[ev->result]);
    if (ev->text)
        sbuf_fmt(b, " text=%s", ev->text);
    if (ev->body) {
        sbuf_str(b, " body=");
        json_add_text(b, ev->body);
    }
    if (ev->times) {
        sbuf_str(b, " times=");
        json_add_text(b, ev->times);
    }
    sbuf_str(b, "\n");
}

void render(struct sbuf *b, int rc, const struct device_events *evs, enum metric refused)
{
    if (rc == E_NOTFOUND) {
        sbuf_str(b, "not a topic of this dialect\n");
        return;
    }
    if (rc < 0) {
        sbuf_fmt(b, "refused %s\n", metric_word(refused));
        return;
    }
    for (size_t i = 0; i < evs->n; i++)
        render_one(b, &evs->list[i]);
    if (evs->n == 0)
        sbuf_str(b, "nothing\n");
}

static void up_one(const struct dialect *dialect, const char *name)
{
    struct arena a;
    struct sbuf got = {0};
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;
    size_t n;

    arena_init(&a);
    char *topic = slurp(&a, golden(&a, dialect, "up", name), &n);
    char *payload = strchr(topic, '\n');
    assert_non_null(payload);
    *payload++ = '\0';
    const char *user = NULL;
    if (dialect == &dialect_thingscloud) {
        user = payload;
        payload = strchr(payload, '\n');
        assert_non_null(payload);
        *payload++ = '\0';
    }
    char *want = strstr(payload, "\n---\n");
    assert_non_null(want);
    *want = '\0';
    struct dialect_in in = {
        .topic = topic, .user = user, .payload = payload, .n = (size_t)(want - payload)};
    int rc = dialect->decode(&in, &a, &evs, &refused);
    render(&got, rc, &evs, refused);
    if (strcmp(got.p, want + 5) != 0)
        fail_msg("%s:\n got  %s want %s", name, got.p, want + 5);
    device_events_done(&evs);
    sbuf_done(&got);
    arena_done(&a);
}

unsigned golden_each(const struct dialect *dialect, const char *part,
                     void (*one)(const struct dialect *dialect, const char *name))
{
    struct arena a;
    struct dirent *e;
    unsigned n = 0;

    arena_init(&a);
    DIR *d = opendir(golden(&a, dialect, part, ""));
    assert_non_null(d);
    while ((e = readdir(d)))
        if (e->d_name[0] != '.') {
            one(dialect, e->d_name);
            n++;
        }
    (void)closedir(d);
    arena_done(&a);
    return n;
}

static void test_up(void **state)
{
    (void)state;
    assert_true(golden_each(&dialect_eztcloud, "up", up_one) >= 60);
    assert_true(golden_each(&dialect_thingscloud, "up", up_one) >= 35);
}

/* attributes/series: EZtCloud's device of that name, or any device of ThingsCloud. */
static void test_series_of_whom(void **state)
{
    static const struct {
        const char *user;
        bool eztcloud, thingscloud;
    } who[] = {{NULL, true, false}, {"series", true, true}, {"TC_1", false, true}};
    struct arena a;

    (void)state;
    arena_init(&a);
    for (size_t i = 0; i < ARRAY_LEN(who); i++) {
        struct dialect_in in = {
            .topic = "attributes/series", .user = who[i].user, .payload = "{}", .n = 2};
        enum metric refused = M_BAD_TOPIC;
        struct device_events evs;

        assert_int_equal(dialect_eztcloud.decode(&in, &a, &evs, &refused),
                         who[i].eztcloud ? 0 : E_NOTFOUND);
        device_events_done(&evs);
        assert_int_equal(dialect_thingscloud.decode(&in, &a, &evs, &refused),
                         who[i].thingscloud ? 0 : E_PROTO);
        device_events_done(&evs);
    }
    arena_done(&a);
}

/* Sizes and nesting beyond the bounds are made here rather than stored. */
static void test_bounds(void **state)
{
    struct arena a;
    struct device_events evs;
    enum metric refused;
    struct sbuf b = {0};

    (void)state;
    arena_init(&a);
    sbuf_str(&b, "{\"a\":\"");
    while (b.n < DIALECT_PAYLOAD_MAX)
        sbuf_str(&b, "0123456789abcdef");
    sbuf_str(&b, "\"}");
    assert_int_equal(dialect_eztcloud.decode(
                         &(struct dialect_in){.topic = "attributes/D", .payload = b.p, .n = b.n},
                         &a, &evs, &refused),
                     E_PROTO);
    assert_int_equal(refused, M_BAD_LENGTH);
    device_events_done(&evs);
    sbuf_done(&b);

    for (int i = 0; i < DIALECT_DEPTH_MAX + 1; i++)
        sbuf_str(&b, "{\"a\":");
    sbuf_str(&b, "1");
    for (int i = 0; i < DIALECT_DEPTH_MAX + 1; i++)
        sbuf_str(&b, "}");
    assert_int_equal(dialect_eztcloud.decode(
                         &(struct dialect_in){.topic = "attributes/D", .payload = b.p, .n = b.n},
                         &a, &evs, &refused),
                     E_PROTO);
    assert_int_equal(refused, M_BAD_DEPTH);
    device_events_done(&evs);
    sbuf_done(&b);
    arena_done(&a);
}

static void down_of(const struct dialect *dialect, const char *name,
                    const struct device_command *cmd)
{
    struct arena a;
    struct dialect_out out;
    struct sbuf got = {0};
    size_t n;

    arena_init(&a);
    assert_int_equal(dialect->encode(cmd, &a, &out), 0);
    assert_int_equal(strlen(out.payload.p), out.payload.n);
    sbuf_fmt(&got, "%s\n%s\n", out.topic, out.payload.p);
    const char *want = slurp(&a, golden(&a, dialect, "down", name), &n);
    if (strcmp(got.p, want) != 0)
        fail_msg("%s:\n got  %s want %s", name, got.p, want);
    sbuf_done(&got);
    arena_done(&a);
}

static void down_one(const char *name, const struct device_command *cmd)
{
    down_of(&dialect_eztcloud, name, cmd);
    down_of(&dialect_thingscloud, name, cmd);
}

static void is_unsupported(const struct dialect *dialect, const struct device_command *cmd)
{
    struct arena a;
    struct dialect_out out;

    arena_init(&a);
    assert_int_equal(dialect->encode(cmd, &a, &out), E_UNSUPPORTED);
    arena_done(&a);
}

#define MD5_TEXT    "481701fa4093499eacd05b57bebc7ffc"
#define SHA256_TEXT "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

static void test_down(void **state)
{
    struct offer_file files[2] = {
        {"xxx.bin", "http://xxx.com/d/AAAAZAF/xxx.bin", 1363713, MD5_TEXT, SHA256_TEXT},
        {"b \"q\".img", "http://xxx.com/d/AAAAZAI/b_q_.img", 12, MD5_TEXT, SHA256_TEXT},
    };
    struct device_command offer = {
        .kind = COMMAND_OFFER,
        .device = STR("DU_abcdefghij"),
        .module = "main",
        .version = "1.1.5",
        .id = 98310,
        .files = files,
        .n_files = 1,
        .command_name = "OTA升级",
    };
    struct device_command nothing = {
        .kind = COMMAND_NOTHING,
        .device = STR("DU_abcdefghij"),
        .module = "mcu",
        .command_name = "OTA升级",
    };
    AUTO(json_free) json_t *attributes = json_pack("{s:i,s:s}", "a", 1, "版本", "1.0");
    struct device_command get = {
        .kind = COMMAND_ATTRIBUTES,
        .device = STR("D1"),
        .ref = STR("12"),
        .attributes = attributes,
        .now_ms = 1700000000000,
    };
    struct device_command receipt = {
        .kind = COMMAND_REPORT_RESPONSE,
        .device = STR("D1"),
        .now_ms = 1700000000000,
    };

    (void)state;
    down_one("offer", &offer);
    offer.n_files = 2;
    down_one("offer-two-files", &offer);
    down_one("nothing", &nothing);
    down_one("attributes", &get);
    down_one("attributes-response", &receipt);
    receipt.kind = COMMAND_METHOD_RESPONSE;
    receipt.ref = STR("e9");
    receipt.error_code = -1;
    receipt.error_text = "no";
    down_one("event-response-error", &receipt);

    receipt = (struct device_command){.kind = COMMAND_REPLY_RESPONSE,
                                      .device = STR("D1"),
                                      .ref = STR("1000"),
                                      .now_ms = 1700000000000};
    down_of(&dialect_thingscloud, "reply-response", &receipt);
    struct device_command series = {.kind = COMMAND_REPORT_RESPONSE,
                                    .device = STR("D1"),
                                    .series = true,
                                    .now_ms = 1700000000000};
    down_of(&dialect_thingscloud, "series-response", &series);
    series.form = FORM_GATEWAY;
    down_of(&dialect_thingscloud, "gateway-series-response", &series);
    is_unsupported(&dialect_eztcloud, &receipt);
    is_unsupported(&dialect_mapped, &receipt);
    receipt.form = FORM_GATEWAY;
    is_unsupported(&dialect_thingscloud, &receipt);

    AUTO(json_free) json_t *params = json_pack("{s:i}", "键", 1);
    struct device_command any = {
        .kind = COMMAND_SEND,
        .device = STR("D1"),
        .id = 98311,
        .method = "set",
        .params = params,
    };
    down_one("command", &any);
    any.params = NULL;
    down_one("command-without-params", &any);
    get.kind = COMMAND_PUSH_ATTRIBUTES;
    down_one("attributes-push", &get);
}

/* Every command to a device behind a gateway, in each form. */
static void test_down_behind(void **state)
{
    struct offer_file file = {"xxx.bin", "http://xxx.com/d/AAAAZAF/xxx.bin", 1363713, MD5_TEXT,
                              SHA256_TEXT};
    const char *path[] = {"A \"1\"", "温度"};
    static const struct {
        const char *name;
        enum address_form form;
        bool as_list;
        size_t n_path;
    } forms[] = {
        {"gateway", FORM_GATEWAY, false, 1},
        {"gateway-list", FORM_GATEWAY, true, 1},
        {"sub", FORM_SUB, true, 2},
        {"sub-text", FORM_SUB, false, 1},
    };
    static const struct {
        const char *name;
        enum command_kind kind;
    } kinds[] = {
        {"offer", COMMAND_OFFER},
        {"nothing", COMMAND_NOTHING},
        {"attributes", COMMAND_ATTRIBUTES},
        {"event-response", COMMAND_METHOD_RESPONSE},
        {"attributes-push", COMMAND_PUSH_ATTRIBUTES},
        {"attributes-response", COMMAND_REPORT_RESPONSE},
    };
    AUTO(json_free) json_t *attributes = json_pack("{s:b}", "switch", 0);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            bool one_for_all = kinds[k].kind == COMMAND_REPORT_RESPONSE;
            struct device_command cmd = {
                .kind = kinds[k].kind,
                .device = STR("DU_gateway001"),
                .path = path,
                .n_path = one_for_all ? 0 : forms[i].n_path,
                .form = forms[i].form,
                .as_list = forms[i].as_list,
                .module = "main",
                .version = "1.1.5",
                .id = kinds[k].kind == COMMAND_OFFER ? 98518 : 0,
                .files = &file,
                .n_files = 1,
                .command_name = "OTA升级",
                .attributes = attributes,
                .now_ms = 1700000000000,
            };
            char name[64];

            (void)snprintf(name, sizeof(name), "%s-%s", forms[i].name, kinds[k].name);
            down_of(&dialect_eztcloud, name, &cmd);
            if (cmd.n_path > 1)
                is_unsupported(&dialect_thingscloud, &cmd);
            else
                down_of(&dialect_thingscloud, name, &cmd);
        }
}

/* More devices, deeper paths and longer addresses than one message may hold. */
static void refused_as_too_long(const char *topic, const struct sbuf *b)
{
    struct arena a;
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;

    arena_init(&a);
    assert_int_equal(
        dialect_eztcloud.decode(&(struct dialect_in){.topic = topic, .payload = b->p, .n = b->n},
                                &a, &evs, &refused),
        E_PROTO);
    assert_int_equal(refused, M_BAD_LENGTH);
    device_events_done(&evs);
    arena_done(&a);
}

static void test_bounds_behind(void **state)
{
    struct arena a;
    struct device_events evs;
    enum metric refused;
    struct sbuf b = {0};

    (void)state;
    arena_init(&a);
    for (int n = DIALECT_EVENTS_MAX; n <= DIALECT_EVENTS_MAX + 1; n++) {
        for (int form = 0; form < 3; form++) {
            const char *topic = form == 0 ? "gateway_attributes/G" : "sub_attributes/G";
            sbuf_str(&b, form == 2 ? "[" : "{");
            for (int i = 0; i < n; i++) {
                sbuf_str(&b, i ? "," : "");
                if (form == 0)
                    sbuf_fmt(&b, "\"A%d\":{\"t\":1}", i);
                else if (form == 1)
                    sbuf_fmt(&b, "\"A%d\":{\"attributes\":{}}", i);
                else
                    sbuf_fmt(&b, "{\"device\":[\"A%d\"],\"attributes\":{}}", i);
            }
            sbuf_str(&b, form == 2 ? "]" : "}");
            if (n > DIALECT_EVENTS_MAX) {
                refused_as_too_long(topic, &b);
            } else {
                assert_int_equal(dialect_eztcloud.decode(
                                     &(struct dialect_in){.topic = topic, .payload = b.p, .n = b.n},
                                     &a, &evs, &refused),
                                 0);
                assert_int_equal(evs.n, n);
                assert_string_equal(evs.list[n - 1].path[0], "A255");
                device_events_done(&evs);
            }
            sbuf_done(&b);
        }
    }
    for (int depth = DEVICE_DEPTH_MAX; depth <= DEVICE_DEPTH_MAX + 1; depth++) {
        for (int i = 1; i < depth; i++)
            sbuf_fmt(&b, "{\"L%d\":{\"sub\":", i);
        sbuf_fmt(&b, "{\"L%d\":{\"attributes\":{\"deep\":{\"er\":[1]}}}}", depth);
        for (int i = 1; i < depth; i++)
            sbuf_str(&b, "}}");
        if (depth > DEVICE_DEPTH_MAX) {
            refused_as_too_long("sub_attributes/G", &b);
        } else {
            assert_int_equal(
                dialect_eztcloud.decode(
                    &(struct dialect_in){.topic = "sub_attributes/G", .payload = b.p, .n = b.n}, &a,
                    &evs, &refused),
                0);
            assert_int_equal(evs.n, 1);
            assert_int_equal(evs.list[0].n_path, DEVICE_DEPTH_MAX);
            device_events_done(&evs);
        }
        sbuf_done(&b);
    }
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_up),          cmocka_unit_test(test_series_of_whom),
        cmocka_unit_test(test_bounds),      cmocka_unit_test(test_down),
        cmocka_unit_test(test_down_behind), cmocka_unit_test(test_bounds_behind),
        cmocka_unit_test(test_open_up),     cmocka_unit_test(test_open_down),
        cmocka_unit_test(test_open_bounds),
    };
    json_setup();
    return cmocka_run_group_tests_name("dialect", tests, NULL, NULL) + run_mapped_tests();
}
