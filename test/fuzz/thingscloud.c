/* Fuzz target: decoding of the thingscloud dialect. Input: a byte that chooses the topic and, by
 * its highest bit, whether the user is known, then the payload. */
#include "dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const topics[] = {"attributes",           "attributes/get/1",
                                         "event/report/x",       "command/reply/1000",
                                         "gateway/connect",      "gateway/disconnect",
                                         "gateway/attributes",   "gateway/attributes/get",
                                         "gateway/event/report", "gateway/command/reply",
                                         "attributes/series",    "gateway/attributes/series"};
    struct arena a;
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;

    if (size < 1)
        return 0;
    struct dialect_in in = {.topic = topics[(data[0] & 127) % ARRAY_LEN(topics)],
                            .user = data[0] & 128 ? NULL : "D",
                            .payload = data + 1,
                            .n = size - 1};
    arena_init(&a);
    int rc = dialect_thingscloud.decode(&in, &a, &evs, &refused);
    if (rc == E_PROTO && refused == M_BAD_TOPIC)
        abort(); /* a refused message must name its counter */
    for (size_t i = 0; rc == 0 && i < evs.n; i++) {
        if (evs.list[i].times &&
            json_object_size(evs.list[i].times) != json_object_size(evs.list[i].body))
            abort(); /* each value has its time */
        if (evs.n > DIALECT_EVENTS_MAX || evs.list[i].n_path > 1 ||
            (evs.list[i].n_path == 0) != (evs.list[i].form == FORM_DIRECT))
            abort();
    }
    device_events_done(&evs);
    arena_done(&a);
    return 0;
}
