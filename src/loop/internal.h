/* What the files of the loop room share. Never included from outside. */
#pragma once

#include "loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

struct turn {
    void (*cb)(void *arg);
    void *arg;
    struct turn *next;
};

struct loop {
    uv_loop_t uv;
    uv_async_t stop;
    uv_prepare_t prepare;
    uv_check_t check;
    struct turn *turns; /* in the order of registration */
    atomic_bool running;
    pthread_t owner; /* valid while running */
};

/* Every handle but the loop's own lives on the heap with its data pointing to its struct; this
 * frees it once libuv has let go of it. */
void loop_closed(uv_handle_t *h);
