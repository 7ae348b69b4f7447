/*
 * Campaigns that push: who is there, and the bytes of their offers. Devices that are there are gone
 * through behind messages and jobs, a slice of the transaction at a time; the others are served at
 * their next sign of life, which is a message, or that the broker's plugin tells of their
 * connection. Of a device nothing is kept before its offer: so what waits for a million costs
 * nothing, and a message of a device that has nothing to expect costs a lookup or two.
 */
#include "core_priv.h"

#define SLICE         200  /* devices */
#define SLICE_US      3000 /* … or so long */
#define IN_FLIGHT_MAX 5000 /* commands without PUBACK; beyond it campaigns wait */
#define RESEND_SLICE  50
#define RESEND_MS     5000 /* until those that may not be sent again now are looked at */
#define ARRIVALS_MAX  4096 /* more at once: all are gone through again */
#define ARRIVED_MS    2000 /* from its connection on, until it has subscribed */

static int64_t mono_ms(void)
{
    return clock_mono_us() / 1000;
}

/* ---- sending ---- */
struct sending {
    struct core *c;
    struct engine *x;
    struct answers *out;
};

/* What leaves comes last: the caller may undo what fails, and an id is given out once. */
static int send_offer(void *arg, const struct device *d, const struct update *u)
{
    struct sending *s = arg;
    const struct update_unsent m = {++s->c->drives.last_no, u->id, d->id};
    int rc = update_unsent_add(s->x->db, &m);

    if (rc == 0)
        rc = push_offer(s->x, d, u, s->out);
    s->out->pushed += rc == 0;
    return rc;
}

static int online(void *arg, const char *key)
{
    const struct core *c = arg;

    return device_presence(c->presence, key);
}

static int64_t heard(void *arg, int64_t device_id)
{
    const struct core *c = arg;

    return posters_heard(&c->posters, device_id);
}

static int is_there(void *arg, const struct device *d, bool *ret)
{
    struct sending *s = arg;
    const struct device_type *type = catalog_type(s->x->catalog, d->type_id);
    const struct device_reach reach = {s->c->seen, online, heard, s->c, s->x->now};

    return device_is_there(s->x->db, &reach, d, type ? type : &device_type_defaults, s->x->arena,
                           ret);
}

static struct update_push_env env_of(struct sending *s)
{
    return (struct update_push_env){.db = s->x->db,
                                    .catalog = s->x->catalog,
                                    .now = s->x->now,
                                    .link_lifetime_ms = s->x->conf->ota_link_lifetime_s * 1000,
                                    .arena = s->x->arena,
                                    .there = is_there,
                                    .send = send_offer,
                                    .arg = s};
}

/* ---- what may not have arrived ---- */
static int note_unsure(struct drives *v, struct db *w)
{
    struct update_unsent list[RESEND_SLICE];
    int64_t after = 0;
    int n;

    do {
        n = update_unsent_list(w, 0, after, INT64_MAX, list, ARRAY_LEN(list));
        for (int i = 0; i < n; i++) {
            after = list[i].no;
            (void)map_put(&v->unsure, &list[i].device_id, sizeof(list[i].device_id), v);
        }
    } while (n == (int)ARRAY_LEN(list));
    v->last_no = after > v->last_no ? after : v->last_no;
    v->unsure_to = v->reached = v->last_no;
    v->resent = v->resend_ms = 0;
    v->later = false;
    return n < 0 ? n : 0;
}

int drives_load(struct drives *v, struct db *w)
{
    return note_unsure(v, w);
}

/* The connection broke while messages were handed to it: which of them left is not known. */
static int recover(struct drives *v, struct db *w)
{
    int rc = note_unsure(v, w);

    v->unsent = rc < 0;
    return rc;
}

void drives_done(struct drives *v)
{
    map_done(&v->unsure);
    update_walks_done(&v->walks);
    free(v->arrivals);
}

/* What was taken in a lost transaction is found again: rows are (write.c has them read anew), and
 * who arrived is among those that are gone through. */
void drives_settle(struct drives *v, bool committed)
{
    if (committed) {
        v->sent_no = v->last_no;
    } else {
        update_walks_anew(&v->walks);
        v->again |= v->took;
    }
    v->took = false;
}

