/* Rows of runs: what became of each device, and the counts, which move with them. */
#include "task_priv.h"

#include "event.h"

/* ---- runs ---- */
/* The event of a run, from its row. */
static int tell(struct db *w, int64_t run_id, const char *type, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_TOLD);
    struct sbuf data = {.p = NULL};

    db_bind_int(q, 1, run_id);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    sbuf_fmt(&data, "{\"task\":%lld,\"run\":%lld,\"name\":", (long long)db_int(q, 1),
             (long long)run_id);
    json_add_string(&data, db_text(q, 2));
    sbuf_fmt(&data, ",\"cause\":\"%s\",\"state\":\"%s\",\"reason\":\"%s\"}", db_text(q, 3),
             db_text(q, 4), db_text(q, 5));
    rc = event_add(w, &(struct event){.at = now,
                                      .project_id = db_int(q, 0),
                                      .object_id = run_id,
                                      .type = type,
                                      .data = data.p});
    sbuf_done(&data);
    return rc;
}

int run_insert(struct db *w, int64_t task_id, const struct new_run *r, int64_t now, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_INSERT);
    int rc = 0;

    db_bind_int(q, 1, task_id);
    db_bind_text(q, 2, r->cause);
    db_bind_int(q, 3, r->chosen);
    db_bind_text(q, 4, r->state);
    db_bind_text(q, 5, r->reason);
    db_bind_int(q, 6, r->due_at);
    db_bind_int(q, 7, now);
    if (r->ended_at)
        db_bind_int(q, 8, r->ended_at);
    rc = db_run(q);
    if (rc < 0)
        return rc;
    int64_t id = db_last_id(w);
    if (ret)
        *ret = id;
    return tell(w, id, r->ended_at ? "task.run_ended" : "task.run_started", now);
}

int run_end(struct db *w, int64_t run_id, const char *state, const char *reason, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_END);

    db_bind_int(q, 1, run_id);
    db_bind_text(q, 2, state);
    db_bind_text(q, 3, reason);
    db_bind_int(q, 4, now);
    int rc = db_run(q);
    return rc < 0 ? rc : tell(w, run_id, "task.run_ended", now);
}

int run_running(struct db *db, int64_t task_id, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_RUN_RUNNING);
    int rc = 0;

    *ret = 0;
    db_bind_int(q, 1, task_id);
    rc = db_row(q);
    if (rc == 0)
        *ret = db_int(q, 0);
    return rc == E_NOTFOUND ? 0 : rc;
}

int task_run_now(struct db *w, const struct task *t, const int64_t *devices, size_t n, int64_t now,
                 int64_t *ret_run, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_TARGET_ADD);
    const struct new_run r = {"operator", "running", "", devices != NULL, now, 0};
    int64_t running;
    int rc = run_running(w, t->id, &running);

    if (rc < 0)
        return rc;
    if (!t->enabled)
        return fail(f, E_CONFLICT, "The task is disabled.");
    if (running)
        return fail(f, E_CONFLICT, "Run %lld of this task is under way.", (long long)running);
    rc = run_insert(w, t->id, &r, now, ret_run);
    db_bind_int(q, 1, *ret_run);
    for (size_t i = 0; i < n && rc == 0; i++) {
        db_bind_int(q, 2, devices[i]);
        rc = db_run(q);
    }
    return rc;
}

static void run_row(struct db_stmt *q, struct arena *a, struct task_run *ret)
{
    *ret = (struct task_run){
        .id = db_int(q, 0),
        .task_id = db_int(q, 1),
        .cause = arena_strdup(a, db_text(q, 2)),
        .state = arena_strdup(a, db_text(q, 3)),
        .reason = arena_strdup(a, db_text(q, 4)),
        .due_at = db_int(q, 5),
        .started_at = db_int(q, 6),
        .ended_at = db_int(q, 7),
    };
}

int task_run_by_id(struct db *db, int64_t task_id, int64_t id, struct arena *a,
                   struct task_run *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_RUN_BY_ID);
    int rc = 0;

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, task_id);
    rc = db_row(q);
    if (rc == 0)
        run_row(q, a, ret);
    return rc;
}

