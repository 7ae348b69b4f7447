/*
 * util: what every room needs and libc lacks. Errors, memory, strings, numbers, maps, clocks,
 * time zones, version comparison, logging and metrics. Depends on libc alone.
 */
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUST_USE     __attribute__((warn_unused_result))
#define PRINTF(a, b) __attribute__((format(printf, a, b)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define UNUSED       __attribute__((unused))

/* Locals that clean themselves: AUTO(free) char *s = …; hand over with TAKE(s). */
#define AUTO(fn) __attribute__((cleanup(auto_##fn)))
#define TAKE(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) take_ = (p);                                                                 \
        (p) = NULL;                                                                                \
        take_;                                                                                     \
    })
static inline void auto_free(void *p)
{
    free(*(void **)p);
}

/* ---- errors: 0 or a negative code; errno values where they fit, our own from -1000 ---- */
enum err {
    E_NOTFOUND = -1000, /* no such thing */
    E_CONFLICT = -1001, /* it exists already, or its state forbids this */
    E_PROTO = -1002,    /* malformed input */
    E_AUTH = -1003,     /* not authenticated */
    E_FORBIDDEN = -1004,
    E_LIMIT = -1005,        /* a bound on a size or a rate was reached */
    E_DB = -1006,           /* the database failed */
    E_DB_FULL = -1007,      /* no space left for the database */
    E_NEEDS_WRITE = -1008,  /* a write was asked of a read-only handle: run again on the writer */
    E_PRECONDITION = -1009, /* If-Match did not match */
    E_GONE = -1010,
    E_UNAVAILABLE = -1011, /* try again later */
    E_UNSUPPORTED = -1012,
};
/* A short lower-case word for rc, never NULL ("not found", "no space left"). Any thread. */
const char *err_str(int rc);
/* The HTTP status for rc (0 gives 200). Any thread. */
int err_http(int rc);

/* The sentence that a person reads, beside the code. */
struct fail {
    int rc;
    char text[256];
};
/* Fill *f (which may be NULL) and return rc: `return fail(f, E_CONFLICT, "…");` */
int fail(struct fail *f, int rc, const char *fmt, ...) PRINTF(3, 4);
/* Put words in front of f->text on the way up. Returns f->rc. f may be NULL (then 0). */
int fail_prefix(struct fail *f, const char *fmt, ...) PRINTF(2, 3);

/* ---- memory: these abort when it runs out; bound sizes from outside first ---- */
void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));

/* An arena: everything allocated from it lives until arena_reset or arena_done. One thread. */
struct arena {
    struct arena_block *head;
    size_t used;  /* bytes used in the head block */
    size_t total; /* bytes handed out since the last reset */
};
void arena_init(struct arena *a);
void arena_done(struct arena *a);  /* frees all; the arena may be used again */
void arena_reset(struct arena *a); /* forgets all, keeps one block */
void *arena_alloc(struct arena *a, size_t n)
    __attribute__((malloc, returns_nonnull));       /* zeroed, 16-aligned */
char *arena_strdup(struct arena *a, const char *s); /* NULL gives NULL */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF(2, 3);

/* ---- strings ---- */
/* A view: not NUL-terminated, not owned. */
struct str {
    const char *p;
    size_t n;
};
#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
static inline struct str str_of(const char *s)
{
    return (struct str){s, s ? strlen(s) : 0};
}
static inline bool str_eq(struct str a, const char *b)
{
    return a.n == strlen(b) && memcmp(a.p, b, a.n) == 0;
}

/* A growing string; always NUL-terminated once something was added. Heap; sbuf_done frees. */
struct sbuf {
    char *p;
    size_t n, cap;
};
void sbuf_done(struct sbuf *b);
void sbuf_add(struct sbuf *b, const void *p, size_t n);
void sbuf_str(struct sbuf *b, const char *s);
void sbuf_int(struct sbuf *b, int64_t v); /* decimal */
void sbuf_fmt(struct sbuf *b, const char *fmt, ...) PRINTF(2, 3);
char *sbuf_take(struct sbuf *b); /* the caller frees; never NULL */

