/*
 * A seeded world: devices that ask or are told, fetch, fail, fall silent; messages that are lost,
 * repeated and overtaken; transactions that are lost; clocks that jump; users who are asked, and
 * answer whatever they like. After each step what must always hold is compared with a model that
 * knows nothing of counters. A seed that fails is printed.
 */
#include "sim.h"

#include <stdio.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SEEDS_USUAL 50
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEEDS_USUAL 50
#endif
#endif
#ifndef SEEDS_USUAL
#define SEEDS_USUAL 250
#endif

/* make test-long asks for more. Fewer than 50 would not meet what is asked of their sums. */
static uint64_t seeds_wanted(void)
{
    const char *text = getenv("OTAD_TEST_SEEDS");
    char *end;

    if (!text || !*text)
        return SEEDS_USUAL;
    unsigned long long n = strtoull(text, &end, 10);
    if (*end || n < 50 || n > 100000)
        fail_msg("OTAD_TEST_SEEDS is %s; a number from 50 to 100000 would be right", text);
    return n;
}

static uint64_t dice(struct world *w, uint64_t n)
{
    return domain_random(&w->random) % n;
}

/* ---- what devices say ---- */
static void say(struct world *w, int unit, enum said said)
{
    struct unit *u = &w->units[unit];
    enum consent_answer answer = dice(w, 3)   ? CONSENT_CONFIRM
                                 : dice(w, 3) ? CONSENT_POSTPONE
                                              : CONSENT_REFUSE;
    int times = dice(w, 12) == 0 ? 2 : dice(w, 12) == 0 ? 0 : 1; /* repeated, lost */

    for (int i = 0; i < times && w->n_queue < QUEUE_MAX; i++)
        w->queue[w->n_queue++] = (struct message){unit, said, u->offer, u->version, answer};
}

static void live(struct world *w, int i)
{
    struct unit *u = &w->units[i];

    if (w->c.consent.mode != CONSENT_SILENT && dice(w, u->yes ? 20 : 3) == 0) {
        if (w->c.consent.mode == CONSENT_APP)
            say(w, i, ANSWERS);
        else if (u->offer)
            say(w, i, LATER);
        return;
    }
    if (u->version == 2 && !u->offer && dice(w, 40) == 0) {
        u->version = 1; /* it does not hold it */
        say(w, i, REPORTS);
        return;
    }
    if (!u->offer || dice(w, 6) == 0) {
        say(w, i, dice(w, 3) ? ASKS : REPORTS);
        return;
    }
    switch (u->habit) {
    case SILENT:
        break;
    case REFUSES:
        say(w, i, REFUSED);
        u->offer = 0;
        break;
    case FAILS:
        say(w, i, FETCHED);
        say(w, i, FAILED);
        u->offer = 0;
        break;
    case ROLLS_BACK:
        say(w, i, FETCHED);
        say(w, i, INSTALLED);
        say(w, i, REPORTS); /* what it ran before */
        u->offer = 0;
        break;
    case GOOD:
        say(w, i, FETCHED);
        u->version = u->target;
        say(w, i, REPORTS);
        u->offer = 0;
        break;
    }
}

/* One more left. Of any minute of a clock that does not jump, no more than the rate of then. */
static void note_offer(struct world *w, bool first)
{
    const struct campaign_growth *g = &w->c.growth;
    int64_t rate = w->c.offers_per_minute;

    if (w->n_offers == OFFERS_MAX)
        return;
    if (g->base) { /* by the model: so many times the factor, from the base */
        int64_t steps = g->offered ? w->n_firsts / g->offered : w->verified / g->verified;
        double grown = (double)g->base;

        for (int64_t i = 0; i < steps && i < 100; i++)
            grown *= (double)g->factor / 100;
        rate = grown < (double)rate ? (int64_t)grown : rate;
    }
    w->offers[w->n_offers++] = w->steady;
    w->n_firsts += first;
    if (rate && w->n_offers > rate)
        HOLDS(w, w->steady - w->offers[w->n_offers - 1 - rate] >= MIN);
}

/* ---- what otad hears ---- */
static const char *const versions[] = {NULL, "1.0", "2.0", "1.5"};
static int64_t all_floors;

