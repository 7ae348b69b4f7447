/* The audit log's rows, their text, and the chain of hashes that holds them together. */
#include "audit.h"
#include "json.h"

enum { WALK_ROWS = 500 };

static const char no_hash[] = "0000000000000000000000000000000000000000000000000000000000000000";

/* ---- text ---- */
static void add_name(struct sbuf *out, const char *name)
{
    sbuf_fmt(out, "%c\"%s\":", out->n && out->p[out->n - 1] != '\n' ? ',' : '{', name);
}

static void add_text(struct sbuf *out, const char *name, const char *v)
{
    add_name(out, name);
    json_add_string(out, v ? v : "");
}

static void add_int(struct sbuf *out, const char *name, int64_t v)
{
    add_name(out, name);
    sbuf_fmt(out, "%lld", (long long)v);
}

static void add_raw(struct sbuf *out, const char *name, const char *json)
{
    add_name(out, name);
    sbuf_str(out, json ? json : "null");
}

/* What is hashed: every member but the hash, in this order. */
static void canonical(struct sbuf *out, const struct audit *a)
{
    struct sbuf line = {.p = NULL};
    char at[TIME_TEXT_MAX];

    add_int(&line, "id", a->id);
    add_text(&line, "at", time_text(a->at, at));
    add_int(&line, "project_id", a->project_id);
    add_text(&line, "project", a->project);
    add_int(&line, "token_id", a->token_id);
    add_text(&line, "who", a->who);
    add_text(&line, "address", a->address);
    add_text(&line, "request_id", a->request_id);
    add_text(&line, "action", a->action);
    add_text(&line, "object", a->object);
    add_raw(&line, "fields", a->fields ? a->fields : "[]");
    add_raw(&line, "before", a->before);
    add_raw(&line, "after", a->after);
    add_text(&line, "previous", a->previous);
    sbuf_add(out, line.p, line.n);
    sbuf_done(&line);
}

void audit_line(struct sbuf *out, const struct audit *a)
{
    canonical(out, a);
    sbuf_fmt(out, ",\"hash\":\"%s\"}", a->hash);
}

static void hash_of(const struct audit *a, uint8_t ret[SHA256_SIZE])
{
    struct sbuf text = {.p = NULL};

    canonical(&text, a);
    sbuf_add(&text, "}", 1);
    crypto_sha256(text.p, text.n, ret);
    sbuf_done(&text);
}

/* ---- adding ---- */
/* What is too long is named by its digest, so that it can still be recognised. */
static const char *bounded(const char *json, char buf[160])
{
    uint8_t sha256[SHA256_SIZE];
    char hex[AUDIT_HEX_SIZE];
    size_t n = json ? strlen(json) : 0;

    if (n <= AUDIT_TEXT_MAX)
        return json;
    crypto_sha256(json, n, sha256);
    hex_encode(sha256, sizeof(sha256), hex);
    (void)str_fmt(buf, 160, "{\"omitted_bytes\":%zu,\"sha256\":\"%s\"}", n, hex);
    return buf;
}

static int read_last(struct db *w, struct audit *a)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_AUDIT_LAST);
    int rc = db_row(q);

    a->id = 1;
    memcpy(a->previous, no_hash, sizeof(no_hash));
    if (rc == E_NOTFOUND)
        return 0;
    if (rc < 0)
        return rc;
    if (db_bytes(q, 1) != SHA256_SIZE)
        return E_DB;
    a->id = db_int(q, 0) + 1;
    hex_encode(db_blob(q, 1), SHA256_SIZE, a->previous);
    return 0;
}

static int insert(struct db *w, const struct audit *a, const uint8_t hash[SHA256_SIZE])
{
    struct db_stmt *q = db_use(w, Q_AUDIT_INSERT);

    db_bind_int(q, 1, a->id);
    db_bind_int(q, 2, a->at);
    db_bind_int(q, 3, a->project_id);
    db_bind_text(q, 4, a->project);
    db_bind_int(q, 5, a->token_id);
    db_bind_text(q, 6, a->who);
    db_bind_text(q, 7, a->address ? a->address : "");
    db_bind_text(q, 8, a->request_id ? a->request_id : "");
    db_bind_text(q, 9, a->action);
    db_bind_text(q, 10, a->object ? a->object : "");
    db_bind_text(q, 11, a->fields ? a->fields : "[]");
    db_bind_text(q, 12, a->before);
    db_bind_text(q, 13, a->after);
    db_bind_blob(q, 14, hash, SHA256_SIZE);
    return db_run(q);
}

