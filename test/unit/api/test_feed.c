/* Live events over REST: what is committed arrives, once, in order, and to whom it concerns. */
#include "api_test.h"

#include "event.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct watch {
    int fd;
    struct sbuf b;
};

static void watch_open(struct fixture *x, const char *token, const char *query, const char *headers,
                       struct watch *ret)
{
    struct sbuf h = {0};
    *ret = (struct watch){.fd = dial(x)};
    /* 1.0: the stream comes without chunks between */
    sbuf_fmt(&h, "GET /api/v1/events%s HTTP/1.0\r\nAuthorization: Bearer %s\r\n%s\r\n", query,
             token ? token : x->token, headers ? headers : "");
    put(ret->fd, h.p, h.n);
    sbuf_done(&h);
}

/* Read on until the text is there; false when the stream ends before. */
static bool watch_for(struct watch *w, const char *text)
{
    char buf[4096];
    while (!w->b.p || !strstr(w->b.p, text)) {
        ssize_t n = TEMP_FAILURE_RETRY(recv(w->fd, buf, sizeof(buf), 0));
        if (n < 0)
            fail_msg("the stream was silent; wanted %s, had %s", text, w->b.p ? w->b.p : "");
        if (n == 0)
            return false;
        sbuf_add(&w->b, buf, (size_t)n);
    }
    return true;
}

static void watch_done(struct watch *w)
{
    close(w->fd);
    sbuf_done(&w->b);
}

static int64_t last_event(struct fixture *x)
{
    struct fail f = {0};
    struct db *r;
    int64_t first, last;
    assert_int_equal(db_open(x->db_path, DB_READ, 256, &r, &f), 0);
    assert_int_equal(event_ends(r, &first, &last), 0);
    db_close(r);
    return last;
}

static size_t count(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, word)); p += strlen(word))
        n++;
    return n;
}

static void patch_type_device(struct fixture *x, const char *key, const char *name)
{
    char path[96], body[64];
    (void)str_fmt(path, sizeof(path), "/api/v1/devices/%s", key);
    (void)str_fmt(body, sizeof(body), "{\"name\":\"%s\"}", name);
    json_decref(must(x, 200, "PATCH", path, NULL, body));
}

static void test_live(void **state)
{
    struct fixture *x = *state;
    struct watch all, one, kind;
    make_type(x, "feed");
    make_device(x, "feed", "feed-1");
    make_device(x, "feed", "feed-2");
    watch_open(x, NULL, "", NULL, &all);
    watch_open(x, NULL, "?device=feed-2", NULL, &one);
    watch_open(x, NULL, "?types=firmware.*,device.deleted", NULL, &kind);
    assert_true(watch_for(&all, "retry: ") && watch_for(&one, "retry: ") &&
                watch_for(&kind, "retry: "));
    assert_non_null(strstr(all.b.p, "text/event-stream"));
    assert_non_null(strstr(all.b.p, "X-Accel-Buffering: no"));
    patch_type_device(x, "feed-1", "a");
    patch_type_device(x, "feed-2", "b");
    (void)make_firmware(x, "feed", "1.0");
    assert_true(watch_for(&all, "event: firmware.created\n"));
    assert_true(watch_for(&one, "event: device.changed\n"));
    assert_true(watch_for(&kind, "\"version\":\"1.0\",\"enabled\":true}}\n\n"));
    assert_int_equal(count(all.b.p, "event: device.changed"), 2);
    assert_non_null(strstr(all.b.p, "\"type\":\"device.changed\",\"timestamp\":\"20"));
    assert_non_null(strstr(all.b.p, "\"data\":{\"device\":\"feed-1\"}}"));
    assert_null(strstr(one.b.p, "feed-1"));
    assert_null(strstr(one.b.p, "firmware"));
    assert_null(strstr(kind.b.p, "device.changed"));
    /* what is not committed is not told */
    core_refuse_commits(x, 1);
    json_decref(must(x, 507, "PATCH", "/api/v1/devices/feed-1", NULL, "{\"name\":\"lost\"}"));
    json_decref(must(x, 204, "DELETE", "/api/v1/devices/feed-2", NULL, NULL));
    assert_true(watch_for(&all, "event: device.deleted\n"));
    assert_int_equal(count(all.b.p, "event: device.changed"), 2);
    watch_done(&all);
    watch_done(&one);
    watch_done(&kind);
}

