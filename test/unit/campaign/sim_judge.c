/* What must hold in the simulated world after each step, whatever happens in it. */
#include "sim.h"

struct tally {
    int phase;
    char state[16], reason[CAMPAIGN_REASON_MAX + 1];
    int64_t n;
};
struct recount {
    struct world *w;
    struct tally tallies[64];
    int n_tallies;
    int64_t begun, ends, served, attempts;
    int64_t n[PHASES + 2][UPDATE__COUNT], active;
    int64_t ended[PHASES + 2], verified[PHASES + 2];
    int64_t gate_ended[PHASES + 2], gate_verified[PHASES + 2];
    bool seen[PHASES + 2][DEVICES_MAX]; /* devices with an end, in the list's order: their last */
    int64_t waiting[PHASES + 2], confirmed[PHASES + 2], refused[PHASES + 2]; /* without an offer */
};

/* By the user: it says nothing about the firmware. */
bool sim_is_refusal(const struct update *u)
{
    return u->state == UPDATE_REJECTED && strcmp(u->cause, "consent_refused") == 0;
}

static struct tally *tally_of(struct recount *r, int phase, const char *state, const char *reason)
{
    struct tally *t = r->tallies;

    for (; t < r->tallies + r->n_tallies; t++)
        if (t->phase == phase && strcmp(t->state, state) == 0 && strcmp(t->reason, reason) == 0)
            return t;
    HOLDS(r->w, r->n_tallies < (int)ARRAY_LEN(r->tallies));
    *t = (struct tally){.phase = phase};
    (void)str_copy(t->state, sizeof(t->state), state);
    (void)str_copy(t->reason, sizeof(t->reason), reason);
    r->n_tallies++;
    return t;
}

static int reason_one(void *arg, int phase, const char *state, const char *reason, int64_t n)
{
    struct recount *r = arg;

    if (strcmp(state, "planned") == 0)
        r->attempts -= n; /* the flows have them, too */
    else
        tally_of(r, phase, state, reason)->n -= n;
    return 0;
}

static int flow_one(void *arg, const struct campaign_flow *f)
{
    struct recount *r = arg;

    r->begun -= f->offered;
    r->ends -= f->verified + f->suspect + f->failed + f->rolled_back + f->timed_out + f->rejected +
               f->canceled;
    r->served += f->bytes;
    r->attempts += f->attempts;
    return 0;
}

/* Reasons and flows say what the rows do. */
static void judge_stats(struct recount *r)
{
    struct db *db = r->w->d->w;

    MUST(campaign_reasons(db, r->w->campaign, reason_one, r));
    for (int i = 0; i < r->n_tallies; i++)
        HOLDS(r->w, r->tallies[i].n == 0);
    MUST(campaign_flows(db, r->w->campaign, CAMPAIGN_FLOW_DAY, 0, INT64_MAX, -1, flow_one, r));
    MUST(campaign_flows(db, r->w->campaign, CAMPAIGN_FLOW_HOUR, 0, INT64_MAX, CAMPAIGN_ROLLBACK,
                        flow_one, r));
    HOLDS(r->w, r->begun == 0);
    HOLDS(r->w, r->ends == 0);
    HOLDS(r->w, r->served >= 0);
    HOLDS(r->w, r->attempts == 0);
}

static int find_fall(void *arg, const struct update_event *e)
{
    *(bool *)arg |= strcmp(e->cause, "fell_back") == 0;
    return 0;
}

bool sim_fell_back(struct world *w, const struct update *u)
{
    bool fell = false;

    if (u->state == UPDATE_VERIFIED)
        MUST(update_history(w->d->w, u->id, find_fall, &fell));
    return fell;
}

/* For gates: each device once, by its last end in the phase. */
static void recount_gate(struct recount *r, const struct update *u, int phase)
{
    bool *seen = &r->seen[phase][u->device_id - r->w->units[0].id];
    const bool counts =
        update_is_final(u->state) && u->state != UPDATE_CANCELED && !sim_is_refusal(u);

    if (!counts || *seen || phase == PHASES + 1)
        return;
    *seen = true;
    r->gate_ended[phase]++;
    r->gate_verified[phase] +=
        u->state == UPDATE_VERIFIED && !u->suspect && !sim_fell_back(r->w, u);
}

static int recount_one(void *arg, const struct update *u)
{
    struct recount *r = arg;
    int phase = u->phase == CAMPAIGN_ROLLBACK ? PHASES + 1 : u->phase;

    HOLDS(r->w, phase >= 0 && phase <= PHASES + 1);
    HOLDS(r->w, phase == PHASES + 1 || u->phase <= r->w->s.phase);
    HOLDS(r->w, phase == PHASES + 1 || u->firmware_id == r->w->bad);
    HOLDS(r->w, phase != PHASES + 1 || u->firmware_id == r->w->good);
    r->n[phase][u->state]++;
    r->begun++;
    r->ends += update_is_final(u->state);
    r->served -= u->bytes_served; /* of the last attempt alone */
    if (update_is_final(u->state) && *u->reason)
        tally_of(r, u->phase, update_state_name(u->state), u->reason)->n++;
    HOLDS(r->w, !*u->reason || u->state != UPDATE_VERIFIED || u->suspect);
    HOLDS(r->w, *u->reason || u->state < UPDATE_REJECTED || u->state == UPDATE_CANCELED);
    r->active += !update_is_final(u->state) && u->state != UPDATE_DEFERRED;
    r->ended[phase] +=
        update_is_final(u->state) && u->state != UPDATE_CANCELED && !sim_is_refusal(u);
    r->verified[phase] += u->state == UPDATE_VERIFIED && !u->suspect;
    recount_gate(r, u, phase);
    return 0;
}

