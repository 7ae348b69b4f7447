/*
 * Commands and attributes for one device that somebody asked for, over REST or as an application.
 * They are rows first (device_down); a later transaction hands on what is due, and its bytes leave
 * after the commit. A command without a reply is sent again, as its device's type says, and then
 * given up. What can't be sent is given up at the same time: nothing old reaches a device by
 * surprise.
 */
#include "core_priv.h"

#define SLICE         200
#define IN_FLIGHT_MAX 5000
#define FORGET_MS     60000
#define KEEP_MS       ((int64_t)24 * 3600 * 1000)
#define FORGET_SLICE  500
#define RETRY_MS      1000
#define ASIDE_MAX     200 /* that can't even be ended */

/* ---- what applications ask for ---- */

static int refuse(struct answers *out, struct str device, enum metric why)
{
    engine_refuse(out, device, why);
    return E_PROTO;
}

static int queue(struct engine *x, const struct device *d, const struct open_message *m,
                 struct answers *out)
{
    const struct device_type *type = catalog_type(x->catalog, d->type_id);
    AUTO(free) char *params = m->body ? json_text(m->body) : xstrdup("{}");
    AUTO(free) char *id = m->id ? json_dumps(m->id, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    struct device_down down = {
        .device_id = d->id,
        .method = m->method,
        .params = params,
        .app_id = id,
        .created_at = x->now,
    };
    int rc = m->is_command ? update_next_id(x->db, &down.message_id) : 0;

    if (rc == 0)
        rc = device_down_insert(x->db, &down, type ? type : &device_type_defaults);
    out->queued |= rc == 0;
    return rc;
}

int down_heard(struct engine *x, const struct dialect_in *in, struct answers *out)
{
    const struct project_app *app;
    struct open_message m;
    enum metric why = M_BAD_TYPE;
    struct device d;
    int rc = open_decode(in, &m, &why);

    if (rc == E_NOTFOUND)
        return rc;
    app = catalog_app_by_key(x->catalog, m.app);
    if (rc == E_PROTO) {
        rc = refuse(out, m.device, why);
    } else if (!app) {
        rc = refuse(out, m.device, M_BAD_IDENTITY);
    } else {
        rc = device_find(x->db, m.device, x->arena, &d);
        if (rc == E_NOTFOUND || (rc == 0 && (d.project_id != app->project_id || !d.enabled)))
            rc = refuse(out, m.device, M_BAD_DEVICE);
        else if (rc == 0 && (rc = queue(x, &d, &m, out)) == E_LIMIT)
            rc = refuse(out, m.device, M_BAD_QUEUE);
    }
    open_message_done(&m);
    return rc;
}

/* ---- sending ---- */

/* As far as anybody knows: true unless it is known to be away. */
static bool is_reachable(struct core *c, struct engine *x, const struct device *d)
{
    struct device_route route;
    struct device full;

    if (device_route(x->db, d->id, x->arena, &route) < 0 ||
        device_presence(c->presence, route.gateway) == 0)
        return false;
    return !d->gateway_id || device_by_key(x->db, d->project_id, d->key, x->arena, &full) < 0 ||
           full.online != 0;
}

static int send_one(struct engine *x, const struct device *d, const struct device_down *m,
                    struct answers *out)
{
    enum json_fault fault;
    AUTO(json_free)
    json_t *body = json_parse(m->params, strlen(m->params), DIALECT_PAYLOAD_MAX,
                              DIALECT_TREE_DEPTH_MAX, &fault, NULL);
    struct device_command cmd = {.kind = m->method ? COMMAND_SEND : COMMAND_PUSH_ATTRIBUTES,
                                 .id = m->message_id,
                                 .method = m->method,
                                 .params = m->method ? body : NULL,
                                 .attributes = m->method ? NULL : body,
                                 .now_ms = x->now};
    int rc = json_is_object(body) ? push_command(x, d, &cmd, out) : E_PROTO;

