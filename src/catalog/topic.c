/*
 * Foreign topics of a device type: from JSON, with findings that say what would be right. What
 * they mean on the wire is the business of the dialect `mapped`; that none of them is two types',
 * or another protocol's, that of the room device.
 */
#include "catalog_priv.h"

#define SN "{sn}"
#define AS_WORDS                                                                                   \
    "attributes|attributes_get|event_report|command_reply|command_send|attributes_push|"           \
    "attributes_get_response|attributes_response|event_response"
#define TEMPLATE_DEPTH 8

static const char *const as_names[TOPIC_AS__COUNT] = {
    [AS_ATTRIBUTES] = "attributes",
    [AS_ATTRIBUTES_GET] = "attributes_get",
    [AS_EVENT_REPORT] = "event_report",
    [AS_COMMAND_REPLY] = "command_reply",
    [AS_COMMAND_SEND] = "command_send",
    [AS_ATTRIBUTES_PUSH] = "attributes_push",
    [AS_ATTRIBUTES_GET_RESPONSE] = "attributes_get_response",
    [AS_ATTRIBUTES_RESPONSE] = "attributes_response",
    [AS_EVENT_RESPONSE] = "event_response",
};
static const struct json_field members[] = {
    {"topic", JK_STRING, JF_REQUIRED, 1, TOPIC_PATTERN_MAX, NULL, NULL, "One level is {sn}."},
    {"as", JK_ENUM, JF_REQUIRED, 0, 0, AS_WORDS, NULL, "What it stands for."},
    {"event", JK_STRING, 0, 1, 64, NULL, NULL, "Of event_report: its name."},
    {"text", JK_STRING, 0, 1, 64, NULL, NULL, "Of attributes: the payload is this one, as text."},
    {"fields", JK_OBJECT, 0, 0, 0, NULL, NULL, "{name: path in the payload}."},
    {"method", JK_STRING, 0, 1, 64, NULL, NULL, "Of command_send: for this command alone."},
    {"payload", JK_OBJECT, 0, 0, 0, NULL, NULL, "Of command_send: what is sent."},
};
/* What a template for otaUpgrade can take from. */
static const char ota_upgrade[] =
    "{\"method\":\"otaUpgrade\",\"params\":{\"module\":\"\",\"upgrade\":true,\"version\":\"\","
    "\"url\":\"\",\"size\":1,\"md5\":\"\",\"sha256\":\"\",\"files\":["
    "{\"name\":\"\",\"url\":\"\",\"size\":1,\"md5\":\"\",\"sha256\":\"\"},"
    "{\"name\":\"\",\"url\":\"\",\"size\":1,\"md5\":\"\",\"sha256\":\"\"},"
    "{\"name\":\"\",\"url\":\"\",\"size\":1,\"md5\":\"\",\"sha256\":\"\"},"
    "{\"name\":\"\",\"url\":\"\",\"size\":1,\"md5\":\"\",\"sha256\":\"\"},"
    "{\"name\":\"\",\"url\":\"\",\"size\":1,\"md5\":\"\",\"sha256\":\"\"}]},"
    "\"command_name\":\"\",\"id\":1}";

bool topic_is_down(enum topic_as as)
{
    return as >= AS_COMMAND_SEND;
}

bool topic_sn_ok(const char *sn, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (sn[i] <= ' ' || sn[i] > '~' || strchr("/+#%", sn[i]))
            return false;
    return n >= 1 && n <= TOPIC_SN_MAX;
}

const char *topic_with_sn(const char *pattern, struct str sn, struct arena *a)
{
    const char *at = strstr(pattern, SN);

    if (!at)
        return pattern;
    return arena_printf(a, "%.*s%.*s%s", (int)(at - pattern), pattern, (int)sn.n, sn.p,
                        at + strlen(SN));
}

bool type_topics_may(const struct type_topics *t, const char *sn, bool publish, const char *topic)
{
    for (size_t i = 0; i < t->n; i++)
        if (topic_is_down(t->list[i].as) != publish && topic_covers(t->list[i].pattern, topic, sn))
            return true;
    return false;
}

