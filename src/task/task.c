/* Rows of tasks, their device lists, and when each is due next. */
#include "task_priv.h"

/* ---- reading ---- */
void task_row(struct db_stmt *q, struct arena *a, struct task *ret)
{
    size_t kind = 0;

    while (kind < TASK_ACTION__COUNT - 1 &&
           strcmp(task_action_name((enum task_action)kind), db_text(q, 4)) != 0)
        kind++;
    *ret = (struct task){
        .id = db_int(q, 0),
        .project_id = db_int(q, 1),
        .name = arena_strdup(a, db_text(q, 2)),
        .enabled = db_int(q, 3) != 0,
        .action = (enum task_action)kind,
        .params = arena_strdup(a, db_text(q, 5)),
        .type_id = db_int(q, 6),
        .tags = arena_strdup(a, db_text(q, 7)),
        .schedule = arena_strdup(a, db_text(q, 8)),
        .timezone = arena_strdup(a, db_text(q, 9)),
        .grace_s = db_int(q, 10),
        .rate_per_minute = db_int(q, 11),
        .next_at = db_int(q, 12),
        .created_at = db_int(q, 13),
        .updated_at = db_int(q, 14),
        .revision = db_int(q, 15),
    };
}

int task_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a, struct task *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_BY_ID);
    int rc = 0;

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, project_id);
    rc = db_row(q);
    if (rc == 0)
        task_row(q, a, ret);
    return rc;
}

int task_list(struct db *db, const struct task_filter *flt, int64_t after, int limit,
              int (*row)(void *arg, const struct task *t), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_LIST);
    struct arena a;
    struct task t;
    int rc = 0;

    arena_init(&a);
    db_bind_int(q, 1, flt->project_id);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, limit);
    db_bind_int(q, 4, flt->enabled);
    db_bind_text(q, 5, flt->action);
    db_bind_int(q, 6, flt->type_id);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        task_row(q, &a, &t);
        rc = row(arg, &t);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}

int64_t task_count(struct db *db, const struct task_filter *flt)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_COUNT);

    db_bind_int(q, 1, flt->project_id);
    db_bind_int(q, 2, flt->enabled);
    db_bind_text(q, 3, flt->action);
    db_bind_int(q, 4, flt->type_id);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0);
}

int task_devices(struct db *db, int64_t task_id, int (*row)(void *arg, const char *key), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_DEVICE_KEYS);
    int rc = 0;

    db_bind_int(q, 1, task_id);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_text(q, 0));
        if (rc != 0)
            break;
    }
    return rc;
}

int task_targets(struct db *db, const struct task *t, int64_t device_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_TARGET);
    int rc = 0;

    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, t->project_id);
    db_bind_int(q, 3, t->type_id);
    db_bind_text(q, 4, t->tags);
    db_bind_int(q, 5, t->id);
    rc = db_row(q);
    return rc == E_NOTFOUND ? 0 : rc < 0 ? rc : 1;
}

/* ---- when ---- */
int task_check(const json_t *action, const json_t *schedule, const char *timezone,
               struct json_errors *errs)
{
    AUTO(zone_free) struct zone *z = NULL;
    struct schedule s;
    struct action act;
    int rc = action_parse(action, "/action", &act, errs);
    int rc2 = schedule_parse(schedule, "/schedule", &s, errs);

    if (zone_load(timezone, &z) == 0)
        return rc < 0 ? rc : rc2;
    json_error_add(errs, "/timezone", "invalid",
                   "This time zone is not known here; an IANA name such as Asia/Shanghai is.");
    return E_PROTO;
}

int task_next(const struct task *t, int64_t after_ms, int64_t *ret)
{
    AUTO(zone_free) struct zone *z = NULL;
    struct json_errors errs = {.count = 0};
    enum json_fault fault;
    struct schedule s;
    AUTO(json_free)
    json_t *in = json_parse(t->schedule, strlen(t->schedule), 65536, 16, &fault, NULL);
    int rc = in ? schedule_parse(in, "", &s, &errs) : E_DB;

    *ret = 0;
    if (rc < 0 || zone_load(t->timezone, &z) < 0)
        return E_PROTO;
    *ret = schedule_next(&s, z, after_ms);
    return 0;
}

/* ---- writing ---- */
static void bind_or_null(struct db_stmt *q, int i, int64_t v)
{
    if (v)
        db_bind_int(q, i, v);
    else
        db_bind_null(q, i);
}

