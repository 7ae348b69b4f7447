/* The simulated world of test_sim.c: what it consists of, and who judges it. */
#pragma once

#include "tests.h"

#define DEVICES_MAX 2000
#define QUEUE_MAX   64
#define OFFERS_MAX  8192
#define PHASES      3

/* A third of the worlds have a floor, 1.5, which is open and what a rollback goes to; in half of
 * them it is marked later. There no device may come to 2.0 but by way of it. */
enum habit { GOOD, FAILS, ROLLS_BACK, REFUSES, SILENT };
struct unit {
    int64_t id, offer;
    int64_t counted, attempt; /* the last offer that was counted: what it repeats is none */
    int version;              /* 1 runs 1.0, 2 runs 2.0, 3 runs 1.5 */
    int target;               /* of the offer, likewise */
    int64_t pushed, pushed_attempt;
    bool there; /* connected */
    enum habit habit;
    bool had_bad; /* 2.0 from the campaign */
    bool yes, no; /* what its user said last, and was heard */
};
enum said { ASKS, FETCHED, INSTALLED, FAILED, REFUSED, LATER, REPORTS, ANSWERS };
struct message {
    int unit;
    enum said said;
    int64_t offer;
    int version;
    enum consent_answer answer;
};

struct world {
    struct domain *d;
    uint64_t seed, random;
    int64_t now, steady;
    struct unit units[DEVICES_MAX];
    int n;
    struct message queue[QUEUE_MAX];
    int n_queue;
    int64_t offers[OFFERS_MAX]; /* steady times, ascending */
    int n_offers, n_firsts;     /* of those: first attempts */
    int64_t opened[PHASES + 1];
    int64_t campaign, good, bad;
    struct campaign c;
    struct campaign_status s;
    bool floored, marked;
    struct update_walks walks;
    int64_t pushes;
    bool ended;                    /* by itself */
    bool resumed;                  /* by an operator: the thresholds count from there */
    int64_t verified, rolled_back; /* what came of it */
    int64_t asked, lifted, after_yes;
};

#define HOLDS(w, cond)                                                                             \
    do {                                                                                           \
        if (!(cond))                                                                               \
            fail_msg("seed %llu: %s", (unsigned long long)(w)->seed, #cond);                       \
    } while (0)

/* sim_judge.c: compare what the rows say with a recount, and what counters say with both; all: of
 * every update. Sets what stands of it in the world. */
void sim_judge(struct world *w, bool all);
/* Its user, or the device, refused it. */
bool sim_is_refusal(const struct update *u);
/* It was verified, and its device went back. */
bool sim_fell_back(struct world *w, const struct update *u);
