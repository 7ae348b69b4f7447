/*
 * Transactions of the turn: what they take, slice by slice, and what follows when the committer
 * gives word. A slice is short, so that messages that write nothing are read in between.
 */
#include "core_priv.h"

#include <assert.h>

#define WRITE_MESSAGES_MAX 2000  /* per transaction */
#define WRITE_MESSAGES_US  10000 /* of messages in one transaction */
#define WRITE_SLICE_US     2000  /* of messages between two looks at what else there is to read */
#define WRITE_OPEN_US      25000 /* from the transaction's begin to its last slice */
#define WRITE_JOBS_US      1000  /* of jobs in one transaction: imports come in slices this long */
#define WRITE_PATIENT_US   5000  /* of jobs that nobody waits for, in one slice */
#define PATIENT_BATCH      64    /* of them in one savepoint */
#define WRITE_ROUNDS_MAX   4     /* transactions that changed nothing, before others' turn */
#define SEEN_SLICE         500

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

bool turn_undo(struct core *c)
{
    db_undo(c->writer);
    return db_save(c->writer) == 0 && db_release(c->writer) == 0;
}

/* One message in a savepoint. Returns an error only when the whole transaction is lost. */
static int write_message(struct core *c, struct waiting *w)
{
    const size_t taken = c->pushes.n_taken;
    struct answers out;
    int rc = db_save(c->writer);

    if (rc < 0)
        return rc;
    turn_answers_init(&out, &c->tx_arena);
    struct dialect_in in = turn_in(c, w->topic, w->user, w->payload, w->n);
    rc = turn_run_message(c, c->writer, &c->tx_arena, &in, &out);
    if (rc == E_DB || rc == E_DB_FULL) {
        int64_t now = clock_mono_us() / 1000;
        if (rc == E_DB_FULL || !turn_undo(c) || !stubborn_failed(&c->stubborn, w, now))
            return rc;
    } else if (rc < 0) {
        db_undo(c->writer);
    } else if ((rc = db_release(c->writer)) < 0)
        return rc;

    if (rc < 0)
        pushes_undone(&c->pushes, taken);
    if (rc < 0 && rc != E_PROTO) {
        LOG(LOG_ERROR, "core", "device message failed", KV("topic", w->topic), KV_RC(rc));
        return 0;
    }
    turn_note_refused(c, &out);
    struct answers *all = &c->tx_answers;
    w->check = turn_has_check(&out);
    LOG(LOG_DEBUG, "core", "message written", KV("topic", w->topic), KV("user", w->user),
        KV_RC(rc));
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
        return turn_undo(c) ? 0 : job->rc;
    c->tx_catalog |= job->catalog;
    return db_release(c->writer);
}

/* What downloads served comes before what their devices say next: first the bytes, then success.
 * Many jobs share a savepoint, which is cheaper by far; when one of them fails, each has its own.
 */
static int write_patient_batch(struct core *c)
{
    struct db_job *first = NULL, *job;
    int rc = db_save(c->writer);

    for (int n = 0; rc == 0 && n < PATIENT_BATCH && (job = job_queue_take(&c->patient)); n++) {
        first = first ? first : job;
        *c->tx_jobs_last = job;
        c->tx_jobs_last = &job->next;
        assert(!job->catalog);
        rc = job->rc = job->run(job, c->writer);
    }
    if (rc == 0)
        return db_release(c->writer);
    if (!turn_undo(c))
        return rc;
    for (rc = 0; first && rc == 0; first = first->next)
        rc = write_job(c, first);
    return rc;
}

static int write_patient(struct core *c)
{
    int64_t start = clock_mono_us();
    int rc = 0;

    while (rc == 0 && job_queue_count(&c->patient) > 0 &&
           clock_mono_us() - start < WRITE_PATIENT_US)
        rc = write_patient_batch(c);
    return rc;
}

/* A slice. */
static int write_messages(struct core *c)
{
    int64_t start = clock_mono_us();
    size_t devices = c->tx_answers.n_seen; /* one message may be about hundreds */
    int n = 0, rc = 0;

    while (c->wait_first && c->tx_count < WRITE_MESSAGES_MAX && rc == 0) {
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
        c->tx_count++;
        if ((++n & 15) != 0 && c->tx_answers.n_seen - devices < 16)
            continue;
        devices = c->tx_answers.n_seen;
        if (clock_mono_us() - start > WRITE_SLICE_US)
            break;
    }
    c->tx_spent_us += clock_mono_us() - start;
    return rc;
}

