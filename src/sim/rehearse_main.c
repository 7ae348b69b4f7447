/*
 * otasim rehearse: its options, and what it prints at the end.
 */
#include "rehearse.h"

#include "json.h"

#include <getopt.h>

static const char usage[] =
    "Usage: otasim rehearse --broker HOST:PORT [OPTION…]\n"
    "A fleet that lives through a campaign: each device has a connection and a login of its own,\n"
    "reports its version, checks now and then, downloads, verifies, installs, reboots, reports.\n"
    "Says how far it is; its last line is JSON.\n"
    "  --broker HOST:PORT   the broker\n"
    "  --devices N          devices (default 100)        --first K     number of the first (1)\n"
    "  --prefix P           keys are P and seven digits (default sim-)\n"
    "  --password P         every device's password (default: no login)\n"
    "  --version V          what all run at first (default 1.0.0)\n"
    "  --attribute A  --event E  --module M   default version, otaCheck, main\n"
    "  --interval S         between two checks of a device, half to one and a half of it (60)\n"
    "  --connects N         devices that connect in a second at the start (500)\n"
    "  --install S          to install (0)               --reboot S    away for so long (1)\n"
    "  --reply              a command_reply when it has installed\n"
    "Those that fail:\n"
    "  --fail KIND=PERCENT  of the devices; several kinds are other devices each:\n"
    "       cut       breaks the download off and says so\n"
    "       checksum  downloads, says that the checksum is wrong\n"
    "       rollback  says that it has installed, comes back with the old version\n"
    "       silent    takes the offer and is never heard of again\n"
    "       suspect   reports the new version, but fetched nothing\n"
    "       slow      takes --slow S (10) for the download, and is fine\n"
    "  --fail-version V     only with this version; several may be given\n"
    "  --spare N            the first N devices that are offered it do not fail\n"
    "  --seed TEXT          chooses who fails (default 1): a device at place P of 10000, P being\n"
    "                       the first 8 hex digits of the SHA-256 of TEXT/KEY modulo 10000; the\n"
    "                       kinds take their places in the order above, from 0 on\n"
    "  --plan               prints who would fail and how, and connects nobody\n"
    "  SIGUSR1              the cause is mended: from now on nobody fails by cut or checksum\n"
    "The end (or SIGTERM, ^C):\n"
    "  --until V            when each device runs V and was answered since then, or is silent,\n"
    "                       or has failed as often as --attempts N says (1) with V\n"
    "  --stay               says \"all are done\" and goes on\n"
    "  --timeout S          exit 1 when that takes longer (default: for ever)\n"
    "  --progress S         a line each S seconds (5; 0 = none)\n"
    "  --report F           CSV: key, version that it runs, kind, how its last offer ended\n";

enum {
    OPT_BROKER = 1000,
    OPT_DEVICES,
    OPT_FIRST,
    OPT_PREFIX,
    OPT_PASSWORD,
    OPT_VERSION,
    OPT_ATTRIBUTE,
    OPT_EVENT,
    OPT_MODULE,
    OPT_INTERVAL,
    OPT_CONNECTS,
    OPT_INSTALL,
    OPT_REBOOT,
    OPT_REPLY,
    OPT_FAIL,
    OPT_SLOW,
    OPT_FAIL_VERSION,
    OPT_SPARE,
    OPT_SEED,
    OPT_PLAN,
    OPT_UNTIL,
    OPT_ATTEMPTS,
    OPT_STAY,
    OPT_TIMEOUT,
    OPT_PROGRESS,
    OPT_REPORT,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"broker", required_argument, NULL, OPT_BROKER},
    {"devices", required_argument, NULL, OPT_DEVICES},
    {"first", required_argument, NULL, OPT_FIRST},
    {"prefix", required_argument, NULL, OPT_PREFIX},
    {"password", required_argument, NULL, OPT_PASSWORD},
    {"version", required_argument, NULL, OPT_VERSION},
    {"attribute", required_argument, NULL, OPT_ATTRIBUTE},
    {"event", required_argument, NULL, OPT_EVENT},
    {"module", required_argument, NULL, OPT_MODULE},
    {"interval", required_argument, NULL, OPT_INTERVAL},
    {"connects", required_argument, NULL, OPT_CONNECTS},
    {"install", required_argument, NULL, OPT_INSTALL},
    {"reboot", required_argument, NULL, OPT_REBOOT},
    {"reply", no_argument, NULL, OPT_REPLY},
    {"fail", required_argument, NULL, OPT_FAIL},
    {"slow", required_argument, NULL, OPT_SLOW},
    {"fail-version", required_argument, NULL, OPT_FAIL_VERSION},
    {"spare", required_argument, NULL, OPT_SPARE},
    {"seed", required_argument, NULL, OPT_SEED},
    {"plan", no_argument, NULL, OPT_PLAN},
    {"until", required_argument, NULL, OPT_UNTIL},
    {"attempts", required_argument, NULL, OPT_ATTEMPTS},
    {"stay", no_argument, NULL, OPT_STAY},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"progress", required_argument, NULL, OPT_PROGRESS},
    {"report", required_argument, NULL, OPT_REPORT},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

