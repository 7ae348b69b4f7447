/*
 * The one way from a device's message to rows and answers: events -> device_* and update_* ->
 * commands -> the dialect's bytes. A gateway's message may speak of many devices behind it; what
 * is wrong with one of them does not keep the others from being heard. It runs on whatever
 * connection it is given: on a reading one it returns E_NEEDS_WRITE at the first write, having
 * changed nothing, and the turn runs it again on the writer. So it must not touch anything but the
 * database and its arguments.
 */
#include "core_priv.h"

#define RULES_MAX (2 * RULE_EVENT_MAX) /* of the type and of the device */

int engine_answer(const struct dialect *dialect, const struct device_command *cmd,
                  struct answers *out)
{
    struct dialect_out bytes;
    int rc = dialect->encode(cmd, out->arena, &bytes);

    if (rc == E_UNSUPPORTED)
        return 0;
    if (rc < 0)
        return rc;
    answers_add(out, &bytes, false);
    return 0;
}

const struct type_topics *topics_of(const struct catalog *c, int64_t type_id)
{
    const struct device_type *t = type_id ? catalog_type(c, type_id) : NULL;

    return t && t->topics.n > 0 ? &t->topics : NULL;
}

/* An answer goes the way that the event came, in the same form. */
static struct device_command answer_to(const struct engine *x, const struct device_event *ev,
                                       enum command_kind kind)
{
    return (struct device_command){
        .kind = kind,
        .device = ev->device,
        .path = ev->path,
        .n_path = ev->n_path,
        .form = ev->form,
        .as_list = ev->as_list,
        .ref = ev->ref,
        .series = ev->times != NULL,
        .topics = topics_of(x->catalog, ev->type_id),
        .sn = ev->sn,
        .command_name = x->conf->ota_command_name,
        .now_ms = x->now,
    };
}

/* One receipt for a report, of however many devices, when the type of the one that sent it wants
 * that. It names the first thing that went wrong. */
static int report_receipt(struct engine *x, const struct dialect *dialect,
                          const struct device *sender, const struct device_event *ev,
                          struct answers *out)
{
    const struct device_type *type = catalog_type(x->catalog, sender->type_id);
    struct device_command cmd = answer_to(x, ev, COMMAND_REPORT_RESPONSE);

    if (!type || !type->attributes_response)
        return 0;
    cmd.n_path = 0;
    if (out->refused && out->refused->why == M_BAD_LIMIT) {
        cmd.error_code = -2;
        cmd.error_text = "Too many attributes, or too long";
    } else if (out->refused) {
        cmd.error_code = -3;
        cmd.error_text = "Unknown device";
    }
    return engine_answer(dialect, &cmd, out);
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
    struct device_command cmd = answer_to(x, ev, COMMAND_ATTRIBUTES);
    cmd.attributes = some ? some : all;
    return engine_answer(dialect, &cmd, out);
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

static int check(struct engine *x, const struct dialect *dialect, const struct device *d,
                 const struct device_event *ev, const struct rule *rule, struct answers *out)
{
    const struct update_ask ask = {.module = rule->module,
                                   .attribute = rule->version_attribute,
                                   .cause = "check",
                                   .now = x->now,
                                   .link_lifetime_ms = x->conf->ota_link_lifetime_s * 1000};
    struct update_answer said;
    int rc = report_in_check(x, d, rule, ev->body, out);

    if (rc == 0)
        rc = update_ask(x->db, x->catalog, d, &ask, x->arena, &said);
    if (rc < 0)
        return rc;
    out->bad_versions += said.bad_version;

    struct device_command cmd = answer_to(x, ev, COMMAND_NOTHING);
    cmd.module = rule->module;
    if (said.update.id != 0 && offer_command(x, &said.update, &cmd) == 0) {
        out->offered += !said.repeated;
        out->repeated += said.repeated;
        if (out->n_ids < ARRAY_LEN(out->ids))
            out->ids[out->n_ids++] = said.update.id;
    } else {
        out->nothing++;
    }
    return engine_answer(dialect, &cmd, out);
}

/* A check is always answered: one of a module that no rule of its event is for gets nothing. */
static int check_without_rule(struct engine *x, const struct dialect *dialect,
                              const struct device_event *ev, const char *module,
                              struct answers *out)
{
    struct device_command cmd = answer_to(x, ev, COMMAND_NOTHING);

