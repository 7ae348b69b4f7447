/*
 * otasim device: its options, its start and its end.
 */
#include "device.h"

#include <getopt.h>
#include <signal.h>

static const char usage[] =
    "Usage: otasim device --broker HOST:PORT --username KEY [OPTION…]\n"
    "One device: connects, reports its version, checks, downloads, verifies, reboots, reports.\n"
    "  --broker HOST:PORT   the MQTT broker\n"
    "  --username KEY       the device's key    --password P   its password\n"
    "  --client-id I        MQTT client id (default: the key)\n"
    "  --version V          the version that it starts with (default 1.0.0)\n"
    "  --attribute A        reported as attribute A (default version)\n"
    "  --event E            the event of a check (default otaCheck)\n"
    "  --module M           offers for other modules are ignored (default main)\n"
    "  --interval S         seconds between checks (default 60)\n"
    "  --reboot S           seconds that a reboot takes (default 0.2)\n"
    "  --once               exit 0 after one update, 1 when none is offered or it fails\n"
    "  --timeout S          with --once: exit 1 after so long (default 120)\n"
    "  --state-file F       keep the version in F from run to run\n"
    "  --save F             write the first file of an update to F\n"
    "  --attempts N         connections per file (default 5)\n"
    "  --reply              answer each update with command_reply\n"
    "Misbehaviour:\n"
    "  --cut-after N        break the first connection of a download after N bytes\n"
    "  --no-verify          install whatever came\n"
    "  --no-download        take no offer\n"
    "  --no-install         reboot into the old version\n";

enum {
    OPT_BROKER = 1000,
    OPT_USERNAME,
    OPT_PASSWORD,
    OPT_CLIENT_ID,
    OPT_VERSION,
    OPT_ATTRIBUTE,
    OPT_EVENT,
    OPT_MODULE,
    OPT_INTERVAL,
    OPT_REBOOT,
    OPT_ONCE,
    OPT_TIMEOUT,
    OPT_STATE_FILE,
    OPT_SAVE,
    OPT_ATTEMPTS,
    OPT_REPLY,
    OPT_CUT_AFTER,
    OPT_NO_VERIFY,
    OPT_NO_DOWNLOAD,
    OPT_NO_INSTALL,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"broker", required_argument, NULL, OPT_BROKER},
    {"username", required_argument, NULL, OPT_USERNAME},
    {"password", required_argument, NULL, OPT_PASSWORD},
    {"client-id", required_argument, NULL, OPT_CLIENT_ID},
    {"version", required_argument, NULL, OPT_VERSION},
    {"attribute", required_argument, NULL, OPT_ATTRIBUTE},
    {"event", required_argument, NULL, OPT_EVENT},
    {"module", required_argument, NULL, OPT_MODULE},
    {"interval", required_argument, NULL, OPT_INTERVAL},
    {"reboot", required_argument, NULL, OPT_REBOOT},
    {"once", no_argument, NULL, OPT_ONCE},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"state-file", required_argument, NULL, OPT_STATE_FILE},
    {"save", required_argument, NULL, OPT_SAVE},
    {"attempts", required_argument, NULL, OPT_ATTEMPTS},
    {"reply", no_argument, NULL, OPT_REPLY},
    {"cut-after", required_argument, NULL, OPT_CUT_AFTER},
    {"no-verify", no_argument, NULL, OPT_NO_VERIFY},
    {"no-download", no_argument, NULL, OPT_NO_DOWNLOAD},
    {"no-install", no_argument, NULL, OPT_NO_INSTALL},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

/* The options that need reading. */
static int take_number(struct device_sim_options *o, int c, const char *text)
{
    if (c == OPT_BROKER)
        return sim_opt_broker(text, &o->broker);
    if (c == OPT_INTERVAL)
        return sim_opt_seconds("interval", text, &o->interval_ms);
    if (c == OPT_REBOOT)
        return sim_opt_seconds("reboot", text, &o->reboot_ms);
    if (c == OPT_TIMEOUT)
        return sim_opt_seconds("timeout", text, &o->timeout_ms);
    if (c == OPT_ATTEMPTS)
        return sim_opt_int("attempts", text, 1, 1000, &o->attempts);
    if (c == OPT_CUT_AFTER)
        return sim_opt_int("cut-after", text, 0, INT64_MAX, &o->cut_after);
    return SIM_USAGE; /* getopt_long has said why */
}

