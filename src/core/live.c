/*
 * What devices say, told to the applications of projects that want it: open/<app key>/<device>/….
 * It is sent after the commit like answers are, but as QoS 0 and only while the socket keeps up:
 * applications must not hold up devices. Off, it costs a message one look at the snapshot.
 *
 * Who is online is the word of the broker's plugin; without it a device is online from a sign of
 * life on. Offline it is when it was gone, or silent, for its type's offline_delay_s. So only news
 * is told, and a device that comes back in time is none.
 */
#include "core_priv.h"

#define UNSENT_MAX  500    /* messages that the socket did not take; beyond it they are dropped */
#define ONLINE_MAX  200000 /* devices whose presence is told */
#define OFFLINE_MAX 1000   /* told in one go */
#define SWEEP_MS    1000

struct live_device {
    int64_t id, project_id, delay_ms;
    int64_t until_ms; /* offline then, monotonic; INT64_MAX: connected */
};

static int64_t mono_ms(void)
{
    return clock_mono_us() / 1000;
}

int live_add(struct engine *x, const struct device *d, const struct device_event *ev,
             const char *id, struct answers *out)
{
    const struct project_app *app = catalog_live(x->catalog, d->project_id);
    struct dialect_out bytes;

    if (!app)
        return 0;
    int rc = open_encode(app->key, d->key, ev, id, out->arena, &bytes);
    if (rc == 0)
        answers_add(out, &bytes, true);
    return rc == E_UNSUPPORTED ? 0 : rc;
}

void live_send(struct core *c, const struct answer *a)
{
    bool room = c->tx_up && mqtt_unsent(c->tx) < UNSENT_MAX;
    int rc = room ? mqtt_publish(c->tx, a->topic, a->payload.p, a->payload.n, 0, NULL) : E_LIMIT;

    metric_add(rc == 0 ? M_LIVE_SENT : M_LIVE_DROPPED, 1);
}

/* ---- presence ---- */

void live_tell(struct core *c, const char *key, int64_t project_id, bool online)
{
    const struct project_app *app = catalog_live(c->catalog, project_id);
    const struct device_event ev = {.kind = online ? EVENT_ONLINE : EVENT_OFFLINE};
    struct dialect_out bytes;
    struct arena a;

    if (!app)
        return;
    arena_init(&a);
    if (open_encode(app->key, key, &ev, NULL, &a, &bytes) == 0)
        live_send(c, &(struct answer){.topic = bytes.topic, .payload = bytes.payload});
    arena_done(&a);
}

static void set_until(struct live *l, struct live_device *d, int64_t until_ms)
{
    d->until_ms = until_ms;
    if (until_ms < l->next_ms)
        l->next_ms = until_ms;
}

/* It is online until then. */
static void came(struct core *c, const char *key, const struct live_device *is, int64_t until_ms)
{
    struct live *l = &c->live;
    struct live_device *d = map_get(&l->online, key, strlen(key));

    if (!d && l->online.count >= ONLINE_MAX) {
        if (!l->full_logged)
            LOG(LOG_WARN, "core", "too many devices to tell applications who is online",
                KV_INT("max", ONLINE_MAX));
        l->full_logged = true;
        return;
    }
    bool news = !d;
    if (news) {
        d = xcalloc(1, sizeof(*d));
        (void)map_put(&l->online, key, strlen(key), d);
    }
    d->id = is->id;
    d->project_id = is->project_id;
    d->delay_ms = is->delay_ms;
    set_until(l, d, until_ms);
    if (news)
        live_tell(c, key, d->project_id, true);
}

void live_seen(struct core *c, const struct answers *out)
{
    const struct live_device is = {
        .id = out->live.id, .project_id = out->live.project_id, .delay_ms = out->live.delay_ms};

    if (is.id && !device_presence_known(c->presence))
        came(c, out->live.key, &is, mono_ms() + is.delay_ms);
    live_behind_seen(c, out);
}

static void connected(struct core *c, struct str key)
{
    const struct device_type *type;
    struct device d;
    struct arena a;

    if (c->live.full_logged && c->live.online.count >= ONLINE_MAX &&
        !map_get(&c->live.online, key.p, key.n))
        return; /* a million may come back at once */
    arena_init(&a);
    if (device_find(c->reader, key, &a, &d) == 0 && catalog_live(c->catalog, d.project_id)) {
        type = catalog_type(c->catalog, d.type_id);
        came(c, d.key,
             &(struct live_device){
                 .id = d.id,
                 .project_id = d.project_id,
                 .delay_ms = (type ? type : &device_type_defaults)->offline_delay_s * 1000,
             },
             INT64_MAX);
    }
    arena_done(&a);
}

void live_presence(struct core *c, const char *lines, size_t n)
{
    const char *end = lines + n;

    while (lines < end) {
        const char *eol = memchr(lines, '\n', (size_t)(end - lines));
        struct str line = {lines, (size_t)((eol ? eol : end) - lines)};

        if (line.n > 1 && *line.p == '+' && catalog_any_live(c->catalog)) {
            connected(c, (struct str){line.p + 1, line.n - 1});
        } else if (line.n > 1 && *line.p == '-') {
            struct live_device *d = map_get(&c->live.online, line.p + 1, line.n - 1);
            if (d)
                set_until(&c->live, d, mono_ms() + d->delay_ms);
        }
        lines += line.n + 1;
    }
}

void live_lost(struct core *c)
{
    int64_t now = mono_ms();
    const void *key;
    void *value;
    size_t it = 0, n;

    while (map_next(&c->live.online, &it, &key, &n, &value)) {
        struct live_device *d = value;
        if (d->until_ms == INT64_MAX)
            set_until(&c->live, d, now + d->delay_ms);
    }
}

void live_tick(struct core *c)
{
    struct live *l = &c->live;
    int64_t now = mono_ms(), next = INT64_MAX;
    const char *gone[OFFLINE_MAX];
    const void *key;
    void *value;
    size_t it = 0, n, n_gone = 0;

    live_behind_tick(c);
    if (l->online.count == 0 || now < l->next_ms)
        return;
    while (map_next(&l->online, &it, &key, &n, &value)) {
        struct live_device *d = value;
        if (d->until_ms <= now && n_gone < OFFLINE_MAX)
            gone[n_gone++] = xstrndup(key, n);
        else if (d->until_ms < next)
            next = d->until_ms;
    }
    for (size_t i = 0; i < n_gone; i++) {
        struct live_device *d = map_del(&l->online, gone[i], strlen(gone[i]));
        live_tell(c, gone[i], d->project_id, false);
        live_behind_left(l, d->id, d->project_id);
        free(d);
        free((void *)(uintptr_t)gone[i]);
    }
    l->next_ms = next > now + SWEEP_MS ? next : now + SWEEP_MS;
}

void live_done(struct live *l)
{
    const void *key;
    void *value;
    size_t it = 0, n;

    while (map_next(&l->online, &it, &key, &n, &value))
        free(value);
    map_done(&l->online);
    live_behind_done(l);
}
