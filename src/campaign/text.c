/*
 * What a campaign says to the users of devices: whether and how they are asked, the texts in their
 * languages, and which of them a user gets. Pure. What users answer is in consent.c.
 */
#include "campaign_priv.h"

#define LANGUAGE_MAX 35 /* bytes of a tag, as BCP 47 recommends */
#define RANGES_MAX   32 /* of an Accept-Language header; the rest is not looked at */
#define Q_WHOLE      1000

static const struct json_field consent_fields[] = {
    {"mode", JK_ENUM, JF_REQUIRED, 0, 0, "silent|app|device", NULL,
     "silent: nobody is asked; app: over REST before anything is sent; device: by itself."},
    {"postpone_max", JK_INT, 0, 0, 100, NULL, "3", "So often it may be put off."},
    {"postpone_s", JK_INT, 0, 60, INT64_C(30) * DAY_S, NULL, "86400", "So long, unless said."},
    {"language_attribute", JK_STRING, 0, 1, 64, NULL, "language",
     "Attribute in which the device tells its user's language."},
};
static const struct json_field text_fields[] = {
    {"title", JK_STRING, JF_REQUIRED, 1, CAMPAIGN_TITLE_MAX, NULL, NULL, "One line."},
    {"notes", JK_TEXT, 0, 0, CAMPAIGN_NOTES_MAX, NULL, NULL, "What is new."},
};