    out->down_sent += rc == 0;
    if (rc < 0 || m->method)
        return rc;
    /* Applications hear of every change of attributes, whoever made it. */
    return live_add(x, d, &(struct device_event){.kind = EVENT_REPORT, .body = body}, NULL, out);
}

static int end(struct engine *x, struct device_down *m, const char *state, struct answers *out)
{
    struct down_ended *e = arena_alloc(out->arena, sizeof(*e));

    *e = (struct down_ended){m->id, out->ended};
    out->ended = e;
    m->state = state;
    m->ended_at = x->now;
    return device_down_update(x->db, m);
}

/* m has the id; the rest is read, as far as it can be. */
static int step(struct core *c, struct engine *x, struct device_down *m, struct answers *out)
{
    const struct device_type *type;
    struct device d;
    int64_t last = 0;
    int rc = device_down_by_id(x->db, 0, m->id, x->arena, m);

    if (rc == 0)
        rc = device_by_id(x->db, m->device_id, x->arena, &d);
    if (rc == 0)
        rc = device_down_last(x->db, m->device_id, &last);
    if (rc < 0)
        return rc;
    type = catalog_type(x->catalog, d.type_id);
    type = type ? type : &device_type_defaults;
    if (!d.enabled)
        return end(x, m, "canceled", out);
    if (x->now >= m->expires_at || m->attempts > type->reply_retries) {
        out->down_timed_out++;
        return end(x, m, "timed_out", out);
    }
    if (last <= x->now && x->now < last + type->down_interval_ms) {
        m->next_at = last + type->down_interval_ms;
        return device_down_update(x->db, m);
    }
    m->attempts++;
    m->next_at = x->now + type->reply_wait_ms;
    if (!is_reachable(c, x, &d))
        return device_down_update(x->db, m);
    rc = send_one(x, &d, m, out);
    if (rc == E_DB || rc == E_DB_FULL || rc == E_PROTO)
        return rc;
    if (rc < 0) /* there is no way to it: the others must not wait for this one */
        return end(x, m, "canceled", out);
    m->sent_at = x->now;
    m->state = "sent";
    return m->method ? device_down_update(x->db, m) : end(x, m, "sent", out);
}

/* ---- rows that are spoilt: each for itself, the others go on ---- */
static int give_up(struct core *c UNUSED, struct engine *x, struct device_down *m,
                   struct answers *out)
{
    return end(x, m, "canceled", out);
}

/* In a savepoint of its own. 1 = it failed with *ret_why, and is undone; an error: the transaction
 * is lost with it. */
static int alone(struct core *c, struct engine *x, struct device_down *m, struct answers *out,
                 int (*run)(struct core *, struct engine *, struct device_down *, struct answers *),
                 int *ret_why)
{
    const struct answers was = *out;
    int rc = db_save(x->db);

    if (rc < 0)
        return rc;
    *ret_why = run(c, x, m, out);
    if (*ret_why == 0)
        return db_release(x->db);
    answers_cut(out, &was);
    return turn_undo(c) && *ret_why != E_DB_FULL ? 1 : *ret_why;
}

/* It was told in the log; so it is once a minute while it can't be written down. */
static const char *detail_of(const struct engine *x, int why)
{
    switch (why) {
    case E_PROTO:
        return "its params are no JSON object";
    case E_NOTFOUND:
        return "it, or its device, is not there";
    default:
        return db_error(x->db);
    }
}

/* It is told in the log, and, as long as not even that can be written down, once a minute. */
static int set_aside(struct core *c, struct engine *x, struct device_down *m, int why,
                     struct answers *out)
{
    AUTO(free) char *detail = xstrdup(detail_of(x, why));
    int ignored, rc = alone(c, x, m, out, give_up, &ignored);

