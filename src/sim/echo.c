/*
 * otasim echo: stands where otad stands and does as little as can be done: takes each event
 * report and publishes the same otaUpgrade to the device, QoS 1 both ways, with the same client
 * code and settings as otad's, acknowledging at once. A yardstick of the benchmarks.
 */
#include "sim.h"

#include <getopt.h>
#include <signal.h>

enum { ANSWER_MIN = 120, ANSWER_MAX = 4096, BATCH = 2000, BATCH_US = 5000 };

struct echo {
    struct loop *loop;
    struct mqtt *mqtt;
    char answer[ANSWER_MAX + 1];
    size_t answer_n;
    uint64_t answered, refused;
};

static const char usage[] =
    "Usage: otasim echo --broker HOST:PORT [OPTION…]\n"
    "Answers every event report with the same otaUpgrade, in place of otad.\n"
    "  --broker HOST:PORT   the broker\n"
    "  --username U  --password P  --client-id I\n"
    "  --size N             bytes of an answer (default 300)\n";

static void on_message(void *arg, const struct mqtt_message *m)
{
    static const char from[] = "event_report/", to[] = "command_send/";
    struct echo *e = (struct echo *)arg;
    char topic[256];

    if (strncmp(m->topic, from, sizeof(from) - 1) != 0)
        return;
    size_t n = strlen(m->topic + sizeof(from) - 1);
    if (n >= sizeof(topic) - sizeof(to))
        return;
    memcpy(topic, to, sizeof(to) - 1);
    memcpy(topic + sizeof(to) - 1, m->topic + sizeof(from) - 1, n + 1);
    if (mqtt_publish(e->mqtt, topic, e->answer, e->answer_n, 1, NULL) == 0)
        e->answered++;
    else
        e->refused++;
}

static void on_batch_end(void *arg UNUSED)
{
}

static void on_state(void *arg UNUSED, bool up, const char *why)
{
    printf("echo    %s%s\n", up ? "connected" : "disconnected: ", up ? "" : why);
}

static void on_stop(void *arg, int signo UNUSED)
{
    struct echo *e = (struct echo *)arg;
    loop_stop(e->loop);
}

/* An offer as otad makes it; the link is padded to the size asked for. */
static void make_answer(struct echo *e, size_t size)
{
    static const char head[] = "{\"method\":\"otaUpgrade\",\"params\":{\"module\":\"main\","
                               "\"upgrade\":true,\"version\":\"1.0.1\",\"url\":\"http://h/";
    static const char tail[] = "\"},\"id\":98310}";
    size_t pad =
        size > sizeof(head) + sizeof(tail) - 2 ? size - (sizeof(head) + sizeof(tail) - 2) : 0;
    memcpy(e->answer, head, sizeof(head) - 1);
    memset(e->answer + sizeof(head) - 1, 'x', pad);
    memcpy(e->answer + sizeof(head) - 1 + pad, tail, sizeof(tail));
    e->answer_n = sizeof(head) + sizeof(tail) - 2 + pad;
}

static int run(struct echo *e, const struct sim_broker *b)
{
    static const char *const filters[] = {"event_report/+", NULL};
    struct mqtt_options o = {
        .host = b->host,
        .port = b->port,
        .username = b->username,
        .password = b->password,
        .client_id = b->client_id ? b->client_id : "otasim-echo",
        .clean = true,
        .keepalive_s = 30,
        .version = 5,
        .filters = filters,
        .subscribe_qos = 1,
        .batch = BATCH,
        .batch_us = BATCH_US,
        .on_message = on_message,
        .on_batch_end = on_batch_end,
        .on_state = on_state,
        .arg = e,
    };
    struct fail why;

    e->loop = loop_new();
    int rc = mqtt_new(e->loop, &o, &e->mqtt, &why);
    if (rc < 0) {
        fprintf(stderr, "otasim echo: %s\n", why.text);
    } else {
        loop_on_signal(e->loop, SIGINT, on_stop, e);
        loop_on_signal(e->loop, SIGTERM, on_stop, e);
        mqtt_connect(e->mqtt);
        loop_run(e->loop);
        mqtt_free(e->mqtt);
        printf("echo    answered %llu, could not answer %llu\n", (unsigned long long)e->answered,
               (unsigned long long)e->refused);
    }
    loop_free(e->loop);
    return rc < 0 ? SIM_FAILED : SIM_OK;
}

int sim_echo(int argc, char **argv)
{
    static const struct option opts[] = {
        {"broker", required_argument, NULL, 'b'},
        {"username", required_argument, NULL, 'u'},
        {"password", required_argument, NULL, 'p'},
        {"client-id", required_argument, NULL, 'i'},
        {"size", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct sim_broker broker = {0};
    int64_t size = 300;
    int c, rc = SIM_OK;

    while (rc == SIM_OK && (c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
        switch (c) {
        case 'b':
            rc = sim_opt_broker(optarg, &broker);
            break;
        case 'u':
            broker.username = optarg;
            break;
        case 'p':
            broker.password = optarg;
            break;
        case 'i':
            broker.client_id = optarg;
            break;
        case 's':
            rc = sim_opt_int("size", optarg, ANSWER_MIN, ANSWER_MAX, &size);
            break;
        case 'h':
            fputs(usage, stdout);
            return SIM_OK;
        default:
            rc = SIM_USAGE;
        }
    }
    if (rc == SIM_OK)
        rc = sim_opt_stray(argc, argv, optind);
    if (rc == SIM_OK && !*broker.host) {
        fputs(usage, stderr);
        rc = SIM_USAGE;
    }
    if (rc != SIM_OK)
        return rc;
    struct echo *e = xcalloc(1, sizeof(*e));
    make_answer(e, (size_t)size);
    rc = run(e, &broker);
    free(e);
    return rc;
}
