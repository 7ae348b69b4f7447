/*
 * Bounded parsing and writing of JSON. What comes from outside is measured before jansson sees
 * it: its length, and by a scan without recursion the depth of its brackets. The rest of the
 * strictness is jansson's own (UTF-8, lone surrogates, numbers out of range, trailing bytes).
 */
#include "json.h"

void json_setup(void)
{
    json_object_seed(0);
}

/* Deepest nesting of brackets outside strings; wrong brackets are left to the parser. */
static bool is_too_deep(const char *p, size_t n, unsigned max_depth)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > max_depth)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

static json_t *refuse(enum json_fault fault, enum json_fault *ret_fault)
{
    *ret_fault = fault;
    return NULL;
}

json_t *json_parse(const char *p, size_t n, size_t max_bytes, unsigned max_depth,
                   enum json_fault *ret_fault, struct fail *where)
{
    json_error_t error;
    if (n > max_bytes) {
        fail(where, E_LIMIT, "%zu bytes where at most %zu are taken", n, max_bytes);
        return refuse(JSON_FAULT_TOO_LONG, ret_fault);
    }
    if (is_too_deep(p, n, max_depth)) {
        fail(where, E_LIMIT, "nested deeper than %u levels", max_depth);
        return refuse(JSON_FAULT_TOO_DEEP, ret_fault);
    }
    json_t *j = json_loadb(n ? p : "", n, JSON_REJECT_DUPLICATES, &error);
    if (!j) {
        bool duplicate = json_error_code(&error) == json_error_duplicate_key;
        fail(where, E_PROTO, "line %d, column %d: %s", error.line, error.column, error.text);
        return refuse(duplicate ? JSON_FAULT_DUPLICATE_KEY : JSON_FAULT_SYNTAX, ret_fault);
    }
    *ret_fault = JSON_OK;
    return j;
}

const char *json_get_str(const json_t *obj, const char *name, const char *dflt)
{
    const json_t *v = json_object_get(obj, name);
    return json_is_string(v) ? json_string_value(v) : dflt;
}

int64_t json_get_int(const json_t *obj, const char *name, int64_t dflt)
{
    const json_t *v = json_object_get(obj, name);
    return json_is_integer(v) ? (int64_t)json_integer_value(v) : dflt;
}

bool json_get_bool(const json_t *obj, const char *name, bool dflt)
{
    const json_t *v = json_object_get(obj, name);
    return json_is_boolean(v) ? json_boolean_value(v) : dflt;
}
