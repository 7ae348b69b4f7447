/* Unit tests of room mqtt, against a real broker of their own. */
#include "test_mqtt.h"

#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>

bool localhost_is_v6_first;

/* The tests' own stands in front of the C library's: two addresses for one name. At the first one
 * nobody listens. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    const char *first = host;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (host && strcmp(host, TWO_ADDRESSES) == 0)
        first = "127.0.0.2";
    if (host && strcmp(host, "localhost") == 0 && localhost_is_v6_first)
        first = "::1";
    int rc = real(first, service, hints, ret);
    return rc == 0 && first != host ? real("127.0.0.1", service, hints, &(*ret)->ai_next) : rc;
}

static void on_late(void *arg UNUSED)
{
    fprintf(stderr, "the loop waits for something that does not come\n");
    abort();
}

struct loop *loop_bounded(void)
{
    struct loop *l = loop_new();
    loop_timer_start(loop_timer_new(l, on_late, NULL), 120000, 0);
    return l;
}

void until(struct peer *p, bool (*cond)(const struct peer *p))
{
    while (!cond(p))
        loop_run(p->l);
}

bool is_up(const struct peer *p)
{
    return mqtt_is_up(p->m);
}

bool is_down(const struct peer *p)
{
    return p->downs > 0;
}

bool got_wanted(const struct peer *p)
{
    return p->got >= p->wanted;
}

bool seen_all(const struct peer *p)
{
    return p->unseen == 0;
}

bool published_wanted(const struct peer *p)
{
    return p->published >= p->wanted;
}

static void on_message(void *arg, const struct mqtt_message *in)
{
    struct peer *p = arg;
    char text[64];
    size_t n = in->n < sizeof(text) - 1 ? in->n : sizeof(text) - 1;
    memcpy(text, in->payload, n);
    text[n] = '\0';
    if (p->got++ == 0)
        str_copy(p->first, sizeof(p->first), text);
    str_copy(p->last, sizeof(p->last), text);
    str_copy(p->topic, sizeof(p->topic), in->topic);
    str_copy(p->user, sizeof(p->user), in->user ? in->user : "");
    p->retained = p->retained || in->retain;
    p->number = in->number;
    size_t number = strtoul(text, NULL, 10);
    if (p->seen && number < p->seen_max && p->seen[number]++ == 0)
        p->unseen--;
    p->in_batch++;
    if (p->pause_after && p->got == p->pause_after)
        mqtt_pause(p->m, true);
    loop_stop(p->l);
}

static void on_batch_end(void *arg)
{
    struct peer *p = arg;
    p->batches++;
    p->largest = p->in_batch > p->largest ? p->in_batch : p->largest;
    p->in_batch = 0;
    void (*first)(struct peer * p) = TAKE(p->on_first);
    if (first)
        first(p);
    if (p->ack)
        mqtt_ack(p->m);
}

static void on_state(void *arg, bool up, const char *why)
{
    struct peer *p = arg;
    if (up) {
        p->ups++;
    } else {
        p->downs++;
        str_copy(p->why, sizeof(p->why), why);
    }
    loop_stop(p->l);
}

static void on_published(void *arg, int mid UNUSED)
{
    struct peer *p = arg;
    p->published++;
    loop_stop(p->l);
}

struct mqtt_options peer_options(struct peer *p, struct loop *l, const struct broker *b,
                                 const char *client_id)
{
    *p = (struct peer){.l = l, .ack = true};
    return (struct mqtt_options){.host = "127.0.0.1",
                                 .port = b->port,
                                 .client_id = client_id,
                                 .clean = true,
                                 .keepalive_s = 60,
                                 .version = 5,
                                 .subscribe_qos = 1,
                                 .batch = 2000,
                                 .batch_us = 5000,
                                 .on_message = on_message,
                                 .on_batch_end = on_batch_end,
                                 .on_state = on_state,
                                 .on_published = on_published,
                                 .arg = p};
}

void peer_open(struct peer *p, const struct mqtt_options *o)
{
    struct fail f = {0};
    int rc = mqtt_new(p->l, o, &p->m, &f);
    if (rc < 0)
        fail_msg("mqtt_new: %s", f.text);
    mqtt_connect(p->m);
}

void peer_forget(struct peer *p)
{
    p->got = p->published = p->batches = 0;
    p->ups = p->downs = 0;
    p->first[0] = p->last[0] = p->why[0] = '\0';
}

void peer_publish(struct peer *p, const char *topic, const char *text)
{
    assert_int_equal(mqtt_publish(p->m, topic, text, strlen(text), 1, NULL), 0);
    mqtt_flush(p->m);
}

void loop_spin(struct loop *l, int turns)
{
    while (turns-- > 0)
        loop_step(l);
}

int main(void)
{
    int failed = 0;
    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    mqtt_setup();
    failed +=
        _cmocka_run_group_tests("mqtt: connect", connect_tests, connect_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("mqtt: ack", ack_tests, ack_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("mqtt: flow", flow_tests, flow_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("mqtt: filters", filter_tests, filter_test_count, NULL, NULL);
    failed +=
        _cmocka_run_group_tests("mqtt: back-off", backoff_tests, backoff_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("mqtt: gate", gate_tests, gate_test_count, NULL, NULL);
    failed += _cmocka_run_group_tests("mqtt: TLS", tls_tests, tls_test_count, NULL, NULL);
    mqtt_cleanup();
    return failed;
}
