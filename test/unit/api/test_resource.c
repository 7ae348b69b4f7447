/* Types, devices, rules, firmwares, updates: the rules that hold for all, and their own. */
#include "api_test.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *error_pointer(const struct answer *a)
{
    return json_get_str(json_array_get(json_object_get(a->json, "errors"), 0), "pointer", "");
}

static void test_bodies(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    refused(x, 400, "malformed_json", "POST", "/api/v1/device-types", NULL, "{");
    refused(x, 400, "malformed_json", "POST", "/api/v1/device-types", NULL,
            "{\"key\":\"a\",\"key\":\"b\"}");
    refused(x, 415, "unsupported_media_type", "POST", "/api/v1/device-types",
            "Content-Type: text/plain\r\n", "{}");
    refused(x, 422, "validation_failed", "POST", "/api/v1/device-types", NULL, "{}");
    ask(x, "POST", "/api/v1/device-types", NULL, "{\"key\":\"k\",\"nmae\":\"x\"}", &a);
    assert_int_equal(a.status, 422);
    assert_string_equal(error_pointer(&a), "/nmae");
    answer_done(&a);
    ask(x, "POST", "/api/v1/device-types", NULL, "{\"key\":\"k\",\"timezone\":\"../passwd\"}", &a);
    assert_int_equal(a.status, 422);
    assert_string_equal(error_pointer(&a), "/timezone");
    answer_done(&a);
}

static void test_type(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    assert_int_equal(ask(x, "POST", "/api/v1/device-types", NULL,
                         "{\"key\":\"lamp\",\"timezone\":\"Europe/Berlin\"}", &a),
                     201);
    assert_string_equal(answer_header(&a, "Location"), "/api/v1/device-types/lamp");
    assert_string_equal(json_get_str(a.json, "name", ""), "lamp");
    assert_string_equal(json_get_str(a.json, "version_scheme", ""), "auto");
    answer_done(&a);
    assert_int_equal(ask(x, "POST", "/api/v1/device-types", NULL, "{\"key\":\"lamp\"}", &a), 409);
    answer_done(&a);
    /* It came with a rule. */
    json_t *rules = must(x, 200, "GET", "/api/v1/rules?device_type=lamp&total=1", NULL, NULL);
    const json_t *rule = json_array_get(json_object_get(rules, "items"), 0);
    assert_string_equal(json_get_str(rule, "event", ""), "otaCheck");
    assert_int_equal(json_get_int(rules, "total", 0), 1);
    json_decref(rules);
    refused(x, 409, "immutable", "PATCH", "/api/v1/device-types/lamp", NULL, "{\"key\":\"b\"}");
    assert_null(must(x, 204, "DELETE", "/api/v1/device-types/lamp", NULL, NULL));
    refused(x, 404, "not_found", "GET", "/api/v1/device-types/lamp", NULL, NULL);
}

static void test_entity_tags(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    char tag[64], header[100];
    const char *path = "/api/v1/devices/tagged";

    make_type(x, "tags");
    make_device(x, "tags", "tagged");
    assert_int_equal(ask(x, "GET", path, NULL, NULL, &a), 200);
    (void)str_copy(tag, sizeof(tag), answer_header(&a, "ETag"));
    answer_done(&a);
    (void)str_fmt(header, sizeof(header), "If-None-Match: %s\r\n", tag);
    assert_int_equal(ask(x, "GET", path, header, NULL, &a), 304);
    answer_done(&a);
    (void)str_fmt(header, sizeof(header), "If-Match: %s\r\n", tag);
    json_decref(must(x, 200, "PATCH", path, header, "{\"name\":\"new\"}"));
    refused(x, 412, "precondition_failed", "PATCH", path, header, "{\"name\":\"newer\"}");
    refused(x, 412, "precondition_failed", "DELETE", path, "If-Match: W/\"2\"\r\n", NULL);
    (void)str_fmt(header, sizeof(header), "If-None-Match: %s\r\n", tag);
    assert_int_equal(ask(x, "GET", path, header, NULL, &a), 200);
    assert_string_equal(json_get_str(a.json, "name", ""), "new");
    answer_done(&a);
    assert_null(must(x, 204, "DELETE", path, "If-Match: \"9\", \"2\"\r\n", NULL));
}