/* ---- options ---- */
static int take_number(struct rehearse_options *o, int c, const char *text, bool *ret_taken)
{
    const struct {
        int option;
        const char *name;
        int64_t *to, min, max; /* max 0: seconds */
    } numbers[] = {
        {OPT_DEVICES, "devices", &o->devices, 1, 1000000},
        {OPT_FIRST, "first", &o->first, 0, 9000000},
        {OPT_CONNECTS, "connects", &o->connects, 1, 100000},
        {OPT_SPARE, "spare", &o->spare, 0, 10000000},
        {OPT_ATTEMPTS, "attempts", &o->attempts, 1, 1000},
        {OPT_INTERVAL, "interval", &o->interval_ms, 0, 0},
        {OPT_INSTALL, "install", &o->install_ms, 0, 0},
        {OPT_REBOOT, "reboot", &o->reboot_ms, 0, 0},
        {OPT_SLOW, "slow", &o->slow_ms, 0, 0},
        {OPT_TIMEOUT, "timeout", &o->timeout_ms, 0, 0},
        {OPT_PROGRESS, "progress", &o->progress_ms, 0, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (numbers[i].option != c)
            continue;
        *ret_taken = true;
        return numbers[i].max > 0 ? sim_opt_int(numbers[i].name, text, numbers[i].min,
                                                numbers[i].max, numbers[i].to)
                                  : sim_opt_seconds(numbers[i].name, text, numbers[i].to);
    }
    return SIM_OK;
}

static int wrong(const char *name, const char *text, const char *want)
{
    fprintf(stderr, "otasim rehearse: --%s: '%s' is not %s\n", name, text, want);
    return SIM_USAGE;
}

static int take_text(struct rehearse_options *o, int c, const char *text)
{
    const struct {
        int option;
        const char *name, **to;
        size_t max; /* of a key; 0 = any text */
    } texts[] = {
        {OPT_PREFIX, "prefix", &o->prefix, 50}, {OPT_PASSWORD, "password", &o->password, 0},
        {OPT_EVENT, "event", &o->event, 64},    {OPT_ATTRIBUTE, "attribute", &o->attribute, 64},
        {OPT_MODULE, "module", &o->module, 64}, {OPT_SEED, "seed", &o->seed, 0},
        {OPT_REPORT, "report", &o->report, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].option != c)
            continue;
        if (texts[i].max > 0 && !str_is_key(text, texts[i].max))
            return wrong(texts[i].name, text, "letters, digits, - and _");
        *texts[i].to = text;
        return SIM_OK;
    }
    return SIM_USAGE; /* getopt_long has said why */
}

static int take_version(struct rehearse_options *o, int c, const char *text)
{
    if (version_check(VERSION_AUTO, text, NULL) < 0)
        return wrong("version", text, "a version: 1 to 64 characters, one a letter or a digit");
    if (c == OPT_VERSION)
        o->version = text;
    else if (c == OPT_UNTIL)
        o->until = text;
    else if (o->n_fail_versions == FAIL_VERSIONS_MAX)
        return wrong("fail-version", text, "one of 16 at most");
    else
        o->fail_versions[o->n_fail_versions++] = text;
    return SIM_OK;
}

static int take_option(struct rehearse_options *o, int c, const char *text)
{
    bool taken = c == OPT_REPLY || c == OPT_PLAN || c == OPT_STAY;

    o->reply |= c == OPT_REPLY;
    o->plan |= c == OPT_PLAN;
    o->stay |= c == OPT_STAY;
    if (c == OPT_BROKER)
        return sim_opt_broker(text, &o->broker);
    if (c == OPT_FAIL)
        return fault_option(text, o->shares);
    if (c == OPT_VERSION || c == OPT_UNTIL || c == OPT_FAIL_VERSION)
        return take_version(o, c, text);
    int rc = take_number(o, c, text, &taken);
    return taken ? rc : take_text(o, c, text);
}

static int check_options(const struct rehearse_options *o)
{
    if (!*o->broker.host && !o->plan) {
        fputs(usage, stderr);
        return SIM_USAGE;
    }
    if (o->slow_ms == 0)
        return wrong("slow", "0", "a number of seconds above it");
    if (o->interval_ms == 0)
        return wrong("interval", "0", "a number of seconds above it");
    if (strlen(o->seed) > 200)
        return wrong("seed", o->seed, "a text of 200 bytes at most");
    return SIM_OK;
}

