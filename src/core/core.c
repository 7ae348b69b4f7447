/*
 * The core thread's parts put together: two broker sessions (one takes messages and acknowledges
 * late, one sends commands: so an answer never waits behind somebody else's PUBACK), two database
 * connections, the committer, the timers. Everything here runs on the core's loop but core_submit
 * and core_mqtt_up.
 */
#include "core_priv.h"

#include <stdio.h>

#define TICK_MS          250
#define SEEN_EVERY_MS    5000
#define EXPIRE_EVERY_MS  1000
#define RELOAD_EVERY_MS  1000
#define STOP_MS          2000
#define SESSION_EXPIRY_S 86400
#define BATCH_US         5000
#define KEEPALIVE_S      30

static void on_message(void *arg, const struct mqtt_message *m)
{
    turn_message(arg, m);
}

static void on_batch_end(void *arg)
{
    turn_batch_end(arg);
}

static void note_up(struct core *c)
{
    bool up = c->rx_up && c->tx_up;
    atomic_store(&c->up, up);
    metric_set(M_MQTT_CONNECTED, up);
}

static void on_rx_state(void *arg, bool up, const char *why)
{
    struct core *c = arg;

    if (up) {
        LOG(LOG_INFO, "mqtt", "connected", KV("broker", c->conf->mqtt_url));
    } else if (!c->stopping) {
        LOG(LOG_WARN, "mqtt", "not connected", KV("why", why));
    }
    c->rx_up = up;
    note_up(c);
    if (!up) {
        turn_lost(c);
        plugin_lost(c);
    }
    turn_intake(c);
}

static void on_tx_state(void *arg, bool up, const char *why)
{
    struct core *c = arg;

    if (!up && !c->stopping)
        LOG(LOG_WARN, "mqtt", "the sending session is not connected", KV("why", why));
    c->tx_up = up;
    note_up(c);
    plugin_tx(c, up);
    if (up && !c->rx_connected) {
        /* Answers have a way out: now messages may come. */
        c->rx_connected = true;
        mqtt_connect(c->rx);
    }
    turn_intake(c);
}

static void on_published(void *arg, int mid)
{
    struct core *c = arg;
    (void)mid;
    if (c->n_waiting == 0 && !c->open && !c->committing && mqtt_unacked(c->rx) == 0)
        turn_intake(c);
}

static void on_jobs(void *arg)
{
    struct core *c = arg;
    turn_write(c);
    mqtt_flush(c->tx);
    turn_intake(c);
}

static void on_committed(void *arg) /* committer's thread */
{
    struct core *c = arg;
    loop_wake_send(c->commit_wake);
}

static void on_commit_wake(void *arg)
{
    turn_committed(arg);
}

static bool settled(struct core *c)
{
    return c->n_waiting == 0 && job_queue_count(&c->jobs) == 0 &&
           job_queue_count(&c->patient) == 0 && !c->seen_due;
}

/* Whoever gave a job gets an answer, and may be freed after. */
static void refuse_rest(struct core *c)
{
    struct db_job *job;

    while ((job = job_queue_take(&c->jobs)) || (job = job_queue_take(&c->patient)))
        job->done(job, E_UNAVAILABLE);
    if (c->n_waiting > 0)
        mqtt_drop(c->rx, "stopping with messages that wait");
    turn_forget(c);
}

static void stop_step(struct core *c)
{
    bool late = clock_mono_us() / 1000 > c->stop_at_ms;
    bool answering = c->tx_up && mqtt_in_flight(c->tx) > 0;

    if (c->open || c->committing || broker_files_busy(c->files))
        return; /* these can't be left half-way */
    if (!late && (!settled(c) || answering))
        return;
    refuse_rest(c);
    turn_intake(c); /* the last acknowledgements */
    loop_timer_stop(c->tick);
    void (*stopped)(void *arg) = TAKE(c->stopped);
    if (stopped)
        stopped(c->stopped_arg);
}

/* The pause between two slices of tasks is over. */
static void on_task_gap(void *arg)
{
    struct core *c = arg;
    c->task_due = !c->stopping;
    turn_write(c);
    mqtt_flush(c->tx);
    turn_intake(c);
}

