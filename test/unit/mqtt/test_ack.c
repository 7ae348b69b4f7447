/*
 * Who was acknowledged and who was not: told by what the broker delivers to the next client of
 * the same session. A consumer that dies is a process of its own, and dies by SIGKILL.
 */
#include "test_mqtt.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const filters[] = {"in/#", NULL};

static struct mqtt_options consumer(struct peer *p, struct loop *l, const struct broker *b)
{
    struct mqtt_options o = peer_options(p, l, b, "consumer");
    o.clean = false;
    o.session_expiry_s = 3600;
    o.deferred_ack = true;
    o.filters = filters;
    return o;
}

enum dying { DIES_BEFORE_ACK, DIES_AFTER_ACK, DIES_AFTER_FLUSH, DIES_AFTER_PING };

static void die_now(void *arg UNUSED)
{
    kill(getpid(), SIGKILL);
}

/* The whole life of the process that dies. Says 'u' on fd when it is up. */
static void mortal(const struct broker *b, enum dying how, int fd)
{
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&p, l, b);
    o.keepalive_s = 5;
    p.ack = false;
    peer_open(&p, &o);
    until(&p, is_up);
    if (write(fd, "u", 1) != 1)
        _exit(1);
    p.wanted = 1;
    until(&p, got_wanted);
    loop_spin(l, 20);
    switch (how) {
    case DIES_BEFORE_ACK:
        break;
    case DIES_AFTER_ACK:
        mqtt_ack(p.m);
        break;
    case DIES_AFTER_FLUSH:
        if (mqtt_publish(p.m, "side", "x", 1, 1, NULL) != 0)
            _exit(1);
        mqtt_flush(p.m);
        loop_spin(l, 20);
        break;
    case DIES_AFTER_PING: /* one is due every 5 s */
        loop_timer_start(loop_timer_new(l, die_now, NULL), 7000, 0);
        for (;;)
            loop_run(l);
    }
    die_now(NULL);
}

/* The successor's first message: "lost" when it was not acknowledged, else "marker". */
static void check_death(enum dying how, const char *first)
{
    struct broker b = {0};
    broker_start(&b, NULL);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        mortal(&b, how, fds[1]);
        _exit(1);
    }
    char c;
    assert_int_equal(read(fds[0], &c, 1), 1);
    char port[16];
    snprintf(port, sizeof(port), "%d", b.port);
    assert_int_equal(broker_run("mosquitto_pub", "-p", port, "-q", "1", "-t", "in/a", "-m", "lost",
                                (char *)NULL),
                     0);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));

    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&p, l, &b);
    peer_open(&p, &o);
    until(&p, is_up);
    assert_int_equal(broker_run("mosquitto_pub", "-p", port, "-q", "1", "-t", "in/a", "-m",
                                "marker", (char *)NULL),
                     0);
    while (strcmp(p.last, "marker") != 0)
        loop_run(l);
    assert_string_equal(p.first, first);
    mqtt_free(p.m);
    loop_free(l);
    close(fds[0]);
    close(fds[1]);
    broker_stop(&b);
}

static void test_dead_before_ack_comes_again(void **state UNUSED)
{
    check_death(DIES_BEFORE_ACK, "lost");
}

static void test_dead_after_ack_does_not(void **state UNUSED)
{
    check_death(DIES_AFTER_ACK, "marker");
}

static void test_flush_does_not_acknowledge(void **state UNUSED)
{
    check_death(DIES_AFTER_FLUSH, "lost");
}

static void test_ping_does_not_acknowledge(void **state UNUSED)
{
    check_death(DIES_AFTER_PING, "lost");
}

struct pair {
    struct broker b;
    struct loop *l;
    struct peer in, out;
};

static struct pair *pair_open(bool ack)
{
    struct pair *t = xcalloc(1, sizeof(*t));
    broker_start(&t->b, NULL);
    t->l = loop_bounded();
    struct mqtt_options o = consumer(&t->in, t->l, &t->b);
    t->in.ack = ack;
    peer_open(&t->in, &o);
    until(&t->in, is_up);
    o = peer_options(&t->out, t->l, &t->b, NULL);
    peer_open(&t->out, &o);
    until(&t->out, is_up);
    return t;
}

static void pair_close(struct pair *t)
{
    mqtt_free(t->in.m);
    mqtt_free(t->out.m);
    loop_free(t->l);
    broker_stop(&t->b);
    free(t);
}

static void test_drop_has_it_delivered_again(void **state UNUSED)
{
    struct pair *t = pair_open(false);
    peer_publish(&t->out, "in/a", "one");
    t->in.wanted = 1;
    until(&t->in, got_wanted);
    assert_int_equal(mqtt_unacked(t->in.m), 1);
    mqtt_drop(t->in.m, "the commit failed");
    assert_false(mqtt_is_up(t->in.m));
    mqtt_ack(t->in.m); /* too late: nothing may leave any more */
    until(&t->in, is_down);
    assert_string_equal(t->in.why, "the commit failed");
    assert_int_equal(mqtt_unacked(t->in.m), 0);

    t->in.ack = true;
    t->in.wanted = 2;
    until(&t->in, got_wanted);
    assert_string_equal(t->in.last, "one");
    pair_close(t);
}

