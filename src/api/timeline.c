/*
 * GET /api/v1/campaigns/{id}/timeline: what a campaign did in each minute, hour or day, and how it
 * stood then. Read from counters of flows, at most 9600 hours of them.
 */
#include "priv.h"

#define POINTS_MAX 1000

static const struct json_field timeline_fields[] = {
    {"campaign", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the campaign."},
    {"step", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "minute, hour or day."},
    {"points", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{at, offered, verified, suspect, failed, rolled_back, timed_out, rejected, canceled, "
     "attempts_failed, bytes} of the minute (kept for three hours), hour (400 days) or day that "
     "begins then, UTC; and, but for minutes, how it stood at its end: verified_total, "
     "failed_total (all that did not succeed) and active (offered and not ended). Nothing "
     "happened in what is left out. The last 1000 of `from` … `to`, without the rollback unless "
     "`phase` is 1000."},
};
const struct table campaign_timeline_table = {"CampaignTimeline", timeline_fields,
                                              ARRAY_LEN(timeline_fields)};

void flow_write(struct obj *o, const struct campaign_flow *f)
{
    obj_int(o, "offered", f->offered);
    obj_int(o, "verified", f->verified);
    obj_int(o, "suspect", f->suspect);
    obj_int(o, "failed", f->failed);
    obj_int(o, "rolled_back", f->rolled_back);
    obj_int(o, "timed_out", f->timed_out);
    obj_int(o, "rejected", f->rejected);
    obj_int(o, "canceled", f->canceled);
    obj_int(o, "attempts_failed", f->attempts);
    obj_int(o, "bytes", f->bytes);
}

int64_t flow_ends(const struct campaign_flow *f)
{
    return f->verified + f->suspect + f->failed + f->rolled_back + f->timed_out + f->rejected;
}

/* ---- what it did when ---- */
struct line {
    int64_t from, step_s;
    int64_t verified, failed, active;
    struct point {
        struct campaign_flow flow;
        int64_t verified, failed, active;
    } * points; /* a ring of the last POINTS_MAX */
    int64_t n;
};

/* The sums count from the campaign's first hour, whatever is asked for. */
static int line_one(void *arg, const struct campaign_flow *f)
{
    struct line *x = arg;
    x->verified += f->verified;
    x->failed += f->failed + f->rolled_back + f->timed_out + f->rejected;
    x->active += f->offered - flow_ends(f) - f->canceled;
    if (f->at < x->from)
        return 0;
    x->points[x->n++ % POINTS_MAX] = (struct point){*f, x->verified, x->failed, x->active};
    return 0;
}

static void write_line(struct sbuf *b, int64_t id, const char *step, const struct line *x)
{
    int64_t first = x->n > POINTS_MAX ? x->n - POINTS_MAX : 0;
    struct obj o = obj_begin(b);
    obj_int(&o, "campaign", id);
    obj_str(&o, "step", step);
    obj_raw(&o, "points", "[");
    for (int64_t i = first; i < x->n; i++) {
        const struct point *p = &x->points[i % POINTS_MAX];
        sbuf_str(b, i > first ? "," : "");
        struct obj one = obj_begin(b);
        obj_time(&one, "at", p->flow.at);
        flow_write(&one, &p->flow);
        if (x->step_s != CAMPAIGN_FLOW_MINUTE) {
            obj_int(&one, "verified_total", p->verified);
            obj_int(&one, "failed_total", p->failed);
            obj_int(&one, "active", p->active);
        }
        obj_end(&one);
    }
    sbuf_str(b, "]");
    obj_end(&o);
}

static int read_step(struct http_request *r, const char **ret_name, int64_t *ret_s)
{
    static const struct {
        const char *name;
        int64_t s;
    } steps[] = {
        {"minute", CAMPAIGN_FLOW_MINUTE}, {"hour", CAMPAIGN_FLOW_HOUR}, {"day", CAMPAIGN_FLOW_DAY}};
    const char *text = http_query(r, "step");
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (strcmp(text ? text : "hour", steps[i].name) == 0) {
            *ret_name = steps[i].name;
            *ret_s = steps[i].s;
            return 0;
        }
    http_problem(r, 400, "invalid_parameter", NULL,
                 "The query parameter 'step' takes minute, hour or day.");
    return E_PROTO;
}

static void handle_timeline(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct line x = {.n = 0};
    struct campaign_status s;
    struct campaign row;
    int64_t id, to, phase;
    const char *step;
    (void)arg;
    if (input_id(r, "id", &id) < 0 || read_step(r, &step, &x.step_s) < 0 ||
        input_query_time(r, "from", 0, &x.from) < 0 ||
        input_query_time(r, "to", INT64_MAX, &to) < 0 ||
        input_query_int(r, "phase", 0, CAMPAIGN_ROLLBACK, -1, &phase) < 0)
        return;
    x.points = xcalloc(POINTS_MAX, sizeof(*x.points));
    int rc = campaign_by_id(c->db, c->who.project_id, id, http_arena(r), &row, &s);
    if (rc == 0)
        rc = campaign_flows(c->db, id, x.step_s, 0, to, (int)phase, line_one, &x);
    if (rc == 0)
        write_line(&b, id, step, &x);
    free(x.points);
    if (rc == E_NOTFOUND)
        answer_not_found(r, "campaign");
    else if (rc < 0)
        http_fail(r, rc, NULL);
    else
        http_reply(r, 200, "application/json", b.p, b.n);
    sbuf_done(&b);
}

static const struct op op_timeline = {
    .summary = "What the campaign did in each minute, hour or day (`step`)",
    .out = &campaign_timeline_table,
    .query = "step|from|to|phase",
    .status = 200};

const struct http_route timeline_routes[] = {
    {"GET", "/api/v1/campaigns/:id/timeline", HTTP_BODY_NONE, 0, handle_timeline, OP(op_timeline),
     VIEWER},
    {.method = NULL},
};