static void on_tick(void *arg)
{
    struct core *c = arg;
    int64_t now_ms = clock_mono_us() / 1000;

    if (!c->stopping) {
        if (now_ms >= c->next_seen_ms) {
            c->next_seen_ms = now_ms + SEEN_EVERY_MS;
            c->seen_due = device_seen_pending(c->seen);
        }
        if (now_ms >= c->next_expire_ms) {
            c->next_expire_ms = now_ms + EXPIRE_EVERY_MS;
            c->expire_due = c->event_due = c->sweep_due = true;
        }
        c->task_due = true;
        c->down_due |= down_is_due(c);
        c->topics_due = topics_due(c);
        down_wake(c, false);
        plugin_tick(c);
        live_tick(c);
        c->sweep_due |= c->sweep_more; /* a slice per tick */
        c->points_due = device_points_due(&c->points, clock_now_ms());
        if (c->catalog_stale && now_ms >= c->next_reload_ms) {
            c->next_reload_ms = now_ms + RELOAD_EVERY_MS;
            turn_reload(c);
        }
    }
    c->patient_due = job_queue_count(&c->patient) > 0;
    turn_write(c);
    mqtt_flush(c->tx);
    turn_intake(c);
    if (!c->open && !c->committing) /* else the transaction's end is the sign of life */
        turn_alive(c);
    if (c->stopping)
        stop_step(c);
}

static int open_mqtt(struct core *c, struct fail *f)
{
    char host[256], *tx_id;
    struct arena a;
    struct mqtt_options o = {
        .ca = c->conf->mqtt_ca,
        .cert = c->conf->mqtt_cert,
        .key = c->conf->mqtt_key,
        .username = c->conf->mqtt_username,
        .password = c->conf->mqtt_password,
        .client_id = c->conf->mqtt_client_id,
        .session_expiry_s = SESSION_EXPIRY_S,
        .keepalive_s = KEEPALIVE_S,
        .version = 5,
        .deferred_ack = true,
        .subscribe_qos = 1,
        .batch = (int)c->conf->mqtt_batch,
        .batch_us = BATCH_US,
        .on_message = on_message,
        .on_batch_end = on_batch_end,
        .on_state = on_rx_state,
        .arg = c,
    };
    int rc = conf_mqtt_url(c->conf->mqtt_url, host, &o.port, &o.tls, f);

    if (rc < 0)
        return rc;
    arena_init(&a);
    o.host = host;
    rc = topics_open(c, &a, &o.filters);
    if (rc < 0)
        (void)fail(f, rc, "reading what was subscribed: %s", db_error(c->reader));
    else
        rc = mqtt_new(c->loop, &o, &c->rx, f);
    arena_done(&a);
    if (rc < 0)
        return rc;
    topics_changed(c);

    size_t id_n = strlen(c->conf->mqtt_client_id) + 4;
    tx_id = xmalloc(id_n);
    (void)snprintf(tx_id, id_n, "%s-tx", c->conf->mqtt_client_id);
    o.client_id = tx_id;
    o.filters = NULL;
    o.clean = true;
    o.deferred_ack = false;
    o.on_message = NULL;
    o.on_batch_end = NULL;
    o.on_state = on_tx_state;
    o.on_published = on_published;
    rc = mqtt_new(c->loop, &o, &c->tx, f);
    free(tx_id);
    return rc;
}

/* What a crash left of imports that never became visible. */
static int drop_imports(struct core *c, struct fail *f)
{
    int64_t id;
    int rc;

    while ((rc = device_import_leftover(c->reader, &id)) == 0) {
        LOG(LOG_WARN, "core", "dropping an import that was cut short", KV_INT("import", id));
        do {
            rc = db_begin(c->writer);
            if (rc == 0)
                rc = device_import_drop(c->writer, id, 10000);
            if (rc < 0) {
                db_rollback(c->writer);
                return fail(f, rc, "dropping an import: %s", db_error(c->writer));
            }
            int crc = db_commit(c->writer);
            if (crc < 0)
                return fail(f, crc, "dropping an import: %s", db_error(c->writer));
        } while (rc > 0);
    }
    return rc == E_NOTFOUND ? 0 : rc;
}

static int open_db(struct core *c, const char *path, struct fail *f)
{
    int cache = (int)c->conf->db_cache_kib;
    int rc = db_open(path, DB_WRITE, cache, &c->writer, f);

    if (rc == 0)
        rc = db_open(path, DB_READ, cache, &c->reader, f);
    if (rc == 0)
        rc = drop_imports(c, f);
    if (rc == 0 && ((rc = pushes_load(&c->pushes, c->writer)) < 0 ||
                    (rc = drives_load(&c->drives, c->writer)) < 0))
        return fail(f, rc, "reading the messages that are kept: %s", db_error(c->writer));
    if (rc < 0)
        return rc;
    c->committer = db_committer_start(c->writer, on_committed, c);
    c->checkpointer = db_checkpointer_start(path);
    return 0;
}