static bool in_window(const struct world *w)
{
    static struct zone *z;
    int64_t at = w->now / 1000;

    if (w->c.n_windows == 0)
        return true;
    if (!z)
        MUST(zone_load("America/New_York", &z));
    /* 01:00 to 24:00, every day: on the wall by the minute, except where clocks change. */
    int64_t wall = (at + zone_offset(z, at)) % DAY_S;
    return wall >= 3600 || zone_offset(z, at) != zone_offset(z, at - 7200) ||
           zone_offset(z, at) != zone_offset(z, at + 7200);
}

static void offered(struct world *w, struct unit *u, const struct device *dev, struct update got)
{
    const struct campaign_status before = w->s;

    u->offer = got.id;
    u->target = got.firmware_id == w->bad ? 2 : w->floored ? 3 : 1;
    if (w->marked && w->floored) {
        char runs[VERSION_MAX + 1];

        MUST(device_version(w->d->w, dev->id, "main", runs, NULL));
        HOLDS(w, strcmp(runs, "1.0") != 0 || got.firmware_id == w->good);
    }
    if (w->floored && got.phase != CAMPAIGN_ROLLBACK && got.firmware_id == w->good) {
        all_floors++;
        HOLDS(w, got.campaign_id == 0);
        return;
    }
    if (got.phase == CAMPAIGN_ROLLBACK) {
        HOLDS(w, before.rolling_back);
        HOLDS(w, u->had_bad);
        HOLDS(w, got.firmware_id == w->good);
        return;
    }
    HOLDS(w, got.firmware_id == w->bad);
    HOLDS(w, before.state == CAMPAIGN_RUNNING); /* paused, ended: nothing at all */
    HOLDS(w, got.phase <= before.phase && got.phase >= 1);
    HOLDS(w, u->yes || w->c.consent.mode != CONSENT_APP);
    HOLDS(w, !u->no || w->c.consent.mode == CONSENT_SILENT);
    HOLDS(w, w->c.phases[got.phase - 1].kind == PHASE_COUNT ||
                 campaign_share_of(w->campaign, dev->id) < w->c.phases[got.phase - 1].share);
    HOLDS(w, !id_list_has(&w->c.denied, dev->id));
    HOLDS(w, got.state >= UPDATE_ACCEPTED || in_window(w)); /* what was begun may end */
    int64_t opened = w->opened[got.phase];
    bool first = got.attempt == 1 && u->counted != got.id;
    if (first && got.state == UPDATE_OFFERED && w->now >= opened && w->n < 100 &&
        w->c.consent.mode != CONSENT_APP)
        HOLDS(w, w->now >= campaign_due(&w->c, dev->id, got.phase, opened, w->now));
    if (got.state == UPDATE_OFFERED && (u->counted != got.id || u->attempt != got.attempt))
        note_offer(w, first);
    w->after_yes += first && u->yes;
    u->counted = got.id;
    u->attempt = got.attempt;
}

static void hear_ask(struct world *w, struct unit *u, const struct device *dev)
{
    struct decision why;
    struct update got;
    bool repeated;

    MUST(update_check(w->d->w, w->d->catalog, dev, "main", w->now, LIFETIME, &w->d->a, &got,
                      &repeated, &why));
    if (got.id != 0)
        offered(w, u, dev, got);
}

/* ---- what campaigns send ---- */
static int is_there(void *arg, const struct device *dev, bool *ret)
{
    struct world *w = arg;

    *ret = w->units[dev->id - w->units[0].id].there;
    return 0;
}

/* Each attempt of each update leaves once, and never for what was offered to a question. */
static int send_one(void *arg, const struct device *dev, const struct update *got)
{
    struct world *w = arg;
    struct unit *u = &w->units[dev->id - w->units[0].id];

    HOLDS(w, u->id == dev->id);
    HOLDS(w, got->campaign_id == w->campaign && got->state == UPDATE_OFFERED);
    HOLDS(w, w->c.push);
    HOLDS(w, u->pushed != got->id || u->pushed_attempt < got->attempt);
    HOLDS(w, u->counted != got->id || u->attempt < got->attempt);
    u->pushed = got->id;
    u->pushed_attempt = got->attempt;
    w->pushes++;
    offered(w, u, dev, *got);
    return 0;
}

