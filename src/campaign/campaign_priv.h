/* What the files of the campaign room share. Nothing here is for other rooms. */
#pragma once

#include "campaign.h"

/* ---- state.c ---- */
/* The event of that type, from the row as it stands now. */
int campaign_tell(struct db *w, int64_t id, const char *type, const char *reason,
                  int64_t now) MUST_USE;
/* After an update has ended, or a time has come: may the next phase open? */
int campaign_look_at_gate(struct db *w, const struct campaign *c, const struct campaign_status *s,
                          int64_t now) MUST_USE;
/* A threshold was crossed: pause, abort or rollback. */
int campaign_act(struct db *w, int64_t id, const char *action, const char *reason,
                 int64_t now) MUST_USE;

/* ---- define.c ---- */
/* json_check() of a create request, with pointers below `at`: true when fine. */
bool define_object(const json_t *in, const char *at, const struct json_field *fields, size_t n,
                   struct json_errors *errs);

/* ---- text.c: the members consent and texts ---- */
void text_check(const json_t *in, struct json_errors *errs);
void text_parse(const json_t *in, struct campaign *c, struct arena *a);

/* ---- count.c ---- */
int count_state(struct db *w, int64_t id, int phase, const char *state, int64_t n) MUST_USE;
/* 1 = one of that phase is crossed, and was acted on. */
int campaign_look_at_thresholds(struct db *w, int64_t id, int phase, int64_t now) MUST_USE;
/* A user refused: the threshold `rejected` is looked at. */
int count_refused(struct db *w, int64_t id, int phase, int64_t now) MUST_USE;

/* ---- consent.c ---- */
/* Its part of campaign_forget_device(). */
int consent_forget_device(struct db *w, int64_t device_id) MUST_USE;

/* ---- stats.c ---- */
int campaign_flow_moved(struct db *w, int64_t id, int phase, bool begins, enum campaign_end end,
                        int64_t now) MUST_USE;
int campaign_reason_count(struct db *w, int64_t id, int phase, const char *state,
                          const char *reason, int64_t n) MUST_USE;

/* ---- walk.c ---- */
/* It stands elsewhere now, or was declared anew: what goes through its devices follows. */
int campaign_walks_follow(struct db *w, int64_t id) MUST_USE;

/* ---- row.c ---- */
int campaign_state_parse(const char *name, enum campaign_state *ret) MUST_USE;
/* The row alone, unparsed. */
int campaign_row_by_id(struct db *db, int64_t id, struct arena *a, struct campaign *ret,
                       struct campaign_status *ret_status) MUST_USE;
static inline void bind_some(struct db_stmt *q, int i, int64_t v)
{
    if (v)
        db_bind_int(q, i, v);
    else
        db_bind_null(q, i);
}
