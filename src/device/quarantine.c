/*
 * Failures, and the quarantine that too many of them bring: a device that goes in circles gets
 * nothing for a day, and the reason stands beside it.
 */
#include "device_priv.h"

#include "event.h"
#include "json.h"

#include <inttypes.h>

#define DAY_MS ((int64_t)24 * 3600 * 1000)

static int tell(struct db *w, int64_t device_id, const char *cause, const char *text, int64_t now)
{
    struct event e = {
        .at = now, .device_id = device_id, .object_id = device_id, .type = "device.quarantined"};
    struct sbuf data = {.p = NULL};
    struct device d = {0};
    char until[TIME_TEXT_MAX];
    struct arena a;

    arena_init(&a);
    int rc = device_by_id(w, device_id, &a, &d);
    if (rc == 0) {
        sbuf_str(&data, "{\"device\":");
        json_add_string(&data, d.key);
        sbuf_fmt(&data, ",\"until\":\"%s\",\"cause\":\"%s\",\"text\":",
                 time_text(d.quarantined_until, until), cause);
        json_add_string(&data, text);
        sbuf_str(&data, "}");
        e.project_id = d.project_id;
        e.data = data.p;
        rc = event_add(w, &e);
    }
    sbuf_done(&data);
    arena_done(&a);
    return rc;
}

/* It rests from now on. */
static int begin(struct db *w, int64_t device_id, const char *cause, const char *text, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_QUARANTINE_PUT);

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, cause);
    db_bind_text(q, 3, text);
    int rc = db_run(q);
    return rc < 0 ? rc : tell(w, device_id, cause, text, now);
}

static int run_for(struct db *w, enum db_query query, int64_t device_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, query);

    db_bind_int(q, 1, device_id);
    return db_run(q);
}

int device_failed(struct db *w, int64_t device_id, int64_t limit, int64_t now,
                  bool *ret_quarantined)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_FAILED);
    char text[80];
    int rc;

    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, now);
    db_bind_int(q, 3, now - DAY_MS);
    db_bind_int(q, 4, limit);
    db_bind_int(q, 5, now + DAY_MS);
    rc = db_row(q);
    if (rc < 0)
        return rc;
    *ret_quarantined = db_int(q, 0) != 0;
    if (!*ret_quarantined)
        return 0;
    (void)str_fmt(text, sizeof(text), "%" PRId64 " attempts failed on it within a day", limit);
    return begin(w, device_id, "attempts", text, now);
}

static int quarantine(struct db *w, int64_t device_id, int64_t now, bool *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_QUARANTINE);

    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, now);
    db_bind_int(q, 3, now + DAY_MS);
    int rc = db_run(q);
    *ret = rc == 0 && db_changed(w) > 0;
    return rc;
}

static int count_flap(struct db *w, int64_t device_id, const char *module, int64_t now,
                      int64_t *ret_n)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_FLAPPED);

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, module);
    db_bind_int(q, 3, now);
    db_bind_int(q, 4, now - DAY_MS);
    int rc = db_row(q);
    *ret_n = rc == 0 ? db_int(q, 0) : 0;
    return rc;
}

int device_flapped(struct db *w, int64_t device_id, const char *module, const char *high,
                   const char *low, int64_t limit, int64_t now, int64_t *ret_n,
                   bool *ret_quarantined)
{
    char text[256];
    int rc = count_flap(w, device_id, module, now, ret_n);

    *ret_quarantined = false;
    if (rc < 0 || *ret_n < limit)
        return rc;
    rc = quarantine(w, device_id, now, ret_quarantined);
    if (rc == 0)
        rc = run_for(w, Q_DEVICE_FLAP_CLEAR, device_id); /* the next day counts anew */
    if (rc < 0 || !*ret_quarantined)
        return rc;
    (void)str_fmt(text, sizeof(text),
                  "%s went to and fro between %s and %s, and fell back %" PRId64
                  " times within a day",
                  module, high, low, *ret_n);
    return begin(w, device_id, "flapping", text, now);
}

int device_quarantine_why(struct db *db, int64_t device_id, struct device_quarantine *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_QUARANTINE_WHY);

    *ret = (struct device_quarantine){"", ""};
    db_bind_int(q, 1, device_id);
    int rc = db_row(q);
    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    (void)str_copy(ret->cause, sizeof(ret->cause), db_text(q, 0));
    (void)str_copy(ret->text, sizeof(ret->text), db_text(q, 1));
    return 0;
}

int device_release(struct db *w, int64_t device_id, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_DEVICE_RELEASE);
    int rc;

    db_bind_int(q, 1, device_id);
    db_bind_int(q, 2, now);
    rc = db_run(q);
    if (rc == 0 && db_changed(w) == 0)
        return E_NOTFOUND;
    if (rc == 0)
        rc = run_for(w, Q_DEVICE_FLAP_CLEAR, device_id);
    if (rc == 0)
        rc = run_for(w, Q_DEVICE_QUARANTINE_CLEAR, device_id);
    return rc < 0 ? rc : device_tell(w, device_id, "device.released", now);
}
