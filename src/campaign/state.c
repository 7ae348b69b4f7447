/*
 * The states of a campaign and its phases: what operators, thresholds, gates and the clock do to
 * them. Each move is one statement on its row, and is refused when the state forbids it. Each is
 * told by one event, in the same transaction.
 */
#include "audit.h"
#include "campaign_priv.h"
#include "event.h"

#include <inttypes.h>

/* The event, from the row as it stands now; reason: who or what moved it. */
static int tell(struct db *w, int64_t id, const char *type, const char *reason, int64_t now)
{
    struct sbuf data = {.p = NULL};
    struct campaign_status s;
    struct campaign c;
    struct arena a;

    arena_init(&a);
    int rc = campaign_row_by_id(w, id, &a, &c, &s);
    if (rc == 0) {
        sbuf_fmt(&data, "{\"campaign\":%" PRId64 ",\"name\":", id);
        json_add_string(&data, c.name);
        sbuf_fmt(&data, ",\"state\":\"%s\",\"phase\":%d,\"rolling_back\":%s,\"reason\":",
                 campaign_state_name(s.state), s.phase, s.rolling_back ? "true" : "false");
        json_add_string(&data, reason);
        sbuf_str(&data, "}");
        rc = event_add(w, &(struct event){.at = now,
                                          .project_id = c.project_id,
                                          .object_id = id,
                                          .type = type,
                                          .data = data.p});
    }
    sbuf_done(&data);
    arena_done(&a);
    return rc;
}

int campaign_tell(struct db *w, int64_t id, const char *type, const char *reason, int64_t now)
{
    return tell(w, id, type, reason, now);
}

int campaign_asked(struct db *w, int64_t id, const char *action, int64_t now)
{
    return tell(w, id, "campaign.awaiting_confirmation", action, now);
}

/* ---- the row ---- */

static int begin_row(struct db *w, const struct campaign *c, const char *state, int phase,
                     bool starts, int64_t now, int64_t next_at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_BEGIN);

    db_bind_int(q, 1, c->id);
    db_bind_text(q, 2, state);
    db_bind_int(q, 3, now);
    db_bind_int(q, 4, phase);
    bind_some(q, 5, starts ? now : 0);
    bind_some(q, 6, next_at);
    return db_run(q);
}

static int move_row(struct db *w, int64_t id, const char *state, const char *reason, bool ends,
                    bool rolling_back, int64_t now, int64_t next_at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_MOVE);

    db_bind_int(q, 1, id);
    db_bind_text(q, 2, state);
    db_bind_text(q, 3, reason);
    db_bind_int(q, 4, now);
    bind_some(q, 5, ends ? now : 0);
    db_bind_int(q, 6, rolling_back);
    bind_some(q, 7, next_at);
    return db_run(q);
}

/* Paused, completed, aborted: the event has the state's name. */
static int move(struct db *w, int64_t id, const char *state, const char *reason, bool ends,
                bool rolling_back, int64_t now, int64_t next_at)
{
    int rc = move_row(w, id, state, reason, ends, rolling_back, now, next_at);
    char type[32];

    (void)str_fmt(type, sizeof(type), "campaign.%s", state);
    if (rc == 0)
        rc = campaign_walks_follow(w, id);
    return rc < 0 ? rc : tell(w, id, type, reason, now);
}

static int next_set(struct db *w, int64_t id, int64_t next_at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_NEXT_SET);

    db_bind_int(q, 1, id);
    bind_some(q, 2, next_at);
    return db_run(q);
}

/* ---- phases ---- */
static int phase_set(struct db *w, const struct campaign *c, int no, bool approval, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PHASE_SET);

    db_bind_int(q, 1, c->id);
    db_bind_int(q, 2, no);
    db_bind_int(q, 3, approval);
    db_bind_int(q, 4, now);
    bind_some(q, 5, c->ends_at);
    return db_run(q);
}

static int phase_opened(struct db *w, int64_t id, int no, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PHASE_OPEN);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, no);
    db_bind_int(q, 3, now);
    return db_run(q);
}

