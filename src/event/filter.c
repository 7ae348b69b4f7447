/* The types of events, and filters over them. */
#include "event.h"

const char *const event_types[] = {
    "campaign.scheduled",
    "campaign.started",
    "campaign.paused",
    "campaign.resumed",
    "campaign.phase_opened",
    "campaign.awaiting_approval",
    "campaign.awaiting_confirmation",
    "campaign.completed",
    "campaign.aborted",
    "consent.asked",
    "consent.postponed",
    "consent.confirmed",
    "consent.refused",
    "device.created",
    "device.changed",
    "device.deleted",
    "device.imported",
    "device.quarantined",
    "device.released",
    "firmware.created",
    "firmware.changed",
    "firmware.deleted",
    "firmware.awaiting_confirmation",
    "server.restored",
    "task.run_started",
    "task.run_ended",
    "update.planned",
    "update.offered",
    "update.deferred",
    "update.accepted",
    "update.downloading",
    "update.downloaded",
    "update.installing",
    "update.rebooting",
    "update.installed",
    "update.verified",
    "update.rejected",
    "update.failed",
    "update.rolled_back",
    "update.timed_out",
    "update.canceled",
    "update.unverified",
    NULL,
};

enum { WORD_MAX = 64 };

/* The next word of the list into buf; false at the end. */
static bool next_word(const char **list, char buf[WORD_MAX], bool *ret_fits)
{
    const char *p = *list + strspn(*list, " ,");
    size_t n = strcspn(p, " ,");

    *list = p + n;
    *ret_fits = str_fmt(buf, WORD_MAX, "%.*s", (int)n, p);
    return n > 0;
}

static bool word_matches(const char *word, const char *type)
{
    size_t n = strlen(word);

    if (strcmp(word, "*") == 0)
        return true;
    if (n > 2 && strcmp(word + n - 2, ".*") == 0)
        return strncmp(word, type, n - 1) == 0;
    return strcmp(word, type) == 0;
}

int event_filter_check(const char *filter, struct fail *f)
{
    char word[WORD_MAX];
    bool fits;

    for (const char *p = filter ? filter : ""; next_word(&p, word, &fits);) {
        const char *best = event_types[0];
        unsigned distance = UINT32_MAX;
        bool known = false;

        for (size_t i = 0; fits && event_types[i]; i++) {
            unsigned d = str_distance(word, event_types[i]);
            known |= word_matches(word, event_types[i]);
            if (d < distance) {
                distance = d;
                best = event_types[i];
            }
        }
        if (!known)
            return fail(f, E_PROTO,
                        "There is no such type of event; the nearest is %s, and all "
                        "of a kind are %.*s.*.",
                        best, (int)strcspn(best, "."), best);
    }
    return 0;
}

bool event_filter_match(const char *filter, const char *type)
{
    char word[WORD_MAX];
    bool any = false, fits;

    for (const char *p = filter ? filter : ""; next_word(&p, word, &fits);) {
        any = true;
        if (fits && word_matches(word, type))
            return true;
    }
    return !any;
}
