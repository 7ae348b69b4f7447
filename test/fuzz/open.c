/* Fuzz target: decoding of what applications publish. Input: a byte that chooses the topic and
 * whether the user is known, then the payload. */
#include "dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const topics[] = {"open/PR_1/D/command_send", "open/PR_1/D/attributes_push"};
    struct open_message m;
    enum metric refused = M_BAD_TOPIC;

    if (size < 1)
        return 0;
    struct dialect_in in = {.topic = topics[data[0] % 2],
                            .user = data[0] & 2 ? NULL : "PR_1",
                            .payload = data + 1,
                            .n = size - 1};
    int rc = open_decode(&in, &m, &refused);
    if (rc == E_PROTO && refused == M_BAD_TOPIC)
        abort(); /* a refused message must name its counter */
    if (rc == 0 && (!str_eq(m.app, "PR_1") || !str_eq(m.device, "D")))
        abort();
    open_message_done(&m);
    return 0;
}
