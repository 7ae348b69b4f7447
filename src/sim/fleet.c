/*
 * The load of otasim fleet. Closed loop: each answer sends the next check, so that a fixed number
 * is always on its way. Paced (--rate): checks fall due at even distances, and latency counts from
 * when a check was due, not from when there was room to send it. Answers name no check (the id of
 * upgrade:false is 0), but keep their order for one device: the oldest check of the device is
 * the one that is answered.
 */
#include "fleet.h"

enum { CONNECTS_AT_ONCE = 50, TICK_MS = 1, TICK_LAZY_MS = 500 };

static struct fleet_device *device_of_topic(struct fleet *f, const char *topic)
{
    static const char want[] = "command_send/";
    size_t prefix = strlen(f->o.prefix);
    int64_t number;

    if (strncmp(topic, want, sizeof(want) - 1) != 0)
        return NULL;
    topic += sizeof(want) - 1;
    if (strncmp(topic, f->o.prefix, prefix) != 0)
        return NULL;
    if (num_parse(topic + prefix, f->o.first, f->o.first + f->o.devices - 1, &number) < 0)
        return NULL;
    return &f->devices[number - f->o.first];
}

static int64_t *ring(struct fleet *f, const struct fleet_device *d)
{
    return f->sent_us + (size_t)(d - f->devices) * (size_t)f->o.window;
}

static bool has_room(const struct fleet *f, const struct fleet_device *d)
{
    return d->used < f->o.window;
}

/* One check; due_us is what its latency counts from. */
static void send_check(struct fleet *f, struct fleet_device *d, int64_t due_us)
{
    const char *text = d->writes ? f->write_text[d->flip] : f->check_text;
    char topic[128];

    (void)str_fmt(topic, sizeof(topic), "event_report/%s%07lld", f->o.prefix,
                  (long long)(d - f->devices) + (long long)f->o.first);
    if (mqtt_publish(f->conns[d->conn].mqtt, topic, text, strlen(text), 1, NULL) < 0) {
        f->counts.errors++;
        return;
    }
    d->flip ^= 1;
    ring(f, d)[(d->head + d->used) % f->o.window] = due_us;
    d->used++;
    f->in_flight++;
    f->counts.sent++;
}

/* The device whose turn it is: all devices in an order that jumps about, those with room. */
static struct fleet_device *next_device(struct fleet *f)
{
    for (int64_t i = 0; i < f->o.devices; i++) {
        f->cursor = (f->cursor + f->stride) % (size_t)f->o.devices;
        struct fleet_device *d = &f->devices[f->cursor];
        if (has_room(f, d))
            return d;
    }
    return NULL;
}

static bool sending(const struct fleet *f)
{
    return f->phase == FLEET_WARMUP || f->phase == FLEET_MEASURING;
}

/* Closed loop: fill up to the number that shall be on its way. */
static void fill(struct fleet *f)
{
    while (sending(f) && f->in_flight < f->o.in_flight) {
        struct fleet_device *d = next_device(f);
        if (!d)
            break;
        int64_t before = f->in_flight;
        send_check(f, d, clock_mono_us());
        if (f->in_flight == before)
            break; /* refused: the next tick tries again */
    }
}

static void pace(struct fleet *f)
{
    int64_t now = clock_mono_us();
    int64_t due = (now - f->pace_start_us) * f->o.rate / 1000000;

    while (sending(f) && f->pace_sent < due && f->in_flight < f->o.in_flight) {
        struct fleet_device *d = next_device(f);
        if (!d)
            break;
        send_check(f, d, f->pace_start_us + f->pace_sent * 1000000 / f->o.rate);
        f->pace_sent++;
    }
}

/* Whether it is an offer, by a look at one member: parsing would cost more than all the rest. */
static bool read_answer(const struct mqtt_message *m, bool *ret_offer)
{
    static const char name[] = "\"upgrade\"";
    const char *end = (const char *)m->payload + m->n;
    const char *p = memmem(m->payload, m->n, name, sizeof(name) - 1);

    if (!p)
        return false;
    p += sizeof(name) - 1;
    while (p < end && (*p == ':' || *p == ' '))
        p++;
    *ret_offer = p < end && *p == 't';
    return p < end && (*p == 't' || *p == 'f');
}

