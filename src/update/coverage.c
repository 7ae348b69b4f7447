/*
 * Which bytes of an update's files were served: a few intervals per file, kept as text in the
 * update's row. Pure. It counts distinct bytes, so that a device that fetches the first half
 * twice has half of the file and not all of it.
 */
#include "update_priv.h"

#include <inttypes.h>
#include <stdio.h>

static bool read_number(const char **s, uint64_t *ret)
{
    uint64_t v = 0;
    const char *p = *s;

    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *s = p;
    *ret = v;
    return true;
}

static bool read_interval(const char **s, uint64_t *ret_from, uint64_t *ret_to)
{
    if (!read_number(s, ret_from) || **s != '-')
        return false;
    ++*s;
    return read_number(s, ret_to) && *ret_from < *ret_to;
}

void coverage_read(struct coverage *c, const char *text)
{
    uint64_t from, to;
    int no = 1;

    memset(c, 0, sizeof(*c));
    for (const char *s = text; *s;) {
        if (*s == ';' && no < FIRMWARE_FILES_MAX) {
            no++;
            s++;
        } else if (read_interval(&s, &from, &to) && (*s == ',' || *s == ';' || *s == '\0')) {
            coverage_add(c, no, from, to);
            s += *s == ',';
        } else {
            memset(c, 0, sizeof(*c));
            return;
        }
    }
}

char *coverage_text(const struct coverage *c, struct arena *a)
{
    struct sbuf out = {0};
    size_t files = FIRMWARE_FILES_MAX;

    while (files > 0 && c->files[files - 1].n == 0)
        files--;
    for (size_t i = 0; i < files; i++) {
        if (i)
            sbuf_str(&out, ";");
        for (size_t k = 0; k < c->files[i].n; k++)
            sbuf_fmt(&out, "%s%" PRIu64 "-%" PRIu64, k ? "," : "", c->files[i].list[k].from,
                     c->files[i].list[k].to);
    }
    char *text = arena_strdup(a, out.p ? out.p : "");
    sbuf_done(&out);
    return text;
}

static void remove_at(struct coverage_file *f, size_t i, size_t n)
{
    memmove(&f->list[i], &f->list[i + n], (f->n - i - n) * sizeof(f->list[0]));
    f->n -= n;
}

static void forget_shortest(struct coverage_file *f)
{
    size_t shortest = 0;

    for (size_t i = 1; i < f->n; i++)
        if (f->list[i].to - f->list[i].from < f->list[shortest].to - f->list[shortest].from)
            shortest = i;
    remove_at(f, shortest, 1);
}

bool coverage_add(struct coverage *c, int no, uint64_t from, uint64_t to)
{
    struct coverage_file *f;
    size_t i = 0, end;

    if (no < 1 || no > FIRMWARE_FILES_MAX || from >= to)
        return false;
    f = &c->files[no - 1];
    while (i < f->n && f->list[i].to < from)
        i++;
    if (i < f->n && f->list[i].from <= from && to <= f->list[i].to)
        return false;
    /* [i,end) overlap the new one or touch it. */
    for (end = i; end < f->n && f->list[end].from <= to; end++) {
        if (f->list[end].from < from)
            from = f->list[end].from;
        if (f->list[end].to > to)
            to = f->list[end].to;
    }
    if (end == i) {
        memmove(&f->list[i + 1], &f->list[i], (f->n - i) * sizeof(f->list[0]));
        f->n++;
    } else {
        remove_at(f, i + 1, end - i - 1);
    }
    f->list[i].from = from;
    f->list[i].to = to;
    if (f->n > COVERAGE_INTERVALS_MAX)
        forget_shortest(f);
    return true;
}

uint64_t coverage_bytes(const struct coverage *c)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < FIRMWARE_FILES_MAX; i++)
        for (size_t k = 0; k < c->files[i].n; k++)
            sum += c->files[i].list[k].to - c->files[i].list[k].from;
    return sum;
}
