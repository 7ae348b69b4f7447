/*
 * Verified, and back again within a day: the device does not hold what it installs. Each time is a
 * failure, and a few of them are flapping: target, old, target … ends in quarantine and not in an
 * endless loop. The update stays verified; its history tells what came after.
 */
#include "update_priv.h"

#include <inttypes.h>

struct verified {
    int64_t id, firmware_id;
    const char *from_version, *to_version;
    int64_t campaign_id, ended_at; /* campaign 0 = none */
    int phase;
    bool suspect, fell; /* fell: it was told before */
};

/* E_NOTFOUND when the last one that ended was no success of the last day. */
static int last_verified(struct db *db, int64_t device_id, const char *module, int64_t now,
                         struct arena *a, struct verified *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_VERIFIED_LAST);

    db_bind_int(q, 1, device_id);
    db_bind_text(q, 2, module);
    db_bind_int(q, 3, now - DAY_MS);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    *ret = (struct verified){.id = db_int(q, 0),
                             .firmware_id = db_int(q, 1),
                             .from_version = arena_strdup(a, db_text(q, 2)),
                             .to_version = arena_strdup(a, db_text(q, 3)),
                             .campaign_id = db_int(q, 4),
                             .phase = (int)db_int(q, 5),
                             .suspect = db_int(q, 6) != 0,
                             .fell = db_int(q, 7) != 0,
                             .ended_at = db_int(q, 8)};
    return 0;
}

/* To where it came from, or further back. */
static bool is_fall_back(const struct catalog *c, const struct device_type *type,
                         const struct device *d, const char *module, const struct verified *v,
                         const char *version)
{
    const struct firmware *fw, *target = catalog_firmware(c, v->firmware_id);

    if (version_compare(type->scheme, version, v->to_version) == 0)
        return false; /* of a re-install both are the same */
    if (version_compare(type->scheme, version, v->from_version) == 0)
        return true;
    if (type->scheme != VERSION_OPAQUE)
        return version_compare(type->scheme, version, v->to_version) < 0;
    fw = decide_locate(c, d->type_id, module, version);
    return fw && target && fw->rank < target->rank;
}

static int tell(struct db *w, const struct verified *v, const char *text, int64_t now)
{
    return update_history_add(w, v->id, now, "verified", "verified", "fell_back", text);
}

int flap_note(struct db *w, const struct catalog *c, const struct device *d, const char *module,
              const char *version, int64_t now, struct arena *a)
{
    const struct device_type *type = decide_type(c, d);
    bool quarantined, flapping;
    struct verified v = {0};
    int64_t n;
    int rc = last_verified(w, d->id, module, now, a, &v);

    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : rc;
    if (!is_fall_back(c, type, d, module, &v, version))
        return 0;
    if (v.campaign_id && !v.fell)
        rc = campaign_fell_back(w, v.campaign_id, v.phase, v.suspect, v.ended_at, now);
    if (rc < 0)
        return rc;
    if (d->quarantined_until > now) /* it rests: that it fell is told once */
        return v.fell ? 0
                      : tell(w, &v, arena_printf(a, "the device reports %s: it fell back", version),
                             now);
    rc = life_count_failure(w, type, d, now, &quarantined);
    if (rc == 0)
        rc = device_flapped(w, d->id, module, v.to_version, version, type->flaps_per_day, now, &n,
                            &flapping);
    if (rc < 0)
        return rc;
    metric_add(M_QUARANTINED, flapping);
    return tell(w, &v,
                arena_printf(a,
                             "the device reports %s: it fell back, %" PRId64 " of %" PRId64
                             " times in a day",
                             version, n, type->flaps_per_day),
                now);
}