static int recount_consent(void *arg, const struct consent *q)
{
    struct recount *r = arg;

    HOLDS(r->w, q->phase >= 0 && q->phase <= r->w->s.phase);
    HOLDS(r->w, q->postponed <= r->w->c.consent.postpone_max);
    r->w->asked++;
    if (q->offered)
        return 0;
    r->waiting[q->phase] += q->state == CONSENT_ASKED || q->state == CONSENT_POSTPONED;
    r->confirmed[q->phase] += q->state == CONSENT_CONFIRMED;
    r->refused[q->phase] += q->state == CONSENT_REFUSED;
    return 0;
}

static int compare_one(void *arg, int phase, const char *state, int64_t n)
{
    struct recount *r = arg;
    enum update_state s;
    int64_t *other = strcmp(state, "awaiting_consent") == 0    ? r->waiting
                     : strcmp(state, "consent_confirmed") == 0 ? r->confirmed
                     : strcmp(state, "consent_refused") == 0   ? r->refused
                                                               : NULL;

    if (other) {
        HOLDS(r->w, other[phase] == n);
        return 0;
    }
    MUST(update_state_parse(state, &s));
    HOLDS(r->w, r->n[phase == CAMPAIGN_ROLLBACK ? PHASES + 1 : phase][s] == n);
    r->n[phase == CAMPAIGN_ROLLBACK ? PHASES + 1 : phase][s] = 0;
    return 0;
}

static int compare_phase(void *arg, const struct campaign_phase_status *p)
{
    struct recount *r = arg;

    HOLDS(r->w, p->ended == r->ended[p->no]);
    HOLDS(r->w, p->verified == r->verified[p->no]);
    HOLDS(r->w, p->gate_ended == r->gate_ended[p->no]);
    HOLDS(r->w, p->gate_verified == r->gate_verified[p->no]);
    HOLDS(r->w, p->no <= r->w->s.phase || p->offered == 0);
    if (p->no > 0 && r->w->c.phases[p->no - 1].kind == PHASE_COUNT)
        HOLDS(r->w, p->offered + r->waiting[p->no] + r->confirmed[p->no] <=
                        r->w->c.phases[p->no - 1].count + r->w->lifted);
    if (p->no <= PHASES)
        r->w->opened[p->no] = p->opened_at;
    return 0;
}

static int list_one(void *arg, const struct update *u UNUSED)
{
    ++*(int64_t *)arg;
    return 0;
}

/* What is counted by counters and indexes is what a list finds. */
static void judge_totals(struct world *w, struct update_filter flt)
{
    for (int by = 0; by < 3; by++) {
        flt.campaign_id = by == 0 ? w->campaign : 0;
        flt.firmware_id = by == 1 ? w->bad : 0;
        for (flt.state = -2; flt.state < UPDATE__COUNT; flt.state++) {
            int64_t n = 0;
            MUST(update_list(w->d->w, &flt, 0, 1000000, list_one, &n));
            HOLDS(w, update_count(w->d->w, &flt) == n);
        }
    }
    flt = (struct update_filter){.project_id = w->d->project + 1, .state = -1};
    flt.campaign_id = w->campaign;
    HOLDS(w, update_count(w->d->w, &flt) == 0);
    flt.campaign_id = 0;
    flt.firmware_id = w->bad;
    HOLDS(w, update_count(w->d->w, &flt) == 0);
}

void sim_judge(struct world *w, bool all)
{
    struct domain *d = w->d;
    struct recount r = {.w = w};

    w->s = status_of(d, w->campaign);
    int64_t limit = w->c.in_progress;
    /* Who put it off at the device begins again when its user likes. */
    HOLDS(w, w->s.rolling_back || !limit || w->s.active <= limit ||
                 w->c.consent.mode == CONSENT_DEVICE);
    /* Offers within any minute of a clock that does not jump. */
    if (!all)
        return;
    const struct update_filter flt = {
        .project_id = d->project, .state = -1, .campaign_id = w->campaign};
    MUST(update_list(d->w, &flt, 0, 1000000, recount_one, &r));
    HOLDS(w, r.active == w->s.active);
    w->asked = 0;
    MUST(consent_list_campaign(d->w, w->campaign, CONSENT_NONE, 0, INT32_MAX, recount_consent, &r));
    HOLDS(w, w->asked == 0 || w->c.consent.mode != CONSENT_SILENT);
    MUST(campaign_counts(d->w, w->campaign, compare_one, &r));
    for (int p = 0; p <= PHASES + 1; p++)
        for (int s = 0; s < UPDATE__COUNT; s++)
            HOLDS(w, r.n[p][s] == 0); /* nothing that the counters do not know */
    MUST(campaign_phases(d->w, w->campaign, compare_phase, &r));
    judge_stats(&r);
    judge_totals(w, flt);
    w->verified = r.verified[1] + r.verified[2] + r.verified[3];
    w->rolled_back = r.verified[PHASES + 1];
}
