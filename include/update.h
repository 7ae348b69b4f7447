/*
 * update: which firmware a device gets and why not another (decide), and the life of each update.
 * decide() is pure: the snapshot, the facts of one device and the time in, one firmware or none
 * out. The state machine's functions write rows of ota_update and its history; they run on the
 * core thread inside its transaction (or fail with E_NEEDS_WRITE on a reading connection).
 */
#pragma once

#include "catalog.h"
#include "device.h"

/* ---- states (the life itself is further down) ---- */
enum update_state {
    UPDATE_PLANNED,
    UPDATE_OFFERED,
    UPDATE_DEFERRED,
    UPDATE_ACCEPTED,
    UPDATE_DOWNLOADING,
    UPDATE_DOWNLOADED,
    UPDATE_INSTALLING,
    UPDATE_REBOOTING,
    UPDATE_INSTALLED,
    /* final from here */
    UPDATE_VERIFIED,
    UPDATE_REJECTED,
    UPDATE_FAILED,
    UPDATE_ROLLED_BACK,
    UPDATE_TIMED_OUT,
    UPDATE_CANCELED,
    UPDATE_UNVERIFIED,
    UPDATE__COUNT
};

/* ---- the decision ---- */
enum reason {
    REASON_ELIGIBLE, /* it is the one that is offered, or could be (a better one won) */
    REASON_BETTER_EXISTS,
    REASON_DEVICE_DISABLED,
    REASON_QUARANTINED,
    REASON_VERSION_UNKNOWN,
    REASON_FIRMWARE_DISABLED,
    REASON_FILE_MISSING, /* its bytes are not there */
    REASON_NOT_IN_DEVICE_LIST,
    REASON_DENIED,
    REASON_SOURCE_VERSION_MISMATCH,
    REASON_NOT_NEWER,
    REASON_FLOOR_FIRST, /* a must-pass version lies between */
    REASON_BELOW_FLOOR, /* it goes back behind one */
    REASON_HARDWARE_MISMATCH,
    REASON_BATTERY_LOW,
    REASON_SIGNAL_LOW,
    REASON_NO_SPACE,
    REASON_CAMPAIGN_NOT_STARTED,
    REASON_PHASE_NOT_OPEN,
    REASON_AWAITING_APPROVAL,
    REASON_CONSENT_REFUSED,  /* by the device's user */
    REASON_AWAITING_CONSENT, /* of the device's user */
    REASON_WINDOW_CLOSED,
    REASON_PACED,
    REASON_CAMPAIGN_PAUSED,
    REASON_CAMPAIGN_ENDED,
    REASON_ATTEMPTS_EXHAUSTED,
    REASON_BACKING_OFF,
    REASON_UPDATE_IN_PROGRESS,
    REASON__COUNT
};
const char *reason_code(enum reason r); /* "not_newer" */

/* What failed on this device lately: one row per firmware, of the last day. */
struct past_attempt {
    int64_t firmware_id, attempts, last_ended_at;
    bool canceled;
};
struct active_update {
    int64_t id, device_id, firmware_id, retry_at, updated_at;
    const char *module;
    enum update_state state;
    int64_t attempt;     /* >1: the ones before failed; of the device's own alone */
    int64_t campaign_id; /* likewise */
};
struct device_facts {
    const struct device *device;
    const char *module;
    const char *version; /* NULL = unknown */
    const struct past_attempt *past;
    size_t n_past;
    const struct active_update *active; /* of the device, its gateways, and what is behind it */
    size_t n_active;
    const struct active_update *beside; /* offered to or in progress on others behind the same
                                         * gateway */
    size_t n_beside;
    /* Where a campaign stands, as to this device; asked only when one names a firmware that is
     * considered. */
    const struct campaign_now *(*campaign)(void *arg, const struct campaign *c);
    struct device_quarantine quarantine; /* why, while it is in it */
    int64_t gateway_type_id; /* the type of the gateway that they share; 0 = there are none */
    /* What it last reported; asked only when a firmware has conditions. NULL = not reported. */
    const json_t *(*attribute)(void *arg, const char *name);
    void *arg;
};
struct reason_row {
    const struct firmware *firmware; /* NULL when it concerns the device as a whole */
    enum reason reason;
    char text[160];   /* a sentence with the values */
    char params[160]; /* JSON object */
};
struct decision {
    const struct firmware *firmware; /* NULL = nothing */
    enum reason reason;              /* ELIGIBLE, or of the highest firmware / the device */
    const struct campaign *campaign; /* that offers the firmware; NULL = none */
    int phase;                       /* the device's in it */
    const struct campaign *asks;     /* for a better firmware its user was never asked; NULL */
    int asks_phase;
    int64_t retry_at;        /* when backing off, quarantined: not before this; else 0 */
    struct reason_row *rows; /* filled when asked for; from the arena */
    size_t n_rows;
};
/* Pure. rows: also say why for each firmware of the type and module (costs text). */
void decide(const struct catalog *c, const struct device_facts *facts, int64_t now, bool rows,
            struct arena *a, struct decision *ret);
