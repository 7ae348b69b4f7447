/*
 * Everything put together, in order, and taken apart in the reverse one: data lock, database
 * check and migration, installation, store, snapshot, core, api, http. The main thread is the
 * core thread.
 */
#include "api.h"
#include "core.h"
#include "daemon.h"
#include "mqtt.h"
#include "store.h"
#include "webhook.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#define HTTP_GRACE_MS 2000
#define END_MAX_S     1            /* for a name lookup that hangs, when all else is closed */
#define START_MAX_US  "3600000000" /* an hour */

struct daemon {
    struct conf *conf;
    const char *conf_path;
    struct data_lock lock;
    char *db_path;
    struct store *store;
    struct catalog_cell *catalog;
    uint8_t link_key[32];
    struct loop *loop;
    struct core *core;
    struct api *api;
    struct http_server *http;
    struct webhook_worker *webhooks;
    bool stopping;
    int64_t watchdog_us, fed_us;
};

/* The database, the bytes that it names, and the first snapshot of it. */
static int prepare(struct daemon *d, struct fail *f)
{
    struct db *w = NULL;
    struct catalog *snapshot;
    int64_t now = clock_now_ms();
    int rc;

    d->db_path = data_db_path(d->conf->data_dir);
    /* Checking and migrating a large database takes longer than systemd waits for a start. */
    notify_send("STATUS=opening the database\nEXTEND_TIMEOUT_USEC=" START_MAX_US);
    if (d->lock.unclean) {
        LOG(LOG_WARN, "daemon", "the last stop was not clean: checking the database");
        rc = db_check(d->db_path, f);
        if (rc < 0)
            return fail_prefix(f, "%s is damaged (restore a backup): ", d->db_path);
    }
    rc = db_migrate(d->db_path, f);
    if (rc == 0)
        rc = db_open(d->db_path, DB_WRITE, 512, &w, f);
    if (rc < 0)
        return rc;
    rc = db_begin(w);
    if (rc == 0)
        rc = catalog_install(w, now, f);
    if (rc == 0 && d->lock.unclean)
        rc = update_killed(w, now);
    if (rc == 0)
        rc = api_install_admin_token(w, d->conf, now, f);
    if (rc == 0)
        rc = catalog_link_key(w, d->link_key);
    rc = rc < 0 ? rc : db_commit(w);
    if (rc == 0)
        rc = store_open(d->conf->data_dir, &d->store, f);
    if (rc == 0)
        rc = blobs_check(d->store, w, f);
    if (rc == 0 && (rc = catalog_load(w, &snapshot, f)) == 0)
        d->catalog = catalog_cell_new(snapshot);
    if (rc < 0 && !f->text[0])
        (void)fail(f, rc, "%s: %s", d->db_path, db_error(w));
    db_close(w);
    return rc;
}

static void on_alive(void *arg) /* from the core's turn: a core or a commit that hangs feeds not */
{
    struct daemon *d = arg;
    int64_t now = clock_mono_us();

    if (d->watchdog_us > 0 && now - d->fed_us > d->watchdog_us / 4) {
        d->fed_us = now;
        notify_send("WATCHDOG=1");
    }
}

static void on_committed(void *arg)
{
    struct daemon *d = arg;
    if (d->api)
        api_committed(d->api);
    webhook_wake(d->webhooks);
}

static void core_stopped(void *arg)
{
    struct daemon *d = arg;
    loop_stop(d->loop);
}

static void stop_http(void *arg) /* thread pool: it waits, and what it waits for needs the core */
{
    struct daemon *d = arg;
    api_stop(d->api);
    http_stop(d->http, HTTP_GRACE_MS);
    d->http = NULL;
    webhook_stop(d->webhooks);
}

static void http_stopped(void *arg)
{
    struct daemon *d = arg;
    core_stop(d->core, core_stopped, d);
}

static void on_stop(void *arg, int signo)
{
    struct daemon *d = arg;

    if (d->stopping)
        return;
    d->stopping = true;
    LOG(LOG_INFO, "daemon", "stopping", KV_INT("signal", signo));
    notify_send("STOPPING=1");
    loop_work(d->loop, stop_http, http_stopped, d);
}

static void set_log(const struct conf *conf)
{
    log_setup(conf->log_level, conf->log_json);
    log_rooms_set(conf->log_rooms);
}

