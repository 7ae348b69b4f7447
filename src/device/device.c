/*
 * Devices: their rows, one at a time. A key is an MQTT username and a topic segment, and unique
 * in the installation. What a device reports is in report.c, lists are in list.c.
 */
#include "crypto.h"
#include "device_priv.h"

#include "event.h"

#include <inttypes.h>

#define KEY_TRIES      4
#define TAGS_MAX       64
#define TAG_LENGTH_MAX 64

void device_row(struct db_stmt *s, bool with_state, struct arena *a, struct device *ret)
{
    *ret = (struct device){
        .id = db_int(s, 0),
        .project_id = db_int(s, 1),
        .type_id = db_int(s, 2),
        .gateway_id = db_int(s, 3),
        .import_id = db_int(s, 4),
        .key = arena_strndup(a, db_text(s, 5), db_bytes(s, 5)),
        .name = arena_strdup(a, db_text(s, 6)),
        .sn = arena_strdup(a, db_text(s, 7)),
        .timezone = arena_strdup(a, db_text(s, 8)),
        .tags = arena_strdup(a, db_text(s, 9)),
        .password_hash = arena_strdup(a, db_text(s, 10)),
        .enabled = db_int(s, 11) != 0,
        .quarantined_until = db_int(s, 12),
        .failures_since = db_int(s, 13),
        .failures = db_int(s, 14),
        .released_at = db_int(s, 15),
        .created_at = db_int(s, 16),
        .updated_at = db_int(s, 17),
        .revision = db_int(s, 18),
        .address = arena_strdup(a, db_text(s, 19)),
        .dialect = arena_strdup(a, db_text(s, 20)),
        .online = -1,
    };
    if (with_state) {
        ret->attributes = arena_strdup(a, db_is_null(s, 21) ? "{}" : db_text(s, 21));
        ret->seen_at = db_int(s, 22);
        ret->online = db_is_null(s, 23) ? -1 : db_int(s, 23) != 0;
    }
}

int device_by_key(struct db *db, int64_t project_id, const char *key, struct arena *a,
                  struct device *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_BY_KEY);
    int rc;

    db_bind_text(q, 1, key);
    db_bind_int(q, 2, project_id);
    rc = db_row(q);
    if (rc == 0)
        device_row(q, true, a, ret);
    return rc;
}

int device_find(struct db *db, struct str key, struct arena *a, struct device *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_FIND);
    int rc;

    db_bind_textn(q, 1, key.p, key.n);
    rc = db_row(q);
    if (rc == 0)
        device_row(q, false, a, ret);
    return rc;
}

int device_by_id(struct db *db, int64_t id, struct arena *a, struct device *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_BY_ID);
    int rc;

    db_bind_int(q, 1, id);
    rc = db_row(q);
    if (rc == 0)
        device_row(q, false, a, ret);
    return rc;
}

int device_by_sn(struct db *db, int64_t type_id, struct str sn, struct arena *a, struct device *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_BY_SN);
    int rc;

    db_bind_int(q, 1, type_id);
    db_bind_textn(q, 2, sn.p, sn.n);
    rc = db_step(q);
    if (rc <= 0)
        return rc == 0 ? E_NOTFOUND : rc;
    device_row(q, false, a, ret);
    rc = db_step(q);
    return rc == 1 ? E_CONFLICT : rc;
}

/* ---- checks ---- */
static int check_key(const char *key, struct fail *f)
{
    if (!key || !str_is_key(key, DEVICE_KEY_MAX) || strpbrk(key, "+#/"))
        return fail(f, E_PROTO, "a device's key has 1 to %d letters, digits or . _ - : @",
                    DEVICE_KEY_MAX);
    return 0;
}

static int check_login(const char *key, const char *password_hash, struct fail *f)
{
    /* mosquitto's password file ends the username at the first colon. */
    if (password_hash && strchr(key, ':'))
        return fail(f, E_PROTO, "a device with a password can't have a colon in its key");
    if (password_hash && strpbrk(password_hash, "\r\n:"))
        return fail(f, E_PROTO, "this is no password hash");
    return 0;
}

/* A comma is what separates tags in text, and what the search by tag relies on. */
static int check_tags(const char *tags, struct fail *f)
{
    enum json_fault fault;
    size_t i;
    json_t *tag;

    if (!tags || strcmp(tags, "[]") == 0)
        return 0;
    AUTO(json_free)
    json_t *list = json_parse(tags, strlen(tags), (size_t)64 * 1024, 2, &fault, NULL);
    if (!json_is_array(list))
        return fail(f, E_PROTO, "tags are a list of words");
    if (json_array_size(list) > TAGS_MAX)
        return fail(f, E_LIMIT, "a device has at most %d tags", TAGS_MAX);
    json_array_foreach(list, i, tag)
    {
        const char *s = json_string_value(tag);
        size_t n = json_string_length(tag);

        if (!s || n == 0 || n > TAG_LENGTH_MAX || !str_is_text(s, n) || memchr(s, ',', n))
            return fail(f, E_PROTO, "a tag has 1 to %d bytes of text without a comma",
                        TAG_LENGTH_MAX);
    }
    return 0;
}

