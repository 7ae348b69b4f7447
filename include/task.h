/*
 * task: what otad does by itself to many devices: push an upgrade, send a command, push
 * attributes; at times that a schedule names in a time zone, or by hand. Schedules and zones are
 * pure. A run is rows: it goes on after a crash where its last commit stood, and each device is
 * handled at most once in it. What runs belongs to the core thread, inside its transaction.
 */
#pragma once

#include "catalog.h"
#include "device.h"
#include "update.h"

/* ---- schedules ---- */
enum schedule_kind {
    SCHEDULE_MANUAL,
    SCHEDULE_ONCE,     /* at one instant */
    SCHEDULE_INTERVAL, /* every n minutes, hours or days from an instant */
    SCHEDULE_REPEAT,   /* on weekdays or days of the month at hh:mm */
    SCHEDULE_HOURLY,   /* on the hour, a set of hours */
    SCHEDULE_CRON,
    SCHEDULE__COUNT
};
/* Which minutes on the wall match; days: with both day sets given, either is enough. */
struct cron {
    uint64_t minutes;             /* bits 0..59 */
    uint32_t hours, days, months; /* bits 0..23, 1..31, 1..12 */
    uint32_t weekdays;            /* bits 0..6, Sunday is 0 */
    bool any_day, any_weekday;    /* the field began with a star */
};
struct schedule {
    enum schedule_kind kind;
    int64_t at;          /* ONCE; INTERVAL: from */
    int64_t every;       /* INTERVAL */
    int64_t unit_s;      /* INTERVAL: 60, 3600, 86400 (a day on the wall) */
    struct cron pattern; /* REPEAT, HOURLY, CRON */
};
/* "minute hour day month weekday": lists, ranges, steps, names of months and weekdays. 0, or
 * E_PROTO with a sentence. Pure. */
int cron_parse(const char *text, struct cron *ret, struct fail *f) MUST_USE;
/* An object {"kind": …} into a schedule; findings with pointers below `at`. */
int schedule_parse(const json_t *in, const char *at, struct schedule *ret,
                   struct json_errors *errs) MUST_USE;
/* The first instant after after_ms; 0 = never again. Each minute on the wall that matches is one
 * instant: in a gap the first after it, what happens twice only the first time. Pure. */
int64_t schedule_next(const struct schedule *s, const struct zone *z, int64_t after_ms);

/* ---- tasks ---- */
#define TASK_LATE_MS 30000 /* late by so much is on time: the clock is looked at now and then */
enum task_action { TASK_OTA_PUSH, TASK_COMMAND_SEND, TASK_ATTRIBUTES_PUSH, TASK_ACTION__COUNT };
const char *task_action_name(enum task_action a);
struct task {
    int64_t id, project_id;
    const char *name;
    bool enabled; /* false: nothing starts, nothing under way goes on, nothing kept is sent */
    enum task_action action;
    const char *params;   /* JSON object of the action */
    int64_t type_id;      /* target: 0 = by tags or by list */
    const char *tags;     /* target: JSON array, any of them; NULL */
    const char *schedule; /* JSON object */
    const char *timezone;
    int64_t grace_s;         /* a time is missed when it is older than that and TASK_LATE_MS */
    int64_t rate_per_minute; /* 0 = as fast as it goes */
    int64_t next_at;         /* 0 = none */
    int64_t created_at, updated_at, revision;
};
/* Check what a request brings, and what it means together: schedule, zone, action. */
int task_check(const json_t *action, const json_t *schedule, const char *timezone,
               struct json_errors *errs) MUST_USE;
/* Sets id. next_at comes from the schedule, from created_at or updated_at on. devices: the list
 * that is its target, when n > 0. */
int task_insert(struct db *w, struct task *t, const int64_t *devices, size_t n) MUST_USE;
/* devices NULL: the list stays. When it is disabled, what is under way ends, and what is kept is
 * not sent; the latter also with another action. */
int task_update(struct db *w, struct task *t, const int64_t *devices, size_t n) MUST_USE;
/* It is gone at once, with its run under way. Its rows are removed here as far as max rows of its
 * devices go; task_sweep does the rest. */
int task_delete(struct db *w, int64_t id, int64_t now, int max) MUST_USE;
int task_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a,
               struct task *ret) MUST_USE; /* project_id 0 = any */
struct task_filter {
    int64_t project_id;
    int enabled;        /* -1 = any */
    const char *action; /* its name; NULL = any */
    int64_t type_id;    /* the target; 0 = any */
};
int task_list(struct db *db, const struct task_filter *flt, int64_t after, int limit,
              int (*row)(void *arg, const struct task *t), void *arg) MUST_USE;
int64_t task_count(struct db *db, const struct task_filter *flt); /* or an error, below 0 */
/* Keys of the devices of a task that is for a list. */
int task_devices(struct db *db, int64_t task_id, int (*row)(void *arg, const char *key),
                 void *arg) MUST_USE;
