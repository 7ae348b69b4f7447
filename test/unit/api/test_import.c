/* Imports: both formats, errors per row, all or nothing, what breaks off, back-pressure. */
#include "api_test.h"

#include <stdio.h>
#include <unistd.h>

#define CSV    "Content-Type: text/csv\r\n"
#define NDJSON "Content-Type: application/x-ndjson\r\n"
#define IMPORT "/api/v1/devices/import"

static int64_t total(struct fixture *x, const char *type)
{
    char path[100];
    (void)str_fmt(path, sizeof(path), "/api/v1/devices?device_type=%s&limit=1&total=1", type);
    json_t *list = must(x, 200, "GET", path, NULL, NULL);
    int64_t n = json_get_int(list, "total", -1);
    json_decref(list);
    return n;
}

static const char *nth_code(const json_t *answer, size_t i, int64_t *ret_row)
{
    const json_t *e = json_array_get(json_object_get(answer, "errors"), i);
    *ret_row = json_get_int(e, "row", -1);
    return json_get_str(e, "code", "");
}

static void test_csv(void **state)
{
    struct fixture *x = *state;
    make_type(x, "im2");
    json_t *r = must(x, 200, "POST", IMPORT, CSV,
                     "\xef\xbb\xbfkey,device_type,name,tags,enabled,gateway,password,address\r\n"
                     "g2,im2,\"A, \"\"first\"\"\",,,,,\r\n"
                     "c3,im2,,a;b,false,g2,12345678,A 1\n"
                     "\n"
                     "c4,im2,\xe4\xb9\x99,\"x,y\",1,,,");
    assert_int_equal(json_get_int(r, "imported", 0), 3);
    assert_int_equal(json_get_int(r, "failed", -1), 0);
    json_decref(r);
    r = must(x, 200, "GET", "/api/v1/devices/g2", NULL, NULL);
    assert_string_equal(json_get_str(r, "name", ""), "A, \"first\"");
    json_decref(r);
    r = must(x, 200, "GET", "/api/v1/devices/c3", NULL, NULL);
    assert_string_equal(json_get_str(r, "gateway", ""), "g2");
    assert_string_equal(json_get_str(r, "address", ""), "A 1");
    assert_false(json_get_bool(r, "enabled", true));
    assert_int_equal(json_array_size(json_object_get(r, "tags")), 2);
    json_decref(r);
    r = must(x, 200, "GET", "/api/v1/devices/c4", NULL, NULL);
    assert_string_equal(json_get_str(r, "name", ""), "\xe4\xb9\x99");
    json_decref(r);
}

static void test_rows_fail(void **state)
{
    static const struct {
        int64_t row;
        const char *code;
    } want[] = {{2, "invalid"}, {3, "malformed"}, {4, "device_type_not_found"},
                {7, "invalid"}, {5, "exists"},    {6, "gateway_not_found"}};
    struct fixture *x = *state;
    struct answer a;
    const char *body = "{\"key\":\"r1\",\"device_type\":\"im3\"}\n"
                       "{\"key\":\"bad key\",\"device_type\":\"im3\"}\n"
                       "nonsense\n"
                       "{\"key\":\"r2\",\"device_type\":\"ghost\"}\n"
                       "{\"key\":\"r1\",\"device_type\":\"im3\"}\n"
                       "{\"key\":\"r3\",\"device_type\":\"im3\",\"gateway\":\"later\"}\n"
                       "{\"key\":\"otad\",\"device_type\":\"im3\"}\n"
                       "{\"key\":\"r4\",\"device_type\":\"im3\"}";

    make_type(x, "im3");
    assert_int_equal(ask(x, "POST", IMPORT, NDJSON, body, &a), 422);
    assert_string_equal(answer_code(&a), "import_failed");
    assert_int_equal(json_get_int(a.json, "imported", -1), 0);
    assert_int_equal(json_get_int(a.json, "failed", -1), ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        bool found = false;
        for (size_t k = 0; k < ARRAY_LEN(want); k++) {
            int64_t row;
            const char *code = nth_code(a.json, k, &row);
            found |= row == want[i].row && strcmp(code, want[i].code) == 0;
        }
        if (!found)
            fail_msg("row %d lacks %s: %s", (int)want[i].row, want[i].code, a.body.p);
    }
    answer_done(&a);
    assert_int_equal(total(x, "im3"), 0);
    /* The keys come free again, and partial takes what it can. */
    int64_t until = clock_mono_us() + 60 * 1000000ll;
    for (;;) {
        json_t *r = must(x, 200, "POST", IMPORT "?partial=1", NDJSON, body);
        int64_t imported = json_get_int(r, "imported", -1);
        json_decref(r);
        if (imported == 2)
            break;
        assert_true(clock_mono_us() < until);
        usleep(2000);
    }
    assert_int_equal(total(x, "im3"), 2);
}