static void test_resume(void **state)
{
    struct fixture *x = *state;
    struct watch w;
    char query[64], header[64], id[32];
    make_type(x, "feedr");
    make_device(x, "feedr", "feedr-1");
    int64_t from = last_event(x);
    /* more than a thread keeps as text, and more than it reads at a time */
    for (int i = 0; i < 420; i++)
        patch_type_device(x, "feedr-1", i & 1 ? "a" : "b");
    int64_t last = last_event(x);
    assert_int_equal(last, from + 420);
    (void)str_fmt(query, sizeof(query), "?after=%d", (int)from);
    (void)str_fmt(id, sizeof(id), "id: %d\n", (int)last);
    watch_open(x, NULL, query, NULL, &w);
    assert_true(watch_for(&w, id));
    assert_int_equal(count(w.b.p, "event: device.changed\n"), 420);
    patch_type_device(x, "feedr-1", "c"); /* and on from there, live */
    (void)str_fmt(id, sizeof(id), "id: %d\n", (int)last + 1);
    assert_true(watch_for(&w, id));
    assert_int_equal(count(w.b.p, "event: device.changed\n"), 421);
    watch_done(&w);
    (void)str_fmt(header, sizeof(header), "Last-Event-ID: %d\r\n", (int)last);
    watch_open(x, NULL, "?after=1", header, &w); /* the header is newer than the URL */
    assert_true(watch_for(&w, id));
    assert_int_equal(count(w.b.p, "event: device"), 1);
    watch_done(&w);
    /* an id that this database never gave out: it was restored */
    watch_open(x, NULL, "?after=999999", NULL, &w);
    assert_true(watch_for(&w, "event: reset\n"));
    watch_done(&w);
}

static void test_what_is_gone(void **state)
{
    struct fixture *x = *state;
    struct watch w;
    struct fail f = {0};
    struct db *db;
    assert_int_equal(db_open(x->db_path, DB_WRITE, 256, &db, &f), 0);
    assert_int_equal(db_begin(db), 0);
    assert_true(event_expire(db, 10, 0, 100000) > 0);
    assert_int_equal(db_commit(db), 0);
    db_close(db);
    watch_open(x, NULL, "?after=3", NULL, &w);
    assert_true(watch_for(&w, "event: reset\n"));
    assert_true(watch_for(&w, "event: device"));
    assert_int_equal(count(w.b.p, "event: device"), 10);
    watch_done(&w);
}

static void test_refusals(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/events?types=devices.*", NULL, NULL);
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/events?types=device.create", NULL, NULL);
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/events?after=x", NULL, NULL);
    refused(x, 400, "invalid_header", "GET", "/api/v1/events", "Last-Event-ID: x\r\n", NULL);
    refused(x, 404, "not_found", "GET", "/api/v1/events?device=ghost", NULL, NULL);
    ask_raw(x, "GET", "/api/v1/events", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 401);
    answer_done(&a);
}

/* A stream ends with its token, and a project sees its own alone. */
static void test_tokens(void **state)
{
    struct fixture *x = *state;
    char path[64];
    struct watch w, other;
    json_t *project =
        must(x, 201, "POST", "/api/v1/projects", NULL, "{\"key\":\"feedp\",\"name\":\"P\"}");
    json_t *token =
        must(x, 201, "POST", "/api/v1/tokens", NULL, "{\"name\":\"watcher\",\"scope\":\"viewer\"}");
    (void)str_fmt(path, sizeof(path), "/api/v1/tokens/%d", (int)json_get_int(token, "id", 0));
    watch_open(x, json_get_str(token, "token", ""), "", NULL, &w);
    watch_open(x, json_get_str(project, "token", ""), "", NULL, &other);
    assert_true(watch_for(&w, "retry: ") && watch_for(&other, "retry: "));
    patch_type_device(x, "feed-1", "tk");
    assert_true(watch_for(&w, "feed-1"));
    assert_null(must(x, 204, "DELETE", path, NULL, NULL));
    assert_false(watch_for(&w, "nothing more comes"));
    assert_null(strstr(other.b.p, "feed-1"));
    watch_done(&w);
    watch_done(&other);
    json_decref(token);
    json_decref(project);
}

