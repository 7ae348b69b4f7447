/* What the files of the update room share. Nothing here is for other rooms. */
#pragma once

#include "update.h"

#define DAY_MS ((int64_t)24 * 3600 * 1000)

/* ---- state.c ---- */
/* On the device, an attempt is going on: accepted … installed. */
bool update_is_in_progress(enum update_state s);

/* ---- conditions.c: rules 8 and 9 of a firmware ---- */
/* The first attribute that does not match, or NULL. */
const char *conditions_hardware(const struct device_facts *facts, const struct firmware *fw);
struct minimum {
    enum reason reason;    /* ELIGIBLE when all hold */
    const char *attribute; /* the one that is short */
    const json_t *reported;
    int64_t required;
};
struct minimum conditions_minimum(const struct device_facts *facts, const struct device_type *type,
                                  const struct firmware *fw);
/* What the device reported is none of the firmware's hardware; what it did not report may be. */
bool conditions_elsewhere(const struct device_facts *facts, const struct firmware *fw);
/* An attribute's value as text, for comparison and for people. False for what is no scalar. */
bool conditions_text(const json_t *value, char *ret, size_t cap);

/* ---- decide.c ---- */
struct verdict {
    enum reason reason;
    int64_t retry_at; /* BACKING_OFF, QUARANTINED, and what campaigns know */
    const struct campaign *campaign;
    int phase;
    bool asks; /* AWAITING_CONSENT: the user was never asked */
};
struct decide_context {
    const struct catalog *catalog;
    const struct device_facts *facts;
    const struct device_type *type; /* never NULL */
    const struct firmware *current; /* opaque: the upload that the current version names; NULL */
    int64_t now;
    bool floor_known; /* floor_above() was asked */
    const struct firmware *floor;
};
struct decide_context decide_context_of(const struct catalog *c, const struct device_facts *facts,
                                        int64_t now);
/* n failed attempts are followed by so long a pause. */
int64_t backoff_ms(const struct device_type *type, int64_t n);
/* An offer to a device that shares a gateway's connection with others keeps its place for so long;
 * then another one may have it. */
#define PLACE_MS (10 * (int64_t)60 * 1000)
/* The update of another module, of a gateway, or of another device behind the same gateway that
 * keeps this one waiting; NULL. */
const struct active_update *decide_busy(const struct catalog *c, const struct device_facts *facts,
                                        int64_t now);
/* How many other devices behind the same gateway are being updated, or have an offer: one that
 * keeps its place, or (with old) any. */
int64_t decide_beside(const struct device_facts *facts, int64_t now, bool old);
/* Merely offered, and it does not keep its place any more. */
bool decide_lapsed(const struct active_update *u, int64_t now);
/* So many devices behind that gateway may be updated at a time. */
int64_t decide_parallel(const struct catalog *c, const struct device_facts *facts);
/* A better file set of the same version is a candidate: after a failed delta the full image, or
 * another delta that did not fail. */
bool decide_instead(const struct catalog *c, const struct device_facts *facts,
                    const struct firmware *delta, int64_t now);
/* The firmware's own switch and its lists of devices: ELIGIBLE, or why not. */
enum reason decide_lists(const struct firmware *fw, int64_t device_id);
const struct past_attempt *decide_past(const struct device_facts *facts, int64_t firmware_id);
/* An operator canceled the version on this device within the last day, as whatever file set. */
bool decide_canceled(const struct device_facts *facts, const struct firmware *fw);
bool decide_is_own(const struct device_facts *facts, const struct active_update *u);
/* The type of a device, or the defaults when the snapshot does not know it (yet). */
const struct device_type *decide_type(const struct catalog *c, const struct device *d);
/* Opaque: the newest upload with this version; NULL. */
const struct firmware *decide_locate(const struct catalog *c, int64_t type_id, const char *module,
                                     const char *version);

/* How a firmware stands to what runs: <0 older, 0 the same, >0 newer. */
int decide_order(const struct decide_context *x, const struct firmware *fw);

/* ---- floor.c: rule 7 ---- */
/* The lowest floor above what runs; NULL. */
const struct firmware *floor_above(struct decide_context *x);
/* The lowest floor above that place among the versions; NULL. */
const struct firmware *floor_over(const struct decide_context *x, size_t rank);
/* A floor that going back to the firmware would leave behind; NULL. */
const struct firmware *floor_left(const struct decide_context *x, const struct firmware *fw);

