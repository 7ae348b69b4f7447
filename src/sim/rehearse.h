/* What the files of otasim rehearse share: the fleet, and one device of it. */
#pragma once

#include "sim.h"

/* How a device fails (fault.c). The order is that in which --fail shares are laid out. */
enum fault {
    FAULT_NONE,
    FAULT_CUT,      /* breaks the download off in the middle, and says so */
    FAULT_CHECKSUM, /* downloads, claims that the checksum is wrong */
    FAULT_ROLLBACK, /* says that it has installed, comes back with the old version */
    FAULT_SILENT,   /* takes the offer and is never heard of again */
    FAULT_SUSPECT,  /* reports the new version without having fetched a byte */
    FAULT_SLOW,     /* takes --slow seconds for the download; nothing else is wrong */
    FAULT__COUNT
};
enum { FAULT_SHARES = 10000, VERSIONS_MAX = 64, FAIL_VERSIONS_MAX = 16 };

const char *fault_name(enum fault f);
/* "cut=2.5" into shares (hundredths of a percent); SIM_USAGE with a line on stderr. */
int fault_option(const char *text, int64_t shares[FAULT__COUNT]) MUST_USE;
/* Always the same for a seed and a key: SHA-256 of "seed/key", its first four bytes as a number
 * (big end first) modulo 10,000; the kinds lie side by side from 0 on. Pure. */
enum fault fault_of(const char *seed, const char *key, const int64_t shares[FAULT__COUNT]);

struct rehearse_options {
    struct sim_broker broker;
    const char *prefix, *password, *version, *attribute, *event, *module, *seed, *until, *report;
    const char *fail_versions[FAIL_VERSIONS_MAX]; /* none: whatever is offered */
    size_t n_fail_versions;
    int64_t shares[FAULT__COUNT];
    int64_t devices, first, spare, attempts, connects; /* connects: new ones in a second */
    int64_t interval_ms, install_ms, reboot_ms, slow_ms, progress_ms, timeout_ms; /* 0 = none */
    bool reply, plan, stay;
};

/* What became of the last offer that a device took. */
enum outcome { OUT_NOTHING, OUT_BUSY, OUT_UPDATED, OUT_FAILED, OUT_BROKEN };

enum step { STEP_AWAY, STEP_IDLE, STEP_DOWNLOAD, STEP_INSTALL, STEP_DOWN, STEP_GONE };

struct member {
    struct rehearse *fleet;
    struct mqtt *mqtt;
    struct loop_timer *next;
    struct fetch *fetch;
    struct wire_offer offer;
    size_t file; /* of the offer: being downloaded */
    uint64_t random;
    enum step step;
    enum fault fault, now; /* as the seed says; and what it does to the offer in hand */
    enum outcome outcome;
    uint16_t version, coming;   /* numbers in the fleet's list: now, and after the reboot */
    bool up, asked, told, done; /* told: what it runs, since its boot */
    int64_t turn;     /* its place among those that were offered what fails; 0 = not yet */
    int64_t failures; /* as --fail says, with the version of --until */
};

struct rehearse {
    struct rehearse_options o;
    struct loop *loop;
    struct loop_timer *connect, *progress, *limit;
    struct member *members;
    char versions[VERSIONS_MAX][VERSION_MAX + 1];
    int64_t running[VERSIONS_MAX];
    size_t n_versions;
    int64_t n_begun, n_up, n_turns, n_done, n_downloading;
    bool mended;
    int64_t began_us;
    /* counted */
    uint64_t checks, answers, offers, pushed, repeats, stale, installs, broken, losses;
    uint64_t acted[FAULT__COUNT]; /* offers that were met so */
    char broken_why[200];         /* the first one that nobody ordered */
    int code;
};

void member_init(struct rehearse *r, struct member *m, int64_t number);
void member_begin(struct member *m); /* connects */
void member_free(struct member *m);
void member_key(const struct rehearse *r, const struct member *m, char *ret, size_t cap);
/* Number of a version in the fleet's list; what is too much is counted as the last. */
uint16_t rehearse_version(struct rehearse *r, const char *version);
/* A member is done, or not any more. */
void rehearse_done(struct rehearse *r, struct member *m, bool done);

int rehearse_run(struct rehearse *r) MUST_USE; /* exit code */
void rehearse_end(struct rehearse *r);
