/* Getting there, being refused, losing it, coming back. */
#include "test_mqtt.h"

#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
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

static bool up_again(const struct peer *p)
{
    return p->ups >= 2;
}

static bool refused_twice(const struct peer *p)
{
    return p->downs >= 2;
}

static void test_options_are_checked(void **state UNUSED)
{
    struct broker b = {.port = 1883};
    struct peer p;
    struct loop *l = loop_bounded();
    struct fail f;
    const struct mqtt_options good = consumer(&p, l, &b);
    struct mqtt_options o = good;
    o.port = 0;
    assert_int_equal(mqtt_new(l, &o, &p.m, &f), -ERANGE);
    o = good;
    o.keepalive_s = 3;
    assert_int_equal(mqtt_new(l, &o, &p.m, &f), -ERANGE);
    o = good;
    o.client_id = "";
    assert_int_equal(mqtt_new(l, &o, &p.m, &f), -EINVAL);
    o = good;
    o.version = 3;
    assert_int_equal(mqtt_new(l, &o, &p.m, &f), -EINVAL);
    o = good;
    o.filters = (const char *const[]){"a/#/b", NULL};
    assert_int_equal(mqtt_new(l, &o, &p.m, &f), E_PROTO);
    o = good;
    o.tls = true;
    o.ca = "/nonexistent/ca.pem";
    assert_int_equal(mqtt_new(l, &o, &p.m, &f), -EINVAL);
    assert_non_null(strstr(f.text, "/nonexistent/ca.pem"));
    loop_free(l);
}

/* The descriptor that leads to the broker's port. */
static int find_socket(int port)
{
    DIR *d = opendir("/proc/self/fd");
    int found = -1;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        int fd = (int)strtol(e->d_name, NULL, 10);
        struct sockaddr_in sa;
        socklen_t n = sizeof(sa);
        if (getpeername(fd, (struct sockaddr *)&sa, &n) == 0 && sa.sin_family == AF_INET &&
            ntohs(sa.sin_port) == port)
            found = fd;
    }
    closedir(d);
    return found;
}

static void test_nodelay_is_on(void **state UNUSED)
{
    struct broker b = {0};
    broker_start(&b, NULL);
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&p, l, &b);
    peer_open(&p, &o);
    until(&p, is_up);
    int on = 0;
    socklen_t n = sizeof(on);
    assert_int_equal(getsockopt(find_socket(b.port), IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
    assert_true(on);
    mqtt_free(p.m);
    loop_free(l);
    broker_stop(&b);
}

static void test_each_address_of_a_name(void **state UNUSED)
{
    struct broker b = {0};
    struct peer p;
    struct loop *l = loop_bounded();

    broker_start(&b, NULL);
    struct mqtt_options o = consumer(&p, l, &b);
    o.host = TWO_ADDRESSES;
    peer_open(&p, &o);
    until(&p, is_up);
    assert_int_equal(p.downs, 1);
    mqtt_drop(p.m, "a test"); /* the one that answered is taken again */
    until(&p, refused_twice);
    until(&p, is_up);
    assert_int_equal(p.downs, 2);
    mqtt_free(p.m);
    loop_free(l);
    broker_stop(&b);
}

static void test_name_is_looked_up(void **state UNUSED)
{
    struct broker b = {0};
    broker_start(&b, NULL);
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&p, l, &b);
    o.host = "localhost";
    peer_open(&p, &o);
    until(&p, is_up);
    mqtt_free(p.m);

    o = consumer(&p, l, &b);
    o.host = "no-such-host.invalid";
    peer_open(&p, &o);
    until(&p, is_down);
    assert_non_null(strstr(p.why, "no-such-host.invalid"));
    mqtt_free(p.m);

    o = consumer(&p, l, &b);
    o.host = "localhost";
    peer_open(&p, &o);
    mqtt_free(p.m); /* while the pool has it */
    loop_spin(l, 1);
    o = consumer(&p, l, &b);
    peer_open(&p, &o);
    until(&p, is_up);
    mqtt_free(p.m);
    loop_free(l);
    broker_stop(&b);
}

static void test_nobody_listens(void **state UNUSED)
{
    struct broker b = {0};
    broker_start(&b, NULL);
    broker_halt(&b, false);
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&p, l, &b);
    peer_open(&p, &o);
    until(&p, is_down);
    assert_non_null(strstr(p.why, "refused"));
    broker_resume(&b);
    until(&p, is_up);
    mqtt_free(p.m);
    loop_free(l);
    broker_stop(&b);
}

