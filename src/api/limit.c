/*
 * Failures per address, or of one name at an address: a token bucket for each that failed lately,
 * in a bounded table that all http threads share. When the table is full the bucket that is
 * fullest again (and so matters least) makes room. Not a limit on requests in general.
 */
#include "priv.h"

#include <arpa/inet.h>

enum { SLOTS = 4096, PROBE = 8, GOOD = 4096 };

struct bucket {
    uint64_t key; /* keyed hash of the address, and of the name; 0 = free */
    int64_t at_us;
    double left;
};
struct limit {
    pthread_mutex_t lock;
    double most, per_us;
    struct bucket *slots;         /* SLOTS; NULL until somebody fails */
    uint8_t (*good)[SHA256_SIZE]; /* GOOD; NULL until somebody is right */
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
    free(l->good);
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
static uint64_t key_of(const char *address, const char *name)
{
    struct in6_addr v6;
    uint64_t key = strchr(address, ':') && inet_pton(AF_INET6, address, &v6) == 1
                       ? hash_bytes(&v6, 8)
                       : hash_bytes(address, strlen(address));
    if (name) {
        uint64_t both[2] = {key, hash_bytes(name, strlen(name))};
        key = hash_bytes(both, sizeof(both));
    }
    return key + (key == 0);
}

/* The key's bucket, NULL when it has none; with `make` the one to use for it. Under the lock. */
static struct bucket *find(struct limit *l, uint64_t key, int64_t now_us, bool make)
{
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

int64_t limit_wait_for(struct limit *l, const char *address, const char *name, int64_t now_us)
{
    int64_t wait = 0;
    pthread_mutex_lock(&l->lock);
    const struct bucket *b = find(l, key_of(address, name), now_us, false);
    if (b && b->left < 1)
        wait = (int64_t)((1 - b->left) / l->per_us / 1e6) + 1;
    pthread_mutex_unlock(&l->lock);
    return wait;
}

int64_t limit_wait(struct limit *l, const char *address, int64_t now_us)
{
    return limit_wait_for(l, address, NULL, now_us);
}

void limit_failed_for(struct limit *l, const char *address, const char *name, int64_t now_us)
{
    pthread_mutex_lock(&l->lock);
    struct bucket *b = find(l, key_of(address, name), now_us, true);
    if (b->left >= 1)
        b->left -= 1;
    pthread_mutex_unlock(&l->lock);
}

void limit_failed(struct limit *l, const char *address, int64_t now_us)
{
    limit_failed_for(l, address, NULL, now_us);
}

/* A hash stands in one of PROBE places; only who was right gets there. */
static size_t first_place(const uint8_t *hash)
{
    return (size_t)(hash[0] | hash[1] << 8) % (GOOD / PROBE) * PROBE;
}

/* That of them which holds `what`, or NULL. */
static uint8_t *place_of(const struct limit *l, const uint8_t *hash, const uint8_t *what)
{
    size_t first = first_place(hash);
    for (size_t i = first; l->good && i < first + PROBE; i++)
        if (crypto_equal(l->good[i], what, SHA256_SIZE))
            return l->good[i];
    return NULL;
}

void limit_good(struct limit *l, const uint8_t hash[SHA256_SIZE])
{
    static const uint8_t nobody[SHA256_SIZE];
    pthread_mutex_lock(&l->lock);
    if (!l->good)
        l->good = xcalloc(GOOD, sizeof(*l->good));
    if (!place_of(l, hash, hash)) {
        uint8_t *place = place_of(l, hash, nobody);
        if (!place)
            place = l->good[first_place(hash) + l->next_good++ % PROBE];
        memcpy(place, hash, SHA256_SIZE);
    }
    pthread_mutex_unlock(&l->lock);
}

bool limit_is_good(struct limit *l, const uint8_t hash[SHA256_SIZE])
{
    pthread_mutex_lock(&l->lock);
    bool good = place_of(l, hash, hash) != NULL;
    pthread_mutex_unlock(&l->lock);
    return good;
}
