/* Consent of users: asked before anything is sent, put off, refused, lifted; at the device; and
 * what it does to places, paces, thresholds and rollbacks. */
#include "../../../src/update/update_priv.h"
#include "event.h"
#include "tests.h"

#define UNITS  12
#define APP    "'consent':{'mode':'app','postpone_max':2},'texts':{'en':{'title':'New'}}"
#define DEVICE "'consent':{'mode':'device','postpone_max':1,'postpone_s':3600}"

struct scene {
    struct domain d;
    int64_t good, bad, campaign;
    int64_t devices[UNITS];
};

static struct device device_of(struct scene *s, int i)
{
    struct device dev;

    MUST(device_by_id(s->d.w, s->devices[i], &s->d.a, &dev));
    return dev;
}

static void reports(struct scene *s, int i, const char *version, int64_t now)
{
    struct device dev = device_of(s, i);

    MUST(update_reported(s->d.w, s->d.catalog, &dev, "main", version, now, &s->d.a));
}

static void scene_init(struct scene *s, const char *definition)
{
    struct firmware fw;
    char key[16];

    domain_init(&s->d);
    clock_fake_steady_ms(T0);
    s->d.type.attempts = 1;
    domain_type_changed(&s->d);
    s->good = domain_firmware(&s->d, "1.0");
    fw = domain_firmware_of(&s->d, "2.0", 1000);
    fw.campaign_only = true;
    MUST(firmware_insert(s->d.w, &fw, NULL));
    s->bad = fw.id;
    for (int i = 0; i < UNITS; i++) {
        (void)str_fmt(key, sizeof(key), "dev%d", i);
        s->devices[i] = domain_device(&s->d, key);
        reports(s, i, "1.0", T0);
    }
    s->campaign = declare(&s->d, s->bad, s->good, definition, NULL);
    MUST(campaign_start(s->d.w, s->campaign, T0, NULL));
}

static void scene_done(struct scene *s)
{
    clock_fake_steady_ms(0);
    domain_done(&s->d);
}

static struct update asks(struct scene *s, int i, int64_t now, struct decision *ret)
{
    struct device dev = device_of(s, i);
    struct decision why;
    struct update u;
    bool repeated;

    MUST(update_check(s->d.w, s->d.catalog, &dev, "main", now, LIFETIME, &s->d.a, &u, &repeated,
                      ret ? ret : &why));
    return u;
}

static enum reason why(struct scene *s, int i, int64_t now)
{
    struct decision got;

    assert_int_equal(asks(s, i, now, &got).id, 0);
    return got.reason;
}

static int64_t offer(struct scene *s, int i, int64_t now)
{
    int64_t id = asks(s, i, now, NULL).id;

    assert_int_not_equal(id, 0);
    return id;
}

static struct consent consent(struct scene *s, int i)
{
    struct consent q = {.id = 0};
    int rc = consent_of(s->d.w, s->campaign, s->devices[i], &q);

    assert_true(rc == 0 || rc == E_NOTFOUND);
    return q;
}

/* NULL, or the code of what is refused. */
static const char *says(struct scene *s, int i, enum consent_answer answer, int64_t postpone_s,
                        int64_t now)
{
    struct consent q = consent(s, i);
    struct campaign_status st;
    struct fail f = {.rc = 0};
    const char *code = NULL;
    struct campaign c;

    MUST(campaign_by_id(s->d.w, 0, s->campaign, &s->d.a, &c, &st));
    int rc =
        consent_answer(s->d.w, &c, st.state, &q, answer, postpone_s, "token 3", now, &code, &f);
    assert_int_equal(rc, code ? E_CONFLICT : 0);
    assert_true(!code || strlen(f.text) > 10);
    return code;
}

static const char *lift(struct scene *s, int i, int64_t now)
{
    struct consent q = consent(s, i);
    struct campaign_status st;
    const char *code = NULL;
    struct campaign c;

    MUST(campaign_by_id(s->d.w, 0, s->campaign, &s->d.a, &c, &st));
    int rc = consent_lift(s->d.w, &c, st.state, &q, "token 4", now, &code, NULL);
    assert_int_equal(rc, code ? E_CONFLICT : 0);
    return code;
}