struct update;
/* The same rules for one firmware, without attempts and other updates: may an update under way
 * still be offered? u: that update. */
enum reason decide_still(const struct catalog *c, const struct device_facts *facts,
                         const struct firmware *fw, const struct update *u, int64_t now);
/* Rule 7 alone, for an update that was offered: FLOOR_FIRST, BELOW_FLOOR or ELIGIBLE. */
enum reason decide_floor(const struct catalog *c, const struct device_facts *facts,
                         const struct firmware *fw, const struct update *u, int64_t now);
/* What a campaign does with the device where it stands as the facts say, but for its state, its
 * pace and its windows. The phase is left alone where it does not come to that. Pure. */
enum reason decide_dry(const struct catalog *c, const struct device_facts *facts,
                       const struct campaign *campaign, int64_t now, int *ret_phase);

/* ---- facts from the database ---- */
/* Everything decide needs for one device and module; from the arena. ret must stay where it is
 * until facts_done: facts.arg points at it. */
struct facts_load {
    struct device_facts facts;
    struct update *active; /* NULL when none */
    struct db *db;         /* for the attributes, read at the first question */
    struct arena *arena;
    struct campaign_seen *campaigns; /* that were asked for */
    json_t *attributes;
    int rc; /* how that reading went */
};
int facts_load(struct db *db, const struct device *d, const char *module, int64_t now,
               struct arena *a, struct facts_load *ret) MUST_USE;
void facts_done(struct facts_load *l);

/* ---- dry runs (dry.c): what a campaign would do, were it running with all phases open ---- */
struct update_dry {
    struct db *db; /* all on one connection, in one transaction */
    const struct catalog *catalog;
    const struct campaign *campaign;
    int64_t now;
    struct campaign_now start;                /* where it stands */
    int64_t offered[CAMPAIGN_PHASES_MAX + 1]; /* by it, and by the dry run since */
};
/* The first four members are given. */
int update_dry_begin(struct update_dry *x) MUST_USE;
/* Of the next device; phase -1: it does not come to that. Scratch memory from the arena. */
int update_dry_device(struct update_dry *x, const struct device *d, struct arena *a,
                      enum reason *ret, int *ret_phase) MUST_USE;

/* ---- the life of an update ---- */
const char *update_state_name(enum update_state s);
int update_state_parse(const char *name, enum update_state *ret) MUST_USE;
static inline bool update_is_final(enum update_state s)
{
    return s >= UPDATE_VERIFIED;
}
/* The table of legal transitions (update/state.c). */
bool update_may_move(enum update_state from, enum update_state to);

struct update {
    int64_t id; /* positive int32; the message id on every protocol */
    int64_t project_id, device_id, firmware_id;
    const char *module, *from_version, *to_version, *cause;
    enum update_state state;
    int64_t attempt, bytes_total, bytes_served, percent;
    const char *coverage; /* per file, see coverage.c */
    bool suspect;
    /* What its failure, or that of its last attempt, is counted as: "deadline:downloading",
     * "reply:flash error"; "" = it did not fail. */
    char reason[CAMPAIGN_REASON_MAX + 1];
    const char *said;    /* the device's own words for the move under way; never stored */
    int64_t campaign_id; /* 0 = none */
    int phase;           /* of the campaign */
    int64_t link_until, retry_at, deadline_at, created_at, updated_at, ended_at; /* 0 = none */
};
struct update_event { /* one row of history */
    int64_t seq, at;
    const char *from_state, *to_state, *cause, *text;
};
int update_by_id(struct db *db, int64_t id, struct arena *a, struct update *ret) MUST_USE;
/* The device's one update, of a module (NULL = any), that is furthest on its way; E_NOTFOUND when
 * none is under way, E_PROTO when two of a kind can't be told apart. */
