/* Tokens, scopes, projects, the limit on failures, and the open routes. */
#include "../../../src/api/priv.h"
#include "api_test.h"

#include <stdio.h>

static int as(struct fixture *x, const char *token, const char *method, const char *path,
              const char *body, struct answer *a)
{
    char headers[400];
    (void)str_fmt(headers, sizeof(headers), "Authorization: Bearer %s\r\n", token);
    ask_raw(x, method, path, token ? headers : NULL, body, body ? strlen(body) : 0, a);
    return a->status;
}

static int status_as(struct fixture *x, const char *token, const char *method, const char *path,
                     const char *body)
{
    struct answer a;
    int status = as(x, token, method, path, body, &a);
    answer_done(&a);
    return status;
}

static char *make_token(struct fixture *x, const char *scope, int64_t *ret_id)
{
    char body[100];
    (void)str_fmt(body, sizeof(body), "{\"name\":\"t\",\"scope\":\"%s\"}", scope);
    json_t *t = must(x, 201, "POST", "/api/v1/tokens", NULL, body);
    char *text = xstrdup(json_get_str(t, "token", ""));
    assert_int_equal(strncmp(text, "otk_", 4), 0);
    assert_int_equal(strlen(text), 36);
    *ret_id = json_get_int(t, "id", 0);
    json_decref(t);
    return text;
}

static void test_scopes(void **state)
{
    struct fixture *x = *state;
    static const struct {
        const char *scope;
        int read, write, tokens, projects;
    } rows[] = {{"viewer", 200, 403, 403, 403},
                {"operator", 200, 201, 403, 403},
                {"admin", 200, 201, 200, 200}};
    char body[100], path[64];
    int64_t id;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *t = make_token(x, rows[i].scope, &id);
        (void)str_fmt(body, sizeof(body), "{\"key\":\"scope-%zu\"}", i);
        assert_int_equal(status_as(x, t, "GET", "/api/v1/device-types", NULL), rows[i].read);
        assert_int_equal(status_as(x, t, "POST", "/api/v1/device-types", body), rows[i].write);
        assert_int_equal(status_as(x, t, "GET", "/api/v1/tokens", NULL), rows[i].tokens);
        assert_int_equal(status_as(x, t, "GET", "/api/v1/projects", NULL), rows[i].projects);
        /* Revoked: at once, although threads remember tokens. */
        (void)str_fmt(path, sizeof(path), "/api/v1/tokens/%d", (int)id);
        json_t *shown = must(x, 200, "GET", path, NULL, NULL);
        assert_null(json_object_get(shown, "token"));
        json_decref(shown);
        assert_null(must(x, 204, "DELETE", path, NULL, NULL));
        assert_int_equal(status_as(x, t, "GET", "/api/v1/device-types", NULL), 401);
        free(t);
    }
}

static void test_last_admin_token_stays(void **state)
{
    struct fixture *x = *state;
    refused(x, 409, "last_admin_token", "DELETE", "/api/v1/tokens/1", NULL, NULL);
}

static void test_expiry(void **state)
{
    struct fixture *x = *state;
    char body[160], when[TIME_TEXT_MAX];
    refused(x, 422, "validation_failed", "POST", "/api/v1/tokens", NULL,
            "{\"name\":\"t\",\"scope\":\"viewer\",\"expires_at\":\"2001-01-01T00:00:00Z\"}");
    int64_t now = clock_now_ms();
    (void)str_fmt(body, sizeof(body), "{\"name\":\"t\",\"scope\":\"viewer\",\"expires_at\":\"%s\"}",
                  time_text(now + 3600 * 1000, when));
    json_t *t = must(x, 201, "POST", "/api/v1/tokens", NULL, body);
    const char *text = json_get_str(t, "token", "");
    assert_int_equal(status_as(x, text, "GET", "/api/v1/rules", NULL), 200);
    clock_fake_ms(now + 3600 * 1000 + 1);
    assert_int_equal(status_as(x, text, "GET", "/api/v1/rules", NULL), 401);
    clock_fake_ms(0);
    json_decref(t);
}