static int said(struct scene *s, int i, int64_t id, enum update_state to, int64_t now)
{
    struct device dev = device_of(s, i);

    return update_moved(s->d.w, s->d.catalog, &dev, id, to, -1, "so", now, &s->d.a);
}

static struct update update(struct scene *s, int64_t id)
{
    struct update u;

    MUST(update_by_id(s->d.w, id, &s->d.a, &u));
    return u;
}

static void fetched(struct scene *s, int64_t id, uint64_t bytes, int64_t now)
{
    MUST(update_served(s->d.w, s->d.catalog, id, 1, 0, bytes, bytes, true, now, &s->d.a));
}

static void goes_well(struct scene *s, int i, int64_t now)
{
    fetched(s, offer(s, i, now), 1000, now);
    reports(s, i, "2.0", now);
}

static int add_count(void *arg, int phase, const char *state, int64_t n)
{
    sbuf_fmt(arg, "%d %s %d|", phase, state, (int)n);
    return 0;
}

static void assert_counts(struct scene *s, const char *expected)
{
    struct sbuf b = {.p = NULL};

    MUST(campaign_counts(s->d.w, s->campaign, add_count, &b));
    assert_string_equal(b.p ? b.p : "", expected);
    sbuf_done(&b);
}

/* Its updates, by the counters; -1 = in any state, -2 = that have not ended. */
static int64_t updates(struct scene *s, int state)
{
    const struct update_filter flt = {
        .project_id = s->d.project, .state = state, .campaign_id = s->campaign};

    return update_count(s->d.w, &flt);
}

static int add_told(void *arg, const struct event_row *r)
{
    enum json_fault fault;

    if (strncmp(r->event.type, "consent.", 8) != 0)
        return 0;
    AUTO(json_free) json_t *j = json_parse(r->text, strlen(r->text), 65536, 8, &fault, NULL);
    const json_t *data = json_object_get(j, "data");

    sbuf_fmt(arg, "%s %s %s|", r->event.type + 8, json_get_str(data, "device", ""),
             json_get_str(data, "by", ""));
    return 0;
}

static void assert_told(struct scene *s, const char *expected)
{
    struct sbuf b = {.p = NULL};

    MUST(event_list(s->d.w, 0, 1000, add_told, &b));
    assert_string_equal(b.p ? b.p : "", expected);
    sbuf_done(&b);
}

static int add_history(void *arg, const struct update_event *e)
{
    sbuf_fmt(arg, "%s: %s|", e->to_state, e->text);
    return 0;
}

static void assert_history_has(struct scene *s, int64_t id, const char *words)
{
    struct sbuf b = {.p = NULL};

    MUST(update_history(s->d.w, id, add_history, &b));
    if (!strstr(b.p, words))
        fail_msg("%s", b.p);
    sbuf_done(&b);
}

static int add_moves(void *arg, int64_t at UNUSED, const char *state, const char *who,
                     const char *text UNUSED)
{
    sbuf_fmt(arg, "%s %s|", state, who);
    return 0;
}

static void assert_moves(struct scene *s, int i, const char *expected)
{
    struct sbuf b = {.p = NULL};

    MUST(consent_history(s->d.w, consent(s, i).id, add_moves, &b));
    assert_string_equal(b.p ? b.p : "", expected);
    sbuf_done(&b);
}

/* ---- by an application ---- */
static void nothing_is_sent_before_a_yes(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP "}");
    assert_int_equal(why(&s, 0, T0), REASON_AWAITING_CONSENT);
    assert_int_equal(why(&s, 0, T0 + 1), REASON_AWAITING_CONSENT);
    assert_int_equal(consent(&s, 0).state, CONSENT_ASKED);
    assert_int_equal(consent(&s, 1).id, 0); /* it was never looked at */
    assert_counts(&s, "1 awaiting_consent 1|");
    assert_int_equal(status_of(&s.d, s.campaign).active, 0);
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0 + 2));
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0 + 3)); /* once more is the same */
    assert_counts(&s, "1 consent_confirmed 1|");
    assert_int_equal(updates(&s, -1), 0); /* a question is no update */
    assert_true(consent(&s, 0).push && consent(&s, 0).due_at == T0 + 2);
    int64_t id = offer(&s, 0, T0 + 4);
    assert_counts(&s, "1 offered 1|");
    assert_true(consent(&s, 0).offered && !consent(&s, 0).push);
    assert_history_has(&s, id, "confirmed by token 3");
    assert_string_equal(says(&s, 0, CONSENT_REFUSE, 0, T0 + 5), "already_offered");
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0 + 5));
    assert_told(&s, "asked dev0 |confirmed dev0 token 3|");
    assert_moves(&s, 0, "asked |confirmed token 3|");
    assert_int_equal(offer(&s, 0, T0 + 6), id);
    scene_done(&s);
}

