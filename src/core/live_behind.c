/*
 * Who stands behind a gateway goes with it: when a gateway is told to be offline, so are those of
 * which it said that they are there, at any depth, a few per tick. They are online again by its
 * word: with the first message that speaks of them. Memory alone; the rows keep what the gateway
 * said.
 */
#include "core_priv.h"

#define SLICE     500    /* devices looked at per tick */
#define PAGE      100    /* read in one go */
#define NODES_MAX 200000 /* devices whose followers wait to be told of */
#define AWAY_MAX  200000

/* What is right behind it is to be told of, from after on. */
struct live_node {
    struct live_node *next;
    int64_t id, project_id, after;
};
/* Told to be offline, because of its gateway. */
struct live_away {
    int64_t project_id;
    char key[];
};

void live_behind_left(struct live *l, int64_t id, int64_t project_id)
{
    if (l->n_nodes >= NODES_MAX)
        return;
    struct live_node *n = xcalloc(1, sizeof(*n));
    *n = (struct live_node){.id = id, .project_id = project_id};
    *(l->last_node ? &l->last_node->next : &l->nodes) = n;
    l->last_node = n;
    l->n_nodes++;
}

struct walk {
    struct core *c;
    struct live_node *node;
    int n;
};

static int one(void *arg, const struct device_near *d)
{
    struct walk *w = arg;
    struct live *l = &w->c->live;

    w->n++;
    w->node->after = d->id;
    if (d->leads_on)
        live_behind_left(l, d->id, w->node->project_id);
    if (d->online != 1 || l->away.count >= AWAY_MAX || map_get(&l->away, &d->id, sizeof(d->id)))
        return 0;
    size_t n = strlen(d->key) + 1;
    struct live_away *a = xmalloc(sizeof(*a) + n);
    a->project_id = w->node->project_id;
    memcpy(a->key, d->key, n);
    (void)map_put(&l->away, &d->id, sizeof(d->id), a);
    live_tell(w->c, d->key, w->node->project_id, false);
    return 0;
}

void live_behind_tick(struct core *c)
{
    struct live *l = &c->live;
    int looked = 0;

    while (l->nodes && looked < SLICE) {
        struct walk w = {c, l->nodes, 0};
        int rc = device_behind_list(c->reader, w.node->id, w.node->after, PAGE, one, &w);

        looked += w.n + 1;
        if (rc == 0 && w.n == PAGE)
            continue;
        l->nodes = w.node->next;
        if (!l->nodes)
            l->last_node = NULL;
        l->n_nodes--;
        free(w.node);
    }
}

void live_behind_seen(struct core *c, const struct answers *out)
{
    struct live *l = &c->live;

    for (size_t i = 0; l->away.count > 0 && i < out->n_left; i++)
        free(map_del(&l->away, &out->left[i], sizeof(out->left[i]))); /* that was told */
    for (size_t i = 0; l->away.count > 0 && i < out->n_seen; i++) {
        struct live_away *a = map_del(&l->away, &out->seen[i], sizeof(out->seen[i]));

        if (a)
            live_tell(c, a->key, a->project_id, true);
        free(a);
    }
}

void live_behind_done(struct live *l)
{
    const void *key;
    void *value;
    size_t it = 0, n;

    while (map_next(&l->away, &it, &key, &n, &value))
        free(value);
    map_done(&l->away);
    for (struct live_node *next; l->nodes; l->nodes = next) {
        next = l->nodes->next;
        free(l->nodes);
    }
}
