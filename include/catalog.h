/*
 * catalog: projects, device types, rules and firmwares: their rows, and the immutable snapshot
 * of them that decisions read. Row functions take the connection of the calling thread; those
 * that write are called on the core thread, inside its transaction. Strings in structs belong to
 * the arena given, or to the snapshot.
 */
#pragma once

#include "campaign.h"
#include "crypto.h"
#include "db.h"
#include "json.h"
#include "util.h"

#define MODULE_MAX         32
#define FIRMWARE_FILES_MAX 5
#define RULE_DEVICES_MAX   1000
#define RULE_EVENT_MAX     16 /* rules of one type, and of one device, for one event */

/* Whether devices may fetch their login: never, until they are heard of, at any time. */
enum bootstrap { BOOTSTRAP_OFF, BOOTSTRAP_ONCE, BOOTSTRAP_ALWAYS, BOOTSTRAP__COUNT };
struct project {
    int64_t id, created_at, updated_at, revision;
    const char *key, *name;
    enum bootstrap bootstrap;
    int64_t bootstrap_create; /* so many devices may still be made by that */
    bool second_person;       /* what sets a campaign going needs one */
};

/* ---- foreign topics of a device type: each stands for one of the EZtCloud protocol's ---- */
#define TYPE_TOPICS_MAX    16   /* of one type */
#define CATALOG_TOPICS_MAX 1000 /* of all */
#define TOPIC_PATTERN_MAX  128  /* bytes */
#define TOPIC_LEVELS_MAX   16
#define TOPIC_FIELDS_MAX   16
#define TOPIC_PAYLOAD_MAX  2048 /* bytes of a template's text */
#define TOPIC_SN_MAX       64

enum topic_as {
    AS_ATTRIBUTES,
    AS_ATTRIBUTES_GET,
    AS_EVENT_REPORT,
    AS_COMMAND_REPLY,
    AS_COMMAND_SEND, /* this one and the rest go down to devices */
    AS_ATTRIBUTES_PUSH,
    AS_ATTRIBUTES_GET_RESPONSE,
    AS_ATTRIBUTES_RESPONSE,
    AS_EVENT_RESPONSE,
    TOPIC_AS__COUNT
};
struct topic_field {
    const char *name, *path; /* json_path_get() of the payload */
};
struct type_topic {
    int64_t type_id;
    const char *pattern; /* one level of it is "{sn}" */
    enum topic_as as;
    const char *event;          /* EVENT_REPORT: whatever the payload is; NULL = it says */
    const char *text;           /* ATTRIBUTES: the attribute that the whole payload is; NULL */
    struct topic_field *fields; /* n_fields; 0 = the payload as it stands */
    size_t n_fields;
    const char *method;  /* COMMAND_SEND: this one alone; NULL = any other */
    const char *payload; /* COMMAND_SEND: JSON text with "{path}" in it; NULL = as it stands */
    bool tells_upgrade;  /* … which says whether there is an upgrade */
};
struct type_topics {
    struct type_topic *list;
    size_t n;
};
/* From what an operator sends. E_PROTO with findings, whose pointers begin with /topics. */
int type_topics_parse(const json_t *in, struct arena *a, struct type_topics *ret,
                      struct json_errors *errs) MUST_USE;
/* The same from a row's text. */
int type_topics_read(const char *text, int64_t type_id, struct arena *a,
                     struct type_topics *ret) MUST_USE;
bool topic_is_down(enum topic_as as);
/* A serial number that can stand in a topic (and in the broker's files): 1 to TOPIC_SN_MAX
 * printable ASCII characters but space / + # %. Pure. */
bool topic_sn_ok(const char *sn, size_t n);
const char *topic_with_sn(const char *pattern, struct str sn, struct arena *a);
/* Whether a device of that serial number may use a topic or filter by them. Pure. */
bool type_topics_may(const struct type_topics *t, const char *sn, bool publish, const char *topic);
/* In which words of their own devices of a type tell how an update goes. */
struct progress_word {
    const char *said, *state; /* state: the name of an update's state, or "none" */
};
struct progress {
    const char *attribute, *event; /* where it is told; one of them is NULL */
    /* Names of members; NULL = none. Of the event's params; of the attribute's object; and without
     * state_field the attribute is the state itself and the others are attributes beside it. */
    const char *state_field, *percent_field, *text_field, *id_field, *module_field, *log_field;
    const struct progress_word *words;
    size_t n_words;
};

