/*
 * campaign: the governed release of one firmware. What was declared (targets, phases, windows,
 * pacing, thresholds) is parsed once and kept in the catalog's snapshot; where a campaign stands
 * and what is counted are a few rows, moved in the transaction of the update that moves. Devices,
 * types and firmwares are numbers here. Which device gets what is decided in update.
 */
#pragma once

#include "db.h"
#include "json.h"
#include "util.h"

#define CAMPAIGN_PHASES_MAX   20
#define CAMPAIGN_WINDOWS_MAX  32
#define CAMPAIGN_TAGS_MAX     32
#define CAMPAIGN_DEVICES_MAX  1000 /* of one list; more go by tags */
#define CAMPAIGN_QUERY_MAX    1024
#define CAMPAIGN_TEXTS_MAX    20  /* languages */
#define CAMPAIGN_TITLE_MAX    200 /* bytes, as the notes */
#define CAMPAIGN_NOTES_MAX    4000
#define CAMPAIGN_SHARE        10000 /* the whole: shares are hundredths of a percent */
#define CAMPAIGN_VERIFICATION 0     /* phase number of the named test devices */
#define CAMPAIGN_REASON_MAX   80    /* bytes of what a failure is counted as */
#define CAMPAIGN_ROLLBACK     1000  /* phase number of updates that take the release back */

/* ---- queries over attributes: a FIQL subset ---- */
struct campaign_query;
/* "battery=gt=30;hw==B,site==lab": == != =gt= =ge= =lt= =le= =in= =out=; `;` is and, `,` is or, and
 * binds tighter, parentheses group. A `*` at either end of a value of == and != stands for
 * anything. From the arena. E_PROTO with a sentence that says where. Pure. */
int campaign_query_parse(const char *text, struct arena *a, struct campaign_query **ret,
                         struct fail *f) MUST_USE;
/* Whether what the device last reported matches. What was not reported matches nothing, not even
 * !=: an unknown hardware is no target. Pure. */
bool campaign_query_matches(const struct campaign_query *q,
                            const json_t *(*attribute)(void *arg, const char *name), void *arg);

/* ---- what was declared ---- */
enum campaign_state {
    CAMPAIGN_DRAFT,
    CAMPAIGN_SCHEDULED,
    CAMPAIGN_RUNNING,
    CAMPAIGN_PAUSED,
    CAMPAIGN_COMPLETED,
    CAMPAIGN_ABORTED,
    CAMPAIGN_STATE__COUNT
};
const char *campaign_state_name(enum campaign_state s);

