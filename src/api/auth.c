/*
 * The hook before every handler: security headers, who asks (Bearer token), what the route needs
 * (scope), and whether the query is known. Tokens are known by their SHA-256 alone; a thread
 * remembers those that were right, for a second at most and never past a commit that changed
 * tokens. Nothing here logs a token or any part of one.
 */
#include "priv.h"

enum { CACHE = 64, CACHE_US = 1000000, TOKEN_MAX = 256 };

struct token_cache {
    struct cached {
        uint8_t hash[SHA256_SIZE];
        struct who who;
        int64_t expires_at, read_us;
        uint64_t changed;
        bool used;
    } slots[CACHE];
};

struct token_cache *token_cache_new(void)
{
    return xcalloc(1, sizeof(struct token_cache));
}

void token_cache_free(struct token_cache *c)
{
    free(c);
}

static const char *const scope_names[] = {"none", "viewer", "operator", "admin"};

const char *scope_name(enum scope s)
{
    return scope_names[s];
}

static void call_free(void *state)
{
    struct call *c = state;
    if (c->own_free)
        c->own_free(c->own);
}

void call_own(struct http_request *r, void *own, void (*own_free)(void *own))
{
    struct call *c = call_of(r);
    c->own = own;
    c->own_free = own_free;
}

/* Read the token's row: 0, E_AUTH, or the database's error. */
static int token_read(struct api_thread *t, const uint8_t hash[SHA256_SIZE], struct cached *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(t->db, Q_TOKEN_BY_HASH);
    db_bind_blob(q, 1, hash, SHA256_SIZE);
    int rc = db_row(q);
    if (rc == E_NOTFOUND)
        return E_AUTH;
    if (rc < 0)
        return rc;
    if (db_bytes(q, 3) != SHA256_SIZE || !crypto_equal(db_blob(q, 3), hash, SHA256_SIZE))
        return E_AUTH;
    const char *scope = db_text(q, 2);
    ret->who = (struct who){.project_id = db_int(q, 1), .token_id = db_int(q, 0)};
    for (int s = SCOPE_VIEWER; s <= SCOPE_ADMIN; s++)
        if (strcmp(scope, scope_names[s]) == 0)
            ret->who.scope = (enum scope)s;
    ret->expires_at = db_int(q, 4);
    memcpy(ret->hash, hash, SHA256_SIZE);
    return 0;
}

static int token_find(struct api_thread *t, const uint8_t hash[SHA256_SIZE], struct who *ret)
{
    int64_t now_us = clock_mono_us();
    uint64_t changed = atomic_load(&t->api->tokens_changed);
    struct cached *c = &t->tokens->slots[hash[0] % CACHE];
    bool fresh = c->used && c->changed == changed && now_us - c->read_us < CACHE_US &&
                 crypto_equal(c->hash, hash, SHA256_SIZE);
    if (!fresh) {
        struct cached row = {.changed = changed, .read_us = now_us, .used = true};
        int rc = token_read(t, hash, &row);
        if (rc < 0)
            return rc;
        *c = row;
    }
    if (c->expires_at && c->expires_at <= clock_now_ms())
        return E_AUTH;
    *ret = c->who;
    return 0;
}

/* The token's text in the header, or an empty view. */
struct str bearer(const char *header)
{
    if (!header || strncasecmp(header, "Bearer ", 7) != 0)
        return (struct str){NULL, 0};
    header += 7 + strspn(header + 7, " ");
    size_t n = strcspn(header, " \t");
    if (n == 0 || n > TOKEN_MAX || header[n])
        return (struct str){NULL, 0};
    return (struct str){header, n};
}

static int refuse_for_now(struct http_request *r, int64_t wait_s)
{
    char text[24];
    metric_add(M_AUTH_LIMITED, 1);
    http_add_header(r, "Retry-After", log_int(text, wait_s));
    http_problem(r, 429, "too_many_failures", NULL,
                 "Too many requests with a wrong token came from this address.");
    return E_LIMIT;
}

static int refuse(struct http_request *r, struct api *api, bool has_token, int64_t wait_s)
{
    limit_failed(api->limit, http_address(r), clock_mono_us());
    if (wait_s)
        return refuse_for_now(r, wait_s);
    metric_add(M_AUTH_FAILED, 1);
    http_add_header(r, "WWW-Authenticate",
                    has_token ? "Bearer realm=\"otad\", error=\"invalid_token\""
                              : "Bearer realm=\"otad\"");
    http_problem(r, 401, "unauthorized", NULL,
                 has_token ? "This token is unknown, revoked or expired."
                           : "Send a token: Authorization: Bearer otk_…");
    return E_AUTH;
}

/* To look a token up is as cheap as to refuse it, and nobody guesses 128 bits: who is right is
 * heard although others at the same address, a proxy's perhaps, fail. A short token has to wait. */
static int authenticate(struct http_request *r, struct call *c)
{
    struct str token = bearer(http_header(r, "Authorization"));
    int64_t wait = limit_wait(c->api->limit, http_address(r), clock_mono_us());
    uint8_t hash[SHA256_SIZE];

    crypto_sha256(token.p ? token.p : "", token.n, hash);
    bool guessable = token.n < TOKEN_GUESSABLE;
    if (wait && (!token.n || (guessable && !limit_is_good(c->api->limit, hash))))
        return refuse_for_now(r, wait);
    int rc = token.n ? token_find(c->t, hash, &c->who) : E_AUTH;
    if (rc == E_AUTH)
        return refuse(r, c->api, token.n > 0, wait);
    if (rc < 0)
        http_fail(r, rc, NULL);
    else if (guessable)
        limit_good(c->api->limit, hash);
    return rc;
}

static int authorize(struct http_request *r, const struct call *c, unsigned flags)
{
    enum scope need = (enum scope)(flags & ROUTE_SCOPE);
    if (c->who.scope < need) {
        http_problem(r, 403, "forbidden", NULL, "This needs a token of scope %s; yours is %s.",
                     scope_name(need), scope_name(c->who.scope));
        return E_FORBIDDEN;
    }
    if ((flags & ROUTE_ROOT) && c->who.project_id != c->api->default_project) {
        http_problem(r, 403, "forbidden", NULL,
                     "This needs an admin token of the project `default`.");
        return E_FORBIDDEN;
    }
    return 0;
}

int api_before(struct http_request *r, const struct http_route *route, void *arg)
{
    struct api_thread *t = http_thread_arg(r);
    struct call *c = arena_alloc(http_arena(r), sizeof(*c));
    int rc;

    *c = (struct call){.t = t, .api = arg, .db = t->db};
    http_set_state(r, c, call_free);
    if (!(route->flags & ROUTE_API))
        return 0;
    http_add_header(r, "Cache-Control", "no-store");
    http_add_header(r, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    http_add_header(r, "Referrer-Policy", "no-referrer");
    if (!c->db) {
        http_problem(r, 503, "unavailable", NULL, "The database cannot be read.");
        return E_UNAVAILABLE;
    }
    if (route->flags & ROUTE_SCOPE) {
        rc = authenticate(r, c);
        if (rc == 0)
            rc = authorize(r, c, route->flags);
        if (rc < 0)
            return rc;
    }
    return input_query(r, route->arg);
}
