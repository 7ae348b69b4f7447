/*
 * Fuzz target: bounded parsing. What is taken must come out as text that is taken again and
 * equals it; the field checks must get along with whatever it is; a refusal names its kind.
 */
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct json_field fields[] = {
    {"k", JK_KEY, JF_REQUIRED, 0, 0, NULL, NULL, NULL},
    {"s", JK_STRING, 0, 1, 8, NULL, NULL, NULL},
    {"x", JK_TEXT, JF_NULLABLE, 0, 0, NULL, NULL, NULL},
    {"i", JK_INT, 0, 1, 10, NULL, NULL, NULL},
    {"b", JK_BOOL, JF_CREATE_ONLY, 0, 0, NULL, NULL, NULL},
    {"e", JK_ENUM, 0, 0, 0, "a|b", NULL, NULL},
    {"t", JK_TIME, 0, 0, 0, NULL, NULL, NULL},
    {"l", JK_STRINGS, 0, 0, 3, NULL, NULL, NULL},
    {"r", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL, NULL},
};

static bool is_utf8(const char *s)
{
    size_t n = strlen(s), at = 0, k = 1;
    while (at < n && k > 0)
        at += k = str_utf8(s + at, n - at);
    return k > 0;
}

static void check_fields(const json_t *j, bool patch)
{
    struct json_errors errs = {0};
    int rc = json_check(j, fields, ARRAY_LEN(fields), patch, &errs);
    if ((rc < 0) != (errs.count > 0))
        abort();
    for (size_t i = 0; i < errs.count && i < ARRAY_LEN(errs.list); i++)
        if (!is_utf8(errs.list[i].detail) || !is_utf8(errs.list[i].pointer))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum json_fault fault = JSON_FAULT_SYNTAX;
    struct fail where = {0};
    AUTO(json_free)
    json_t *j = json_parse((const char *)data, size, 4096, 16, &fault, &where);
    if ((j == NULL) == (fault == JSON_OK) || (!j && !where.text[0]))
        abort();
    AUTO(json_free)
    json_t *big = json_parse_big((const char *)data, size, 4096, 16, &fault, &where);
    if ((j && (!big || !json_equal(j, big))) || (big == NULL) == (fault == JSON_OK))
        abort();
    if (!j)
        return 0;
    AUTO(free) char *text = json_text(j);
    AUTO(json_free) json_t *again = json_parse(text, strlen(text), 1 << 16, 16, &fault, NULL);
    if (!again || !json_equal(j, again))
        abort();
    check_fields(j, false);
    check_fields(j, true);
    return 0;
}
