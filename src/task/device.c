/*
 * One device and what a task does to it. Whether there is something for it is what update_ask()
 * says; for a device that is offline it is asked in a savepoint that is undone, so that the update
 * begins, and its clocks run, only when the message leaves.
 */
#include "task_priv.h"

/* Under way on the device: a second message could make it begin anew. */
static bool is_busy(const struct update *u)
{
    return u->state != UPDATE_PLANNED && u->state != UPDATE_OFFERED && u->state != UPDATE_DEFERRED;
}

static int ask(struct task_env *env, const struct action *act, const struct device *d,
               struct update_answer *ret)
{
    const struct update_ask q = {.module = act->module,
                                 .attribute = act->attribute,
                                 .cause = "task",
                                 .now = env->now,
                                 .link_lifetime_ms = env->link_lifetime_ms};

    return update_ask(env->db, env->catalog, d, &q, env->arena, ret);
}

static int push(struct task_env *env, const struct action *act, const struct device *d, bool online,
                struct verdict_of *ret)
{
    struct update_answer said;
    int rc = online ? 0 : db_save(env->db);

    if (rc < 0)
        return rc;
    rc = ask(env, act, d, &said);
    if (!online && rc == 0 && said.asked && said.update.id == 0)
        rc = db_release(env->db); /* its user may well be there */
    else if (!online)
        db_undo(env->db);
    if (rc < 0)
        return rc;
    if (said.update.id == 0) {
        *ret = (struct verdict_of){"nothing", reason_code(said.why.reason), 0};
    } else if (is_busy(&said.update)) {
        *ret = (struct verdict_of){"nothing", reason_code(REASON_UPDATE_IN_PROGRESS), 0};
    } else if (!online) {
        *ret = (struct verdict_of){"pending_offline", "", 0};
    } else {
        const struct task_message m = {
            .action = act->kind, .device = d, .update = &said.update, .id = said.update.id};
        rc = env->send(env->arg, &m);
        *ret = (struct verdict_of){"offered", "", said.update.id};
    }
    return rc;
}

static int command(struct task_env *env, const struct action *act, const struct device *d,
                   bool online, struct verdict_of *ret)
{
    struct task_message m = {.action = act->kind,
                             .device = d,
                             .method = act->method,
                             .params = act->params,
                             .attributes = act->attributes};
    int rc = 0;

    if (!d->enabled) {
        *ret = (struct verdict_of){"nothing", reason_code(REASON_DEVICE_DISABLED), 0};
        return 0;
    }
    if (!online) {
        *ret = (struct verdict_of){"pending_offline", "", 0};
        return 0;
    }
    if (act->kind == TASK_COMMAND_SEND)
        rc = update_next_id(env->db, &m.id);
    if (rc == 0)
        rc = env->send(env->arg, &m);
    *ret = (struct verdict_of){"sent", "", m.id};
    return rc;
}

int task_failed(struct task_env *env, int rc, struct verdict_of *ret)
{
    if (rc == E_DB_FULL || rc == E_NEEDS_WRITE)
        return rc;
    /* A device whose rows can't be read holds nobody else up; a lost transaction does. */
    if (rc == E_DB && (db_save(env->db) < 0 || db_release(env->db) < 0))
        return rc;
    *ret = (struct verdict_of){"failed", err_str(rc), 0};
    return 0;
}

int task_step(struct task_env *env, const struct action *act, const struct device *d, bool online,
              struct verdict_of *ret)
{
    int rc = db_save(env->db);

    if (rc < 0)
        return rc;
    rc = act->kind == TASK_OTA_PUSH ? push(env, act, d, online, ret)
                                    : command(env, act, d, online, ret);
    if (rc == 0)
        return db_release(env->db);
    db_undo(env->db); /* callers undo the innermost savepoint: it must be their own */
    return task_failed(env, rc, ret);
}

/* ---- what is kept ---- */
int task_kept_devices(struct db *db, int (*row)(void *arg, int64_t device_id), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_KEPT_DEVICES);
    int rc = 0;

    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_int(q, 0));
        if (rc != 0)
            break;
    }
    return rc;
}