static int take_option(struct device_sim_options *o, int c, const char *text)
{
    const struct {
        int option;
        const char **text;
    } texts[] = {
        {OPT_USERNAME, &o->broker.username},
        {OPT_PASSWORD, &o->broker.password},
        {OPT_CLIENT_ID, &o->broker.client_id},
        {OPT_VERSION, &o->version},
        {OPT_ATTRIBUTE, &o->attribute},
        {OPT_EVENT, &o->event},
        {OPT_MODULE, &o->module},
        {OPT_STATE_FILE, &o->state_file},
        {OPT_SAVE, &o->save_file},
    };
    const struct {
        int option;
        bool *flag, value;
    } flags[] = {
        {OPT_ONCE, &o->once, true},           {OPT_REPLY, &o->reply, true},
        {OPT_NO_VERIFY, &o->verify, false},   {OPT_NO_DOWNLOAD, &o->download, false},
        {OPT_NO_INSTALL, &o->install, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].option == c) {
            *texts[i].text = text;
            return SIM_OK;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (flags[i].option == c) {
            *flags[i].flag = flags[i].value;
            return SIM_OK;
        }
    }
    return take_number(o, c, text);
}

static int check_options(const struct device_sim_options *o)
{
    if (!*o->broker.host || !o->broker.username) {
        fputs(usage, stderr);
        return SIM_USAGE;
    }
    if (!str_is_key(o->broker.username, 64)) {
        fputs("otasim device: --username must be a device key: A-Z a-z 0-9 . _ - : @ +\n", stderr);
        return SIM_USAGE;
    }
    if (strlen(o->version) > VERSION_MAX) {
        fputs("otasim device: --version is too long\n", stderr);
        return SIM_USAGE;
    }
    if (o->interval_ms < 10) {
        fputs("otasim device: --interval must be at least 0.01\n", stderr);
        return SIM_USAGE;
    }
    return SIM_OK;
}

static void read_state(struct device_sim *d)
{
    FILE *in = d->o.state_file ? fopen(d->o.state_file, "re") : NULL;
    char line[VERSION_MAX + 2] = "";

    if (!in)
        return;
    if (fgets(line, sizeof(line), in)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (*line)
            (void)str_copy(d->version, sizeof(d->version), line);
    }
    fclose(in);
}

static void on_stop(void *arg, int signo UNUSED)
{
    struct device_sim *d = (struct device_sim *)arg;
    loop_stop(d->loop);
}

static int run(struct device_sim *d)
{
    struct fail why;

    (void)str_copy(d->version, sizeof(d->version), d->o.version);
    read_state(d);
    d->save_fd = -1;
    d->loop = loop_new();
    d->next = loop_timer_new(d->loop, device_next, d);
    d->limit = loop_timer_new(d->loop, device_timeout, d);
    if (d->o.once && d->o.timeout_ms > 0)
        loop_timer_start(d->limit, (uint64_t)d->o.timeout_ms, 0);
    loop_on_signal(d->loop, SIGINT, on_stop, d);
    loop_on_signal(d->loop, SIGTERM, on_stop, d);
    if (device_connect(d, &why) < 0) {
        fprintf(stderr, "otasim device: %s\n", why.text);
        d->code = SIM_FAILED;
    } else {
        loop_run(d->loop);
    }
    fetch_free(d->fetch);
    mqtt_free(d->mqtt);
    loop_timer_free(d->next);
    loop_timer_free(d->limit);
    loop_free(d->loop);
    wire_offer_done(&d->offer);
    return d->code;
}

int sim_device(int argc, char **argv)
{
    struct device_sim d = {
        .o = {.version = "1.0.0",
              .attribute = "version",
              .event = "otaCheck",
              .module = "main",
              .interval_ms = 60000,
              .reboot_ms = 200,
              .timeout_ms = 120000,
              .attempts = 5,
              .cut_after = -1,
              .verify = true,
              .download = true,
              .install = true},
    };
    int c, rc;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (c == OPT_HELP) {
            fputs(usage, stdout);
            return SIM_OK;
        }
        rc = take_option(&d.o, c, optarg);
        if (rc != SIM_OK)
            return rc;
    }
    rc = sim_opt_stray(argc, argv, optind);
    if (rc == SIM_OK)
        rc = check_options(&d.o);
    return rc == SIM_OK ? run(&d) : rc;
}