static void test_projects_are_apart(void **state)
{
    struct fixture *x = *state;
    char theirs[128];

    make_type(x, "apart");
    make_device(x, "apart", "apart-1");
    int64_t fw = make_firmware(x, "apart", "1.0");
    json_t *p =
        must(x, 201, "POST", "/api/v1/projects", NULL, "{\"key\":\"other\",\"name\":\"Other\"}");
    (void)str_copy(theirs, sizeof(theirs), json_get_str(p, "token", ""));
    json_decref(p);
    assert_int_equal(status_as(x, theirs, "GET", "/api/v1/device-types/apart", NULL), 404);
    assert_int_equal(status_as(x, theirs, "GET", "/api/v1/devices/apart-1", NULL), 404);
    assert_int_equal(status_as(x, theirs, "DELETE", "/api/v1/devices/apart-1", NULL), 404);
    assert_int_equal(status_as(x, theirs, "GET", "/api/v1/devices/apart-1/explain", NULL), 404);
    char path[64];
    (void)str_fmt(path, sizeof(path), "/api/v1/firmwares/%d", (int)fw);
    assert_int_equal(status_as(x, theirs, "GET", path, NULL), 404);
    assert_int_equal(status_as(x, theirs, "PATCH", path, "{\"name\":\"x\"}"), 404);
    assert_int_equal(status_as(x, theirs, "GET", "/api/v1/tokens/1", NULL), 404);
    assert_int_equal(status_as(x, theirs, "GET", "/api/v1/projects", NULL), 403);
    assert_int_equal(status_as(x, theirs, "POST", "/api/v1/device-types", "{\"key\":\"apart\"}"),
                     201);
    refused(x, 409, "in_use", "DELETE", "/api/v1/projects/other", NULL, NULL);
    assert_int_equal(status_as(x, theirs, "DELETE", "/api/v1/device-types/apart", NULL), 204);
    assert_null(must(x, 204, "DELETE", "/api/v1/projects/other", NULL, NULL));
    assert_int_equal(status_as(x, theirs, "GET", "/api/v1/device-types", NULL), 401);
    refused(x, 409, "in_use", "DELETE", "/api/v1/projects/default", NULL, NULL);
}

