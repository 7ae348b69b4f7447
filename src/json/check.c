/*
 * Validation of objects from outside against a field table. Every finding is kept (up to 16), so
 * that a caller can mend all of them at once. It looks at members only: what members mean
 * together is the business of who owns the table.
 */
#include "field.h"
#include "json.h"

#include <stdio.h>

void field_bounds(const struct json_field *f, int64_t *ret_min, int64_t *ret_max)
{
    *ret_min = f->min;
    *ret_max = f->max;
    if (f->min || f->max)
        return;
    switch (f->kind) {
    case JK_STRING:
        *ret_max = 255;
        break;
    case JK_TEXT:
        *ret_max = TEXT_MAX;
        break;
    case JK_KEY:
        *ret_min = 1;
        *ret_max = KEY_MAX;
        break;
    case JK_STRINGS:
        *ret_max = ELEMENTS_MAX;
        break;
    case JK_INT:
    case JK_NUMBER:
    case JK_BOOL:
    case JK_ENUM:
    case JK_TIME:
    case JK_OBJECT:
    case JK_ARRAY:
        *ret_min = INT64_MIN;
        *ret_max = INT64_MAX;
        break;
    }
}

void json_error_add(struct json_errors *e, const char *pointer, const char *code, const char *fmt,
                    ...)
{
    if (e->count++ >= ARRAY_LEN(e->list))
        return;
    struct json_error *error = &e->list[e->count - 1];
    va_list ap;
    (void)str_copy(error->pointer, sizeof(error->pointer), pointer);
    (void)str_copy(error->code, sizeof(error->code), code);
    va_start(ap, fmt);
    (void)vsnprintf(error->detail, sizeof(error->detail), fmt, ap);
    va_end(ap);

    /* Cut text must stay UTF-8: it goes into an answer. */
    char *parts[] = {error->pointer, error->detail};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        for (size_t n = strlen(parts[i]), at = 0, k; at < n; at += k)
            if ((k = str_utf8(parts[i] + at, n - at)) == 0) {
                parts[i][at] = '\0';
                break;
            }
}

/* "/name" with ~ and / escaped (RFC 6901). */
static void pointer_of(char *ret, size_t cap, const char *name)
{
    size_t n = 0;
    ret[n++] = '/';
    for (; *name && n + 3 < cap; name++) {
        ret[n++] = *name == '~' || *name == '/' ? '~' : *name;
        if (*name == '~' || *name == '/')
            ret[n++] = *name == '~' ? '0' : '1';
    }
    ret[n] = '\0';
}

static bool has_controls(const char *s, size_t n, bool lines)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bool line = c == '\n' || c == '\r' || c == '\t';
        bool c1 = c == 0xc2 && i + 1 < n && (unsigned char)s[i + 1] < 0xa0;
        if ((c < 0x20 && !(lines && line)) || c == 0x7f || c1)
            return true;
    }
    return false;
}

static void check_length(const char *what, const char *pointer, size_t n, int64_t min, int64_t max,
                         const char *unit, struct json_errors *errs)
{
    if ((int64_t)n < min)
        json_error_add(errs, pointer, "too_short", "%s has %zu %s, at least %lld are needed", what,
                       n, unit, (long long)min);
    else if ((int64_t)n > max)
        json_error_add(errs, pointer, "too_long", "%s has %zu %s, at most %lld are allowed", what,
                       n, unit, (long long)max);
}

static void check_text(const char *what, const char *pointer, const json_t *v, bool lines,
                       int64_t min, int64_t max, struct json_errors *errs)
{
    size_t n = json_string_length(v);
    check_length(what, pointer, n, min, max, "bytes", errs);
    if (has_controls(json_string_value(v), n, lines))
        json_error_add(errs, pointer, "invalid", "%s holds control characters", what);
}

static void check_key(const struct json_field *f, const char *pointer, const json_t *v, int64_t min,
                      int64_t max, struct json_errors *errs)
{
    unsigned before = errs->count;
    check_length(f->name, pointer, json_string_length(v), min, max, "characters", errs);
    if (errs->count == before && json_string_length(v) > 0 &&
        !str_is_key(json_string_value(v), (size_t)max))
        json_error_add(errs, pointer, "invalid",
                       "%s takes only the characters A-Z a-z 0-9 . _ - : @ +", f->name);
}

static bool is_word(const char *words, const char *s)
{
    size_t n = strlen(s);
    for (const char *p = words; n > 0 && p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strcspn(p, "|") == n && memcmp(p, s, n) == 0)
            return true;
    return false;
}

static void check_strings(const struct json_field *f, const char *pointer, const json_t *v,
                          int64_t min, int64_t max, struct json_errors *errs)
{
    check_length(f->name, pointer, json_array_size(v), min, max, "elements", errs);
    for (size_t i = 0; i < json_array_size(v) && errs->count < ARRAY_LEN(errs->list); i++) {
        const json_t *element = json_array_get(v, i);
        char at[160], what[96];
        (void)str_fmt(at, sizeof(at), "%s/%zu", pointer, i);
        (void)str_fmt(what, sizeof(what), "%s[%zu]", f->name, i);
        if (!json_is_string(element))
            json_error_add(errs, at, "wrong_type", "%s must be a string", what);
        else
            check_text(what, at, element, false, 1, ELEMENT_MAX, errs);
    }
}

