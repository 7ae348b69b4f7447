/*
 * Consent of a device's user: what a campaign asks, in the user's language, and the answer. An
 * application of end users asks with a token, or with its own credentials (eztcloud.c). The rules
 * of asking are the campaign room's; the offer that follows a yes is core's to send.
 */
#include "priv.h"

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the question."},
    {"device", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Key of the device."},
    {"campaign", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the campaign that asks."},
    {"phase", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Of the campaign; 0 is verification."},
    {"firmware", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the firmware."},
    {"module", JK_STRING, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "What is upgraded."},
    {"version", JK_STRING, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "What it is to run."},
    {"language", JK_STRING, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Of title and notes: by Accept-Language, else as the device reported, else en, else the "
     "first."},
    {"title", JK_STRING, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "One line for the user."},
    {"notes", JK_STRING, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "What is new."},
    {"state", JK_ENUM, JF_READ_ONLY, 0, 0, "asked|postponed|confirmed|refused", NULL,
     "Where it stands."},
    {"offered", JK_BOOL, JF_READ_ONLY, 0, 0, NULL, NULL, "The device has the offer."},
    {"until", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "It is postponed to then."},
    {"postponed", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "So often."},
    {"postponements_left", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "So often it may be, still."},
    {"by", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Who answered: a token, an application, the device; empty: nobody."},
    {"asked_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was first asked."},
    {"answered_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "The last answer."},
    {"history", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{at, state, by, text} for each move; not in lists."},
};
const struct table consent_table = {"Consent", fields, ARRAY_LEN(fields)};

static const struct json_field answer_fields[] = {
    {"answer", JK_ENUM, JF_REQUIRED, 0, 0, "confirm|postpone|refuse", NULL,
     "What the user says; the same answer again changes nothing."},
    {"postpone_s", JK_INT, 0, 60, INT64_C(30) * 86400, NULL, NULL,
     "Ask again so much later; else as the campaign says."},
};
const struct table consent_answer_table = {"ConsentAnswer", answer_fields,
                                           ARRAY_LEN(answer_fields)};

/* ---- answers ---- */
struct view {
    struct db *db;
    const struct catalog *catalog;
    const char *accept;   /* Accept-Language; NULL */
    struct arena *arena;  /* of the request */
    struct device device; /* the one that was looked up last */
    bool all;             /* not only what waits for an answer */
    int64_t after, total; /* rows up to there are counted, not shown */
    struct list *l;
};

static int look_up(struct view *v, int64_t device_id)
{
    return v->device.id == device_id ? 0 : device_by_id(v->db, device_id, v->arena, &v->device);
}

static void write_text(struct obj *o, const struct view *v, const struct campaign *c)
{
    AUTO(json_free) json_t *all = NULL;
    const char *language = NULL;

    if (c && c->n_texts > 1 && device_attributes(v->db, v->device.id, &all) == 0)
        language = json_get_str(all, c->consent.language_attribute, NULL);
    const struct campaign_text *t = c ? campaign_text_for(c, v->accept, language) : NULL;
    obj_str(o, "language", t ? t->language : NULL);
    obj_str(o, "title", t ? t->title : NULL);
    obj_str(o, "notes", t ? t->notes : NULL);
}

static void write_members(struct obj *o, const struct view *v, const struct consent *q,
                          const struct campaign *c)
{
    const struct firmware *fw = c ? catalog_firmware(v->catalog, c->firmware_id) : NULL;
    int64_t left = c ? c->consent.postpone_max - q->postponed : 0;

    obj_int(o, "id", q->id);
    obj_str(o, "device", v->device.key);
    obj_int(o, "campaign", q->campaign_id);
    obj_int(o, "phase", q->phase);
    obj_int(o, "firmware", c ? c->firmware_id : 0);
    obj_str(o, "module", fw ? fw->module : NULL);
    obj_str(o, "version", fw ? fw->version : NULL);
    write_text(o, v, c);
    obj_str(o, "state", consent_state_name(q->state));
    obj_bool(o, "offered", q->offered);
    obj_time(o, "until", q->until);
    obj_int(o, "postponed", q->postponed);
    obj_int(o, "postponements_left", left > 0 ? left : 0);
    obj_str(o, "by", q->who);
    obj_time(o, "asked_at", q->asked_at);
    obj_time(o, "answered_at", q->answered_at);
}

struct items {
    struct sbuf *b;
    bool more;
};

static int history_one(void *arg, int64_t at, const char *state, const char *who, const char *text)
{
    struct items *x = arg;

    if (x->more)
        sbuf_add(x->b, ",", 1);
    x->more = true;
    struct obj o = obj_begin(x->b);
    obj_time(&o, "at", at);
    obj_str(&o, "state", state);
    obj_str(&o, "by", who);
    obj_str(&o, "text", text);
    obj_end(&o);
    return 0;
}

static int consent_json(struct sbuf *b, const struct view *v, const struct consent *q,
                        const struct campaign *c)
{
    struct items history = {.b = b};
    struct obj o = obj_begin(b);

    write_members(&o, v, q, c);
    obj_name(&o, "history");
    sbuf_add(b, "[", 1);
    int rc = consent_history(v->db, q->id, history_one, &history);
    sbuf_add(b, "]", 1);
    obj_end(&o);
    return rc;
}

/* Would a yes still lead to an offer, sooner or later? A device that got there by other ways has
 * nothing to ask its user any more. */
static bool is_moot(const struct view *v, const struct consent *q, const struct campaign *c)
{
    const struct firmware *fw = catalog_firmware(v->catalog, c->firmware_id);
    const struct update u = {.campaign_id = c->id,
                             .phase = q->phase,
                             .state = UPDATE_PLANNED,
                             .device_id = q->device_id};
    struct facts_load l;
    enum reason r = REASON_FIRMWARE_DISABLED;

    if (!fw || facts_load(v->db, &v->device, fw->module, clock_now_ms(), v->arena, &l) < 0)
        return true;
    r = decide_still(v->catalog, &l.facts, fw, &u, clock_now_ms());
    facts_done(&l);
    switch ((int)r) {
    case REASON_ELIGIBLE:
    case REASON_PACED:
    case REASON_WINDOW_CLOSED:
    case REASON_CAMPAIGN_PAUSED:
    case REASON_BATTERY_LOW:
    case REASON_SIGNAL_LOW:
    case REASON_NO_SPACE:
    case REASON_QUARANTINED:
        return false;
    default:
        return true;
    }
}

static bool is_pending(const struct view *v, const struct consent *q, const struct campaign *c)
{
    return c && c->consent.mode == CONSENT_APP &&
           (q->state == CONSENT_ASKED || q->state == CONSENT_POSTPONED) && !is_moot(v, q, c);
}

static int list_one(void *arg, const struct consent *q)
{
    struct view *v = arg;
    const struct campaign *c = catalog_campaign(v->catalog, q->campaign_id);
    int rc = look_up(v, q->device_id);

    if (rc < 0)
        return rc;
    if (!v->all && !is_pending(v, q, c))
        return 0;
    v->total++;
    if (q->id <= v->after)
        return 0;
    if (!list_row(v->l, q->id))
        return !list_wants_total(v->l);
    struct obj o = obj_begin(&v->l->b);
    write_members(&o, v, q, c);
    obj_end(&o);
    return 0;
}

static int find_device(struct http_request *r, struct device *ret)
{
    const struct call *c = call_of(r);
    int rc = device_by_key(c->db, c->who.project_id, http_param(r, "key"), http_arena(r), ret);

    if (rc == E_NOTFOUND)
        answer_not_found(r, "device");
    else if (rc < 0)
        http_fail(r, rc, NULL);
    return rc;
}

void consent_list_handle(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct view v = {
        .db = c->db, .accept = http_header(r, "Accept-Language"), .arena = http_arena(r)};
    struct list l;
    int all;
    (void)arg;

    if (input_query_bool(r, "all", &all) < 0 || find_device(r, &v.device) < 0 ||
        list_begin(r, &l) < 0)
        return;
    struct catalog *cat = catalog_cell_get(c->api->env.catalog);
    v.all = all == 1;
    v.catalog = cat;
    v.l = &l;
    v.after = l.after;
    /* All of them: what is pending shows when it is looked at. There are as many as campaigns. */
    int rc = consent_list_device(c->db, v.device.id, 0, INT32_MAX, list_one, &v);
    catalog_unref(cat);
    list_end(&l, rc, list_wants_total(&l) ? v.total : -1);
}

static void handle_campaign(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    const char *text;
    enum consent_state state = CONSENT_NONE;
    struct view v = {.db = c->db,
                     .accept = http_header(r, "Accept-Language"),
                     .arena = http_arena(r),
                     .all = true};
    struct campaign_status s;
    struct campaign x;
    struct list l;
    int64_t id;
    (void)arg;

    if (input_query_word(r, &consent_table, "state", &text) < 0 ||
        (text && consent_state_parse(text, &state) < 0)) /* the words are the same */
        return;
    if (input_id(r, "id", &id) < 0 || list_begin(r, &l) < 0)
        return;
    int rc = campaign_by_id(c->db, c->who.project_id, id, http_arena(r), &x, &s);
    if (rc == E_NOTFOUND) {
        sbuf_done(&l.b);
        answer_not_found(r, "campaign");
        return;
    }
    struct catalog *cat = catalog_cell_get(c->api->env.catalog);
    v.catalog = cat;
    v.l = &l;
    if (rc == 0)
        rc = consent_list_campaign(c->db, id, state, l.after, l.limit + 1, list_one, &v);
    catalog_unref(cat);
    list_end(&l, rc, list_wants_total(&l) ? consent_count(c->db, id, state) : -1);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct view v = {
        .db = c->db, .accept = http_header(r, "Accept-Language"), .arena = http_arena(r)};
    struct sbuf b = {.p = NULL};
    struct consent q = {.id = 0};
    char etag[48];
    int64_t id;
    (void)arg;

    if (input_id(r, "id", &id) < 0 || find_device(r, &v.device) < 0)
        return;
    struct catalog *cat = catalog_cell_get(c->api->env.catalog);
    v.catalog = cat;
    int rc = consent_by_id(c->db, id, &q);
    if (rc == 0 && q.device_id != v.device.id)
        rc = E_NOTFOUND;
    if (rc == 0)
        rc = consent_json(&b, &v, &q, catalog_campaign(cat, q.campaign_id));
    catalog_unref(cat);
    if (rc == E_NOTFOUND) {
        answer_not_found(r, "consent");
    } else if (rc < 0) {
        http_fail(r, rc, NULL);
    } else {
        etag_text(etag, 1, &b);
        answer_object(r, etag, &b);
    }
    sbuf_done(&b);
}

/* ---- what is said ---- */
struct said {
    bool lift;
    enum consent_answer answer;
    int64_t postpone_s;
    const char *accept;
};

static const char *who_of(struct write *w, const struct catalog *cat)
{
    const struct project_app *app = w->who.token_id ? NULL : catalog_app(cat, w->who.project_id);

    return app ? arena_printf(&w->a, "application %.60s", app->key)
               : arena_printf(&w->a, "token %lld", (long long)w->who.token_id);
}

static int find(struct write *w, struct db *db, struct view *v, struct consent *q)
{
    int rc = device_by_key(db, w->who.project_id, w->key, &w->a, &v->device);

    if (rc == E_NOTFOUND)
        return write_not_found(w, "device");
    if (rc == 0)
        rc = consent_by_id(db, w->id, q);
    if (rc == E_NOTFOUND || (rc == 0 && q->device_id != v->device.id))
        return write_not_found(w, "consent");
    return rc;
}

static int apply(struct write *w, struct db *db, struct view *v, struct consent *q)
{
    const struct said *said = w->ext;
    const char *who = who_of(w, v->catalog);
    struct campaign_status s = {.state = CAMPAIGN_ABORTED};
    struct campaign c;
    int rc = campaign_by_id(db, w->who.project_id, q->campaign_id, &w->a, &c, &s);

    if (rc == E_NOTFOUND) {
        w->status = 409;
        w->code = "campaign_ended";
        return fail(&w->fail, E_CONFLICT, "The campaign that asked has ended, and was deleted.");
    }
    if (rc == 0)
        rc = consent_json(&w->before, v, q, &c);
    if (rc < 0)
        return rc;
    rc = said->lift ? consent_lift(db, &c, s.state, q, who, w->now, &w->code, &w->fail)
                    : consent_answer(db, &c, s.state, q, said->answer, said->postpone_s, who,
                                     w->now, &w->code, &w->fail);
    if (rc == E_CONFLICT)
        w->status = 409;
    return rc < 0 ? rc : consent_json(&w->body, v, q, &c);
}

static int run_said(struct write *w, struct db *db)
{
    const struct said *said = w->ext;
    struct catalog *cat = catalog_cell_get(w->api->env.catalog);
    struct view v = {.db = db, .catalog = cat, .accept = said->accept, .arena = &w->a};
    struct consent q;
    int rc = find(w, db, &v, &q);

    if (rc == 0)
        rc = apply(w, db, &v, &q);
    catalog_unref(cat);
    return rc;
}

static void go(struct http_request *r, json_t *in, const struct said *said)
{
    struct str body = http_body(r);
    int64_t id;

    if (input_id(r, "id", &id) < 0) {
        json_decref(in);
        return;
    }
    struct write *w = write_new(r, run_said);
    struct said *own = arena_alloc(&w->a, sizeof(*own));
    *own = *said;
    own->accept = arena_strdup(&w->a, http_header(r, "Accept-Language"));
    w->ext = own;
    w->in = in;
    w->id = id;
    if (write_idempotent(w, r, body.p, body.n) == 0)
        write_go(w, r);
}

void consent_answer_handle(struct http_request *r, void *arg)
{
    json_t *in = input_object(r, arg);
    struct json_errors errs = {.count = 0};

    if (!in)
        return;
    const char *answer = json_get_str(in, "answer", "");
    const struct said said = {.answer = strcmp(answer, "confirm") == 0    ? CONSENT_CONFIRM
                                        : strcmp(answer, "postpone") == 0 ? CONSENT_POSTPONE
                                                                          : CONSENT_REFUSE,
                              .postpone_s = json_get_int(in, "postpone_s", 0)};
    if (said.postpone_s && said.answer != CONSENT_POSTPONE) {
        json_error_add(&errs, "/postpone_s", "not_allowed", "It goes with the answer postpone.");
        input_invalid(r, &errs);
        json_decref(in);
        return;
    }
    go(r, in, &said);
}

static void handle_lift(struct http_request *r, void *arg)
{
    (void)arg;
    go(r, NULL, &(struct said){.lift = true});
}

static const struct op op_list = {
    .summary = "What the device's user is asked and has not answered; all=1: everything",
    .out = &consent_table,
    .query = "limit|after|total|all",
    .status = 200,
    .list = true};
static const struct op op_get = {
    .summary = "One question with its history", .out = &consent_table, .status = 200};
static const struct op op_answer = {
    .summary = "The user's answer. After a yes the offer leaves at once, if the campaign lets it",
    .in = &consent_answer_table,
    .out = &consent_table,
    .status = 200};
static const struct op op_lift = {
    .summary = "Take a refusal back: the user is asked anew", .out = &consent_table, .status = 200};
static const struct op op_campaign = {.summary = "Whom a campaign asked, and what they said",
                                      .out = &consent_table,
                                      .query = "limit|after|total|state",
                                      .status = 200,
                                      .list = true};

#define PATH "/api/v1/devices/:key/consents"
const struct http_route consent_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, consent_list_handle, OP(op_list), VIEWER},
    {"GET", PATH "/:id", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"POST", PATH "/:id", HTTP_BODY_WHOLE, 65536, consent_answer_handle, OP(op_answer), OPERATOR},
    {"POST", PATH "/:id/lift", HTTP_BODY_WHOLE, 65536, handle_lift, OP(op_lift), OPERATOR},
    {"GET", "/api/v1/campaigns/:id/consents", HTTP_BODY_NONE, 0, handle_campaign, OP(op_campaign),
     VIEWER},
    {.method = NULL},
};
