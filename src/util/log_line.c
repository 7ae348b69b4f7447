/*
 * A line of the log: logfmt or JSON, at most 4 KiB (what a pipe takes in one piece); longer values
 * are cut at the border of a character, and the line stays well-formed. Nothing here allocates,
 * locks or calls stdio: lines are also written while the process dies of a signal.
 */
#include "log_line.h"

#include <unistd.h>

#define LINE_RESERVE 8 /* for what closes a cut line: an ellipsis, quotes, a brace, the newline */

const char *const log_level_names[] = {"error", "warn", "info", "debug"};

static bool put(struct line *l, const char *p, size_t n)
{
    if (l->n + n > sizeof(l->text) - LINE_RESERVE)
        return false;
    memcpy(l->text + l->n, p, n);
    l->n += n;
    return true;
}

static bool put_str(struct line *l, const char *s)
{
    return put(l, s, strlen(s));
}

/* Without looking at the reserve: only for what closes a line. */
static void put_end(struct line *l, const char *s)
{
    size_t n = strlen(s);
    if (n <= sizeof(l->text) - l->n) {
        memcpy(l->text + l->n, s, n);
        l->n += n;
    }
}

static bool put_code(struct line *l, unsigned c)
{
    static const char hex[] = "0123456789abcdef";
    return put(
        l, (const char[]){'\\', 'u', hex[c >> 12], hex[c >> 8 & 15], hex[c >> 4 & 15], hex[c & 15]},
        6);
}

static bool put_escaped(struct line *l, unsigned char c)
{
    switch (c) {
    case '"':
        return put(l, "\\\"", 2);
    case '\\':
        return put(l, "\\\\", 2);
    case '\n':
        return put(l, "\\n", 2);
    case '\r':
        return put(l, "\\r", 2);
    case '\t':
        return put(l, "\\t", 2);
    default:
        return put_code(l, c);
    }
}

/* The characters beside those of ASCII that a terminal does not show but obeys: C1, breaks of
 * lines, and what turns the direction of the text. 0: none of them. n is the length of the
 * sequence. */
static unsigned obeyed(const char *p, size_t n)
{
    const unsigned char *s = (const unsigned char *)p;

    if (n == 2 && s[0] == 0xc2 && s[1] < 0xa0)
        return s[1];
    if (n != 3 || s[0] != 0xe2)
        return 0;
    unsigned c = 0x2000U | (s[1] & 0x3fU) << 6 | (s[2] & 0x3fU);
    bool turns =
        c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    return turns || c == 0x2028 || c == 0x2029 ? c : 0;
}

/* A quoted value; cut at the border of a character when the line is full. */
static bool put_quoted(struct line *l, const char *s)
{
    bool fits = put(l, "\"", 1);
    for (const char *p = s; *p && fits;) {
        unsigned char c = (unsigned char)*p;
        size_t n = str_utf8(p, strnlen(p, 4));
        if (n == 0)
            fits = put_str(l, "\xef\xbf\xbd"); /* a byte of no encoding */
        else if (c == '"' || c == '\\' || c < 0x20 || c == 0x7f)
            fits = put_escaped(l, c);
        else if (obeyed(p, n))
            fits = put_code(l, obeyed(p, n));
        else
            fits = put(l, p, n);
        p += n ? n : 1;
    }
    if (!fits)
        put_end(l, "\xe2\x80\xa6");
    put_end(l, "\"");
    return fits;
}

static bool is_bare(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n >= 256 || !str_is_text(s, n) || strpbrk(s, " =\"\\") != NULL)
        return false;
    for (size_t i = 0; i < n; i += str_utf8(s + i, n - i))
        if (obeyed(s + i, str_utf8(s + i, n - i)))
            return false;
    return true;
}

bool line_pair(struct line *l, const char *key, const char *value)
{
    size_t before = l->n;
    if (l->json) {
        char last = l->n > 0 ? l->text[l->n - 1] : '\0';
        if ((last == '{' || put(l, ",", 1)) && put(l, "\"", 1) && put_str(l, key) &&
            put(l, "\":", 2) && l->n < sizeof(l->text) - LINE_RESERVE - 8)
            return put_quoted(l, value);
    } else {
        char last = l->n > 0 ? l->text[l->n - 1] : ' ';
        if ((last == ' ' || last == '>' || put(l, " ", 1)) && put_str(l, key) && put(l, "=", 1) &&
            l->n < sizeof(l->text) - LINE_RESERVE - 8) {
            if (is_bare(value) && put_str(l, value))
                return true;
            return put_quoted(l, value);
        }
    }
    l->n = before; /* no room even for the name */
    return false;
}

void line_begin(struct line *l, bool json, bool journal, enum log_level level, int64_t at_ms)
{
    static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
    char time[TIME_TEXT_MAX];

    l->json = json;
    l->n = 0;
    if (journal)
        put_str(l, priorities[level]);
    if (json)
        put(l, "{", 1);
    if (at_ms)
        line_pair(l, "time", time_text(at_ms, time));
    line_pair(l, "level", log_level_names[level]);
}

void line_emit(struct line *l)
{
    put_end(l, l->json ? "}\n" : "\n");
    const char *p = l->text;
    while (l->n > 0) {
        ssize_t n = write(STDERR_FILENO, p, l->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nowhere to say so */
        p += n;
        l->n -= (size_t)n;
    }
}
