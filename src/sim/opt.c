/*
 * What the subcommands' options have in common: reading numbers and addresses, and saying in
 * one line what is wrong with them. No state.
 */
#include "sim.h"

#include <math.h>

static int wrong(const char *name, const char *text, const char *want)
{
    fprintf(stderr, "otasim: --%s: '%s' is not %s\n", name, text, want);
    return SIM_USAGE;
}

int sim_opt_broker(const char *text, struct sim_broker *ret)
{
    static const char want[] = "HOST:PORT";
    const char *colon = strrchr(text, ':');
    int64_t port;

    if (!colon || colon == text || num_parse(colon + 1, 1, 65535, &port) < 0)
        return wrong("broker", text, want);
    size_t n = (size_t)(colon - text);
    if (text[0] == '[' && n > 2 && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (n >= sizeof(ret->host))
        return wrong("broker", text, want);
    memcpy(ret->host, text, n);
    ret->host[n] = '\0';
    ret->port = (int)port;
    return SIM_OK;
}

int sim_opt_int(const char *name, const char *text, int64_t min, int64_t max, int64_t *ret)
{
    char want[96];

    if (num_parse(text, min, max, ret) == 0)
        return SIM_OK;
    (void)str_fmt(want, sizeof(want), "a whole number from %lld to %lld", (long long)min,
                  (long long)max);
    return wrong(name, text, want);
}

int sim_opt_seconds(const char *name, const char *text, int64_t *ret_ms)
{
    char *end;
    double s = strtod(text, &end);

    if (end == text || *end || !isfinite(s) || s < 0 || s > 1e6)
        return wrong(name, text, "a number of seconds");
    *ret_ms = (int64_t)llround(s * 1000);
    return SIM_OK;
}

int sim_opt_stray(int argc, char **argv, int from)
{
    if (from >= argc)
        return SIM_OK;
    fprintf(stderr, "otasim %s: '%s' is not an option; see otasim %s --help\n", argv[0], argv[from],
            argv[0]);
    return SIM_USAGE;
}
