/* The inside of core: shared by its files only. */
#pragma once

#include "core.h"
#include "device.h"
#include "dialect.h"
#include "mqtt.h"
#include "task.h"
#include "update.h"

#include <pthread.h>
#include <stdatomic.h>

struct core;

/* ---- engine.c: what a message says -> rows and answers ---- */
struct answer {
    const char *topic;
    struct str payload;
    bool live;  /* for applications: sent when there is room for it */
    bool spare; /* it was told in another way already: lost is no loss */
    struct answer *next;
};
struct down_ended {
    int64_t id;
    struct down_ended *next;
};
struct refusal {
    struct str device; /* of the topic */
    enum metric why;
    struct refusal *next;
};
struct answers {
    struct answer *first, **last;
    struct refusal *refused; /* what of the message was not acted on; counted when it is done */
    int64_t *seen;           /* n_seen devices that gave a sign of life */
    size_t n_seen;
    int64_t *left; /* n_left devices that have gone, by their gateway's word */
    size_t n_left;
    struct arena *arena;
    unsigned offered, repeated, nothing; /* checks answered, by result */
    unsigned bad_versions, bad_progress, without_rule;
    int64_t ids[2 * RULE_EVENT_MAX]; /* updates that were offered */
    size_t n_ids;
    unsigned down_sent, down_replied, down_timed_out, pushed;
    bool queued;              /* something for a device */
    bool keep;                /* what is kept for the device stays kept */
    bool posted;              /* it came over HTTP: that says nothing of who listens */
    struct down_ended *ended; /* what was queued and has ended */
    struct {                  /* who spoke, when its project wants to be told */
        const char *key;
        int64_t id, project_id, delay_ms; /* id 0: it does not */
    } live;
};
struct engine {
    const struct conf *conf;
    const uint8_t *link_key;
    const struct catalog *catalog;
    struct db *db;
    struct arena *arena;
    int64_t now;
    const struct device_seen *seen; /* NULL: the rows alone say */
};
/* 0 with answers added; E_NEEDS_WRITE when db only reads; E_PROTO when nothing of the message was
 * acted on; other codes are the database's. */
int engine_handle(struct engine *x, const struct dialect *dialect, const struct device_events *evs,
                  struct answers *out);
void engine_refuse(struct answers *out, struct str device, enum metric why);
/* The foreign topics of a type; NULL when it has none. */
const struct type_topics *topics_of(const struct catalog *c, int64_t type_id);
/* behind.c: the device that an event is about, which stands behind `gateway`: found by its path,
 * or made when its type allows that. E_NOTFOUND: there is none. */
int behind_find(struct engine *x, const struct device *gateway, const struct device_event *ev,
                struct device *ret);
/* Encode a command and add it to what is sent after the commit. */
int engine_answer(const struct dialect *dialect, const struct device_command *cmd,
                  struct answers *out);
/* report.c: attributes, and what they tell; applications hear of it. Otherwise as engine_handle,
 * with *ret_refused for E_PROTO. */
int report_take(struct engine *x, const struct device *d, const struct device_event *ev,
                struct answers *out, enum metric *ret_refused);
/* Those of the attributes that carry versions. */
int report_versions(struct engine *x, const struct device *d, json_t *attributes,
                    struct answers *out);
/* How an update goes, in the words of the type. before: NULL for an event. */
int report_progress(struct engine *x, const struct device *d, const json_t *said,
                    const json_t *before, struct answers *out);
/* offer.c: the command for an update; E_NOTFOUND when its firmware has gone. ret's path and form
 * are known already: what they take is not there for the link. */
int offer_command(struct engine *x, const struct update *u, struct device_command *ret);

/* ---- answers.c: what leaves after the commit ---- */
void answers_add(struct answers *out, const struct dialect_out *bytes, bool live);
void answers_take(struct answers *all, const struct answers *out); /* out's go behind all's */
/* Back to where it stood when *was was copied from it: what came since never leaves. */
void answers_cut(struct answers *all, const struct answers *was);

/* ---- live.c: what devices say, told to the applications of projects that want it ---- */
struct live_node;
struct live {
    struct map online; /* key -> struct live_device: devices of such projects */
    int64_t next_ms;   /* nothing goes offline before; monotonic */
    bool full_logged;
    struct map away; /* device id -> struct live_away: who went with a gateway */
    struct live_node *nodes, *last_node;
    size_t n_nodes;
};
/* id: the application's own, of the command that is replied to; NULL. */
int live_add(struct engine *x, const struct device *d, const struct device_event *ev,
             const char *id, struct answers *out);