static struct update_push_env env_of(struct world *w)
{
    return (struct update_push_env){.db = w->d->w,
                                    .catalog = w->d->catalog,
                                    .now = w->now,
                                    .link_lifetime_ms = LIFETIME,
                                    .arena = &w->d->a,
                                    .there = is_there,
                                    .send = send_one,
                                    .arg = w};
}

static void go_through(struct world *w)
{
    struct update_push_env env = env_of(w);

    MUST(update_push_walk(&env, &w->walks, 1 + (int)dice(w, 10), 1000000));
}

/* The user by way of an application, whether it was asked or not. */
static void hear_answer(struct world *w, struct unit *u, enum consent_answer answer)
{
    const char *code = NULL;
    struct consent q;
    int rc = consent_of(w->d->w, w->campaign, u->id, &q);

    if (rc == E_NOTFOUND)
        return;
    MUST(rc);
    rc = consent_answer(w->d->w, &w->c, w->s.state, &q, answer, 0, "user", w->now, &code, NULL);
    HOLDS(w, rc == 0 || (rc == E_CONFLICT && code));
    if (rc < 0)
        return;
    HOLDS(w, w->s.state == CAMPAIGN_RUNNING || w->s.state == CAMPAIGN_PAUSED);
    HOLDS(w, !u->no || answer == CONSENT_REFUSE);
    u->yes = answer == CONSENT_CONFIRM;
    u->no = answer == CONSENT_REFUSE;
}

static int hear_word(struct world *w, struct unit *u, const struct device *dev, int64_t offer,
                     enum update_state to)
{
    struct domain *d = w->d;
    int rc = update_moved(d->w, d->catalog, dev, offer, to, -1, "", w->now, &d->a);
    struct update got;

    if (rc == 0 && update_by_id(d->w, offer, &d->a, &got) == 0)
        u->no |= got.phase != CAMPAIGN_ROLLBACK && sim_is_refusal(&got);
    return rc;
}

/* 0, or what a refused word is: that the update has gone on without it. */
static void hear(struct world *w, const struct message *m)
{
    static const char *const words[] = {"", "Flash error 5 at 0x00123456", "checksum"};
    struct domain *d = w->d;
    struct unit *u = &w->units[m->unit];
    struct device dev;
    int rc = 0;

    MUST(device_by_id(d->w, u->id, &d->a, &dev));
    switch (m->said) {
    case ASKS:
        hear_ask(w, u, &dev);
        break;
    case FETCHED:
        MUST(update_served(d->w, d->catalog, m->offer, 1, 0, 1000, 1000, true, w->now, &d->a));
        break;
    case INSTALLED:
        rc =
            update_moved(d->w, d->catalog, &dev, m->offer, UPDATE_INSTALLED, -1, "", w->now, &d->a);
        break;
    case FAILED:
        rc = update_moved(d->w, d->catalog, &dev, m->offer, UPDATE_FAILED, -1, words[m->unit % 3],
                          w->now, &d->a);
        break;
    case REFUSED:
        rc = hear_word(w, u, &dev, m->offer, UPDATE_REJECTED);
        break;
    case LATER:
        rc = hear_word(w, u, &dev, m->offer, UPDATE_DEFERRED);
        break;
    case ANSWERS:
        hear_answer(w, u, m->answer);
        break;
    case REPORTS:
        u->had_bad |= m->version == 2;
        MUST(update_reported(d->w, d->catalog, &dev, "main", versions[m->version], w->now, &d->a));
        break;
    }
    HOLDS(w, rc == 0 || rc == E_CONFLICT);
    if (u->there) { /* whatever it says is a sign of life */
        struct update_push_env env = env_of(w);

        MUST(device_by_id(w->d->w, u->id, &d->a, &dev));
        MUST(campaign_by_id(w->d->w, 0, w->campaign, &d->a, &w->c, &w->s));
        MUST(update_push_seen(&env, &dev));
    }
}

