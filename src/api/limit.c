/*
 * Failures per address: a token bucket for each address that failed lately, in a bounded table
 * that all http threads share. When the table is full the bucket that is fullest again (and so
 * matters least) makes room. Not a limit on requests in general.
 */
#include "priv.h"

#include <arpa/inet.h>

enum { SLOTS = 4096, PROBE = 8, GOOD = 256 };

struct bucket {
    uint64_t key; /* keyed hash of the address; 0 = free */
    int64_t at_us;
    double left;
};
struct limit {
    pthread_mutex_t lock;
    double most, per_us;
    struct bucket *slots; /* SLOTS; NULL until somebody fails */
    uint8_t good[GOOD][SHA256_SIZE];
    size_t next_good;
};

struct limit *limit_new(int64_t most, int64_t window_s)
{
    struct limit *l = xcalloc(1, sizeof(*l));
    pthread_mutex_init(&l->lock, NULL);
    l->most = (double)(most > 0 ? most : 1);
    l->per_us = l->most / (double)window_s / 1e6;
    return l;
}

void limit_free(struct limit *l)
{
    if (!l)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l->slots);
    free(l);
}

static void refill(const struct limit *l, struct bucket *b, int64_t now_us)
{
    double gone = (double)(now_us - b->at_us);
    if (gone > 0)
        b->left += gone * l->per_us;
    if (b->left > l->most)
        b->left = l->most;
    b->at_us = now_us;
}

/* Whoever has an IPv6 address has all of its /64. */
static uint64_t key_of(const char *address)
{
    struct in6_addr v6;
    uint64_t key = strchr(address, ':') && inet_pton(AF_INET6, address, &v6) == 1
                       ? hash_bytes(&v6, 8)
                       : hash_bytes(address, strlen(address));
    return key + (key == 0);
}

/* The address's bucket, NULL when it has none; with `make` the one to use for it. Under the lock.
 */
static struct bucket *find(struct limit *l, const char *address, int64_t now_us, bool make)
{
    uint64_t key = key_of(address);
    struct bucket *best = NULL;
    if (!l->slots && !make)
        return NULL;
    if (!l->slots)
        l->slots = xcalloc(SLOTS, sizeof(*l->slots));
    for (size_t i = 0; i < PROBE; i++) {
        struct bucket *b = &l->slots[(key + i) % SLOTS];
        if (b->key == key) {
            refill(l, b, now_us);
            return b;
        }
        if (b->key)
            refill(l, b, now_us);
        if (!best || (best->key && (!b->key || b->left > best->left)))
            best = b;
    }
    if (!make)
        return NULL;
    *best = (struct bucket){key, now_us, l->most};
    return best;
}

int64_t limit_wait(struct limit *l, const char *address, int64_t now_us)
{
    int64_t wait = 0;
    pthread_mutex_lock(&l->lock);
    const struct bucket *b = find(l, address, now_us, false);
    if (b && b->left < 1)
        wait = (int64_t)((1 - b->left) / l->per_us / 1e6) + 1;
    pthread_mutex_unlock(&l->lock);
    return wait;
}

void limit_failed(struct limit *l, const char *address, int64_t now_us)
{
    pthread_mutex_lock(&l->lock);
    struct bucket *b = find(l, address, now_us, true);
    if (b->left >= 1)
        b->left -= 1;
    pthread_mutex_unlock(&l->lock);
}

static bool is_good(const struct limit *l, const uint8_t *hash)
{
    for (size_t i = 0; i < GOOD; i++)
        if (crypto_equal(l->good[i], hash, SHA256_SIZE))
            return true;
    return false;
}

void limit_good(struct limit *l, const uint8_t hash[SHA256_SIZE])
{
    pthread_mutex_lock(&l->lock);
    if (!is_good(l, hash)) {
        memcpy(l->good[l->next_good], hash, SHA256_SIZE);
        l->next_good = (l->next_good + 1) % GOOD;
    }
    pthread_mutex_unlock(&l->lock);
}

bool limit_is_good(struct limit *l, const uint8_t hash[SHA256_SIZE])
{
    pthread_mutex_lock(&l->lock);
    bool good = is_good(l, hash);
    pthread_mutex_unlock(&l->lock);
    return good;
}
