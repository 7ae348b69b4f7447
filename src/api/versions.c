/*
 * What runs where: /api/v1/device-types/{key}/versions, how many devices of a type run which
 * version, now and over time; and /api/v1/devices/{key}/versions, what the modules of one device
 * ran, and since when. Read from counters and points; no device of the fleet is looked at.
 */
#include "priv.h"

static const struct json_field type_fields[] = {
    {"device_type", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "Key of the type."},
    {"module", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "The module that was asked about."},
    {"modules", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Modules of which devices reported a version."},
    {"versions", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "As it stands: {version, devices, disabled}, the most first; `devices` are the enabled ones. "
     "A hundred versions are counted by name, and those of firmwares."},
    {"other", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{devices, disabled} of all other versions."},
    {"devices", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Enabled devices that reported a version of the module."},
    {"disabled", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Disabled ones that did."},
    {"step", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "hour or day."},
    {"points", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{at, versions: {version: enabled devices}, other, disabled}: as it stood at the beginning of "
     "the hour (kept for 7 days) or day (400 days), UTC. 24 versions have a name. An hour in which "
     "otad did not run has no point."},
};
const struct table type_versions_table = {"TypeVersions", type_fields, ARRAY_LEN(type_fields)};

static const struct json_field device_fields[] = {
    {"module", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "The module."},
    {"version", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "What it ran."},
    {"since", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it first reported that."},
    {"until", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "When it reported another one; null: it runs this."},
};
const struct table device_versions_table = {"DeviceVersion", device_fields,
                                            ARRAY_LEN(device_fields)};

/* A list being written. */
struct items {
    struct sbuf *b;
    bool more;
};

static void separate(struct items *x)
{
    if (x->more)
        sbuf_add(x->b, ",", 1);
    x->more = true;
}

/* ---- a type ---- */
static int module_one(void *arg, const char *module)
{
    struct items *x = arg;
    separate(x);
    json_add_string(x->b, module);
    return 0;
}

struct fleet {
    struct items items;
    int64_t devices, disabled, other, other_disabled;
};

static int version_one(void *arg, const char *version, int64_t enabled, int64_t disabled)
{
    struct fleet *x = arg;
    x->devices += enabled;
    x->disabled += disabled;
    if (!*version) {
        x->other = enabled;
        x->other_disabled = disabled;
        return 0;
    }
    separate(&x->items);
    struct obj o = obj_begin(x->items.b);
    obj_str(&o, "version", version);
    obj_int(&o, "devices", enabled);
    obj_int(&o, "disabled", disabled);
    obj_end(&o);
    return 0;
}

static int point_one(void *arg, int64_t at, const char *members)
{
    struct items *x = arg;
    separate(x);
    struct obj o = obj_begin(x->b);
    obj_time(&o, "at", at);
    sbuf_add(x->b, ",", 1);
    sbuf_str(x->b, members);
    obj_end(&o);
    return 0;
}

struct ask {
    const char *module;
    int64_t step_s, from, to;
};

static int read_ask(struct http_request *r, struct ask *ret)
{
    const char *module = http_query(r, "module"), *step = http_query(r, "step");
    bool is_day = !step || strcmp(step, "day") == 0;
    *ret = (struct ask){.module = module && *module ? module : "main",
                        .step_s = is_day ? DEVICE_POINTS_DAY : DEVICE_POINTS_HOUR};
    if (!is_day && strcmp(step, "hour") != 0) {
        http_problem(r, 400, "invalid_parameter", NULL,
                     "The query parameter 'step' takes hour or day.");
        return E_PROTO;
    }
    return input_query_time(r, "from", 0, &ret->from) < 0 ||
                   input_query_time(r, "to", INT64_MAX, &ret->to) < 0
               ? E_PROTO
               : 0;
}

static int type_json(struct sbuf *b, struct db *db, const struct device_type *t,
                     const struct ask *ask)
{
    struct items modules = {.b = b}, points = {.b = b};
    struct fleet fleet = {.items = {.b = b}};
    struct obj o = obj_begin(b);

    obj_str(&o, "device_type", t->key);
    obj_str(&o, "module", ask->module);
    obj_raw(&o, "modules", "[");
    int rc = device_fleet_modules(db, t->id, module_one, &modules);
    sbuf_add(b, "]", 1);
    obj_raw(&o, "versions", "[");
    if (rc == 0)
        rc = device_fleet(db, t->id, ask->module, version_one, &fleet);
    sbuf_add(b, "]", 1);
    obj_name(&o, "other");
    struct obj other = obj_begin(b);
    obj_int(&other, "devices", fleet.other);
    obj_int(&other, "disabled", fleet.other_disabled);
    obj_end(&other);
    obj_int(&o, "devices", fleet.devices);
    obj_int(&o, "disabled", fleet.disabled);
    obj_str(&o, "step", ask->step_s == DEVICE_POINTS_DAY ? "day" : "hour");
    obj_raw(&o, "points", "[");
    if (rc == 0)
        rc = device_points(db, t->id, ask->module, ask->step_s, ask->from, ask->to, point_one,
                           &points);
    sbuf_add(b, "]", 1);
    obj_end(&o);
    return rc;
}

static void answer(struct http_request *r, int rc, const char *what, struct sbuf *b)
{
    if (rc == E_NOTFOUND)
        answer_not_found(r, what);
    else if (rc < 0)
        http_fail(r, rc, NULL);
    else
        http_reply(r, 200, "application/json", b->p, b->n);
    sbuf_done(b);
}

static void handle_type(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct device_type t;
    struct ask ask;
    (void)arg;
    if (read_ask(r, &ask) < 0)
        return;
    int rc = db_begin(c->db); /* one look at the counters */
    if (rc == 0)
        rc = device_type_by_key(c->db, c->who.project_id, http_param(r, "key"), http_arena(r), &t);
    if (rc == 0)
        rc = type_json(&b, c->db, &t, &ask);
    db_rollback(c->db);
    answer(r, rc, "device type", &b);
}

/* ---- a device ---- */
struct past {
    struct items items;
    struct db *db;
    int64_t device_id, until;
    const char *module; /* that was asked for; NULL = each */
    const char *of;     /* the one that is written */
};

static int past_one(void *arg, const char *version, int64_t since)
{
    struct past *x = arg;
    separate(&x->items);
    struct obj o = obj_begin(x->items.b);
    obj_str(&o, "module", x->of);
    obj_str(&o, "version", version);
    obj_time(&o, "since", since);
    obj_time(&o, "until", x->until);
    obj_end(&o);
    x->until = since;
    return 0;
}

static int present_one(void *arg, const char *module, const char *version, int64_t reported_at)
{
    struct past *x = arg;
    if (x->module && strcmp(x->module, module) != 0)
        return 0;
    x->of = module;
    x->until = 0;
    (void)past_one(x, version, reported_at);
    return device_version_past(x->db, x->device_id, module, past_one, x);
}

static void handle_device(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct past x = {.items = {.b = &b}, .db = c->db, .module = http_query(r, "module")};
    struct device d;
    (void)arg;
    int rc = db_begin(c->db);
    if (rc == 0)
        rc = device_by_key(c->db, c->who.project_id, http_param(r, "key"), http_arena(r), &d);
    sbuf_str(&b, "{\"items\":[");
    if (rc == 0) {
        x.device_id = d.id;
        rc = device_versions(c->db, d.id, present_one, &x);
    }
    sbuf_str(&b, "],\"next\":null}"); /* so many are kept that they need no pages */
    db_rollback(c->db);
    answer(r, rc, "device", &b);
}

static const struct op op_type = {
    .summary = "How many devices of the type run which version of `module` (main), now and at the "
               "beginning of each hour or day (`step`)",
    .out = &type_versions_table,
    .query = "module|step|from|to",
    .status = 200};
static const struct op op_device = {
    .summary = "What the device's modules ran, the newest first; the last 20 changes of each",
    .out = &device_versions_table,
    .query = "module",
    .status = 200,
    .list = true};

const struct http_route version_routes[] = {
    {"GET", "/api/v1/device-types/:key/versions", HTTP_BODY_NONE, 0, handle_type, OP(op_type),
     VIEWER},
    {"GET", "/api/v1/devices/:key/versions", HTTP_BODY_NONE, 0, handle_device, OP(op_device),
     VIEWER},
    {.method = NULL},
};
