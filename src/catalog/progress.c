/*
 * The mapping by which devices of a type tell how an update goes: an attribute or an event, its
 * members, and what their words mean. Checked when an operator sends it, parsed for the snapshot.
 * What is done with it is the update room's. Pure.
 */
#include "catalog_priv.h"

#define WORDS_MAX 64
#define WORD_MAX  64

static const struct json_field fields[] = {
    {"attribute", JK_STRING, 0, 1, 64, NULL, NULL, "The attribute that tells it."},
    {"event", JK_STRING, 0, 1, 64, NULL, NULL, "The event that tells it."},
    {"state_field", JK_STRING, 0, 1, 64, NULL, NULL, "The member with the state."},
    {"percent_field", JK_STRING, 0, 1, 64, NULL, NULL, "The member with the percentage."},
    {"text_field", JK_STRING, 0, 1, 64, NULL, NULL, "The member with a text, of a failure."},
    {"id_field", JK_STRING, 0, 1, 64, NULL, NULL, "The member with the command's id."},
    {"module_field", JK_STRING, 0, 1, 64, NULL, NULL, "The member with the module."},
    {"log_field", JK_STRING, 0, 1, 64, NULL, NULL, "The member with a log, kept as it is."},
    {"states", JK_OBJECT, 0, 0, 0, NULL, NULL, "What the words mean."},
};

static const char *const states[] = {
    "deferred",  "accepted", "downloading", "downloaded",  "installing", "rebooting",
    "installed", "failed",   "rejected",    "rolled_back", "none",
};
#define STATES                                                                                     \
    "deferred, accepted, downloading, downloaded, installing, rebooting, installed, failed, "      \
    "rejected, rolled_back, none"

static void copy_errors(const struct json_errors *own, const char *at, struct json_errors *errs)
{
    char pointer[128];

    for (unsigned i = 0; i < own->count && i < ARRAY_LEN(own->list); i++) {
        (void)str_fmt(pointer, sizeof(pointer), "%s%s", at, own->list[i].pointer);
        json_error_add(errs, pointer, own->list[i].code, "%s", own->list[i].detail);
    }
}

static bool is_state(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (strcmp(states[i], name) == 0)
            return true;
    return false;
}

/* A word as a token of a JSON pointer. */
static void pointer_to(char *ret, size_t cap, const char *at, const char *word)
{
    size_t n;

    (void)str_fmt(ret, cap, "%s/states/", at);
    n = strlen(ret);
    for (; *word && n + 3 < cap; word++) {
        if (*word == '~' || *word == '/')
            ret[n++] = '~';
        ret[n++] = *word == '~' ? '0' : *word == '/' ? '1' : *word;
    }
    ret[n] = '\0';
}

static void check_word(const char *word, const json_t *state, const char *at,
                       struct json_errors *errs)
{
    const char *name = json_string_value(state);
    char pointer[128];

    pointer_to(pointer, sizeof(pointer), at, word);
    if (!*word || strlen(word) > WORD_MAX)
        json_error_add(errs, pointer, "too_long", "A device's word has 1 to %d bytes.", WORD_MAX);
    else if (!name)
        json_error_add(errs, pointer, "wrong_type", "A state is one of " STATES ".");
    else if (strcmp(name, "verified") == 0 || strcmp(name, "success") == 0)
        json_error_add(errs, pointer, "not_allowed",
                       "Only the version that a device reports makes `verified`; what it claims is "
                       "`installed`.");
    else if (!is_state(name))
        json_error_add(errs, pointer, "not_allowed", "A state is one of " STATES ".");
}

int progress_check(const json_t *in, const char *at, struct json_errors *errs)
{
    json_t *words = json_object_get(in, "states");
    struct json_errors own = {.count = 0};
    unsigned before = errs->count;
    const char *word;
    json_t *state;

    if (json_check(in, fields, ARRAY_LEN(fields), false, &own) < 0)
        copy_errors(&own, at, errs);
    else if (!json_object_get(in, "attribute") == !json_object_get(in, "event"))
        json_error_add(errs, at, "required",
                       "Progress is told by an `attribute` or by an `event`, one of the two.");
    if (json_object_size(words) > WORDS_MAX) {
        json_error_add(errs, at, "too_long", "`states` holds at most %d words.", WORDS_MAX);
        return E_PROTO;
    }
    json_object_foreach(words, word, state)
    {
        check_word(word, state, at, errs);
    }
    if (errs->count == before && json_object_size(words) == 0 &&
        !json_object_get(in, "percent_field") && !json_object_get(in, "log_field"))
        json_error_add(errs, at, "required",
                       "Without a word in `states`, a `percent_field` and a `log_field` nothing is "
                       "told.");
    return errs->count > before ? E_PROTO : 0;
}

static const char *name_of(const json_t *in, const char *field, const char *dflt, struct arena *a)
{
    return arena_strdup(a, json_get_str(in, field, dflt));
}

const struct progress *progress_parse(const char *text, struct arena *a)
{
    struct json_errors errs = {.count = 0};
    enum json_fault fault;
    AUTO(json_free) json_t *in = json_parse(text, strlen(text), 65536, 4, &fault, NULL);
    struct progress *p = arena_alloc(a, sizeof(*p));
    struct progress_word *words;
    const char *word;
    json_t *state;

    if (!in || progress_check(in, "", &errs) < 0)
        return NULL;
    *p = (struct progress){
        .attribute = name_of(in, "attribute", NULL, a),
        .event = name_of(in, "event", NULL, a),
        .percent_field = name_of(in, "percent_field", NULL, a),
        .text_field = name_of(in, "text_field", NULL, a),
        .id_field = name_of(in, "id_field", NULL, a),
        .module_field = name_of(in, "module_field", NULL, a),
        .log_field = name_of(in, "log_field", NULL, a),
    };
    p->state_field = name_of(in, "state_field", p->event ? "state" : NULL, a);
    words = arena_alloc(a, (json_object_size(json_object_get(in, "states")) + 1) * sizeof(*words));
    json_object_foreach(json_object_get(in, "states"), word, state)
    {
        words[p->n_words++] = (struct progress_word){arena_strdup(a, word),
                                                     arena_strdup(a, json_string_value(state))};
    }
    p->words = words;
    return p;
}
