/*
 * device: identity, credentials, what a device reported (attributes, versions), when it was last
 * seen. Row functions take the connection of the calling thread; those that write run on the
 * core thread inside its transaction. Strings in structs belong to the arena given.
 */
#pragma once

#include "catalog.h"
#include "db.h"
#include "json.h"
#include "util.h"

#define DEVICE_KEY_MAX              64    /* it is an MQTT topic segment and username */
#define DEVICE_ADDRESS_MAX          64    /* characters of one segment of an address */
#define DEVICE_DEPTH_MAX            8     /* how far devices may stand behind one another */
#define DEVICE_ATTRIBUTES_MAX       256   /* names per device */
#define DEVICE_ATTRIBUTES_BYTES_MAX 32768 /* their JSON text */
#define DEVICE_VERSIONS_KEPT        20    /* that a module ran before */

struct device {
    int64_t id, project_id, type_id, gateway_id, import_id; /* 0 = none */
    const char *key, *name, *sn, *timezone;
    const char *tags;          /* JSON array text */
    const char *password_hash; /* NULL = cannot log in to the broker */
    const char *address;       /* under its gateway; "" without one */
    const char *dialect;       /* what it spoke last; "" = the first of the table, or nothing yet */
    bool enabled;
    int64_t quarantined_until, failures_since, failures, released_at;
    int64_t created_at, updated_at, revision;
    /* of device_state, filled by device_by_key and device_list alone */
    const char *attributes; /* JSON object text; NULL when not asked for */
    int64_t seen_at;        /* 0 = never */
    int online;             /* 1, 0; -1 = not known, or not asked for */
};

/* A device of an import under way does not exist for these (E_NOTFOUND). */
int device_by_key(struct db *db, int64_t project_id, const char *key, struct arena *a,
                  struct device *ret) MUST_USE; /* project_id 0 = any */
/* The fast path of a message: the row without attributes and seen_at. key need not end in NUL. */
int device_find(struct db *db, struct str key, struct arena *a, struct device *ret) MUST_USE;
int device_by_id(struct db *db, int64_t id, struct arena *a, struct device *ret) MUST_USE;
/* The one of a type with that serial number, without attributes and seen_at. E_CONFLICT when there
 * are several: then it names none of them. */
int device_by_sn(struct db *db, int64_t type_id, struct str sn, struct arena *a,
                 struct device *ret) MUST_USE;
/* Sets id; -EEXIST; E_PROTO for a key, tags or a password that can't be. A key with a colon can't
 * have a password: mosquitto's file has no place for it. Tags hold no comma. Behind a gateway the
 * address is the key when none is given, and unique (-EEXIST); without a gateway there is none. */
int device_insert(struct db *w, struct device *d, struct fail *f) MUST_USE;
int device_update(struct db *w, const struct device *d,
                  struct fail *f) MUST_USE; /* name, sn, tags, timezone, enabled, gateway, address,
                                             * password_hash; bumps revision */
/* With its updates and lists. E_CONFLICT while devices stand behind it, or while a firmware or a
 * rule is for this device alone (an empty list would mean every device). */
int device_delete(struct db *w, int64_t id, struct fail *f) MUST_USE;

struct device_filter {
    int64_t project_id, type_id, gateway_id;         /* 0 = any (but project) */
    const char *tag, *sn, *version_module, *version; /* NULL = any */
    int enabled;                                     /* -1 = any */
};
int device_list(struct db *db, const struct device_filter *flt, int64_t after, int limit,
                int (*row)(void *arg, const struct device *d), void *arg) MUST_USE;
int64_t device_count(struct db *db, const struct device_filter *flt);

/* ---- behind a gateway ---- */
/* How a device is spoken of on the wire: by its own key, or by its gateway in one of two ways. */
enum address_form { FORM_DIRECT, FORM_GATEWAY, FORM_SUB };
/* 1 to DEVICE_ADDRESS_MAX printable characters. Pure. */
bool device_address_ok(const char *s, size_t n);
/* The device at an address right behind another; E_NOTFOUND. */
int device_behind(struct db *db, int64_t gateway_id, const char *address, struct arena *a,
                  struct device *ret) MUST_USE;
/* Those right behind a gateway, ascending by id, until row returns non-zero, which is passed on. */
struct device_near {
    int64_t id;
    const char *key; /* during the call alone */
    int online;      /* as the gateway said; -1 = it did not */
    bool leads_on;   /* something stands behind it */
};
int device_behind_list(struct db *db, int64_t gateway_id, int64_t after, int limit,
                       int (*row)(void *arg, const struct device_near *d), void *arg) MUST_USE;
