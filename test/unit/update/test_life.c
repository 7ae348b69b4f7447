/* The life of an update after its offer: words, reports, deadlines, failures, cancels. */
/* clang-format off */
#include "event.h"
#include "tests.h"
/* clang-format on */

struct life {
    struct domain d;
    int64_t dev, fw;
    struct update u;
};

/* A device with 1.0, a firmware 2.0 of 1000 bytes, and the offer. */
static void life_init(struct life *l)
{
    domain_init(&l->d);
    l->dev = domain_device(&l->d, "dev");
    l->fw = domain_firmware(&l->d, "2.0");
    report(&l->d, l->dev, "1.0", T0);
    l->u = check(&l->d, l->dev, T0, NULL);
    assert_int_not_equal(l->u.id, 0);
}

static enum update_state state_of(struct life *l)
{
    l->u = the_update(&l->d, l->u.id);
    return l->u.state;
}

static int expire(struct life *l, int64_t now, int64_t *ret_next)
{
    int n = update_expire(l->d.w, l->d.catalog, now, 100, ret_next);

    MUST(n);
    return n;
}

struct words {
    char text[2000];
};

static int add_words(void *arg, const struct update_event *e)
{
    struct words *w = arg;
    size_t n = strlen(w->text);

    snprintf(w->text + n, sizeof(w->text) - n, "%s>%s %s|", e->from_state, e->to_state, e->cause);
    return 0;
}

struct told {
    struct words words;
    int64_t update_id;
};

static int add_told(void *arg, const struct event_row *r)
{
    struct told *t = arg;
    size_t n = strlen(t->words.text);
    enum json_fault fault;

    if (strncmp(r->event.type, "update.", 7) != 0 || r->event.object_id != t->update_id)
        return 0;
    AUTO(json_free) json_t *j = json_parse(r->text, strlen(r->text), 65536, 8, &fault, NULL);
    const json_t *data = json_object_get(j, "data");

    assert_string_equal(json_get_str(data, "state", ""), r->event.type + 7);
    assert_string_equal(json_get_str(data, "to_version", ""), "2.0");
    snprintf(t->words.text + n, sizeof(t->words.text) - n, "%s>%s %s|",
             json_get_str(data, "from", ""), r->event.type + 7, json_get_str(data, "cause", ""));
    return 0;
}

/* Those who watch are told of each move, once; the plan is told with the offer. */
static void assert_history(struct life *l, const char *expected)
{
    struct words w = {0};
    struct told t = {.update_id = l->u.id};

    MUST(update_history(l->d.w, l->u.id, add_words, &w));
    assert_string_equal(w.text, expected);
    MUST(event_list(l->d.w, 0, 1000, add_told, &t));
    assert_string_equal(t.words.text, strchr(expected, '|') + 1);
}

#define BEGUN ">planned check|planned>offered check|"

static void only_the_report_verifies(void **state UNUSED)
{
    struct life l;

    life_init(&l);
    int64_t verified = metric_get(M_UPDATES_VERIFIED);
    served(&l.d, l.u.id, 0, 1000, T0 + 1);
    MUST(moved(&l.d, l.u.id, UPDATE_INSTALLED, T0 + 2));
    assert_int_equal(state_of(&l), UPDATE_INSTALLED);
    assert_int_equal(moved(&l.d, l.u.id, UPDATE_VERIFIED, T0 + 3), E_CONFLICT);
    assert_int_equal(state_of(&l), UPDATE_INSTALLED);
    report(&l.d, l.dev, "v2.0.0", T0 + 4); /* equal, not the same text */
    assert_int_equal(state_of(&l), UPDATE_VERIFIED);
    assert_int_equal(l.u.ended_at, T0 + 4);
    assert_int_equal(l.u.deadline_at, 0);
    assert_false(l.u.suspect);
    assert_int_equal(metric_get(M_UPDATES_VERIFIED), verified + 1);
    assert_history(&l, BEGUN "offered>downloading download|downloading>downloaded download|"
                             "downloaded>installed reply|installed>verified report|");
    domain_done(&l.d);
}