static void test_device(void **state)
{
    struct fixture *x = *state;
    struct answer a;

    make_type(x, "unit");
    int before = core_credentials(x);
    json_t *d = must(x, 201, "POST", "/api/v1/devices", NULL,
                     "{\"key\":\"u1\",\"device_type\":\"unit\",\"tags\":[\"a\",\"b\"]}");
    assert_int_equal(strlen(json_get_str(d, "password", "")), 24);
    assert_int_equal(core_credentials(x), before + 1);
    json_decref(d);
    d = must(x, 200, "GET", "/api/v1/devices/u1", NULL, NULL);
    assert_null(json_object_get(d, "password"));
    assert_true(json_is_null(json_object_get(d, "online")));
    assert_string_equal(json_get_str(d, "device_type", ""), "unit");
    json_decref(d);
    assert_int_equal(
        ask(x, "POST", "/api/v1/devices", NULL, "{\"key\":\"u1\",\"device_type\":\"unit\"}", &a),
        409);
    answer_done(&a);
    static const char *const bad[] = {
        "{\"key\":\"otad\",\"device_type\":\"unit\"}",
        "{\"key\":\"a+b\",\"device_type\":\"unit\"}",
        "{\"key\":\"..\",\"device_type\":\"unit\"}",
        "{\"key\":\"a/b\",\"device_type\":\"unit\"}",
        "{\"key\":\"u9\",\"device_type\":\"nothing\"}",
        "{\"key\":\"u9\",\"device_type\":\"unit\",\"gateway\":\"ghost\"}",
        "{\"key\":\"u9\",\"device_type\":\"unit\",\"timezone\":\"Mars/Base\"}",
        "{\"key\":\"u9\",\"device_type\":\"unit\",\"tags\":[\"a,b\"]}",
        "{\"key\":\"u9\",\"device_type\":\"unit\",\"password\":\"short\"}",
        "{\"key\":\"u9\",\"device_type\":\"unit\",\"online\":true}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refused(x, 422, "validation_failed", "POST", "/api/v1/devices", NULL, bad[i]);
    d = must(x, 201, "POST", "/api/v1/devices", NULL,
             "{\"key\":\"u2\",\"device_type\":\"unit\",\"gateway\":\"u1\"}");
    assert_string_equal(json_get_str(d, "gateway", ""), "u1");
    json_decref(d);
    refused(x, 409, "in_use", "DELETE", "/api/v1/devices/u1", NULL, NULL);
    d = must(x, 200, "PATCH", "/api/v1/devices/u2", NULL, "{\"gateway\":null,\"enabled\":false}");
    assert_true(json_is_null(json_object_get(d, "gateway")));
    assert_false(json_get_bool(d, "enabled", true));
    json_decref(d);
    json_decref(must(x, 200, "POST", "/api/v1/devices/u1/release", NULL, ""));
    d = must(x, 200, "GET", "/api/v1/devices/u1/explain", NULL, NULL);
    assert_false(json_get_bool(d, "eligible", true));
    assert_true(json_array_size(json_object_get(d, "reasons")) >= 1 ||
                json_get_str(d, "reason", NULL));
    json_decref(d);
}

static int online_is(struct fixture *x, const char *key)
{
    char path[64];

    (void)str_fmt(path, sizeof(path), "/api/v1/devices/%s", key);
    json_t *d = must(x, 200, "GET", path, NULL, NULL);
    int is = json_is_null(json_object_get(d, "online")) ? -1 : json_get_bool(d, "online", false);
    json_decref(d);
    return is;
}

/* A gateway said of them that they are there; then it left itself. */
static void test_behind_a_gateway_that_left(void **state)
{
    static const char *const keys[] = {"inner", "leaf"};
    struct fixture *x = *state;
    struct arena a;
    struct fail f;
    struct device d;
    struct db *w;

    make_type(x, "there");
    make_device(x, "there", "outer");
    json_decref(must(x, 201, "POST", "/api/v1/devices", NULL,
                     "{\"key\":\"inner\",\"device_type\":\"there\",\"gateway\":\"outer\"}"));
    json_decref(must(x, 201, "POST", "/api/v1/devices", NULL,
                     "{\"key\":\"leaf\",\"device_type\":\"there\",\"gateway\":\"inner\"}"));
    arena_init(&a);
    core_hold(x, true); /* this thread writes now */
    assert_int_equal(db_open(x->db_path, DB_WRITE, 512, &w, &f), 0);
    assert_int_equal(db_begin(w), 0);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_int_equal(device_by_key(w, 0, keys[i], &a, &d), 0);
        assert_true(device_online_set(w, d.id, true, 0, 1) >= 0);
    }
    assert_int_equal(db_commit(w), 0);
    db_close(w);
    core_hold(x, false);
    arena_done(&a);

    assert_int_equal(online_is(x, "inner"), 1);
    assert_int_equal(online_is(x, "leaf"), 1);
    core_away(x, "outer");
    assert_int_equal(online_is(x, "outer"), 0);
    assert_int_equal(online_is(x, "inner"), 0);
    assert_int_equal(online_is(x, "leaf"), 0);
    json_t *list = must(x, 200, "GET", "/api/v1/devices?gateway=outer", NULL, NULL);
    const json_t *child = json_array_get(json_object_get(list, "items"), 0);
    assert_true(json_is_false(json_object_get(child, "online")));
    json_decref(list);
    core_away(x, "");
    assert_int_equal(online_is(x, "leaf"), 1);
}

