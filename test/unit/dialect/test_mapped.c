/*
 * Golden files of foreign topics. up/NAME: what the type maps (JSON), the topic, the payload, and
 * after "---" the event. down/NAME: the kind of command, what the type maps, and after "---" the
 * topic and the bytes.
 */
#include "tests.h"

static const char *parse_topics(struct arena *a, const char *text, struct type_topics *ret)
{
    struct json_errors errs = {.count = 0};
    enum json_fault fault;
    AUTO(json_free) json_t *in = json_parse(text, strlen(text), 65536, 16, &fault, NULL);

    assert_non_null(in);
    int rc = type_topics_parse(in, a, ret, &errs);
    return rc < 0 ? arena_printf(a, "%s: %s", errs.list[0].pointer, errs.list[0].detail) : NULL;
}

/* The level of a topic where the pattern has {sn}. */
static struct str sn_of(const char *pattern, const char *topic)
{
    while (strncmp(pattern, "{sn}", 4) != 0) {
        pattern = strchr(pattern, '/') + 1;
        topic = strchr(topic, '/') + 1;
    }
    return (struct str){topic, strcspn(topic, "/")};
}

static char *next_line(char **at)
{
    char *line = *at, *eol = strchr(line, '\n');

    assert_non_null(eol);
    *eol = '\0';
    *at = eol + 1;
    return line;
}

static void up_one(const struct dialect *dialect, const char *name)
{
    struct arena a;
    struct type_topics topics;
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;
    struct sbuf got = {0};
    size_t n;

    arena_init(&a);
    char *at = slurp(&a, golden(&a, dialect, "up", name), &n);
    const char *wrong = parse_topics(&a, next_line(&at), &topics);
    if (wrong)
        fail_msg("%s: %s", name, wrong);
    struct dialect_in in = {.topic = next_line(&at), .payload = at};
    char *want = strstr(at, "---\n");
    assert_non_null(want);
    in.n = want == at ? 0 : (size_t)(want - at - 1);
    for (size_t i = 0; i < topics.n && !in.map; i++)
        if (topic_patterns_meet(topics.list[i].pattern, in.topic)) {
            in.map = &topics.list[i];
            in.sn = sn_of(in.map->pattern, in.topic);
        }
    int rc = dialect->decode(&in, &a, &evs, &refused);
    render(&got, rc, &evs, refused);
    if (strcmp(got.p, want + 4) != 0)
        fail_msg("%s:\n got  %s want %s", name, got.p, want + 4);
    device_events_done(&evs);
    sbuf_done(&got);
    arena_done(&a);
}

static void test_up(void **state)
{
    (void)state;
    assert_true(golden_each(&dialect_mapped, "up", up_one) >= 15);
}

static struct device_command command_named(const char *kind, struct offer_file *file,
                                           json_t *attributes)
{
    static const struct {
        const char *name;
        enum command_kind kind;
    } kinds[] = {{"offer", COMMAND_OFFER},
                 {"nothing", COMMAND_NOTHING},
                 {"attributes", COMMAND_ATTRIBUTES},
                 {"attributes-response", COMMAND_REPORT_RESPONSE},
                 {"event-response", COMMAND_METHOD_RESPONSE},
                 {"reply-response", COMMAND_REPLY_RESPONSE},
                 {"reboot", COMMAND_SEND},
                 {"attributes-push", COMMAND_PUSH_ATTRIBUTES}};
    struct device_command cmd = {.device = STR("DU_1"),
                                 .module = "main",
                                 .version = "1.1.5",
                                 .id = 98310,
                                 .files = file,
                                 .n_files = 1,
                                 .command_name = "OTA升级",
                                 .attributes = attributes,
                                 .method = "reboot",
                                 .sn = STR("SN-1"),
                                 .now_ms = 1700000000000};
    size_t i = 0;

    while (strcmp(kinds[i].name, kind) != 0)
        assert_true(++i < ARRAY_LEN(kinds));
    cmd.kind = kinds[i].kind;
    return cmd;
}

static void down_one(const struct dialect *dialect, const char *name)
{
    struct offer_file file = {"xxx.bin", "http://xxx.com/d/AAAAZAF/xxx.bin", 1363713,
                              "481701fa4093499eacd05b57bebc7ffc",
                              "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"};
    AUTO(json_free) json_t *attributes = json_pack("{s:b}", "switch", 0);
    struct arena a;
    struct type_topics topics;
    struct dialect_out out;
    struct sbuf got = {0};
    size_t n;

    arena_init(&a);
    char *at = slurp(&a, golden(&a, dialect, "down", name), &n);
    struct device_command cmd = command_named(next_line(&at), &file, attributes);
    const char *wrong = parse_topics(&a, next_line(&at), &topics);
    if (wrong)
        fail_msg("%s: %s", name, wrong);
    assert_string_equal(next_line(&at), "---");
    cmd.topics = &topics;
    int rc = dialect->encode(&cmd, &a, &out);
    if (rc == E_UNSUPPORTED)
        sbuf_str(&got, "nothing is sent\n");
    else
        sbuf_fmt(&got, "%s\n%s\n", out.topic, out.payload.p);
    if (strcmp(got.p, at) != 0)
        fail_msg("%s:\n got  %s want %s", name, got.p, at);
    sbuf_done(&got);
    arena_done(&a);
}

static void test_down(void **state)
{
    (void)state;
    assert_true(golden_each(&dialect_mapped, "down", down_one) >= 8);
}

/* A device behind a gateway is spoken of by that, and one without topics by its key. */
static void test_without_topics(void **state)
{
    struct device_command cmd = {.kind = COMMAND_SEND, .device = STR("D"), .id = 1, .method = "m"};
    struct dialect_out out;
    struct arena a;

    (void)state;
    arena_init(&a);
    assert_int_equal(dialect_mapped.encode(&cmd, &a, &out), 0);
    assert_string_equal(out.topic, "command_send/D");
    assert_ptr_equal(dialect_named("mapped"), &dialect_mapped);
    assert_ptr_equal(dialect_named(""), &dialect_eztcloud);
    assert_ptr_equal(dialect_named("gone"), &dialect_eztcloud);
    arena_done(&a);
}

int run_mapped_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_up),
        cmocka_unit_test(test_down),
        cmocka_unit_test(test_without_topics),
    };
    return cmocka_run_group_tests_name("mapped", tests, NULL, NULL);
}
