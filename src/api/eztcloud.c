/*
 * EZtCloud's HTTPS API for applications: /api_login/ and /api/devices/{key}/down_attr/; and, which
 * EZtCloud has not, what a device's user is asked (consents.c) with the same credentials. A request
 * is signed (user, timestamp, signature: MD5 of timestamp and token, two hours to either side), or
 * carries the token that a login gave for a day. Such a token is no row: it names project and end,
 * and is authenticated together with the secrets of today, so that new ones end it.
 */
#include "priv.h"

#include <endian.h>

enum {
    BODY_MAX = 65536,
    SIGNED_S = 2 * 3600,
    LOGIN_S = 24 * 3600,
    MAC_SIZE = 16,
    LOGIN_SIZE = 16 + MAC_SIZE, /* project, end, authentication */
    TIMESTAMP_MAX = 12
};
#define LOGIN_PREFIX "eza_"

/* ---- the token of a login ---- */
static void login_mac(const struct api *api, const struct project_app *app, const uint8_t head[16],
                      uint8_t ret[SHA256_SIZE])
{
    static const char what[] = "otad application login";
    uint8_t key[SHA256_SIZE];
    struct sbuf b = {.p = NULL};

    crypto_hmac_sha256(api->env.link_key, sizeof(api->env.link_key), what, sizeof(what), key);
    sbuf_add(&b, head, 16);
    sbuf_fmt(&b, "%s\n%s\n%s", app->key, app->secret_hash, app->token);
    crypto_hmac_sha256(key, sizeof(key), b.p, b.n, ret);
    sbuf_done(&b);
}

static void login_make(const struct api *api, const struct project_app *app, int64_t now_s,
                       char ret[64])
{
    uint64_t head[2] = {htobe64((uint64_t)app->project_id), htobe64((uint64_t)(now_s + LOGIN_S))};
    uint8_t raw[LOGIN_SIZE], mac[SHA256_SIZE];

    memcpy(raw, head, sizeof(head));
    login_mac(api, app, raw, mac);
    memcpy(raw + sizeof(head), mac, MAC_SIZE);
    memcpy(ret, LOGIN_PREFIX, sizeof(LOGIN_PREFIX) - 1);
    (void)b64url_encode(raw, sizeof(raw), ret + sizeof(LOGIN_PREFIX) - 1);
}

static const struct project_app *login_check(const struct api *api, const struct catalog *cat,
                                             struct str token, int64_t now_s)
{
    const size_t skip = sizeof(LOGIN_PREFIX) - 1;
    uint8_t raw[LOGIN_SIZE + 1], mac[SHA256_SIZE];
    uint64_t head[2];

    if (token.n <= skip || memcmp(token.p, LOGIN_PREFIX, skip) != 0 ||
        b64url_decode(token.p + skip, token.n - skip, raw, sizeof(raw)) != LOGIN_SIZE)
        return NULL;
    memcpy(head, raw, sizeof(head));
    const struct project_app *app = catalog_app(cat, (int64_t)be64toh(head[0]));
    if (!app)
        return NULL;
    login_mac(api, app, raw, mac);
    if (!crypto_equal(mac, raw + sizeof(head), MAC_SIZE) || (int64_t)be64toh(head[1]) <= now_s)
        return NULL;
    return app;
}

/* ---- the signature ---- */
static const struct project_app *signature_check(const struct catalog *cat, const char *user,
                                                 const char *timestamp, const char *signature,
                                                 int64_t now_s)
{
    const struct project_app *app = catalog_app_by_key(cat, str_of(user));
    char text[256], want[2 * MD5_SIZE + 1];
    uint8_t md5[MD5_SIZE];
    int64_t at;

    if (!app || strlen(timestamp) > TIMESTAMP_MAX || num_parse(timestamp, 0, INT64_MAX, &at) < 0 ||
        at < now_s - SIGNED_S || at > now_s + SIGNED_S ||
        !str_fmt(text, sizeof(text), "%s%s", timestamp, app->token))
        return NULL;
    crypto_md5(text, strlen(text), md5);
    hex_encode(md5, sizeof(md5), want);
    return strlen(signature) == sizeof(want) - 1 && crypto_equal(signature, want, sizeof(want) - 1)
               ? app
               : NULL;
}

