/* The broker's files: what failed is done later, and nothing begins once the core stops. */
#include "test_core.h"

#include <sys/stat.h>
#include <unistd.h>

struct place {
    struct world w;
    struct loop *l;
    char dir[96], passwd[112];
};

static void on_late(void *arg UNUSED)
{
    fprintf(stderr, "the broker's files do not come\n");
    abort();
}

static void on_pulse(void *arg)
{
    loop_stop(arg);
}

static void place_init(struct place *p)
{
    world_init(&p->w);
    (void)str_fmt(p->dir, sizeof(p->dir), "%s/broker", p->w.fx.dir);
    (void)str_fmt(p->passwd, sizeof(p->passwd), "%s/passwd", p->dir);
    p->w.conf.mqtt_auth_dir = p->dir;
    p->w.conf.mqtt_username = "otad";
    p->w.conf.mqtt_password = "secret";
    p->w.conf.mqtt_broker_pid_file = "";
    p->l = loop_new();
    loop_timer_start(loop_timer_new(p->l, on_late, NULL), 120000, 0);
    loop_timer_start(loop_timer_new(p->l, on_pulse, p->l), 5, 5);
}

static void place_done(struct place *p)
{
    loop_free(p->l);
    world_done(&p->w);
}

static void test_a_failed_write_is_tried_again(void **state UNUSED)
{
    struct place p;

    place_init(&p);
    FILE *in_the_way = fopen(p.dir, "we"); /* no folder can be there */
    assert_non_null(in_the_way);
    assert_int_equal(fclose(in_the_way), 0);
    struct broker_files *b = broker_files_new(p.l, &p.w.conf, p.w.fx.path, NULL, NULL);
    broker_files_dirty(b);
    while (!broker_files_busy(b)) /* a failure may be over within one loop_run */
        loop_step(p.l);
    while (broker_files_busy(b))
        loop_run(p.l);
    assert_int_not_equal(access(p.passwd, F_OK), 0);
    assert_int_equal(unlink(p.dir), 0);
    assert_int_equal(mkdir(p.dir, 0700), 0);
    while (access(p.passwd, F_OK) < 0 || broker_files_busy(b)) /* nobody asks for it again */
        loop_run(p.l);
    broker_files_free(b);
    place_done(&p);
}

static void test_nothing_begins_after_the_stop(void **state UNUSED)
{
    struct place p;

    place_init(&p);
    assert_int_equal(mkdir(p.dir, 0700), 0);
    struct broker_files *stopped = broker_files_new(p.l, &p.w.conf, p.w.fx.path, NULL, NULL);
    broker_files_dirty(stopped);
    broker_files_stop(stopped);
    broker_files_dirty(stopped);
    /* A timer set later runs later: when the second one has written, the first had its time. */
    struct place other;
    place_init(&other);
    assert_int_equal(mkdir(other.dir, 0700), 0);
    struct broker_files *b = broker_files_new(p.l, &other.w.conf, other.w.fx.path, NULL, NULL);
    broker_files_dirty(b);
    while (access(other.passwd, F_OK) < 0 || broker_files_busy(b)) {
        loop_run(p.l);
        assert_false(broker_files_busy(stopped));
    }
    assert_int_not_equal(access(p.passwd, F_OK), 0);
    broker_files_free(b);
    broker_files_free(stopped);
    place_done(&other);
    place_done(&p);
}

int run_files_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failed_write_is_tried_again),
        cmocka_unit_test(test_nothing_begins_after_the_stop),
    };
    return cmocka_run_group_tests_name("core broker files", tests, NULL, NULL);
}