/* ---- hop.c: which of the candidates; pure ---- */
/* Of one version: fw is offered rather than best. */
bool hop_is_better(const struct decide_context *x, const struct firmware *fw,
                   const struct firmware *best);
/* What may be offered now, and what could be once the device runs another version. */
#define HOP_NOW   1
#define HOP_LATER 2
#define HOPS_MAX  512
/* The first n of a list, all newer than what runs: the one to offer now so that the way leads as
 * high as it can; of several the highest. */
size_t hop_choose(const struct decide_context *x, const struct firmware *const *list, size_t n,
                  const unsigned char *can, struct arena *a);
/* ret[i]: the way leads from the one offered to i. */
void hop_mark(const struct decide_context *x, const struct firmware *const *list, size_t n,
              const unsigned char *can, size_t offered, bool *ret);

/* ---- govern.c: rule 10, campaigns ---- */
enum campaign_match govern_match(const struct decide_context *x, const struct campaign *c,
                                 const struct campaign_now *now);
/* The firmware is newer, or the campaign lets it go back to this device. */
bool govern_order_fits(const struct decide_context *x, const struct campaign *c,
                       const struct campaign_now *now, const struct firmware *fw);
/* Of a target of a campaign that runs: its phase, and its user; pace and windows come after. */
struct verdict govern_place(const struct decide_context *x, const struct campaign *c,
                            const struct campaign_now *now);
/* The phase in which the device keeps a place, as its user is asked and it has had no offer yet: a
 * phase's count of offers has it. -1: none. */
int consent_phase(const struct campaign_now *now);
/* The verdict of the campaigns of the firmware; ELIGIBLE: one of them admits the device.
 * *ret_governed: the firmware is for this device only by campaign, even if it is open. */
struct verdict govern(const struct decide_context *x, const struct firmware *fw,
                      bool *ret_governed);
/* ELIGIBLE: a campaign that is going on lets it be installed although it is not newer. Else
 * NOT_NEWER, or BELOW_FLOOR when one would, but for a floor. */
enum reason govern_goes_back(const struct decide_context *x, const struct firmware *fw);
/* Whether it may offer anything to anybody at that time, as far as no device has a say in it.
 * again: the next attempt of an update, which counts among those in progress as it is. */
struct verdict govern_any(const struct campaign *c, const struct campaign_now *now, bool again,
                          int64_t at);
/* An update under way of a campaign. */
enum reason govern_still(const struct decide_context *x, const struct update *u);
/* The time zone of windows that have none: the device's own, its type's, UTC. */
const char *govern_zone(const struct device *d, const struct device_type *type);
/* What the reason's sentence needs: the campaign's numbers. */
void govern_explain(const struct decide_context *x, const struct verdict *v,
                    struct reason_row *ret);

/* ---- consent.c: rule 10, the device's user ---- */
#define CONSENT_CAUSE "consent_refused" /* of a rejected update: no failed attempt */
/* v, or why it waits for the user. */
struct verdict consent_admits(const struct decide_context *x, const struct campaign *c,
                              const struct campaign_now *now, struct verdict v);
/* An update under way that the device's user put off. */
enum reason consent_still(const struct decide_context *x, const struct campaign *c,
                          const struct campaign_now *now, const struct update *u);
int64_t consent_until(const struct facts_load *l, const struct catalog *c, const struct update *u);
/* An update begins, of the campaign or of none (NULL). *ret_words: for its history. */
int consent_begin(struct db *w, const struct campaign *c, int64_t device_id, int phase,
                  const char **ret_words, struct arena *a) MUST_USE;
/* A word of the device, before it moves the update: it may mean something else (to, cause, words,
 * own's deadlines). 1 = it is said already. Nothing is written. */
struct consent_word {
    enum update_state to;
    const char *cause, *words;
    struct device_type *own;
    struct arena *arena;
    /* out */
    const struct campaign *by; /* NULL: nobody asks */
    bool known;                /* there is a row */
};
int consent_hear(struct consent_word *x, struct db *w, const struct catalog *c,
                 const struct update *u, int64_t now) MUST_USE;
/* After the move; u stands in the new state. */
int consent_heard(const struct consent_word *x, struct db *w, const struct update *u,
                  int64_t now) MUST_USE;

