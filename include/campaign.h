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
#define CAMPAIGN_SHARE        10000 /* the whole: shares are hundredths of a percent */
#define CAMPAIGN_VERIFICATION 0     /* phase number of the named test devices */
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
                    CAMPAIGN_END_SUSPECT, /* a success for which not one byte was served */
                    CAMPAIGN_END_CANCELED,
                    CAMPAIGN_END__COUNT
};
struct campaign_threshold {
    int64_t share, sample;
    const char *action; /* NULL = none; pause, abort, rollback */
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
    struct campaign_threshold thresholds[CAMPAIGN_END__COUNT];
    bool allow_downgrade, allow_reinstall;
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
/* Whether offers may leave now by its windows; else *ret_opens is when the next one opens (0: not
 * within ten days). zone: the device's own, or its type's, for windows without one. */
bool campaign_window_open(const struct campaign *c, const char *zone, int64_t now,
                          int64_t *ret_opens);

/* ---- where it stands ---- */
struct campaign_now {
    enum campaign_state state;
    int phase; /* the one that is open, 0 = verification */
    bool approval, rolling_back;
    int64_t device_max, active;
    int64_t offered[CAMPAIGN_PHASES_MAX + 1]; /* only of campaigns with phases by count */
    int64_t wait_ms;   /* until the offers of the last minute are few enough; 0 = they are */
    int64_t of_device; /* updates that the device had in it */
    bool verified;     /* one of them was */
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
};

/* ---- rows: on the connection of the calling thread; writing on the core thread ---- */
/* Sets id. c has project, type, firmware, name, definition, times. */
int campaign_insert(struct db *w, struct campaign *c, const struct campaign_lists *l) MUST_USE;
/* A draft: everything, lists NULL = they stay. */
int campaign_update(struct db *w, struct campaign *c, const struct campaign_lists *l) MUST_USE;
/* E_CONFLICT with a sentence unless it is a draft or has ended. The updates it made stay. */
int campaign_delete(struct db *w, int64_t id, int64_t now, struct fail *f) MUST_USE;
/* Parsed, with its lists; all from the arena. */
int campaign_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a,
                   struct campaign *ret, struct campaign_status *ret_status) MUST_USE;
int campaign_list(struct db *db, int64_t project_id, int64_t after, int limit,
                  int (*row)(void *arg, const struct campaign *c, const struct campaign_status *s),
                  void *arg) MUST_USE;
int64_t campaign_total(struct db *db, int64_t project_id);
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
int campaign_complete(struct db *w, int64_t id, int64_t now, struct fail *f) MUST_USE;
/* rollback: its declared firmware goes to the devices that got the bad version. */
int campaign_abort(struct db *w, int64_t id, bool rollback, int64_t now, struct fail *f) MUST_USE;
/* Open the next phase although it waits for approval; force: although its gate is not met. */
int campaign_approve(struct db *w, int64_t id, bool force, int64_t now, struct fail *f) MUST_USE;

/* ---- what updates tell it ---- */
/* An update of the campaign moved: from NULL = it begins. The counters, the gate and thresholds
 * follow, all in this transaction. */
int campaign_moved(struct db *w, int64_t id, int phase, const char *from, const char *to,
                   enum campaign_end end, int64_t now) MUST_USE;
/* An offer leaves: for the pace. */
int campaign_offered(struct db *w, int64_t id) MUST_USE;
/* The updates of a device are about to be deleted. */
int campaign_forget_device(struct db *w, int64_t device_id) MUST_USE;

/* ---- the clock ---- */
/* Up to max campaigns whose time has come: begin, open phases, end. How many. */
int campaign_tick(struct db *w, int64_t now, int max) MUST_USE;
/* At the start: offers of the last minute count as made now, whatever the clock says. */
int campaign_recover(struct db *w) MUST_USE;
/* Updates of campaigns that have ended and still wait to be fetched: up to max numbers; none:
 * returns 0. */
int campaign_leftovers(struct db *w, int64_t *ids, int max) MUST_USE;
