/*
 * The one way from a device's event to rows and answers: event -> device_* and update_* ->
 * command -> the dialect's bytes. It runs on whatever connection it is given: on a reading one it
 * returns E_NEEDS_WRITE at the first write, having changed nothing, and the turn runs it again on
 * the writer. So it must not touch anything but the database and its arguments.
 */
#include "core_priv.h"

#include <stdio.h>

#define RULES_MAX   16
#define MODULES_MAX 16

static int answer(const struct dialect *dialect, const struct device_command *cmd,
                  struct answers *out)
{
    struct dialect_out bytes;
    int rc = dialect->encode(cmd, out->arena, &bytes);

    if (rc == E_UNSUPPORTED)
        return 0;
    if (rc < 0)
        return rc;
    struct answer *a = arena_alloc(out->arena, sizeof(*a));
    a->topic = bytes.topic;
    a->payload = bytes.payload;
    *out->last = a;
    out->last = &a->next;
    return 0;
}

/* A receipt, for device types that want one. */
static int receipt(struct engine *x, const struct dialect *dialect, const struct device_event *ev,
                   enum command_kind kind, int error_code, const char *text, struct answers *out)
{
    struct device_command cmd = {
        .kind = kind,
        .device = ev->device,
        .ref = ev->ref,
        .error_code = error_code,
        .error_text = text,
        .now_ms = x->now,
    };
    return answer(dialect, &cmd, out);
}

/* A version as it was reported: text, or a number written as the device wrote it. */
static const char *version_text(struct arena *a, const json_t *value)
{
    if (json_is_string(value))
        return json_string_value(value);
    if (json_is_integer(value))
        return arena_printf(a, "%lld", (long long)json_integer_value(value));
    if (json_is_real(value))
        return arena_printf(a, "%.15g", json_real_value(value));
    return NULL;
}

/* One attribute that carries versions. */
static int report_version(struct engine *x, const struct device *d, const char *module,
                          const json_t *value, struct answers *out)
{
    const char *version = version_text(x->arena, value);

    if (!version || version_check(VERSION_AUTO, version, NULL) < 0) {
        out->bad_versions++;
        return 0;
    }
    return update_reported(x->db, x->catalog, d, module, version, x->now, x->arena);
}

static int report_versions(struct engine *x, const struct device *d, json_t *attributes,
                           struct answers *out)
{
    const char *name, *modules[MODULES_MAX];
    json_t *value;

