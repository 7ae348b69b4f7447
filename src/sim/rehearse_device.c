/*
 * One device of otasim rehearse: its life between two offers, and the ways in which it fails. It
 * says its version before each check, as nobody knows what a broker or a server forgot while it
 * was away. What it is offered it takes whenever it is idle, asked for or not.
 */
#include "rehearse.h"

enum { RESULT_WELL = 0, RESULT_CONNECT = 1, RESULT_RECEIVE = 3, RESULT_OTHER = 4 };
enum { SOON_MS = 1000, FETCH_TRIES = 60, FETCH_STALL_MS = 30000 };

void member_key(const struct rehearse *r, const struct member *m, char *ret, size_t cap)
{
    int64_t number = (m - r->members) + r->o.first;

    (void)str_fmt(ret, cap, "%s%07lld", r->o.prefix, (long long)number);
}

/* splitmix64: the seed's own, so that a run can be repeated. */
static uint64_t draw(struct member *m)
{
    uint64_t z = m->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Half to one and a half of it. */
static uint64_t about(struct member *m, int64_t ms)
{
    return (uint64_t)ms / 2 + (ms > 0 ? draw(m) % ((uint64_t)ms + 1) : 0);
}

/* ---- what it says ---- */
static void say(struct member *m, const char *kind, char *text)
{
    char key[80], topic[120];

    member_key(m->fleet, m, key, sizeof(key));
    (void)str_fmt(topic, sizeof(topic), "%s/%s", kind, key);
    /* Not connected, or too much is on its way: it says it again with its next check. */
    (void)!mqtt_publish(m->mqtt, topic, text, strlen(text), 1, NULL);
    free(text);
}

static void reply(struct member *m, int result)
{
    say(m, "command_reply", wire_reply(m->offer.id, result));
}

static void check(struct member *m)
{
    struct rehearse *r = m->fleet;

    if (m->up) {
        say(m, "attributes", wire_report(r->o.attribute, r->versions[m->version]));
        say(m, "event_report", wire_check(r->o.event));
        m->asked = m->told = true;
        r->checks++;
    }
    loop_timer_start(m->next, about(m, r->o.interval_ms), 0);
}

/* ---- the end of an offer ---- */
static void drop_offer(struct member *m)
{
    wire_offer_done(&m->offer);
    m->file = 0;
    m->now = FAULT_NONE;
}

/* Offers may come twice, the second one too late: what has failed stays done. */
static void idle(struct member *m, enum outcome outcome)
{
    drop_offer(m);
    m->outcome = outcome;
    m->step = STEP_IDLE;
    if (m->failures >= m->fleet->o.attempts)
        rehearse_done(m->fleet, m, true);
    loop_timer_start(m->next, draw(m) % SOON_MS, 0);
}

/* So often with the version that all wait for, and nothing more is expected of it. */
static void count_failure(struct member *m)
{
    const char *until = m->fleet->o.until;

    m->failures += until && strcmp(m->offer.version, until) == 0;
}

/* As --fail says. */
static void fail_as_told(struct member *m, int result)
{
    reply(m, result);
    count_failure(m);
    idle(m, OUT_FAILED);
}

/* What nobody ordered. */
static void broken(struct member *m, const char *why, int result)
{
    struct rehearse *r = m->fleet;

    if (r->broken++ == 0)
        (void)str_copy(r->broken_why, sizeof(r->broken_why), why);
    if (result != RESULT_WELL)
        reply(m, result);
    idle(m, OUT_BROKEN);
}

/* ---- installing ---- */
static void install(struct member *m, const char *version)
{
    struct rehearse *r = m->fleet;

    m->step = STEP_INSTALL;
    m->coming = rehearse_version(r, version);
    loop_timer_start(m->next, about(m, r->o.install_ms), 0);
}

static void installed(struct member *m)
{
    struct rehearse *r = m->fleet;

    m->outcome = OUT_UPDATED;
    if (m->now == FAULT_ROLLBACK) {
        count_failure(m);
        m->coming = m->version;
        m->outcome = OUT_FAILED;
    }
    if (r->o.reply || m->now == FAULT_ROLLBACK)
        reply(m, RESULT_WELL);
    r->installs++;
    drop_offer(m);
    m->step = STEP_DOWN;
    loop_timer_start(m->next, 0, 0);
}

/* ---- the download ---- */
static void fetch_next(struct member *m);

static void on_note(void *arg UNUSED, const char *text UNUSED)
{
}

static void on_fetched(void *arg, int rc, const char *why, const struct digests *got)
{
    struct member *m = (struct member *)arg;
    const char *differs = rc == 0 ? wire_file_differs(&m->offer.files[m->file], got) : NULL;

    fetch_free(TAKE(m->fetch));
    m->fleet->n_downloading--;
    if (rc < 0 && m->now == FAULT_CUT)
        fail_as_told(m, RESULT_RECEIVE);
    else if (rc < 0)
        broken(m, why, rc == E_UNAVAILABLE ? RESULT_CONNECT : RESULT_RECEIVE);
    else if (differs)
        broken(m, differs, RESULT_OTHER);
    else if (++m->file < m->offer.n_files)
        fetch_next(m);
    else if (m->now == FAULT_CHECKSUM)
        fail_as_told(m, RESULT_OTHER);
    else
        install(m, m->offer.version);
}

static void fetch_next(struct member *m)
{
    const struct rehearse *r = m->fleet;
    const struct wire_file *file = &m->offer.files[m->file];
    struct fetch_options o = {
        .url = file->url,
        .size = file->size,
        .save_fd = -1,
        .attempts = m->now == FAULT_CUT ? 1 : FETCH_TRIES,
        .retry_ms = (int64_t)about(m, SOON_MS),
        .stall_ms = FETCH_STALL_MS,
        .cut_after = m->now == FAULT_CUT ? file->size / 2 : -1,
        .rate = m->now == FAULT_SLOW ? file->size * 1000 / r->o.slow_ms + 1 : 0,
        .on_note = on_note,
        .on_done = on_fetched,
        .arg = m,
    };

    m->step = STEP_DOWNLOAD;
    m->fleet->n_downloading++;
    m->fetch = fetch_new(r->loop, &o);
}

/* ---- an offer ---- */
static bool fails_with(const struct rehearse *r, const char *version)
{
    for (size_t i = 0; i < r->o.n_fail_versions; i++)
        if (strcmp(r->o.fail_versions[i], version) == 0)
            return true;
    return r->o.n_fail_versions == 0;
}

/* What the device does to this offer: as the seed says, unless the version is a good one, the
 * device is one of the first, or what was wrong on its way is mended. */
static enum fault fault_now(struct member *m)
{
    struct rehearse *r = m->fleet;

    if (!fails_with(r, m->offer.version))
        return FAULT_NONE;
    if (m->turn == 0)
        m->turn = ++r->n_turns;
    if (m->turn <= r->o.spare ||
        (r->mended && (m->fault == FAULT_CUT || m->fault == FAULT_CHECKSUM)))
        return FAULT_NONE;
    return m->fault;
}

static void take_offer(struct member *m)
{
    struct rehearse *r = m->fleet;

    r->offers++;
    r->pushed += !m->asked;
    m->outcome = OUT_BUSY;
    m->now = fault_now(m);
    r->acted[m->now]++;
    rehearse_done(r, m, false);
    if (m->now == FAULT_SILENT) {
        drop_offer(m);
        m->outcome = OUT_FAILED;
        m->step = STEP_GONE;
        rehearse_done(r, m, true);
        loop_timer_start(m->next, 0, 0);
    } else if (m->now == FAULT_SUSPECT) {
        install(m, m->offer.version);
    } else {
        fetch_next(m);
    }
}

static void on_answer(struct member *m, struct wire_offer *offer)
{
    struct rehearse *r = m->fleet;
    bool asked = m->asked;

    if (!offer->upgrade) {
        m->asked = false;
        r->answers++;
        if (m->told && r->o.until && strcmp(r->versions[m->version], r->o.until) == 0)
            rehearse_done(r, m, true); /* the server has heard what it runs */
        wire_offer_done(offer);
    } else if (m->step != STEP_IDLE) {
        r->repeats++;
        wire_offer_done(offer);
    } else if (strcmp(offer->version, r->versions[m->version]) == 0) {
        r->stale++; /* its report got lost on the way: it says it again */
        m->asked = false;
        wire_offer_done(offer);
        loop_timer_start(m->next, draw(m) % SOON_MS, 0);
    } else {
        r->answers += asked;
        m->offer = *offer;
        take_offer(m);
        m->asked = false;
    }
}

static void on_message(void *arg, const struct mqtt_message *msg)
{
    struct member *m = (struct member *)arg;
    struct wire_offer offer;
    struct fail why;
    int rc = wire_offer_parse(msg->payload, msg->n, &offer, &why);

    if (rc == E_PROTO && m->step == STEP_IDLE)
        broken(m, why.text, RESULT_WELL);
    if (rc < 0)
        return;
    if (strcmp(offer.module, m->fleet->o.module) == 0)
        on_answer(m, &offer);
    else
        wire_offer_done(&offer);
}

/* ---- the connection ---- */
static void on_batch_end(void *arg UNUSED)
{
}

static void on_state(void *arg, bool up, const char *why UNUSED)
{
    struct member *m = (struct member *)arg;

    if (m->up == up)
        return;
    m->up = up;
    m->asked = false;
    m->fleet->n_up += up ? 1 : -1;
    m->fleet->losses += !up;
    if (!up)
        return;
    if (m->step == STEP_AWAY)
        m->step = STEP_IDLE;
    if (m->step == STEP_IDLE && m->failures >= m->fleet->o.attempts)
        rehearse_done(m->fleet, m, true); /* it has come back with the old version */
    if (m->step == STEP_IDLE)
        check(m);
}

void member_begin(struct member *m)
{
    struct rehearse *r = m->fleet;
    char key[80], filter[120];
    const char *const filters[] = {filter, NULL};
    struct fail why;
    struct mqtt_options o = {
        .host = r->o.broker.host,
        .port = r->o.broker.port,
        .username = r->o.password ? key : NULL,
        .password = r->o.password,
        .client_id = key,
        .clean = true,
        .keepalive_s = 120,
        .version = 4,
        .filters = filters,
        .subscribe_qos = 1,
        .on_message = on_message,
        .on_batch_end = on_batch_end,
        .on_state = on_state,
        .arg = m,
    };

    member_key(r, m, key, sizeof(key));
    (void)str_fmt(filter, sizeof(filter), "command_send/%s", key);
    if (mqtt_new(r->loop, &o, &m->mqtt, &why) < 0) {
        fprintf(stderr, "otasim rehearse: %s: %s\n", key, why.text);
        r->code = SIM_FAILED;
        loop_stop(r->loop);
        return;
    }
    mqtt_connect(m->mqtt);
}

static void leave(struct member *m)
{
    mqtt_free(TAKE(m->mqtt));
    m->fleet->n_up -= m->up;
    m->up = m->asked = m->told = false;
}

static void on_next(void *arg)
{
    struct member *m = (struct member *)arg;
    struct rehearse *r = m->fleet;

    switch (m->step) {
    case STEP_IDLE:
        check(m);
        break;
    case STEP_INSTALL:
        installed(m);
        break;
    case STEP_DOWN: /* off, and on again a reboot later */
        if (m->mqtt) {
            leave(m);
            r->running[m->version]--;
            m->version = m->coming;
            r->running[m->version]++;
            loop_timer_start(m->next, about(m, r->o.reboot_ms), 0);
            break;
        }
        m->step = STEP_AWAY;
        member_begin(m);
        break;
    case STEP_GONE:
        leave(m);
        break;
    case STEP_AWAY:
    case STEP_DOWNLOAD:
        break;
    }
}

void member_init(struct rehearse *r, struct member *m, int64_t number)
{
    char key[80], text[400];
    uint8_t sum[SHA256_SIZE];

    *m = (struct member){.fleet = r};
    member_key(r, m, key, sizeof(key));
    (void)str_fmt(text, sizeof(text), "%s/%lld", r->o.seed, (long long)number);
    crypto_sha256(text, strlen(text), sum);
    memcpy(&m->random, sum, sizeof(m->random));
    m->fault = fault_of(r->o.seed, key, r->o.shares);
    m->version = rehearse_version(r, r->o.version);
    r->running[m->version]++;
    m->next = loop_timer_new(r->loop, on_next, m);
}

void member_free(struct member *m)
{
    fetch_free(m->fetch);
    if (m->mqtt)
        mqtt_free(m->mqtt);
    loop_timer_free(m->next);
    wire_offer_done(&m->offer);
}
