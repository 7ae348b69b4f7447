/*
 * The second person. Where a project demands it, what gives devices a version that they would not
 * have got is not done at once: it is tried, undone and kept as a request, which somebody with
 * another token confirms or denies. One request per object, good for the object as it stood when it
 * was made, and not for ever. What stops or narrows is never asked about.
 */
#include "priv.h"

#define GOOD_MS INT64_C(86400000) /* a request, unless its object changes before */

struct request {
    const char *action;
    const char *body; /* JSON object: what was sent with it */
    int64_t revision; /* of the object then */
    int64_t token_id;
    const char *asked_by; /* the token's name */
    int64_t asked_at, expires_at;
};

/* ---- rows ---- */
static int put(struct db *db, const struct confirm_of *of, const struct request *r)
{
    {
        AUTO(db_reset) struct db_stmt *q = db_use(db, Q_REQUEST_PUT);

        db_bind_text(q, 1, of->kind);
        db_bind_int(q, 2, of->id);
        db_bind_text(q, 3, r->action);
        db_bind_text(q, 4, r->body);
        db_bind_int(q, 5, r->revision);
        db_bind_int(q, 6, r->token_id);
        db_bind_text(q, 7, r->asked_by);
        db_bind_int(q, 8, r->asked_at);
        db_bind_int(q, 9, r->expires_at);
        int rc = db_run(q);
        if (rc < 0)
            return rc;
    }
    return of->tell ? of->tell(db, of->id, r->action, r->asked_at) : 0;
}

static int get(struct db *db, const struct confirm_of *of, struct arena *a, struct request *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_REQUEST_GET);

    db_bind_text(q, 1, of->kind);
    db_bind_int(q, 2, of->id);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    *ret = (struct request){
        .action = arena_strdup(a, db_text(q, 0)),
        .body = arena_strdup(a, db_text(q, 1)),
        .revision = db_int(q, 2),
        .token_id = db_int(q, 3),
        .asked_by = arena_strdup(a, db_text(q, 4)),
        .asked_at = db_int(q, 5),
        .expires_at = db_int(q, 6),
    };
    return 0;
}

int confirm_drop(struct db *db, const struct confirm_of *of)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_REQUEST_DROP);

    db_bind_text(q, 1, of->kind);
    db_bind_int(q, 2, of->id);
    return db_run(q);
}

static bool is_good(const struct request *q, const struct confirm_of *of, int64_t now)
{
    return q->revision == of->revision && q->expires_at > now;
}

int confirm_json(struct obj *o, struct db *db, const struct confirm_of *of)
{
    struct request q;
    struct arena a;
    arena_init(&a);
    int rc = get(db, of, &a, &q);
    if (rc == 0 && is_good(&q, of, clock_now_ms())) {
        obj_name(o, "confirmation");
        struct obj in = obj_begin(o->b);
        obj_str(&in, "action", q.action);
        obj_raw(&in, "body", q.body);
        obj_str(&in, "asked_by", q.asked_by);
        obj_time(&in, "asked_at", q.asked_at);
        obj_time(&in, "expires_at", q.expires_at);
        obj_end(&in);
    } else {
        obj_str(o, "confirmation", NULL);
    }
    arena_done(&a);
    return rc == E_NOTFOUND ? 0 : rc;
}

json_t *confirm_body(struct db *db, const struct confirm_of *of)
{
    enum json_fault fault;
    struct request q;
    struct arena a;
    json_t *body = NULL;
    arena_init(&a);
    if (get(db, of, &a, &q) == 0)
        body = json_parse(q.body, strlen(q.body), SIZE_MAX, 32, &fault, NULL);
    arena_done(&a);
    return body;
}

/* ---- asking ---- */
static int refuse(struct write *w, int status, const char *code, const char *text)
{
    w->status = status;
    w->code = code;
    return fail(&w->fail, E_CONFLICT, "%s", text);
}

static const char *name_of_token(struct write *w, struct db *db)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_TOKEN_BY_ID);
    db_bind_int(q, 1, w->who.project_id);
    db_bind_int(q, 2, w->who.token_id);
    return db_row(q) == 0 ? arena_strdup(&w->a, db_text(q, 1)) : "?";
}

int confirm_ask(struct write *w, struct db *db, const struct confirm_of *of, const char *action,
                const char *body)
{
    const struct request q = {.action = action,
                              .body = body,
                              .revision = of->revision,
                              .token_id = w->who.token_id,
                              .asked_by = name_of_token(w, db),
                              .asked_at = w->now,
                              .expires_at = w->now + GOOD_MS};
    w->status = 202;
    return put(db, of, &q);
}

/* What can't be done is told to the one who asks for it, not to the second person. */
static int try_it(struct write *w, struct db *db, const char *action, confirm_fn *perform)
{
    int rc = db_save(db);
    if (rc < 0)
        return rc;
    rc = perform(w, db, action);
    db_undo(db);
    return rc;
}

int confirm_or_do(struct write *w, struct db *db, const struct confirm_of *of, const char *action,
                  confirm_fn *perform)
{
    struct request q;
    bool demanded;
    int rc = project_second_person(db, of->project_id, &demanded);
    if (rc < 0 || !demanded)
        return rc < 0 ? rc : perform(w, db, action);
    rc = get(db, of, &w->a, &q);
    if (rc == 0 && is_good(&q, of, w->now))
        return refuse(w, 409, "confirmation_pending",
                      "Something else waits for a second person; confirm or deny that first.");
    if (rc == 0 || rc == E_NOTFOUND)
        rc = try_it(w, db, action, perform);
    if (rc < 0)
        return rc;
    AUTO(free) char *body = w->in ? json_text(w->in) : xstrdup("{}");
    return confirm_ask(w, db, of, action, body);
}

/* ---- the answer ---- */
static int load(struct write *w, struct db *db, const struct confirm_of *of, struct request *ret)
{
    int rc = get(db, of, &w->a, ret);
    if (rc == E_NOTFOUND)
        return refuse(w, 409, "nothing_to_confirm", "Nothing waits for a second person.");
    return rc;
}

static int do_it(struct write *w, struct db *db, const struct confirm_of *of, confirm_fn *perform)
{
    struct request q;
    enum json_fault fault;
    int rc = load(w, db, of, &q);
    if (rc < 0)
        return rc;
    if (q.expires_at <= w->now)
        return refuse(w, 409, "confirmation_expired", "It was not confirmed in time; ask again.");
    if (q.revision != of->revision)
        return refuse(w, 409, "changed_since_asked",
                      "It has changed since that was asked for; look at it and ask again.");
    if (q.token_id == w->who.token_id)
        return refuse(w, 403, "second_person_required",
                      "It must be confirmed with another token than the one that asked for it.");
    json_decref(w->in); /* of a first run */
    w->in = json_parse(q.body, strlen(q.body), SIZE_MAX, 32, &fault, NULL);
    rc = w->in ? confirm_drop(db, of) : E_DB;
    return rc < 0 ? rc : perform(w, db, q.action);
}

int confirm_yes(struct write *w, struct db *db, const struct confirm_how *how)
{
    struct confirm_of of;
    int rc = how->find(w, db, &of);
    if (rc == 0)
        rc = do_it(w, db, &of, how->perform);
    return rc < 0 ? rc : how->answer(w, db);
}

int confirm_no(struct write *w, struct db *db, const struct confirm_how *how)
{
    struct confirm_of of;
    struct request q;
    int rc = how->find(w, db, &of);
    if (rc == 0)
        rc = load(w, db, &of, &q);
    if (rc == 0)
        rc = confirm_drop(db, &of);
    return rc < 0 ? rc : how->answer(w, db);
}