static void test_pages(void **state)
{
    struct fixture *x = *state;
    char path[200], key[32];
    int seen = 0;

    make_type(x, "pages");
    for (int i = 0; i < 7; i++) {
        (void)str_fmt(key, sizeof(key), "page-%d", i);
        make_device(x, "pages", key);
    }
    (void)str_copy(path, sizeof(path), "/api/v1/devices?device_type=pages&limit=3&total=1");
    for (int page = 0; page < 3; page++) {
        json_t *list = must(x, 200, "GET", path, NULL, NULL);
        const json_t *items = json_object_get(list, "items");
        const char *next = json_get_str(list, "next", NULL);
        size_t i;
        json_t *d;
        assert_int_equal(json_get_int(list, "total", 0), 7);
        json_array_foreach(items, i, d)
        {
            (void)str_fmt(key, sizeof(key), "page-%d", seen++);
            assert_string_equal(json_get_str(d, "key", ""), key);
        }
        assert_true((next != NULL) == (page < 2));
        (void)str_fmt(path, sizeof(path),
                      "/api/v1/devices?device_type=pages&limit=3&total=1&after=%s",
                      next ? next : "");
        json_decref(list);
    }
    assert_int_equal(seen, 7);
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/devices?limit=501", NULL, NULL);
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/devices?after=@@", NULL, NULL);
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/devices?enabled=maybe", NULL, NULL);
    json_t *none = must(x, 200, "GET", "/api/v1/devices?device_type=ghost&total=1", NULL, NULL);
    assert_int_equal(json_get_int(none, "total", -1), 0);
    json_decref(none);
}

/* What a list says with a filter: "total", which is also the number of its items. */
static int64_t total(struct fixture *x, const char *path)
{
    json_t *list = must(x, 200, "GET", path, NULL, NULL);
    int64_t n = json_get_int(list, "total", -1);

    assert_int_equal(json_array_size(json_object_get(list, "items")), n);
    json_decref(list);
    return n;
}

