/*
 * otasim import-rows: the CSV that POST /api/v1/devices/import takes, for fleets of any size,
 * to standard output. Keys are the prefix and a number of seven digits, as otasim fleet uses.
 */
#include "sim.h"

#include <getopt.h>

static const char usage[] =
    "Usage: otasim import-rows N --type TYPE [--prefix P] [--first K] [--password W]\n"
    "Prints a header and N rows of CSV for POST /api/v1/devices/import.\n"
    "  --type TYPE      key of the device type\n"
    "  --prefix P       device keys are P and seven digits (default sim-)\n"
    "  --first K        number of the first device (default 1)\n"
    "  --password W     every device gets this password (default: the column is left out)\n";

int sim_import_rows(int argc, char **argv)
{
    static const struct option opts[] = {
        {"type", required_argument, NULL, 't'},  {"prefix", required_argument, NULL, 'p'},
        {"first", required_argument, NULL, 'f'}, {"password", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},        {0},
    };
    const char *type = NULL, *prefix = "sim-", *password = NULL;
    int64_t n, first = 1;
    int c;

    while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
        switch (c) {
        case 't':
            type = optarg;
            break;
        case 'p':
            prefix = optarg;
            break;
        case 'f':
            if (sim_opt_int("first", optarg, 0, 9999999, &first))
                return SIM_USAGE;
            break;
        case 'w':
            password = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return SIM_OK;
        default:
            return SIM_USAGE;
        }
    }
    if (optind + 1 != argc || !type) {
        fputs(usage, stderr);
        return SIM_USAGE;
    }
    if (sim_opt_int("N", argv[optind], 1, 10000000 - first, &n))
        return SIM_USAGE;
    if (!str_is_key(type, 64) || !str_is_key(prefix, 50) ||
        (password && strpbrk(password, ",\"\r\n"))) {
        fputs("otasim import-rows: type, prefix or password has characters that CSV or a topic "
              "can't carry\n",
              stderr);
        return SIM_USAGE;
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    printf("key,device_type%s\n", password ? ",password" : "");
    for (int64_t i = first; i < first + n; i++)
        printf("%s%07lld,%s%s%s\n", prefix, (long long)i, type, password ? "," : "",
               password ? password : "");
    return fflush(stdout) == 0 ? SIM_OK : SIM_FAILED;
}
