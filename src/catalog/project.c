/*
 * Projects, and what an installation holds from its first start: project `default`, the key that
 * signs download links, and the counter that numbers updates. Row functions only; see catalog.h
 * for threads.
 */
#include "catalog_priv.h"

#define LINK_KEY_SIZE 32

int catalog_fail(struct db *db, int rc, const char *what, struct fail *f)
{
    if (rc == E_DB || rc == E_DB_FULL)
        return fail(f, rc, "%s: %s", what, db_error(db));
    return fail(f, rc, "%s: %s", what, err_str(rc));
}

/* ---- the installation ---- */
static int make_link_key(struct db *w)
{
    AUTO(db_reset) struct db_stmt *get = db_use(w, Q_SETTING_GET);
    AUTO(db_reset) struct db_stmt *add = db_use(w, Q_SETTING_ADD);
    uint8_t key[LINK_KEY_SIZE];
    char hex[2 * LINK_KEY_SIZE + 1];
    int rc;

    db_bind_text(get, 1, "link_key");
    rc = db_row(get);
    if (rc != E_NOTFOUND)
        return rc;
    rand_bytes(key, sizeof(key));
    hex_encode(key, sizeof(key), hex);
    db_bind_text(add, 1, "link_key");
    db_bind_text(add, 2, hex);
    return db_run(add);
}

/* Update ids start anywhere, so that a second installation does not speak of the same ones. */
static int seed_update_counter(struct db *w)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_COUNTER_SEED);

    db_bind_text(q, 1, "update");
    db_bind_int(q, 2, 100000 + (int64_t)(rand_u64() % ((1ULL << 30) - 100000)));
    return db_run(q);
}

int catalog_install(struct db *w, int64_t now, struct fail *f)
{
    struct arena a;
    struct project p;
    int rc;

    arena_init(&a);
    rc = project_by_key(w, "default", &a, &p);
    arena_done(&a);
    if (rc == E_NOTFOUND) {
        p = (struct project){.key = "default", .name = "Default", .created_at = now};
        rc = project_insert(w, &p, f);
    }
    if (rc == 0)
        rc = make_link_key(w);
    if (rc == 0)
        rc = seed_update_counter(w);
    return rc < 0 ? catalog_fail(w, rc, "cannot set up the installation", f) : 0;
}

int catalog_link_key(struct db *db, uint8_t ret[32])
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_SETTING_GET);
    const char *hex;
    int rc;

    db_bind_text(q, 1, "link_key");
    rc = db_row(q);
    if (rc < 0)
        return rc;
    hex = db_text(q, 0);
    if (!hex || strlen(hex) != (size_t)2 * LINK_KEY_SIZE)
        return E_DB;
    return hex_decode(hex, (size_t)2 * LINK_KEY_SIZE, ret) < 0 ? E_DB : 0;
}

/* ---- rows ---- */
static const char *const bootstrap_names[] = {
    [BOOTSTRAP_OFF] = "off",
    [BOOTSTRAP_ONCE] = "once",
    [BOOTSTRAP_ALWAYS] = "always",
};

const char *bootstrap_name(enum bootstrap b)
{
    return bootstrap_names[b];
}

static enum bootstrap bootstrap_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(bootstrap_names); i++)
        if (strcmp(bootstrap_names[i], name) == 0)
            return (enum bootstrap)i;
    return BOOTSTRAP_OFF; /* the column's CHECK leaves nothing else */
}

static void project_row(struct db_stmt *s, struct arena *a, struct project *ret)
{
    ret->id = db_int(s, 0);
    ret->key = arena_strdup(a, db_text(s, 1));
    ret->name = arena_strdup(a, db_text(s, 2));
    ret->created_at = db_int(s, 3);
    ret->updated_at = db_int(s, 4);
    ret->revision = db_int(s, 5);
    ret->bootstrap = bootstrap_of(db_text(s, 6));
    ret->bootstrap_create = db_int(s, 7);
    ret->second_person = db_int(s, 8) != 0;
}

