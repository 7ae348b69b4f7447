/*
 * Consents of the users of devices: one row per campaign and device, made when its user is asked,
 * and moved by what users and operators say. Each move is one transaction's: the row, its history,
 * the counters, the place in the phase and the event follow each other or nothing happens. Whether
 * a device may have an offer is decided in update; what is sent is sent by core.
 */
#include "campaign_priv.h"
#include "event.h"

#include <inttypes.h>

static const char *const names[CONSENT_STATE__COUNT] = {
    [CONSENT_NONE] = "none",           [CONSENT_ASKED] = "asked",
    [CONSENT_POSTPONED] = "postponed", [CONSENT_CONFIRMED] = "confirmed",
    [CONSENT_REFUSED] = "refused",
};

const char *consent_state_name(enum consent_state s)
{
    return names[s];
}

int consent_state_parse(const char *name, enum consent_state *ret)
{
    for (int i = CONSENT_ASKED; i < CONSENT_STATE__COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret = (enum consent_state)i;
            return 0;
        }
    }
    return E_NOTFOUND;
}

/* ---- reading ---- */
static int read_row(struct db_stmt *s, struct consent *ret)
{
    *ret = (struct consent){
        .id = db_int(s, 0),
        .campaign_id = db_int(s, 1),
        .device_id = db_int(s, 2),
        .phase = (int)db_int(s, 3),
        .offered = db_int(s, 5) != 0,
        .postponed = db_int(s, 6),
        .until = db_int(s, 7),
        .push = db_int(s, 9) != 0,
        .due_at = db_int(s, 10),
        .asked_at = db_int(s, 11),
        .answered_at = db_int(s, 12),
    };
    (void)str_copy(ret->who, sizeof(ret->who), db_text(s, 8));
    return consent_state_parse(db_text(s, 4), &ret->state) < 0 ? E_DB : 0;
}

int consent_of(struct db *db, int64_t campaign_id, int64_t device_id, struct consent *ret)
{
    AUTO(db_reset) struct db_stmt *s = db_use(db, Q_CONSENT_OF);

    db_bind_int(s, 1, campaign_id);
    db_bind_int(s, 2, device_id);
    int rc = db_row(s);
    return rc < 0 ? rc : read_row(s, ret);
}

int consent_by_id(struct db *db, int64_t id, struct consent *ret)
{
    AUTO(db_reset) struct db_stmt *s = db_use(db, Q_CONSENT_BY_ID);

    db_bind_int(s, 1, id);
    int rc = db_row(s);
    return rc < 0 ? rc : read_row(s, ret);
}

static int walk(struct db_stmt *s, int (*row)(void *arg, const struct consent *q), void *arg)
{
    struct consent q;
    int rc;

    while ((rc = db_step(s)) == 1) {
        rc = read_row(s, &q);
        if (rc == 0)
            rc = row(arg, &q);
        if (rc != 0)
            return rc;
    }
    return rc;
}

int consent_list_device(struct db *db, int64_t device_id, int64_t after, int limit,
                        int (*row)(void *arg, const struct consent *q), void *arg)
{
    AUTO(db_reset) struct db_stmt *s = db_use(db, Q_CONSENT_OF_DEVICE);

    db_bind_int(s, 1, device_id);
    db_bind_int(s, 2, after);
    db_bind_int(s, 3, limit);
    return walk(s, row, arg);
}

int consent_list_campaign(struct db *db, int64_t campaign_id, enum consent_state state,
                          int64_t after, int limit, int (*row)(void *arg, const struct consent *q),
                          void *arg)
{
    AUTO(db_reset)
    struct db_stmt *s =
        db_use(db, state == CONSENT_NONE ? Q_CONSENT_OF_CAMPAIGN : Q_CONSENT_IN_STATE);

    db_bind_int(s, 1, campaign_id);
    db_bind_int(s, 2, after);
    db_bind_int(s, 3, limit);
    if (state != CONSENT_NONE)
        db_bind_text(s, 4, names[state]);
    return walk(s, row, arg);
}