/* ---- who asks ---- */

/* Nobody, so far; after too many failures the address has to wait. */
static void refuse(struct http_request *r, const char *text)
{
    const struct call *c = call_of(r);
    int64_t now_us = clock_mono_us(), wait = limit_wait(c->api->limit, http_address(r), now_us);
    char number[24];

    limit_failed(c->api->limit, http_address(r), now_us);
    metric_add(wait ? M_AUTH_LIMITED : M_AUTH_FAILED, 1);
    if (!wait) {
        http_problem(r, 401, "unauthorized", NULL, "%s", text);
        return;
    }
    http_add_header(r, "Retry-After", log_int(number, wait));
    http_problem(r, 429, "too_many_failures", NULL,
                 "Too many requests with wrong credentials came from this address.");
}

/* The request acts as an operator of the project from then on; false: it is answered. To check is
 * as cheap as to refuse, and nobody guesses 128 bits: who is right is heard although others at the
 * same address fail. */
static bool authenticate(struct http_request *r)
{
    const char *user = http_header(r, "user"), *timestamp = http_header(r, "timestamp");
    const char *signature = http_header(r, "signature");
    struct str token = bearer(http_header(r, "Authorization"));
    bool is_signed = user && timestamp && signature;
    struct call *c = call_of(r);
    int64_t now_s = clock_now_ms() / 1000;

    if (!c->db) {
        http_problem(r, 503, "unavailable", NULL, "The database cannot be read.");
        return false;
    }
    struct catalog *cat = catalog_cell_get(c->api->env.catalog);
    const struct project_app *app = NULL;
    if (is_signed)
        app = signature_check(cat, user, timestamp, signature, now_s);
    else if (token.n)
        app = login_check(c->api, cat, token, now_s);
    bool known = app != NULL;
    if (known)
        c->who = (struct who){
            .project_id = app->project_id, .scope = SCOPE_OPERATOR, .application = true};
    catalog_unref(cat);
    if (!known)
        refuse(r, is_signed ? "The signature is wrong, or its timestamp more than two hours away."
                  : token.n ? "This token is unknown or expired: log in again."
                            : "Sign the request with the headers user, timestamp and signature.");
    return known;
}

/* ---- /api_login/ ---- */
static json_t *body_object(struct http_request *r)
{
    struct str body = http_body(r);
    enum json_fault fault;
    json_t *in = json_parse(body.p ? body.p : "", body.n, BODY_MAX, 16, &fault, NULL);

    if (json_is_object(in))
        return in;
    json_decref(in);
    http_problem(r, 400, "malformed_json", NULL, "The body must be a JSON object.");
    return NULL;
}

/* A password is what one could guess: so here the address has to wait first, unless it was right
 * lately. false: it is answered. */
static bool may_guess(struct http_request *r, const char *user, const char *pass,
                      uint8_t ret[SHA256_SIZE])
{
    struct limit *limit = call_of(r)->api->limit;
    struct sbuf b = {.p = NULL};

    sbuf_fmt(&b, "login\n%s\n%s", user, pass);
    crypto_sha256(b.p, b.n, ret);
    sbuf_done(&b);
    if (!limit_wait(limit, http_address(r), clock_mono_us()) || limit_is_good(limit, ret))
        return true;
    refuse(r, "");
    return false;
}

static void handle_login(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    AUTO(json_free) json_t *in = body_object(r);
    char token[64], text[128];
    uint8_t hash[SHA256_SIZE];
    (void)arg;

    if (!in)
        return;
    const char *user = json_get_str(in, "username", ""), *pass = json_get_str(in, "password", "");
    if (!may_guess(r, user, pass, hash))
        return;
    struct catalog *cat = catalog_cell_get(c->api->env.catalog);
    const struct project_app *app = catalog_app_by_key(cat, str_of(user));
    bool fits = app && crypto_password_verify(pass, app->secret_hash);
    if (fits)
        login_make(c->api, app, clock_now_ms() / 1000, token);
    catalog_unref(cat);
    if (!fits) {
        refuse(r, "username is the ProjectKey, password the ProjectSecret; one of them is wrong.");
        return;
    }
    limit_good(c->api->limit, hash);
    (void)str_fmt(text, sizeof(text), "{\"result\":0,\"token\":\"%s\"}", token);
    http_add_header(r, "Cache-Control", "no-store");
    http_reply(r, 200, "application/json", text, strlen(text));
}

