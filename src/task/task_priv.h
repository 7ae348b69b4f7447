/* What the files of the task room share. Nothing here is for other rooms. */
#pragma once

#include "task.h"

/* ---- schedule.c ---- */
/* json_check() of a create request, with pointers below `at`. */
int check_object(const json_t *in, const char *at, const struct json_field *fields, size_t n,
                 struct json_errors *errs) MUST_USE;

/* ---- action.c ---- */
struct action {
    enum task_action kind;
    const char *module, *attribute; /* OTA_PUSH */
    const char *method;             /* COMMAND_SEND */
    const json_t *params, *attributes;
    json_t *root; /* owner of it all */
};
int action_parse(const json_t *in, const char *at, struct action *ret,
                 struct json_errors *errs) MUST_USE;
/* From the text of a row. */
int action_load(const char *text, struct action *ret) MUST_USE;
void action_done(struct action *a);
static inline void auto_action_done(struct action *a)
{
    action_done(a);
}

/* ---- task.c ---- */
void task_row(struct db_stmt *q, struct arena *a, struct task *ret);
/* The next time after after_ms by its schedule and zone; 0 = none. */
int task_next(const struct task *t, int64_t after_ms, int64_t *ret) MUST_USE;

/* ---- run.c ---- */
struct new_run {
    const char *cause, *state, *reason;
    bool chosen;
    int64_t due_at, ended_at; /* 0 = under way */
};
int run_insert(struct db *w, int64_t task_id, const struct new_run *r, int64_t now,
               int64_t *ret) MUST_USE;
int run_end(struct db *w, int64_t run_id, const char *state, const char *reason,
            int64_t now) MUST_USE;
int run_running(struct db *db, int64_t task_id, int64_t *ret) MUST_USE; /* 0 = none */
int run_count(struct db *w, int64_t run_id, const char *result, const char *reason,
              int64_t n) MUST_USE;
/* The first word on a device. -EEXIST: it was handled before. */
struct verdict_of { /* what became of one device */
    const char *result, *reason;
    int64_t message_id; /* 0 = none */
};
int run_device_add(struct db *w, int64_t run_id, int64_t device_id, const struct verdict_of *v,
                   int64_t now) MUST_USE;
/* Another word on it when the last one is `from`: the counts follow. Else nothing. */
int run_device_set(struct db *w, int64_t run_id, int64_t device_id, const char *from,
                   const struct verdict_of *v, int64_t now) MUST_USE;

/* ---- tick.c ---- */
/* Whether a message would reach the device now, as far as anybody knows. */
int task_is_there(struct task_env *env, const struct device *d, bool *ret) MUST_USE;

/* ---- consent.c: what users confirmed while the device was away ---- */
/* 1 = there may be more. */
int consent_deliver(struct task_env *env, const struct device *d) MUST_USE;

/* ---- device.c: one device and the action ---- */
/* What went wrong with a device: its verdict when that is its own fault, else the error again. */
int task_failed(struct task_env *env, int rc, struct verdict_of *ret) MUST_USE;
/* online: send; else find out without sending whether there is something to send (then the result
 * is pending_offline). What goes wrong with this device alone is its verdict. */
int task_step(struct task_env *env, const struct action *act, const struct device *d, bool online,
              struct verdict_of *ret) MUST_USE;