/* The threshold by the model: until the first resume the rows alone tell when it was crossed. */
struct crossing {
    struct world *w;
    int64_t ended[PHASES + 1], failed[PHASES + 1], back[PHASES + 1];
};

static int crossing_one(void *arg, const struct update *u)
{
    struct crossing *x = arg;

    if (u->phase > PHASES || !update_is_final(u->state) || u->state == UPDATE_CANCELED)
        return 0;
    if (sim_is_refusal(u))
        return 0;
    x->ended[u->phase]++;
    x->failed[u->phase] += u->state == UPDATE_FAILED;
    x->back[u->phase] += u->state == UPDATE_ROLLED_BACK || sim_fell_back(x->w, u);
    return 0;
}

static bool crosses(const struct campaign_threshold *t, int64_t n, int64_t ended)
{
    return ended >= t->sample && n * CAMPAIGN_SHARE > t->share * ended;
}

static void judge_threshold(struct world *w)
{
    const struct campaign_threshold *t = w->c.thresholds;
    struct crossing x = {.w = w};
    const struct update_filter flt = {
        .project_id = w->d->project, .state = -1, .campaign_id = w->campaign};

    if (w->resumed)
        return;
    MUST(update_list(w->d->w, &flt, 0, 1000000, crossing_one, &x));
    for (int p = 1; p <= PHASES; p++)
        if (crosses(&t[CAMPAIGN_END_FAILED], x.failed[p], x.ended[p]) ||
            crosses(&t[CAMPAIGN_END_ROLLED_BACK], x.back[p], x.ended[p]))
            HOLDS(w, w->s.state != CAMPAIGN_RUNNING);
}

/* One message is one transaction; some are lost after they ran, and otad starts again. */
static void deliver(struct world *w)
{
    int i = dice(w, 6) ? 0 : (int)dice(w, (uint64_t)w->n_queue); /* overtakes others */
    struct message m = w->queue[i];
    bool crash = dice(w, 25) == 0;
    struct unit was = w->units[m.unit];
    int offers = w->n_offers, firsts = w->n_firsts;

    w->n_queue--;
    memmove(&w->queue[i], &w->queue[i + 1], (size_t)(w->n_queue - i) * sizeof(m));
    MUST(db_save(w->d->w));
    hear(w, &m);
    if (!crash) {
        MUST(db_release(w->d->w));
        return;
    }
    db_undo(w->d->w);
    w->units[m.unit] = was;
    w->n_offers = offers;
    w->n_firsts = firsts;
    update_walks_done(&w->walks);
    w->walks = (struct update_walks){.after = 0};
    MUST(campaign_recover(w->d->w));
    MUST(consent_recover(w->d->w));
    domain_reload(w->d);
    if (w->n_queue < QUEUE_MAX && dice(w, 2))
        w->queue[w->n_queue++] = m; /* not acknowledged: it comes again */
}

/* ---- time, and those who operate ---- */
static void pass(struct world *w, int64_t ms)
{
    w->now += ms;
    w->steady += ms;
    clock_fake_steady_ms(w->steady);
}

/* An operator takes somebody's no back. */
static void lift(struct world *w, struct unit *u)
{
    const char *code = NULL;
    struct consent q;

    if (consent_of(w->d->w, w->campaign, u->id, &q) < 0)
        return;
    int rc = consent_lift(w->d->w, &w->c, w->s.state, &q, "operator", w->now, &code, NULL);
    HOLDS(w, rc == 0 || (rc == E_CONFLICT && code));
    HOLDS(w, rc < 0 || u->no);
    w->lifted += rc == 0;
    u->no &= rc < 0;
}

static void mark(struct world *w)
{
    struct firmware fw;

    MUST(firmware_by_id(w->d->w, w->d->project, w->good, &w->d->a, &fw));
    fw.must_pass = true;
    MUST(firmware_update(w->d->w, &fw, NULL));
    domain_reload(w->d);
    w->marked = true;
}

