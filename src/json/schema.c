/*
 * JSON Schema (2020-12, as OpenAPI 3.1 has it) from a field table: the description that clients
 * read comes from the same rows that check their requests. Lengths are counted in bytes by us
 * and in characters by JSON Schema, which only makes the description a little too generous.
 */
#include "field.h"
#include "json.h"

static void set(json_t *obj, const char *name, json_t *value)
{
    if (json_object_set_new(obj, name, value) < 0)
        abort();
}

static void set_bound(json_t *obj, const char *name, int64_t value, int64_t none)
{
    if (value != none)
        set(obj, name, json_integer(value));
}

static const char *type_of(enum json_kind kind)
{
    switch (kind) {
    case JK_STRING:
    case JK_TEXT:
    case JK_KEY:
    case JK_ENUM:
    case JK_TIME:
        return "string";
    case JK_INT:
        return "integer";
    case JK_NUMBER:
        return "number";
    case JK_BOOL:
        return "boolean";
    case JK_STRINGS:
    case JK_ARRAY:
        return "array";
    case JK_OBJECT:
        return "object";
    }
    abort();
}

json_t *json_words(const char *list)
{
    json_t *array = json_array();
    for (const char *p = list; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        json_array_append_new(array, json_stringn(p, strcspn(p, "|")));
    return array;
}

static json_t *initial(const struct json_field *f)
{
    int64_t v;
    switch (f->kind) {
    case JK_INT:
    case JK_NUMBER:
        return num_parse(f->initial, INT64_MIN, INT64_MAX, &v) == 0 ? json_integer(v) : json_null();
    case JK_BOOL:
        return json_boolean(strcmp(f->initial, "true") == 0);
    case JK_STRINGS:
    case JK_ARRAY:
        return json_array();
    case JK_OBJECT:
        return json_object();
    case JK_STRING:
    case JK_TEXT:
    case JK_KEY:
    case JK_ENUM:
    case JK_TIME:
        break;
    }
    return json_string(f->initial);
}

static void add_bounds(json_t *s, const struct json_field *f)
{
    int64_t min, max;
    json_t *list;
    field_bounds(f, &min, &max);
    switch (f->kind) {
    case JK_KEY:
        set(s, "pattern", json_string("^[A-Za-z0-9._:@+-]+$"));
        /* fall through */
    case JK_STRING:
    case JK_TEXT:
        set_bound(s, "minLength", min, 0);
        set_bound(s, "maxLength", max, INT64_MAX);
        break;
    case JK_INT:
    case JK_NUMBER:
        set_bound(s, "minimum", min, INT64_MIN);
        set_bound(s, "maximum", max, INT64_MAX);
        break;
    case JK_STRINGS:
        set(s, "items", json_pack("{s:s,s:i}", "type", "string", "minLength", 1));
        set_bound(s, "minItems", min, 0);
        set_bound(s, "maxItems", max, INT64_MAX);
        break;
    case JK_ENUM:
        set(s, "enum", list = json_words(f->words));
        if (f->flags & JF_NULLABLE)
            json_array_append_new(list, json_null());
        break;
    case JK_TIME:
        set(s, "format", json_string("date-time"));
        break;
    case JK_BOOL:
    case JK_OBJECT:
    case JK_ARRAY:
        break;
    }
}

static json_t *field_schema(const struct json_field *f)
{
    json_t *s = json_object();
    if (f->flags & JF_NULLABLE)
        set(s, "type", json_pack("[s,s]", type_of(f->kind), "null"));
    else
        set(s, "type", json_string(type_of(f->kind)));
    add_bounds(s, f);
    if (f->initial)
        set(s, "default", initial(f));
    if (f->help)
        set(s, "description", json_string(f->help));
    if (f->flags & JF_READ_ONLY)
        set(s, "readOnly", json_true());
    if (f->flags & JF_WRITE_ONLY)
        set(s, "writeOnly", json_true());
    return s;
}

json_t *json_schema(const struct json_field *fields, size_t n, bool request)
{
    json_t *properties = json_object(), *required = json_array(), *s = json_object();
    unsigned hidden = request ? JF_READ_ONLY : JF_WRITE_ONLY;
    for (size_t i = 0; i < n; i++) {
        if (fields[i].flags & hidden)
            continue;
        set(properties, fields[i].name, field_schema(&fields[i]));
        if (request && fields[i].flags & JF_REQUIRED)
            json_array_append_new(required, json_string(fields[i].name));
    }
    set(s, "type", json_string("object"));
    set(s, "properties", properties);
    if (json_array_size(required) > 0)
        set(s, "required", json_incref(required));
    if (request)
        set(s, "additionalProperties", json_false());
    json_decref(required);
    return s;
}