static void test_rows_that_lie_too_deep(void **state)
{
    struct fixture *x = *state;
    struct sbuf b = {.p = NULL};
    struct answer a;
    int64_t row;

    make_type(x, "im9");
    sbuf_str(&b, "key,device_type,gateway\ndeep-0,im9,\n");
    for (int i = 1; i <= 9; i++)
        sbuf_fmt(&b, "deep-%d,im9,deep-%d\n", i, i - 1);
    assert_int_equal(ask(x, "POST", IMPORT, CSV, b.p, &a), 422);
    assert_int_equal(json_get_int(a.json, "failed", -1), 1);
    assert_string_equal(nth_code(a.json, 0, &row), "invalid");
    assert_int_equal(row, 10);
    answer_done(&a);
    sbuf_done(&b);
    json_decref(must(x, 200, "POST", IMPORT, CSV,
                     "key,device_type,gateway\nup-0,im9,\nup-1,im9,up-0\nup-2,im9,up-1\n"
                     "up-3,im9,up-2\nup-4,im9,up-3\nlow-0,im9,\nlow-1,im9,low-0\n"
                     "low-2,im9,low-1\nlow-3,im9,low-2\nlow-4,im9,low-3\n"));
    refused(x, 409, "conflict", "PATCH", "/api/v1/devices/low-0", NULL, "{\"gateway\":\"up-4\"}");
    json_decref(must(x, 200, "PATCH", "/api/v1/devices/low-0", NULL, "{\"gateway\":\"up-3\"}"));
}

static void test_headers(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    make_type(x, "im4");
    refused(x, 415, "unsupported_media_type", "POST", IMPORT, NULL, "x");
    refused(x, 422, "missing_column", "POST", IMPORT, CSV, "key,name\na,b\n");
    refused(x, 422, "missing_column", "POST", IMPORT, CSV, "");
    refused(x, 422, "duplicate_column", "POST", IMPORT, CSV, "key,device_type,key\n");
    ask(x, "POST", IMPORT, CSV, "key,device_typ\n", &a);
    assert_string_equal(answer_code(&a), "unknown_column");
    assert_non_null(strstr(a.body.p, "device_type"));
    answer_done(&a);
    refused(x, 422, "import_failed", "POST", IMPORT "?partial=1", CSV,
            "key,device_type\na,im4\n\"b\"x,im4\n");
    refused(x, 422, "import_failed", "POST", IMPORT, CSV, "key,device_type\n\"b,im4\n");
    refused(x, 422, "import_failed", "POST", IMPORT, CSV, "key,device_type\nb,im4,c\n");
    char *line = xmalloc(70001);
    memset(line, 'x', 70000);
    line[70000] = '\0';
    refused(x, 422, "import_failed", "POST", IMPORT "?partial=1", NDJSON, line);
    free(line);
    assert_int_equal(total(x, "im4"), 0);
}

