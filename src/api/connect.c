/*
 * Bootstrap: a device that knows its product and serial number fetches its login. EZtCloud's
 * /api/connect/1 and /2, and ThingsCloud's certificate. There is no token here, so the project
 * says whether it is done at all, and a device that has been heard of keeps its login: who merely
 * read a serial number must not be able to take a device over. See README.md for the reasons.
 */
#include "connect.h"

enum { BODY_MAX = 4096, BODY_DEPTH = 8 };
enum { PASSWORD_BYTES = 18, KEY_CHARS = 10, TOKEN_CHARS = 24 };
enum { TYPES_MAX = 1000 }; /* of a project, before no further one is made here */

static const struct json_field connect_fields[] = {
    {"project", JK_STRING, 0, 0, 64, NULL, NULL, "Key of the project."},
    {"product", JK_STRING, 0, 0, CONNECT_PRODUCT_MAX, NULL, NULL, "Key of the device type."},
    {"sn", JK_STRING, 0, 0, CONNECT_SN_MAX, NULL, NULL, "Serial number of the device."},
};
const struct table connect_table = {"Connect", connect_fields, ARRAY_LEN(connect_fields)};
static const struct json_field certificate_fields[] = {
    {"device_key", JK_STRING, JF_REQUIRED, 1, CONNECT_SN_MAX, NULL, NULL,
     "Serial number of the device."},
    {"type_key", JK_STRING, 0, 0, CONNECT_PRODUCT_MAX, NULL, NULL, "Key of the device type."},
    {"customer_id", JK_STRING, 0, 0, 255, NULL, NULL, "Not looked at."},
};
const struct table certificate_table = {"Certificate", certificate_fields,
                                        ARRAY_LEN(certificate_fields)};

/* ---- handing out ---- */
static int make_device(struct write *w, struct db *db, const struct ask *ask, struct found *x,
                       struct refusal *no)
{
    int rc = 0;

    if (!x->has_type) {
        int64_t n = catalog_count(db, "device_types", x->project.id);
        if (n < 0)
            return (int)n;
        if (n >= TYPES_MAX || !w->job.catalog)
            return connect_no_product(no);
        x->type = device_type_defaults;
        x->type.project_id = x->project.id;
        x->type.key = x->type.name = ask->product;
        x->type.created_at = w->now;
        rc = device_type_insert(db, &x->type, &w->fail);
    }
    if (rc == 0)
        rc = project_bootstrap_take(db, x->project.id);
    if (rc == E_LIMIT)
        return connect_none_left(no);
    x->device = (struct device){.project_id = x->project.id,
                                .type_id = x->type.id,
                                .name = ask->sn,
                                .sn = ask->sn,
                                .password_hash = ask->hash,
                                .enabled = true,
                                .created_at = w->now};
    if (rc == 0)
        rc = device_create_named(db, &x->device, ask->cloud ? "AT" : "DU_",
                                 ask->cloud ? TOKEN_CHARS : KEY_CHARS, &w->a, &w->fail);
    return rc < 0 ? rc : device_claim_open(db, x->device.id, w->now);
}

/* A login that does not change is told by no row of the audit log; nor is one that is fetched
 * again and again: rows are never removed, and whoever asks here has proved nothing. */
static int renew(struct write *w, struct db *db, const struct ask *ask, struct found *x)
{
    struct device *d = &x->device;
    bool same =
        ask->cloud && d->password_hash && crypto_password_verify(ask->password, d->password_hash);
    int rc = 0;

    w->unlogged = same || x->fetched;
    if (!same) {
        d->password_hash = ask->hash;
        d->updated_at = w->now;
        rc = device_update(db, d, &w->fail);
    }
    return rc == 0 && !x->has_claim ? device_claim_open(db, d->id, w->now) : rc;
}

static int hand_out(struct write *w, struct db *db, const struct ask *ask, struct found *x,
                    struct refusal *no)
{
    w->unlogged = false;
    int rc = x->has_device ? renew(w, db, ask, x) : make_device(w, db, ask, x, no);
    return rc == 0 && !w->unlogged ? device_claim_fetched(db, x->device.id) : rc;
}

/* ---- answers ---- */
/* What run() found, for the answer: that is written after the job, since what w->body holds in it
 * is kept in the audit log, and a password is not. */
