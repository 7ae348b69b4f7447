/*
 * Arena: one list of blocks, the newest first. Small pieces are cut from the head block; a piece
 * that would waste most of a block gets one of its own behind the head. Nothing is freed alone.
 * An arena has no lock: it lives on one thread, for one request or message.
 */
#include "util.h"

#include <stdio.h>

#define BLOCK_SIZE ((size_t)8 << 10)
#define ALIGN      ((size_t)16)

struct arena_block {
    struct arena_block *next;
    size_t cap;
    _Alignas(16) char data[];
};

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

static void free_from(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;
        free(b);
        b = next;
    }
}

void arena_done(struct arena *a)
{
    free_from(a->head);
    *a = (struct arena){0};
}

void arena_reset(struct arena *a)
{
    if (a->head) {
        free_from(a->head->next);
        a->head->next = NULL;
    }
    a->used = 0;
    a->total = 0;
}

static struct arena_block *block_new(size_t cap)
{
    struct arena_block *b = xmalloc(sizeof(*b) + cap);
    b->next = NULL;
    b->cap = cap;
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        abort();
    size_t size = n ? (n + ALIGN - 1) & ~(ALIGN - 1) : ALIGN;
    char *p;
    a->total += size;
    if (a->head && a->head->cap - a->used >= size) {
        p = a->head->data + a->used;
        a->used += size;
    } else if (a->head && size > BLOCK_SIZE / 4) {
        struct arena_block *b = block_new(size);
        b->next = a->head->next;
        a->head->next = b;
        p = b->data;
    } else {
        struct arena_block *b = block_new(size > BLOCK_SIZE ? size : BLOCK_SIZE);
        b->next = a->head;
        a->head = b;
        a->used = size;
        p = b->data;
    }
    return memset(p, 0, size);
}

char *arena_strdup(struct arena *a, const char *s)
{
    return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    size_t len = n ? strnlen(s, n) : 0;
    char *p = arena_alloc(a, len + 1);
    if (len)
        memcpy(p, s, len);
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    char most[256]; /* fit here, and are formatted once */
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(most, sizeof(most), fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    if ((size_t)n < sizeof(most))
        return arena_strndup(a, most, (size_t)n);
    char *p = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    (void)vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}
