/*
 * Messages that fail at the writer while the database is well: a stored row that can't be read,
 * another process that holds the lock. The broker sends such a message again, with all that were
 * taken beside it; one that never works would keep the others from ever being settled. So it is
 * counted, and after some tries left out. Not for a full or a failing disk: there every message
 * fails, and none may be lost.
 */
#include "core_priv.h"

#define TRIES_MAX    5
#define MESSAGES_MAX 256
#define FORGET_MS    600000 /* after the last failure */

bool stubborn_failed(struct stubborn *s, const struct waiting *w, int64_t now)
{
    uint64_t key[2] = {hash_bytes(w->topic, strlen(w->topic)), hash_bytes(w->payload, w->n)};

    if (now - s->last_ms > FORGET_MS || s->tries.count >= MESSAGES_MAX)
        map_done(&s->tries);
    s->last_ms = now;
    uintptr_t n = (uintptr_t)map_get(&s->tries, key, sizeof(key)) + 1;
    (void)map_put(&s->tries, key, sizeof(key), (void *)n);
    return n > TRIES_MAX;
}

void stubborn_done(struct stubborn *s)
{
    map_done(&s->tries);
}
