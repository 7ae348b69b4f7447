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

static bool is_bounded(const char *p, size_t n, size_t max_bytes, unsigned max_depth,
                       enum json_fault *ret_fault, struct fail *where)
{
    if (n > max_bytes) {
        fail(where, E_LIMIT, "%zu bytes where at most %zu are taken", n, max_bytes);
        *ret_fault = JSON_FAULT_TOO_LONG;
        return false;
    }
    if (is_too_deep(p, n, max_depth)) {
        fail(where, E_LIMIT, "nested deeper than %u levels", max_depth);
        *ret_fault = JSON_FAULT_TOO_DEEP;
        return false;
    }
    return true;
}

static json_t *load(const char *p, size_t n, enum json_fault *ret_fault, json_error_t *error)
{
    json_t *j = json_loadb(n ? p : "", n, JSON_REJECT_DUPLICATES, error);
    bool duplicate = !j && json_error_code(error) == json_error_duplicate_key;

    *ret_fault = j ? JSON_OK : duplicate ? JSON_FAULT_DUPLICATE_KEY : JSON_FAULT_SYNTAX;
    return j;
}

static json_t *with_place(json_t *j, const json_error_t *error, struct fail *where)
{
    if (!j)
        fail(where, E_PROTO, "line %d, column %d: %s", error->line, error->column, error->text);
    return j;
}

json_t *json_parse(const char *p, size_t n, size_t max_bytes, unsigned max_depth,
                   enum json_fault *ret_fault, struct fail *where)
{
    json_error_t error;

    if (!is_bounded(p, n, max_bytes, max_depth, ret_fault, where))
        return NULL;
    return with_place(load(p, n, ret_fault, &error), &error, where);
}

/* ---- integers that don't fit ---- */
static size_t number_at(const char *p, size_t n)
{
    size_t k = 0;

    while (k < n && ((p[k] >= '0' && p[k] <= '9') || (p[k] && strchr("+-.eE", p[k]))))
        k++;
    return k;
}

/* A well-formed integer beyond int64. */
static bool is_big(const char *p, size_t n)
{
    bool negative = n > 0 && *p == '-';
    const char *most = negative ? "9223372036854775808" : "9223372036854775807";

    p += negative;
    n -= negative;
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return n > 0 && *p != '0' && (n > 19 || (n == 19 && memcmp(p, most, 19) > 0));
}

/* Quoted, it would be the name of a member. */
static bool is_before_colon(const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && p[i] && strchr(" \t\r\n", p[i]))
        i++;
    return i < n && p[i] == ':';
}

/* The same text, with quotes around those of them that stand outside strings. */
static void quote_big(const char *p, size_t n, struct sbuf *out)
{
    bool in_string = false;

    for (size_t i = 0, k; i < n; i += k) {
        size_t number = in_string ? 0 : number_at(p + i, n - i);
        bool big = is_big(p + i, number) && !is_before_colon(p + i + number, n - i - number);

        k = number > 0 ? number : in_string && p[i] == '\\' && i + 1 < n ? 2 : 1;
        in_string ^= number == 0 && p[i] == '"';
        sbuf_str(out, big ? "\"" : "");
        sbuf_add(out, p + i, k);
        sbuf_str(out, big ? "\"" : "");
    }
}

json_t *json_parse_big(const char *p, size_t n, size_t max_bytes, unsigned max_depth,
                       enum json_fault *ret_fault, struct fail *where)
{
    struct sbuf text = {.p = NULL};
    json_error_t error, other;

    if (!is_bounded(p, n, max_bytes, max_depth, ret_fault, where))
        return NULL;
    json_t *j = load(p, n, ret_fault, &error);
    if (!j && json_error_code(&error) == json_error_numeric_overflow) {
        quote_big(p, n, &text);
        j = load(text.p, text.n, ret_fault, &other);
        sbuf_done(&text);
    }
    return with_place(j, &error, where);
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
