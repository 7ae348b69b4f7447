/* Devices that only download: bytes make progress, all of them, again from the start. */
#include "tests.h"

static struct update offered(struct domain *d, uint64_t size)
{
    struct firmware fw;
    int64_t dev;

    domain_init(d);
    dev = domain_device(d, "dev");
    fw = domain_firmware_of(d, "2.0", size);
    MUST(firmware_insert(d->w, &fw, NULL));
    domain_reload(d);
    report(d, dev, "1.0", T0);
    return check(d, dev, T0, NULL);
}

static void bytes_make_progress(void **state UNUSED)
{
    struct domain d;
    struct update u = offered(&d, 1000);

    served(&d, u.id, 0, 100, T0 + 1);
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_DOWNLOADING);
    assert_int_equal(u.percent, 10);
    assert_int_equal(u.deadline_at, T0 + 1 + 2 * HOUR);
    served(&d, u.id, 0, 500, T0 + 2); /* the first bytes again: counted once */
    u = the_update(&d, u.id);
    assert_int_equal(u.bytes_served, 500);
    assert_int_equal(u.percent, 50);
    served(&d, u.id, 500, 5000, T0 + 3); /* beyond the end: clamped */
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_DOWNLOADED);
    assert_int_equal(u.bytes_served, 1000);
    assert_int_equal(u.deadline_at, T0 + 3 + 2 * HOUR);
    report(&d, u.device_id, "2.0", T0 + 4);
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_VERIFIED);
    assert_false(u.suspect);
    domain_done(&d);
}

static void many_short_ranges_add_up(void **state UNUSED)
{
    struct domain d;
    struct update u = offered(&d, 1000000);

    for (uint64_t at = 0; at < 1000000; at += 500)
        MUST(update_served(d.w, d.catalog, u.id, 1, at, at + 500, 500, false, T0 + 1, &d.a));
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_DOWNLOADED);
    assert_int_equal(u.bytes_served, 1000000);
    domain_done(&d);
}

static void known_bytes_are_no_progress(void **state UNUSED)
{
    struct domain d;
    struct update u = offered(&d, 1000);

    served(&d, u.id, 0, 500, T0 + 1);
    int64_t before = db_total_changes(d.w);
    served(&d, u.id, 0, 500, T0 + 2);
    served(&d, u.id, 100, 200, T0 + 2);
    assert_int_equal(db_total_changes(d.w), before + 2); /* that they left again */
    assert_int_equal(the_update(&d, u.id).updated_at, T0 + 1);
    domain_done(&d);
}

static void all_files_are_needed(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev");
    struct firmware fw = domain_firmware_of(&d, "2.0", 300);
    fw.n_files = 2;
    fw.files[1] = fw.files[0];
    fw.files[1].name = "second.bin";
    MUST(firmware_insert(d.w, &fw, NULL));
    domain_reload(&d);
    report(&d, dev, "1.0", T0);
    struct update u = check(&d, dev, T0, NULL);
    assert_int_equal(u.bytes_total, 600);
    MUST(update_served(d.w, d.catalog, u.id, 2, 0, 300, 300, true, T0 + 1, &d.a));
    assert_int_equal(the_update(&d, u.id).state, UPDATE_DOWNLOADING);
    MUST(
        update_served(d.w, d.catalog, u.id, 3, 0, 300, 300, true, T0 + 1, &d.a)); /* no such file */
    MUST(update_served(d.w, d.catalog, u.id, 0, 0, 300, 300, true, T0 + 1, &d.a));
    assert_int_equal(the_update(&d, u.id).state, UPDATE_DOWNLOADING);
    MUST(update_served(d.w, d.catalog, u.id, 1, 0, 300, 300, true, T0 + 1, &d.a));
    assert_int_equal(the_update(&d, u.id).state, UPDATE_DOWNLOADED);
    domain_done(&d);
}

/* What broke off behind a proxy looks like that, too: the proxy had taken all of it. So the first
 * of an attempt is no failure; the next one is. */