    json_object_foreach(attributes, name, value)
    {
        size_t n = catalog_version_modules(x->catalog, d->type_id, d->id, name, modules,
                                           ARRAY_LEN(modules));
        for (size_t i = 0; i < n; i++) {
            int rc = report_version(x, d, modules[i], value, out);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static int on_report(struct engine *x, const struct dialect *dialect, const struct device *d,
                     struct device_event *ev, struct answers *out, enum metric *ret_refused)
{
    const struct device_type *type = catalog_type(x->catalog, d->type_id);
    bool wants = type && type->attributes_response;
    int rc = device_attributes_merge(x->db, d->id, ev->body);

    if (rc == E_LIMIT) {
        *ret_refused = M_BAD_LIMIT;
        rc = wants ? receipt(x, dialect, ev, COMMAND_REPORT_RESPONSE, -2,
                             "Too many attributes, or too long", out)
                   : 0;
        return rc < 0 ? rc : E_PROTO;
    }
    if (rc < 0)
        return rc;
    rc = report_versions(x, d, ev->body, out);
    if (rc < 0)
        return rc;
    return wants ? receipt(x, dialect, ev, COMMAND_REPORT_RESPONSE, 0, NULL, out) : 0;
}

static int on_attributes_get(struct engine *x, const struct dialect *dialect,
                             const struct device *d, const struct device_event *ev,
                             struct answers *out)
{
    AUTO(json_free) json_t *all = NULL;
    AUTO(json_free) json_t *some = NULL;
    int rc = device_attributes(x->db, d->id, &all);

    if (rc < 0)
        return rc;
    if (ev->n_keys > 0) {
        some = json_object();
        for (size_t i = 0; i < ev->n_keys; i++) {
            json_t *value = json_object_get(all, ev->keys[i]);
            if (value)
                json_object_set(some, ev->keys[i], value);
        }
    }
    struct device_command cmd = {
        .kind = COMMAND_ATTRIBUTES,
        .device = ev->device,
        .ref = ev->ref,
        .attributes = some ? some : all,
        .now_ms = x->now,
    };
    return answer(dialect, &cmd, out);
}

/* The version attribute in a check's own params: a report and a check in one message. */
static int report_in_check(struct engine *x, const struct device *d, const struct rule *rule,
                           const json_t *params, struct answers *out)
{
    json_t *value = json_object_get(params, rule->version_attribute);
    if (!json_is_string(value) && !json_is_number(value))
        return 0;
    AUTO(json_free) json_t *one = json_object();
    json_object_set(one, rule->version_attribute, value);
    int rc = device_attributes_merge(x->db, d->id, one);
    if (rc < 0 && rc != E_LIMIT)
        return rc;
    return report_versions(x, d, one, out);
}

/* The rule may have come after the report: then the stored attribute holds the version. */
static int version_from_attributes(struct engine *x, const struct device *d,
                                   const struct rule *rule, struct answers *out)
{
    AUTO(json_free) json_t *all = NULL;
    int rc = device_attributes(x->db, d->id, &all);

    if (rc < 0)
        return rc;
    json_t *value = json_object_get(all, rule->version_attribute);
    if (!value)
        return E_NOTFOUND;
    return report_version(x, d, rule->module, value, out);
}

static int check(struct engine *x, const struct dialect *dialect, const struct device *d,
                 struct device_event *ev, const struct rule *rule, struct answers *out)
{
    int64_t lifetime_ms = x->conf->ota_link_lifetime_s * 1000;
    struct decision why;
    struct update u;
    bool repeated = false;
    int rc = report_in_check(x, d, rule, ev->body, out);

    if (rc < 0)
        return rc;
    rc = update_check(x->db, x->catalog, d, rule->module, x->now, lifetime_ms, x->arena, &u,
                      &repeated, &why);
    if (rc == 0 && u.id == 0 && why.reason == REASON_VERSION_UNKNOWN) {
        rc = version_from_attributes(x, d, rule, out);
        if (rc == E_NOTFOUND)
            rc = 0;
        else if (rc == 0)
            rc = update_check(x->db, x->catalog, d, rule->module, x->now, lifetime_ms, x->arena, &u,
                              &repeated, &why);
    }
    if (rc < 0)
        return rc;

    struct device_command cmd = {
        .kind = COMMAND_NOTHING,
        .module = rule->module,
        .command_name = x->conf->ota_command_name,
    };
    if (u.id != 0 && offer_command(x, &u, &cmd) == 0) {
        out->offered += !repeated;
        out->repeated += repeated;
    } else {
        out->nothing++;
    }
    cmd.device = ev->device;
    cmd.ref = ev->ref;
    return answer(dialect, &cmd, out);
}

static int on_method(struct engine *x, const struct dialect *dialect, const struct device *d,
                     struct device_event *ev, struct answers *out)
{
    const struct device_type *type = catalog_type(x->catalog, d->type_id);
    const struct rule *rules[RULES_MAX];
    const char *module = json_get_str(ev->body, "module", NULL);
    size_t n = catalog_rules(x->catalog, d->type_id, d->id, ev->method, rules, ARRAY_LEN(rules));
    int rc = 0;

    if (type && type->event_response)
        rc = receipt(x, dialect, ev, COMMAND_METHOD_RESPONSE, 0, NULL, out);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (!module || strcmp(module, rules[i]->module) == 0)
            rc = check(x, dialect, d, ev, rules[i], out);
    if (n == 0 && rc == 0)
        out->without_rule++;
    return rc;
}

/* A reply moves the update whose id it carries, if it is this device's. */
static int on_reply(struct engine *x, const struct device *d, const struct device_event *ev,
                    enum metric *ret_refused)
{
    struct update u;
    enum update_state to = UPDATE_ACCEPTED;
    int rc;

    if (!ev->has_id || ev->id == 0)
        return 0; /* 0 is the id of "nothing to do" */
    rc = ev->id < 0 || ev->id > INT32_MAX ? E_NOTFOUND : update_by_id(x->db, ev->id, x->arena, &u);
    if (rc == E_NOTFOUND || (rc == 0 && u.device_id != d->id)) {
        *ret_refused = M_BAD_REPLY;
        return E_PROTO;
    }
    if (rc < 0)
        return rc;
    switch (ev->result) {
    case REPLY_RECEIVED:
        if (u.state != UPDATE_OFFERED && u.state != UPDATE_DEFERRED)
            return 0; /* a receipt says nothing new later on */
        break;
    case REPLY_DOWNLOADED:
        to = UPDATE_DOWNLOADED;
        break;
    case REPLY_INSTALLED:
        to = UPDATE_INSTALLED;
        break;
    case REPLY_FAILED:
        to = UPDATE_FAILED;
        break;
    }
    if (u.state == to)
        return 0;
    rc = update_moved(x->db, x->catalog, d, u.id, to, -1, ev->text ? ev->text : "", x->now,
                      x->arena);
    return rc == E_CONFLICT ? 0 : rc; /* counted where the table of moves is */
}

int engine_handle(struct engine *x, const struct dialect *dialect, struct device_event *ev,
                  struct answers *out, int64_t *ret_device_id, enum metric *ret_refused)
{
    struct device d;
    int rc = device_find(x->db, ev->device, x->arena, &d);

    if (rc == E_NOTFOUND) {
        *ret_refused = M_BAD_DEVICE;
        return E_PROTO;
    }
    if (rc < 0)
        return rc;
    *ret_device_id = d.id;
    switch (ev->kind) {
    case EVENT_REPORT:
        return on_report(x, dialect, &d, ev, out, ret_refused);
    case EVENT_ATTRIBUTES_GET:
        return on_attributes_get(x, dialect, &d, ev, out);
    case EVENT_METHOD:
        return on_method(x, dialect, &d, ev, out);
    case EVENT_REPLY:
        return on_reply(x, &d, ev, ret_refused);
    }
    return E_PROTO;
}