int audit_add(struct db *w, const struct audit *given)
{
    struct audit a = *given;
    uint8_t hash[SHA256_SIZE];
    char before[160], after[160];
    int rc = read_last(w, &a);

    if (rc < 0)
        return rc;
    AUTO(db_reset) struct db_stmt *names = db_use(w, Q_AUDIT_NAMES);
    db_bind_int(names, 1, a.project_id);
    db_bind_int(names, 2, a.token_id);
    rc = db_row(names);
    if (rc < 0)
        return rc;
    a.project = db_text(names, 0);
    if (!a.who)
        a.who = db_text(names, 1);
    a.before = bounded(a.before, before);
    a.after = bounded(a.after, after);
    hash_of(&a, hash);
    return insert(w, &a, hash);
}

/* ---- reading ---- */
static void read_row(struct db_stmt *q, struct audit *ret)
{
    *ret = (struct audit){
        .id = db_int(q, 0),
        .at = db_int(q, 1),
        .project_id = db_int(q, 2),
        .project = db_text(q, 3),
        .token_id = db_int(q, 4),
        .who = db_text(q, 5),
        .address = db_text(q, 6),
        .request_id = db_text(q, 7),
        .action = db_text(q, 8),
        .object = db_text(q, 9),
        .fields = db_text(q, 10),
        .before = db_text(q, 11),
        .after = db_text(q, 12),
    };
    memcpy(ret->previous, no_hash, sizeof(no_hash));
    if (db_bytes(q, 13) == SHA256_SIZE)
        hex_encode(db_blob(q, 13), SHA256_SIZE, ret->hash);
    if (db_bytes(q, 14) == SHA256_SIZE)
        hex_encode(db_blob(q, 14), SHA256_SIZE, ret->previous);
}

static int each(struct db_stmt *q, int (*row)(void *arg, const struct audit *a), void *arg)
{
    struct audit a;
    int rc;

    while ((rc = db_step(q)) == 1) {
        read_row(q, &a);
        rc = row(arg, &a);
        if (rc != 0)
            break;
    }
    return rc;
}

int audit_list(struct db *db, int64_t project_id, int64_t before, int limit,
               int (*row)(void *arg, const struct audit *a), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_AUDIT_LIST);

    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, before > 0 ? before : INT64_MAX);
    db_bind_int(q, 3, limit);
    return each(q, row, arg);
}

int64_t audit_count(struct db *db, int64_t project_id)
{
    return db_count(db, Q_AUDIT_COUNT, project_id);
}

int audit_walk(struct db *db, int64_t project_id, int64_t after, int limit,
               int (*row)(void *arg, const struct audit *a), void *arg)
{
    AUTO(db_reset)
    struct db_stmt *q = db_use(db, project_id ? Q_AUDIT_WALK_PROJECT : Q_AUDIT_WALK);
    int i = 1;

    if (project_id)
        db_bind_int(q, i++, project_id);
    db_bind_int(q, i++, after);
    db_bind_int(q, i, limit);
    return each(q, row, arg);
}

/* ---- checking ---- */
struct check {
    int64_t rows, n;
    char head[AUDIT_HEX_SIZE];
    struct fail *f;
};

static int check_row(void *arg, const struct audit *row)
{
    struct check *c = arg;
    struct audit a = *row;
    uint8_t hash[SHA256_SIZE];
    char hex[AUDIT_HEX_SIZE];

    c->n++;
    if (a.id != c->rows + 1) {
        c->rows++;
        return fail(c->f, E_CONFLICT, "row %lld is missing", (long long)c->rows);
    }
    c->rows = a.id;
    /* The chain as it was walked, not as the row before says now. */
    memcpy(a.previous, c->head, sizeof(a.previous));
    hash_of(&a, hash);
    hex_encode(hash, sizeof(hash), hex);
    if (strcmp(hex, a.hash) != 0)
        return fail(c->f, E_CONFLICT,
                    "row %lld does not fit its hash: it, or a row before it, was changed",
                    (long long)a.id);
    memcpy(c->head, hex, sizeof(hex));
    return 0;
}

int audit_verify(struct db *db, int64_t *ret_rows, char ret_head[AUDIT_HEX_SIZE], struct fail *f)
{
    struct check c = {.f = f};
    int rc;

    memcpy(c.head, no_hash, sizeof(no_hash));
    do {
        c.n = 0;
        rc = audit_walk(db, 0, c.rows, WALK_ROWS, check_row, &c);
    } while (rc == 0 && c.n == WALK_ROWS);
    if (rc < 0 && rc != E_CONFLICT)
        (void)fail(f, rc, "%s", db_error(db));
    *ret_rows = c.rows;
    memcpy(ret_head, c.head, AUDIT_HEX_SIZE);
    return rc;
}

int audit_find(struct db *db, const char *hash)
{
    uint8_t bytes[SHA256_SIZE];

    if (strlen(hash) != 2 * SHA256_SIZE || hex_decode(hash, strlen(hash), bytes) < 0)
        return E_PROTO;
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_AUDIT_HAS_HASH);
    db_bind_blob(q, 1, bytes, sizeof(bytes));
    return db_row(q);
}
