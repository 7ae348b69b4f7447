/*
 * MQTT topics against patterns: '+' stands for one level, a last '#' for the rest, "%u" for a
 * given name. The same question serves topics and filters: does the pattern cover all of it?
 */
#include "util.h"

bool topic_covers(const char *pattern, const char *topic, const char *user)
{
    for (;;) {
        size_t pn = strcspn(pattern, "/"), tn = strcspn(topic, "/");
        struct str level = {topic, tn};

        if (pn == 1 && *pattern == '#')
            return true;
        if (pn == 2 && memcmp(pattern, "%u", 2) == 0) {
            if (!user || !str_eq(level, user))
                return false;
        } else if (pn == 1 && *pattern == '+') {
            if (str_eq(level, "#"))
                return false;
        } else if (pn != tn || memcmp(pattern, topic, pn) != 0) {
            return false;
        }
        pattern += pn;
        topic += tn;
        if (!*topic)
            return !*pattern || strcmp(pattern, "/#") == 0; /* '#' covers the level above too */
        if (!*pattern)
            return false;
        pattern++;
        topic++;
    }
}