static void test_filters(void **state)
{
    struct fixture *x = *state;

    int64_t tasks = total(x, "/api/v1/tasks?total=1");
    int64_t viewers = total(x, "/api/v1/tokens?total=1&scope=viewer");
    int64_t hooks = total(x, "/api/v1/webhooks?total=1");

    make_type(x, "filters");
    json_decref(must(x, 201, "POST", "/api/v1/tasks", NULL,
                     "{\"name\":\"push\",\"action\":{\"kind\":\"ota_push\"},"
                     "\"target\":{\"device_type\":\"filters\"}}"));
    json_decref(must(x, 201, "POST", "/api/v1/tasks", NULL,
                     "{\"name\":\"send\",\"enabled\":false,\"target\":{\"tags\":[\"none\"]},"
                     "\"action\":{\"kind\":\"command_send\",\"method\":\"reboot\"}}"));
    assert_int_equal(total(x, "/api/v1/tasks?total=1"), tasks + 2);
    assert_int_equal(total(x, "/api/v1/tasks?total=1&device_type=filters"), 1);
    assert_int_equal(total(x, "/api/v1/tasks?total=1&device_type=ghost"), 0);
    assert_int_equal(total(x, "/api/v1/tasks?total=1&enabled=false"), 1);
    assert_int_equal(total(x, "/api/v1/tasks?total=1&action=ota_push&device_type=filters"), 1);
    assert_int_equal(total(x, "/api/v1/tasks?total=1&action=ota_push&enabled=false"), 0);
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/tasks?action=push", NULL, NULL);
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/tasks?enabled=2", NULL, NULL);

    json_decref(must(x, 201, "POST", "/api/v1/tokens", NULL,
                     "{\"name\":\"filters\",\"scope\":\"viewer\"}"));
    assert_int_equal(total(x, "/api/v1/tokens?total=1&scope=viewer"), viewers + 1);
    assert_int_equal(total(x, "/api/v1/tokens?total=1"),
                     total(x, "/api/v1/tokens?total=1&scope=admin") +
                         total(x, "/api/v1/tokens?total=1&scope=operator") + viewers + 1);
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/tokens?scope=root", NULL, NULL);

    json_t *hook = must(x, 201, "POST", "/api/v1/webhooks", NULL,
                        "{\"name\":\"off\",\"url\":\"https://example.com/\",\"enabled\":false}");
    char path[64];
    (void)str_fmt(path, sizeof(path), "/api/v1/webhooks/%d", (int)json_get_int(hook, "id", 0));
    json_decref(hook);
    assert_int_equal(total(x, "/api/v1/webhooks?total=1&enabled=false"), 1);
    assert_int_equal(total(x, "/api/v1/webhooks?total=1&enabled=true"), hooks);
    assert_null(must(x, 204, "DELETE", path, NULL, NULL));
}

static void test_idempotency(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    const char *key = "Idempotency-Key: one\r\n";
    const char *body = "{\"key\":\"idem\"}";

    json_decref(must(x, 201, "POST", "/api/v1/device-types", key, body));
    assert_int_equal(ask(x, "POST", "/api/v1/device-types", key, body, &a), 201);
    assert_string_equal(answer_header(&a, "Location"), "/api/v1/device-types/idem");
    assert_string_equal(answer_header(&a, "Idempotency-Replayed"), "true");
    answer_done(&a);
    refused(x, 422, "idempotency_mismatch", "POST", "/api/v1/device-types", key,
            "{\"key\":\"idem2\"}");
    refused(x, 422, "idempotency_mismatch", "POST", "/api/v1/devices", key,
            "{\"key\":\"i\",\"device_type\":\"idem\"}");
    /* A secret is shown once and stored nowhere. */
    const char *k2 = "Idempotency-Key: two\r\n", *t = "{\"name\":\"t\",\"scope\":\"viewer\"}";
    json_t *first = must(x, 201, "POST", "/api/v1/tokens", k2, t);
    json_t *again = must(x, 201, "POST", "/api/v1/tokens", k2, t);
    assert_non_null(json_object_get(first, "token"));
    assert_null(json_object_get(again, "token"));
    assert_int_equal(json_get_int(first, "id", 0), json_get_int(again, "id", -1));
    json_decref(first);
    json_decref(again);
    /* A refused request may be mended and sent again with its key. */
    const char *k3 = "Idempotency-Key: three\r\n";
    refused(x, 422, "validation_failed", "POST", "/api/v1/rules", k3, "{\"event\":\"e\"}");
    json_decref(
        must(x, 201, "POST", "/api/v1/rules", k3, "{\"event\":\"e\",\"device_type\":\"idem\"}"));
    /* After a day the key is free. */
    int64_t now = clock_now_ms();
    clock_fake_ms(now + (int64_t)24 * 3600 * 1000 + 1000);
    json_decref(must(x, 201, "POST", "/api/v1/device-types", key, "{\"key\":\"idem2\"}"));
    clock_fake_ms(0);
}