static void operate(struct world *w)
{
    if (w->c.consent.mode != CONSENT_SILENT && dice(w, 3) == 0) {
        lift(w, &w->units[dice(w, (uint64_t)w->n)]);
        return;
    }
    switch (dice(w, 6)) {
    case 0:
        (void)!campaign_pause(w->d->w, w->campaign, w->now, NULL);
        break;
    case 1:
    case 2:
        if (campaign_resume(w->d->w, w->campaign, w->now, NULL) == 0)
            w->resumed = true;
        break;
    case 3:
        (void)!campaign_approve(w->d->w, w->campaign, dice(w, 4) == 0, w->now, NULL);
        break;
    case 4:
        if (w->floored && !w->marked)
            mark(w);
        if (dice(w, 20) == 0)
            (void)!campaign_abort(w->d->w, w->campaign, dice(w, 2), w->now, NULL);
        break;
    default:
        domain_reload(w->d);
        break;
    }
}

/* Nobody is left who could still get it. */
static void judge_end(struct world *w)
{
    HOLDS(w, w->c.frozen && w->s.phase == PHASES);
    for (int i = 1; i < w->n; i++) { /* the first one is denied */
        char version[VERSION_MAX + 1];

        MUST(device_version(w->d->w, w->units[i].id, "main", version, NULL));
        if (strcmp(version, "2.0") != 0 && !w->units[i].no)
            HOLDS(w, campaign_device_ended(w->d->w, w->campaign, w->units[i].id) == 1);
    }
}

static void look_for_the_end(struct world *w)
{
    struct update_push_env env = env_of(w);
    const enum campaign_state before = w->s.state;

    w->walks.end_at_ms = 0;
    MUST(update_end_walk(&env, &w->walks, 8, 1000000));
    w->s = status_of(w->d, w->campaign);
    if (before != CAMPAIGN_COMPLETED && w->s.state == CAMPAIGN_COMPLETED) {
        judge_end(w);
        w->ended = true;
    }
}

static void tick(struct world *w)
{
    int64_t next;

    MUST(update_expire(w->d->w, w->d->catalog, w->now, 100, &next));
    while (update_campaigns(w->d->w, w->now, 50) == 1)
        ;
    MUST(campaign_by_id(w->d->w, 0, w->campaign, &w->d->a, &w->c, &w->s));
    look_for_the_end(w);
}

/* One transaction, like any other. */
static void push_some(struct world *w)
{
    static struct unit was[DEVICES_MAX];
    int offers = w->n_offers, firsts = w->n_firsts;
    bool crash = w->n < 100 && dice(w, 25) == 0;

    if (crash)
        memcpy(was, w->units, (size_t)w->n * sizeof(*was));
    MUST(db_save(w->d->w));
    go_through(w);
    if (!crash) {
        MUST(db_release(w->d->w));
        return;
    }
    db_undo(w->d->w);
    memcpy(w->units, was, (size_t)w->n * sizeof(*was));
    w->n_offers = offers;
    w->n_firsts = firsts;
    update_walks_done(&w->walks);
    w->walks = (struct update_walks){.after = 0};
    MUST(campaign_recover(w->d->w));
}

static void step(struct world *w)
{
    uint64_t what = dice(w, 100);

    if (what < 10)
        push_some(w);
    else if (what < 12)
        w->units[dice(w, (uint64_t)w->n)].there ^= true;
    else if (what < 36 || (what < 85 && w->n_queue == 0))
        live(w, (int)dice(w, (uint64_t)w->n));
    else if (what < 85)
        deliver(w);
    else if (what < 94)
        pass(w, (int64_t)dice(w, dice(w, 6) ? 20000 : 3 * HOUR));
    else if (what < 95)
        w->now += dice(w, 2) ? DAY : -DAY; /* the wall clock alone */
    else if (what < 98)
        tick(w);
    else
        operate(w);
}

