/*
 * What requests bring: query parameters, JSON bodies, path parameters, If-Match. Whatever is
 * wrong is answered here, so that handlers only go on with what is right.
 */
#include "priv.h"

#include <stdio.h>
#include <sys/stat.h>

enum { BODY_DEPTH = 16 };

/* ---- query ---- */
struct query_check {
    const char *known;
    char best[64], name[64];
    unsigned distance;
};

/* Walk "a|b|c": the next word into buf. */
static const char *next_word(const char *list, char *buf, size_t cap)
{
    size_t n = strcspn(list, "|");
    (void)str_fmt(buf, cap, "%.*s", (int)n, list);
    return list + n + (list[n] == '|');
}

static int check_name(void *arg, const char *name, const char *value)
{
    struct query_check *q = arg;
    char word[64];
    (void)value;
    q->distance = UINT32_MAX;
    q->best[0] = '\0';
    for (const char *p = q->known ? q->known : ""; *p;) {
        p = next_word(p, word, sizeof(word));
        unsigned d = str_distance(word, name);
        if (d == 0 && strcmp(word, name) == 0)
            return 0;
        if (d < q->distance) {
            q->distance = d;
            (void)str_copy(q->best, sizeof(q->best), word);
        }
    }
    (void)str_copy(q->name, sizeof(q->name), name);
    return E_PROTO;
}

int input_query(struct http_request *r, const struct op *op)
{
    struct query_check q = {.known = op ? op->query : NULL};
    struct json_errors errs = {.count = 0};

    if (http_query_each(r, check_name, &q) == 0)
        return 0;
    if (!str_is_text(q.name, strlen(q.name)))
        (void)str_copy(q.name, sizeof(q.name), "?");
    if (q.best[0])
        json_error_add(&errs, "", "unknown_parameter",
                       "The query parameter '%s' is not known; the nearest is '%s'.", q.name,
                       q.best);
    else
        json_error_add(&errs, "", "unknown_parameter",
                       "'%s' is not known; there are no query parameters here.", q.name);
    http_problem(r, 400, "unknown_parameter", &errs, "%s", errs.list[0].detail);
    return E_PROTO;
}

static void bad_query(struct http_request *r, const char *name, const char *what)
{
    struct json_errors errs = {.count = 0};
    json_error_add(&errs, "", "invalid_parameter", "The query parameter '%s' takes %s.", name,
                   what);
    http_problem(r, 400, "invalid_parameter", &errs, "%s", errs.list[0].detail);
}

int input_query_int(struct http_request *r, const char *name, int64_t min, int64_t max,
                    int64_t dflt, int64_t *ret)
{
    const char *text = http_query(r, name);
    char what[80];
    *ret = dflt;
    if (!text || num_parse(text, min, max, ret) == 0)
        return 0;
    (void)str_fmt(what, sizeof(what), "a whole number from %lld to %lld", (long long)min,
                  (long long)max);
    bad_query(r, name, what);
    return E_PROTO;
}

int input_query_time(struct http_request *r, const char *name, int64_t dflt, int64_t *ret)
{
    const char *text = http_query(r, name);
    *ret = dflt;
    if (!text || time_parse(text, ret) == 0)
        return 0;
    bad_query(r, name, "a time such as 2024-08-08T09:37:20Z");
    return E_PROTO;
}

int input_query_bool(struct http_request *r, const char *name, int *ret)
{
    const char *text = http_query(r, name);
    *ret = -1;
    if (!text)
        return 0;
    if (strcmp(text, "1") == 0 || strcmp(text, "true") == 0)
        *ret = 1;
    else if (strcmp(text, "0") == 0 || strcmp(text, "false") == 0)
        *ret = 0;
    else {
        bad_query(r, name, "true or false");
        return E_PROTO;
    }
    return 0;
}

const struct json_field *table_field(const struct table *t, const char *name)
{
    for (size_t i = 0; t && i < t->n; i++)
        if (strcmp(t->fields[i].name, name) == 0)
            return &t->fields[i];
    return NULL;
}

int input_query_word(struct http_request *r, const struct table *t, const char *name,
                     const char **ret)
{
    const char *text = http_query(r, name), *words = table_field(t, name)->words;
    char word[64], what[200];
    *ret = text;
    if (!text)
        return 0;
    for (const char *p = words; *p;) {
        p = next_word(p, word, sizeof(word));
        if (strcmp(word, text) == 0)
            return 0;
    }
    (void)str_fmt(what, sizeof(what), "one of %s", words);
    bad_query(r, name, what);
    return E_PROTO;
}