/* The oldest are acknowledged, the others come again; and so across connections. */
static void test_the_oldest_alone(void **state UNUSED)
{
    struct pair *t = pair_open(false);
    char text[16];

    for (int round = 0; round < 3; round++) {
        peer_forget(&t->in);
        for (int i = 0; i < 100; i++) {
            snprintf(text, sizeof(text), "%d", i);
            peer_publish(&t->out, "in/a", text);
        }
        t->in.wanted = 100;
        until(&t->in, got_wanted);
        assert_true(mqtt_ack_before(t->in.m, t->in.number - 39)); /* 60 of them */
        assert_int_equal(mqtt_unacked(t->in.m), 40);
        assert_true(mqtt_ack_before(t->in.m, t->in.number - 50)); /* is so already */
        assert_int_equal(mqtt_unacked(t->in.m), 40);
        mqtt_drop(t->in.m, "drop");
        until(&t->in, is_down);
        peer_forget(&t->in);
        t->in.wanted = 40;
        until(&t->in, got_wanted);
        assert_string_equal(t->in.first, "60");
        mqtt_ack(t->in.m);
        assert_int_equal(mqtt_unacked(t->in.m), 0);
        peer_publish(&t->out, "in/a", "marker");
        t->in.wanted = 41;
        until(&t->in, got_wanted);
        assert_string_equal(t->in.last, "marker");
        mqtt_ack(t->in.m);
    }
    pair_close(t);
}

static void drop_in_batch(struct peer *p)
{
    mqtt_drop(p->m, "in the batch");
}

static void test_drop_in_a_callback(void **state UNUSED)
{
    struct pair *t = pair_open(true); /* acknowledges right after the drop: must not */
    t->in.on_first = drop_in_batch;
    peer_publish(&t->out, "in/a", "one");
    t->in.wanted = 2;
    until(&t->in, got_wanted);
    assert_string_equal(t->in.last, "one");
    assert_int_equal(t->in.downs, 1);
    pair_close(t);
}

/* A clean end says DISCONNECT; with something unacknowledged that would take the PUBACK along. */
static void test_free_does_not_acknowledge(void **state UNUSED)
{
    struct pair *t = pair_open(false);
    peer_publish(&t->out, "in/a", "one");
    t->in.wanted = 1;
    until(&t->in, got_wanted);
    mqtt_free(t->in.m);

    struct mqtt_options o = consumer(&t->in, t->l, &t->b);
    peer_open(&t->in, &o);
    t->in.wanted = 1;
    until(&t->in, got_wanted);
    assert_string_equal(t->in.last, "one");
    pair_close(t);
}

static void free_it(struct peer *p)
{
    p->ack = false;
    mqtt_free(TAKE(p->m));
}

static bool is_gone(const struct peer *p)
{
    return p->m == NULL;
}

static void test_free_in_a_callback(void **state UNUSED)
{
    struct pair *t = pair_open(false);
    t->in.on_first = free_it;
    peer_publish(&t->out, "in/a", "one");
    until(&t->in, is_gone);
    loop_spin(t->l, 5);
    assert_int_equal(t->in.got, 1);
    pair_close(t);
}

/* Our own publish in flight when the connection breaks is sent again and reported. */
static void test_publish_survives_a_drop(void **state UNUSED)
{
    struct pair *t = pair_open(true);
    for (int i = 0; i < 50; i++)
        assert_int_equal(mqtt_publish(t->in.m, "side", "x", 1, 1, NULL), 0);
    assert_int_equal(mqtt_in_flight(t->in.m), 50);
    mqtt_drop(t->in.m, "drop");
    assert_int_equal(mqtt_publish(t->in.m, "side", "x", 1, 1, NULL), E_UNAVAILABLE);
    t->in.wanted = 50;
    until(&t->in, published_wanted);
    assert_int_equal(mqtt_in_flight(t->in.m), 0);
    pair_close(t);
}

const struct CMUnitTest ack_tests[] = {
    cmocka_unit_test(test_dead_before_ack_comes_again),
    cmocka_unit_test(test_dead_after_ack_does_not),
    cmocka_unit_test(test_flush_does_not_acknowledge),
    cmocka_unit_test(test_ping_does_not_acknowledge),
    cmocka_unit_test(test_drop_has_it_delivered_again),
    cmocka_unit_test(test_the_oldest_alone),
    cmocka_unit_test(test_drop_in_a_callback),
    cmocka_unit_test(test_free_does_not_acknowledge),
    cmocka_unit_test(test_free_in_a_callback),
    cmocka_unit_test(test_publish_survives_a_drop),
};
const size_t ack_test_count = ARRAY_LEN(ack_tests);
