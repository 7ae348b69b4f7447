/*
 * Log: one line per call, one write(2) per line, to stderr. Under systemd (JOURNAL_STREAM is set)
 * a line starts with "<priority>" and carries no time, as the journal adds its own; elsewhere it
 * starts with the time. Lines are at most 4 KiB (what a pipe takes in one piece); longer values
 * are cut. Level and format are set once at start, and the level again at a reload.
 */
#include "util.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define LINE_RESERVE   8 /* for what closes a cut line: an ellipsis, quotes, a brace, the newline */

static struct {
    _Atomic int level;
    _Atomic bool json, journal;
} g = {LOG_INFO, false, false};

struct line {
    size_t n;
    char text[LINE_MAX_BYTES];
};

void log_setup(enum log_level level, bool json)
{
    const char *stream = getenv("JOURNAL_STREAM");
    atomic_store(&g.level, (int)level);
    atomic_store(&g.json, json);
    atomic_store(&g.journal, stream && *stream);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&g.level, memory_order_relaxed);
}

const char *log_int(char buf[24], int64_t v)
{
    (void)snprintf(buf, 24, "%lld", (long long)v);
    return buf;
}

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

static bool put_escaped(struct line *l, unsigned char c)
{
    char text[8];
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
        (void)snprintf(text, sizeof(text), "\\u%04x", c);
        return put(l, text, 6);
    }
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
    return n > 0 && n < 256 && str_is_text(s, n) && strpbrk(s, " =\"\\") == NULL;
}

static bool put_pair(struct line *l, bool json, const char *key, const char *value)
{
    size_t before = l->n;
    if (json) {
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

static void emit(struct line *l)
{
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

void log_write(enum log_level level, const char *room, const char *msg, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
    bool json = atomic_load_explicit(&g.json, memory_order_relaxed);
    int saved = errno;
    struct line l;
    char time[TIME_TEXT_MAX];

    l.n = 0;
    bool journal = atomic_load_explicit(&g.journal, memory_order_relaxed);
    if (journal)
        put_str(&l, priorities[level]);
    if (json)
        put(&l, "{", 1);
    if (!journal)
        put_pair(&l, json, "time", time_text(clock_now_ms(), time));
    put_pair(&l, json, "level", names[level]);
    put_pair(&l, json, "room", room);
    put_pair(&l, json, "msg", msg);

    va_list ap;
    va_start(ap, msg);
    for (const char *key; (key = va_arg(ap, const char *)) != NULL;) {
        const char *value = va_arg(ap, const char *);
        if (value && !put_pair(&l, json, key, value))
            break;
    }
    va_end(ap);
    put_end(&l, json ? "}\n" : "\n");
    emit(&l);
    errno = saved;
}
