/* The groups of the update room's tests, and what they share. */
#pragma once

#include "domain_fixture.h"
#include "update.h"

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
/* clang-format on */

int test_state(void);
int test_coverage(void);
int test_link(void);
int test_decide(void);
int test_naive(void);
int test_floor(void);
int test_hop(void);
int test_flap(void);
int test_life(void);
int test_check(void);
int test_served(void);
int test_walk(void);
int test_reason(void);
int test_log(void);

#define LIFETIME (48 * HOUR)

static inline struct device the_device(struct domain *d, int64_t id)
{
    struct device dev;

    MUST(device_by_id(d->w, id, &d->a, &dev));
    return dev;
}

static inline struct update the_update(struct domain *d, int64_t id)
{
    struct update u;

    MUST(update_by_id(d->w, id, &d->a, &u));
    return u;
}

static inline struct update check(struct domain *d, int64_t device, int64_t now,
                                  struct decision *ret)
{
    struct device dev = the_device(d, device);
    struct decision dn;
    struct update u;
    bool repeated;

    MUST(update_check(d->w, d->catalog, &dev, "main", now, LIFETIME, &d->a, &u, &repeated,
                      ret ? ret : &dn));
    return u;
}

static inline int moved(struct domain *d, int64_t id, enum update_state to, int64_t now)
{
    struct device dev = the_device(d, the_update(d, id).device_id);

    return update_moved(d->w, d->catalog, &dev, id, to, -1, NULL, now, &d->a);
}

static inline void report(struct domain *d, int64_t device, const char *version, int64_t now)
{
    struct device dev = the_device(d, device);

    MUST(update_reported(d->w, d->catalog, &dev, "main", version, now, &d->a));
}

static inline void served(struct domain *d, int64_t id, uint64_t from, uint64_t to, int64_t now)
{
    MUST(update_served(d->w, d->catalog, id, 1, from, to, to - from, from == 0, now, &d->a));
}
