/* What device.c and device_main.c share: the state of the one simulated device. */
#pragma once

#include "sim.h"

struct device_sim_options {
    struct sim_broker broker;
    const char *version, *attribute, *event, *module, *state_file, *save_file;
    int64_t interval_ms, reboot_ms, timeout_ms; /* timeout 0 = none */
    int64_t attempts, cut_after;
    bool once, reply, verify, download, install;
};

enum device_step { STEP_START, STEP_REPORT, STEP_IDLE, STEP_DOWNLOAD, STEP_REBOOT };

struct device_sim {
    struct device_sim_options o;
    struct loop *loop;
    struct mqtt *mqtt;
    struct loop_timer *next, *limit;
    enum device_step step;
    char version[VERSION_MAX + 1];
    struct wire_offer offer;
    size_t file; /* of the offer: being downloaded */
    struct fetch *fetch;
    int save_fd, report_mid, code;
    bool updated; /* the report that is due is that of the new version */
};

int device_connect(struct device_sim *d, struct fail *f) MUST_USE;
void device_next(void *arg);
void device_timeout(void *arg);