static void test_same_key_under_way(void **state)
{
    struct fixture *x = *state;
    struct sbuf b = {.p = NULL};
    struct answer a;
    const char *body = "{\"key\":\"busy\"}", *key = "Idempotency-Key: busy\r\n";

    core_hold(x, true);
    sbuf_fmt(&b,
             "POST /api/v1/device-types HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s"
             "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
             x->token, key, strlen(body), body);
    int fd = dial(x);
    put(fd, b.p, b.n);
    sbuf_done(&b);
    /* Until the first has reached the server ours would be the first; both then wait. */
    int other = 0;
    while (other != 409) {
        struct sbuf c = {.p = NULL};
        sbuf_fmt(&c,
                 "POST /api/v1/rules HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s"
                 "Connection: close\r\nContent-Length: 13\r\n\r\n{\"event\":\"e\"}",
                 x->token, key);
        int second = dial(x);
        struct timeval soon = {.tv_usec = 200000};
        put(second, c.p, c.n);
        setsockopt(second, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
        char head[16] = "";
        if (TEMP_FAILURE_RETRY(recv(second, head, 12, MSG_WAITALL)) == 12)
            other = atoi(head + 9);
        close(second);
        sbuf_done(&c);
        if (other == 0)
            break; /* ours was first: the other one gets the 409 */
    }
    core_hold(x, false);
    get_answer(fd, false, &a);
    if (other == 409)
        assert_int_equal(a.status, 201);
    else
        assert_int_equal(a.status, 409);
    answer_done(&a);
    close(fd);
}

static void test_failed_commit(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    core_refuse_commits(x, 1000);
    assert_int_equal(ask(x, "POST", "/api/v1/device-types", NULL, "{\"key\":\"full\"}", &a), 507);
    answer_done(&a);
    core_refuse_commits(x, 0);
    refused(x, 404, "not_found", "GET", "/api/v1/device-types/full", NULL, NULL);
}

static void test_rules(void **state)
{
    struct fixture *x = *state;
    char path[64];
    make_type(x, "ruled");
    make_device(x, "ruled", "ruled-1");
    json_t *r = must(x, 201, "POST", "/api/v1/rules", NULL,
                     "{\"event\":\"mcuCheck\",\"device\":\"ruled-1\",\"module\":\"mcu\","
                     "\"version_attribute\":\"mcu_version\"}");
    (void)str_fmt(path, sizeof(path), "/api/v1/rules/%d", (int)json_get_int(r, "id", 0));
    assert_string_equal(json_get_str(r, "device", ""), "ruled-1");
    json_decref(r);
    refused(x, 422, "validation_failed", "POST", "/api/v1/rules", NULL,
            "{\"event\":\"e\",\"device\":\"ruled-1\",\"device_type\":\"ruled\"}");
    r = must(x, 200, "PATCH", path, "If-Match: \"1\"\r\n", "{\"enabled\":false}");
    assert_int_equal(json_get_int(r, "revision", 0), 2);
    json_decref(r);
    refused(x, 412, "precondition_failed", "PATCH", path, "If-Match: \"1\"\r\n",
            "{\"name\":\"x\"}");
    r = must(x, 200, "GET", "/api/v1/rules?device=ruled-1", NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(r, "items")), 1);
    json_decref(r);
    assert_null(must(x, 204, "DELETE", path, NULL, NULL));
    refused(x, 404, "not_found", "DELETE", path, NULL, NULL);
}

static void progress_refused(struct fixture *x, const char *progress, const char *pointer,
                             const char *detail)
{
    struct answer a;
    struct sbuf body = {.p = NULL};
    sbuf_fmt(&body, "{\"progress\":%s}", progress);
    assert_int_equal(ask(x, "PATCH", "/api/v1/device-types/told", NULL, body.p, &a), 422);
    assert_string_equal(error_pointer(&a), pointer);
    assert_non_null(strstr(a.body.p, detail));
    answer_done(&a);
    sbuf_done(&body);
}

