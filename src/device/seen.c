/*
 * When devices were last seen: a message notes it in memory, and a slice is written every few
 * seconds. Notes stand in a ring in the order of their first word; a table of slots finds the
 * note of a device. What is being written stays until the commit is known, and a device that
 * speaks meanwhile gets a second note behind. Core thread only.
 */
#include "device_priv.h"

struct note {
    int64_t device_id, at;
};

struct device_seen {
    struct note *ring;       /* note number i is at i & (cap - 1) */
    uint64_t head, mid, end; /* [head,mid) is being written, [mid,end) waits */
    uint64_t cap;            /* a power of two; slots has twice as many */
    uint64_t *slots;         /* note number + 1; 0 = free. The newest note of each device */
};

#define CAP_MIN 256

struct device_seen *device_seen_new(void)
{
    struct device_seen *s = xcalloc(1, sizeof(*s));

    s->cap = CAP_MIN;
    s->ring = xmalloc(s->cap * sizeof(*s->ring));
    s->slots = xcalloc(2 * s->cap, sizeof(*s->slots));
    return s;
}

void device_seen_free(struct device_seen *s)
{
    if (!s)
        return;
    free(s->ring);
    free(s->slots);
    free(s);
}

static struct note *note_at(const struct device_seen *s, uint64_t number)
{
    return &s->ring[number & (s->cap - 1)];
}

static uint64_t home(const struct device_seen *s, int64_t device_id)
{
    return ((uint64_t)device_id * 0x9E3779B97F4A7C15ULL >> 20) & (2 * s->cap - 1);
}

/* The slot of a device, or the free one where it would go. */
static uint64_t find(const struct device_seen *s, int64_t device_id)
{
    uint64_t i = home(s, device_id);

    while (s->slots[i] && note_at(s, s->slots[i] - 1)->device_id != device_id)
        i = (i + 1) & (2 * s->cap - 1);
    return i;
}

/* Free slot i, and move up what was displaced past it. */
static void clear(struct device_seen *s, uint64_t i)
{
    uint64_t mask = 2 * s->cap - 1, j = i;

    for (;;) {
        s->slots[i] = 0;
        do {
            j = (j + 1) & mask;
            if (!s->slots[j])
                return;
        } while (((j - home(s, note_at(s, s->slots[j] - 1)->device_id)) & mask) < ((j - i) & mask));
        s->slots[i] = s->slots[j];
        i = j;
    }
}

static void resize(struct device_seen *s, uint64_t cap)
{
    struct device_seen old = *s;

    s->cap = cap;
    s->ring = xmalloc(cap * sizeof(*s->ring));
    s->slots = xcalloc(2 * cap, sizeof(*s->slots));
    for (uint64_t i = old.head; i < old.end; i++) {
        struct note n = *note_at(&old, i);

        *note_at(s, i) = n;
        s->slots[find(s, n.device_id)] = i + 1; /* a later note takes the slot over */
    }
    free(old.ring);
    free(old.slots);
}

void device_seen_note(struct device_seen *s, int64_t device_id, int64_t now)
{
    uint64_t i = find(s, device_id);

    if (s->slots[i] && s->slots[i] - 1 >= s->mid) {
        struct note *n = note_at(s, s->slots[i] - 1);

        if (n->at < now)
            n->at = now;
        return;
    }
    if (s->end - s->head == s->cap) {
        resize(s, 2 * s->cap);
        i = find(s, device_id);
    }
    *note_at(s, s->end) = (struct note){device_id, now};
    s->slots[i] = ++s->end;
}

int64_t device_seen_at(const struct device_seen *s, int64_t device_id)
{
    uint64_t slot = s->slots[find(s, device_id)];

    return slot ? note_at(s, slot - 1)->at : 0;
}

size_t device_seen_pending(const struct device_seen *s)
{
    return (size_t)(s->end - s->head);
}

int device_seen_flush(struct device_seen *s, struct db *w, size_t max)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_SEEN_PUT);

    for (s->mid = s->head; s->mid < s->end && s->mid - s->head < max; s->mid++) {
        const struct note *n = note_at(s, s->mid);
        int rc;

        db_bind_int(q, 1, n->device_id);
        db_bind_int(q, 2, n->at);
        rc = db_run(q);
        if (rc < 0 && rc != E_CONFLICT) { /* a conflict: the device was deleted since */
            s->mid = s->head;
            return rc;
        }
    }
    return (int)(s->mid - s->head);
}

void device_seen_flushed(struct device_seen *s, bool committed)
{
    if (!committed) {
        s->mid = s->head;
        return;
    }
    for (; s->head < s->mid; s->head++) {
        uint64_t i = find(s, note_at(s, s->head)->device_id);

        if (s->slots[i] == s->head + 1)
            clear(s, i);
    }
    if (s->head == s->end && s->cap > CAP_MIN * 64)
        resize(s, CAP_MIN); /* a storm is over */
}
