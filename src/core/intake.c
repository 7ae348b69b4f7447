/*
 * Intake: when messages are taken from the broker, when they wait there, and when what was taken
 * is acknowledged. PUBACKs leave in one go, when nothing that was taken is unsettled.
 */
#include "core_priv.h"

#define WAITING_MAX   20000 /* messages; beyond it intake pauses */
#define IN_FLIGHT_MAX 20000 /* commands without PUBACK; beyond it intake pauses */
/* A pause lasts for a commit and for writing the PUBACKs, 3.5 us each; so many are due, but it
 * begins when one commit will do, if that comes before there are too many. More in one go hold up
 * the broker for longer than the pauses cost (measured). */
#define UNACKED_WANT 500
#define UNACKED_MAX  2000
#define UNACKED_US   1000000

void turn_lost(struct core *c)
{
    c->oldest_unacked_us = 0;
    c->paused_for_ack = false;
}

void turn_intake(struct core *c)
{
    bool settled = c->n_waiting == 0 && ((!c->open && !c->committing) || !c->tx_messages);
    size_t unacked = mqtt_unacked(c->rx);

    if (unacked > 0 && settled) {
        mqtt_ack(c->rx);
        unacked = 0;
    }
    if (unacked == 0) {
        c->oldest_unacked_us = 0;
        c->paused_for_ack = false;
    } else {
        int64_t now = clock_mono_us();
        if (c->oldest_unacked_us == 0)
            c->oldest_unacked_us = now;
        bool wanted = unacked > UNACKED_WANT || now - c->oldest_unacked_us > UNACKED_US;
        /* Best when a transaction with all of it is on its way: one commit, and it is settled. */
        bool must = unacked > UNACKED_MAX || now - c->oldest_unacked_us > 2 * UNACKED_US;
        if (must || (wanted && c->n_waiting == 0))
            c->paused_for_ack = true;
    }
    metric_set(M_MQTT_UNACKED, (int64_t)unacked);
    mqtt_pause(c->rx, c->paused_for_ack || !c->tx_up || c->stopping || c->n_waiting > WAITING_MAX ||
                          c->waiting_bytes > WAITING_BYTES_MAX ||
                          mqtt_in_flight(c->tx) > IN_FLIGHT_MAX);
}
