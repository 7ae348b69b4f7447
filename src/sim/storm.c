/*
 * otasim storm: many devices, each with a connection of its own, that all come back at once. Each
 * device checks whenever it has connected. When all have their first answer, it prints "ready"
 * and waits until somebody restarts the broker; from the first loss on every device has to come
 * back and get an answer. Devices wait between attempts as our MQTT client does everywhere.
 */
#include "sim.h"

#include <getopt.h>

enum { CONNECTS_AT_ONCE = 50, LOOK_MS = 500 };

static const char usage[] =
    "Usage: otasim storm --broker HOST:PORT [OPTION…]\n"
    "Devices connect and check; after \"ready\" restart the broker: all come back and check.\n"
    "Prints one line of JSON: when all were back, when all had answers, lost, latencies.\n"
    "  --broker HOST:PORT  the broker\n"
    "  --devices N         devices, a connection each (default 100)\n"
    "  --first K           number of the first (default 1)\n"
    "  --prefix P          keys are P and seven digits (default bench-)\n"
    "  --password P        every device's password (default: no login)\n"
    "  --event E           default otaCheck\n"
    "  --retry S           a check without answer is repeated after so long (default: never)\n"
    "  --timeout S         who has no answer by then is lost, before \"ready\" and after the loss\n"
    "                      (default 60)\n";

enum phase { FIRST, READY, STORM };

struct one {
    struct storm *s;
    struct mqtt *mqtt;
    bool up, answered;
    int64_t asked_us;
};

struct storm {
    struct sim_broker broker;
    const char *prefix, *event;
    int64_t devices, first, retry_ms, timeout_ms;
    struct loop *loop;
    struct loop_timer *look, *limit;
    struct one *all;
    char *check;
    enum phase phase;
    int64_t n_connecting, n_asked_to, n_up, n_answered;
    int64_t began_us, began_ms, back_us, over_us;
    uint64_t repeats, again, refused;
    struct hist waits;
    int code;
};

static void ask(struct one *o)
{
    struct storm *s = o->s;
    char topic[128];

    (void)str_fmt(topic, sizeof(topic), "event_report/%s%07lld", s->prefix,
                  (long long)(o - s->all) + (long long)s->first);
    if (mqtt_publish(o->mqtt, topic, s->check, strlen(s->check), 1, NULL) < 0)
        s->refused++;
    o->asked_us = clock_mono_us();
}

static void finish(struct storm *s, int code)
{
    s->over_us = clock_mono_us();
    s->code = code;
    loop_stop(s->loop);
}

static void on_answer(void *arg, const struct mqtt_message *m)
{
    struct one *o = arg;
    struct storm *s = o->s;

    (void)m;
    if (o->answered) {
        s->again++;
        return;
    }
    o->answered = true;
    if (s->phase == STORM)
        hist_add(&s->waits, clock_mono_us() - o->asked_us);
    if (++s->n_answered < s->devices)
        return;
    if (s->phase == STORM) {
        finish(s, SIM_OK);
    } else {
        s->phase = READY;
        loop_timer_stop(s->limit);
        puts("ready");
    }
}

static void on_batch_end(void *arg UNUSED)
{
}

static void connect_more(struct storm *s)
{
    while (s->n_asked_to < s->devices && s->n_asked_to - s->n_up < CONNECTS_AT_ONCE)
        mqtt_connect(s->all[s->n_asked_to++].mqtt);
}

static void storm_begins(struct storm *s)
{
    s->phase = STORM;
    s->began_us = clock_mono_us();
    s->began_ms = clock_now_ms();
    s->n_answered = 0;
    s->again = s->repeats = 0;
    for (int64_t i = 0; i < s->devices; i++)
        s->all[i].answered = false;
    loop_timer_start(s->limit, (uint64_t)s->timeout_ms, 0);
}

static void on_state(void *arg, bool up, const char *why)
{
    struct one *o = arg;
    struct storm *s = o->s;

    (void)why;
    if (o->up == up)
        return;
    o->up = up;
    s->n_up += up ? 1 : -1;
    if (!up && s->phase == READY)
        storm_begins(s);
    if (!up)
        return;
    if (s->phase == STORM && s->n_up == s->devices)
        s->back_us = clock_mono_us();
    ask(o);
    connect_more(s);
}

static void on_look(void *arg)
{
    struct storm *s = arg;
    int64_t older_us = clock_mono_us() - s->retry_ms * 1000;

    for (int64_t i = 0; i < s->devices && s->retry_ms > 0; i++) {
        struct one *o = &s->all[i];
        if (o->up && !o->answered && o->asked_us < older_us) {
            s->repeats++;
            ask(o);
        }
    }
}

static void on_limit(void *arg)
{
    struct storm *s = arg;

    if (s->phase == FIRST)
        fprintf(stderr,
                "otasim storm: only %lld of %lld devices are connected, %lld have answers\n",
                (long long)s->n_up, (long long)s->devices, (long long)s->n_answered);
    finish(s, s->phase == FIRST ? SIM_FAILED : SIM_OK);
}

