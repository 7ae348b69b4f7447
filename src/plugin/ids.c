/*
 * Whose a client id is. The broker gives a session to whoever comes with its client id: a device
 * that took another's would throw it off and drop what waits for it. So an id belongs to the login
 * that is connected with it, and for some days to the one whose session was kept; the service's
 * are its own always, and it may take any back.
 */
#include "plugin.h"

#define KEPT_US  (INT64_C(7) * 86400 * 1000000) /* sessions are kept no longer, as configured */
#define KEPT_MAX 4                              /* per login, of those that are away */

struct holder {
    struct holder *next; /* of the same login, the newest first */
    struct login *login;
    struct session *session; /* NULL: it is away */
    int64_t left_us;
    bool reserved; /* for the service, in its absence too */
    char id[];
};

void ids_init(struct ids *d, struct login *service)
{
    *d = (struct ids){.service = service};
}

static struct holder *find(const struct ids *d, const char *id)
{
    return map_get(&d->map, id, strlen(id));
}

static void unlink_holder(struct holder *h)
{
    struct holder **at = &h->login->ids;

    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
}

static void drop(struct ids *d, struct holder *h)
{
    unlink_holder(h);
    (void)map_del(&d->map, h->id, strlen(h->id));
    free(h);
}

void ids_done(struct ids *d)
{
    size_t it = 0, n;
    const void *key;
    void *value;

    while (map_next(&d->map, &it, &key, &n, &value))
        free(value);
    map_done(&d->map);
}

static struct holder *give(struct ids *d, const char *id, struct login *l)
{
    struct holder *h = find(d, id);

    if (h)
        unlink_holder(h);
    else {
        h = xcalloc(1, sizeof(*h) + strlen(id) + 1);
        memcpy(h->id, id, strlen(id) + 1);
        (void)map_put(&d->map, id, strlen(id), h);
    }
    h->login = l;
    h->next = l->ids;
    l->ids = h;
    return h;
}

void ids_reserve(struct ids *d, const char *id)
{
    give(d, id, d->service)->reserved = true;
}

const struct login *ids_owner(const struct ids *d, const char *id, int64_t now_us)
{
    const struct holder *h = find(d, id);

    if (!h || h->login == d->service)
        return h ? h->login : NULL;
    if (!h->login->hash || (!h->session && now_us - h->left_us > KEPT_US))
        return NULL;
    return h->login;
}

/* More than a device needs: it might think of a new one each time. */
static void drop_oldest(struct ids *d, struct login *l)
{
    struct holder *oldest = NULL;
    int away = 0;

    for (struct holder *h = l->ids; h; h = h->next)
        if (!h->session && !h->reserved) {
            away++;
            if (!oldest || h->left_us < oldest->left_us)
                oldest = h;
        }
    if (away > KEPT_MAX)
        drop(d, oldest);
}

void ids_keep(struct ids *d, const char *id, struct login *l, int64_t now_us)
{
    struct holder *h = find(d, id);

    if (h && (h->session || h->reserved))
        return;
    give(d, id, l)->left_us = now_us;
    drop_oldest(d, l);
}

struct session *ids_take(struct ids *d, const char *id, struct login *l, struct session *s)
{
    struct holder *h = give(d, id, l);
    struct session *before = h->session;

    h->session = s;
    return before;
}

void ids_leave(struct ids *d, const char *id, const struct session *s, bool kept, int64_t now_us)
{
    struct holder *h = find(d, id);

    if (!h || h->session != s)
        return; /* another has it by now */
    h->session = NULL;
    h->left_us = now_us;
    if (kept)
        drop_oldest(d, h->login);
    else if (!h->reserved)
        drop(d, h);
}

void ids_forget(struct ids *d, struct login *l)
{
    for (struct holder *h = TAKE(l->ids), *next; h; h = next) {
        next = h->next;
        (void)map_del(&d->map, h->id, strlen(h->id));
        free(h);
    }
}
