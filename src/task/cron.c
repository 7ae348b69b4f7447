/*
 * The five fields of crontab(5): minute, hour, day of the month, month, weekday. Lists, ranges,
 * steps and English names; macros such as @daily and the six-field forms of others are refused.
 */
#include "task_priv.h"

#include <ctype.h>
#include <strings.h>

static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                     "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

struct field {
    const char *what;
    int min, max;
    const char *const *names; /* the first stands for `first` */
    int n_names, first;
};
static const struct field fields[] = {
    {"minute", 0, 59, NULL, 0, 0},           {"hour", 0, 23, NULL, 0, 0},
    {"day of the month", 1, 31, NULL, 0, 0}, {"month", 1, 12, months, 12, 1},
    {"weekday", 0, 7, weekdays, 7, 0}, /* 7 is Sunday as well */
};

/* A number or a name at *p. */
static bool value(const struct field *f, const char **p, int *ret)
{
    int v = 0;

    if (isalpha((unsigned char)**p)) {
        for (int i = 0; i < f->n_names; i++)
            if (strncasecmp(*p, f->names[i], 3) == 0 && !isalnum((unsigned char)(*p)[3])) {
                *p += 3;
                *ret = f->first + i;
                return true;
            }
        return false;
    }
    if (!isdigit((unsigned char)**p))
        return false;
    while (isdigit((unsigned char)**p) && v <= 999)
        v = v * 10 + (*(*p)++ - '0');
    *ret = v;
    return v >= f->min && v <= f->max;
}

/* One element of a list: "*", "5", "1-5", each range with "/n". */
static bool element(const struct field *f, const char **p, uint64_t *bits)
{
    int from = f->min, to = f->max, step = 1;
    bool range = true;

    if (**p == '*') {
        (*p)++;
        if (f->max == 7) /* Sunday once is enough, and steps count from it */
            to = 6;
    } else {
        if (!value(f, p, &from))
            return false;
        to = from;
        range = **p == '-';
        if (range) {
            (*p)++;
            if (!value(f, p, &to) || to < from)
                return false;
        }
    }
    if (**p == '/') {
        const struct field steps = {f->what, 1, f->max, NULL, 0, 0};
        (*p)++;
        if (!range || !value(&steps, p, &step))
            return false;
    }
    for (int v = from; v <= to; v += step)
        *bits |= UINT64_C(1) << v;
    return true;
}

static int field(const struct field *f, const char **p, uint64_t *bits, bool *ret_star,
                 struct fail *why)
{
    const char *from = *p;

    *bits = 0;
    *ret_star = *from == '*';
    for (;;) {
        if (!element(f, p, bits))
            break;
        if (**p == ',') {
            (*p)++;
            continue;
        }
        if (!**p || **p == ' ' || **p == '\t') {
            if (f->max == 7 && *bits & 1u << 7)
                *bits = (*bits | 1) & 0x7f;
            return 0;
        }
        break;
    }
    return fail(why, E_PROTO,
                "The field for the %s is not understood: '%.40s'. It takes %d to %d%s, lists, "
                "ranges and steps.",
                f->what, from, f->min, f->max, f->names ? ", names" : "");
}

int cron_parse(const char *text, struct cron *ret, struct fail *f)
{
    uint64_t bits[ARRAY_LEN(fields)];
    bool stars[ARRAY_LEN(fields)];

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        text += strspn(text, " \t");
        if (!*text)
            return fail(f, E_PROTO, "It takes five fields; the %s is missing.", fields[i].what);
        int rc = field(&fields[i], &text, &bits[i], &stars[i], f);
        if (rc < 0)
            return rc;
    }
    if (text[strspn(text, " \t")])
        return fail(f, E_PROTO, "It takes five fields: minute hour day month weekday.");
    *ret = (struct cron){.minutes = bits[0],
                         .hours = (uint32_t)bits[1],
                         .days = (uint32_t)bits[2],
                         .months = (uint32_t)bits[3],
                         .weekdays = (uint32_t)bits[4],
                         .any_day = stars[2],
                         .any_weekday = stars[4]};
    return 0;
}
