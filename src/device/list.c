/* Lists and counts of devices. Which index serves a filter is chosen here, by query. */
#include "device_priv.h"

/* The four queries of a kind differ in nothing but the index they walk. */
struct by_filter {
    enum db_query project, type, gateway, sn;
};

static enum db_query choose(const struct by_filter *q, const struct device_filter *flt)
{
    if (flt->sn && *flt->sn)
        return q->sn;
    if (flt->gateway_id)
        return q->gateway;
    return flt->type_id ? q->type : q->project;
}

/* tag: where the quoted form is kept while the statement runs. */
static void bind_filter(struct db_stmt *q, const struct device_filter *flt, struct sbuf *tag)
{
    db_bind_int(q, 1, flt->project_id);
    db_bind_int(q, 2, flt->type_id);
    db_bind_int(q, 3, flt->gateway_id);
    if (flt->tag && strchr(flt->tag, ',')) {
        db_bind_text(q, 4, "\n"); /* no tag holds a comma: what JSON text never holds */
    } else if (flt->tag) {
        json_add_string(tag, flt->tag);
        db_bind_textn(q, 4, tag->p, tag->n);
    }
    db_bind_text(q, 5, flt->version_module);
    db_bind_text(q, 6, flt->version);
    db_bind_int(q, 7, flt->enabled);
    db_bind_text(q, 8, flt->sn);
}

int device_list(struct db *db, const struct device_filter *flt, int64_t after, int limit,
                int (*row)(void *arg, const struct device *d), void *arg)
{
    static const struct by_filter queries = {Q_DEVICE_LIST, Q_DEVICE_LIST_TYPE,
                                             Q_DEVICE_LIST_GATEWAY, Q_DEVICE_LIST_SN};
    AUTO(db_reset) struct db_stmt *q = db_use(db, choose(&queries, flt));
    struct sbuf tag = {0};
    struct arena a;
    struct device d = {0};
    int rc;

    arena_init(&a);
    bind_filter(q, flt, &tag);
    db_bind_int(q, 9, after);
    db_bind_int(q, 10, limit);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        device_row(q, true, &a, &d);
        rc = row(arg, &d);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    sbuf_done(&tag);
    return rc;
}

int64_t device_count(struct db *db, const struct device_filter *flt)
{
    static const struct by_filter queries = {Q_DEVICE_COUNT, Q_DEVICE_COUNT_TYPE,
                                             Q_DEVICE_COUNT_GATEWAY, Q_DEVICE_COUNT_SN};
    AUTO(db_reset) struct db_stmt *q = db_use(db, choose(&queries, flt));
    struct sbuf tag = {0};
    int rc;

    bind_filter(q, flt, &tag);
    rc = db_row(q);
    sbuf_done(&tag);
    return rc < 0 ? rc : db_int(q, 0);
}
