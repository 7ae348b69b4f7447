/* The audit log over REST: every kind of change leaves one row, with what was before and after. */
#include "api_test.h"

#include "audit.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* The newest row; new reference. */
static json_t *newest(struct fixture *x)
{
    AUTO(json_free)
    json_t *page = must(x, 200, "GET", "/api/v1/audit?limit=1", NULL, NULL);
    return json_incref(json_array_get(json_object_get(page, "items"), 0));
}

static int64_t newest_id(struct fixture *x)
{
    AUTO(json_free) json_t *row = newest(x);
    return json_get_int(row, "id", 0);
}

static const json_t *member(const json_t *row, const char *side, const char *name)
{
    return json_object_get(json_object_get(row, side), name);
}

static void test_before_and_after(void **state)
{
    struct fixture *x = *state;
    json_decref(must(x, 201, "POST", "/api/v1/device-types", NULL, "{\"key\":\"aud\"}"));
    json_t *row = newest(x);
    assert_string_equal(json_get_str(row, "action", ""), "POST /api/v1/device-types");
    assert_string_equal(json_get_str(row, "object", ""), "/api/v1/device-types/aud");
    assert_string_equal(json_get_str(row, "who", ""), "OTAD_ADMIN_TOKEN");
    assert_string_equal(json_get_str(row, "project", ""), "default");
    assert_string_equal(json_get_str(row, "address", ""), "127.0.0.1");
    assert_true(json_is_null(json_object_get(row, "before")));
    assert_string_equal(json_string_value(member(row, "after", "key")), "aud");
    json_decref(row);

    json_decref(must(x, 201, "POST", "/api/v1/devices", NULL,
                     "{\"key\":\"aud-1\",\"device_type\":\"aud\",\"password\":\"hush-hush-1\"}"));
    json_decref(must(x, 200, "PATCH", "/api/v1/devices/aud-1", "X-Request-Id: rq-7\r\n",
                     "{\"name\":\"new\",\"password\":\"hush-hush-2\"}"));
    row = newest(x);
    assert_string_equal(json_get_str(row, "request_id", ""), "rq-7");
    assert_string_equal(json_string_value(member(row, "before", "name")), "");
    assert_string_equal(json_string_value(member(row, "after", "name")), "new");
    assert_int_equal(json_array_size(json_object_get(row, "fields")), 2);
    assert_null(member(row, "after", "attributes"));
    json_decref(row);
    assert_null(must(x, 204, "DELETE", "/api/v1/devices/aud-1", NULL, NULL));
    row = newest(x);
    assert_true(json_is_null(json_object_get(row, "after")));
    assert_string_equal(json_string_value(member(row, "before", "key")), "aud-1");
    json_decref(row);
}

/* Reads, refusals and repeats of a POST leave nothing. */
static void test_only_what_was_done(void **state)
{
    struct fixture *x = *state;
    json_decref(must(x, 201, "POST", "/api/v1/device-types", "Idempotency-Key: audit-1\r\n",
                     "{\"key\":\"aud2\"}"));
    int64_t id = newest_id(x);
    json_decref(must(x, 201, "POST", "/api/v1/device-types", "Idempotency-Key: audit-1\r\n",
                     "{\"key\":\"aud2\"}"));
    json_decref(must(x, 409, "POST", "/api/v1/device-types", NULL, "{\"key\":\"aud2\"}"));
    json_decref(must(x, 200, "GET", "/api/v1/device-types/aud2", NULL, NULL));
    core_refuse_commits(x, 1);
    json_decref(must(x, 507, "PATCH", "/api/v1/device-types/aud2", NULL, "{\"name\":\"b\"}"));
    assert_int_equal(newest_id(x), id);
}

