/*
 * otad's program: options and sub-commands. Exit codes: 0 fine, 1 failure at run time or found by
 * -t, 2 wrong usage or configuration.
 */
#include "daemon.h"
#include "json.h"

#include <getopt.h>
#include <stdio.h>

enum { OPT_SAMPLE = 256, OPT_MAN, OPT_READY };

static void usage(FILE *out)
{
    (void)fprintf(out,
                  "usage: otad [-c FILE]              serve in the foreground\n"
                  "       otad -t [-c FILE]           check the configuration\n"
                  "       otad [-c FILE] health [--ready]\n"
                  "                                   ask the running otad how it is\n"
                  "       otad [-c FILE] backup TO    copy the database while otad runs\n"
                  "       otad [-c FILE] restore FROM put a copy back (otad must be stopped)\n"
                  "       otad [-c FILE] audit-verify [HASH]\n"
                  "                                   check the audit log; HASH: one noted before\n"
                  "       otad --sample-config        print a configuration with all defaults\n"
                  "       otad -V | -h\n");
}

/* -t was asked whether the configuration is fine: "no" is an answer, not a wrong usage. */
static int config_error(const struct fail *f, bool test)
{
    (void)fprintf(stderr, "%s\n", f->text);
    return test ? 1 : 2;
}

static int run_error(const char *what, const struct fail *f)
{
    (void)fprintf(stderr, "otad: %s: %s\n", what, f->text);
    return 1;
}

static int usage_error(const char *why)
{
    (void)fprintf(stderr, "otad: %s\n", why);
    usage(stderr);
    return 2;
}

static int sub_command(const struct conf *conf, int argc, char **argv, bool ready)
{
    struct fail f = {0};
    int rc;

    if (strcmp(argv[0], "health") == 0) {
        if (argc != 1)
            return usage_error("health takes no operand");
        rc = tool_health(conf, ready, &f);
    } else if (strcmp(argv[0], "backup") == 0 || strcmp(argv[0], "restore") == 0) {
        if (argc != 2)
            return usage_error("backup and restore take one file");
        rc = *argv[0] == 'b' ? tool_backup(conf, argv[1], &f) : tool_restore(conf, argv[1], &f);
    } else if (strcmp(argv[0], "audit-verify") == 0) {
        if (argc > 2)
            return usage_error("audit-verify takes one hash, or nothing");
        rc = tool_audit_verify(conf, argc == 2 ? argv[1] : NULL, &f);
    } else {
        return usage_error("no such command; health, backup, restore and audit-verify are");
    }
    return rc < 0 ? run_error(argv[0], &f) : 0;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},
        {"test", no_argument, NULL, 't'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {"sample-config", no_argument, NULL, OPT_SAMPLE},
        {"man-items", no_argument, NULL, OPT_MAN},
        {"ready", no_argument, NULL, OPT_READY},
        {NULL, 0, NULL, 0},
    };
    const char *path = NULL;
    bool test = false, ready = false;
    struct conf *conf;
    struct fail f = {0};
    int c;

    while ((c = getopt_long(argc, argv, "c:tVh", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case 't':
            test = true;
            break;
        case 'V':
            (void)printf("otad %s\n", OTAD_VERSION);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        case OPT_SAMPLE:
            conf_print_sample(stdout);
            return 0;
        case OPT_MAN:
            conf_print_man_items(stdout);
            return 0;
        case OPT_READY:
            ready = true;
            break;
        default:
            usage(stderr);
            return 2;
        }
    }
    const char *command = optind < argc ? argv[optind] : NULL;
    if (test && command)
        return usage_error("-t takes no operand; -c FILE says which file is checked");
    if (ready && (!command || strcmp(command, "health") != 0))
        return usage_error("--ready goes with health");
    json_setup();
    if (conf_load(path, &conf, &f) < 0)
        return config_error(&f, test);
    int rc = 0;
    if (test && conf_check_files(conf, &f) < 0)
        rc = config_error(&f, test);
    else if (test)
        (void)printf("%s: the configuration is fine\n", path ? path : "defaults and environment");
    else if (command)
        rc = sub_command(conf, argc - optind, argv + optind, ready);
    else if (daemon_run(conf, path, &f) < 0)
        rc = run_error("stopped", &f);
    conf_free(conf);
    return rc;
}
