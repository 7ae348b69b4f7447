/*
 * What a device may do with topics. The table is the same from which otad writes mosquitto's acl
 * file; the plugin adds the topics that carry no username. Whether a name is a device's or that of
 * a project's applications is not asked: no device has such a name, and what a device says in
 * topics of applications names no project.
 */
#include "plugin.h"

enum access { WRITE, READ };

static const struct right {
    enum access access;
    const char *pattern;
} named[] =
    {
#define TOPIC(access, pattern) {access, pattern},
#define APP(access, pattern)   {access, pattern},
#define BARE(access, pattern)
#include "device_topics.def"
#undef TOPIC
#undef APP
#undef BARE
},
  bare[] = {
#define TOPIC(access, pattern)
#define APP(access, pattern)
#define BARE(access, pattern) {access, pattern},
#include "device_topics.def"
#undef TOPIC
#undef APP
#undef BARE
};

static bool covered(const struct right *rights, size_t n, enum access access, const char *user,
                    const char *topic)
{
    for (size_t i = 0; i < n; i++)
        if (rights[i].access == access && rights[i].pattern[0] == topic[0] &&
            topic_covers(rights[i].pattern, topic, user))
            return true;
    return false;
}

bool rights_publish(const char *user, const char *topic)
{
    return covered(named, ARRAY_LEN(named), WRITE, user, topic) ||
           covered(bare, ARRAY_LEN(bare), WRITE, user, topic);
}

bool rights_subscribe(const char *user, const char *filter)
{
    return covered(named, ARRAY_LEN(named), READ, user, filter) ||
           covered(bare, ARRAY_LEN(bare), READ, user, filter);
}

bool rights_read(const char *user, const char *topic)
{
    return covered(named, ARRAY_LEN(named), READ, user, topic);
}
