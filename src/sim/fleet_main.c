/*
 * otasim fleet: its options, and the one line of JSON that a run ends with.
 */
#include "fleet.h"

#include <getopt.h>
#include <sys/resource.h>

static const char usage[] =
    "Usage: otasim fleet --broker HOST:PORT [OPTION…]\n"
    "Many devices check; prints one line of JSON: rates, latencies in ms, lost, errors.\n"
    "  --broker HOST:PORT   the broker\n"
    "  --devices N          devices (default 200)        --window W    on its way per device (8)\n"
    "  --prefix P           keys are P and seven digits (default bench-)\n"
    "  --first K            number of the first (default 1)\n"
    "  --password P         every device's password (default: no login)\n"
    "  --connections C      share C connections instead of one per device, as --username\n"
    "  --username U         login of shared connections: may use all topics\n"
    "  --spread             take the devices in turn, jumping about, instead of each for itself\n"
    "  --in-flight N        checks on their way in total (default devices x window)\n"
    "  --rate R             R checks per second at even distances instead of a closed loop\n"
    "  --mode M             check, write (each check reports another version) or mixed\n"
    "  --write-percent N    share of writing devices in mixed mode (default 50)\n"
    "  --versions A,B       what writing checks report in turn (default 0.1.0,0.1.1)\n"
    "  --event E  --attribute A   default otaCheck, version\n"
    "  --seconds S          measured (default 10)        --warmup S    before (default 2)\n"
    "  --timeout S          a check is lost after so long (default 30)\n"
    "  --connect-timeout S  all must be connected by then (default 60)\n";

enum {
    OPT_BROKER = 1000,
    OPT_DEVICES,
    OPT_WINDOW,
    OPT_PREFIX,
    OPT_FIRST,
    OPT_PASSWORD,
    OPT_CONNECTIONS,
    OPT_USERNAME,
    OPT_SPREAD,
    OPT_IN_FLIGHT,
    OPT_RATE,
    OPT_MODE,
    OPT_WRITE_PERCENT,
    OPT_VERSIONS,
    OPT_EVENT,
    OPT_ATTRIBUTE,
    OPT_SECONDS,
    OPT_WARMUP,
    OPT_TIMEOUT,
    OPT_CONNECT_TIMEOUT,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"broker", required_argument, NULL, OPT_BROKER},
    {"devices", required_argument, NULL, OPT_DEVICES},
    {"window", required_argument, NULL, OPT_WINDOW},
    {"prefix", required_argument, NULL, OPT_PREFIX},
    {"first", required_argument, NULL, OPT_FIRST},
    {"password", required_argument, NULL, OPT_PASSWORD},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"username", required_argument, NULL, OPT_USERNAME},
    {"spread", no_argument, NULL, OPT_SPREAD},
    {"in-flight", required_argument, NULL, OPT_IN_FLIGHT},
    {"rate", required_argument, NULL, OPT_RATE},
    {"mode", required_argument, NULL, OPT_MODE},
    {"write-percent", required_argument, NULL, OPT_WRITE_PERCENT},
    {"versions", required_argument, NULL, OPT_VERSIONS},
    {"event", required_argument, NULL, OPT_EVENT},
    {"attribute", required_argument, NULL, OPT_ATTRIBUTE},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"connect-timeout", required_argument, NULL, OPT_CONNECT_TIMEOUT},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static int take_mode(struct fleet_options *o, const char *text)
{
    static const char *const names[] = {"check", "write", "mixed"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            o->mode = (enum fleet_mode)i;
            return SIM_OK;
        }
    }
    fprintf(stderr, "otasim fleet: --mode is check, write or mixed, not '%s'\n", text);
    return SIM_USAGE;
}

static int take_versions(struct fleet_options *o, const char *text)
{
    const char *comma = strchr(text, ',');
    size_t n = comma ? (size_t)(comma - text) : 0;

    if (n == 0 || n > VERSION_MAX || strlen(comma + 1) > VERSION_MAX || !comma[1]) {
        fputs("otasim fleet: --versions takes two versions, A,B\n", stderr);
        return SIM_USAGE;
    }
    memcpy(o->versions[0], text, n);
    o->versions[0][n] = '\0';
    (void)str_copy(o->versions[1], sizeof(o->versions[1]), comma + 1);
    return SIM_OK;
}

static int take_text(struct fleet_options *o, int c, const char *text)
{
    if (c == OPT_BROKER)
        return sim_opt_broker(text, &o->broker);
    if (c == OPT_MODE)
        return take_mode(o, text);
    if (c == OPT_VERSIONS)
        return take_versions(o, text);
    if (c == OPT_PREFIX)
        o->prefix = text;
    else if (c == OPT_PASSWORD)
        o->broker.password = text;
    else if (c == OPT_USERNAME)
        o->broker.username = text;
    else if (c == OPT_EVENT)
        o->event = text;
    else if (c == OPT_ATTRIBUTE)
        o->attribute = text;
    else if (c == OPT_SPREAD)
        o->spread = true;
    else
        return SIM_USAGE; /* getopt_long has said why */
    return SIM_OK;
}

