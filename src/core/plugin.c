/*
 * Talking with the broker's plugin. It gives the list of who is connected as soon as we subscribe
 * its topic; that list is how we know that there is a plugin at all, and only then is it told of
 * logins: one device's change at once, anything larger by having it read the file again. What it
 * may have missed before is made good by one reading at the beginning.
 */
#include "core_priv.h"

#define CONTROL_TOPIC "$CONTROL/otad/v1"

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

void plugin_tell_login(struct core *c, const char *key)
{
    struct project_app app;
    struct device d;
    struct arena a;
    const char *hash = NULL, *place = "";

    if (!device_presence_known(c->presence))
        return;
    arena_init(&a);
    int rc = device_by_key(c->reader, 0, key, &a, &d);
    if (rc == 0) {
        hash = d.enabled ? d.password_hash : NULL;
        place = place_of(&d, &a);
    }
    if (rc == E_NOTFOUND && (rc = project_app_by_key(c->reader, key, &a, &app)) == 0)
        hash = app.secret_hash;
    if (rc == 0 || rc == E_NOTFOUND)
        rc = tell(c, hash ? arena_printf(&a, "set %s %s\n%s", key, hash, place)
                          : arena_printf(&a, "revoke %s\n", key))
                 ? 0
                 : E_UNAVAILABLE;
    c->plugin_reload |= rc < 0;
    arena_done(&a);
}
