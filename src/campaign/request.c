/*
 * What one person asked for and a second one has to confirm: one request per campaign, good for the
 * campaign as it stood when it was made, and not for ever. Who may confirm is the caller's to say.
 */
#include "campaign_priv.h"

int campaign_request_put(struct db *w, int64_t id, const struct campaign_request *r)
{
    {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_REQUEST_PUT);

        db_bind_int(q, 1, id);
        db_bind_text(q, 2, r->action);
        db_bind_text(q, 3, r->body);
        db_bind_int(q, 4, r->revision);
        db_bind_int(q, 5, r->token_id);
        db_bind_text(q, 6, r->asked_by);
        db_bind_int(q, 7, r->asked_at);
        db_bind_int(q, 8, r->expires_at);
        int rc = db_run(q);
        if (rc < 0)
            return rc;
    }
    return campaign_tell(w, id, "campaign.awaiting_confirmation", r->action, r->asked_at);
}

int campaign_request_get(struct db *db, int64_t id, struct arena *a, struct campaign_request *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_CAMPAIGN_REQUEST_GET);

    db_bind_int(q, 1, id);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    *ret = (struct campaign_request){
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

int campaign_request_drop(struct db *w, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_CAMPAIGN_REQUEST_DROP);

    db_bind_int(q, 1, id);
    return db_run(q);
}
