/*
 * The counts of versions over time: a point per hour and one per day for each module of a type,
 * copied from the counters, never from the devices. A point names the versions that most devices
 * run and sums up the rest. What is old goes, slice by slice.
 */
#include "device_priv.h"

#include <inttypes.h>

#define HOUR_MS       INT64_C(3600000)
#define DAY_MS        INT64_C(86400000)
#define KEEP_HOURS    (7 * DAY_MS)
#define KEEP_DAYS     (400 * DAY_MS)
#define VERSIONS_MAX  24 /* by name in a point */
#define FORGET_POINTS 500

/* ---- reading ---- */
int device_points(struct db *db, int64_t type_id, const char *module, int64_t step_s, int64_t from,
                  int64_t to, int (*row)(void *arg, int64_t at, const char *members), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_VERSION_POINTS);
    int rc;

    db_bind_int(q, 1, type_id);
    db_bind_text(q, 2, module);
    db_bind_int(q, 3, step_s);
    db_bind_int(q, 4, from);
    db_bind_int(q, 5, to);
    db_bind_int(q, 6, DEVICE_POINTS_MAX);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_int(q, 0), db_text(q, 1));
        if (rc != 0)
            return rc;
    }
    return rc;
}

/* ---- writing ---- */
struct point {
    struct sbuf text;
    int n;
    int64_t other, disabled;
};

static int add_version(void *arg, const char *version, int64_t enabled, int64_t disabled)
{
    struct point *p = arg;

    p->disabled += disabled;
    if (!*version || p->n == VERSIONS_MAX) {
        p->other += enabled;
        return 0;
    }
    if (enabled == 0)
        return 0;
    sbuf_str(&p->text, p->n++ ? "," : "");
    json_add_string(&p->text, version);
    sbuf_fmt(&p->text, ":%" PRId64, enabled);
    return 0;
}

static int add_point(struct db *w, const struct device_points_at *at, int64_t step_s, int64_t ms,
                     const char *text)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_VERSION_POINT_ADD);

    db_bind_int(q, 1, at->type_id);
    db_bind_text(q, 2, at->module);
    db_bind_int(q, 3, step_s);
    db_bind_int(q, 4, ms);
    db_bind_text(q, 5, text);
    return db_run(q);
}

static int write_point(struct db *w, const struct device_points_at *at)
{
    struct point p = {.n = 0};

    sbuf_str(&p.text, "\"versions\":{");
    int rc = device_fleet(w, at->type_id, at->module, add_version, &p);
    sbuf_fmt(&p.text, "},\"other\":%" PRId64 ",\"disabled\":%" PRId64, p.other, p.disabled);
    if (rc == 0)
        rc = add_point(w, at, DEVICE_POINTS_HOUR, at->hour, p.text.p);
    if (rc == 0) /* the first one of the day stands for it */
        rc = add_point(w, at, DEVICE_POINTS_DAY, at->hour - at->hour % DAY_MS, p.text.p);
    sbuf_done(&p.text);
    return rc;
}

/* The next module; E_NOTFOUND behind the last one. */
static int next(struct db *w, struct device_points_at *at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_VERSION_NEXT);

    db_bind_int(q, 1, at->type_id);
    db_bind_text(q, 2, at->module);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    at->type_id = db_int(q, 0);
    return str_copy(at->module, sizeof(at->module), db_text(q, 1)) ? 0 : E_DB;
}

static int forget(struct db *w, int64_t step_s, int64_t before)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_VERSION_POINT_FORGET);

    db_bind_int(q, 1, step_s);
    db_bind_int(q, 2, before);
    db_bind_int(q, 3, FORGET_POINTS);
    int rc = db_run(q);
    return rc < 0 ? rc : db_changed(w) == FORGET_POINTS;
}

bool device_points_due(const struct device_points_at *at, int64_t now)
{
    return !at->done || at->hour != now - now % HOUR_MS;
}

int device_points_tick(struct db *w, struct device_points_at *at, int64_t now, int max)
{
    int64_t hour = now - now % HOUR_MS;
    int rc = 0;

    if (!device_points_due(at, now))
        return 0;
    if (hour != at->hour)
        *at = (struct device_points_at){.hour = hour};
    for (int i = 0; i < max && rc == 0; i++) {
        rc = next(w, at);
        if (rc == 0)
            rc = write_point(w, at);
    }
    if (rc != E_NOTFOUND)
        return rc < 0 ? rc : 1;
    rc = forget(w, DEVICE_POINTS_HOUR, now - KEEP_HOURS);
    int more = rc < 0 ? rc : forget(w, DEVICE_POINTS_DAY, now - KEEP_DAYS);
    if (rc < 0 || more < 0)
        return rc < 0 ? rc : more;
    at->done = rc == 0 && more == 0;
    return !at->done;
}
