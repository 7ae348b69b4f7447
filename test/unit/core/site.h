/*
 * A whole core against a broker of its own, on one loop with a client that speaks as the devices.
 * It checks with CHECK, so that it serves in a child process too.
 */
#pragma once

#include "../../../src/db/db_priv.h"
#include "broker.h"
#include "test_core.h"

#define CHECK_TEXT "{\"method\":\"otaCheck\",\"params\":{}}"

struct site {
    struct world w; /* its writer is closed: the core has the only one */
    struct broker b;
    struct loop *l;
    struct catalog_cell *cell;
    struct core *core;
    bool stopped;
    struct mqtt *dev;
    unsigned answers;
    char topic[128], text[1024]; /* of the last answer */
    char url[64];
};
void site_open(struct site *s); /* core and client are connected when it returns */
void site_close(struct site *s);
void site_core_open(struct site *s);
void site_core_close(struct site *s);                               /* stops it first */
void site_say(struct site *s, const char *topic, const char *text); /* through the broker */
/* As if the broker had given it; the batch ends with site_batch_end. */
void site_inject(struct site *s, const char *topic, const char *text);
bool site_version_is(struct site *s, const char *device, const char *version); /* committed */

#define UNTIL(s, cond)                                                                             \
    while (!(cond))                                                                                \
    site_turn(s)
void site_turn(struct site *s); /* waits for something to happen; aborts after two minutes */

/* A job that counts, and writes one setting of that name. */
struct note_job {
    struct db_job job;
    struct site *site;
    const char *name;
    int (*more)(struct note_job *n, struct db *w); /* NULL: nothing */
    unsigned ran, done;
    int rc;
    bool was_committed; /* what done saw */
    int64_t commits;    /* and how many there had been */
};
void note_submit(struct site *s, struct note_job *n, const char *name);
bool site_has_setting(struct site *s, const char *name);
/* A campaign of a second firmware, started; on the core's writer, in a job. Its number. */
int64_t site_campaign(struct site *s, struct db *w, const char *definition);