static const char *address_of(const struct device *d)
{
    if (!d->gateway_id)
        return "";
    return d->address && *d->address ? d->address : d->key;
}

static int device_check(const struct device *d, struct fail *f)
{
    const char *address = address_of(d);
    int rc = check_key(d->key, f);

    if (rc == 0)
        rc = check_login(d->key, d->password_hash, f);
    if (rc == 0)
        rc = check_tags(d->tags, f);
    if (rc == 0 && *address && !device_address_ok(address, strlen(address)))
        rc = fail(f, E_PROTO, "an address has 1 to %d printable characters", DEVICE_ADDRESS_MAX);
    return rc;
}

/* A device of such a name would have the rights of a project's applications at the broker. */
static int check_stranger(struct db *w, const struct device *d, struct fail *f)
{
    struct project_app app;
    struct arena a;

    if (strncmp(d->key, APP_KEY_PREFIX, strlen(APP_KEY_PREFIX)) != 0)
        return 0;
    arena_init(&a);
    int rc = project_app_by_key(w, d->key, &a, &app);
    arena_done(&a);
    if (rc == 0)
        return fail(f, E_PROTO, "this is the key of a project's applications");
    return rc == E_NOTFOUND ? 0 : rc;
}

static int device_fail(struct db *db, int rc, const char *what, struct fail *f)
{
    return fail(f, rc, "%s: %s", what, rc == E_DB || rc == E_DB_FULL ? db_error(db) : err_str(rc));
}

/* ---- writing ---- */
/* The event, with the key: a device may be gone when it is read. */
int device_tell(struct db *w, int64_t id, const char *type, int64_t now)
{
    struct event e = {.at = now, .device_id = id, .object_id = id, .type = type};
    struct sbuf data = {.p = NULL};
    struct device d = {0};
    struct arena a;

    arena_init(&a);
    int rc = device_by_id(w, id, &a, &d);
    if (rc == 0) {
        sbuf_str(&data, "{\"device\":");
        json_add_string(&data, d.key);
        sbuf_str(&data, "}");
        e.project_id = d.project_id;
        e.data = data.p;
        rc = event_add(w, &e);
    }
    sbuf_done(&data);
    arena_done(&a);
    return rc == E_NOTFOUND ? 0 : rc;
}

int device_insert(struct db *w, struct device *d, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_INSERT);
    int rc = device_check(d, f);

    if (rc == 0)
        rc = check_stranger(w, d, f);
    if (rc == 0)
        rc = depth_check_new(w, d, f);
    if (rc < 0)
        return rc;
    db_bind_int(q, 1, d->project_id);
    db_bind_int(q, 2, d->type_id);
    if (d->gateway_id)
        db_bind_int(q, 3, d->gateway_id);
    if (d->import_id)
        db_bind_int(q, 4, d->import_id);
    db_bind_text(q, 5, d->key);
    db_bind_text(q, 6, d->name ? d->name : "");
    db_bind_text(q, 7, d->sn ? d->sn : "");
    db_bind_text(q, 8, d->timezone ? d->timezone : "");
    db_bind_text(q, 9, d->tags ? d->tags : "[]");
    db_bind_text(q, 10, d->password_hash);
    db_bind_int(q, 11, d->enabled);
    db_bind_int(q, 12, d->created_at);
    db_bind_text(q, 13, address_of(d));
    rc = db_run(q);
    if (rc == -EEXIST && d->gateway_id)
        return fail(f, rc, "device %s exists already, or address %s behind its gateway", d->key,
                    address_of(d));
    if (rc == -EEXIST)
        return fail(f, rc, "device %s exists already", d->key);
    if (rc == E_CONFLICT)
        return fail(f, rc, "the device's type or gateway is gone");
    if (rc < 0)
        return device_fail(w, rc, "cannot store the device", f);
    d->id = db_last_id(w);
    d->updated_at = d->created_at;
    d->revision = 1;
    /* An import tells of all its devices at once. */
    return d->import_id ? 0 : device_tell(w, d->id, "device.created", d->created_at);
}

