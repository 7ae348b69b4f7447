/* What fleet.c (the load) and fleet_main.c (options, printing) share. */
#pragma once

#include "sim.h"

enum fleet_mode { FLEET_CHECK, FLEET_WRITE, FLEET_MIXED };

struct fleet_options {
    struct sim_broker broker;
    const char *prefix, *event, *attribute;
    char versions[2][VERSION_MAX + 1]; /* what writing checks report in turn */
    enum fleet_mode mode;
    int64_t devices, first, window, in_flight, connections; /* in_flight 0 = devices x window */
    int64_t rate;                                           /* checks per second; 0 = closed loop */
    int64_t write_percent;                                  /* of the devices, in mixed mode */
    int64_t seconds_ms, warmup_ms, timeout_ms, connect_ms;
    bool spread;
};

struct fleet_counts {
    uint64_t sent, answered, offers, answer_bytes;
    uint64_t lost;   /* no answer in time */
    uint64_t errors; /* answers nobody waited for, refused publishes, connections lost */
};

struct fleet_device {
    uint32_t conn;
    uint16_t head, used; /* ring of send times: oldest first */
    uint8_t flip;        /* which of the two versions comes next */
    bool writes;
};

struct fleet_conn {
    struct fleet *fleet;
    struct mqtt *mqtt;
    bool asked, up;
};

enum fleet_phase { FLEET_CONNECTING, FLEET_WARMUP, FLEET_MEASURING, FLEET_DRAINING, FLEET_DONE };

struct fleet {
    struct fleet_options o;
    struct loop *loop;
    struct loop_timer *tick, *phase_timer;
    enum fleet_phase phase;
    struct fleet_conn *conns;
    size_t n_conns, n_up, n_asked;
    struct fleet_device *devices;
    int64_t *sent_us; /* devices x window */
    size_t cursor, stride;
    int64_t in_flight;
    /* paced sending: which check is next, and when it was due */
    int64_t pace_start_us, pace_sent;
    int64_t began_us, ended_us; /* the measured stretch */
    uint64_t total_answers;     /* with those before and after it */
    struct fleet_counts counts; /* of the measured stretch */
    struct hist plain, writes;
    char *check_text, *write_text[2];
    int code;
};

int fleet_start(struct fleet *f, struct fail *why) MUST_USE;
void fleet_end(struct fleet *f);