/* Make one there, with a key of its own ("SD_" and 10 characters) and no password. d has project,
 * type, gateway, address, created_at. E_LIMIT when `max` devices stand behind `outermost`. */
int device_create_behind(struct db *w, struct device *d, int64_t outermost, int64_t max,
                         struct arena *a) MUST_USE;
/* It was spoken of in this form (as_list: `device` was a list): kept for later pushes. Writes only
 * when it differs. */
int device_form_note(struct db *w, int64_t device_id, enum address_form form,
                     bool as_list) MUST_USE;
/* It connects itself and speaks this: kept for later pushes. */
int device_dialect_set(struct db *w, int64_t device_id, const char *dialect) MUST_USE;
/* How to reach a device by itself: the key in the topic, the path behind it, the form. */
struct device_route {
    const char *gateway; /* the outermost one's key; its own when it connects itself */
    const char **path;   /* n_path addresses, from the gateway on; 0 = itself */
    size_t n_path;
    enum address_form form;
    bool as_list;
    const char *dialect; /* that the outermost one spoke last */
};
int device_route(struct db *db, int64_t device_id, struct arena *a,
                 struct device_route *ret) MUST_USE;
/* Whether it is connected; writes only when that is news, and returns 1 then. heard_at: when it
 * last gave a sign of life, as far as memory knows (device_seen_at); 0 = the row says. */
int device_online_set(struct db *w, int64_t device_id, bool online, int64_t heard_at,
                      int64_t now) MUST_USE;

/* ---- logins that devices fetch themselves ---- */
/* The device of a project (and type; 0 = any) with that serial number; E_CONFLICT when there are
 * several. */
int device_by_project_sn(struct db *db, int64_t project_id, int64_t type_id, const char *sn,
                         struct arena *a, struct device *ret) MUST_USE;
/* Make one, with a generated key: prefix and n characters. d has the rest. */
int device_create_named(struct db *w, struct device *d, const char *prefix, size_t n,
                        struct arena *a, struct fail *f) MUST_USE;
/* It may fetch a login, until it is heard of after `now`; or no longer. */
int device_claim_open(struct db *w, int64_t device_id, int64_t now) MUST_USE;
int device_claim_close(struct db *w, int64_t device_id) MUST_USE;
int device_claim_fetched(struct db *w, int64_t device_id) MUST_USE;
struct device_claim {
    int64_t opened_at;
    bool heard;   /* since then, by what is written */
    bool fetched; /* a login, since then */
};
/* E_NOTFOUND: it may not, unless it never had a login. */
int device_claim(struct db *db, int64_t device_id, struct device_claim *ret) MUST_USE;

/* ---- what it reported ---- */
/* Merge an object into the stored attributes (members with null are removed). Writes only when
 * something changed. E_LIMIT beyond the bounds above: nothing is stored then. */
int device_attributes_merge(struct db *w, int64_t device_id, const json_t *reported) MUST_USE;
int device_attributes(struct db *db, int64_t device_id,
                      json_t **ret) MUST_USE; /* new reference; {} when none */
/* The version of a module, into ret (VERSION_MAX+1 bytes); E_NOTFOUND when never reported. */
int device_version(struct db *db, int64_t device_id, const char *module, char *ret,
                   int64_t *ret_reported_at) MUST_USE;
/* Store it; writes only when it differs. *ret_changed: another one stood there; may be NULL.
 * E_NOTFOUND: there is no such device. */
int device_version_set(struct db *w, int64_t device_id, const char *module, const char *version,
                       int64_t now, bool *ret_changed) MUST_USE;
int device_versions(struct db *db, int64_t device_id,
                    int (*row)(void *arg, const char *module, const char *version,
                               int64_t reported_at),
                    void *arg) MUST_USE;

/* What a module ran before, the newest first: the last DEVICE_VERSIONS_KEPT. Each ended when the
 * one after it began. */
int device_version_past(struct db *db, int64_t device_id, const char *module,
                        int (*row)(void *arg, const char *version, int64_t since),
                        void *arg) MUST_USE;

/* ---- how many devices of a type run which version (version.c, points.c) ---- */
/* Modules of which some version was ever reported. */
int device_fleet_modules(struct db *db, int64_t type_id, int (*row)(void *arg, const char *module),
                         void *arg) MUST_USE;
