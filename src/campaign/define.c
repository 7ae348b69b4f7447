/*
 * The declaration of a campaign: from a request to the text that is stored, and from that text to
 * the struct that decides. Every object has its field table, so that what is wrong is told with
 * its place and what would be right.
 */
#include "campaign_priv.h"

#include <math.h>

#define DAY_MINUTES 1440
#define STAGE       60, INT64_C(365) * DAY_S, NULL
#define F(t)        t, ARRAY_LEN(t)

static const struct json_field target_fields[] = {
    {"tags", JK_STRINGS, 0, 1, CAMPAIGN_TAGS_MAX, NULL, NULL, "Devices with any of them."},
    {"devices", JK_STRINGS, 0, 1, CAMPAIGN_DEVICES_MAX, NULL, NULL, "Keys."},
    {"query", JK_STRING, 0, 1, CAMPAIGN_QUERY_MAX, NULL, NULL, "battery=gt=30;hw==B,site==lab"},
    {"deny", JK_STRINGS, 0, 0, CAMPAIGN_DEVICES_MAX, NULL, NULL, "Keys that never get it."},
    {"frozen", JK_BOOL, 0, 0, 0, NULL, NULL, "Only devices there were at the start."},
};
static const struct json_field phase_fields[] = {
    {"percent", JK_NUMBER, 0, 0, 100, NULL, NULL, "Of all targets, with the phases before."},
    {"count", JK_INT, 0, 1, 100000000, NULL, NULL, "The first so many that ask."},
    {"devices", JK_STRINGS, 0, 1, CAMPAIGN_DEVICES_MAX, NULL, NULL, "Keys."},
    {"success_percent", JK_NUMBER, 0, 0, 100, NULL, NULL, "So many verified open the next phase."},
    {"min_sample", JK_INT, 0, 1, 100000000, NULL, NULL, "Of so many at least."},
    {"soak_s", JK_INT, 0, 0, INT64_C(90) * DAY_S, NULL, NULL, "And so much later."},
    {"approval", JK_BOOL, 0, 0, 0, NULL, NULL, "And with an operator's approval."},
};
static const struct json_field verification_fields[] = {
    {"devices", JK_STRINGS, JF_REQUIRED, 1, 1000, NULL, NULL, "Keys of test devices."},
    {"soak_s", JK_INT, 0, 0, INT64_C(90) * DAY_S, NULL, NULL, "Phase 1 comes so much later."},
    {"approval", JK_BOOL, 0, 0, 0, NULL, NULL, "And with an operator's approval."},
};
static const struct json_field window_fields[] = {
    {"timezone", JK_STRING, JF_REQUIRED, 1, 64, NULL, NULL, "IANA name, or device."},
    {"slots", JK_ARRAY, JF_REQUIRED, 0, 0, NULL, NULL, "{days, from, to} each."},
};
static const struct json_field slot_fields[] = {
    {"days", JK_STRINGS, 0, 1, 7, NULL, NULL, "mon, tue, …; every day when absent."},
    {"from", JK_STRING, JF_REQUIRED, 5, 5, NULL, NULL, "hh:mm"},
    {"to", JK_STRING, JF_REQUIRED, 5, 5, NULL, NULL, "hh:mm, 24:00; before `from`: the next day."},
};
static const struct json_field pacing_fields[] = {
    {"offers_per_minute", JK_INT, 0, 0, 10000000, NULL, NULL, "0 = no bound."},
    {"in_progress", JK_INT, 0, 0, 10000000, NULL, NULL, "0 = no bound."},
    {"kilobytes_per_second", JK_INT, 0, 0, 10000000, NULL, NULL, "Of downloads; 0 = no bound."},
    {"jitter_s", JK_INT, 0, 0, DAY_S, NULL, NULL, "Offers of a phase are spread over it."},
    {"exponential", JK_OBJECT, 0, 0, 0, NULL, NULL, "How the rate begins and grows."},
};
static const struct json_field exponential_fields[] = {
    {"base_per_minute", JK_INT, JF_REQUIRED, 1, 10000000, NULL, NULL, "The rate at the start."},
    {"increment_factor", JK_NUMBER, JF_REQUIRED, 1, 100, NULL, NULL, "The rate grows by it."},
    {"offered", JK_INT, 0, 1, 100000000, NULL, NULL, "Each time that so many were offered, or …"},
    {"verified", JK_INT, 0, 1, 100000000, NULL, NULL, "… so many were verified."},
};
static const struct json_field threshold_fields[] = {
    {"percent", JK_NUMBER, JF_REQUIRED, 0, 100, NULL, NULL, "More than that is too many."},
    {"min_sample", JK_INT, JF_REQUIRED, 1, 100000000, NULL, NULL, "Of so many ended at least."},
    {"action", JK_ENUM, JF_REQUIRED, 0, 0, "pause|abort|rollback", NULL, "What follows."},
};
static const struct json_field deadline_fields[] = {
    {"accept_s", JK_INT, 0, STAGE, NULL, "Else the type's."},
    {"download_s", JK_INT, 0, STAGE, NULL, "Else the type's."},
    {"install_s", JK_INT, 0, STAGE, NULL, "Else the type's."},
    {"verify_s", JK_INT, 0, STAGE, NULL, "Else the type's."},
    {"attempts", JK_INT, 0, 1, 100, NULL, NULL, "Else the type's."},
};
static const char *const kinds[] = {
    [CAMPAIGN_END_FAILED] = "failed",
    [CAMPAIGN_END_ROLLED_BACK] = "rolled_back",
    [CAMPAIGN_END_TIMED_OUT] = "timed_out",
    [CAMPAIGN_END_REJECTED] = "rejected",
};
static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

