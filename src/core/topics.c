/*
 * What otad listens to at the broker: the topics of its protocols, and the foreign ones of device
 * types, which come and go with the catalog. The broker keeps the session, also while otad is away;
 * so what the session may have is a setting, and what is not wanted any more is given up with the
 * next connection.
 */
#include "core_priv.h"

#define SETTING "mqtt_topics" /* filters, a line each */

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

static char *lines_of(const char *const *filters)
{
    struct sbuf b = {.p = NULL};

    for (size_t i = 0; filters[i]; i++)
        sbuf_fmt(&b, "%s\n", filters[i]);
    return sbuf_take(&b);
}

/* Both, what is in either one once. */
static char *either(const char *lines, const char *more)
{
    struct sbuf b = {.p = NULL};
    struct map seen = {0};

    sbuf_str(&b, lines);
    for (const char *at = lines; *at; at += strcspn(at, "\n") + 1)
        (void)map_put(&seen, at, strcspn(at, "\n"), &seen);
    for (const char *at = more; *at; at += strcspn(at, "\n") + 1)
        if (!map_get(&seen, at, strcspn(at, "\n")))
            sbuf_fmt(&b, "%.*s\n", (int)strcspn(at, "\n"), at);
    map_done(&seen);
    return sbuf_take(&b);
}

static void set(char **at, char *text)
{
    free(*at);
    *at = text;
}

int topics_open(struct core *c, struct arena *a, const char *const **ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(c->reader, Q_SETTING_GET);
    const char **filters;
    size_t n = 0;

    db_bind_text(q, 1, SETTING);
    int rc = db_row(q);
    if (rc < 0 && rc != E_NOTFOUND)
        return rc;
    const char *stored = rc == 0 ? db_text(q, 0) : "";
    /* Nobody writes it but topics_store: each line ends. */
    c->topics.stored = xstrdup(*stored && stored[strlen(stored) - 1] != '\n' ? "" : stored);
    c->topics.wanted = lines_of(topics_filters(c, a));
    c->topics.held = either(c->topics.wanted, c->topics.stored);
    for (const char *at = c->topics.held; *at; at++)
        n += *at == '\n';
    filters = arena_alloc(a, (n + 1) * sizeof(*filters));
    n = 0;
    for (const char *at = c->topics.held; *at; at += strcspn(at, "\n") + 1)
        filters[n++] = arena_strndup(a, at, strcspn(at, "\n"));
    filters[n] = NULL;
    *ret = filters;
    return 0;
}

void topics_changed(struct core *c)
{
    struct fail f = {0};
    struct arena a;

    if (!c->rx)
        return;
    arena_init(&a);
    const char *const *filters = topics_filters(c, &a);
    if (mqtt_filters(c->rx, filters, &f) < 0)
        LOG(LOG_ERROR, "core", "topics can't be subscribed", KV("why", f.text));
    set(&c->topics.wanted, lines_of(filters));
    set(&c->topics.held, either(c->topics.wanted, c->topics.held));
    arena_done(&a);
}

bool topics_due(struct core *c)
{
    struct topics *t = &c->topics;

    if (c->rx_up && mqtt_owed(c->rx) == 0 && strcmp(t->held, t->wanted) != 0)
        set(&t->held, xstrdup(t->wanted));
    return strcmp(t->held, t->stored) != 0;
}

int topics_store(struct core *c)
{
    AUTO(db_reset) struct db_stmt *q = db_use(c->writer, Q_SETTING_PUT);

    db_bind_text(q, 1, SETTING);
    db_bind_text(q, 2, c->topics.held);
    set(&c->topics.writing, xstrdup(c->topics.held));
    return db_run(q);
}

void topics_settle(struct core *c, bool committed)
{
    char *text = TAKE(c->topics.writing);

    if (text && committed)
        set(&c->topics.stored, text);
    else
        free(text);
}

void topics_done(struct topics *t)
{
    free(t->wanted);
    free(t->held);
    free(t->stored);
    free(t->writing);
}
