/* Fuzz target: foreign topics. Input: what a type maps (JSON), a NUL, then a payload, which comes
 * on each of its topics; a command goes down by it too. */
#include "dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void up(const struct type_topic *t, const uint8_t *payload, size_t n)
{
    struct arena a;
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;

    arena_init(&a);
    struct dialect_in in = {.topic = topic_with_sn(t->pattern, str_of("SN"), &a),
                            .payload = payload,
                            .n = n,
                            .map = t,
                            .sn = STR("SN")};
    int rc = dialect_mapped.decode(&in, &a, &evs, &refused);
    if (rc == E_PROTO && refused == M_BAD_TOPIC)
        abort(); /* a refused message must name its counter */
    if (rc == 0 && (evs.n != 1 || !str_eq(evs.list[0].sn, "SN")))
        abort();
    device_events_done(&evs);
    arena_done(&a);
}

static void down(const struct type_topics *topics, enum command_kind kind)
{
    struct offer_file file = {"f", "http://h/f", 1, "m", "s"};
    struct device_command cmd = {.kind = kind,
                                 .device = STR("D"),
                                 .topics = topics,
                                 .sn = STR("SN"),
                                 .module = "main",
                                 .version = "1",
                                 .files = &file,
                                 .n_files = 1,
                                 .command_name = "x",
                                 .method = "reboot"};
    struct dialect_out out;
    struct arena a;

    arena_init(&a);
    if (dialect_mapped.encode(&cmd, &a, &out) == 0 && strlen(out.payload.p) != out.payload.n)
        abort();
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, 0, size);
    size_t n = nul ? (size_t)(nul - data) : size;
    struct json_errors errs = {.count = 0};
    struct type_topics topics;
    enum json_fault fault;
    struct arena a;

    AUTO(json_free) json_t *in = json_parse((const char *)data, n, 65536, 16, &fault, NULL);
    if (!json_is_array(in))
        return 0;
    arena_init(&a);
    int rc = type_topics_parse(in, &a, &topics, &errs);
    if ((rc < 0) != (errs.count > 0))
        abort();
    for (size_t i = 0; rc == 0 && i < topics.n; i++)
        if (!topic_is_down(topics.list[i].as))
            up(&topics.list[i], nul ? nul + 1 : data, nul ? size - n - 1 : 0);
    if (rc == 0) {
        down(&topics, COMMAND_OFFER);
        down(&topics, COMMAND_NOTHING);
        down(&topics, COMMAND_SEND);
    }
    arena_done(&a);
    return 0;
}
