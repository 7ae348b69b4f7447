/* Rows of events: adding, reading them with what they are about, removing the oldest. */
#include "event.h"

#include "json.h"

int event_add(struct db *w, const struct event *e)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_EVENT_ADD);

    db_bind_int(q, 1, e->at);
    db_bind_int(q, 2, e->project_id);
    db_bind_text(q, 3, e->type);
    db_bind_int(q, 4, e->device_id);
    db_bind_int(q, 5, e->object_id);
    db_bind_text(q, 6, e->data ? e->data : "{}");
    return db_run(q);
}

/* ---- reading ---- */
static bool is_kind(const char *type, const char *kind)
{
    size_t n = strlen(kind);
    return strncmp(type, kind, n) == 0 && type[n] == '.';
}

static void text_member(struct sbuf *b, const char *name, const char *v)
{
    sbuf_fmt(b, "\"%s\":", name);
    if (v)
        json_add_string(b, v);
    else
        sbuf_str(b, "null");
    sbuf_str(b, ",");
}

static void int_member(struct sbuf *b, const char *name, int64_t v)
{
    sbuf_fmt(b, "\"%s\":%lld,", name, (long long)v);
}

/* What never changes of an update and a device is not stored a second time. */
static void write_data(struct sbuf *b, struct db_stmt *q, const struct event *e)
{
    sbuf_str(b, "{");
    if (is_kind(e->type, "update")) {
        int_member(b, "update", e->object_id);
        text_member(b, "device", db_text(q, 7));
        if (db_text(q, 8)) { /* it may have been deleted with its device */
            text_member(b, "module", db_text(q, 8));
            int_member(b, "firmware", db_int(q, 9));
            text_member(b, "from_version", db_text(q, 10));
            text_member(b, "to_version", db_text(q, 11));
        }
        text_member(b, "state", strchr(e->type, '.') + 1);
    } else if (e->device_id && !is_kind(e->type, "device")) {
        text_member(b, "device", db_text(q, 7));
    }
    if (strlen(e->data) > 2)
        sbuf_str(b, e->data + 1);
    else {
        b->n -= b->p[b->n - 1] == ',';
        sbuf_add(b, "}", 1);
    }
}

static void write_event(struct sbuf *b, struct db_stmt *q, const struct event *e)
{
    char at[TIME_TEXT_MAX];

    sbuf_fmt(b, "{\"id\":%lld,\"type\":", (long long)e->id);
    json_add_string(b, e->type);
    sbuf_fmt(b, ",\"timestamp\":\"%s\",\"data\":", time_text(e->at, at));
    write_data(b, q, e);
    sbuf_add(b, "}", 1);
}

int event_list(struct db *db, int64_t after, int limit,
               int (*row)(void *arg, const struct event_row *r), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_EVENT_LIST);
    struct sbuf b = {.p = NULL};
    int rc;

    db_bind_int(q, 1, after);
    db_bind_int(q, 2, limit);
    while ((rc = db_step(q)) == 1) {
        struct event_row r = {.event = {.id = db_int(q, 0),
                                        .at = db_int(q, 1),
                                        .project_id = db_int(q, 2),
                                        .type = db_text(q, 3),
                                        .device_id = db_int(q, 4),
                                        .object_id = db_int(q, 5),
                                        .data = db_text(q, 6)}};
        b.n = 0;
        write_event(&b, q, &r.event);
        r.text = b.p;
        rc = row(arg, &r);
        if (rc != 0)
            break;
    }
    sbuf_done(&b);
    return rc;
}

static int ends(struct db *db, int64_t *ret_first, int64_t *ret_first_at, int64_t *ret_last)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_EVENT_ENDS);
    int rc = db_row(q);

    if (rc < 0)
        return rc;
    *ret_first = db_int(q, 0);
    *ret_first_at = db_int(q, 1);
    *ret_last = db_int(q, 2);
    return 0;
}

int event_ends(struct db *db, int64_t *ret_first, int64_t *ret_last)
{
    int64_t at;
    return ends(db, ret_first, &at, ret_last);
}

/* ---- keeping ---- */
int event_expire(struct db *w, int64_t keep, int64_t before, int max)
{
    int64_t first, first_at, last;
    int rc = ends(w, &first, &first_at, &last);

    if (rc < 0 || first == last || (first > last - keep && first_at >= before))
        return rc;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_EVENT_EXPIRE);
    db_bind_int(q, 1, last - keep);
    db_bind_int(q, 2, before);
    db_bind_int(q, 3, max);
    db_bind_int(q, 4, last);
    rc = db_run(q);
    return rc < 0 ? rc : (int)db_changed(w);
}

int event_skip(struct db *w, int64_t n, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_EVENT_SKIP);

    db_bind_int(q, 1, n);
    db_bind_int(q, 2, now);
    return db_run(q);
}
