/*
 * GET /api/v1/campaigns/{id}/progress: how a campaign gets on. States, share of the targets, pace,
 * the reasons of failures, when it ends at this pace. All of it is read from counters; how many
 * devices are meant is counted only where a list or an index bounds that, and named an estimate
 * elsewhere. What it did when is in timeline.c.
 */
#include "priv.h"

#define MINUTE_MS     INT64_C(60000)
#define HOUR_MS       (60 * MINUTE_MS)
#define DAY_MS        (24 * HOUR_MS)
#define REASONS_TOP   20
#define FORECAST_DAYS 3650 /* what is further away is no forecast */

static const struct json_field progress_fields[] = {
    {"campaign", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the campaign."},
    {"state", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "As in the campaign."},
    {"phase", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "The open one."},
    {"targets", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{devices, basis}: how many devices are meant. basis is counted (a list, or those there were "
     "at the start), estimated (enabled devices of the type that reported the module's version), "
     "at_most (the same, but tags or a query narrow it down) or unknown."},
    {"offered", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Updates, like all that follows; the rollback is a phase of its own and not in the sums."},
    {"in_progress", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Of them, those that have not ended."},
    {"ended", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Those that have, canceled ones too."},
    {"verified", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Without the suspect ones."},
    {"suspect", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Successes for which no byte was served to the device."},
    {"percent_ended", JK_INT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Of the targets; null when they are unknown. With at_most the truth is this or more."},
    {"percent_verified", JK_INT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "The same."},
    {"states", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{state: updates}; and without an update yet: awaiting_consent, consent_confirmed, "
     "consent_refused."},
    {"attempts_failed", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Attempts that failed and were followed by another one."},
    {"bytes", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "What devices fetched by their links."},
    {"throughput", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{last_minute, last_hour}, the last whole minute and the last sixty: {offered, verified, "
     "suspect, failed, rolled_back, timed_out, rejected, canceled, attempts_failed, bytes}."},
    {"reasons", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{state, reason, n} of failures, the most frequent first, at most 20. state planned: an "
     "attempt failed and another one follows; verified: a suspect success. Two hundred are told "
     "apart, the rest is `other`."},
    {"forecast", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{ends_at, per_hour, window_s, remaining, basis, why}: when the last target has ended if it "
     "goes on as in the last window_s (an hour; a day when nothing ended in it). Waits for gates, "
     "approvals and windows are not foreseen. ends_at is null when why says not_running, "
     "targets_unknown, nothing_ended or too_far."},
    {"phases", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{phase, targets, opened_at, gate_met_at, offered, in_progress, ended, verified, suspect, "
     "percent_ended, percent_verified, states, attempts_failed, bytes}; targets is an estimate "
     "for a percentage. Phase 1000 is the rollback."},
};
const struct table campaign_progress_table = {"CampaignProgress", progress_fields,
                                              ARRAY_LEN(progress_fields)};

/* ---- what is read ---- */
/* Devices that have no update yet: what their users said. */
static const char *const consents[] = {"awaiting_consent", "consent_confirmed", "consent_refused"};
enum { PHASES = CAMPAIGN_PHASES_MAX + 2, ROLLBACK = PHASES - 1 };
struct phase {
    bool exists;
    int64_t opened_at, gate_at;
    int64_t states[UPDATE__COUNT], consents[3];
    int64_t offered, ended, suspect, attempts, bytes;
};
struct progress_of {
    struct campaign c;
    struct campaign_status s;
    struct phase phases[PHASES], all;
    struct {
        char state[16], text[CAMPAIGN_REASON_MAX + 1];
        int64_t n;
    } top[256];
    size_t n_top;
    struct campaign_flow minute, hour, day;
    int64_t targets, now;
    const char *basis;
};

static struct phase *phase_at(struct progress_of *p, int no)
{
    struct phase *ph = &p->phases[no == CAMPAIGN_ROLLBACK                ? ROLLBACK
                                  : no >= 0 && no <= CAMPAIGN_PHASES_MAX ? no
                                                                         : 0];
    ph->exists = true;
    return ph;
}

static int phase_one(void *arg, const struct campaign_phase_status *s)
{
    struct phase *ph = phase_at(arg, s->no);
    ph->opened_at = s->opened_at;
    ph->gate_at = s->gate_at;
    return 0;
}

static int count_one(void *arg, int no, const char *state, int64_t n)
{
    struct phase *ph = phase_at(arg, no);
    enum update_state s;
    for (size_t i = 0; i < ARRAY_LEN(consents); i++)
        if (strcmp(state, consents[i]) == 0) {
            ph->consents[i] += n;
            return 0;
        }
    if (update_state_parse(state, &s) < 0)
        return E_DB;
    ph->states[s] += n;
    ph->offered += n;
    ph->ended += update_is_final(s) ? n : 0;
    return 0;
}

static int flow_phase_one(void *arg, int no, int64_t attempts, int64_t bytes)
{
    struct phase *ph = phase_at(arg, no);
    ph->attempts += attempts;
    ph->bytes += bytes;
    return 0;
}

/* Rows are per phase; the list is of the campaign. */
static int reason_one(void *arg, int no, const char *state, const char *reason, int64_t n)
{
    struct progress_of *p = arg;
    size_t i = 0;
    if (strcmp(state, "verified") == 0)
        phase_at(p, no)->suspect += n;
    while (i < p->n_top &&
           (strcmp(p->top[i].state, state) != 0 || strcmp(p->top[i].text, reason) != 0))
        i++;
    if (i == ARRAY_LEN(p->top))
        return 0;
    if (i == p->n_top) {
        (void)str_copy(p->top[i].state, sizeof(p->top[i].state), state);
        (void)str_copy(p->top[i].text, sizeof(p->top[i].text), reason);
        p->n_top++;
    }
    p->top[i].n += n;
    return 0;
}

static int flow_sum(void *arg, const struct campaign_flow *f)
{
    struct campaign_flow *sum = arg;
    sum->offered += f->offered;
    sum->verified += f->verified;
    sum->suspect += f->suspect;
    sum->failed += f->failed;
    sum->rolled_back += f->rolled_back;
    sum->timed_out += f->timed_out;
    sum->rejected += f->rejected;
    sum->canceled += f->canceled;
    sum->attempts += f->attempts;
    sum->bytes += f->bytes;
    return 0;
}

static int read_flows(struct db *db, struct progress_of *p)
{
    int64_t minute = p->now - p->now % MINUTE_MS, id = p->c.id;
    int rc = campaign_flows(db, id, CAMPAIGN_FLOW_MINUTE, minute - MINUTE_MS, minute, -1, flow_sum,
                            &p->minute);
    if (rc == 0)
        rc = campaign_flows(db, id, CAMPAIGN_FLOW_MINUTE, minute - HOUR_MS, INT64_MAX, -1, flow_sum,
                            &p->hour);
    if (rc == 0)
        rc = campaign_flows(db, id, CAMPAIGN_FLOW_HOUR, p->now - p->now % HOUR_MS - DAY_MS,
                            INT64_MAX, -1, flow_sum, &p->day);
    return rc < 0 ? rc : campaign_flow_phases(db, id, flow_phase_one, p);
}

/* ---- how many are meant ---- */
static int fleet_sum(void *arg, const char *version, int64_t enabled, int64_t disabled)
{
    (void)version;
    (void)disabled;
    *(int64_t *)arg += enabled;
    return 0;
}

static int estimate(struct db *db, struct progress_of *p, int64_t denied, struct arena *a)
{
    struct firmware fw = {.id = 0};
    int64_t n = 0;
    int rc = firmware_by_id(db, p->c.project_id, p->c.firmware_id, a, &fw);
    json_decref(fw.hardware);
    if (rc == 0)
        rc = device_fleet(db, p->c.type_id, fw.module, fleet_sum, &n);
    p->targets = n > denied ? n - denied : 0;
    return rc == E_NOTFOUND ? 0 : rc;
}

static int read_targets(struct db *db, struct progress_of *p, struct arena *a)
{
    int64_t denied;
    bool exact;
    int rc = campaign_count_targets(db, &p->c, &p->targets, &denied, &exact);
    p->basis = exact ? "counted" : "at_most";
    if (rc != E_NOTFOUND)
        return rc;
    p->basis = exact ? "estimated" : "at_most";
    rc = estimate(db, p, denied, a);
    if (p->targets == 0)
        p->basis = "unknown";
    return rc;
}

static int64_t phase_targets(const struct progress_of *p, int no)
{
    const struct campaign_phase *ph = no == 0 ? &p->c.verify : &p->c.phases[no - 1];
    if (no > (int)p->c.n_phases || (no == 0 && !p->c.verification))
        return 0;
    if (ph->kind == PHASE_DEVICES)
        return (int64_t)ph->devices.n;
    if (ph->kind == PHASE_COUNT)
        return ph->count;
    int64_t before = 0; /* a share counts those of the phases before */
    for (int i = 1; i < no; i++)
        if (p->c.phases[i - 1].kind == PHASE_PERCENT)
            before = p->c.phases[i - 1].share;
    return p->targets * (ph->share > before ? ph->share - before : 0) / CAMPAIGN_SHARE;
}

static int read_all(struct db *db, int64_t project_id, int64_t id, struct arena *a,
                    struct progress_of *p)
{
    int rc = campaign_by_id(db, project_id, id, a, &p->c, &p->s);
    if (rc == 0)
        rc = campaign_phases(db, id, phase_one, p);
    if (rc == 0)
        rc = campaign_counts(db, id, count_one, p);
    if (rc == 0)
        rc = campaign_reasons(db, id, reason_one, p);
    if (rc == 0)
        rc = read_flows(db, p);
    if (rc == 0)
        rc = read_targets(db, p, a);
    for (int i = 0; i < ROLLBACK; i++) {
        const struct phase *ph = &p->phases[i];
        for (int s = 0; s < UPDATE__COUNT; s++)
            p->all.states[s] += ph->states[s];
        for (size_t k = 0; k < ARRAY_LEN(consents); k++)
            p->all.consents[k] += ph->consents[k];
        p->all.offered += ph->offered;
        p->all.ended += ph->ended;
        p->all.suspect += ph->suspect;
        p->all.attempts += ph->attempts;
        p->all.bytes += ph->bytes;
    }
    return rc;
}

/* ---- what is answered ---- */
/* 100 only when all have: 999 of 1000 are 99 percent. */
static void write_percent(struct obj *o, const char *name, int64_t n, int64_t of)
{
    if (of <= 0)
        obj_str(o, name, NULL);
    else
        obj_int(o, name, n >= of ? 100 : n * 100 / of);
}

static void write_phase(struct obj *o, const struct phase *ph, int64_t targets)
{
    obj_int(o, "offered", ph->offered);
    obj_int(o, "in_progress", ph->offered - ph->ended);
    obj_int(o, "ended", ph->ended);
    obj_int(o, "verified", ph->states[UPDATE_VERIFIED] - ph->suspect);
    obj_int(o, "suspect", ph->suspect);
    write_percent(o, "percent_ended", ph->ended - ph->states[UPDATE_CANCELED], targets);
    write_percent(o, "percent_verified", ph->states[UPDATE_VERIFIED] - ph->suspect, targets);
    obj_name(o, "states");
    struct obj states = obj_begin(o->b);
    for (int s = 0; s < UPDATE__COUNT; s++)
        if (ph->states[s])
            obj_int(&states, update_state_name((enum update_state)s), ph->states[s]);
    for (size_t i = 0; i < ARRAY_LEN(consents); i++)
        if (ph->consents[i])
            obj_int(&states, consents[i], ph->consents[i]);
    obj_end(&states);
    obj_int(o, "attempts_failed", ph->attempts);
    obj_int(o, "bytes", ph->bytes);
}

static void write_throughput(struct obj *o, const struct progress_of *p)
{
    obj_name(o, "throughput");
    struct obj both = obj_begin(o->b);
    obj_name(&both, "last_minute");
    struct obj one = obj_begin(o->b);
    flow_write(&one, &p->minute);
    obj_end(&one);
    obj_name(&both, "last_hour");
    one = obj_begin(o->b);
    flow_write(&one, &p->hour);
    obj_end(&one);
    obj_end(&both);
}

static void write_reasons(struct obj *o, struct progress_of *p)
{
    obj_raw(o, "reasons", "[");
    for (int i = 0; i < REASONS_TOP; i++) {
        size_t best = 0;
        for (size_t k = 1; k < p->n_top; k++)
            if (p->top[k].n > p->top[best].n)
                best = k;
        if (p->n_top == 0 || p->top[best].n <= 0)
            break;
        sbuf_str(o->b, i ? "," : "");
        struct obj one = obj_begin(o->b);
        obj_str(&one, "state", p->top[best].state);
        obj_str(&one, "reason", p->top[best].text);
        obj_int(&one, "n", p->top[best].n);
        obj_end(&one);
        p->top[best].n = 0;
    }
    sbuf_str(o->b, "]");
}

static void write_forecast(struct obj *o, const struct progress_of *p)
{
    bool known = strcmp(p->basis, "counted") == 0 || strcmp(p->basis, "estimated") == 0;
    bool of_hour = flow_ends(&p->hour) > 0;
    int64_t n = flow_ends(of_hour ? &p->hour : &p->day), window = of_hour ? HOUR_MS : DAY_MS;
    int64_t done = p->all.ended - p->all.states[UPDATE_CANCELED];
    int64_t remaining = p->targets > done ? p->targets - done : 0;
    const char *why = p->s.state != CAMPAIGN_RUNNING ? "not_running"
                      : !known                       ? "targets_unknown"
                      : n == 0                       ? "nothing_ended"
                                                     : NULL;
    double ms = n > 0 ? (double)remaining * (double)window / (double)n : 0;

    if (p->s.started_at && p->now - p->s.started_at < window) /* it has not run for so long */
        ms = ms * (double)(p->now - p->s.started_at) / (double)window;
    if (!why && ms > (double)(FORECAST_DAYS * DAY_MS))
        why = "too_far";
    obj_name(o, "forecast");
    struct obj f = obj_begin(o->b);
    obj_time(&f, "ends_at", why ? 0 : p->now + (int64_t)ms);
    obj_int(&f, "per_hour", n * HOUR_MS / window);
    obj_int(&f, "window_s", window / 1000);
    if (known)
        obj_int(&f, "remaining", remaining);
    else
        obj_str(&f, "remaining", NULL);
    obj_str(&f, "basis", p->basis);
    obj_str(&f, "why", why);
    obj_end(&f);
}

static void write_phases(struct obj *o, const struct progress_of *p)
{
    bool more = false;
    obj_raw(o, "phases", "[");
    for (int i = 0; i < PHASES; i++) {
        const struct phase *ph = &p->phases[i];
        int64_t targets = i == ROLLBACK ? 0 : phase_targets(p, i);
        if (!ph->exists)
            continue;
        sbuf_str(o->b, more ? "," : "");
        more = true;
        struct obj one = obj_begin(o->b);
        obj_int(&one, "phase", i == ROLLBACK ? CAMPAIGN_ROLLBACK : i);
        if (targets)
            obj_int(&one, "targets", targets);
        else
            obj_str(&one, "targets", NULL);
        obj_time(&one, "opened_at", ph->opened_at);
        obj_time(&one, "gate_met_at", ph->gate_at);
        write_phase(&one, ph, targets);
        obj_end(&one);
    }
    sbuf_str(o->b, "]");
}

static void write_progress(struct sbuf *b, struct progress_of *p)
{
    bool unknown = strcmp(p->basis, "unknown") == 0;
    struct obj o = obj_begin(b);
    obj_int(&o, "campaign", p->c.id);
    obj_str(&o, "state", campaign_state_name(p->s.state));
    obj_int(&o, "phase", p->s.phase);
    obj_name(&o, "targets");
    struct obj t = obj_begin(b);
    if (unknown)
        obj_str(&t, "devices", NULL);
    else
        obj_int(&t, "devices", p->targets);
    obj_str(&t, "basis", p->basis);
    obj_end(&t);
    write_phase(&o, &p->all, unknown ? 0 : p->targets);
    write_throughput(&o, p);
    write_reasons(&o, p);
    write_forecast(&o, p);
    write_phases(&o, p);
    obj_end(&o);
}

static void answer(struct http_request *r, int rc, struct sbuf *b)
{
    if (rc == E_NOTFOUND)
        answer_not_found(r, "campaign");
    else if (rc < 0)
        http_fail(r, rc, NULL);
    else
        http_reply(r, 200, "application/json", b->p, b->n);
    sbuf_done(b);
}

static void handle_progress(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    struct progress_of *p = xcalloc(1, sizeof(*p));
    p->now = clock_now_ms();
    int rc = db_begin(c->db); /* one look at all counters */
    if (rc == 0)
        rc = read_all(c->db, c->who.project_id, id, http_arena(r), p);
    db_rollback(c->db);
    if (rc == 0)
        write_progress(&b, p);
    free(p);
    answer(r, rc, &b);
}

static const struct op op_progress = {
    .summary = "How the campaign gets on: states, share of its targets, pace, reasons of failures, "
               "when it ends at this pace",
    .out = &campaign_progress_table,
    .status = 200};
const struct http_route progress_routes[] = {
    {"GET", "/api/v1/campaigns/:id/progress", HTTP_BODY_NONE, 0, handle_progress, OP(op_progress),
     VIEWER},
    {.method = NULL},
};
