/*
 * What decide() needs to know of one device and module, from the database: its version, the
 * updates under way of it and of those that share its connection, and what failed within a day.
 * Four lookups by index; the attributes are read only when a firmware asks for one.
 */
#include "update_priv.h"

/* The next element of a growing array in the arena. */
static void *next(struct arena *a, void **list, size_t *n, size_t size)
{
    if ((*n & (*n - 1)) == 0) { /* 0, 1, 2, 4, …: full */
        void *bigger = arena_alloc(a, (*n ? *n * 2 : 1) * size);

        if (*list)
            memcpy(bigger, *list, *n * size);
        *list = bigger;
    }
    return (char *)*list + (*n)++ * size;
}

static int load_active_of(struct db *db, int64_t device_id, const char *own_module, struct arena *a,
                          struct facts_load *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_ACTIVE);
    void *list = (void *)(uintptr_t)ret->facts.active;
    int rc;

    db_bind_int(q, 1, device_id);
    while ((rc = db_step(q)) == 1) {
        struct update *u = arena_alloc(a, sizeof(*u));
        struct active_update *active = next(a, &list, &ret->facts.n_active, sizeof(*active));

        update_row(q, a, u);
        *active = (struct active_update){.id = u->id,
                                         .device_id = u->device_id,
                                         .firmware_id = u->firmware_id,
                                         .retry_at = u->retry_at,
                                         .updated_at = u->updated_at,
                                         .module = u->module,
                                         .state = u->state,
                                         .attempt = u->attempt,
                                         .campaign_id = u->campaign_id};
        if (own_module && strcmp(u->module, own_module) == 0)
            ret->active = u;
    }
    ret->facts.active = list;
    return rc;
}

/* Of the device, and of the gateway right before it. */
static int load_active(struct db *db, const struct device *d, const char *module, struct arena *a,
                       struct facts_load *ret)
{
    int rc = load_active_of(db, d->id, module, a, ret);

    return rc == 0 && d->gateway_id ? load_active_of(db, d->gateway_id, NULL, a, ret) : rc;
}

/* What goes on elsewhere on the connection that they share: on other devices behind the outermost
 * gateway, and on that gateway. */
static int load_around(struct db *db, const struct device *d, struct arena *a,
                       struct device_facts *facts)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_AROUND);
    void *active = (void *)(uintptr_t)facts->active, *beside = NULL;
    int rc;

    db_bind_int(q, 1, d->gateway_id);
    db_bind_int(q, 2, d->id);
    while ((rc = db_step(q)) == 1) {
        struct active_update *u = db_int(q, 6) ? next(a, &active, &facts->n_active, sizeof(*u))
                                               : next(a, &beside, &facts->n_beside, sizeof(*u));

        *u = (struct active_update){.id = db_int(q, 0),
                                    .device_id = db_int(q, 1),
                                    .firmware_id = db_int(q, 2),
                                    .module = arena_strdup(a, db_text(q, 3)),
                                    .updated_at = db_int(q, 7)};
        if (update_state_parse(db_text(q, 4), &u->state) < 0)
            return E_DB;
        facts->gateway_type_id = db_int(q, 5);
    }
    facts->active = active;
    facts->beside = beside;
    return rc;
}

/* The device may be a gateway: it takes a pause from passing on to be updated itself. */
static int load_beneath(struct db *db, const struct device *d, struct arena *a,
                        struct device_facts *facts)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_BENEATH);
    void *active = (void *)(uintptr_t)facts->active;
    int rc;

    db_bind_int(q, 1, d->id);
    while ((rc = db_step(q)) == 1) {
        struct active_update *u = next(a, &active, &facts->n_active, sizeof(*u));

        *u = (struct active_update){.id = db_int(q, 0),
                                    .device_id = db_int(q, 1),
                                    .firmware_id = db_int(q, 2),
                                    .module = arena_strdup(a, db_text(q, 3)),
                                    .updated_at = db_int(q, 5)};
        if (update_state_parse(db_text(q, 4), &u->state) < 0)
            return E_DB;
    }
    facts->active = active;
    return rc;
}

