/*
 * Idempotency keys whose request is under way: a second request with the same key is told to come
 * again, instead of doing the work twice. Few at any time, so a list does.
 */
#include "priv.h"

struct busy_key {
    struct busy_key *next;
    int64_t project_id;
    char key[];
};
struct busy {
    pthread_mutex_t lock;
    struct busy_key *first;
};

struct busy *busy_new(void)
{
    struct busy *b = xcalloc(1, sizeof(*b));
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void busy_free(struct busy *b)
{
    if (!b)
        return;
    while (b->first) {
        struct busy_key *k = b->first;
        b->first = k->next;
        free(k);
    }
    pthread_mutex_destroy(&b->lock);
    free(b);
}

/* The link that points at the key, or at the end. Under the lock. */
static struct busy_key **find(struct busy *b, int64_t project_id, const char *key)
{
    struct busy_key **at = &b->first;
    while (*at && ((*at)->project_id != project_id || strcmp((*at)->key, key) != 0))
        at = &(*at)->next;
    return at;
}

bool busy_take(struct busy *b, int64_t project_id, const char *key)
{
    size_t n = strlen(key) + 1;
    pthread_mutex_lock(&b->lock);
    struct busy_key **at = find(b, project_id, key);
    bool is_free = *at == NULL;
    if (is_free) {
        *at = xcalloc(1, sizeof(**at) + n);
        (*at)->project_id = project_id;
        memcpy((*at)->key, key, n);
    }
    pthread_mutex_unlock(&b->lock);
    return is_free;
}

void busy_drop(struct busy *b, int64_t project_id, const char *key)
{
    pthread_mutex_lock(&b->lock);
    struct busy_key **at = find(b, project_id, key), *k = *at;
    if (k)
        *at = k->next;
    pthread_mutex_unlock(&b->lock);
    free(k);
}
