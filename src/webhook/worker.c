/*
 * The worker: a thread that looks for events without deliveries and for deliveries that are due,
 * sends them, and writes how that went by jobs of the core. One job is out at a time; a delivery
 * that was sent is not looked at again before its result is committed. A crash in between sends
 * it once more, with the same id.
 */
#include "webhook_priv.h"

#include "event.h"
#include "loop.h"

#include <pthread.h>

enum {
    AT_A_TIME = 32,  /* messages under way, over all webhooks */
    PER_WEBHOOK = 8, /* … of one; 1 while it fails */
    FAN_OUT = 100,   /* events that one job looks at */
    RESULTS = 64,    /* of one job */
    LOOK_MS = 1000,  /* between two looks when nobody wakes us */
    EXPIRE_MS = 60000,
};

struct write_job {
    struct db_job job;
    struct webhook_worker *worker;
    bool fan_out, expire;
    int more; /* of the fan-out */
    size_t n;
    struct webhook_result results[RESULTS];
};

struct webhook_worker {
    const struct conf *conf;
    const char *db_path;
    db_submit_fn submit;
    void *core;
    struct sender *sender;
    struct loop_thread *thread;
    atomic_bool stop, woken, idle; /* idle: no webhook is enabled */

    /* the thread's */
    struct db *db;   /* NULL while there is nothing to look for */
    struct map busy; /* deliveries that were sent and are not stored yet */
    struct webhook_result results[RESULTS + AT_A_TIME];
    size_t n_results;
    int64_t newest; /* event that a fan-out has looked at */
    bool more;
    int64_t expire_at_ms;
    struct write_job job;

    pthread_mutex_t lock; /* guards what follows */
    bool out, done;       /* the job: given away; back, not looked at yet */
    int rc;
};

/* ---- jobs ---- */
static int job_run(struct db_job *job, struct db *w)
{
    struct write_job *j = (struct write_job *)job;
    int rc = 0;

    for (size_t i = 0; i < j->n && rc == 0; i++)
        rc = webhook_tried(w, &j->results[i]);
    if (rc == 0 && j->fan_out) {
        rc = webhook_fan_out(w, FAN_OUT, clock_now_ms());
        j->more = rc == 1;
        rc = rc < 0 ? rc : 0;
    }
    if (rc == 0 && j->expire)
        rc = webhook_expire(w);
    return rc;
}

static void job_done(struct db_job *job, int rc)
{
    struct webhook_worker *k = ((struct write_job *)job)->worker;

    pthread_mutex_lock(&k->lock);
    k->out = false;
    k->done = true;
    k->rc = rc;
    sender_wake(k->sender); /* under the lock: the worker ends only after it */
    pthread_mutex_unlock(&k->lock);
}

/* What a job wrote is there: its deliveries may be looked at again. */
static void take_back(struct webhook_worker *k)
{
    pthread_mutex_lock(&k->lock);
    bool done = k->done;
    int rc = k->rc;
    k->done = false;
    pthread_mutex_unlock(&k->lock);
    if (!done)
        return;
    if (rc < 0) { /* tried again with the next; until then they stay busy */
        LOG(LOG_WARN, "webhook", "results are not stored yet", KV_RC(rc));
        for (size_t i = 0; i < k->job.n; i++)
            k->results[k->n_results++] = k->job.results[i];
        k->job.n = 0;
        k->more |= k->job.fan_out;
        return;
    }
    for (size_t i = 0; i < k->job.n; i++)
        (void)map_del(&k->busy, &k->job.results[i].delivery_id, sizeof(int64_t));
    k->job.n = 0;
    k->more |= k->job.fan_out && k->job.more;
}

static bool job_is_out(struct webhook_worker *k)
{
    pthread_mutex_lock(&k->lock);
    bool out = k->out || k->done;
    pthread_mutex_unlock(&k->lock);
    return out;
}

static void give_job(struct webhook_worker *k, bool fan_out)
{
    struct write_job *j = &k->job;
    int64_t now_ms = clock_mono_us() / 1000;
    bool expire = now_ms >= k->expire_at_ms && !atomic_load(&k->idle);

    if ((!fan_out && !expire && k->n_results == 0) || job_is_out(k))
        return;
    size_t n = k->n_results < RESULTS ? k->n_results : RESULTS;
    *j = (struct write_job){.job = {.run = job_run, .done = job_done, .patient = true},
                            .worker = k,
                            .fan_out = fan_out,
                            .expire = expire,
                            .n = n};
    memcpy(j->results, k->results, n * sizeof(*j->results));
    pthread_mutex_lock(&k->lock);
    k->out = true;
    pthread_mutex_unlock(&k->lock);
    if (k->submit(k->core, &j->job) < 0) { /* its queue is full: with the next look */
        pthread_mutex_lock(&k->lock);
        k->out = false;
        pthread_mutex_unlock(&k->lock);
        return;
    }
    k->n_results -= n;
    memmove(k->results, k->results + n, k->n_results * sizeof(*k->results));
    if (fan_out)
        k->more = false;
    if (expire)
        k->expire_at_ms = now_ms + EXPIRE_MS;
}

/* ---- looking ---- */
static void on_ended(void *arg, const struct webhook_result *r)
{
    struct webhook_worker *k = arg;
    LOG(LOG_DEBUG, "webhook", "attempt ended", KV_INT("webhook", r->webhook_id),
        KV_INT("delivery", r->delivery_id), KV_INT("status", r->status), KV("why", r->error));
    k->results[k->n_results++] = *r; /* room for each that is under way: see may_send */
}