/* ---- /api/devices/{key}/down_attr/ ---- */
static void handle_down_attr(struct http_request *r, void *arg)
{
    (void)arg;
    if (!authenticate(r))
        return;
    AUTO(json_free) json_t *in = body_object(r);
    if (!in)
        return;
    const char *text = json_get_str(in, "attrs", NULL);
    enum json_fault fault;
    AUTO(json_free)
    json_t *attrs = text ? json_parse(text, strlen(text), BODY_MAX, 16, &fault, NULL) : NULL;
    if (!json_is_object(attrs) || json_object_size(attrs) == 0) {
        http_problem(r, 422, "validation_failed", NULL,
                     "attrs must be the text of a JSON object: {\"attrs\": \"{\\\"led\\\": 1}\"}.");
        return;
    }
    AUTO(free) char *params = json_text(attrs);
    down_go(r, &(struct down_ask){.params = params, .eztcloud = true});
}

/* ---- /api/devices/{key}/consents/ ---- */
static void handle_consents(struct http_request *r, void *arg)
{
    if (authenticate(r))
        consent_list_handle(r, arg);
}

static void handle_consent(struct http_request *r, void *arg)
{
    if (authenticate(r))
        consent_answer_handle(r, arg);
}

static const struct json_field login_fields[] = {
    {"username", JK_STRING, JF_REQUIRED, 0, 0, NULL, NULL, "ProjectKey (app_key)."},
    {"password", JK_STRING, JF_REQUIRED, 0, 0, NULL, NULL, "ProjectSecret (app_secret)."},
};
const struct table eztcloud_login_table = {"EztcloudLogin", login_fields, ARRAY_LEN(login_fields)};
static const struct json_field attrs_fields[] = {
    {"attrs", JK_STRING, JF_REQUIRED, 0, DEVICE_DOWN_BYTES_MAX, NULL, NULL,
     "Text of a JSON object: names and values."},
};
const struct table eztcloud_attrs_table = {"EztcloudAttributes", attrs_fields,
                                           ARRAY_LEN(attrs_fields)};

static const struct op op_login = {
    .summary = "EZtCloud's login of applications: {\"result\": 0, \"token\": …}, for a day",
    .in = &eztcloud_login_table,
    .status = 200};
static const struct op op_down_attr = {
    .summary = "EZtCloud's push of attributes. Headers user, timestamp and signature (MD5 of "
               "timestamp and ProjectToken), or the bearer token of /api_login/",
    .in = &eztcloud_attrs_table,
    .status = 200};

static const struct op op_consents = {
    .summary = "As GET /api/v1/devices/{key}/consents, with an application's credentials",
    .out = &consent_table,
    .status = 200,
    .list = true};
static const struct op op_consent = {
    .summary = "As POST /api/v1/devices/{key}/consents/{id}, with an application's credentials",
    .in = &consent_answer_table,
    .out = &consent_table,
    .status = 200};

const struct http_route eztcloud_routes[] = {
    {"POST", "/api_login", HTTP_BODY_WHOLE, BODY_MAX, handle_login, OP(op_login), 0},
    {"POST", "/api_login/", HTTP_BODY_WHOLE, BODY_MAX, handle_login, OP(op_login), 0},
    {"POST", "/api/devices/:key/down_attr", HTTP_BODY_WHOLE, BODY_MAX, handle_down_attr,
     OP(op_down_attr), 0},
    {"POST", "/api/devices/:key/down_attr/", HTTP_BODY_WHOLE, BODY_MAX, handle_down_attr,
     OP(op_down_attr), 0},
    {"GET", "/api/devices/:key/consents", HTTP_BODY_NONE, 0, handle_consents, OP(op_consents), 0},
    {"POST", "/api/devices/:key/consents/:id", HTTP_BODY_WHOLE, BODY_MAX, handle_consent,
     OP(op_consent), 0},
    {.method = NULL},
};
