/*
 * TOML, strictly and partly: comments, [sections], bare and quoted keys, basic and literal strings
 * on one line, decimal integers, booleans, arrays of strings. Floats, dates, inline tables, dotted
 * keys, [[arrays of tables]] and multi-line strings are refused with their line: no item needs
 * them, and a parser that half understands them would be worse. What keys mean, and whether one
 * stands twice, is decided in load.c.
 */
#include "toml.h"

#include <stdio.h>

#define VALUES "a value is \"text\", 'text', a whole number, true, false or [\"a\", \"b\"]"

static int bad(struct toml *t, struct fail *f, const char *fmt, ...) PRINTF(3, 4);
static int bad(struct toml *t, struct fail *f, const char *fmt, ...)
{
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return fail(f, E_PROTO, "%s:%u: %s", t->file, t->line, text);
}

int toml_init(struct toml *t, struct arena *a, const char *file, const char *text, size_t n,
              struct fail *f)
{
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* editors of Windows put it there */
        text += 3;
        n -= 3;
    }
    *t = (struct toml){.a = a, .file = file, .p = text, .end = text + n, .line = 1};
    for (const char *p = text; p < t->end;) {
        size_t k = str_utf8(p, (size_t)(t->end - p));
        unsigned char c = (unsigned char)*p;
        bool newline = c == '\n' || (c == '\r' && p + 1 < t->end && p[1] == '\n');
        if (k == 0)
            return bad(t, f, "the file is not UTF-8 here; save it as UTF-8");
        if ((c < 0x20 && c != '\t' && !newline) || c == 0x7f)
            return bad(t, f, "a control character (0x%02x) has no place here", c);
        t->line += c == '\n';
        p += k;
    }
    t->line = 1;
    return 0;
}

static char peek(const struct toml *t)
{
    return t->p < t->end ? *t->p : '\0';
}

static bool accept(struct toml *t, char c)
{
    if (peek(t) != c || t->p >= t->end)
        return false;
    t->p++;
    return true;
}

static void skip_blanks(struct toml *t)
{
    while (peek(t) == ' ' || peek(t) == '\t')
        t->p++;
}

static void skip_comment(struct toml *t)
{
    if (peek(t) == '#')
        while (t->p < t->end && *t->p != '\n')
            t->p++;
}

/* Past the end of a line, if one is here. */
static bool accept_newline(struct toml *t)
{
    if (peek(t) == '\r' && t->p + 1 < t->end)
        t->p++;
    if (!accept(t, '\n'))
        return false;
    t->line++;
    return true;
}

/* Past blanks, comments and empty lines. */
static void skip_space(struct toml *t)
{
    do {
        skip_blanks(t);
        skip_comment(t);
    } while (accept_newline(t));
}