int input_query_type(struct http_request *r, int64_t *ret)
{
    const struct call *c = call_of(r);
    const char *key = http_query(r, "device_type");
    struct device_type t;
    *ret = 0;
    if (!key)
        return 1;
    int rc = device_type_by_key(c->db, c->who.project_id, key, http_arena(r), &t);
    if (rc == E_NOTFOUND)
        return 0;
    if (rc < 0) {
        http_fail(r, rc, NULL);
        return rc;
    }
    *ret = t.id;
    return 1;
}

/* ---- path ---- */
void answer_not_found(struct http_request *r, const char *what)
{
    http_problem(r, 404, "not_found", NULL, "There is no such %s.", what);
}

int input_id(struct http_request *r, const char *param, int64_t *ret)
{
    const char *text = http_param(r, param);
    if (text && num_parse(text, 1, INT64_MAX, ret) == 0)
        return 0;
    answer_not_found(r, "object");
    return E_NOTFOUND;
}

/* ---- bodies ---- */
void input_invalid(struct http_request *r, const struct json_errors *errs)
{
    bool immutable = false;
    bool patch = strcmp(http_method(r), "PATCH") == 0;
    for (unsigned i = 0; i < errs->count && i < ARRAY_LEN(errs->list); i++)
        immutable |= strcmp(errs->list[i].code, "immutable") == 0 ||
                     (patch && strcmp(errs->list[i].code, "read_only") == 0);
    if (immutable)
        http_problem(r, 409, "immutable", errs, "What was given at creation can't be changed.");
    else
        http_problem(r, 422, "validation_failed", errs, "%s",
                     errs->count ? errs->list[0].detail : "The request is not valid.");
}

/* The last one is what curl -d says of whatever it sends; with bearer tokens that is harmless. */
static bool is_json_type(const char *type)
{
    static const char *const types[] = {"application/json", "application/merge-patch+json",
                                        "application/x-www-form-urlencoded"};
    if (!type)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        size_t n = strlen(types[i]);
        if (strncasecmp(type, types[i], n) == 0 && (!type[n] || strchr("; \t", type[n])))
            return true;
    }
    return false;
}

json_t *input_object(struct http_request *r, const struct op *op)
{
    struct json_errors errs = {.count = 0};
    struct fail where = {.rc = 0};
    enum json_fault fault;
    struct str body = http_body(r);

    if (!is_json_type(http_header(r, "Content-Type"))) {
        http_problem(r, 415, "unsupported_media_type", NULL, "Send application/json.");
        return NULL;
    }
    json_t *in = json_parse(body.p ? body.p : "", body.n, http_route(r)->max_body, BODY_DEPTH,
                            &fault, &where);
    if (!in) {
        http_problem(r, 400, "malformed_json", NULL, "The body is no JSON: %s", where.text);
        return NULL;
    }
    if (!json_is_object(in)) {
        http_problem(r, 400, "malformed_json", NULL, "The body must be a JSON object.");
    } else if (json_check(in, op->in->fields, op->in->n, op->patch, &errs) < 0) {
        input_invalid(r, &errs);
    } else {
        return in;
    }
    json_decref(in);
    return NULL;
}

/* ---- pure checks ---- */
bool timezone_is_known(const char *name)
{
    char path[128];
    struct stat st;

    if (strcmp(name, "UTC") == 0)
        return true;
    if (name[0] == '/' || name[0] == '\0' || strstr(name, ".."))
        return false;
    for (const char *p = name; *p; p++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/", *p))
            return false;
    return str_fmt(path, sizeof(path), "/usr/share/zoneinfo/%s", name) && stat(path, &st) == 0 &&
           S_ISREG(st.st_mode);
}

/* One entity tag at p: "12" or "12.9f00ab12"; weak ones never match. */
static bool tag_is(const char *p, size_t n, int64_t revision)
{
    char want[24];
    size_t k;
    (void)str_fmt(want, sizeof(want), "\"%lld", (long long)revision);
    k = strlen(want);
    return n > k && strncmp(p, want, k) == 0 && (p[k] == '"' || p[k] == '.') && p[n - 1] == '"';
}

bool etag_matches(const char *header, int64_t revision)
{
    if (!header)
        return true;
    for (const char *p = header; *p;) {
        p += strspn(p, " \t,");
        size_t n = strcspn(p, ",");
        size_t end = n;
        while (end > 0 && (p[end - 1] == ' ' || p[end - 1] == '\t'))
            end--;
        if ((end == 1 && *p == '*') || tag_is(p, end, revision))
            return true;
        p += n;
    }
    return false;
}

int strings_text(const json_t *array, struct arena *a, const char **ret)
{
    if (!array) {
        *ret = "[]";
        return 0;
    }
    AUTO(free) char *text = json_text(array);
    if (!text)
        return E_PROTO;
    *ret = arena_strdup(a, text);
    return 0;
}