enum campaign_phase_kind { PHASE_PERCENT, PHASE_COUNT, PHASE_DEVICES };
struct campaign_phase {
    enum campaign_phase_kind kind;
    int64_t share;          /* PERCENT: of all targets, with those of the phases before */
    int64_t count;          /* COUNT: the first so many that ask */
    struct id_list devices; /* DEVICES */
    int64_t gate_share, gate_sample, soak_s;
    bool approval;
};
struct campaign_window {
    unsigned days; /* bits, Sunday is 0 */
    int from, to;  /* minutes of the day; to <= from: on the day after */
};
enum campaign_end { /* what an update came to */
                    CAMPAIGN_END_NONE,
                    CAMPAIGN_END_VERIFIED,
                    CAMPAIGN_END_FAILED,
                    CAMPAIGN_END_ROLLED_BACK,
                    CAMPAIGN_END_TIMED_OUT,
                    CAMPAIGN_END_REJECTED,
                    CAMPAIGN_END_REFUSED, /* by the device's user */
                    CAMPAIGN_END_SUSPECT, /* a success for which not one byte was served */
                    CAMPAIGN_END_CANCELED,
                    CAMPAIGN_END__COUNT
};
struct campaign_growth {       /* of the rate; base 0 = it stands */
    int64_t base, factor;      /* offers per minute; hundredths */
    int64_t offered, verified; /* so many let it grow; one of them is 0 */
};
struct campaign_threshold {
    int64_t share, sample;
    const char *action; /* NULL = none; pause, abort, rollback */
};
enum consent_mode { CONSENT_SILENT, CONSENT_APP, CONSENT_DEVICE }; /* who asks the user */
struct campaign_text {
    const char *language, *title, *notes;
};
struct campaign_consent {
    enum consent_mode mode;
    int64_t postpone_max, postpone_s;
    const char *language_attribute; /* where the device tells its user's language */
};
struct campaign {
    int64_t id, project_id, type_id, firmware_id, rollback_id; /* 0 = none */
    const char *name;
    const char *definition; /* JSON; its lists of devices are rows */
    int64_t starts_at, ends_at, created_at, updated_at, revision;
    /* of the definition */
    bool listed, frozen; /* for listed devices alone; for those there were at the start */
    const char **tags;   /* any of them; n_tags 0 = any device */
    size_t n_tags;
    struct campaign_query *query; /* NULL = none */
    struct id_list devices, denied;
    bool verification; /* named devices come before phase 1 */
    struct campaign_phase verify;
    struct campaign_phase phases[CAMPAIGN_PHASES_MAX]; /* number 1 is the first */
    size_t n_phases;
    const char *timezone; /* of the windows; NULL = the device's own */
    struct campaign_window windows[CAMPAIGN_WINDOWS_MAX];
    size_t n_windows;
    int64_t offers_per_minute, in_progress; /* 0 = no bound */
    struct campaign_growth growth;
    int64_t kilobytes_per_second; /* of its downloads together; 0 = no bound */
    int64_t jitter_s;             /* offers of a phase are spread over so long; 0 = not */
    struct campaign_threshold thresholds[CAMPAIGN_END__COUNT];
    bool allow_downgrade, allow_reinstall;
    struct campaign_consent consent;
    struct campaign_text *texts;
    size_t n_texts;

    bool push; /* offers are sent to those that are there, without being asked */
    int64_t accept_s, download_s, install_s, verify_s, attempts; /* 0 = the type's */
    /* where it stood when this was read; what decides is struct campaign_now */
    enum campaign_state state;
};

/* The lists of devices that a request names, by number. */
struct campaign_lists {
    struct id_list targets, denied, verify, phases[CAMPAIGN_PHASES_MAX];
};
/* Check the members of `in` that make the definition, findings with pointers. Pure. */
int campaign_check(const json_t *in, struct json_errors *errs) MUST_USE;
/* The definition's text of a checked request, without the keys of devices; the arena's. */
const char *campaign_definition(const json_t *in, struct arena *a);
/* Fill what the definition says; its lists stay empty. E_DB for a text that is none of ours. */
int campaign_parse(struct campaign *c, struct arena *a) MUST_USE;

/* The text for a user: by an Accept-Language header (NULL = none), else by the language that the
 * device reported (NULL = none), else English, else the first. NULL when there is no text. Pure. */
const struct campaign_text *campaign_text_for(const struct campaign *c, const char *accept,
                                              const char *language);

/* ---- who, and when: pure ---- */
struct campaign_device {
    int64_t id;
    const char *tags; /* JSON array */
    const json_t *(*attribute)(void *arg, const char *name);
    void *arg;
};
enum campaign_match { CAMPAIGN_TARGET, CAMPAIGN_NO_TARGET, CAMPAIGN_DENIED };
/* device_max: of one that was frozen at its start, else 0. */
enum campaign_match campaign_targets(const struct campaign *c, const struct campaign_device *d,
                                     int64_t device_max);
/* 0 … CAMPAIGN_SHARE-1: always the same for a device and a campaign. */
int64_t campaign_share_of(int64_t campaign_id, int64_t device_id);
/* The phase that the device belongs to, of those up to `open`; -1 = none of them. offered[no]: how
 * many had an offer in that phase (for phases by count). */
int campaign_phase_of(const struct campaign *c, int64_t device_id, int open,
                      const int64_t offered[CAMPAIGN_PHASES_MAX + 1]);
/* The offers that may leave in a minute after so many, 0 = any number. It never shrinks. */
int64_t campaign_rate(const struct campaign *c, int64_t offered, int64_t verified);
/* When an offer of a phase that was opened then is due for the device: within jitter_s, always the
 * same. 1, long ago: there is no jitter, or the clock was set back behind the opening. */
