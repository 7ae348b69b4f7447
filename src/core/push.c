/*
 * What otad sends of its own accord: the messages of tasks, and those that are kept until a device
 * gives a sign of life. All of it is rows first; the bytes leave after the commit like answers do.
 * Which devices have something waiting is known in memory: a superset of the rows, so that the
 * messages of all other devices cost nothing.
 */
#include "core_priv.h"

#define SLICE         200  /* devices */
#define SLICE_US      3000 /* … or so long */
#define PACE_MS       20   /* … of a run that waits for its rate, at least */
#define IN_FLIGHT_MAX 5000 /* commands without PUBACK; beyond it tasks wait */

/* ---- which devices ---- */
static int load_one(void *arg, int64_t device_id)
{
    struct pushes *p = arg;

    map_put(&p->waiting, &device_id, sizeof(device_id), p);
    return 0;
}

int pushes_load(struct pushes *p, struct db *w)
{
    int rc = db_begin(w);

    if (rc == 0)
        rc = task_recover(w);
    if (rc == 0)
        rc = campaign_recover(w);
    if (rc == 0)
        rc = consent_recover(w);
    if (rc < 0) {
        db_rollback(w);
        return rc;
    }
    rc = db_commit(w);
    if (rc == 0)
        rc = consent_kept_devices(w, load_one, p);
    return rc < 0 ? rc : task_kept_devices(w, load_one, p);
}

void pushes_done(struct pushes *p)
{
    map_done(&p->waiting);
    free(p->taken);
}

bool pushes_has(const struct pushes *p, int64_t device_id)
{
    return p->waiting.count > 0 && map_get(&p->waiting, &device_id, sizeof(device_id));
}

/* Taken at once, so that what is kept anew in the same transaction stays; a transaction that is
 * lost gives all of it back, a message that is undone its own. */
static void take(struct pushes *p, int64_t device_id)
{
    map_del(&p->waiting, &device_id, sizeof(device_id));
    if (p->n_taken == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 64;
        p->taken = xrealloc(p->taken, p->cap * sizeof(*p->taken));
    }
    p->taken[p->n_taken++] = device_id;
}

void pushes_settle(struct pushes *p, bool committed)
{
    for (size_t i = 0; i < p->n_taken && !committed; i++)
        (void)load_one(p, p->taken[i]);
    p->n_taken = 0;
}

void pushes_undone(struct pushes *p, size_t n)
{
    while (p->n_taken > n)
        (void)load_one(p, p->taken[--p->n_taken]);
}

/* ---- sending ---- */
/* A device that spoke by foreign topics gets what is for it there, as long as its serial number is
 * its own; otherwise by its key. */
static int address_by_sn(struct engine *x, const struct device *d, struct device_command *cmd)
{
    const struct type_topics *topics = topics_of(x->catalog, d->type_id);
    struct str sn = str_of(d->sn);
    struct device same;

    if (!topics || !topic_sn_ok(sn.p, sn.n))
        return 0;
    int rc = device_by_sn(x->db, d->type_id, sn, x->arena, &same);
    if (rc == 0) {
        cmd->topics = topics;
        cmd->sn = sn;
    }
    return rc == E_CONFLICT || rc == E_NOTFOUND ? 0 : rc;
}

/* By whom, and in whose words. */
static int address(struct engine *x, const struct device *d, struct device_command *cmd,
                   const struct dialect **ret)
{
    struct device_route route;
    int rc = device_route(x->db, d->id, x->arena, &route);

    if (rc < 0)
        return rc;
    cmd->device = str_of(route.gateway);
    cmd->path = route.path;
    cmd->n_path = route.n_path;
    cmd->form = route.form;
    cmd->as_list = route.as_list;
    *ret = dialect_named(route.dialect);
    if (*ret == &dialect_mapped && route.form == FORM_DIRECT)
        rc = address_by_sn(x, d, cmd);
    /* Only the first one has words for what lies deeper. */
    if (route.form == FORM_SUB && route.n_path > 1)
        *ret = dialects[0];
    return rc;
}

int push_command(struct engine *x, const struct device *d, struct device_command *cmd,
                 struct answers *out)
{
    const struct dialect *dialect;
    int rc = address(x, d, cmd, &dialect);

    return rc < 0 ? rc : engine_answer(dialect, cmd, out);
}

int push_offer(struct engine *x, const struct device *d, const struct update *u,
               struct answers *out)
{
    struct device_command cmd = {.id = u->id, .now_ms = x->now};
    const struct dialect *dialect;
    int rc = address(x, d, &cmd, &dialect);

    if (rc == 0)
        rc = offer_command(x, u, &cmd);
    return rc < 0 ? rc : engine_answer(dialect, &cmd, out);
}

