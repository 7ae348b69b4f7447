/*
 * Whose topic is it? The broker has one space of topics for all types, projects and protocols. A
 * topic that two could mean would let a device speak as another, or get another's commands.
 */
#include "device_priv.h"

/* What is otad's own at the broker, and what its protocols use. */
static const char *const taken[] = {
    "otad/#",
    "open/#",
#define TOPIC(access, pattern) pattern,
#define APP(access, pattern)
#define BARE(access, pattern) pattern,
#include "device_topics.def"
#undef TOPIC
#undef APP
#undef BARE
};

struct clash {
    const struct type_topics *t;
    int64_t project_id, type_id;
    struct json_errors *errs;
    size_t n; /* topics of others */
};

static void finding(const struct clash *c, size_t i, const char *what, const char *whose)
{
    char pointer[64];

    (void)str_fmt(pointer, sizeof(pointer), "/topics/%zu/topic", i);
    json_error_add(c->errs, pointer, "in_use", "it meets %.120s, which is %s", what, whose);
}

static void against(const struct clash *c, const char *pattern, const char *whose)
{
    for (size_t i = 0; i < c->t->n; i++)
        if (topic_patterns_meet(c->t->list[i].pattern, pattern))
            finding(c, i, pattern, whose);
}

static int of_type(void *arg, int64_t type_id, int64_t project_id, const char *key,
                   const char *topics_text)
{
    struct clash *c = arg;
    struct type_topics theirs;
    char whose[96];
    struct arena a;

    if (type_id == c->type_id)
        return 0;
    if (project_id != c->project_id || !str_fmt(whose, sizeof(whose), "of device type %s", key))
        (void)str_copy(whose, sizeof(whose), "of another project's device type");
    arena_init(&a);
    if (type_topics_read(topics_text, type_id, &a, &theirs) < 0)
        LOG(LOG_WARN, "device", "topics of a type can't be read", KV_INT("type", type_id));
    for (size_t i = 0; i < theirs.n; i++)
        against(c, theirs.list[i].pattern, whose);
    c->n += theirs.n;
    arena_done(&a);
    return 0;
}

int device_topics_clash(struct db *db, int64_t project_id, int64_t type_id,
                        const struct type_topics *t, struct json_errors *errs)
{
    struct clash c = {.t = t, .project_id = project_id, .type_id = type_id, .errs = errs};
    unsigned before = errs->count;

    if (t->n == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(taken); i++)
        against(&c, taken[i], "a protocol's own");
    int rc = device_type_topics_each(db, of_type, &c);
    if (rc < 0)
        return rc;
    if (c.n + t->n > CATALOG_TOPICS_MAX)
        json_error_add(errs, "/topics", "too_long", "all types together have at most %d topics",
                       CATALOG_TOPICS_MAX);
    return errs->count > before ? E_PROTO : 0;
}
