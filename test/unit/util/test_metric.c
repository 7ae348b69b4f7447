/* Metrics: counting from several threads, and the text as a Prometheus server would read it. */
#include "tests.h"
#include "util.h"

#include <pthread.h>
#include <unistd.h>

static void *count(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        metric_add(M_COMMITS, 1);
        metric_observe_us(M_TURN_SECONDS, i);
    }
    return arg;
}

static void counts_from_many_threads(void **state)
{
    (void)state;
    pthread_t t[4];
    int64_t before = metric_get(M_COMMITS);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, count, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
    assert_true(metric_get(M_COMMITS) == before + 80000);
}

static size_t occurrences(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

static void renders_each_name_once(void **state)
{
    (void)state;
    struct sbuf out = {0};
    metric_set(M_MQTT_CONNECTED, 1);
    metric_render(&out);
    for (const char *p = out.p; (p = strstr(p, "# TYPE ")); p++) {
        char want[128];
        (void)str_copy(want, sizeof(want), p);
        want[strcspn(want, "\n")] = '\0';
        char *kind = strrchr(want, ' ');
        kind[1] = '\0';
        if (occurrences(out.p, want) != 1)
            fail_msg("twice: %s", want);
    }
    assert_non_null(strstr(out.p, "\notad_mqtt_connected 1\n"));
    assert_int_equal(occurrences(out.p, "# TYPE otad_device_messages_refused_total counter\n"), 1);
    assert_non_null(strstr(out.p, "otad_device_messages_refused_total{reason=\"not_json\"} 0\n"));
    assert_non_null(strstr(out.p, "otad_build_info{version=\"" OTAD_VERSION "\""));
    assert_int_equal(out.p[out.n - 1], '\n');
    sbuf_done(&out);
}

static double value_of(const char *text, const char *name)
{
    const char *p = strstr(text, name);
    if (!p)
        fail_msg("no %s", name);
    return strtod(p + strlen(name), NULL);
}

static void histogram_is_cumulative(void **state)
{
    (void)state;
    struct sbuf out = {0};
    static const int64_t us[] = {0, 100, 101, 1000, 10000000, 10000001};
    for (size_t i = 0; i < ARRAY_LEN(us); i++)
        metric_observe_us(M_CHECK_SECONDS, us[i]);
    metric_render(&out);
    assert_true(value_of(out.p, "\notad_check_duration_seconds_bucket{le=\"0.0001\"} ") == 2);
    assert_true(value_of(out.p, "\notad_check_duration_seconds_bucket{le=\"0.00025\"} ") == 3);
    assert_true(value_of(out.p, "\notad_check_duration_seconds_bucket{le=\"0.001\"} ") == 4);
    assert_true(value_of(out.p, "\notad_check_duration_seconds_bucket{le=\"10\"} ") == 5);
    assert_true(value_of(out.p, "\notad_check_duration_seconds_bucket{le=\"+Inf\"} ") == 6);
    assert_true(value_of(out.p, "\notad_check_duration_seconds_count ") == 6);
    double sum = value_of(out.p, "\notad_check_duration_seconds_sum ");
    assert_true(sum > 20.001201 && sum < 20.001203);
    sbuf_done(&out);
}

static void process_numbers_are_plausible(void **state)
{
    (void)state;
    struct sbuf a = {0}, b = {0};
    metric_render(&a);
    double now = (double)clock_now_ms() / 1000,
           start = value_of(a.p, "\nprocess_start_time_seconds ");
    assert_true(start > now - 86400 && start <= now + 1);
    assert_true(value_of(a.p, "\nprocess_resident_memory_bytes ") > 100000);
    assert_true(value_of(a.p, "\nprocess_cpu_seconds_total ") > 0);
    int fds[3] = {dup(0), dup(0), dup(0)};
    metric_render(&b);
    double more = value_of(b.p, "\nprocess_open_fds ") - value_of(a.p, "\nprocess_open_fds ");
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    assert_true(more == 3);
    assert_true(value_of(b.p, "\nprocess_start_time_seconds ") == start);
    sbuf_done(&a);
    sbuf_done(&b);
}

int test_metric(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_from_many_threads),
        cmocka_unit_test(renders_each_name_once),
        cmocka_unit_test(histogram_is_cumulative),
        cmocka_unit_test(process_numbers_are_plausible),
    };
    return cmocka_run_group_tests_name("util metrics", tests, NULL, NULL);
}
