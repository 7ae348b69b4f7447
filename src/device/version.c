/*
 * The versions of a device's modules: what it runs, what it ran before, and how many devices of
 * its type run what. The counters are moved by atomic statements in the transaction that changes
 * the version, the device's being enabled, or the device; so they are what a recount of the rows
 * would find. A hundred versions of a module have a counter of their own, and those of firmwares;
 * the rest is counted as one, so that a fleet that reports a serial number for a version costs
 * nothing. A device's row says where it is counted.
 */
#include "device_priv.h"

#define COUNTED_MAX    100 /* the migration that filled the counters says the same */
#define PAST_CUT_EVERY 8   /* changes */

/* ---- counters ---- */
/* Where a module is counted. */
struct place {
    int64_t type_id;
    const char *module, *version; /* version "" = among the others */
    bool enabled;
};

static struct db_stmt *at_place(struct db *w, enum db_query query, const struct place *p, int64_t n)
{
    struct db_stmt *q = db_use(w, query);

    db_bind_int(q, 1, p->type_id);
    db_bind_text(q, 2, p->module);
    db_bind_text(q, 3, p->version);
    if (n) {
        db_bind_int(q, 4, p->enabled ? n : 0);
        db_bind_int(q, 5, p->enabled ? 0 : n);
    }
    return q;
}

/* 1: it has a row, with so many at least, and now n more; 0: nothing was written. */
static int count_move(struct db *w, const struct place *p, int64_t n, int64_t at_least)
{
    AUTO(db_reset) struct db_stmt *q = at_place(w, Q_VERSION_COUNT_MOVE, p, n);

    db_bind_int(q, 6, at_least);
    int rc = db_run(q);
    return rc < 0 ? rc : db_changed(w) > 0;
}

static int count_less(struct db *w, const struct place *p)
{
    int rc = count_move(w, p, -1, 2);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    AUTO(db_reset) struct db_stmt *q = at_place(w, Q_VERSION_COUNT_END, p, 0); /* it was the last */
    return db_run(q);
}

int version_count_device(struct db *w, int64_t device_id, int64_t n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_VERSION_COUNT_DEVICE);

    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, n);
    return db_run(q);
}

int version_count_drop(struct db *w, int64_t device_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_VERSION_COUNT_DROP);

    db_bind_int(q, 1, device_id);
    return db_run(q);
}

/* Whether a version that has no row may have one of its own: 1 or 0. */
static int find_room(struct db *w, const struct place *p)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_VERSION_PLACE);

    db_bind_int(q, 1, p->type_id);
    db_bind_text(q, 2, p->module);
    db_bind_text(q, 3, p->version);
    db_bind_int(q, 4, COUNTED_MAX);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0) != 0;
}

/* Counts one that runs it now: 1 in a row of its version, 0 among the others. */
static int count_new(struct db *w, struct place p)
{
    int rc = count_move(w, &p, 1, 0);

    if (rc != 0)
        return rc;
    int own = find_room(w, &p);
    if (own < 0)
        return own;
    if (!own) {
        p.version = "";
        rc = count_move(w, &p, 1, 0);
    }
    if (rc != 0)
        return rc < 0 ? rc : own;
    AUTO(db_reset) struct db_stmt *q = at_place(w, Q_VERSION_COUNT_BEGIN, &p, 1);
    rc = db_run(q);
    return rc < 0 ? rc : own;
}

/* ---- one device ---- */
int device_version(struct db *db, int64_t device_id, const char *module, char *ret,
                   int64_t *ret_reported_at)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_VERSION);
    int rc;

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, module);
    rc = db_row(q);
    if (rc < 0)
        return rc;
    if (!str_copy(ret, VERSION_MAX + 1, db_text(q, 0)))
        return E_DB;
    if (ret_reported_at)
        *ret_reported_at = db_int(q, 1);
    return 0;
}

/* What it ran until now goes into its past. Of that a few more are kept than are shown, so that not
 * each change deletes. */