static void check_wrong_password(int version)
{
    struct broker b;
    broker_init(&b);
    broker_password(&b, "ota", "right");
    broker_start(&b, "allow_anonymous false\npassword_file passwords");
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&p, l, &b);
    o.version = version;
    o.username = "ota";
    o.password = "wrong";
    peer_open(&p, &o);
    until(&p, refused_twice); /* it tries again */
    assert_int_equal(p.ups, 0);
    assert_non_null(strstr(p.why, "refused us: "));
    assert_non_null(strstr(p.why, "uthori")); /* the library's words for it */
    mqtt_free(p.m);

    o = consumer(&p, l, &b);
    o.version = version;
    o.username = "ota";
    o.password = "right";
    peer_open(&p, &o);
    until(&p, is_up);
    mqtt_free(p.m);
    loop_free(l);
    broker_stop(&b);
}

static void test_wrong_password(void **state UNUSED)
{
    check_wrong_password(5);
    check_wrong_password(4);
}

/* What mosquitto 2.0.11 never says, said by a broker of forty bytes. It reads CONNECT and
 * SUBSCRIBE as single pieces, which on loopback they are. */
struct mock {
    pid_t pid;
    int port;
};

static void serve(int listener, unsigned char second_grant, const unsigned char *then, size_t n)
{
    for (;;) {
        unsigned char in[512];
        int fd = accept(listener, NULL, NULL);
        if (fd < 0 || read(fd, in, sizeof(in)) <= 0)
            _exit(1);
        const unsigned char connack[] = {0x20, 3, 0, 0, 0};
        if (write(fd, connack, sizeof(connack)) < 0 || read(fd, in, sizeof(in)) < 4)
            _exit(1);
        const unsigned char suback[] = {0x90, 5, in[2], in[3], 0, 1, second_grant};
        if (write(fd, suback, sizeof(suback)) < 0 || (n && write(fd, then, n) < 0))
            _exit(1);
        while (read(fd, in, sizeof(in)) > 0)
            ;
        close(fd);
    }
}

static struct mock mock_start(unsigned char second_grant, const unsigned char *then, size_t then_n)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(sa);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, n), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &n), 0);
    struct mock mock = {.pid = fork(), .port = ntohs(sa.sin_port)};
    if (mock.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener, second_grant, then, then_n);
    }
    close(listener);
    return mock;
}

static void mock_stop(struct mock *mock)
{
    kill(mock->pid, SIGKILL);
    waitpid(mock->pid, NULL, 0);
}

static struct mqtt_options two_filters(struct peer *p, struct loop *l, const struct mock *mock)
{
    static const char *const two[] = {"in/#", "secret/#", NULL};
    struct broker b = {.port = mock->port};
    struct mqtt_options o = consumer(p, l, &b);
    o.filters = two;
    return o;
}

static void test_subscription_is_denied(void **state UNUSED)
{
    struct mock mock = mock_start(0x87, NULL, 0);
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = two_filters(&p, l, &mock);
    peer_open(&p, &o);
    until(&p, refused_twice);
    assert_int_equal(p.ups, 0);
    assert_non_null(strstr(p.why, "'secret/#'"));
    mqtt_free(p.m);
    loop_free(l);
    mock_stop(&mock);
}

struct wait {
    struct loop *l;
    bool over;
};

static void stop_waiting(void *arg)
{
    struct wait *w = arg;
    w->over = true;
    loop_stop(w->l);
}

/* It says why, and leaves the other one alone: after any other loss it is back within 1 s. */
static void test_session_is_taken_over(void **state UNUSED)
{
    const unsigned char taken_over[] = {0xe0, 1, 0x8e};
    struct mock mock = mock_start(1, taken_over, sizeof(taken_over));
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = two_filters(&p, l, &mock);
    peer_open(&p, &o);
    until(&p, is_down);
    assert_non_null(strstr(p.why, "taken over"));
    struct wait w = {.l = l};
    struct loop_timer *t = loop_timer_new(l, stop_waiting, &w);
    loop_timer_start(t, 1500, 0);
    while (!w.over)
        loop_run(l);
    loop_timer_free(t);
    assert_int_equal(p.ups, 1);
    assert_int_equal(p.downs, 1);
    mqtt_free(p.m);
    loop_free(l);
    mock_stop(&mock);
}

