/*
 * POST /api/v1/campaigns/{id}/dry-run: what a campaign would do with each device, by the same rules
 * as the real thing, counted and not written. It begins where the campaign stands, a page of
 * devices at a time, which the client adds up: `next` carries what earlier pages have used up of
 * phases by count. A page is looked at in slices on the thread pool, on a connection of its own, so
 * that nobody else waits for it.
 */
#include "priv.h"

enum {
    SLICE = 200,  /* devices; then uploads and others on the pool have their turn */
    RUNS_MAX = 4, /* at once; each holds a connection and a snapshot of the database */
    CURSOR_MAX = 20 + CAMPAIGN_PHASES_MAX * 20,
};

static const struct json_field request_fields[] = {
    {"limit", JK_INT, 0, 1, 100000, NULL, "10000", "Devices to look at."},
    {"after", JK_STRING, 0, 1, CURSOR_MAX, NULL, NULL, "The `next` of the page before."},
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
    struct api *api;
    struct loop *loop;
    struct http_handle *h;
    struct db *db; /* its own: in a transaction, so that the counts are of one moment */
    struct catalog *catalog;
    int64_t id, project_id, left, last, devices;
    int rc;
    int n_offered; /* phases that the cursor tells of */
    bool more;
    struct campaign campaign;
    struct update_dry dry;
    int64_t offered[CAMPAIGN_PHASES_MAX + 1];               /* as the cursor tells */
    int64_t counts[CAMPAIGN_PHASES_MAX + 2][REASON__COUNT]; /* the last row: no phase */
    struct arena a, of_device;
};

static int look(void *arg, const struct device *d)
{
    struct dry_run *x = arg;
    enum reason r;
    int phase;
    arena_reset(&x->of_device);
    int rc = update_dry_device(&x->dry, d, &x->of_device, &r, &phase);
    if (rc < 0)
        return rc;
    x->counts[phase < 0 ? CAMPAIGN_PHASES_MAX + 1 : phase][r]++;
    x->devices++;
    x->left--;
    x->last = d->id;
    return 0;
}

/* ---- slices, on the thread pool ---- */
static int begin(struct dry_run *x)
{
    struct campaign_status s;
    struct fail f;
    int rc = db_open(x->api->env.db_path, DB_READ, 256, &x->db, &f);
    if (rc == 0)
        rc = db_begin(x->db);
    if (rc == 0)
        rc = campaign_by_id(x->db, x->project_id, x->id, &x->a, &x->campaign, &s);
    if (rc < 0)
        return rc;
    x->dry.db = x->db;
    x->dry.catalog = x->catalog;
    x->dry.campaign = &x->campaign;
    rc = update_dry_begin(&x->dry);
    if (rc < 0)
        return rc;
    if (x->n_offered && x->n_offered != (int)x->campaign.n_phases)
        return E_PROTO; /* a cursor of another campaign */
    if (x->n_offered)
        memcpy(x->dry.offered, x->offered, sizeof(x->offered));
    return 0;
}

static void work(void *arg)
{
    struct dry_run *x = arg;
    int64_t n = x->left < SLICE ? x->left : SLICE, before = x->devices;
    if (!x->db)
        x->rc = begin(x);
    if (x->rc < 0)
        return;
    const struct device_filter flt = {
        .project_id = x->campaign.project_id, .type_id = x->campaign.type_id, .enabled = -1};
    x->rc = device_list(x->db, &flt, x->last, (int)n, look, x);
    x->more = x->devices - before == n;
}

/* ---- the answer ---- */
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

static void write_next(struct sbuf *b, const struct dry_run *x)
{
    bool by_count = false;
    for (size_t i = 0; i < x->campaign.n_phases; i++)
        by_count |= x->campaign.phases[i].kind == PHASE_COUNT;
    sbuf_fmt(b, "%lld", (long long)x->last);
    for (size_t i = 1; by_count && i <= x->campaign.n_phases; i++)
        sbuf_fmt(b, ".%lld", (long long)x->dry.offered[i]);
}