int64_t campaign_due(const struct campaign *c, int64_t device_id, int phase, int64_t opened_at,
                     int64_t now);
/* Whether offers may leave now by its windows; else *ret_opens is when the next one opens (0: not
 * within ten days). zone: the device's own, or its type's, for windows without one. */
bool campaign_window_open(const struct campaign *c, const char *zone, int64_t now,
                          int64_t *ret_opens);

/* ---- consent of a device's user ---- */
enum consent_state {
    CONSENT_NONE, /* not asked yet: no row */
    CONSENT_ASKED,
    CONSENT_POSTPONED,
    CONSENT_CONFIRMED,
    CONSENT_REFUSED,
    CONSENT_STATE__COUNT
};
const char *consent_state_name(enum consent_state s);
int consent_state_parse(const char *name, enum consent_state *ret) MUST_USE; /* E_NOTFOUND */
struct consent {
    int64_t id, campaign_id, device_id;
    int phase;
    enum consent_state state;
    bool offered;      /* an offer left on it */
    int64_t postponed; /* how often */
    int64_t until;     /* POSTPONED: to then */
    char who[80];      /* that answered last: "token 3", "application …", "device" */
    bool push;         /* otad sends the offer: at due_at, or at a sign of life when that is 0 */
    int64_t due_at;
    int64_t asked_at, answered_at; /* 0 = not */
};

/* ---- where it stands ---- */
struct campaign_now {
    enum campaign_state state;
    int phase; /* the one that is open, 0 = verification */
    bool approval, rolling_back;
    int64_t device_max, active, resumed_at; /* resumed_at: last; 0 = never */
    /* Only of campaigns with phases by count; a device whose user is asked has its place. */
    int64_t offered[CAMPAIGN_PHASES_MAX + 1];
    int64_t opened[CAMPAIGN_PHASES_MAX + 1]; /* when; only of campaigns with jitter */
    int64_t rate;                            /* offers that may leave in a minute; 0 = any number */
    int64_t wait_ms;        /* until the offers of the last minute are few enough; 0 = they are */
    bool verified;          /* an update that the device had in it was; of those that go back */
    bool brought;           /* what it takes back came to the device by it; only while it does */
    struct consent consent; /* of the device's user; state NONE when there is none */
};
/* As of the connection's transaction; in a writer's, this is the admission itself. */
int campaign_now_load(struct db *db, const struct campaign *c, int64_t device_id,
                      struct campaign_now *ret) MUST_USE;

struct campaign_status {
    enum campaign_state state;
    const char *reason; /* why it is paused or ended */
    int phase;
    bool approval, rolling_back;
    int64_t active, started_at, ended_at;
};
struct campaign_phase_status {
    int no;
    int64_t opened_at, gate_at, offered, ended, verified;
    int64_t gate_ended, gate_verified; /* devices, by the last update of each */
};

/* ---- rows: on the connection of the calling thread; writing on the core thread ---- */
/* Sets id. c has project, type, firmware, name, definition, times. */
int campaign_insert(struct db *w, struct campaign *c, const struct campaign_lists *l) MUST_USE;
/* A draft: everything, lists NULL = they stay. */
int campaign_update(struct db *w, struct campaign *c, const struct campaign_lists *l) MUST_USE;
/* E_CONFLICT with a sentence unless it is a draft or has ended, and when only it, aborted, keeps an
 * open firmware from its targets. The updates it made stay. */
int campaign_delete(struct db *w, int64_t id, int64_t now, struct fail *f) MUST_USE;
/* Parsed, with its lists; all from the arena. */
int campaign_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a,
                   struct campaign *ret, struct campaign_status *ret_status) MUST_USE;
struct campaign_filter {
    int64_t project_id, type_id, firmware_id; /* 0 = any (but project) */
    const char *state;                        /* its name; NULL = any */
};
int campaign_list(struct db *db, const struct campaign_filter *flt, int64_t after, int limit,
                  int (*row)(void *arg, const struct campaign *c, const struct campaign_status *s),
                  void *arg) MUST_USE;
