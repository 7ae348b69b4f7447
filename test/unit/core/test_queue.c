/* Queues of the turn, and the bound on what refused messages may write to the log. */
#include "test_core.h"

#include <unistd.h>

static void test_jobs_are_bounded_and_in_order(void **state)
{
    struct job_queue q;
    static struct db_job jobs[5000];
    size_t n = 0;

    (void)state;
    job_queue_init(&q);
    while (n < ARRAY_LEN(jobs) && job_queue_put(&q, &jobs[n]) == (int)n + 1)
        n++;
    assert_true(n > 100 && n < ARRAY_LEN(jobs));
    assert_int_equal(job_queue_count(&q), n);
    for (size_t i = 0; i < n; i++)
        assert_ptr_equal(job_queue_take(&q), &jobs[i]);
    assert_null(job_queue_take(&q));
    assert_int_equal(job_queue_put(&q, &jobs[0]), 1);
    job_queue_close(&q);
    assert_int_equal(job_queue_put(&q, &jobs[1]), E_UNAVAILABLE);
    assert_ptr_equal(job_queue_take(&q), &jobs[0]); /* what was taken in is done */
    job_queue_done(&q);
}

static void test_busy_counts(void **state)
{
    struct busy b = {0};

    (void)state;
    assert_false(busy_is(&b, 1));
    busy_add(&b, 1);
    busy_add(&b, 1);
    busy_add(&b, 2);
    busy_remove(&b, 1);
    assert_true(busy_is(&b, 1));
    busy_remove(&b, 1);
    assert_false(busy_is(&b, 1));
    assert_true(busy_is(&b, 2));
    map_done(&b.map);
}

static unsigned lines_of(FILE *f)
{
    unsigned n = 0;
    rewind(f);
    for (int c; (c = getc(f)) != EOF;)
        n += c == '\n';
    return n;
}

static void test_noise_is_logged_once_per_device_and_minute(void **state)
{
    FILE *file = tmpfile();
    int err = dup(2);
    struct noise *n = noise_new();
    int64_t before = metric_get(M_BAD_JSON);

    (void)state;
    assert_non_null(file);
    (void)dup2(fileno(file), 2);
    log_setup(LOG_WARN, false);
    for (int i = 0; i < 1000; i++) {
        noise_refused(n, STR("D1"), M_BAD_JSON, 60000 * 100 + i);
        noise_refused(n, STR("D2"), M_BAD_TYPE, 60000 * 100 + i);
    }
    unsigned first = lines_of(file);
    noise_refused(n, STR("D1"), M_BAD_JSON, 60000 * 101);
    unsigned second = lines_of(file);
    log_setup(LOG_ERROR, false);
    (void)dup2(err, 2);
    (void)close(err);
    (void)fclose(file);
    noise_free(n);
    assert_int_equal(metric_get(M_BAD_JSON) - before, 1001); /* counted always */
    assert_int_equal(first, 2);
    assert_int_equal(second, 4); /* the sum of what was left out, and D1's line */
}

static void test_waiting_keeps_its_own_bytes(void **state)
{
    char topic[] = "attributes/D1", payload[] = "{}\0x";
    struct mqtt_message m = {.topic = topic, .payload = payload, .n = 4};
    struct waiting *w = waiting_new(&m, 7, 9);

    (void)state;
    memset(topic, 'x', sizeof(topic) - 1);
    memset(payload, 'x', sizeof(payload) - 1);
    assert_string_equal(w->topic, "attributes/D1");
    assert_memory_equal(w->payload, "{}\0x", 4);
    assert_int_equal(w->n, 4);
    free(w);
}

int run_queue_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_are_bounded_and_in_order),
        cmocka_unit_test(test_busy_counts),
        cmocka_unit_test(test_noise_is_logged_once_per_device_and_minute),
        cmocka_unit_test(test_waiting_keeps_its_own_bytes),
    };
    return cmocka_run_group_tests_name("core queues", tests, NULL, NULL);
}