/* ---- checking ---- */
static void finding(struct json_errors *errs, const char *at, const char *text)
{
    json_error_add(errs, at, "invalid", "%s", text);
}

bool define_object(const json_t *in, const char *at, const struct json_field *fields, size_t n,
                   struct json_errors *errs)
{
    struct json_errors own = {.count = 0};

    if (json_check(in, fields, n, false, &own) == 0)
        return true;
    for (unsigned i = 0; i < own.count && i < ARRAY_LEN(own.list); i++) {
        char pointer[192];

        (void)str_fmt(pointer, sizeof(pointer), "%s%s", at, own.list[i].pointer);
        json_error_add(errs, pointer, own.list[i].code, "%s", own.list[i].detail);
    }
    return false;
}

static int64_t share(const json_t *percent)
{
    return (int64_t)llround(json_number_value(percent) * (CAMPAIGN_SHARE / 100.0));
}

static bool minutes(const char *text, int *ret)
{
    int64_t h, m;
    char part[3];

    if (!text || strlen(text) != 5 || text[2] != ':')
        return false;
    memcpy(part, text, 2);
    part[2] = '\0';
    if (num_parse(part, 0, 24, &h) < 0 || num_parse(text + 3, 0, 59, &m) < 0 ||
        h * 60 + m > DAY_MINUTES)
        return false;
    *ret = (int)(h * 60 + m);
    return true;
}

static bool slot(const json_t *in, struct campaign_window *ret)
{
    const json_t *days = json_object_get(in, "days");

    *ret = (struct campaign_window){.days = days ? 0 : 0x7f};
    for (size_t i = 0; i < json_array_size(days); i++) {
        const char *name = json_string_value(json_array_get(days, i));
        size_t k = 0;

        while (k < ARRAY_LEN(weekdays) && (!name || strcmp(weekdays[k], name) != 0))
            k++;
        if (k == ARRAY_LEN(weekdays))
            return false;
        ret->days |= 1U << k;
    }
    return minutes(json_get_str(in, "from", NULL), &ret->from) && ret->from < DAY_MINUTES &&
           minutes(json_get_str(in, "to", NULL), &ret->to) && ret->from != ret->to;
}

