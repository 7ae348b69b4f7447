/*
 * /api/v1/tokens: access tokens of the project. The text of a token is shown once, in the answer
 * that made it; the database holds its SHA-256. Also the token of the first start.
 */
#include "priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the token."},
    {"name", JK_STRING, JF_REQUIRED, 1, 255, NULL, NULL, "Whose it is, or what for."},
    {"scope", JK_ENUM, JF_REQUIRED, 0, 0, "admin|operator|viewer", NULL,
     "viewer reads, operator also writes, admin also manages tokens."},
    {"expires_at", JK_TIME, JF_NULLABLE, 0, 0, NULL, "null", "When it stops to work."},
    {"prefix", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "The first characters of the token, to recognise it."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
};
const struct table token_table = {"Token", fields, ARRAY_LEN(fields)};

enum { PREFIX = 8, TOKEN_BYTES = 24, TOKEN_TEXT = 64 };

int token_make(struct db *w, int64_t project_id, const char *name, enum scope scope,
               const char *token, int64_t now, int64_t expires_at, int64_t *ret_id)
{
    uint8_t hash[SHA256_SIZE];
    char prefix[PREFIX + 1] = "";
    struct db_stmt *q = db_use(w, Q_TOKEN_INSERT);

    crypto_sha256(token, strlen(token), hash);
    if (strncmp(token, "otk_", 4) == 0)
        (void)str_copy(prefix, sizeof(prefix), token);
    db_bind_int(q, 1, project_id);
    db_bind_text(q, 2, name);
    db_bind_text(q, 3, scope_name(scope));
    db_bind_blob(q, 4, hash, sizeof(hash));
    db_bind_text(q, 5, prefix);
    db_bind_int(q, 6, now);
    if (expires_at)
        db_bind_int(q, 7, expires_at);
    else
        db_bind_null(q, 7);
    int rc = db_run(q);
    if (rc == 0)
        *ret_id = db_last_id(w);
    return rc;
}

/* A row of token_list or token_by_id. */
static void token_json(struct sbuf *b, struct db_stmt *q)
{
    struct obj o = obj_begin(b);
    obj_int(&o, "id", db_int(q, 0));
    obj_str(&o, "name", db_text(q, 1));
    obj_str(&o, "scope", db_text(q, 2));
    obj_time(&o, "expires_at", db_int(q, 5));
    obj_str(&o, "prefix", db_text(q, 3));
    obj_time(&o, "created_at", db_int(q, 4));
    obj_end(&o);
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    int64_t project = c->who.project_id;
    const char *scope;
    struct list l;
    int rc;
    (void)arg;
    if (input_query_word(r, &token_table, "scope", &scope) < 0 || list_begin(r, &l) < 0)
        return;
    struct db_stmt *q = db_use(c->db, Q_TOKEN_LIST);
    db_bind_int(q, 1, project);
    db_bind_int(q, 2, l.after);
    db_bind_int(q, 3, l.limit + 1);
    db_bind_text(q, 4, scope);
    while ((rc = db_step(q)) == 1 && list_row(&l, db_int(q, 0)))
        token_json(&l.b, q);
    db_reset(q);
    list_end(&l, rc,
             list_wants_total(&l) ? db_count_word(c->db, Q_TOKEN_COUNT, project, scope) : -1);
}

static int read_one(struct db *db, int64_t project_id, int64_t id, struct sbuf *b)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TOKEN_BY_ID);
    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, id);
    int rc = db_row(q);
    if (rc == 0)
        token_json(b, q);
    return rc;
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    int rc = read_one(c->db, c->who.project_id, id, &b);
    answer_read(r, rc, "token", 1, false, &b); /* it never changes */
}

static int run_create(struct write *w, struct db *db)
{
    const char *scope_text = json_get_str(w->in, "scope", "");
    const char *expires_text = json_get_str(w->in, "expires_at", NULL);
    enum scope scope = SCOPE_VIEWER;
    int64_t id, expires = 0;

    for (int s = SCOPE_VIEWER; s <= SCOPE_ADMIN; s++)
        if (strcmp(scope_text, scope_name((enum scope)s)) == 0)
            scope = (enum scope)s;
    if (expires_text && (time_parse(expires_text, &expires) < 0 || expires <= w->now))
        return write_invalid(w, "/expires_at", "out_of_range", "expires_at must lie ahead.");
    int rc = token_make(db, w->who.project_id, json_get_str(w->in, "name", ""), scope, w->secret,
                        w->now, expires, &id);
    if (rc == 0)
        rc = read_one(db, w->who.project_id, id, &w->body);
    if (rc == 0)
        write_created(w, 1, "/api/v1/tokens/%lld", (long long)id);
    return rc;
}

static void handle_create(struct http_request *r, void *arg)
{
    char token[TOKEN_TEXT];
    struct write *w = write_of(r, arg);
    if (!w)
        return;
    w->tokens = true;
    crypto_token("otk_", TOKEN_BYTES, token, sizeof(token));
    w->secret_name = "token";
    w->secret = arena_strdup(&w->a, token);
    write_go(w, r);
}

