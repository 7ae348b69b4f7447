/*
 * Devices behind gateways: where they stand, how they are spoken of, whether they are connected.
 * A device is found by walking from its gateway address by address, so a gateway can only ever
 * speak of what stands behind it.
 */
#include "device_priv.h"

#define KEY_CHARS 10 /* of a generated key, behind its prefix */

bool device_address_ok(const char *s, size_t n)
{
    size_t characters = 0;

    if (n == 0 || n > (size_t)4 * DEVICE_ADDRESS_MAX || !str_is_text(s, n))
        return false;
    for (size_t i = 0; i < n; i++)
        characters += ((unsigned char)s[i] & 0xC0) != 0x80;
    return characters <= DEVICE_ADDRESS_MAX;
}

int device_behind(struct db *db, int64_t gateway_id, const char *address, struct arena *a,
                  struct device *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_BEHIND);
    int rc;

    db_bind_int(q, 1, gateway_id);
    db_bind_text(q, 2, address);
    rc = db_row(q);
    if (rc == 0)
        device_row(q, false, a, ret);
    return rc;
}

static int count_behind(struct db *db, int64_t id, int64_t *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_COUNT_BEHIND);
    int rc;

    db_bind_int(q, 1, id);
    rc = db_row(q);
    if (rc == 0)
        *ret = db_int(q, 0);
    return rc;
}

int device_create_behind(struct db *w, struct device *d, int64_t outermost, int64_t max,
                         struct arena *a)
{
    int64_t n = 0;
    int rc = count_behind(w, outermost, &n);

    if (rc < 0)
        return rc;
    if (n >= max)
        return E_LIMIT;
    d->name = d->address;
    d->enabled = true;
    return device_create_named(w, d, "SD_", KEY_CHARS, a, NULL);
}

/* ---- how it is spoken of ---- */
static const struct {
    const char *name;
    enum address_form form;
    bool as_list;
} forms[] = {
    {"direct", FORM_DIRECT, false},       {"gateway", FORM_GATEWAY, false},
    {"gateway_list", FORM_GATEWAY, true}, {"sub", FORM_SUB, true},
    {"sub_text", FORM_SUB, false},
};

static const char *form_name(enum address_form form, bool as_list)
{
    for (size_t i = 1; i < ARRAY_LEN(forms); i++)
        if (forms[i].form == form && forms[i].as_list == as_list)
            return forms[i].name;
    return forms[0].name;
}

int device_form_note(struct db *w, int64_t device_id, enum address_form form, bool as_list)
{
    const char *name = form_name(form, as_list);
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_FORM);
    int rc;

    db_bind_int(q, 1, device_id);
    rc = db_row(q);
    if (rc < 0 && rc != E_NOTFOUND)
        return rc;
    if (rc == 0 && !db_is_null(q, 0) && strcmp(db_text(q, 0), name) == 0)
        return 0;
    AUTO(db_reset) struct db_stmt *put = db_use(w, Q_DEVICE_FORM_PUT);
    db_bind_int(put, 1, device_id);
    db_bind_text(put, 2, name);
    return db_run(put);
}

/* What was last noted, or what suits a device that was never heard of. */
static int load_form(struct db *db, int64_t device_id, struct device_route *r)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_FORM);
    int rc;

    r->form = r->n_path > 1 ? FORM_SUB : FORM_GATEWAY;
    r->as_list = r->form == FORM_SUB;
    db_bind_int(q, 1, device_id);
    rc = db_row(q);
    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    for (size_t i = 0; i < ARRAY_LEN(forms) && !db_is_null(q, 0); i++) {
        bool deep = forms[i].form == FORM_SUB && forms[i].as_list;

        /* It may have moved since: one level can't say what lies deeper, nor can one word. */
        if (r->n_path > 1 && !deep && forms[i].form != FORM_DIRECT)
            continue;
        if (strcmp(db_text(q, 0), forms[i].name) != 0)
            continue;
        r->form = forms[i].form;
        r->as_list = forms[i].as_list;
    }
    return 0;
}

int device_route(struct db *db, int64_t device_id, struct arena *a, struct device_route *ret)
{
    const char *up[DEVICE_DEPTH_MAX];
    struct device d;
    int rc = device_by_id(db, device_id, a, &d);

    *ret = (struct device_route){.form = FORM_DIRECT};
    if (rc < 0)
        return rc;
    ret->gateway = d.key;
    ret->dialect = d.dialect;
    if (!d.gateway_id)
        return 0;
    while (d.gateway_id) {
        if (ret->n_path == DEVICE_DEPTH_MAX)
            return E_LIMIT;
        up[ret->n_path++] = d.address;
        rc = device_by_id(db, d.gateway_id, a, &d);
        if (rc < 0)
            return rc;
    }
    rc = load_form(db, device_id, ret);
    if (rc < 0)
        return rc;
    if (ret->form == FORM_DIRECT) {
        ret->n_path = 0;
        return 0;
    }
    ret->gateway = d.key;
    ret->dialect = d.dialect;
    ret->path = arena_alloc(a, ret->n_path * sizeof(*ret->path));
    for (size_t i = 0; i < ret->n_path; i++)
        ret->path[i] = up[ret->n_path - 1 - i];
    return 0;
}

int device_behind_list(struct db *db, int64_t gateway_id, int64_t after, int limit,
                       int (*row)(void *arg, const struct device_near *d), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_BEHIND_LIST);
    int rc;

    db_bind_int(q, 1, gateway_id);
    db_bind_int(q, 2, after);
    db_bind_int(q, 3, limit);
    while ((rc = db_row(q)) == 0) {
        const struct device_near d = {.id = db_int(q, 0),
                                      .key = db_text(q, 1),
                                      .online = db_is_null(q, 2) ? -1 : (int)db_int(q, 2),
                                      .leads_on = db_int(q, 3) != 0};
        rc = row(arg, &d);
        if (rc != 0)
            return rc;
    }
    return rc == E_NOTFOUND ? 0 : rc;
}

int device_dialect_set(struct db *w, int64_t device_id, const char *dialect)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_DIALECT_SET);

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, dialect);
    return db_run(q);
}

/* ---- presence ---- */
/* What was said before, and is so since: a device that spoke after it was said to be gone, goes
 * once more. */
static bool is_no_news(struct db_stmt *q, bool online, int64_t heard_at)
{
    if (db_is_null(q, 1) || (db_int(q, 1) != 0) != online)
        return false;
    return online || (db_int(q, 0) <= db_int(q, 2) && heard_at <= db_int(q, 2));
}

int device_online_set(struct db *w, int64_t device_id, bool online, int64_t heard_at, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_SEEN_ROW);
    int rc;

    db_bind_int(q, 1, device_id);
    rc = db_row(q);
    if (rc < 0 && rc != E_NOTFOUND)
        return rc;
    if (rc == 0 && is_no_news(q, online, heard_at))
        return 0;
    AUTO(db_reset) struct db_stmt *put = db_use(w, Q_DEVICE_ONLINE_PUT);
    db_bind_int(put, 1, device_id);
    db_bind_int(put, 2, online);
    db_bind_int(put, 3, now);
    rc = db_run(put);
    return rc < 0 ? rc : 1;
}