    if (!str_is_key(module, MODULE_MAX))
        return 0;
    cmd.module = module;
    return engine_answer(dialect, &cmd, out);
}

static int on_method(struct engine *x, const struct dialect *dialect, const struct device *d,
                     const struct device_event *ev, struct answers *out)
{
    const struct device_type *type = catalog_type(x->catalog, d->type_id);
    struct device_command receipt = answer_to(x, ev, COMMAND_METHOD_RESPONSE);
    const struct rule *rules[RULES_MAX];
    const char *module = json_get_str(ev->body, "module", NULL);
    size_t n = catalog_rules(x->catalog, d->type_id, d->id, ev->method, rules, ARRAY_LEN(rules));
    bool progress = type && type->progress && type->progress->event &&
                    strcmp(type->progress->event, ev->method) == 0;
    bool checked = false;
    int rc = 0;

    if (type && type->event_response)
        rc = engine_answer(dialect, &receipt, out);
    if (rc == 0 && progress)
        rc = report_progress(x, d, ev->body, NULL, out);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (module && strcmp(module, rules[i]->module) != 0)
            continue;
        checked = true;
        rc = check(x, dialect, d, ev, rules[i], out);
    }
    if (checked || progress || rc < 0)
        return rc;
    out->without_rule++;
    return n > 0 ? check_without_rule(x, dialect, ev, module, out) : 0;
}

/* To a command that somebody asked for. */
static int on_down_reply(struct engine *x, const struct device *d, const struct device_event *ev,
                         struct answers *out, const char **ret_app_id)
{
    struct device_down m;
    int rc = device_down_replied(x->db, d->id, ev->id, ev->body, x->now, x->arena, &m);

    if (rc < 0)
        return rc;
    *ret_app_id = m.app_id;
    if (rc == 1) {
        struct down_ended *e = arena_alloc(out->arena, sizeof(*e));
        *e = (struct down_ended){m.id, out->ended};
        out->ended = e;
        out->down_replied++;
    }
    return 0;
}