static void check_targets(const json_t *in, struct json_errors *errs)
{
    const char *query = json_get_str(in, "query", NULL);
    struct campaign_query *q;
    struct fail f = {.rc = 0};
    struct arena a;

    if (!define_object(in, "/targets", F(target_fields), errs) || !query)
        return;
    arena_init(&a);
    if (campaign_query_parse(query, &a, &q, &f) < 0)
        finding(errs, "/targets/query", f.text);
    arena_done(&a);
}

static void check_phases(const json_t *in, struct json_errors *errs)
{
    size_t n = json_array_size(in);
    int64_t before = 0;

    if (n == 0 || n > CAMPAIGN_PHASES_MAX)
        finding(errs, "/phases", "A campaign has 1 to 20 phases.");
    for (size_t i = 0; i < n && i < CAMPAIGN_PHASES_MAX; i++) {
        const json_t *p = json_array_get(in, i), *percent = json_object_get(p, "percent");
        char at[64];

        (void)str_fmt(at, sizeof(at), "/phases/%zu", i);
        if (!define_object(p, at, F(phase_fields), errs))
            continue;
        if (!!percent + !!json_object_get(p, "count") + !!json_object_get(p, "devices") != 1)
            finding(errs, at, "A phase takes a percent, a count or devices, one of them.");
        if (percent && share(percent) <= before)
            finding(errs, at, "percent counts the phases before: it must grow, by 0.01 at least.");
        before = percent ? share(percent) : before;
    }
}

static void check_windows(const json_t *in, struct json_errors *errs)
{
    const char *zone = json_get_str(in, "timezone", "");
    const json_t *slots = json_object_get(in, "slots");
    struct campaign_window w;

    if (!define_object(in, "/windows", F(window_fields), errs))
        return;
    if (strcmp(zone, "device") != 0 && !zone_named(zone))
        finding(errs, "/windows/timezone",
                "This time zone is not known here; an IANA name such as Asia/Shanghai is, and "
                "`device` for its own.");
    if (json_array_size(slots) == 0 || json_array_size(slots) > CAMPAIGN_WINDOWS_MAX)
        finding(errs, "/windows/slots", "1 to 32 slots are needed.");
    for (size_t i = 0; i < json_array_size(slots) && i < CAMPAIGN_WINDOWS_MAX; i++) {
        char at[64];

        (void)str_fmt(at, sizeof(at), "/windows/slots/%zu", i);
        if (define_object(json_array_get(slots, i), at, F(slot_fields), errs) &&
            !slot(json_array_get(slots, i), &w))
            finding(errs, at,
                    "days are mon to sun, from is 00:00 to 23:59, to is another time up to 24:00.");
    }
}

static void check_pacing(const json_t *in, struct json_errors *errs)
{
    const json_t *e = json_object_get(in, "exponential");
    int64_t base = json_get_int(e, "base_per_minute", 1);

    if (!define_object(in, "/pacing", F(pacing_fields), errs) || !e)
        return;
    if (!define_object(e, "/pacing/exponential", F(exponential_fields), errs))
        return;
    if (!json_object_get(e, "offered") == !json_object_get(e, "verified"))
        finding(errs, "/pacing/exponential",
                "The rate grows each time that so many were offered or verified, one of them.");
    if (share(json_object_get(e, "increment_factor")) < 110) /* hundredths */
        finding(errs, "/pacing/exponential/increment_factor", "It grows by 1.1 at least.");
    if (json_get_int(in, "offers_per_minute", 0) < base)
        finding(errs, "/pacing/offers_per_minute",
                "With exponential it is the rate that is never exceeded: not less than "
                "base_per_minute.");
}

static void check_thresholds(const json_t *in, struct json_errors *errs)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)in, name, v)
    {
        size_t k = CAMPAIGN_END_FAILED;
        char at[128];

        (void)str_fmt(at, sizeof(at), "/thresholds/%.40s", name);
        while (k < ARRAY_LEN(kinds) && strcmp(kinds[k], name) != 0)
            k++;
        if (k == ARRAY_LEN(kinds))
            finding(errs, at, "Thresholds are for failed, rolled_back, timed_out and rejected.");
        else
            (void)define_object(v, at, F(threshold_fields), errs);
    }
}

