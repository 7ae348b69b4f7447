/*
 * Devices over HTTP, as ThingsCloud has it: /device/v1/{AccessToken}/attributes and /event/report,
 * with the device's password in the header Project-Key. What comes goes the way of the messages
 * that come through the broker; what the device is to do stands in the answer to an event.
 */
#include "device.h"
#include "priv.h"

enum { KEYS_MAX = 256 };

struct post {
    struct db_job job;
    struct api *api;
    struct http_handle *h;
    struct arena a;
    struct device_post m;
    int64_t now;
};

static void post_free(struct post *p)
{
    sbuf_done(&p->m.commands);
    sbuf_done(&p->m.pushed);
    sbuf_done(&p->m.attributes);
    arena_done(&p->a);
    free(p);
}

/* ---- who is it? ---- */

static int refuse(struct http_request *r, const char *key)
{
    const struct call *c = call_of(r);
    int64_t now_us = clock_mono_us();

    metric_add(M_AUTH_FAILED, 1);
    limit_failed_for(c->api->passwords, http_address(r), key, now_us);
    limit_failed(c->api->posters, http_address(r), now_us);
    http_problem(r, 401, "unauthorized", NULL,
                 "There is no such AccessToken, or Project-Key is not its password.");
    return E_AUTH;
}

static int refuse_for_now(struct http_request *r, int64_t wait_s)
{
    char text[24];

    metric_add(M_AUTH_LIMITED, 1);
    http_add_header(r, "Retry-After", log_int(text, wait_s));
    http_problem(r, 429, "too_many_failures", NULL,
                 "Too many requests with wrong credentials came from this address.");
    return E_LIMIT;
}

/* Thousands of devices may share an address: one that fails waits alone. All of them wait when
 * many fail, or somebody tries one name after the other. */
static int64_t wait_of(struct http_request *r, const char *key)
{
    const struct api *api = call_of(r)->api;
    int64_t now_us = clock_mono_us();
    int64_t own = limit_wait_for(api->passwords, http_address(r), key, now_us);

    return own ? own : limit_wait(api->posters, http_address(r), now_us);
}

/* As at the broker: key and password. Who was right lately is heard although others at the same
 * address fail. < 0: it is answered; else the device's key is the call's own. */
static int authenticate(struct http_request *r)
{
    const struct call *c = call_of(r);
    const char *key = http_param(r, "key"), *password = http_header(r, "Project-Key");
    int64_t wait = wait_of(r, key);
    uint8_t hash[SHA256_SIZE];
    struct device d;

    http_add_header(r, "Cache-Control", "no-store");
    const char *both = arena_printf(http_arena(r), "post\n%s\n%s", key, password ? password : "");
    crypto_sha256(both, strlen(both), hash);
    if (wait && !limit_is_good(c->api->passwords, hash))
        return refuse_for_now(r, wait);
    int rc = c->db ? device_by_key(c->db, 0, key, http_arena(r), &d) : E_UNAVAILABLE;
    if (rc < 0 && rc != E_NOTFOUND) {
        http_fail(r, rc, NULL);
        return rc;
    }
    if (rc < 0 || !password || !d.enabled || !d.password_hash ||
        !crypto_password_verify(password, d.password_hash))
        return refuse(r, key);
    limit_good(c->api->passwords, hash);
    call_own(r, (void *)(uintptr_t)d.key, NULL); /* in the request's arena */
    return 0;
}

/* ---- the answer ---- */

static void answer_refused(struct http_request *r, const struct post *p)
{
    switch ((int)p->m.refused) {
    case M_BAD_JSON:
    case M_BAD_DUPLICATE_KEY:
    case M_BAD_DEPTH:
        http_problem(r, 400, "malformed_json", NULL,
                     "The body is no JSON, names a member twice, or is nested too deeply.");
        break;
    case M_BAD_LENGTH:
        http_problem(r, 413, "too_long", NULL, "The body, or something in it, is too long.");
        break;
    case M_BAD_LIMIT:
        http_problem(r, 422, "attribute_limit", NULL,
                     "A device has at most %d attributes, and %d bytes of them.",
                     DEVICE_ATTRIBUTES_MAX, DEVICE_ATTRIBUTES_BYTES_MAX);
        break;
    default:
        http_problem(r, 422, "validation_failed", NULL,
                     "Attributes are an object {\"version\": \"1.0\"}, an event is {\"method\": "
                     "\"otaCheck\", \"params\": {}}.");
    }
}

static void add_list(struct obj *o, const char *name, const struct sbuf *items)
{
    struct sbuf list = {.p = NULL};

    sbuf_fmt(&list, "[%.*s]", (int)items->n, items->p ? items->p : "");
    obj_raw(o, name, list.p);
    sbuf_done(&list);
}

