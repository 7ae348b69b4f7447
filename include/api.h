/*
 * api: the operator's REST API under /api/v1, the open routes (/healthz, /readyz, /metrics) and
 * the devices' downloads (/d/…). One file per resource. Handlers run on http threads: they read
 * on their thread's own reading connection and write by jobs on the core thread.
 */
#pragma once

#include "catalog.h"
#include "conf.h"
#include "db.h"
#include "dialect.h"
#include "http.h"
#include "store.h"
#include "update.h"

struct api;

/* What the api needs of the rest. Everything outlives the api. */
struct api_env {
    const struct conf *conf;
    const char *db_path; /* each http thread opens its own reader */
    struct store *store;
    struct catalog_cell *catalog;
    uint8_t link_key[32];
    db_submit_fn submit; /* hand a job to the core thread */
    void *core;
    bool (*mqtt_up)(void *core); /* any thread */
    /* Any thread: is the device connected? -1 = not known. May be NULL. */
    int (*online)(void *core, const char *key);
    /* When it was last heard, as far as that is known in memory alone; 0 = not. Core thread. May
     * be NULL. */
    int64_t (*heard_at)(void *core, int64_t device_id);
    /* A device, its password or enabled flag changed (key), or many did (NULL): the broker has to
     * know. Core thread (from a job's done). */
    void (*credentials_changed)(void *core, const char *key);
    /* Something was queued for a device. Core thread (from a job's done). woke (may be NULL) runs
     * once on the core thread, when it has ended or after wait_ms. May be NULL. */
    void (*down_queued)(void *core, int64_t id, int64_t wait_ms, void (*woke)(void *arg),
                        void *arg);
    /* What a device sent over HTTP. Core thread, in a job's run. May be NULL. */
    int (*post)(void *core, struct db *w, struct device_post *m);
};

int api_open(const struct api_env *env, struct api **ret, struct fail *f) MUST_USE;
/* What takes long ends early: before http is stopped. Any thread. */
void api_stop(struct api *api);
void api_close(struct api *api);
/* Something was committed: whoever watches shall look. Any thread, until http has stopped. */
void api_committed(struct api *api);
/* For http_start: fills tables, thread_open, thread_close, before and arg. */
void api_http_options(struct api *api, struct http_options *ret);

/* First start: the admin token of project `default` (conf's, or a generated one that goes to
 * <data_dir>/admin-token, 0600). In the core's transaction, before the threads run. */
int api_install_admin_token(struct db *w, const struct conf *conf, int64_t now,
                            struct fail *f) MUST_USE;

/* The OpenAPI 3.1 description, from the same field tables that check the requests. New reference.
 */
json_t *api_openapi(void);
