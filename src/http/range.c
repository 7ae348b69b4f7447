/*
 * Range, If-Range and If-None-Match as pure functions. One range is served; several, another
 * unit or nonsense are ignored, which RFC 9110 allows and clients of MCUs survive. An end past
 * the file is clamped, since resuming esp_https_ota asks for one byte too many.
 */
#include "internal.h"

#include <ctype.h>

/* Digits into *ret, saturating; the number of digits. */
static size_t digits(const char *p, uint64_t *ret)
{
    size_t n = 0;
    uint64_t v = 0;
    for (; isdigit((unsigned char)p[n]); n++) {
        uint64_t d = (uint64_t)(p[n] - '0');
        v = v > (UINT64_MAX - d) / 10 ? UINT64_MAX : v * 10 + d;
    }
    *ret = v;
    return n;
}

static const char *skip_blank(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

static enum range_kind suffix(uint64_t n, uint64_t size, uint64_t *ret_first, uint64_t *ret_last)
{
    if (n == 0 || size == 0)
        return RANGE_UNSATISFIABLE;
    *ret_first = n >= size ? 0 : size - n;
    *ret_last = size - 1;
    return RANGE_OK;
}

enum range_kind range_parse(const char *text, uint64_t size, uint64_t *ret_first,
                            uint64_t *ret_last)
{
    uint64_t first, last;

    if (!text || strncasecmp(text, "bytes=", 6) != 0)
        return RANGE_NONE;
    const char *p = skip_blank(text + 6);
    size_t n = digits(p, &first);
    p += n;
    if (*p++ != '-')
        return RANGE_NONE;
    size_t m = digits(p, &last);
    if (*skip_blank(p + m) != '\0' || (n == 0 && m == 0))
        return RANGE_NONE;
    if (n == 0)
        return suffix(last, size, ret_first, ret_last);
    if (m != 0 && last < first)
        return RANGE_NONE;
    if (first >= size)
        return RANGE_UNSATISFIABLE;
    *ret_first = first;
    *ret_last = m == 0 || last >= size ? size - 1 : last;
    return RANGE_OK;
}

/* One entity tag at p: its quoted text; returns what follows it, or NULL when it is malformed. */
static const char *one_tag(const char *p, bool *ret_weak, struct str *ret)
{
    *ret_weak = p[0] == 'W' && p[1] == '/';
    if (*ret_weak)
        p += 2;
    if (*p != '"')
        return NULL;
    const char *end = strchr(++p, '"');
    if (!end)
        return NULL;
    *ret = (struct str){p, (size_t)(end - p)};
    return end + 1;
}

bool etag_listed(const char *list, const char *etag)
{
    bool weak;
    struct str tag;

    const char *p = skip_blank(list);
    if (*p == '*')
        return *skip_blank(p + 1) == '\0';
    while (*p) {
        while (*p == ',' || *p == ' ' || *p == '\t')
            p++;
        if (!*p || !(p = one_tag(p, &weak, &tag)))
            return false;
        if (str_eq(tag, etag))
            return true;
    }
    return false;
}

bool etag_same(const char *text, const char *etag)
{
    bool weak;
    struct str tag;

    const char *end = one_tag(skip_blank(text), &weak, &tag);
    return end && !weak && *skip_blank(end) == '\0' && str_eq(tag, etag);
}