static bool may_send(const struct webhook_worker *k)
{
    return sender_count(k->sender, 0) < AT_A_TIME &&
           k->n_results + k->job.n + sender_count(k->sender, 0) < RESULTS + AT_A_TIME;
}

static int send_due(struct webhook_worker *k, const struct webhook *h)
{
    size_t most = h->failing_since ? 1 : PER_WEBHOOK;
    int64_t now = clock_now_ms();
    AUTO(db_reset) struct db_stmt *q = db_use(k->db, Q_WEBHOOK_DELIVERY_DUE);
    int rc;

    db_bind_int(q, 1, h->id);
    db_bind_int(q, 2, now);
    /* those that are busy stand in front */
    db_bind_int(q, 3, (int64_t)(k->busy.count + most));
    while ((rc = db_step(q)) == 1 && sender_count(k->sender, h->id) < most && may_send(k)) {
        int64_t id = db_int(q, 0);
        struct outgoing o = {.webhook_id = h->id,
                             .delivery_id = id,
                             .url = h->url,
                             .secret = h->secret,
                             .old_secret = h->old_secret_until > now ? h->old_secret : NULL,
                             .message_id = db_text(q, 1),
                             .body = db_text(q, 2)};
        if (map_get(&k->busy, &id, sizeof(id)))
            continue;
        (void)map_put(&k->busy, &id, sizeof(id), k);
        sender_send(k->sender, &o);
    }
    return rc < 0 ? rc : 0;
}

static bool open_db(struct webhook_worker *k)
{
    struct fail f = {0};

    if (!k->db && db_open(k->db_path, DB_READ, 512, &k->db, &f) < 0)
        LOG(LOG_WARN, "webhook", "the database cannot be opened", KV("why", f.text));
    return k->db != NULL;
}

static void look(struct webhook_worker *k)
{
    struct webhook h = {.id = 0};
    int64_t first, last, cursor = INT64_MAX;
    struct arena a;
    int rc;

    if (!open_db(k))
        return;
    arena_init(&a);
    while ((rc = webhook_next(k->db, h.id, &a, &h)) == 0 && (rc = send_due(k, &h)) == 0) {
        cursor = h.cursor < cursor ? h.cursor : cursor;
        arena_reset(&a);
    }
    arena_done(&a);
    atomic_store(&k->idle, rc == E_NOTFOUND && h.id == 0);
    if (rc == E_NOTFOUND)
        rc = event_ends(k->db, &first, &last);
    if (rc < 0) {
        LOG(LOG_WARN, "webhook", "the database cannot be read", KV_RC(rc));
        return;
    }
    /* A webhook whose queue is full stays behind: it is looked at now and then, not each time. */
    bool news = cursor < last && (last != k->newest || k->more);
    if (!job_is_out(k) && news)
        k->newest = last;
    give_job(k, cursor < last && (news || k->more));
}

/* Most have no webhook: a connection holds the parsed schema and some statements. */
static void rest(struct webhook_worker *k)
{
    if (!atomic_load(&k->idle) || job_is_out(k) || k->n_results > 0)
        return;
    db_close(k->db);
    k->db = NULL;
}

static void worker_main(void *arg)
{
    struct webhook_worker *k = arg;
    int64_t looked_ms = 0;

    while (!atomic_load(&k->stop)) {
        int64_t now_ms = clock_mono_us() / 1000;
        size_t ended = k->n_results;

        sender_run(k->sender, on_ended, k);
        ended = k->n_results - ended;
        take_back(k);
        bool late = now_ms - looked_ms >= LOOK_MS;
        if (late)
            k->newest = 0; /* whoever stayed behind gets a look */
        if (atomic_exchange(&k->woken, false) || ended || (late && !atomic_load(&k->idle))) {
            looked_ms = now_ms;
            look(k);
        }
        rest(k);
        sender_wait(k->sender, LOOK_MS);
    }
    while (job_is_out(k)) {
        take_back(k);
        sender_wait(k->sender, LOOK_MS);
    }
}

/* ---- life ---- */
int webhook_start(const struct conf *conf, const char *db_path, db_submit_fn submit, void *core,
                  struct webhook_worker **ret, struct fail *f)
{
    struct webhook_worker *k = xcalloc(1, sizeof(*k));

    k->conf = conf;
    k->submit = submit;
    k->core = core;
    pthread_mutex_init(&k->lock, NULL);
    k->db_path = db_path;
    int rc = db_open(db_path, DB_READ, 512, &k->db, f);
    if (rc < 0) {
        pthread_mutex_destroy(&k->lock);
        free(k);
        return rc;
    }
    k->sender = sender_new(conf);
    look(k); /* here, so that what it takes can go back when the start is over */
    rest(k);
    k->thread = loop_thread_start("webhooks", worker_main, k);
    *ret = k;
    return 0;
}

void webhook_wake(struct webhook_worker *k)
{
    if (!k)
        return;
    if (atomic_exchange(&webhook_rows_changed, false))
        atomic_store(&k->idle, false); /* before woken: whoever was about to set it looks again */
    if (atomic_load(&k->idle) || atomic_exchange(&k->woken, true))
        return;
    sender_wake(k->sender);
}

void webhook_stop(struct webhook_worker *k)
{
    if (!k)
        return;
    atomic_store(&k->stop, true);
    sender_wake(k->sender);
    loop_thread_join(k->thread);
}

void webhook_free(struct webhook_worker *k)
{
    if (!k)
        return;
    sender_free(k->sender);
    map_done(&k->busy);
    db_close(k->db);
    pthread_mutex_destroy(&k->lock);
    free(k);
}