static void test_broker_restarts(void **state UNUSED)
{
    struct broker b = {0};
    broker_start(&b, NULL);
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&p, l, &b);
    peer_open(&p, &o);
    until(&p, is_up);
    broker_halt(&b, true);
    until(&p, is_down);
    assert_false(mqtt_is_up(p.m));
    assert_true(p.why[0] != '\0');
    assert_int_equal(mqtt_publish(p.m, "x", "x", 1, 1, NULL), E_UNAVAILABLE);
    broker_resume(&b);
    until(&p, up_again);
    p.wanted = 1;
    assert_int_equal(mqtt_publish(p.m, "in/self", "x", 1, 1, NULL), 0);
    mqtt_flush(p.m);
    until(&p, got_wanted);
    mqtt_free(p.m);
    loop_free(l);
    broker_stop(&b);
}

/* The library's own loop ends for good in a process with more than 1,023 descriptors. */
static void test_reconnects_with_many_descriptors(void **state UNUSED)
{
    enum { N = 1100 };
    int fds[N];
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(limit.rlim_cur > N + 200);

    struct broker b = {0};
    broker_start(&b, NULL);
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&p, l, &b);
    peer_open(&p, &o);
    until(&p, is_up);
    for (int i = 0; i < N; i++)
        assert_true((fds[i] = dup(STDERR_FILENO)) >= 0);
    broker_halt(&b, true);
    until(&p, is_down);
    broker_resume(&b);
    int low = dup(STDERR_FILENO); /* where the old socket was: the new one shall be high */
    until(&p, up_again);
    assert_true(find_socket(b.port) > 1023);
    p.wanted = 1;
    assert_int_equal(mqtt_publish(p.m, "in/self", "x", 1, 1, NULL), 0);
    mqtt_flush(p.m);
    until(&p, got_wanted);
    mqtt_free(p.m);
    loop_free(l);
    close(low);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    broker_stop(&b);
}

/* Mosquitto 2.0.11 closes the older connection without a word: the younger one works. */
static void test_same_client_id_twice(void **state UNUSED)
{
    struct broker b = {0};
    broker_start(&b, NULL);
    struct peer first, second;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&first, l, &b);
    peer_open(&first, &o);
    until(&first, is_up);
    o = consumer(&second, l, &b);
    peer_open(&second, &o);
    until(&second, is_up);
    until(&first, is_down);
    mqtt_free(first.m);
    while (!is_up(&second)) /* the first one may have been back before */
        loop_run(l);
    second.wanted = 1;
    peer_publish(&second, "in/self", "x");
    until(&second, got_wanted);
    mqtt_free(second.m);
    loop_free(l);
    broker_stop(&b);
}

static void test_no_connecting_while_paused(void **state UNUSED)
{
    struct broker b = {0};
    broker_start(&b, NULL);
    struct peer p;
    struct loop *l = loop_bounded();
    struct mqtt_options o = consumer(&p, l, &b);
    struct fail f;
    assert_int_equal(mqtt_new(l, &o, &p.m, &f), 0);
    mqtt_pause(p.m, true);
    mqtt_connect(p.m);
    loop_spin(l, 20);
    assert_int_equal(find_socket(b.port), -1);
    mqtt_pause(p.m, false);
    until(&p, is_up);
    mqtt_free(p.m);
    loop_free(l);
    broker_stop(&b);
}

const struct CMUnitTest connect_tests[] = {
    cmocka_unit_test(test_options_are_checked),
    cmocka_unit_test(test_nodelay_is_on),
    cmocka_unit_test(test_name_is_looked_up),
    cmocka_unit_test(test_each_address_of_a_name),
    cmocka_unit_test(test_nobody_listens),
    cmocka_unit_test(test_wrong_password),
    cmocka_unit_test(test_subscription_is_denied),
    cmocka_unit_test(test_broker_restarts),
    cmocka_unit_test(test_reconnects_with_many_descriptors),
    cmocka_unit_test(test_session_is_taken_over),
    cmocka_unit_test(test_same_client_id_twice),
    cmocka_unit_test(test_no_connecting_while_paused),
};
const size_t connect_test_count = ARRAY_LEN(connect_tests);