/* Once more, as long as the device has said nothing to it, and by the rules of now. 1 = later. */
static int resend(struct sending *s, const struct update_unsent *m)
{
    struct update u = {0};
    struct device d = {0};
    int rc = update_by_id(s->x->db, m->update_id, s->x->arena, &u);

    if (rc == 0)
        rc = device_by_id(s->x->db, m->device_id, s->x->arena, &d);
    if (rc == 0)
        rc = update_still(s->x->db, s->x->catalog, &d, &u, s->x->now, s->x->arena);
    if (rc == 0)
        return 1;
    if (rc < 0 && rc != E_NOTFOUND && rc != E_GONE)
        return rc;
    bool may = rc == 1;
    rc = update_unsent_drop(s->x->db, m->no);
    if (rc == 0 && may)
        rc = send_offer(s, &d, &u);
    return rc == E_NOTFOUND ? 0 : rc;
}

/* On a reading connection: E_NEEDS_WRITE when there is something to send or to forget. A device is
 * struck off the list when no row of it is left, which nothing can undo. */
static int resend_to(struct sending *s, int64_t device_id)
{
    struct drives *v = &s->c->drives;
    struct update_unsent list[RESEND_SLICE];
    int n = update_unsent_list(s->x->db, device_id, 0, v->unsure_to, list, ARRAY_LEN(list));
    int rc = n < 0 ? n : 0;

    for (int i = 0; i < n && rc >= 0; i++) {
        rc = resend(s, &list[i]);
        v->later |= rc == 1;
    }
    if (n == 0)
        (void)map_del(&v->unsure, &device_id, sizeof(device_id));
    return rc < 0 ? rc : 0;
}

static int resend_if_there(struct sending *s, int64_t device_id)
{
    struct device d = {0};
    bool there = false;
    int rc = device_by_id(s->x->db, device_id, s->x->arena, &d);

    if (rc == 0)
        rc = is_there(s, &d, &there);
    return rc == E_NOTFOUND || (rc == 0 && there) ? resend_to(s, device_id) : rc;
}

/* A device whose rows can't be read or written holds nobody else up; a lost transaction does. */
static int resend_alone(struct sending *s, int64_t device_id)
{
    const struct answers was = *s->out;
    struct db *w = s->x->db;
    int rc = db_save(w);

    if (rc < 0)
        return rc;
    rc = resend_if_there(s, device_id);
    if (rc == 0)
        return db_release(w);
    db_undo(w);
    answers_cut(s->out, &was);
    if (rc == E_DB_FULL || (rc == E_DB && (db_save(w) < 0 || db_release(w) < 0)))
        return rc;
    s->c->drives.later = true;
    LOG(LOG_ERROR, "core", "an offer could not be sent again", KV_INT("device", device_id),
        KV_RC(rc));
    return 0;
}

/* All were looked at: those that may not leave now are looked at again, some time later. */
static void end_round(struct drives *v)
{
    v->resend_ms = v->later ? mono_ms() + RESEND_MS : INT64_MAX;
    v->resent = 0;
    v->later = false;
}

/* Those that are there need not speak first. 1 = there is more. */
static int resend_some(struct sending *s)
{
    struct drives *v = &s->c->drives;
    struct update_unsent list[RESEND_SLICE];
    int n, rc;

    if (v->unsure.count == 0 || mono_ms() < v->resend_ms)
        return 0;
    n = update_unsent_list(s->x->db, 0, v->resent, v->unsure_to, list, ARRAY_LEN(list));
    rc = n < 0 ? n : 0;
    for (int i = 0; i < n && rc == 0; i++) {
        v->resent = list[i].no;
        rc = resend_alone(s, list[i].device_id);
    }
    if (rc < 0)
        return rc;
    if (n < (int)ARRAY_LEN(list))
        end_round(v);
    return n == (int)ARRAY_LEN(list);
}

/* ---- signs of life ---- */
int drive_seen(struct core *c, struct engine *x, int64_t device_id, struct answers *out)
{
    struct sending s = {c, x, out};
    struct update_push_env env = env_of(&s);
    const struct campaign *const *list;
    struct device d;
    int rc = 0;

    if (c->drives.unsure.count > 0 && map_get(&c->drives.unsure, &device_id, sizeof(device_id)))
        rc = resend_to(&s, device_id);
    if (rc < 0 || !catalog_any_push(x->catalog))
        return rc;
    rc = device_by_id(x->db, device_id, x->arena, &d);
    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    if (!d.enabled || catalog_pushes(x->catalog, d.type_id, &list) == 0)
        return 0;
    rc = update_push_seen(&env, &d);
    return rc < 0 ? rc : 0;
}

int drive_offer(struct core *c, struct engine *x, int64_t campaign_id, int64_t device_id,
                struct answers *out)
{
    struct sending s = {c, x, out};
    struct update_push_env env = env_of(&s);
    const struct campaign *by = catalog_campaign(x->catalog, campaign_id);
    bool there = false;
    struct device d;
    int rc = by ? device_by_id(x->db, device_id, x->arena, &d) : E_NOTFOUND;

