/*
 * What a failure is counted as: who found it, a colon, and what it was. A device's own words are
 * made alike first, so that "write failed at 0x3f2000" and "Write failed at 0x410000" are one
 * reason: small letters, single blanks, and # for numbers that are addresses or counters rather
 * than codes.
 */
#include "update_priv.h"

#define CODE_DIGITS 4 /* a decimal number that is longer is no code */
#define CODE_HEX    5 /* nor is a hexadecimal one: ESP_ERR_OTA_VALIDATE_FAILED is 0x1503 */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool is_word(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (unsigned char)c >= 0x80;
}

/* Bytes of a word at s that stands for no more than a number; 0 when it is a word or a code. */
static size_t number_at(const char *s)
{
    bool prefix = s[0] == '0' && (s[1] | 0x20) == 'x';
    size_t n = prefix ? 2 : 0, digits = 0;

    for (; is_hex(s[n]); n++)
        digits += is_digit(s[n]);
    if (is_word(s[n]) || digits == 0)
        return 0;
    if (prefix)
        return n - 2 > CODE_HEX ? n : 0;
    return n > (digits == n ? (size_t)CODE_DIGITS : 7) ? n : 0;
}

/* Small ASCII letters, blanks for what does not print; never cut inside a character. */
static void make_alike(const char *s, char *ret, size_t cap)
{
    size_t n = 0, k;
    bool starts = true;

    while (*s && (k = str_utf8(s, strlen(s))) > 0) {
        size_t number = starts ? number_at(s) : 0;
        char c = *s;

        if (n + k >= cap)
            break;
        if (number > 0) {
            ret[n++] = '#';
            s += number;
            continue;
        }
        if ((unsigned char)c <= 0x20 || c == 0x7f) {
            if (n > 0 && ret[n - 1] != ' ')
                ret[n++] = ' ';
        } else {
            memcpy(ret + n, s, k);
            if (c >= 'A' && c <= 'Z')
                ret[n] = (char)(c | 0x20);
            n += k;
        }
        starts = !is_word(c);
        s += k;
    }
    while (n > 0 && ret[n - 1] == ' ')
        n--;
    ret[n] = '\0';
}

void reason_of(const struct update *u, enum update_state from, char ret[CAMPAIGN_REASON_MAX + 1])
{
    static const char ours[] = "the device reports "; /* before its own words */
    const char *what = NULL, *said = u->said ? u->said : "";

    if (strncmp(said, ours, sizeof(ours) - 1) == 0)
        said += sizeof(ours) - 1;
    *ret = '\0';
    if (u->state == UPDATE_CANCELED || (u->state == UPDATE_VERIFIED && !u->suspect))
        return;
    if (u->state == UPDATE_VERIFIED) {
        (void)str_copy(ret, CAMPAIGN_REASON_MAX + 1, "suspect:no_bytes_served");
        return;
    }
    if (strcmp(u->cause, "deadline") == 0)
        what = update_state_name(from);
    else if (strcmp(u->cause, "report") == 0)
        what = "old_version";
    else if (strcmp(u->cause, "download") == 0)
        what = "again_and_again";
    else if (strcmp(u->cause, "consent_refused") == 0)
        what = "by_the_user";
    else if (strcmp(u->cause, "delta") == 0)
        what = "full_image_instead";
    (void)str_fmt(ret, CAMPAIGN_REASON_MAX + 1, "%.32s:", u->cause);
    size_t n = strlen(ret), cap = CAMPAIGN_REASON_MAX + 1 - n;
    if (what)
        (void)str_copy(ret + n, cap, what);
    else
        make_alike(said, ret + n, cap);
    if (!ret[n])
        (void)str_copy(ret + n, cap, "unspecified");
}
