/*
 * Opening and closing, and what each http thread has of its own: a reading connection, the tokens
 * it knows, a timer.
 */
#include "priv.h"

enum { READER_CACHE_KIB = 4096, TICK_MS = 1000, POSTERS_MANY = 20 };

const struct http_route *const api_tables[] = {
    open_routes,     hook_routes,    download_routes, device_routes,   update_routes,
    campaign_routes, task_routes,    run_routes,      firmware_routes, type_routes,
    rule_routes,     token_routes,   project_routes,  connect_routes,  audit_routes,
    event_routes,    webhook_routes, command_routes,  app_routes,      eztcloud_routes,
    post_routes,     consent_routes, version_routes,  progress_routes, timeline_routes,
    log_routes,      NULL,
};

/* ---- is the core there? ---- */
static int ping_run(struct db_job *job, struct db *w)
{
    (void)job;
    (void)w;
    return 0;
}

static void ping_done(struct db_job *job, int rc)
{
    struct api *api = (struct api *)(void *)((char *)job - offsetof(struct api, ping));
    if (rc == 0)
        atomic_store(&api->pong_us, clock_mono_us());
    atomic_store(&api->pinging, false);
}

static void ping(struct api *api)
{
    if (atomic_exchange(&api->pinging, true))
        return;
    api->ping.run = ping_run;
    api->ping.done = ping_done;
    if (api->env.submit(api->env.core, &api->ping) < 0)
        atomic_store(&api->pinging, false);
}

static void on_tick(void *arg)
{
    struct api_thread *t = arg;
    ping(t->api);
    served_retry(t->api);
}

/* ---- threads ---- */
static void *thread_open(void *arg, int index, struct loop *loop)
{
    struct api_thread *t = xcalloc(1, sizeof(*t));
    struct fail f = {.rc = 0};

    t->api = arg;
    t->index = index;
    t->loop = loop;
    t->tokens = token_cache_new();
    t->feed = feed_new(t);
    if (db_open(t->api->env.db_path, DB_READ, READER_CACHE_KIB, &t->db, &f) < 0)
        LOG(LOG_ERROR, "api", "an http thread has no database", KV("why", f.text));
    if (index == 0) {
        t->timer = loop_timer_new(loop, on_tick, t);
        loop_timer_start(t->timer, 0, TICK_MS);
    }
    return t;
}

static void thread_close(void *arg, void *thread_arg)
{
    struct api_thread *t = thread_arg;
    (void)arg;
    if (t->timer)
        loop_timer_free(t->timer);
    feed_free(t->feed);
    db_close(t->db);
    token_cache_free(t->tokens);
    free(t);
}

/* ---- all of it ---- */
/* Of who is no one, no body is taken in. */
static int before(struct http_request *r, const struct http_route *route, void *arg)
{
    const struct op *op = route->arg;
    int rc = api_before(r, route, arg);

    return rc == 0 && op && op->check ? op->check(r) : rc;
}

static int find_default(struct api *api, struct fail *f)
{
    struct db *db;
    struct project p;
    struct arena a;

    int rc = db_open(api->env.db_path, DB_READ, 256, &db, f);
    if (rc < 0)
        return rc;
    arena_init(&a);
    rc = project_by_key(db, "default", &a, &p);
    if (rc < 0)
        (void)fail(f, rc, "there is no project `default`: %s", err_str(rc));
    else
        api->default_project = p.id;
    arena_done(&a);
    db_close(db);
    return rc;
}

int api_open(const struct api_env *env, struct api **ret, struct fail *f)
{
    struct api *api = xcalloc(1, sizeof(*api));
    int rc;

    api->env = *env;
    pthread_mutex_init(&api->bytes_lock, NULL);
    pthread_mutex_init(&api->unsent_lock, NULL);
    pthread_mutex_init(&api->feeds_lock, NULL);
    pthread_mutex_init(&api->openapi_lock, NULL);
    api->limit = limit_new(env->conf->http_auth_failures_per_minute, 60);
    api->passwords = limit_new(env->conf->http_auth_failures_per_minute, 60);
    api->posters = limit_new(env->conf->http_auth_failures_per_minute * POSTERS_MANY, 60);
    api->connects = limit_new(env->conf->connect_per_hour, 3600);
    api->logs = log_limit_new();
    api->busy = busy_new();
    api->budgets = budgets_new();
    rc = find_default(api, f);
    if (rc < 0) {
        api_close(api);
        return rc;
    }
    *ret = api;
    return 0;
}

void api_stop(struct api *api)
{
    atomic_store(&api->stopping, true);
}

void api_close(struct api *api)
{
    if (!api)
        return;
    served_drop(api);
    limit_free(api->limit);
    limit_free(api->passwords);
    limit_free(api->posters);
    limit_free(api->connects);
    limit_free(api->logs);
    busy_free(api->busy);
    budgets_free(api->budgets);
    db_close(api->bytes_db);
    pthread_mutex_destroy(&api->bytes_lock);
    pthread_mutex_destroy(&api->unsent_lock);
    pthread_mutex_destroy(&api->feeds_lock);
    pthread_mutex_destroy(&api->openapi_lock);
    free(api->openapi);
    free(api);
}

void api_http_options(struct api *api, struct http_options *ret)
{
    ret->tables = api_tables;
    ret->thread_open = thread_open;
    ret->thread_close = thread_close;
    ret->before = before;
    ret->bare = "/d/";
    ret->arg = api;
}
