/* The loop room: timers, descriptors, wakes, turns, pool work, lookups, signals, threads. */
#include "loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct seen {
    struct loop *l;
    struct loop_timer *timer, *other;
    struct loop_poll *poll;
    struct loop_wake *wake;
    int count, turns, fd;
    int events;
    atomic_int sent;
    char text[128], err[128];
    pthread_t main; /* who made the loop */
};

/* A test that hangs must fail: every loop_run below is bounded by this. */
static void on_late(void *arg)
{
    (void)arg;
    fprintf(stderr, "the loop did not stop\n");
    abort();
}

static struct loop *bounded(void)
{
    struct loop *l = loop_new();
    loop_timer_start(loop_timer_new(l, on_late, NULL), 60000, 0);
    return l;
}

static void on_tick(void *arg)
{
    struct seen *s = arg;
    if (++s->count == 3) {
        loop_timer_free(s->timer); /* in its own callback */
        loop_stop(s->l);
    }
}

static void test_timer_repeats_and_frees_itself(void **state)
{
    (void)state;
    struct seen s = {.l = bounded()};
    s.timer = loop_timer_new(s.l, on_tick, &s);
    loop_timer_start(s.timer, 1, 1);
    loop_run(s.l);
    assert_int_equal(s.count, 3);
    loop_free(s.l);
}

static void count(void *arg)
{
    struct seen *s = arg;
    s->count++;
    loop_stop(s->l);
}

static void count_other(void *arg)
{
    struct seen *s = arg;
    s->events++;
}

static void test_stopped_timer_is_silent(void **state)
{
    (void)state;
    struct seen s = {.l = bounded()};
    s.timer = loop_timer_new(s.l, count, &s);
    s.other = loop_timer_new(s.l, count_other, &s);
    loop_timer_start(s.other, 1, 0);
    loop_timer_start(s.timer, 5, 0);
    loop_timer_stop(s.other);
    loop_run(s.l);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.events, 0);
    loop_free(s.l);
}

static void test_stop_before_run_is_not_lost(void **state)
{
    (void)state;
    struct loop *l = bounded();
    loop_stop(l);
    loop_run(l);
    loop_free(l);
}

static void test_step_tells_activity(void **state)
{
    (void)state;
    struct seen s = {.l = loop_new()};
    assert_false(loop_step(s.l));
    s.timer = loop_timer_new(s.l, count_other, &s);
    loop_timer_start(s.timer, 60000, 0);
    assert_true(loop_step(s.l));
    loop_timer_stop(s.timer);
    assert_false(loop_step(s.l));
    loop_timer_free(s.timer);
    loop_free(s.l);
}

static void on_readable(void *arg, int events)
{
    struct seen *s = arg;
    char c;
    s->events |= events;
    if (events & LOOP_READ && read(s->fd, &c, 1) == 1 && ++s->count == 2) {
        loop_poll_free(s->poll);
        loop_stop(s->l);
    }
}

static void test_poll_is_level_triggered(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct seen s = {.l = bounded(), .fd = pair[0]};
    s.poll = loop_poll_new(s.l, pair[0], on_readable, &s);
    loop_poll_set(s.poll, LOOP_READ);
    assert_int_equal(write(pair[1], "ab", 2), 2); /* one byte is read per callback */
    loop_run(s.l);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.events, LOOP_READ);
    loop_free(s.l);
    assert_int_equal(write(pair[1], "c", 1), 1); /* the descriptor stays the owner's */
    close(pair[0]);
    close(pair[1]);
}

static void test_poll_pauses(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct seen s = {.l = loop_new(), .fd = pair[0]};
    s.poll = loop_poll_new(s.l, pair[0], on_readable, &s);
    loop_poll_set(s.poll, LOOP_READ);
    loop_poll_set(s.poll, 0);
    assert_int_equal(write(pair[1], "a", 1), 1);
    loop_step(s.l);
    assert_int_equal(s.count, 0);
    loop_poll_set(s.poll, LOOP_READ | LOOP_WRITE);
    loop_step(s.l);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.events, LOOP_READ | LOOP_WRITE);
    loop_poll_free(s.poll);
    loop_free(s.l);
    close(pair[0]);
    close(pair[1]);
}

static void on_woken(void *arg)
{
    struct seen *s = arg;
    s->count++;
    if (atomic_load(&s->sent) == 1000)
        loop_stop(s->l);
}

static void sender(void *arg)
{
    struct seen *s = arg;
    for (int i = 0; i < 1000; i++) {
        atomic_fetch_add(&s->sent, 1);
        loop_wake_send(s->wake);
    }
}

static void test_wakes_coalesce_and_none_is_lost(void **state)
{
    (void)state;
    struct seen s = {.l = bounded()};
    s.wake = loop_wake_new(s.l, on_woken, &s);
    struct loop_thread *t = loop_thread_start("sender", sender, &s);
    loop_run(s.l); /* ends only when a wake after the last send was seen */
    loop_thread_join(t);
    assert_in_range(s.count, 1, 1000);
    loop_wake_free(s.wake);
    loop_free(s.l);
}