static int open_next(struct db *w, const struct campaign *c, int phase, const char *reason,
                     int64_t now)
{
    int rc = phase_opened(w, c->id, phase + 1, now);

    if (rc == 0)
        rc = phase_set(w, c, phase + 1, false, now);
    if (rc == 0)
        rc = campaign_walks_follow(w, c->id);
    return rc < 0 ? rc : tell(w, c->id, "campaign.phase_opened", reason, now);
}

static int await_approval(struct db *w, const struct campaign *c, int phase, int64_t now)
{
    int rc = phase_set(w, c, phase, true, now);

    return rc < 0 ? rc : tell(w, c->id, "campaign.awaiting_approval", "gate", now);
}

struct gate {
    int64_t share, sample, soak_s, at, ended, verified, last; /* ended, verified: devices */
    bool approval;
};

static int gate_load(struct db *w, int64_t id, int no, struct gate *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PHASE_GATE);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, no);
    int rc = db_row(q);
    if (rc == 0)
        *ret = (struct gate){.share = db_int(q, 0),
                             .sample = db_int(q, 1),
                             .soak_s = db_int(q, 2),
                             .approval = db_int(q, 3) != 0,
                             .at = db_int(q, 4),
                             .ended = db_int(q, 5),
                             .verified = db_int(q, 6),
                             .last = db_int(q, 7)};
    return rc;
}

static int gate_at_set(struct db *w, int64_t id, int no, int64_t at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PHASE_GATE_AT);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, no);
    bind_some(q, 3, at);
    return db_run(q);
}

static bool is_met(const struct gate *g, int no)
{
    if (no == CAMPAIGN_VERIFICATION) /* each of the named devices */
        return g->verified >= g->sample;
    return g->ended >= g->sample && g->verified * CAMPAIGN_SHARE >= g->share * g->ended;
}

int campaign_look_at_gate(struct db *w, const struct campaign *c, const struct campaign_status *s,
                          int64_t now)
{
    struct gate g = {0};
    int rc = gate_load(w, c->id, s->phase, &g);

    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    if (s->phase >= g.last)
        return 0;
    if (!is_met(&g, s->phase)) {
        rc = g.at ? gate_at_set(w, c->id, s->phase, 0) : 0;
        return rc == 0 && s->approval ? phase_set(w, c, s->phase, false, now) : rc;
    }
    if (!g.at || g.at > now) { /* for the first time, or the clock was set back since */
        g.at = now;
        rc = gate_at_set(w, c->id, s->phase, now);
        if (rc < 0)
            return rc;
    }
    int64_t opens = g.at + g.soak_s * 1000;
    if (opens > now)
        return next_set(w, c->id, c->ends_at && c->ends_at < opens ? c->ends_at : opens);
    if (!g.approval)
        return open_next(w, c, s->phase, "gate", now);
    return s->approval ? 0 : await_approval(w, c, s->phase, now);
}

/* ---- operators ---- */
struct loaded {
    struct arena a;
    struct campaign c;
    struct campaign_status s;
};

static int load(struct db *w, int64_t id, struct loaded *l, struct fail *f)
{
    arena_init(&l->a);
    int rc = campaign_by_id(w, 0, id, &l->a, &l->c, &l->s);
    if (rc < 0) {
        arena_done(&l->a);
        return fail(f, rc, rc == E_NOTFOUND ? "there is no such campaign" : "%s", err_str(rc));
    }
    return 0;
}

static int refuse(struct loaded *l, const char *what, struct fail *f)
{
    return fail(f, E_CONFLICT, "it is %s; %s", campaign_state_name(l->s.state), what);
}

static int run(struct db *w, const struct campaign *c, const char *reason, int64_t now)
{
    int first = c->verification ? CAMPAIGN_VERIFICATION : 1;
    int rc = begin_row(w, c, "running", first, true, now, c->ends_at);

    if (rc == 0)
        rc = phase_opened(w, c->id, first, now);
    if (rc == 0)
        rc = campaign_walks_follow(w, c->id);
    return rc < 0 ? rc : tell(w, c->id, "campaign.started", reason, now);
}