static void it_is_put_off_so_often(void **state UNUSED)
{
    struct decision got;
    struct scene s;

    scene_init(&s, "{" APP "}");
    assert_int_equal(why(&s, 0, T0), REASON_AWAITING_CONSENT);
    assert_null(says(&s, 0, CONSENT_POSTPONE, 0, T0));
    assert_int_equal(consent(&s, 0).until, T0 + DAY);
    assert_null(says(&s, 0, CONSENT_POSTPONE, 60, T0 + 1)); /* it is put off: that is no second */
    assert_int_equal(consent(&s, 0).postponed, 1);
    assert_int_equal(asks(&s, 0, T0 + 2, &got).id, 0);
    assert_int_equal(got.reason, REASON_AWAITING_CONSENT);
    assert_int_equal(got.retry_at, T0 + DAY);
    assert_null(says(&s, 0, CONSENT_POSTPONE, 60, T0 + DAY));
    assert_int_equal(consent(&s, 0).until, T0 + DAY + MIN);
    assert_string_equal(says(&s, 0, CONSENT_POSTPONE, 0, T0 + 2 * DAY), "postponements_used_up");
    assert_int_equal(why(&s, 0, T0 + 2 * DAY), REASON_AWAITING_CONSENT); /* silence is no yes */
    assert_counts(&s, "1 awaiting_consent 1|");
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0 + 2 * DAY));
    (void)offer(&s, 0, T0 + 2 * DAY);
    scene_done(&s);
}

static void a_no_is_a_no(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP "}");
    assert_int_equal(why(&s, 0, T0), REASON_AWAITING_CONSENT);
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0));
    assert_null(says(&s, 0, CONSENT_REFUSE, 0, T0)); /* before the offer a mind may change */
    assert_null(says(&s, 0, CONSENT_REFUSE, 0, T0));
    assert_int_equal(why(&s, 0, T0), REASON_CONSENT_REFUSED);
    assert_string_equal(says(&s, 0, CONSENT_CONFIRM, 0, T0), "consent_refused");
    assert_counts(&s, "1 consent_refused 1|");
    assert_int_equal(why(&s, 0, T0 + 30 * DAY), REASON_CONSENT_REFUSED);
    assert_null(lift(&s, 0, T0 + 30 * DAY));
    assert_string_equal(lift(&s, 0, T0 + 30 * DAY), "not_refused");
    assert_counts(&s, "1 awaiting_consent 1|");
    assert_int_equal(why(&s, 0, T0 + 30 * DAY), REASON_AWAITING_CONSENT);
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0 + 30 * DAY));
    (void)offer(&s, 0, T0 + 30 * DAY);
    assert_moves(&s, 0,
                 "asked |confirmed token 3|refused token 3|asked token 4|confirmed token 3|");
    scene_done(&s);
}

static void answers_need_an_open_campaign(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP "}");
    for (int i = 0; i < 3; i++)
        assert_int_equal(why(&s, i, T0), REASON_AWAITING_CONSENT);
    MUST(campaign_pause(s.d.w, s.campaign, T0, NULL));
    assert_int_equal(why(&s, 3, T0), REASON_CAMPAIGN_PAUSED); /* nobody is asked */
    assert_int_equal(consent(&s, 3).id, 0);
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0));
    assert_int_equal(why(&s, 0, T0), REASON_CAMPAIGN_PAUSED);
    MUST(campaign_resume(s.d.w, s.campaign, T0, NULL));
    (void)offer(&s, 0, T0);
    assert_null(says(&s, 1, CONSENT_REFUSE, 0, T0));
    MUST(campaign_abort(s.d.w, s.campaign, false, T0, NULL));
    assert_string_equal(says(&s, 1, CONSENT_CONFIRM, 0, T0), "campaign_ended");
    assert_string_equal(says(&s, 2, CONSENT_CONFIRM, 0, T0), "campaign_ended");
    assert_string_equal(lift(&s, 1, T0), "campaign_ended");
    assert_int_equal(why(&s, 2, T0), REASON_CAMPAIGN_ENDED);
    scene_done(&s);
}