/* What can change without a restart: the log's levels and format. The rest is said, not done. */
static void on_reload(void *arg, int signo)
{
    struct daemon *d = arg;
    struct conf *fresh;
    struct fail f = {0};
    char text[64];

    (void)signo;
    if (d->stopping)
        return;
    (void)str_fmt(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
                  (long long)clock_mono_us());
    notify_send(text);
    if (conf_load(d->conf_path, &fresh, &f) < 0) {
        LOG(LOG_ERROR, "daemon", "the configuration stays as it was", KV("why", f.text));
    } else {
        set_log(fresh);
        conf_free(fresh);
        LOG(LOG_INFO, "daemon", "log settings reloaded; other settings take a restart");
    }
    core_credentials_changed(d->core, NULL);
    notify_send("READY=1");
}

static int start(struct daemon *d, struct fail *f)
{
    struct http_options http = {.conf = d->conf};
    int rc;

    struct core_options core = {
        .conf = d->conf,
        .loop = d->loop,
        .db_path = d->db_path,
        .catalog = d->catalog,
        .alive = on_alive,
        .committed = on_committed,
        .arg = d,
    };
    memcpy(core.link_key, d->link_key, sizeof(core.link_key));
    rc = core_open(&core, &d->core, f);
    if (rc < 0)
        return rc;
    struct api_env env = {
        .conf = d->conf,
        .db_path = d->db_path,
        .store = d->store,
        .catalog = d->catalog,
        .submit = core_submit,
        .core = d->core,
        .mqtt_up = core_mqtt_up,
        .online = core_online,
        .heard_at = core_heard_at,
        .credentials_changed = core_credentials_changed,
        .down_queued = core_down_queued,
        .post = core_post,
    };
    memcpy(env.link_key, d->link_key, sizeof(env.link_key));
    rc = api_open(&env, &d->api, f);
    if (rc < 0)
        return rc;
    api_http_options(d->api, &http);
    rc = http_start(&http, &d->http, f);
    if (rc == 0)
        rc = webhook_start(d->conf, d->db_path, core_submit, d->core, &d->webhooks, f);
    if (rc < 0)
        return rc;
    core_start(d->core);
    return 0;
}

static void on_end(int signo UNUSED)
{
    _exit(0);
}

/* The loop ends when its work on the thread pool does, and a resolver may take half a minute to
 * give up on the broker's name; nothing that matters is open any more then. */
static void close_loop(struct daemon *d, bool stopped)
{
    if (stopped) {
        (void)signal(SIGALRM, on_end);
        (void)alarm(END_MAX_S);
    }
    loop_free(d->loop);
    mqtt_cleanup();
    (void)alarm(0);
}

static void close_all(struct daemon *d, bool clean, bool stopped)
{
    if (d->http)
        http_stop(d->http, 0);
    api_close(TAKE(d->api));
    core_close(d->core);
    webhook_free(d->webhooks);
    store_close(d->store);
    if (d->catalog)
        catalog_cell_free(d->catalog);
    free(d->db_path);
    data_lock_release(&d->lock, clean);
    if (stopped)
        LOG(LOG_INFO, "daemon", "stopped");
    close_loop(d, stopped);
}

int daemon_run(struct conf *conf, const char *conf_path, struct fail *f)
{
    struct daemon d = {.conf = conf, .conf_path = conf_path, .watchdog_us = notify_watchdog_us()};
    int rc;

    set_log(conf);
    crash_setup();
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);   /* until there is something to reload */
    (void)prctl(PR_SET_DUMPABLE, 0); /* secrets stay out of core files */
    mqtt_setup();
    rc = data_lock_take(conf->data_dir, &d.lock, f);
    if (rc < 0)
        return rc;
    d.loop = loop_new();
    rc = prepare(&d, f);
    if (rc == 0)
        rc = start(&d, f);
    if (rc < 0) {
        close_all(&d, !d.lock.unclean, false);
        return rc;
    }
    loop_on_signal(d.loop, SIGTERM, on_stop, &d);
    loop_on_signal(d.loop, SIGINT, on_stop, &d);
    loop_on_signal(d.loop, SIGHUP, on_reload, &d);
    LOG(LOG_INFO, "daemon", "ready", KV("version", OTAD_VERSION), KV("data_dir", conf->data_dir),
        KV_INT("http_port", http_port(d.http)));
    trim_memory();
    notify_send("READY=1\nSTATUS=serving");
    loop_run(d.loop);
    close_all(&d, true, true);
    return 0;
}