int64_t consent_count(struct db *db, int64_t campaign_id, enum consent_state state)
{
    AUTO(db_reset) struct db_stmt *s = db_use(db, Q_CONSENT_COUNT);

    db_bind_int(s, 1, campaign_id);
    if (state != CONSENT_NONE)
        db_bind_text(s, 2, names[state]);
    int rc = db_row(s);
    return rc < 0 ? rc : db_int(s, 0);
}

int consent_history(struct db *db, int64_t id,
                    int (*row)(void *arg, int64_t at, const char *state, const char *who,
                               const char *text),
                    void *arg)
{
    AUTO(db_reset) struct db_stmt *s = db_use(db, Q_CONSENT_EVENTS);
    int rc;

    db_bind_int(s, 1, id);
    while ((rc = db_step(s)) == 1) {
        rc = row(arg, db_int(s, 0), db_text(s, 1), db_text(s, 2), db_text(s, 3));
        if (rc != 0)
            break;
    }
    return rc;
}

/* ---- what moves with a row ---- */
/* Where a device without an offer is counted; the update's states count the others. NULL: there. */
static const char *counted_as(const struct consent *q)
{
    static const char *const states[CONSENT_STATE__COUNT] = {
        [CONSENT_ASKED] = "awaiting_consent",
        [CONSENT_POSTPONED] = "awaiting_consent",
        [CONSENT_CONFIRMED] = "consent_confirmed",
        [CONSENT_REFUSED] = "consent_refused",
    };

    return q->offered ? NULL : states[q->state];
}

/* It keeps a place in its phase until it refuses, or has the offer. */
static bool has_place(const struct consent *q)
{
    return !q->offered && q->state != CONSENT_NONE && q->state != CONSENT_REFUSED;
}

static int move_places(struct db *w, const struct consent *q, int64_t n)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CAMPAIGN_PHASE_ASKED);

    db_bind_int(s, 1, q->campaign_id);
    db_bind_int(s, 2, q->phase);
    db_bind_int(s, 3, n);
    return db_run(s);
}

static int count_move(struct db *w, const struct consent *before, const struct consent *after)
{
    const char *from = counted_as(before), *to = counted_as(after);
    int64_t places = (int64_t)has_place(after) - (int64_t)has_place(before);
    int rc = 0;

    if (from != to && from)
        rc = count_state(w, before->campaign_id, before->phase, from, -1);
    if (rc == 0 && from != to && to)
        rc = count_state(w, after->campaign_id, after->phase, to, 1);
    return rc == 0 && places ? move_places(w, after, places) : rc;
}

static int note(struct db *w, const struct consent *q, const char *text, int64_t now)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CONSENT_EVENT_ADD);

    db_bind_int(s, 1, q->id);
    db_bind_int(s, 2, now);
    db_bind_text(s, 3, names[q->state]);
    db_bind_text(s, 4, q->who);
    db_bind_text(s, 5, text);
    return db_run(s);
}

static int tell(struct db *w, const struct campaign *c, const struct consent *q, int64_t now)
{
    struct sbuf data = {.p = NULL};
    char type[32], until[TIME_TEXT_MAX];

    (void)str_fmt(type, sizeof(type), "consent.%s", names[q->state]);
    sbuf_fmt(&data,
             "{\"consent\":%" PRId64 ",\"campaign\":%" PRId64 ",\"firmware\":%" PRId64
             ",\"phase\":%d,\"state\":\"%s\",\"postponed\":%" PRId64 ",\"until\":",
             q->id, c->id, c->firmware_id, q->phase, names[q->state], q->postponed);
    if (q->until)
        sbuf_fmt(&data, "\"%s\"", time_text(q->until, until));
    else
        sbuf_str(&data, "null");
    sbuf_str(&data, ",\"by\":");
    json_add_string(&data, q->who);
    sbuf_str(&data, "}");
    int rc = event_add(w, &(struct event){.at = now,
                                          .project_id = c->project_id,
                                          .device_id = q->device_id,
                                          .object_id = q->id,
                                          .type = type,
                                          .data = data.p});
    sbuf_done(&data);
    return rc;
}

