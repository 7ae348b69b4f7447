/*
 * Clocks, and RFC 3339 in both directions. The calendar is computed here (days from civil,
 * proleptic Gregorian), because libc's functions take locks, read time zones and are slow.
 */
#include "util.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t fake_ms;

void clock_fake_ms(int64_t ms)
{
    atomic_store(&fake_ms, ms);
}

int64_t clock_now_ms(void)
{
    int64_t fake = atomic_load_explicit(&fake_ms, memory_order_relaxed);
    if (fake)
        return fake;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_mono_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static _Atomic int64_t fake_steady_ms, steady_base_ms;

void clock_fake_steady_ms(int64_t ms)
{
    atomic_store(&fake_steady_ms, ms);
}

int64_t clock_steady_ms(void)
{
    int64_t fake = atomic_load_explicit(&fake_steady_ms, memory_order_relaxed);
    if (fake)
        return fake;
    int64_t mono = clock_mono_us() / 1000, base = atomic_load(&steady_base_ms);
    if (!base) { /* whoever is first says */
        int64_t own = clock_now_ms() - mono;
        base = atomic_compare_exchange_strong(&steady_base_ms, &base, own) ? own : base;
    }
    return base + mono;
}

#define DAY_MS  INT64_C(86400000)
#define TIME_LO INT64_C(-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define TIME_HI INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

/* Days since 1970-01-01; the year starts in March, so that the leap day is its last. */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year = y - era * 400;
    int64_t day = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

static char *digits(char *p, int64_t v, int n)
{
    for (int i = n - 1; i >= 0; i--, v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + n;
}

const char *time_text(int64_t ms, char buf[TIME_TEXT_MAX])
{
    ms = ms < TIME_LO ? TIME_LO : ms > TIME_HI ? TIME_HI : ms;
    int64_t days = ms / DAY_MS, rest = ms % DAY_MS;
    if (rest < 0) {
        rest += DAY_MS;
        days--;
    }
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;

    char *p = digits(buf, yoe + era * 400 + (month <= 2), 4);
    *p++ = '-';
    p = digits(p, month, 2);
    *p++ = '-';
    p = digits(p, doy - (153 * mp + 2) / 5 + 1, 2);
    *p++ = 'T';
    p = digits(p, rest / 3600000, 2);
    *p++ = ':';
    p = digits(p, rest / 60000 % 60, 2);
    *p++ = ':';
    p = digits(p, rest / 1000 % 60, 2);
    *p++ = '.';
    p = digits(p, rest % 1000, 3);
    *p++ = 'Z';
    *p = '\0';
    return buf;
}

/* n digits at *s, then the character `then` (0: none). */
static bool take(const char **s, int n, char then, int64_t *ret)
{
    int64_t v = 0;
    for (; n > 0; n--, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        v = v * 10 + (**s - '0');
    }
    if (then && *(*s)++ != then)
        return false;
    *ret = v;
    return true;
}

static int64_t month_days(int64_t y, int64_t m)
{
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : days[m - 1];
}

/* ".123456789" -> ms, or 0 when there is none; false for a dot without digits or with ten. */
static bool take_fraction(const char **s, int64_t *ret_ms)
{
    int64_t scale = 100;
    int n = 0;
    *ret_ms = 0;
    if (**s != '.')
        return true;
    for ((*s)++; **s >= '0' && **s <= '9'; (*s)++, n++, scale /= 10)
        *ret_ms += (**s - '0') * scale;
    return n >= 1 && n <= 9;
}

static bool take_offset(const char **s, int64_t *ret_min)
{
    int64_t h, m;
    char sign = *(*s)++;
    *ret_min = 0;
    if (sign == 'Z' || sign == 'z')
        return true;
    if ((sign != '+' && sign != '-') || !take(s, 2, ':', &h) || !take(s, 2, 0, &m) || h > 23 ||
        m > 59)
        return false;
    *ret_min = (h * 60 + m) * (sign == '-' ? -1 : 1);
    return true;
}

int time_parse(const char *s, int64_t *ret_ms)
{
    int64_t y, mo, d, h, mi, sec, ms, offset_min;
    if (!take(&s, 4, '-', &y) || !take(&s, 2, '-', &mo) || !take(&s, 2, 0, &d))
        return -EINVAL;
    if (mo < 1 || mo > 12 || d < 1 || d > month_days(y, mo) || (*s != 'T' && *s != 't'))
        return -EINVAL;
    s++;
    if (!take(&s, 2, ':', &h) || !take(&s, 2, ':', &mi) || !take(&s, 2, 0, &sec))
        return -EINVAL;
    /* 60 is a leap second: the instant after it, as time_t has none. */
    if (h > 23 || mi > 59 || sec > 60 || !take_fraction(&s, &ms) || !take_offset(&s, &offset_min))
        return -EINVAL;
    if (*s)
        return -EINVAL;
    *ret_ms = days_of(y, mo, d) * DAY_MS + (h * 3600 + mi * 60 + sec - offset_min * 60) * 1000 + ms;
    return 0;
}
