/* Devices that go in circles: versions to and fro, the same bytes again and again. */
#include "../../../src/update/update_priv.h"
#include "event.h"
#include "tests.h"

struct flap {
    struct domain d;
    int64_t dev;
    struct update u;
};

static void flap_init(struct flap *f)
{
    domain_init(&f->d);
    f->dev = domain_device(&f->d, "dev");
    report(&f->d, f->dev, "1.0", T0);
    domain_firmware(&f->d, "2.0");
    f->u = check(&f->d, f->dev, T0, NULL);
}

static enum update_state state_of(struct flap *f)
{
    f->u = the_update(&f->d, f->u.id);
    return f->u.state;
}

static int64_t rests_until(struct flap *f)
{
    return the_device(&f->d, f->dev).quarantined_until;
}

static int last_row(void *arg, const struct update_event *e)
{
    (void)snprintf(arg, 200, "%s>%s %s: %s", e->from_state, e->to_state, e->cause, e->text);
    return 0;
}

static int quarantines(void *arg, const struct event_row *r)
{
    if (strcmp(r->event.type, "device.quarantined") == 0)
        (void)snprintf(arg, 400, "%s", r->text);
    return 0;
}

static void to_and_fro_ends_in_quarantine(void **state UNUSED)
{
    struct flap f;
    struct decision dn;
    struct device_quarantine why;
    char words[400];
    int64_t last = 0;

    flap_init(&f);
    int64_t before = metric_get(M_QUARANTINED);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(rests_until(&f), 0);
        served(&f.d, f.u.id, 0, 1000, T0 + i);
        report(&f.d, f.dev, "2.0", T0 + i);
        assert_int_equal(state_of(&f), UPDATE_VERIFIED);
        report(&f.d, f.dev, "1.0", T0 + i); /* it fell back by itself */
        report(&f.d, f.dev, "1.0", T0 + i); /* said again, it is no news */
        assert_int_equal(state_of(&f), UPDATE_VERIFIED);
        MUST(update_history(f.d.w, f.u.id, last_row, words));
        (void)str_fmt(words + 200, 200,
                      "verified>verified fell_back: the device reports 1.0: it fell back, %d of 3 "
                      "times in a day",
                      i);
        assert_string_equal(words, words + 200);
        assert_int_equal(the_device(&f.d, f.dev).failures, i);
        last = f.u.id;
        f.u = check(&f.d, f.dev, T0 + i, &dn);
        assert_int_equal(f.u.id != 0, i < 3);
    }
    assert_int_equal(dn.reason, REASON_QUARANTINED);
    assert_int_equal(rests_until(&f), T0 + 3 + DAY);
    assert_int_equal(metric_get(M_QUARANTINED), before + 1);
    char told[400];
    MUST(device_quarantine_why(f.d.w, f.dev, &why));
    assert_string_equal(why.cause, "flapping");
    assert_string_equal(why.text, "main went to and fro between 2.0 and 1.0, and fell back 3 times "
                                  "within a day");
    MUST(event_list(f.d.w, 0, 1000, quarantines, told));
    assert_non_null(strstr(told, "\"cause\":\"flapping\",\"text\":\"main went to and fro"));
    assert_non_null(strstr(told, "\"device\":\"dev\",\"until\":\"2023"));
    report(&f.d, f.dev, "2.0", T0 + 4); /* it rests: nothing more is counted, or told */
    report(&f.d, f.dev, "1.0", T0 + 5);
    assert_int_equal(the_device(&f.d, f.dev).failures, 3);
    assert_int_equal(rests_until(&f), T0 + 3 + DAY);
    assert_int_equal(metric_get(M_QUARANTINED), before + 1);
    MUST(update_history(f.d.w, last, last_row, words));
    assert_string_equal(words, words + 200);
    domain_done(&f.d);
}

static int count_quarantines(void *arg, const struct event_row *r)
{
    *(int *)arg += strcmp(r->event.type, "device.quarantined") == 0;
    return 0;
}

/* One failure too many and one fall too many are the same word: it rests once, for the first. */
static void two_causes_at_once_are_one_rest(void **state UNUSED)
{
    struct flap f;
    struct device_quarantine why;
    int told = 0;

    flap_init(&f);
    f.d.type.attempts_per_day = f.d.type.flaps_per_day = 1;
    domain_type_changed(&f.d);
    served(&f.d, f.u.id, 0, 1000, T0 + 1);
    report(&f.d, f.dev, "2.0", T0 + 1);
    report(&f.d, f.dev, "1.0", T0 + 2);
    assert_int_equal(rests_until(&f), T0 + 2 + DAY);
    MUST(device_quarantine_why(f.d.w, f.dev, &why));
    assert_string_equal(why.cause, "attempts");
    MUST(event_list(f.d.w, 0, 1000, count_quarantines, &told));
    assert_int_equal(told, 1);
    domain_done(&f.d);
}