static void again_from_the_start_is_an_attempt(void **state UNUSED)
{
    struct domain d;
    struct update u = offered(&d, 1000);

    served(&d, u.id, 0, 1000, T0 + 1);
    /* The middle of the file once more does not begin it again. */
    MUST(update_served(d.w, d.catalog, u.id, 1, 300, 600, 300, false, T0 + 2, &d.a));
    assert_int_equal(the_update(&d, u.id).state, UPDATE_DOWNLOADED);
    for (int again = 1; again <= 5; again++) {
        served(&d, u.id, 0, 10, T0 + 3);
        u = the_update(&d, u.id);
        assert_int_equal(u.state, UPDATE_DOWNLOADING);
        assert_int_equal(u.attempt, 1 + again / 2);
        assert_int_equal(u.percent, 1);
        assert_int_equal(u.bytes_served, 10);
        MUST(update_served(d.w, d.catalog, u.id, 1, 10, 1000, 990, false, T0 + 4, &d.a));
        assert_int_equal(the_update(&d, u.id).state, UPDATE_DOWNLOADED);
    }
    assert_int_equal(the_device(&d, u.device_id).failures, 2);
    served(&d, u.id, 0, 10, T0 + 5);
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_FAILED);
    assert_int_equal(u.attempt, 3);
    assert_int_equal(the_device(&d, u.device_id).failures, 3);
    domain_done(&d);
}

static void late_bytes_are_ignored(void **state UNUSED)
{
    struct domain d;
    struct update u = offered(&d, 1000);

    MUST(moved(&d, u.id, UPDATE_FAILED, T0));
    served(&d, u.id, 0, 1000, T0 + 1);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_PLANNED);
    assert_int_equal(the_update(&d, u.id).bytes_served, 0);
    report(&d, u.device_id, "2.0", T0 + 2);
    served(&d, u.id, 0, 1000, T0 + 3);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_VERIFIED);
    assert_int_equal(update_served(d.w, d.catalog, 5, 1, 0, 10, 10, true, T0, &d.a), E_NOTFOUND);
    domain_done(&d);
}

static void bytes_clear_a_suspicion(void **state UNUSED)
{
    struct domain d;
    struct update u = offered(&d, 1000);

    MUST(moved(&d, u.id, UPDATE_INSTALLING, T0));
    assert_true(the_update(&d, u.id).suspect);
    served(&d, u.id, 0, 1000, T0 + 1);
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_INSTALLING); /* never backward */
    assert_false(u.suspect);
    domain_done(&d);
}

/* Each sign that all of it is there is a success without bytes; bytes that come later clear it. */
static void without_bytes_it_is_suspect_at_once(void **state UNUSED)
{
    static const enum update_state words[] = {UPDATE_DOWNLOADED, UPDATE_INSTALLING,
                                              UPDATE_REBOOTING, UPDATE_INSTALLED};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        struct domain d;
        struct update u = offered(&d, 1000);

        MUST(moved(&d, u.id, words[i], T0 + 1));
        u = the_update(&d, u.id);
        assert_true(u.suspect);
        assert_int_equal(u.percent, 100);
        served(&d, u.id, 0, 1, T0 + 2);
        assert_false(the_update(&d, u.id).suspect);
        domain_done(&d);
    }
}

/* Fetched once more than is no failure, by a device that may fail once a day: it rests. */
static void who_fails_too_often_begins_no_other_attempt(void **state UNUSED)
{
    struct domain d;
    struct update u = offered(&d, 1000);

    d.type.attempts_per_day = 1;
    domain_type_changed(&d);
    for (int i = 1; i <= 3; i++)
        served(&d, u.id, 0, 1000, T0 + i);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_FAILED);
    assert_int_equal(the_device(&d, u.device_id).quarantined_until, T0 + 3 + DAY);
    domain_done(&d);
}

/* The next attempt shows its own progress; what was ever served is kept, for the zero-bytes rule.
 */
static void the_next_attempt_begins_at_zero(void **state UNUSED)
{
    struct domain d;
    struct update u = offered(&d, 1000);

    served(&d, u.id, 0, 400, T0 + 1);
    assert_int_equal(the_update(&d, u.id).percent, 40);
    MUST(moved(&d, u.id, UPDATE_FAILED, T0 + 2));
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_PLANNED);
    assert_int_equal(u.percent, 0);
    assert_string_equal(u.coverage, "");
    assert_int_equal(u.bytes_served, 400);
    domain_done(&d);
}

int test_served(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_make_progress),
        cmocka_unit_test(many_short_ranges_add_up),
        cmocka_unit_test(known_bytes_are_no_progress),
        cmocka_unit_test(all_files_are_needed),
        cmocka_unit_test(again_from_the_start_is_an_attempt),
        cmocka_unit_test(late_bytes_are_ignored),
        cmocka_unit_test(bytes_clear_a_suspicion),
        cmocka_unit_test(without_bytes_it_is_suspect_at_once),
        cmocka_unit_test(who_fails_too_often_begins_no_other_attempt),
        cmocka_unit_test(the_next_attempt_begins_at_zero),
    };

    return cmocka_run_group_tests_name("served", tests, NULL, NULL);
}