int device_create_named(struct db *w, struct device *d, const char *prefix, size_t n,
                        struct arena *a, struct fail *f)
{
    char key[DEVICE_KEY_MAX + 1];
    int rc = E_CONFLICT;

    for (int i = 0; i < KEY_TRIES; i++) {
        crypto_token(prefix, n, key, sizeof(key)); /* longer than needed */
        key[strlen(prefix) + n] = '\0';
        d->key = arena_strdup(a, key);
        rc = device_insert(w, d, f);
        if (rc != -EEXIST)
            break;
    }
    return rc;
}

int device_update(struct db *w, const struct device *d, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_UPDATE);
    int rc = device_check(d, f);

    if (rc == 0)
        rc = depth_check_move(w, d, f);
    if (rc < 0)
        return rc;
    rc = version_count_device(w, d->id, -1); /* enabled and disabled ones are counted apart */
    if (rc < 0)
        return device_fail(w, rc, "cannot store the device", f);
    db_bind_int(q, 1, d->id);
    db_bind_text(q, 2, d->name ? d->name : "");
    db_bind_text(q, 3, d->sn ? d->sn : "");
    db_bind_text(q, 4, d->tags ? d->tags : "[]");
    db_bind_text(q, 5, d->timezone ? d->timezone : "");
    db_bind_int(q, 6, d->enabled);
    if (d->gateway_id)
        db_bind_int(q, 7, d->gateway_id);
    db_bind_text(q, 8, d->password_hash);
    db_bind_int(q, 9, d->updated_at);
    db_bind_text(q, 10, address_of(d));
    rc = db_run(q);
    if (rc == -EEXIST)
        return fail(f, rc, "address %s behind its gateway is taken", address_of(d));
    if (rc == E_CONFLICT)
        return fail(f, rc, "there is no such gateway");
    if (rc < 0)
        return device_fail(w, rc, "cannot store the device", f);
    if (!db_changed(w))
        return fail(f, E_NOTFOUND, "there is no such device");
    rc = version_count_device(w, d->id, 1);
    return rc < 0 ? device_fail(w, rc, "cannot store the device", f)
                  : device_tell(w, d->id, "device.changed", d->updated_at);
}

/* What stands in the way of deleting a device: 0 when nothing. */
static int check_unneeded(struct db *w, int64_t id, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *child = db_use(w, Q_DEVICE_CHILD);
    AUTO(db_reset) struct db_stmt *target = db_use(w, Q_DEVICE_SOLE_TARGET);
    AUTO(db_reset) struct db_stmt *rule = db_use(w, Q_DEVICE_SOLE_RULE);
    int rc;

    db_bind_int(child, 1, id);
    rc = db_row(child);
    if (rc == 0)
        return fail(f, E_CONFLICT, "device %s stands behind this one", db_text(child, 0));
    if (rc != E_NOTFOUND)
        return device_fail(w, rc, "cannot delete the device", f);
    /* Its list would become empty, and an empty list means every device of the type. */
    db_bind_int(target, 1, id);
    rc = db_row(target);
    if (rc == 0)
        return fail(f, E_CONFLICT, "firmware %" PRId64 " is for this device alone",
                    db_int(target, 0));
    if (rc != E_NOTFOUND)
        return device_fail(w, rc, "cannot delete the device", f);
    db_bind_int(rule, 1, id);
    rc = db_row(rule);
    if (rc == 0)
        return fail(f, E_CONFLICT, "rule %" PRId64 " lists this device alone", db_int(rule, 0));
    return rc == E_NOTFOUND ? 0 : device_fail(w, rc, "cannot delete the device", f);
}

int device_delete(struct db *w, int64_t id, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *updates = db_use(w, Q_DEVICE_DELETE_UPDATES);
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_DELETE);
    int rc = check_unneeded(w, id, f);

    if (rc == 0)
        rc = device_tell(w, id, "device.deleted", clock_now_ms());
    if (rc < 0)
        return rc;
    rc = campaign_forget_device(w, id);
    if (rc < 0)
        return device_fail(w, rc, "cannot delete the device", f);
    db_bind_int(updates, 1, id);
    rc = db_run(updates);
    if (rc < 0)
        return device_fail(w, rc, "cannot delete the device's updates", f);
    rc = version_count_device(w, id, -1);
    if (rc == 0)
        rc = version_count_drop(w, id);
    if (rc < 0)
        return device_fail(w, rc, "cannot delete the device", f);
    db_bind_int(q, 1, id);
    rc = db_run(q);
    if (rc < 0)
        return device_fail(w, rc, "cannot delete the device", f);
    return db_changed(w) ? 0 : fail(f, E_NOTFOUND, "there is no such device");
}