/* Who waits for a user takes nobody's turn; a yes waits for the pace and the window. */
static void who_waits_is_not_under_way(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP ",'pacing':{'offers_per_minute':1,'in_progress':1}}");
    for (int i = 0; i < 5; i++)
        assert_int_equal(why(&s, i, T0), REASON_AWAITING_CONSENT);
    assert_int_equal(status_of(&s.d, s.campaign).active, 0);
    for (int i = 0; i < 2; i++)
        assert_null(says(&s, i, CONSENT_CONFIRM, 0, T0));
    (void)offer(&s, 0, T0);
    assert_int_equal(why(&s, 1, T0), REASON_PACED);
    assert_int_equal(why(&s, 6, T0), REASON_AWAITING_CONSENT); /* asking is not paced */
    assert_int_equal(consent(&s, 6).state, CONSENT_ASKED);
    scene_done(&s);
    scene_init(&s,
               "{" APP ",'windows':{'timezone':'UTC','slots':[{'from':'01:00','to':'02:00'}]}}");
    int64_t noon = T0 / DAY * DAY + DAY / 2;
    assert_int_equal(why(&s, 0, noon), REASON_AWAITING_CONSENT); /* by day it is asked */
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, noon));
    assert_int_equal(why(&s, 0, noon), REASON_WINDOW_CLOSED);
    (void)offer(&s, 0, noon + 13 * HOUR);
    scene_done(&s);
}

static void who_is_asked_has_a_place(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP ",'phases':[{'count':2,'min_sample':2},{'percent':100}]}");
    assert_int_equal(why(&s, 0, T0), REASON_AWAITING_CONSENT);
    assert_int_equal(why(&s, 1, T0), REASON_AWAITING_CONSENT);
    assert_int_equal(why(&s, 2, T0), REASON_PHASE_NOT_OPEN); /* nobody is asked in vain */
    assert_int_equal(why(&s, 0, T0), REASON_AWAITING_CONSENT);
    assert_null(says(&s, 1, CONSENT_REFUSE, 0, T0)); /* the place is free again */
    assert_int_equal(why(&s, 2, T0), REASON_AWAITING_CONSENT);
    assert_int_equal(why(&s, 3, T0), REASON_PHASE_NOT_OPEN);
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0));
    assert_null(says(&s, 2, CONSENT_CONFIRM, 0, T0));
    goes_well(&s, 0, T0);
    assert_int_equal(why(&s, 3, T0), REASON_PHASE_NOT_OPEN);
    goes_well(&s, 2, T0);
    assert_int_equal(status_of(&s.d, s.campaign).phase, 2);
    assert_int_equal(why(&s, 3, T0), REASON_AWAITING_CONSENT);
    scene_done(&s);
}

