/*
 * The life of an update: what a device's words, its reports and operators do to it.
 * Every change of state goes through life_move(), which asks the table in state.c, sets the
 * deadline of the new state and writes one row of history. Final states never change. How an
 * update begins is in check.c, what downloads do to it in served.c, deadlines in expire.c.
 */
#include "event.h"
#include "update_priv.h"

#include <inttypes.h>

/* ---- one transition ---- */
int64_t life_deadline(const struct device_type *t, const struct update *u, int64_t now)
{
    switch (u->state) {
    case UPDATE_PLANNED: /* a device that never comes back for its next attempt */
        return (u->retry_at > now ? u->retry_at : now) + t->accept_timeout_s * 1000;
    case UPDATE_OFFERED:
    case UPDATE_DEFERRED:
        return now + t->accept_timeout_s * 1000;
    case UPDATE_ACCEPTED:
    case UPDATE_DOWNLOADING:
        return now + t->download_timeout_s * 1000;
    case UPDATE_DOWNLOADED: /* many devices say no more until they report the new version */
        return now + (t->install_timeout_s + t->verify_timeout_s) * 1000;
    case UPDATE_INSTALLING:
        return now + t->install_timeout_s * 1000;
    case UPDATE_REBOOTING:
    case UPDATE_INSTALLED:
        return now + t->verify_timeout_s * 1000;
    case UPDATE_VERIFIED:
    case UPDATE_REJECTED:
    case UPDATE_FAILED:
    case UPDATE_ROLLED_BACK:
    case UPDATE_TIMED_OUT:
    case UPDATE_CANCELED:
    case UPDATE_UNVERIFIED:
    case UPDATE__COUNT:
        break;
    }
    return 0;
}

const struct device_type *life_rules(const struct catalog *c, const struct device_type *type,
                                     const struct update *u, struct device_type *buf)
{
    const struct campaign *by = u->campaign_id ? catalog_campaign(c, u->campaign_id) : NULL;

    if (!by || u->phase == CAMPAIGN_ROLLBACK)
        return type;
    *buf = *type;
    buf->accept_timeout_s = by->accept_s ? by->accept_s : type->accept_timeout_s;
    buf->download_timeout_s = by->download_s ? by->download_s : type->download_timeout_s;
    buf->install_timeout_s = by->install_s ? by->install_s : type->install_timeout_s;
    buf->verify_timeout_s = by->verify_s ? by->verify_s : type->verify_timeout_s;
    buf->attempts = by->attempts ? by->attempts : type->attempts;
    return buf;
}

static enum campaign_end end_of(const struct update *u)
{
    static const enum campaign_end ends[UPDATE__COUNT] = {
        [UPDATE_VERIFIED] = CAMPAIGN_END_VERIFIED,
        [UPDATE_REJECTED] = CAMPAIGN_END_REJECTED,
        [UPDATE_FAILED] = CAMPAIGN_END_FAILED,
        [UPDATE_ROLLED_BACK] = CAMPAIGN_END_ROLLED_BACK,
        [UPDATE_TIMED_OUT] = CAMPAIGN_END_TIMED_OUT,
        [UPDATE_UNVERIFIED] = CAMPAIGN_END_TIMED_OUT,
        [UPDATE_CANCELED] = CAMPAIGN_END_CANCELED,
    };

    if (u->state == UPDATE_REJECTED && strcmp(u->cause, CONSENT_CAUSE) == 0)
        return CAMPAIGN_END_REFUSED;
    return u->state == UPDATE_VERIFIED && u->suspect ? CAMPAIGN_END_SUSPECT : ends[u->state];
}

static void count_end(const struct update *u)
{
    static const enum metric ends[UPDATE__COUNT] = {
        [UPDATE_VERIFIED] = M_UPDATES_VERIFIED,     [UPDATE_REJECTED] = M_UPDATES_REJECTED,
        [UPDATE_FAILED] = M_UPDATES_FAILED,         [UPDATE_ROLLED_BACK] = M_UPDATES_ROLLED_BACK,
        [UPDATE_TIMED_OUT] = M_UPDATES_TIMED_OUT,   [UPDATE_CANCELED] = M_UPDATES_CANCELED,
        [UPDATE_UNVERIFIED] = M_UPDATES_UNVERIFIED,
    };

    if (update_is_final(u->state) && !(u->state == UPDATE_VERIFIED && u->suspect))
        metric_add(ends[u->state], 1);
}