int campaign_check(const json_t *in, struct json_errors *errs)
{
    unsigned before = errs->count;
    const json_t *v;

    if ((v = json_object_get(in, "targets")))
        check_targets(v, errs);
    if ((v = json_object_get(in, "phases")))
        check_phases(v, errs);
    if ((v = json_object_get(in, "verification")) && !json_is_null(v))
        (void)define_object(v, "/verification", F(verification_fields), errs);
    if ((v = json_object_get(in, "windows")) && !json_is_null(v))
        check_windows(v, errs);
    if ((v = json_object_get(in, "pacing")))
        check_pacing(v, errs);
    if ((v = json_object_get(in, "thresholds")))
        check_thresholds(v, errs);
    if ((v = json_object_get(in, "deadlines")))
        (void)define_object(v, "/deadlines", F(deadline_fields), errs);
    text_check(in, errs);
    return errs->count > before ? E_PROTO : 0;
}

/* ---- storing ---- */
static void hide_keys(json_t *object, const char *name)
{
    if (json_is_array(json_object_get(object, name)))
        json_object_set_new(object, name, json_true());
}

const char *campaign_definition(const json_t *in, struct arena *a)
{
    static const char *const names[] = {
        "targets",   "phases",          "verification",    "windows", "pacing", "thresholds",
        "deadlines", "allow_downgrade", "allow_reinstall", "consent", "texts",  "delivery"};
    AUTO(json_free) json_t *out = json_object();

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const json_t *v = json_object_get(in, names[i]);

        if (v && !json_is_null(v))
            json_object_set_new(out, names[i], json_deep_copy(v));
    }
    hide_keys(json_object_get(out, "targets"), "devices");
    hide_keys(json_object_get(out, "targets"), "deny");
    hide_keys(json_object_get(out, "verification"), "devices");
    for (size_t i = 0; i < json_array_size(json_object_get(out, "phases")); i++)
        hide_keys(json_array_get(json_object_get(out, "phases"), i), "devices");
    AUTO(free) char *text = json_text(out);
    return arena_strdup(a, text);
}

/* ---- parsing what was stored ---- */
static int parse_targets(const json_t *in, struct campaign *c, struct arena *a)
{
    const char *query = json_get_str(in, "query", NULL);
    const json_t *tags = json_object_get(in, "tags");

    c->listed = json_object_get(in, "devices") != NULL;
    c->frozen = json_get_bool(in, "frozen", false);
    c->n_tags = json_array_size(tags);
    c->tags = arena_alloc(a, (c->n_tags + 1) * sizeof(*c->tags));
    for (size_t i = 0; i < c->n_tags; i++)
        c->tags[i] = arena_strdup(a, json_string_value(json_array_get(tags, i)));
    return query ? campaign_query_parse(arena_strdup(a, query), a, &c->query, NULL) : 0;
}

/* Without a gate the next phase opens when nine of ten are verified, and one at least. */
static void parse_gate(const json_t *in, struct campaign_phase *p)
{
    const json_t *percent = json_object_get(in, "success_percent");

    p->gate_share = percent ? share(percent) : CAMPAIGN_SHARE / 10 * 9;
    p->gate_sample = json_get_int(in, "min_sample", 1);
    p->soak_s = json_get_int(in, "soak_s", 0);
    p->approval = json_get_bool(in, "approval", false);
}

