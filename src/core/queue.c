/*
 * What waits for the writer: device messages (copied as they came, run again from the bytes) and
 * jobs of other threads. Only the job queue is shared between threads.
 */
#include "core_priv.h"

#define JOBS_MAX 4096

struct waiting *waiting_new(const struct mqtt_message *m, uint64_t device_hash, int64_t taken_us)
{
    size_t topic_n = strlen(m->topic) + 1, user_n = m->user ? strlen(m->user) + 1 : 0;
    struct waiting *w = xmalloc(sizeof(*w) + topic_n + user_n + m->n);
    char *p = (char *)(w + 1);

    memcpy(p, m->topic, topic_n);
    if (m->user)
        memcpy(p + topic_n, m->user, user_n);
    if (m->n > 0)
        memcpy(p + topic_n + user_n, m->payload, m->n);
    *w = (struct waiting){
        .device_hash = device_hash,
        .taken_us = taken_us,
        .number = m->number,
        .topic = p,
        .user = m->user ? p + topic_n : NULL,
        .payload = p + topic_n + user_n,
        .n = m->n,
    };
    return w;
}

bool busy_is(const struct busy *b, uint64_t device_hash)
{
    return b->map.count > 0 && map_get(&b->map, &device_hash, sizeof(device_hash));
}

void busy_add(struct busy *b, uint64_t device_hash)
{
    uintptr_t n = (uintptr_t)map_get(&b->map, &device_hash, sizeof(device_hash));
    (void)map_put(&b->map, &device_hash, sizeof(device_hash), (void *)(n + 1));
}

void busy_remove(struct busy *b, uint64_t device_hash)
{
    uintptr_t n = (uintptr_t)map_get(&b->map, &device_hash, sizeof(device_hash));
    if (n > 1)
        (void)map_put(&b->map, &device_hash, sizeof(device_hash), (void *)(n - 1));
    else
        (void)map_del(&b->map, &device_hash, sizeof(device_hash));
}

void job_queue_init(struct job_queue *q)
{
    *q = (struct job_queue){0};
    q->last = &q->first;
    (void)pthread_mutex_init(&q->lock, NULL);
}

void job_queue_done(struct job_queue *q)
{
    (void)pthread_mutex_destroy(&q->lock);
}

int job_queue_put(struct job_queue *q, struct db_job *job)
{
    int rc = E_UNAVAILABLE;

    job->next = NULL;
    job->rc = 0;
    (void)pthread_mutex_lock(&q->lock);
    if (!q->closed && q->n < JOBS_MAX) {
        *q->last = job;
        q->last = &job->next;
        rc = (int)++q->n;
    }
    (void)pthread_mutex_unlock(&q->lock);
    return rc;
}

struct db_job *job_queue_take(struct job_queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    struct db_job *job = q->first;
    if (job) {
        q->first = job->next;
        if (!q->first)
            q->last = &q->first;
        q->n--;
        job->next = NULL;
    }
    (void)pthread_mutex_unlock(&q->lock);
    return job;
}

size_t job_queue_count(struct job_queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    size_t n = q->n;
    (void)pthread_mutex_unlock(&q->lock);
    return n;
}

void job_queue_close(struct job_queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->closed = true;
    (void)pthread_mutex_unlock(&q->lock);
}