/* A user's no is none. */
static bool counts_as_failed(const char *state, const char *cause)
{
    enum update_state s;

    if (update_state_parse(state, &s) < 0 || strcmp(cause, CONSENT_CAUSE) == 0)
        return false;
    return s == UPDATE_FAILED || s == UPDATE_ROLLED_BACK || s == UPDATE_TIMED_OUT ||
           s == UPDATE_UNVERIFIED || s == UPDATE_REJECTED;
}

static void add_past(struct arena *a, void **list, struct device_facts *facts, struct db_stmt *q)
{
    bool failed = counts_as_failed(db_text(q, 3), db_text(q, 4));
    bool canceled =
        !failed && strcmp(db_text(q, 3), "canceled") == 0 && strcmp(db_text(q, 4), "operator") == 0;
    struct past_attempt *p = *list;
    size_t i = 0;

    if (!failed && !canceled)
        return;
    while (i < facts->n_past && p[i].firmware_id != db_int(q, 0))
        i++;
    if (i == facts->n_past) {
        p = next(a, list, &facts->n_past, sizeof(*p));
        p->firmware_id = db_int(q, 0);
    } else {
        p += i;
    }
    p->canceled |= canceled;
    if (!failed)
        return;
    p->attempts += db_int(q, 1);
    if (p->last_ended_at < db_int(q, 2))
        p->last_ended_at = db_int(q, 2);
}

/* Of the last day, but not from before an operator's release. */
static int load_past(struct db *db, const struct device *d, int64_t now, struct arena *a,
                     struct device_facts *facts)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_PAST);
    void *list = NULL;
    int rc;

    db_bind_int(q, 1, d->id);
    db_bind_int(q, 2, d->released_at > now - DAY_MS ? d->released_at : now - DAY_MS);
    while ((rc = db_step(q)) == 1)
        add_past(a, &list, facts, q);
    facts->past = list;
    return rc;
}

static const json_t *attribute(void *arg, const char *name)
{
    struct facts_load *l = arg;

    if (!l->attributes && l->rc == 0)
        l->rc = device_attributes(l->db, l->facts.device->id, &l->attributes);
    return json_object_get(l->attributes, name);
}

struct campaign_seen {
    struct campaign_seen *next;
    const struct campaign *campaign;
    struct campaign_now now;
};

static const struct campaign_now *campaign(void *arg, const struct campaign *c)
{
    struct facts_load *l = arg;
    struct campaign_seen *s = l->campaigns;

    while (s && s->campaign != c)
        s = s->next;
    if (!s) {
        s = arena_alloc(l->arena, sizeof(*s));
        s->campaign = c;
        s->next = l->campaigns;
        l->campaigns = s;
        int rc = campaign_now_load(l->db, c, l->facts.device->id, &s->now);
        l->rc = l->rc < 0 ? l->rc : rc;
    }
    return &s->now;
}

int facts_load(struct db *db, const struct device *d, const char *module, int64_t now,
               struct arena *a, struct facts_load *ret)
{
    char version[VERSION_MAX + 1];
    int rc;

    *ret = (struct facts_load){.db = db, .arena = a};
    ret->facts = (struct device_facts){
        .device = d, .module = module, .attribute = attribute, .campaign = campaign, .arg = ret};
    rc = device_version(db, d->id, module, version, NULL);
    if (rc < 0 && rc != E_NOTFOUND)
        return rc;
    if (rc == 0)
        ret->facts.version = arena_strdup(a, version);
    rc = load_active(db, d, module, a, ret);
    if (rc == 0 && d->quarantined_until > now)
        rc = device_quarantine_why(db, d->id, &ret->facts.quarantine);
    if (rc == 0)
        rc = d->gateway_id ? load_around(db, d, a, &ret->facts)
                           : load_beneath(db, d, a, &ret->facts);
    return rc < 0 ? rc : load_past(db, d, now, a, &ret->facts);
}

void facts_done(struct facts_load *l)
{
    json_decref(l->attributes);
    l->attributes = NULL;
}