/* Refuse to take away the last token that can make others and never expires. */
static int keep_an_admin(struct write *w, struct db *db)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TOKEN_COUNT_OTHER_ADMINS);
    db_bind_int(q, 1, w->who.project_id);
    db_bind_int(q, 2, w->id);
    int rc = db_row(q);
    if (rc < 0 || db_int(q, 0) > 0)
        return rc;
    w->code = "last_admin_token";
    return fail(&w->fail, E_CONFLICT,
                "No other admin token without expiry would be left in this project.");
}

static int run_delete(struct write *w, struct db *db)
{
    int rc = write_found(w, read_one(db, w->who.project_id, w->id, &w->before), "token");
    if (rc == 0)
        rc = write_if_match(w, 1);
    if (rc == 0)
        rc = keep_an_admin(w, db);
    if (rc < 0)
        return rc;
    struct db_stmt *q = db_use(db, Q_TOKEN_REVOKE);
    db_bind_int(q, 1, w->who.project_id);
    db_bind_int(q, 2, w->id);
    db_bind_int(q, 3, w->now);
    w->status = 204;
    return db_run(q);
}

static void handle_delete(struct http_request *r, void *arg)
{
    struct write *w = write_of(r, arg);
    if (!w)
        return;
    w->tokens = true;
    write_go(w, r);
}

/* ---- the first start ---- */
static int write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, text, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k < 0 ? -errno : -EIO;
        text += k;
        n -= (size_t)k;
    }
    return 0;
}

static int sync_folder(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

/* <data_dir>/admin-token, mode 0600, complete or absent. */
static int write_token_file(const char *dir, const char *token, struct fail *f)
{
    char path[4096], tmp[4096 + 8], line[TOKEN_TEXT + 2];
    if (!str_fmt(path, sizeof(path), "%s/admin-token", dir) ||
        !str_fmt(tmp, sizeof(tmp), "%s.tmp", path))
        return fail(f, -ENAMETOOLONG, "the path of data_dir is too long");
    (void)unlink(tmp);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(f, -errno, "cannot write %s: %s", tmp, strerror(errno));
    (void)str_fmt(line, sizeof(line), "%s\n", token);
    int rc = write_all(fd, line, strlen(line));
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    if (rc == 0 && rename(tmp, path) < 0)
        rc = -errno;
    if (rc == 0)
        rc = sync_folder(dir);
    if (rc < 0) {
        (void)unlink(tmp);
        return fail(f, rc, "cannot write %s: %s", path, strerror(-rc));
    }
    return 0;
}

static int check_given_token(const char *token, struct fail *f)
{
    size_t n = strlen(token);
    for (size_t i = 0; i < n; i++)
        if (token[i] <= ' ' || token[i] > '~')
            return fail(f, E_PROTO, "OTAD_ADMIN_TOKEN holds a blank or no ASCII");
    if (n > 200)
        return fail(f, E_PROTO, "OTAD_ADMIN_TOKEN is longer than 200 characters");
    if (n < TOKEN_GUESSABLE)
        LOG(LOG_WARN, "api", "OTAD_ADMIN_TOKEN is short: it can be guessed");
    return 0;
}

int api_install_admin_token(struct db *w, const struct conf *conf, int64_t now, struct fail *f)
{
    char token[TOKEN_TEXT];
    struct project p;
    struct arena a;
    int64_t id;

    arena_init(&a);
    int rc = project_by_key(w, "default", &a, &p);
    arena_done(&a);
    if (rc < 0)
        return fail(f, rc, "there is no project `default`");
    int64_t count = db_count(w, Q_TOKEN_COUNT_EVER, p.id);
    if (count != 0)
        return count < 0 ? fail(f, (int)count, "%s", db_error(w)) : 0;
    if (conf->admin_token && conf->admin_token[0]) {
        rc = check_given_token(conf->admin_token, f);
        if (rc == 0)
            rc = token_make(w, p.id, "OTAD_ADMIN_TOKEN", SCOPE_ADMIN, conf->admin_token, now, 0,
                            &id);
    } else {
        crypto_token("otk_", TOKEN_BYTES, token, sizeof(token));
        rc = token_make(w, p.id, "first admin", SCOPE_ADMIN, token, now, 0, &id);
        if (rc == 0)
            return write_token_file(conf->data_dir, token, f);
    }
    return rc == 0 || (f && f->rc == rc) ? rc : fail(f, rc, "%s", db_error(w));
}

static const struct op op_list = {.summary = "List the tokens of the project",
                                  .out = &token_table,
                                  .query = LIST_QUERY "|scope",
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {.summary = "One token", .out = &token_table, .status = 200};
static const struct op op_create = {
    .summary =
        "Make a token; the answer's `token` is shown this once and left out of a repeat with "
        "the same Idempotency-Key",
    .in = &token_table,
    .out = &token_table,
    .status = 201,
    .run = run_create};
static const struct op op_delete = {
    .summary = "Revoke a token; it stops to work at once", .status = 204, .run = run_delete};

#define PATH "/api/v1/tokens"
const struct http_route token_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), ADMIN},
    {"POST", PATH, HTTP_BODY_WHOLE, 65536, handle_create, OP(op_create), ADMIN},
    {"GET", PATH "/:id", HTTP_BODY_NONE, 0, handle_get, OP(op_get), ADMIN},
    {"DELETE", PATH "/:id", HTTP_BODY_NONE, 0, handle_delete, OP(op_delete), ADMIN},
    {.method = NULL},
};