static void explain_says_it(void **state UNUSED)
{
    struct flap f;
    struct facts_load l;
    struct decision dn;

    flap_init(&f);
    f.d.type.flaps_per_day = 1;
    domain_type_changed(&f.d);
    report(&f.d, f.dev, "2.0", T0 + 1);
    report(&f.d, f.dev, "1.0", T0 + 2);
    struct device dev = the_device(&f.d, f.dev);
    MUST(facts_load(f.d.w, &dev, "main", T0 + 3, &f.d.a, &l));
    decide(f.d.catalog, &l.facts, T0 + 3, true, &f.d.a, &dn);
    facts_done(&l);
    assert_int_equal(dn.n_rows, 1);
    assert_non_null(strstr(dn.rows[0].text, "main went to and fro between 2.0 and 1.0"));
    assert_non_null(strstr(dn.rows[0].params, "\"cause\":\"flapping\""));
    MUST(device_release(f.d.w, f.dev, T0 + 4));
    struct device_quarantine why;
    MUST(device_quarantine_why(f.d.w, f.dev, &why));
    assert_string_equal(why.cause, "");
    assert_int_not_equal(check(&f.d, f.dev, T0 + 5, NULL).id, 0);
    domain_done(&f.d);
}

/* No offer between: the device changes sides by itself. */
static void without_an_update_between(void **state UNUSED)
{
    struct flap f;

    flap_init(&f);
    served(&f.d, f.u.id, 0, 1000, T0 + 1);
    report(&f.d, f.dev, "2.0", T0 + 1);
    for (int i = 1; i <= 3; i++) {
        report(&f.d, f.dev, i == 2 ? "0.9" : "1.0", T0 + 2 * i); /* also further back */
        report(&f.d, f.dev, "2.0", T0 + 2 * i + 1);
        assert_int_equal(rests_until(&f) > 0, i == 3);
    }
    domain_done(&f.d);
}

/* Nor while the next one is on offer. */
static void while_a_higher_one_waits(void **state UNUSED)
{
    struct flap f;

    flap_init(&f);
    served(&f.d, f.u.id, 0, 1000, T0 + 1);
    report(&f.d, f.dev, "2.0", T0 + 1);
    domain_firmware(&f.d, "3.0");
    f.u = check(&f.d, f.dev, T0 + 2, NULL);
    for (int i = 1; i <= 3; i++) {
        report(&f.d, f.dev, "1.0", T0 + 2 * i);
        report(&f.d, f.dev, "1.0", T0 + 2 * i); /* said again, it is no news */
        report(&f.d, f.dev, "2.0", T0 + 2 * i + 1);
        assert_int_equal(rests_until(&f) > 0, i == 3);
    }
    domain_done(&f.d);
}

/* Whoever lifts a rest, or forestalls it, begins the count anew. */
static void a_release_counts_anew(void **state UNUSED)
{
    struct flap f;

    flap_init(&f);
    served(&f.d, f.u.id, 0, 1000, T0 + 1);
    report(&f.d, f.dev, "2.0", T0 + 1);
    for (int i = 1; i <= 4; i++) {
        report(&f.d, f.dev, "1.0", T0 + 2 * i);
        report(&f.d, f.dev, "2.0", T0 + 2 * i + 1);
        if (i == 2)
            MUST(device_release(f.d.w, f.dev, T0 + 2 * i + 1));
        assert_int_equal(rests_until(&f), 0);
    }
    domain_done(&f.d);
}

/* Days apart, or upwards, or to the same in other words: that is no flapping. */
static void what_is_none(void **state UNUSED)
{
    struct flap f;

    flap_init(&f);
    served(&f.d, f.u.id, 0, 1000, T0 + 1);
    report(&f.d, f.dev, "2.0", T0 + 1);
    report(&f.d, f.dev, "3.0", T0 + 2);
    report(&f.d, f.dev, "v2", T0 + 3);
    report(&f.d, f.dev, "3.0", T0 + 4);
    report(&f.d, f.dev, "2.0", T0 + 5);
    assert_int_equal(the_device(&f.d, f.dev).failures, 0);
    for (int i = 0; i < 6; i++) { /* each success holds for two days */
        report(&f.d, f.dev, "1.0", T0 + 2 * DAY * (i + 1));
        f.u = check(&f.d, f.dev, T0 + 2 * DAY * (i + 1), NULL);
        assert_int_not_equal(f.u.id, 0);
        served(&f.d, f.u.id, 0, 1000, T0 + 2 * DAY * (i + 1));
        report(&f.d, f.dev, "2.0", T0 + 2 * DAY * (i + 1));
    }
    assert_int_equal(rests_until(&f), 0);
    domain_done(&f.d);
}