void live_send(struct core *c, const struct answer *a);
void live_seen(struct core *c, const struct answers *out); /* a sign of life */
void live_presence(struct core *c, const char *lines, size_t n);
void live_lost(struct core *c); /* nobody tells any more who is connected */
void live_tick(struct core *c);
void live_done(struct live *l);
void live_tell(struct core *c, const char *key, int64_t project_id, bool online);
/* live_behind.c: those behind a gateway, who go with it and come by its word */
void live_behind_left(struct live *l, int64_t id, int64_t project_id);
void live_behind_seen(struct core *c, const struct answers *out);
void live_behind_tick(struct core *c);
void live_behind_done(struct live *l);

/* ---- down.c: commands and attributes for one device, that somebody asked for ---- */
struct downs {
    int64_t next_at; /* nothing is due before; ms UTC */
    int64_t forget_ms;
    struct map watches; /* id -> struct watch */
    struct map aside;   /* ids: nothing can be done about them, for a minute */
};
/* A message of an application; E_NOTFOUND when it is none. Otherwise as engine_handle. */
int down_heard(struct engine *x, const struct dialect_in *in, struct answers *out);
int down_tick(struct core *c);    /* in the transaction: send what is due */
bool down_is_due(struct core *c); /* there may be something */
void down_ended(struct core *c, int64_t id);
void down_wake(struct core *c, bool all); /* whoever waited long enough, or everybody */

/* ---- push.c: what otad sends of its own accord ---- */
/* The one place where a command that no message asked for finds its way to a device: in what it,
 * or the gateway that it stands behind, spoke last, and in the form of that. */
int push_command(struct engine *x, const struct device *d, struct device_command *cmd,
                 struct answers *out);
/* The offer of an update, sent with the commit. */
int push_offer(struct engine *x, const struct device *d, const struct update *u,
               struct answers *out);
/* Devices for which a message is kept: in memory, so that others cost no query. */
struct pushes {
    struct map waiting;
    int64_t *taken; /* delivered in the transaction under way */
    size_t n_taken, cap;
    int64_t run_after; /* whose turn it is among the tasks under way */
    bool more;         /* consents of users wait for the next slice */
};
int pushes_load(struct pushes *p, struct db *w) MUST_USE; /* at the start */
void pushes_done(struct pushes *p);
bool pushes_has(const struct pushes *p, int64_t device_id);
void pushes_settle(struct pushes *p, bool committed);
/* Of what the transaction delivered, all but the first n is undone. */
void pushes_undone(struct pushes *p, size_t n);
/* A sign of life: on the writer, in the message's savepoint. */
int pushes_deliver(struct core *c, struct engine *x, int64_t device_id, struct answers *out);
#define TASK_GAP_MS 5 /* between two slices: checks come first */
/* A slice of the tasks, in the transaction. Sets c->task_wait_ms. */
int pushes_tick(struct core *c);

/* ---- post.c: who is heard over HTTP ---- */
/* A sign of life, before it is noted as one. */
void posters_note(struct map *posters, const struct engine *x, int64_t device_id, bool posted);
int64_t posters_heard(const struct map *posters, int64_t device_id); /* as of struct device_reach */

/* ---- drive.c: campaigns that push ---- */
struct drive_arrival { /* it connected; it has subscribed by then */
    char key[DEVICE_KEY_MAX + 1];
    int64_t at_ms;
};
struct drives {
    struct update_walks walks;
    struct map unsure; /* device -> what was offered to it may not have reached the broker */
    int64_t unsure_to; /* … by rows of push_unsent up to this number */
    int64_t last_no, sent_no, reached; /* of those rows: given, handed to the session, there */
    int64_t resent;                    /* looked at in this round … */
    int64_t resend_ms; /* … the next one begins; monotonic; INT64_MAX = there is none */
    bool later;        /* some may not be sent now */
    struct drive_arrival *arrivals;
    size_t first, n_arrivals;
    bool listing, again; /* the plugin lists who is connected; it has */
    bool took;           /* something of this, in the transaction under way */
    bool unsent;         /* what may not have arrived is not known */
};
int drives_load(struct drives *v, struct db *w) MUST_USE; /* at the start */
void drives_done(struct drives *v);
void drives_settle(struct drives *v, bool committed);
/* A sign of life, on whatever connection; E_NEEDS_WRITE when it is a reading one, and there is
 * something for the device. */
int drive_seen(struct core *c, struct engine *x, int64_t device_id, struct answers *out);
/* What a campaign has for one device now is sent, if the device is there: 1 = sent, 0 = not. On the
 * writer, in a transaction. */
int drive_offer(struct core *c, struct engine *x, int64_t campaign_id, int64_t device_id,
                struct answers *out);
void drive_presence(struct core *c, const char *lines, size_t n); /* what the plugin tells */
/* A slice of going through devices, in the transaction. Sets c->task_wait_ms. */
int drive_tick(struct core *c);