/* Every route that changes something is tried elsewhere; whoever adds one adds its `before`. */
static void test_each_kind(void **state)
{
    struct fixture *x = *state;
    char path[64];
    make_type(x, "aud3");
    make_device(x, "aud3", "aud3-1");
    (void)str_fmt(path, sizeof(path), "/api/v1/firmwares/%d", (int)make_firmware(x, "aud3", "1.0"));
    json_t *row = newest(x);
    assert_string_equal(json_get_str(row, "action", ""), "POST /api/v1/firmwares");
    assert_non_null(member(row, "after", "files"));
    json_decref(row);
    json_t *task = must(x, 201, "POST", "/api/v1/tasks", NULL,
                        "{\"name\":\"t\",\"action\":{\"kind\":\"command_send\",\"method\":\"m\"},"
                        "\"target\":{\"device_type\":\"aud3\"}}");
    char task_path[64], token_path[64], rule_path[64];
    (void)str_fmt(task_path, sizeof(task_path), "/api/v1/tasks/%d",
                  (int)json_get_int(task, "id", 0));
    json_decref(task);
    json_t *token =
        must(x, 201, "POST", "/api/v1/tokens", NULL, "{\"name\":\"aud3\",\"scope\":\"viewer\"}");
    (void)str_fmt(token_path, sizeof(token_path), "/api/v1/tokens/%d",
                  (int)json_get_int(token, "id", 0));
    json_t *rule =
        must(x, 201, "POST", "/api/v1/rules", NULL, "{\"device\":\"aud3-1\",\"event\":\"e\"}");
    (void)str_fmt(rule_path, sizeof(rule_path), "/api/v1/rules/%d",
                  (int)json_get_int(rule, "id", 0));
    json_decref(rule);
    json_decref(
        must(x, 201, "POST", "/api/v1/projects", NULL, "{\"key\":\"audp\",\"name\":\"P\"}"));
    const struct {
        const char *method, *path, *body;
        int status;
    } changes[] = {{"PATCH", path, "{\"notes\":\"n\"}", 200},
                   {"PATCH", task_path, "{\"name\":\"t2\"}", 200},
                   {"PATCH", rule_path, "{\"name\":\"r\"}", 200},
                   {"PATCH", "/api/v1/projects/audp", "{\"name\":\"P2\"}", 200},
                   {"PATCH", "/api/v1/device-types/aud3", "{\"name\":\"T2\"}", 200},
                   {"POST", "/api/v1/devices/aud3-1/release", NULL, 200},
                   {"DELETE", rule_path, NULL, 204},
                   {"DELETE", token_path, NULL, 204},
                   {"DELETE", task_path, NULL, 204},
                   {"DELETE", path, NULL, 204},
                   {"DELETE", "/api/v1/devices/aud3-1", NULL, 204},
                   {"DELETE", "/api/v1/projects/audp", NULL, 204}};
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        int64_t id = newest_id(x);
        json_decref(
            must(x, changes[i].status, changes[i].method, changes[i].path, NULL, changes[i].body));
        row = newest(x);
        if (json_get_int(row, "id", 0) != id + 1 ||
            !json_is_object(json_object_get(row, "before")) ||
            (changes[i].status == 200) != json_is_object(json_object_get(row, "after")))
            fail_msg("%s %s left no full row", changes[i].method, changes[i].path);
        assert_string_equal(json_get_str(row, "object", ""), changes[i].path);
        json_decref(row);
    }
    /* a new project never gets the number of one that is gone, nor its rows */
    json_t *made =
        must(x, 201, "POST", "/api/v1/projects", NULL, "{\"key\":\"audq\",\"name\":\"Q\"}");
    struct answer a;
    struct sbuf h = {0};
    sbuf_fmt(&h, "Authorization: Bearer %s\r\n", json_get_str(made, "token", ""));
    ask_raw(x, "GET", "/api/v1/audit", h.p, NULL, 0, &a);
    assert_int_equal(json_array_size(json_object_get(a.json, "items")), 0);
    answer_done(&a);
    ask_raw(x, "GET", "/api/v1/audit/export?all=1", h.p, NULL, 0, &a);
    assert_int_equal(a.status, 403);
    answer_done(&a);
    sbuf_done(&h);
    json_decref(made);
    json_decref(token);
}

static size_t count(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, word)); p += strlen(word))
        n++;
    return n;
}

static void test_export(void **state)
{
    struct fixture *x = *state;
    struct sbuf b = {0}, all = {0};
    char buf[65536];
    ssize_t n;
    for (int i = 0; i < 120; i++) { /* more than one page of the export */
        char body[64];
        (void)str_fmt(body, sizeof(body), "{\"key\":\"audx%d\"}", i);
        json_decref(must(x, 201, "POST", "/api/v1/device-types", NULL, body));
    }
    json_t *secret =
        must(x, 201, "POST", "/api/v1/tokens", NULL, "{\"name\":\"secret\",\"scope\":\"viewer\"}");
    int64_t last = newest_id(x);
    int fd = dial(x);
    sbuf_fmt(&b, "GET /api/v1/audit/export HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n", x->token);
    put(fd, b.p, b.n);
    while ((n = TEMP_FAILURE_RETRY(recv(fd, buf, sizeof(buf), 0))) > 0)
        sbuf_add(&all, buf, (size_t)n);
    close(fd);
    assert_non_null(strstr(all.p, "application/x-ndjson"));
    assert_int_equal(count(all.p, "\"hash\":\""), last);
    assert_null(strstr(all.p, "hush-hush"));
    assert_null(strstr(all.p, json_get_str(secret, "token", "?")));
    json_decref(secret);
    sbuf_done(&all);
    sbuf_done(&b);
    /* admins alone, and nobody changes it */
    json_t *token =
        must(x, 201, "POST", "/api/v1/tokens", NULL, "{\"name\":\"op\",\"scope\":\"operator\"}");
    struct answer a;
    sbuf_fmt(&b, "Authorization: Bearer %s\r\n", json_get_str(token, "token", ""));
    ask_raw(x, "GET", "/api/v1/audit", b.p, NULL, 0, &a);
    assert_int_equal(a.status, 403);
    answer_done(&a);
    sbuf_done(&b);
    json_decref(token);
    refused(x, 405, "method_not_allowed", "DELETE", "/api/v1/audit", NULL, NULL);
    /* what went over REST holds together */
    char head[AUDIT_HEX_SIZE];
    struct fail f = {0};
    struct db *r;
    int64_t rows;
    assert_int_equal(db_open(x->db_path, DB_READ, 256, &r, &f), 0);
    assert_int_equal(audit_verify(r, &rows, head, &f), 0);
    assert_int_equal(rows, last + 1);
    db_close(r);
}

const struct CMUnitTest audit_tests[] = {
    cmocka_unit_test(test_before_and_after),
    cmocka_unit_test(test_only_what_was_done),
    cmocka_unit_test(test_each_kind),
    cmocka_unit_test(test_export),
};
const size_t audit_test_count = ARRAY_LEN(audit_tests);
