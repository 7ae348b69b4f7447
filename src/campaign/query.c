/*
 * Queries over attributes, a FIQL subset: parsed once into a tree of the arena, then asked for many
 * devices. The parser goes by recursion as deep as the parentheses, and those are bounded.
 */
#include "campaign.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define DEPTH_MAX       16
#define COMPARISONS_MAX 64
#define NAME_MAX_BYTES  64

enum op { OP_EQ, OP_NE, OP_GT, OP_GE, OP_LT, OP_LE, OP_IN, OP_OUT };
enum kind { NODE_AND, NODE_OR, NODE_COMPARE };

struct campaign_query {
    enum kind kind;
    struct campaign_query *left, *right; /* AND, OR */
    enum op op;
    const char *name;
    const char **values;
    size_t n_values;
};

struct parser {
    const char *text, *p;
    struct arena *a;
    struct fail *f;
    unsigned depth, comparisons;
};

static int or_parse(struct parser *x, struct campaign_query **ret);

static int wrong(struct parser *x, const char *what)
{
    return fail(x->f, E_PROTO, "at character %zu: %s", (size_t)(x->p - x->text) + 1, what);
}

/* ---- parsing ---- */
static const struct {
    const char *text;
    enum op op;
} ops[] = {
    {"==", OP_EQ},   {"!=", OP_NE},   {"=gt=", OP_GT}, {"=ge=", OP_GE},
    {"=lt=", OP_LT}, {"=le=", OP_LE}, {"=in=", OP_IN}, {"=out=", OP_OUT},
};

static int op_parse(struct parser *x, enum op *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        size_t n = strlen(ops[i].text);

        if (strncmp(x->p, ops[i].text, n) == 0) {
            *ret = ops[i].op;
            x->p += n;
            return 0;
        }
    }
    return wrong(x, "one of == != =gt= =ge= =lt= =le= =in= =out= is needed");
}

/* A word, or one in quotes, where a backslash takes the next character as it is. */
static int value_parse(struct parser *x, const char **ret)
{
    char quote = *x->p;
    size_t n = 0;

    if (quote != '"' && quote != '\'') {
        n = strcspn(x->p, ";,()\"'");
        if (n == 0)
            return wrong(x, "a value is needed");
        *ret = arena_strndup(x->a, x->p, n);
        x->p += n;
        return 0;
    }
    char *out = arena_alloc(x->a, strlen(x->p) + 1);
    for (x->p++; *x->p && *x->p != quote; x->p++) {
        if (*x->p == '\\' && x->p[1])
            x->p++;
        out[n++] = *x->p;
    }
    if (*x->p != quote)
        return wrong(x, "the closing quote is missing");
    x->p++;
    *ret = out;
    return 0;
}

static int values_parse(struct parser *x, struct campaign_query *q)
{
    bool list = q->op == OP_IN || q->op == OP_OUT;

    q->values = arena_alloc(x->a, (strlen(x->p) + 1) * sizeof(*q->values));
    if (!list)
        return value_parse(x, &q->values[q->n_values++]);
    if (*x->p != '(')
        return wrong(x, "=in= and =out= take a list such as (a,b)");
    do {
        x->p++;
        int rc = value_parse(x, &q->values[q->n_values++]);
        if (rc < 0)
            return rc;
    } while (*x->p == ',');
    if (*x->p != ')')
        return wrong(x, "the list's closing parenthesis is missing");
    x->p++;
    return 0;
}

static int comparison_parse(struct parser *x, struct campaign_query **ret)
{
    struct campaign_query *q = arena_alloc(x->a, sizeof(*q));
    size_t n = strcspn(x->p, "=!;,()<>\"'");

    if (n == 0 || n > NAME_MAX_BYTES)
        return wrong(x, "the name of an attribute is needed");
    if (++x->comparisons > COMPARISONS_MAX)
        return wrong(x, "a query has at most 64 comparisons");
    q->kind = NODE_COMPARE;
    q->name = arena_strndup(x->a, x->p, n);
    x->p += n;
    int rc = op_parse(x, &q->op);
    if (rc == 0)
        rc = values_parse(x, q);
    *ret = q;
    return rc;
}

static int unit_parse(struct parser *x, struct campaign_query **ret)
{
    if (*x->p != '(')
        return comparison_parse(x, ret);
    if (++x->depth > DEPTH_MAX)
        return wrong(x, "too many parentheses");
    x->p++;
    int rc = or_parse(x, ret);
    if (rc < 0)
        return rc;
    if (*x->p != ')')
        return wrong(x, "a closing parenthesis is missing");
    x->p++;
    x->depth--;
    return 0;
}

