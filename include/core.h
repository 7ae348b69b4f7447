/*
 * core: the core thread and its turn. Messages of devices and jobs of http threads become one
 * transaction; only after its commit do answers, PUBACKs and HTTP replies leave. The commit
 * itself runs on the committer's thread: meanwhile the core answers, from a reading connection,
 * whatever needs no write; the rest waits for the next transaction, in order per device.
 */
#pragma once

#include "catalog.h"
#include "conf.h"
#include "db.h"
#include "dialect.h"
#include "loop.h"

struct core;
struct core_options {
    const struct conf *conf;
    struct loop *loop; /* the core thread's */
    const char *db_path;
    struct catalog_cell *catalog;
    uint8_t link_key[32];
    /* The watchdog: called from the loop at the end of each transaction and, while there is none,
     * at least every second. */
    void (*alive)(void *arg);
    /* Something was committed: there may be events. The loop's thread. May be NULL. */
    void (*committed)(void *arg);
    void *arg;
};
/* Opens the connections, prepares everything; mqtt connects when core_run begins. */
int core_open(const struct core_options *o, struct core **ret, struct fail *f) MUST_USE;
/* Begin: connect to the broker, start timers. Loop's thread; returns at once. */
void core_start(struct core *c);
/* Finish what is queued (bounded), commit, acknowledge, disconnect; then done runs. */
void core_stop(struct core *c, void (*done)(void *arg), void *arg);
void core_close(struct core *c); /* after done */

/* A db_submit_fn. Any thread. */
int core_submit(void *core, struct db_job *job);
bool core_mqtt_up(void *core); /* any thread */
/* Whether a device is connected to the broker: -1 = not known, 0, 1. Any thread. */
int core_online(void *core, const char *key);
/* Core thread: when the device was last heard, if that is not known to be written yet; 0 = not. */
int64_t core_heard_at(void *core, int64_t device_id);
/* Core thread. The device's login changed (key), or many did (NULL). */
void core_credentials_changed(void *core, const char *key);
/* Core thread. Something was queued for a device (device_down): it is sent soon. woke (may be NULL)
 * runs once on the core thread, when it has ended, after wait_ms, or when the core stops. */
void core_down_queued(void *core, int64_t id, int64_t wait_ms, void (*woke)(void *arg), void *arg);
/* Core thread, in a job's run. What a device sent over HTTP goes the way of its messages, in the
 * job's savepoint. 0; E_PROTO when it was not acted on (m->refused); or the database's error. */
int core_post(void *core, struct db *w, struct device_post *m) MUST_USE;