struct login {
    struct ask ask;
    struct device device;
    bool gateway;
};

static void login_members(struct obj *o, const struct api *api, const char *name, int64_t port,
                          const char *key, const char *password)
{
    if (!port)
        return;
    obj_name(o, name);
    struct obj in = obj_begin(o->b);
    obj_str(&in, "host", api->env.conf->connect_host);
    obj_int(&in, "port", port);
    if (strcmp(name, "tcp") == 0) {
        char reg[256];
        (void)str_fmt(reg, sizeof(reg), "%s&%s", key, password);
        obj_str(&in, "reg", reg);
    } else {
        obj_str(&in, "username", key);
        obj_str(&in, "password", password);
    }
    obj_end(&in);
}

static void topic_members(struct obj *o, const char *key)
{
    static const char *const own[] = {
        "attributes",      "attributes_response", "attributes_get", "attributes_get_response",
        "attributes_push", "event_report",        "event_response", "command_send",
        "command_reply"};
    static const char *const behind[] = {"connect",         "disconnect",
                                         "attributes",      "attributes_response",
                                         "attributes_get",  "attributes_get_response",
                                         "attributes_push", "event_report",
                                         "event_response",  "command_send",
                                         "command_reply"};
    char name[64], topic[160];

    obj_name(o, "topic");
    struct obj in = obj_begin(o->b);
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        (void)str_fmt(topic, sizeof(topic), "%s/%s", own[i], key);
        obj_str(&in, own[i], topic);
    }
    for (size_t i = 0; i < ARRAY_LEN(behind); i++) {
        (void)str_fmt(name, sizeof(name), "sub_%s", behind[i]);
        (void)str_fmt(topic, sizeof(topic), "gateway_%s/%s", behind[i], key);
        obj_str(&in, name, topic);
    }
    obj_end(&in);
}

static void connect_json(struct write *w, const struct login *l)
{
    const struct conf *conf = w->api->env.conf;
    const struct ask *ask = &l->ask;
    const struct device *d = &l->device;
    struct obj o = obj_begin(&w->body);

    login_members(&o, w->api, "mqtt", conf->connect_mqtt_port, d->key, ask->password);
    login_members(&o, w->api, "mqtts", conf->connect_mqtts_port, d->key, ask->password);
    login_members(&o, w->api, "tcp", conf->connect_tcp_port, d->key, ask->password);
    topic_members(&o, d->key);
    obj_end(&o);
}

/* By its type, or because something stands behind it. */
static int is_gateway(struct write *w, struct db *db, const struct device *d)
{
    const struct device_filter behind = {
        .project_id = d->project_id, .gateway_id = d->id, .enabled = -1};
    struct device_type type;
    int rc = device_type_by_id(db, d->type_id, &w->a, &type);

    if (rc < 0 || type.gateway)
        return rc < 0 ? rc : 1;
    int64_t n = device_count(db, &behind);
    return n < 0 ? (int)n : n > 0;
}

static void certificate_json(struct write *w, const struct login *l)
{
    struct obj o = obj_begin(&w->body), in;
    const struct device *d = &l->device;

    obj_int(&o, "result", 1);
    obj_str(&o, "message", "");
    obj_name(&o, "device");
    in = obj_begin(&w->body);
    obj_int(&in, "id", d->id);
    obj_str(&in, "name", d->name);
    obj_str(&in, "access_token", d->key);
    obj_str(&in, "conn_type", l->gateway ? "3" : "1");
    obj_end(&in);
    obj_end(&o);
}

static void audit_json(struct write *w, const struct login *l)
{
    struct obj o = obj_begin(&w->body);

    obj_str(&o, "device", l->device.key);
    obj_str(&o, "sn", l->ask.sn);
    obj_end(&o);
}

/* ---- the request ---- */
static int run(struct write *w, struct db *db)
{
    struct login *l = w->ext;
    const struct ask *ask = &l->ask;
    struct refusal no = {.status = 0};
    struct found x;
    int rc = connect_find(db, ask, &w->a, &x);

    if (rc == 0)
        rc = connect_check(w->api, db, ask, &x, true, &no);
    if (rc == 0)
        rc = hand_out(w, db, ask, &x, &no);
    if (no.status) {
        w->status = no.status;
        w->code = no.code;
        w->fail = no.why;
    }
    if (rc < 0)
        return rc;
    int gateway = ask->cloud ? is_gateway(w, db, &x.device) : 0;
    if (gateway < 0)
        return gateway;
    l->device = x.device;
    l->gateway = gateway;
    w->login = x.device.key;
    w->who.project_id = x.project.id;
    audit_json(w, l);
    return 0;
}