/* A no counts for the threshold of that name alone: neither for the gate nor for what failed. */
static void a_no_says_nothing_of_the_firmware(void **state UNUSED)
{
    struct scene s;

    scene_init(&s,
               "{" APP ",'phases':[{'percent':99.99,'min_sample':1},{'percent':100}],'thresholds':{"
               "'failed':{'percent':90,'min_sample':2,'action':'abort'},"
               "'rejected':{'percent':60,'min_sample':3,'action':'pause'}}}");
    for (int i = 0; i < 8; i++)
        assert_int_equal(why(&s, i, T0), REASON_AWAITING_CONSENT);
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0));
    assert_null(says(&s, 1, CONSENT_REFUSE, 0, T0));
    goes_well(&s, 0, T0);
    assert_int_equal(status_of(&s.d, s.campaign).phase, 2); /* one of one is verified */
    assert_null(says(&s, 2, CONSENT_REFUSE, 0, T0));        /* two of three said no */
    assert_int_equal(status_of(&s.d, s.campaign).state, CAMPAIGN_PAUSED);
    assert_string_equal(status_of(&s.d, s.campaign).reason, "threshold_rejected");
    MUST(campaign_resume(s.d.w, s.campaign, T0, NULL));
    assert_null(says(&s, 3, CONSENT_REFUSE, 0, T0));
    for (int i = 5; i < 7; i++) {
        assert_null(says(&s, i, CONSENT_CONFIRM, 0, T0));
        MUST(said(&s, i, offer(&s, i, T0), UPDATE_FAILED, T0));
    }
    assert_int_equal(status_of(&s.d, s.campaign).state, CAMPAIGN_ABORTED);
    scene_done(&s);
}

static void a_rollback_asks_nobody(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP "}");
    for (int i = 0; i < 3; i++)
        assert_int_equal(why(&s, i, T0), REASON_AWAITING_CONSENT);
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0));
    goes_well(&s, 0, T0);
    MUST(campaign_abort(s.d.w, s.campaign, true, T0, NULL));
    struct update back = asks(&s, 0, T0 + 1, NULL);
    assert_int_equal(back.firmware_id, s.good);
    assert_int_equal(back.phase, CAMPAIGN_ROLLBACK);
    assert_int_equal(why(&s, 1, T0), REASON_CAMPAIGN_ENDED);
    scene_done(&s);
}

static void one_question_at_a_time(void **state UNUSED)
{
    struct consent none;
    struct scene s;

    scene_init(&s, "{" APP "}");
    struct firmware fw = domain_firmware_of(&s.d, "3.0", 1000);
    fw.campaign_only = true;
    MUST(firmware_insert(s.d.w, &fw, NULL));
    int64_t below = s.campaign;
    s.campaign = declare(&s.d, fw.id, 0, "{" APP "}", NULL);
    MUST(campaign_start(s.d.w, s.campaign, T0, NULL));
    assert_int_equal(why(&s, 0, T0), REASON_AWAITING_CONSENT);
    assert_int_equal(why(&s, 0, T0), REASON_AWAITING_CONSENT);
    assert_int_equal(consent_of(s.d.w, below, s.devices[0], &none), E_NOTFOUND);
    assert_null(says(&s, 0, CONSENT_REFUSE, 0, T0)); /* then for the one below */
    assert_int_equal(why(&s, 0, T0), REASON_CONSENT_REFUSED);
    assert_int_equal(consent_of(s.d.w, below, s.devices[0], &none), 0);
    s.campaign = below;
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0));
    assert_int_equal(update(&s, offer(&s, 0, T0)).firmware_id, s.bad);
    scene_done(&s);
}

static void deleted_devices_give_places_back(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP ",'phases':[{'count':3},{'percent':100}]}");
    for (int i = 0; i < 3; i++)
        assert_int_equal(why(&s, i, T0), REASON_AWAITING_CONSENT);
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0));
    assert_int_equal(why(&s, 3, T0), REASON_PHASE_NOT_OPEN);
    for (int i = 0; i < 3; i++)
        MUST(device_delete(s.d.w, s.devices[i], NULL));
    assert_counts(&s, "");
    for (int i = 3; i < 6; i++)
        assert_int_equal(why(&s, i, T0), REASON_AWAITING_CONSENT);
    scene_done(&s);
}