static void test_webhooks(void **state)
{
    struct fixture *x = *state;
    char path[64], sub[96];
    struct answer a;
    json_t *made =
        must(x, 201, "POST", "/api/v1/webhooks", NULL,
             "{\"url\":\"https://example.com/x\",\"types\":[\"update.*\",\"device.deleted\"]}");
    assert_memory_equal(json_get_str(made, "secret", ""), "whsec_", 6);
    assert_int_equal(json_array_size(json_object_get(made, "types")), 2);
    (void)str_fmt(path, sizeof(path), "/api/v1/webhooks/%d", (int)json_get_int(made, "id", 0));
    json_t *seen = must(x, 200, "GET", path, NULL, NULL);
    assert_null(json_object_get(seen, "secret"));
    json_decref(seen);
    /* what can't be is refused, with its place */
    static const char *const bad[] = {
        "{\"url\":\"http://example.com/\"}",
        "{\"url\":\"https://u:p@example.com/\"}",
        "{\"url\":\"https://example.com\",\"types\":[\"update.fail\"]}",
        "{\"url\":\"https://example.com\",\"types\":[\"a,b\"]}",
        "{\"url\":\"https://example.com\",\"types\":[\"\"]}",
        "{\"url\":\"https://example.com\",\"secret\":"
        "\"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA!!\"}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused(x, 422, "validation_failed", "POST", "/api/v1/webhooks", NULL, bad[i]);
    (void)str_fmt(sub, sizeof(sub), "%s/rotate", path);
    json_t *turned = must(x, 200, "POST", sub, NULL, NULL);
    assert_string_not_equal(json_get_str(turned, "secret", ""), json_get_str(made, "secret", ""));
    (void)str_fmt(sub, sizeof(sub), "%s/test", path);
    json_decref(must(x, 202, "POST", sub, NULL, NULL));
    json_t *patched = must(x, 200, "PATCH", path, NULL, "{\"enabled\":false,\"types\":[]}");
    assert_int_equal(json_array_size(json_object_get(patched, "types")), 0);
    json_decref(patched);
    refused(x, 409, "webhook_disabled", "POST", sub, NULL, NULL);
    (void)str_fmt(sub, sizeof(sub), "%s/deliveries", path);
    json_t *list = must(x, 200, "GET", sub, NULL, NULL);
    assert_string_equal(json_get_str(json_array_get(json_object_get(list, "items"), 0), "type", ""),
                        "webhook.test");
    json_decref(list);
    /* no secret in the audit log, and a full row of each change */
    assert_int_equal(ask(x, "GET", "/api/v1/audit?limit=10", NULL, NULL, &a), 200);
    assert_null(strstr(a.body.p, json_get_str(made, "secret", "?")));
    assert_null(strstr(a.body.p, json_get_str(turned, "secret", "?")));
    assert_non_null(strstr(a.body.p, "\"before\":{\"id\":"));
    answer_done(&a);
    /* a bound on how many, and gone with their project */
    for (int i = 1; i < 20; i++)
        json_decref(
            must(x, 201, "POST", "/api/v1/webhooks", NULL, "{\"url\":\"https://example.com/\"}"));
    refused(x, 409, "too_many_webhooks", "POST", "/api/v1/webhooks", NULL,
            "{\"url\":\"https://example.com/\"}");
    assert_null(must(x, 204, "DELETE", path, NULL, NULL));
    refused(x, 404, "not_found", "GET", path, NULL, NULL);
    json_t *project =
        must(x, 201, "POST", "/api/v1/projects", NULL, "{\"key\":\"hookp\",\"name\":\"P\"}");
    struct sbuf h = {0};
    sbuf_fmt(&h, "Authorization: Bearer %s\r\n", json_get_str(project, "token", ""));
    static const char hook[] = "{\"url\":\"https://example.com/\"}";
    ask_raw(x, "POST", "/api/v1/webhooks", h.p, hook, strlen(hook), &a);
    assert_int_equal(a.status, 201);
    answer_done(&a);
    sbuf_done(&h);
    json_decref(project);
    assert_null(must(x, 204, "DELETE", "/api/v1/projects/hookp", NULL, NULL));
    json_decref(made);
    json_decref(turned);
}

const struct CMUnitTest feed_tests[] = {
    cmocka_unit_test(test_webhooks), cmocka_unit_test(test_live),
    cmocka_unit_test(test_resume),   cmocka_unit_test(test_what_is_gone),
    cmocka_unit_test(test_refusals), cmocka_unit_test(test_tokens),
};
const size_t feed_count = ARRAY_LEN(feed_tests);
