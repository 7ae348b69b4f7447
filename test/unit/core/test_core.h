#pragma once

#include "../../../src/core/core_priv.h"
#include "db_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* An installation with one type, one device D1 that runs 1.0.0, one firmware 1.1.0 for it. */
struct world {
    struct db_fixture fx;
    struct db *reader;
    struct conf conf;
    struct arena arena;
    struct catalog *catalog;
    struct device_type type;
    struct device device, other;
    struct firmware firmware;
    uint8_t link_key[32];
};
void world_init(struct world *w);
void world_done(struct world *w);
void world_reload(struct world *w); /* the snapshot, after catalog rows changed */

/* One message through decode and engine on a connection. */
struct said {
    int rc;
    enum metric refused; /* the last one */
    size_t n_refused;
    struct answers out;
    const char *topic, *text; /* the first answer; NULL when none */
};
struct said say(struct world *w, struct db *db, const char *topic, const char *payload);
/* The same on the writer, in a transaction that is committed. */
struct said tell(struct world *w, const char *topic, const char *payload);

int run_engine_tests(void);
int run_behind_tests(void);
int run_left_tests(void);
int run_down_tests(void);
int run_drive_tests(void);
int run_parts_tests(void);
int run_progress_tests(void);
int run_queue_tests(void);
int run_turn_tests(void);
int run_topics_tests(void);
int run_files_tests(void);