static void parse_phases(const json_t *in, struct campaign *c)
{
    c->n_phases =
        json_array_size(in) > CAMPAIGN_PHASES_MAX ? CAMPAIGN_PHASES_MAX : json_array_size(in);
    for (size_t i = 0; i < c->n_phases; i++) {
        const json_t *p = json_array_get(in, i), *percent = json_object_get(p, "percent");

        c->phases[i].kind = percent                       ? PHASE_PERCENT
                            : json_object_get(p, "count") ? PHASE_COUNT
                                                          : PHASE_DEVICES;
        c->phases[i].share = share(percent);
        c->phases[i].count = json_get_int(p, "count", 0);
        parse_gate(p, &c->phases[i]);
    }
    if (c->n_phases == 0) {
        c->n_phases = 1;
        c->phases[0] = (struct campaign_phase){.share = CAMPAIGN_SHARE};
        parse_gate(NULL, &c->phases[0]);
    }
}

static void parse_windows(const json_t *in, struct campaign *c, struct arena *a)
{
    const json_t *slots = json_object_get(in, "slots");
    const char *zone = json_get_str(in, "timezone", "device");

    c->timezone = strcmp(zone, "device") == 0 ? NULL : arena_strdup(a, zone);
    for (size_t i = 0; i < json_array_size(slots) && c->n_windows < CAMPAIGN_WINDOWS_MAX; i++)
        if (slot(json_array_get(slots, i), &c->windows[c->n_windows]))
            c->n_windows++;
}

static void parse_thresholds(const json_t *in, struct campaign *c, struct arena *a)
{
    for (size_t k = CAMPAIGN_END_FAILED; k < ARRAY_LEN(kinds); k++) {
        const json_t *t = json_object_get(in, kinds[k]);

        if (!t)
            continue;
        c->thresholds[k] =
            (struct campaign_threshold){.share = share(json_object_get(t, "percent")),
                                        .sample = json_get_int(t, "min_sample", 1),
                                        .action = arena_strdup(a, json_get_str(t, "action", NULL))};
    }
}

static void parse_growth(const json_t *in, struct campaign_growth *ret)
{
    *ret = (struct campaign_growth){
        .base = json_get_int(in, "base_per_minute", 0),
        .factor = share(json_object_get(in, "increment_factor")), /* hundredths */
        .offered = json_get_int(in, "offered", 0),
        .verified = json_get_int(in, "verified", 0),
    };
}

int campaign_parse(struct campaign *c, struct arena *a)
{
    enum json_fault fault;
    AUTO(json_free)
    json_t *in = json_parse(c->definition, strlen(c->definition), SIZE_MAX, 16, &fault, NULL);

    if (!in)
        return E_DB;
    const json_t *pacing = json_object_get(in, "pacing"), *d = json_object_get(in, "deadlines");
    const json_t *verify = json_object_get(in, "verification");

    parse_phases(json_object_get(in, "phases"), c);
    parse_windows(json_object_get(in, "windows"), c, a);
    parse_thresholds(json_object_get(in, "thresholds"), c, a);
    c->verification = verify != NULL;
    parse_gate(verify, &c->verify);
    c->verify.kind = PHASE_DEVICES;
    c->offers_per_minute = json_get_int(pacing, "offers_per_minute", 0);
    c->in_progress = json_get_int(pacing, "in_progress", 0);
    c->kilobytes_per_second = json_get_int(pacing, "kilobytes_per_second", 0);
    c->jitter_s = json_get_int(pacing, "jitter_s", 0);
    parse_growth(json_object_get(pacing, "exponential"), &c->growth);
    c->allow_downgrade = json_get_bool(in, "allow_downgrade", false);
    c->allow_reinstall = json_get_bool(in, "allow_reinstall", false);
    c->push = strcmp(json_get_str(in, "delivery", "offer"), "push") == 0;
    c->accept_s = json_get_int(d, "accept_s", 0);
    c->download_s = json_get_int(d, "download_s", 0);
    c->install_s = json_get_int(d, "install_s", 0);
    c->verify_s = json_get_int(d, "verify_s", 0);
    c->attempts = json_get_int(d, "attempts", 0);
    text_parse(in, c, a);
    return parse_targets(json_object_get(in, "targets"), c, a) < 0 ? E_DB : 0;
}
