/*
 * Intake: when messages are taken from the broker, when they wait there, and when what was taken
 * is acknowledged. Messages are settled in the order in which they came, so the PUBACKs of those
 * before the first that is not leave at once. Where they can only leave all together (TLS), they do
 * when nothing is unsettled, and intake pauses for that moment when it does not come by itself.
 */
#include "core_priv.h"

#define WAITING_MAX   20000 /* messages; beyond it intake pauses */
#define IN_FLIGHT_MAX 20000 /* commands without PUBACK; beyond it intake pauses */
/* Where PUBACKs leave all together, a pause lasts for a commit and for writing them; so many are
 * due, but it begins when one commit will do, if that comes before there are too many. More in one
 * go hold up the broker for longer than the pauses cost (measured). Else it only bounds them. */
#define UNACKED_WANT 500
#define UNACKED_MAX  2000
#define UNACKED_US   1000000

void turn_lost(struct core *c)
{
    c->oldest_unacked_us = 0;
    c->paused_for_ack = false;
}

/* The oldest message that is not settled; NULL: all are. Those that came later are none of its
 * business, but their PUBACKs can't overtake. */
static const struct waiting *first_unsettled(const struct core *c)
{
    return c->tx_messages ? c->tx_messages : c->wait_first;
}

/* Whether to pause until all is acknowledged, when PUBACKs leave all together. */
static void pause_for_all(struct core *c, size_t unacked, int64_t now)
{
    if (c->oldest_unacked_us == 0)
        c->oldest_unacked_us = now;
    bool wanted = unacked > UNACKED_WANT || now - c->oldest_unacked_us > UNACKED_US;
    /* Best when a transaction with all of it is on its way: one commit, and it is settled. */
    bool must = unacked > UNACKED_MAX || now - c->oldest_unacked_us > 2 * UNACKED_US;
    if (must || (wanted && c->n_waiting == 0))
        c->paused_for_ack = true;
}

void turn_intake(struct core *c)
{
    const struct waiting *first = first_unsettled(c);
    size_t unacked = mqtt_unacked(c->rx);

    if (unacked > 0 && !first) {
        mqtt_ack(c->rx);
        unacked = 0;
    }
    if (unacked == 0) {
        turn_lost(c);
    } else if (mqtt_ack_before(c->rx, first->number)) {
        unacked = mqtt_unacked(c->rx);
        c->paused_for_ack = unacked > UNACKED_MAX;
    } else {
        pause_for_all(c, unacked, clock_mono_us());
    }
    metric_set(M_MQTT_UNACKED, (int64_t)unacked);
    mqtt_pause(c->rx, c->paused_for_ack || !c->tx_up || c->stopping || c->n_waiting > WAITING_MAX ||
                          c->waiting_bytes > WAITING_BYTES_MAX ||
                          mqtt_in_flight(c->tx) > IN_FLIGHT_MAX);
}