static void after(struct write *w, struct http_request *r, int rc)
{
    const struct login *l = w->ext;
    (void)r;
    metric_add(rc == 0 ? M_CONNECT_GIVEN : M_CONNECT_REFUSED, 1);
    if (rc < 0)
        return;
    LOG(LOG_INFO, "api", "a device fetched its login", KV("device", w->login), KV("sn", l->ask.sn),
        KV("address", l->ask.address));
    w->body.n = 0;
    if (l->ask.cloud)
        certificate_json(w, l);
    else
        connect_json(w, l);
}

static void answer_refusal(struct http_request *r, const struct refusal *no)
{
    metric_add(M_CONNECT_REFUSED, 1);
    http_problem(r, no->status, no->code, NULL, "%s", no->why.text);
}

static int within_limit(struct http_request *r)
{
    const struct call *c = call_of(r);
    int64_t now_us = clock_mono_us(), wait = limit_wait(c->api->connects, http_address(r), now_us);
    char text[24];

    http_add_header(r, "Cache-Control", "no-store");
    if (!wait) {
        limit_failed(c->api->connects, http_address(r), now_us); /* each one counts here */
        return 0;
    }
    metric_add(M_CONNECT_LIMITED, 1);
    http_add_header(r, "Retry-After", log_int(text, wait));
    http_problem(r, 429, "too_many_requests", NULL, "This address asks too often for logins.");
    return E_LIMIT;
}

/* A JSON object, or nothing; < 0: answered. */
static int body_object(struct http_request *r, json_t **ret)
{
    struct str body = http_body(r);

    *ret = NULL;
    while (body.n && strchr(" \t\r\n", *body.p))
        body = (struct str){body.p + 1, body.n - 1};
    if (!body.n)
        return 0;
    *ret = json_parse(body.p, body.n, BODY_MAX, BODY_DEPTH, &(enum json_fault){JSON_OK}, NULL);
    if (json_is_object(*ret))
        return 0;
    json_decref(*ret);
    *ret = NULL;
    http_problem(r, 400, "malformed_json", NULL,
                 "The body must be a JSON object such as {\"product\": \"…\", \"sn\": \"…\"}.");
    return E_PROTO;
}

/* The body wins over the query; numbers are taken as they are written. "" = absent or no text. */
static const char *word(struct http_request *r, const json_t *body, const char *name)
{
    const json_t *v = json_object_get(body, name);
    const char *s = http_query(r, name);

    if (json_is_integer(v))
        s = arena_printf(http_arena(r), "%lld", (long long)json_integer_value(v));
    else if (v)
        s = json_is_string(v) ? json_string_value(v) : "";
    return s && str_is_text(s, strlen(s)) ? s : "";
}

/* What can be refused is refused here, without the core; the rest is found anew there. */
static void go(struct http_request *r, const struct ask *ask)
{
    const struct call *c = call_of(r);
    struct refusal no = {.status = 0};
    char hash[CRYPTO_PASSWORD_TEXT], password[64];
    struct found x;

    size_t n = strlen(ask->sn);
    int rc = !c->db ? E_UNAVAILABLE : n == 0 || n > CONNECT_SN_MAX ? E_PROTO : 0;
    if (rc == E_PROTO)
        (void)connect_no_device(&no, "unknown_device",
                                "Send the serial number: 1 to 128 bytes of text.");
    if (rc == 0)
        rc = connect_find(c->db, ask, http_arena(r), &x);
    if (rc == 0)
        rc = connect_check(c->api, c->db, ask, &x, false, &no);
    if (no.status) {
        answer_refusal(r, &no);
        return;
    }
    if (rc < 0) {
        http_fail(r, rc, NULL);
        return;
    }
    struct write *w = write_new(r, run);
    struct login *l = arena_alloc(&w->a, sizeof(*l));
    struct ask *own = &l->ask;
    *own = (struct ask){.project = arena_strdup(&w->a, x.project.key),
                        .product = arena_strdup(&w->a, ask->product),
                        .sn = arena_strdup(&w->a, ask->sn),
                        .address = arena_strdup(&w->a, http_address(r)),
                        .make = ask->make,
                        .cloud = ask->cloud};
    crypto_token("", PASSWORD_BYTES, password, sizeof(password));
    own->password = ask->cloud ? own->project : arena_strdup(&w->a, password);
    crypto_password_hash(own->password, hash);
    own->hash = arena_strdup(&w->a, hash);
    w->ext = l;
    w->after = after;
    w->credentials = true;
    w->job.catalog = !x.has_type && !x.has_device;
    write_go(w, r);
}

