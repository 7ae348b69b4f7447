/* How long to wait before the next connection. Pure. */
#include "internal.h"

#define FIRST ((uint64_t)1000) /* ms */

/* Full jitter: anything up to a bound that doubles. When a broker comes back, those who lost it
 * come back spread over the bound, not together. */
uint64_t session_backoff_ms(unsigned attempts, uint64_t random)
{
    uint64_t bound = BACKOFF_MAX;
    if (attempts < 6)
        bound = FIRST << attempts;
    return BACKOFF_MIN + random % (bound - BACKOFF_MIN + 1);
}