int task_run_list(struct db *db, int64_t task_id, const char *state, int64_t before, int limit,
                  int (*row)(void *arg, const struct task_run *r), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_RUN_LIST);
    struct task_run r;
    struct arena a;
    int rc = 0;

    arena_init(&a);
    db_bind_int(q, 1, task_id);
    db_bind_int(q, 2, before ? before : INT64_MAX);
    db_bind_int(q, 3, limit);
    db_bind_text(q, 4, state);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        run_row(q, &a, &r);
        rc = row(arg, &r);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}

int64_t task_run_list_count(struct db *db, int64_t task_id, const char *state)
{
    return db_count_word(db, Q_TASK_RUN_LIST_COUNT, task_id, state);
}

/* ---- counts and devices ---- */
int64_t task_run_devices_count(struct db *db, int64_t run_id, const char *result)
{
    return db_count_word(db, Q_TASK_RUN_DEVICES_COUNT, run_id, result);
}

int task_run_counts(struct db *db, int64_t run_id,
                    int (*row)(void *arg, const char *result, const char *reason, int64_t n),
                    void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_RUN_COUNTS);
    int rc = 0;

    db_bind_int(q, 1, run_id);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_text(q, 0), db_text(q, 1), db_int(q, 2));
        if (rc != 0)
            break;
    }
    return rc;
}

int task_run_devices(struct db *db, int64_t run_id, const char *result, int64_t after, int limit,
                     int (*row)(void *arg, const struct task_run_device *d), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_RUN_DEVICES);
    int rc = 0;

    db_bind_int(q, 1, run_id);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, limit);
    db_bind_text(q, 4, result);
    while ((rc = db_step(q)) == 1) {
        struct task_run_device d = {.device_id = db_int(q, 0),
                                    .key = db_text(q, 1),
                                    .result = db_text(q, 2),
                                    .reason = db_text(q, 3),
                                    .message_id = db_int(q, 4),
                                    .at = db_int(q, 5)};
        rc = row(arg, &d);
        if (rc != 0)
            break;
    }
    return rc;
}

int run_count(struct db *w, int64_t run_id, const char *result, const char *reason, int64_t n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_COUNT_ADD);

    db_bind_int(q, 1, run_id);
    db_bind_text(q, 2, result);
    db_bind_text(q, 3, reason);
    db_bind_int(q, 4, n);
    return db_run(q);
}

static int write_device(struct db *w, enum db_query query, int64_t run_id, int64_t device_id,
                        const struct verdict_of *v, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, query);

    db_bind_int(q, 1, run_id);
    db_bind_int(q, 2, device_id);
    db_bind_text(q, 3, v->result);
    db_bind_text(q, 4, v->reason);
    if (v->message_id)
        db_bind_int(q, 5, v->message_id);
    db_bind_int(q, 6, now);
    return db_run(q);
}

int run_device_add(struct db *w, int64_t run_id, int64_t device_id, const struct verdict_of *v,
                   int64_t now)
{
    int rc = write_device(w, Q_TASK_RUN_DEVICE_ADD, run_id, device_id, v, now);

    return rc < 0 ? rc : run_count(w, run_id, v->result, v->reason, 1);
}

int run_device_set(struct db *w, int64_t run_id, int64_t device_id, const char *from,
                   const struct verdict_of *v, int64_t now)
{
    int rc = 0;
    {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_DEVICE_GET);
        db_bind_int(q, 1, run_id);
        db_bind_int(q, 2, device_id);
        rc = db_row(q);
        if (rc < 0)
            return rc == E_NOTFOUND ? 0 : rc;
        if (strcmp(db_text(q, 0), from) != 0)
            return 0;
        rc = run_count(w, run_id, db_text(q, 0), db_text(q, 1), -1);
    }
    if (rc == 0)
        rc = write_device(w, Q_TASK_RUN_DEVICE_SET, run_id, device_id, v, now);
    return rc < 0 ? rc : run_count(w, run_id, v->result, v->reason, 1);
}

int task_replied(struct db *w, int64_t device_id, int64_t message_id)
{
    struct verdict_of v = {"answered", "", 0};
    int64_t run, at;
    {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_DEVICE_BY_MESSAGE);
        db_bind_int(q, 1, device_id);
        db_bind_int(q, 2, message_id);
        int rc = db_row(q);
        if (rc < 0)
            return rc;
        run = db_int(q, 0);
        at = db_int(q, 1);
    }
    return run_device_set(w, run, device_id, "sent", &v, at);
}
