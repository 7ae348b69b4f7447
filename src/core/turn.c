/*
 * The turn. A message is first run on the reading connection: if it needs no write, its answer
 * leaves at once. Otherwise it waits, with everything later of the same device, for the writer.
 * A transaction takes messages and jobs, each in a savepoint, and goes to the committer's thread;
 * while that waits for the disk, reading goes on, and it goes on between slices of a transaction
 * that takes many messages: what writes nothing does not wait for what does. Answers of a
 * transaction, HTTP replies and the PUBACKs of its messages leave only after its commit. PUBACKs
 * leave in the order of the messages, each when nothing before it is unsettled. What can't be
 * settled (the commit failed, the answer had no way out) is not acknowledged: the session is cut,
 * and the broker sends it again.
 */
#include "core_priv.h"

/* Whose message: as the broker's plugin says, else the topic's last segment. */
static struct str device_of(const char *user, const char *topic)
{
    const char *slash = strrchr(topic, '/');
    return str_of(user ? user : slash ? slash + 1 : topic);
}

struct dialect_in turn_in(const struct core *c, const char *topic, const char *user,
                          const void *payload, size_t n)
{
    struct dialect_in in = {.topic = topic, .user = user, .payload = payload, .n = n};

    in.map = catalog_topic(c->catalog, topic, &in.sn);
    return in;
}

/* Messages of one device keep their order, also when one names its key and another its serial
 * number. */
static struct str sender_of(struct core *c, const struct dialect_in *in)
{
    struct device d;

    if (in->user || !in->map)
        return device_of(in->user, in->topic);
    if (device_by_sn(c->reader, in->map->type_id, in->sn, &c->read_arena, &d) < 0)
        return in->sn;
    return str_of(d.key);
}

static uint64_t hash_of(struct str device)
{
    return hash_bytes(device.p, device.n);
}

bool turn_has_check(const struct answers *out)
{
    return out->offered + out->repeated + out->nothing > 0;
}

void turn_note_refused(struct core *c, const struct answers *out)
{
    for (const struct refusal *r = out->refused; r; r = r->next)
        noise_refused(c->noise, r->device, r->why, clock_now_ms());
}

struct engine turn_engine(const struct core *c, struct db *db, struct arena *arena)
{
    return (struct engine){
        .conf = c->conf,
        .link_key = c->link_key,
        .catalog = c->catalog,
        .db = db,
        .arena = arena,
        .now = clock_now_ms(),
        .seen = c->seen,
    };
}

int turn_run_message(struct core *c, struct db *db, struct arena *arena,
                     const struct dialect_in *in, struct answers *out)
{
    struct engine x = turn_engine(c, db, arena);
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;
    int rc = down_heard(&x, in, out);

    if (rc != E_NOTFOUND)
        return rc;
    for (size_t i = 0; dialects[i]; i++) {
        rc = dialects[i]->decode(in, arena, &evs, &refused);
        bool known = rc != E_NOTFOUND;
        if (rc == 0) {
            rc = engine_handle(&x, dialects[i], &evs, out);
            for (size_t k = 0; rc == 0 && !out->keep && k < out->n_seen; k++)
                if (pushes_has(&c->pushes, out->seen[k]))
                    rc = db == c->writer ? pushes_deliver(c, &x, out->seen[k], out) : E_NEEDS_WRITE;
            for (size_t k = 0; rc == 0 && !out->keep && k < out->n_seen; k++)
                rc = drive_seen(c, &x, out->seen[k], out);
            for (size_t k = 0; rc != E_NEEDS_WRITE && k < out->n_seen; k++) {
                posters_note(&c->posters, &x, out->seen[k], out->posted);
                device_seen_note(c->seen, out->seen[k], x.now);
            }
            if (rc != E_NEEDS_WRITE)
                live_seen(c, out);
        } else if (rc == E_PROTO) {
            engine_refuse(out, in->map && !in->user ? in->sn : device_of(in->user, in->topic),
                          refused);
        }
        device_events_done(&evs);
        if (known)
            return rc;
    }
    engine_refuse(out, in->map && !in->user ? in->sn : device_of(in->user, in->topic), refused);
    return E_PROTO;
}

/* ---- reading ---- */

static void enqueue(struct core *c, const struct mqtt_message *m, uint64_t device_hash)
{
    struct waiting *w = waiting_new(m, device_hash, c->batch_us);
    if (c->wait_last)
        c->wait_last->next = w;
    else
        c->wait_first = w;
    c->wait_last = w;
    c->n_waiting++;
    c->waiting_bytes += m->n;
    busy_add(&c->busy, device_hash);
    if (c->waiting_bytes > WAITING_BYTES_MAX)
        mqtt_pause(c->rx, true); /* at once: the rest of a batch may be as large again */
}

static void read_failed(struct core *c, int rc)
{
    if (!c->read_failed)
        LOG(LOG_ERROR, "core", "reading failed", KV_RC(rc), KV("detail", db_error(c->reader)));
    c->read_failed = true;
}

void turn_message(struct core *c, const struct mqtt_message *m)
{
    struct answers out;

    if (c->batch_us == 0)
        c->batch_us = clock_mono_us();
    if (plugin_heard(c, m))
        return;
    struct dialect_in in = turn_in(c, m->topic, m->user, m->payload, m->n);
    struct str device = sender_of(c, &in);
    uint64_t device_hash = hash_of(device);
    if (m->retain) {
        /* Old news of unknown age: acted on, a retained version could undo what was proved. */
        noise_refused(c->noise, device, M_BAD_RETAINED, clock_now_ms());
        return;
    }
    if (m->n > DIALECT_PAYLOAD_MAX) { /* before it could be kept */
        noise_refused(c->noise, device, M_BAD_LENGTH, clock_now_ms());
        return;
    }
    if (busy_is(&c->busy, device_hash)) {
        enqueue(c, m, device_hash);
        return;
    }
    if (!c->reading && db_begin(c->reader) == 0)
        c->reading = true;
    turn_answers_init(&out, &c->read_arena);
    int rc = turn_run_message(c, c->reader, &c->read_arena, &in, &out);
    LOG(LOG_DEBUG, "core", "message", KV("topic", m->topic), KV("user", m->user),
        KV_INT("bytes", m->n), KV_RC(rc));
    if (rc == E_NEEDS_WRITE) {
        enqueue(c, m, device_hash);
    } else if (rc < 0 && rc != E_PROTO) {
        /* The reader failed: the writer shall find out whether the database is well. */
        read_failed(c, rc);
        enqueue(c, m, device_hash);
    } else {
        turn_note_refused(c, &out);
        turn_answers_send(c, &out);
        if (turn_has_check(&out))
            metric_observe_us(M_CHECK_SECONDS, clock_mono_us() - c->batch_us);
    }
}

void turn_batch_end(struct core *c)
{
    if (c->reading) {
        if (db_commit(c->reader) < 0)
            db_rollback(c->reader);
        c->reading = false;
    }
    if (c->batch_us)
        metric_observe_us(M_TURN_SECONDS, clock_mono_us() - c->batch_us);
    c->batch_us = 0;
    c->read_failed = false;
    arena_reset(&c->read_arena);
    turn_write(c);
    mqtt_flush(c->tx);
    turn_intake(c);
}