/* Copy with truncation; returns false when it did not fit. dst is always terminated. */
bool str_copy(char *dst, size_t cap, const char *src);
/* snprintf that returns false on truncation. */
bool str_fmt(char *dst, size_t cap, const char *fmt, ...) PRINTF(3, 4);
/* Bytes of the well-formed UTF-8 sequence that s (n > 0 bytes) starts with, 0 when it is none. */
size_t str_utf8(const char *s, size_t n);
/* True for well-formed UTF-8 without NUL and control characters (C0, DEL, C1). */
bool str_is_text(const char *s, size_t n);
/* True for 1..max characters out of A-Z a-z 0-9 and . _ - : @ + (keys in topics, paths, files). */
bool str_is_key(const char *s, size_t max);
/* How far apart two words are (Levenshtein, ignoring case), for "did you mean". */
unsigned str_distance(const char *a, const char *b);

/* True when an MQTT pattern covers a whole topic or filter. In the pattern "+" is one level, a
 * last "#" the rest, "%u" (and "{sn}") the level that is user (NULL: none is). */
bool topic_covers(const char *pattern, const char *topic, const char *user);
/* Whether any topic is covered by both patterns, whatever the names in them are. */
bool topic_patterns_meet(const char *a, const char *b);

/* ---- numbers and encodings ---- */
/* Decimal, whole string, within [min,max]: 0, or -EINVAL / -ERANGE. */
int num_parse(const char *s, int64_t min, int64_t max, int64_t *ret) MUST_USE;
void hex_encode(const void *p, size_t n, char *ret); /* 2n+1 bytes, lower case */
int hex_decode(const char *s, size_t n,
               void *ret) MUST_USE; /* n hex digits -> n/2 bytes; -EINVAL */
size_t b64url_encode(const void *p, size_t n,
                     char *ret); /* no padding; returns length; NUL added */
int b64url_decode(const char *s, size_t n, void *ret, size_t cap) MUST_USE; /* bytes, or -EINVAL */
size_t b64_encode(const void *p, size_t n, char *ret); /* padded; returns length; NUL added */
uint32_t crc32_update(uint32_t crc, const void *p, size_t n); /* IEEE 802.3; start with 0 */
void rand_bytes(void *p, size_t n);                           /* from the kernel */
uint64_t rand_u64(void);
uint64_t hash_bytes(const void *p, size_t n); /* SipHash-1-3 keyed at process start: for tables */

/* ---- maps: keys are copied, values are the caller's. One thread. ---- */
struct map {
    struct map_slot *slots;
    size_t count, cap;
};
void map_done(struct map *m); /* frees the table and the keys, not the values */
void *map_get(const struct map *m, const void *key, size_t n);
void *map_put(struct map *m, const void *key, size_t n, void *value); /* returns the old value */
void *map_del(struct map *m, const void *key, size_t n);              /* returns the value */
/* Walk: size_t it = 0; while (map_next(m, &it, &key, &n, &value)) …; no change while walking. */
bool map_next(const struct map *m, size_t *it, const void **key, size_t *n, void **value);

/* ---- sets of ids ---- */
struct id_list { /* sorted ascending, no doubles */
    int64_t *ids;
    size_t n;
};
bool id_list_has(const struct id_list *list, int64_t id);

/* ---- clocks: ms UTC for what is stored, monotonic for what is measured ---- */
int64_t clock_now_ms(void);  /* wall clock, ms UTC */
int64_t clock_mono_us(void); /* monotonic, microseconds */
/* For tests: clock_now_ms() answers this from now on; 0 gives the real clock back. */
void clock_fake_ms(int64_t ms);
/* Starts as the wall clock and then never jumps, whoever sets that: for rates. ms. Any thread. */
int64_t clock_steady_ms(void);
void clock_fake_steady_ms(int64_t ms); /* for tests; 0 gives the real one back */
#define TIME_TEXT_MAX 32
/* RFC 3339 UTC with milliseconds, "2024-08-08T09:37:20.093Z". Returns buf. Any thread. */
const char *time_text(int64_t ms, char buf[TIME_TEXT_MAX]);
/* RFC 3339 with any offset and 0-9 fraction digits -> ms UTC; -EINVAL. */
int time_parse(const char *s, int64_t *ret_ms) MUST_USE;

