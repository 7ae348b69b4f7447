/*
 * Messages that the broker skipped, and how they come after all.
 *
 * mosquitto has a trap for slow consumers: when it cannot write to us and max_queued_messages
 * packets (1,000) wait already, it skips writing further QoS 1 messages and sends them only on the
 * session's next connection, without a word. So we look for the traces and reconnect once all
 * that came is acknowledged:
 *
 *   - A gap in the message ids. Brokers count them up for each session; one that hands them out
 *     in another order shows it by going back, and is believed no gap from then on.
 *   - Nothing comes after the last one that was skipped, hence no gap: after a burst that filled
 *     our end of the socket, we do not trust the silence.
 *
 * What comes then may be as much again, and skipped again: each round brings a thousand at least.
 */
#include "internal.h"

#include <linux/sock_diag.h>
#include <mqtt_protocol.h>
#include <sys/socket.h>

#define QUEUE_USUAL 1000 /* mosquitto's max_queued_messages unless configured */
#define QUEUE_LEAST 100  /* … and somebody may configure less: gaps count from here on */
#define LAST_ID     65535
#define LEAVE_MS    5000

void skipped_reset(struct mqtt *m)
{
    m->skipped = (struct skipped){0};
}

/* Ids run from 1 to 65,535 and start again. */
void skipped_message(struct mqtt *m, int id)
{
    struct skipped *s = &m->skipped;
    if (id == 0) /* QoS 0 */
        return;
    s->came++;
    s->burst++;
    int ahead = s->last_id ? (id - s->last_id + LAST_ID) % LAST_ID : 1;
    s->last_id = id;
    if (ahead == 0 || ahead > LAST_ID / 2)
        s->unordered = true;
    else if (ahead > 1 && !s->unordered && s->came > QUEUE_LEAST)
        s->some = true;
}

/* Small messages take many times their size in the buffer, so that it is half full for an instant
 * under any load: by itself that tells nothing. */
void skipped_look(struct mqtt *m)
{
    uint32_t mem[SK_MEMINFO_VARS];
    socklen_t n = sizeof(mem);
    struct skipped *s = &m->skipped;
    if (!m->deferred || s->was_full || getsockopt(m->fd, SOL_SOCKET, SO_MEMINFO, mem, &n) < 0)
        return;
    s->was_full = mem[SK_MEMINFO_RMEM_ALLOC] > mem[SK_MEMINFO_RCVBUF] / 2;
    s->burst = 0;
}

bool skipped_suspected(const struct mqtt *m)
{
    return m->skipped.was_full && m->skipped.burst >= QUEUE_USUAL;
}

void skipped_tick(struct mqtt *m)
{
    struct skipped *s = &m->skipped;
    bool silent = s->came == s->came_before;
    s->came_before = s->came;
    if (!silent || m->paused || m->unacked > 0)
        return;
    m->drained = true; /* it was, but for the last look: a full batch may end with the last byte */
    if (skipped_suspected(m))
        s->some = true;
    s->was_full = false;
    skipped_fetch(m);
}

/* Before SUBACK too: that may be among what was skipped. */
void skipped_fetch(struct mqtt *m)
{
    if (!m->skipped.some || !m->drained || m->unacked > 0 || !session_connected(m) ||
        traffic_has_unwritten(m) || gate_has_input(&m->gate))
        return;
    /* Closing while something comes in would reset the connection, and our PUBACKs be thrown away
     * unread: the same messages again, for ever. So the broker is to close it. */
    m->phase = PHASE_LEAVING;
    shutdown(m->fd, SHUT_WR);
    loop_timer_start(m->timer, LEAVE_MS, 0);
}

void skipped_leave(struct mqtt *m)
{
    char nowhere[16384];
    ssize_t n;
    do
        n = recv(m->fd, nowhere, sizeof(nowhere), MSG_DONTWAIT);
    while (n > 0 || (n < 0 && errno == EINTR));
    if (n < 0 && errno == EAGAIN)
        return;
    m->again = true;
    session_fail(m, "we were too slow for %s:%d: reconnecting, to be sent what it skipped", m->host,
                 m->port);
}