static int forget(struct db *w, int64_t device_id, int64_t task_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_KEPT_DELETE);

    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, task_id);
    return db_run(q);
}

struct kept {
    int64_t task_id, run_id;
};

static int load_kept(struct db *db, int64_t device_id, struct kept *list, size_t cap, size_t *ret_n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TASK_KEPT_OF);
    int rc = 0;

    *ret_n = 0;
    db_bind_int(q, 1, device_id);
    while (*ret_n < cap && (rc = db_step(q)) == 1)
        list[(*ret_n)++] = (struct kept){db_int(q, 0), db_int(q, 1)};
    return *ret_n < cap ? rc : 0;
}

/* Messages of one delivery: an update leaves once, whoever asks for it. */
struct delivery {
    struct task_env *env;
    const int64_t *offered;
    size_t n_offered;
    int64_t sent[64];
    size_t n_sent;
};

static int send_once(void *arg, const struct task_message *m)
{
    struct delivery *l = arg;

    if (m->action == TASK_OTA_PUSH) {
        for (size_t i = 0; i < l->n_offered; i++)
            if (l->offered[i] == m->id)
                return 0;
        for (size_t i = 0; i < l->n_sent; i++)
            if (l->sent[i] == m->id)
                return 0;
        if (l->n_sent < ARRAY_LEN(l->sent))
            l->sent[l->n_sent++] = m->id;
    }
    return l->env->send(l->env->arg, m);
}

/* An offer: its row stays until the broker has it. Of a command, which could act twice, it goes. */
static int leave(struct db *w, int64_t device_id, int64_t task_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_TASK_KEPT_LEAVES);

    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, task_id);
    return db_run(q);
}

/* Why it is not sent any more; "" = it is. */
static int what_ended(struct task_env *env, const struct task *t, const struct device *d,
                      const struct kept *k, const char **ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(env->db, Q_TASK_VOID);

    db_bind_int(q, 1, t->id);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    *ret = k->run_id <= db_int(q, 0) ? arena_strdup(env->arena, db_text(q, 1)) : "";
    if (**ret)
        return 0;
    rc = task_targets(env->db, t, d->id); /* it may be for others now */
    *ret = rc == 0 ? "not_a_target" : "";
    return rc < 0 ? rc : 0;
}

static int deliver(struct task_env *env, const struct device *d, const struct kept *k)
{
    struct verdict_of v = {"nothing", "", 0};
    struct action act;
    struct task t;
    int rc = task_by_id(env->db, 0, k->task_id, env->arena, &t);

    if (rc == E_NOTFOUND) /* deleted: its rows are on their way out */
        return forget(env->db, d->id, k->task_id);
    if (rc == 0)
        rc = what_ended(env, &t, d, k, &v.reason);
    if (rc == 0 && !*v.reason && action_load(t.params, &act) < 0)
        v.reason = "bad_action";
    if (rc == 0 && !*v.reason) {
        rc = task_step(env, &act, d, true, &v);
        action_done(&act);
    }
    if (rc == 0)
        rc = strcmp(v.result, "offered") == 0 ? leave(env->db, d->id, k->task_id)
                                              : forget(env->db, d->id, k->task_id);
    return rc < 0 ? rc : run_device_set(env->db, k->run_id, d->id, "pending_offline", &v, env->now);
}

int task_deliver(struct task_env *env, const struct device *d, const int64_t *offered,
                 size_t n_offered)
{
    struct delivery l = {.env = env, .offered = offered, .n_offered = n_offered};
    struct task_env inner = *env;
    struct kept list[64];
    size_t n;
    int rc = load_kept(env->db, d->id, list, ARRAY_LEN(list), &n);

    inner.send = send_once;
    inner.arg = &l;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = deliver(&inner, d, &list[i]);
    int consents = rc < 0 ? rc : consent_deliver(&inner, d);
    if (consents == 1 || (consents == 0 && n == ARRAY_LEN(list)))
        env->kept(env->arg, d->id); /* the rest, at its next one */
    return consents < 0 ? consents : 0;
}
