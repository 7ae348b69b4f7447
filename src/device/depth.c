/*
 * How deep devices stand behind one another: at most DEVICE_DEPTH_MAX gateways stand before one,
 * whichever way it came there. A move is checked in both directions, upwards for where it leads,
 * and downwards for what it takes along; the rows of imports under way count.
 */
#include "device_priv.h"

#define LOOKED_MAX 10000 /* devices that are looked at behind one that moves */
#define PAGE       100

/* Following the gateways up must end, and not at the device itself. How many there are. */
static int count_up(struct db *w, const struct device *d, int *ret, struct fail *f)
{
    int64_t id = d->gateway_id;
    struct arena a;
    struct device up = {0};
    int rc = 0;

    arena_init(&a);
    for (*ret = 0; rc == 0 && id != 0; ++*ret) {
        if (id == d->id)
            rc = fail(f, E_CONFLICT, "a device can't stand behind itself");
        else if (*ret == DEVICE_DEPTH_MAX)
            rc = fail(f, E_CONFLICT, "at most %d gateways stand before a device", DEVICE_DEPTH_MAX);
        else
            rc = device_by_id(w, id, &a, &up);
        if (rc == 0 && up.project_id != d->project_id)
            rc = E_NOTFOUND;
        if (rc == 0)
            id = up.gateway_id;
    }
    arena_done(&a);
    if (rc == E_NOTFOUND)
        return fail(f, E_CONFLICT, "there is no such gateway");
    return rc;
}

/* Rows of one import may stand behind one another before anybody else sees them: the foreign key
 * says whether the gateway is there. */
static int check_imported(struct db *w, const struct device *d, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_DEPTH);
    int rc;

    db_bind_int(q, 1, d->gateway_id);
    db_bind_int(q, 2, DEVICE_DEPTH_MAX + 1);
    rc = db_row(q);
    if (rc == 0 && db_int(q, 0) > DEVICE_DEPTH_MAX)
        return fail(f, E_CONFLICT, "at most %d gateways stand before a device", DEVICE_DEPTH_MAX);
    return rc;
}

int depth_check_new(struct db *w, const struct device *d, struct fail *f)
{
    int n;

    if (!d->gateway_id)
        return 0;
    return d->import_id ? check_imported(w, d, f) : count_up(w, d, &n, f);
}

/* ---- what a move takes along ---- */
struct level {
    int64_t id, after; /* behind this device, those after that one are next */
};
struct look {
    struct level *at;
    int64_t down; /* one behind which something stands; 0 = none in this page */
    int page, looked;
};

static int one(void *arg, const struct device_near *d)
{
    struct look *k = arg;

    k->at->after = d->id;
    k->page++;
    k->looked++;
    k->down = d->leads_on ? d->id : 0;
    return k->down != 0;
}

/* What stands behind it has `room` levels left. */
static int check_behind(struct db *w, const struct device *d, int room, struct fail *f)
{
    struct level levels[DEVICE_DEPTH_MAX + 1] = {{.id = d->id}};
    struct look k = {.looked = 0};
    int depth = 0;

    while (depth >= 0) {
        k.at = &levels[depth];
        k.down = k.page = 0;
        int rc = device_behind_list(w, k.at->id, k.at->after, PAGE, one, &k);
        if (rc < 0)
            return rc;
        if (k.page > 0 && depth == room)
            return fail(f, E_CONFLICT,
                        "at most %d gateways stand before a device, and more would before some "
                        "behind this one",
                        DEVICE_DEPTH_MAX);
        if (k.looked > LOOKED_MAX)
            return fail(f, E_CONFLICT, "a device with more than %d behind it can't move",
                        LOOKED_MAX);
        if (k.down)
            levels[++depth] = (struct level){.id = k.down};
        else if (k.page < PAGE)
            depth--;
    }
    return 0;
}

int depth_check_move(struct db *w, const struct device *d, struct fail *f)
{
    struct device was = {.gateway_id = 0};
    struct arena a;
    int n = 0, rc;

    if (!d->gateway_id)
        return 0;
    arena_init(&a);
    rc = device_by_id(w, d->id, &a, &was);
    arena_done(&a);
    if (rc == 0 && was.gateway_id == d->gateway_id)
        return 0;
    rc = count_up(w, d, &n, f);
    return rc < 0 ? rc : check_behind(w, d, DEVICE_DEPTH_MAX - n, f);
}
