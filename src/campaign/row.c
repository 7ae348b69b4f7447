/* Rows of campaigns, of their phases and of their lists: reading, listing, storing. */
#include "campaign_priv.h"

static const char *const states[CAMPAIGN_STATE__COUNT] = {"draft",  "scheduled", "running",
                                                          "paused", "completed", "aborted"};
static const char *const kinds[CAMPAIGN_END__COUNT] = {
    [CAMPAIGN_END_FAILED] = "failed",
    [CAMPAIGN_END_ROLLED_BACK] = "rolled_back",
    [CAMPAIGN_END_TIMED_OUT] = "timed_out",
    [CAMPAIGN_END_REJECTED] = "rejected",
};

const char *campaign_state_name(enum campaign_state s)
{
    return states[s];
}

int campaign_state_parse(const char *name, enum campaign_state *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        if (strcmp(states[i], name) == 0) {
            *ret = (enum campaign_state)i;
            return 0;
        }
    }
    return E_DB;
}

/* ---- reading ---- */
static int read_row(struct db_stmt *q, struct arena *a, struct campaign *c,
                    struct campaign_status *s)
{
    struct campaign_status none;

    *c = (struct campaign){
        .id = db_int(q, 0),
        .project_id = db_int(q, 1),
        .type_id = db_int(q, 2),
        .firmware_id = db_int(q, 3),
        .rollback_id = db_int(q, 4),
        .name = arena_strdup(a, db_text(q, 5)),
        .definition = arena_strdup(a, db_text(q, 6)),
        .starts_at = db_int(q, 8),
        .ends_at = db_int(q, 9),
        .created_at = db_int(q, 10),
        .updated_at = db_int(q, 11),
        .revision = db_int(q, 12),
    };
    s = s ? s : &none;
    *s = (struct campaign_status){
        .reason = arena_strdup(a, db_text(q, 13)),
        .phase = (int)db_int(q, 14),
        .approval = db_int(q, 15) != 0,
        .rolling_back = db_int(q, 16) != 0,
        .active = db_int(q, 17),
        .started_at = db_int(q, 18),
        .ended_at = db_int(q, 19),
    };
    if (campaign_state_parse(db_text(q, 7), &s->state) < 0)
        return E_DB;
    c->state = s->state;
    return 0;
}

int campaign_row_by_id(struct db *db, int64_t id, struct arena *a, struct campaign *ret,
                       struct campaign_status *ret_status)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_BY_ID);

    db_bind_int(q, 1, 0);
    db_bind_int(q, 2, id);
    int rc = db_row(q);
    return rc < 0 ? rc : read_row(q, a, ret, ret_status);
}

/* list numbers as in the column; NULL: a phase that is no more. */
static struct id_list *list_of(struct campaign *c, int64_t list)
{
    if (list < 0)
        return list == CAMPAIGN_LIST_DENIED ? &c->denied : &c->verify.devices;
    if (list == 0)
        return &c->devices;
    return list <= (int64_t)c->n_phases ? &c->phases[list - 1].devices : NULL;
}

/* Rows come in order, so that each list is one piece. */
static int read_lists(struct db *db, struct campaign *c, struct arena *a)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_DEVICES);
    int rc;

    db_bind_int(q, 1, c->id);
    while ((rc = db_step(q)) == 1) {
        struct id_list *l = list_of(c, db_int(q, 0));

        if (!l)
            continue;
        if ((l->n & (l->n - 1)) == 0) {
            int64_t *bigger = arena_alloc(a, (l->n ? l->n * 2 : 1) * sizeof(*bigger));

            if (l->n)
                memcpy(bigger, l->ids, l->n * sizeof(*bigger));
            l->ids = bigger;
        }
        l->ids[l->n++] = db_int(q, 1);
    }
    return rc;
}

static int finish(struct db *db, struct campaign *c, struct arena *a)
{
    int rc = campaign_parse(c, a);

    return rc < 0 ? rc : read_lists(db, c, a);
}

int campaign_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a,
                   struct campaign *ret, struct campaign_status *ret_status)
{
    int rc = campaign_row_by_id(db, id, a, ret, ret_status);

    if (rc == 0 && project_id && ret->project_id != project_id)
        return E_NOTFOUND;
    return rc < 0 ? rc : finish(db, ret, a);
}

int campaign_list(struct db *db, const struct campaign_filter *flt, int64_t after, int limit,
                  int (*row)(void *arg, const struct campaign *c, const struct campaign_status *s),
                  void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_LIST);
    struct campaign_status s = {0};
    struct campaign c;
    struct arena a;
    int rc;

    arena_init(&a);
    db_bind_int(q, 1, flt->project_id);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, limit);
    db_bind_int(q, 4, flt->type_id);
    db_bind_int(q, 5, flt->firmware_id);
    db_bind_text(q, 6, flt->state);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        rc = read_row(q, &a, &c, &s);
        if (rc == 0)
            rc = row(arg, &c, &s);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}

