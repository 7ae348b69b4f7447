/*
 * What a message or a transaction leaves to be sent and told once it is durable: collected, put
 * together, and handed to the broker's session.
 */
#include "core_priv.h"

void turn_answers_init(struct answers *out, struct arena *a)
{
    *out = (struct answers){.arena = a};
    out->last = &out->first;
}

void answers_add(struct answers *out, const struct dialect_out *bytes, bool live)
{
    struct answer *a = arena_alloc(out->arena, sizeof(*a));

    *a = (struct answer){.topic = bytes->topic, .payload = bytes->payload, .live = live};
    *out->last = a;
    out->last = &a->next;
}

void answers_take(struct answers *all, const struct answers *out)
{
    struct down_ended *next;

    if (out->first) {
        *all->last = out->first;
        all->last = out->last;
    }
    all->offered += out->offered;
    all->repeated += out->repeated;
    all->nothing += out->nothing;
    all->bad_versions += out->bad_versions;
    all->bad_progress += out->bad_progress;
    all->without_rule += out->without_rule;
    all->n_seen += out->n_seen;
    all->down_sent += out->down_sent;
    all->down_replied += out->down_replied;
    all->down_timed_out += out->down_timed_out;
    all->pushed += out->pushed;
    all->queued |= out->queued;
    for (struct down_ended *e = out->ended; e; e = next) {
        next = e->next;
        e->next = all->ended;
        all->ended = e;
    }
}

void answers_cut(struct answers *all, const struct answers *was)
{
    *all = *was;
    *all->last = NULL;
}

static void count(const struct answers *out)
{
    if (out->offered)
        metric_add(M_CHECK_OFFERED, out->offered);
    if (out->repeated)
        metric_add(M_CHECK_REPEATED, out->repeated);
    if (out->nothing)
        metric_add(M_CHECK_NOTHING, out->nothing);
    if (out->bad_versions)
        metric_add(M_BAD_VERSION, out->bad_versions);
    if (out->bad_progress)
        metric_add(M_BAD_PROGRESS, out->bad_progress);
    if (out->without_rule)
        metric_add(M_EVENT_NO_RULE, out->without_rule);
    if (out->down_sent)
        metric_add(M_DOWN_SENT, out->down_sent);
    if (out->down_replied)
        metric_add(M_DOWN_REPLIED, out->down_replied);
    if (out->pushed)
        metric_add(M_CAMPAIGN_PUSHED, out->pushed);
    if (out->down_timed_out)
        metric_add(M_DOWN_TIMED_OUT, out->down_timed_out);
}

void turn_answers_send(struct core *c, struct answers *out)
{
    bool sent = true;

    for (struct answer *a = out->first; a; a = a->next) {
        int mid;
        if (a->live) {
            live_send(c, a);
            continue;
        }
        int rc = mqtt_publish(c->tx, a->topic, a->payload.p, a->payload.n, 1, &mid);
        if (a->spare)
            continue;
        sent &= rc != E_UNAVAILABLE;
        LOG(LOG_DEBUG, "core", "answer", KV("topic", a->topic), KV_INT("bytes", a->payload.n),
            KV_RC(rc));
        if (rc < 0)
            turn_unsent(c);
    }
    /* Asked again, the same answer is given; and not before there is a way out for it. */
    if (!sent)
        mqtt_drop(c->rx, "the sending session is lost: questions shall come again");
    count(out);
    c->down_due |= out->queued && !c->stopping;
    for (const struct down_ended *e = out->ended; e; e = e->next)
        down_ended(c, e->id);
}