/* ---- reading ---- */
struct reader {
    struct arena *a;
    struct json_errors *errs;
    size_t i; /* of the entry */
};

static void finding(const struct reader *r, const char *member, const char *fmt, ...) PRINTF(3, 4);
static void finding(const struct reader *r, const char *member, const char *fmt, ...)
{
    char pointer[128], text[200];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    (void)str_fmt(pointer, sizeof(pointer), "/topics/%zu%s", r->i, member);
    json_error_add(r->errs, pointer, "invalid", "%s", text);
}

static bool members_fine(const struct reader *r, const json_t *in)
{
    struct json_errors own = {.count = 0};

    if (json_check(in, members, ARRAY_LEN(members), false, &own) == 0)
        return true;
    for (unsigned i = 0; i < own.count && i < ARRAY_LEN(own.list); i++) {
        char pointer[128];
        (void)str_fmt(pointer, sizeof(pointer), "/topics/%zu%s", r->i, own.list[i].pointer);
        json_error_add(r->errs, pointer, own.list[i].code, "%s", own.list[i].detail);
    }
    return false;
}

static void check_pattern(const struct reader *r, const char *p)
{
    size_t levels = 1, names = 0;

    for (const char *at = p; *at; at++)
        if (*at <= ' ' || *at == 0x7f || strchr("+#%", *at)) {
            finding(r, "/topic",
                    "a topic is plain ASCII without wildcards (+ #), %% and spaces; {sn} stands "
                    "for the serial number");
            return;
        }
    for (const char *at = p;; at++) {
        size_t n = strcspn(at, "/");
        bool is_sn = n == strlen(SN) && memcmp(at, SN, n) == 0;

        names += is_sn;
        if (!is_sn && (memchr(at, '{', n) || memchr(at, '}', n))) {
            finding(r, "/topic",
                    "{sn} is one whole level, as in /dev/{sn}/up; there are no other braces");
            return;
        }
        at += n;
        if (!*at)
            break;
        levels++;
    }
    if (names != 1)
        finding(r, "/topic", "{sn} must stand in it once, as in /dev/{sn}/up");
    if (levels > TOPIC_LEVELS_MAX)
        finding(r, "/topic", "it has %zu levels, at most %d are allowed", levels, TOPIC_LEVELS_MAX);
    if (strncmp(p, SN, strlen(SN)) == 0)
        finding(r, "/topic",
                "the first level can't be {sn}: it would meet other protocols' topics");
    if (*p == '$')
        finding(r, "/topic", "topics that begin with $ are the broker's");
}

/* A member that does not belong to this kind of topic would be ignored in silence. */
static void check_members(const struct reader *r, const json_t *in, enum topic_as as)
{
    static const struct {
        const char *name, *what;
        unsigned as; /* bits */
    } only[] = {
        {"event", "event_report", 1U << AS_EVENT_REPORT},
        {"text", "attributes", 1U << AS_ATTRIBUTES},
        {"fields", "attributes, event_report and command_reply",
         1U << AS_ATTRIBUTES | 1U << AS_EVENT_REPORT | 1U << AS_COMMAND_REPLY},
        {"method", "command_send", 1U << AS_COMMAND_SEND},
        {"payload", "command_send", 1U << AS_COMMAND_SEND},
    };
    char member[32];

    for (size_t i = 0; i < ARRAY_LEN(only); i++) {
        (void)str_fmt(member, sizeof(member), "/%s", only[i].name);
        if (json_object_get(in, only[i].name) && !(only[i].as & 1U << as))
            finding(r, member, "%s is for %s", only[i].name, only[i].what);
    }
    if (json_object_get(in, "text") && json_object_get(in, "fields"))
        finding(r, "/fields", "either text or fields: text takes the payload as a whole");
    if (as == AS_EVENT_REPORT && json_object_get(in, "fields") && !json_object_get(in, "event"))
        finding(r, "/event", "event is needed with fields: they become its params");
}

