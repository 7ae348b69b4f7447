/*
 * What goes by the clock: tasks that are due start a run, and runs under way go on, a slice at a
 * time. A slice writes what became of its devices and how far the run is in one transaction, so
 * a crash loses or keeps both.
 */
#include "task_priv.h"

#define DUE_MAX     20
#define RUNS_MAX    32
#define LEFT_MAX    1000
#define STRETCH     500              /* devices looked at in one query */
#define MESSAGE     INT64_C(1000000) /* what one message costs of the allowance */
#define ELAPSED_MAX 600000           /* ms that count for the rate */

/* ---- starting ---- */
static int set_next(struct db *w, int64_t id, int64_t next_at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_NEXT_SET);

    db_bind_int(q, 1, id);
    if (next_at)
        db_bind_int(q, 2, next_at);
    return db_run(q);
}

static int skip(struct task_env *env, const struct task *t, int64_t due_at, const char *reason)
{
    const struct new_run r = {"schedule", "skipped", reason, false, due_at, env->now};

    return run_insert(env->db, t->id, &r, env->now, NULL);
}

static int begin(struct task_env *env, const struct task *t, int64_t due_at)
{
    const struct new_run r = {"schedule", "running", "", false, due_at, 0};
    int64_t running;
    int rc = run_running(env->db, t->id, &running);

    if (rc < 0)
        return rc;
    return running ? skip(env, t, due_at, "run_under_way")
                   : run_insert(env->db, t->id, &r, env->now, NULL);
}

/* A time within the grace, or hardly past it, runs, once, however many have passed; one that is
 * older is skipped. */
static int start(struct task_env *env, const struct task *t)
{
    int64_t oldest = env->now - t->grace_s * 1000 - TASK_LATE_MS, due = t->next_at, next;
    int rc = 0;

    if (due < oldest) {
        rc = skip(env, t, due, "missed");
        if (rc == 0)
            rc = task_next(t, oldest - 1, &due);
    }
    if (rc == 0 && due && due <= env->now)
        rc = begin(env, t, due);
    if (rc == 0)
        rc = task_next(t, env->now, &next);
    return rc < 0 ? rc : set_next(env->db, t->id, next);
}

static int start_due(struct task_env *env)
{
    for (int i = 0; i < DUE_MAX; i++) {
        struct task t;
        {
            AUTO(db_reset) struct db_stmt *q = db_use(env->db, Q_TASK_DUE);
            db_bind_int(q, 1, env->now);
            int rc = db_row(q);
            if (rc < 0)
                return rc == E_NOTFOUND ? 0 : rc;
            task_row(q, env->arena, &t);
        }
        int rc = start(env, &t);
        if (rc == E_PROTO) { /* its zone has gone from the system */
            LOG(LOG_ERROR, "task", "no next time", KV_INT("task", t.id), KV("zone", t.timezone));
            rc = set_next(env->db, t.id, 0);
        }
        if (rc < 0)
            return rc;
    }
    return 1;
}

/* ---- going on ---- */
struct open_run {
    int64_t id, task_id;
    bool chosen;
    int64_t cursor, allowance, allowance_at;
};

/* Adds those of the tasks (after, upto]. */
static int add_runs(struct db *db, int64_t after, int64_t upto, struct open_run *list,
                    size_t *ret_n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_RUN_OPEN);
    int rc = 0;

    db_bind_int(q, 1, after);
    db_bind_int(q, 2, upto);
    db_bind_int(q, 3, (int64_t)(RUNS_MAX - *ret_n));
    while (*ret_n < RUNS_MAX && (rc = db_step(q)) == 1)
        list[(*ret_n)++] = (struct open_run){.id = db_int(q, 0),
                                             .task_id = db_int(q, 1),
                                             .chosen = db_int(q, 2) != 0,
                                             .cursor = db_int(q, 3),
                                             .allowance = db_int(q, 4),
                                             .allowance_at = db_int(q, 5)};
    return rc < 0 ? rc : 0;
}

/* Those behind where the last slice left off, then from the front: when there are more than go into
 * one slice, runs that wait for their rate must not keep the others out. */
static int open_runs(struct task_env *env, struct open_run *list, size_t *ret_n)
{
    int64_t after = env->run_after ? *env->run_after : 0;
    int rc;

    *ret_n = 0;
    rc = add_runs(env->db, after, INT64_MAX, list, ret_n);
    if (rc == 0 && after > 0 && *ret_n < RUNS_MAX)
        rc = add_runs(env->db, 0, after, list, ret_n);
    if (rc == 0 && env->run_after)
        *env->run_after = *ret_n == RUNS_MAX ? list[RUNS_MAX - 1].task_id : 0;
    return rc;
}