struct sending {
    struct core *c;
    struct engine *x;
    struct answers *out;
};

static int send_message(void *arg, const struct task_message *m)
{
    struct sending *s = arg;
    struct device_command cmd = {.id = m->id, .now_ms = s->x->now};
    const struct dialect *dialect;
    int rc = 0;

    switch (m->action) {
    case TASK_OTA_PUSH:
        return push_offer(s->x, m->device, m->update, s->out);
    case TASK_COMMAND_SEND:
        cmd.kind = COMMAND_SEND;
        cmd.method = m->method;
        cmd.params = m->params;
        break;
    case TASK_ATTRIBUTES_PUSH:
        cmd.kind = COMMAND_PUSH_ATTRIBUTES;
        cmd.attributes = m->attributes;
        break;
    case TASK_ACTION__COUNT:
        return E_UNSUPPORTED;
    }
    rc = address(s->x, m->device, &cmd, &dialect);
    return rc < 0 ? rc : engine_answer(dialect, &cmd, s->out);
}

static void keep(void *arg, int64_t device_id)
{
    struct sending *s = arg;
    (void)load_one(&s->c->pushes, device_id);
}

static int is_online(void *arg, const char *key)
{
    const struct sending *s = arg;
    return device_presence(s->c->presence, key);
}

static int64_t heard(void *arg, int64_t device_id)
{
    const struct sending *s = arg;
    return posters_heard(&s->c->posters, device_id);
}

static struct task_env env_of(struct sending *s)
{
    return (struct task_env){
        .db = s->x->db,
        .catalog = s->x->catalog,
        .seen = s->c->seen,
        .now = s->x->now,
        .link_lifetime_ms = s->x->conf->ota_link_lifetime_s * 1000,
        .arena = s->x->arena,
        .send = send_message,
        .online = is_online,
        .heard = heard,
        .kept = keep,
        .run_after = &s->c->pushes.run_after,
        .arg = s,
    };
}

int pushes_deliver(struct core *c, struct engine *x, int64_t device_id, struct answers *out)
{
    struct sending s = {c, x, out};
    struct task_env env = env_of(&s);
    struct device d;
    int rc = device_by_id(x->db, device_id, x->arena, &d);

    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    take(&c->pushes, device_id);
    return task_deliver(&env, &d, out->ids, out->n_ids);
}

/* The connection broke while messages were handed to it: which of them left is not known. */
static int recover(struct core *c, struct answers *out UNUSED)
{
    int rc = task_recover(c->writer);

    if (rc == 0)
        rc = consent_recover(c->writer);
    if (rc == 0)
        rc = task_kept_devices(c->writer, load_one, &c->pushes);
    c->unsent = rc < 0;
    return rc;
}

/* A run with a rate goes on evenly: what the tick would send at once holds up the broker. */
static int64_t pause_after(int rc, int64_t wait_ms)
{
    if (rc != 0)
        return rc == 1 ? TASK_GAP_MS : 0;
    return wait_ms == 0 || wait_ms > PACE_MS ? wait_ms : PACE_MS;
}

static bool is_open(const struct core *c)
{
    return c->tx_up && mqtt_in_flight(c->tx) < IN_FLIGHT_MAX;
}

static int send_confirmed(struct core *c, struct answers *out)
{
    struct engine x = turn_engine(c, c->writer, &c->tx_arena);
    struct sending s = {c, &x, out};
    struct task_env env = env_of(&s);
    int rc = task_consents(&env, SLICE, SLICE_US);

    c->pushes.more = rc == 1;
    return rc < 0 ? rc : 0;
}

static int run_tasks(struct core *c, struct answers *out)
{
    struct engine x = turn_engine(c, c->writer, &c->tx_arena);
    struct sending s = {c, &x, out};
    struct task_env env = env_of(&s);
    env.settled = c->tx_up && !c->unsent && mqtt_in_flight(c->tx) == 0;
    env.delivered = c->pushes.n_taken > 0;
    int rc = task_tick(&env, is_open(c) ? SLICE : 0, SLICE_US);

    c->task_wait_ms = pause_after(rc < 0 ? rc : rc | c->pushes.more, env.wait_ms);
    return rc < 0 ? rc : 0;
}

/* What is not known to have left is found first: else it would be taken for sent. */
int pushes_tick(struct core *c)
{
    int rc = is_open(c) && c->unsent ? turn_part(c, recover, "what may not have left") : 0;

    c->pushes.more = false;
    if (rc != 0) {
        c->unsent = true;
        return rc < 0 ? rc : 0;
    }
    if (is_open(c))
        rc = turn_part(c, send_confirmed, "what users confirmed");
    if (rc >= 0)
        rc = turn_part(c, run_tasks, "tasks");
    return rc < 0 ? rc : 0;
}