static int keep_past(struct db *w, int64_t device_id, const char *module, const char *version,
                     int64_t since)
{
    AUTO(db_reset) struct db_stmt *last = db_use(w, Q_VERSION_PAST_LAST);
    AUTO(db_reset) struct db_stmt *add = db_use(w, Q_VERSION_PAST_ADD);

    db_bind_int(last, 1, device_id);
    db_bind_text(last, 2, module);
    int rc = db_row(last);
    if (rc < 0)
        return rc;
    int64_t seq = db_int(last, 0) + 1;
    db_reset(last);
    db_bind_int(add, 1, device_id);
    db_bind_text(add, 2, module);
    db_bind_int(add, 3, seq);
    db_bind_text(add, 4, version);
    db_bind_int(add, 5, since);
    rc = db_run(add);
    if (rc < 0 || seq % PAST_CUT_EVERY != 0)
        return rc;
    AUTO(db_reset) struct db_stmt *cut = db_use(w, Q_VERSION_PAST_CUT);
    db_bind_int(cut, 1, device_id);
    db_bind_text(cut, 2, module);
    db_bind_int(cut, 3, seq - DEVICE_VERSIONS_KEPT);
    return db_run(cut);
}

static int put(struct db *w, enum db_query query, int64_t device_id, const char *module,
               const char *version, int64_t now, int counted)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, query);

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, module);
    db_bind_text(q, 3, version);
    db_bind_int(q, 4, now);
    db_bind_int(q, 5, counted);
    return db_run(q);
}

int device_version_set(struct db *w, int64_t device_id, const char *module, const char *version,
                       int64_t now, bool *ret_changed)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_VERSION_NOW);
    struct place p = {.module = module};

    if (ret_changed)
        *ret_changed = false;
    if (strlen(version) > VERSION_MAX)
        return E_LIMIT;
    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, module);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    bool runs = !db_is_null(q, 0);
    if (runs && strcmp(db_text(q, 0), version) == 0)
        return 0;
    p.type_id = db_int(q, 3);
    p.enabled = db_int(q, 4) != 0;
    if (runs) {
        p.version = db_int(q, 2) ? db_text(q, 0) : "";
        rc = keep_past(w, device_id, module, db_text(q, 0), db_int(q, 1));
        if (rc == 0)
            rc = count_less(w, &p);
    }
    p.version = version;
    if (rc == 0)
        rc = count_new(w, p);
    if (rc < 0)
        return rc;
    if (ret_changed)
        *ret_changed = runs;
    return put(w, runs ? Q_DEVICE_VERSION_PUT : Q_DEVICE_VERSION_FIRST, device_id, module, version,
               now, rc);
}

int device_versions(struct db *db, int64_t device_id,
                    int (*row)(void *arg, const char *module, const char *version,
                               int64_t reported_at),
                    void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_VERSIONS);
    int rc;

    db_bind_int(q, 1, device_id);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_text(q, 0), db_text(q, 1), db_int(q, 2));
        if (rc != 0)
            return rc;
    }
    return rc;
}

int device_version_past(struct db *db, int64_t device_id, const char *module,
                        int (*row)(void *arg, const char *version, int64_t since), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_VERSION_PAST);
    int rc;

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, module);
    db_bind_int(q, 3, DEVICE_VERSIONS_KEPT);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_text(q, 0), db_int(q, 1));
        if (rc != 0)
            return rc;
    }
    return rc;
}

/* ---- a fleet ---- */
int device_fleet_modules(struct db *db, int64_t type_id, int (*row)(void *arg, const char *module),
                         void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_VERSION_MODULES);
    int rc;

    db_bind_int(q, 1, type_id);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_text(q, 0));
        if (rc != 0)
            return rc;
    }
    return rc;
}

int device_fleet(struct db *db, int64_t type_id, const char *module,
                 int (*row)(void *arg, const char *version, int64_t enabled, int64_t disabled),
                 void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_VERSION_COUNTS);
    int rc;

    db_bind_int(q, 1, type_id);
    db_bind_text(q, 2, module);
    while ((rc = db_step(q)) == 1) {
        rc = row(arg, db_text(q, 0), db_int(q, 1), db_int(q, 2));
        if (rc != 0)
            return rc;
    }
    return rc;
}