    if (rc < 0 || (rc == 1 && c->downs.aside.count >= ASIDE_MAX))
        return rc;
    LOG(LOG_ERROR, "core",
        rc == 0 ? "a message for a device can't be sent, and is canceled"
                : "a message for a device can neither be sent nor canceled, and is left out",
        KV_INT("message", m->id), KV_INT("device", m->device_id), KV_RC(why), KV("detail", detail));
    if (rc == 1)
        (void)map_put(&c->downs.aside, &m->id, sizeof(m->id), c);
    return rc;
}

/* 1 = nothing can be done about it. */
static int step_alone(struct core *c, struct engine *x, int64_t id, struct answers *out)
{
    struct device_down m = {.id = id, .next_at = x->now};
    int why = 0, rc = alone(c, x, &m, out, step, &why);

    return rc == 1 ? set_aside(c, x, &m, why, out) : rc;
}

static int walk(struct core *c, struct engine *x, struct answers *out)
{
    int64_t ids[SLICE + ASIDE_MAX], now_ms = clock_mono_us() / 1000;
    int n = device_down_due(x->db, x->now, ids, SLICE + (int)c->downs.aside.count);
    int rc = n < 0 ? n : 0, done = 0;

    for (int i = 0; i < n && rc >= 0 && done < SLICE; i++) {
        if (map_get(&c->downs.aside, &ids[i], sizeof(ids[i])))
            continue;
        rc = step_alone(c, x, ids[i], out);
        done += rc == 0;
    }
    rc = rc < 0 ? rc : 0;
    c->down_due = done == SLICE && !c->stopping; /* the rest at once, in the next transaction */
    if (rc == 0 && now_ms >= c->downs.forget_ms) {
        c->downs.forget_ms = now_ms + FORGET_MS;
        map_done(&c->downs.aside); /* once more */
        rc = device_down_forget(x->db, x->now - KEEP_MS, FORGET_SLICE);
    }
    if (rc >= 0)
        rc = device_down_next(x->db, &c->downs.next_at);
    if (rc == E_NOTFOUND) {
        c->downs.next_at = INT64_MAX;
        rc = 0;
    }
    return rc;
}

static int tick(struct core *c, struct answers *out)
{
    struct engine x = turn_engine(c, c->writer, &c->tx_arena);

    return c->tx_up && mqtt_in_flight(c->tx) < IN_FLIGHT_MAX ? walk(c, &x, out) : 0;
}

int down_tick(struct core *c)
{
    int rc = turn_part(c, tick, "messages for devices");

    if (rc != 0)
        c->down_due = false;
    if (rc == 1)
        c->downs.next_at = clock_now_ms() + RETRY_MS;
    return rc < 0 ? rc : 0;
}

bool down_is_due(struct core *c)
{
    return c->tx_up &&
           (clock_now_ms() >= c->downs.next_at || clock_mono_us() / 1000 >= c->downs.forget_ms);
}

/* ---- who waits for it ---- */

struct watch {
    void (*woke)(void *arg);
    void *arg;
    int64_t until_ms;
};

static void wake(struct core *c, int64_t id)
{
    struct watch *w = map_del(&c->downs.watches, &id, sizeof(id));

    if (!w)
        return;
    w->woke(w->arg);
    free(w);
}

void core_down_queued(void *core, int64_t id, int64_t wait_ms, void (*woke)(void *arg), void *arg)
{
    struct core *c = core;

    c->down_due = !c->stopping;
    if (!woke)
        return;
    struct watch *w = xcalloc(1, sizeof(*w));
    *w = (struct watch){woke, arg, clock_mono_us() / 1000 + wait_ms};
    (void)map_put(&c->downs.watches, &id, sizeof(id), w);
    if (c->stopping)
        wake(c, id);
}

void down_ended(struct core *c, int64_t id)
{
    if (c->downs.watches.count > 0)
        wake(c, id);
}

void down_wake(struct core *c, bool all)
{
    int64_t now = clock_mono_us() / 1000, ids[64];
    const void *key;
    void *value;
    size_t it = 0, n, found;

    do {
        found = 0;
        it = 0;
        while (found < ARRAY_LEN(ids) && map_next(&c->downs.watches, &it, &key, &n, &value)) {
            const struct watch *w = value;
            if (all || w->until_ms <= now)
                memcpy(&ids[found++], key, sizeof(*ids));
        }
        for (size_t i = 0; i < found; i++)
            wake(c, ids[i]);
    } while (found == ARRAY_LEN(ids));
}