int64_t campaign_total(struct db *db, const struct campaign_filter *flt); /* or an error, < 0 */
/* Keys of a list, ascending by device: one of these numbers, or that of a phase. */
#define CAMPAIGN_LIST_TARGETS 0
#define CAMPAIGN_LIST_DENIED  (-1)
#define CAMPAIGN_LIST_VERIFY  (-2)
int campaign_list_keys(struct db *db, int64_t id, int list, int (*row)(void *arg, const char *key),
                       void *arg) MUST_USE;
int campaign_counts(struct db *db, int64_t id,
                    int (*row)(void *arg, int phase, const char *state, int64_t n),
                    void *arg) MUST_USE;
int campaign_phases(struct db *db, int64_t id,
                    int (*row)(void *arg, const struct campaign_phase_status *p),
                    void *arg) MUST_USE;
/* Everything that is not deleted, for the snapshot. */
int campaign_load_all(struct db *db, struct arena *a, void (*add)(void *arg, struct campaign *c),
                      void *arg) MUST_USE;
/* One that has not ended names the firmware: its number; 0, or an error. */
int64_t campaign_needs(struct db *db, int64_t firmware_id);

/* ---- moves: E_CONFLICT with a sentence when the state forbids it ---- */
int campaign_start(struct db *w, int64_t id, int64_t now, struct fail *f) MUST_USE;
int campaign_pause(struct db *w, int64_t id, int64_t now, struct fail *f) MUST_USE;
int campaign_resume(struct db *w, int64_t id, int64_t now, struct fail *f) MUST_USE;
/* What it held back is released, when the firmware is open. */
int campaign_complete(struct db *w, int64_t id, int64_t now, struct fail *f) MUST_USE;
/* rollback: its declared firmware goes to the devices that got the bad version. */
int campaign_abort(struct db *w, int64_t id, bool rollback, int64_t now, struct fail *f) MUST_USE;
/* Open the next phase although it waits for approval; force: although its gate is not met. */
int campaign_approve(struct db *w, int64_t id, bool force, int64_t now, struct fail *f) MUST_USE;

/* What it releases, or a delta of that, is open and enabled: without it all would get that. 1, 0
 * or an error. */
int campaign_holds_open(struct db *db, int64_t id) MUST_USE;
/* The event: a second person has to confirm the action. */
int campaign_asked(struct db *w, int64_t id, const char *action, int64_t now) MUST_USE;

/* ---- what updates tell it ---- */
/* An update of the campaign moved: from NULL = it begins. The counters, the gate and thresholds
 * follow, all in this transaction. */
int campaign_moved(struct db *w, int64_t id, int phase, int64_t device_id, const char *from,
                   const char *to, enum campaign_end end, int64_t now) MUST_USE;
/* The device fell back from what it was verified with: for the gate that is no success any more,
 * and for thresholds one that was rolled back. Once for an update, which ended at ended_at; before
 * its history says so. */
int campaign_fell_back(struct db *w, int64_t id, int phase, bool suspect, int64_t ended_at,
                       int64_t now) MUST_USE;
/* An offer leaves: for the pace. */
int campaign_offered(struct db *w, int64_t id) MUST_USE;
/* The updates of a device are about to be deleted. */
int campaign_forget_device(struct db *w, int64_t device_id) MUST_USE;

/* An update failed, or an attempt of it did (state planned): counted by reason. Of the reasons of a
 * campaign so many are told apart; the others become "other", also in reason. */
int campaign_failed(struct db *w, int64_t id, int phase, const char *state,
                    char reason[CAMPAIGN_REASON_MAX + 1], int64_t now) MUST_USE;
/* So many bytes reached a device. */
int campaign_served(struct db *w, int64_t id, int phase, int64_t bytes, int64_t now) MUST_USE;