/* ---- calendar and time zones (RFC 8536 files of the system) ---- */
#define DAY_S 86400
/* Days since 1970-01-01 of a date, and back. */
int64_t civil_days(int64_t year, int month, int day);
void civil_date(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day);
static inline int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}
static inline int civil_weekday(int64_t days) /* Sunday is 0 */
{
    return (int)(((days + 4) % 7 + 7) % 7);
}
struct zone;
/* A zone by its IANA name; E_NOTFOUND when the system has none such. Reads one small file. */
int zone_load(const char *name, struct zone **ret) MUST_USE;
/* From the bytes of a file (TZif, version 2 and later): E_PROTO. Pure. */
int zone_parse(const void *p, size_t n, struct zone **ret) MUST_USE;
void zone_free(struct zone *z);
static inline void auto_zone_free(struct zone **z)
{
    zone_free(*z);
}
/* Seconds east of UTC at an instant (seconds UTC). */
int32_t zone_offset(const struct zone *z, int64_t utc_s);
/* The instant at which clocks on the wall show local_s (seconds since 1970-01-01 00:00 there).
 * Twice (clocks were set back): the first. Never (set ahead): the first instant after the gap. */
int64_t zone_instant(const struct zone *z, int64_t local_s);
/* A zone by its name, loaded once and kept for good; NULL when the system has none such. Any
 * thread. */
const struct zone *zone_named(const char *name);

/* ---- versions (rules: 1–64 printable characters, at least one letter or digit) ---- */
#define VERSION_MAX 64
enum version_scheme { VERSION_AUTO, VERSION_SEMVER, VERSION_OPAQUE };
/* 0, or E_PROTO with a sentence in *f (may be NULL). For SEMVER also its grammar (2.0.0). */
int version_check(enum version_scheme scheme, const char *v, struct fail *f) MUST_USE;
/* <0, 0, >0. A total preorder for AUTO and SEMVER. OPAQUE: 0 when the text is equal, else by
 * strcmp, so that it is total too; who needs upload order compares ids. */
int version_compare(enum version_scheme scheme, const char *a, const char *b);

/* ---- log: one line per call to stderr, logfmt or JSON, with <N> priority under systemd ---- */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_setup(enum log_level level, bool json); /* all rooms at that level */
/* Rooms that log at a level of their own: "mqtt=debug, db=warn". E_PROTO with the sentence. */
int log_rooms_check(const char *text, struct fail *f) MUST_USE;
void log_rooms_set(const char *text); /* after log_setup; nothing when the check refuses it */
/* Key-value pairs: name, value, name, value, …, NULL. Values are strings; NULL values are left
 * out. A line that the level of its room leaves out is kept in a ring (the last 512, of 200 bytes)
 * for log_dump; that takes 0.2 us or less, so a debug line may stand where much is done.
 * Any thread, also in a signal handler. Never pass a secret. */
void log_write(enum log_level level, const char *room, const char *msg, ...)
    __attribute__((sentinel));
#define LOG(level, room, ...) log_write(level, room, __VA_ARGS__, (char *)NULL)
#define KV(k, v)              (k), (v)
#define KV_INT(k, v)          (k), log_int((char[24]){0}, (int64_t)(v))
#define KV_RC(rc)             "error", err_str(rc)
const char *log_int(char buf[24], int64_t v); /* decimal; returns buf */
/* Write what the ring holds, oldest first. Any thread, also in a signal handler. */
void log_dump(void);

/* From now on abort, assert and faults dump the ring before they end the process. */
void crash_setup(void);
/* All signals but those of a crash: the mask of threads that leave signals to the main one. */
void crash_only(sigset_t *ret);

/* ---- metrics: process-wide, lock-free, from one explicit table in util/metric.c ---- */
enum metric {
#define METRIC(id, kind, name, label, help) id,
#include "util_metrics.def"
#undef METRIC
    METRIC__COUNT
};
void metric_add(enum metric m, int64_t n); /* counters; any thread */
void metric_set(enum metric m, int64_t v); /* gauges */
int64_t metric_get(enum metric m);
/* A duration into a histogram metric, microseconds. */
void metric_observe_us(enum metric m, int64_t us);
/* Prometheus text format 0.0.4, with process_* and otad_build_info. */
void metric_render(struct sbuf *out);

#define OTAD_VERSION "0.1.0"
