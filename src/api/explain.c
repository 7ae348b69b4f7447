/*
 * GET /api/v1/devices/{key}/explain: the decision of a check at this moment, with a reason for
 * each firmware that was considered. It asks the same decide() as everything else.
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
    {"update", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "The update of this module that is under way: {id, state}."},
};
const struct table explain_table = {"Explanation", fields, ARRAY_LEN(fields)};

static void write_reasons(struct sbuf *b, const struct decision *d)
{
    sbuf_add(b, "[", 1);
    for (size_t i = 0; i < d->n_rows; i++) {
        const struct reason_row *row = &d->rows[i];
        if (i)
            sbuf_add(b, ",", 1);
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

static void write_json(struct sbuf *b, const char *module, const struct facts_load *l,
                       const struct decision *d)
{
    struct obj o = obj_begin(b), in;
    obj_bool(&o, "eligible", d->firmware != NULL);
    obj_str(&o, "module", module);
    obj_str(&o, "current_version", l->facts.version);
    obj_name(&o, "firmware");
    if (d->firmware) {
        in = obj_begin(b);
        obj_int(&in, "id", d->firmware->id);
        obj_str(&in, "name", d->firmware->name);
        obj_str(&in, "version", d->firmware->version);
        obj_end(&in);
    } else {
        sbuf_str(b, "null");
    }
    obj_str(&o, "reason", reason_code(d->reason));
    obj_time(&o, "retry_at", d->retry_at);
    obj_name(&o, "reasons");
    write_reasons(b, d);
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
    write_json(b, module, &l, &decision);
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