/* An answer never repeats what was asked for, and says what it is. */
static void test_problems_do_not_echo(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    ask(x, "GET", "/api/v1/devices/%3Cscript%3Ealert(1)", NULL, NULL, &a);
    assert_int_equal(a.status, 404);
    assert_null(strstr(a.body.p, "script"));
    assert_string_equal(answer_header(&a, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(answer_header(&a, "Cache-Control"), "no-store");
    answer_done(&a);
    refused(x, 404, "not_found", "GET", "/api/v1/firmwares/x", NULL, NULL);
    ask(x, "PUT", "/api/v1/devices", NULL, "{}", &a);
    assert_int_equal(a.status, 405);
    assert_non_null(answer_header(&a, "Allow"));
    answer_done(&a);
}

static void test_open_routes(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    ask_raw(x, "GET", "/healthz", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.p, "{\"status\":\"ok\"}");
    answer_done(&a);
    core_wait_jobs(x, 1); /* the first ping */
    ask_raw(x, "GET", "/readyz", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_true(json_get_bool(a.json, "database", false));
    answer_done(&a);
    ask_raw(x, "GET", "/metrics", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body.p, "otad_auth_failures_total"));
    assert_int_equal(strncmp(answer_header(&a, "Content-Type"), "text/plain; version=0.0.4", 25),
                     0);
    answer_done(&a);
}

/* What is referred to stands in the description. */
static void follow_refs(const json_t *doc, const json_t *at)
{
    const char *name, *ref = json_get_str(at, "$ref", NULL);
    json_t *member;
    size_t i;

    if (ref && !json_path_get(doc, ref + 1))
        fail_msg("%s is not there", ref);
    json_object_foreach((json_t *)(uintptr_t)at, name, member)
    {
        follow_refs(doc, member);
    }
    json_array_foreach(at, i, member)
    {
        follow_refs(doc, member);
    }
}

/* Every route stands in the description, with every member of its objects. */
static void test_openapi(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    ask_raw(x, "GET", "/api/v1/openapi.json", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    struct http_options o;
    api_http_options(x->api, &o);
    const json_t *paths = json_object_get(a.json, "paths");
    size_t seen = 0;
    for (const struct http_route *const *t = o.tables; *t; t++) {
        for (const struct http_route *r = *t; r->method; r++, seen++) {
            char path[200] = "", method[16] = "";
            size_t n = 0;
            if (!r->arg) { /* what catches all that no route fits */
                assert_string_equal(r->pattern, "/d/*rest");
                continue;
            }
            for (const char *p = r->pattern; *p; p++) {
                if (*p != ':') {
                    path[n++] = *p;
                    continue;
                }
                path[n++] = '{';
                while (p[1] && p[1] != '/')
                    path[n++] = *++p;
                path[n++] = '}';
            }
            for (size_t i = 0; r->method[i]; i++)
                method[i] = (char)(r->method[i] | 0x20);
            const json_t *op = json_object_get(json_object_get(paths, path), method);
            if (!op)
                fail_msg("%s %s is not described", r->method, path);
            assert_non_null(json_object_get(op, "summary"));
        }
    }
    assert_true(seen > 35);
    follow_refs(a.json, a.json);
    const json_t *schemas = json_object_get(json_object_get(a.json, "components"), "schemas");
    const json_t *device = json_object_get(json_object_get(schemas, "Device"), "properties");
    const json_t *create = json_object_get(json_object_get(schemas, "DeviceCreate"), "properties");
    assert_null(json_object_get(device, "password"));
    assert_non_null(json_object_get(create, "password"));
    assert_null(json_object_get(create, "attributes"));
    /* What a device answers is what its schema says, no more and no less. */
    make_type(x, "described");
    make_device(x, "described", "described-1");
    json_t *d = must(x, 200, "GET", "/api/v1/devices/described-1", NULL, NULL);
    const char *name;
    json_t *v;
    json_object_foreach(d, name, v) assert_non_null(json_object_get(device, name));
    assert_int_equal(json_object_size(d), json_object_size(device));
    json_decref(d);
    int64_t id = make_firmware(x, "described", "1");
    char path[64];
    (void)str_fmt(path, sizeof(path), "/api/v1/firmwares/%d", (int)id);
    json_t *fw = must(x, 200, "GET", path, NULL, NULL);
    assert_int_equal(
        json_object_size(fw),
        json_object_size(json_object_get(json_object_get(schemas, "Firmware"), "properties")));
    json_decref(fw);
    answer_done(&a);
}

/* Last of its group: afterwards this address has used up its failures. */
static void test_failures_are_limited(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    int status = 0, tries = 0;

    for (; tries < 50 && status != 429; tries++) {
        status = as(x, "otk_wrong", "GET", "/api/v1/devices", NULL, &a);
        if (status == 401)
            assert_int_equal(strncmp(answer_header(&a, "WWW-Authenticate"), "Bearer", 6), 0);
        else
            assert_int_equal(status, 429);
        if (status == 429)
            assert_true(atoi(answer_header(&a, "Retry-After")) > 0);
        answer_done(&a);
    }
    assert_int_equal(status, 429);
    /* Whoever is right goes on, also with a token that is new at this address. */
    json_decref(must(x, 200, "GET", "/api/v1/devices", NULL, NULL));
    json_t *t =
        must(x, 201, "POST", "/api/v1/tokens", NULL, "{\"name\":\"n\",\"scope\":\"viewer\"}");
    assert_int_equal(status_as(x, json_get_str(t, "token", ""), "GET", "/api/v1/rules", NULL), 200);
    json_decref(t);
    assert_int_equal(status_as(x, "otk_wrong", "GET", "/api/v1/rules", NULL), 429);
    ask_raw(x, "GET", "/healthz", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    answer_done(&a);
}

static void test_whose_failures(void **state)
{
    struct limit *l = limit_new(1, 3600);
    (void)state;

    limit_failed(l, "2001:db8:1:2::1", 1);
    assert_true(limit_wait(l, "2001:db8:1:2:ffff::7", 1) > 0); /* the same /64 */
    assert_int_equal(limit_wait(l, "2001:db8:1:3::1", 1), 0);
    limit_failed(l, "192.0.2.1", 1);
    assert_true(limit_wait(l, "192.0.2.1", 1) > 0);
    assert_int_equal(limit_wait(l, "192.0.2.2", 1), 0);
    limit_free(l);
}

static void test_whose_password(void **state)
{
    enum { MANY = 1000 };
    struct limit *l = limit_new(1, 3600);
    static uint8_t hash[MANY][SHA256_SIZE];
    uint8_t wrong[SHA256_SIZE];
    size_t kept = 0;
    (void)state;

    limit_failed_for(l, "2001:db8:1:2::1", "d1", 1);
    assert_true(limit_wait_for(l, "2001:db8:1:2::1", "d1", 1) > 0);
    assert_true(limit_wait_for(l, "2001:db8:1:2::9", "d1", 1) > 0); /* the same /64 */
    assert_int_equal(limit_wait_for(l, "2001:db8:1:3::1", "d1", 1), 0);
    assert_int_equal(limit_wait_for(l, "2001:db8:1:2::1", "d2", 1), 0);
    assert_int_equal(limit_wait(l, "2001:db8:1:2::1", 1), 0);

    crypto_sha256("wrong", 5, wrong);
    assert_false(limit_is_good(l, wrong));
    for (size_t i = 0; i < MANY; i++) {
        crypto_sha256(&i, sizeof(i), hash[i]);
        limit_good(l, hash[i]);
        limit_good(l, hash[i]); /* once is enough */
        assert_true(limit_is_good(l, hash[i]));
    }
    for (size_t i = 0; i < MANY; i++)
        kept += limit_is_good(l, hash[i]);
    assert_true(kept > MANY * 9 / 10);
    assert_false(limit_is_good(l, wrong));
    limit_free(l);
}

static void test_first_token(void **state)
{
    char dir[64], path[100], file[200], line[128] = "";
    struct conf conf = {.data_dir = dir, .admin_token = ""};
    struct fail f = {.rc = 0};
    struct db *w;
    (void)state;

    fixture_dir_make(dir);
    (void)str_fmt(path, sizeof(path), "%s/otad.db", dir);
    assert_int_equal(db_migrate(path, &f), 0);
    assert_int_equal(db_open(path, DB_WRITE, 512, &w, &f), 0);
    assert_int_equal(db_begin(w), 0);
    assert_int_equal(catalog_install(w, 1, &f), 0);
    assert_int_equal(api_install_admin_token(w, &conf, 1, &f), 0);
    (void)str_fmt(file, sizeof(file), "%s/admin-token", dir);
    FILE *in = fopen(file, "r");
    assert_non_null(in);
    assert_non_null(fgets(line, sizeof(line), in));
    (void)fclose(in);
    assert_int_equal(strlen(line), 37);
    /* Again: the token there is stays. */
    assert_int_equal(remove(file), 0);
    assert_int_equal(api_install_admin_token(w, &conf, 2, &f), 0);
    assert_null(fopen(file, "r"));
    db_rollback(w);
    /* A folder that can't be written to. */
    conf.data_dir = "/nonexistent/folder";
    assert_int_equal(db_begin(w), 0);
    assert_int_equal(catalog_install(w, 1, &f), 0);
    assert_true(api_install_admin_token(w, &conf, 1, &f) < 0);
    assert_non_null(strstr(f.text, "admin-token"));
    conf.admin_token = "with blank";
    assert_int_equal(api_install_admin_token(w, &conf, 1, &f), 0 /* one is stored already */);
    db_rollback(w);
    db_close(w);
    fixture_dir_remove(dir);
}

const struct CMUnitTest access_tests[] = {
    cmocka_unit_test(test_scopes),
    cmocka_unit_test(test_last_admin_token_stays),
    cmocka_unit_test(test_projects_are_apart),
    cmocka_unit_test(test_expiry),
    cmocka_unit_test(test_problems_do_not_echo),
    cmocka_unit_test(test_open_routes),
    cmocka_unit_test(test_openapi),
    cmocka_unit_test(test_failures_are_limited),
    cmocka_unit_test(test_whose_failures),
    cmocka_unit_test(test_whose_password),
    cmocka_unit_test(test_first_token),
};
const size_t access_count = ARRAY_LEN(access_tests);