/* 1 = the device is among the task's targets, 0 = not. */
int task_targets(struct db *db, const struct task *t, int64_t device_id) MUST_USE;

/* ---- runs ---- */
struct task_run {
    int64_t id, task_id;
    const char *cause; /* schedule, operator */
    const char *state; /* running, done, skipped, canceled */
    const char *reason;
    int64_t due_at, started_at, ended_at;
};
/* By hand, on all targets or on those given. E_CONFLICT when it is disabled, or when a run is
 * under way. */
int task_run_now(struct db *w, const struct task *t, const int64_t *devices, size_t n, int64_t now,
                 int64_t *ret_run, struct fail *f) MUST_USE;
int task_run_by_id(struct db *db, int64_t task_id, int64_t id, struct arena *a,
                   struct task_run *ret) MUST_USE;
int task_run_list(struct db *db, int64_t task_id, const char *state, int64_t before, int limit,
                  int (*row)(void *arg, const struct task_run *r), void *arg) MUST_USE;
/* How many, or an error, below 0. */
int64_t task_run_list_count(struct db *db, int64_t task_id, const char *state);
int task_run_counts(struct db *db, int64_t run_id,
                    int (*row)(void *arg, const char *result, const char *reason, int64_t n),
                    void *arg) MUST_USE;
struct task_run_device {
    int64_t device_id, message_id, at;
    const char *key, *result, *reason;
};
/* Ascending by device. result NULL = any. */
int task_run_devices(struct db *db, int64_t run_id, const char *result, int64_t after, int limit,
                     int (*row)(void *arg, const struct task_run_device *d), void *arg) MUST_USE;
int64_t task_run_devices_count(struct db *db, int64_t run_id, const char *result); /* or an error */

/* ---- what is not needed any more ---- */
struct task_keep {
    int64_t runs, before; /* ended runs that stay, of each task; but none that ended before */
    int64_t after;        /* the task that was looked at last; the sweep's own */
};
/* Remove rows of deleted tasks and old runs, at most about max of them; then look for runs that
 * have become old, of a few tasks a time. A run under way, or one with messages that are kept,
 * stays. 1 = there is more to do, 0 = not now; or an error. */
int task_sweep(struct db *w, struct task_keep *k, int max) MUST_USE;

/* ---- execution ---- */
/* One message, to be sent once the transaction is committed. Where presence is not known, a device
 * that gave no sign of life for its type's offline_delay_s is taken for offline: the message is
 * kept. */
struct task_message {
    enum task_action action;
    const struct device *device;
    const struct update *update; /* OTA_PUSH */
    int64_t id;
    const char *method;       /* COMMAND_SEND */
    const json_t *params;     /* COMMAND_SEND; NULL = none */
    const json_t *attributes; /* ATTRIBUTES_PUSH */
};
struct task_env {
    struct db *db;
    const struct catalog *catalog;
    const struct device_seen *seen; /* NULL: the rows alone say */
    /* Whether that key is connected: 1, 0, -1 = not known. NULL: never known. */
    int (*online)(void *arg, const char *key);
    int64_t (*heard)(void *arg, int64_t device_id); /* as of struct device_reach */
    int64_t now, link_lifetime_ms;
    struct arena *arena;
    bool settled;   /* everything that was sent before has reached the broker */
    bool delivered; /* … but in this transaction messages that were kept are sent */
    /* The task behind which task_tick goes on, kept by the caller, 0 at first. NULL: none. */
    int64_t *run_after;
    int (*send)(void *arg, const struct task_message *m);
    void (*kept)(void *arg, int64_t device_id); /* a message waits for the device now */
    void *arg;
    int64_t wait_ms; /* out: a run waits for its rate, for so long; 0 = none does */
};
/* Start what is due, and go on with what is under way, for at most max devices (0: only start) or
 * max_us. 1 = there is more to do at once, 0 = not; or an error. */
int task_tick(struct task_env *env, int max, int64_t max_us) MUST_USE;
/* The device gave a sign of life: send what is kept for it and still right, and forget it; also
 * what its user confirmed while it was away.
 * offered: updates that it was offered just now anyway. */
int task_deliver(struct task_env *env, const struct device *d, const int64_t *offered,
                 size_t n_offered) MUST_USE;
/* Send what users of devices confirmed, and ask those again who put it off: at most max of each
 * campaign, or max_us. 1 = there is more to do at once, 0 = not; or an error. */
int task_consents(struct task_env *env, int max, int64_t max_us) MUST_USE;
/* At the start, in a transaction: what may not have left before a crash is kept for the devices,
 * be it of a run under way or kept before. Offers alone: repeating one is harmless, a command could
 * act twice. */
int task_recover(struct db *w) MUST_USE;
/* Devices for which messages are kept, or may not have left, ascending. */
int task_kept_devices(struct db *db, int (*row)(void *arg, int64_t device_id), void *arg) MUST_USE;
/* A reply to a command of a task: noted once. E_NOTFOUND when it is of none. */
int task_replied(struct db *w, int64_t device_id, int64_t message_id) MUST_USE;
