/* The parts of the daemon's program, for each other only. */
#pragma once

#include "conf.h"
#include "db.h"
#include "store.h"
#include "util.h"

/* run.c: serve until SIGTERM; 0 or an error with its sentence. */
int daemon_run(struct conf *conf, const char *conf_path, struct fail *f) MUST_USE;

/* notify.c: systemd's notification protocol (sd_notify(3)); all do nothing without systemd. */
void notify_send(const char *state);
int64_t notify_watchdog_us(void); /* WATCHDOG_USEC for this process; 0 = none */

/* trim.c: what the start took and nobody needs any more. */
void trim_memory(void);

/* lock.c: one otad per data directory; and whether the last one stopped cleanly. */
struct data_lock {
    int fd;
    bool unclean;
    char path[512];
};
int data_lock_take(const char *data_dir, struct data_lock *ret, struct fail *f) MUST_USE;
void data_lock_release(struct data_lock *l, bool clean);
char *data_db_path(const char *data_dir); /* heap */

/* blobs.c: sweep the store, and tell which named bytes are missing. Before anything is served. */
int blobs_check(struct store *store, struct db *w, struct fail *f) MUST_USE;

/* tools.c: the sub-commands. */
int tool_health(const struct conf *conf, bool ready, struct fail *f) MUST_USE;
int tool_backup(const struct conf *conf, const char *to, struct fail *f) MUST_USE;
int tool_restore(const struct conf *conf, const char *from, struct fail *f) MUST_USE;
/* hash (may be NULL): one that was noted earlier has to be there still. */
int tool_audit_verify(const struct conf *conf, const char *hash, struct fail *f) MUST_USE;