/* Bytes that left in the last moments before a kill were never counted. */
static int may_lack_bytes(struct db *w, const struct update *u)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_KILLED_AT);
    int rc = db_row(q);

    return rc == E_NOTFOUND ? 0 : rc < 0 ? rc : db_int(q, 0) >= u->created_at;
}

/* The zero-bytes rule: a success for which not one byte was served is suspect, not success. */
static int judge_success(struct db *w, struct update *u, enum update_state to)
{
    bool success = to == UPDATE_VERIFIED || (to >= UPDATE_DOWNLOADED && to <= UPDATE_INSTALLED);

    if (!success || u->bytes_served > 0 || u->suspect)
        return 0;
    int rc = may_lack_bytes(w, u);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    u->suspect = true;
    metric_add(M_UPDATES_SUSPECT, 1);
    return 0;
}

int update_killed(struct db *w, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_KILLED_SET);

    db_bind_int(q, 1, now);
    return db_run(q);
}

/* What it is counted as when it fails; planned: when an attempt did. */
static int judge_failure(struct db *w, struct update *u, enum update_state from, int64_t now)
{
    bool failed = u->state == UPDATE_PLANNED && u->said;

    if (!failed && !update_is_final(u->state))
        return 0;
    reason_of(u, from, u->reason);
    return !u->campaign_id || !*u->reason
               ? 0
               : campaign_failed(w, u->campaign_id, u->phase, update_state_name(u->state),
                                 u->reason, now);
}

int life_record(struct db *w, const struct update *u, const char *from, const char *cause,
                const char *text, int64_t now)
{
    struct sbuf data = {.p = NULL};
    char type[32] = "update.";

    (void)str_copy(type + 7, sizeof(type) - 7, update_state_name(u->state));
    sbuf_str(&data, "{\"from\":");
    json_add_string(&data, from);
    sbuf_str(&data, ",\"cause\":");
    json_add_string(&data, cause);
    sbuf_str(&data, ",\"text\":");
    json_add_string(&data, text);
    sbuf_fmt(&data, ",\"attempt\":%" PRId64 "}", u->attempt);
    int rc = update_history_add(w, u->id, now, from, type + 7, cause, text);
    if (rc == 0)
        rc = event_add(w, &(struct event){.at = now,
                                          .project_id = u->project_id,
                                          .device_id = u->device_id,
                                          .object_id = u->id,
                                          .type = type,
                                          .data = data.p});
    sbuf_done(&data);
    return rc;
}

int life_move(struct db *w, const struct device_type *type, struct update *u, enum update_state to,
              const char *cause, const char *text, int64_t now)
{
    enum update_state from = u->state;
    int rc;

    if (!update_may_move(from, to)) {
        metric_add(M_UPDATE_ILLEGAL, 1);
        return E_CONFLICT;
    }
    u->state = to;
    u->cause = cause;
    u->updated_at = now;
    if (to != UPDATE_PLANNED)
        u->retry_at = 0;
    if (to >= UPDATE_DOWNLOADED && to <= UPDATE_VERIFIED)
        u->percent = 100;
    u->deadline_at = life_deadline(type, u, now);
    u->ended_at = update_is_final(to) ? now : 0;
    rc = judge_success(w, u, to);
    if (rc == 0)
        rc = judge_failure(w, u, from, now);
    if (rc == 0)
        rc = update_store(w, u);
    if (rc == 0)
        rc = life_record(w, u, update_state_name(from), cause, text, now);
    if (rc == 0 && u->campaign_id)
        rc = campaign_moved(w, u->campaign_id, u->phase, u->device_id, update_state_name(from),
                            update_state_name(to), end_of(u), now);
    if (rc == 0)
        count_end(u);
    return rc;
}