struct device_type {
    int64_t id, project_id, created_at, updated_at, revision;
    const char *key, *name, *description, *timezone;
    enum version_scheme scheme;
    bool attributes_response, event_response;
    int64_t accept_timeout_s, download_timeout_s, install_timeout_s, verify_timeout_s;
    int64_t attempts, attempts_per_day, flaps_per_day, backoff_s;
    const char *battery_attribute, *signal_attribute, *space_attribute;
    bool auto_create;                /* a gateway may bring devices of this type by itself */
    int64_t max_children;            /* of a gateway: how many may stand behind it so */
    int64_t parallel_updates;        /* of a gateway: how many behind it may be updated at a time */
    const char *progress_text;       /* JSON; NULL = none */
    const struct progress *progress; /* the same, in the snapshot alone */
    const char *topics_text;         /* JSON; NULL = "[]" */
    struct type_topics topics;       /* filled in the snapshot alone */
    int64_t down_interval_ms;        /* between two messages that somebody asked for */
    int64_t reply_wait_ms, reply_retries; /* a command without a reply is sent again */
    int64_t offline_delay_s;              /* silent or disconnected for so long: offline */
    bool gateway;                         /* its devices are gateways, and are told so */
};

/* What applications of a project log in with (EZtCloud's ProjectKey, ProjectSecret, ProjectToken).
 * One per project. */
#define APP_KEY_PREFIX "PR_"
struct project_app {
    int64_t project_id, created_at, rotated_at, revision;
    const char *key;
    const char *secret_hash; /* crypto_password_hash */
    const char *token;       /* as it is: applications sign with it */
    bool live;               /* what its devices say goes to open/<key>/… */
};

struct rule {
    int64_t id, project_id, type_id, device_id; /* one of type_id and device_id is 0 */
    int64_t created_at, updated_at, revision;
    const char *name, *event, *version_attribute, *module;
    bool enabled;
    struct id_list devices; /* of the type, the only ones it is for; empty = all. Only filled in
                             * the snapshot: the rows are rule_devices'. */
};

struct firmware_file {
    const char *name;
    struct digests digests; /* size inside */
    bool missing;           /* its bytes were not there when the program started */
};

struct firmware {
    int64_t id, project_id, type_id, created_at, updated_at, revision;
    const char *module, *version, *name, *notes;
    bool enabled, use_https, campaign_only;
    bool must_pass;               /* a floor: nothing below it goes beyond it directly */
    const char **source_versions; /* n_sources; a delta, when there are any */
    size_t n_sources;
    struct id_list devices, denied;
    /* {attribute: value or [values]}; NULL or empty = none. The one thing that is not the arena's:
     * after firmware_by_id it is the caller's reference (json_decref; NULL on error); a list's and
     * the snapshot's stay theirs. */
    json_t *hardware;
    bool has_min_battery, has_min_signal, has_min_free_space;
    int64_t min_battery, min_signal, min_free_space; /* percent, dBm, bytes */
    const char *image; /* JSON text of what the image says of itself */
    struct firmware_file files[FIRMWARE_FILES_MAX];
    size_t n_files, n_missing;
    uint64_t bytes_total;
    /* Only filled in the snapshot: the place of the version among those of type and module (higher
     * is newer), all firmwares of that version (newest first, itself included), and the places of
     * the source versions that are firmwares themselves. */
    size_t rank;
    const struct firmware *const *peers;
    size_t n_peers;
    const size_t *from;
    size_t n_from;
};

/* ---- rows ---- */
extern const struct device_type device_type_defaults;
/* The installation: makes project `default`, the link key and the update counter at the first
 * start. Idempotent. Core thread, in a transaction. */
int catalog_install(struct db *w, int64_t now, struct fail *f) MUST_USE;
int catalog_link_key(struct db *db, uint8_t ret[32]) MUST_USE;

int project_insert(struct db *w, struct project *p,
                   struct fail *f) MUST_USE; /* sets id and times from p->created_at */
int project_update(struct db *w, const struct project *p, struct fail *f) MUST_USE;
const char *bootstrap_name(enum bootstrap b);
int project_second_person(struct db *db, int64_t id, bool *ret) MUST_USE;
/* One of the devices that may be made by bootstrap; E_LIMIT when there is none left. */
int project_bootstrap_take(struct db *w, int64_t id) MUST_USE;
int project_by_key(struct db *db, const char *key, struct arena *a, struct project *ret) MUST_USE;
int project_delete(struct db *w, int64_t id,
                   struct fail *f) MUST_USE; /* E_CONFLICT unless empty; `default` never */

/* E_NOTFOUND when the project has none. */
int project_app_by_project(struct db *db, int64_t project_id, struct arena *a,
                           struct project_app *ret) MUST_USE;
int project_app_by_key(struct db *db, const char *key, struct arena *a,
                       struct project_app *ret) MUST_USE;
int project_app_list(struct db *db, int (*row)(void *arg, const struct project_app *app),
                     void *arg) MUST_USE;