/* ---- at the device ---- */
static void the_device_asks(void **state UNUSED)
{
    struct decision got;
    struct scene s;

    scene_init(&s, "{" DEVICE ",'pacing':{'in_progress':1}}");
    int64_t id = offer(&s, 0, T0);
    assert_int_equal(consent(&s, 0).id, 0);
    assert_int_equal(why(&s, 1, T0), REASON_PACED);
    MUST(said(&s, 0, id, UPDATE_ACCEPTED, T0)); /* it has arrived; its user says later */
    MUST(said(&s, 0, id, UPDATE_DEFERRED, T0));
    MUST(said(&s, 0, id, UPDATE_DEFERRED, T0 + 1)); /* the same word again */
    assert_int_equal(consent(&s, 0).postponed, 1);
    assert_int_equal(asks(&s, 0, T0 + 1, &got).id, 0);
    assert_int_equal(got.reason, REASON_AWAITING_CONSENT);
    assert_int_equal(got.retry_at, T0 + HOUR);
    assert_int_equal(update(&s, id).deadline_at,
                     T0 + HOUR + device_type_defaults.accept_timeout_s * 1000);
    assert_int_equal(status_of(&s.d, s.campaign).active, 0);
    assert_int_equal(updates(&s, -2), 1);
    int64_t other = offer(&s, 1, T0 + 1); /* its turn is another's meanwhile */
    assert_int_equal(why(&s, 0, T0 + HOUR), REASON_PACED);
    MUST(said(&s, 1, other, UPDATE_REJECTED, T0 + 1));
    assert_int_equal(offer(&s, 0, T0 + HOUR), id);
    MUST(said(&s, 0, id, UPDATE_ACCEPTED, T0 + HOUR));
    assert_int_equal(consent(&s, 0).state, CONSENT_CONFIRMED);
    assert_int_equal(status_of(&s.d, s.campaign).active, 1);
    assert_moves(&s, 0, "postponed device|confirmed device|");
    assert_string_equal(says(&s, 0, CONSENT_REFUSE, 0, T0 + HOUR), "answered_at_device");
    scene_done(&s);
}

static void later_too_often_is_a_no(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" DEVICE ",'thresholds':{'rejected':{'percent':50,'min_sample':1,'action':"
                   "'pause'}}}");
    int64_t id = offer(&s, 0, T0);
    MUST(said(&s, 0, id, UPDATE_DEFERRED, T0));
    MUST(said(&s, 0, id, UPDATE_DEFERRED, T0 + HOUR));
    assert_int_equal(update(&s, id).state, UPDATE_REJECTED);
    assert_history_has(&s, id, "postponed 1 times, so this is a no");
    assert_int_equal(status_of(&s.d, s.campaign).state, CAMPAIGN_PAUSED);
    MUST(campaign_resume(s.d.w, s.campaign, T0, NULL));
    assert_int_equal(why(&s, 0, T0 + 9 * DAY), REASON_CONSENT_REFUSED);
    assert_counts(&s, "1 rejected 1|");
    assert_null(lift(&s, 0, T0 + HOUR));
    (void)offer(&s, 0, T0 + HOUR); /* a no was no failed attempt, of which there is one */
    scene_done(&s);
}

static void bytes_without_a_word_are_a_yes(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" DEVICE "}");
    int64_t id = offer(&s, 0, T0), late = offer(&s, 1, T0), whole = offer(&s, 2, T0);
    fetched(&s, id, 10, T0);
    assert_history_has(&s, id, "without a word of its user, which counts as consent");
    assert_int_equal(consent(&s, 0).id, 0);
    MUST(said(&s, 1, late, UPDATE_DEFERRED, T0));
    fetched(&s, late, 10, T0 + 1);
    assert_int_equal(consent(&s, 1).state, CONSENT_CONFIRMED);
    assert_history_has(&s, late, "counts as consent");
    assert_int_equal(said(&s, 1, late, UPDATE_DEFERRED, T0 + 2), E_CONFLICT); /* too late */
    assert_int_equal(update(&s, late).state, UPDATE_DOWNLOADING);
    fetched(&s, whole, 1000, T0);
    assert_int_equal(update(&s, whole).state, UPDATE_DOWNLOADED);
    assert_history_has(&s, whole, "counts as consent");
    int64_t told = offer(&s, 3, T0);
    MUST(said(&s, 3, told, UPDATE_DOWNLOADING, T0));
    assert_history_has(&s, told, "counts as consent");
    scene_done(&s);
}