static void test_progress(void **state)
{
    struct fixture *x = *state;
    const char *path = "/api/v1/device-types/told";
    make_type(x, "told");
    json_t *t = must(x, 200, "PATCH", path, NULL,
                     "{\"progress\":{\"event\":\"e\",\"states\":{\"a\":\"downloading\"}}}");
    assert_string_equal(json_get_str(json_object_get(t, "progress"), "event", ""), "e");
    json_decref(t);
    progress_refused(x, "{\"states\":{\"a\":\"failed\"}}", "/progress", "one of the two");
    progress_refused(x, "{\"event\":\"e\",\"attribute\":\"a\",\"percent_field\":\"p\"}",
                     "/progress", "one of the two");
    progress_refused(x, "{\"event\":\"e\"}", "/progress", "nothing is told");
    progress_refused(x, "{\"evnet\":\"e\"}", "/progress/evnet", "event");
    progress_refused(x, "{\"event\":\"e\",\"states\":{\"a/~b\":\"done\"}}",
                     "/progress/states/a~1~0b", "downloading");
    progress_refused(x, "{\"event\":\"e\",\"states\":{\"OK\":\"verified\"}}", "/progress/states/OK",
                     "`installed`");
    progress_refused(x, "{\"event\":\"e\",\"states\":{\"\":\"failed\"}}", "/progress/states/",
                     "1 to 64");
    progress_refused(x, "{\"event\":\"e\",\"states\":{\"1\":1}}", "/progress/states/1", "one of");
    progress_refused(x, "7", "/progress", "object");
    struct sbuf many = {.p = NULL};
    sbuf_str(&many, "{\"event\":\"e\",\"states\":{");
    for (int i = 0; i <= 64; i++)
        sbuf_fmt(&many, "%s\"w%d\":\"failed\"", i ? "," : "", i);
    sbuf_str(&many, "}}");
    progress_refused(x, many.p, "/progress", "at most 64");
    sbuf_done(&many);
    t = must(x, 200, "PATCH", path, NULL, "{\"name\":\"Told\"}"); /* what is not sent stays */
    assert_true(json_is_object(json_object_get(t, "progress")));
    json_decref(t);
    t = must(x, 200, "PATCH", path, NULL, "{\"progress\":null}");
    assert_true(json_is_null(json_object_get(t, "progress")));
    json_decref(t);
}

static void rule_refused(struct fixture *x, const char *method, const char *path, const char *body,
                         const char *pointer)
{
    struct answer a;
    assert_int_equal(ask(x, method, path, NULL, body, &a), 422);
    assert_string_equal(error_pointer(&a), pointer);
    answer_done(&a);
}

static void test_rules_with_devices(void **state)
{
    struct fixture *x = *state;
    char path[64];
    make_type(x, "narrow");
    make_type(x, "alien");
    make_device(x, "narrow", "narrow-1");
    make_device(x, "narrow", "narrow-2");
    make_device(x, "alien", "alien-1");
    json_t *r = must(x, 201, "POST", "/api/v1/rules", NULL,
                     "{\"event\":\"e\",\"device_type\":\"narrow\",\"devices\":"
                     "[\"narrow-2\",\"narrow-1\",\"narrow-2\"]}");
    (void)str_fmt(path, sizeof(path), "/api/v1/rules/%d", (int)json_get_int(r, "id", 0));
    assert_int_equal(json_array_size(json_object_get(r, "devices")), 2);
    json_decref(r);
    rule_refused(x, "PATCH", path, "{\"devices\":[\"narrow-1\",\"ghost\"]}", "/devices/1");
    rule_refused(x, "PATCH", path, "{\"devices\":[\"alien-1\"]}", "/devices/0");
    rule_refused(x, "PATCH", path, "{\"devices\":\"narrow-1\"}", "/devices");
    rule_refused(x, "POST", "/api/v1/rules",
                 "{\"event\":\"e\",\"device\":\"narrow-1\",\"devices\":[\"narrow-2\"]}",
                 "/devices");
    r = must(x, 200, "PATCH", path, NULL, "{\"devices\":[\"narrow-2\"]}");
    assert_int_equal(json_array_size(json_object_get(r, "devices")), 1);
    json_decref(r);
    refused(x, 409, "in_use", "DELETE", "/api/v1/devices/narrow-2", NULL, NULL);
    r = must(x, 200, "PATCH", path, NULL, "{\"name\":\"renamed\"}"); /* what is not sent stays */
    assert_int_equal(json_array_size(json_object_get(r, "devices")), 1);
    json_decref(r);
    r = must(x, 200, "PATCH", path, NULL, "{\"devices\":[]}");
    assert_int_equal(json_array_size(json_object_get(r, "devices")), 0);
    json_decref(r);
    assert_null(must(x, 204, "DELETE", "/api/v1/devices/narrow-2", NULL, NULL));

    for (int i = 1; i < RULE_EVENT_MAX; i++)
        json_decref(must(x, 201, "POST", "/api/v1/rules", NULL,
                         "{\"event\":\"e\",\"device_type\":\"narrow\"}"));
    rule_refused(x, "POST", "/api/v1/rules", "{\"event\":\"e\",\"device_type\":\"narrow\"}",
                 "/event");
    json_decref(must(x, 200, "PATCH", path, NULL, "{\"event\":\"e\"}"));
    json_decref(
        must(x, 201, "POST", "/api/v1/rules", NULL, "{\"event\":\"e\",\"device\":\"narrow-1\"}"));

    struct sbuf many = {.p = NULL};
    sbuf_str(&many, "{\"devices\":[");
    for (int i = 0; i <= RULE_DEVICES_MAX; i++)
        sbuf_fmt(&many, "%s\"d%d\"", i ? "," : "", i);
    sbuf_str(&many, "]}");
    rule_refused(x, "PATCH", path, many.p, "/devices");
    sbuf_done(&many);
}