/* -EEXIST: the project has one, or the key is taken. */
int project_app_insert(struct db *w, const struct project_app *app) MUST_USE;
int project_app_update(struct db *w, const struct project_app *app) MUST_USE; /* all but the key */
int project_app_delete(struct db *w, int64_t project_id) MUST_USE;            /* E_NOTFOUND */
/* A new key, "PR_" and ten letters or digits. */
#define APP_KEY_TEXT 16
void project_app_key(char ret[APP_KEY_TEXT]);

int device_type_insert(struct db *w, struct device_type *t,
                       struct fail *f) MUST_USE; /* with its default rule */
int device_type_update(struct db *w, const struct device_type *t, struct fail *f) MUST_USE;
int device_type_delete(struct db *w, int64_t id, struct fail *f)
    MUST_USE; /* E_CONFLICT while devices or firmwares are left */
int device_type_by_key(struct db *db, int64_t project_id, const char *key, struct arena *a,
                       struct device_type *ret) MUST_USE;
int device_type_by_id(struct db *db, int64_t id, struct arena *a, struct device_type *ret) MUST_USE;

/* Types that have foreign topics, in any project. Stops when row returns non-zero. */
int device_type_topics_each(struct db *db,
                            int (*row)(void *arg, int64_t type_id, int64_t project_id,
                                       const char *key, const char *topics_text),
                            void *arg) MUST_USE;

/* Check what a request brings for `progress`; findings with pointers below `at`. Pure. */
int progress_check(const json_t *in, const char *at, struct json_errors *errs) MUST_USE;
/* Into a struct in the arena; NULL when the text is none that was checked. Pure. */
const struct progress *progress_parse(const char *text, struct arena *a);

/* E_LIMIT when RULE_EVENT_MAX others are for the event. */
int rule_insert(struct db *w, struct rule *r, struct fail *f) MUST_USE;
int rule_update(struct db *w, const struct rule *r, struct fail *f) MUST_USE;
int rule_delete(struct db *w, int64_t id) MUST_USE;
/* Narrow a rule of a type to these devices, at most RULE_DEVICES_MAX; n = 0: it is for all again.
 * Doubles are fine. E_CONFLICT when the rule is of one device, or a device is gone. */
int rule_set_devices(struct db *w, const struct rule *r, const int64_t *ids, size_t n,
                     struct fail *f) MUST_USE;
/* The list's keys, by ascending id. */
int rule_devices(struct db *db, int64_t rule_id, int (*row)(void *arg, const char *key),
                 void *arg) MUST_USE;
int rule_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a,
               struct rule *ret) MUST_USE;

int firmware_insert(struct db *w, struct firmware *fw,
                    struct fail *f) MUST_USE; /* all but id; sets id */
/* The event: a second person has to confirm the action. */
int firmware_asked(struct db *w, int64_t id, const char *action, int64_t now) MUST_USE;
/* A campaign that has not ended, or takes a release back, gives devices this version of type and
 * module, or would: 1, 0 or an error. So it gives them further file sets of the version, too. */
int firmware_is_governed(struct db *db, const struct firmware *fw) MUST_USE;
int firmware_update(struct db *w, const struct firmware *fw,
                    struct fail *f) MUST_USE; /* only what may change */
/* E_CONFLICT while an update under way or a campaign needs it. The row stays for the history of
 * ended updates (deleted_at), but no list, snapshot or firmware_uses() knows it any more. */
int firmware_delete(struct db *w, int64_t id, int64_t now, struct fail *f) MUST_USE;
int firmware_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a,
                   struct firmware *ret) MUST_USE;
/* True while a row names the bytes (and when the database can't say). */
bool firmware_uses(struct db *db, const uint8_t sha256[SHA256_SIZE]);
/* Each bytes that a row names, once. The callback writes nothing. */
int firmware_bytes_each(struct db *db,
                        int (*row)(void *arg, const uint8_t sha256[SHA256_SIZE], uint64_t size,
                                   bool missing),
                        void *arg) MUST_USE;
/* Whether these bytes are there, for every firmware that names them: one that lacks a file is not
 * offered. Writes only what changes. */
int firmware_bytes_missing(struct db *w, const uint8_t sha256[SHA256_SIZE], bool missing) MUST_USE;

/* Lists, by ascending id, `after` exclusive, at most limit rows. Filters: 0 or NULL = any. The
 * callback may stop with a non-zero return, which is passed on. */
int project_list(struct db *db, int64_t after, int limit,
                 int (*row)(void *arg, const struct project *p), void *arg) MUST_USE;
int device_type_list(struct db *db, int64_t project_id, int64_t after, int limit,
                     int (*row)(void *arg, const struct device_type *t), void *arg) MUST_USE;