/* ---- checking ---- */
/* Language, then subtags: letters and digits in pieces of 1 to 8, the first of 2 to 8 letters. */
static bool is_language(const char *s, size_t n)
{
    size_t piece = 0;
    bool first = true;

    if (n > LANGUAGE_MAX)
        return false;
    for (size_t i = 0; i <= n; i++) {
        bool alpha = i < n && ((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z');
        bool digit = i < n && s[i] >= '0' && s[i] <= '9';

        if (alpha || (digit && !first)) {
            piece++;
            continue;
        }
        if ((i < n && s[i] != '-') || piece < (first ? 2 : 1) || piece > 8)
            return false;
        piece = 0;
        first = false;
    }
    return true;
}

/* Is the same language there in other letters? */
static bool is_twice(const json_t *in, const char *language)
{
    const char *name;
    json_t *v;
    int n = 0;

    json_object_foreach((json_t *)in, name, v) n += strcasecmp(name, language) == 0;
    return n > 1;
}

static void check_texts(const json_t *in, struct json_errors *errs)
{
    const char *name;
    json_t *v;

    if (json_object_size(in) > CAMPAIGN_TEXTS_MAX)
        json_error_add(errs, "/texts", "too_long", "At most %d languages.", CAMPAIGN_TEXTS_MAX);
    json_object_foreach((json_t *)in, name, v)
    {
        char at[64];

        (void)str_fmt(at, sizeof(at), "/texts/%.40s", name);
        if (!is_language(name, strlen(name)))
            json_error_add(errs, at, "invalid",
                           "This is no language tag; some are en, zh-CN, pt-BR.");
        else if (is_twice(in, name))
            json_error_add(errs, at, "invalid", "This language is there twice.");
        else
            (void)define_object(v, at, text_fields, ARRAY_LEN(text_fields), errs);
    }
}

void text_check(const json_t *in, struct json_errors *errs)
{
    const json_t *consent = json_object_get(in, "consent"), *texts = json_object_get(in, "texts");

    if (consent && !json_is_null(consent))
        (void)define_object(consent, "/consent", consent_fields, ARRAY_LEN(consent_fields), errs);
    if (texts && !json_is_null(texts))
        check_texts(texts, errs);
}

/* ---- parsing what was stored ---- */
void text_parse(const json_t *in, struct campaign *c, struct arena *a)
{
    const json_t *consent = json_object_get(in, "consent");
    json_t *texts = json_object_get(in, "texts"), *v;
    const char *mode = json_get_str(consent, "mode", "silent"), *name;

    c->consent = (struct campaign_consent){
        .mode = strcmp(mode, "app") == 0      ? CONSENT_APP
                : strcmp(mode, "device") == 0 ? CONSENT_DEVICE
                                              : CONSENT_SILENT,
        .postpone_max = json_get_int(consent, "postpone_max", 3),
        .postpone_s = json_get_int(consent, "postpone_s", DAY_S),
        .language_attribute =
            arena_strdup(a, json_get_str(consent, "language_attribute", "language")),
    };
    c->n_texts = 0;
    c->texts = arena_alloc(a, (json_object_size(texts) + 1) * sizeof(*c->texts));
    json_object_foreach(texts, name, v) c->texts[c->n_texts++] =
        (struct campaign_text){arena_strdup(a, name), arena_strdup(a, json_get_str(v, "title", "")),
                               arena_strdup(a, json_get_str(v, "notes", ""))};
}

/* ---- which text ---- */
struct range {
    char tag[LANGUAGE_MAX + 1]; /* "*" = any */
    int q;                      /* thousandths */
};

/* The tag as it is, or in a wider sense: zh-Hans-CN is also meant by zh-Hans, zh, and by what is
 * within it. NULL: it is not there. */
static const struct campaign_text *look_up(const struct campaign *c, const char *tag)
{
    char wide[LANGUAGE_MAX + 1];

    for ((void)str_copy(wide, sizeof(wide), tag); *wide;) {
        size_t n = strlen(wide);
        const struct campaign_text *within = NULL;

        for (size_t i = 0; i < c->n_texts; i++) {
            const char *language = c->texts[i].language;

            if (strncasecmp(language, wide, n) != 0)
                continue;
            if (language[n] == '\0')
                return &c->texts[i];
            if (language[n] == '-' && !within)
                within = &c->texts[i];
        }
        if (within)
            return within;
        char *cut = strrchr(wide, '-');
        *(cut ? cut : wide) = '\0';
    }
    return NULL;
}

/* 0 … 1000 of ";q=0.8"; what is no number counts as 0: it was not meant to be more. */
static int quality(const char *p, const char *end)
{
    const char *q = memchr(p, '=', (size_t)(end - p));
    int v = 0, unit = Q_WHOLE;

    if (p == end)
        return Q_WHOLE;
    if (!q)
        return 0;
    q += 1 + strspn(q + 1, " \t");
    if (q >= end || (*q != '0' && *q != '1'))
        return 0;
    if (*q == '1')
        return Q_WHOLE;
    for (q += 2; q < end && *q >= '0' && *q <= '9' && unit > 1; q++)
        v += (*q - '0') * (unit /= 10);
    return v;
}

/* Into a list by descending q; those of the same q stay in order. */
static size_t read_ranges(const char *header, struct range ranges[RANGES_MAX])
{
    size_t n = 0;

    for (const char *p = header; *p && n < RANGES_MAX;) {
        const char *end = p + strcspn(p, ",");
        p += strspn(p, " \t");
        size_t len = strcspn(p, ",; \t");
        const char *rest = p + len + strspn(p + len, " \t;");
        struct range r = {.q = quality(rest < end ? rest : end, end)};

        if (p < end && r.q > 0 && ((len == 1 && *p == '*') || is_language(p, len))) {
            (void)str_fmt(r.tag, sizeof(r.tag), "%.*s", (int)len, p);
            size_t at = n++;
            for (; at > 0 && ranges[at - 1].q < r.q; at--)
                ranges[at] = ranges[at - 1];
            ranges[at] = r;
        }
        p = end + (*end == ',');
    }
    return n;
}

const struct campaign_text *campaign_text_for(const struct campaign *c, const char *accept,
                                              const char *language)
{
    struct range ranges[RANGES_MAX];
    size_t n = accept ? read_ranges(accept, ranges) : 0;
    const struct campaign_text *t = NULL;
    char tag[LANGUAGE_MAX + 1];

    for (size_t i = 0; i < n && !t; i++) {
        if (strcmp(ranges[i].tag, "*") == 0)
            break;
        t = look_up(c, ranges[i].tag);
    }
    if (!t && language && str_copy(tag, sizeof(tag), language)) {
        for (char *p = tag; *p; p++) /* zh_CN.UTF-8, as systems say it */
            *p = *p == '_' ? '-' : *p;
        tag[strcspn(tag, ".@")] = '\0';
        t = is_language(tag, strlen(tag)) ? look_up(c, tag) : NULL;
    }
    if (!t)
        t = look_up(c, "en");
    return t ? t : c->n_texts > 0 ? &c->texts[0] : NULL;
}
