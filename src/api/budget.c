/*
 * What the downloads of a campaign may take together. One budget per campaign, made with its first
 * download and kept; its rate follows the declaration with the next one.
 */
#include "priv.h"

struct budgets {
    pthread_mutex_t lock;
    struct map map; /* campaign id -> struct http_budget */
};

struct budgets *budgets_new(void)
{
    struct budgets *b = xcalloc(1, sizeof(*b));

    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void budgets_free(struct budgets *b)
{
    const void *key;
    void *value;
    size_t it = 0, n;

    if (!b)
        return;
    while (map_next(&b->map, &it, &key, &n, &value))
        http_budget_unref(value);
    map_done(&b->map);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

struct http_budget *budgets_of(struct budgets *b, const struct campaign *c)
{
    const uint64_t rate = (uint64_t)c->kilobytes_per_second * 1000;

    if (rate == 0)
        return NULL;
    pthread_mutex_lock(&b->lock);
    struct http_budget *found = map_get(&b->map, &c->id, sizeof(c->id));
    if (!found) {
        found = http_budget_new(rate);
        (void)map_put(&b->map, &c->id, sizeof(c->id), found);
    } else {
        http_budget_set(found, rate);
    }
    pthread_mutex_unlock(&b->lock);
    return found;
}
