/*
 * Growing string. Doubles; what is in it is always NUL-terminated, so that it can be handed to
 * anything that takes a C string.
 */
#include "util.h"

#include <stdio.h>

void sbuf_done(struct sbuf *b)
{
    free(b->p);
    *b = (struct sbuf){0};
}

/* Room for n more bytes and the NUL. */
static void need(struct sbuf *b, size_t n)
{
    if (n >= SIZE_MAX / 4 - b->n)
        abort();
    if (b->n + n + 1 <= b->cap)
        return;
    size_t cap = b->cap ? b->cap * 2 : 64;
    while (cap < b->n + n + 1)
        cap *= 2;
    b->p = xrealloc(b->p, cap);
    b->cap = cap;
}

void sbuf_add(struct sbuf *b, const void *p, size_t n)
{
    need(b, n);
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void sbuf_str(struct sbuf *b, const char *s)
{
    sbuf_add(b, s, strlen(s));
}

void sbuf_int(struct sbuf *b, int64_t v)
{
    char text[20]; /* "-9223372036854775808" */
    size_t at = sizeof(text);
    uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

    do
        text[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (v < 0)
        text[--at] = '-';
    sbuf_add(b, text + at, sizeof(text) - at);
}

void sbuf_fmt(struct sbuf *b, const char *fmt, ...)
{
    va_list ap;
    need(b, 64);
    va_start(ap, fmt);
    int n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    if ((size_t)n >= b->cap - b->n) {
        need(b, (size_t)n);
        va_start(ap, fmt);
        n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
        va_end(ap);
    }
    b->n += (size_t)n;
}

char *sbuf_take(struct sbuf *b)
{
    need(b, 0);
    b->p[b->n] = '\0';
    char *p = b->p;
    *b = (struct sbuf){0};
    return p;
}
