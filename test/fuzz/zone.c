/* Fuzz target: a time zone file of any bytes. What is taken answers for any instant. */
#include "task.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t instants[] = {-62000000000, -1, 0, 1709000000, 4102444800, 250000000000};
    struct zone *z;

    if (zone_parse(data, size, &z) < 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(instants); i++) {
        int32_t off = zone_offset(z, instants[i]);
        int64_t back = zone_instant(z, instants[i] + off);
        if (back > instants[i])
            abort();
    }
    zone_free(z);
    return 0;
}
