/*
 * GET /api/v1/devices/{key}/explain: the decision of a check at this moment, with a reason for
 * each firmware that was considered, and whether any rule makes a check at all. It asks the same
 * decide() as everything else.
 */
#include "priv.h"

static const struct json_field fields[] = {
    {"eligible", JK_BOOL, JF_READ_ONLY, 0, 0, NULL, NULL, "Whether a check would get an offer."},
    {"module", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "The module that was asked about."},
    {"current_version", JK_STRING, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "What the device last reported; null = nothing yet."},
    {"firmware", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "What would be offered: {id, name, version}; null = nothing."},
    {"reason", JK_STRING, JF_READ_ONLY, 0, 0, NULL, NULL, "The code that decided."},
    {"retry_at", JK_TIME, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "Nothing is offered before, when that is known."},
    {"reasons", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "One per firmware considered: {firmware, version, code, params, text}."},
    {"rules", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "Each rule of the device or its type that names the module, and whether it makes a check: "
     "{rule, event, version_attribute, code, text}; code is applies, rule_disabled, "
     "not_in_rule_list or rule_doubled. When none applies, `reason` is no_rule."},
    {"update", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "The update of this module that is under way: {id, state}."},
};
const struct table explain_table = {"Explanation", fields, ARRAY_LEN(fields)};

/* Without a rule that applies no event of the device makes a check, so nothing is decided. */
#define RULES_MAX 256
struct standing {
    const char *module;
    const struct catalog *catalog;
    int64_t type_id, device_id;
    const struct rule *rules[RULES_MAX]; /* that name the module */
    size_t n, disabled, unlisted;        /* the others apply */
};

static bool is_without_rule(const struct standing *s)
{
    return s->disabled + s->unlisted == s->n;
}

static void standing_of(struct standing *s, const struct catalog *c, const struct device *d,
                        const char *module)
{
    *s = (struct standing){
        .module = module, .catalog = c, .type_id = d->type_id, .device_id = d->id};
    s->n = catalog_module_rules(c, d->type_id, d->id, module, s->rules, ARRAY_LEN(s->rules));
    for (size_t i = 0; i < s->n; i++) {
        s->disabled += !s->rules[i]->enabled;
        s->unlisted += s->rules[i]->enabled && !rule_is_for(s->rules[i], d->id);
    }
}

static bool is_first_of_event(const struct standing *s, const struct rule *r)
{
    const struct rule *of_event[RULE_EVENT_MAX * 2];
    size_t n = catalog_rules(s->catalog, s->type_id, s->device_id, r->event, of_event,
                             ARRAY_LEN(of_event));

    for (size_t i = 0; i < n; i++)
        if (of_event[i]->id == r->id)
            return true;
    return false;
}

static void write_rules(struct sbuf *b, const struct standing *s)
{
    sbuf_add(b, "[", 1);
    for (size_t i = 0; i < s->n; i++) {
        const struct rule *r = s->rules[i];
        bool listed = rule_is_for(r, s->device_id);
        bool first = is_first_of_event(s, r);
        if (i)
            sbuf_add(b, ",", 1);
        struct obj o = obj_begin(b);
        obj_int(&o, "rule", r->id);
        obj_str(&o, "event", r->event);
        obj_str(&o, "version_attribute", r->version_attribute);
        obj_str(&o, "code",
                !r->enabled ? "rule_disabled"
                : !listed   ? "not_in_rule_list"
                : first     ? "applies"
                            : "rule_doubled");
        obj_str(&o, "text",
                !r->enabled ? "the rule is disabled"
                : !listed   ? "the rule lists devices, and this is none of them"
                : first     ? "its event makes a check"
                            : "another rule of this event and module comes first");
        obj_end(&o);
    }
    sbuf_add(b, "]", 1);
}

static void write_no_rule(struct sbuf *b, const struct standing *s)
{
    struct obj o = obj_begin(b), in;
    char text[256];

    if (s->n == 0)
        (void)str_fmt(text, sizeof(text),
                      "no rule of the device or its type names module %s, so no event makes a "
                      "check of it; only a task can push",
                      s->module);
    else
        (void)str_fmt(text, sizeof(text),
                      "%zu rules of module %s are disabled, %zu list other devices: no event makes "
                      "a check of it; only a task can push",
                      s->disabled, s->module, s->unlisted);
    obj_str(&o, "firmware", NULL);
    obj_str(&o, "version", NULL);
    obj_str(&o, "code", "no_rule");
    obj_name(&o, "params");
    in = obj_begin(b);
    obj_str(&in, "module", s->module);
    obj_int(&in, "disabled", (int64_t)s->disabled);
    obj_int(&in, "not_listed", (int64_t)s->unlisted);
    obj_end(&in);
    obj_str(&o, "text", text);
    obj_end(&o);
}

