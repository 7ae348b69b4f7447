/*
 * The ring: the last lines that were not printed, most of them of level debug, so that a process
 * that dies can say what it did before. A line is kept as it was given, a copy of some words, and
 * put together only when it is wanted: keeping one takes a tenth or two of a microsecond. Memory
 * is bounded. There is no lock: a record belongs to who takes it, and who finds it taken (a
 * writer that was held up for a whole round, or the one that prints) drops its line.
 */
#include "log_line.h"

#include <stdatomic.h>

#define RECORDS      512
#define RECORD_BYTES 224

struct record {
    atomic_flag taken;
    enum log_level level;
    uint64_t number; /* from 1; 0: empty */
    int64_t at_ms;
    size_t n;
    char text[RECORD_BYTES]; /* room, message, names and values, each with its NUL */
};

static struct {
    _Atomic uint64_t last; /* number given out */
    struct record records[RECORDS];
} ring;

/* False when it was cut. */
static bool add_text(struct record *r, const char *s)
{
    size_t room = sizeof(r->text) - r->n, n = strlen(s) + 1;
    bool fits = n <= room;
    if (!fits)
        n = room;
    memcpy(r->text + r->n, s, n);
    r->n += n;
    r->text[r->n - 1] = '\0';
    return fits;
}

static void fill(struct record *r, const char *room, const char *msg, va_list pairs)
{
    r->n = 0;
    bool fits = add_text(r, room) && add_text(r, msg);
    for (const char *key; fits && (key = va_arg(pairs, const char *)) != NULL;) {
        const char *value = va_arg(pairs, const char *);
        if (!value)
            continue;
        if (strlen(key) + 2 > sizeof(r->text) - r->n) /* a name and an empty value */
            break;
        fits = add_text(r, key) && add_text(r, value);
    }
}

void ring_add(enum log_level level, const char *room, const char *msg, va_list pairs)
{
    uint64_t number = atomic_fetch_add_explicit(&ring.last, 1, memory_order_relaxed) + 1;
    struct record *r = &ring.records[number % RECORDS];

    if (atomic_flag_test_and_set_explicit(&r->taken, memory_order_acquire))
        return;
    if (r->number < number) {
        r->number = number;
        r->level = level;
        r->at_ms = clock_now_ms();
        fill(r, room, msg, pairs);
    }
    atomic_flag_clear_explicit(&r->taken, memory_order_release);
}

void log_dump(void)
{
    uint64_t last = atomic_load(&ring.last);

    for (uint64_t number = last > RECORDS ? last - RECORDS + 1 : 1; number <= last; number++) {
        struct record *r = &ring.records[number % RECORDS];
        if (atomic_flag_test_and_set_explicit(&r->taken, memory_order_acquire))
            continue; /* half written */
        if (r->number == number)
            log_write_kept(r->level, r->at_ms, r->text, r->n);
        atomic_flag_clear_explicit(&r->taken, memory_order_release);
    }
}
