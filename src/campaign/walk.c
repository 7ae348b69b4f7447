/*
 * Going through the devices of a campaign, by ascending number: rows say how far, so that a walk
 * goes on after a crash where its last commit stood. Which walks there are follows from where the
 * campaign stands; what is done with each device is the caller's.
 */
#include "campaign_priv.h"

static const char *const kinds[] = {[CAMPAIGN_WALK_PUSH] = "push", [CAMPAIGN_WALK_END] = "end"};

/* ---- rows ---- */
int campaign_walk_put(struct db *w, enum campaign_walk_kind kind, const struct campaign_walk *at,
                      bool going)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_WALK_PUT);

    db_bind_int(q, 1, at->campaign_id);
    db_bind_text(q, 2, kinds[kind]);
    db_bind_int(q, 3, at->cursor);
    db_bind_int(q, 4, going);
    bind_some(q, 5, at->held_by);
    return db_run(q);
}

int campaign_walk_back(struct db *w, enum campaign_walk_kind kind, int64_t id, int64_t cursor)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_WALK_BACK);

    db_bind_int(q, 1, id);
    db_bind_text(q, 2, kinds[kind]);
    db_bind_int(q, 3, cursor);
    return db_run(q);
}

int campaign_walk_list(struct db *db, enum campaign_walk_kind kind, int64_t after,
                       struct campaign_walk *ret, int cap)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_WALK_LIST);
    int n = 0, rc = 0;

    db_bind_text(q, 1, kinds[kind]);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, cap);
    while (n < cap && (rc = db_step(q)) == 1)
        ret[n++] = (struct campaign_walk){
            .campaign_id = db_int(q, 0), .cursor = db_int(q, 1), .held_by = db_int(q, 2)};
    return rc < 0 ? rc : n;
}

int campaign_walk_again(struct db *w)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_WALK_AGAIN);

    return db_run(q);
}

static int drop(struct db *w, enum campaign_walk_kind kind, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_WALK_DROP);

    db_bind_int(q, 1, id);
    db_bind_text(q, 2, kinds[kind]);
    return db_run(q);
}

static int go(struct db *w, enum campaign_walk_kind kind, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_WALK_GO);

    db_bind_int(q, 1, id);
    db_bind_text(q, 2, kinds[kind]);
    return db_run(q);
}

static int halt(struct db *w, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_WALK_HALT);

    db_bind_int(q, 1, id);
    return db_run(q);
}

/* ---- what follows from where it stands ---- */
bool campaign_ends_itself(const struct campaign *c)
{
    return c->listed || c->frozen;
}

static int follow(struct db *w, const struct campaign *c, const struct campaign_status *s)
{
    const struct campaign_walk first = {.campaign_id = c->id};
    bool ends = campaign_ends_itself(c) && s->phase >= (int)c->n_phases;
    int rc = 0;

    switch (s->state) {
    case CAMPAIGN_RUNNING:
        rc = ends ? go(w, CAMPAIGN_WALK_END, c->id) : drop(w, CAMPAIGN_WALK_END, c->id);
        if (rc < 0)
            return rc;
        return c->push ? campaign_walk_put(w, CAMPAIGN_WALK_PUSH, &first, true)
                       : drop(w, CAMPAIGN_WALK_PUSH, c->id);
    case CAMPAIGN_PAUSED:
        return halt(w, c->id);
    case CAMPAIGN_COMPLETED:
    case CAMPAIGN_ABORTED:
        rc = drop(w, CAMPAIGN_WALK_END, c->id);
        if (rc < 0)
            return rc;
        return c->push && s->rolling_back ? campaign_walk_put(w, CAMPAIGN_WALK_PUSH, &first, true)
                                          : drop(w, CAMPAIGN_WALK_PUSH, c->id);
    case CAMPAIGN_DRAFT:
    case CAMPAIGN_SCHEDULED:
    case CAMPAIGN_STATE__COUNT:
        break;
    }
    return 0;
}

int campaign_walks_follow(struct db *w, int64_t id)
{
    struct campaign_status s = {0};
    struct campaign c;
    struct arena a;

    arena_init(&a);
    int rc = campaign_row_by_id(w, id, &a, &c, &s);
    if (rc == 0)
        rc = campaign_parse(&c, &a);
    if (rc == 0)
        rc = follow(w, &c, &s);
    arena_done(&a);
    return rc;
}

/* ---- who comes next ---- */
static size_t after(const struct id_list *l, int64_t cursor)
{
    size_t lo = 0, hi = l->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (l->ids[mid] > cursor)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Both lists ascend. */
static int merge(const struct id_list *x, const struct id_list *y, int64_t cursor, int64_t *ret,
                 int cap)
{
    size_t i = after(x, cursor), k = after(y, cursor);
    int n = 0;

    while (n < cap && (i < x->n || k < y->n)) {
        if (k == y->n || (i < x->n && x->ids[i] <= y->ids[k])) {
            k += k < y->n && y->ids[k] == x->ids[i];
            ret[n++] = x->ids[i++];
        } else {
            ret[n++] = y->ids[k++];
        }
    }
    return n;
}

static int query(struct db *db, enum db_query name, int64_t of, int64_t cursor, int64_t *ret,
                 int cap)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, name);
    int n = 0, rc = 0;

    db_bind_int(q, 1, of);
    db_bind_int(q, 2, cursor);
    db_bind_int(q, 3, cap);
    while (n < cap && (rc = db_step(q)) == 1)
        ret[n++] = db_int(q, 0);
    return rc < 0 ? rc : n;
}

int campaign_walk_next(struct db *db, const struct campaign *c, const struct campaign_now *now,
                       int64_t cursor, int64_t *ret, int cap)
{
    static const struct id_list none = {.n = 0};

    if (now->rolling_back)
        return query(db, Q_CAMPAIGN_WALK_TAKERS, c->id, cursor, ret, cap);
    if (now->phase == CAMPAIGN_VERIFICATION)
        return merge(&none, &c->verify.devices, cursor, ret, cap);
    if (c->listed)
        return merge(&c->devices, &c->verify.devices, cursor, ret, cap);
    return query(db, Q_CAMPAIGN_WALK_TYPE, c->type_id, cursor, ret, cap);
}

int campaign_walk_held(struct db *db, int64_t id, struct arena *a, const char **ret_key)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_WALK_HELD);

    *ret_key = NULL;
    db_bind_int(q, 1, id);
    int rc = db_row(q);
    if (rc == 0)
        *ret_key = arena_strdup(a, db_text(q, 0));
    return rc == E_NOTFOUND ? 0 : rc;
}