static void on_message(void *arg, const struct mqtt_message *m)
{
    struct fleet *f = ((struct fleet_conn *)arg)->fleet;
    struct fleet_device *d = device_of_topic(f, m->topic);
    bool offer = false, known = read_answer(m, &offer);

    if (!d)
        return; /* another fleet's, on a shared connection */
    if (d->used == 0 || !known) {
        f->counts.errors++;
        return;
    }
    int64_t now = clock_mono_us();
    int64_t us = now - ring(f, d)[d->head];
    d->head = (uint16_t)((d->head + 1) % f->o.window);
    d->used--;
    f->in_flight--;
    f->total_answers++;
    if (f->phase == FLEET_MEASURING) {
        f->counts.answered++;
        f->counts.offers += offer;
        f->counts.answer_bytes += m->n;
        hist_add(d->writes ? &f->writes : &f->plain, us);
    }
    if (!sending(f) || f->o.rate > 0)
        return;
    if (f->o.spread)
        fill(f);
    else if (f->in_flight < f->o.in_flight)
        send_check(f, d, now);
}

static void on_batch_end(void *arg UNUSED)
{
}

/* ---- the phases ---- */

/* Checks that got no answer in time are lost; whatever is on its way at the end counts too. */
static void expire(struct fleet *f, int64_t older_us)
{
    for (int64_t i = 0; i < f->o.devices; i++) {
        struct fleet_device *d = &f->devices[i];
        while (d->used > 0 && ring(f, d)[d->head] <= older_us) {
            d->head = (uint16_t)((d->head + 1) % f->o.window);
            d->used--;
            f->in_flight--;
            f->counts.lost++;
        }
    }
}

static void finish(struct fleet *f, int code)
{
    f->phase = FLEET_DONE;
    f->code = code;
    loop_stop(f->loop);
}

static void on_tick(void *arg)
{
    struct fleet *f = (struct fleet *)arg;

    if (f->phase == FLEET_DRAINING && f->in_flight == 0) {
        finish(f, SIM_OK);
        return;
    }
    if (f->o.rate > 0) {
        pace(f);
        return;
    }
    expire(f, clock_mono_us() - f->o.timeout_ms * 1000);
    fill(f);
}

static void on_phase(void *arg)
{
    struct fleet *f = (struct fleet *)arg;

    switch (f->phase) {
    case FLEET_CONNECTING:
        fprintf(stderr, "otasim fleet: only %zu of %zu connections came up\n", f->n_up, f->n_conns);
        finish(f, SIM_FAILED);
        break;
    case FLEET_WARMUP:
        f->phase = FLEET_MEASURING;
        f->counts = (struct fleet_counts){0};
        f->began_us = clock_mono_us();
        loop_timer_start(f->phase_timer, (uint64_t)f->o.seconds_ms, 0);
        break;
    case FLEET_MEASURING:
        f->phase = FLEET_DRAINING;
        f->ended_us = clock_mono_us();
        loop_timer_start(f->phase_timer, (uint64_t)f->o.timeout_ms, 0);
        loop_timer_start(f->tick, TICK_MS, TICK_MS);
        break;
    case FLEET_DRAINING:
        expire(f, INT64_MAX);
        finish(f, SIM_OK);
        break;
    case FLEET_DONE:
        break;
    }
}

static void begin(struct fleet *f)
{
    uint64_t every = f->o.rate > 0 ? TICK_MS : TICK_LAZY_MS;

    f->phase = FLEET_WARMUP;
    f->pace_start_us = clock_mono_us();
    loop_timer_start(f->tick, every, every);
    loop_timer_start(f->phase_timer, (uint64_t)f->o.warmup_ms, 0);
    if (f->o.rate == 0)
        fill(f);
}

/* ---- connections ---- */

static void connect_more(struct fleet *f)
{
    while (f->n_asked < f->n_conns && f->n_asked - f->n_up < CONNECTS_AT_ONCE)
        mqtt_connect(f->conns[f->n_asked++].mqtt);
}

static void on_state(void *arg, bool up, const char *why)
{
    struct fleet_conn *c = (struct fleet_conn *)arg;
    struct fleet *f = c->fleet;

    if (c->up == up) {
        if (!up && f->phase == FLEET_CONNECTING)
            fprintf(stderr, "otasim fleet: %s\n", why);
        return;
    }
    c->up = up;
    if (!up) {
        f->n_up--;
        f->counts.errors++;
        fprintf(stderr, "otasim fleet: a connection was lost: %s\n", why);
        return;
    }
    f->n_up++;
    if (f->phase != FLEET_CONNECTING)
        return;
    connect_more(f);
    if (f->n_up == f->n_conns)
        begin(f);
}