static void the_target_at_any_time_verifies(void **state UNUSED)
{
    for (int s = UPDATE_OFFERED; s <= UPDATE_INSTALLED; s++) {
        struct life l;

        life_init(&l);
        if (s != UPDATE_OFFERED)
            MUST(moved(&l.d, l.u.id, (enum update_state)s, T0 + 1));
        report(&l.d, l.dev, "2.0", T0 + 4);
        assert_int_equal(state_of(&l), UPDATE_VERIFIED);
        domain_done(&l.d);
    }
}

static void zero_bytes_are_suspect(void **state UNUSED)
{
    struct life l;

    life_init(&l);
    int64_t suspect = metric_get(M_UPDATES_SUSPECT), verified = metric_get(M_UPDATES_VERIFIED);
    MUST(moved(&l.d, l.u.id, UPDATE_INSTALLED, T0 + 1));
    state_of(&l);
    assert_true(l.u.suspect);
    report(&l.d, l.dev, "2.0", T0 + 2);
    assert_int_equal(state_of(&l), UPDATE_VERIFIED);
    assert_true(l.u.suspect);
    assert_int_equal(metric_get(M_UPDATES_SUSPECT), suspect + 1); /* one update, counted once */
    assert_int_equal(metric_get(M_UPDATES_VERIFIED), verified);
    domain_done(&l.d);
}

static void after_a_kill_no_bytes_prove_nothing(void **state UNUSED)
{
    for (int before = 0; before < 2; before++) {
        struct life l;

        life_init(&l);
        MUST(update_killed(l.d.w, l.u.created_at - (before ? 1 : 0)));
        report(&l.d, l.dev, "2.0", T0 + 2);
        assert_int_equal(state_of(&l), UPDATE_VERIFIED);
        assert_int_equal(l.u.suspect, before); /* it began after the kill: all was counted */
        domain_done(&l.d);
    }
}

static void an_earlier_attempts_bytes_count(void **state UNUSED)
{
    struct life l;

    life_init(&l);
    served(&l.d, l.u.id, 0, 1000, T0 + 1);
    MUST(moved(&l.d, l.u.id, UPDATE_FAILED, T0 + 2));
    report(&l.d, l.dev, "2.0", T0 + 3); /* it tried again by itself */
    assert_int_equal(state_of(&l), UPDATE_VERIFIED);
    assert_false(l.u.suspect);
    domain_done(&l.d);
}

static void the_old_version_again_is_rolled_back(void **state UNUSED)
{
    for (int s = UPDATE_OFFERED; s <= UPDATE_INSTALLED; s++) {
        struct life l;
        bool rolls = s == UPDATE_REBOOTING || s == UPDATE_INSTALLED;

        life_init(&l);
        if (s != UPDATE_OFFERED)
            MUST(moved(&l.d, l.u.id, (enum update_state)s, T0 + 1));
        report(&l.d, l.dev, "1.0", T0 + 2);
        assert_int_equal(state_of(&l), rolls ? UPDATE_ROLLED_BACK : (enum update_state)s);
        assert_int_equal(the_device(&l.d, l.dev).failures, rolls);
        domain_done(&l.d);
    }
}

static void beyond_the_target_is_superseded(void **state UNUSED)
{
    struct life l;

    life_init(&l);
    report(&l.d, l.dev, "1.5", T0 + 1); /* neither: stored, no more */
    assert_int_equal(state_of(&l), UPDATE_OFFERED);
    report(&l.d, l.dev, "3.0", T0 + 2);
    assert_int_equal(state_of(&l), UPDATE_CANCELED);
    assert_string_equal(l.u.cause, "superseded");
    domain_done(&l.d);
}

