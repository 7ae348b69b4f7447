/* A type with devices of which a third has nothing newer to get, and what leaves for them. */
#pragma once

#include "tests.h"

enum { DEVICES = 300 };

struct world {
    struct domain d;
    struct device_seen *seen;
    struct task_env env;
    int64_t ids[DEVICES];
    int sent, kept, send_rc, online;
    const char *asked;
};

static inline int send_one(void *arg, const struct task_message *m)
{
    struct world *w = arg;

    assert_true(m->action != TASK_OTA_PUSH || m->update->id == m->id);
    w->sent++;
    return w->send_rc;
}

static inline void kept_one(void *arg, int64_t device_id)
{
    assert_true(device_id > 0);
    ((struct world *)arg)->kept++;
}

static inline int online_one(void *arg, const char *key)
{
    struct world *w = arg;

    w->asked = key;
    return w->online;
}

static inline void all_seen(struct world *w, int64_t at)
{
    for (int i = 0; i < DEVICES; i++)
        device_seen_note(w->seen, w->ids[i], at);
}

static inline void world_init(struct world *w)
{
    char key[16];

    memset(w, 0, sizeof(*w));
    domain_init(&w->d);
    w->seen = device_seen_new();
    for (int i = 0; i < DEVICES; i++) {
        (void)str_fmt(key, sizeof(key), "d%d", i);
        w->ids[i] = domain_device(&w->d, key);
        MUST(device_version_set(w->d.w, w->ids[i], "main", i % 3 ? "1.0" : "2.0", T0, NULL));
    }
    (void)domain_firmware(&w->d, "2.0");
    all_seen(w, T0);
    w->env = (struct task_env){.db = w->d.w,
                               .catalog = w->d.catalog,
                               .seen = w->seen,
                               .now = T0,
                               .link_lifetime_ms = 48 * HOUR,
                               .arena = &w->d.a,
                               .send = send_one,
                               .kept = kept_one,
                               .arg = w};
}

static inline void world_done(struct world *w)
{
    device_seen_free(w->seen);
    domain_done(&w->d);
}

static inline struct task task_of(struct world *w)
{
    return (struct task){.project_id = w->d.project,
                         .name = "t",
                         .enabled = true,
                         .action = TASK_OTA_PUSH,
                         .params = "{\"kind\":\"ota_push\"}",
                         .type_id = w->d.type.id,
                         .schedule = "{\"kind\":\"manual\"}",
                         .timezone = "UTC",
                         .grace_s = 600,
                         .created_at = T0};
}

static inline int64_t run_now(struct world *w, const struct task *t)
{
    int64_t run = 0;

    MUST(task_run_now(w->d.w, t, NULL, 0, w->env.now, &run, NULL));
    return run;
}

struct tally {
    int64_t offered, sent, nothing, pending, failed, overtaken, rows;
};

static inline int count_one(void *arg, const char *result, const char *reason, int64_t n)
{
    struct tally *t = arg;

    *(strcmp(result, "offered") == 0           ? &t->offered
      : strcmp(result, "sent") == 0            ? &t->sent
      : strcmp(result, "pending_offline") == 0 ? &t->pending
      : strcmp(result, "failed") == 0          ? &t->failed
      : strcmp(reason, "overtaken") == 0       ? &t->overtaken
                                               : &t->nothing) += n;
    return 0;
}

static inline int row_one(void *arg, const struct task_run_device *d)
{
    struct tally *t = arg;
    (void)d;
    t->rows++;
    return 0;
}

static inline struct tally tally(struct world *w, int64_t run)
{
    struct tally t = {0};

    MUST(task_run_counts(w->d.w, run, count_one, &t));
    MUST(task_run_devices(w->d.w, run, NULL, 0, 100000, row_one, &t));
    assert_int_equal(t.rows, t.offered + t.sent + t.nothing + t.pending + t.failed + t.overtaken);
    return t;
}

static inline bool is_over(struct world *w, int64_t task, int64_t run)
{
    struct task_run r;

    MUST(task_run_by_id(w->d.w, task, run, &w->d.a, &r));
    return r.ended_at != 0;
}