static int schedule(struct db *w, const struct campaign *c, int64_t now)
{
    int rc = begin_row(w, c, "scheduled", 0, false, now, c->starts_at);

    return rc < 0 ? rc : tell(w, c->id, "campaign.scheduled", "operator", now);
}

int campaign_start(struct db *w, int64_t id, int64_t now, struct fail *f)
{
    struct loaded l;
    int rc = load(w, id, &l, f);

    if (rc < 0)
        return rc;
    if (l.s.state != CAMPAIGN_DRAFT)
        rc = refuse(&l, "only a draft can be started", f);
    else if (l.c.ends_at && l.c.ends_at <= now)
        rc = fail(f, E_CONFLICT, "its ends_at has passed");
    else if (l.c.starts_at > now)
        rc = schedule(w, &l.c, now);
    else
        rc = run(w, &l.c, "operator", now);
    arena_done(&l.a);
    return rc;
}

int campaign_pause(struct db *w, int64_t id, int64_t now, struct fail *f)
{
    struct loaded l;
    int rc = load(w, id, &l, f);

    if (rc < 0)
        return rc;
    rc = l.s.state != CAMPAIGN_RUNNING
             ? refuse(&l, "only a running campaign can be paused", f)
             : move(w, id, "paused", "operator", false, false, now, l.c.ends_at);
    arena_done(&l.a);
    return rc;
}

/* Whoever resumes knows what happened: the thresholds count anew. */
int campaign_resume(struct db *w, int64_t id, int64_t now, struct fail *f)
{
    struct loaded l;
    int rc = load(w, id, &l, f);

    if (rc < 0)
        return rc;
    if (l.s.state != CAMPAIGN_PAUSED) {
        rc = refuse(&l, "only a paused campaign can be resumed", f);
    } else {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PHASE_SINCE);
        db_bind_int(q, 1, id);
        rc = db_run(q);
        if (rc == 0)
            rc = move_row(w, id, "running", "", false, false, now, now);
        if (rc == 0)
            rc = campaign_walks_follow(w, id);
        if (rc == 0)
            rc = tell(w, id, "campaign.resumed", "operator", now);
    }
    arena_done(&l.a);
    return rc;
}

static bool is_open(const struct loaded *l)
{
    return l->s.state == CAMPAIGN_SCHEDULED || l->s.state == CAMPAIGN_RUNNING ||
           l->s.state == CAMPAIGN_PAUSED;
}

int campaign_complete(struct db *w, int64_t id, int64_t now, struct fail *f)
{
    struct loaded l;
    int rc = load(w, id, &l, f);

    if (rc < 0)
        return rc;
    rc = l.s.state != CAMPAIGN_RUNNING && l.s.state != CAMPAIGN_PAUSED
             ? refuse(&l, "only a running or paused campaign can be completed", f)
             : move(w, id, "completed", "operator", true, false, now, 0);
    arena_done(&l.a);
    return rc;
}

int campaign_abort(struct db *w, int64_t id, bool rollback, int64_t now, struct fail *f)
{
    struct loaded l;
    int rc = load(w, id, &l, f);

    if (rc < 0)
        return rc;
    if (!is_open(&l))
        rc = refuse(&l, "there is nothing to abort", f);
    else if (rollback && !l.c.rollback_id)
        rc = fail(f, E_CONFLICT, "no rollback_firmware was declared");
    else
        rc = move(w, id, "aborted", "operator", true, rollback, now, 0);
    arena_done(&l.a);
    return rc;
}

int campaign_approve(struct db *w, int64_t id, bool force, int64_t now, struct fail *f)
{
    struct loaded l;
    int rc = load(w, id, &l, f);

    if (rc < 0)
        return rc;
    if (l.s.state != CAMPAIGN_RUNNING)
        rc = refuse(&l, "only a running campaign has phases to open", f);
    else if (l.s.phase >= (int)l.c.n_phases)
        rc = fail(f, E_CONFLICT, "its last phase is open already");
    else if (!l.s.approval && !force)
        rc = fail(f, E_CONFLICT,
                  "phase %d has not met its gate; {\"force\": true} opens the next one anyway",
                  l.s.phase);
    else
        rc = open_next(w, &l.c, l.s.phase, "operator", now);
    arena_done(&l.a);
    return rc;
}

