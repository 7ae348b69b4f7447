/* Dates of the Gregorian calendar and numbers of days. */
#include "util.h"

/* The year starts in March, so that the leap day is its last. */
int64_t civil_days(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = floor_div(year, 400);
    int64_t y = year - era * 400;
    int64_t d = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return era * 146097 + y * 365 + y / 4 - y / 100 + d - 719468;
}

void civil_date(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    int64_t era = floor_div(days + 719468, 146097);
    int64_t d = days + 719468 - era * 146097;
    int64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
    int64_t of_year = d - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * of_year + 2) / 153;

    *ret_day = (int)(of_year - (153 * m + 2) / 5 + 1);
    *ret_month = (int)(m < 10 ? m + 3 : m - 9);
    *ret_year = y + era * 400 + (*ret_month <= 2);
}