static void failures_say_their_cause(void **state UNUSED)
{
    struct flap f;
    struct device_quarantine why;

    flap_init(&f);
    f.d.type.attempts_per_day = 1;
    domain_type_changed(&f.d);
    MUST(moved(&f.d, f.u.id, UPDATE_FAILED, T0 + 1));
    MUST(device_quarantine_why(f.d.w, f.dev, &why));
    assert_string_equal(why.cause, "attempts");
    assert_string_equal(why.text, "1 attempts failed on it within a day");
    domain_done(&f.d);
}

/* ---- bytes ---- */
/* It begins anew again and again and never has it whole. */
static void fetched_without_end(void **state UNUSED)
{
    struct flap f;
    struct decision dn;
    char words[200];
    int64_t now = T0;

    flap_init(&f);
    for (int attempt = 1; attempt <= 3; attempt++) {
        assert_int_equal(state_of(&f), UPDATE_OFFERED);
        assert_int_equal(f.u.attempt, attempt);
        for (int i = 0; i <= 20; i++) { /* half of it, once and twenty times again */
            served(&f.d, f.u.id, 0, 500, now);
            assert_int_equal(state_of(&f), UPDATE_DOWNLOADING);
        }
        for (int i = 0; i < 2 && state_of(&f) == UPDATE_DOWNLOADING; i++)
            served(&f.d, f.u.id, 0, 500, now);
        MUST(update_history(f.d.w, f.u.id, last_row, words));
        assert_non_null(strstr(words, "download: attempt"));
        assert_non_null(strstr(words, "fetched again and again"));
        assert_int_equal(state_of(&f), attempt < 3 ? UPDATE_PLANNED : UPDATE_FAILED);
        served(&f.d, f.u.id, 0, 500, now); /* late */
        now += HOUR;
        assert_int_equal(check(&f.d, f.dev, now, &dn).id != 0, attempt < 3);
    }
    assert_int_equal(dn.reason, REASON_ATTEMPTS_EXHAUSTED);
    assert_int_equal(the_device(&f.d, f.dev).failures, 3);
    domain_done(&f.d);
}

/* Nor by pieces of what it has. */
static void pieces_without_end(void **state UNUSED)
{
    struct flap f;

    flap_init(&f);
    served(&f.d, f.u.id, 0, 1000, T0);
    for (int i = 0; i < 101; i++) {
        assert_int_equal(state_of(&f), UPDATE_DOWNLOADED);
        served(&f.d, f.u.id, 500, 600, T0 + 1);
    }
    for (int i = 0; i < 10 && state_of(&f) == UPDATE_DOWNLOADED; i++)
        served(&f.d, f.u.id, 500, 600, T0 + 1);
    assert_int_equal(state_of(&f), UPDATE_PLANNED);
    domain_done(&f.d);
}

/* A bad line: it resumes a little before where it was. */
static void a_bad_line_gets_there(void **state UNUSED)
{
    struct flap f;

    flap_init(&f);
    for (uint64_t at = 0; at < 1000; at += 10)
        served(&f.d, f.u.id, at < 50 ? 0 : at - 50, at + 10, T0);
    assert_int_equal(state_of(&f), UPDATE_DOWNLOADED);
    assert_int_equal(f.u.attempt, 1);
    domain_done(&f.d);
}

int test_flap(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(to_and_fro_ends_in_quarantine),
        cmocka_unit_test(two_causes_at_once_are_one_rest),
        cmocka_unit_test(explain_says_it),
        cmocka_unit_test(without_an_update_between),
        cmocka_unit_test(while_a_higher_one_waits),
        cmocka_unit_test(a_release_counts_anew),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(failures_say_their_cause),
        cmocka_unit_test(fetched_without_end),
        cmocka_unit_test(pieces_without_end),
        cmocka_unit_test(a_bad_line_gets_there),
    };

    return cmocka_run_group_tests_name("flap", tests, NULL, NULL);
}
