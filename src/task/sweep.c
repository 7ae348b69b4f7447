/*
 * Removing what is not needed any more, in slices: a task or a run may have a row for each of a
 * million devices, and one transaction over all of them would hold up everybody else. What is gone
 * is marked so first, and from then on nobody sees it.
 */
#include "task_priv.h"

#define TASKS_AT_ONCE 5  /* that are looked at for old runs */
#define RUNS_AT_ONCE  50 /* of one task that are marked */

/* Run a deletion of at most *left rows; *left becomes what may still be removed. */
static int drop(struct db *w, enum db_query query, int64_t of, int64_t *left)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, query);
    int rc;

    if (*left <= 0)
        return 0;
    db_bind_int(q, 1, of);
    db_bind_int(q, 2, *left);
    rc = db_run(q);
    if (rc == 0)
        *left -= db_changed(w);
    return rc;
}

static int with_id(struct db *w, enum db_query query, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, query);

    db_bind_int(q, 1, id);
    return db_run(q);
}

/* The first row's id; 0 = none. */
static int next_of(struct db *w, enum db_query query, int64_t of, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, query);
    int rc;

    *ret = 0;
    if (of >= 0)
        db_bind_int(q, 1, of);
    rc = db_row(q);
    if (rc == 0)
        *ret = db_int(q, 0);
    return rc == E_NOTFOUND ? 0 : rc;
}

static int drop_run(struct db *w, int64_t run, int64_t *left)
{
    int rc = drop(w, Q_TASK_RUN_DEVICE_DROP, run, left);

    if (rc == 0)
        rc = drop(w, Q_TASK_RUN_TARGET_DROP, run, left);
    if (rc < 0 || *left <= 0)
        return rc;
    *left -= 1;
    return with_id(w, Q_TASK_RUN_DROP, run);
}

static int drop_task(struct db *w, int64_t id, int64_t *left)
{
    int64_t run = 0;
    int rc = drop(w, Q_TASK_KEPT_DROP, id, left);

    while (rc == 0 && *left > 0) {
        rc = next_of(w, Q_TASK_RUN_ANY, id, &run);
        if (rc < 0 || run == 0)
            break;
        rc = drop_run(w, run, left);
    }
    if (rc == 0)
        rc = drop(w, Q_TASK_DEVICE_DROP, id, left);
    if (rc < 0 || *left <= 0)
        return rc;
    *left -= 1;
    return with_id(w, Q_TASK_DELETE, id);
}

int task_delete(struct db *w, int64_t id, int64_t now, int max)
{
    int64_t run = 0, left = max;
    int rc = run_running(w, id, &run);

    if (rc == 0 && run)
        rc = run_end(w, run, "canceled", "task_deleted", now);
    if (rc == 0)
        rc = with_id(w, Q_TASK_GONE, id);
    return rc < 0 ? rc : drop_task(w, id, &left);
}

static int mark_old(struct db *w, int64_t task, const struct task_keep *k, int64_t *left)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_OLD);
    int rc;

    db_bind_int(q, 1, task);
    db_bind_int(q, 2, k->runs);
    db_bind_int(q, 3, k->before);
    db_bind_int(q, 4, RUNS_AT_ONCE);
    rc = db_run(q);
    if (rc == 0)
        *left -= db_changed(w);
    return rc;
}

int task_sweep(struct db *w, struct task_keep *k, int max)
{
    int64_t left = max, id = 0;
    int rc;

    do {
        rc = next_of(w, Q_TASK_GONE_NEXT, -1, &id);
        if (rc == 0 && id)
            rc = drop_task(w, id, &left);
    } while (rc == 0 && id && left > 0);
    while (rc == 0 && left > 0) {
        rc = next_of(w, Q_TASK_RUN_GONE_NEXT, -1, &id);
        if (rc < 0 || id == 0)
            break;
        rc = drop_run(w, id, &left);
    }
    if (rc < 0 || left <= 0)
        return rc < 0 ? rc : 1;
    const int64_t before = left;
    for (int i = 0; i < TASKS_AT_ONCE && rc == 0; i++) {
        rc = next_of(w, Q_TASK_AFTER, k->after, &id);
        k->after = id; /* 0: from the first one again, next time */
        if (rc < 0 || id == 0)
            break;
        rc = mark_old(w, id, k, &left);
    }
    return rc < 0 ? rc : left < before;
}