int64_t campaign_total(struct db *db, const struct campaign_filter *flt)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_TOTAL);

    db_bind_int(q, 1, flt->project_id);
    db_bind_int(q, 2, flt->type_id);
    db_bind_int(q, 3, flt->firmware_id);
    db_bind_text(q, 4, flt->state);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0);
}

int campaign_load_all(struct db *db, struct arena *a, void (*add)(void *arg, struct campaign *c),
                      void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_ALL);
    int rc;

    while ((rc = db_step(q)) == 1) {
        struct campaign *c = arena_alloc(a, sizeof(*c));

        rc = read_row(q, a, c, NULL);
        if (rc == 0)
            rc = finish(db, c, a);
        if (rc < 0)
            return rc;
        add(arg, c);
    }
    return rc;
}

int64_t campaign_needs(struct db *db, int64_t firmware_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_NEEDS);

    db_bind_int(q, 1, firmware_id);
    int rc = db_row(q);
    return rc == E_NOTFOUND ? 0 : rc < 0 ? rc : db_int(q, 0);
}

int campaign_list_keys(struct db *db, int64_t id, int list, int (*row)(void *arg, const char *key),
                       void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_DEVICE_KEYS);
    int rc;

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, list);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_text(q, 0));
        if (rc != 0)
            return rc;
    }
    return rc;
}

int campaign_counts(struct db *db, int64_t id,
                    int (*row)(void *arg, int phase, const char *state, int64_t n), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_COUNTS);
    int rc;

    db_bind_int(q, 1, id);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, (int)db_int(q, 0), db_text(q, 1), db_int(q, 2));
        if (rc != 0)
            return rc;
    }
    return rc;
}

int campaign_phases(struct db *db, int64_t id,
                    int (*row)(void *arg, const struct campaign_phase_status *p), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_PHASE_LIST);
    int rc;

    db_bind_int(q, 1, id);
    while ((rc = db_step(q)) == 1) {
        const struct campaign_phase_status p = {(int)db_int(q, 0), db_int(q, 1), db_int(q, 2),
                                                db_int(q, 3),      db_int(q, 4), db_int(q, 5),
                                                db_int(q, 6),      db_int(q, 7)};

        rc = row(arg, &p);
        if (rc != 0)
            return rc;
    }
    return rc;
}

/* ---- writing ---- */
static int store_list(struct db *w, int64_t id, int list, const struct id_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_DEVICE_ADD);

        db_bind_int(q, 1, id);
        db_bind_int(q, 2, list);
        db_bind_int(q, 3, l->ids[i]);
        int rc = db_run(q);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int store_lists(struct db *w, const struct campaign *c, const struct campaign_lists *l)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_DEVICE_CLEAR);

    db_bind_int(q, 1, c->id);
    int rc = db_run(q);
    if (rc == 0)
        rc = store_list(w, c->id, CAMPAIGN_LIST_TARGETS, &l->targets);
    if (rc == 0)
        rc = store_list(w, c->id, CAMPAIGN_LIST_DENIED, &l->denied);
    if (rc == 0)
        rc = store_list(w, c->id, CAMPAIGN_LIST_VERIFY, &l->verify);
    for (size_t i = 0; rc == 0 && i < c->n_phases; i++)
        rc = store_list(w, c->id, (int)i + 1, &l->phases[i]);
    return rc;
}

static int store_phase(struct db *w, int64_t id, int no, const struct campaign_phase *p)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_PHASE_PUT);

    db_bind_int(q, 1, id);
    db_bind_int(q, 2, no);
    db_bind_int(q, 3, p->gate_share);
    db_bind_int(q, 4, p->gate_sample);
    db_bind_int(q, 5, p->soak_s);
    db_bind_int(q, 6, p->approval);
    return db_run(q);
}

/* Every named device counts: with that many verified phase 1 may open. */
static int store_verification(struct db *w, struct campaign *c)
{
    AUTO(db_reset) struct db_stmt *cut = db_use(w, Q_CAMPAIGN_PHASE_CUT);

    db_bind_int(cut, 1, c->id);
    db_bind_int(cut, 2, c->verification ? 0 : 1);
    db_bind_int(cut, 3, (int64_t)c->n_phases);
    int rc = db_run(cut);
    c->verify.gate_sample = (int64_t)c->verify.devices.n;
    return rc < 0 || !c->verification ? rc : store_phase(w, c->id, 0, &c->verify);
}

