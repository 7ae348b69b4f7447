/*
 * A histogram of latencies: 64 linear steps in each power of two of microseconds, so that a
 * quantile is wrong by less than 2 % at any scale, and adding costs a few instructions.
 */
#include "sim.h"

static size_t bucket_of(uint64_t us)
{
    if (us < HIST_SUB)
        return us;
    unsigned shift = 63U - (unsigned)__builtin_clzll(us) - 6U; /* us >> shift is 64..127 */
    size_t i = (size_t)(shift + 1) * HIST_SUB + (size_t)((us >> shift) - HIST_SUB);
    return i < HIST_BUCKETS ? i : HIST_BUCKETS - 1;
}

/* The middle of a bucket. */
static double bucket_us(size_t i)
{
    if (i < HIST_SUB)
        return (double)i;
    unsigned shift = (unsigned)(i / HIST_SUB) - 1U;
    uint64_t low = (uint64_t)(HIST_SUB + i % HIST_SUB) << shift;
    return (double)low + (double)(1ULL << shift) / 2;
}

void hist_add(struct hist *h, int64_t us)
{
    uint64_t v = us > 0 ? (uint64_t)us : 0;

    h->count++;
    h->sum_us += v;
    if (v > h->max_us)
        h->max_us = v;
    h->bucket[bucket_of(v)]++;
}

double hist_ms(const struct hist *h, double quantile)
{
    uint64_t seen = 0, rank = (uint64_t)((double)h->count * quantile);

    if (h->count == 0)
        return 0;
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen > rank)
            return bucket_us(i) / 1000;
    }
    return (double)h->max_us / 1000;
}

void hist_json(const struct hist *h, struct sbuf *out)
{
    double mean = h->count ? (double)h->sum_us / (double)h->count / 1000 : 0;

    sbuf_fmt(out,
             "\"count\":%llu,\"mean_ms\":%.3f,\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,"
             "\"max_ms\":%.3f",
             (unsigned long long)h->count, mean, hist_ms(h, 0.5), hist_ms(h, 0.9), hist_ms(h, 0.99),
             (double)h->max_us / 1000);
}
