/*
 * /api/v1/projects/{key}/app: what the project's applications log in with, in EZtCloud's words
 * ProjectKey (app_key), ProjectSecret (app_secret) and ProjectToken (app_token). Making them again
 * keeps the key and ends the old secret and token at once.
 */
#include "priv.h"

static const struct json_field fields[] = {
    {"app_key", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "ProjectKey: the applications' name at the broker and in `user` headers."},
    {"live_topics", JK_BOOL, 0, 0, 0, NULL, "false",
     "What the project's devices say is published below open/<app_key>/."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"rotated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL,
     "When secret and token were last made."},
    {"revision", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Counts changes; the ETag's number."},
};
const struct table app_table = {"ProjectApp", fields, ARRAY_LEN(fields)};

enum { SECRET_BYTES = 24, SECRET_TEXT = 64 };

static void app_json(struct sbuf *b, const struct project_app *app)
{
    struct obj o = obj_begin(b);

    obj_str(&o, "app_key", app->key);
    obj_bool(&o, "live_topics", app->live);
    obj_time(&o, "created_at", app->created_at);
    obj_time(&o, "rotated_at", app->rotated_at);
    obj_int(&o, "revision", app->revision);
    obj_end(&o);
}

static int find_app(struct db *db, const char *key, struct arena *a, struct project *p,
                    struct project_app *ret)
{
    int rc = project_by_key(db, key, a, p);

    return rc < 0 ? rc : project_app_by_project(db, p->id, a, ret);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct project_app app;
    struct project p;
    char etag[48];
    (void)arg;

    int rc = find_app(c->db, http_param(r, "key"), http_arena(r), &p, &app);
    if (rc == E_NOTFOUND) {
        answer_not_found(r, "project with applications");
    } else if (rc < 0) {
        http_fail(r, rc, NULL);
    } else {
        app_json(&b, &app);
        etag_text(etag, app.revision, NULL);
        answer_object(r, etag, &b);
    }
    sbuf_done(&b);
}

/* What the http thread made; key is used when there is none yet. */
struct made {
    char key[APP_KEY_TEXT], hash[CRYPTO_PASSWORD_TEXT];
};

static int answer_with(struct write *w, struct db *db, int64_t project_id)
{
    struct project_app app;
    int rc = project_app_by_project(db, project_id, &w->a, &app);

    if (rc < 0)
        return rc;
    app_json(&w->body, &app);
    etag_text(w->etag, app.revision, NULL);
    w->login = app.key; /* of the arena; the broker has to know */
    return 0;
}

static int make(struct write *w, struct db *db, int64_t project_id)
{
    const struct made *m = w->ext;
    struct project_app app = {.project_id = project_id,
                              .key = m->key,
                              .secret_hash = m->hash,
                              .token = w->secret2,
                              .created_at = w->now};
    struct device d;

    if (device_find(db, str_of(m->key), &w->a, &d) == 0)
        return fail(&w->fail, E_CONFLICT, "A device has this key: try again.");
    return project_app_insert(db, &app);
}

static int run_make(struct write *w, struct db *db)
{
    const struct made *m = w->ext;
    struct project_app app;
    struct project p;
    int rc = project_by_key(db, w->key, &w->a, &p);

    if (rc == E_NOTFOUND)
        return write_not_found(w, "project");
    if (rc == 0)
        rc = project_app_by_project(db, p.id, &w->a, &app);
    if (rc == 0) {
        rc = write_if_match(w, app.revision);
        app.secret_hash = m->hash;
        app.token = w->secret2;
        app.rotated_at = w->now;
        if (rc == 0)
            rc = project_app_update(db, &app);
    } else if (rc == E_NOTFOUND) {
        rc = make(w, db, p.id);
    }
    if (rc == 0)
        rc = answer_with(w, db, p.id);
    if (rc == 0)
        w->status = 201;
    return rc;
}

static void handle_make(struct http_request *r, void *arg)
{
    struct write *w = write_new(r, run_make);
    struct made *m = arena_alloc(&w->a, sizeof(*m));
    char text[SECRET_TEXT];
    (void)arg;

    project_app_key(m->key);
    crypto_token("PS_", SECRET_BYTES, text, sizeof(text));
    crypto_password_hash(text, m->hash);
    w->secret_name = "app_secret";
    w->secret = arena_strdup(&w->a, text);
    crypto_token("PT_", SECRET_BYTES, text, sizeof(text));
    w->secret2_name = "app_token";
    w->secret2 = arena_strdup(&w->a, text);
    w->ext = m;
    w->credentials = true;
    w->job.catalog = true;
    if (write_idempotent(w, r, NULL, 0) == 0)
        write_go(w, r);
}

static int find(struct write *w, struct db *db, struct project *p, struct project_app *app)
{
    int rc = find_app(db, w->key, &w->a, p, app);

    if (rc == E_NOTFOUND)
        return write_not_found(w, "project with applications");
    if (rc == 0)
        app_json(&w->before, app);
    return rc < 0 ? rc : write_if_match(w, app->revision);
}

static int run_patch(struct write *w, struct db *db)
{
    struct project_app app;
    struct project p;
    int rc = find(w, db, &p, &app);

    if (rc < 0)
        return rc;
    app.live = json_get_bool(w->in, "live_topics", app.live);
    rc = project_app_update(db, &app);
    return rc < 0 ? rc : answer_with(w, db, p.id);
}

static void handle_patch(struct http_request *r, void *arg)
{
    json_t *in = input_object(r, arg);

    if (!in)
        return;
    struct write *w = write_new(r, run_patch);
    w->in = in;
    w->job.catalog = true;
    write_go(w, r);
}

static int run_delete(struct write *w, struct db *db)
{
    struct project_app app;
    struct project p;
    int rc = find(w, db, &p, &app);

    w->status = 204;
    if (rc < 0)
        return rc;
    w->login = app.key;
    return project_app_delete(db, p.id);
}

static void handle_delete(struct http_request *r, void *arg)
{
    (void)arg;
    struct write *w = write_new(r, run_delete);
    w->credentials = true;
    w->job.catalog = true;
    write_go(w, r);
}

static const struct op op_get = {
    .summary = "What the project's applications log in with", .out = &app_table, .status = 200};
static const struct op op_make = {
    .summary = "Let applications in, or give them a new secret and token; `app_secret` and "
               "`app_token` are shown in this answer alone",
    .out = &app_table,
    .status = 201};
static const struct op op_patch = {.summary = "Switch the live topics",
                                   .in = &app_table,
                                   .out = &app_table,
                                   .status = 200,
                                   .patch = true};
static const struct op op_delete = {.summary = "Shut applications out; their key is gone for good",
                                    .status = 204};

#define PATH "/api/v1/projects/:key/app"
const struct http_route app_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_get, OP(op_get), ROOT},
    {"POST", PATH, HTTP_BODY_WHOLE, 65536, handle_make, OP(op_make), ROOT},
    {"PATCH", PATH, HTTP_BODY_WHOLE, 65536, handle_patch, OP(op_patch), ROOT},
    {"DELETE", PATH, HTTP_BODY_NONE, 0, handle_delete, OP(op_delete), ROOT},
    {.method = NULL},
};
