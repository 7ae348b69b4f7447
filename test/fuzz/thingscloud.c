/* Fuzz target: decoding of the thingscloud dialect. Input: a byte that chooses the topic and
 * whether the user is known, then the payload. */
#include "dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const topics[] = {"attributes", "attributes/get/1", "event/report/x",
                                         "command/reply/1000"};
    struct arena a;
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;

    if (size < 1)
        return 0;
    struct dialect_in in = {topics[data[0] % 4], data[0] & 4 ? NULL : "D", data + 1, size - 1};
    arena_init(&a);
    int rc = dialect_thingscloud.decode(&in, &a, &evs, &refused);
    if (rc == E_PROTO && refused == M_BAD_TOPIC)
        abort(); /* a refused message must name its counter */
    if (rc == 0 && (evs.n != 1 || evs.list[0].form != FORM_DIRECT))
        abort();
    device_events_done(&evs);
    arena_done(&a);
    return 0;
}