/* ---- one world ---- */
static void declare_some(struct world *w)
{
    char text[1024], second[64];
    struct campaign_status s;
    static const char *const consents[] = {
        "", "", "", ",'consent':{'mode':'device','postpone_max':2,'postpone_s':1800}",
        ",'consent':{'mode':'app','postpone_max':2,'postpone_s':3600},'texts':{'en':{'title':'x'}"
        "}"};
    static const char *const pacing[] = {
        "", "'jitter_s':3600,",
        "'exponential':{'base_per_minute':1,'increment_factor':1.5,'offered':3},",
        "'jitter_s':60,'exponential':{'base_per_minute':2,'increment_factor':2,'verified':2},"};
    const size_t how = dice(w, 3) ? 0 : 1 + dice(w, 3);
    static const char *const actions[] = {"pause", "abort", "rollback", "rollback"};

    (void)str_fmt(second, sizeof(second), dice(w, 3) ? "'percent':80" : "'count':%d",
                  (int)dice(w, 6) + 1);
    (void)str_fmt(text, sizeof(text),
                  "{'phases':[{'percent':50,'min_sample':%d,'success_percent':50,'soak_s':%d},"
                  "{%s,'approval':%s,'success_percent':50},{'percent':100}],'targets':{'deny':[],'"
                  "frozen':%s},"
                  "'pacing':{%s'offers_per_minute':%d,'in_progress':%d}%s%s,"
                  "'delivery':'%s','deadlines':{'accept_s':3600,'attempts':2},'thresholds':{"
                  "'failed':{'percent':%d,'min_sample':%d,'action':'%s'},"
                  "'rolled_back':{'percent':60,'min_sample':3,'action':'pause'}}}",
                  1 + (int)dice(w, 3), (int)dice(w, 2) * 600, second, dice(w, 2) ? "true" : "false",
                  dice(w, 2) ? "true" : "false", pacing[how], how ? 9 : (int)dice(w, 3) * 3,
                  (int)dice(w, 3) * 4,
                  dice(w, 3)
                      ? ""
                      : ",'windows':{'timezone':'America/New_York','slots':[{'from':'01:00','to':"
                        "'24:00'}]}",
                  consents[dice(w, ARRAY_LEN(consents))], dice(w, 2) ? "push" : "offer",
                  10 + (int)dice(w, 40), 2 + (int)dice(w, 4), actions[dice(w, 4)]);
    const struct campaign_lists lists = {.denied = {(int64_t[]){w->units[0].id}, 1}};
    w->campaign = declare(w->d, w->bad, w->good, text, &lists);
    MUST(campaign_start(w->d->w, w->campaign, w->now, NULL));
    MUST(campaign_by_id(w->d->w, 0, w->campaign, &w->d->a, &w->c, &s));
}

/* Over all seeds: a world in which nothing happens proves nothing. */
static int64_t all_pushes, all_ended;
static int64_t all_verified, all_offers, all_phases, all_rolled_back, all_asked, all_yes;

static void run_seed(struct domain *d, uint64_t seed, int n, int steps, int each)
{
    struct world *w = xcalloc(1, sizeof(*w));
    static const int64_t times[] = {1699153200000, 1710050400000, T0}; /* clocks change that day */
    char key[32];

    *w = (struct world){.d = d, .seed = seed, .random = seed * 0x9E3779B97F4A7C15 + 1, .n = n};
    w->now = times[dice(w, ARRAY_LEN(times))] - (int64_t)dice(w, DAY);
    w->steady = T0;
    pass(w, 0);
    w->floored = seed % 3 == 0;
    w->good = domain_firmware(d, w->floored ? "1.5" : "1.0");
    if (w->floored && dice(w, 2))
        mark(w);
    struct firmware fw = domain_firmware_of(d, "2.0", 1000);
    fw.campaign_only = true;
    MUST(firmware_insert(d->w, &fw, NULL));
    w->bad = fw.id;
    int trouble = (int)dice(w, 5);
    for (int i = 0; i < n; i++) {
        (void)str_fmt(key, sizeof(key), "s%llu-%d", (unsigned long long)seed, i);
        w->units[i] = (struct unit){.id = domain_device(d, key), .version = 1, .there = dice(w, 2)};
        if ((int)dice(w, 10) < trouble)
            w->units[i].habit = FAILS + (enum habit)dice(w, 4);
        say(w, i, REPORTS);
        while (w->n_queue > 0)
            w->n_queue--; /* said before all this */
        MUST(device_version_set(d->w, w->units[i].id, "main", "1.0", w->now, NULL));
    }
    declare_some(w);
    steps *= w->c.consent.mode == CONSENT_APP ? 2 : 1; /* to ask, to answer, to offer */
    for (int i = 0; i < steps; i++) {
        arena_reset(&d->a);
        MUST(campaign_by_id(d->w, 0, w->campaign, &d->a, &w->c, &w->s));
        step(w);
        sim_judge(w, i % each == 0);
        if (i % each == 0)
            judge_threshold(w);
    }
    sim_judge(w, true);
    update_walks_done(&w->walks);
    all_pushes += w->pushes;
    all_ended += w->ended;
    all_verified += w->verified;
    all_offers += w->n_offers;
    all_phases += w->s.phase;
    all_rolled_back += w->rolled_back;
    all_asked += w->asked;
    all_yes += w->after_yes;
    free(w);
}

