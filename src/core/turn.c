/*
 * The turn. A message is first run on the reading connection: if it needs no write, its answer
 * leaves at once. Otherwise it waits, with everything later of the same device, for the writer.
 * A transaction takes messages and jobs, each in a savepoint, and goes to the committer's thread;
 * while that waits for the disk, reading goes on. Answers of a transaction, HTTP replies and the
 * PUBACKs of its messages leave only after its commit. PUBACKs can't be picked out of the
 * library's queue one by one, so they leave when nothing that was taken is unsettled; if that
 * moment does not come by itself, intake pauses until it does. What can't be settled (the commit
 * failed, the answer had no way out) is not acknowledged: the session is cut, and the broker
 * sends it again.
 */
#include "core_priv.h"

#define WRITE_MESSAGES_MAX 2000  /* per transaction */
#define WRITE_MESSAGES_US  10000 /* of messages in one transaction */
#define WRITE_JOBS_US      1000  /* of jobs in one transaction: imports come in slices this long */
#define WRITE_PATIENT_US   5000  /* of jobs that nobody waits for */
#define WRITE_ROUNDS_MAX   4     /* transactions that changed nothing, before others' turn */
#define SEEN_SLICE         500
#define TASK_GAP_MS        5 /* between two slices of tasks: checks come first */
#define EXPIRE_SLICE       200

/* Whose message: as the broker's plugin says, else the topic's last segment. Messages of one
 * device keep their order. */
static struct str device_of(const char *user, const char *topic)
{
    const char *slash = strrchr(topic, '/');
    return str_of(user ? user : slash ? slash + 1 : topic);
}

static uint64_t hash_of(struct str device)
{
    return hash_bytes(device.p, device.n);
}

static bool has_check(const struct answers *out)
{
    return out->offered + out->repeated + out->nothing > 0;
}

static void note_refused(struct core *c, const struct answers *out)
{
    for (const struct refusal *r = out->refused; r; r = r->next)
        noise_refused(c->noise, r->device, r->why, clock_now_ms());
}

/* Decode with the first dialect that knows the topic, and handle. Whatever was refused stands in
 * out; it is counted when the message is done with, not when it has to be run again. */
static int run_message(struct core *c, struct db *db, struct arena *arena,
                       const struct dialect_in *in, struct answers *out)
{
    struct engine x = {
        .conf = c->conf,
        .link_key = c->link_key,
        .catalog = c->catalog,
        .db = db,
        .arena = arena,
        .now = clock_now_ms(),
    };
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;
    int rc = down_heard(&x, in, out);

    if (rc != E_NOTFOUND)
        return rc;
    for (size_t i = 0; dialects[i]; i++) {
        rc = dialects[i]->decode(in, arena, &evs, &refused);
        bool known = rc != E_NOTFOUND;
        if (rc == 0) {
            rc = engine_handle(&x, dialects[i], &evs, out);
            for (size_t k = 0; rc == 0 && k < out->n_seen; k++)
                if (pushes_has(&c->pushes, out->seen[k]))
                    rc = db == c->writer ? pushes_deliver(c, &x, dialects[i], out->seen[k], out)
                                         : E_NEEDS_WRITE;
            for (size_t k = 0; rc != E_NEEDS_WRITE && k < out->n_seen; k++) {
                device_seen_note(c->seen, out->seen[k], x.now);
                pushes_spoken(&c->pushes, out->seen[k], dialects[i]);
            }
            if (rc != E_NEEDS_WRITE)
                live_seen(c, out);
        } else if (rc == E_PROTO) {
            engine_refuse(out, device_of(in->user, in->topic), refused);
        }
        device_events_done(&evs);
        if (known)
            return rc;
    }
    engine_refuse(out, device_of(in->user, in->topic), refused);
    return E_PROTO;
}

/* ---- reading ---- */

static void enqueue(struct core *c, const struct mqtt_message *m, uint64_t device_hash)
{
    struct waiting *w = waiting_new(m, device_hash, c->batch_us);
    if (c->wait_last)
        c->wait_last->next = w;
    else
        c->wait_first = w;
    c->wait_last = w;
    c->n_waiting++;
    c->waiting_bytes += m->n;
    busy_add(&c->busy, device_hash);
    if (c->waiting_bytes > WAITING_BYTES_MAX)
        mqtt_pause(c->rx, true); /* at once: the rest of a batch may be as large again */
}

