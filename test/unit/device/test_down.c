/* What is on its way down to a device: its place, its bound, its reply, its end. */
#include "tests.h"

static struct device_down ask(struct domain *d, int64_t device, const char *method,
                              int64_t message_id, int64_t at)
{
    struct device_down m = {.device_id = device,
                            .method = method,
                            .params = "{\"a\":1}",
                            .message_id = message_id,
                            .created_at = at};

    MUST(device_down_insert(d->w, &m, &d->type));
    return m;
}

static void places(void **state UNUSED)
{
    struct domain d;
    int64_t ids[8], next, last;

    domain_init(&d);
    d.type.down_interval_ms = 2000;
    int64_t one = domain_device(&d, "one"), two = domain_device(&d, "two");
    struct device_down a = ask(&d, one, "x", 7, T0), b = ask(&d, one, NULL, 0, T0);
    struct device_down c = ask(&d, one, NULL, 0, T0 + 500), other = ask(&d, two, NULL, 0, T0 + 500);
    assert_int_equal(a.next_at, T0);
    assert_int_equal(b.next_at, T0 + 2000);
    assert_int_equal(c.next_at, T0 + 4000);
    assert_int_equal(other.next_at, T0 + 500);
    assert_true(a.expires_at >= T0 + 3 * 30000 && a.expires_at < T0 + 4 * 30000);
    assert_int_equal(device_down_due(d.w, T0 - 1, ids, 8), 0);
    assert_int_equal(device_down_due(d.w, T0 + 2000, ids, 8), 3);
    assert_true(ids[0] == a.id && ids[1] == other.id && ids[2] == b.id);
    assert_int_equal(device_down_due(d.w, T0 + 2000, ids, 1), 1);
    MUST(device_down_next(d.w, &next));
    assert_int_equal(next, T0);

    /* behind what was sent, also when all that waited is gone */
    MUST(device_down_last(d.w, one, &last));
    assert_int_equal(last, 0);
    struct device_down *all[] = {&a, &b, &c, &other};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        all[i]->state = "sent";
        all[i]->attempts = 1;
        all[i]->sent_at = all[i]->next_at;
        all[i]->ended_at = all[i]->sent_at;
        MUST(device_down_update(d.w, all[i]));
    }
    assert_int_equal(device_down_next(d.w, &next), E_NOTFOUND);
    MUST(device_down_last(d.w, one, &last));
    assert_int_equal(last, T0 + 4000);
    assert_int_equal(ask(&d, one, NULL, 0, T0 + 4500).next_at, T0 + 6000);
    /* a clock that was set back by a day does not hold anything up for a day */
    assert_true(ask(&d, one, NULL, 0, T0 - DAY).next_at <= T0 - DAY + DEVICE_DOWN_MAX * 2000);
    domain_done(&d);
}

static void so_many_wait(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev");
    for (int i = 0; i < DEVICE_DOWN_MAX; i++)
        (void)ask(&d, dev, NULL, 0, T0);
    struct device_down m = {.device_id = dev, .params = "{}", .created_at = T0};
    assert_int_equal(device_down_insert(d.w, &m, &d.type), E_LIMIT);
    (void)ask(&d, domain_device(&d, "other"), NULL, 0, T0);
    domain_done(&d);
}

static void replies(void **state UNUSED)
{
    struct domain d;
    struct device_down m, got;
    AUTO(json_free) json_t *reply = json_pack("{s:i}", "ok", 1);

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev"), other = domain_device(&d, "other");
    m = ask(&d, dev, "x", 77, T0);
    assert_int_equal(device_down_replied(d.w, other, 77, reply, T0, &d.a, &got), E_NOTFOUND);
    assert_int_equal(device_down_replied(d.w, dev, 78, reply, T0, &d.a, &got), E_NOTFOUND);
    m.state = "timed_out"; /* late, but true */
    m.ended_at = T0 + 1;
    MUST(device_down_update(d.w, &m));
    assert_int_equal(device_down_replied(d.w, dev, 77, reply, T0 + 2, &d.a, &got), 1);
    assert_int_equal(device_down_replied(d.w, dev, 77, NULL, T0 + 3, &d.a, &got), 0);
    MUST(device_down_by_id(d.w, dev, m.id, &d.a, &got));
    assert_string_equal(got.state, "replied");
    assert_string_equal(got.reply, "{\"ok\":1}");
    assert_int_equal(got.ended_at, T0 + 2);
    assert_int_equal(device_down_by_id(d.w, other, m.id, &d.a, &got), E_NOTFOUND);
    struct device_down bare = ask(&d, dev, "x", 79, T0);
    assert_int_equal(device_down_replied(d.w, dev, 79, NULL, T0, &d.a, &got), 1);
    assert_string_equal(got.reply, "{}");
    assert_int_equal(device_down_forget(d.w, T0 + 1, 10), 1); /* bare alone */
    assert_int_equal(device_down_by_id(d.w, 0, bare.id, &d.a, &got), E_NOTFOUND);
    MUST(device_down_by_id(d.w, 0, m.id, &d.a, &got));
    MUST(device_delete(d.w, dev, NULL));
    assert_int_equal(device_down_by_id(d.w, 0, m.id, &d.a, &got), E_NOTFOUND);
    domain_done(&d);
}

int test_down(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),
        cmocka_unit_test(so_many_wait),
        cmocka_unit_test(replies),
    };

    return cmocka_run_group_tests_name("device/down", tests, NULL, NULL);
}
