/*
 * Map from bytes to a pointer: open addressing, linear probing, deletion by shifting back (no
 * tombstones, so a map that lives for months does not slow down). Grows at 3/4. A slot keeps 32
 * bits of the hash, which spares nearly every comparison of unequal keys.
 */
#include "util.h"

#include <assert.h>

struct map_slot {
    void *key; /* NULL: the slot is free */
    void *value;
    uint32_t hash, n;
};

void map_done(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        free(m->slots[i].key);
    free(m->slots);
    *m = (struct map){0};
}

/* The slot of key, or the free slot where it would stand. cap must not be 0. */
static struct map_slot *slot_of(const struct map *m, uint32_t hash, const void *key, size_t n)
{
    size_t mask = m->cap - 1;
    size_t i = hash & mask;
    for (;; i = (i + 1) & mask) {
        struct map_slot *s = &m->slots[i];
        if (!s->key || (s->hash == hash && s->n == n && (n == 0 || memcmp(s->key, key, n) == 0)))
            return s;
    }
}

static void grow(struct map *m)
{
    struct map old = *m;
    m->cap = old.cap ? old.cap * 2 : 16;
    m->slots = xcalloc(m->cap, sizeof(*m->slots));
    size_t mask = m->cap - 1;
    for (size_t i = 0; i < old.cap; i++) {
        if (!old.slots[i].key)
            continue;
        size_t j = old.slots[i].hash & mask;
        while (m->slots[j].key)
            j = (j + 1) & mask;
        m->slots[j] = old.slots[i];
    }
    free(old.slots);
}

void *map_get(const struct map *m, const void *key, size_t n)
{
    if (m->count == 0)
        return NULL;
    return slot_of(m, (uint32_t)hash_bytes(key, n), key, n)->value;
}

void *map_put(struct map *m, const void *key, size_t n, void *value)
{
    assert(n < UINT32_MAX);
    if (m->count + 1 > m->cap / 4 * 3)
        grow(m);
    uint32_t hash = (uint32_t)hash_bytes(key, n);
    struct map_slot *s = slot_of(m, hash, key, n);
    void *old = s->value;
    if (!s->key) {
        s->key = xmalloc(n);
        if (n)
            memcpy(s->key, key, n);
        s->n = (uint32_t)n;
        s->hash = hash;
        m->count++;
    }
    s->value = value;
    return old;
}

void *map_del(struct map *m, const void *key, size_t n)
{
    if (m->count == 0)
        return NULL;
    struct map_slot *s = slot_of(m, (uint32_t)hash_bytes(key, n), key, n);
    if (!s->key)
        return NULL;
    void *old = s->value;
    free(s->key);
    m->count--;

    /* Whoever follows in the run and may stand in the hole moves there. */
    size_t mask = m->cap - 1, hole = (size_t)(s - m->slots);
    for (size_t i = (hole + 1) & mask; m->slots[i].key; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
    return old;
}

bool map_next(const struct map *m, size_t *it, const void **key, size_t *n, void **value)
{
    for (; *it < m->cap; (*it)++) {
        const struct map_slot *s = &m->slots[*it];
        if (!s->key)
            continue;
        *key = s->key;
        *n = s->n;
        *value = s->value;
        (*it)++;
        return true;
    }
    return false;
}
