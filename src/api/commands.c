/*
 * /api/v1/devices/{key}/commands and /attributes: something for one device. The request queues a
 * row; the core sends it, and with `wait` the answer is held until the device has replied, without
 * a thread that waits.
 */
#include "priv.h"

enum { WAIT_MAX_MS = 50000 };

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the command."},
    {"message_id", JK_INT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "The `id` that the device sees, and repeats in its reply; null for attributes."},
    {"method", JK_STRING, JF_REQUIRED | JF_NULLABLE, 1, 64, NULL, NULL,
     "Name of the command; null in what pushed attributes."},
    {"params", JK_OBJECT, 0, 0, 0, NULL, "{}", "Its parameters."},
    {"attributes", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Attributes that the device is to take over; null for commands."},
    {"wait", JK_INT, JF_WRITE_ONLY, 0, WAIT_MAX_MS, NULL, "0",
     "Hold the answer for so many milliseconds, or until there is a reply."},
    {"state", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL,
     "queued, sent (of attributes: the end), replied, timed_out or canceled."},
    {"attempts", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "How often it was tried."},
    {"reply", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "`params` of the device's reply."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was asked for."},
    {"sent_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL, "When it last left."},
    {"ended_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "When it was replied to, given up, or (attributes) sent. It is kept for a day from then."},
};
const struct table command_table = {"Command", fields, ARRAY_LEN(fields)};

static const struct json_field push_fields[] = {
    {"attributes", JK_OBJECT, JF_REQUIRED, 0, 0, NULL, NULL, "Names and values."},
};
const struct table attributes_push_table = {"AttributesPush", push_fields, ARRAY_LEN(push_fields)};

/* ---- answers ---- */
static void down_json(struct sbuf *b, const struct device_down *m)
{
    struct obj o = obj_begin(b);

    obj_int(&o, "id", m->id);
    if (m->method)
        obj_int(&o, "message_id", m->message_id);
    else
        obj_str(&o, "message_id", NULL);
    obj_str(&o, "method", m->method);
    obj_raw(&o, "params", m->method ? m->params : "null");
    obj_raw(&o, "attributes", m->method ? "null" : m->params);
    obj_str(&o, "state", m->state);
    obj_int(&o, "attempts", m->attempts);
    obj_raw(&o, "reply", m->reply ? m->reply : "null");
    obj_time(&o, "created_at", m->created_at);
    obj_time(&o, "sent_at", m->sent_at);
    obj_time(&o, "ended_at", m->ended_at);
    obj_end(&o);
}

/* 0, or the request is answered. */
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

static int list_one(void *arg, const struct device_down *m)
{
    struct list *l = arg;

    if (!list_row(l, m->id))
        return 1;
    down_json(&l->b, m);
    return 0;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct device d;
    struct list l;
    (void)arg;

    if (find_device(r, &d) < 0 || list_begin(r, &l) < 0)
        return;
    int rc = device_down_list(c->db, d.id, l.after, l.limit + 1, list_one, &l);
    list_end(&l, rc, list_wants_total(&l) ? device_down_count(c->db, d.id) : -1);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct device_down m;
    struct device d;
    char etag[48];
    int64_t id;
    (void)arg;

    if (input_id(r, "id", &id) < 0 || find_device(r, &d) < 0)
        return;
    int rc = device_down_by_id(c->db, d.id, id, http_arena(r), &m);
    if (rc == E_NOTFOUND) {
        answer_not_found(r, "command");
    } else if (rc < 0) {
        http_fail(r, rc, NULL);
    } else {
        down_json(&b, &m);
        etag_text(etag, 1, &b);
        answer_object(r, etag, &b);
    }
    sbuf_done(&b);
}

/* ---- asking ---- */
static int refuse(struct write *w, const char *code, const char *text)
{
    w->status = 409;
    w->code = code;
    return fail(&w->fail, E_CONFLICT, "%s", text);
}

static int run_down(struct write *w, struct db *db)
{
    const struct down_ask *ask = w->ext;
    struct device_type type;
    struct device d;
    int rc = device_by_key(db, w->who.project_id, w->key, &w->a, &d);

    if (rc == E_NOTFOUND)
        return write_not_found(w, "device");
    if (rc == 0 && !d.enabled)
        return refuse(w, "device_disabled", "The device is not enabled.");
    if (rc == 0)
        rc = device_type_by_id(db, d.type_id, &w->a, &type);
    struct device_down m = {
        .device_id = d.id, .method = ask->method, .params = ask->params, .created_at = w->now};
    if (rc == 0 && m.method)
        rc = update_next_id(db, &m.message_id);
    if (rc == 0)
        rc = device_down_insert(db, &m, &type);
    if (rc == E_LIMIT) {
        w->status = 429;
        w->code = "queue_full";
        return fail(&w->fail, rc, "%d messages wait for this device already.", DEVICE_DOWN_MAX);
    }
    if (rc < 0)
        return rc;
    w->id = m.id;
    if (ask->eztcloud) {
        sbuf_str(&w->body, "{\"result\":0}");
        return 0;
    }
    down_json(&w->body, &m);
    write_created(w, 0, "/api/v1/devices/%s/commands/%lld", d.key, (long long)m.id);
    w->status = 202;
    return 0;
}

static void woke(void *arg) /* core thread */
{
    write_resume(arg);
}

static bool committed(struct write *w) /* core thread */
{
    const struct down_ask *ask = w->ext;
    const struct api_env *env = &w->api->env;

    if (!env->down_queued)
        return false;
    env->down_queued(env->core, w->id, ask->wait_ms, ask->wait_ms ? woke : NULL, w);
    return ask->wait_ms > 0;
}

/* What has become of it meanwhile. */
static void look_again(struct write *w, struct http_request *r, int rc)
{
    const struct down_ask *ask = w->ext;
    struct device_down m;

    if (!r || rc < 0 || w->replayed || !ask->wait_ms || !call_of(r)->db)
        return;
    if (device_down_by_id(call_of(r)->db, 0, w->id, &w->a, &m) < 0)
        return;
    w->body.n = 0;
    down_json(&w->body, &m);
    w->status = strcmp(m.state, "replied") == 0 ? 200 : 202;
}

/* Known to be away: it, or the gateway that leads to it. */
static bool is_offline(struct http_request *r, const char *key)
{
    const struct call *c = call_of(r);
    struct device_route route;
    struct device d;

    if (device_by_key(c->db, c->who.project_id, key, http_arena(r), &d) < 0 || !d.enabled ||
        device_route(c->db, d.id, http_arena(r), &route) < 0)
        return false;
    if (c->api->env.online && c->api->env.online(c->api->env.core, route.gateway) == 0)
        return true;
    return d.gateway_id && d.online == 0;
}

void down_go(struct http_request *r, const struct down_ask *ask)
{
    struct str body = http_body(r);

    if (strlen(ask->params) > DEVICE_DOWN_BYTES_MAX) {
        http_problem(r, 413, "too_long", NULL, "A message to a device has at most %d bytes.",
                     DEVICE_DOWN_BYTES_MAX);
        return;
    }
    if (is_offline(r, http_param(r, "key"))) {
        http_problem(r, 409, "device_offline", NULL, "The device is not connected.");
        return;
    }
    struct write *w = write_new(r, run_down);
    struct down_ask *own = arena_alloc(&w->a, sizeof(*own));
    *own = *ask;
    own->method = arena_strdup(&w->a, ask->method);
    own->params = arena_strdup(&w->a, ask->params);
    w->ext = own;
    w->committed = committed;
    w->after = look_again;
    if (write_idempotent(w, r, body.p, body.n) == 0)
        write_go(w, r);
}

static void handle_command(struct http_request *r, void *arg)
{
    AUTO(json_free) json_t *in = input_object(r, arg);
    struct json_errors errs = {.count = 0};

    if (!in)
        return;
    if (!json_get_str(in, "method", NULL)) {
        json_error_add(&errs, "/method", "required", "A command has a method.");
        input_invalid(r, &errs);
        return;
    }
    const json_t *params = json_object_get(in, "params");
    AUTO(free) char *text = params ? json_text(params) : xstrdup("{}");
    down_go(r, &(struct down_ask){.method = json_get_str(in, "method", NULL),
                                  .params = text,
                                  .wait_ms = json_get_int(in, "wait", 0)});
}

static void handle_attributes(struct http_request *r, void *arg)
{
    AUTO(json_free) json_t *in = input_object(r, arg);
    struct json_errors errs = {.count = 0};

    if (!in)
        return;
    const json_t *attributes = json_object_get(in, "attributes");
    if (json_object_size(attributes) == 0) {
        json_error_add(&errs, "/attributes", "too_short", "There is no attribute in it.");
        input_invalid(r, &errs);
        return;
    }
    AUTO(free) char *text = json_text(attributes);
    down_go(r, &(struct down_ask){.params = text});
}

static const struct op op_list = {
    .summary = "Commands and attributes that were asked for, of the last day",
    .out = &command_table,
    .query = LIST_QUERY,
    .status = 200,
    .list = true};
static const struct op op_get = {
    .summary = "One command, with its reply", .out = &command_table, .status = 200};
static const struct op op_command = {
    .summary = "Send a command to the device. With `wait` the answer is 200 when the reply came in "
               "time. It is sent again while there is no reply, as the device type says",
    .in = &command_table,
    .out = &command_table,
    .status = 202};
static const struct op op_attributes = {.summary = "Tell the device to take over attributes",
                                        .in = &attributes_push_table,
                                        .out = &command_table,
                                        .status = 202};

#define PATH "/api/v1/devices/:key"
const struct http_route command_routes[] = {
    {"GET", PATH "/commands", HTTP_BODY_NONE, 0, handle_list, OP(op_list), VIEWER},
    {"POST", PATH "/commands", HTTP_BODY_WHOLE, 65536, handle_command, OP(op_command), OPERATOR},
    {"GET", PATH "/commands/:id", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"POST", PATH "/attributes", HTTP_BODY_WHOLE, 65536, handle_attributes, OP(op_attributes),
     OPERATOR},
    {.method = NULL},
};
