/*
 * /api/v1/device-types: product models. A new type gets one rule by default, which the catalog
 * makes with it.
 */
#include "priv.h"

#define STAGE 60, 365 * DAY_S, NULL

static const struct json_field fields[] = {
    {"key", JK_KEY, JF_REQUIRED | JF_CREATE_ONLY, 1, 64, NULL, NULL, "Unique in the project."},
    {"name", JK_STRING, 0, 0, 255, NULL, "the key", "What people read."},
    {"description", JK_TEXT, 0, 0, 4096, NULL, "", "Free text."},
    {"version_scheme", JK_ENUM, 0, 0, 0, "auto|semver|opaque", "auto",
     "How versions compare; `opaque` goes by order of upload."},
    {"timezone", JK_STRING, 0, 1, 64, NULL, "UTC", "IANA name; holds for devices without one."},
    {"attributes_response", JK_BOOL, 0, 0, 0, NULL, "false",
     "Answer each attributes message of the device protocol."},
    {"event_response", JK_BOOL, 0, 0, 0, NULL, "false",
     "Answer each event message of the device protocol; of ThingsCloud each reply, too."},
    {"accept_timeout_s", JK_INT, 0, STAGE, "86400", "From the offer to a sign of the device."},
    {"download_timeout_s", JK_INT, 0, STAGE, "7200", "For the download."},
    {"install_timeout_s", JK_INT, 0, STAGE, "3600", "For the installation."},
    {"verify_timeout_s", JK_INT, 0, STAGE, "3600", "From the installation to the new version."},
    {"attempts", JK_INT, 0, 1, 100, NULL, "3", "Attempts per update."},
    {"attempts_per_day", JK_INT, 0, 1, 1000, NULL, "6",
     "Attempts per device and day; then it is quarantined for a day."},
    {"flaps_per_day", JK_INT, 0, 1, 1000, NULL, "3",
     "So often in a day a device may fall back behind a version that it was verified to run; then "
     "it is quarantined for a day."},
    {"backoff_s", JK_INT, 0, 0, 30 * DAY_S, NULL, "600", "After a failure; doubles."},
    {"battery_attribute", JK_STRING, 0, 1, 64, NULL, "battery", "Where the battery level stands."},
    {"signal_attribute", JK_STRING, 0, 1, 64, NULL, "signal", "Where the signal strength stands."},
    {"space_attribute", JK_STRING, 0, 1, 64, NULL, "free_space", "Where the free space stands."},
    {"auto_create", JK_BOOL, 0, 0, 0, NULL, "false",
     "A gateway that names this type makes its device by itself."},
    {"max_children", JK_INT, 0, 0, 100000, NULL, "1000",
     "Of a gateway: it makes no further device when so many stand behind it."},
    {"parallel_updates", JK_INT, 0, 1, 100000, NULL, "1",
     "Of a gateway: how many devices behind it are updated, or have an offer of the last ten "
     "minutes, at a time."},
    {"progress", JK_OBJECT, JF_NULLABLE, 0, 0, NULL, NULL,
     "How its devices tell in words of their own how an update goes: {attribute or event, "
     "state_field, percent_field, text_field, id_field, module_field, log_field, states: {WORD: "
     "state, …}}. "
     "Fields name members of the event's params (state_field: `state` unless told), or of the "
     "attribute's object; without state_field the attribute is the state, and the others are "
     "attributes beside it. A state is deferred, accepted, downloading, downloaded, installing, "
     "rebooting, installed, failed, rejected, rolled_back or none."},
    {"topics", JK_ARRAY, 0, 0, 0, NULL, "[]",
     "Foreign topics that devices of this type use, at most 16: [{topic, as, …}]. `topic` has one "
     "level {sn}, the device's serial number; `as` is the EZtCloud topic that it stands for: "
     "attributes, attributes_get, event_report, command_reply, command_send, attributes_push, "
     "attributes_get_response, attributes_response, event_response. attributes: `fields` {name: "
     "path in the payload} or `text`, the attribute that the whole payload is. event_report: "
     "`event`, its name, and `fields`, its params. command_reply: `fields` with id. command_send: "
     "`payload`, a template with places {params.url}, and `method` (otaUpgrade)."},
    {"down_interval_ms", JK_INT, 0, 0, 60000, NULL, "2000",
     "Between two commands or attributes that somebody asked for."},
    {"reply_wait_ms", JK_INT, 0, 100, 600000, NULL, "30000",
     "A command that is not replied to in this time is sent again."},
    {"reply_retries", JK_INT, 0, 0, 10, NULL, "2", "How often it is sent again."},
    {"offline_delay_s", JK_INT, 0, 1, DAY_S, NULL, "300",
     "A device that was silent, or gone from the broker, for so long is taken for offline."},
    {"gateway", JK_BOOL, 0, 0, 0, NULL, "false",
     "Its devices are gateways: ThingsCloud's certificate tells them so. One with devices behind "
     "it "
     "is told in any case."},
    {"confirmation", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "What waits for a second person: {action, body, asked_by, asked_at, expires_at}. Not in "
     "lists."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"updated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it last changed."},
    {"revision", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Counts changes; the ETag's number."},
};
const struct table type_table = {"DeviceType", fields, ARRAY_LEN(fields)};

static const char *const schemes[] = {
    [VERSION_AUTO] = "auto", [VERSION_SEMVER] = "semver", [VERSION_OPAQUE] = "opaque"};

static struct confirm_of request_of(const struct device_type *t)
{
    return (struct confirm_of){"device_type", t->project_id, t->id, t->revision, NULL};
}

/* db NULL: in a list. */
static void type_json(struct sbuf *b, struct db *db, const struct device_type *t)
{
    const struct confirm_of of = request_of(t);
    struct obj o = obj_begin(b);
    obj_str(&o, "key", t->key);
    obj_str(&o, "name", t->name);
    obj_str(&o, "description", t->description);
    obj_str(&o, "version_scheme", schemes[t->scheme]);
    obj_str(&o, "timezone", t->timezone);
    obj_bool(&o, "attributes_response", t->attributes_response);
    obj_bool(&o, "event_response", t->event_response);
    obj_int(&o, "accept_timeout_s", t->accept_timeout_s);
    obj_int(&o, "download_timeout_s", t->download_timeout_s);
    obj_int(&o, "install_timeout_s", t->install_timeout_s);
    obj_int(&o, "verify_timeout_s", t->verify_timeout_s);
    obj_int(&o, "attempts", t->attempts);
    obj_int(&o, "attempts_per_day", t->attempts_per_day);
    obj_int(&o, "flaps_per_day", t->flaps_per_day);
    obj_int(&o, "backoff_s", t->backoff_s);
    obj_str(&o, "battery_attribute", t->battery_attribute);
    obj_str(&o, "signal_attribute", t->signal_attribute);
    obj_str(&o, "space_attribute", t->space_attribute);
    obj_bool(&o, "auto_create", t->auto_create);
    obj_int(&o, "max_children", t->max_children);
    obj_int(&o, "parallel_updates", t->parallel_updates);
    obj_raw(&o, "progress", t->progress_text ? t->progress_text : "null");
    obj_raw(&o, "topics", t->topics_text ? t->topics_text : "[]");
    obj_int(&o, "down_interval_ms", t->down_interval_ms);
    obj_int(&o, "reply_wait_ms", t->reply_wait_ms);
    obj_int(&o, "reply_retries", t->reply_retries);
    obj_int(&o, "offline_delay_s", t->offline_delay_s);
    obj_bool(&o, "gateway", t->gateway);
    if (db && confirm_json(&o, db, &of) < 0)
        obj_str(&o, "confirmation", NULL); /* as if there were none: nothing hangs on it */
    obj_time(&o, "created_at", t->created_at);
    obj_time(&o, "updated_at", t->updated_at);
    obj_int(&o, "revision", t->revision);
    obj_end(&o);
}

static int take_progress(struct write *w, struct device_type *t)
{
    const json_t *in = json_object_get(w->in, "progress");

    if (!in)
        return 0;
    t->progress_text = NULL;
    if (json_is_null(in))
        return 0;
    AUTO(free) char *text = json_text(in);
    t->progress_text = arena_strdup(&w->a, text);
    return progress_check(in, "/progress", &w->errs);
}

static int take_topics(struct write *w, struct db *db, struct device_type *t)
{
    const json_t *topics = json_object_get(w->in, "topics");
    struct type_topics parsed;

    if (!topics)
        return 0;
    int rc = type_topics_parse(topics, &w->a, &parsed, &w->errs);
    if (rc == 0)
        rc = device_topics_clash(db, t->project_id, t->id, &parsed, &w->errs);
    return rc < 0 ? rc : strings_text(topics, &w->a, &t->topics_text);
}

/* Members of the request over what *t holds. */
static int type_take(struct write *w, struct db *db, struct device_type *t)
{
    const json_t *in = w->in;
    const char *scheme = json_get_str(in, "version_scheme", schemes[t->scheme]);

    t->name = json_get_str(in, "name", t->name);
    t->description = json_get_str(in, "description", t->description);
    t->timezone = json_get_str(in, "timezone", t->timezone);
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (strcmp(scheme, schemes[i]) == 0)
            t->scheme = (enum version_scheme)i;
    t->attributes_response = json_get_bool(in, "attributes_response", t->attributes_response);
    t->event_response = json_get_bool(in, "event_response", t->event_response);
    t->accept_timeout_s = json_get_int(in, "accept_timeout_s", t->accept_timeout_s);
    t->download_timeout_s = json_get_int(in, "download_timeout_s", t->download_timeout_s);
    t->install_timeout_s = json_get_int(in, "install_timeout_s", t->install_timeout_s);
    t->verify_timeout_s = json_get_int(in, "verify_timeout_s", t->verify_timeout_s);
    t->attempts = json_get_int(in, "attempts", t->attempts);
    t->attempts_per_day = json_get_int(in, "attempts_per_day", t->attempts_per_day);
    t->flaps_per_day = json_get_int(in, "flaps_per_day", t->flaps_per_day);
    t->backoff_s = json_get_int(in, "backoff_s", t->backoff_s);
    t->battery_attribute = json_get_str(in, "battery_attribute", t->battery_attribute);
    t->signal_attribute = json_get_str(in, "signal_attribute", t->signal_attribute);
    t->space_attribute = json_get_str(in, "space_attribute", t->space_attribute);
    t->auto_create = json_get_bool(in, "auto_create", t->auto_create);
    t->max_children = json_get_int(in, "max_children", t->max_children);
    t->parallel_updates = json_get_int(in, "parallel_updates", t->parallel_updates);
    t->down_interval_ms = json_get_int(in, "down_interval_ms", t->down_interval_ms);
    t->reply_wait_ms = json_get_int(in, "reply_wait_ms", t->reply_wait_ms);
    t->reply_retries = json_get_int(in, "reply_retries", t->reply_retries);
    t->offline_delay_s = json_get_int(in, "offline_delay_s", t->offline_delay_s);
    t->gateway = json_get_bool(in, "gateway", t->gateway);
    if (!timezone_is_known(t->timezone))
        return write_invalid(
            w, "/timezone", "invalid",
            "This time zone is not known here; an IANA name such as Asia/Shanghai is.");
    int rc = take_progress(w, t);
    return rc < 0 ? rc : take_topics(w, db, t);
}

static int list_one(void *arg, const struct device_type *t)
{
    struct list *l = arg;
    if (!list_row(l, t->id))
        return 1;
    type_json(&l->b, NULL, t);
    return 0;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct list l;
    (void)arg;
    if (list_begin(r, &l) < 0)
        return;
    int rc = device_type_list(c->db, c->who.project_id, l.after, l.limit + 1, list_one, &l);
    list_end(&l, rc,
             list_wants_total(&l) ? catalog_count(c->db, "device_types", c->who.project_id) : -1);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct device_type t = {.revision = 0};
    struct sbuf b = {.p = NULL};
    (void)arg;
    int rc = device_type_by_key(c->db, c->who.project_id, http_param(r, "key"), http_arena(r), &t);
    if (rc == 0)
        type_json(&b, c->db, &t);
    answer_read(r, rc, "device type", t.revision, true, &b); /* the confirmation moves */
}

static int run_create(struct write *w, struct db *db)
{
    struct device_type t = device_type_defaults;
    t.project_id = w->who.project_id;
    t.key = t.name = json_get_str(w->in, "key", "");
    t.created_at = w->now;
    int rc = type_take(w, db, &t);
    if (rc == 0)
        rc = device_type_insert(db, &t, &w->fail);
    if (rc == 0)
        rc = device_type_by_id(db, t.id, &w->a, &t);
    if (rc < 0)
        return rc;
    type_json(&w->body, db, &t);
    write_created(w, t.revision, "/api/v1/device-types/%s", t.key);
    return 0;
}

static int find(struct write *w, struct db *db, struct device_type *t)
{
    int rc =
        write_found(w, device_type_by_key(db, w->who.project_id, w->key, &w->a, t), "device type");
    if (rc == 0)
        type_json(&w->before, db, t);
    return rc < 0 ? rc : write_if_match(w, t->revision);
}

static int change(struct write *w, struct db *db, const char *action UNUSED)
{
    struct device_type t;
    int rc = device_type_by_key(db, w->who.project_id, w->key, &w->a, &t);
    if (rc == 0)
        rc = type_take(w, db, &t);
    if (rc < 0)
        return rc;
    t.updated_at = w->now;
    /* what devices may do at the broker */
    w->credentials = json_object_get(w->in, "topics") != NULL;
    return device_type_update(db, &t, &w->fail);
}

static int answer_with(struct write *w, struct db *db)
{
    struct device_type t;
    int rc = device_type_by_key(db, w->who.project_id, w->key, &w->a, &t);
    if (rc < 0)
        return rc;
    type_json(&w->body, db, &t);
    etag_text(w->etag, t.revision, &w->body);
    return 0;
}

/* By another order of versions what is old becomes new, for all of the type at once. */
static int run_patch(struct write *w, struct db *db)
{
    struct device_type t;
    int rc = find(w, db, &t);
    if (rc < 0)
        return rc;
    const struct confirm_of of = request_of(&t);
    const char *scheme = json_get_str(w->in, "version_scheme", schemes[t.scheme]);
    rc = strcmp(scheme, schemes[t.scheme]) != 0 ? confirm_or_do(w, db, &of, "change", change)
                                                : change(w, db, "change");
    return rc < 0 ? rc : answer_with(w, db);
}

static int find_request(struct write *w, struct db *db, struct confirm_of *ret)
{
    struct device_type t;
    int rc = find(w, db, &t);
    if (rc < 0)
        return rc;
    *ret = request_of(&t);
    return 0;
}

static const struct confirm_how how = {find_request, change, answer_with};

static int run_confirm(struct write *w, struct db *db)
{
    return confirm_yes(w, db, &how);
}

static int run_deny(struct write *w, struct db *db)
{
    return confirm_no(w, db, &how);
}

static int run_delete(struct write *w, struct db *db)
{
    struct device_type t;
    int rc = find(w, db, &t);
    w->status = 204;
    if (rc == 0)
        rc = write_conflict(w, device_type_delete(db, t.id, &w->fail), "in_use");
    if (rc < 0)
        return rc;
    const struct confirm_of of = request_of(&t);
    return confirm_drop(db, &of); /* its number may come again */
}

static void handle_change(struct http_request *r, void *arg)
{
    struct write *w = write_of(r, arg);
    if (!w)
        return;
    /* what devices may do at the broker */
    w->credentials = w->in && json_object_get(w->in, "topics");
    write_go(w, r);
}

static const struct op op_list = {.summary = "List the device types",
                                  .out = &type_table,
                                  .query = LIST_QUERY,
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {.summary = "One device type", .out = &type_table, .status = 200};
static const struct op op_create = {
    .summary = "Make a device type; it gets one rule: event otaCheck, attribute version, module "
               "main",
    .in = &type_table,
    .out = &type_table,
    .status = 201,
    .run = run_create,
    .catalog = true};
static const struct op op_patch = {
    .summary = "Change a device type; 202: a second person has to confirm another version_scheme",
    .in = &type_table,
    .out = &type_table,
    .status = 200,
    .patch = true,
    .run = run_patch,
    .catalog = true};
static const struct op op_confirm = {
    .summary = "Do what somebody with another token asked for, as `confirmation` has it",
    .out = &type_table,
    .status = 200,
    .run = run_confirm,
    .catalog = true};
static const struct op op_deny = {.summary = "Drop what was asked for, whoever asked",
                                  .out = &type_table,
                                  .status = 200,
                                  .run = run_deny};
static const struct op op_delete = {.summary = "Delete a device type without devices and firmwares",
                                    .status = 204,
                                    .run = run_delete,
                                    .catalog = true};

#define PATH "/api/v1/device-types"
const struct http_route type_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), VIEWER},
    {"POST", PATH, HTTP_BODY_WHOLE, 65536, handle_change, OP(op_create), OPERATOR},
    {"GET", PATH "/:key", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"PATCH", PATH "/:key", HTTP_BODY_WHOLE, 65536, handle_change, OP(op_patch), OPERATOR},
    {"POST", PATH "/:key/confirm", HTTP_BODY_WHOLE, 65536, write_handle, OP(op_confirm), OPERATOR},
    {"POST", PATH "/:key/deny", HTTP_BODY_WHOLE, 65536, write_handle, OP(op_deny), OPERATOR},
    {"DELETE", PATH "/:key", HTTP_BODY_NONE, 0, write_handle, OP(op_delete), OPERATOR},
    {.method = NULL},
};