static void write_answer(struct sbuf *b, const struct dry_run *x)
{
    struct sbuf counts = {.p = NULL}, next = {.p = NULL};
    struct obj o = obj_begin(b);
    int64_t eligible;
    write_counts(&counts, x, &eligible);
    write_next(&next, x);
    obj_int(&o, "devices", x->devices);
    obj_int(&o, "eligible", eligible);
    obj_raw(&o, "counts", counts.p);
    obj_str(&o, "next", x->more ? next.p : NULL);
    obj_end(&o);
    sbuf_done(&counts);
    sbuf_done(&next);
}

static void run_free(struct dry_run *x)
{
    if (x->db)
        db_rollback(x->db);
    db_close(x->db);
    catalog_unref(x->catalog);
    arena_done(&x->a);
    arena_done(&x->of_device);
    atomic_fetch_sub(&x->api->dry_runs, 1);
    free(x);
}

static void answer_bad_cursor(struct http_request *r)
{
    http_problem(r, 422, "validation_failed", NULL, "after takes the `next` of a page.");
}

/* On the request's thread; r is NULL when the client is gone. */
static void finish(struct http_request *r, void *arg)
{
    struct dry_run *x = arg;
    struct sbuf b = {.p = NULL};
    if (r && x->rc == E_NOTFOUND) {
        answer_not_found(r, "campaign");
    } else if (r && x->rc == E_PROTO) {
        answer_bad_cursor(r);
    } else if (r && x->rc < 0) {
        http_fail(r, x->rc, NULL);
    } else if (r) {
        write_answer(&b, x);
        http_reply(r, 200, "application/json", b.p, b.n);
    }
    sbuf_done(&b);
    run_free(x);
}

static void work_done(void *arg)
{
    struct dry_run *x = arg;
    if (x->rc == 0 && atomic_load(&x->api->stopping))
        x->rc = E_UNAVAILABLE;
    if (x->rc == 0 && x->more && x->left > 0)
        loop_work(x->loop, work, work_done, x);
    else
        http_resume(x->h, finish, x);
}

/* ---- the request ---- */
/* "last.offered.offered…", one for each phase, or "last" alone. */
static int cursor_parse(struct dry_run *x, const char *text)
{
    char buf[CURSOR_MAX + 1], *rest = buf;
    int no = -1;
    if (!str_copy(buf, sizeof(buf), text))
        return E_PROTO;
    for (char *part; (part = strsep(&rest, ".")); no++) {
        if (no >= CAMPAIGN_PHASES_MAX ||
            num_parse(part, 0, INT64_MAX / 2, no < 0 ? &x->last : &x->offered[no + 1]) < 0)
            return E_PROTO;
    }
    x->n_offered = no;
    return 0;
}

void campaign_dry_run_handle(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    int64_t id;
    if (input_id(r, "id", &id) < 0)
        return;
    AUTO(json_free) json_t *in = http_body(r).n > 0 ? input_object(r, arg) : json_object();
    if (!in)
        return;
    if (atomic_fetch_add(&c->api->dry_runs, 1) >= RUNS_MAX) {
        atomic_fetch_sub(&c->api->dry_runs, 1);
        http_add_header(r, "Retry-After", "1");
        http_problem(r, 429, "too_many_requests", NULL, "%d dry runs are under way.", RUNS_MAX);
        return;
    }
    struct dry_run *x = xcalloc(1, sizeof(*x));
    *x = (struct dry_run){.api = c->api,
                          .loop = http_loop(r),
                          .catalog = catalog_cell_get(c->api->env.catalog),
                          .id = id,
                          .project_id = c->who.project_id,
                          .dry = {.now = clock_now_ms()},
                          .left = json_get_int(in, "limit", 10000)};
    arena_init(&x->a);
    arena_init(&x->of_device);
    if (cursor_parse(x, json_get_str(in, "after", "0")) < 0) {
        run_free(x);
        answer_bad_cursor(r);
        return;
    }
    x->h = http_defer(r);
    loop_work(x->loop, work, work_done, x);
}