static int due_campaign(struct db *w, int64_t campaign_id, int64_t at)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CAMPAIGN_CONSENT_AT);

    db_bind_int(s, 1, campaign_id);
    db_bind_int(s, 2, at);
    return db_run(s);
}

static int store_row(struct db *w, const struct consent *q)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CONSENT_STORE);

    db_bind_int(s, 1, q->id);
    db_bind_text(s, 2, names[q->state]);
    db_bind_int(s, 3, q->offered);
    db_bind_int(s, 4, q->postponed);
    bind_some(s, 5, q->until);
    db_bind_text(s, 6, q->who);
    db_bind_int(s, 7, q->push);
    bind_some(s, 8, q->due_at);
    bind_some(s, 9, q->answered_at);
    int rc = db_run(s);
    return rc == 0 && q->due_at ? due_campaign(w, q->campaign_id, q->due_at) : rc;
}

static int store(struct db *w, const struct consent *before, const struct consent *after)
{
    int rc = store_row(w, after);

    return rc < 0 ? rc : count_move(w, before, after);
}

/* A move that somebody made: q stands as it was in *before. */
static int move(struct db *w, const struct campaign *c, const struct consent *before,
                const struct consent *q, const char *text, int64_t now)
{
    int rc = store(w, before, q);

    if (rc == 0)
        rc = note(w, q, text, now);
    return rc < 0 ? rc : tell(w, c, q, now);
}

static int insert(struct db *w, struct consent *q)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CONSENT_INSERT);

    db_bind_int(s, 1, q->campaign_id);
    db_bind_int(s, 2, q->device_id);
    db_bind_int(s, 3, q->phase);
    db_bind_text(s, 4, names[q->state]);
    db_bind_int(s, 5, q->offered);
    db_bind_int(s, 6, q->asked_at);
    int rc = db_run(s);
    if (rc == 0)
        q->id = db_last_id(w);
    return rc;
}

/* ---- asking and answering ---- */
int consent_ask(struct db *w, const struct campaign *c, int64_t device_id, int phase, int64_t now)
{
    const struct consent none = {.campaign_id = c->id, .device_id = device_id, .phase = phase};
    struct consent q = none;

    q.state = CONSENT_ASKED;
    q.asked_at = now;
    int rc = insert(w, &q);
    return rc < 0 ? rc : move(w, c, &none, &q, "", now);
}

static int refuse(const char **ret_code, const char *code, struct fail *f, const char *text)
{
    *ret_code = code;
    return fail(f, E_CONFLICT, "%s", text);
}

static int check_open(enum campaign_state state, const char **ret_code, struct fail *f)
{
    if (state == CAMPAIGN_RUNNING || state == CAMPAIGN_PAUSED)
        return 0;
    return refuse(ret_code, "campaign_ended", f,
                  state == CAMPAIGN_ABORTED ? "The campaign that asked was aborted."
                                            : "The campaign that asked has ended.");
}

static int check_answer(const struct campaign *c, enum campaign_state state,
                        const struct consent *q, enum consent_answer answer, const char **ret_code,
                        struct fail *f)
{
    int rc = check_open(state, ret_code, f);

