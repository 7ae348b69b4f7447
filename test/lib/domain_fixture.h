/*
 * A database with an installation, one device type and shorthand for devices and firmwares: what
 * the tests of catalog, device and update start from. Everything happens in one transaction that
 * is rolled back. What fails here aborts the test program. Header only: it needs the rooms up to
 * device, which not every test program wants.
 */
#pragma once

#include "db_fixture.h"
#include "device.h"

#include <stdio.h>

#define T0   1700000000000LL
#define MIN  60000LL
#define HOUR (60 * MIN)
#define DAY  (24 * HOUR)

struct domain {
    struct db_fixture fx;
    struct db *w;
    struct arena a;
    int64_t project;
    struct device_type type;
    struct catalog *catalog;
};

#define MUST(x)                                                                                    \
    do {                                                                                           \
        int must_rc_ = (int)(x);                                                                   \
        if (must_rc_ < 0) {                                                                        \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, err_str(must_rc_));         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline void domain_reload(struct domain *d)
{
    catalog_unref(d->catalog);
    d->catalog = NULL;
    MUST(catalog_load(d->w, &d->catalog, NULL));
}

/* last_update_id: what the update counter stands at; 0 = wherever the installation puts it. */
static inline void domain_init_at(struct domain *d, int64_t last_update_id)
{
    struct project p;

    memset(d, 0, sizeof(*d));
    db_fixture_init(&d->fx);
    d->w = d->fx.w;
    arena_init(&d->a);
    MUST(db_begin(d->w));
    if (last_update_id) {
        struct db_stmt *q = db_use(d->w, Q_COUNTER_SEED);

        db_bind_text(q, 1, "update");
        db_bind_int(q, 2, last_update_id);
        MUST(db_run(q));
    }
    MUST(catalog_install(d->w, T0, NULL));
    MUST(project_by_key(d->w, "default", &d->a, &p));
    d->project = p.id;
    d->type = device_type_defaults;
    d->type.project_id = d->project;
    d->type.key = "cam";
    d->type.created_at = T0;
    MUST(device_type_insert(d->w, &d->type, NULL));
    domain_reload(d);
}

static inline void domain_done(struct domain *d)
{
    if (db_in_tx(d->w))
        db_rollback(d->w);
    catalog_unref(d->catalog);
    arena_done(&d->a);
    db_fixture_done(&d->fx);
}

static inline void domain_init(struct domain *d)
{
    domain_init_at(d, 0);
}

/* After a change of d->type. */
static inline void domain_type_changed(struct domain *d)
{
    MUST(device_type_update(d->w, &d->type, NULL));
    domain_reload(d);
}

static inline int64_t domain_device(struct domain *d, const char *key)
{
    struct device dev = {.project_id = d->project,
                         .type_id = d->type.id,
                         .key = key,
                         .enabled = true,
                         .created_at = T0};

    MUST(device_insert(d->w, &dev, NULL));
    return dev.id;
}

/* A firmware of `size` bytes in one file, not stored yet. */
static inline struct firmware domain_firmware_of(const struct domain *d, const char *version,
                                                 uint64_t size)
{
    struct firmware fw = {.project_id = d->project,
                          .type_id = d->type.id,
                          .module = "main",
                          .version = version,
                          .name = "fw",
                          .enabled = true,
                          .created_at = T0,
                          .n_files = 1};

    fw.files[0].name = "fw.bin";
    fw.files[0].digests.size = size;
    fw.files[0].digests.sha256[0] = 7;
    return fw;
}

static inline int64_t domain_firmware(struct domain *d, const char *version)
{
    struct firmware fw = domain_firmware_of(d, version, 1000);

    MUST(firmware_insert(d->w, &fw, NULL));
    domain_reload(d);
    return fw.id;
}

/* xorshift64*: the seeded source of the property tests. */
static inline uint64_t domain_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}
