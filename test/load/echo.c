/*
 * The bare echo client of the benchmark: libmosquitto as its manual shows it, and nothing of
 * otad. It answers each event report with the same text, QoS 1 both ways.
 *
 * Usage: echo PORT FILE    (FILE holds the answer; says "connected" when it is subscribed)
 */
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FROM "event_report/"
#define TO   "command_send/"

static char answer[4096];
static int answer_n;

static void on_connect(struct mosquitto *m, void *arg, int reason)
{
    (void)arg;
    if (reason != 0 || mosquitto_subscribe(m, NULL, FROM "+", 1) != MOSQ_ERR_SUCCESS)
        exit(1);
}

static void on_subscribe(struct mosquitto *m, void *arg, int mid, int n, const int *granted)
{
    (void)m, (void)arg, (void)mid;
    if (n != 1 || granted[0] != 1)
        exit(1);
    fputs("connected\n", stderr);
}

static void on_message(struct mosquitto *m, void *arg, const struct mosquitto_message *in)
{
    char topic[256];

    (void)arg;
    int n = snprintf(topic, sizeof(topic), TO "%s", in->topic + strlen(FROM));
    if (n < 0 || n >= (int)sizeof(topic))
        return;
    if (mosquitto_publish(m, NULL, topic, answer_n, answer, 1, false) != MOSQ_ERR_SUCCESS)
        exit(1);
}

int main(int argc, char **argv)
{
    FILE *f = argc == 3 ? fopen(argv[2], "rb") : NULL;

    if (!f) {
        fputs("usage: echo PORT FILE\n", stderr);
        return 2;
    }
    answer_n = (int)fread(answer, 1, sizeof(answer), f);
    (void)fclose(f);
    mosquitto_lib_init();
    struct mosquitto *m = mosquitto_new("echo", true, NULL);
    /* As otad has them: else each side waits for PUBACKs of 20 messages, and small packets for
     * each other. */
    if (!m || mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5) ||
        mosquitto_int_option(m, MOSQ_OPT_TCP_NODELAY, 1) ||
        mosquitto_int_option(m, MOSQ_OPT_RECEIVE_MAXIMUM, 65535) ||
        mosquitto_int_option(m, MOSQ_OPT_SEND_MAXIMUM, 256))
        return 1;
    mosquitto_connect_callback_set(m, on_connect);
    mosquitto_subscribe_callback_set(m, on_subscribe);
    mosquitto_message_callback_set(m, on_message);
    if (mosquitto_connect(m, "127.0.0.1", (int)strtol(argv[1], NULL, 10), 30) != MOSQ_ERR_SUCCESS)
        return 1;
    return mosquitto_loop_forever(m, -1, 1) == MOSQ_ERR_SUCCESS ? 0 : 1;
}