static void take_fields(const struct reader *r, const json_t *in, struct type_topic *t)
{
    const json_t *fields = json_object_get(in, "fields");
    const char *name;
    json_t *path;

    if (!fields)
        return;
    if (json_object_size(fields) == 0 || json_object_size(fields) > TOPIC_FIELDS_MAX) {
        finding(r, "/fields", "1 to %d fields", TOPIC_FIELDS_MAX);
        return;
    }
    t->fields = arena_alloc(r->a, json_object_size(fields) * sizeof(*t->fields));
    json_object_foreach((json_t *)(uintptr_t)fields, name, path)
    {
        size_t n = strlen(name);

        if (n == 0 || n > 64 || !str_is_text(name, n))
            finding(r, "/fields", "a field's name has 1 to 64 bytes of text");
        if (!json_is_string(path) || !json_path_ok(json_string_value(path)))
            finding(r, "/fields", "'%.64s' must be a path such as \"/data/fw\" or \"data.fw\"",
                    name);
        t->fields[t->n_fields++] = (struct topic_field){
            arena_strdup(r->a, name),
            arena_strdup(r->a, json_is_string(path) ? json_string_value(path) : "")};
    }
    if (t->as == AS_COMMAND_REPLY && !json_object_get(fields, "id"))
        finding(r, "/fields", "a reply needs id, the number of the command that it answers");
}

/* ---- templates ---- */
struct template
{
    const struct reader *r;
    const json_t *sample; /* NULL: the members are not known beforehand */
    bool tells_upgrade;
    size_t n;
};

static void check_place(struct template *t, const char *text, size_t n)
{
    char path[JSON_PATH_MAX + 1];
    const json_t *at;

    if (!str_fmt(path, sizeof(path), "%.*s", (int)n - 2, text + 1) || !json_path_ok(path)) {
        finding(t->r, "/payload", "'%.64s' is no path such as {params.url} or {/params/url}", text);
        return;
    }
    t->n++;
    if (!t->sample)
        return;
    at = json_path_get(t->sample, path);
    if (!at)
        finding(t->r, "/payload",
                "otaUpgrade has no '%.64s'; it has method, id, command_name, params.module, "
                "upgrade, version, url, size, md5, sha256, files",
                path);
    t->tells_upgrade |= at && (at == json_object_get(t->sample, "params") ||
                               at == json_path_get(t->sample, "params.upgrade"));
}

static void check_template(struct template *t, const json_t *j)
{
    const char *name, *text = json_string_value(j);
    size_t i, n = json_string_length(j);
    json_t *member;

    if (json_is_object(j)) {
        json_object_foreach((json_t *)(uintptr_t)j, name, member) check_template(t, member);
    } else if (json_is_array(j)) {
        json_array_foreach(j, i, member) check_template(t, member);
    } else if (text && n >= 2 && text[0] == '{' && text[n - 1] == '}') {
        check_place(t, text, n);
    }
}

static void take_payload(const struct reader *r, const json_t *in, struct type_topic *t)
{
    const json_t *payload = json_object_get(in, "payload");
    enum json_fault fault;

    if (!payload)
        return;
    if (!t->method)
        t->method = "otaUpgrade";
    AUTO(free) char *text = json_text(payload);
    AUTO(json_free)
    json_t *again =
        text ? json_parse(text, strlen(text), TOPIC_PAYLOAD_MAX, TEMPLATE_DEPTH, &fault, NULL)
             : NULL;
    if (!again) {
        finding(r, "/payload", "it has at most %d bytes and %d levels", TOPIC_PAYLOAD_MAX,
                TEMPLATE_DEPTH);
        return;
    }
    AUTO(json_free) json_t *sample = NULL;
    if (strcmp(t->method, "otaUpgrade") == 0)
        sample = json_parse(ota_upgrade, strlen(ota_upgrade), 4096, 8, &fault, NULL);
    struct template whole = {.r = r, .sample = sample};
    check_template(&whole, payload);
    if (whole.n == 0)
        finding(r, "/payload",
                "nothing of the command stands in it; write {params.url} and so on "
                "where its members belong");
    t->payload = arena_strdup(r->a, text);
    t->tells_upgrade = whole.tells_upgrade;
}