struct target {
    int64_t id;
    bool match;
};

static int stretch(struct db *db, const struct task *t, const struct open_run *r, int max,
                   struct target *list, int *ret_n)
{
    enum db_query query = r->chosen    ? Q_TASK_TARGETS_CHOSEN
                          : t->type_id ? Q_TASK_TARGETS_TYPE
                          : t->tags    ? Q_TASK_TARGETS_TAGS
                                       : Q_TASK_TARGETS_LIST;
    int64_t of = r->chosen ? r->id : t->type_id ? t->type_id : t->tags ? t->project_id : t->id;
    AUTO(db_reset) struct db_stmt *q = db_use(db, query);
    int rc = 0;

    *ret_n = 0;
    db_bind_int(q, 1, of);
    db_bind_int(q, 2, r->cursor);
    db_bind_int(q, 3, max);
    db_bind_text(q, 4, t->tags ? t->tags : "[]");
    while (*ret_n < max && (rc = db_step(q)) == 1)
        list[(*ret_n)++] = (struct target){db_int(q, 0), db_int(q, 1) != 0};
    return *ret_n < max ? rc : 0;
}

/* Keep a message for the device; what an earlier run kept of the same task is overtaken. */
static int keep(struct task_env *env, int64_t task_id, int64_t run_id, int64_t device_id)
{
    const struct verdict_of overtaken = {"nothing", "overtaken", 0};
    int64_t before = 0;
    int rc = 0;
    {
        AUTO(db_reset) struct db_stmt *q = db_use(env->db, Q_TASK_KEPT_RUN);
        db_bind_int(q, 1, device_id);
        db_bind_int(q, 2, task_id);
        rc = db_row(q);
        if (rc == 0)
            before = db_int(q, 0);
        else if (rc != E_NOTFOUND)
            return rc;
    }
    rc = before
             ? run_device_set(env->db, before, device_id, "pending_offline", &overtaken, env->now)
             : 0;
    if (rc < 0)
        return rc;
    AUTO(db_reset) struct db_stmt *q = db_use(env->db, Q_TASK_KEPT_PUT);
    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, task_id);
    db_bind_int(q, 3, run_id);
    rc = db_run(q);
    if (rc == 0)
        env->kept(env->arg, device_id);
    return rc;
}

int task_is_there(struct task_env *env, const struct device *d, bool *ret)
{
    const struct device_reach reach = {env->seen, env->online, env->heard, env->arg, env->now};
    const struct device_type *type = catalog_type(env->catalog, d->type_id);

    return device_is_there(env->db, &reach, d, type ? type : &device_type_defaults, env->arena,
                           ret);
}

/* 1 = a message left, 0 = none, or an error. */
static int handle(struct task_env *env, const struct task *t, const struct action *act,
                  const struct open_run *r, int64_t device_id)
{
    struct verdict_of v;
    struct device d;
    bool there = false;
    int rc = device_by_id(env->db, device_id, env->arena, &d);

    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc; /* of an import that is not there yet */
    rc = task_is_there(env, &d, &there);
    rc = rc == 0 ? task_step(env, act, &d, there, &v) : task_failed(env, rc, &v);
    if (rc == 0 && strcmp(v.result, "pending_offline") == 0)
        rc = keep(env, t->id, r->id, device_id);
    if (rc == 0)
        rc = run_device_add(env->db, r->id, device_id, &v, env->now);
    if (rc == 0 && strcmp(v.result, "failed") == 0)
        LOG(LOG_DEBUG, "task", "a device failed", KV_INT("task", t->id), KV("device", d.key),
            KV("error", v.reason));
    return rc < 0 ? rc : strcmp(v.result, "offered") == 0 || strcmp(v.result, "sent") == 0;
}

static void refill(struct open_run *r, int64_t rate, int64_t now)
{
    int64_t elapsed = now - r->allowance_at;
    int64_t most = (rate / 30 > 2 ? rate / 30 : 2) * MESSAGE;

    elapsed = elapsed < 0 ? 0 : elapsed > ELAPSED_MAX ? ELAPSED_MAX : elapsed;
    r->allowance += rate * elapsed * (MESSAGE / 1000) / 60;
    r->allowance = r->allowance > most ? most : r->allowance;
    r->allowance_at = now;
}

