/*
 * Foreign topics: which a type has, and which logins have a place among them, "TYPE/SN". A place
 * that two logins claim is nobody's. From the file `topics` beside the credentials, and as told
 * since; the file is taken over whole, or not at all.
 */
#include "plugin.h"

#include <errno.h>
#include <stdio.h>

struct pattern {
    struct pattern *next;
    bool write;
    char text[];
};

void places_init(struct places *p)
{
    *p = (struct places){0};
}

void places_beside(struct places *p, const char *credentials)
{
    const char *slash = strrchr(credentials, '/');
    struct sbuf b = {0};

    sbuf_add(&b, credentials, slash ? (size_t)(slash + 1 - credentials) : 0);
    sbuf_str(&b, "topics");
    free(p->file);
    p->file = sbuf_take(&b);
}

static void drop_types(struct places *p)
{
    size_t it = 0, n;
    const void *key;
    void *value;

    while (map_next(&p->types, &it, &key, &n, &value)) {
        struct pattern *one = value, *next;
        for (; one; one = next) {
            next = one->next;
            free(one);
        }
    }
    map_done(&p->types);
    p->types = (struct map){0};
}

void places_done(struct places *p)
{
    drop_types(p);
    map_done(&p->claims);
    free(p->file);
}

/* ---- claims ---- */
static uintptr_t claims_of(const struct places *p, const char *place)
{
    return (uintptr_t)map_get(&p->claims, place, strlen(place));
}

static void count(struct places *p, const char *place, int by)
{
    uintptr_t n = claims_of(p, place) + (uintptr_t)(intptr_t)by;

    if (n)
        (void)map_put(&p->claims, place, strlen(place), (void *)n);
    else
        (void)map_del(&p->claims, place, strlen(place));
}

void places_set(struct places *p, struct login *l, struct str place)
{
    if (l->place && place.p && str_eq(place, l->place))
        return;
    if (l->place)
        count(p, l->place, -1);
    free(l->place);
    l->place = place.p && place.n ? xstrndup(place.p, place.n) : NULL;
    if (l->place)
        count(p, l->place, 1);
}

/* ---- rights ---- */

/* A filter may have wildcards where it stays at the serial number: what it lets through is looked
 * at message by message, and nothing of others has to be. */
static bool is_near(const char *filter, const char *pattern, const char *sn)
{
    const char *name = strstr(pattern, "{sn}");
    size_t before = name ? (size_t)(name - pattern) : 0, level = 0;

    for (size_t i = 0; i < before; i++)
        level += pattern[i] == '/';
    for (; level > 0 && filter; level--)
        filter = (filter = strchr(filter, '/')) ? filter + 1 : NULL;
    return filter && str_eq((struct str){filter, strcspn(filter, "/")}, sn);
}

static bool covers(const char *filter, const char *pattern, const char *sn)
{
    char topic[512];
    const char *name = strstr(pattern, "{sn}");

    return name && is_near(filter, pattern, sn) &&
           str_fmt(topic, sizeof(topic), "%.*s%s%s", (int)(name - pattern), pattern, sn,
                   name + 4) &&
           topic_covers(filter, topic, NULL);
}

bool places_may(const struct places *p, const struct login *l, enum place_access access,
                const char *topic)
{
    const char *slash = l && l->place ? strchr(l->place, '/') : NULL;

    if (!slash || !l->hash || claims_of(p, l->place) != 1)
        return false;
    const struct pattern *one = map_get(&p->types, l->place, (size_t)(slash - l->place));
    for (; one; one = one->next) {
        if (one->write != (access == PLACE_PUBLISH))
            continue;
        if (topic_covers(one->text, topic, slash + 1) ||
            (access == PLACE_SUBSCRIBE && covers(topic, one->text, slash + 1)))
            return true;
    }
    return false;
}

/* ---- the file ---- */
static bool add_pattern(struct places *p, struct str type, bool write, struct str text)
{
    struct pattern *one = xmalloc(sizeof(*one) + text.n + 1);

    one->next = map_get(&p->types, type.p, type.n);
    one->write = write;
    memcpy(one->text, text.p, text.n);
    one->text[text.n] = '\0';
    (void)map_put(&p->types, type.p, type.n, one);
    return true;
}

/* The next word of a line; n 0 at its end. */
static struct str word(const char **at, const char *end)
{
    const char *from = *at;

    while (from < end && *from == ' ')
        from++;
    *at = from;
    while (*at < end && **at != ' ')
        (*at)++;
    return (struct str){from, (size_t)(*at - from)};
}

/* p NULL: only look whether it is well formed. */
static bool take_line(struct places *p, struct logins *l, const char *line, size_t n,
                      int64_t now_us)
{
    const char *at = line, *end = line + n;
    struct str kind = word(&at, end), a = word(&at, end), b = word(&at, end), c = word(&at, end);
    bool is_type = str_eq(kind, "type"), write = str_eq(b, "write");

    if (n == 0 || *line == '#')
        return true;
    if (is_type ? !c.n || !(write || str_eq(b, "read")) : !str_eq(kind, "device") || !b.n || c.n)
        return false;
    if (!p)
        return true;
    if (is_type)
        return add_pattern(p, a, write, c);
    struct login *one = map_get(&l->map, a.p, a.n);
    if (one) {
        one->place_round = l->round;
        if (!login_was_told(one, now_us))
            places_set(p, one, b);
        else if (!one->place || !str_eq(b, one->place))
            logins_disagree(l, one);
    }
    return true;
}

static int each_line(struct places *p, struct logins *l, const char *text, size_t n, int64_t now_us)
{
    int lines = 0;

    for (const char *at = text, *end = text + n, *eol; at < end; at = eol + 1) {
        eol = memchr(at, '\n', (size_t)(end - at));
        if (!eol || !take_line(p, l, at, (size_t)(eol - at), now_us))
            return E_PROTO;
        lines++;
    }
    return lines;
}

/* Whom the file did not name. */
static void drop_absent(struct places *p, struct logins *l, int64_t now_us)
{
    size_t it = 0, n;
    const void *key;
    void *value;

    while (map_next(&l->map, &it, &key, &n, &value)) {
        struct login *one = value;
        if (!one->place || one->place_round == l->round)
            continue;
        if (!login_was_told(one, now_us))
            places_set(p, one, (struct str){NULL, 0});
        else
            logins_disagree(l, one);
    }
}

int places_load(struct places *p, struct logins *l, int64_t now_us, struct fail *f)
{
    AUTO(free) char *text = NULL;
    size_t n;
    int rc = logins_slurp(p->file, &text, &n, f);

    if (rc < 0)
        return rc;
    if (each_line(NULL, l, text, n, now_us) < 0)
        return fail(f, E_PROTO, "%s: a line is neither a type's nor a device's; none is used",
                    p->file);
    drop_types(p);
    rc = each_line(p, l, text, n, now_us);
    drop_absent(p, l, now_us);
    return rc;
}