/* Topics of connection i, when several share the devices: every n-th is its own. */
static void own_topics(const struct fleet *f, size_t i, char ***ret)
{
    size_t n = 0, cap = (size_t)f->o.devices / f->n_conns + 2;
    char **list = xcalloc(cap, sizeof(*list));

    for (size_t k = i; k < (size_t)f->o.devices; k += f->n_conns) {
        char topic[128];
        (void)str_fmt(topic, sizeof(topic), "command_send/%s%07lld", f->o.prefix,
                      (long long)k + f->o.first);
        list[n++] = xstrdup(topic);
    }
    *ret = list;
}

static int open_conn(struct fleet *f, size_t i, struct fail *why)
{
    struct fleet_conn *c = &f->conns[i];
    bool shared = f->o.connections > 0;
    char id[160];
    const char *const all[] = {"command_send/+", NULL};
    char **topics = NULL;
    struct mqtt_options o = {
        .host = f->o.broker.host,
        .port = f->o.broker.port,
        .password = f->o.broker.password,
        .client_id = id,
        .clean = true,
        .keepalive_s = 120,
        .version = shared ? 5 : 4,
        .subscribe_qos = 1,
        .batch = 1000,
        .batch_us = 2000,
        .on_message = on_message,
        .on_batch_end = on_batch_end,
        .on_state = on_state,
        .arg = c,
    };

    c->fleet = f;
    if (shared)
        (void)str_fmt(id, sizeof(id), "otasim-%s%lld-%zu", f->o.prefix, (long long)f->o.first, i);
    else
        (void)str_fmt(id, sizeof(id), "%s%07lld", f->o.prefix, (long long)i + f->o.first);
    o.username = shared ? f->o.broker.username : f->o.broker.password ? id : NULL;
    if (f->n_conns > 1)
        own_topics(f, i, &topics);
    o.filters = topics ? (const char *const *)topics : all;
    int rc = mqtt_new(f->loop, &o, &c->mqtt, why);
    for (char **t = topics; t && *t; t++)
        free(*t);
    free(topics);
    return rc;
}

static size_t coprime_stride(size_t n)
{
    static const size_t primes[] = {618033989, 104729, 7919, 101, 1};
    size_t i = 0;

    while (n % primes[i] == 0 && primes[i] != 1)
        i++;
    return primes[i] % n ? primes[i] % n : 1;
}

int fleet_start(struct fleet *f, struct fail *why)
{
    size_t n = (size_t)f->o.devices;

    f->n_conns = f->o.connections > 0 ? (size_t)f->o.connections : n;
    f->conns = xcalloc(f->n_conns, sizeof(*f->conns));
    f->devices = xcalloc(n, sizeof(*f->devices));
    f->sent_us = xcalloc(n * (size_t)f->o.window, sizeof(*f->sent_us));
    f->stride = f->o.spread ? coprime_stride(n) : 1;
    f->check_text = wire_check(f->o.event);
    for (size_t i = 0; i < 2; i++) {
        struct sbuf b = {0};
        char *params = wire_report(f->o.attribute, f->o.versions[i]);
        sbuf_fmt(&b, "{\"method\":\"%s\",\"params\":%s}", f->o.event, params);
        f->write_text[i] = sbuf_take(&b);
        free(params);
    }
    for (size_t i = 0; i < n; i++) {
        f->devices[i].conn = (uint32_t)(i % f->n_conns);
        f->devices[i].writes =
            f->o.mode == FLEET_WRITE ||
            (f->o.mode == FLEET_MIXED &&
             ((int64_t)i + 1) * f->o.write_percent / 100 > (int64_t)i * f->o.write_percent / 100);
    }
    f->loop = loop_new();
    f->tick = loop_timer_new(f->loop, on_tick, f);
    f->phase_timer = loop_timer_new(f->loop, on_phase, f);
    for (size_t i = 0; i < f->n_conns; i++) {
        int rc = open_conn(f, i, why);
        if (rc < 0)
            return rc;
    }
    loop_timer_start(f->phase_timer, (uint64_t)f->o.connect_ms, 0);
    connect_more(f);
    return 0;
}

void fleet_end(struct fleet *f)
{
    for (size_t i = 0; f->conns && i < f->n_conns; i++)
        mqtt_free(f->conns[i].mqtt);
    loop_timer_free(f->tick);
    loop_timer_free(f->phase_timer);
    loop_free(f->loop);
    free(f->conns);
    free(f->devices);
    free(f->sent_us);
    free(f->check_text);
    free(f->write_text[0]);
    free(f->write_text[1]);
}
