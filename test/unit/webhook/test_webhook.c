/* Webhooks: signatures as others check them, where messages may go, and what ends do to rows. */
#include "catalog.h"
#include "db_fixture.h"
#include "event.h"
#include "json.h"
#include "webhook.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- pure ---- */
static void signs_as_the_specification_says(void **state)
{
    static const char secret[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    static const char want[] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    static const char id[] = "msg_p5jXN8AQM9LWM0D4loKWxJek", body[] = "{\"test\": 2432232314}";
    char got[WEBHOOK_SIGNATURE_MAX], fresh[WEBHOOK_SECRET_MAX];

    (void)state;
    webhook_sign(secret, NULL, id, 1614265330, body, strlen(body), got);
    assert_string_equal(got, want);
    webhook_secret_new(fresh);
    assert_true(webhook_secret_ok(fresh));
    webhook_sign(fresh, secret, id, 1614265330, body, strlen(body), got);
    assert_memory_equal(got, "v1,", 3);
    assert_string_equal(strchr(got, ' ') + 1, want); /* the one before it signs as well */
    static const char *const bad[] = {"",
                                      "whsec_",
                                      "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                                      "whsec_c2hvcnQ=",
                                      "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa!!",
                                      "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (webhook_secret_ok(bad[i]))
            fail_msg("%s is no secret", bad[i]);
}

static bool is_public(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return webhook_address_is_public(&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return webhook_address_is_public(&v6);
}

static void private_addresses_are_known(void **state)
{
    static const char *const inside[] = {"0.0.0.0",
                                         "0.1.2.3",
                                         "10.0.0.1",
                                         "100.64.0.1",
                                         "100.127.255.255",
                                         "127.0.0.1",
                                         "127.255.255.255",
                                         "169.254.169.254",
                                         "172.16.0.1",
                                         "172.31.255.255",
                                         "192.0.0.8",
                                         "192.0.2.1",
                                         "192.168.1.1",
                                         "198.18.0.1",
                                         "198.19.255.255",
                                         "198.51.100.7",
                                         "203.0.113.9",
                                         "224.0.0.1",
                                         "239.1.1.1",
                                         "240.0.0.1",
                                         "255.255.255.255",
                                         "::",
                                         "::1",
                                         "fe80::1",
                                         "fc00::1",
                                         "fd12:3456::1",
                                         "ff02::1",
                                         "::ffff:127.0.0.1",
                                         "::ffff:10.0.0.1",
                                         "::127.0.0.1",
                                         "64:ff9b::7f00:1",
                                         "2002:7f00:1::1",
                                         "2001::1",
                                         "2001:db8::1",
                                         "fec0::1",
                                         "3fff::1"};
    static const char *const outside[] = {
        "1.1.1.1",         "8.8.8.8",         "11.0.0.1",      "100.63.255.255",  "100.128.0.1",
        "126.255.255.255", "128.0.0.1",       "169.253.0.1",   "172.15.0.1",      "172.32.0.1",
        "192.169.0.1",     "198.17.0.1",      "198.20.0.1",    "223.255.255.255", "2606:4700::1111",
        "2a00:1450::1",    "2001:4860::8888", "::ffff:8.8.8.8"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(inside); i++)
        if (is_public(inside[i]))
            fail_msg("%s is not public", inside[i]);
    for (size_t i = 0; i < ARRAY_LEN(outside); i++)
        if (!is_public(outside[i]))
            fail_msg("%s is public", outside[i]);
}

static void urls_and_waiting_times(void **state)
{
    struct fail f = {0};
    static const char *const bad[] = {"",
                                      "x",
                                      "example.com/x",
                                      "ftp://example.com/x",
                                      "file:///etc/passwd",
                                      "http://example.com/",
                                      "https://",
                                      "https://u:p@example.com/",
                                      "https://u@example.com",
                                      "https://example.com/#a",
                                      "https://example.com:99999/"};

    (void)state;
    assert_int_equal(webhook_url_check("https://example.com:8443/a/b?c=d", false, &f), 0);
    assert_int_equal(webhook_url_check("http://127.0.0.1:1/x", true, &f), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (webhook_url_check(bad[i], false, &f) != E_PROTO || !f.text[0])
            fail_msg("%s was taken", bad[i]);
    assert_int_equal(webhook_backoff_ms(1), 5000);
    assert_int_equal(webhook_backoff_ms(2), 300000);
    assert_int_equal(webhook_backoff_ms(9), 86400000);
    assert_int_equal(webhook_backoff_ms(10), 0);
    for (int i = 1; i < 9; i++)
        assert_true(webhook_backoff_ms(i) < webhook_backoff_ms(i + 1));
}

/* ---- rows ---- */
struct world {
    struct db_fixture fx;
    struct webhook h;
    int64_t delivery;
    struct arena a;
};

static int setup(void **state)
{
    struct world *x = xcalloc(1, sizeof(*x));
    struct fail f = {0};

    db_fixture_init(&x->fx);
    arena_init(&x->a);
    assert_int_equal(db_begin(x->fx.w), 0);
    assert_int_equal(catalog_install(x->fx.w, 1, &f), 0);
    x->h = (struct webhook){.project_id = 1,
                            .name = "n",
                            .url = "https://example.com",
                            .types = "device.*",
                            .enabled = true,
                            .secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                            .created_at = 1};
    assert_int_equal(
        event_add(x->fx.w, &(struct event){.at = 1, .project_id = 1, .type = "device.created"}), 0);
    assert_int_equal(webhook_insert(x->fx.w, &x->h, &f), 0);
    assert_int_equal(db_commit(x->fx.w), 0);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct world *x = *state;
    db_fixture_done(&x->fx);
    arena_done(&x->a);
    free(x);
    return 0;
}

static void add(struct world *x, int64_t project, const char *type)
{
    assert_int_equal(
        event_add(x->fx.w, &(struct event){.at = 1, .project_id = project, .type = type}), 0);
}

struct seen {
    struct world *x;
    int n, pending, delivered, failed;
    int64_t next_at;
    char error[200];
};

static int see(void *arg, const struct webhook_delivery *d)
{
    struct seen *s = arg;
    if (s->n++ == 0) {
        s->x->delivery = d->id;
        s->next_at = d->next_at;
        (void)str_copy(s->error, sizeof(s->error), d->error);
    }
    s->pending += strcmp(d->state, "pending") == 0;
    s->delivered += strcmp(d->state, "delivered") == 0;
    s->failed += strcmp(d->state, "failed") == 0;
    return 0;
}

static struct seen look(struct world *x)
{
    struct seen s = {.x = x};
    assert_int_equal(webhook_deliveries(x->fx.w, x->h.id, NULL, 0, 5000, see, &s), 0);
    arena_reset(&x->a);
    assert_int_equal(webhook_by_id(x->fx.w, 0, x->h.id, &x->a, &x->h), 0);
    return s;
}

static void end(struct world *x, int64_t status, int64_t at)
{
    struct webhook_result r = {
        .webhook_id = x->h.id, .delivery_id = x->delivery, .at = at, .status = status};
    (void)str_copy(r.error, sizeof(r.error), status / 100 == 2 ? "" : "no");
    assert_int_equal(webhook_tried(x->fx.w, &r), 0);
}

static void each_event_that_matches_is_one_delivery(void **state)
{
    struct world *x = *state;

    assert_int_equal(db_begin(x->fx.w), 0);
    assert_int_equal(webhook_fan_out(x->fx.w, 100, 5), 0);
    assert_int_equal(look(x).n, 0); /* what was before it is not told */
    add(x, 1, "device.created");
    add(x, 1, "firmware.created");
    add(x, 2, "device.created");
    add(x, 1, "device.deleted");
    assert_int_equal(webhook_fan_out(x->fx.w, 100, 5), 0);
    assert_int_equal(webhook_fan_out(x->fx.w, 100, 5), 0);
    assert_int_equal(look(x).n, 2);
    for (int i = 0; i < 1500; i++)
        add(x, 1, "device.changed");
    int more = 1;
    for (int i = 0; i < 20 && more == 1; i++)
        more = webhook_fan_out(x->fx.w, 100, 5);
    assert_int_equal(more, 0);
    assert_true(look(x).pending >= 1000 && look(x).pending < 1100); /* the rest waits */
    assert_int_equal(db_commit(x->fx.w), 0);
}

static void a_failure_is_tried_again_for_days(void **state)
{
    struct world *x = *state;
    int64_t now = 1000000, since;

    assert_int_equal(db_begin(x->fx.w), 0);
    add(x, 1, "device.created");
    assert_int_equal(webhook_fan_out(x->fx.w, 100, now), 0);
    struct seen s = look(x);
    assert_int_equal(s.next_at, now); /* at once */
    end(x, 500, now);
    s = look(x);
    assert_in_range(s.next_at - now, 4500, 5500);
    assert_string_equal(s.error, "no");
    assert_int_equal(x->h.failing_since, now);
    since = now;
    for (int i = 2; i <= 9; i++) {
        now = s.next_at;
        end(x, i == 5 ? 0 : 503, now);
        s = look(x);
        assert_int_equal(s.pending, 1);
        assert_in_range(s.next_at - now, webhook_backoff_ms(i) * 9 / 10,
                        webhook_backoff_ms(i) * 11 / 10 + 1);
    }
    assert_int_equal(x->h.failing_since, since);
    assert_true(x->h.enabled);
    end(x, 302, s.next_at); /* a redirect is no success */
    s = look(x);
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.next_at, 0);
    /* a success forgets */
    add(x, 1, "device.created");
    assert_int_equal(webhook_fan_out(x->fx.w, 100, now), 0);
    s = look(x);
    end(x, 204, now);
    s = look(x);
    assert_int_equal(s.delivered, 1);
    assert_int_equal(x->h.failing_since, 0);
    end(x, 500, now); /* a late word about one that has ended */
    assert_int_equal(look(x).delivered, 1);
    assert_int_equal(db_commit(x->fx.w), 0);
}

static void one_that_never_answers_is_disabled(void **state)
{
    struct world *x = *state;
    int64_t now = 1000000;

    assert_int_equal(db_begin(x->fx.w), 0);
    for (int i = 0; i < 3; i++)
        add(x, 1, "device.created");
    assert_int_equal(webhook_fan_out(x->fx.w, 100, now), 0);
    (void)look(x);
    end(x, 500, now);
    now += WEBHOOK_FAILING_MS - 1;
    (void)look(x);
    end(x, 500, now);
    (void)look(x);
    assert_true(x->h.enabled);
    end(x, 500, now + 1);
    struct seen s = look(x);
    assert_false(x->h.enabled);
    assert_non_null(strstr(x->h.disabled_reason, "5 days"));
    assert_int_equal(s.pending, 3);
    assert_int_equal(s.next_at, 0); /* they wait */
    add(x, 1, "device.created");
    assert_int_equal(webhook_fan_out(x->fx.w, 100, now), 0);
    assert_int_equal(look(x).n, 3);
    /* enabled again: those at once, and what happens from now on */
    struct webhook h = x->h;
    h.enabled = true;
    h.updated_at = now + 9;
    assert_int_equal(webhook_update(x->fx.w, &h), 0);
    assert_int_equal(webhook_fan_out(x->fx.w, 100, now), 0);
    s = look(x);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.next_at, now + 9);
    assert_string_equal(x->h.disabled_reason, "");
    assert_int_equal(x->h.failing_since, 0);
    end(x, 410, now + 10);
    (void)look(x);
    assert_false(x->h.enabled);
    assert_non_null(strstr(x->h.disabled_reason, "410"));
    assert_int_equal(db_commit(x->fx.w), 0);
}

static void secrets_rotate_and_old_rows_go(void **state)
{
    struct world *x = *state;

    assert_int_equal(db_begin(x->fx.w), 0);
    assert_int_equal(webhook_rotate(x->fx.w, x->h.id, "whsec_new", 99, 5), 0);
    (void)look(x);
    assert_string_equal(x->h.secret, "whsec_new");
    assert_string_equal(x->h.old_secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    assert_int_equal(x->h.old_secret_until, 99);
    int64_t id;
    for (int i = 0; i < 1200; i++) {
        assert_int_equal(webhook_test(x->fx.w, x->h.id, 1, &id), 0);
        x->delivery = id;
        if (i != 3)
            end(x, 200, 2);
    }
    assert_int_equal(webhook_expire(x->fx.w), 0);
    struct seen s = look(x);
    assert_int_equal(s.delivered, 1000);
    assert_int_equal(s.pending, 1); /* never what is still to be sent */
    assert_int_equal(webhook_delete(x->fx.w, x->h.id), 0);
    end(x, 200, 3); /* deleted while it was under way */
    assert_int_equal(db_commit(x->fx.w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_as_the_specification_says),
        cmocka_unit_test(private_addresses_are_known),
        cmocka_unit_test(urls_and_waiting_times),
        cmocka_unit_test_setup_teardown(each_event_that_matches_is_one_delivery, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_is_tried_again_for_days, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_never_answers_is_disabled, setup, teardown),
        cmocka_unit_test_setup_teardown(secrets_rotate_and_old_rows_go, setup, teardown),
    };
    json_setup();
    log_setup(LOG_ERROR, false);
    return cmocka_run_group_tests_name("webhook", tests, NULL, NULL);
}