/* As it stands: the most first; version "" are all that have no counter of their own, and last. */
int device_fleet(struct db *db, int64_t type_id, const char *module,
                 int (*row)(void *arg, const char *version, int64_t enabled, int64_t disabled),
                 void *arg) MUST_USE;
/* As it stood at the beginning of each hour (of a week) and each day, UTC (of 400). */
#define DEVICE_POINTS_HOUR 3600
#define DEVICE_POINTS_DAY  86400
#define DEVICE_POINTS_MAX  1000
/* members: of a JSON object: "versions": {version: enabled devices}, "other", "disabled". */
int device_points(struct db *db, int64_t type_id, const char *module, int64_t step_s, int64_t from,
                  int64_t to, int (*row)(void *arg, int64_t at, const char *members),
                  void *arg) MUST_USE;
/* How far the writing of points has come. Zero at the start. */
struct device_points_at {
    int64_t hour; /* of these; 0 = none */
    int64_t type_id;
    char module[MODULE_MAX + 1];
    bool done;
};
bool device_points_due(const struct device_points_at *at, int64_t now);
/* Write points that are due, of max modules at most, from the counters; then remove old ones.
 * 1 = there is more to do at once. */
int device_points_tick(struct db *w, struct device_points_at *at, int64_t now, int max) MUST_USE;

/* ---- failures and quarantine (domain: attempts per device and day) ---- */
/* Count one failed attempt; with `limit` in a day the device is quarantined for a day:
 * *ret_quarantined says so. */
int device_failed(struct db *w, int64_t device_id, int64_t limit, int64_t now,
                  bool *ret_quarantined) MUST_USE;
/* A module fell back from a verified version to an older one: *ret_n times within a day. With
 * `limit` of them the device is quarantined for a day. */
int device_flapped(struct db *w, int64_t device_id, const char *module, const char *high,
                   const char *low, int64_t limit, int64_t now, int64_t *ret_n,
                   bool *ret_quarantined) MUST_USE;
/* Why it was quarantined last: attempts or flapping, and a sentence. "" and "": not known. */
struct device_quarantine {
    char cause[16], text[256];
};
int device_quarantine_why(struct db *db, int64_t device_id, struct device_quarantine *ret) MUST_USE;
/* An operator lifts quarantine and forgets failures up to now. */
int device_release(struct db *w, int64_t device_id, int64_t now) MUST_USE;

/* ---- on their way down: what somebody asked to be told to one device ---- */
#define DEVICE_DOWN_MAX       100   /* wait for one device */
#define DEVICE_DOWN_BYTES_MAX 32768 /* of their JSON text */
struct device_down {
    int64_t id, device_id;
    int64_t message_id; /* what a command's reply repeats; 0 = attributes */
    const char *method; /* NULL = attributes */
    const char *params; /* JSON object */
    const char *app_id; /* the id that an application gave, as JSON; NULL */
    const char *state;  /* queued, sent, replied, timed_out, canceled */
    const char *reply;  /* JSON object; NULL */
    int64_t attempts, next_at, expires_at, created_at, sent_at, ended_at;
};
/* Queue it behind what waits for the device, in the distance that its type asks for: sets id,
 * next_at and expires_at. E_LIMIT when DEVICE_DOWN_MAX wait. */
int device_down_insert(struct db *w, struct device_down *m, const struct device_type *t) MUST_USE;
int device_down_by_id(struct db *db, int64_t device_id, int64_t id, struct arena *a,
                      struct device_down *ret) MUST_USE; /* device_id 0 = any */
int device_down_list(struct db *db, int64_t device_id, int64_t after, int limit,
                     int (*row)(void *arg, const struct device_down *m), void *arg) MUST_USE;
int64_t device_down_count(struct db *db, int64_t device_id); /* or an error, below 0 */
/* Ids of what is due, the longest first; returns how many. */
int device_down_due(struct db *db, int64_t now, int64_t *ret, int cap) MUST_USE;
/* The next moment at which something is due; E_NOTFOUND. */
int device_down_next(struct db *db, int64_t *ret) MUST_USE;
/* When something was last sent to the device; 0 = not lately. */
int device_down_last(struct db *db, int64_t device_id, int64_t *ret) MUST_USE;
/* Store state, attempts, next_at, sent_at and ended_at. */
int device_down_update(struct db *w, const struct device_down *m) MUST_USE;
/* A reply to a command: *ret is what it was, with its reply. 1 = the first one, 0 = one more;
 * E_NOTFOUND. reply may be NULL. */