    if (rc < 0)
        return rc;
    if (c->consent.mode != CONSENT_APP)
        return refuse(ret_code, "answered_at_device", f,
                      "The user of this device answers at the device itself.");
    if (q->state == CONSENT_REFUSED)
        return refuse(ret_code, "consent_refused", f,
                      "It was refused already; only an operator can have it asked again.");
    if (q->offered)
        return refuse(ret_code, "already_offered", f,
                      "It was confirmed, and the device has been offered the firmware.");
    if (answer == CONSENT_POSTPONE && q->postponed >= c->consent.postpone_max) {
        *ret_code = "postponements_used_up";
        return fail(f, E_CONFLICT, "It was postponed %" PRId64 " times; more is not allowed.",
                    q->postponed);
    }
    return 0;
}

/* The same answer again. A postponement that is not over is not a second one. */
static bool is_said(const struct consent *q, enum consent_answer answer, int64_t now)
{
    switch (answer) {
    case CONSENT_CONFIRM:
        return q->state == CONSENT_CONFIRMED;
    case CONSENT_POSTPONE:
        return q->state == CONSENT_POSTPONED && q->until > now;
    case CONSENT_REFUSE:
        return q->state == CONSENT_REFUSED;
    }
    return false;
}

/* One that had no place may have it: whether all have ended is to be seen anew. */
static int place_freed(struct db *w, const struct campaign *c)
{
    for (size_t i = 0; i < c->n_phases; i++)
        if (c->phases[i].kind == PHASE_COUNT)
            return campaign_walk_back(w, CAMPAIGN_WALK_END, c->id, 0);
    return 0;
}

int consent_answer(struct db *w, const struct campaign *c, enum campaign_state state,
                   struct consent *q, enum consent_answer answer, int64_t postpone_s,
                   const char *who, int64_t now, const char **ret_code, struct fail *f)
{
    const struct consent before = *q;
    int rc = 0;

    if (check_open(state, ret_code, f) < 0)
        return E_CONFLICT;
    if (is_said(q, answer, now))
        return 0;
    rc = check_answer(c, state, q, answer, ret_code, f);
    if (rc < 0)
        return rc;
    q->until = q->due_at = 0;
    q->push = false;
    switch (answer) {
    case CONSENT_CONFIRM:
        q->state = CONSENT_CONFIRMED;
        q->push = true;
        q->due_at = now;
        break;
    case CONSENT_POSTPONE:
        q->state = CONSENT_POSTPONED;
        q->postponed++;
        q->until = q->due_at = now + (postpone_s ? postpone_s : c->consent.postpone_s) * 1000;
        break;
    case CONSENT_REFUSE:
        q->state = CONSENT_REFUSED;
        break;
    }
    q->answered_at = now;
    (void)str_copy(q->who, sizeof(q->who), who);
    rc = move(w, c, &before, q, "", now);
    if (rc < 0 || answer != CONSENT_REFUSE)
        return rc;
    rc = place_freed(w, c);
    return rc < 0 ? rc : count_refused(w, q->campaign_id, q->phase, now);
}

static int ask_anew(struct db *w, const struct campaign *c, struct consent *q, const char *who,
                    const char *text, int64_t now)
{
    const struct consent before = *q;

    q->state = CONSENT_ASKED;
    q->until = q->due_at = 0;
    q->push = false;
    (void)str_copy(q->who, sizeof(q->who), who);
    return move(w, c, &before, q, text, now);
}

int consent_lift(struct db *w, const struct campaign *c, enum campaign_state state,
                 struct consent *q, const char *who, int64_t now, const char **ret_code,
                 struct fail *f)
{
    int rc = check_open(state, ret_code, f);

    if (rc < 0)
        return rc;
    if (q->state != CONSENT_REFUSED)
        return refuse(ret_code, "not_refused", f, "Nobody refused it; there is nothing to lift.");
    q->postponed = 0;
    return ask_anew(w, c, q, who, "an operator lifted the refusal", now);
}

int consent_ask_again(struct db *w, const struct campaign *c, struct consent *q, int64_t now)
{
    return ask_anew(w, c, q, "", "the postponement is over", now);
}

int consent_offered(struct db *w, struct consent *q)
{
    const struct consent before = *q;

    q->offered = true;
    q->push = false;
    q->due_at = 0;
    return store(w, &before, q);
}

