/*
 * Version comparison. `auto` reads a version as lists of numbers with words between them:
 * "1.0.0-rc.1" is [1 0 0] rc [1]. Lists compare number by number with missing numbers as 0;
 * where they are equal, the words that follow decide, "nothing" being one of them. Each of these
 * is a total order, and so is their lexicographic combination: that is why it is done this way,
 * and why "1-rc" equals "1.0.0-rc". Nothing is allocated; numbers are compared as text.
 */
#include "util.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    char l = (char)(c | 32);
    return l >= 'a' && l <= 'z';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_separator(char c)
{
    return c == '.' || c == '-' || c == '_' || c == ' ';
}

/* Without blanks around, one leading v, and what follows a plus. */
static struct str trim(const char *v)
{
    while (*v == ' ' || *v == '\t')
        v++;
    if (*v == 'v' || *v == 'V')
        v++;
    struct str s = {v, strcspn(v, "+")};
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Take the run of digits (or of what is no digit and no separator) that comes next. */
static struct str next_run(struct str *s)
{
    while (s->n > 0 && is_separator(*s->p)) {
        s->p++;
        s->n--;
    }
    struct str run = {s->p, 0};
    bool number = s->n > 0 && is_digit(*s->p);
    while (s->n > 0 && !is_separator(*s->p) && is_digit(*s->p) == number) {
        run.n++;
        s->p++;
        s->n--;
    }
    return run;
}

/* The next number of the current list; empty when a word or the end comes first. */
static struct str next_number(struct str *s)
{
    struct str rest = *s, run = next_run(&rest);
    if (run.n == 0 || !is_digit(*run.p))
        return (struct str){"", 0};
    *s = rest;
    while (run.n > 0 && *run.p == '0') {
        run.p++;
        run.n--;
    }
    /* An empty view is a zero here, and zeros at the end of a list mean nothing. */
    return run.n ? run : (struct str){"0", 0};
}

static int compare_numbers(struct str a, struct str b)
{
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    return a.n ? memcmp(a.p, b.p, a.n) : 0;
}

static bool at_number(struct str s)
{
    struct str run = next_run(&s);
    return run.n > 0 && is_digit(*run.p);
}

static bool word_is(struct str w, const char *name)
{
    size_t n = strlen(name);
    if (w.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (lower(w.p[i]) != name[i])
            return false;
    return true;
}

enum { RANK_NOTHING = 6, RANK_OTHER = 7 };

static int word_rank(struct str w)
{
    static const char *const before[] = {"dev", "snapshot", "alpha", "beta", "pre", "rc"};
    if (w.n == 0)
        return RANK_NOTHING;
    for (int i = 0; i < (int)ARRAY_LEN(before); i++)
        if (word_is(w, before[i]))
            return i;
    return word_is(w, "preview") ? 4 : RANK_OTHER;
}

static int compare_words(struct str a, struct str b)
{
    int ra = word_rank(a), rb = word_rank(b);
    if (ra != rb || ra != RANK_OTHER)
        return ra - rb;
    for (size_t i = 0; i < a.n && i < b.n; i++) {
        int d = (unsigned char)lower(a.p[i]) - (unsigned char)lower(b.p[i]);
        if (d)
            return d;
    }
    return (a.n > b.n) - (a.n < b.n);
}

static int compare_auto(struct str a, struct str b)
{
    for (;;) {
        while (at_number(a) || at_number(b)) {
            struct str na = next_number(&a), nb = next_number(&b);
            int d = compare_numbers(na, nb);
            if (d)
                return d;
        }
        struct str wa = next_run(&a), wb = next_run(&b);
        int d = compare_words(wa, wb);
        if (d || wa.n == 0)
            return d;
    }
}

/* ---- semver.org 2.0.0 ---- */

struct semver {
    struct str num[3], pre; /* pre.n == 0: none */
};

static bool take_numeric(struct str *s, struct str *ret)
{
    *ret = (struct str){s->p, 0};
    while (s->n > 0 && is_digit(*s->p)) {
        ret->n++;
        s->p++;
        s->n--;
    }
    return ret->n == 1 || (ret->n > 1 && *ret->p != '0');
}

/* Take one dot-separated identifier; false when it is empty or has a foreign character. */
static bool take_identifier(struct str *s, struct str *ret, bool *ret_numeric)
{
    *ret = (struct str){s->p, 0};
    *ret_numeric = true;
    for (; s->n > 0 && *s->p != '.' && *s->p != '+'; s->p++, s->n--, ret->n++) {
        if (!is_digit(*s->p))
            *ret_numeric = false;
        if (!is_digit(*s->p) && !is_alpha(*s->p) && *s->p != '-')
            return false;
    }
    return ret->n > 0;
}

static bool take_identifiers(struct str *s, bool leading_zeros)
{
    for (;;) {
        struct str id;
        bool numeric;
        if (!take_identifier(s, &id, &numeric))
            return false;
        if (numeric && !leading_zeros && id.n > 1 && *id.p == '0')
            return false;
        if (s->n == 0 || *s->p != '.')
            return true;
        s->p++;
        s->n--;
    }
}

static bool semver_parse(struct str s, struct semver *ret)
{
    *ret = (struct semver){0};
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            if (s.n == 0 || *s.p != '.')
                return false;
            s.p++;
            s.n--;
        }
        if (!take_numeric(&s, &ret->num[i]))
            return false;
    }
    if (s.n > 0 && *s.p == '-') {
        struct str start = {++s.p, --s.n};
        if (!take_identifiers(&s, false))
            return false;
        ret->pre = (struct str){start.p, start.n - s.n};
    }
    if (s.n > 0 && *s.p == '+') {
        s.p++;
        s.n--;
        if (!take_identifiers(&s, true) || (s.n > 0 && *s.p == '+'))
            return false;
    }
    return s.n == 0;
}