static int result_moves(struct engine *x, const struct device *d, const struct device_event *ev,
                        const struct update *u)
{
    enum update_state to = UPDATE_ACCEPTED;

    switch (ev->result) {
    case REPLY_RECEIVED:
        if (u->state != UPDATE_OFFERED && u->state != UPDATE_DEFERRED)
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
    if (u->state == to)
        return 0;
    int rc = update_moved(x->db, x->catalog, d, u->id, to, -1, ev->text ? ev->text : "", x->now,
                          x->arena);
    return rc == E_CONFLICT ? 0 : rc; /* counted where the table of moves is */
}

/* ThingsCloud's own demo says how it went, but not of what: of what is under way. */
static int result_without_id(struct engine *x, const struct device *d,
                             const struct device_event *ev, enum metric *ret_refused)
{
    struct update u;

    if (ev->result == REPLY_RECEIVED)
        return 0;
    int rc = update_furthest(x->db, d, NULL, x->arena, &u);
    if (rc == E_PROTO)
        *ret_refused = M_BAD_REPLY; /* which of them? */
    if (rc == E_NOTFOUND || (rc == 0 && u.state == UPDATE_PLANNED))
        return 0; /* it speaks of the past */
    return rc < 0 ? rc : result_moves(x, d, ev, &u);
}

/* A reply moves the update whose id it carries, if it is this device's. */
static int on_reply(struct engine *x, const struct device *d, const struct device_event *ev,
                    struct answers *out, const char **ret_app_id, enum metric *ret_refused)
{
    struct update u;
    int rc;

    if (!ev->has_id)
        return result_without_id(x, d, ev, ret_refused);
    if (ev->id == 0)
        return 0; /* 0 is the id of "nothing to do" */
    rc = ev->id < 0 || ev->id > INT32_MAX ? E_NOTFOUND : update_by_id(x->db, ev->id, x->arena, &u);
    if (rc == E_NOTFOUND && (rc = task_replied(x->db, d->id, ev->id)) != E_NOTFOUND)
        return rc; /* to a task's command */
    if (rc == E_NOTFOUND && ev->id > 0 && ev->id <= INT32_MAX &&
        (rc = on_down_reply(x, d, ev, out, ret_app_id)) != E_NOTFOUND)
        return rc;
    if (rc == E_NOTFOUND || (rc == 0 && u.device_id != d->id)) {
        *ret_refused = M_BAD_REPLY;
        return E_PROTO;
    }
    return rc < 0 ? rc : result_moves(x, d, ev, &u);
}

/* Told whether a command of that id was known, where the protocol has such a receipt. */
static int reply_receipt(struct engine *x, const struct dialect *dialect, const struct device *d,
                         const struct device_event *ev, bool known, struct answers *out)
{
    const struct device_type *type = catalog_type(x->catalog, d->type_id);
    struct device_command cmd = answer_to(x, ev, COMMAND_REPLY_RESPONSE);

    if (!type || !type->event_response)
        return 0;
    if (!known) {
        cmd.error_code = -3;
        cmd.error_text = "Unknown command";
    }
    return engine_answer(dialect, &cmd, out);
}

/* The form is kept only for those that may be spoken of in more than one. */
static int note_form(struct engine *x, const struct device *d, const struct device_event *ev)
{
    return d->gateway_id ? device_form_note(x->db, d->id, ev->form, ev->as_list) : 0;
}

/* Who connects itself is asked and told in what it spoke last. */
static int note_dialect(struct engine *x, const struct device *sender,
                        const struct dialect *dialect)
{
    const char *name = dialect == dialects[0] ? "" : dialect->name;

    return strcmp(sender->dialect, name) == 0 ? 0 : device_dialect_set(x->db, sender->id, name);
}

static int act(struct engine *x, const struct dialect *dialect, const struct device *d,
               const struct device_event *ev, struct answers *out, enum metric *ret_refused)
{
    const char *app_id = NULL;
    int rc = E_PROTO;

    switch (ev->kind) {
    case EVENT_REPORT:
        return report_take(x, d, ev, out, ret_refused);
    case EVENT_ATTRIBUTES_GET:
        return on_attributes_get(x, dialect, d, ev, out);
    case EVENT_METHOD:
        rc = on_method(x, dialect, d, ev, out);
        break;
    case EVENT_REPLY:
        rc = on_reply(x, d, ev, out, &app_id, ret_refused);
        if (rc == 0 || rc == E_PROTO) {
            int sent = reply_receipt(x, dialect, d, ev, rc == 0, out);
            rc = sent < 0 ? sent : rc;
        }
        break;
    case EVENT_ONLINE:
    case EVENT_OFFLINE:
        rc = device_online_set(x->db, d->id, ev->kind == EVENT_ONLINE,
                               x->seen ? device_seen_at(x->seen, d->id) : 0, x->now);
        if (rc <= 0)
            return rc;
        rc = 0; /* it is news */
        break;
    }
    return rc < 0 ? rc : live_add(x, d, ev, app_id, out);
}

static int handle_one(struct engine *x, const struct dialect *dialect, const struct device *sender,
                      const struct device_event *ev, struct answers *out, enum metric *ret_refused)
{
    struct device d = *sender;
    int rc = ev->n_path > 0 ? behind_find(x, sender, ev, &d) : 0;

    if (rc == E_NOTFOUND) {
        *ret_refused = M_BAD_DEVICE;
        return E_PROTO;
    }
    if (rc == 0)
        rc = note_form(x, &d, ev);
    if (rc < 0)
        return rc;
    if (d.id != sender->id && ev->kind == EVENT_OFFLINE)
        out->left[out->n_left++] = d.id;
    else if (d.id != sender->id)
        out->seen[out->n_seen++] = d.id;
    return act(x, dialect, &d, ev, out, ret_refused);
}

void engine_refuse(struct answers *out, struct str device, enum metric why)
{
    struct refusal **at = &out->refused;

    while (*at)
        at = &(*at)->next;
    *at = arena_alloc(out->arena, sizeof(**at));
    **at = (struct refusal){.device = device, .why = why};
}

static void note_sender(const struct engine *x, const struct device *sender, struct answers *out)
{
    if (!catalog_live(x->catalog, sender->project_id))
        return;
    const struct device_type *type = catalog_type(x->catalog, sender->type_id);
    out->live.key = sender->key;
    out->live.id = sender->id;
    out->live.project_id = sender->project_id;
    out->live.delay_ms = (type ? type : &device_type_defaults)->offline_delay_s * 1000;
}

/* Who sent it: by key, or by a serial number that is one device's alone and, where the broker says
 * who published, that one's. */
static int find_sender(struct engine *x, const struct device_event *ev, struct device *ret,
                       struct answers *out)
{
    int rc = ev->type_id ? device_by_sn(x->db, ev->type_id, ev->sn, x->arena, ret)
                         : device_find(x->db, ev->device, x->arena, ret);
    bool other = rc == 0 && ev->type_id && ev->user && strcmp(ev->user, ret->key) != 0;

    if (rc != E_NOTFOUND && rc != E_CONFLICT && !other)
        return rc;
    engine_refuse(out, ev->device,
                  other              ? M_BAD_IDENTITY
                  : rc == E_CONFLICT ? M_BAD_SN
                                     : M_BAD_DEVICE);
    return E_PROTO;
}

int engine_handle(struct engine *x, const struct dialect *dialect, const struct device_events *evs,
                  struct answers *out)
{
    struct device sender;
    size_t refused = 0;
    int rc;

    if (evs->n == 0)
        return 0;
    rc = find_sender(x, &evs->list[0], &sender, out);
    if (rc == 0)
        rc = note_dialect(x, &sender, dialect);
    if (rc < 0)
        return rc;
    out->seen = arena_alloc(out->arena, (evs->n + 1) * sizeof(*out->seen));
    out->left = arena_alloc(out->arena, evs->n * sizeof(*out->left));
    out->seen[out->n_seen++] = sender.id;
    struct device_event first = evs->list[0];
    first.device = str_of(sender.key);
    note_sender(x, &sender, out);
    for (size_t i = 0; i < evs->n; i++) {
        enum metric why = M_BAD_TYPE;

        rc = handle_one(x, dialect, &sender, i == 0 ? &first : &evs->list[i], out, &why);
        if (rc == E_PROTO) {
            engine_refuse(out, evs->list[i].device, why);
            refused++;
        } else if (rc < 0) {
            return rc;
        }
    }
    rc = first.kind == EVENT_REPORT ? report_receipt(x, dialect, &sender, &first, out) : 0;
    return rc == 0 && refused == evs->n ? E_PROTO : rc;
}