static void handle_connect(struct http_request *r, bool make)
{
    const struct call *c = call_of(r);
    json_t *body;

    if (http_is_head(r)) { /* it would make a login that nobody gets to see */
        http_add_header(r, "Allow", "GET, POST");
        http_problem(r, 405, "method_not_allowed", NULL, "Use GET or POST.");
        return;
    }
    if (!*c->api->env.conf->connect_host) {
        http_problem(r, 404, "not_found", NULL,
                     "There is nothing here: [connect] host is not set.");
        return;
    }
    if (within_limit(r) < 0 || body_object(r, &body) < 0)
        return;
    const struct ask ask = {.project = word(r, body, "project"),
                            .product = word(r, body, "product"),
                            .sn = word(r, body, "sn"),
                            .make = make};
    go(r, &ask);
    json_decref(body);
}

static void handle_connect_1(struct http_request *r, void *arg)
{
    (void)arg;
    handle_connect(r, true);
}

static void handle_connect_2(struct http_request *r, void *arg)
{
    (void)arg;
    handle_connect(r, false);
}

static void handle_certificate(struct http_request *r, void *arg)
{
    const char *project = http_header(r, "Project-Key");
    json_t *body;
    (void)arg;

    if (within_limit(r) < 0 || body_object(r, &body) < 0)
        return;
    const struct ask ask = {.project = project ? project : "",
                            .product = word(r, body, "type_key"),
                            .sn = word(r, body, "device_key"),
                            .make = true,
                            .cloud = true};
    go(r, &ask);
    json_decref(body);
}

#define QUERY "project|product|sn"
static const struct op op_connect_1 = {
    .summary = "EZtCloud: a device fetches its login; what is missing is made if the project "
               "allows it. 420: no such project, 436: no such product, 401: no such device, or one "
               "that has its login",
    .in = &connect_table,
    .query = QUERY,
    .status = 200};
static const struct op op_connect_2 = {
    .summary = "EZtCloud: a registered device fetches its login. 436: no such product, 401: no "
               "such device, or one that has its login",
    .in = &connect_table,
    .query = QUERY,
    .status = 200};
static const struct op op_get_1 = {.summary = "The same", .query = QUERY, .status = 200};
static const struct op op_certificate = {
    .summary = "ThingsCloud: a device fetches its AccessToken; the header Project-Key names the "
               "project",
    .in = &certificate_table,
    .status = 200};

const struct http_route connect_routes[] = {
    {"GET", "/api/connect/1/", HTTP_BODY_NONE, 0, handle_connect_1, OP(op_get_1), 0},
    {"GET", "/api/connect/1", HTTP_BODY_NONE, 0, handle_connect_1, OP(op_get_1), 0},
    {"POST", "/api/connect/1/", HTTP_BODY_WHOLE, BODY_MAX, handle_connect_1, OP(op_connect_1), 0},
    {"POST", "/api/connect/1", HTTP_BODY_WHOLE, BODY_MAX, handle_connect_1, OP(op_connect_1), 0},
    {"GET", "/api/connect/2/", HTTP_BODY_NONE, 0, handle_connect_2, OP(op_get_1), 0},
    {"GET", "/api/connect/2", HTTP_BODY_NONE, 0, handle_connect_2, OP(op_get_1), 0},
    {"POST", "/api/connect/2/", HTTP_BODY_WHOLE, BODY_MAX, handle_connect_2, OP(op_connect_2), 0},
    {"POST", "/api/connect/2", HTTP_BODY_WHOLE, BODY_MAX, handle_connect_2, OP(op_connect_2), 0},
    {"POST", "/device/v1/certificate", HTTP_BODY_WHOLE, BODY_MAX, handle_certificate,
     OP(op_certificate), 0},
    {.method = NULL},
};