/* ---- declarations and languages ---- */
static void what_is_wrong_is_refused(void **state UNUSED)
{
    is_refused("{'consent':{}}", "/consent/mode");
    is_refused("{'consent':{'mode':'maybe'}}", "/consent/mode");
    is_refused("{'consent':{'mode':'app','postpone_max':101}}", "/consent/postpone_max");
    is_refused("{'consent':{'mode':'app','postpone_s':59}}", "/consent/postpone_s");
    is_refused("{'consent':{'mode':'app','language_attribute':''}}", "/consent/language_attribute");
    is_refused("{'consent':{'mode':'app','max':1}}", "/consent/max");
    is_refused("{'texts':{'e':{'title':'x'}}}", "/texts/e");
    is_refused("{'texts':{'en_US':{'title':'x'}}}", "/texts/en_US");
    is_refused("{'texts':{'en-':{'title':'x'}}}", "/texts/en-");
    is_refused("{'texts':{'1en':{'title':'x'}}}", "/texts/1en");
    is_refused("{'texts':{'en':{'title':'x'},'EN':{'title':'y'}}}", "/texts/en");
    is_refused("{'texts':{'en':{}}}", "/texts/en/title");
    is_refused("{'texts':{'en':{'title':''}}}", "/texts/en/title");
    is_refused("{'texts':{'en':'x'}}", "/texts/en");
    is_refused("{'texts':{'en':{'title':'x','body':'y'}}}", "/texts/en/body");
}

static const char *language(const struct campaign *c, const char *accept, const char *own)
{
    const struct campaign_text *t = campaign_text_for(c, accept, own);

    return t ? t->language : "none";
}

static void the_user_reads_it(void **state UNUSED)
{
    struct campaign_text texts[] = {
        {"de", "d", ""}, {"zh-CN", "c", ""}, {"zh-Hant", "t", ""}, {"en", "e", ""}};
    struct campaign c = {.texts = texts, .n_texts = 4};

    assert_string_equal(language(&c, NULL, NULL), "en");
    assert_string_equal(language(&c, "de", NULL), "de");
    assert_string_equal(language(&c, "DE-AT, en;q=0.9", NULL), "de");
    assert_string_equal(language(&c, "en;q=0.3, de;q=0.35, zh-cn;q=0.2", NULL), "de");
    assert_string_equal(language(&c, "en ; q = 0.3 , zh-CN ; q=0.31", NULL), "zh-CN");
    assert_string_equal(language(&c, "zh", NULL), "zh-CN");
    assert_string_equal(language(&c, "zh-Hant-TW", NULL), "zh-Hant");
    assert_string_equal(language(&c, "de;q=0, zh;q=0.1", NULL), "zh-CN");
    assert_string_equal(language(&c, "fr, it", "zh_CN.UTF-8"), "zh-CN");
    assert_string_equal(language(&c, "*", "de"), "de");
    assert_string_equal(language(&c, "fr", "fr"), "en");
    assert_string_equal(language(&c, ";;,=,q=1,de;q=x", "?"), "en");
    assert_string_equal(language(&c, "", ""), "en");
    c.n_texts = 2; /* no English */
    assert_string_equal(language(&c, "fr", NULL), "de");
    c.n_texts = 0;
    assert_string_equal(language(&c, "fr", NULL), "none");
}

/* A lifted refusal begins anew, with all the postponements that are allowed. */
static void a_lifted_refusal_may_be_put_off_again(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP "}");
    assert_int_equal(why(&s, 0, T0), REASON_AWAITING_CONSENT);
    for (int i = 0; i < 2; i++)
        assert_null(says(&s, 0, CONSENT_POSTPONE, 3600, T0 + i * DAY));
    assert_string_equal(says(&s, 0, CONSENT_POSTPONE, 3600, T0 + 2 * DAY), "postponements_used_up");
    assert_null(says(&s, 0, CONSENT_REFUSE, 0, T0 + 2 * DAY));
    assert_null(lift(&s, 0, T0 + 2 * DAY));
    for (int i = 3; i < 5; i++)
        assert_null(says(&s, 0, CONSENT_POSTPONE, 3600, T0 + i * DAY));
    assert_non_null(says(&s, 0, CONSENT_POSTPONE, 3600, T0 + 5 * DAY));
    scene_done(&s);
}

