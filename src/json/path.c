/*
 * Paths into a document: a JSON pointer (RFC 6901, "/data/fw") or names with dots ("data.fw"). A
 * number is an element where an array is. Walked as text: nothing is prepared or kept.
 */
#include "json.h"

/* The next step of a path into buf; false at its end. Malformed: *at is NULL afterwards. */
static bool next_step(const char **at, bool pointer, char buf[JSON_PATH_MAX + 1])
{
    const char *p = *at;
    size_t n = 0;

    if (!*p)
        return false;
    p += pointer; /* the slash */
    while (*p && *p != (pointer ? '/' : '.')) {
        char c = *p++;
        if (pointer && c == '~') {
            if (*p != '0' && *p != '1') {
                *at = NULL;
                return false;
            }
            c = *p++ == '0' ? '~' : '/';
        }
        buf[n++] = c;
    }
    buf[n] = '\0';
    if (!pointer && (n == 0 || (*p == '.' && !p[1]))) {
        *at = NULL; /* "a..b", ".a", "a." */
        return false;
    }
    *at = p + (!pointer && *p == '.');
    return true;
}

bool json_path_ok(const char *path)
{
    char step[JSON_PATH_MAX + 1];
    bool pointer = *path == '/';
    size_t n = strlen(path), steps = 0;

    if (n == 0 || n > JSON_PATH_MAX || !str_is_text(path, n))
        return false;
    while (next_step(&path, pointer, step))
        steps++;
    return path && steps <= JSON_PATH_STEPS_MAX;
}

json_t *json_path_get(const json_t *in, const char *path)
{
    char step[JSON_PATH_MAX + 1];
    bool pointer = *path == '/';
    json_t *at = (json_t *)(uintptr_t)in;
    int64_t i;

    if (!json_path_ok(path))
        return NULL;
    while (at && next_step(&path, pointer, step)) {
        if (!json_is_array(at))
            at = json_object_get(at, step);
        else
            at = num_parse(step, 0, INT32_MAX, &i) == 0 ? json_array_get(at, (size_t)i) : NULL;
    }
    return at;
}