/* ---- how it gets on (stats.c) ---- */
struct campaign_flow {
    int64_t at; /* the beginning */
    int64_t offered, verified, suspect, failed, rolled_back, timed_out, rejected, canceled;
    int64_t attempts; /* that failed and are not the last */
    int64_t bytes;
};
#define CAMPAIGN_FLOW_MINUTE  60   /* kept for CAMPAIGN_MINUTES_KEPT */
#define CAMPAIGN_FLOW_HOUR    3600 /* for 400 days */
#define CAMPAIGN_FLOW_DAY     86400
#define CAMPAIGN_MINUTES_KEPT 180
/* Ascending, of what began in [from,to); phase -1: of all but the rollback. */
int campaign_flows(struct db *db, int64_t id, int64_t step_s, int64_t from, int64_t to, int phase,
                   int (*row)(void *arg, const struct campaign_flow *f), void *arg) MUST_USE;
/* Sums of all that is kept. */
int campaign_flow_phases(struct db *db, int64_t id,
                         int (*row)(void *arg, int phase, int64_t attempts, int64_t bytes),
                         void *arg) MUST_USE;
/* The most frequent first. state: of the update then; planned: an attempt failed; verified: a
 * suspect success. */
int campaign_reasons(struct db *db, int64_t id,
                     int (*row)(void *arg, int phase, const char *state, const char *reason,
                                int64_t n),
                     void *arg) MUST_USE;
/* How many devices are meant, by its lists or by those there were at its start, counted up to
 * CAMPAIGN_COUNTED_MAX; E_NOTFOUND when neither says. denied: how many are denied. exact: nothing
 * else narrows it down. */
#define CAMPAIGN_COUNTED_MAX 100000
int campaign_count_targets(struct db *db, const struct campaign *c, int64_t *ret_n,
                           int64_t *ret_denied, bool *ret_exact) MUST_USE;
/* Forget at most max flows of each step that are old; 1 = there may be more. */
int campaign_flow_forget(struct db *w, int64_t now, int max) MUST_USE;

/* ---- walks through the devices, by ascending number ---- */
enum campaign_walk_kind { CAMPAIGN_WALK_PUSH, CAMPAIGN_WALK_END };
struct campaign_walk {
    int64_t campaign_id, cursor; /* devices up to there were looked at */
    int64_t held_by;             /* END: the device that has not ended; 0 = none */
};
/* Those that go on, of campaigns behind `after`; how many. */
int campaign_walk_list(struct db *db, enum campaign_walk_kind kind, int64_t after,
                       struct campaign_walk *ret, int cap) MUST_USE;
/* Store how far it is; going: there is more to do. */
int campaign_walk_put(struct db *w, enum campaign_walk_kind kind, const struct campaign_walk *at,
                      bool going) MUST_USE;
/* Look again at what comes behind cursor, if there is such a walk. */
int campaign_walk_back(struct db *w, enum campaign_walk_kind kind, int64_t id,
                       int64_t cursor) MUST_USE;
/* Its targets are listed or frozen: it is over when all have ended. Pure. */
bool campaign_ends_itself(const struct campaign *c);
/* An update of it has come to its end on the device. 1, 0 or an error. */
int campaign_device_ended(struct db *db, int64_t id, int64_t device_id) MUST_USE;
/* Its user is asked, said yes, or put it off: it has not ended, whether or not it counts as under
 * way. device_id 0 = any of them. 1, 0 or an error. */
int campaign_waits(struct db *db, int64_t id, int64_t device_id) MUST_USE;
/* All have ended: a running campaign is completed, and the audit log has it. */
int campaign_finish(struct db *w, const struct campaign *c, int64_t now) MUST_USE;
/* The key of the device that a campaign waits for, to end by itself; NULL. */
int campaign_walk_held(struct db *db, int64_t id, struct arena *a, const char **ret_key) MUST_USE;
/* All that push go through their devices once more. */
int campaign_walk_again(struct db *w) MUST_USE;
/* The devices that come behind cursor: those of the campaign, or more; how many. */
int campaign_walk_next(struct db *db, const struct campaign *c, const struct campaign_now *now,
                       int64_t cursor, int64_t *ret, int cap) MUST_USE;

/* ---- the clock ---- */
/* Up to max campaigns whose time has come: begin, open phases, end. How many. */
int campaign_tick(struct db *w, int64_t now, int max) MUST_USE;
/* At the start: offers of the last minute count as made now, whatever the clock says. */
int campaign_recover(struct db *w) MUST_USE;
/* Updates of campaigns that have ended and still wait to be fetched: up to max numbers; none:
 * returns 0. */