int rule_list(struct db *db, int64_t project_id, int64_t type_id, int64_t device_id, int64_t after,
              int limit, int (*row)(void *arg, const struct rule *r), void *arg) MUST_USE;
int firmware_list(struct db *db, int64_t project_id, int64_t type_id, const char *module,
                  const char *version, int64_t after, int limit,
                  int (*row)(void *arg, const struct firmware *fw), void *arg) MUST_USE;
/* of "device_types" "rules" "firmwares" "projects"; <0: an error */
int64_t catalog_count(struct db *db, const char *what, int64_t project_id);

/* ---- the snapshot ---- */
struct catalog;
/* Read everything. The result has one reference. */
int catalog_load(struct db *db, struct catalog **ret, struct fail *f) MUST_USE;
struct catalog *catalog_ref(struct catalog *c); /* any thread */
void catalog_unref(struct catalog *c);          /* any thread; NULL is fine */

const struct device_type *catalog_type(const struct catalog *c, int64_t type_id);      /* NULL */
const struct firmware *catalog_firmware(const struct catalog *c, int64_t firmware_id); /* NULL */
/* The applications of a project, by its id or by their key; NULL. */
const struct project_app *catalog_app(const struct catalog *c, int64_t project_id);
const struct project_app *catalog_app_by_key(const struct catalog *c, struct str key);
/* The same, but NULL unless the project wants to be told what its devices say. */
const struct project_app *catalog_live(const struct catalog *c, int64_t project_id);
bool catalog_any_live(const struct catalog *c); /* some project does */
/* Is a rule of the device or its type for this device? Its list says. Pure. */
bool rule_is_for(const struct rule *r, int64_t device_id);
/* Enabled rules for an event of a device: its own, then those of its type that list it, then those
 * for the whole type; of each module the first only, or one question would get the same offer
 * twice. At most cap; returns how many. */
size_t catalog_rules(const struct catalog *c, int64_t type_id, int64_t device_id, const char *event,
                     const struct rule **ret, size_t cap);
/* The modules whose version the attribute carries, by any rule (enabled or not) of the device or
 * its type. A rule that lists other devices counts only while no rule for this one names the
 * module: so no version gets lost, and listed devices can have an attribute of their own. Distinct
 * modules, at most cap. */
size_t catalog_version_modules(const struct catalog *c, int64_t type_id, int64_t device_id,
                               const char *attribute, const char **ret, size_t cap);
/* Every rule of a module of the device, then of its type: enabled or not, for this device or not.
 * At most cap; returns how many. */
size_t catalog_module_rules(const struct catalog *c, int64_t type_id, int64_t device_id,
                            const char *module, const struct rule **ret, size_t cap);
/* Firmwares of a type and module, highest version first, equal ones newest first. Opaque versions
 * go by upload: the place of one is that of its newest full image, or without one of its newest
 * delta. */
size_t catalog_candidates(const struct catalog *c, int64_t type_id, const char *module,
                          const struct firmware *const **ret);
/* Those of them that are floors, enabled or not; lowest version first. */
size_t catalog_floors(const struct catalog *c, int64_t type_id, const char *module,
                      const struct firmware *const **ret);

/* NULL: there is none, or it was deleted. */
const struct campaign *catalog_campaign(const struct catalog *c, int64_t campaign_id);
/* The campaigns of a firmware, newest first: those that release it, or for which it is the declared
 * rollback. A campaign for a full image releases the deltas of its version as well. */
size_t catalog_campaigns(const struct catalog *c, int64_t firmware_id, bool rollback,
                         const struct campaign *const **ret);
/* Those that push to devices of the type and had not ended when this was read, newest first. */
size_t catalog_pushes(const struct catalog *c, int64_t type_id, const struct campaign *const **ret);
bool catalog_any_push(const struct catalog *c); /* to some type */
/* A campaign may offer what is not newer, for this type and module. */
bool catalog_goes_back(const struct catalog *c, int64_t type_id, const char *module);
/* The foreign topics that devices publish, of all types; how many. */
size_t catalog_topics(const struct catalog *c, const struct type_topic *const **ret);
/* The one that a topic fits; *ret_sn: the serial number in it, part of topic. NULL: none. */
const struct type_topic *catalog_topic(const struct catalog *c, const char *topic,
                                       struct str *ret_sn);

/* ---- the shared pointer: one writer (core thread), readers on any thread ---- */
struct catalog_cell;
struct catalog_cell *catalog_cell_new(struct catalog *first); /* takes the reference */
void catalog_cell_free(struct catalog_cell *cell);
struct catalog *catalog_cell_get(struct catalog_cell *cell);         /* a new reference */
void catalog_cell_set(struct catalog_cell *cell, struct catalog *c); /* takes the reference */
