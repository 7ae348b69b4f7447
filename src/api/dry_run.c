/*
 * POST /api/v1/campaigns/{id}/dry-run: what a campaign would do with each device, by the same rules
 * as the real thing, counted and not written. It runs on the http thread and is bounded: a page of
 * devices at a time, which the client adds up.
 */
#include "priv.h"

static const struct json_field request_fields[] = {
    {"limit", JK_INT, 0, 1, 100000, NULL, "10000", "Devices to look at."},
    {"after", JK_STRING, 0, 1, 20, NULL, NULL, "The `next` of the page before."},
};
const struct table dry_run_request_table = {"DryRunRequest", request_fields,
                                            ARRAY_LEN(request_fields)};
static const struct json_field fields[] = {
    {"devices", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Looked at, all of the device type."},
    {"eligible", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "That would get an offer."},
    {"counts", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{phase, reason, n}; phase is null where it does not come to that."},
    {"next", JK_STRING, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "null: all were looked at."},
};
const struct table dry_run_table = {"DryRun", fields, ARRAY_LEN(fields)};

struct dry_run {
    struct db *db;
    const struct catalog *catalog;
    const struct campaign *campaign;
    const char *module;
    int64_t now, devices, last;
    int64_t offered[CAMPAIGN_PHASES_MAX + 1];
    int64_t counts[CAMPAIGN_PHASES_MAX + 2][REASON__COUNT]; /* the last row: no phase */
    struct arena arena;
};

static int look(void *arg, const struct device *d)
{
    struct dry_run *x = arg;
    struct facts_load l;
    int phase = -1;
    arena_reset(&x->arena);
    int rc = facts_load(x->db, d, x->module, x->now, &x->arena, &l);
    if (rc < 0)
        return rc;
    enum reason r = decide_dry(x->catalog, &l.facts, x->campaign, x->offered, x->now, &phase);
    rc = l.rc;
    facts_done(&l);
    if (rc < 0)
        return rc;
    if (r == REASON_ELIGIBLE || r == REASON_AWAITING_CONSENT) /* who is asked has a place */
        x->offered[phase]++;
    x->counts[phase < 0 ? CAMPAIGN_PHASES_MAX + 1 : phase][r]++;
    x->devices++;
    x->last = d->id;
    return 0;
}

static void write_counts(struct sbuf *b, const struct dry_run *x, int64_t *ret_eligible)
{
    bool more = false;
    *ret_eligible = 0;
    sbuf_add(b, "[", 1);
    for (int phase = 0; phase <= CAMPAIGN_PHASES_MAX + 1; phase++)
        for (int r = 0; r < REASON__COUNT; r++) {
            if (!x->counts[phase][r])
                continue;
            if (more)
                sbuf_add(b, ",", 1);
            more = true;
            struct obj o = obj_begin(b);
            if (phase <= CAMPAIGN_PHASES_MAX)
                obj_int(&o, "phase", phase);
            else
                obj_str(&o, "phase", NULL);
            obj_str(&o, "reason", reason_code((enum reason)r));
            obj_int(&o, "n", x->counts[phase][r]);
            obj_end(&o);
            *ret_eligible += r == REASON_ELIGIBLE ? x->counts[phase][r] : 0;
        }
    sbuf_add(b, "]", 1);
}

static void write_answer(struct sbuf *b, const struct dry_run *x, int64_t limit)
{
    struct sbuf counts = {.p = NULL};
    struct obj o = obj_begin(b);
    char next[24];
    int64_t eligible;
    write_counts(&counts, x, &eligible);
    obj_int(&o, "devices", x->devices);
    obj_int(&o, "eligible", eligible);
    obj_raw(&o, "counts", counts.p);
    (void)str_fmt(next, sizeof(next), "%lld", (long long)x->last);
    obj_str(&o, "next", x->devices == limit ? next : NULL);
    obj_end(&o);
    sbuf_done(&counts);
}

/* One transaction: the counts are of one moment. */
static int run(struct http_request *r, int64_t id, int64_t after, int64_t limit, struct sbuf *b)
{
    const struct call *c = call_of(r);
    struct dry_run *x = arena_alloc(http_arena(r), sizeof(*x));
    struct campaign campaign;
    struct campaign_status s;
    int rc = campaign_by_id(c->db, c->who.project_id, id, http_arena(r), &campaign, &s);
    if (rc < 0)
        return rc;
    const struct device_filter flt = {
        .project_id = campaign.project_id, .type_id = campaign.type_id, .enabled = -1};
    struct catalog *catalog = catalog_cell_get(c->api->env.catalog);
    const struct firmware *fw = catalog_firmware(catalog, campaign.firmware_id);
    x->db = c->db;
    x->catalog = catalog;
    x->campaign = &campaign;
    x->module = fw ? fw->module : "main";
    x->now = clock_now_ms();
    arena_init(&x->arena);
    rc = device_list(c->db, &flt, after, (int)limit, look, x);
    if (rc == 0)
        write_answer(b, x, limit);
    arena_done(&x->arena);
    catalog_unref(catalog);
    return rc;
}

void campaign_dry_run_handle(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    int64_t id, after = 0;
    if (input_id(r, "id", &id) < 0)
        return;
    json_t *in = http_body(r).n > 0 ? input_object(r, arg) : json_object();
    if (!in)
        return;
    const char *text = json_get_str(in, "after", NULL);
    int64_t limit = json_get_int(in, "limit", 10000);
    bool bad = text && num_parse(text, 0, INT64_MAX, &after) < 0;
    json_decref(in);
    if (bad) {
        http_problem(r, 422, "validation_failed", NULL, "after takes the `next` of a page.");
        return;
    }
    int rc = db_begin(c->db);
    if (rc == 0)
        rc = run(r, id, after, limit, &b);
    db_rollback(c->db);
    if (rc == E_NOTFOUND)
        answer_not_found(r, "campaign");
    else if (rc < 0)
        http_fail(r, rc, NULL);
    else
        http_reply(r, 200, "application/json", b.p, b.n);
    sbuf_done(&b);
}