static void read_failed(struct core *c, int rc)
{
    if (!c->read_failed)
        LOG(LOG_ERROR, "core", "reading failed", KV_RC(rc), KV("detail", db_error(c->reader)));
    c->read_failed = true;
}

void turn_message(struct core *c, const struct mqtt_message *m)
{
    struct str device = device_of(m->user, m->topic);
    struct dialect_in in = {m->topic, m->user, m->payload, m->n};
    uint64_t device_hash = hash_of(device);
    struct answers out;

    if (c->batch_us == 0)
        c->batch_us = clock_mono_us();
    if (plugin_heard(c, m))
        return;
    if (m->retain) {
        /* Old news of unknown age: acted on, a retained version could undo what was proved. */
        noise_refused(c->noise, device, M_BAD_RETAINED, clock_now_ms());
        return;
    }
    if (m->n > DIALECT_PAYLOAD_MAX) { /* before it could be kept */
        noise_refused(c->noise, device, M_BAD_LENGTH, clock_now_ms());
        return;
    }
    if (busy_is(&c->busy, device_hash)) {
        enqueue(c, m, device_hash);
        return;
    }
    if (!c->reading && db_begin(c->reader) == 0)
        c->reading = true;
    answers_init(&out, &c->read_arena);
    int rc = run_message(c, c->reader, &c->read_arena, &in, &out);
    if (rc == E_NEEDS_WRITE) {
        enqueue(c, m, device_hash);
    } else if (rc < 0 && rc != E_PROTO) {
        /* The reader failed: the writer shall find out whether the database is well. */
        read_failed(c, rc);
        enqueue(c, m, device_hash);
    } else {
        note_refused(c, &out);
        answers_send(c, &out);
        if (has_check(&out))
            metric_observe_us(M_CHECK_SECONDS, clock_mono_us() - c->batch_us);
    }
}

void turn_batch_end(struct core *c)
{
    if (c->reading) {
        if (db_commit(c->reader) < 0)
            db_rollback(c->reader);
        c->reading = false;
    }
    if (c->batch_us)
        metric_observe_us(M_TURN_SECONDS, clock_mono_us() - c->batch_us);
    c->batch_us = 0;
    c->read_failed = false;
    arena_reset(&c->read_arena);
    turn_write(c);
    mqtt_flush(c->tx);
    turn_intake(c);
}

/* ---- writing ---- */

static void waiting_free_all(struct core *c, struct waiting *w)
{
    while (w) {
        struct waiting *next = w->next;
        busy_remove(&c->busy, w->device_hash);
        free(w);
        w = next;
    }
}

void turn_forget(struct core *c)
{
    waiting_free_all(c, TAKE(c->wait_first));
    c->wait_last = NULL;
    c->n_waiting = c->waiting_bytes = 0;
}

/* The savepoint is undone; false when the transaction has gone with it. */
static bool undo(struct core *c)
{
    db_undo(c->writer);
    return db_save(c->writer) == 0 && db_release(c->writer) == 0;
}

/* One message in a savepoint. Returns an error only when the whole transaction is lost. */
static int write_message(struct core *c, struct waiting *w)
{
    struct answers out;
    int rc = db_save(c->writer);

    if (rc < 0)
        return rc;
    answers_init(&out, &c->tx_arena);
    struct dialect_in in = {w->topic, w->user, w->payload, w->n};
    rc = run_message(c, c->writer, &c->tx_arena, &in, &out);
    if (rc == E_DB || rc == E_DB_FULL) {
        int64_t now = clock_mono_us() / 1000;
        if (rc == E_DB_FULL || !undo(c) || !stubborn_failed(&c->stubborn, w, now))
            return rc;
    } else if (rc < 0) {
        db_undo(c->writer);
    } else if ((rc = db_release(c->writer)) < 0)
        return rc;

    if (rc < 0 && rc != E_PROTO) {
        LOG(LOG_ERROR, "core", "device message failed", KV("topic", w->topic), KV_RC(rc));
        return 0;
    }
    note_refused(c, &out);
    struct answers *all = &c->tx_answers;
    w->check = has_check(&out);
    answers_take(all, &out);
    return 0;
}