int update_furthest(struct db *db, const struct device *d, const char *module, struct arena *a,
                    struct update *ret) MUST_USE;
int update_history(struct db *db, int64_t id, int (*row)(void *arg, const struct update_event *e),
                   void *arg) MUST_USE;
struct update_filter {
    int64_t project_id, device_id, firmware_id; /* 0 = any (but project) */
    int state;                                  /* -1 = any, -2 = any that is not final */
    int64_t campaign_id;                        /* 0 = any */
};
int update_list(struct db *db, const struct update_filter *flt, int64_t before, int limit,
                int (*row)(void *arg, const struct update *u),
                void *arg) MUST_USE; /* newest first; before 0 = from the newest */
int64_t update_count(struct db *db, const struct update_filter *flt);

/* After an older copy of the database was put back: jump over the ids that may have been given out
 * since it was made. */
int update_ids_skip(struct db *w, int64_t n) MUST_USE;

/* A check of one module: answers what to offer. On return *ret_update is the update to offer
 * (state offered or later), or its id is 0: nothing, and *ret_decision says why (rows not
 * filled). *ret_repeated: the offer stood already, nothing was written. */
int update_check(struct db *db, const struct catalog *c, const struct device *d, const char *module,
                 int64_t now, int64_t link_lifetime_ms, struct arena *a, struct update *ret_update,
                 bool *ret_repeated, struct decision *ret_decision) MUST_USE;
/* The same for who knows the attribute that carries the version: a rule, a task. While no version
 * is known, the stored attribute is taken for a report. */
struct update_ask {
    const char *module;
    const char *attribute; /* NULL = none */
    const char *cause;     /* who asks: "check", "task", "campaign"; for the history */
    int64_t now, link_lifetime_ms;
    /* Only an offer of this campaign that was not made yet, or is due again after a failure: an
     * update that is answered with left for the device just now. 0 = any. */
    int64_t campaign_id;
};
struct update_answer {
    struct update update; /* id 0: nothing, see why */
    bool repeated;
    bool asked;       /* the device's user was, for the first time */
    bool bad_version; /* the stored attribute holds no version */
    struct decision why;
};
int update_ask(struct db *db, const struct catalog *c, const struct device *d,
               const struct update_ask *q, struct arena *a, struct update_answer *ret) MUST_USE;
/* May an offer that has left do so once more, as it is? 1 = yes, 0 = not now, which passes by (its
 * campaign is paused or out of its window …), E_GONE = no: the device has answered, or it may not
 * have it any more. Writes nothing. */
int update_still(struct db *db, const struct catalog *c, const struct device *d,
                 const struct update *u, int64_t now, struct arena *a) MUST_USE;
/* The next message id, of the counter that updates have theirs from: never used twice. */
int update_next_id(struct db *w, int64_t *ret) MUST_USE;
/* A value of an attribute that carries a version: as update_reported(); E_PROTO when it is none. */
int update_reported_value(struct db *w, const struct catalog *c, const struct device *d,
                          const char *module, const json_t *value, int64_t now,
                          struct arena *a) MUST_USE;
/* The device reported a version of a module: stores it, verifies or rolls back the active update,
 * or cancels it when it is beyond its target. */
int update_reported(struct db *w, const struct catalog *c, const struct device *d,
                    const char *module, const char *version, int64_t now, struct arena *a) MUST_USE;
/* The device said how it goes (a reply, progress; percent <0 = not said): deferred, accepted,
 * downloading …, installed, failed (an attempt), rejected, rolled_back. What only otad finds out
 * (verified and the other ends) is illegal here. An illegal move returns E_CONFLICT and is counted
 * (M_UPDATE_ILLEGAL); unknown id or of another device: E_NOTFOUND. text is the device's own words
 * (bounded by the caller). */