/* Another slice of the same transaction? */
static bool has_more(const struct core *c)
{
    return c->wait_first && c->tx_count < WRITE_MESSAGES_MAX &&
           c->tx_spent_us < WRITE_MESSAGES_US && clock_mono_us() - c->tx_began_us < WRITE_OPEN_US;
}

/* A job that changes the catalog ends the transaction: what follows decides by the new one. */
static int write_jobs(struct core *c)
{
    int64_t start = clock_mono_us();
    struct db_job *job;
    int rc = 0;

    while (rc == 0 && !c->tx_catalog && (job = job_queue_take(&c->jobs))) {
        *c->tx_jobs_last = job;
        c->tx_jobs_last = &job->next;
        rc = write_job(c, job);
        if (clock_mono_us() - start > WRITE_JOBS_US)
            break;
    }
    return rc;
}

void turn_unsent(struct core *c)
{
    c->unsent = c->drives.unsent = true;
}

void turn_undone(struct core *c)
{
    turn_unsent(c); /* what was recovered in it is not; doing it again is harmless */
    c->task_wait_ms = 0;
    c->downs.next_at = 0;
    c->points = (struct device_points_at){0};
    drives_settle(&c->drives, false);
}

int turn_part(struct core *c, int (*run)(struct core *c, struct answers *out), const char *what)
{
    struct answers out;
    int rc = db_save(c->writer);

    if (rc < 0)
        return rc;
    turn_answers_init(&out, &c->tx_arena);
    rc = run(c, &out);
    if (rc >= 0) {
        rc = db_release(c->writer);
        if (rc == 0)
            answers_take(&c->tx_answers, &out);
        return rc;
    }
    if (!turn_undo(c) || rc == E_DB_FULL)
        return rc;
    LOG(LOG_ERROR, "core", "a part of the housekeeping failed", KV("part", what), KV_RC(rc),
        KV("detail", db_error(c->writer)));
    return 1;
}

static int flush_seen(struct core *c, struct answers *out UNUSED)
{
    int rc;

    c->tx_seen = true;
    rc = device_seen_flush(c->seen, c->writer, c->seen_due < SEEN_SLICE ? c->seen_due : SEEN_SLICE);
    c->tx_seen_n = rc < 0 ? 0 : (size_t)rc;
    return rc;
}

static int note_seen(struct core *c)
{
    int rc = c->seen_due ? turn_part(c, flush_seen, "when devices were seen") : 0;

    if (rc == 1) {
        device_seen_flushed(c->seen, false);
        c->tx_seen = false;
        c->seen_due = 0;
    }
    return rc;
}

/* In this order, and each fails for itself: none may keep those behind it waiting for ever. Those
 * that leave answers behind, which leave with the commit, come last. */
static int housekeeping(struct core *c)
{
    static int (*const parts[])(struct core * c) = {upkeep_expire, note_seen, upkeep_topics,
                                                    upkeep_sweep, upkeep_points};
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(parts) && rc >= 0; i++)
        rc = parts[i](c);
    if (rc >= 0 && c->task_due) {
        c->task_due = false;
        rc = pushes_tick(c);
        if (rc >= 0)
            rc = drive_tick(c);
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
    if (!c->expire_due && !c->event_due && !c->seen_due && !c->task_due && !c->sweep_due &&
        !c->down_due && !c->topics_due && !c->points_due)
        return 0;
    const struct answers was = c->tx_answers;
    int rc = db_save(c->writer);
    if (rc < 0)
        return rc;
    rc = housekeeping(c);
    if (rc == 0)
        return db_release(c->writer);
    if (!turn_undo(c))
        return rc;
    LOG(LOG_ERROR, "core", "housekeeping failed", KV_RC(rc), KV("detail", db_error(c->writer)));
    if (c->tx_seen)
        device_seen_flushed(c->seen, false);
    answers_cut(&c->tx_answers, &was);
    turn_undone(c);
    /* it is due again soon */
    c->points_due = false;
    c->tx_seen = c->expire_due = c->event_due = c->sweep_due = c->down_due = false;
    c->topics_due = false;
    c->seen_due = 0;
    topics_settle(c, false);
    return 0;
}

/* What comes behind the messages. */
static int write_rest(struct core *c)
{
    int rc = write_jobs(c);

    return rc < 0 || c->tx_catalog ? rc : write_housekeeping(c);
}

