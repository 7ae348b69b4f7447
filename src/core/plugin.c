/*
 * Talking with the broker's plugin. It gives the list of who is connected as soon as we subscribe
 * its topic; that list is how we know that there is a plugin at all, and only then is it told of
 * logins: one device's change at once, anything larger by having it read the file again. What it
 * may have missed before is made good by one reading at the beginning.
 */
#include "core_priv.h"

#define CONTROL_TOPIC "$CONTROL/otad/v1"
#define REVOKED_MAX   10000
#define REVOKED_MS    90000 /* the plugin holds to what it was told for 60 s */
#define REVOKED_SLICE 200

static bool tell(struct core *c, const char *text)
{
    int mid;
    int rc = mqtt_publish(c->tx, CONTROL_TOPIC, text, strlen(text), 1, &mid);

    if (rc < 0)
        LOG(LOG_WARN, "core", "the broker's plugin could not be told", KV_RC(rc));
    return rc == 0;
}

bool plugin_heard(struct core *c, const struct mqtt_message *m)
{
    if (strcmp(m->topic, PLUGIN_PRESENCE_TOPIC) != 0)
        return false;
    bool before = device_presence_known(c->presence);
    device_presence_tell(c->presence, m->payload, m->n);
    live_presence(c, m->payload, m->n);
    drive_presence(c, m->payload, m->n);
    if (!before && device_presence_known(c->presence)) {
        LOG(LOG_INFO, "core", "the broker's plugin is there");
        c->plugin_reload = true;
        broker_files_dirty(c->files);
    }
    return true;
}

void plugin_lost(struct core *c)
{
    c->plugin_paused = false;
    device_presence_forget(c->presence);
    live_lost(c);
}

/* Nothing is heard either while nothing can be sent (turn_intake): so nothing is known. */
void plugin_tx(struct core *c, bool up)
{
    if (!up) {
        c->plugin_paused |= device_presence_known(c->presence);
        device_presence_forget(c->presence);
        live_lost(c);
    } else if (c->plugin_paused && c->rx_up) {
        c->plugin_paused = false;
        (void)tell(c, "presence\n");
    }
}

void plugin_files_written(void *arg)
{
    struct core *c = arg;

    if (c->plugin_reload && device_presence_known(c->presence))
        c->plugin_reload = !tell(c, "reload\n");
    mqtt_flush(c->tx);
}

/* Its place among foreign topics, also while its type has none: what was told stands against the
 * files for a while, and the type may get some meanwhile. */
static const char *place_of(const struct device *d, struct arena *a)
{
    if (!topic_sn_ok(d->sn, strlen(d->sn)))
        return arena_printf(a, "place %s\n", d->key);
    return arena_printf(a, "place %s %lld/%s\n", d->key, (long long)d->type_id, d->sn);
}

/* hash NULL: no login. 0, or an error. */
static int login_of(struct core *c, const char *key, struct arena *a, const char **ret_hash,
                    const char **ret_place)
{
    struct project_app app;
    struct device d;
    int rc = device_by_key(c->reader, 0, key, a, &d);

    *ret_hash = NULL;
    *ret_place = "";
    if (rc == 0) {
        *ret_hash = d.enabled ? d.password_hash : NULL;
        *ret_place = place_of(&d, a);
    }
    if (rc == E_NOTFOUND && (rc = project_app_by_key(c->reader, key, a, &app)) == 0)
        *ret_hash = app.secret_hash;
    return rc == E_NOTFOUND ? 0 : rc;
}

/* ---- what was revoked lately ---- */

/* It stands in the plugin, also against the file that an import is written to. */
static void note_revoked(struct revoked *v, const char *key)
{
    int64_t now = clock_mono_us() / 1000;
    size_t n = 0;

    if (v->n == REVOKED_MAX) {
        for (size_t i = 0; i < v->n; i++)
            if (now - v->list[i].at_ms < REVOKED_MS)
                v->list[n++] = v->list[i];
        v->n = n;
        v->look = v->look ? n : 0; /* they have moved */
    }
    if (v->n == REVOKED_MAX)
        return; /* so many: should one come again at once, it waits for its minute */
    if (v->n == v->cap) {
        v->cap = v->cap ? 2 * v->cap : 16;
        v->list = xrealloc(v->list, v->cap * sizeof(*v->list));
    }
    struct revoked_login *one = &v->list[v->n++];
    one->at_ms = now;
    if (!str_copy(one->key, sizeof(one->key), key))
        v->n--;
}

void plugin_tick(struct core *c)
{
    struct revoked *v = &c->revoked;
    const char *hash, *place;
    struct arena a;

    arena_init(&a);
    for (int i = 0; i < REVOKED_SLICE && v->look > 0 && device_presence_known(c->presence); i++) {
        struct revoked_login *one = &v->list[--v->look];
        bool old = clock_mono_us() / 1000 - one->at_ms > REVOKED_MS;

        if (!old && (login_of(c, one->key, &a, &hash, &place) < 0 || !hash))
            continue;
        if (!old && !tell(c, arena_printf(&a, "set %s %s\n%s", one->key, hash, place)))
            continue;
        *one = v->list[--v->n];
        arena_reset(&a);
    }
    arena_done(&a);
}

void plugin_tell_many(struct core *c)
{
    c->plugin_reload = true;
    c->revoked.look = c->revoked.n;
    plugin_tick(c);
}

void plugin_tell_login(struct core *c, const char *key)
{
    struct arena a;
    const char *hash, *place;

    if (!device_presence_known(c->presence))
        return;
    arena_init(&a);
    int rc = login_of(c, key, &a, &hash, &place);
    if (rc == 0)
        rc = tell(c, hash ? arena_printf(&a, "set %s %s\n%s", key, hash, place)
                          : arena_printf(&a, "revoke %s\n", key))
                 ? 0
                 : E_UNAVAILABLE;
    if (rc == 0 && !hash)
        note_revoked(&c->revoked, key);
    c->plugin_reload |= rc < 0;
    arena_done(&a);
}