/* Nobody asked for it: the log says that it was otad. */
static int note_finish(struct db *w, const struct campaign *c, int64_t now)
{
    char object[64];

    (void)str_fmt(object, sizeof(object), "/api/v1/campaigns/%" PRId64, c->id);
    return audit_add(w, &(struct audit){.at = now,
                                        .project_id = c->project_id,
                                        .who = "otad",
                                        .address = "",
                                        .request_id = "",
                                        .action = "campaign.completed",
                                        .object = object,
                                        .fields = "[]",
                                        .before = "{\"state\":\"running\"}",
                                        .after = "{\"state\":\"completed\","
                                                 "\"reason\":\"all_ended\"}"});
}

int campaign_finish(struct db *w, const struct campaign *c, int64_t now)
{
    struct loaded l;
    int rc = load(w, c->id, &l, NULL);

    if (rc < 0)
        return rc;
    if (l.s.state == CAMPAIGN_RUNNING) {
        rc = move(w, c->id, "completed", "all_ended", true, false, now, 0);
        if (rc == 0)
            rc = note_finish(w, c, now);
    }
    arena_done(&l.a);
    return rc;
}

/* ---- thresholds ---- */
/* Who pauses stops what is sent, and does not take back what was declared for the worst: a release
 * that goes wrong on devices that have it ends, and is taken back, while its operator sleeps. */
int campaign_act(struct db *w, int64_t id, const char *action, const char *reason, int64_t now)
{
    struct loaded l;
    int rc = load(w, id, &l, NULL);

    if (rc < 0)
        return rc;
    bool pauses = strcmp(action, "pause") == 0;
    if (l.s.state != CAMPAIGN_RUNNING && (l.s.state != CAMPAIGN_PAUSED || pauses))
        rc = 0;
    else if (pauses)
        rc = move(w, id, "paused", reason, false, false, now, l.c.ends_at);
    else
        rc = move(w, id, "aborted", reason, true,
                  strcmp(action, "rollback") == 0 && l.c.rollback_id, now, 0);
    arena_done(&l.a);
    return rc;
}

/* ---- the clock ---- */
/* Completed is released: so only what was going well, to all. What was stopped, or never came so
 * far, stays withheld from its targets, as if it had been aborted then. */
static int end_in_time(struct db *w, const struct loaded *l, int64_t now)
{
    bool all = l->s.state == CAMPAIGN_RUNNING && l->s.phase >= (int)l->c.n_phases;

    return move(w, l->c.id, all ? "completed" : "aborted", "ends_at", true, false, now, 0);
}

static int look(struct db *w, const struct loaded *l, int64_t now)
{
    const struct campaign *c = &l->c;

    if (!is_open(l))
        return next_set(w, c->id, 0);
    if (c->ends_at && c->ends_at <= now)
        return end_in_time(w, l, now);
    if (l->s.state == CAMPAIGN_SCHEDULED)
        return c->starts_at > now ? next_set(w, c->id, c->starts_at) : run(w, c, "starts_at", now);
    int rc = next_set(w, c->id, c->ends_at);
    return rc < 0 || l->s.state == CAMPAIGN_PAUSED ? rc : campaign_look_at_gate(w, c, &l->s, now);
}

int campaign_tick(struct db *w, int64_t now, int max)
{
    int64_t ids[64];
    int n = 0, rc = 0;
    {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_DUE);
        max = max > (int)ARRAY_LEN(ids) ? (int)ARRAY_LEN(ids) : max;
        db_bind_int(q, 1, now);
        db_bind_int(q, 2, max);
        while (n < max && (rc = db_step(q)) == 1)
            ids[n++] = db_int(q, 0);
    }
    for (int i = 0; i < n && rc >= 0; i++) {
        struct loaded l;

        rc = load(w, ids[i], &l, NULL);
        if (rc < 0)
            return rc;
        rc = look(w, &l, now);
        arena_done(&l.a);
    }
    return rc < 0 ? rc : n;
}
