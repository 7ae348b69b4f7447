/*
 * What another broker asks: may this client log in (/mqtt/auth), may it use this topic
 * (/mqtt/acl)? In the form of EMQX 5's HTTP authentication and authorization. The broker proves
 * itself by a bearer token of its own. Topics without a device's name are not for such a broker:
 * it could not tell who is who.
 */
#include "priv.h"

enum { BODY_MAX = 16384 };

static const char allow[] = "{\"result\":\"allow\"}";
static const char allow_all[] = "{\"result\":\"allow\",\"is_superuser\":true}";
static const char deny[] = "{\"result\":\"deny\"}";

static void say(struct http_request *r, const char *text)
{
    http_add_header(r, "Cache-Control", "no-store");
    http_reply(r, 200, "application/json", text, strlen(text));
}

static bool equal(const char *p, size_t n, const char *want)
{
    return n == strlen(want) && crypto_equal(p, want, n);
}

/* Guesses are slow; whoever has the secret is heard meanwhile. */
static int refuse(struct http_request *r)
{
    struct limit *l = call_of(r)->api->limit;
    int64_t wait = limit_wait(l, http_address(r), clock_mono_us());
    char text[24];

    metric_add(wait ? M_AUTH_LIMITED : M_AUTH_FAILED, 1);
    if (wait) {
        http_add_header(r, "Retry-After", log_int(text, wait));
        http_problem(r, 429, "too_many_failures", NULL,
                     "Too many requests with a wrong secret came from this address.");
    } else {
        limit_failed(l, http_address(r), clock_mono_us());
        http_problem(r, 401, "unauthorized", NULL, "Send hook_secret as the bearer token.");
    }
    return E_AUTH;
}

static int check_secret(struct http_request *r)
{
    const char *secret = call_of(r)->api->env.conf->mqtt_hook_secret;
    struct str token = bearer(http_header(r, "Authorization"));

    if (!secret || !*secret) {
        http_problem(r, 404, "not_found", NULL, "There is nothing here: hook_secret is not set.");
        return E_NOTFOUND;
    }
    return token.n && equal(token.p, token.n, secret) ? 0 : refuse(r);
}

/* The question, or NULL when it is answered already. New reference. */
static json_t *question(struct http_request *r)
{
    struct str body = http_body(r);
    json_t *in = json_parse(body.p, body.n, BODY_MAX, 4, &(enum json_fault){JSON_OK}, NULL);
    if (!json_is_object(in)) {
        json_decref(in);
        http_problem(r, 400, "invalid", NULL, "The body is no JSON object.");
        return NULL;
    }
    return in;
}

static bool is_service(const struct call *c, const char *username)
{
    return *username && strcmp(username, c->api->env.conf->mqtt_username) == 0;
}

static bool is_application(const struct call *c, const char *username, const char *password)
{
    struct catalog *cat = catalog_cell_get(c->api->env.catalog);
    const struct project_app *app = catalog_app_by_key(cat, str_of(username));
    bool is = app && crypto_password_verify(password, app->secret_hash);

    catalog_unref(cat);
    return is;
}

static void handle_auth(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    AUTO(json_free) json_t *in = question(r);
    struct device d;
    (void)arg;

    if (!in)
        return;
    const char *username = json_get_str(in, "username", "");
    const char *password = json_get_str(in, "password", "");
    if (is_service(c, username)) {
        const char *want = c->api->env.conf->mqtt_password;
        say(r, *want && equal(password, strlen(password), want) ? allow_all : deny);
        return;
    }
    if (is_application(c, username, password)) {
        say(r, allow);
        return;
    }
    int rc = c->db ? device_by_key(c->db, 0, username, http_arena(r), &d) : E_UNAVAILABLE;
    if (rc < 0 && rc != E_NOTFOUND) {
        http_fail(r, rc, NULL); /* the broker refuses, and asks again at the next login */
        return;
    }
    say(r,
        rc == 0 && d.enabled && d.password_hash && crypto_password_verify(password, d.password_hash)
            ? allow
            : deny);
}

/* By the foreign topics of its type, if its serial number is its own. */
static bool may_by_sn(struct http_request *r, const char *username, bool publish, const char *topic)
{
    const struct call *c = call_of(r);
    struct catalog *catalog = catalog_cell_get(c->api->env.catalog);
    const struct type_topic *const *any;
    const struct device_type *type = NULL;
    struct device d, same;
    bool may = false;

    if (c->db && catalog_topics(catalog, &any) > 0 &&
        device_by_key(c->db, 0, username, http_arena(r), &d) == 0)
        type = catalog_type(catalog, d.type_id);
    if (type && topic_sn_ok(d.sn, strlen(d.sn)))
        may = type_topics_may(&type->topics, d.sn, publish, topic) &&
              device_by_sn(c->db, d.type_id, str_of(d.sn), http_arena(r), &same) == 0;
    catalog_unref(catalog);
    return may;
}

static void handle_acl(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    AUTO(json_free) json_t *in = question(r);
    (void)arg;

    if (!in)
        return;
    const char *username = json_get_str(in, "username", "");
    const char *topic = json_get_str(in, "topic", ""), *action = json_get_str(in, "action", "");
    bool publish = strcmp(action, "publish") == 0;
    bool known = publish || strcmp(action, "subscribe") == 0;
    say(r, known && (is_service(c, username) || device_may(username, publish, topic) ||
                     may_by_sn(r, username, publish, topic))
               ? allow
               : deny);
}

static const struct op op_auth = {.summary = "An EMQX broker asks whether a client may log in",
                                  .status = 200,
                                  .check = check_secret};
static const struct op op_acl = {.summary = "An EMQX broker asks whether a client may use a topic",
                                 .status = 200,
                                 .check = check_secret};
const struct http_route hook_routes[] = {
    {"POST", "/mqtt/auth", HTTP_BODY_WHOLE, BODY_MAX, handle_auth, OP(op_auth), 0},
    {"POST", "/mqtt/acl", HTTP_BODY_WHOLE, BODY_MAX, handle_acl, OP(op_acl), 0},
    {.method = NULL},
};