static void whatever_happens(void **state UNUSED)
{
    const int64_t seeds = (int64_t)seeds_wanted();
    struct domain d;

    domain_init(&d);
    d.type.attempts_per_day = 100;
    domain_type_changed(&d);
    for (uint64_t seed = 1; seed <= (uint64_t)seeds; seed++) {
        MUST(db_save(d.w));
        run_seed(&d, seed, seed % 4 ? 24 : 4, seed % 4 ? 200 : 600, 1);
        db_undo(d.w);
    }
    MUST(db_save(d.w));
    run_seed(&d, (uint64_t)seeds + 1, DEVICES_MAX, (int)seeds * 20, 500);
    db_undo(d.w);
    clock_fake_steady_ms(0);
    domain_done(&d);
    print_message("%lld seeds: %lld offers, %lld of them pushed, %lld verified, %lld phases, %lld "
                  "taken back, %lld asked, %lld yes, %lld ended\n",
                  (long long)seeds, (long long)all_offers, (long long)all_pushes,
                  (long long)all_verified, (long long)all_phases, (long long)all_rolled_back,
                  (long long)all_asked, (long long)all_yes, (long long)all_ended);
    assert_true(all_offers > seeds * 3);
    assert_true(all_pushes > seeds);
    assert_true(all_verified > seeds);
    assert_true(all_phases > seeds * 5 / 4);
    assert_true(all_rolled_back > 0);
    assert_true(all_asked > seeds);
    assert_true(all_yes > seeds / 4);
    assert_true(all_floors > seeds);
    assert_true(seeds < 250 || all_ended > 0); /* rare */
}

/* The same with what was committed alone: otad killed between any two transactions. */
static void killed_and_started(void **state UNUSED)
{
    for (uint64_t seed = 5000; seed < 5003; seed++) {
        struct domain d;
        struct world *w = xcalloc(1, sizeof(*w));

        domain_init(&d);
        *w = (struct world){.d = &d, .seed = seed, .random = seed, .n = 10, .now = T0};
        w->steady = T0;
        pass(w, 0);
        w->good = domain_firmware(&d, "1.0");
        struct firmware fw = domain_firmware_of(&d, "2.0", 1000);
        fw.campaign_only = true;
        MUST(firmware_insert(d.w, &fw, NULL));
        w->bad = fw.id;
        for (int i = 0; i < w->n; i++) {
            char key[32];

            (void)str_fmt(key, sizeof(key), "k%d", i);
            w->units[i] = (struct unit){.id = domain_device(&d, key), .version = 1, .there = true};
            MUST(device_version_set(d.w, w->units[i].id, "main", "1.0", T0, NULL));
        }
        declare_some(w);
        for (int i = 0; i < 300; i++) {
            arena_reset(&d.a);
            MUST(campaign_by_id(d.w, 0, w->campaign, &d.a, &w->c, &w->s));
            step(w);
            sim_judge(w, true);
            if (i % 30 != 0)
                continue;
            update_walks_done(&w->walks);
            w->walks = (struct update_walks){.after = 0};
            MUST(db_commit(d.w));
            db_fixture_reopen(&d.fx);
            d.w = d.fx.w;
            MUST(db_begin(d.w));
            MUST(campaign_recover(d.w));
            domain_reload(&d);
            sim_judge(w, true);
        }
        update_walks_done(&w->walks);
        free(w);
        domain_done(&d);
    }
    clock_fake_steady_ms(0);
}

int test_simulation(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens),
        cmocka_unit_test(killed_and_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