static void test_firmware_patch(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    char path[64];
    make_type(x, "fwp");
    make_device(x, "fwp", "fwp-1");
    (void)str_fmt(path, sizeof(path), "/api/v1/firmwares/%d", (int)make_firmware(x, "fwp", "1.0"));
    static const char *const fixed[] = {"{\"version\":\"2\"}", "{\"files\":[]}",
                                        "{\"module\":\"m\"}",  "{\"release\":\"campaign\"}",
                                        "{\"min_battery\":1}", "{\"device_type\":\"fwp\"}"};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        refused(x, 409, "immutable", "PATCH", path, NULL, fixed[i]);
    json_t *fw = must(x, 200, "PATCH", path, NULL,
                      "{\"devices\":[\"fwp-1\"],\"denied_devices\":[\"fwp-1\"],\"enabled\":false,"
                      "\"source_versions\":[\"0.9\"],\"notes\":\"two\\nlines\"}");
    assert_int_equal(json_array_size(json_object_get(fw, "devices")), 1);
    assert_int_equal(json_array_size(json_object_get(fw, "denied_devices")), 1);
    assert_int_equal(json_array_size(json_object_get(fw, "source_versions")), 1);
    json_decref(fw);
    /* What is not sent stays. */
    fw = must(x, 200, "PATCH", path, NULL, "{\"name\":\"renamed\"}");
    assert_int_equal(json_array_size(json_object_get(fw, "devices")), 1);
    assert_string_equal(json_get_str(fw, "notes", ""), "two\nlines");
    json_decref(fw);
    ask(x, "PATCH", path, NULL, "{\"devices\":[\"fwp-1\",\"ghost\"]}", &a);
    assert_int_equal(a.status, 422);
    assert_string_equal(error_pointer(&a), "/devices/1");
    answer_done(&a);
    fw = must(x, 200, "GET", "/api/v1/firmwares?device_type=fwp&version=1.0&total=1", NULL, NULL);
    assert_int_equal(json_get_int(fw, "total", 0), 1);
    json_decref(fw);
}

const struct CMUnitTest resource_tests[] = {
    cmocka_unit_test(test_bodies),
    cmocka_unit_test(test_type),
    cmocka_unit_test(test_entity_tags),
    cmocka_unit_test(test_device),
    cmocka_unit_test(test_behind_a_gateway_that_left),
    cmocka_unit_test(test_pages),
    cmocka_unit_test(test_filters),
    cmocka_unit_test(test_idempotency),
    cmocka_unit_test(test_same_key_under_way),
    cmocka_unit_test(test_failed_commit),
    cmocka_unit_test(test_progress),
    cmocka_unit_test(test_rules),
    cmocka_unit_test(test_rules_with_devices),
    cmocka_unit_test(test_firmware_patch),
};
const size_t resource_count = ARRAY_LEN(resource_tests);