/* ---- topics.c: what otad subscribes ---- */
struct topics {   /* filters, a line each */
    char *wanted; /* by the catalog */
    char *held;   /* those, and others that the broker's session may have */
    char *stored; /* the same, as the database has it */
    char *writing;
};
const char *const *topics_filters(struct core *c, struct arena *a); /* NULL-terminated */
/* All that the session may have, at the start; then topics_changed gives up what is not wanted. */
int topics_open(struct core *c, struct arena *a, const char *const **ret) MUST_USE;
void topics_changed(struct core *c); /* with the catalog */
bool topics_due(struct core *c);     /* there is something to store */
int topics_store(struct core *c);    /* in the transaction */
void topics_settle(struct core *c, bool committed);
void topics_done(struct topics *t);

/* ---- noise.c: what is refused is counted always, logged once per device and minute ---- */
struct noise;
struct noise *noise_new(void);
void noise_free(struct noise *n);
void noise_refused(struct noise *n, struct str device, enum metric why, int64_t now);

/* ---- broker_files.c: passwords and ACLs for the broker, written behind the scenes ---- */
struct broker_files;
/* on_written runs on the loop when the files hold every change so far. */
struct broker_files *broker_files_new(struct loop *l, const struct conf *conf, const char *db_path,
                                      void (*on_written)(void *arg), void *arg);
void broker_files_dirty(struct broker_files *b); /* soon, once for many changes */
/* Begin nothing any more: the next start writes them anyway. */
void broker_files_stop(struct broker_files *b);
bool broker_files_busy(const struct broker_files *b);
void broker_files_free(struct broker_files *b); /* not while busy */

/* ---- plugin.c: the broker's plugin, if there is one ---- */
#define PLUGIN_PRESENCE_TOPIC "otad/presence"
bool plugin_heard(struct core *c, const struct mqtt_message *m); /* true: it was the plugin's */
void plugin_lost(struct core *c);        /* the session that hears it has ended */
void plugin_tx(struct core *c, bool up); /* the one that tells it has begun or ended */
void plugin_files_written(void *arg);
void plugin_tell_login(struct core *c, const char *key); /* after the commit of its change */
/* After the commit of many: it reads the file again; and logins that were revoked lately, which may
 * be among them, are told one by one, because for a while the file does not count for those. */
void plugin_tell_many(struct core *c);
void plugin_tick(struct core *c); /* a slice of that */
struct revoked_login {
    char key[DEVICE_KEY_MAX + 1];
    int64_t at_ms; /* monotonic */
};
struct revoked {
    struct revoked_login *list;
    size_t n, cap;
    size_t look; /* so many of the first are to be looked at */
};

/* ---- queue.c: what waits for the writer ---- */
struct waiting { /* a device message, as it came */
    struct waiting *next;
    uint64_t device_hash;
    int64_t taken_us;
    uint64_t number; /* mqtt_message.number */
    bool check;      /* it was an OTA check */
    const char *topic;
    const char *user; /* NULL when the broker does not say */
    const void *payload;
    size_t n;
};
struct waiting *waiting_new(const struct mqtt_message *m, uint64_t device_hash, int64_t taken_us);

/* How many messages of a device are queued or in the transaction under way. */
struct busy {
    struct map map;
};
bool busy_is(const struct busy *b, uint64_t device_hash);
void busy_add(struct busy *b, uint64_t device_hash);
void busy_remove(struct busy *b, uint64_t device_hash);

/* Jobs from other threads. */
struct job_queue {
    pthread_mutex_t lock;
    struct db_job *first, **last;
    size_t n;
    bool closed;
};
void job_queue_init(struct job_queue *q);
void job_queue_done(struct job_queue *q);
/* How many are in it; E_UNAVAILABLE when it is full or closed. */
int job_queue_put(struct job_queue *q, struct db_job *job);
struct db_job *job_queue_take(struct job_queue *q); /* NULL when empty */
size_t job_queue_count(struct job_queue *q);
void job_queue_close(struct job_queue *q);

/* ---- stubborn.c: messages that fail alone, again and again ---- */
struct stubborn {
    struct map tries;
    int64_t last_ms;
};
/* Count one more failure; true when it is to be left out. now: monotonic. */
bool stubborn_failed(struct stubborn *s, const struct waiting *w, int64_t now);
void stubborn_done(struct stubborn *s);

/* ---- upkeep.c: the housekeeping's parts that send nothing ---- */
/* Each fails for itself. An error: the housekeeping, or the transaction, is lost. */
int upkeep_expire(struct core *c);
int upkeep_topics(struct core *c);
int upkeep_sweep(struct core *c);
int upkeep_points(struct core *c);

/* ---- core.c, turn.c, write.c, intake.c ---- */
struct core {
    const struct conf *conf;
    struct loop *loop;
    struct catalog_cell *cell;
    struct catalog *catalog; /* the core's own reference */
    uint8_t link_key[32];
    void (*alive)(void *arg);
    void (*committed)(void *arg);
    void *alive_arg;