/* ---- what it prints ---- */
static void print_plan(struct rehearse *r)
{
    char key[80];

    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    puts("key,kind");
    for (int64_t i = 0; i < r->o.devices; i++) {
        int64_t number = r->o.first + i;

        (void)str_fmt(key, sizeof(key), "%s%07lld", r->o.prefix, (long long)number);
        enum fault f = fault_of(r->o.seed, key, r->o.shares);
        if (f != FAULT_NONE)
            printf("%s,%s\n", key, fault_name(f));
    }
}

static int write_report(const struct rehearse *r)
{
    static const char *const outcomes[] = {
        [OUT_NOTHING] = "nothing", [OUT_BUSY] = "busy",     [OUT_UPDATED] = "updated",
        [OUT_FAILED] = "failed",   [OUT_BROKEN] = "broken",
    };
    FILE *out = fopen(r->o.report, "we");
    char key[80];

    if (out)
        fputs("key,version,kind,outcome\n", out);
    for (int64_t i = 0; out && i < r->o.devices; i++) {
        const struct member *m = &r->members[i];
        member_key(r, m, key, sizeof(key));
        fprintf(out, "%s,%s,%s,%s\n", key, r->versions[m->version], fault_name(m->fault),
                outcomes[m->outcome]);
    }
    bool fine = out && !ferror(out);
    if ((out && fclose(out) != 0) || !fine) {
        fprintf(stderr, "otasim rehearse: cannot write %s: %s\n", r->o.report, strerror(errno));
        return SIM_FAILED;
    }
    return SIM_OK;
}

static void add_members(struct sbuf *b, const struct rehearse *r)
{
    const char *comma = "";

    sbuf_str(b, "\"versions\":{");
    for (size_t i = 0; i < r->n_versions; i++) {
        if (r->running[i] == 0)
            continue;
        sbuf_str(b, comma);
        json_add_string(b, r->versions[i]);
        sbuf_fmt(b, ":%lld", (long long)r->running[i]);
        comma = ",";
    }
    sbuf_str(b, "},\"failures\":{");
    for (int i = 1; i < FAULT__COUNT; i++)
        sbuf_fmt(b, "%s\"%s\":%llu", i > 1 ? "," : "", fault_name((enum fault)i),
                 (unsigned long long)r->acted[i]);
    sbuf_str(b, "}");
}

static void print_result(const struct rehearse *r)
{
    struct sbuf b = {0};

    sbuf_fmt(&b, "{\"devices\":%lld,\"seconds\":%.1f,\"connected\":%lld,\"done\":%lld,",
             (long long)r->o.devices, (double)(clock_mono_us() - r->began_us) / 1e6,
             (long long)r->n_up, (long long)r->n_done);
    add_members(&b, r);
    sbuf_fmt(&b,
             ",\"checks\":%llu,\"answers\":%llu,\"offers\":%llu,\"pushed\":%llu,"
             "\"repeats\":%llu,\"stale\":%llu,\"installs\":%llu,\"losses\":%llu,\"broken\":%llu,"
             "\"broken_why\":",
             (unsigned long long)r->checks, (unsigned long long)r->answers,
             (unsigned long long)r->offers, (unsigned long long)r->pushed,
             (unsigned long long)r->repeats, (unsigned long long)r->stale,
             (unsigned long long)r->installs, (unsigned long long)r->losses,
             (unsigned long long)r->broken);
    json_add_string(&b, r->broken_why);
    sbuf_str(&b, "}");
    puts(b.p);
    sbuf_done(&b);
}

static int run(struct rehearse *r)
{
    if (r->o.plan) {
        print_plan(r);
        return SIM_OK;
    }
    int code = rehearse_run(r);
    if (r->o.report && write_report(r) != SIM_OK)
        code = SIM_FAILED;
    print_result(r);
    rehearse_end(r);
    return code;
}

int sim_rehearse(int argc, char **argv)
{
    struct rehearse *r = xcalloc(1, sizeof(*r));
    int c, rc = SIM_OK;

    r->o = (struct rehearse_options){
        .prefix = "sim-",
        .version = "1.0.0",
        .attribute = "version",
        .event = "otaCheck",
        .module = "main",
        .seed = "1",
        .devices = 100,
        .first = 1,
        .attempts = 1,
        .connects = 500,
        .interval_ms = 60000,
        .reboot_ms = 1000,
        .slow_ms = 10000,
        .progress_ms = 5000,
    };
    while (rc == SIM_OK && (c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (c == OPT_HELP) {
            fputs(usage, stdout);
            free(r);
            return SIM_OK;
        }
        rc = take_option(&r->o, c, optarg);
    }
    if (rc == SIM_OK)
        rc = sim_opt_stray(argc, argv, optind);
    if (rc == SIM_OK)
        rc = check_options(&r->o);
    if (rc == SIM_OK)
        rc = run(r);
    free(r);
    return rc;
}
