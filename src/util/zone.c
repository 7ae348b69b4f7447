/*
 * Time zones from the system's files (RFC 8536): the 64-bit block of transitions, and the rule
 * that holds after the last of them. Leap seconds are passed over: POSIX time has none.
 */
#include "zone.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER    "/usr/share/zoneinfo/"
#define FILE_MAX  (256 * 1024)
#define HEAD      44
#define TIMES_MAX 20000
#define SPAN_S    (26 * 3600) /* no offset is further from UTC */

struct zone {
    size_t n;
    int64_t *times;   /* ascending; n */
    int32_t *offsets; /* offsets[i] holds from times[i-1] on; n + 1 */
    bool has_rule;
    struct tz_rule rule;
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be64(const uint8_t *p)
{
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

struct counts {
    size_t isut, isstd, leap, times, types, chars;
};

/* Reads a header; the length of the block behind it, or 0 when it is none. */
static size_t header(const uint8_t *p, size_t n, size_t time_size, struct counts *c)
{
    if (n < HEAD || memcmp(p, "TZif", 4) != 0 || p[4] < '2')
        return 0;
    *c = (struct counts){be32(p + 20), be32(p + 24), be32(p + 28),
                         be32(p + 32), be32(p + 36), be32(p + 40)};
    if (c->types == 0 || c->types > 256 || c->times > TIMES_MAX || c->chars > 4096 ||
        c->leap > 4096 || c->isut > 256 || c->isstd > 256)
        return 0;
    size_t len = c->times * (time_size + 1) + c->types * 6 + c->chars + c->leap * (time_size + 4) +
                 c->isstd + c->isut;
    return len <= n - HEAD ? len : 0;
}

static int fill(struct zone *z, const uint8_t *p, const struct counts *c)
{
    const uint8_t *index = p + c->times * 8, *types = index + c->times;

    z->n = c->times;
    z->times = xcalloc(c->times + 1, sizeof(*z->times));
    z->offsets = xcalloc(c->times + 1, sizeof(*z->offsets));
    z->offsets[0] = (int32_t)be32(types);
    for (size_t i = 0; i < c->times; i++) {
        z->times[i] = be64(p + 8 * i);
        if (index[i] >= c->types || (i > 0 && z->times[i] <= z->times[i - 1]))
            return E_PROTO;
        z->offsets[i + 1] = (int32_t)be32(types + 6 * (size_t)index[i]);
    }
    for (size_t i = 0; i <= c->times; i++)
        if (z->offsets[i] > SPAN_S || z->offsets[i] < -SPAN_S)
            return E_PROTO;
    return 0;
}

int zone_parse(const void *bytes, size_t n, struct zone **ret)
{
    AUTO(zone_free) struct zone *z = xcalloc(1, sizeof(*z));
    const uint8_t *p = bytes, *end = p + n;
    struct counts c;
    size_t len = header(p, n, 4, &c);

    if (len == 0)
        return E_PROTO;
    p += HEAD + len;
    len = header(p, (size_t)(end - p), 8, &c);
    if (len == 0 || fill(z, p + HEAD, &c) < 0)
        return E_PROTO;
    p += HEAD + len;
    if (p == end || *p++ != '\n')
        return E_PROTO;
    const uint8_t *line = memchr(p, '\n', (size_t)(end - p));
    if (!line)
        return E_PROTO;
    z->has_rule = line > p;
    if (z->has_rule && tz_rule_parse((const char *)p, (size_t)(line - p), &z->rule) < 0)
        return E_PROTO;
    *ret = TAKE(z);
    return 0;
}

int zone_load(const char *name, struct zone **ret)
{
    AUTO(free) uint8_t *bytes = NULL;
    char path[160];
    struct stat st;
    size_t n = 0;
    int fd, rc = E_NOTFOUND;

    if (!str_is_text(name, strlen(name)) || name[0] == '/' || !name[0] || strstr(name, "..") ||
        !str_fmt(path, sizeof(path), FOLDER "%s", name))
        return E_NOTFOUND;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX) {
        ssize_t got = 1;
        bytes = xmalloc((size_t)st.st_size + 1);
        while (got > 0 && n < (size_t)st.st_size) {
            got = read(fd, bytes + n, (size_t)st.st_size - n);
            n += got > 0 ? (size_t)got : 0;
        }
        rc = zone_parse(bytes, n, ret) == 0 ? 0 : E_NOTFOUND;
    }
    if (fd >= 0)
        close(fd);
    if (rc < 0 && strcmp(name, "UTC") == 0) { /* also where the system has no files at all */
        struct zone *z = xcalloc(1, sizeof(*z));
        z->offsets = xcalloc(1, sizeof(*z->offsets));
        *ret = z;
        return 0;
    }
    return rc;
}

void zone_free(struct zone *z)
{
    if (!z)
        return;
    free(z->times);
    free(z->offsets);
    free(z);
}

/* How many transitions are not after the instant. */
static size_t passed(const struct zone *z, int64_t utc_s)
{
    size_t lo = 0, hi = z->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (z->times[mid] <= utc_s)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

int32_t zone_offset(const struct zone *z, int64_t utc_s)
{
    size_t i = passed(z, utc_s);

    return i == z->n && z->has_rule && (z->n == 0 || utc_s >= z->times[z->n - 1])
               ? tz_rule_offset(&z->rule, utc_s)
               : z->offsets[i];
}

static void note(int64_t *list, size_t *n, size_t cap, int64_t t, int64_t from, int64_t to)
{
    size_t i = *n;

    if (t <= from || t >= to || *n == cap)
        return;
    for (; i > 0 && list[i - 1] > t; i--)
        list[i] = list[i - 1];
    list[i] = t;
    (*n)++;
}

/* Instants within (from, to) at which the offset may change, ascending. */
static size_t changes(const struct zone *z, int64_t from, int64_t to, int64_t *list, size_t cap)
{
    int64_t last = z->n ? z->times[z->n - 1] : INT64_MIN, year, start, end;
    int month, day;
    size_t n = 0;

    for (size_t i = passed(z, from); i < z->n && z->times[i] < to; i++)
        note(list, &n, cap, z->times[i], from, to);
    if (!z->has_rule || !z->rule.has_daylight || to <= last)
        return n;
    civil_date(floor_div(from, DAY_S), &year, &month, &day);
    for (int64_t y = year - 1; y <= year + 1; y++) {
        tz_rule_year(&z->rule, y, &start, &end);
        if (start > last)
            note(list, &n, cap, start, from, to);
        if (end > last)
            note(list, &n, cap, end, from, to);
    }
    return n;
}

int64_t zone_instant(const struct zone *z, int64_t local_s)
{
    int64_t list[32], from = local_s - SPAN_S, to = local_s + SPAN_S;
    size_t n = changes(z, from, to, list, ARRAY_LEN(list));

    for (size_t i = 0; i <= n; i++) {
        int64_t since = i ? list[i - 1] : from, until = i < n ? list[i] : to + 1;
        int64_t t = local_s - zone_offset(z, since);

        if (t < since) /* clocks were set past it at `since` */
            return since;
        if (t < until)
            return t;
    }
    return to;
}

const struct zone *zone_named(const char *name)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct map known; /* only what there is: as many as the system has files */
    size_t n = strlen(name);
    struct zone *z;

    pthread_mutex_lock(&lock);
    z = map_get(&known, name, n);
    if (!z && zone_load(name, &z) == 0)
        map_put(&known, name, n, z);
    pthread_mutex_unlock(&lock);
    return z;
}
