/*
 * Our own publishes that wait for their PUBACK. The library numbers messages with 16 bits and
 * does not look whether a number is in use, and QoS 0 messages use numbers up too: so not only
 * the count is bounded, also the distance from the oldest one waiting to the next number.
 * Brokers acknowledge in order, so the oldest is nearly always the one that goes.
 */
#include "internal.h"

#define SPAN_MAX 65000 /* below 65,535 numbers, with room for those of SUBSCRIBE */

static struct inflight_slot *at(const struct inflight *f, size_t i)
{
    return &f->ring[(f->head + i) & (f->cap - 1)];
}

bool inflight_full(const struct inflight *f, uint32_t seq)
{
    if (f->count >= IN_FLIGHT_MAX)
        return true;
    return f->count > 0 && seq - at(f, 0)->seq >= SPAN_MAX;
}

static void grow(struct inflight *f)
{
    size_t cap = f->cap ? f->cap * 2 : 4;
    struct inflight_slot *ring = xcalloc(cap, sizeof(*ring));
    for (size_t i = 0; i < f->span; i++)
        ring[i] = *at(f, i);
    free(f->ring);
    f->ring = ring;
    f->cap = cap;
    f->head = 0;
}

void inflight_add(struct inflight *f, uint32_t seq, uint16_t mid)
{
    if (f->span == f->cap)
        grow(f);
    *at(f, f->span) = (struct inflight_slot){.seq = seq, .mid = mid};
    f->span++;
    f->count++;
}

bool inflight_del(struct inflight *f, uint16_t mid)
{
    size_t i = 0;
    while (i < f->span && at(f, i)->mid != mid)
        i++;
    if (i == f->span)
        return false;
    at(f, i)->mid = 0;
    f->count--;
    while (f->span > 0 && at(f, 0)->mid == 0) {
        f->head = (f->head + 1) & (f->cap - 1);
        f->span--;
    }
    return true;
}

void inflight_done(struct inflight *f)
{
    free(f->ring);
    *f = (struct inflight){0};
}
