/*
 * The firmwares of one type and module in the order of their versions, computed once for each
 * snapshot: who is newer than whom, who is of the same version, which are floors, and which
 * version leads to which delta. Decisions then compare numbers. Who gets what is decided in update.
 */
#include "catalog_priv.h"

void candidates_add(struct candidates *l, struct firmware *fw, struct arena *a)
{
    if (l->n == l->cap) {
        struct firmware **bigger;

        l->cap = l->cap ? l->cap * 2 : 4;
        bigger = arena_alloc(a, l->cap * sizeof(struct firmware *));
        if (l->n)
            memcpy(bigger, l->list, l->n * sizeof(struct firmware *));
        l->list = bigger;
    }
    l->list[l->n++] = fw;
}

static int newest_first(const struct firmware *x, const struct firmware *y)
{
    return x->id < y->id ? 1 : x->id > y->id ? -1 : 0;
}

static int by_version(const void *a, const void *b, void *arg)
{
    const struct firmware *x = *(const struct firmware *const *)a;
    const struct firmware *y = *(const struct firmware *const *)b;
    int d = version_compare(*(const enum version_scheme *)arg, y->version, x->version);

    return d != 0 ? d : newest_first(x, y);
}

/* Opaque: those of one version together, full images before deltas. */
static int by_name(const void *a, const void *b)
{
    const struct firmware *x = *(const struct firmware *const *)a;
    const struct firmware *y = *(const struct firmware *const *)b;
    int d = strcmp(x->version, y->version);

    if (d != 0)
        return d;
    return (x->n_sources > 0) != (y->n_sources > 0) ? (x->n_sources > 0) - (y->n_sources > 0)
                                                    : newest_first(x, y);
}

/* Opaque: rank holds the id that the version goes by. */
static int by_place(const void *a, const void *b)
{
    const struct firmware *x = *(const struct firmware *const *)a;
    const struct firmware *y = *(const struct firmware *const *)b;

    return x->rank < y->rank ? 1 : x->rank > y->rank ? -1 : newest_first(x, y);
}

static bool same_version(const struct candidates *l, const char *a, const char *b)
{
    return version_compare(l->scheme, a, b) == 0;
}

static void sort(struct candidates *l)
{
    if (l->scheme != VERSION_OPAQUE) {
        qsort_r(l->list, l->n, sizeof(*l->list), by_version, &l->scheme);
        return;
    }
    qsort(l->list, l->n, sizeof(*l->list), by_name);
    for (size_t i = 0; i < l->n; i++)
        l->list[i]->rank = i > 0 && strcmp(l->list[i - 1]->version, l->list[i]->version) == 0
                               ? l->list[i - 1]->rank
                               : (size_t)l->list[i]->id;
    qsort(l->list, l->n, sizeof(*l->list), by_place);
}

/* From the lowest version up, so that ranks rise with it. */
static void number(struct candidates *l)
{
    size_t rank = 0, from;

    for (size_t end = l->n; end > 0; end = from) {
        from = end - 1;
        while (from > 0 && same_version(l, l->list[from - 1]->version, l->list[end - 1]->version))
            from--;
        rank++;
        for (size_t i = from; i < end; i++) {
            l->list[i]->rank = rank;
            l->list[i]->peers = (const struct firmware *const *)l->list + from;
            l->list[i]->n_peers = end - from;
        }
    }
}

static void collect_floors(struct candidates *l, struct arena *a)
{
    for (size_t i = 0; i < l->n; i++)
        l->n_floors += l->list[i]->must_pass;
    if (l->n_floors == 0)
        return;
    l->floors = arena_alloc(a, l->n_floors * sizeof(struct firmware *));
    for (size_t i = l->n, k = 0; i > 0; i--)
        if (l->list[i - 1]->must_pass)
            l->floors[k++] = l->list[i - 1];
}

/* The first of that version; NULL: there is none. */
static const struct firmware *find(const struct candidates *l, const char *version)
{
    size_t low = 0, high = l->n;

    if (l->scheme == VERSION_OPAQUE) {
        for (size_t i = 0; i < l->n; i += l->list[i]->n_peers)
            if (strcmp(l->list[i]->version, version) == 0)
                return l->list[i];
        return NULL;
    }
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (version_compare(l->scheme, l->list[mid]->version, version) > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < l->n && same_version(l, l->list[low]->version, version) ? l->list[low] : NULL;
}

static void link_sources(const struct candidates *l, struct firmware *fw, struct arena *a)
{
    size_t *from = arena_alloc(a, fw->n_sources * sizeof(*from));

    for (size_t i = 0; i < fw->n_sources; i++) {
        const struct firmware *source = find(l, fw->source_versions[i]);

        if (source)
            from[fw->n_from++] = source->rank;
    }
    fw->from = from;
}

void candidates_finish(struct candidates *l, struct arena *a)
{
    sort(l);
    number(l);
    collect_floors(l, a);
    for (size_t i = 0; i < l->n; i++)
        if (l->list[i]->n_sources > 0)
            link_sources(l, l->list[i], a);
}