/* A dry run asks nobody, and says who has yet to be asked. */
static void a_dry_run_knows_of_users(void **state UNUSED)
{
    static const enum reason expected[] = {REASON_AWAITING_CONSENT, REASON_CONSENT_REFUSED,
                                           REASON_ELIGIBLE};
    struct campaign_status st;
    struct campaign c;
    struct scene s;
    int phase;

    scene_init(&s, "{" APP "}");
    for (int i = 1; i < 3; i++) {
        assert_int_equal(why(&s, i, T0), REASON_AWAITING_CONSENT);
        assert_null(says(&s, i, i == 1 ? CONSENT_REFUSE : CONSENT_CONFIRM, 0, T0));
    }
    MUST(campaign_by_id(s.d.w, 0, s.campaign, &s.d.a, &c, &st));
    struct update_dry x = {.db = s.d.w, .catalog = s.d.catalog, .campaign = &c, .now = T0};
    MUST(update_dry_begin(&x));
    for (int i = 0; i < 3; i++) {
        struct device dev = device_of(&s, i);
        enum reason said;

        MUST(update_dry_device(&x, &dev, &s.d.a, &said, &phase));
        assert_int_equal(said, expected[i]);
    }
    assert_int_equal(consent(&s, 0).state, CONSENT_NONE);
    scene_done(&s);
}

/* Users who say yes spread the offers themselves: none of them waits for its turn. */
static void after_a_yes_nobody_waits_for_a_turn(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP ",'pacing':{'jitter_s':86400}}");
    for (int i = 0; i < UNITS; i++) {
        assert_int_equal(why(&s, i, T0), REASON_AWAITING_CONSENT);
        assert_null(says(&s, i, CONSENT_CONFIRM, 0, T0));
        (void)offer(&s, i, T0);
    }
    scene_done(&s);
}

/* Who could not have it after a yes is not asked: here its attempts are used up, for a day. */
static void nobody_is_asked_in_vain(void **state UNUSED)
{
    struct scene s;

    scene_init(&s, "{" APP "}");
    assert_int_equal(why(&s, 0, T0), REASON_AWAITING_CONSENT);
    assert_null(says(&s, 0, CONSENT_CONFIRM, 0, T0));
    int64_t id = offer(&s, 0, T0);
    struct device dev = device_of(&s, 0);
    MUST(update_moved(s.d.w, s.d.catalog, &dev, id, UPDATE_FAILED, -1, "no", T0, &s.d.a));
    MUST(campaign_abort(s.d.w, s.campaign, false, T0, NULL));
    s.campaign = declare(&s.d, s.bad, 0, "{" APP "}", NULL);
    MUST(campaign_start(s.d.w, s.campaign, T0, NULL));
    assert_int_equal(why(&s, 0, T0 + HOUR), REASON_AWAITING_CONSENT);
    assert_int_equal(consent(&s, 0).state, CONSENT_NONE);
    assert_int_equal(why(&s, 1, T0 + HOUR), REASON_AWAITING_CONSENT);
    assert_int_equal(consent(&s, 1).state, CONSENT_ASKED);
    assert_int_equal(why(&s, 0, T0 + 2 * DAY), REASON_AWAITING_CONSENT);
    assert_int_equal(consent(&s, 0).state, CONSENT_ASKED);
    scene_done(&s);
}

int test_consent(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_sent_before_a_yes),
        cmocka_unit_test(it_is_put_off_so_often),
        cmocka_unit_test(a_no_is_a_no),
        cmocka_unit_test(answers_need_an_open_campaign),
        cmocka_unit_test(who_waits_is_not_under_way),
        cmocka_unit_test(who_is_asked_has_a_place),
        cmocka_unit_test(a_no_says_nothing_of_the_firmware),
        cmocka_unit_test(a_rollback_asks_nobody),
        cmocka_unit_test(one_question_at_a_time),
        cmocka_unit_test(deleted_devices_give_places_back),
        cmocka_unit_test(the_device_asks),
        cmocka_unit_test(later_too_often_is_a_no),
        cmocka_unit_test(bytes_without_a_word_are_a_yes),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(the_user_reads_it),
        cmocka_unit_test(a_lifted_refusal_may_be_put_off_again),
        cmocka_unit_test(a_dry_run_knows_of_users),
        cmocka_unit_test(after_a_yes_nobody_waits_for_a_turn),
        cmocka_unit_test(nobody_is_asked_in_vain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