/* Returns an error only when the whole transaction is lost: a job that fails alone is told so. */
static int write_job(struct core *c, struct db_job *job)
{
    int rc = db_save(c->writer);

    if (rc < 0)
        return rc;
    job->rc = job->run(job, c->writer);
    if (job->rc < 0)
        return undo(c) ? 0 : job->rc;
    c->tx_catalog |= job->catalog;
    return db_release(c->writer);
}

static int write_messages(struct core *c)
{
    int64_t start = clock_mono_us();
    size_t devices = c->tx_answers.n_seen; /* one message may be about hundreds */
    int n = 0, rc = 0;

    while (c->wait_first && n < WRITE_MESSAGES_MAX && rc == 0) {
        struct waiting *w = c->wait_first;
        c->wait_first = w->next;
        if (!c->wait_first)
            c->wait_last = NULL;
        c->n_waiting--;
        c->waiting_bytes -= w->n;
        w->next = NULL;
        *c->tx_last = w;
        c->tx_last = &w->next;
        rc = write_message(c, w);
        if ((++n & 15) != 0 && c->tx_answers.n_seen - devices < 16)
            continue;
        devices = c->tx_answers.n_seen;
        if (clock_mono_us() - start > WRITE_MESSAGES_US)
            break;
    }
    return rc;
}

/* A job that changes the catalog ends the transaction: what follows decides by the new one. */
static int write_jobs(struct core *c, struct job_queue *from, int64_t for_us)
{
    int64_t start = clock_mono_us();
    struct db_job *job;
    int rc = 0;

    while (rc == 0 && !c->tx_catalog && (job = job_queue_take(from))) {
        *c->tx_jobs_last = job;
        c->tx_jobs_last = &job->next;
        rc = write_job(c, job);
        if (clock_mono_us() - start > for_us)
            break;
    }
    return rc;
}

static int housekeeping(struct core *c)
{
    int64_t next;
    int rc = 0;

    if (c->expire_due) {
        rc = update_expire(c->writer, c->catalog, clock_now_ms(), EXPIRE_SLICE, &next);
        c->expire_due = rc == EXPIRE_SLICE;
    }
    if (rc >= 0 && c->seen_due) {
        c->tx_seen = true;
        rc = device_seen_flush(c->seen, c->writer, SEEN_SLICE);
    }
    if (rc >= 0 && c->task_due) {
        c->task_due = false;
        rc = pushes_tick(c);
    }
    if (rc >= 0 && c->down_due) {
        c->down_due = false;
        rc = down_tick(c);
    }
    return rc < 0 ? rc : 0;
}

/* What fails here alone must not take messages and jobs with it. */
static int write_housekeeping(struct core *c)
{
    if (!c->expire_due && !c->seen_due && !c->task_due && !c->down_due)
        return 0;
    int rc = db_save(c->writer);
    if (rc < 0)
        return rc;
    rc = housekeeping(c);
    if (rc == 0)
        return db_release(c->writer);
    if (!undo(c))
        return rc;
    LOG(LOG_ERROR, "core", "housekeeping failed", KV_RC(rc), KV("detail", db_error(c->writer)));
    if (c->tx_seen)
        device_seen_flushed(c->seen, false);
    c->tx_seen = c->seen_due = c->expire_due = c->down_due = false; /* it is due again soon */
    return 0;
}

/* What a download served comes before what its device says next: first the bytes, then success. */
static int write_all(struct core *c)
{
    int rc = write_jobs(c, &c->patient, WRITE_PATIENT_US);

    if (rc == 0)
        rc = write_messages(c);
    if (rc == 0)
        rc = write_jobs(c, &c->jobs, WRITE_JOBS_US);
    return rc < 0 || c->tx_catalog ? rc : write_housekeeping(c);
}

static bool is_due(struct core *c)
{
    size_t patient = job_queue_count(&c->patient);

    return c->wait_first || c->seen_due || c->expire_due || c->task_due || c->down_due ||
           job_queue_count(&c->jobs) > 0 || patient >= PATIENT_MAX ||
           (patient > 0 && c->patient_due);
}

