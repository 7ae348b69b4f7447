/*
 * What otad listens to at the broker: the topics of its protocols, and the foreign ones of device
 * types, which come and go with the catalog.
 */
#include "core_priv.h"

const char *const *topics_filters(struct core *c, struct arena *a)
{
    const struct type_topic *const *mapped;
    size_t n_mapped = catalog_topics(c->catalog, &mapped), n = 0, cap = 2 + n_mapped;
    const char **filters;

    for (size_t i = 0; dialects[i]; i++)
        for (size_t k = 0; dialects[i]->filters[k]; k++)
            cap++;
    for (size_t k = 0; open_filters[k]; k++)
        cap++;
    filters = arena_alloc(a, cap * sizeof(*filters));
    filters[n++] = PLUGIN_PRESENCE_TOPIC;
    for (size_t i = 0; dialects[i]; i++)
        for (size_t k = 0; dialects[i]->filters[k]; k++)
            filters[n++] = dialects[i]->filters[k];
    for (size_t k = 0; open_filters[k]; k++)
        filters[n++] = open_filters[k];
    for (size_t i = 0; i < n_mapped; i++)
        filters[n++] = topic_with_sn(mapped[i]->pattern, str_of("+"), a);
    filters[n] = NULL;
    return filters;
}

void topics_changed(struct core *c)
{
    struct fail f = {0};
    struct arena a;

    if (!c->rx)
        return;
    arena_init(&a);
    if (mqtt_filters(c->rx, topics_filters(c, &a), &f) < 0)
        LOG(LOG_ERROR, "core", "topics can't be subscribed", KV("why", f.text));
    arena_done(&a);
}
