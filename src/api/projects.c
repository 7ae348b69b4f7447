/*
 * /api/v1/projects: tenants. Only admins of the project `default` see this resource; a new
 * project comes with its first admin token, shown once.
 */
#include "priv.h"

#define KEY_MAX 64

static const struct json_field fields[] = {
    {"key", JK_KEY, JF_REQUIRED | JF_CREATE_ONLY, 1, KEY_MAX, NULL, NULL, "Unique name in paths."},
    {"name", JK_STRING, JF_REQUIRED, 1, 255, NULL, NULL, "What people read."},
    {"bootstrap", JK_ENUM, 0, 0, 0, "off|once|always", "off",
     "Whether devices may fetch their login: never, until they are heard of, or at any time."},
    {"bootstrap_create", JK_INT, 0, 0, 1000000, NULL, "0",
     "So many devices may still make themselves by that; counts down."},
    {"second_person", JK_BOOL, 0, 0, 0, NULL, "false",
     "What gives devices a version that they would not have got must be confirmed with a second "
     "token; so must be that this ends."},
    {"confirmation", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "What waits for a second person: {action, body, asked_by, asked_at, expires_at}. Not in "
     "lists."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"updated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it last changed."},
    {"revision", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Counts changes; the ETag's number."},
};
const struct table project_table = {"Project", fields, ARRAY_LEN(fields)};

static struct confirm_of request_of(const struct project *p)
{
    return (struct confirm_of){"project", p->id, p->id, p->revision, NULL};
}

/* db NULL: in a list. */
static void project_json(struct sbuf *b, struct db *db, const struct project *p)
{
    const struct confirm_of of = request_of(p);
    struct obj o = obj_begin(b);
    obj_str(&o, "key", p->key);
    obj_str(&o, "name", p->name);
    obj_str(&o, "bootstrap", bootstrap_name(p->bootstrap));
    obj_int(&o, "bootstrap_create", p->bootstrap_create);
    obj_bool(&o, "second_person", p->second_person);
    if (db && confirm_json(&o, db, &of) < 0)
        obj_str(&o, "confirmation", NULL); /* as if there were none: nothing hangs on it */
    obj_time(&o, "created_at", p->created_at);
    obj_time(&o, "updated_at", p->updated_at);
    obj_int(&o, "revision", p->revision);
    obj_end(&o);
}

/* Members of the request over what *p holds. */
static void project_take(const json_t *in, struct project *p)
{
    const char *bootstrap = json_get_str(in, "bootstrap", bootstrap_name(p->bootstrap));

    p->name = json_get_str(in, "name", p->name);
    for (int b = 0; b < BOOTSTRAP__COUNT; b++)
        if (strcmp(bootstrap, bootstrap_name((enum bootstrap)b)) == 0)
            p->bootstrap = (enum bootstrap)b;
    p->bootstrap_create = json_get_int(in, "bootstrap_create", p->bootstrap_create);
    p->second_person = json_get_bool(in, "second_person", p->second_person);
}

static int list_one(void *arg, const struct project *p)
{
    struct list *l = arg;
    if (!list_row(l, p->id))
        return 1;
    project_json(&l->b, NULL, p);
    return 0;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct list l;
    (void)arg;
    if (list_begin(r, &l) < 0)
        return;
    int rc = project_list(c->db, l.after, l.limit + 1, list_one, &l);
    list_end(&l, rc, list_wants_total(&l) ? catalog_count(c->db, "projects", 0) : -1);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct project p;
    char etag[48];
    struct sbuf b = {.p = NULL};
    (void)arg;
    int rc = project_by_key(c->db, http_param(r, "key"), http_arena(r), &p);
    if (rc == E_NOTFOUND) {
        answer_not_found(r, "project");
    } else if (rc < 0) {
        http_fail(r, rc, NULL);
    } else {
        project_json(&b, c->db, &p);
        etag_text(etag, p.revision, &b); /* bootstrap_create moves by itself */
        answer_object(r, etag, &b);
    }
    sbuf_done(&b);
}

static int run_create(struct write *w, struct db *db)
{
    struct project p = {.key = json_get_str(w->in, "key", ""), .name = "", .created_at = w->now};
    int64_t token_id;

    project_take(w->in, &p);
    int rc = project_insert(db, &p, &w->fail);
    if (rc == 0)
        rc = project_by_key(db, p.key, &w->a, &p);
    if (rc == 0)
        rc = token_make(db, p.id, "first admin", SCOPE_ADMIN, w->secret, w->now, 0, &token_id);
    if (rc < 0)
        return rc;
    project_json(&w->body, db, &p);
    write_created(w, 0, "/api/v1/projects/%s", p.key);
    etag_text(w->etag, p.revision, &w->body);
    return 0;
}

static void handle_create(struct http_request *r, void *arg)
{
    char token[64];
    json_t *in = input_object(r, arg);
    if (!in)
        return;
    struct write *w = write_new(r, run_create);
    w->in = in;
    w->job.catalog = true;
    w->tokens = true;
    crypto_token("otk_", 24, token, sizeof(token));
    w->secret_name = "token";
    w->secret = arena_strdup(&w->a, token);
    struct str body = http_body(r);
    if (write_idempotent(w, r, body.p, body.n) == 0)
        write_go(w, r);
}

static int find(struct write *w, struct db *db, struct project *p)
{
    int rc = project_by_key(db, w->key, &w->a, p);
    if (rc == E_NOTFOUND)
        return write_not_found(w, "project");
    if (rc == 0)
        project_json(&w->before, db, p);
    return rc < 0 ? rc : write_if_match(w, p->revision);
}

static int change(struct write *w, struct db *db, const char *action UNUSED)
{
    struct project p;
    int rc = project_by_key(db, w->key, &w->a, &p);
    if (rc < 0)
        return rc;
    project_take(w->in, &p);
    p.updated_at = w->now;
    return project_update(db, &p, &w->fail);
}

static int answer_with(struct write *w, struct db *db)
{
    struct project p;
    int rc = project_by_key(db, w->key, &w->a, &p);
    if (rc < 0)
        return rc;
    project_json(&w->body, db, &p);
    etag_text(w->etag, p.revision, &w->body);
    return 0;
}

/* Without the second person all else could be done alone. */
static int run_patch(struct write *w, struct db *db)
{
    struct project p;
    int rc = find(w, db, &p);
    if (rc < 0)
        return rc;
    const struct confirm_of of = request_of(&p);
    rc = json_get_bool(w->in, "second_person", true) ? change(w, db, "change")
                                                     : confirm_or_do(w, db, &of, "change", change);
    return rc < 0 ? rc : answer_with(w, db);
}

static int find_request(struct write *w, struct db *db, struct confirm_of *ret)
{
    struct project p;
    int rc = find(w, db, &p);
    if (rc < 0)
        return rc;
    *ret = request_of(&p);
    return 0;
}

static const struct confirm_how how = {find_request, change, answer_with};

static int run_confirm(struct write *w, struct db *db)
{
    return confirm_yes(w, db, &how);
}

static int run_deny(struct write *w, struct db *db)
{
    return confirm_no(w, db, &how);
}

static int run_delete(struct write *w, struct db *db)
{
    struct project p;
    int rc = find(w, db, &p);
    if (rc < 0)
        return rc;
    w->status = 204;
    if (p.id == w->api->default_project) {
        w->status = 409;
        w->code = "in_use";
        return fail(&w->fail, E_CONFLICT, "The project `default` can't be deleted.");
    }
    rc = write_conflict(w, project_delete(db, p.id, &w->fail), "in_use");
    if (rc < 0)
        return rc;
    const struct confirm_of of = request_of(&p);
    return confirm_drop(db, &of); /* its number may come again */
}

static void handle_delete(struct http_request *r, void *arg)
{
    (void)arg;
    struct write *w = write_new(r, run_delete);
    w->job.catalog = true;
    w->tokens = true;
    w->credentials = true; /* of its applications */
    write_go(w, r);
}

static const struct op op_list = {.summary = "List the projects",
                                  .out = &project_table,
                                  .query = LIST_QUERY,
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {
    .summary = "One project", .out = &project_table, .query = NULL, .status = 200};
static const struct op op_create = {
    .summary = "Make a project; the answer's `token` is its first admin token, shown this once",
    .in = &project_table,
    .out = &project_table,
    .status = 201};
static const struct op op_patch = {
    .summary = "Change a project; 202: another admin has to confirm that second_person ends",
    .in = &project_table,
    .out = &project_table,
    .status = 200,
    .patch = true,
    .run = run_patch,
    .catalog = true};
static const struct op op_confirm = {
    .summary = "Do what somebody with another token asked for, as `confirmation` has it",
    .out = &project_table,
    .status = 200,
    .run = run_confirm,
    .catalog = true};
static const struct op op_deny = {.summary = "Drop what was asked for, whoever asked",
                                  .out = &project_table,
                                  .status = 200,
                                  .run = run_deny};
static const struct op op_delete = {.summary = "Delete a project that is empty", .status = 204};

#define PATH "/api/v1/projects"

const struct http_route project_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), ROOT},
    {"POST", PATH, HTTP_BODY_WHOLE, 65536, handle_create, OP(op_create), ROOT},
    {"GET", PATH "/:key", HTTP_BODY_NONE, 0, handle_get, OP(op_get), ROOT},
    {"PATCH", PATH "/:key", HTTP_BODY_WHOLE, 65536, write_handle, OP(op_patch), ROOT},
    {"POST", PATH "/:key/confirm", HTTP_BODY_WHOLE, 65536, write_handle, OP(op_confirm), ROOT},
    {"POST", PATH "/:key/deny", HTTP_BODY_WHOLE, 65536, write_handle, OP(op_deny), ROOT},
    {"DELETE", PATH "/:key", HTTP_BODY_NONE, 0, handle_delete, OP(op_delete), ROOT},
    {.method = NULL},
};