/* ---- failures ---- */
int life_count_failure(struct db *w, const struct device_type *type, const struct device *d,
                       int64_t now, bool *ret_quarantined)
{
    int rc = device_failed(w, d->id, type->attempts_per_day, now, ret_quarantined);

    if (rc < 0)
        return rc;
    if (*ret_quarantined)
        metric_add(M_QUARANTINED, 1);
    *ret_quarantined |= d->quarantined_until > now;
    return 0;
}

/* A failure report is an attempt, not the end: the next one waits as `planned`, unless attempts
 * are used up or the device is quarantined. */
int life_fail_attempt(struct db *w, const struct device_type *type, const struct device *d,
                      struct update *u, const char *cause, const char *text, int64_t now,
                      struct arena *a)
{
    bool quarantined = false;
    const char *words;
    int rc;

    /* What is planned has failed before: the word came twice. */
    if (u->state == UPDATE_PLANNED || !update_may_move(u->state, UPDATE_FAILED)) {
        metric_add(M_UPDATE_ILLEGAL, 1);
        return E_CONFLICT;
    }
    rc = life_count_failure(w, type, d, now, &quarantined);
    if (rc < 0)
        return rc;
    words = arena_printf(a, "attempt %" PRId64 " failed%s%s", u->attempt, text && *text ? ": " : "",
                         text ? text : "");
    if (u->attempt >= type->attempts || quarantined)
        return life_move(w, type, u, UPDATE_FAILED, cause, words, now);
    u->retry_at = now + backoff_ms(type, u->attempt);
    u->attempt++;
    u->percent = 0;
    /* The coverage starts again; bytes_served keeps what was ever served, for the zero-bytes
     * rule: a device may well install what an earlier attempt brought. */
    u->coverage = "";
    return life_move(w, type, u, UPDATE_PLANNED, cause, words, now);
}

/* ---- the device's words ---- */
static bool may_say(enum update_state s)
{
    return (s >= UPDATE_DEFERRED && s <= UPDATE_INSTALLED) || s == UPDATE_REJECTED ||
           s == UPDATE_FAILED || s == UPDATE_ROLLED_BACK;
}

static int note_percent(struct db *w, struct update *u, int64_t percent, int64_t now)
{
    if (percent <= u->percent)
        return 0;
    u->percent = percent;
    u->updated_at = now;
    return update_store_progress(w, u);
}

static int illegal(void)
{
    metric_add(M_UPDATE_ILLEGAL, 1);
    return E_CONFLICT;
}

static int roll_back(struct db *w, const struct device_type *type, const struct device *d,
                     struct update *u, const char *cause, const char *text, int64_t now)
{
    bool quarantined;
    int rc;

    if (!update_may_move(u->state, UPDATE_ROLLED_BACK))
        return illegal();
    rc = life_count_failure(w, type, d, now, &quarantined);
    return rc < 0 ? rc : life_move(w, type, u, UPDATE_ROLLED_BACK, cause, text, now);
}

int update_moved(struct db *w, const struct catalog *c, const struct device *d, int64_t update_id,
                 enum update_state to, int64_t percent, const char *text, int64_t now,
                 struct arena *a)
{
    const struct device_type *type = decide_type(c, d);
    const char *words = text && *text ? text : "the device says so";
    struct device_type own;
    struct update u = {0};
    int rc = update_by_id(w, update_id, a, &u);

    if (rc < 0)
        return rc;
    if (u.device_id != d->id)
        return E_NOTFOUND;
    type = life_rules(c, type, &u, &own);
    u.said = text ? text : "";
    percent = percent > 100 ? 100 : percent;
    if (update_is_final(u.state) || !may_say(to))
        return illegal();
    /* Only the bytes themselves begin a file again (served.c); this is a word that came late. */
    if (u.state == UPDATE_DOWNLOADED && to == UPDATE_DOWNLOADING)
        return illegal();
    struct consent_word word = {
        .to = to, .cause = "reply", .words = words, .own = &own, .arena = a};
    rc = consent_hear(&word, w, c, &u, now);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    if (to == u.state && word.to == to && !(word.by && to == UPDATE_DEFERRED))
        return note_percent(w, &u, percent, now);
    if (to == UPDATE_FAILED)
        return life_fail_attempt(w, type, d, &u, "reply", text, now, a);
    if (to == UPDATE_ROLLED_BACK)
        return roll_back(w, type, d, &u, "reply", words, now);
    if (to == UPDATE_DOWNLOADING && percent > u.percent)
        u.percent = percent;
    rc = life_move(w, type, &u, word.to, word.cause, word.words, now);
    return rc < 0 ? rc : consent_heard(&word, w, &u, now);
}