static int take_option(struct fleet_options *o, int c, const char *text)
{
    const struct {
        int option;
        const char *name;
        int64_t min, max, *value;
    } numbers[] = {
        {OPT_DEVICES, "devices", 1, 5000000, &o->devices},
        {OPT_WINDOW, "window", 1, 1000, &o->window},
        {OPT_FIRST, "first", 0, 9999999, &o->first},
        {OPT_CONNECTIONS, "connections", 1, 1000, &o->connections},
        {OPT_IN_FLIGHT, "in-flight", 1, 1000000, &o->in_flight},
        {OPT_RATE, "rate", 1, 1000000, &o->rate},
        {OPT_WRITE_PERCENT, "write-percent", 0, 100, &o->write_percent},
    };

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (numbers[i].option == c)
            return sim_opt_int(numbers[i].name, text, numbers[i].min, numbers[i].max,
                               numbers[i].value);
    }
    if (c == OPT_SECONDS)
        return sim_opt_seconds("seconds", text, &o->seconds_ms);
    if (c == OPT_WARMUP)
        return sim_opt_seconds("warmup", text, &o->warmup_ms);
    if (c == OPT_TIMEOUT)
        return sim_opt_seconds("timeout", text, &o->timeout_ms);
    if (c == OPT_CONNECT_TIMEOUT)
        return sim_opt_seconds("connect-timeout", text, &o->connect_ms);
    return take_text(o, c, text);
}

static int check_options(struct fleet_options *o)
{
    if (!*o->broker.host) {
        fputs(usage, stderr);
        return SIM_USAGE;
    }
    if (!str_is_key(o->prefix, 50) || !str_is_key(o->event, 64)) {
        fputs("otasim fleet: --prefix and --event take A-Z a-z 0-9 . _ - : @ +\n", stderr);
        return SIM_USAGE;
    }
    if (o->first + o->devices > 10000000) {
        fputs("otasim fleet: device numbers have seven digits\n", stderr);
        return SIM_USAGE;
    }
    if (o->connections > o->devices)
        o->connections = o->devices;
    if (o->connections == 0 && o->devices > 20000) {
        fputs("otasim fleet: so many devices need --connections\n", stderr);
        return SIM_USAGE;
    }
    if (o->connections > 1 && o->devices / o->connections > 5000) {
        fputs("otasim fleet: a connection can't subscribe for more than 5000 devices; "
              "--connections 1 takes them all\n",
              stderr);
        return SIM_USAGE;
    }
    if (o->in_flight == 0 || o->in_flight > o->devices * o->window)
        o->in_flight = o->devices * o->window;
    return SIM_OK;
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_result(const struct fleet *f, double cpu)
{
    static const char *const modes[] = {"check", "write", "mixed"};
    double s = (double)(f->ended_us - f->began_us) / 1e6;
    const struct fleet_counts *c = &f->counts;
    struct hist *all = xcalloc(1, sizeof(*all));
    struct sbuf b = {0};

    *all = f->plain;
    for (size_t i = 0; i < HIST_BUCKETS; i++)
        all->bucket[i] += f->writes.bucket[i];
    all->count += f->writes.count;
    all->sum_us += f->writes.sum_us;
    all->max_us = all->max_us > f->writes.max_us ? all->max_us : f->writes.max_us;
    sbuf_fmt(&b,
             "{\"mode\":\"%s\",\"devices\":%lld,\"in_flight\":%lld,\"seconds\":%.3f,"
             "\"rate\":%.1f,",
             modes[f->o.mode], (long long)f->o.devices, (long long)f->o.in_flight, s,
             s > 0 ? (double)c->answered / s : 0);
    hist_json(all, &b);
    sbuf_fmt(&b,
             ",\"lost\":%llu,\"errors\":%llu,\"offers\":%llu,\"answer_bytes\":%.1f,"
             "\"total_answers\":%llu,\"cpu_seconds\":%.3f,\"plain\":{",
             (unsigned long long)c->lost, (unsigned long long)c->errors,
             (unsigned long long)c->offers,
             c->answered ? (double)c->answer_bytes / (double)c->answered : 0,
             (unsigned long long)f->total_answers, cpu);
    hist_json(&f->plain, &b);
    sbuf_str(&b, "},\"write\":{");
    hist_json(&f->writes, &b);
    sbuf_str(&b, "}}");
    puts(b.p);
    sbuf_done(&b);
    free(all);
}

int sim_fleet(int argc, char **argv)
{
    struct fleet *f = xcalloc(1, sizeof(*f));
    struct fail why;
    int c, rc = SIM_OK;

    f->o = (struct fleet_options){.prefix = "bench-",
                                  .event = "otaCheck",
                                  .attribute = "version",
                                  .versions = {"0.1.0", "0.1.1"},
                                  .devices = 200,
                                  .first = 1,
                                  .window = 8,
                                  .write_percent = 50,
                                  .seconds_ms = 10000,
                                  .warmup_ms = 2000,
                                  .timeout_ms = 30000,
                                  .connect_ms = 60000};
    while (rc == SIM_OK && (c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (c == OPT_HELP) {
            fputs(usage, stdout);
            free(f);
            return SIM_OK;
        }
        rc = take_option(&f->o, c, optarg);
    }
    if (rc == SIM_OK)
        rc = sim_opt_stray(argc, argv, optind);
    if (rc == SIM_OK)
        rc = check_options(&f->o);
    if (rc == SIM_OK && fleet_start(f, &why) < 0) {
        fprintf(stderr, "otasim fleet: %s\n", why.text);
        rc = SIM_FAILED;
    }
    if (rc == SIM_OK) {
        loop_run(f->loop);
        rc = f->code;
        if (rc == SIM_OK)
            print_result(f, cpu_seconds());
    }
    if (f->loop)
        fleet_end(f);
    free(f);
    return rc;
}
