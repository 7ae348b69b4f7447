/*
 * Numbers from text, and bytes to and from hex and base64. Decoders are strict: what they take
 * has exactly one spelling (but for the case of hex digits), so that a link or a token can't be
 * written in two ways.
 */
#include "util.h"

int num_parse(const char *s, int64_t min, int64_t max, int64_t *ret)
{
    bool negative = *s == '-';
    if (negative)
        s++;
    if (!*s)
        return -EINVAL;
    int64_t v = 0;
    bool overflow = false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return -EINVAL;
        int digit = *s - '0';
        overflow = overflow || __builtin_mul_overflow(v, 10, &v) ||
                   (negative ? __builtin_sub_overflow(v, digit, &v)
                             : __builtin_add_overflow(v, digit, &v));
    }
    if (overflow || v < min || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

void hex_encode(const void *p, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        *ret++ = digits[b[i] >> 4];
        *ret++ = digits[b[i] & 15];
    }
    *ret = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(const char *s, size_t n, void *ret)
{
    uint8_t *out = ret;
    if (n % 2)
        return -EINVAL;
    for (size_t i = 0; i < n; i += 2) {
        int hi = hex_digit(s[i]), lo = hex_digit(s[i + 1]);
        if (hi < 0 || lo < 0)
            return -EINVAL;
        *out++ = (uint8_t)(hi << 4 | lo);
    }
    return 0;
}

#define B64_COMMON "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static size_t b64(const char *alphabet, bool pad, const uint8_t *b, size_t n, char *ret)
{
    char *o = ret;
    for (; n >= 3; b += 3, n -= 3) {
        uint32_t v = (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *o++ = alphabet[v >> shift & 63];
    }
    if (n) {
        uint32_t v = (uint32_t)b[0] << 16 | (n == 2 ? (uint32_t)b[1] << 8 : 0);
        *o++ = alphabet[v >> 18 & 63];
        *o++ = alphabet[v >> 12 & 63];
        if (n == 2)
            *o++ = alphabet[v >> 6 & 63];
        for (size_t i = n; pad && i < 3; i++)
            *o++ = '=';
    }
    *o = '\0';
    return (size_t)(o - ret);
}

size_t b64url_encode(const void *p, size_t n, char *ret)
{
    return b64(B64_COMMON "-_", false, p, n, ret);
}

size_t b64_encode(const void *p, size_t n, char *ret)
{
    return b64(B64_COMMON "+/", true, p, n, ret);
}

static int b64url_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int b64url_decode(const char *s, size_t n, void *ret, size_t cap)
{
    uint8_t *out = ret;
    size_t len = n / 4 * 3 + (n % 4 ? n % 4 - 1 : 0);
    uint32_t bits = 0;
    unsigned have = 0;
    if (n % 4 == 1 || len > cap || len > INT32_MAX)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        int d = b64url_digit(s[i]);
        if (d < 0)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            *out++ = (uint8_t)(bits >> have);
            bits &= (1u << have) - 1;
        }
    }
    return bits ? -EINVAL : (int)len;
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

bool id_list_has(const struct id_list *list, int64_t id)
{
    return list->n > 0 && bsearch(&id, list->ids, list->n, sizeof(id), compare_ids) != NULL;
}