/* ---- a reported version ---- */
/* Is what runs now beyond the update's target? */
static bool is_beyond(const struct catalog *c, const struct device_type *type,
                      const struct device *d, const struct update *u, const char *version)
{
    const struct firmware *fw, *target = catalog_firmware(c, u->firmware_id);

    if (type->scheme != VERSION_OPAQUE)
        return version_compare(type->scheme, version, u->to_version) > 0;
    fw = decide_locate(c, d->type_id, u->module, version);
    return fw && target && fw->rank > target->rank;
}

int update_reported(struct db *w, const struct catalog *c, const struct device *d,
                    const char *module, const char *version, int64_t now, struct arena *a)
{
    const struct device_type *type = decide_type(c, d);
    struct update u = {0};
    bool changed;
    int rc = device_version_set(w, d->id, module, version, now, &changed);

    if (rc == 0)
        rc = update_active_of(w, d->id, module, a, &u);
    if (rc == E_NOTFOUND)
        return changed ? flap_note(w, c, d, module, version, now, a) : 0;
    if (rc < 0)
        return rc;
    bool same = version_compare(type->scheme, version, u.from_version) == 0;
    bool target = version_compare(type->scheme, version, u.to_version) == 0;
    if (target && same && u.state < UPDATE_DOWNLOADED)
        return 0; /* a re-install: what it runs already is no news before it has the bytes */
    if (target)
        return life_move(w, type, &u, UPDATE_VERIFIED, "report",
                         arena_printf(a, "the device reports %s", version), now);
    if (same && (u.state == UPDATE_REBOOTING || u.state == UPDATE_INSTALLED))
        return roll_back(w, type, d, &u, "report",
                         arena_printf(a, "the device reports %s again", version), now);
    /* What it still runs is no news, also when the update goes back. */
    if (!same && is_beyond(c, type, d, &u, version))
        return life_move(
            w, type, &u, UPDATE_CANCELED, "superseded",
            arena_printf(a, "the device reports %s, which is beyond %s", version, u.to_version),
            now);
    /* Before it has installed anything, the old version is no news; unless it held a newer one. */
    return changed ? flap_note(w, c, d, module, version, now, a) : 0;
}

/* ---- operators ---- */
int update_cancel(struct db *w, int64_t update_id, const char *cause, const char *text, int64_t now,
                  struct fail *f)
{
    struct arena a;
    struct update u = {0};
    int rc;

    arena_init(&a);
    rc = update_by_id(w, update_id, &a, &u);
    if (rc == E_NOTFOUND)
        fail(f, rc, "there is no such update");
    else if (rc == 0 && update_is_final(u.state))
        rc = fail(f, E_CONFLICT, "the update is %s already", update_state_name(u.state));
    else if (rc == 0) /* a final state has no deadline: the type does not matter */
        rc = life_move(w, &device_type_defaults, &u, UPDATE_CANCELED, cause, text ? text : "", now);
    if (rc < 0 && rc != E_NOTFOUND && rc != E_CONFLICT)
        fail(f, rc, "cannot cancel the update: %s", err_str(rc));
    arena_done(&a);
    return rc;
}

/* ---- campaigns ---- */
int update_campaigns(struct db *w, int64_t now, int max)
{
    int64_t ids[64];
    struct fail f;
    int due = campaign_tick(w, now, (int)ARRAY_LEN(ids));
    int n = due < 0
                ? due
                : campaign_leftovers(w, ids, max < (int)ARRAY_LEN(ids) ? max : (int)ARRAY_LEN(ids));

    for (int i = 0; i < n; i++) {
        int rc = update_cancel(w, ids[i], "campaign_ended", "its campaign has ended", now, &f);
        if (rc < 0)
            return rc;
    }
    return n < 0 ? n : n > 0 || due == (int)ARRAY_LEN(ids);
}
