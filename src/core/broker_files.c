/*
 * The broker's password and ACL files follow the database: half a second after the last change,
 * at most every five seconds under constant change, written on the thread pool from a reading
 * connection of their own; then the broker is told by SIGHUP, if its pid file is configured. With
 * 1,000,000 devices the file has 150 MB: that is why it never happens on the core thread. What
 * failed is tried again, ever less often; the log tells a reason once.
 */
#include "core_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define DELAY_MS     500
#define DELAY_MAX_MS 5000
#define RETRY_MS     2000
#define RETRY_MAX_MS 60000

struct broker_files {
    struct loop *loop;
    const struct conf *conf;
    char *db_path;
    struct loop_timer *timer;
    void (*on_written)(void *arg);
    void *arg;
    int64_t first_dirty_ms; /* 0 = clean */
    bool writing;           /* the pool has what follows */
    bool written;           /* the files are, the broker may not have been told */
    int rc;                 /* of the last try */
    struct fail fail;
    bool stopped;
    int64_t retry_ms; /* 0 = the last try went well */
    char logged[sizeof(((struct fail *)0)->text)];
};

static bool configured(const struct broker_files *b)
{
    return *b->conf->mqtt_auth_dir != '\0';
}

/* The pid, if it is a mosquitto: a stale file must not send SIGHUP to a stranger. */
static int broker_pid(const char *path, struct fail *f)
{
    char text[32] = "", name[64], comm[32] = "";
    int64_t pid;

    FILE *file = fopen(path, "re");
    if (!file)
        return fail(f, -errno, "%s: %s", path, strerror(errno));
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[n] = '\0';
    text[strcspn(text, " \r\n")] = '\0';
    if (num_parse(text, 2, INT32_MAX, &pid) < 0)
        return fail(f, E_PROTO, "%s holds no process id", path);
    (void)str_fmt(name, sizeof(name), "/proc/%d/comm", (int)pid);
    file = fopen(name, "re");
    if (!file)
        return fail(f, E_NOTFOUND, "%s: process %d is gone", path, (int)pid);
    if (!fgets(comm, sizeof(comm), file))
        comm[0] = '\0';
    (void)fclose(file);
    if (strncmp(comm, "mosquitto", 9) != 0)
        return fail(f, E_CONFLICT, "%s: process %d is no mosquitto", path, (int)pid);
    return (int)pid;
}

static int signal_broker(const struct broker_files *b, struct fail *f)
{
    if (!*b->conf->mqtt_broker_pid_file)
        return 0;
    int pid = broker_pid(b->conf->mqtt_broker_pid_file, f);
    if (pid < 0)
        return pid;
    if (kill(pid, SIGHUP) < 0)
        return fail(f, -errno, "signalling the broker (process %d): %s", pid, strerror(errno));
    return 0;
}

static int write_files(struct broker_files *b)
{
    struct db *db;
    int rc = db_open(b->db_path, DB_READ, 512, &db, &b->fail);

    if (rc < 0)
        return rc;
    rc = device_write_broker_files(db, b->conf->mqtt_auth_dir, b->conf->mqtt_username,
                                   b->conf->mqtt_password, &b->fail);
    db_close(db);
    return rc;
}

static void work(void *arg) /* thread pool */
{
    struct broker_files *b = arg;

    b->rc = b->written ? 0 : write_files(b);
    b->written = b->rc == 0;
    if (b->rc == 0)
        b->rc = signal_broker(b, &b->fail);
}

static void note_result(struct broker_files *b)
{
    if (b->rc == 0) {
        LOG(LOG_DEBUG, "core", "the broker's login files are written");
        b->retry_ms = 0;
        b->logged[0] = '\0';
        return;
    }
    b->retry_ms = b->retry_ms == 0                 ? RETRY_MS
                  : b->retry_ms < RETRY_MAX_MS / 2 ? b->retry_ms * 2
                                                   : RETRY_MAX_MS;
    if (strcmp(b->logged, b->fail.text) != 0)
        LOG(LOG_WARN, "core", "the broker's login files are not up to date",
            KV("why", b->fail.text));
    (void)str_copy(b->logged, sizeof(b->logged), b->fail.text);
}

static void done(void *arg)
{
    struct broker_files *b = arg;

    b->writing = false;
    note_result(b);
    if (b->written && !b->first_dirty_ms && b->on_written)
        b->on_written(b->arg);
    if (b->stopped)
        return;
    if (b->first_dirty_ms)
        loop_timer_start(b->timer, DELAY_MS, 0);
    else if (b->rc < 0)
        loop_timer_start(b->timer, (uint64_t)b->retry_ms, 0);
}

static void on_timer(void *arg)
{
    struct broker_files *b = arg;
    if (b->writing)
        return;
    b->written &= b->first_dirty_ms == 0;
    b->first_dirty_ms = 0;
    b->writing = true;
    loop_work(b->loop, work, done, b);
}

struct broker_files *broker_files_new(struct loop *l, const struct conf *conf, const char *db_path,
                                      void (*on_written)(void *arg), void *arg)
{
    struct broker_files *b = xcalloc(1, sizeof(*b));
    b->on_written = on_written;
    b->arg = arg;
    b->loop = l;
    b->conf = conf;
    b->db_path = xstrdup(db_path);
    b->timer = loop_timer_new(l, on_timer, b);
    return b;
}

void broker_files_dirty(struct broker_files *b)
{
    int64_t now = clock_mono_us() / 1000;

    if (!configured(b) || b->stopped)
        return;
    if (b->first_dirty_ms == 0)
        b->first_dirty_ms = now;
    if (!b->writing && now - b->first_dirty_ms < DELAY_MAX_MS)
        loop_timer_start(b->timer, DELAY_MS, 0);
}

void broker_files_stop(struct broker_files *b)
{
    b->stopped = true;
    loop_timer_stop(b->timer);
}

bool broker_files_busy(const struct broker_files *b)
{
    return b->writing;
}

void broker_files_free(struct broker_files *b)
{
    if (!b)
        return;
    loop_timer_free(b->timer);
    free(b->db_path);
    free(b);
}