int update_moved(struct db *w, const struct catalog *c, const struct device *d, int64_t update_id,
                 enum update_state to, int64_t percent, const char *text, int64_t now,
                 struct arena *a) MUST_USE;
/* Bytes [from,to) of file number file_no (1..) reached the device through its own link, the last
 * `sent` of them since the caller last said so. `starts`: this is the first word of a request that
 * began at byte 0: in state downloaded it begins a new attempt. Each call writes one row, so the
 * caller says how often. Ten times the update's size in bytes that left before end an attempt. */
int update_served(struct db *w, const struct catalog *c, int64_t update_id, int file_no,
                  uint64_t from, uint64_t to, uint64_t sent, bool starts, int64_t now,
                  struct arena *a) MUST_USE;
/* What a device said in the words of its type's mapping. said: the event's params, or the report;
 * before: the attributes as they stood before it, so that what is only repeated is no news (NULL
 * for an event). It moves the update whose id it names, or the one that is under way. 0 also when
 * nothing is said, or what is said is illegal (counted); E_PROTO: no such word, or no such update,
 * or more than one. */
int update_progress(struct db *w, const struct catalog *c, const struct device *d,
                    const struct progress *p, const json_t *said, const json_t *before, int64_t now,
                    struct arena *a) MUST_USE;
/* Does a report tell any of it? Pure. */
bool update_progress_in(const struct progress *p, const json_t *attributes);
int update_cancel(struct db *w, int64_t update_id, const char *cause, const char *text, int64_t now,
                  struct fail *f) MUST_USE; /* E_CONFLICT when final */
/* Handle up to max updates whose deadline has passed; returns how many (<0 error); *ret_next is
 * the next deadline (0 = none). */
int update_expire(struct db *w, const struct catalog *c, int64_t now, int max,
                  int64_t *ret_next) MUST_USE;

/* The last run of otad was killed: bytes that it had just served were never counted, so that none
 * prove nothing against an update that was under way. At the start, in a transaction. */
int update_killed(struct db *w, int64_t now) MUST_USE;

/* ---- what campaigns send without being asked ---- */
struct update_push_env {
    struct db *db;
    const struct catalog *catalog;
    int64_t now, link_lifetime_ms;
    struct arena *arena;
    int (*there)(void *arg, const struct device *d, bool *ret);             /* is it connected? */
    int (*send)(void *arg, const struct device *d, const struct update *u); /* after the commit */
    void *arg;
};
/* The one way of a campaign to a device: what it has for the device now is offered and handed to
 * send, once: not what was offered before, nor what another has to offer. 1 = sent, 0 = nothing,
 * *ret_why (may be NULL) says why; or an error. The device should be there. Writes only when
 * it sends. */
int update_push(struct update_push_env *env, const struct campaign *c, const struct device *d,
                struct decision *ret_why) MUST_USE;
/* The same for all campaigns that push to devices of its type: the device gave a sign of life. How
 * many were sent. */
int update_push_seen(struct update_push_env *env, const struct device *d) MUST_USE;
/* What going through devices keeps in memory, for as long as the process lives. {0} at first. */
struct update_walks {
    struct map waits;             /* campaign id -> struct, those that have to wait */
    int64_t after;                /* the campaign whose turn it was */
    int64_t end_after, end_at_ms; /* the same for those that end, and not before (monotonic) */
    int64_t retry_after;          /* the campaign whose attempts were looked at */
};
void update_walks_done(struct update_walks *k);
/* What was done is undone, or who is there was not told: nobody waits any more, the next round is a
 * whole one, and what is due again is looked at anew. */
void update_walks_anew(struct update_walks *k);
/* Go on with pushing, for at most max devices or max_us. 1 = there is more to do at once, 0 = not;
 * or an error. */
int update_push_walk(struct update_push_env *env, struct update_walks *k, int max,
                     int64_t max_us) MUST_USE;

/* Complete the campaigns whose targets have all ended; env needs no there and no send. As above. */
int update_end_walk(struct update_push_env *env, struct update_walks *k, int max,
                    int64_t max_us) MUST_USE;

/* Offers that were sent unasked and may not have reached the broker. no: the caller's, ascending.
 */
