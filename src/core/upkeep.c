/*
 * The housekeeping's parts that send nothing: what has had its time ends, what is kept no longer is
 * removed. A slice of each per transaction, in a savepoint of its own: rows that one of them can't
 * get through must not keep the others from theirs.
 */
#include "core_priv.h"
#include "event.h"

#define EXPIRE_SLICE 200
#define EVENT_SLICE  500
#define SWEEP_SLICE  500 /* rows */
#define LOG_SLICE    50  /* of up to 64 KiB */
#define POINTS_SLICE 32  /* modules of types */
#define DAY_MS       INT64_C(86400000)

static int updates(struct core *c, struct answers *out UNUSED)
{
    int64_t next;
    int rc = update_expire(c->writer, c->catalog, clock_now_ms(), EXPIRE_SLICE, &next);

    c->expire_due |= rc == EXPIRE_SLICE;
    return rc;
}

static int campaigns(struct core *c, struct answers *out UNUSED)
{
    int rc = update_campaigns(c->writer, clock_now_ms(), EXPIRE_SLICE);

    c->expire_due |= rc == 1;
    return rc;
}

static int events(struct core *c, struct answers *out UNUSED)
{
    int64_t oldest = clock_now_ms() - c->conf->events_keep_hours * 3600 * 1000;
    int rc = event_expire(c->writer, c->conf->events_keep, oldest, EVENT_SLICE);

    c->event_due = rc == EVENT_SLICE;
    return rc;
}

int upkeep_expire(struct core *c)
{
    int rc = 0;

    if (c->expire_due) {
        c->expire_due = false;
        rc = turn_part(c, updates, "updates that had their time");
        if (rc >= 0)
            rc = turn_part(c, campaigns, "campaigns");
    }
    if (rc >= 0 && c->event_due) {
        c->event_due = false;
        rc = turn_part(c, events, "old events");
    }
    return rc;
}

static int topics(struct core *c, struct answers *out UNUSED)
{
    return topics_store(c);
}

int upkeep_topics(struct core *c)
{
    int rc = c->topics_due ? turn_part(c, topics, "what is subscribed") : 0;

    c->topics_due = false;
    if (rc == 1)
        topics_settle(c, false);
    return rc;
}

static int runs(struct core *c, struct answers *out UNUSED)
{
    c->keep.runs = c->conf->task_keep_runs;
    c->keep.before = clock_now_ms() - c->conf->task_keep_days * DAY_MS;
    int rc = task_sweep(c->writer, &c->keep, SWEEP_SLICE);

    c->sweep_more |= rc == 1;
    return rc;
}

static int flow(struct core *c, struct answers *out UNUSED)
{
    int rc = campaign_flow_forget(c->writer, clock_now_ms(), SWEEP_SLICE);

    c->sweep_more |= rc == 1;
    return rc;
}

static int logs(struct core *c, struct answers *out UNUSED)
{
    int64_t oldest = clock_now_ms() - c->conf->logs_keep_days * DAY_MS;
    int rc = update_log_forget(c->writer, c->conf->logs_keep, oldest, LOG_SLICE);

    c->sweep_more |= rc == 1;
    return rc;
}

int upkeep_sweep(struct core *c)
{
    int rc = 0;

    if (!c->sweep_due)
        return 0;
    c->sweep_due = c->sweep_more = false;
    rc = turn_part(c, runs, "old runs of tasks");
    if (rc >= 0)
        rc = turn_part(c, flow, "old figures of campaigns");
    if (rc >= 0)
        rc = turn_part(c, logs, "old logs of devices");
    return rc;
}

static int points(struct core *c, struct answers *out UNUSED)
{
    return device_points_tick(c->writer, &c->points, clock_now_ms(), POINTS_SLICE);
}

int upkeep_points(struct core *c)
{
    int rc = c->points_due ? turn_part(c, points, "how many run which version") : 0;

    c->points_due = false;
    if (rc == 1)
        c->points = (struct device_points_at){0};
    return rc;
}
