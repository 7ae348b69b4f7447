/* Events: filters, retention that never gives an id twice, and what is told of each. */
#include "db_fixture.h"
#include "event.h"
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void filters_name_types_or_kinds(void **state)
{
    struct fail f = {0};
    (void)state;
    assert_true(event_filter_match(NULL, "update.failed"));
    assert_true(event_filter_match("", "update.failed"));
    assert_true(event_filter_match("*", "update.failed"));
    assert_true(event_filter_match("device.*, update.failed", "update.failed"));
    assert_true(event_filter_match("update.*", "update.failed"));
    assert_false(event_filter_match("update.fail", "update.failed"));
    assert_false(event_filter_match("device.*", "update.failed"));
    assert_false(event_filter_match("devic.*", "device.created"));
    assert_int_equal(event_filter_check("update.*,device.created", &f), 0);
    assert_int_equal(event_filter_check("*", &f), 0);
    assert_int_equal(event_filter_check("update.faild", &f), E_PROTO);
    assert_non_null(strstr(f.text, "update.failed"));
    assert_int_equal(event_filter_check("u.*", &f), E_PROTO);
    for (size_t i = 0; event_types[i]; i++)
        assert_int_equal(event_filter_check(event_types[i], &f), 0);
}

static int add(struct db *w, int64_t at)
{
    int rc = db_begin(w);
    if (rc == 0)
        rc = event_add(w, &(struct event){.at = at,
                                          .project_id = 1,
                                          .type = "device.created",
                                          .data = "{\"device\":\"d\"}"});
    return rc < 0 ? rc : db_commit(w);
}

static int expire(struct db *w, int64_t keep, int64_t before, int max)
{
    assert_int_equal(db_begin(w), 0);
    int64_t changes = db_total_changes(w);
    int n = event_expire(w, keep, before, max);
    if (n == 0)
        assert_int_equal(db_total_changes(w), changes);
    assert_int_equal(db_commit(w), 0);
    return n;
}

static void old_ones_go_and_ids_only_grow(void **state)
{
    struct db_fixture *fx = *state;
    int64_t first, last;

    assert_int_equal(expire(fx->w, 10, INT64_MAX, 100), 0);
    for (int i = 1; i <= 30; i++)
        assert_int_equal(add(fx->w, 1000 * i), 0);
    assert_int_equal(expire(fx->w, 30, 0, 100), 0);
    assert_int_equal(expire(fx->w, 20, 0, 4), 4); /* slice by slice */
    assert_int_equal(expire(fx->w, 20, 0, 100), 6);
    assert_int_equal(expire(fx->w, 20, 15000, 100), 4); /* by age */
    assert_int_equal(event_ends(fx->w, &first, &last), 0);
    assert_int_equal(first, 15);
    assert_int_equal(last, 30);
    assert_int_equal(expire(fx->w, 20, INT64_MAX, 100), 15); /* the newest stays … */
    assert_int_equal(add(fx->w, 1), 0);
    assert_int_equal(event_ends(fx->w, &first, &last), 0);
    assert_int_equal(first, 30);
    assert_int_equal(last, 31); /* … so that none is given out again */
    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(event_skip(fx->w, 1000, 5), 0);
    assert_int_equal(db_commit(fx->w), 0);
    assert_int_equal(event_ends(fx->w, &first, &last), 0);
    assert_int_equal(last, 1031);
}

static int collect(void *arg, const struct event_row *r)
{
    struct sbuf *b = arg;
    sbuf_str(b, r->text);
    sbuf_add(b, "\n", 1);
    return 0;
}

static void each_is_one_whole_object(void **state)
{
    struct db_fixture *fx = *state;
    struct sbuf b = {0};
    int64_t first, last;
    int n = 0;

    assert_int_equal(event_ends(fx->w, &first, &last), 0);
    assert_int_equal(db_begin(fx->w), 0);
    /* an update that has gone with its device, one without data, one with text that needs care */
    assert_int_equal(event_add(fx->w, &(struct event){.at = 1,
                                                      .project_id = 1,
                                                      .device_id = 99,
                                                      .object_id = 7,
                                                      .type = "update.failed",
                                                      .data = "{\"text\":\"a\\nb\"}"}),
                     0);
    assert_int_equal(event_add(fx->w, &(struct event){.at = 1,
                                                      .project_id = 1,
                                                      .device_id = 99,
                                                      .object_id = 7,
                                                      .type = "update.failed"}),
                     0);
    assert_int_equal(
        event_add(fx->w, &(struct event){.at = 1, .device_id = 99, .type = "task.run_ended"}), 0);
    assert_int_equal(db_commit(fx->w), 0);
    assert_int_equal(event_list(fx->w, last, 10, collect, &b), 0);
    for (char *line = b.p, *end; *line; line = end + 1, n++) {
        enum json_fault fault;
        end = strchr(line, '\n');
        AUTO(json_free)
        json_t *j = json_parse(line, (size_t)(end - line), 65536, 8, &fault, NULL);
        assert_non_null(j);
        assert_int_equal(json_get_int(j, "id", 0), last + 1 + n);
        assert_true(json_is_object(json_object_get(j, "data")));
    }
    assert_int_equal(n, 3);
    assert_non_null(
        strstr(b.p, "{\"update\":7,\"device\":null,\"state\":\"failed\",\"text\":\"a\\nb\"}"));
    sbuf_done(&b);
}

static int setup(void **state)
{
    struct db_fixture *fx = xcalloc(1, sizeof(*fx));
    db_fixture_init(fx);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    db_fixture_done(*state);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_name_types_or_kinds),
        cmocka_unit_test(old_ones_go_and_ids_only_grow),
        cmocka_unit_test(each_is_one_whole_object),
    };
    json_setup();
    return cmocka_run_group_tests_name("event", tests, setup, teardown);
}