int consent_said(struct db *w, const struct campaign *c, int64_t device_id, int phase,
                 enum consent_state said, int64_t until, const char *text, int64_t now)
{
    struct consent before = {.campaign_id = c->id,
                             .device_id = device_id,
                             .phase = phase,
                             .offered = true,
                             .asked_at = now};
    struct consent q = before;
    int rc = consent_of(w, c->id, device_id, &q);

    before = q;
    q.state = said;
    q.offered = true;
    if (rc == E_NOTFOUND)
        rc = insert(w, &q);
    if (rc < 0)
        return rc;
    q.postponed += said == CONSENT_POSTPONED;
    q.until = q.due_at = said == CONSENT_POSTPONED ? until : 0;
    q.push = said == CONSENT_POSTPONED;
    q.answered_at = now;
    (void)str_copy(q.who, sizeof(q.who), "device");
    return move(w, c, &before, &q, text, now);
}

int consent_forget_device(struct db *w, int64_t device_id)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CONSENT_OF_DEVICE);
    struct consent q, gone;
    int rc;

    db_bind_int(s, 1, device_id);
    db_bind_int(s, 2, 0);
    db_bind_int(s, 3, INT64_MAX);
    while ((rc = db_step(s)) == 1) {
        rc = read_row(s, &q);
        gone = q;
        gone.state = CONSENT_NONE;
        if (rc == 0)
            rc = count_move(w, &q, &gone);
        if (rc < 0)
            return rc;
    }
    return rc;
}

/* ---- what follows by itself ---- */
int consent_due_campaigns(struct db *w, int64_t now, int64_t *ids, int max)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CAMPAIGN_CONSENT_DUE);
    int n = 0, rc = 0;

    db_bind_int(s, 1, now);
    db_bind_int(s, 2, max);
    while (n < max && (rc = db_step(s)) == 1)
        ids[n++] = db_int(s, 0);
    return rc < 0 ? rc : n;
}

static int take(struct db_stmt *s, struct consent *list, int max)
{
    int n = 0, rc = 0;

    while (n < max && (rc = db_step(s)) == 1) {
        rc = read_row(s, &list[n++]);
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? rc : n;
}

int consent_due(struct db *w, int64_t campaign_id, bool push, int64_t now, struct consent *list,
                int max)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CONSENT_DUE);

    db_bind_int(s, 1, campaign_id);
    db_bind_int(s, 2, push);
    db_bind_int(s, 3, now);
    db_bind_int(s, 4, max);
    return take(s, list, max);
}

int consent_due_next(struct db *w, int64_t campaign_id, int64_t at)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CAMPAIGN_CONSENT_NEXT);

    db_bind_int(s, 1, campaign_id);
    bind_some(s, 2, at);
    return db_run(s);
}

int consent_due_set(struct db *w, struct consent *q, bool push, int64_t due_at)
{
    q->push = push;
    q->due_at = due_at;
    return store_row(w, q);
}

int consent_kept(struct db *db, int64_t device_id, struct consent *list, int max)
{
    AUTO(db_reset) struct db_stmt *s = db_use(db, Q_CONSENT_KEPT_OF);

    db_bind_int(s, 1, device_id);
    db_bind_int(s, 2, max);
    return take(s, list, max);
}

int consent_kept_devices(struct db *db, int (*row)(void *arg, int64_t device_id), void *arg)
{
    AUTO(db_reset) struct db_stmt *s = db_use(db, Q_CONSENT_KEPT_DEVICES);
    int rc;

    while ((rc = db_step(s)) == 1) {
        rc = row(arg, db_int(s, 0));
        if (rc != 0)
            break;
    }
    return rc;
}

int consent_recover(struct db *w)
{
    AUTO(db_reset) struct db_stmt *s = db_use(w, Q_CONSENT_AGAIN);

    return db_run(s);
}
