/*
 * otasim: simulated devices and fleets that speak to a real broker and a real HTTP server over
 * real sockets; the load generator of the benchmarks. This file finds the subcommand. It is no
 * part of the daemon and shares none of its decisions.
 */
#include "sim.h"

#include "json.h"

#include <signal.h>
#include <sys/resource.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"device", sim_device, "one device: reports, checks, downloads, verifies, reboots, reports"},
    {"fleet", sim_fleet, "many devices that check as fast as they get answers; prints figures"},
    {"logins", sim_logins, "devices that log in and out as fast as the broker lets them"},
    {"storm", sim_storm, "devices that all come back at once after a restart of the broker"},
    {"rehearse", sim_rehearse, "a fleet that lives through a campaign, with devices that fail"},
    {"echo", sim_echo, "in place of otad: the same answer to every check (the yardstick)"},
    {"import-rows", sim_import_rows, "CSV rows for POST /api/v1/devices/import"},
};

static void usage(FILE *out)
{
    fputs("Usage: otasim COMMAND [OPTION…]\n"
          "Simulates devices of the EZtCloud protocol. Commands:\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    fputs("otasim COMMAND --help shows the command's options.\n"
          "Exit codes: 0 fine, 1 failed at run time, 2 wrong usage.\n",
          out);
}

/* A connection has up to three descriptors. */
static void take_all_descriptors(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return SIM_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return SIM_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("otasim " OTAD_VERSION);
        return SIM_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        signal(SIGPIPE, SIG_IGN);
        take_all_descriptors();
        setvbuf(stdout, NULL, _IOLBF, 0);
        json_setup();
        mqtt_setup();
        int rc = commands[i].run(argc - 1, argv + 1);
        mqtt_cleanup();
        return rc;
    }
    fprintf(stderr, "otasim: there is no command '%s'\n", argv[1]);
    usage(stderr);
    return SIM_USAGE;
}