static bool is_bare(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static int hex_value(struct toml *t, int digits, uint32_t *ret)
{
    *ret = 0;
    for (; digits > 0; digits--, t->p++) {
        char c = peek(t), l = (char)(c | 32);
        if (c >= '0' && c <= '9')
            *ret = *ret << 4 | (uint32_t)(c - '0');
        else if (l >= 'a' && l <= 'f')
            *ret = *ret << 4 | (uint32_t)(l - 'a' + 10);
        else
            return -1;
    }
    return 0;
}

static void add_utf8(struct sbuf *b, uint32_t c)
{
    char s[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        s[i] = (char)(0x80 | (c & 0x3f));
    s[0] = (char)(lead[n] | c);
    sbuf_add(b, s, n);
}

static int take_escape(struct toml *t, struct sbuf *b, struct fail *f)
{
    static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
    char c = peek(t);
    const char *at = c ? strchr(names, c) : NULL;
    uint32_t code;
    if (at) {
        t->p++;
        sbuf_add(b, &values[at - names], 1);
        return 0;
    }
    if (c != 'u' && c != 'U')
        return bad(t, f,
                   "a backslash starts \\\" \\\\ \\n \\t or \\uXXXX; for a plain backslash "
                   "write two, or put the text in single quotes");
    t->p++;
    if (hex_value(t, c == 'u' ? 4 : 8, &code) < 0)
        return bad(t, f, "\\%c needs %d hexadecimal digits", c, c == 'u' ? 4 : 8);
    if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return bad(t, f, "U+%04X is no character that a text can hold", code);
    add_utf8(b, code);
    return 0;
}

/* A quoted string; the quote stands at t->p. */
static int take_string(struct toml *t, const char **ret, struct fail *f)
{
    char quote = *t->p++;
    struct sbuf b = {0};
    int rc = 0;
    if (t->end - t->p >= 2 && t->p[0] == quote && t->p[1] == quote)
        return bad(t, f, "multi-line strings are not taken; write the text on one line");
    sbuf_str(&b, "");
    while (rc == 0 && !accept(t, quote)) {
        char c = peek(t);
        if (t->p >= t->end || c == '\n' || c == '\r') {
            rc = bad(t, f, "the closing %c is missing", quote);
        } else {
            t->p++;
            if (c == '\\' && quote == '"')
                rc = take_escape(t, &b, f);
            else
                sbuf_add(&b, &c, 1);
        }
    }
    *ret = arena_strndup(t->a, b.p, b.n);
    sbuf_done(&b);
    return rc;
}

static int take_key(struct toml *t, const char *what, const char **ret, struct fail *f)
{
    char c = peek(t);
    if (c == '"' || c == '\'') {
        int rc = take_string(t, ret, f);
        if (rc < 0)
            return rc;
    } else {
        const char *start = t->p;
        while (is_bare(peek(t)))
            t->p++;
        *ret = arena_strndup(t->a, start, (size_t)(t->p - start));
    }
    if (!**ret)
        return bad(t, f, "%s is expected here", what);
    skip_blanks(t);
    if (peek(t) == '.')
        return bad(t, f, "names with dots are not taken; write [section] and the key below it");
    return 0;
}

static int take_int(struct toml *t, int64_t *ret, struct fail *f)
{
    char digits[32];
    size_t n = 0;
    if (peek(t) == '+' || peek(t) == '-') {
        if (peek(t) == '-')
            digits[n++] = '-';
        t->p++;
    }
    const char *first = t->p;
    bool was_digit = false;
    for (; n + 1 < sizeof(digits); t->p++) {
        char c = peek(t);
        if (c == '_' ? !was_digit : !(c >= '0' && c <= '9'))
            break;
        was_digit = c != '_';
        if (was_digit)
            digits[n++] = c;
    }
    digits[n] = '\0';
    if (!was_digit || is_bare(peek(t)) || peek(t) == '.' || peek(t) == ':')
        return bad(t, f, VALUES);
    if (*first == '0' && t->p - first > 1)
        return bad(t, f, "a number has no leading zero");
    if (num_parse(digits, INT64_MIN, INT64_MAX, ret) < 0)
        return bad(t, f, "the number does not fit 64 bits");
    return 0;
}

static bool accept_word(struct toml *t, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0 ||
        (t->p + n < t->end && is_bare(t->p[n])))
        return false;
    t->p += n;
    return true;
}

/* The opening bracket is taken already. */
static int take_list(struct toml *t, struct toml_entry *ret, struct fail *f)
{
    enum { MAX = 256 };
    ret->list = arena_alloc(t->a, MAX * sizeof(*ret->list));
    for (;;) {
        skip_space(t);
        if (accept(t, ']'))
            return 0;
        if (peek(t) != '"' && peek(t) != '\'')
            return bad(t, f, "an array holds strings only, such as [\"a\", \"b\"]");
        if (ret->count == MAX)
            return bad(t, f, "an array holds at most %d strings", MAX);
        int rc = take_string(t, &ret->list[ret->count++], f);
        if (rc < 0)
            return rc;
        skip_space(t);
        if (!accept(t, ',') && peek(t) != ']')
            return bad(t, f, "a comma or ] is expected in the array");
    }
}

static int take_value(struct toml *t, struct toml_entry *ret, struct fail *f)
{
    char c = peek(t);
    if (c == '"' || c == '\'') {
        ret->kind = TOML_STRING;
        return take_string(t, &ret->text, f);
    }
    if (accept(t, '[')) {
        ret->kind = TOML_STRINGS;
        return take_list(t, ret, f);
    }
    ret->kind = TOML_BOOL;
    ret->number = 1;
    if (accept_word(t, "true"))
        return 0;
    ret->number = 0;
    if (accept_word(t, "false"))
        return 0;
    ret->kind = TOML_INT;
    if (c == '+' || c == '-' || (c >= '0' && c <= '9'))
        return take_int(t, &ret->number, f);
    return bad(t, f, VALUES);
}

static int take_section(struct toml *t, struct toml_entry *ret, struct fail *f)
{
    ret->kind = TOML_SECTION;
    if (peek(t) == '[')
        return bad(t, f, "[[arrays of tables]] are not taken; write [section]");
    skip_blanks(t);
    int rc = take_key(t, "the name of a section", &ret->key, f);
    if (rc == 0 && !accept(t, ']'))
        rc = bad(t, f, "the closing ] of [%s] is missing", ret->key);
    return rc;
}

static int take_pair(struct toml *t, struct toml_entry *ret, struct fail *f)
{
    int rc = take_key(t, "a key or a [section]", &ret->key, f);
    if (rc < 0)
        return rc;
    if (!accept(t, '='))
        return bad(t, f, "'%s' needs a value: %s = …", ret->key, ret->key);
    skip_blanks(t);
    return take_value(t, ret, f);
}

int toml_next(struct toml *t, struct toml_entry *ret, struct fail *f)
{
    skip_space(t);
    *ret = (struct toml_entry){.kind = TOML_END, .line = t->line};
    if (t->p >= t->end)
        return 0;
    int rc = accept(t, '[') ? take_section(t, ret, f) : take_pair(t, ret, f);
    if (rc < 0)
        return rc;
    skip_blanks(t);
    skip_comment(t);
    if (t->p < t->end && !accept_newline(t))
        return bad(t, f, "after '%s' the line must end: one key or section a line", ret->key);
    return 0;
}
