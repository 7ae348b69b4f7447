/*
 * Log: one line per call, one write(2) per line, to stderr. Under systemd (JOURNAL_STREAM is set)
 * a line starts with "<priority>" and carries no time, as the journal adds its own; elsewhere it
 * starts with the time. A line that the level of its room leaves out goes to the ring, from which
 * it comes out when the process dies. Levels and format are set at start, and again at a reload.
 */
#include "log_line.h"

#include <stdatomic.h>

/* The rooms as src/ has them: each may have a level of its own. */
static const char *const rooms[] = {
    "util",    "crypto", "json",     "conf",    "loop",   "db",     "store",
    "audit",   "event",  "campaign", "catalog", "device", "update", "task",
    "dialect", "mqtt",   "http",     "webhook", "api",    "core",   "daemon",
};
#define NO_LEVEL (-1)

static struct {
    _Atomic int level, room_level[ARRAY_LEN(rooms)]; /* of a room: NO_LEVEL or its own */
    _Atomic bool mixed;                              /* some room has one */
    _Atomic bool json, journal;
} g = {.level = LOG_INFO};

static int room_index(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(rooms); i++)
        if (strlen(rooms[i]) == n && memcmp(rooms[i], name, n) == 0)
            return (int)i;
    return -1;
}

static const char *nearest_room(const char *name)
{
    const char *nearest = "";
    unsigned best = ~0u;
    for (size_t i = 0; i < ARRAY_LEN(rooms); i++) {
        unsigned d = str_distance(name, rooms[i]);
        if (d < best) {
            best = d;
            nearest = rooms[i];
        }
    }
    return nearest;
}

static int level_of(const char *name)
{
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++)
        if (strcmp(log_level_names[i], name) == 0)
            return i;
    return NO_LEVEL;
}

/* One "room=level". */
static int parse_room(const char *text, size_t n, int levels[ARRAY_LEN(rooms)], struct fail *f)
{
    char word[64], *value;
    if (n >= sizeof(word))
        return fail(f, E_PROTO, "'%.40s…' is no room=level, such as mqtt=debug", text);
    memcpy(word, text, n);
    word[n] = '\0';
    value = strchr(word, '=');
    if (!value)
        return fail(f, E_PROTO, "'%s' is no room=level, such as mqtt=debug", word);
    *value++ = '\0';
    int index = room_index(word, strlen(word)), level = level_of(value);
    if (index < 0)
        return fail(f, E_PROTO, "'%s' is no room; the nearest is %s", word, nearest_room(word));
    if (level == NO_LEVEL)
        return fail(f, E_PROTO, "%s: '%s' is not one of error|warn|info|debug", word, value);
    if (levels[index] != NO_LEVEL)
        return fail(f, E_PROTO, "%s stands twice; keep one of them", word);
    levels[index] = level;
    return 0;
}

static int parse_rooms(const char *text, int levels[ARRAY_LEN(rooms)], struct fail *f)
{
    for (size_t i = 0; i < ARRAY_LEN(rooms); i++)
        levels[i] = NO_LEVEL;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ,");
        int rc = n > 0 ? parse_room(p, n, levels, f) : 0;
        if (rc < 0)
            return rc;
        p += n + (p[n] != '\0');
    }
    return 0;
}

int log_rooms_check(const char *text, struct fail *f)
{
    int levels[ARRAY_LEN(rooms)];
    return parse_rooms(text, levels, f);
}

void log_rooms_set(const char *text)
{
    int levels[ARRAY_LEN(rooms)];
    bool mixed = false;
    if (parse_rooms(text, levels, NULL) < 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(rooms); i++) {
        atomic_store(&g.room_level[i], levels[i]);
        mixed |= levels[i] != NO_LEVEL;
    }
    atomic_store(&g.mixed, mixed);
}

void log_setup(enum log_level level, bool json)
{
    const char *stream = getenv("JOURNAL_STREAM");
    atomic_store(&g.level, (int)level);
    atomic_store(&g.json, json);
    atomic_store(&g.journal, stream && *stream);
    log_rooms_set("");
}

static bool is_printed(enum log_level level, const char *room)
{
    int bound = atomic_load_explicit(&g.level, memory_order_relaxed);
    if (atomic_load_explicit(&g.mixed, memory_order_relaxed)) {
        int index = room_index(room, strlen(room));
        int own =
            index < 0 ? NO_LEVEL : atomic_load_explicit(&g.room_level[index], memory_order_relaxed);
        bound = own == NO_LEVEL ? bound : own;
    }
    return (int)level <= bound;
}

const char *log_int(char buf[24], int64_t v)
{
    char text[24], *p = text + sizeof(text) - 1;
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
    *p = '\0';
    do
        *--p = (char)('0' + u % 10);
    while ((u /= 10) > 0);
    if (v < 0)
        *--p = '-';
    return memcpy(buf, p, (size_t)(text + sizeof(text) - p));
}

void log_write(enum log_level level, const char *room, const char *msg, ...)
{
    int saved = errno;
    struct line l;
    va_list ap;

    va_start(ap, msg);
    if (!is_printed(level, room)) {
        ring_add(level, room, msg, ap);
    } else {
        bool journal = atomic_load_explicit(&g.journal, memory_order_relaxed);
        line_begin(&l, atomic_load_explicit(&g.json, memory_order_relaxed), journal, level,
                   journal ? 0 : clock_now_ms());
        line_pair(&l, "room", room);
        line_pair(&l, "msg", msg);
        for (const char *key; (key = va_arg(ap, const char *)) != NULL;) {
            const char *value = va_arg(ap, const char *);
            if (value && !line_pair(&l, key, value))
                break;
        }
        line_emit(&l);
    }
    va_end(ap);
    errno = saved;
}

void log_write_kept(enum log_level level, int64_t at_ms, const char *text, size_t n)
{
    const char *end = text + n, *key = "room";
    struct line l;

    line_begin(&l, atomic_load_explicit(&g.json, memory_order_relaxed),
               atomic_load_explicit(&g.journal, memory_order_relaxed), level, at_ms);
    for (int i = 0; text < end && line_pair(&l, key, text); i++) {
        text += strlen(text) + 1;
        key = "msg";
        if (i == 0)
            continue;
        key = text;
        text += strlen(text) + 1;
    }
    line_emit(&l);
}