int campaign_leftovers(struct db *w, int64_t *ids, int max) MUST_USE;

/* ---- consents: rows. Writing on the core thread, in its transaction ---- */
/* E_NOTFOUND: never asked. */
int consent_of(struct db *db, int64_t campaign_id, int64_t device_id, struct consent *ret) MUST_USE;
int consent_by_id(struct db *db, int64_t id, struct consent *ret) MUST_USE;
/* Ascending, id > after. The callback may stop with a non-zero return, which is passed on. */
int consent_list_device(struct db *db, int64_t device_id, int64_t after, int limit,
                        int (*row)(void *arg, const struct consent *q), void *arg) MUST_USE;
/* state NONE = any. */
int consent_list_campaign(struct db *db, int64_t campaign_id, enum consent_state state,
                          int64_t after, int limit, int (*row)(void *arg, const struct consent *q),
                          void *arg) MUST_USE;
int64_t consent_count(struct db *db, int64_t campaign_id, enum consent_state state);
int consent_history(struct db *db, int64_t id,
                    int (*row)(void *arg, int64_t at, const char *state, const char *who,
                               const char *text),
                    void *arg) MUST_USE;
/* The device was found admissible for the first time: its user is asked. */
int consent_ask(struct db *w, const struct campaign *c, int64_t device_id, int phase,
                int64_t now) MUST_USE;
/* What a user says by way of an application. q as read in this transaction; it follows. The same
 * once more changes nothing. E_CONFLICT with *ret_code and a sentence when it can't be said (any
 * more). postpone_s: 0 = as the campaign says. */
enum consent_answer { CONSENT_CONFIRM, CONSENT_POSTPONE, CONSENT_REFUSE };
int consent_answer(struct db *w, const struct campaign *c, enum campaign_state state,
                   struct consent *q, enum consent_answer answer, int64_t postpone_s,
                   const char *who, int64_t now, const char **ret_code, struct fail *f) MUST_USE;
/* An operator takes a refusal back: the user is asked anew. Conflicts as above. */
int consent_lift(struct db *w, const struct campaign *c, enum campaign_state state,
                 struct consent *q, const char *who, int64_t now, const char **ret_code,
                 struct fail *f) MUST_USE;
/* An offer that a user confirmed leaves for the first time. */
int consent_offered(struct db *w, struct consent *q) MUST_USE;
/* A user at the device itself, which has the offer: the row is made with the first word. until:
 * POSTPONED. */
int consent_said(struct db *w, const struct campaign *c, int64_t device_id, int phase,
                 enum consent_state said, int64_t until, const char *text, int64_t now) MUST_USE;

/* ---- what follows by itself ---- */
#define CONSENT_SETTLE_MS 10000 /* so much later an offer has left, or is sent again */
/* Running campaigns with a consent that is due: up to max numbers. */
int consent_due_campaigns(struct db *w, int64_t now, int64_t *ids, int max) MUST_USE;
/* Its consents that are due, those with push or those without, into list; how many. */
int consent_due(struct db *w, int64_t campaign_id, bool push, int64_t now, struct consent *list,
                int max) MUST_USE;
/* The campaign's turn comes again when its next one is due; for offers not before `at` (0 = any
 * time). */
int consent_due_next(struct db *w, int64_t campaign_id, int64_t at) MUST_USE;
/* push and due_at as given. */
int consent_due_set(struct db *w, struct consent *q, bool push, int64_t due_at) MUST_USE;
/* A postponement is over: the user is asked again. */
int consent_ask_again(struct db *w, const struct campaign *c, struct consent *q,
                      int64_t now) MUST_USE;
/* Those that wait for a sign of life: of one device (how many), and which devices. */
int consent_kept(struct db *db, int64_t device_id, struct consent *list, int max) MUST_USE;
int consent_kept_devices(struct db *db, int (*row)(void *arg, int64_t device_id),
                         void *arg) MUST_USE;
/* At the start, or when a connection broke: what may not have left is due again. */
int consent_recover(struct db *w) MUST_USE;
