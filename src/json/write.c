/*
 * JSON text out: compact, members in their order. Written here rather than by jansson because
 * reals are printed with as few digits as read back to the same value (31.2, where jansson says
 * 31.199999999999999): devices get back what they reported.
 */
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void add_escaped(struct sbuf *out, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\', (char)c};
    size_t n = 2;
    if (c == '\n')
        text[1] = 'n';
    else if (c == '\r')
        text[1] = 'r';
    else if (c == '\t')
        text[1] = 't';
    else if (c != '"' && c != '\\') {
        memcpy(text, "\\u00", 4);
        text[4] = digits[c >> 4];
        text[5] = digits[c & 15];
        n = 6;
    }
    sbuf_add(out, text, n);
}

void json_add_string(struct sbuf *out, const char *s)
{
    const char *start = s, *end = s + strlen(s);
    sbuf_add(out, "\"", 1);
    while (s < end) {
        unsigned char c = (unsigned char)*s;
        size_t n = c < 0x80 ? 1 : str_utf8(s, (size_t)(end - s));
        if (n > 0 && c >= 0x20 && c != '"' && c != '\\') {
            s += n;
            continue;
        }
        sbuf_add(out, start, (size_t)(s - start));
        if (n == 0)
            sbuf_str(out, "\xef\xbf\xbd"); /* what is no UTF-8 must not spoil the whole answer */
        else
            add_escaped(out, c);
        start = ++s;
    }
    sbuf_add(out, start, (size_t)(s - start));
    sbuf_add(out, "\"", 1);
}

static void add_real(struct sbuf *out, double d)
{
    char text[40];

    if (!isfinite(d)) { /* jansson makes none; JSON knows none */
        sbuf_str(out, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    sbuf_str(out, text);
    if (!strpbrk(text, ".e"))
        sbuf_str(out, ".0"); /* a real stays a real */
}

static void add_object(struct sbuf *out, const json_t *j)
{
    const char *name, *comma = "";
    json_t *value;

    sbuf_add(out, "{", 1);
    json_object_foreach((json_t *)(uintptr_t)j, name, value)
    {
        sbuf_str(out, comma);
        json_add_string(out, name);
        sbuf_add(out, ":", 1);
        json_add_text(out, value);
        comma = ",";
    }
    sbuf_add(out, "}", 1);
}

void json_add_text(struct sbuf *out, const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        add_object(out, j);
        break;
    case JSON_ARRAY:
        sbuf_add(out, "[", 1);
        for (size_t i = 0; i < json_array_size(j); i++) {
            if (i > 0)
                sbuf_add(out, ",", 1);
            json_add_text(out, json_array_get(j, i));
        }
        sbuf_add(out, "]", 1);
        break;
    case JSON_STRING:
        json_add_string(out, json_string_value(j));
        break;
    case JSON_INTEGER:
        sbuf_fmt(out, "%" PRId64, (int64_t)json_integer_value(j));
        break;
    case JSON_REAL:
        add_real(out, json_real_value(j));
        break;
    case JSON_TRUE:
        sbuf_str(out, "true");
        break;
    case JSON_FALSE:
        sbuf_str(out, "false");
        break;
    case JSON_NULL:
        sbuf_str(out, "null");
        break;
    }
}

char *json_text(const json_t *j)
{
    struct sbuf b = {0};
    json_add_text(&b, j);
    return sbuf_take(&b);
}