int project_insert(struct db *w, struct project *p, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_PROJECT_INSERT);
    int rc;

    if (!str_is_key(p->key, 64))
        return fail(f, E_PROTO, "a project's key has 1 to 64 letters, digits or . _ - : @ +");
    db_bind_text(q, 1, p->key);
    db_bind_text(q, 2, p->name);
    db_bind_int(q, 3, p->created_at);
    db_bind_text(q, 4, bootstrap_name(p->bootstrap));
    db_bind_int(q, 5, p->bootstrap_create);
    db_bind_int(q, 6, p->second_person);
    rc = db_run(q);
    if (rc == -EEXIST)
        return fail(f, rc, "project %s exists already", p->key);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the project", f);
    p->id = db_last_id(w);
    p->updated_at = p->created_at;
    p->revision = 1;
    return 0;
}

int project_update(struct db *w, const struct project *p, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_PROJECT_UPDATE);
    int rc;

    db_bind_int(q, 1, p->id);
    db_bind_text(q, 2, p->name);
    db_bind_int(q, 3, p->updated_at);
    db_bind_text(q, 4, bootstrap_name(p->bootstrap));
    db_bind_int(q, 5, p->bootstrap_create);
    db_bind_int(q, 6, p->second_person);
    rc = db_run(q);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the project", f);
    return db_changed(w) ? 0 : fail(f, E_NOTFOUND, "there is no such project");
}

int project_second_person(struct db *db, int64_t id, bool *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_PROJECT_SECOND_PERSON);

    db_bind_int(q, 1, id);
    int rc = db_row(q);
    *ret = rc == 0 && db_int(q, 0) != 0;
    return rc;
}

int project_by_key(struct db *db, const char *key, struct arena *a, struct project *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_PROJECT_BY_KEY);
    int rc;

    db_bind_text(q, 1, key);
    rc = db_row(q);
    if (rc == 0)
        project_row(q, a, ret);
    return rc;
}

static int run_with_id(struct db *w, enum db_query query, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, query);

    db_bind_int(q, 1, id);
    return db_run(q);
}

int project_bootstrap_take(struct db *w, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_PROJECT_BOOTSTRAP_TAKE);
    int rc;

    db_bind_int(q, 1, id);
    rc = db_run(q);
    return rc < 0 ? rc : db_changed(w) ? 0 : E_LIMIT;
}

int project_delete(struct db *w, int64_t id, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *used = db_use(w, Q_PROJECT_USED);
    int rc;

    db_bind_int(used, 1, id);
    rc = db_row(used);
    if (rc == 0)
        return fail(f, E_CONFLICT, "the project still has device types, devices or firmwares");
    if (rc != E_NOTFOUND)
        return catalog_fail(w, rc, "cannot delete the project", f);

    /* The row of `default` is never matched; its tokens must stay as well. */
    rc = db_save(w);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot delete the project", f);
    rc = run_with_id(w, Q_PROJECT_DELETE_TOKENS, id);
    if (rc == 0)
        rc = run_with_id(w, Q_PROJECT_DELETE_IDEMPOTENCY, id);
    if (rc == 0)
        rc = run_with_id(w, Q_PROJECT_DELETE, id);
    if (rc == 0 && db_changed(w) == 0)
        rc = E_CONFLICT;
    if (rc == 0)
        rc = db_release(w);
    if (rc == 0)
        return 0;
    db_undo(w);
    if (rc == E_CONFLICT)
        return fail(f, rc, "this project cannot be deleted");
    return catalog_fail(w, rc, "cannot delete the project", f);
}

int project_list(struct db *db, int64_t after, int limit,
                 int (*row)(void *arg, const struct project *p), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_PROJECT_LIST);
    struct arena a;
    struct project p;
    int rc;

    arena_init(&a);
    db_bind_int(q, 1, after);
    db_bind_int(q, 2, limit);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        project_row(q, &a, &p);
        rc = row(arg, &p);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}

int64_t catalog_count(struct db *db, const char *what, int64_t project_id)
{
    static const struct {
        const char *what;
        enum db_query query;
    } counts[] = {
        {"device_types", Q_DEVICE_TYPE_COUNT},
        {"rules", Q_RULE_COUNT},
        {"firmwares", Q_FIRMWARE_COUNT},
        {"projects", Q_PROJECT_COUNT},
    };

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        if (strcmp(counts[i].what, what) != 0)
            continue;
        AUTO(db_reset) struct db_stmt *q = db_use(db, counts[i].query);
        if (counts[i].query != Q_PROJECT_COUNT)
            db_bind_int(q, 1, project_id);
        int rc = db_row(q);
        return rc < 0 ? rc : db_int(q, 0);
    }
    return E_NOTFOUND;
}