static void write_reasons(struct sbuf *b, const struct decision *d, const struct standing *s)
{
    bool more = is_without_rule(s);

    sbuf_add(b, "[", 1);
    if (more)
        write_no_rule(b, s);
    for (size_t i = 0; i < d->n_rows; i++) {
        const struct reason_row *row = &d->rows[i];
        if (more)
            sbuf_add(b, ",", 1);
        more = true;
        struct obj o = obj_begin(b);
        if (row->firmware)
            obj_int(&o, "firmware", row->firmware->id);
        else
            obj_str(&o, "firmware", NULL);
        obj_str(&o, "version", row->firmware ? row->firmware->version : NULL);
        obj_str(&o, "code", reason_code(row->reason));
        obj_raw(&o, "params", row->params[0] ? row->params : "{}");
        obj_str(&o, "text", row->text);
        obj_end(&o);
    }
    sbuf_add(b, "]", 1);
}

static void write_firmware(struct sbuf *b, const struct firmware *fw)
{
    if (!fw) {
        sbuf_str(b, "null");
        return;
    }
    struct obj in = obj_begin(b);
    obj_int(&in, "id", fw->id);
    obj_str(&in, "name", fw->name);
    obj_str(&in, "version", fw->version);
    obj_end(&in);
}

static void write_json(struct sbuf *b, const struct standing *s, const struct facts_load *l,
                       const struct decision *d)
{
    const struct firmware *fw = is_without_rule(s) ? NULL : d->firmware;
    struct obj o = obj_begin(b), in;

    obj_bool(&o, "eligible", fw != NULL);
    obj_str(&o, "module", s->module);
    obj_str(&o, "current_version", l->facts.version);
    obj_name(&o, "firmware");
    write_firmware(b, fw);
    obj_str(&o, "reason", is_without_rule(s) ? "no_rule" : reason_code(d->reason));
    obj_time(&o, "retry_at", d->retry_at);
    obj_name(&o, "reasons");
    write_reasons(b, d, s);
    obj_name(&o, "rules");
    write_rules(b, s);
    obj_name(&o, "update");
    if (l->active) {
        in = obj_begin(b);
        obj_int(&in, "id", l->active->id);
        obj_str(&in, "state", update_state_name(l->active->state));
        obj_end(&in);
    } else {
        sbuf_str(b, "null");
    }
    obj_end(&o);
}

static int explain(struct http_request *r, const char *module, struct sbuf *b)
{
    const struct call *c = call_of(r);
    struct arena *a = http_arena(r);
    struct facts_load l;
    struct decision decision;
    struct standing s;
    struct device d;
    int64_t now = clock_now_ms();

    int rc = device_by_key(c->db, c->who.project_id, http_param(r, "key"), a, &d);
    if (rc < 0)
        return rc;
    rc = facts_load(c->db, &d, module, now, a, &l);
    if (rc < 0)
        return rc;
    struct catalog *cat = catalog_cell_get(c->api->env.catalog);
    decide(cat, &l.facts, now, true, a, &decision);
    standing_of(&s, cat, &d, module);
    write_json(b, &s, &l, &decision);
    catalog_unref(cat);
    facts_done(&l);
    return 0;
}

void device_explain_handle(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    const char *module = http_query(r, "module");
    struct sbuf b = {.p = NULL};
    (void)arg;
    if (module && !str_is_key(module, MODULE_MAX)) {
        http_problem(r, 400, "invalid_parameter", NULL,
                     "The query parameter 'module' takes a module's name.");
        return;
    }
    int rc = db_begin(c->db);
    if (rc == 0)
        rc = explain(r, module ? module : "main", &b);
    db_rollback(c->db);
    if (rc == E_NOTFOUND)
        answer_not_found(r, "device");
    else if (rc < 0)
        http_fail(r, rc, NULL);
    else
        http_reply(r, 200, "application/json", b.p, b.n);
    sbuf_done(&b);
}