static int compare_identifiers(struct str a, bool a_numeric, struct str b, bool b_numeric)
{
    if (a_numeric != b_numeric)
        return a_numeric ? -1 : 1;
    if (a_numeric)
        return compare_numbers(a, b);
    int d = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int compare_pre(struct str a, struct str b)
{
    if (a.n == 0 || b.n == 0)
        return (a.n == 0) - (b.n == 0);
    for (;;) {
        struct str ia, ib;
        bool na, nb;
        if (!take_identifier(&a, &ia, &na) || !take_identifier(&b, &ib, &nb))
            return 0;
        int d = compare_identifiers(ia, na, ib, nb);
        if (d || a.n == 0 || b.n == 0)
            return d ? d : (a.n > 0) - (b.n > 0);
        a = (struct str){a.p + 1, a.n - 1};
        b = (struct str){b.p + 1, b.n - 1};
    }
}

/* Devices may report anything: what is no semantic version comes before all that are, and among
 * themselves they compare as `auto`. Blanks around and one leading v are forgiven. */
static int compare_semver(const char *a, const char *b)
{
    struct semver va, vb;
    struct str sa = trim(a), sb = trim(b);
    bool ok_a = semver_parse(sa, &va), ok_b = semver_parse(sb, &vb);
    if (!ok_a || !ok_b)
        return ok_a != ok_b ? (ok_a ? 1 : -1) : compare_auto(sa, sb);
    for (int i = 0; i < 3; i++) {
        int d = compare_numbers(va.num[i], vb.num[i]);
        if (d)
            return d;
    }
    return compare_pre(va.pre, vb.pre);
}

int version_compare(enum version_scheme scheme, const char *a, const char *b)
{
    switch (scheme) {
    case VERSION_AUTO:
        return compare_auto(trim(a), trim(b));
    case VERSION_SEMVER:
        return compare_semver(a, b);
    case VERSION_OPAQUE:
        return strcmp(a, b);
    }
    abort();
}

int version_check(enum version_scheme scheme, const char *v, struct fail *f)
{
    size_t n = strnlen(v, VERSION_MAX + 1);
    struct semver parsed;
    bool named = false;
    if (n == 0 || n > VERSION_MAX)
        return fail(f, E_PROTO, "a version has 1 to %d characters", VERSION_MAX);
    if (!str_is_text(v, n))
        return fail(f, E_PROTO, "a version holds printable characters only");
    for (size_t i = 0; i < n; i++)
        named = named || is_digit(v[i]) || is_alpha(v[i]);
    if (!named)
        return fail(f, E_PROTO, "'%s' is not a version: it has no letter and no digit", v);
    if (scheme == VERSION_SEMVER && !semver_parse(str_of(v), &parsed))
        return fail(f, E_PROTO, "'%s' is not a semantic version such as 1.2.3 or 1.2.3-rc.1", v);
    return 0;
}
