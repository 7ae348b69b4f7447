/*
 * Bytes per second that answers share, on however many threads. Whoever wants to send takes a
 * place in a line: pieces stand in it one behind the other, each as long as it lasts at that rate,
 * and may leave when the line has come that far. So the sum holds by itself, everybody's turn comes
 * round, and nobody has to be told of anybody else. Who goes leaves its place unused.
 */
#include "internal.h"

enum {
    BURST_US = 250000, /* of an idle budget: so much may leave at once */
    PIECE_MIN = 1460,
    PIECE_MAX = 16 * 1024,
    LONG_US = 1000000, /* a line that is longer goes on in the smallest pieces */
};

struct http_budget {
    pthread_mutex_t lock; /* guards rate and next_us */
    uint64_t rate;
    int64_t next_us; /* the end of the line */
    _Atomic long refs;
};

struct http_budget *http_budget_new(uint64_t bytes_per_second)
{
    struct http_budget *b = xcalloc(1, sizeof(*b));

    pthread_mutex_init(&b->lock, NULL);
    b->rate = bytes_per_second ? bytes_per_second : 1;
    atomic_init(&b->refs, 1);
    return b;
}

struct http_budget *http_budget_ref(struct http_budget *b)
{
    atomic_fetch_add(&b->refs, 1);
    return b;
}

void http_budget_unref(struct http_budget *b)
{
    if (!b || atomic_fetch_sub(&b->refs, 1) > 1)
        return;
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void http_budget_set(struct http_budget *b, uint64_t bytes_per_second)
{
    pthread_mutex_lock(&b->lock);
    b->rate = bytes_per_second ? bytes_per_second : 1;
    pthread_mutex_unlock(&b->lock);
}

uint64_t budget_reserve(struct http_budget *b, uint64_t want, int64_t now_us, int64_t *ret_at_us)
{
    pthread_mutex_lock(&b->lock);
    uint64_t piece = b->rate / 8;
    if (piece < PIECE_MIN || b->next_us > now_us + LONG_US)
        piece = PIECE_MIN;
    if (piece > PIECE_MAX)
        piece = PIECE_MAX;
    if (piece > want)
        piece = want;
    if (b->next_us < now_us - BURST_US)
        b->next_us = now_us - BURST_US;
    *ret_at_us = b->next_us;
    b->next_us += (int64_t)((piece * 1000000 + b->rate - 1) / b->rate);
    pthread_mutex_unlock(&b->lock);
    return piece;
}
