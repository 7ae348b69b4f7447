/*
 * /api/v1/webhooks: who is told of events over HTTP. A secret is shown once, in the answer that
 * made it. Sending is the webhook room's; here are the rows, a test message and the list of what
 * was sent.
 */
#include "priv.h"

#include "event.h"
#include "webhook.h"

enum { TYPES_MAX = 1024, OLD_SECRET_MS = 24 * 3600 * 1000 };

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the webhook."},
    {"name", JK_STRING, 0, 0, 255, NULL, "", "What people read."},
    {"url", JK_STRING, JF_REQUIRED, 1, WEBHOOK_URL_MAX, NULL, NULL,
     "Where messages are posted to; https://, at a public address."},
    {"types", JK_STRINGS, 0, 0, 32, NULL, "[]",
     "Types of events such as update.failed, or all of a kind: update.*; empty: all."},
    {"enabled", JK_BOOL, 0, 0, 0, NULL, "true",
     "Enabled again it sends what is pending, and then what happens from then on."},
    {"secret", JK_STRING, JF_WRITE_ONLY | JF_CREATE_ONLY, 38, WEBHOOK_SECRET_MAX - 1, NULL, NULL,
     "whsec_ and base64 of 24 to 64 bytes. Absent: one is generated and shown once in the "
     "answer."},
    {"disabled_reason", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Why otad disabled it: no message arrived for 5 days, or 410 Gone; empty: it did not."},
    {"failing_since", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Since when no message has arrived; null when the last one did."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"updated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it last changed."},
    {"revision", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Counts changes; the ETag's number."},
};
const struct table webhook_table = {"Webhook", fields, ARRAY_LEN(fields)};

static const struct json_field delivery_fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the delivery."},
    {"message_id", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Header webhook-id; the same in every attempt."},
    {"type", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Type of the event, or webhook.test."},
    {"state", JK_ENUM, JF_READ_ONLY, 0, 0, "pending|delivered|failed", NULL, "Where it stands."},
    {"attempts", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "How often it was tried."},
    {"status", JK_INT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Status of the last answer; null when none came."},
    {"error", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "What went wrong in the last attempt."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"next_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "When it is tried next."},
    {"ended_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "null while pending."},
};
const struct table webhook_delivery_table = {"WebhookDelivery", delivery_fields,
                                             ARRAY_LEN(delivery_fields)};

/* ---- output ---- */
static void write_types(struct sbuf *b, const char *types)
{
    char word[64];

    sbuf_str(b, "[");
    for (const char *p = types; *p;) {
        size_t n = strcspn(p, ",");
        (void)str_fmt(word, sizeof(word), "%.*s", (int)n, p);
        if (p != types)
            sbuf_str(b, ",");
        json_add_string(b, word);
        p += n + (p[n] == ',');
    }
    sbuf_str(b, "]");
}

static void webhook_json(struct sbuf *b, const struct webhook *h)
{
    struct obj o = obj_begin(b);
    obj_int(&o, "id", h->id);
    obj_str(&o, "name", h->name);
    obj_str(&o, "url", h->url);
    obj_name(&o, "types");
    write_types(b, h->types);
    obj_bool(&o, "enabled", h->enabled);
    obj_str(&o, "disabled_reason", h->disabled_reason);
    obj_time(&o, "failing_since", h->failing_since);
    obj_time(&o, "created_at", h->created_at);
    obj_time(&o, "updated_at", h->updated_at);
    obj_int(&o, "revision", h->revision);
    obj_end(&o);
}

static int list_one(void *arg, const struct webhook *h)
{
    struct list *l = arg;
    if (!list_row(l, h->id))
        return 1;
    webhook_json(&l->b, h);
    return 0;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    int64_t project = c->who.project_id;
    struct list l;
    int enabled;
    (void)arg;
    if (input_query_bool(r, "enabled", &enabled) < 0 || list_begin(r, &l) < 0)
        return;
    int rc = webhook_list(c->db, project, enabled, l.after, l.limit + 1, list_one, &l);
    list_end(&l, rc, list_wants_total(&l) ? webhook_count(c->db, project, enabled) : -1);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct webhook h = {.revision = 0};
    struct sbuf b = {.p = NULL};
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    int rc = webhook_by_id(c->db, c->who.project_id, id, http_arena(r), &h);
    if (rc == 0)
        webhook_json(&b, &h);
    answer_read(r, rc, "webhook", h.revision, true, &b);
}

static int delivery_one(void *arg, const struct webhook_delivery *d)
{
    struct list *l = arg;
    if (!list_row(l, d->id))
        return 1;
    struct obj o = obj_begin(&l->b);
    obj_int(&o, "id", d->id);
    obj_str(&o, "message_id", d->message_id);
    obj_str(&o, "type", d->type);
    obj_str(&o, "state", d->state);
    obj_int(&o, "attempts", d->attempts);
    if (d->status)
        obj_int(&o, "status", d->status);
    else
        obj_raw(&o, "status", "null");
    obj_str(&o, "error", d->error);
    obj_time(&o, "created_at", d->created_at);
    obj_time(&o, "next_at", d->next_at);
    obj_time(&o, "ended_at", d->ended_at);
    obj_end(&o);
    return 0;
}

static void handle_deliveries(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct webhook h;
    const char *state;
    struct list l;
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    int rc = webhook_by_id(c->db, c->who.project_id, id, http_arena(r), &h);
    if (read_found(r, rc, "webhook") < 0 ||
        input_query_word(r, &webhook_delivery_table, "state", &state) < 0 || list_begin(r, &l) < 0)
        return;
    rc = webhook_deliveries(c->db, h.id, state, l.after, l.limit + 1, delivery_one, &l);
    list_end(&l, rc, list_wants_total(&l) ? webhook_delivery_count(c->db, h.id, state) : -1);
}

/* ---- changes ---- */
static int take_types(struct write *w, const json_t *types, const char **ret)
{
    struct sbuf b = {.p = NULL};
    struct fail f = {.rc = 0};
    const json_t *word;
    size_t i;
    int rc = 0;

    sbuf_str(&b, "");
    json_array_foreach(types, i, word)
    {
        const char *text = json_string_value(word);
        char at[32];
        (void)str_fmt(at, sizeof(at), "/types/%zu", i);
        if (!*text || strpbrk(text, ", ") || event_filter_check(text, &f) < 0)
            rc = write_invalid(w, at, "invalid", "%s",
                               f.text[0] ? f.text : "A type is one word such as update.failed.");
        sbuf_fmt(&b, "%s%s", i ? "," : "", text);
        f.text[0] = '\0';
    }
    if (b.n > TYPES_MAX)
        rc = write_invalid(w, "/types", "too_long", "All types together are too long.");
    *ret = arena_strdup(&w->a, b.p ? b.p : "");
    sbuf_done(&b);
    return rc;
}

static int take(struct write *w, struct webhook *h)
{
    const json_t *types = json_object_get(w->in, "types");
    const char *url = json_get_str(w->in, "url", NULL);
    bool plain = w->api->env.conf->webhooks_allow_private != 0;
    struct fail f = {.rc = 0};
    int rc = 0;

    h->name = json_get_str(w->in, "name", h->name);
    h->enabled = json_get_bool(w->in, "enabled", h->enabled);
    if (types)
        rc = take_types(w, types, &h->types);
    if (url && webhook_url_check(url, plain, &f) < 0)
        rc = write_invalid(w, "/url", "invalid", "%s", f.text);
    else if (url)
        h->url = url;
    return rc;
}

static int answer_with(struct write *w, struct db *db, int64_t id)
{
    struct webhook h;
    int rc = webhook_by_id(db, w->who.project_id, id, &w->a, &h);
    if (rc < 0)
        return rc;
    webhook_json(&w->body, &h);
    etag_text(w->etag, h.revision, &w->body);
    return 0;
}

static int run_create(struct write *w, struct db *db)
{
    const char *given = json_get_str(w->in, "secret", NULL);
    struct webhook h = {.project_id = w->who.project_id,
                        .name = "",
                        .types = "",
                        .enabled = true,
                        .secret = given ? given : w->secret,
                        .created_at = w->now};
    int rc = take(w, &h);
    if (given && !webhook_secret_ok(given))
        rc = write_invalid(w, "/secret", "invalid",
                           "A secret is whsec_ and base64 of 24 to 64 bytes.");
    if (rc < 0)
        return rc;
    rc = webhook_insert(db, &h, &w->fail);
    if (rc == E_LIMIT) {
        w->status = 409;
        w->code = "too_many_webhooks";
    }
    if (rc == 0)
        rc = answer_with(w, db, h.id);
    if (rc == 0)
        write_created(w, 0, "/api/v1/webhooks/%lld", (long long)h.id);
    return rc;
}

static void make_secret(struct write *w)
{
    char secret[WEBHOOK_SECRET_MAX];
    webhook_secret_new(secret);
    w->secret_name = "secret";
    w->secret = arena_strdup(&w->a, secret);
}

/* Of what makes a secret, unless the body brings one. */
static void handle_secret(struct http_request *r, void *arg)
{
    struct write *w = write_of(r, arg);
    if (!w)
        return;
    if (!json_get_str(w->in, "secret", NULL))
        make_secret(w);
    write_go(w, r);
}

static int find(struct write *w, struct db *db, struct webhook *h)
{
    int rc = write_found(w, webhook_by_id(db, w->who.project_id, w->id, &w->a, h), "webhook");
    if (rc == 0)
        webhook_json(&w->before, h);
    return rc < 0 ? rc : write_if_match(w, h->revision);
}

static int run_patch(struct write *w, struct db *db)
{
    struct webhook h;
    int rc = find(w, db, &h);
    if (rc == 0)
        rc = take(w, &h);
    h.updated_at = w->now;
    if (rc == 0)
        rc = webhook_update(db, &h);
    return rc < 0 ? rc : answer_with(w, db, w->id);
}

static int run_delete(struct write *w, struct db *db)
{
    struct webhook h;
    int rc = find(w, db, &h);
    w->status = 204;
    return rc < 0 ? rc : webhook_delete(db, w->id);
}

static int run_rotate(struct write *w, struct db *db)
{
    struct webhook h;
    int rc = find(w, db, &h);
    if (rc == 0)
        rc = webhook_rotate(db, w->id, w->secret, w->now + OLD_SECRET_MS, w->now);
    return rc < 0 ? rc : answer_with(w, db, w->id);
}

static int run_test(struct write *w, struct db *db)
{
    struct webhook h;
    int64_t delivery = 0;
    int rc = find(w, db, &h);
    if (rc < 0)
        return rc;
    if (!h.enabled) {
        w->status = 409;
        w->code = "webhook_disabled";
        return fail(&w->fail, E_CONFLICT, "The webhook is disabled.");
    }
    rc = webhook_test(db, h.id, w->now, &delivery);
    if (rc < 0)
        return rc;
    struct obj o = obj_begin(&w->body);
    obj_int(&o, "delivery", delivery);
    obj_end(&o);
    w->status = 202;
    (void)str_fmt(w->location, sizeof(w->location), "/api/v1/webhooks/%lld/deliveries",
                  (long long)h.id);
    return 0;
}

static const struct op op_list = {.summary = "List the webhooks",
                                  .out = &webhook_table,
                                  .query = LIST_QUERY "|enabled",
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {.summary = "One webhook", .out = &webhook_table, .status = 200};
static const struct op op_create = {
    .summary = "Make a webhook; a generated `secret` is shown in this answer alone",
    .in = &webhook_table,
    .out = &webhook_table,
    .status = 201,
    .run = run_create};
static const struct op op_patch = {.summary = "Change a webhook",
                                   .in = &webhook_table,
                                   .out = &webhook_table,
                                   .status = 200,
                                   .patch = true,
                                   .run = run_patch};
static const struct op op_delete = {
    .summary = "Delete a webhook with its deliveries", .status = 204, .run = run_delete};
static const struct op op_rotate = {
    .summary = "Make a new `secret`, shown in this answer alone; the one before it signs as well "
               "for a day",
    .out = &webhook_table,
    .status = 200,
    .run = run_rotate};
static const struct op op_test = {
    .summary = "Send a message of type webhook.test", .status = 202, .run = run_test};
static const struct op op_deliveries = {.summary = "What was sent, newest first",
                                        .out = &webhook_delivery_table,
                                        .query = LIST_QUERY "|state",
                                        .status = 200,
                                        .list = true};

#define PATH "/api/v1/webhooks"
const struct http_route webhook_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), ADMIN},
    {"POST", PATH, HTTP_BODY_WHOLE, 65536, handle_secret, OP(op_create), ADMIN},
    {"GET", PATH "/:id", HTTP_BODY_NONE, 0, handle_get, OP(op_get), ADMIN},
    {"PATCH", PATH "/:id", HTTP_BODY_WHOLE, 65536, write_handle, OP(op_patch), ADMIN},
    {"DELETE", PATH "/:id", HTTP_BODY_NONE, 0, write_handle, OP(op_delete), ADMIN},
    {"POST", PATH "/:id/rotate", HTTP_BODY_WHOLE, 65536, handle_secret, OP(op_rotate), ADMIN},
    {"POST", PATH "/:id/test", HTTP_BODY_WHOLE, 65536, write_handle, OP(op_test), ADMIN},
    {"GET", PATH "/:id/deliveries", HTTP_BODY_NONE, 0, handle_deliveries, OP(op_deliveries), ADMIN},
    {.method = NULL},
};
