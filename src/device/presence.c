/*
 * Presence: the set of keys that are connected, in memory alone. The broker's plugin gives the
 * whole list whenever our session begins, so nothing of it has to outlive the process, and a
 * fleet that comes and goes writes nothing.
 */
#include "device_priv.h"

#include <pthread.h>

struct device_presence {
    pthread_mutex_t lock;
    struct map online; /* what is asked */
    struct map list;   /* a list that has begun and not ended */
    bool known, listing;
};

struct device_presence *device_presence_new(void)
{
    struct device_presence *p = xcalloc(1, sizeof(*p));
    (void)pthread_mutex_init(&p->lock, NULL);
    return p;
}

void device_presence_free(struct device_presence *p)
{
    if (!p)
        return;
    map_done(&p->online);
    map_done(&p->list);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

static void take(struct device_presence *p, struct str line)
{
    struct map *m = p->listing ? &p->list : &p->online;

    if (line.n == 0)
        return;
    if (*line.p == '=') {
        map_done(&p->list);
        p->list = (struct map){0};
        p->listing = true;
    } else if (*line.p == '.' && p->listing) {
        map_done(&p->online);
        p->online = p->list;
        p->list = (struct map){0};
        p->listing = false;
        p->known = true;
    } else if (*line.p == '+' && line.n > 1) {
        (void)map_put(m, line.p + 1, line.n - 1, p);
    } else if (*line.p == '-' && line.n > 1) {
        (void)map_del(m, line.p + 1, line.n - 1);
    }
}

void device_presence_tell(struct device_presence *p, const char *lines, size_t n)
{
    const char *end = lines + n;

    (void)pthread_mutex_lock(&p->lock);
    while (lines < end) {
        const char *eol = memchr(lines, '\n', (size_t)(end - lines));
        struct str line = {lines, (size_t)((eol ? eol : end) - lines)};

        take(p, line);
        lines += line.n + 1;
    }
    metric_set(M_DEVICES_ONLINE, p->known ? (int64_t)p->online.count : 0);
    (void)pthread_mutex_unlock(&p->lock);
}

void device_presence_forget(struct device_presence *p)
{
    (void)pthread_mutex_lock(&p->lock);
    map_done(&p->online);
    map_done(&p->list);
    p->online = p->list = (struct map){0};
    p->known = p->listing = false;
    metric_set(M_DEVICES_ONLINE, 0);
    (void)pthread_mutex_unlock(&p->lock);
}

bool device_presence_known(struct device_presence *p)
{
    (void)pthread_mutex_lock(&p->lock);
    bool known = p->known;
    (void)pthread_mutex_unlock(&p->lock);
    return known;
}

int device_presence(struct device_presence *p, const char *key)
{
    (void)pthread_mutex_lock(&p->lock);
    int online = p->known ? map_get(&p->online, key, strlen(key)) != NULL : -1;
    (void)pthread_mutex_unlock(&p->lock);
    return online;
}
