/*
 * What devices send over HTTP: ThingsCloud's messages, taken as if they had come through the
 * broker, in the transaction of the request's job. What is for the device stands in the answer of
 * the request. Commands go to the broker as well: who only reports over HTTP listens there.
 */
#include "core_priv.h"

#define POSTERS_MAX (1 << 20)

static bool starts_with(const char *s, const char *prefix, const char **ret_rest)
{
    size_t n = strlen(prefix);

    *ret_rest = s + n;
    return strncmp(s, prefix, n) == 0;
}

/* ---- who listens? ---- */
/* When a device that posts was heard by the broker is not told by when it was seen: that time is
 * kept here until the broker brings something of it again. */
void posters_note(struct map *posters, const struct engine *x, int64_t device_id, bool posted)
{
    struct device d = {.seen_at = 0};
    int64_t at = x->seen ? device_seen_at(x->seen, device_id) : 0;

    if (!posted) {
        if (posters->count > 0)
            (void)map_del(posters, &device_id, sizeof(device_id));
        return;
    }
    if (posters->count >= POSTERS_MAX || map_get(posters, &device_id, sizeof(device_id)))
        return;
    if (device_by_id(x->db, device_id, x->arena, &d) == 0 && d.seen_at > at)
        at = d.seen_at;
    (void)map_put(posters, &device_id, sizeof(device_id), (void *)(intptr_t)(at + 1));
}

int64_t posters_heard(const struct map *posters, int64_t device_id)
{
    if (posters->count == 0)
        return -1;
    return (int64_t)(intptr_t)map_get(posters, &device_id, sizeof(device_id)) - 1;
}

/* ---- the answer ---- */
/* Into the request's answer; true: and to the broker. */
static bool take(struct device_post *m, struct answer *a)
{
    const char *topic, *rest;

    if (!starts_with(a->topic, "otad/to/", &topic) || !starts_with(topic, m->key, &topic) ||
        *topic != '/')
        return true; /* somebody else's */
    if (starts_with(topic, "/command/send/", &rest)) {
        sbuf_fmt(&m->commands, "%s%.*s", m->commands.n ? "," : "", (int)a->payload.n, a->payload.p);
        return true;
    }
    if (starts_with(topic, "/attributes/push", &rest)) {
        sbuf_fmt(&m->pushed, "%s%.*s", m->pushed.n ? "," : "", (int)a->payload.n, a->payload.p);
        return true;
    }
    if (starts_with(topic, "/attributes/get/response/", &rest))
        sbuf_add(&m->attributes, a->payload.p, a->payload.n);
    return false; /* receipts: the request's answer is one */
}

static void sort_out(struct device_post *m, struct answers *out)
{
    struct answer **at = &out->first;

    while (*at) {
        struct answer *a = *at;
        if (a->live || take(m, a)) {
            a->spare = !a->live;
            at = &a->next;
        } else {
            *at = a->next;
        }
    }
    out->last = at;
}

int core_post(void *core, struct db *w, struct device_post *m)
{
    struct core *c = core;
    struct dialect_in in = turn_in(c, m->topic, m->key, m->payload, m->n);
    struct answers out;

    m->commands.n = m->pushed.n = m->attributes.n = 0; /* it may run twice */
    turn_answers_init(&out, &c->tx_arena);
    /* Where the device listens is known: then nothing has to wait for a request that asks. */
    out.posted = true;
    out.keep = !m->takes_all && device_presence(c->presence, m->key) != 1;
    int rc = turn_run_message(c, w, &c->tx_arena, &in, &out);
    turn_note_refused(c, &out);
    if (rc < 0) {
        m->refused = out.refused ? out.refused->why : M_BAD_TYPE;
        return rc;
    }
    sort_out(m, &out);
    answers_take(&c->tx_answers, &out);
    return 0;
}