static bool is_type(enum json_kind kind, const json_t *v, const char **ret_name)
{
    switch (kind) {
    case JK_STRING:
    case JK_TEXT:
    case JK_KEY:
    case JK_ENUM:
    case JK_TIME:
        *ret_name = "a string";
        return json_is_string(v);
    case JK_INT:
        *ret_name = "an integer";
        return json_is_integer(v);
    case JK_NUMBER:
        *ret_name = "a number";
        return json_is_number(v);
    case JK_BOOL:
        *ret_name = "true or false";
        return json_is_boolean(v);
    case JK_STRINGS:
        *ret_name = "an array of strings";
        return json_is_array(v);
    case JK_OBJECT:
        *ret_name = "an object";
        return json_is_object(v);
    case JK_ARRAY:
        *ret_name = "an array";
        return json_is_array(v);
    }
    abort();
}

static void check_value(const struct json_field *f, const char *pointer, const json_t *v,
                        struct json_errors *errs)
{
    int64_t min, max, t;
    field_bounds(f, &min, &max);
    switch (f->kind) {
    case JK_STRING:
        check_text(f->name, pointer, v, false, min, max, errs);
        break;
    case JK_TEXT:
        check_text(f->name, pointer, v, true, min, max, errs);
        break;
    case JK_KEY:
        check_key(f, pointer, v, min, max, errs);
        break;
    case JK_INT:
        if (json_integer_value(v) < min || json_integer_value(v) > max)
            json_error_add(errs, pointer, "out_of_range", "%s must be from %lld to %lld", f->name,
                           (long long)min, (long long)max);
        break;
    case JK_NUMBER:
        if (json_number_value(v) < (double)min || json_number_value(v) > (double)max)
            json_error_add(errs, pointer, "out_of_range", "%s must be from %lld to %lld", f->name,
                           (long long)min, (long long)max);
        break;
    case JK_ENUM:
        if (!is_word(f->words, json_string_value(v)))
            json_error_add(errs, pointer, "not_allowed", "%s must be one of %s", f->name, f->words);
        break;
    case JK_TIME:
        if (time_parse(json_string_value(v), &t) < 0)
            json_error_add(errs, pointer, "invalid",
                           "%s must be a time such as 2024-08-08T09:37:20Z (RFC 3339)", f->name);
        break;
    case JK_STRINGS:
        check_strings(f, pointer, v, min, max, errs);
        break;
    case JK_BOOL:
    case JK_OBJECT:
    case JK_ARRAY:
        break;
    }
}

static void check_member(const struct json_field *f, const char *pointer, const json_t *v,
                         bool patch, struct json_errors *errs)
{
    const char *type;
    if (f->flags & JF_READ_ONLY)
        json_error_add(errs, pointer, "read_only", "%s can't be set", f->name);
    else if (patch && f->flags & JF_CREATE_ONLY)
        json_error_add(errs, pointer, "immutable", "%s can't be changed after creation", f->name);
    else if (json_is_null(v) && f->flags & JF_NULLABLE)
        return;
    else if (!is_type(f->kind, v, &type))
        json_error_add(errs, pointer, "wrong_type", "%s must be %s", f->name, type);
    else
        check_value(f, pointer, v, errs);
}

static void add_unknown(const char *name, const char *pointer, const struct json_field *fields,
                        size_t n, struct json_errors *errs)
{
    const char *nearest = NULL;
    unsigned best = 3 + (unsigned)(strlen(name) > 12);
    for (size_t i = 0; i < n; i++) {
        unsigned d = str_distance(name, fields[i].name);
        if (!(fields[i].flags & JF_READ_ONLY) && d < best && d < strlen(fields[i].name)) {
            best = d;
            nearest = fields[i].name;
        }
    }
    if (nearest)
        json_error_add(errs, pointer, "unknown_field", "'%.64s' is not known; did you mean '%s'?",
                       name, nearest);
    else
        json_error_add(errs, pointer, "unknown_field", "'%.64s' is not known", name);
}

int json_check(const json_t *obj, const struct json_field *fields, size_t n, bool patch,
               struct json_errors *errs)
{
    unsigned before = errs->count;
    const char *name;
    json_t *v;
    if (!json_is_object(obj)) {
        json_error_add(errs, "", "wrong_type", "an object is needed");
        return E_PROTO;
    }
    json_object_foreach((json_t *)obj, name, v)
    {
        char pointer[128];
        size_t i = 0;
        pointer_of(pointer, sizeof(pointer), name);
        while (i < n && strcmp(fields[i].name, name) != 0)
            i++;
        if (i < n)
            check_member(&fields[i], pointer, v, patch, errs);
        else
            add_unknown(name, pointer, fields, n, errs);
    }
    for (size_t i = 0; i < n && !patch; i++) {
        char pointer[128];
        pointer_of(pointer, sizeof(pointer), fields[i].name);
        if (fields[i].flags & JF_REQUIRED && !json_object_get(obj, fields[i].name))
            json_error_add(errs, pointer, "required", "%s is required", fields[i].name);
    }
    return errs->count > before ? E_PROTO : 0;
}
