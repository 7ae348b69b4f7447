/*
 * Devices that tell how an update goes in attributes or events of their own: what they said is
 * read by their type's mapping, and moves the update by the same law as a reply. A success that a
 * device claims is `installed`; only the version that it reports verifies.
 */
#include "update_priv.h"

#define TEXT_MAX 200 /* bytes of a device's own text that are kept */

struct said {
    const char *word; /* NULL = no state */
    const char *text; /* "" = none */
    const char *module;
    int64_t percent; /* -1 = none */
    int64_t id;      /* 0 = none */
    bool bad_id;
};

/* ---- reading ---- */
static const json_t *source_of(const struct progress *p, const json_t *in)
{
    if (!p->attribute || !p->state_field)
        return in;
    const json_t *object = json_object_get(in, p->attribute);
    return json_is_object(object) ? object : NULL;
}

static const char *text_of(const json_t *in, const char *field, struct arena *a)
{
    const json_t *value = field ? json_object_get(in, field) : NULL;
    char text[TEXT_MAX + 1];

    if (!value)
        return NULL;
    if (json_is_string(value)) { /* cut between characters, without control characters */
        const char *s = json_string_value(value);
        size_t n = 0, k, all = strlen(s);
        while (n < all && (k = str_utf8(s + n, all - n)) > 0 && n + k <= TEXT_MAX)
            n += k;
        char *copy = arena_strndup(a, s, n);
        for (char *c = copy; *c; c++)
            if ((unsigned char)*c < 0x20 || *c == 0x7f)
                *c = ' ';
        return copy;
    }
    return conditions_text(value, text, sizeof(text)) ? arena_strdup(a, text) : NULL;
}

/* 45, 45.5, "45", "45%"; else -1. */
static int64_t percent_of(const json_t *in, const char *field)
{
    const json_t *value = field ? json_object_get(in, field) : NULL;
    double v = -1;

    if (json_is_number(value)) {
        v = json_number_value(value);
    } else if (json_is_string(value)) {
        const char *s = json_string_value(value);
        char *end;
        v = *s >= '0' && *s <= '9' ? strtod(s, &end) : -1;
        if (v >= 0 && *end != '\0' && strcmp(end, "%") != 0)
            v = -1;
    }
    return v >= 0 && v <= 100 ? (int64_t)v : -1;
}

static void read_id(const json_t *in, const char *field, struct arena *a, struct said *ret)
{
    const json_t *value = field ? json_object_get(in, field) : NULL;

    if (!value || json_is_null(value))
        return;
    const char *text = text_of(in, field, a);
    ret->bad_id = !text || num_parse(text, 0, INT32_MAX, &ret->id) < 0;
}

static struct said read_said(const struct progress *p, const json_t *in, struct arena *a)
{
    const json_t *source = source_of(p, in);
    const char *text = text_of(source, p->text_field, a);
    struct said s = {
        .word = text_of(source, p->state_field ? p->state_field : p->attribute, a),
        .text = text ? text : "",
        .module = text_of(source, p->module_field, a),
        .percent = percent_of(source, p->percent_field),
    };

    read_id(source, p->id_field, a, &s);
    return s;
}

bool update_progress_in(const struct progress *p, const json_t *attributes)
{
    if (!p->attribute)
        return false;
    return json_object_get(attributes, p->attribute) ||
           (!p->state_field && p->percent_field && json_object_get(attributes, p->percent_field)) ||
           (!p->state_field && p->log_field && json_object_get(attributes, p->log_field));
}

/* What a report left out stands as it was. */
static void leave_repeated(struct said *s, const struct said *before)
{
    bool news = s->word && (!before->word || strcmp(s->word, before->word) != 0 ||
                            (*s->text && strcmp(s->text, before->text) != 0) ||
                            (s->id != 0 && s->id != before->id));

    if (news)
        return;
    s->word = NULL;
    if (s->percent == before->percent)
        s->percent = -1;
}

/* ---- which update ---- */
static int rank(enum update_state s)
{
    return update_is_in_progress(s) ? 2 : s == UPDATE_PLANNED ? 0 : 1;
}

