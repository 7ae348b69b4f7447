/*
 * /api/v1/devices: registered units, with what they reported. Passwords are hashed on the http
 * thread; the core thread only sees the hash. Reading one device is the busiest route of the API
 * and is kept free of detours.
 */
#include "priv.h"

static const struct json_field fields[] = {
    {"key", JK_KEY, JF_REQUIRED | JF_CREATE_ONLY, 1, DEVICE_KEY_MAX, NULL, NULL,
     "MQTT username; unique in the whole installation."},
    {"device_type", JK_KEY, JF_REQUIRED | JF_CREATE_ONLY, 1, 64, NULL, NULL, "Key of its type."},
    {"name", JK_STRING, 0, 0, 255, NULL, "", "What people read."},
    {"sn", JK_STRING, 0, 0, 128, NULL, "",
     "Serial number. Foreign topics of its type are the device's while no other one of the type "
     "has "
     "the same."},
    {"tags", JK_STRINGS, 0, 0, 64, NULL, "[]", "Words to find it by, without commas."},
    {"timezone", JK_STRING, 0, 0, 64, NULL, "", "IANA name; empty: that of its type."},
    {"enabled", JK_BOOL, 0, 0, 0, NULL, "true", "A device that is not gets nothing."},
    {"gateway", JK_KEY, JF_NULLABLE, 1, DEVICE_KEY_MAX, NULL, "null",
     "Key of the gateway that it stands behind."},
    {"address", JK_STRING, JF_NULLABLE, 1, (int64_t)4 * DEVICE_ADDRESS_MAX, NULL, "the key",
     "How its gateway calls it; null without a gateway."},
    {"password", JK_STRING, JF_WRITE_ONLY, 8, 128, NULL, NULL,
     "For the broker. Absent at creation: one is generated and shown once in the answer, but "
     "none for a device behind a gateway."},
    {"attributes", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL, "What it last reported."},
    {"versions", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL, "By module: {version, reported_at}."},
    {"online", JK_BOOL, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Whether it is connected; null when presence is not known."},
    {"last_seen_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "When it last sent something."},
    {"quarantined_until", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "It gets no update before; null when it is not quarantined."},
    {"quarantine", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Why: {cause, text}; cause is attempts or flapping."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"updated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When an operator last changed it."},
    {"revision", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Counts changes by operators; begins the ETag."},
};
const struct table device_table = {"Device", fields, ARRAY_LEN(fields)};

enum { PASSWORD_BYTES = 18 }; /* 24 characters */

/* ---- output ---- */
static int version_row(void *arg, const char *module, const char *version, int64_t reported_at)
{
    struct obj *o = arg;
    obj_name(o, module);
    struct obj v = obj_begin(o->b);
    obj_str(&v, "version", version);
    obj_time(&v, "reported_at", reported_at);
    obj_end(&v);
    return 0;
}

static void write_type_and_gateway(struct obj *o, struct db *db, const struct catalog *c,
                                   const struct device *d)
{
    const struct device_type *t = catalog_type(c, d->type_id);
    struct device_type row;
    struct device gateway = {.key = NULL};
    struct arena a;

    arena_init(&a);
    if (!t && device_type_by_id(db, d->type_id, &a, &row) == 0)
        t = &row;
    obj_str(o, "device_type", t ? t->key : NULL);
    if (d->gateway_id && device_by_id(db, d->gateway_id, &a, &gateway) < 0)
        gateway.key = NULL;
    obj_str(o, "gateway", gateway.key);
    obj_str(o, "address", d->gateway_id ? d->address : NULL);
    arena_done(&a);
}

/* What stands behind a gateway is there by the gateway's word, as long as that is there itself. */
static int online_of(struct db *db, const struct device *d, const struct api_env *env)
{
    int online = env->online ? env->online(env->core, d->key) : -1;
    struct device_route route;
    struct arena a;

    if (!d->gateway_id || online == 1)
        return online;
    arena_init(&a);
    bool away = env->online && device_route(db, d->gateway_id, &a, &route) == 0 &&
                env->online(env->core, route.gateway) == 0;
    arena_done(&a);
    return away ? 0 : d->online;
}

static int write_quarantine(struct obj *o, struct db *db, const struct device *d, bool quarantined)
{
    struct device_quarantine why = {"", ""};
    int rc = quarantined ? device_quarantine_why(db, d->id, &why) : 0;

    obj_time(o, "quarantined_until", quarantined ? d->quarantined_until : 0);
    if (!why.cause[0]) {
        obj_raw(o, "quarantine", "null");
        return rc;
    }
    obj_name(o, "quarantine");
    struct obj in = obj_begin(o->b);
    obj_str(&in, "cause", why.cause);
    obj_str(&in, "text", why.text);
    obj_end(&in);
    return rc;
}

int device_write_json(struct sbuf *b, struct db *db, const struct catalog *c,
                      const struct device *d, const struct api *api)
{
    int online = online_of(db, d, &api->env);
    struct obj o = obj_begin(b), versions;
    bool quarantined = d->quarantined_until > clock_now_ms();

    obj_str(&o, "key", d->key);
    write_type_and_gateway(&o, db, c, d);
    obj_str(&o, "name", d->name);
    obj_str(&o, "sn", d->sn);
    obj_raw(&o, "tags", d->tags);
    obj_str(&o, "timezone", d->timezone);
    obj_bool(&o, "enabled", d->enabled);
    obj_raw(&o, "attributes", d->attributes ? d->attributes : "{}");
    obj_name(&o, "versions");
    versions = obj_begin(b);
    int rc = device_versions(db, d->id, version_row, &versions);
    obj_end(&versions);
    if (online < 0)
        obj_str(&o, "online", NULL);
    else
        obj_bool(&o, "online", online > 0);
    obj_time(&o, "last_seen_at", d->seen_at);
    int why = write_quarantine(&o, db, d, quarantined);
    obj_time(&o, "created_at", d->created_at);
    obj_time(&o, "updated_at", d->updated_at);
    obj_int(&o, "revision", d->revision);
    obj_end(&o);
    return rc < 0 ? rc : why;
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct device d;
    char etag[48];
    (void)arg;
    /* One transaction for the reads: one look at the database, and one lock instead of several. */
    int rc = db_begin(c->db);
    if (rc == 0)
        rc = device_by_key(c->db, c->who.project_id, http_param(r, "key"), http_arena(r), &d);
    if (rc == 0) {
        struct catalog *cat = catalog_cell_get(c->api->env.catalog);
        rc = device_write_json(&b, c->db, cat, &d, c->api);
        catalog_unref(cat);
    }
    db_rollback(c->db);
    if (rc == E_NOTFOUND) {
        answer_not_found(r, "device");
    } else if (rc < 0) {
        http_fail(r, rc, NULL);
    } else {
        etag_text(etag, d.revision, &b);
        answer_object(r, etag, &b);
    }
    sbuf_done(&b);
}

/* ---- changes ---- */
int device_check_text(const char *key, const char *service, struct fail *f)
{
    if (!str_is_key(key, DEVICE_KEY_MAX) || strpbrk(key, "+#/") || strcmp(key, ".") == 0 ||
        strcmp(key, "..") == 0)
        return fail(f, E_PROTO, "A device's key has 1 to %d letters, digits or . _ - : @",
                    DEVICE_KEY_MAX);
    if (service && strcmp(key, service) == 0)
        return fail(f, E_PROTO, "This name is otad's own at the broker.");
    return 0;
}

/* Members over what *d holds; what can be told without other rows. */
static int device_take(struct write *w, struct db *db, struct device *d)
{
    const json_t *gateway = json_object_get(w->in, "gateway");
    const json_t *tags = json_object_get(w->in, "tags");
    struct device g;

    d->name = json_get_str(w->in, "name", d->name);
    d->sn = json_get_str(w->in, "sn", d->sn);
    d->timezone = json_get_str(w->in, "timezone", d->timezone);
    d->enabled = json_get_bool(w->in, "enabled", d->enabled);
    if (tags && strings_text(tags, &w->a, &d->tags) < 0)
        return write_invalid(w, "/tags", "invalid", "These are no tags.");
    if (d->timezone[0] && !timezone_is_known(d->timezone))
        return write_invalid(
            w, "/timezone", "invalid",
            "This time zone is not known here; an IANA name such as Asia/Shanghai is.");
    if (w->ext)
        d->password_hash = w->ext;
    d->address = json_get_str(w->in, "address", d->address);
    if (json_is_null(json_object_get(w->in, "address")))
        d->address = NULL; /* the key again */
    if (json_is_null(gateway))
        d->gateway_id = 0;
    if (!json_is_string(gateway))
        return 0;
    int rc = device_by_key(db, w->who.project_id, json_string_value(gateway), &w->a, &g);
    if (rc == E_NOTFOUND)
        return write_invalid(w, "/gateway", "not_found", "There is no such gateway.");
    d->gateway_id = g.id;
    return rc;
}

/* What the device room says of the whole: its sentence, as a finding when the input is to blame. */
static int stored(struct write *w, int rc)
{
    if (rc == E_PROTO || rc == E_LIMIT)
        return write_invalid(w, "", "invalid", "%s", w->fail.text);
    return rc;
}

static int answer_with(struct write *w, struct db *db, const char *key)
{
    struct device d;
    int rc = device_by_key(db, w->who.project_id, key, &w->a, &d);
    if (rc < 0)
        return rc;
    struct catalog *c = catalog_cell_get(w->api->env.catalog);
    rc = device_write_json(&w->body, db, c, &d, w->api);
    catalog_unref(c);
    etag_text(w->etag, d.revision, &w->body);
    return rc;
}

static int run_create(struct write *w, struct db *db)
{
    struct device d = {.project_id = w->who.project_id,
                       .key = json_get_str(w->in, "key", ""),
                       .name = "",
                       .sn = "",
                       .timezone = "",
                       .tags = "[]",
                       .enabled = true,
                       .created_at = w->now};
    struct device_type t;
    int rc =
        device_type_by_key(db, d.project_id, json_get_str(w->in, "device_type", ""), &w->a, &t);
    if (rc == E_NOTFOUND)
        return write_invalid(w, "/device_type", "not_found", "There is no such device type.");
    d.type_id = t.id;
    if (rc == 0)
        rc = device_take(w, db, &d);
    if (rc == 0)
        rc = stored(w, device_insert(db, &d, &w->fail));
    if (rc == 0)
        rc = answer_with(w, db, d.key);
    if (rc == 0)
        write_created(w, 0, "/api/v1/devices/%s", d.key);
    return rc;
}

static void take_password(struct write *w, const char *password)
{
    char hash[CRYPTO_PASSWORD_TEXT];
    if (!password)
        return;
    crypto_password_hash(password, hash);
    w->ext = arena_strdup(&w->a, hash);
}

static void handle_create(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct json_errors errs = {.count = 0};
    struct fail f = {.rc = 0};
    char generated[64];
    json_t *in = input_object(r, arg);
    if (!in)
        return;
    const char *key = json_get_str(in, "key", ""), *password = json_get_str(in, "password", NULL);
    if (device_check_text(key, c->api->env.conf->mqtt_username, &f) < 0) {
        json_error_add(&errs, "/key", "invalid", "%s", f.text);
        input_invalid(r, &errs);
        json_decref(in);
        return;
    }
    struct write *w = write_new(r, run_create);
    w->in = in;
    w->credentials = true;
    w->login = key;
    /* The broker's password file can't hold a name with a colon: such a device gets none. One
     * behind a gateway needs none. */
    if (!password && !strchr(key, ':') && !json_get_str(in, "gateway", NULL)) {
        crypto_token("", PASSWORD_BYTES, generated, sizeof(generated));
        password = w->secret = arena_strdup(&w->a, generated);
        w->secret_name = "password";
    }
    take_password(w, password);
    struct str body = http_body(r);
    if (write_idempotent(w, r, body.p, body.n) == 0)
        write_go(w, r);
}

static int find(struct write *w, struct db *db, struct device *d)
{
    int rc = device_by_key(db, w->who.project_id, w->key, &w->a, d);
    if (rc == E_NOTFOUND)
        return write_not_found(w, "device");
    if (rc < 0)
        return rc;
    struct catalog *c = catalog_cell_get(w->api->env.catalog);
    rc = device_write_json(&w->before, db, c, d, w->api);
    catalog_unref(c);
    return rc < 0 ? rc : write_if_match(w, d->revision);
}

static int run_patch(struct write *w, struct db *db)
{
    struct device d;
    int rc = find(w, db, &d);
    if (rc == 0)
        rc = device_take(w, db, &d);
    d.updated_at = w->now;
    if (rc == 0)
        rc = stored(w, device_update(db, &d, &w->fail));
    if (rc == 0 && w->ext) /* a login that an operator gave is not for the asking */
        rc = device_claim_close(db, d.id);
    return rc < 0 ? rc : answer_with(w, db, w->key);
}

static void handle_patch(struct http_request *r, void *arg)
{
    json_t *in = input_object(r, arg);
    if (!in)
        return;
    struct write *w = write_new(r, run_patch);
    w->in = in;
    w->credentials = json_object_get(in, "password") || json_object_get(in, "enabled") ||
                     json_object_get(in, "sn");
    w->login = w->key;
    take_password(w, json_get_str(in, "password", NULL));
    write_go(w, r);
}

static int run_delete(struct write *w, struct db *db)
{
    struct device d;
    int rc = find(w, db, &d);
    w->status = 204;
    if (rc == 0) {
        rc = device_delete(db, d.id, &w->fail);
        if (rc == E_CONFLICT) {
            w->status = 409;
            w->code = "in_use";
        }
    }
    return rc;
}

static void handle_delete(struct http_request *r, void *arg)
{
    (void)arg;
    struct write *w = write_new(r, run_delete);
    w->credentials = true;
    w->login = w->key;
    w->job.catalog = true; /* rules and lists of firmwares may name it */
    write_go(w, r);
}

static int run_release(struct write *w, struct db *db)
{
    struct device d;
    int rc = find(w, db, &d);
    if (rc == 0)
        rc = device_release(db, d.id, w->now);
    return rc < 0 ? rc : answer_with(w, db, w->key);
}

static void handle_release(struct http_request *r, void *arg)
{
    (void)arg;
    struct write *w = write_new(r, run_release);
    if (write_idempotent(w, r, NULL, 0) == 0)
        write_go(w, r);
}

static int run_claim(struct write *w, struct db *db)
{
    struct device d;
    int rc = find(w, db, &d);
    if (rc == 0 && (d.gateway_id || strchr(d.key, ':'))) {
        w->status = 409;
        w->code = "no_login";
        return fail(&w->fail, E_CONFLICT,
                    "A device behind a gateway, or with a colon in its key, has no login.");
    }
    if (rc == 0)
        rc = device_claim_open(db, d.id, w->now);
    return rc < 0 ? rc : answer_with(w, db, w->key);
}

static void handle_claim(struct http_request *r, void *arg)
{
    (void)arg;
    struct write *w = write_new(r, run_claim);
    if (write_idempotent(w, r, NULL, 0) == 0)
        write_go(w, r);
}

static const struct op op_list = {.summary = "List devices; `version` is of `module`, main if "
                                             "absent",
                                  .out = &device_table,
                                  .query = LIST_QUERY EXPORT_QUERY
                                  "|device_type|gateway|tag|sn|enabled|module|version",
                                  .status = 200,
                                  .answer = EXPORT_TYPES,
                                  .list = true};
static const struct op op_get = {.summary = "One device", .out = &device_table, .status = 200};
static const struct op op_create = {
    .summary = "Register a device; a generated `password` is shown in this answer alone",
    .in = &device_table,
    .out = &device_table,
    .status = 201};
static const struct op op_patch = {.summary = "Change a device",
                                   .in = &device_table,
                                   .out = &device_table,
                                   .status = 200,
                                   .patch = true};
static const struct op op_delete = {.summary = "Delete a device with its updates", .status = 204};
static const struct op op_release = {.summary =
                                         "Lift the device's quarantine and forget its failures",
                                     .out = &device_table,
                                     .status = 200};
static const struct op op_claim = {
    .summary = "Let the device fetch a new login (/api/connect) until it is heard of again",
    .out = &device_table,
    .status = 200};
static const struct op op_import = {
    .summary = "Register many devices, one per row; all or none unless partial=1. A row without "
               "a password makes a device that can't log in to the broker",
    .out = &import_table,
    .query = "partial",
    .status = 200,
    .body = "text/csv|application/x-ndjson"};
static const struct op op_explain = {
    .summary = "Which firmware the device would get now, and why not another",
    .out = &explain_table,
    .query = "module",
    .status = 200};

#define PATH "/api/v1/devices"
const struct http_route device_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, device_list_handle, OP(op_list), VIEWER},
    {"POST", PATH, HTTP_BODY_WHOLE, 65536, handle_create, OP(op_create), OPERATOR},
    {"POST", PATH "/import", HTTP_BODY_STREAM, 0, device_import_handle, OP(op_import), OPERATOR},
    {"GET", PATH "/:key", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"PATCH", PATH "/:key", HTTP_BODY_WHOLE, 65536, handle_patch, OP(op_patch), OPERATOR},
    {"DELETE", PATH "/:key", HTTP_BODY_NONE, 0, handle_delete, OP(op_delete), OPERATOR},
    {"GET", PATH "/:key/explain", HTTP_BODY_NONE, 0, device_explain_handle, OP(op_explain), VIEWER},
    {"POST", PATH "/:key/release", HTTP_BODY_WHOLE, 65536, handle_release, OP(op_release),
     OPERATOR},
    {"POST", PATH "/:key/bootstrap", HTTP_BODY_WHOLE, 65536, handle_claim, OP(op_claim), OPERATOR},
    {.method = NULL},
};
