/*
 * Rules: "when a device of this type (or this device) reports event E, check module M, whose
 * version is attribute A". Rows only; how they are looked up is the snapshot's.
 */
#include "catalog_priv.h"

int module_check(const char *module, struct fail *f)
{
    if (module && str_is_key(module, MODULE_MAX))
        return 0;
    return fail(f, E_PROTO, "a module has 1 to %d letters, digits or . _ - : @ +", MODULE_MAX);
}

void rule_row(struct db_stmt *s, struct arena *a, struct rule *ret)
{
    *ret = (struct rule){
        .id = db_int(s, 0),
        .project_id = db_int(s, 1),
        .type_id = db_int(s, 2),
        .device_id = db_int(s, 3),
        .name = arena_strdup(a, db_text(s, 4)),
        .enabled = db_int(s, 5) != 0,
        .event = arena_strdup(a, db_text(s, 6)),
        .version_attribute = arena_strdup(a, db_text(s, 7)),
        .module = arena_strdup(a, db_text(s, 8)),
        .created_at = db_int(s, 9),
        .updated_at = db_int(s, 10),
        .revision = db_int(s, 11),
    };
}

static int bind_rule(struct db_stmt *q, int i, const struct rule *r)
{
    if (r->type_id)
        db_bind_int(q, i, r->type_id);
    i++;
    if (r->device_id)
        db_bind_int(q, i, r->device_id);
    i++;
    db_bind_text(q, i++, r->name ? r->name : "");
    db_bind_int(q, i++, r->enabled);
    db_bind_text(q, i++, r->event);
    db_bind_text(q, i++, r->version_attribute);
    db_bind_text(q, i++, r->module);
    return i;
}

static int rule_check(const struct rule *r, struct fail *f)
{
    if ((r->type_id == 0) == (r->device_id == 0))
        return fail(f, E_PROTO, "a rule is for a device type or for a device, one of the two");
    if (!r->event || !*r->event)
        return fail(f, E_PROTO, "a rule names an event");
    if (!r->version_attribute || !*r->version_attribute)
        return fail(f, E_PROTO, "a rule names the attribute that carries the version");
    return module_check(r->module, f);
}

/* More would be left without an answer. */
static int check_room(struct db *w, const struct rule *r, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_RULE_COUNT_EVENT);
    int rc;

    db_bind_int(q, 1, r->type_id);
    db_bind_int(q, 2, r->device_id);
    db_bind_text(q, 3, r->event);
    db_bind_int(q, 4, r->id);
    rc = db_row(q);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the rule", f);
    if (db_int(q, 0) >= RULE_EVENT_MAX)
        return fail(f, E_LIMIT, "there are %d rules for event %s already, which is the most",
                    RULE_EVENT_MAX, r->event);
    return 0;
}

int rule_insert(struct db *w, struct rule *r, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_RULE_INSERT);
    int rc = rule_check(r, f);

    if (rc == 0)
        rc = check_room(w, r, f);
    if (rc < 0)
        return rc;
    db_bind_int(q, 1, r->project_id);
    db_bind_int(q, bind_rule(q, 2, r), r->created_at);
    rc = db_run(q);
    if (rc == E_CONFLICT)
        return fail(f, rc, "the rule's device type or device is gone");
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the rule", f);
    r->id = db_last_id(w);
    r->updated_at = r->created_at;
    r->revision = 1;
    return 0;
}

int rule_update(struct db *w, const struct rule *r, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_RULE_UPDATE);
    int rc = rule_check(r, f);

    if (rc == 0)
        rc = check_room(w, r, f);
    if (rc < 0)
        return rc;
    db_bind_int(q, 1, r->id);
    db_bind_int(q, bind_rule(q, 2, r), r->updated_at);
    rc = db_run(q);
    if (rc == E_CONFLICT)
        return fail(f, rc, "the rule's device type or device is gone");
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the rule", f);
    return db_changed(w) ? 0 : fail(f, E_NOTFOUND, "there is no such rule");
}

int rule_delete(struct db *w, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_RULE_DELETE);
    int rc;

    db_bind_int(q, 1, id);
    rc = db_run(q);
    if (rc == 0 && db_changed(w) == 0)
        rc = E_NOTFOUND;
    return rc;
}

static int insert_device(struct db *w, int64_t rule_id, int64_t device_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_RULE_TARGET_INSERT);
    int rc;

    db_bind_int(q, 1, rule_id);
    db_bind_int(q, 2, device_id);
    rc = db_run(q);
    return rc == -EEXIST ? 0 : rc;
}

int rule_set_devices(struct db *w, const struct rule *r, const int64_t *ids, size_t n,
                     struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_RULE_TARGET_CLEAR);
    int rc;

    if (n > 0 && r->device_id)
        return fail(f, E_CONFLICT, "a rule of one device has no list of devices");
    if (n > RULE_DEVICES_MAX)
        return fail(f, E_LIMIT, "a rule lists at most %d devices", RULE_DEVICES_MAX);
    db_bind_int(q, 1, r->id);
    rc = db_run(q);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = insert_device(w, r->id, ids[i]);
    if (rc == E_CONFLICT)
        return fail(f, rc, "a device of the rule's list is gone");
    return rc < 0 ? catalog_fail(w, rc, "cannot store the rule", f) : 0;
}

int rule_devices(struct db *db, int64_t rule_id, int (*row)(void *arg, const char *key), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_RULE_DEVICES);
    int rc;

    db_bind_int(q, 1, rule_id);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_text(q, 1));
        if (rc != 0)
            break;
    }
    return rc;
}

int rule_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a, struct rule *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_RULE_BY_ID);
    int rc;

    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, id);
    rc = db_row(q);
    if (rc == 0)
        rule_row(q, a, ret);
    return rc;
}

int rule_list(struct db *db, int64_t project_id, int64_t type_id, int64_t device_id, int64_t after,
              int limit, int (*row)(void *arg, const struct rule *r), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_RULE_LIST);
    struct arena a;
    struct rule r;
    int rc;

    arena_init(&a);
    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, type_id);
    db_bind_int(q, 3, device_id);
    db_bind_int(q, 4, after);
    db_bind_int(q, 5, limit);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        rule_row(q, &a, &r);
        rc = row(arg, &r);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}