int update_furthest(struct db *db, const struct device *d, const char *module, struct arena *a,
                    struct update *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_UPDATE_ACTIVE);
    int best = -1, n = 0, rc;
    struct update u;

    db_bind_int(q, 1, d->id);
    while ((rc = db_step(q)) == 1) {
        update_row(q, a, &u);
        if ((module && strcmp(u.module, module) != 0) || rank(u.state) < best)
            continue;
        n = rank(u.state) > best ? 1 : n + 1;
        best = rank(u.state);
        *ret = u;
    }
    return rc < 0 ? rc : n == 0 ? E_NOTFOUND : n == 1 ? 0 : E_PROTO;
}

static int find(struct db *db, const struct device *d, const struct said *s, struct arena *a,
                struct update *ret)
{
    int rc;

    if (s->bad_id)
        return E_PROTO;
    if (s->id == 0)
        return update_furthest(db, d, s->module, a, ret);
    rc = update_by_id(db, s->id, a, ret);
    return rc == E_NOTFOUND || (rc == 0 && ret->device_id != d->id) ? E_PROTO : rc;
}

/* ---- what it does ---- */
struct applying {
    struct db *w;
    const struct catalog *catalog;
    const struct device *device;
    const struct said *said;
    int64_t now;
    struct arena *arena;
};

static int apply_state(const struct applying *x, const struct update *u, const char *state)
{
    const struct said *s = x->said;
    enum update_state to;

    if (strcmp(state, "none") == 0)
        return 0;
    if (update_state_parse(state, &to) < 0)
        return E_PROTO;
    /* The version came first: what claims less is late, and no contradiction. */
    if (u->state == UPDATE_VERIFIED && to >= UPDATE_DOWNLOADED && to <= UPDATE_INSTALLED)
        return 0;
    const char *words =
        arena_printf(x->arena, "the device reports %s%s%s", s->word, *s->text ? ": " : "", s->text);
    return update_moved(x->w, x->catalog, x->device, u->id, to, s->percent, words, x->now,
                        x->arena);
}

static int apply_percent(const struct applying *x, const struct update *u)
{
    if (u->state == UPDATE_PLANNED || u->state > UPDATE_DOWNLOADING ||
        (u->state != UPDATE_DOWNLOADING && x->said->percent == 0))
        return 0; /* zero of nothing is no beginning */
    return update_moved(
        x->w, x->catalog, x->device, u->id, UPDATE_DOWNLOADING, x->said->percent,
        arena_printf(x->arena, "the device reports %d percent", (int)x->said->percent), x->now,
        x->arena);
}

static const char *state_of(const struct progress *p, const char *word)
{
    for (size_t i = 0; i < p->n_words; i++)
        if (strcmp(p->words[i].said, word) == 0)
            return p->words[i].state;
    return NULL;
}

static int move(const struct applying *x, const struct progress *p)
{
    const struct said *said = x->said;
    struct update u;
    int rc;

    const char *state = said->word ? state_of(p, said->word) : NULL;
    if (said->word && !state && said->percent < 0)
        return E_PROTO; /* a word that nobody explained */
    if (!state && said->percent < 0)
        return 0;
    rc = find(x->w, x->device, said, x->arena, &u);
    if (rc == E_NOTFOUND)
        return 0; /* none under way: it speaks of the past */
    if (rc == 0)
        rc = state ? apply_state(x, &u, state) : apply_percent(x, &u);
    return rc == E_CONFLICT ? 0 : rc; /* counted where the table of moves is */
}

/* The move first: a log that comes with the end of an update is of that one. */
int update_progress(struct db *w, const struct catalog *c, const struct device *d,
                    const struct progress *p, const json_t *said, const json_t *before, int64_t now,
                    struct arena *a)
{
    struct said s = read_said(p, said, a);
    struct applying x = {w, c, d, &s, now, a};

    if (before) {
        struct said old = read_said(p, before, a);
        leave_repeated(&s, &old);
    }
    int rc = move(&x, p);
    if (rc < 0 || !p->log_field || s.bad_id)
        return rc;
    return log_said(w, d, json_object_get(source_of(p, said), p->log_field),
                    before ? json_object_get(source_of(p, before), p->log_field) : NULL, s.id,
                    s.module, now, a);
}