static int store_thresholds(struct db *w, const struct campaign *c)
{
    AUTO(db_reset) struct db_stmt *clear = db_use(w, Q_CAMPAIGN_THRESHOLD_CLEAR);

    db_bind_int(clear, 1, c->id);
    int rc = db_run(clear);
    for (size_t k = CAMPAIGN_END_FAILED; rc == 0 && k < ARRAY_LEN(kinds); k++) {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_THRESHOLD_PUT);

        if (!c->thresholds[k].action)
            continue;
        db_bind_int(q, 1, c->id);
        db_bind_text(q, 2, kinds[k]);
        db_bind_int(q, 3, c->thresholds[k].share);
        db_bind_int(q, 4, c->thresholds[k].sample);
        db_bind_text(q, 5, c->thresholds[k].action);
        rc = db_run(q);
    }
    return rc;
}

static int store_parts(struct db *w, struct campaign *c, const struct campaign_lists *l)
{
    struct arena a;

    arena_init(&a);
    int rc = campaign_parse(c, &a);
    if (rc == 0 && l)
        rc = store_lists(w, c, l);
    if (rc == 0)
        rc = read_lists(w, c, &a);
    if (rc == 0)
        rc = store_verification(w, c);
    for (size_t i = 0; rc == 0 && i < c->n_phases; i++)
        rc = store_phase(w, c->id, (int)i + 1, &c->phases[i]);
    if (rc == 0)
        rc = store_thresholds(w, c);
    arena_done(&a);
    return rc;
}

int campaign_insert(struct db *w, struct campaign *c, const struct campaign_lists *l)
{
    {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_INSERT);

        db_bind_int(q, 1, c->project_id);
        db_bind_int(q, 2, c->type_id);
        db_bind_int(q, 3, c->firmware_id);
        bind_some(q, 4, c->rollback_id);
        db_bind_text(q, 5, c->name);
        db_bind_text(q, 6, c->definition);
        bind_some(q, 7, c->starts_at);
        bind_some(q, 8, c->ends_at);
        db_bind_int(q, 9, c->created_at);
        int rc = db_run(q);
        if (rc < 0)
            return rc;
    }
    c->id = db_last_id(w);
    struct campaign parsed = *c; /* what is parsed lives no longer than the arena there */
    return store_parts(w, &parsed, l);
}

/* Thresholds that were tightened act on what is counted already. */
static int look_at_thresholds(struct db *w, int64_t id, int64_t now)
{
    struct campaign_status s = {0};
    struct campaign c;
    struct arena a;

    arena_init(&a);
    int rc = campaign_row_by_id(w, id, &a, &c, &s);
    arena_done(&a);
    for (int no = 0; rc == 0 && s.state == CAMPAIGN_RUNNING && no <= s.phase; no++)
        rc = campaign_look_at_thresholds(w, id, no, now);
    return rc < 0 ? rc : 0;
}

int campaign_update(struct db *w, struct campaign *c, const struct campaign_lists *l)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_UPDATE);
    struct campaign parsed = {.id = c->id, .definition = c->definition};

    db_bind_int(q, 1, c->id);
    db_bind_int(q, 2, c->type_id);
    db_bind_int(q, 3, c->firmware_id);
    bind_some(q, 4, c->rollback_id);
    db_bind_text(q, 5, c->name);
    db_bind_text(q, 6, c->definition);
    bind_some(q, 7, c->starts_at);
    bind_some(q, 8, c->ends_at);
    db_bind_int(q, 9, c->updated_at);
    int rc = db_run(q);
    if (rc == 0)
        rc = store_parts(w, &parsed, l);
    if (rc == 0)
        rc = campaign_walks_follow(w, c->id);
    return rc < 0 ? rc : look_at_thresholds(w, c->id, c->updated_at);
}

int campaign_holds_open(struct db *db, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_HOLDS_OPEN);

    db_bind_int(q, 1, id);
    int rc = db_row(q);
    return rc == E_NOTFOUND ? 0 : rc < 0 ? rc : 1;
}

int campaign_delete(struct db *w, int64_t id, int64_t now, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_DELETE);
    struct campaign_status s = {0};
    struct campaign c;
    struct arena a;

    arena_init(&a);
    int rc = campaign_row_by_id(w, id, &a, &c, &s);
    arena_done(&a);
    if (rc < 0)
        return fail(f, rc, "there is no such campaign");
    if (s.state == CAMPAIGN_SCHEDULED || s.state == CAMPAIGN_RUNNING || s.state == CAMPAIGN_PAUSED)
        return fail(f, E_CONFLICT, "it is %s; abort or complete it first", states[s.state]);
    if (s.active > 0 || s.rolling_back)
        return fail(f, E_CONFLICT, "%s",
                    s.active > 0 ? "updates of it are still under way"
                                 : "it takes a release back; that needs it");
    rc = s.state == CAMPAIGN_ABORTED ? campaign_holds_open(w, id) : 0;
    if (rc < 0)
        return rc;
    if (rc == 1)
        return fail(f, E_CONFLICT,
                    "it was aborted, and its firmware is open: without it all devices would get "
                    "that; disable or delete the firmware first");
    db_bind_int(q, 1, id);
    db_bind_int(q, 2, now);
    return db_run(q);
}