int core_open(const struct core_options *o, struct core **ret, struct fail *f)
{
    struct core *c = xcalloc(1, sizeof(*c));
    int rc;

    c->conf = o->conf;
    c->loop = o->loop;
    c->cell = o->catalog;
    c->catalog = catalog_cell_get(o->catalog);
    memcpy(c->link_key, o->link_key, sizeof(c->link_key));
    c->alive = o->alive;
    c->committed = o->committed;
    c->alive_arg = o->arg;
    arena_init(&c->read_arena);
    arena_init(&c->tx_arena);
    job_queue_init(&c->jobs);
    job_queue_init(&c->patient);
    c->noise = noise_new();
    c->seen = device_seen_new();
    c->presence = device_presence_new();
    c->commit_wake = loop_wake_new(c->loop, on_commit_wake, c);
    c->job_wake = loop_wake_new(c->loop, on_jobs, c);
    c->tick = loop_timer_new(c->loop, on_tick, c);
    c->task_gap = loop_timer_new(c->loop, on_task_gap, c);
    c->files = broker_files_new(c->loop, c->conf, o->db_path, plugin_files_written, c);
    rc = open_db(c, o->db_path, f);
    if (rc == 0)
        rc = open_mqtt(c, f);
    if (rc < 0) {
        core_close(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void core_start(struct core *c)
{
    broker_files_dirty(c->files);
    loop_timer_start(c->tick, TICK_MS, TICK_MS);
    mqtt_connect(c->tx);
}

void core_stop(struct core *c, void (*done)(void *arg), void *arg)
{
    c->stopping = true;
    c->stopped = done;
    c->stopped_arg = arg;
    c->seen_due = device_seen_pending(c->seen);
    c->expire_due = c->event_due = c->task_due = c->sweep_due = c->down_due = false;
    c->topics_due = c->points_due = false;
    down_wake(c, true);
    c->stop_at_ms = clock_mono_us() / 1000 + STOP_MS;
    job_queue_close(&c->jobs);
    job_queue_close(&c->patient);
    broker_files_stop(c->files);
    loop_timer_start(c->tick, 0, 10);
}

void core_close(struct core *c)
{
    if (!c)
        return;
    turn_forget(c);
    mqtt_free(c->rx);
    mqtt_free(c->tx);
    if (c->committer)
        db_committer_stop(c->committer);
    db_close(c->reader);
    db_close(c->writer);
    if (c->checkpointer)
        db_checkpointer_stop(c->checkpointer);
    broker_files_free(c->files);
    loop_timer_free(c->tick);
    loop_timer_free(c->task_gap);
    loop_wake_free(c->job_wake);
    loop_wake_free(c->commit_wake);
    catalog_unref(c->catalog);
    device_seen_free(c->seen);
    device_presence_free(c->presence);
    noise_free(c->noise);
    job_queue_done(&c->jobs);
    job_queue_done(&c->patient);
    map_done(&c->busy.map);
    topics_done(&c->topics);
    pushes_done(&c->pushes);
    map_done(&c->posters);
    drives_done(&c->drives);
    live_done(&c->live);
    free(c->revoked.list);
    map_done(&c->downs.watches);
    map_done(&c->downs.aside);
    stubborn_done(&c->stubborn);
    arena_done(&c->read_arena);
    arena_done(&c->tx_arena);
    free(c);
}

int core_submit(void *core, struct db_job *job)
{
    struct core *c = core;
    struct job_queue *q = job->patient ? &c->patient : &c->jobs;
    bool patient = job->patient; /* it may have gone when it is in the queue */
    int n = job_queue_put(q, job);
    /* the tick looks after the patient, unless there are many */
    if (n > 0 && (!patient || n % PATIENT_MAX == 0))
        loop_wake_send(c->job_wake);
    return n < 0 ? n : 0;
}

bool core_mqtt_up(void *core)
{
    struct core *c = core;
    return atomic_load(&c->up);
}

int core_online(void *core, const char *key)
{
    struct core *c = core;
    return device_presence(c->presence, key);
}

int64_t core_heard_at(void *core, int64_t device_id)
{
    struct core *c = core;
    return device_seen_at(c->seen, device_id);
}

void core_credentials_changed(void *core, const char *key)
{
    struct core *c = core;
    if (key)
        plugin_tell_login(c, key);
    else
        plugin_tell_many(c);
    broker_files_dirty(c->files);
}