/* How long until the next message may leave. */
static void wait_for_rate(struct task_env *env, const struct open_run *r, int64_t rate)
{
    int64_t per_ms = rate * (MESSAGE / 1000);
    int64_t ms = ((MESSAGE - r->allowance) * 60 + per_ms - 1) / per_ms;

    if (env->wait_ms == 0 || ms < env->wait_ms)
        env->wait_ms = ms;
}

static int store_move(struct db *w, const struct open_run *r)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_MOVE);

    db_bind_int(q, 1, r->id);
    db_bind_int(q, 2, r->cursor);
    db_bind_int(q, 3, r->allowance);
    db_bind_int(q, 4, r->allowance_at);
    return db_run(q);
}

struct slice {
    int max;
    int64_t until_us;
};

/* 1 = there is more at once, 0 = done, or it waits for its rate. */
static int walk(struct task_env *env, const struct task *t, const struct action *act,
                struct open_run *r, const struct slice *s)
{
    struct target list[STRETCH];
    int64_t rate = t->rate_per_minute;
    int n, done = 0, handled = 0, look = t->tags && !r->chosen ? STRETCH : s->max;
    int rc = stretch(env->db, t, r, look, list, &n);

    while (rc >= 0 && done < n && handled < s->max) {
        if (list[done].match) {
            if (rate && r->allowance < MESSAGE)
                break;
            rc = handle(env, t, act, r, list[done].id);
            r->allowance -= rc == 1 && rate ? MESSAGE : 0;
            handled++;
        }
        if (rc >= 0)
            r->cursor = list[done++].id;
        if ((handled & 7) == 7 && clock_mono_us() > s->until_us)
            break;
    }
    if (rc < 0)
        return rc;
    rc = store_move(env->db, r);
    if (rc == 0 && done == n && n < look)
        return run_end(env->db, r->id, "done", "", env->now);
    if (rc < 0 || !rate || r->allowance >= MESSAGE)
        return rc < 0 ? rc : 1;
    wait_for_rate(env, r, rate);
    return 0;
}

static int go_on(struct task_env *env, struct open_run *r, const struct slice *s)
{
    struct action act;
    struct task t;
    int rc = task_by_id(env->db, 0, r->task_id, env->arena, &t);

    if (rc < 0)
        return rc;
    if (t.rate_per_minute) {
        refill(r, t.rate_per_minute, env->now);
        if (r->allowance < MESSAGE) { /* nothing is written: it counts from where the row stands */
            wait_for_rate(env, r, t.rate_per_minute);
            return 0;
        }
    }
    rc = action_load(t.params, &act);
    if (rc < 0)
        return run_end(env->db, r->id, "canceled", "bad_action", env->now);
    rc = walk(env, &t, &act, r, s);
    action_done(&act);
    return rc;
}

static int confirm(struct db *w)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RUN_CONFIRM);

    return db_run(q);
}

static int kept_left(struct db *w)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_KEPT_LEFT);

    db_bind_int(q, 1, LEFT_MAX);
    return db_run(q);
}

static int kept_again(struct db *w)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_KEPT_AGAIN);

    return db_run(q);
}

int task_recover(struct db *w)
{
    int rc = kept_again(w);

    if (rc < 0)
        return rc;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_RECOVER);
    rc = db_run(q);
    return rc < 0 ? rc : confirm(w);
}

int task_tick(struct task_env *env, int max, int64_t max_us)
{
    int64_t start_us = clock_mono_us();
    struct open_run runs[RUNS_MAX];
    size_t n;
    int rc = start_due(env), more = rc == 1;

    env->wait_ms = 0;
    if (rc >= 0 && env->settled)
        rc = confirm(env->db);
    if (rc >= 0 && env->settled && !env->delivered)
        rc = kept_left(env->db);
    if (rc < 0 || max == 0)
        return rc < 0 ? rc : more;
    rc = open_runs(env, runs, &n);
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        /* Each gets its part of what is left. */
        const int64_t left = max_us - (clock_mono_us() - start_us);
        const struct slice s = {max / (int)n > 8 ? max / (int)n : 8,
                                clock_mono_us() + left / (int64_t)(n - i)};
        rc = go_on(env, &runs[i], &s);
        more |= rc == 1;
    }
    return rc < 0 ? rc : more;
}