/* ---- explain.c: text and parameters of one row, from the values that decided ---- */
/* on_the_way: the winner leads to it. */
void explain_row(const struct decide_context *x, const struct verdict *v, const struct firmware *fw,
                 const struct firmware *winner, bool on_the_way, struct reason_row *ret);

/* ---- coverage.c: which bytes of which file were served; pure ---- */
#define COVERAGE_INTERVALS_MAX 32
struct coverage_file {
    struct {
        uint64_t from, to; /* [from,to), ascending, never touching */
    } list[COVERAGE_INTERVALS_MAX + 1];
    size_t n;
};
struct coverage {
    struct coverage_file files[FIRMWARE_FILES_MAX];
};
/* Text as the row holds it: "0-512,1024-2048;0-77", a file between semicolons. What does not
 * parse counts as nothing served. */
void coverage_read(struct coverage *c, const char *text);
char *coverage_text(const struct coverage *c, struct arena *a);
/* Add bytes of file number no (1..); true when any of them is new. Of more intervals than fit,
 * the shortest is forgotten: never is a byte counted that was not served. */
bool coverage_add(struct coverage *c, int no, uint64_t from, uint64_t to);
uint64_t coverage_bytes(const struct coverage *c);

/* ---- reason.c: what a failure is counted as ---- */
/* Of an update that has just ended, or whose attempt has just failed, by its cause and the device's
 * words; "" when that is no failure. Pure. */
void reason_of(const struct update *u, enum update_state from, char ret[CAMPAIGN_REASON_MAX + 1]);

/* ---- log.c ---- */
/* What a message of the device holds as its log, for the update that it names (0: its last one,
 * under way or of the last day). Too many are dropped, and counted. */
int log_said(struct db *w, const struct device *d, const json_t *log, const json_t *before,
             int64_t update_id, const char *module, int64_t now, struct arena *a) MUST_USE;

/* ---- row.c ---- */
void update_row(struct db_stmt *s, struct arena *a, struct update *ret);
/* E_NOTFOUND when none. */
int update_active_of(struct db *db, int64_t device_id, const char *module, struct arena *a,
                     struct update *ret) MUST_USE;
int update_insert(struct db *w, const struct update *u) MUST_USE;
/* All that may change; what has ended stays so. */
int update_store(struct db *w, const struct update *u) MUST_USE;
int update_store_progress(struct db *w, const struct update *u) MUST_USE; /* bytes and percent */
int update_history_add(struct db *w, int64_t id, int64_t now, const char *from, const char *to,
                       const char *cause, const char *text) MUST_USE;

/* ---- life.c ---- */
/* The type's deadlines and attempts, or those of the update's campaign; buf is the caller's. */
const struct device_type *life_rules(const struct catalog *c, const struct device_type *type,
                                     const struct update *u, struct device_type *buf);
/* When its state, begun at `now`, has lasted too long by these rules; 0 = never. Pure. */
int64_t life_deadline(const struct device_type *rules, const struct update *u, int64_t now);
/* One legal transition: the row, its deadline, one row of history, the metrics. An illegal one is
 * counted and returns E_CONFLICT; nothing is written then. */
int life_move(struct db *w, const struct device_type *type, struct update *u, enum update_state to,
              const char *cause, const char *text, int64_t now) MUST_USE;
/* The row of history of a move, and its event; u stands in the new state. */
int life_record(struct db *w, const struct update *u, const char *from, const char *cause,
                const char *text, int64_t now) MUST_USE;
/* This attempt failed: the next one waits as planned, or it was the last. */
int life_fail_attempt(struct db *w, const struct device_type *type, const struct device *d,
                      struct update *u, const char *cause, const char *text, int64_t now,
                      struct arena *a) MUST_USE;
/* Count an attempt that failed against the device; *ret_quarantined: it is, now or since. */
int life_count_failure(struct db *w, const struct device_type *type, const struct device *d,
                       int64_t now, bool *ret_quarantined) MUST_USE;

/* ---- flap.c ---- */
/* The device reports another version than before: it may have fallen back. */
int flap_note(struct db *w, const struct catalog *c, const struct device *d, const char *module,
              const char *version, int64_t now, struct arena *a) MUST_USE;

/* ---- check.c ---- */
/* update_check() for any cause; the attribute is not looked at. */
int check_run(struct db *db, const struct catalog *c, const struct device *d,
              const struct update_ask *q, struct arena *a, struct update_answer *ret) MUST_USE;
