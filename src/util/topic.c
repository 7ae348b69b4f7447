/*
 * MQTT topics against patterns: '+' stands for one level, a last '#' for the rest, "%u" and "{sn}"
 * for a given name. The same question serves topics and filters: does the pattern cover all of it?
 */
#include "util.h"

static bool is_name(const char *level, size_t n)
{
    return (n == 2 && memcmp(level, "%u", 2) == 0) || (n == 4 && memcmp(level, "{sn}", 4) == 0);
}

bool topic_covers(const char *pattern, const char *topic, const char *user)
{
    for (;;) {
        size_t pn = strcspn(pattern, "/"), tn = strcspn(topic, "/");
        struct str level = {topic, tn};

        if (pn == 1 && *pattern == '#')
            return true;
        if (is_name(pattern, pn)) {
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

static bool is_open(const char *level, size_t n)
{
    return is_name(level, n) || (n == 1 && *level == '+');
}

bool topic_patterns_meet(const char *a, const char *b)
{
    for (;;) {
        size_t an = strcspn(a, "/"), bn = strcspn(b, "/");

        if ((an == 1 && *a == '#') || (bn == 1 && *b == '#'))
            return true;
        if (!is_open(a, an) && !is_open(b, bn) && (an != bn || memcmp(a, b, an) != 0))
            return false;
        a += an;
        b += bn;
        if (!*a || !*b)
            return (!*a && !*b) || strcmp(a, "/#") == 0 || strcmp(b, "/#") == 0;
        a++;
        b++;
    }
}