/* Until it works the one before is in use: on_tick tries again. */
void turn_reload(struct core *c)
{
    struct catalog *fresh;
    struct fail f = {0};

    if (catalog_load(c->reader, &fresh, &f) < 0) {
        if (!c->catalog_stale)
            LOG(LOG_ERROR, "core", "the catalog could not be read again", KV("detail", f.text));
        c->catalog_stale = true;
        return;
    }
    if (c->catalog_stale)
        LOG(LOG_INFO, "core", "the catalog is read again");
    c->catalog_stale = false;
    catalog_unref(c->catalog);
    c->catalog = catalog_ref(fresh);
    catalog_cell_set(c->cell, fresh);
}

/* The messages of a lost transaction stay unacknowledged, and those behind must not overtake
 * them: all come again. */
static void give_messages_back(struct core *c)
{
    turn_forget(c);
    mqtt_drop(c->rx, "the database could not commit");
}

/* The transaction ended: rc 0 committed, else lost. */
static void finish(struct core *c, int rc)
{
    struct db_job *job = c->tx_jobs, *next;

    c->committing = false;
    if (rc == 0 && c->tx_catalog)
        turn_reload(c);
    if (c->tx_seen)
        device_seen_flushed(c->seen, rc == 0);
    pushes_settle(&c->pushes, rc == 0);
    if (c->task_more && !c->stopping)
        loop_timer_start(c->task_gap, TASK_GAP_MS, 0);
    c->task_more = false;
    c->seen_due = rc == 0 && c->seen_due && device_seen_pending(c->seen) > 0;
    if (rc == 0) {
        int64_t now_us = clock_mono_us();
        answers_send(c, &c->tx_answers);
        for (struct waiting *w = c->tx_messages; w; w = w->next)
            if (w->check)
                metric_observe_us(M_CHECK_SECONDS, now_us - w->taken_us);
    } else {
        LOG(LOG_ERROR, "core", "transaction lost", KV_RC(rc), KV("detail", db_error(c->writer)));
        c->downs.next_at = 0;
        if (c->tx_messages)
            give_messages_back(c);
    }
    waiting_free_all(c, TAKE(c->tx_messages));
    c->tx_jobs = NULL;
    for (; job; job = next) {
        next = job->next;
        job->next = NULL;
        job->done(job, rc < 0 && job->rc == 0 ? rc : job->rc);
    }
    arena_reset(&c->tx_arena);
}

void turn_write(struct core *c)
{
    for (int round = 0; !c->committing; round++) {
        if (!is_due(c))
            break;
        if (round == WRITE_ROUNDS_MAX) {
            loop_wake_send(c->job_wake);
            break;
        }
        answers_init(&c->tx_answers, &c->tx_arena);
        c->tx_messages = NULL;
        c->tx_last = &c->tx_messages;
        c->tx_jobs = NULL;
        c->tx_jobs_last = &c->tx_jobs;
        c->tx_catalog = c->tx_seen = false;

        int64_t before = db_total_changes(c->writer);
        int rc = db_begin(c->writer);
        c->patient_due = false;
        if (rc == 0)
            rc = write_all(c);
        if (rc < 0) {
            db_rollback(c->writer);
            metric_add(M_COMMIT_FAILED, 1);
            finish(c, rc);
            break; /* the next turn tries again; a full disk must not make this one spin */
        }
        c->committing = true;
        if (db_total_changes(c->writer) != before) {
            db_committer_give(c->committer);
            break;
        }
        rc = db_commit(c->writer); /* nothing was written: no disk, no wait */
        finish(c, rc);
    }
    metric_set(M_QUEUE_DEPTH,
               (int64_t)(c->n_waiting + job_queue_count(&c->jobs) + job_queue_count(&c->patient)));
}

void turn_committed(struct core *c)
{
    int rc;

    if (!c->committing || !db_committer_take(c->committer, &rc))
        return;
    finish(c, rc);
    turn_write(c);
    mqtt_flush(c->tx);
    turn_intake(c);
}
