/*
 * What needs no token: /healthz says that the process answers, /readyz that it can do its work,
 * /metrics how it does, and the description of the API.
 */
#include "priv.h"

enum { PONG_MAX_US = 5000000 };

static void handle_health(struct http_request *r, void *arg)
{
    (void)arg;
    http_add_header(r, "Cache-Control", "no-store");
    http_reply(r, 200, "application/json", "{\"status\":\"ok\"}", 15);
}

static bool database_reads(const struct call *c, struct arena *a)
{
    struct project p;
    return c->db && project_by_key(c->db, "default", a, &p) == 0;
}

static void handle_ready(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    const struct api *api = c->api;
    bool database = database_reads(c, http_arena(r));
    bool core = clock_mono_us() - atomic_load(&api->pong_us) < PONG_MAX_US;
    bool mqtt = api->env.mqtt_up && api->env.mqtt_up(api->env.core);
    bool ready = database && core && mqtt;
    struct sbuf b = {.p = NULL};
    struct obj o = obj_begin(&b);
    (void)arg;

    obj_str(&o, "status", ready ? "ok" : "unavailable");
    obj_bool(&o, "database", database);
    obj_bool(&o, "core", core);
    obj_bool(&o, "mqtt", mqtt);
    obj_end(&o);
    http_add_header(r, "Cache-Control", "no-store");
    http_reply(r, ready ? 200 : 503, "application/json", b.p, b.n);
    sbuf_done(&b);
}

static void handle_metrics(struct http_request *r, void *arg)
{
    struct sbuf b = {.p = NULL};
    (void)arg;
    metric_render(&b);
    http_add_header(r, "Cache-Control", "no-store");
    http_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", b.p, b.n);
    sbuf_done(&b);
}

static void handle_openapi(struct http_request *r, void *arg)
{
    struct api *api = call_of(r)->api;
    (void)arg;
    pthread_mutex_lock(&api->openapi_lock);
    if (!api->openapi) {
        AUTO(json_free) json_t *doc = api_openapi();
        api->openapi = json_text(doc);
    }
    const char *text = api->openapi;
    pthread_mutex_unlock(&api->openapi_lock);
    http_reply(r, 200, "application/json", text, strlen(text));
}

static const struct op op_health = {.summary = "Whether the process answers", .status = 200};
static const struct op op_ready = {
    .summary = "Whether database, core and broker are there; 503 says which is not", .status = 200};
static const struct op op_metrics = {.summary = "Prometheus text format 0.0.4", .status = 200};
static const struct op op_openapi = {.summary = "This description", .status = 200};

const struct http_route open_routes[] = {
    {"GET", "/healthz", HTTP_BODY_NONE, 0, handle_health, OP(op_health), 0},
    {"GET", "/readyz", HTTP_BODY_NONE, 0, handle_ready, OP(op_ready), 0},
    {"GET", "/metrics", HTTP_BODY_NONE, 0, handle_metrics, OP(op_metrics), 0},
    {"GET", "/api/v1/openapi.json", HTTP_BODY_NONE, 0, handle_openapi, OP(op_openapi), ROUTE_API},
    {.method = NULL},
};
