/*
 * Which device fails, and how: chosen by a hash of the seed and the key alone, so that anybody
 * can say beforehand which devices will. No state.
 */
#include "rehearse.h"

#include <math.h>

static const char *const names[FAULT__COUNT] = {
    [FAULT_NONE] = "none",         [FAULT_CUT] = "cut",       [FAULT_CHECKSUM] = "checksum",
    [FAULT_ROLLBACK] = "rollback", [FAULT_SILENT] = "silent", [FAULT_SUSPECT] = "suspect",
    [FAULT_SLOW] = "slow",
};

const char *fault_name(enum fault f)
{
    return names[f];
}

static int wrong(const char *text, const char *why)
{
    fprintf(stderr,
            "otasim rehearse: --fail %s: %s; it is KIND=PERCENT, KIND one of cut, checksum, "
            "rollback, silent, suspect, slow, and all together 100 at most\n",
            text, why);
    return SIM_USAGE;
}

int fault_option(const char *text, int64_t shares[FAULT__COUNT])
{
    const char *equals = strchr(text, '=');
    int64_t sum = 0;
    char *end;
    int kind = 1;

    if (!equals)
        return wrong(text, "no =");
    while (kind < FAULT__COUNT && (strlen(names[kind]) != (size_t)(equals - text) ||
                                   strncmp(names[kind], text, strlen(names[kind])) != 0))
        kind++;
    if (kind == FAULT__COUNT)
        return wrong(text, "there is no such kind");
    double percent = strtod(equals + 1, &end);
    if (end == equals + 1 || *end || !isfinite(percent) || percent < 0 || percent > 100)
        return wrong(text, "that is no percentage");
    shares[kind] = (int64_t)llround(percent * FAULT_SHARES / 100);
    for (int i = 1; i < FAULT__COUNT; i++)
        sum += shares[i];
    return sum > FAULT_SHARES ? wrong(text, "that makes more than 100") : SIM_OK;
}

enum fault fault_of(const char *seed, const char *key, const int64_t shares[FAULT__COUNT])
{
    uint8_t sum[SHA256_SIZE];
    char text[400];
    int64_t at, edge = 0;

    (void)str_fmt(text, sizeof(text), "%s/%s", seed, key);
    crypto_sha256(text, strlen(text), sum);
    at = (int64_t)(((uint32_t)sum[0] << 24 | (uint32_t)sum[1] << 16 | (uint32_t)sum[2] << 8 |
                    sum[3]) %
                   FAULT_SHARES);
    for (int i = 1; i < FAULT__COUNT; i++) {
        edge += shares[i];
        if (at < edge)
            return (enum fault)i;
    }
    return FAULT_NONE;
}