static int open_one(struct storm *s, int64_t i, struct fail *why)
{
    char id[80], topic[128];
    int64_t number = i + s->first;
    const char *const filters[] = {topic, NULL};
    struct mqtt_options o = {
        .host = s->broker.host,
        .port = s->broker.port,
        .username = s->broker.password ? id : NULL,
        .password = s->broker.password,
        .client_id = id,
        .clean = true,
        .keepalive_s = 120,
        .version = 4,
        .filters = filters,
        .subscribe_qos = 1,
        .on_message = on_answer,
        .on_batch_end = on_batch_end,
        .on_state = on_state,
        .arg = &s->all[i],
    };

    (void)str_fmt(id, sizeof(id), "%s%07lld", s->prefix, (long long)number);
    (void)str_fmt(topic, sizeof(topic), "command_send/%s", id);
    s->all[i].s = s;
    return mqtt_new(s->loop, &o, &s->all[i].mqtt, why);
}

static void print_result(const struct storm *s)
{
    struct sbuf b = {0};
    double all = (double)(s->over_us - s->began_us) / 1e6;

    sbuf_fmt(&b,
             "{\"devices\":%lld,\"lost\":%lld,\"began_ms\":%lld,\"connected_s\":%.3f,"
             "\"answered_s\":%.3f,\"repeats\":%llu,\"again\":%llu,\"refused\":%llu,",
             (long long)s->devices, (long long)(s->devices - s->n_answered), (long long)s->began_ms,
             s->back_us ? (double)(s->back_us - s->began_us) / 1e6 : all, all,
             (unsigned long long)s->repeats, (unsigned long long)s->again,
             (unsigned long long)s->refused);
    hist_json(&s->waits, &b);
    sbuf_str(&b, "}");
    puts(b.p);
    sbuf_done(&b);
}

static int run(struct storm *s)
{
    struct fail why;
    int rc = 0;

    s->loop = loop_new();
    s->look = loop_timer_new(s->loop, on_look, s);
    s->limit = loop_timer_new(s->loop, on_limit, s);
    s->check = wire_check(s->event);
    s->all = xcalloc((size_t)s->devices, sizeof(*s->all));
    for (int64_t i = 0; i < s->devices && rc == 0; i++)
        rc = open_one(s, i, &why);
    if (rc < 0) {
        fprintf(stderr, "otasim storm: %s\n", why.text);
        s->code = SIM_FAILED;
    } else {
        loop_timer_start(s->look, LOOK_MS, LOOK_MS);
        loop_timer_start(s->limit, (uint64_t)s->timeout_ms, 0);
        connect_more(s);
        loop_run(s->loop);
        if (s->code == SIM_OK)
            print_result(s);
    }
    for (int64_t i = 0; i < s->devices; i++)
        if (s->all[i].mqtt)
            mqtt_free(s->all[i].mqtt);
    loop_timer_free(s->look);
    loop_timer_free(s->limit);
    loop_free(s->loop);
    free(s->all);
    free(s->check);
    return s->code;
}

static int take_option(struct storm *s, int c, const char *text)
{
    if (c == 'b')
        return sim_opt_broker(text, &s->broker);
    if (c == 'n')
        return sim_opt_int("devices", text, 1, 100000, &s->devices);
    if (c == 'f')
        return sim_opt_int("first", text, 0, 5000000, &s->first);
    if (c == 'r')
        return sim_opt_seconds("retry", text, &s->retry_ms);
    if (c == 't')
        return sim_opt_seconds("timeout", text, &s->timeout_ms);
    if (c == 'p')
        s->broker.password = text;
    else if (c == 'x' && str_is_key(text, 50))
        s->prefix = text;
    else if (c == 'e' && str_is_key(text, 64))
        s->event = text;
    else
        return SIM_USAGE;
    return SIM_OK;
}

int sim_storm(int argc, char **argv)
{
    static const struct option opts[] = {
        {"broker", required_argument, NULL, 'b'},   {"devices", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'},    {"prefix", required_argument, NULL, 'x'},
        {"password", required_argument, NULL, 'p'}, {"event", required_argument, NULL, 'e'},
        {"retry", required_argument, NULL, 'r'},    {"timeout", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},           {0},
    };
    struct storm *s = xcalloc(1, sizeof(*s));
    int c, rc = SIM_OK;

    *s = (struct storm){
        .prefix = "bench-", .event = "otaCheck", .devices = 100, .first = 1, .timeout_ms = 60000};
    while (rc == SIM_OK && (c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
        if (c == 'h') {
            fputs(usage, stdout);
            free(s);
            return SIM_OK;
        }
        rc = take_option(s, c, optarg);
    }
    if (rc == SIM_OK)
        rc = sim_opt_stray(argc, argv, optind);
    if (rc == SIM_OK && !*s->broker.host) {
        fputs(usage, stderr);
        rc = SIM_USAGE;
    }
    if (rc == SIM_OK)
        rc = run(s);
    free(s);
    return rc;
}