static int set_devices(struct db *w, int64_t task_id, const int64_t *devices, size_t n)
{
    AUTO(db_reset) struct db_stmt *clear = db_use(w, Q_TASK_DEVICE_CLEAR);
    AUTO(db_reset) struct db_stmt *add = db_use(w, Q_TASK_DEVICE_ADD);
    int rc = 0;

    db_bind_int(clear, 1, task_id);
    rc = db_run(clear);
    db_bind_int(add, 1, task_id);
    for (size_t i = 0; i < n && rc == 0; i++) {
        db_bind_int(add, 2, devices[i]);
        rc = db_run(add);
    }
    return rc;
}

int task_insert(struct db *w, struct task *t, const int64_t *devices, size_t n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_INSERT);
    int rc = task_next(t, t->created_at, &t->next_at);

    if (rc < 0)
        return rc;
    db_bind_int(q, 1, t->project_id);
    db_bind_text(q, 2, t->name);
    db_bind_int(q, 3, t->enabled);
    db_bind_text(q, 4, task_action_name(t->action));
    db_bind_text(q, 5, t->params);
    bind_or_null(q, 6, t->type_id);
    db_bind_text(q, 7, t->tags);
    db_bind_text(q, 8, t->schedule);
    db_bind_text(q, 9, t->timezone);
    db_bind_int(q, 10, t->grace_s);
    db_bind_int(q, 11, t->rate_per_minute);
    bind_or_null(q, 12, t->enabled ? t->next_at : 0);
    db_bind_int(q, 13, t->created_at);
    rc = db_run(q);
    if (rc < 0)
        return rc;
    t->id = db_last_id(w);
    return n ? set_devices(w, t->id, devices, n) : 0;
}

/* Written otherwise, it is still the same action. */
static bool is_same_action(const char *a, const char *b)
{
    enum json_fault fault;

    if (strcmp(a, b) == 0)
        return true;
    AUTO(json_free) json_t *x = json_parse(a, strlen(a), 1 << 20, 32, &fault, NULL);
    AUTO(json_free) json_t *y = json_parse(b, strlen(b), 1 << 20, 32, &fault, NULL);
    return x && y && json_equal(x, y);
}

static int changes_action(struct db *w, const struct task *t, bool *ret)
{
    struct task was;
    struct arena a;

    arena_init(&a);
    int rc = task_by_id(w, 0, t->id, &a, &was);
    *ret = rc == 0 && !is_same_action(was.params, t->params);
    arena_done(&a);
    return rc == E_NOTFOUND ? 0 : rc;
}

/* run: a run under way, whose messages are not void; 0 = none. */
static int set_void(struct db *w, int64_t id, int64_t run, const char *reason)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_VOID_SET);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, run);
    db_bind_text(q, 3, reason);
    return db_run(q);
}

/* What it began and what it keeps, when that is not what the task is any more. */
static int end_what_was(struct db *w, const struct task *t, bool other)
{
    int64_t run = 0;
    int rc = !t->enabled || other ? run_running(w, t->id, &run) : 0;

    if (rc == 0 && !t->enabled && run)
        rc = run_end(w, run, "canceled", "task_disabled", t->updated_at);
    if (rc == 0 && !t->enabled)
        return set_void(w, t->id, 0, "task_disabled");
    return rc == 0 && other ? set_void(w, t->id, run, "task_changed") : rc;
}

int task_update(struct db *w, struct task *t, const int64_t *devices, size_t n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_UPDATE);
    bool other = false;
    int rc = task_next(t, t->updated_at, &t->next_at);

    if (rc == 0)
        rc = changes_action(w, t, &other);
    if (rc < 0)
        return rc;
    db_bind_int(q, 1, t->id);
    db_bind_text(q, 2, t->name);
    db_bind_int(q, 3, t->enabled);
    db_bind_text(q, 4, task_action_name(t->action));
    db_bind_text(q, 5, t->params);
    bind_or_null(q, 6, t->type_id);
    db_bind_text(q, 7, t->tags);
    db_bind_text(q, 8, t->schedule);
    db_bind_text(q, 9, t->timezone);
    db_bind_int(q, 10, t->grace_s);
    db_bind_int(q, 11, t->rate_per_minute);
    bind_or_null(q, 12, t->enabled ? t->next_at : 0);
    db_bind_int(q, 13, t->updated_at);
    rc = db_run(q);
    if (rc == 0 && devices)
        rc = set_devices(w, t->id, devices, n);
    return rc == 0 ? end_what_was(w, t, other) : rc;
}