static bool is_due(struct core *c)
{
    size_t patient = job_queue_count(&c->patient);

    return c->wait_first || c->seen_due || c->expire_due || c->event_due || c->task_due ||
           c->sweep_due || c->down_due || c->topics_due || c->points_due ||
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
    topics_changed(c);
}

/* The messages of a lost transaction stay unacknowledged, and those behind must not overtake
 * them: all come again. */
static void give_messages_back(struct core *c)
{
    turn_forget(c);
    mqtt_drop(c->rx, "the database could not commit");
}

void turn_alive(struct core *c)
{
    if (c->alive)
        c->alive(c->alive_arg);
}

/* What was noted meanwhile waits for its own turn: on a busy server there is always something. */
static void seen_settle(struct core *c, bool committed)
{
    if (c->tx_seen) {
        device_seen_flushed(c->seen, committed);
        c->seen_due -= c->tx_seen_n;
    }
    if (!committed)
        c->seen_due = 0;                              /* until the next time */
    if (c->stopping && committed && c->seen_due == 0) /* the last words */
        c->seen_due = device_seen_pending(c->seen);
}

/* The transaction ended: rc 0 committed, else lost. */
static void finish(struct core *c, int rc)
{
    struct db_job *job = c->tx_jobs, *next;

    c->committing = c->open = false;
    turn_alive(c);
    if (rc == 0 && c->tx_catalog)
        turn_reload(c);
    seen_settle(c, rc == 0);
    pushes_settle(&c->pushes, rc == 0);
    topics_settle(c, rc == 0);
    if (rc == 0)
        drives_settle(&c->drives, true);
    else
        turn_undone(c);
    if (c->task_wait_ms > 0 && !c->stopping)
        loop_timer_start(c->task_gap, (uint64_t)c->task_wait_ms, 0);
    c->task_wait_ms = 0;
    if (rc == 0) {
        int64_t now_us = clock_mono_us();
        if (c->tx_wrote) /* most ticks find nothing to do: that is no news */
            LOG(LOG_DEBUG, "core", "transaction", KV_INT("messages", c->tx_count),
                KV_INT("us", now_us - c->tx_began_us));
        turn_answers_send(c, &c->tx_answers);
        for (struct waiting *w = c->tx_messages; w; w = w->next)
            if (w->check)
                metric_observe_us(M_CHECK_SECONDS, now_us - w->taken_us);
    } else {
        LOG(LOG_ERROR, "core", "transaction lost", KV_RC(rc), KV("detail", db_error(c->writer)));
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
    if (rc == 0 && c->tx_wrote && c->committed)
        c->committed(c->alive_arg);
}

static int begin(struct core *c)
{
    turn_answers_init(&c->tx_answers, &c->tx_arena);
    c->tx_messages = NULL;
    c->tx_last = &c->tx_messages;
    c->tx_jobs = NULL;
    c->tx_jobs_last = &c->tx_jobs;
    c->tx_catalog = c->tx_seen = false;
    c->tx_count = 0;
    c->tx_spent_us = 0;
    c->tx_began_us = clock_mono_us();
    c->tx_changes = db_total_changes(c->writer);
    c->patient_due = false;
    c->open = true;
    return db_begin(c->writer);
}

/* True when the transaction stays open, until the loop has looked at what can be read. */
static bool write_slice(struct core *c)
{
    int rc = c->open ? 0 : begin(c);

    if (rc == 0)
        rc = write_patient(c);
    if (rc == 0 && job_queue_count(&c->patient) == 0) /* else not yet */
        rc = write_messages(c);
    if (rc == 0 && has_more(c)) {
        loop_wake_send(c->job_wake);
        return true;
    }
    if (rc == 0)
        rc = write_rest(c);
    if (rc < 0) {
        db_rollback(c->writer);
        metric_add(M_COMMIT_FAILED, 1);
        finish(c, rc);
        return true; /* the next turn tries again; a full disk must not make this one spin */
    }
    c->committing = true;
    c->tx_wrote = db_total_changes(c->writer) != c->tx_changes;
    if (c->tx_wrote) {
        db_committer_give(c->committer);
    } else {
        rc = db_commit(c->writer); /* nothing was written: no disk, no wait */
        finish(c, rc);
    }
    return false;
}

void turn_write(struct core *c)
{
    for (int round = 0; !c->committing && (c->open || is_due(c)); round++) {
        if (round == WRITE_ROUNDS_MAX) {
            loop_wake_send(c->job_wake);
            break;
        }
        if (write_slice(c))
            break;
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