    if (rc == 0)
        rc = is_there(&s, &d, &there);
    if (rc == 0 && there)
        rc = update_push(&env, by, &d, NULL);
    return rc == E_NOTFOUND ? 0 : rc;
}

static void arrived(struct drives *v, const char *key, size_t n)
{
    if (v->n_arrivals == ARRIVALS_MAX) {
        v->again = true;
        v->n_arrivals = 0;
    }
    if (v->again || n > DEVICE_KEY_MAX)
        return;
    if (!v->arrivals)
        v->arrivals = xcalloc(ARRIVALS_MAX, sizeof(*v->arrivals));
    struct drive_arrival *a = &v->arrivals[(v->first + v->n_arrivals++) % ARRIVALS_MAX];
    memcpy(a->key, key, n);
    a->key[n] = '\0';
    a->at_ms = mono_ms() + ARRIVED_MS;
}

void drive_presence(struct core *c, const char *lines, size_t n)
{
    struct drives *v = &c->drives;
    const char *end = lines + n;

    while (lines < end) {
        const char *eol = memchr(lines, '\n', (size_t)(end - lines));
        size_t len = (size_t)((eol ? eol : end) - lines);

        if (len > 0 && *lines == '=')
            v->listing = true;
        else if (len > 0 && *lines == '.')
            v->again = true, v->listing = false;
        else if (len > 1 && *lines == '+' && !v->listing && catalog_any_push(c->catalog))
            arrived(v, lines + 1, len - 1);
        lines += len + 1;
    }
}

static int welcome(struct sending *s)
{
    struct drives *v = &s->c->drives;
    int rc = 0;

    for (int i = 0; i < RESEND_SLICE && rc == 0 && v->n_arrivals > 0; i++) {
        const struct drive_arrival *a = &v->arrivals[v->first];
        struct device d;

        if (a->at_ms > mono_ms())
            return 0;
        rc = device_find(s->x->db, str_of(a->key), s->x->arena, &d);
        if (rc == 0)
            rc = drive_seen(s->c, s->x, d.id, s->out);
        rc = rc == E_NOTFOUND ? 0 : rc;
        v->first = (v->first + 1) % ARRIVALS_MAX;
        v->n_arrivals--;
        v->took = true;
    }
    return rc < 0 ? rc : v->n_arrivals > 0 && v->arrivals[v->first].at_ms <= mono_ms();
}

/* ---- the tick ---- */
static int go_through_again(struct sending *s)
{
    struct drives *v = &s->c->drives;

    if (!v->again)
        return 0;
    v->again = false;
    v->n_arrivals = 0;
    v->took = true;
    return catalog_any_push(s->x->catalog) ? campaign_walk_again(s->x->db) : 0;
}

static int confirm(struct core *c)
{
    struct drives *v = &c->drives;
    bool settled = c->tx_up && !v->unsent && mqtt_in_flight(c->tx) == 0;

    if (!settled || v->sent_no <= v->reached)
        return 0;
    int rc = update_unsent_reached(c->writer, v->unsure_to, v->sent_no);
    if (rc == 0)
        v->reached = v->sent_no;
    return rc;
}

static int tick(struct core *c, struct answers *out)
{
    struct engine x = turn_engine(c, c->writer, &c->tx_arena);
    struct sending s = {c, &x, out};
    struct update_push_env env = env_of(&s);
    int rc = confirm(c), more;

    if (rc == 0)
        rc = update_end_walk(&env, &c->drives.walks, SLICE, SLICE_US);
    more = rc == 1;
    if (rc < 0 || !c->tx_up || mqtt_in_flight(c->tx) >= IN_FLIGHT_MAX)
        return rc < 0 ? rc : more;
    if (c->drives.unsent)
        rc = recover(&c->drives, c->writer);
    if (rc == 0)
        rc = go_through_again(&s);
    if (rc == 0)
        rc = resend_some(&s);
    more |= rc == 1;
    if (rc >= 0)
        rc = welcome(&s);
    more |= rc == 1;
    if (rc >= 0)
        rc = update_push_walk(&env, &c->drives.walks, SLICE, SLICE_US);
    more |= rc == 1;
    if (rc >= 0 && more) /* as soon as the tasks' slices go on, or sooner */
        c->task_wait_ms = TASK_GAP_MS;
    return rc < 0 ? rc : 0;
}

int drive_tick(struct core *c)
{
    int rc = turn_part(c, tick, "pushes of campaigns");

    if (rc == 1) {
        drives_settle(&c->drives, false);
        c->drives.unsent = true;
    }
    return rc < 0 ? rc : 0;
}
