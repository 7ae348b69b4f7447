/* Fuzz target: decoding of the eztcloud dialect. Input: the topic, a NUL or newline, the payload.
 */
#include "dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const topics[] = {"attributes/D", "attributes_get/D", "event_report/D",
                                         "command_reply/D"};
    struct arena a;
    struct device_event ev;
    enum metric refused = M_BAD_TOPIC;

    if (size < 1)
        return 0;
    arena_init(&a);
    int rc = dialect_eztcloud.decode(
        &(struct dialect_in){topics[data[0] % 4], NULL, data + 1, size - 1}, &a, &ev, &refused);
    if (rc == E_PROTO && refused == M_BAD_TOPIC)
        abort(); /* a refused message must name its counter */
    device_event_done(&ev);
    arena_done(&a);
    return 0;
}
