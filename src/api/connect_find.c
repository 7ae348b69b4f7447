/*
 * Bootstrap, the judging half: which device is meant, and whether it may have a login now. It runs
 * on an http thread first, where most requests end, and again on the core thread before anything
 * is written. It changes nothing.
 */
#include "connect.h"

/* ---- refusals ---- */
/* The codes are those that EZtCloud's devices know. */
static int no_project(struct refusal *no)
{
    *no = (struct refusal){.status = 420, .code = "unknown_project"};
    return fail(&no->why, E_NOTFOUND, "There is no such project, or it hands out no logins.");
}

int connect_no_product(struct refusal *no)
{
    *no = (struct refusal){.status = 436, .code = "unknown_product"};
    return fail(&no->why, E_NOTFOUND, "There is no such product.");
}

int connect_no_device(struct refusal *no, const char *code, const char *text)
{
    *no = (struct refusal){.status = 401, .code = code};
    return fail(&no->why, E_NOTFOUND, "%s", text);
}

int connect_none_left(struct refusal *no)
{
    return connect_no_device(no, "unknown_device",
                             "There is no such device, and the project lets no further one make "
                             "itself (bootstrap_create).");
}

static int find_in(struct db *db, const struct ask *ask, struct arena *a, struct found *ret)
{
    int rc = E_NOTFOUND;

    if (*ask->product) {
        rc = device_type_by_key(db, ret->project.id, ask->product, a, &ret->type);
        ret->has_type = rc == 0;
        if (rc < 0)
            return rc == E_NOTFOUND ? 0 : rc;
    } else if (!ask->cloud) {
        return 0;
    }
    rc = device_by_project_sn(db, ret->project.id, ret->has_type ? ret->type.id : 0, ask->sn, a,
                              &ret->device);
    ret->has_device = rc == 0;
    ret->several = rc == E_CONFLICT;
    return rc == E_NOTFOUND || rc == E_CONFLICT ? 0 : rc;
}

/* /api/connect/2 names no project: the one that knows the device is meant. */
struct search {
    struct db *db;
    const struct ask *ask;
    struct arena *a;
    struct found *found;
};

static int search_one(void *arg, const struct project *p)
{
    struct search *s = arg;
    struct found here = {.project = *p, .has_project = true};

    if (p->bootstrap == BOOTSTRAP_OFF)
        return 0;
    here.project.key = arena_strdup(s->a, p->key);
    here.project.name = "";
    int rc = find_in(s->db, s->ask, s->a, &here);
    if (rc < 0)
        return rc;
    bool several = here.several || (here.has_device && s->found->has_device);
    if (here.has_device || (here.has_type && !s->found->has_type))
        *s->found = here;
    s->found->several |= several;
    return 0;
}

int connect_find(struct db *db, const struct ask *ask, struct arena *a, struct found *ret)
{
    struct search s = {db, ask, a, ret};
    int rc;

    *ret = (struct found){.has_type = false};
    if (!*ask->project && !ask->make)
        return project_list(db, 0, INT32_MAX, search_one, &s);
    rc = project_by_key(db, ask->project, a, &ret->project);
    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    ret->has_project = ret->project.bootstrap != BOOTSTRAP_OFF;
    return ret->has_project ? find_in(db, ask, a, ret) : 0;
}

/* ---- may it have a login? ---- */
static int check_device(const struct api *api, struct db *db, const struct ask *ask,
                        struct found *x, bool on_core, struct refusal *no)
{
    static const char taken[] = "This device has its login already, and has used it. An operator "
                                "can let it fetch a new one.";
    const struct api_env *env = &api->env;
    struct device_claim claim;
    const struct device *d = &x->device;

    if (!d->enabled)
        return connect_no_device(no, "device_disabled", "This device is disabled.");
    if (d->gateway_id || strchr(d->key, ':'))
        return connect_no_device(no, "no_login", "This device has no login of its own.");
    int rc = device_claim(db, d->id, &claim);
    if (rc < 0 && rc != E_NOTFOUND)
        return rc;
    x->has_claim = rc == 0;
    x->fetched = rc == 0 && claim.fetched;
    /* Where all devices of a project have one password, a key that was chosen, and may be guessed,
     * is none. */
    if (!x->has_claim)
        return d->password_hash || ask->cloud ? connect_no_device(no, "device_taken", taken) : 0;
    if (x->project.bootstrap == BOOTSTRAP_ALWAYS)
        return 0;
    bool online = env->online && env->online(env->core, d->key) == 1;
    bool heard = on_core && env->heard_at && env->heard_at(env->core, d->id) >= claim.opened_at;
    return claim.heard || heard || online ? connect_no_device(no, "device_taken", taken) : 0;
}

int connect_check(const struct api *api, struct db *db, const struct ask *ask, struct found *x,
                  bool on_core, struct refusal *no)
{
    bool makes = ask->make && x->project.bootstrap_create > 0;

    if (x->several)
        return connect_no_device(no, "ambiguous", "Several devices have this serial number.");
    if (x->has_device)
        return check_device(api, db, ask, x, on_core, no);
    if (!x->has_project && (ask->make || *ask->project))
        return no_project(no);
    if (!x->has_type && (*ask->product || !ask->cloud) &&
        !(makes && str_is_key(ask->product, CONNECT_PRODUCT_MAX)))
        return connect_no_product(no);
    if (!ask->make || !*ask->product)
        return connect_no_device(no, "unknown_device", "There is no such device.");
    return makes ? 0 : connect_none_left(no);
}
