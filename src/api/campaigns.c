/*
 * /api/v1/campaigns: what is declared, where it stands, what is counted. What the members of a
 * declaration may hold is the campaign room's to check; keys become numbers here, and back.
 */
#include "priv.h"

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the campaign."},
    {"name", JK_STRING, JF_REQUIRED, 1, 255, NULL, NULL, "What people read."},
    {"firmware", JK_INT, JF_REQUIRED, 1, INT64_MAX, NULL, NULL,
     "Number of the firmware. With a full image it releases the deltas of the same version, too."},
    {"rollback_firmware", JK_INT, JF_NULLABLE, 1, INT64_MAX, NULL, "null",
     "What devices get back that got the bad version; of the same type and module."},
    {"targets", JK_OBJECT, 0, 0, 0, NULL, "{}",
     "All of the type, or those that are of all that is given: {tags: [any of them], devices: "
     "[keys], query: \"battery=gt=30;hw==B,site==lab\"}; deny: [keys] wins; frozen: true keeps "
     "devices out that are registered later. Not in lists."},
    {"phases", JK_ARRAY, 0, 0, 0, NULL, "[{percent: 100}]",
     "{percent (with the phases before), count or devices, one of them; success_percent (90), "
     "min_sample (1), soak_s, approval: what opens the next one}. Not in lists."},
    {"verification", JK_OBJECT, JF_NULLABLE, 0, 0, NULL, "null",
     "{devices: [keys], soak_s, approval}: all of these are verified before phase 1."},
    {"windows", JK_OBJECT, JF_NULLABLE, 0, 0, NULL, "null",
     "{timezone: IANA name or device, slots: [{days: [mon, …], from: hh:mm, to: hh:mm}]}: nothing "
     "is offered outside of them."},
    {"pacing", JK_OBJECT, 0, 0, 0, NULL, "{}",
     "{offers_per_minute, in_progress (offered, not deferred, not ended)}; 0 = no bound. "
     "exponential: "
     "{base_per_minute, increment_factor, offered or verified}: the rate begins with base and "
     "grows "
     "by the factor each time that so many were offered or verified, up to offers_per_minute. "
     "kilobytes_per_second: of 1000 bytes, what the downloads of its links take together. "
     "jitter_s: each device's turn comes within so long of its phase's opening."},
    {"thresholds", JK_OBJECT, 0, 0, 0, NULL, "{}",
     "{failed|rolled_back|timed_out|rejected: {percent, min_sample, action: "
     "pause|abort|rollback}}: "
     "per phase, since the last resume; more than so many of those that ended."},
    {"deadlines", JK_OBJECT, 0, 0, 0, NULL, "{}",
     "{accept_s, download_s, install_s, verify_s, attempts} instead of the type's."},
    {"consent", JK_OBJECT, JF_NULLABLE, 0, 0, NULL, "null",
     "Whether the device's user is asked: {mode: silent (nobody is), app (over REST, before "
     "anything is sent) or device (by itself); postpone_max (3), postpone_s (86400), "
     "language_attribute (language)}. Not in lists."},
    {"texts", JK_OBJECT, JF_NULLABLE, 0, 0, NULL, "null",
     "{language tag: {title, notes}} for users, up to 20 languages; consent by app needs one at "
     "least. Not in lists."},
    {"delivery", JK_ENUM, 0, 0, 0, "offer|push", "offer",
     "offer: to devices that ask; push: sent at once to those that are there, and to the others at "
     "their next sign of life. Not in lists."},
    {"allow_downgrade", JK_BOOL, 0, 0, 0, NULL, "false",
     "Offered to what runs a newer version; also where that, or the rollback, goes back behind a "
     "must-pass version."},
    {"allow_reinstall", JK_BOOL, 0, 0, 0, NULL, "false", "Offered to what runs this version."},
    {"starts_at", JK_TIME, JF_NULLABLE, 0, 0, NULL, "null", "When it begins, once started."},
    {"ends_at", JK_TIME, JF_NULLABLE, 0, 0, NULL, "null",
     "When it ends by itself: completed, or aborted when it is paused or has phases to open."},
    {"state", JK_ENUM, JF_READ_ONLY, 0, 0, "draft|scheduled|running|paused|completed|aborted", NULL,
     "Where it stands."},
    {"reason", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Why it is paused or ended: operator, ends_at, all_ended, threshold_failed, …"},
    {"confirmation", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "What waits for a second person: {action, body, asked_by, asked_at, expires_at}. Not in "
     "lists."},
    {"waits_for", JK_STRING, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Key of a device that has not ended yet, of a campaign that ends with its last one (listed or "
     "frozen). Not in lists."},
    {"phase", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "The open one; 0 is verification."},
    {"awaiting_approval", JK_BOOL, JF_READ_ONLY, 0, 0, NULL, NULL,
     "The next phase opens with an operator's approval."},
    {"rolling_back", JK_BOOL, JF_READ_ONLY, 0, 0, NULL, NULL,
     "rollback_firmware goes to the devices that got the bad version."},
    {"in_progress", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Updates offered and not ended, but for those that are deferred."},
    {"counts", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{phase, state, n} of its updates; awaiting_consent, consent_confirmed and consent_refused "
     "count devices without one; phase 1000 is the rollback. Not in lists."},
    {"progress", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{phase, opened_at, gate_met_at, offered, ended, verified, gate_ended, gate_verified}: the "
     "last two are devices, by the last update of each; not verified is what fell back. Not in "
     "lists."},
    {"floors", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Must-pass firmwares below this one, {firmware, version, enabled}: devices below them get "
     "these first, not by this campaign, and wait while they can't. Not in lists."},
    {"started_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "When it began."},
    {"ended_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "When it ended."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"updated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it last changed."},
    {"revision", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Counts changes; the ETag's number."},
};
const struct table campaign_table = {"Campaign", fields, ARRAY_LEN(fields)};

static struct confirm_of request_of(const struct campaign *c)
{
    return (struct confirm_of){"campaign", c->project_id, c->id, c->revision, campaign_asked};
}

/* ---- answers ---- */
static int key_one(void *arg, const char *key)
{
    json_array_append_new(arg, json_string(key));
    return 0;
}

static int show_keys(struct db *db, int64_t id, int list, json_t *object, const char *name)
{
    if (!json_object_get(object, name))
        return 0;
    json_t *keys = json_array();
    json_object_set_new(object, name, keys);
    return campaign_list_keys(db, id, list, key_one, keys);
}

/* The declaration as it was sent: numbers of devices are keys again. */
static int add_definition(struct obj *o, struct db *db, const struct campaign *c)
{
    enum json_fault fault;
    AUTO(json_free)
    json_t *d = json_parse(c->definition, strlen(c->definition), SIZE_MAX, 16, &fault, NULL);
    json_t *targets = json_object_get(d, "targets"), *phases = json_object_get(d, "phases"), *v;
    const char *name;
    int rc = show_keys(db, c->id, CAMPAIGN_LIST_TARGETS, targets, "devices");

    if (rc == 0)
        rc = show_keys(db, c->id, CAMPAIGN_LIST_DENIED, targets, "deny");
    if (rc == 0)
        rc = show_keys(db, c->id, CAMPAIGN_LIST_VERIFY, json_object_get(d, "verification"),
                       "devices");
    for (size_t i = 0; rc == 0 && i < json_array_size(phases); i++)
        rc = show_keys(db, c->id, (int)i + 1, json_array_get(phases, i), "devices");
    obj_str(o, "delivery", json_get_str(d, "delivery", "offer"));
    json_object_del(d, "delivery");
    json_object_foreach(d, name, v)
    {
        AUTO(free) char *text = json_is_boolean(v) ? NULL : json_text(v);
        obj_raw(o, name, text ? text : json_is_true(v) ? "true" : "false");
    }
    return rc;
}

struct items {
    struct sbuf *b;
    bool more;
};

static struct obj next_item(struct items *x)
{
    if (x->more)
        sbuf_add(x->b, ",", 1);
    x->more = true;
    return obj_begin(x->b);
}

static int count_one(void *arg, int phase, const char *state, int64_t n)
{
    struct obj o = next_item(arg);
    obj_int(&o, "phase", phase);
    obj_str(&o, "state", state);
    obj_int(&o, "n", n);
    obj_end(&o);
    return 0;
}

static int phase_one(void *arg, const struct campaign_phase_status *p)
{
    struct obj o = next_item(arg);
    obj_int(&o, "phase", p->no);
    obj_time(&o, "opened_at", p->opened_at);
    obj_time(&o, "gate_met_at", p->gate_at);
    obj_int(&o, "offered", p->offered);
    obj_int(&o, "ended", p->ended);
    obj_int(&o, "verified", p->verified);
    obj_int(&o, "gate_ended", p->gate_ended);
    obj_int(&o, "gate_verified", p->gate_verified);
    obj_end(&o);
    return 0;
}

static int add_counters(struct obj *o, struct db *db, int64_t id)
{
    struct items counts = {.b = o->b}, phases = {.b = o->b};
    obj_name(o, "counts");
    sbuf_add(o->b, "[", 1);
    int rc = campaign_counts(db, id, count_one, &counts);
    sbuf_add(o->b, "]", 1);
    obj_name(o, "progress");
    sbuf_add(o->b, "[", 1);
    if (rc == 0)
        rc = campaign_phases(db, id, phase_one, &phases);
    sbuf_add(o->b, "]", 1);
    return rc;
}

static void add_row(struct obj *o, const struct campaign *c, const struct campaign_status *s)
{
    obj_int(o, "id", c->id);
    obj_str(o, "name", c->name);
    obj_int(o, "firmware", c->firmware_id);
    if (c->rollback_id)
        obj_int(o, "rollback_firmware", c->rollback_id);
    else
        obj_str(o, "rollback_firmware", NULL);
    obj_str(o, "state", campaign_state_name(s->state));
    obj_str(o, "reason", s->reason);
    obj_int(o, "phase", s->phase);
    obj_bool(o, "awaiting_approval", s->approval);
    obj_bool(o, "rolling_back", s->rolling_back);
    obj_int(o, "in_progress", s->active);
    obj_time(o, "starts_at", c->starts_at);
    obj_time(o, "ends_at", c->ends_at);
    obj_time(o, "started_at", s->started_at);
    obj_time(o, "ended_at", s->ended_at);
    obj_time(o, "created_at", c->created_at);
    obj_time(o, "updated_at", c->updated_at);
    obj_int(o, "revision", c->revision);
}

/* While updates are under way, nobody is looked for. */
static int add_waits_for(struct obj *o, struct db *db, const struct campaign *c,
                         const struct campaign_status *s)
{
    const char *key = NULL;
    struct arena a;
    arena_init(&a);
    int rc = s->state == CAMPAIGN_RUNNING ? campaign_walk_held(db, c->id, &a, &key) : 0;
    obj_str(o, "waits_for", key);
    arena_done(&a);
    return rc;
}

static int campaign_json(struct sbuf *b, struct api *api, struct db *db, const struct campaign *c,
                         const struct campaign_status *s)
{
    struct obj o = obj_begin(b);
    add_row(&o, c, s);
    int rc = add_definition(&o, db, c);
    if (rc == 0) {
        const struct confirm_of of = request_of(c);
        rc = confirm_json(&o, db, &of);
    }
    if (rc == 0)
        rc = add_waits_for(&o, db, c, s);
    if (rc == 0)
        rc = add_counters(&o, db, c->id);
    campaign_write_floors(&o, api, c);
    obj_end(&o);
    return rc;
}

static int list_one(void *arg, const struct campaign *c, const struct campaign_status *s)
{
    struct list *l = arg;
    if (!list_row(l, c->id))
        return 1;
    struct obj o = obj_begin(&l->b);
    add_row(&o, c, s);
    obj_end(&o);
    return 0;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct campaign_filter flt = {.project_id = c->who.project_id};
    int64_t total = -1;
    struct list l;
    (void)arg;
    int some = input_query_type(r, &flt.type_id);
    if (some < 0 || input_query_int(r, "firmware", 1, INT64_MAX, 0, &flt.firmware_id) < 0 ||
        input_query_word(r, &campaign_table, "state", &flt.state) < 0 || list_begin(r, &l) < 0)
        return;
    int rc = some ? campaign_list(c->db, &flt, l.after, l.limit + 1, list_one, &l) : 0;
    if (list_wants_total(&l))
        total = some ? campaign_total(c->db, &flt) : 0;
    list_end(&l, rc, total);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct campaign x = {.revision = 0};
    struct campaign_status s;
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    int rc = db_begin(c->db);
    if (rc == 0)
        rc = campaign_by_id(c->db, c->who.project_id, id, http_arena(r), &x, &s);
    if (rc == 0)
        rc = campaign_json(&b, c->api, c->db, &x, &s);
    db_rollback(c->db);
    answer_read(r, rc, "campaign", x.revision, true, &b);
}

/* ---- requests ---- */
static int take_list(struct write *w, struct db *db, const json_t *object, const char *name,
                     const char *pointer, struct id_list *ret)
{
    const json_t *keys = json_object_get(object, name);
    *ret = (struct id_list){.n = 0};
    return keys ? device_ids(w, db, keys, pointer, &ret->ids, &ret->n) : 0;
}

static int take_lists(struct write *w, struct db *db, const struct campaign *old,
                      struct campaign_lists *l)
{
    const json_t *targets = json_object_get(w->in, "targets");
    const json_t *verify = json_object_get(w->in, "verification");
    const json_t *phases = json_object_get(w->in, "phases");
    int rc = 0;
    l->targets = old->devices;
    l->denied = old->denied;
    l->verify = old->verify.devices;
    for (size_t i = 0; i < old->n_phases; i++)
        l->phases[i] = old->phases[i].devices;
    if (targets)
        rc = take_list(w, db, targets, "devices", "/targets/devices", &l->targets);
    if (targets && rc == 0)
        rc = take_list(w, db, targets, "deny", "/targets/deny", &l->denied);
    if (verify && rc == 0)
        rc = take_list(w, db, verify, "devices", "/verification/devices", &l->verify);
    for (size_t i = 0; phases && rc == 0 && i < CAMPAIGN_PHASES_MAX; i++) {
        char at[64];
        (void)str_fmt(at, sizeof(at), "/phases/%zu/devices", i);
        rc = take_list(w, db, json_array_get(phases, i), "devices", at, &l->phases[i]);
    }
    return rc;
}

static int find_firmware(struct write *w, struct db *db, const char *pointer, int64_t id,
                         struct firmware *ret)
{
    int rc = firmware_by_id(db, w->who.project_id, id, &w->a, ret);
    if (rc == E_NOTFOUND)
        return write_invalid(w, pointer, "not_found", "There is no such firmware.");
    if (rc == 0)
        json_decref(TAKE(ret->hardware));
    return rc;
}

static int take_firmware(struct write *w, struct db *db, struct campaign *c)
{
    struct firmware fw, back;
    c->firmware_id = json_get_int(w->in, "firmware", c->firmware_id);
    if (json_object_get(w->in, "rollback_firmware"))
        c->rollback_id = json_get_int(w->in, "rollback_firmware", 0);
    int rc = find_firmware(w, db, "/firmware", c->firmware_id, &fw);
    if (rc < 0)
        return rc;
    c->type_id = fw.type_id;
    if (!c->rollback_id)
        return 0;
    rc = find_firmware(w, db, "/rollback_firmware", c->rollback_id, &back);
    if (rc == 0 &&
        (back.type_id != fw.type_id || strcmp(back.module, fw.module) != 0 || back.id == fw.id))
        rc = write_invalid(w, "/rollback_firmware", "invalid",
                           "It must be another firmware of the same device type and module.");
    return rc;
}

static void take_time(const json_t *in, const char *name, int64_t *t)
{
    const json_t *v = json_object_get(in, name);
    if (v && (json_is_null(v) || time_parse(json_string_value(v), t) < 0))
        *t = 0;
}

/* What was stored, with what the request has instead. */
static void take_definition(struct write *w, struct campaign *c)
{
    enum json_fault fault;
    AUTO(json_free)
    json_t *all = json_parse(c->definition, strlen(c->definition), SIZE_MAX, 16, &fault, NULL);
    json_object_update(all, w->in);
    c->definition = campaign_definition(all, &w->a);
}

/* What the declaration means as a whole. */
static int check_whole(struct write *w, const struct campaign *c)
{
    struct campaign parsed = {.definition = c->definition};
    int rc = campaign_parse(&parsed, &w->a);
    if (rc < 0)
        return rc;
    for (int k = 0; k < CAMPAIGN_END__COUNT; k++)
        if (parsed.thresholds[k].action && strcmp(parsed.thresholds[k].action, "rollback") == 0 &&
            !c->rollback_id)
            return write_invalid(w, "/rollback_firmware", "required",
                                 "A threshold with the action rollback needs it.");
    if (parsed.consent.mode == CONSENT_APP && parsed.n_texts == 0)
        return write_invalid(w, "/texts", "required",
                             "Consent by app needs a text to show, such as {\"en\": {\"title\": "
                             "\"A new version\"}}.");
    if (c->starts_at && c->ends_at && c->ends_at <= c->starts_at)
        return write_invalid(w, "/ends_at", "invalid", "It must come after starts_at.");
    return campaign_check_floors(w, c, parsed.allow_downgrade);
}

static int take(struct write *w, struct db *db, struct campaign *c, struct campaign_lists *l)
{
    const struct campaign old = *c;
    if (campaign_check(w->in, &w->errs) < 0)
        return E_PROTO;
    c->name = json_get_str(w->in, "name", c->name);
    take_time(w->in, "starts_at", &c->starts_at);
    take_time(w->in, "ends_at", &c->ends_at);
    take_definition(w, c);
    int rc = take_firmware(w, db, c);
    if (rc == 0)
        rc = take_lists(w, db, &old, l);
    return rc < 0 ? rc : check_whole(w, c);
}

static int answer_with(struct write *w, struct db *db, int64_t id)
{
    struct campaign_status s;
    struct campaign c;
    int rc = campaign_by_id(db, w->who.project_id, id, &w->a, &c, &s);
    if (rc == 0)
        rc = campaign_json(&w->body, w->api, db, &c, &s);
    if (rc == 0)
        etag_text(w->etag, c.revision, &w->body);
    return rc;
}

static int run_create(struct write *w, struct db *db)
{
    struct campaign c = {
        .project_id = w->who.project_id, .name = "", .definition = "{}", .created_at = w->now};
    struct campaign_lists *l = arena_alloc(&w->a, sizeof(*l));
    int rc = take(w, db, &c, l);
    if (rc == 0)
        rc = campaign_insert(db, &c, l);
    if (rc == 0)
        rc = answer_with(w, db, c.id);
    if (rc == 0)
        write_created(w, 0, "/api/v1/campaigns/%lld", (long long)c.id);
    return rc;
}

static int find(struct write *w, struct db *db, struct campaign *c, struct campaign_status *s)
{
    int rc = write_found(w, campaign_by_id(db, w->who.project_id, w->id, &w->a, c, s), "campaign");
    if (rc == 0)
        rc = campaign_json(&w->before, w->api, db, c, s);
    return rc < 0 ? rc : write_if_match(w, c->revision);
}

/* Once started, only what makes it tamer or wilder may change: not what it is. */
static int check_changes(struct write *w, enum campaign_state state)
{
    static const char *const tunable[] = {"name",    "ends_at", "pacing",  "thresholds",
                                          "windows", "texts",   "delivery"};
    size_t n = state == CAMPAIGN_COMPLETED || state == CAMPAIGN_ABORTED ? 1 : ARRAY_LEN(tunable);
    const char *name;
    json_t *v;
    if (state == CAMPAIGN_DRAFT)
        return 0;
    json_object_foreach(w->in, name, v)
    {
        size_t i = 0;
        char at[80];
        while (i < n && strcmp(tunable[i], name) != 0)
            i++;
        (void)str_fmt(at, sizeof(at), "/%.60s", name);
        if (i == n)
            (void)write_invalid(w, at, "immutable", "%.60s can't be changed while it is %s", name,
                                campaign_state_name(state));
    }
    return w->errs.count ? E_PROTO : 0;
}

/* Of one that has started, the members that make it wilder, or may. */
static bool is_more_than_a_name(const struct write *w, enum campaign_state state)
{
    size_t names = json_object_get(w->in, "name") ? 1 : 0;
    return (state == CAMPAIGN_SCHEDULED || state == CAMPAIGN_RUNNING || state == CAMPAIGN_PAUSED) &&
           json_object_size(w->in) > names;
}

static int change(struct write *w, struct db *db, const char *action UNUSED)
{
    struct campaign_lists *l = arena_alloc(&w->a, sizeof(*l));
    struct campaign_status s = {0};
    struct campaign c;
    int rc = campaign_by_id(db, w->who.project_id, w->id, &w->a, &c, &s);
    if (rc == 0)
        rc = check_changes(w, s.state);
    if (rc == 0)
        rc = take(w, db, &c, l);
    if (rc < 0)
        return rc;
    c.updated_at = w->now;
    return campaign_update(db, &c, s.state == CAMPAIGN_DRAFT ? l : NULL);
}

static int run_patch(struct write *w, struct db *db)
{
    struct campaign_status s = {0};
    struct campaign c;
    int rc = find(w, db, &c, &s);
    if (rc == 0) {
        const struct confirm_of of = request_of(&c);
        rc = is_more_than_a_name(w, s.state) ? confirm_or_do(w, db, &of, "change", change)
                                             : change(w, db, "change");
    }
    return rc < 0 ? rc : answer_with(w, db, w->id);
}

static int run_delete(struct write *w, struct db *db)
{
    struct campaign_status s;
    struct campaign c;
    int rc = find(w, db, &c, &s);
    w->status = 204;
    return rc < 0 ? rc : write_conflict(w, campaign_delete(db, w->id, w->now, &w->fail), "in_use");
}

/* ---- moves ---- */
static int move(struct write *w, struct db *db, const char *what)
{
    bool flag = json_get_bool(w->in, "rollback", false) || json_get_bool(w->in, "force", false);
    int rc;
    if (strcmp(what, "change") == 0)
        return change(w, db, what);
    if (strcmp(what, "start") == 0)
        rc = campaign_start(db, w->id, w->now, &w->fail);
    else if (strcmp(what, "pause") == 0)
        rc = campaign_pause(db, w->id, w->now, &w->fail);
    else if (strcmp(what, "resume") == 0)
        rc = campaign_resume(db, w->id, w->now, &w->fail);
    else if (strcmp(what, "complete") == 0)
        rc = campaign_complete(db, w->id, w->now, &w->fail);
    else if (strcmp(what, "abort") == 0)
        rc = campaign_abort(db, w->id, flag, w->now, &w->fail);
    else
        rc = campaign_approve(db, w->id, flag, w->now, &w->fail);
    return write_conflict(w, rc, "wrong_state");
}

/* What stops a campaign is one person's to do, at once. To complete one that is stopped, or has
 * phases to open, releases what it held back; and to complete any whose firmware is open releases
 * that to all the others, past its pace and thresholds. 1, 0 or an error. */
static int needs_second(const struct write *w, struct db *db, const struct campaign *c,
                        const struct campaign_status *s, const char *what)
{
    if (strcmp(what, "complete") == 0)
        return s->state != CAMPAIGN_RUNNING || s->phase < (int)c->n_phases
                   ? 1
                   : campaign_holds_open(db, c->id);
    return strcmp(what, "start") == 0 || strcmp(what, "resume") == 0 ||
           strcmp(what, "approve") == 0 ||
           (strcmp(what, "abort") == 0 && json_get_bool(w->in, "rollback", false));
}

static int run_move(struct write *w, struct db *db)
{
    const char *what = strrchr(w->idem_route, '/') + 1;
    struct campaign_status s;
    struct campaign c;
    int rc = find(w, db, &c, &s);
    if (rc == 0)
        rc = needs_second(w, db, &c, &s, what);
    if (rc >= 0) {
        const struct confirm_of of = request_of(&c);
        rc = rc ? confirm_or_do(w, db, &of, what, move) : move(w, db, what);
    }
    return rc < 0 ? rc : answer_with(w, db, w->id);
}

static int find_request(struct write *w, struct db *db, struct confirm_of *ret)
{
    struct campaign_status s;
    struct campaign c;
    int rc = find(w, db, &c, &s);
    if (rc < 0)
        return rc;
    *ret = request_of(&c);
    return 0;
}

static int answer(struct write *w, struct db *db)
{
    return answer_with(w, db, w->id);
}

static const struct confirm_how how = {find_request, move, answer};

static int run_confirm(struct write *w, struct db *db)
{
    return confirm_yes(w, db, &how);
}

static int run_deny(struct write *w, struct db *db)
{
    return confirm_no(w, db, &how);
}

static const struct json_field abort_fields[] = {
    {"rollback", JK_BOOL, 0, 0, 0, NULL, "false",
     "Give rollback_firmware to the devices that got the bad version."},
};
const struct table campaign_abort_table = {"CampaignAbort", abort_fields, ARRAY_LEN(abort_fields)};
static const struct json_field approve_fields[] = {
    {"force", JK_BOOL, 0, 0, 0, NULL, "false", "Although the gate is not met."},
};
const struct table campaign_approve_table = {"CampaignApproval", approve_fields,
                                             ARRAY_LEN(approve_fields)};

static const struct op op_list = {.summary = "List the campaigns",
                                  .out = &campaign_table,
                                  .query = LIST_QUERY "|device_type|firmware|state",
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {
    .summary = "One campaign with its counters", .out = &campaign_table, .status = 200};
static const struct op op_create = {.summary = "Draft a campaign",
                                    .in = &campaign_table,
                                    .out = &campaign_table,
                                    .status = 201,
                                    .run = run_create,
                                    .catalog = true};
static const struct op op_patch = {
    .summary = "Change a draft; of a started one: name, ends_at, pacing, thresholds, windows, "
               "texts, delivery; then 202 as for start",
    .in = &campaign_table,
    .out = &campaign_table,
    .status = 200,
    .patch = true,
    .run = run_patch,
    .catalog = true};
static const struct op op_delete = {
    .summary = "Delete a draft, or one that has ended; its updates stay; 409 when "
               "only it keeps an open firmware back",
    .status = 204,
    .run = run_delete,
    .catalog = true};
static const struct op op_start = {
    .summary = "Start it, at once or at starts_at; 202: a second person has to "
               "confirm it",
    .out = &campaign_table,
    .status = 200,
    .run = run_move};
static const struct op op_pause = {.summary = "Send nothing more until it is resumed",
                                   .out = &campaign_table,
                                   .status = 200,
                                   .run = run_move};
static const struct op op_resume = {.summary = "Go on; the thresholds count anew; 202 as for start",
                                    .out = &campaign_table,
                                    .status = 200,
                                    .run = run_move};
static const struct op op_complete = {.summary =
                                          "End it; what waits is canceled, an open firmware is for "
                                          "all; 202 as for start if that, or phases, are left",
                                      .out = &campaign_table,
                                      .status = 200,
                                      .run = run_move};
static const struct op op_abort = {
    .summary = "End it for good; what waits is canceled; with rollback 202 as for start",
    .in = &campaign_abort_table,
    .out = &campaign_table,
    .status = 200,
    .may_be_empty = true,
    .run = run_move};
static const struct op op_approve = {.summary = "Open the next phase; 202 as for start",
                                     .in = &campaign_approve_table,
                                     .out = &campaign_table,
                                     .status = 200,
                                     .may_be_empty = true,
                                     .run = run_move};
static const struct op op_confirm = {
    .summary = "Do what somebody with another token asked for, as `confirmation` has it",
    .out = &campaign_table,
    .status = 200,
    .run = run_confirm,
    .catalog = true};
static const struct op op_deny = {.summary = "Drop what was asked for, whoever asked",
                                  .out = &campaign_table,
                                  .status = 200,
                                  .run = run_deny};
static const struct op op_dry_run = {
    .summary = "What it would do, counted per phase and reason; nothing is written. It looks at "
               "`limit` devices after `after`; with `next` go on, and add up",
    .in = &dry_run_request_table,
    .out = &dry_run_table,
    .status = 200,
    .may_be_empty = true};

#define PATH     "/api/v1/campaigns"
#define BODY_MAX (256 * 1024)
#define MOVE(name, op)                                                                             \
    {                                                                                              \
        "POST", PATH "/:id/" name, HTTP_BODY_WHOLE, 65536, write_handle, OP(op), OPERATOR          \
    }
const struct http_route campaign_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), VIEWER},
    {"POST", PATH, HTTP_BODY_WHOLE, BODY_MAX, write_handle, OP(op_create), OPERATOR},
    {"GET", PATH "/:id", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"PATCH", PATH "/:id", HTTP_BODY_WHOLE, BODY_MAX, write_handle, OP(op_patch), OPERATOR},
    {"DELETE", PATH "/:id", HTTP_BODY_NONE, 0, write_handle, OP(op_delete), OPERATOR},
    MOVE("start", op_start),
    MOVE("pause", op_pause),
    MOVE("resume", op_resume),
    MOVE("complete", op_complete),
    MOVE("abort", op_abort),
    MOVE("approve", op_approve),
    MOVE("confirm", op_confirm),
    MOVE("deny", op_deny),
    {"POST", PATH "/:id/dry-run", HTTP_BODY_WHOLE, 65536, campaign_dry_run_handle, OP(op_dry_run),
     VIEWER},
    {.method = NULL},
};