static void opaque_is_superseded_by_a_later_upload(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    d.type.scheme = VERSION_OPAQUE;
    domain_type_changed(&d);
    int64_t dev = domain_device(&d, "dev");
    domain_firmware(&d, "red");
    report(&d, dev, "red", T0);
    domain_firmware(&d, "blue");
    struct update u = check(&d, dev, T0, NULL);
    assert_string_equal(u.to_version, "blue");
    domain_firmware(&d, "azure");
    report(&d, dev, "zzz", T0 + 1); /* greater as text, but nobody knows it */
    assert_int_equal(the_update(&d, u.id).state, UPDATE_OFFERED);
    report(&d, dev, "azure", T0 + 2);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_CANCELED);
    domain_done(&d);
}

static void failures_are_attempts(void **state UNUSED)
{
    struct life l;
    struct decision dn;

    life_init(&l);
    MUST(moved(&l.d, l.u.id, UPDATE_FAILED, T0));
    assert_int_equal(state_of(&l), UPDATE_PLANNED);
    assert_int_equal(l.u.attempt, 2);
    assert_int_equal(l.u.retry_at, T0 + 10 * MIN);
    assert_int_equal(l.u.deadline_at, T0 + 10 * MIN + DAY);
    /* Told twice: once counted. */
    assert_int_equal(moved(&l.d, l.u.id, UPDATE_FAILED, T0 + 1), E_CONFLICT);
    assert_int_equal(check(&l.d, l.dev, T0 + 10 * MIN - 1, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_BACKING_OFF);
    assert_int_equal(dn.retry_at, T0 + 10 * MIN);
    struct update again = check(&l.d, l.dev, T0 + 10 * MIN, &dn);
    assert_int_equal(again.id, l.u.id);
    assert_int_equal(again.state, UPDATE_OFFERED);
    assert_int_equal(again.attempt, 2);
    assert_int_equal(the_update(&l.d, l.u.id).retry_at, 0);
    MUST(moved(&l.d, l.u.id, UPDATE_FAILED, T0 + HOUR));
    assert_int_equal(state_of(&l), UPDATE_PLANNED);
    assert_int_equal(l.u.retry_at, T0 + HOUR + 20 * MIN); /* doubled */
    assert_int_equal(check(&l.d, l.dev, T0 + 2 * HOUR, &dn).id, l.u.id);
    MUST(moved(&l.d, l.u.id, UPDATE_FAILED, T0 + 2 * HOUR));
    assert_int_equal(state_of(&l), UPDATE_FAILED);
    assert_int_equal(l.u.attempt, 3);
    /* Used up: nothing for a day, then anew. */
    assert_int_equal(check(&l.d, l.dev, T0 + 3 * HOUR, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_ATTEMPTS_EXHAUSTED);
    struct update next = check(&l.d, l.dev, T0 + 2 * HOUR + DAY, &dn);
    assert_int_not_equal(next.id, 0);
    assert_int_not_equal(next.id, l.u.id);
    domain_done(&l.d);
}

static void a_release_forgets_attempts(void **state UNUSED)
{
    struct life l;
    struct decision dn;

    life_init(&l);
    l.d.type.attempts = 1;
    domain_type_changed(&l.d);
    MUST(moved(&l.d, l.u.id, UPDATE_FAILED, T0 + 1));
    assert_int_equal(state_of(&l), UPDATE_FAILED);
    assert_int_equal(check(&l.d, l.dev, T0 + 2, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_ATTEMPTS_EXHAUSTED);
    MUST(device_release(l.d.w, l.dev, T0 + 3));
    assert_int_not_equal(check(&l.d, l.dev, T0 + 4, &dn).id, 0);
    domain_done(&l.d);
}

static void too_many_failures_quarantine(void **state UNUSED)
{
    struct life l;
    struct decision dn;

    life_init(&l);
    int64_t quarantined = metric_get(M_QUARANTINED);
    l.d.type.attempts_per_day = 2;
    domain_type_changed(&l.d);
    MUST(moved(&l.d, l.u.id, UPDATE_FAILED, T0));
    assert_int_equal(check(&l.d, l.dev, T0 + HOUR, &dn).id, l.u.id);
    MUST(moved(&l.d, l.u.id, UPDATE_FAILED, T0 + HOUR));
    assert_int_equal(state_of(&l), UPDATE_FAILED); /* although an attempt was left */
    assert_int_equal(metric_get(M_QUARANTINED), quarantined + 1);
    assert_int_equal(check(&l.d, l.dev, T0 + 2 * HOUR, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_QUARANTINED);
    assert_int_equal(dn.retry_at, T0 + HOUR + DAY);
    assert_int_not_equal(check(&l.d, l.dev, T0 + 2 * HOUR + DAY, &dn).id, 0);
    domain_done(&l.d);
}

static void a_refusal_is_final(void **state UNUSED)
{
    struct life l;
    struct decision dn;

    life_init(&l);
    MUST(moved(&l.d, l.u.id, UPDATE_REJECTED, T0));
    assert_int_equal(state_of(&l), UPDATE_REJECTED);
    assert_int_equal(the_device(&l.d, l.dev).failures, 0);
    assert_int_equal(check(&l.d, l.dev, T0 + 1, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_BACKING_OFF);
    domain_done(&l.d);
}

static void late_and_illegal_words_change_nothing(void **state UNUSED)
{
    struct life l;

    life_init(&l);
    struct device other = {.id = l.dev + 1, .type_id = l.d.type.id};
    assert_int_equal(
        update_moved(l.d.w, l.d.catalog, &other, l.u.id, UPDATE_ACCEPTED, -1, NULL, T0, &l.d.a),
        E_NOTFOUND);
    assert_int_equal(moved(&l.d, l.u.id, UPDATE_INSTALLING, T0), 0);
    struct update before = the_update(&l.d, l.u.id);
    int64_t illegal = metric_get(M_UPDATE_ILLEGAL);
    assert_int_equal(moved(&l.d, l.u.id, UPDATE_DOWNLOADING, T0 + 1), E_CONFLICT);
    assert_int_equal(moved(&l.d, l.u.id, UPDATE_ACCEPTED, T0 + 1), E_CONFLICT);
    assert_int_equal(moved(&l.d, l.u.id, UPDATE_OFFERED, T0 + 1), E_CONFLICT);
    assert_int_equal(moved(&l.d, l.u.id, UPDATE_CANCELED, T0 + 1), E_CONFLICT);
    assert_int_equal(metric_get(M_UPDATE_ILLEGAL), illegal + 4);
    assert_int_equal(state_of(&l), before.state);
    assert_int_equal(l.u.updated_at, before.updated_at);
    report(&l.d, l.dev, "2.0", T0 + 2);
    assert_int_equal(the_update(&l.d, l.u.id).ended_at, T0 + 2);
    for (int s = 0; s < UPDATE__COUNT; s++)
        assert_int_equal(moved(&l.d, l.u.id, (enum update_state)s, T0 + 3), E_CONFLICT);
    assert_int_equal(metric_get(M_UPDATE_ILLEGAL), illegal + 4 + UPDATE__COUNT);
    assert_int_equal(state_of(&l), UPDATE_VERIFIED);
    assert_int_equal(update_cancel(l.d.w, l.u.id, "operator", "", T0 + 4, NULL), E_CONFLICT);
    assert_int_equal(update_cancel(l.d.w, 5, "operator", "", T0 + 4, NULL), E_NOTFOUND);
    domain_done(&l.d);
}

static void late_progress_begins_no_attempt(void **state UNUSED)
{
    struct life l;

    life_init(&l);
    served(&l.d, l.u.id, 0, 1000, T0 + 1);
    assert_int_equal(moved(&l.d, l.u.id, UPDATE_DOWNLOADING, T0 + 2), E_CONFLICT);
    assert_int_equal(state_of(&l), UPDATE_DOWNLOADED);
    domain_done(&l.d);
}

static void a_planned_one_that_expires_failed_before(void **state UNUSED)
{
    struct life l;
    int64_t next;

    life_init(&l);
    l.d.type.accept_timeout_s = 3600;
    domain_type_changed(&l.d);
    MUST(moved(&l.d, l.u.id, UPDATE_FAILED, T0));
    assert_int_equal(expire(&l, T0 + 2 * HOUR, &next), 1);
    assert_int_equal(state_of(&l), UPDATE_TIMED_OUT);
    assert_int_equal(the_device(&l.d, l.dev).failures, 1); /* once, not twice */
    domain_done(&l.d);
}

static void progress_is_kept_and_never_shrinks(void **state UNUSED)
{
    struct life l;

    life_init(&l);
    struct device dev = the_device(&l.d, l.dev);
    const int64_t said[] = {40, 30, 90, 300};
    const int64_t kept[] = {40, 40, 90, 100};
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        MUST(update_moved(l.d.w, l.d.catalog, &dev, l.u.id, UPDATE_DOWNLOADING, said[i], "", T0 + 1,
                          &l.d.a));
        assert_int_equal(state_of(&l), UPDATE_DOWNLOADING);
        assert_int_equal(l.u.percent, kept[i]);
    }
    assert_history(&l, BEGUN "offered>downloading reply|"); /* one row, however often it is said */
    domain_done(&l.d);
}

static void every_stage_has_its_deadline(void **state UNUSED)
{
    static const struct {
        enum update_state at, end;
        int64_t after;
    } stages[] = {
        {UPDATE_OFFERED, UPDATE_TIMED_OUT, DAY},
        {UPDATE_DEFERRED, UPDATE_TIMED_OUT, DAY},
        {UPDATE_ACCEPTED, UPDATE_TIMED_OUT, 2 * HOUR},
        {UPDATE_DOWNLOADING, UPDATE_TIMED_OUT, 2 * HOUR},
        {UPDATE_DOWNLOADED, UPDATE_UNVERIFIED, 2 * HOUR},
        {UPDATE_INSTALLING, UPDATE_UNVERIFIED, HOUR},
        {UPDATE_REBOOTING, UPDATE_UNVERIFIED, HOUR},
        {UPDATE_INSTALLED, UPDATE_UNVERIFIED, HOUR},
        {UPDATE_PLANNED, UPDATE_TIMED_OUT, 10 * MIN + DAY},
    };

    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        struct life l;
        int64_t next;

        life_init(&l);
        if (stages[i].at != UPDATE_OFFERED)
            MUST(moved(&l.d, l.u.id, stages[i].at == UPDATE_PLANNED ? UPDATE_FAILED : stages[i].at,
                       T0));
        assert_int_equal(expire(&l, T0 + stages[i].after - 1, &next), 0);
        assert_int_equal(next, T0 + stages[i].after);
        assert_int_equal(state_of(&l), stages[i].at);
        assert_int_equal(expire(&l, next, &next), 1);
        assert_int_equal(next, 0);
        assert_int_equal(state_of(&l), stages[i].end);
        assert_string_equal(l.u.cause, "deadline");
        assert_int_equal(the_device(&l.d, l.dev).failures, 1);
        domain_done(&l.d);
    }
}

static void expiry_comes_in_slices(void **state UNUSED)
{
    struct life l;
    int64_t next;
    char key[16];

    life_init(&l);
    for (int i = 0; i < 9; i++) {
        snprintf(key, sizeof(key), "more%d", i);
        int64_t dev = domain_device(&l.d, key);
        report(&l.d, dev, "1.0", T0);
        check(&l.d, dev, T0, NULL);
    }
    assert_int_equal(update_expire(l.d.w, l.d.catalog, T0 + DAY, 7, &next), 7);
    assert_int_equal(next, T0 + DAY);
    assert_int_equal(update_expire(l.d.w, l.d.catalog, T0 + DAY, 7, &next), 3);
    assert_int_equal(next, 0);
    domain_done(&l.d);
}

static void an_operators_cancel_lasts_a_day(void **state UNUSED)
{
    struct life l;
    struct decision dn;

    life_init(&l);
    MUST(update_cancel(l.d.w, l.u.id, "operator", "stop", T0 + 1, NULL));
    assert_int_equal(state_of(&l), UPDATE_CANCELED);
    assert_int_equal(check(&l.d, l.dev, T0 + 2, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_ATTEMPTS_EXHAUSTED);
    assert_int_not_equal(check(&l.d, l.dev, T0 + DAY + 1, &dn).id, 0);
    assert_history(&l, BEGUN "offered>canceled operator|");
    domain_done(&l.d);
}

static int count_rows(void *arg, const struct update *u)
{
    int64_t *last = arg;

    assert_true(*last == 0 || u->id < *last); /* newest first */
    *last = u->id;
    return 0;
}

static void lists_filter(void **state UNUSED)
{
    struct life l;
    char key[16];
    int64_t last;

    life_init(&l);
    for (int i = 0; i < 5; i++) {
        snprintf(key, sizeof(key), "more%d", i);
        int64_t dev = domain_device(&l.d, key);
        report(&l.d, dev, "1.0", T0);
        check(&l.d, dev, T0, NULL);
    }
    MUST(moved(&l.d, l.u.id, UPDATE_REJECTED, T0));
    const struct {
        struct update_filter flt;
        int64_t n;
    } cases[] = {
        {{l.d.project, 0, 0, -1, 0}, 6},
        {{l.d.project + 1, 0, 0, -1, 0}, 0},
        {{l.d.project, l.dev, 0, -1, 0}, 1},
        {{l.d.project, l.dev, 0, -2, 0}, 0},
        {{l.d.project, 0, l.fw, -1, 0}, 6},
        {{l.d.project, 0, l.fw + 1, -1, 0}, 0},
        {{l.d.project, 0, 0, UPDATE_OFFERED, 0}, 5},
        {{l.d.project, 0, l.fw, UPDATE_REJECTED, 0}, 1},
        {{l.d.project, 0, 0, -2, 0}, 5},
        {{l.d.project, 0, l.fw, -2, 0}, 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(update_count(l.d.w, &cases[i].flt), cases[i].n);
        last = 0;
        MUST(update_list(l.d.w, &cases[i].flt, 0, 100, count_rows, &last));
        assert_int_equal(last != 0, cases[i].n != 0);
    }
    last = 0;
    MUST(update_list(l.d.w, &cases[0].flt, l.u.id + 2, 100, count_rows, &last));
    assert_int_equal(last, l.u.id);
    domain_done(&l.d);
}

int test_life(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_report_verifies),
        cmocka_unit_test(the_target_at_any_time_verifies),
        cmocka_unit_test(zero_bytes_are_suspect),
        cmocka_unit_test(after_a_kill_no_bytes_prove_nothing),
        cmocka_unit_test(an_earlier_attempts_bytes_count),
        cmocka_unit_test(the_old_version_again_is_rolled_back),
        cmocka_unit_test(beyond_the_target_is_superseded),
        cmocka_unit_test(opaque_is_superseded_by_a_later_upload),
        cmocka_unit_test(failures_are_attempts),
        cmocka_unit_test(a_release_forgets_attempts),
        cmocka_unit_test(too_many_failures_quarantine),
        cmocka_unit_test(a_refusal_is_final),
        cmocka_unit_test(late_and_illegal_words_change_nothing),
        cmocka_unit_test(late_progress_begins_no_attempt),
        cmocka_unit_test(a_planned_one_that_expires_failed_before),
        cmocka_unit_test(progress_is_kept_and_never_shrinks),
        cmocka_unit_test(every_stage_has_its_deadline),
        cmocka_unit_test(expiry_comes_in_slices),
        cmocka_unit_test(an_operators_cancel_lasts_a_day),
        cmocka_unit_test(lists_filter),
    };

    return cmocka_run_group_tests_name("life", tests, NULL, NULL);
}
