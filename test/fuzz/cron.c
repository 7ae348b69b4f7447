/* Fuzz target: the five fields of a cron schedule. What is taken matches some minute and hour, and
 * its next instant is strictly later; what is refused says why. */
#include "task.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct zone *zone;
    struct schedule s = {.kind = SCHEDULE_CRON};
    struct fail f = {0};
    char text[300];

    if (size >= sizeof(text) || memchr(data, 0, size))
        return 0;
    if (!zone && zone_load("America/New_York", &zone) < 0)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    if (cron_parse(text, &s.pattern, &f) < 0) {
        if (!f.text[0])
            abort();
        return 0;
    }
    if (!s.pattern.minutes || !s.pattern.hours || !s.pattern.days || !s.pattern.months ||
        !s.pattern.weekdays || s.pattern.minutes >> 60 || s.pattern.hours >> 24 ||
        s.pattern.weekdays >> 7 || s.pattern.months >> 13 || s.pattern.months & 1)
        abort();
    int64_t t = 1709000000000;
    for (int i = 0; i < 5 && t; i++) {
        int64_t next = schedule_next(&s, zone, t);
        if (next && next <= t)
            abort();
        t = next;
    }
    return 0;
}