static void take_one(const struct reader *r, const json_t *in, struct type_topic *t)
{
    const char *as = json_get_str(in, "as", "");

    for (size_t i = 0; i < ARRAY_LEN(as_names); i++)
        if (strcmp(as, as_names[i]) == 0)
            t->as = (enum topic_as)i;
    t->pattern = arena_strdup(r->a, json_get_str(in, "topic", ""));
    t->event = arena_strdup(r->a, json_get_str(in, "event", NULL));
    t->text = arena_strdup(r->a, json_get_str(in, "text", NULL));
    t->method = arena_strdup(r->a, json_get_str(in, "method", NULL));
    check_pattern(r, t->pattern);
    check_members(r, in, t->as);
    take_fields(r, in, t);
    take_payload(r, in, t);
}

/* Two ways down for one thing, or one topic for two things. */
static void check_pairs(struct reader *r, const struct type_topics *t)
{
    size_t up = 0;

    for (r->i = 0; r->i < t->n; r->i++)
        for (size_t k = 0; k < r->i; k++) {
            const struct type_topic *x = &t->list[r->i], *y = &t->list[k];
            bool one_way = x->method && y->method ? strcmp(x->method, y->method) == 0
                                                  : !x->method && !y->method;

            if (topic_patterns_meet(x->pattern, y->pattern))
                finding(r, "/topic", "it meets topic %zu, %.100s", k, y->pattern);
            if (x->as == y->as && topic_is_down(x->as) && one_way)
                finding(r, "/as", "topic %zu is for %s%s%s already", k, as_names[x->as],
                        x->method ? " of " : "", x->method ? x->method : "");
        }
    for (size_t i = 0; i < t->n; i++)
        up += !topic_is_down(t->list[i].as);
    if (t->n > 0 && up == 0)
        json_error_add(r->errs, "/topics", "invalid",
                       "one topic at least must be one that devices publish: answers go the way "
                       "that a device speaks");
}

int type_topics_parse(const json_t *in, struct arena *a, struct type_topics *ret,
                      struct json_errors *errs)
{
    struct reader r = {.a = a, .errs = errs};
    unsigned before = errs->count;
    size_t n = json_array_size(in);

    *ret = (struct type_topics){.list = NULL};
    if (n > TYPE_TOPICS_MAX) {
        json_error_add(errs, "/topics", "too_long", "a type has at most %d topics",
                       TYPE_TOPICS_MAX);
        return E_PROTO;
    }
    ret->list = arena_alloc(a, (n + 1) * sizeof(*ret->list));
    for (r.i = 0; r.i < n; r.i++) {
        struct type_topic *t = &ret->list[ret->n];

        *t = (struct type_topic){.pattern = ""};
        if (!members_fine(&r, json_array_get(in, r.i)))
            continue;
        take_one(&r, json_array_get(in, r.i), t);
        ret->n++;
    }
    if (errs->count == before)
        check_pairs(&r, ret);
    return errs->count > before ? E_PROTO : 0;
}

int type_topics_read(const char *text, int64_t type_id, struct arena *a, struct type_topics *ret)
{
    struct json_errors errs = {.count = 0};
    enum json_fault fault;

    *ret = (struct type_topics){.list = NULL};
    if (!text || strcmp(text, "[]") == 0)
        return 0;
    AUTO(json_free) json_t *in = json_parse(text, strlen(text), 65536, 16, &fault, NULL);
    if (!json_is_array(in))
        return E_PROTO;
    int rc = type_topics_parse(in, a, ret, &errs);
    for (size_t i = 0; i < ret->n; i++)
        ret->list[i].type_id = type_id;
    return rc;
}