static char *many(const char *type, const char *stem, int n)
{
    struct sbuf b = {.p = NULL};
    sbuf_str(&b, "key,device_type\n");
    for (int i = 0; i < n; i++)
        sbuf_fmt(&b, "%s%d,%s\n", stem, i, type);
    return sbuf_take(&b);
}

/* More than what may wait: reception pauses while the core does nothing, and goes on. */
static void test_pauses(void **state)
{
    struct fixture *x = *state;
    struct sbuf b = {.p = NULL};
    struct answer a;
    make_type(x, "im5");
    char *body = many("im5", "many-", 20000);
    int jobs = core_jobs(x);
    sbuf_fmt(&b,
             "POST " IMPORT " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" CSV
             "Connection: close\r\nContent-Length: %zu\r\n\r\n",
             x->token, strlen(body));
    sbuf_str(&b, body);
    core_hold(x, true);
    int fd = dial(x);
    put(fd, b.p, 100000);
    core_hold(x, false);
    put(fd, b.p + 100000, b.n - 100000);
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(json_get_int(a.json, "imported", 0), 20000);
    assert_true(core_jobs(x) - jobs >= 80); /* each job is small */
    answer_done(&a);
    close(fd);
    free(body);
    sbuf_done(&b);
    assert_int_equal(total(x, "im5"), 20000);
}

static void test_broken_off(void **state)
{
    struct fixture *x = *state;
    struct sbuf b = {.p = NULL};
    struct answer a;
    make_type(x, "im6");
    char *body = many("im6", "cut-", 5000);
    sbuf_fmt(&b,
             "POST " IMPORT " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" CSV
             "Content-Length: 10000000\r\n\r\n",
             x->token);
    sbuf_str(&b, body);
    int jobs = core_jobs(x);
    int fd = dial(x);
    put(fd, b.p, b.n);
    core_wait_jobs(x, jobs + 2);
    close(fd);
    int64_t until = clock_mono_us() + 60 * 1000000ll;
    while (ask(x, "POST", IMPORT, CSV, body, &a) != 200) {
        answer_done(&a);
        assert_true(clock_mono_us() < until);
        usleep(5000);
    }
    assert_int_equal(json_get_int(a.json, "imported", 0), 5000);
    answer_done(&a);
    assert_int_equal(total(x, "im6"), 5000);
    free(body);
    sbuf_done(&b);
}

static void test_failed_commit(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    make_type(x, "im7");
    char *body = many("im7", "full-", 600);
    core_refuse_commits(x, 1);
    int status = ask(x, "POST", IMPORT, CSV, body, &a);
    answer_done(&a);
    /* The ping may have taken the failure. */
    if (status != 200) {
        assert_int_equal(status, 507);
        assert_int_equal(total(x, "im7"), 0);
    }
    free(body);
}

static void test_idempotency(void **state)
{
    struct fixture *x = *state;
    const char *headers = CSV "Idempotency-Key: import-1\r\n";
    const char *body = "key,device_type\nidem-1,im8\n";
    make_type(x, "im8");
    json_decref(must(x, 200, "POST", IMPORT, headers, body));
    json_t *again = must(x, 200, "POST", IMPORT, headers, body);
    assert_int_equal(json_get_int(again, "imported", 0), 1);
    json_decref(again);
    refused(x, 422, "idempotency_mismatch", "POST", IMPORT, headers,
            "key,device_type\nidem-2,im8\n");
    assert_int_equal(total(x, "im8"), 1);
}

const struct CMUnitTest import_tests[] = {
    cmocka_unit_test(test_csv),         cmocka_unit_test(test_rows_fail),
    cmocka_unit_test(test_headers),     cmocka_unit_test(test_pauses),
    cmocka_unit_test(test_broken_off),  cmocka_unit_test(test_failed_commit),
    cmocka_unit_test(test_idempotency), cmocka_unit_test(test_rows_that_lie_too_deep),
};
const size_t import_count = ARRAY_LEN(import_tests);