static int chain(struct parser *x, char sign, enum kind kind,
                 int (*part)(struct parser *x, struct campaign_query **ret),
                 struct campaign_query **ret)
{
    int rc = part(x, ret);

    while (rc == 0 && *x->p == sign) {
        struct campaign_query *q = arena_alloc(x->a, sizeof(*q));

        x->p++;
        q->kind = kind;
        q->left = *ret;
        rc = part(x, &q->right);
        *ret = q;
    }
    return rc;
}

static int and_parse(struct parser *x, struct campaign_query **ret)
{
    return chain(x, ';', NODE_AND, unit_parse, ret);
}

static int or_parse(struct parser *x, struct campaign_query **ret)
{
    return chain(x, ',', NODE_OR, and_parse, ret);
}

int campaign_query_parse(const char *text, struct arena *a, struct campaign_query **ret,
                         struct fail *f)
{
    struct parser x = {.text = text, .p = text, .a = a, .f = f};

    if (strlen(text) > CAMPAIGN_QUERY_MAX)
        return fail(f, E_LIMIT, "a query has at most %d bytes", CAMPAIGN_QUERY_MAX);
    int rc = or_parse(&x, ret);
    return rc == 0 && *x.p ? wrong(&x, "; (and), or , (or) is needed here") : rc;
}

/* ---- asking ---- */
static bool text_of(const json_t *v, char *ret, size_t cap)
{
    if (json_is_string(v))
        return str_copy(ret, cap, json_string_value(v));
    if (json_is_integer(v))
        return str_fmt(ret, cap, "%" PRId64, (int64_t)json_integer_value(v));
    if (json_is_real(v))
        return str_fmt(ret, cap, "%.17g", json_real_value(v));
    return json_is_boolean(v) && str_copy(ret, cap, json_is_true(v) ? "true" : "false");
}

static bool number_of(const char *s, double *ret)
{
    char *end;

    *ret = strtod(s, &end);
    return end != s && !*end && isfinite(*ret);
}

/* As numbers when both are, else in the order of versions, which for words is the alphabet's. */
static int compare(const char *a, const char *b)
{
    double x, y;

    if (number_of(a, &x) && number_of(b, &y))
        return (x > y) - (x < y);
    if (strcmp(a, b) == 0)
        return 0;
    return version_check(VERSION_AUTO, a, NULL) == 0 && version_check(VERSION_AUTO, b, NULL) == 0
               ? version_compare(VERSION_AUTO, a, b)
               : strcmp(a, b);
}

static bool equal(const char *text, const char *pattern)
{
    size_t n = strlen(text), k = strlen(pattern);
    bool head = k > 0 && pattern[0] == '*', tail = k > 1 && pattern[k - 1] == '*';
    double x, y;

    if (!head && !tail)
        return strcmp(text, pattern) == 0 ||
               (number_of(text, &x) && number_of(pattern, &y) && !(x < y) && !(x > y));
    pattern += head;
    k -= (size_t)head + (size_t)tail;
    if (head && tail)
        return memmem(text, n, pattern, k) != NULL;
    return n >= k && memcmp(head ? text + n - k : text, pattern, k) == 0;
}

static bool among(const struct campaign_query *q, const char *text)
{
    for (size_t i = 0; i < q->n_values; i++)
        if (equal(text, q->values[i]))
            return true;
    return false;
}

static bool compares(const struct campaign_query *q, const json_t *reported)
{
    char text[512];

    if (!text_of(reported, text, sizeof(text)))
        return false;
    switch (q->op) {
    case OP_EQ:
    case OP_IN:
        return among(q, text);
    case OP_NE:
    case OP_OUT:
        return !among(q, text);
    case OP_GT:
        return compare(text, q->values[0]) > 0;
    case OP_GE:
        return compare(text, q->values[0]) >= 0;
    case OP_LT:
        return compare(text, q->values[0]) < 0;
    case OP_LE:
        return compare(text, q->values[0]) <= 0;
    }
    return false;
}

bool campaign_query_matches(const struct campaign_query *q,
                            const json_t *(*attribute)(void *arg, const char *name), void *arg)
{
    if (q->kind == NODE_COMPARE)
        return compares(q, attribute(arg, q->name));
    if (campaign_query_matches(q->left, attribute, arg) == (q->kind == NODE_OR))
        return q->kind == NODE_OR;
    return campaign_query_matches(q->right, attribute, arg);
}