int device_down_replied(struct db *w, int64_t device_id, int64_t message_id, const json_t *reply,
                        int64_t now, struct arena *a, struct device_down *ret) MUST_USE;
/* Forget at most max of what ended before; returns how many. */
int device_down_forget(struct db *w, int64_t before, int max) MUST_USE;

/* ---- last seen: coalesced in memory on the core thread, written in slices ---- */
struct device_seen;
struct device_seen *device_seen_new(void);
void device_seen_free(struct device_seen *s);
void device_seen_note(struct device_seen *s, int64_t device_id,
                      int64_t now); /* E.g. at each message */
/* The latest that is noted and not known to be written; 0 = none. */
int64_t device_seen_at(const struct device_seen *s, int64_t device_id);
size_t device_seen_pending(const struct device_seen *s);
/* Write up to max of what was noted, oldest first; returns how many. device_seen_flushed says how
 * the commit ended: they are forgotten, or kept for the next time. */
int device_seen_flush(struct device_seen *s, struct db *w, size_t max) MUST_USE;
void device_seen_flushed(struct device_seen *s, bool committed);

/* ---- bulk import: all or nothing, without one long transaction ---- */
/* A pending import makes its rows invisible; device_import_finish turns all visible at once;
 * device_import_drop removes up to max rows of a dropped one and returns >0 while more may be
 * left, 0 when done. Start-up drops what a crash left. */
int device_import_begin(struct db *w, int64_t project_id, int64_t now, int64_t *ret_id) MUST_USE;
int device_import_finish(struct db *w, int64_t import_id) MUST_USE;
int device_import_drop(struct db *w, int64_t import_id, int max) MUST_USE;
int device_import_leftover(struct db *db, int64_t *ret_id) MUST_USE; /* E_NOTFOUND when none */

/* ---- the broker's password and ACL files (mosquitto.conf(5): password_file, acl_file) ---- */
/* Write <dir>/passwd (mode 0600), <dir>/acl and <dir>/topics from the database, by temporary files
 * and rename: `otad` itself (service_username, its own password hash when given), the projects'
 * applications, and every enabled device with a password; those of types with foreign topics with
 * what their serial number lets them use. `topics` is for the broker's plugin: lines "type ID
 * write|read PATTERN" and "device KEY ID/SN". Blocks: for the thread pool, with a reading
 * connection. The last folder of dir is made (0750) when it is missing. */
int device_write_broker_files(struct db *db, const char *dir, const char *service_username,
                              const char *service_password, struct fail *f) MUST_USE;
/* What those files let a device do with a topic or filter (device_topics.def), and what a project's
 * applications may, whose name is their key. Any thread. */
bool device_may(const char *username, bool publish, const char *topic);

/* Foreign topics of a type (0 = a new one) against those of all other types and of the protocols:
 * none may be two's. E_PROTO with findings. */
int device_topics_clash(struct db *db, int64_t project_id, int64_t type_id,
                        const struct type_topics *t, struct json_errors *errs) MUST_USE;

/* ---- is it there? ---- */
struct device_reach {
    const struct device_seen *seen; /* NULL: the rows alone say */
    /* Whether that key is connected: 1, 0, -1 = not known. NULL: never known. */
    int (*online)(void *arg, const char *key);
    /* When it was last heard where it listens, if it was seen elsewhere since; -1: wherever it was
     * seen. NULL: always so. */
    int64_t (*heard)(void *arg, int64_t device_id);
    void *arg;
    int64_t now;
};
/* The broker's word counts, and a gateway's for what stands behind it; where neither says, a sign
 * of life within the type's offline_delay_s. */
int device_is_there(struct db *db, const struct device_reach *r, const struct device *d,
                    const struct device_type *type, struct arena *a, bool *ret) MUST_USE;

/* ---- presence: who is connected, as the broker's plugin tells. Any thread. ---- */
struct device_presence;
struct device_presence *device_presence_new(void);
void device_presence_free(struct device_presence *p);
/* A message of the plugin: lines "+<key>" and "-<key>"; "=" begins a list of all that are
 * connected, which counts from its "." on. */
void device_presence_tell(struct device_presence *p, const char *lines, size_t n);
void device_presence_forget(struct device_presence *p); /* nobody tells any more */
bool device_presence_known(struct device_presence *p);
int device_presence(struct device_presence *p, const char *key); /* -1 = not known, 0, 1 */