static void first_turn(void *arg)
{
    struct seen *s = arg;
    s->turns++;
}

static void second_turn(void *arg)
{
    struct seen *s = arg;
    assert_true(s->turns > s->events); /* the order of registration */
    s->events++;
}

static void test_turn_runs_before_and_after_waiting(void **state)
{
    (void)state;
    struct seen s = {.l = loop_new()};
    loop_on_turn(s.l, first_turn, &s);
    loop_on_turn(s.l, second_turn, &s);
    assert_false(loop_step(s.l)); /* turns alone don't keep a loop busy */
    s.timer = loop_timer_new(s.l, count_other, &s);
    loop_timer_start(s.timer, 60000, 0);
    int before = s.turns;
    loop_step(s.l);
    assert_int_equal(s.turns - before, 2);
    assert_int_equal(s.turns, s.events);
    loop_timer_free(s.timer);
    loop_free(s.l);
}

static void slow(void *arg)
{
    struct seen *s = arg;
    assert_false(pthread_equal(s->main, pthread_self()));
    s->count = 7;
}

static void slow_done(void *arg)
{
    struct seen *s = arg;
    assert_true(loop_here(s->l));
    assert_int_equal(s->count, 7);
    s->events++;
    loop_stop(s->l);
}

static void test_work_is_elsewhere_and_done_is_here(void **state)
{
    (void)state;
    struct seen s = {.l = bounded()};
    s.main = pthread_self();
    loop_work(s.l, slow, slow_done, &s);
    loop_run(s.l);
    assert_int_equal(s.events, 1);
    loop_free(s.l);
}

static void test_free_waits_for_work(void **state)
{
    (void)state;
    struct seen s = {.l = bounded()};
    s.main = pthread_self();
    loop_work(s.l, slow, slow_done, &s);
    loop_free(s.l); /* the work's done has run; the open timer is closed */
    assert_int_equal(s.events, 1);
}

static void on_address(void *arg, const char *address, const char *err)
{
    struct seen *s = arg;
    str_copy(s->text, sizeof(s->text), address);
    str_copy(s->err, sizeof(s->err), err);
    loop_stop(s->l);
}

static void test_resolve(void **state)
{
    (void)state;
    struct seen s = {.l = bounded()};
    loop_resolve(s.l, "127.0.0.1", on_address, &s);
    loop_run(s.l);
    assert_string_equal(s.text, "127.0.0.1");
    assert_string_equal(s.err, "");

    char long_name[400];
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    loop_resolve(s.l, long_name, on_address, &s);
    loop_run(s.l);
    assert_string_equal(s.text, "");
    assert_string_not_equal(s.err, "");
    loop_free(s.l);
}

static void on_usr1(void *arg, int signo)
{
    struct seen *s = arg;
    s->count = signo;
    loop_stop(s->l);
}

static void raise_it(void *arg)
{
    (void)arg;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_true(sigismember(&mask, SIGUSR1)); /* threads leave signals to the main one */
    kill(getpid(), SIGUSR1);
}

static void test_signal_reaches_the_loop(void **state)
{
    (void)state;
    struct seen s = {.l = bounded()};
    loop_on_signal(s.l, SIGUSR1, on_usr1, &s);
    struct loop_thread *t = loop_thread_start("raiser-with-a-long-name", raise_it, NULL);
    loop_run(s.l);
    loop_thread_join(t);
    assert_int_equal(s.count, SIGUSR1);
    loop_free(s.l);
}

static void look_around(void *arg)
{
    struct seen *s = arg;
    char name[32];
    pthread_getname_np(pthread_self(), name, sizeof(name));
    str_copy(s->text, sizeof(s->text), name);
    pthread_attr_t attr;
    size_t stack = 0;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstacksize(&attr, &stack);
    pthread_attr_destroy(&attr);
    s->count = (int)(stack / 1024);
}

static void test_thread_has_name_and_small_stack(void **state)
{
    (void)state;
    struct seen s = {0};
    struct loop_thread *t = loop_thread_start("http-0", look_around, &s);
    loop_thread_join(t);
    assert_string_equal(s.text, "http-0");
    assert_in_range(s.count, 512, 4096); /* sanitizers add their own */
    loop_thread_join(NULL);
    loop_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timer_repeats_and_frees_itself),
        cmocka_unit_test(test_stopped_timer_is_silent),
        cmocka_unit_test(test_stop_before_run_is_not_lost),
        cmocka_unit_test(test_step_tells_activity),
        cmocka_unit_test(test_poll_is_level_triggered),
        cmocka_unit_test(test_poll_pauses),
        cmocka_unit_test(test_wakes_coalesce_and_none_is_lost),
        cmocka_unit_test(test_turn_runs_before_and_after_waiting),
        cmocka_unit_test(test_work_is_elsewhere_and_done_is_here),
        cmocka_unit_test(test_free_waits_for_work),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_signal_reaches_the_loop),
        cmocka_unit_test(test_thread_has_name_and_small_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
