/*
 * The second person. Where a project demands it, what sets a campaign going is not done at once: it
 * is tried, undone and kept as a request, which somebody with another token confirms or denies.
 * What stops a campaign is never asked about.
 */
#include "priv.h"

#define GOOD_MS INT64_C(86400000) /* a request, unless the campaign changes before */

static bool is_good(const struct campaign_request *q, const struct campaign *c, int64_t now)
{
    return q->revision == c->revision && q->expires_at > now;
}

int confirm_json(struct obj *o, struct db *db, const struct campaign *c)
{
    struct campaign_request q;
    struct arena a;
    arena_init(&a);
    int rc = campaign_request_get(db, c->id, &a, &q);
    if (rc == 0 && is_good(&q, c, clock_now_ms())) {
        obj_name(o, "confirmation");
        struct obj of = obj_begin(o->b);
        obj_str(&of, "action", q.action);
        obj_raw(&of, "body", q.body);
        obj_str(&of, "asked_by", q.asked_by);
        obj_time(&of, "asked_at", q.asked_at);
        obj_time(&of, "expires_at", q.expires_at);
        obj_end(&of);
    } else {
        obj_str(o, "confirmation", NULL);
    }
    arena_done(&a);
    return rc == E_NOTFOUND ? 0 : rc;
}

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

int confirm_or_do(struct write *w, struct db *db, const struct campaign *c, const char *action,
                  confirm_fn *perform)
{
    struct campaign_request q;
    bool demanded;
    int rc = project_second_person(db, w->who.project_id, &demanded);
    if (rc < 0 || !demanded)
        return rc < 0 ? rc : perform(w, db, action);
    rc = campaign_request_get(db, c->id, &w->a, &q);
    if (rc == 0 && is_good(&q, c, w->now))
        return refuse(w, 409, "confirmation_pending",
                      "Something else waits for a second person; confirm or deny that first.");
    if (rc == 0 || rc == E_NOTFOUND)
        rc = try_it(w, db, action, perform);
    if (rc < 0)
        return rc;
    AUTO(free) char *body = w->in ? json_text(w->in) : xstrdup("{}");
    q = (struct campaign_request){.action = action,
                                  .body = body,
                                  .revision = c->revision,
                                  .token_id = w->who.token_id,
                                  .asked_by = name_of_token(w, db),
                                  .asked_at = w->now,
                                  .expires_at = w->now + GOOD_MS};
    w->status = 202;
    return campaign_request_put(db, c->id, &q);
}

static int load(struct write *w, struct db *db, const struct campaign *c,
                struct campaign_request *ret)
{
    int rc = campaign_request_get(db, c->id, &w->a, ret);
    if (rc == E_NOTFOUND)
        return refuse(w, 409, "nothing_to_confirm", "Nothing waits for a second person.");
    return rc;
}

int confirm_it(struct write *w, struct db *db, const struct campaign *c, confirm_fn *perform)
{
    struct campaign_request q;
    enum json_fault fault;
    int rc = load(w, db, c, &q);
    if (rc < 0)
        return rc;
    if (q.expires_at <= w->now)
        return refuse(w, 409, "confirmation_expired", "It was not confirmed in time; ask again.");
    if (q.revision != c->revision)
        return refuse(w, 409, "changed_since_asked",
                      "The campaign has changed since it was asked for; look at it and ask again.");
    if (q.token_id == w->who.token_id)
        return refuse(w, 403, "second_person_required",
                      "It must be confirmed with another token than the one that asked for it.");
    json_decref(w->in); /* of a first run */
    w->in = json_parse(q.body, strlen(q.body), SIZE_MAX, 32, &fault, NULL);
    rc = w->in ? campaign_request_drop(db, c->id) : E_DB;
    return rc < 0 ? rc : perform(w, db, q.action);
}

int confirm_deny(struct write *w, struct db *db, const struct campaign *c)
{
    struct campaign_request q;
    int rc = load(w, db, c, &q);
    return rc < 0 ? rc : campaign_request_drop(db, c->id);
}
