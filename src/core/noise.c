/*
 * Messages that are not acted on: each is counted by kind; the log gets one line per device and
 * minute at most, and one line per minute for the sum of what was left out. Memory is bounded by
 * the number of devices noted in a minute; they are noted by hash, for what stands at a device's
 * place in a topic may be 64 KiB long.
 */
#include "core_priv.h"

#include <stdio.h>

#define NOISE_DEVICES_MAX 4096

struct noise {
    struct map seen; /* devices that had their line in this minute */
    int64_t minute;
    int64_t left_out;
};

struct noise *noise_new(void)
{
    return xcalloc(1, sizeof(struct noise));
}

void noise_free(struct noise *n)
{
    if (!n)
        return;
    map_done(&n->seen);
    free(n);
}

static const char *reason_of(enum metric why)
{
#define METRIC(id, kind, name, label, help) [id] = label,
    static const char *const labels[] = {
#include "util_metrics.def"
    };
#undef METRIC
    return labels[why];
}

void noise_refused(struct noise *n, struct str device, enum metric why, int64_t now)
{
    metric_add(why, 1);
    if (now / 60000 != n->minute) {
        if (n->left_out > 0)
            LOG(LOG_WARN, "core", "more device messages were refused",
                KV_INT("count", n->left_out));
        map_done(&n->seen);
        n->seen = (struct map){0};
        n->minute = now / 60000;
        n->left_out = 0;
    }
    uint64_t hash = hash_bytes(device.p, device.n);
    if (n->seen.count >= NOISE_DEVICES_MAX || map_get(&n->seen, &hash, sizeof(hash))) {
        n->left_out++;
        return;
    }
    (void)map_put(&n->seen, &hash, sizeof(hash), n);
    char name[96];
    (void)snprintf(name, sizeof(name), "%.*s", device.n < 95 ? (int)device.n : 95, device.p);
    LOG(LOG_WARN, "core", "device message refused", KV("device", name), KV("why", reason_of(why)));
}