    struct mqtt *rx, *tx; /* takes messages, acknowledges late; sends commands */
    _Atomic bool up;
    bool rx_up, tx_up, rx_connected;
    struct loop_timer *tick, *task_gap;
    struct loop_wake *job_wake, *commit_wake;
    struct noise *noise;
    struct broker_files *files;
    struct device_seen *seen;
    struct device_presence *presence;
    bool plugin_paused; /* it is there, but there is no way to it */
    bool plugin_reload; /* it has to read the file again, when that is written */
    struct revoked revoked;

    struct db *reader, *writer;
    struct db_committer *committer;
    struct db_checkpointer *checkpointer;

    /* reading phase */
    struct arena read_arena;
    bool reading; /* the reader is in a transaction */
    int64_t batch_us;

    /* waiting for the writer */
    struct waiting *wait_first, *wait_last;
    size_t n_waiting, waiting_bytes;
    struct busy busy;
    struct job_queue jobs, patient;
    bool patient_due;

    /* the transaction under way */
    bool open;       /* begun, and not all that it takes is in it */
    bool committing; /* the committer has it */
    int64_t tx_began_us, tx_spent_us, tx_changes;
    int tx_count; /* messages */
    struct arena tx_arena;
    struct answers tx_answers;
    struct waiting *tx_messages, **tx_last;
    struct db_job *tx_jobs, **tx_jobs_last;
    bool tx_catalog, tx_seen, tx_wrote;
    size_t tx_seen_n; /* notes of when devices were seen */

    /* what failed */
    struct stubborn stubborn;
    bool catalog_stale; /* committed, but the snapshot could not be made */
    bool read_failed;   /* in this batch, and logged */

    /* acknowledging */
    int64_t oldest_unacked_us;
    bool paused_for_ack;

    struct topics topics;
    bool topics_due;
    struct pushes pushes;
    struct map posters; /* device -> when it was heard before it posted; post.c's */
    struct drives drives;
    struct live live;
    struct downs downs;
    bool down_due;
    bool unsent; /* of the tasks: what may not have arrived is not known */

    int64_t task_wait_ms; /* the tasks go on after so long; 0: with the tick */
    struct task_keep keep;
    bool sweep_more;
    struct device_points_at points;
    bool points_due;
    size_t seen_due; /* notes of when devices were seen that are to be written */
    bool expire_due, event_due, task_due, sweep_due, stopping;
    int64_t next_seen_ms, next_expire_ms, next_reload_ms, stop_at_ms;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

#define WAITING_BYTES_MAX (32 << 20) /* of messages that wait */
#define PATIENT_MAX       512        /* jobs nobody waits for: so many are worth a transaction */

/* turn.c */
struct dialect_in turn_in(const struct core *c, const char *topic, const char *user,
                          const void *payload, size_t n);
/* What handlers work with: the catalog of now, and this connection and arena. */
struct engine turn_engine(const struct core *c, struct db *db, struct arena *arena);
/* Decode with the first dialect that knows the topic, and handle. Whatever was refused stands in
 * out; it is counted when the message is done with, not when it has to be run again. */
int turn_run_message(struct core *c, struct db *db, struct arena *arena,
                     const struct dialect_in *in, struct answers *out);
void turn_answers_init(struct answers *out, struct arena *a);
bool turn_has_check(const struct answers *out);
void turn_note_refused(struct core *c, const struct answers *out);
void turn_answers_send(struct core *c, struct answers *out);
void turn_message(struct core *c, const struct mqtt_message *m);
void turn_batch_end(struct core *c);
/* write.c */
void turn_write(struct core *c);     /* start or go on with a transaction if there is need */
void turn_committed(struct core *c); /* the committer gave word */
/* A part of the housekeeping, in a savepoint of its own: what fails there takes nothing else with
 * it, and nothing of it leaves. 1 = it failed, and is undone; an error: so is all of the
 * housekeeping, or the transaction. what: for the log. */
int turn_part(struct core *c, int (*run)(struct core *c, struct answers *out), const char *what);
/* Of what was written since the transaction or a savepoint began nothing is there any more: what
 * memory has made of it is given up, and found again in the rows. */
void turn_undone(struct core *c);
/* Something could not be handed to the broker's session, or that it was is not written down. */
void turn_unsent(struct core *c);
/* The savepoint is undone; false when the transaction has gone with it. */
bool turn_undo(struct core *c);
void turn_alive(struct core *c);  /* a sign of life for the watchdog */
void turn_reload(struct core *c); /* the snapshot of the catalog, from the database */
void turn_forget(struct core *c); /* the messages that wait: nothing of them was acknowledged */
/* intake.c */
void turn_lost(struct core *c);   /* the broker's session broke: its messages come again */
void turn_intake(struct core *c); /* hold or take messages, acknowledge what is settled */
