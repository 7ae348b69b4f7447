/*
 * The router: the rows of all tables, sorted so that at every segment a literal wins over :name
 * and that over *rest; the first that fits serves. A walk over some sixty rows costs less than
 * the rest of a request by two orders of magnitude, so there is no tree.
 */
#include "internal.h"

#include <assert.h>

struct row {
    const struct http_route *route;
    size_t literal; /* bytes before the first ':' or '*': compared at once */
};

struct router {
    struct row *rows;
    size_t count;
};

static const char *segment_end(const char *p)
{
    return p + strcspn(p, "/");
}

static int segment_rank(const char *p)
{
    return *p == '*' ? 2 : *p == ':' ? 1 : 0;
}

static int by_pattern(const char *a, const char *b)
{
    for (;;) {
        int ra = segment_rank(a), rb = segment_rank(b);
        if (ra != rb)
            return ra - rb;
        const char *ea = segment_end(a), *eb = segment_end(b);
        if (ra == 0) {
            size_t na = (size_t)(ea - a), nb = (size_t)(eb - b);
            int d = strncmp(a, b, na < nb ? na : nb);
            if (d != 0 || na != nb)
                return d != 0 ? d : na < nb ? -1 : 1;
        }
        if (!*ea || !*eb)
            return (*ea != 0) - (*eb != 0);
        a = ea + 1;
        b = eb + 1;
    }
}

static int by_precedence(const void *pa, const void *pb)
{
    const struct http_route *a = ((const struct row *)pa)->route;
    const struct http_route *b = ((const struct row *)pb)->route;
    int d = by_pattern(a->pattern + 1, b->pattern + 1);
    return d != 0 ? d : strcmp(a->method, b->method);
}

struct router *router_new(const struct http_route *const *tables)
{
    struct router *r = xcalloc(1, sizeof(*r));
    for (const struct http_route *const *t = tables; *t; t++)
        for (const struct http_route *row = *t; row->method; row++)
            r->count++;
    r->rows = xcalloc(r->count + 1, sizeof(*r->rows));
    size_t i = 0;
    for (const struct http_route *const *t = tables; *t; t++)
        for (const struct http_route *row = *t; row->method; row++) {
            assert(row->pattern[0] == '/');
            r->rows[i].route = row;
            r->rows[i++].literal = strcspn(row->pattern, ":*");
        }
    qsort(r->rows, r->count, sizeof(*r->rows), by_precedence);
    return r;
}

void router_free(struct router *r)
{
    if (!r)
        return;
    free(r->rows);
    free(r);
}

static void take(struct route_hit *hit, const char *name, size_t name_len, const char *value,
                 size_t value_len)
{
    assert(hit->param_count < PARAMS_MAX);
    hit->params[hit->param_count].name = name;
    hit->params[hit->param_count].name_len = name_len;
    hit->params[hit->param_count].value = value;
    hit->params[hit->param_count++].value_len = value_len;
}

static bool fits(const struct row *row, const char *path, struct route_hit *hit)
{
    const char *p = row->route->pattern;

    if (strncmp(p, path, row->literal) != 0)
        return false;
    p += row->literal;
    path += row->literal;
    hit->param_count = 0;
    while (*p) {
        if (*p == '*') {
            take(hit, p + 1, strlen(p + 1), path, strlen(path));
            return true;
        }
        const char *pe = segment_end(p), *se = segment_end(path);
        if (*p == ':') {
            if (se == path)
                return false;
            take(hit, p + 1, (size_t)(pe - p - 1), path, (size_t)(se - path));
        } else if (pe - p != se - path || strncmp(p, path, (size_t)(pe - p)) != 0) {
            return false;
        }
        if (*pe != *se)
            return false;
        p = *pe ? pe + 1 : pe;
        path = *se ? se + 1 : se;
    }
    return *path == '\0';
}

static bool serves(const struct http_route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static void allow_add(char *allow, size_t cap, const char *method)
{
    size_t n = strlen(method);
    for (const char *p = allow; (p = strstr(p, method)); p += n)
        if ((p[n] == '\0' || p[n] == ',') && (p == allow || p[-1] == ' '))
            return;
    size_t used = strlen(allow);
    str_fmt(allow + used, cap - used, "%s%s", used ? ", " : "", method);
}

void router_find(const struct router *r, const char *method, const char *path,
                 struct route_hit *ret)
{
    char allow[sizeof(ret->allow)] = "";

    for (size_t i = 0; i < r->count; i++) {
        const struct http_route *route = r->rows[i].route;
        if (!fits(&r->rows[i], path, ret))
            continue;
        if (serves(route, method)) {
            ret->route = route;
            ret->allow[0] = '\0';
            return;
        }
        allow_add(allow, sizeof(allow), route->method);
        if (strcmp(route->method, "GET") == 0)
            allow_add(allow, sizeof(allow), "HEAD");
    }
    ret->route = NULL;
    ret->param_count = 0;
    str_copy(ret->allow, sizeof(ret->allow), allow);
}
