/* Fuzz target: decoding of the eztcloud dialect. Input: the topic, a NUL or newline, the payload.
 */
#include "dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const topics[] = {
        "attributes/D",           "attributes_get/D",         "event_report/D",
        "command_reply/D",        "gateway_connect/D",        "gateway_attributes/D",
        "gateway_event_report/D", "gateway_attributes_get/D", "gateway_command_reply/D",
        "sub_disconnect/D",       "sub_attributes/D",         "sub_event_report/D",
        "sub_attributes_get/D",   "sub_command_reply/D"};
    struct arena a;
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;

    if (size < 1)
        return 0;
    arena_init(&a);
    struct dialect_in in = {
        .topic = topics[data[0] % ARRAY_LEN(topics)], .payload = data + 1, .n = size - 1};
    int rc = dialect_eztcloud.decode(&in, &a, &evs, &refused);
    if (rc == E_PROTO && refused == M_BAD_TOPIC)
        abort(); /* a refused message must name its counter */
    for (size_t i = 0; rc == 0 && i < evs.n; i++)
        if (evs.n > DIALECT_EVENTS_MAX || evs.list[i].n_path > DEVICE_DEPTH_MAX ||
            (evs.list[i].n_path == 0) != (evs.list[i].form == FORM_DIRECT))
            abort();
    device_events_done(&evs);
    arena_done(&a);
    return 0;
}
