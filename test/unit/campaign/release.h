/* A type with forty devices at 1.0, and 2.0, which is released by campaign alone. */
#pragma once

#include "tests.h"

struct release {
    struct domain d;
    int64_t good, bad, campaign;
    int64_t devices[40];
};

static inline int64_t firmware(struct domain *d, const char *version)
{
    struct firmware fw = domain_firmware_of(d, version, 1000);

    fw.campaign_only = true;
    MUST(firmware_insert(d->w, &fw, NULL));
    domain_reload(d);
    return fw.id;
}

static inline void reports(struct release *r, int i, const char *version, int64_t now)
{
    struct device dev;

    MUST(device_by_id(r->d.w, r->devices[i], &r->d.a, &dev));
    MUST(update_reported(r->d.w, r->d.catalog, &dev, "main", version, now, &r->d.a));
}

static inline void release_init(struct release *r)
{
    char key[16];

    domain_init(&r->d);
    clock_fake_steady_ms(T0);
    r->d.type.attempts = 1;
    domain_type_changed(&r->d);
    r->good = domain_firmware(&r->d, "1.0");
    r->bad = firmware(&r->d, "2.0");
    for (int i = 0; i < (int)ARRAY_LEN(r->devices); i++) {
        (void)str_fmt(key, sizeof(key), "dev%d", i);
        r->devices[i] = domain_device(&r->d, key);
        reports(r, i, "1.0", T0);
    }
}

static inline void release_done(struct release *r)
{
    clock_fake_steady_ms(0);
    domain_done(&r->d);
}

static inline void started(struct release *r, const char *definition,
                           const struct campaign_lists *l)
{
    r->campaign = declare(&r->d, r->bad, r->good, definition, l);
    MUST(campaign_start(r->d.w, r->campaign, T0, NULL));
}

/* A check: the update's number, or 0 and why. */
static inline int64_t asks(struct release *r, int i, int64_t now, enum reason *ret_why)
{
    struct decision why;
    struct device dev;
    struct update u;
    bool repeated;

    MUST(device_by_id(r->d.w, r->devices[i], &r->d.a, &dev));
    MUST(update_check(r->d.w, r->d.catalog, &dev, "main", now, LIFETIME, &r->d.a, &u, &repeated,
                      &why));
    if (ret_why)
        *ret_why = why.reason;
    return u.id;
}

static inline enum reason why(struct release *r, int i, int64_t now)
{
    enum reason got;

    assert_int_equal(asks(r, i, now, &got), 0);
    return got;
}

static inline int fetched(struct release *r, int64_t update, int64_t now)
{
    return update_served(r->d.w, r->d.catalog, update, 1, 0, 1000, 1000, true, now, &r->d.a);
}

/* From the offer to the version, or to the failure. */
static inline void goes(struct release *r, int i, bool well, int64_t now)
{
    int64_t id = asks(r, i, now, NULL);
    struct device dev;

    assert_int_not_equal(id, 0);
    MUST(fetched(r, id, now));
    if (well) {
        reports(r, i, "2.0", now);
        return;
    }
    MUST(device_by_id(r->d.w, r->devices[i], &r->d.a, &dev));
    MUST(update_moved(r->d.w, r->d.catalog, &dev, id, UPDATE_FAILED, -1, "no", now, &r->d.a));
}