/* The answer that a question over MQTT would have had, in the words of this one. */
static void add_attributes(struct obj *o, const struct post *p)
{
    AUTO(json_free)
    json_t *got = json_parse(p->m.attributes.p, p->m.attributes.n, p->m.attributes.n,
                             DIALECT_TREE_DEPTH_MAX, &(enum json_fault){JSON_OK}, NULL);
    const json_t *attributes = json_object_get(got, "attributes");
    AUTO(free) char *text = attributes ? json_text(attributes) : xstrdup("null");

    obj_raw(o, "attributes", text);
}

static void answer(struct http_request *r, const struct post *p)
{
    struct sbuf b = {.p = NULL};
    struct obj o = obj_begin(&b);

    obj_int(&o, "result", 1);
    obj_str(&o, "message", "");
    if (p->m.takes_all) {
        add_list(&o, "commands", &p->m.commands);
        add_list(&o, "attributes_push", &p->m.pushed);
    }
    if (p->m.attributes.n)
        add_attributes(&o, p);
    obj_int(&o, "ts", p->now);
    obj_end(&o);
    http_reply(r, 200, "application/json", b.p, b.n);
    sbuf_done(&b);
}

/* ---- the job ---- */

static void finish(struct http_request *r, void *arg) /* r NULL: the client is gone */
{
    struct post *p = arg;
    int rc = p->job.rc;

    if (r && rc == E_PROTO)
        answer_refused(r, p);
    else if (r && rc < 0)
        http_fail(r, rc, NULL);
    else if (r)
        answer(r, p);
    post_free(p);
}

static int job_run(struct db_job *job, struct db *w)
{
    struct post *p = (struct post *)job;
    const struct api_env *env = &p->api->env;

    return env->post ? env->post(env->core, w, &p->m) : E_UNSUPPORTED;
}

static void job_done(struct db_job *job, int rc)
{
    struct post *p = (struct post *)job;

    p->job.rc = rc;
    http_resume(p->h, finish, p);
}

static void go(struct http_request *r, const char *topic, struct str payload)
{
    const struct call *c = call_of(r);
    struct post *p = xcalloc(1, sizeof(*p));

    arena_init(&p->a);
    p->api = c->api;
    p->now = clock_now_ms();
    p->m.key = arena_strdup(&p->a, c->own);
    p->m.topic = topic;
    p->m.payload = arena_strndup(&p->a, payload.p ? payload.p : "", payload.n);
    p->m.n = payload.n;
    p->m.takes_all = strncmp(topic, "event/", 6) == 0;
    p->job.run = job_run;
    p->job.done = job_done;
    p->h = http_defer(r);
    int rc = p->api->env.submit(p->api->env.core, &p->job);
    if (rc < 0)
        job_done(&p->job, rc);
}

/* ---- requests ---- */

static void handle_attributes(struct http_request *r, void *arg)
{
    (void)arg;
    go(r, "attributes", http_body(r));
}

static void handle_event(struct http_request *r, void *arg)
{
    (void)arg;
    go(r, "event/report/http", http_body(r));
}

/* keys=a,b: of these alone. */
static void handle_get(struct http_request *r, void *arg)
{
    const char *names = http_query(r, "keys");
    struct sbuf b = {.p = NULL};
    size_t n = 0;
    (void)arg;

    sbuf_str(&b, "{\"keys\":[");
    while (names && *names && n < KEYS_MAX) {
        size_t len = strcspn(names, ",");
        if (len > 0) {
            sbuf_str(&b, n++ ? "," : "");
            json_add_string(&b, arena_strndup(http_arena(r), names, len));
        }
        names += len + (names[len] == ',');
    }
    sbuf_str(&b, "]}");
    go(r, "attributes/get/http", (struct str){b.p, b.n});
    sbuf_done(&b);
}

static const struct op op_attributes = {
    .summary = "ThingsCloud: a device reports attributes, an object of names and values. Header "
               "Project-Key: the device's password",
    .status = 200,
    .check = authenticate};
static const struct op op_get = {
    .summary = "ThingsCloud: a device asks for its attributes, or for some of them (keys=a,b)",
    .query = "keys",
    .status = 200,
    .check = authenticate};
static const struct op op_event = {
    .summary =
        "ThingsCloud: a device reports an event, {\"method\": \"otaCheck\", \"params\": {}}. "
        "What it is to do stands in `commands`, what it is to take over in "
        "`attributes_push`",
    .status = 200,
    .check = authenticate};

#define PATH "/device/v1/:key"
const struct http_route post_routes[] = {
    {"POST", PATH "/attributes", HTTP_BODY_WHOLE, DIALECT_PAYLOAD_MAX, handle_attributes,
     OP(op_attributes), 0},
    {"GET", PATH "/attributes", HTTP_BODY_NONE, 0, handle_get, OP(op_get), 0},
    {"POST", PATH "/event/report", HTTP_BODY_WHOLE, DIALECT_PAYLOAD_MAX, handle_event, OP(op_event),
     0},
    {.method = NULL},
};