struct update_unsent {
    int64_t no, update_id, device_id;
};
int update_unsent_add(struct db *w, const struct update_unsent *u) MUST_USE;
int update_unsent_drop(struct db *w, int64_t no) MUST_USE;
int update_unsent_reached(struct db *w, int64_t after, int64_t upto) MUST_USE; /* (after, upto] */
/* Of (after, upto], ascending, of one device or (0) of all; how many. */
int update_unsent_list(struct db *db, int64_t device_id, int64_t after, int64_t upto,
                       struct update_unsent *ret, int cap) MUST_USE;

/* What is due of campaigns: begin, open phases, end, and cancel what waits of those that ended, up
 * to max updates. 1 = there may be more at once. */
int update_campaigns(struct db *w, int64_t now, int max) MUST_USE;

/* ---- what devices log about an update (log.c) ---- */
#define UPDATE_LOG_BYTES_MAX 65536
#define UPDATE_LOGS_MAX      8 /* of an update */
struct update_log {
    int64_t id, at, size;
    const char *source; /* "http", "mqtt" */
};
/* May the update have one more? 0, E_LIMIT, E_AUTH (its device is disabled), E_NOTFOUND. */
int update_log_room(struct db *db, int64_t update_id) MUST_USE;
/* Store n bytes (1 … UPDATE_LOG_BYTES_MAX) as they are; what update_log_room() says. */
int update_log_add(struct db *w, int64_t update_id, const char *source, const void *p, size_t n,
                   int64_t now) MUST_USE;
int update_logs(struct db *db, int64_t update_id, int (*row)(void *arg, const struct update_log *l),
                void *arg) MUST_USE;
/* Appends its bytes; E_NOTFOUND. */
int update_log_body(struct db *db, int64_t update_id, int64_t id, struct sbuf *out) MUST_USE;
/* Remove at most max of the oldest, beyond the newest `keep` or of before `before`; 1 = there may
 * be more. */
int update_log_forget(struct db *w, int64_t keep, int64_t before, int max) MUST_USE;

/* ---- download links ---- */
#define LINK_TOKEN_MAX 48
/* base64url of {update id, file number, deadline, truncated HMAC-SHA256}: names one update, can't
 * be made without the key. Pure. */
void link_make(const uint8_t key[32], int64_t update_id, int file_no, int64_t until_ms,
               char ret[LINK_TOKEN_MAX]);
/* 0, E_AUTH (not ours, tampered) or E_GONE (expired). Constant-time comparison. */
int link_read(const uint8_t key[32], const char *token, int64_t now, int64_t *ret_update_id,
              int *ret_file_no) MUST_USE;
/* A floor forbids what the update brings, which was offered before the firmware was marked: E_GONE,
 * else 0 or the database's error. fw is the update's, of the snapshot. */
int update_floor(struct db *db, const struct catalog *c, int64_t update_id,
                 const struct firmware *fw, int64_t now) MUST_USE;
/* The lowest firmware that each device must pass from one version to the other, or that lies above
 * the lower one and not above the higher one when it goes back; NULL. Whatever their hardware: only
 * floors without. Pure. */
const struct firmware *update_floor_between(const struct catalog *c, const struct firmware *low,
                                            const struct firmware *high, bool back);
/* What a link is good for, as the database has it now: 0, E_NOTFOUND, E_AUTH (its device is
 * disabled), E_GONE (the update has ended, or was never offered) or the database's error. */
struct update_linked {
    int64_t project_id, device_id, firmware_id, campaign_id; /* campaign 0 = none */
    enum update_state state;
    bool paused;   /* its campaign is */
    bool ended;    /* its campaign has, and it is not one that goes back */
    bool of_main;  /* of the module main */
    bool replaces; /* from another version */
    char to_version[VERSION_MAX + 1];
};
int update_linked(struct db *db, int64_t update_id, struct update_linked *ret) MUST_USE;
/* What operators said since: E_GONE when the lists of its firmware keep it from the device, before
 * it is being installed, and when its campaign has ended and the device has not begun;
 * E_UNAVAILABLE while that is paused and the device has not begun.
 * fw is the update's, of the snapshot. Pure. */
int update_linked_still(const struct update_linked *u, const struct firmware *fw) MUST_USE;
