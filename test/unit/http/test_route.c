/* The router alone. */
#include "../../../src/http/internal.h"
#include "http_test.h"

static const struct http_route first[] = {
    {.method = "GET", .pattern = "/d/:token/*name"},
    {.method = "GET", .pattern = "/things/:key"},
    {.method = "PATCH", .pattern = "/things/:key"},
    {.method = "GET", .pattern = "/things/:key/explain"},
    {.method = "GET", .pattern = "/"},
    {0},
};
static const struct http_route second[] = {
    {.method = "POST", .pattern = "/things/import"},
    {.method = "POST", .pattern = "/things"},
    {.method = "GET", .pattern = "/things"},
    {.method = "GET", .pattern = "/things/new"},
    {0},
};
static const struct http_route *const tables[] = {first, second, NULL};

static struct router *router;

static int setup(void **state)
{
    (void)state;
    router = router_new(tables);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    router_free(router);
    return 0;
}

static void expect(const char *method, const char *path, const char *pattern, const char *allow)
{
    struct route_hit hit = {0};
    router_find(router, method, path, &hit);
    assert_string_equal(hit.route ? hit.route->pattern : "none", pattern);
    assert_string_equal(hit.allow, allow);
}

static void test_finds(void **state)
{
    (void)state;
    expect("GET", "/", "/", "");
    expect("GET", "/things", "/things", "");
    expect("HEAD", "/things", "/things", "");
    expect("POST", "/things", "/things", "");
    expect("GET", "/things/a", "/things/:key", "");
    expect("GET", "/things/a/explain", "/things/:key/explain", "");
    expect("GET", "/things/new", "/things/new", ""); /* a literal wins over a name */
    expect("PATCH", "/things/new", "/things/:key", "");
    expect("POST", "/things/import", "/things/import", "");
    expect("GET", "/d/t0k/a/b.bin", "/d/:token/*name", "");
}

static void test_finds_nothing(void **state)
{
    (void)state;
    expect("GET", "", "none", "");
    expect("GET", "//", "none", "");
    expect("GET", "/thing", "none", "");
    expect("GET", "/thingss", "none", "");
    expect("GET", "/things/", "none", "");
    expect("GET", "/things//explain", "none", "");
    expect("GET", "/things/a/explai", "none", "");
    expect("GET", "/things/a/explain/", "none", "");
    expect("GET", "/d/t", "none", "");
    expect("GET", "*", "none", "");
}

static void test_other_methods(void **state)
{
    (void)state;
    expect("PUT", "/things", "none", "GET, HEAD, POST");
    expect("DELETE", "/things/a", "none", "GET, HEAD, PATCH");
    expect("get", "/", "none", "GET, HEAD");
}

static void test_values(void **state)
{
    struct route_hit hit = {0};
    (void)state;
    router_find(router, "GET", "/d/t0k/a/b.bin", &hit);
    assert_int_equal(hit.param_count, 2);
    assert_memory_equal(hit.params[0].name, "token", hit.params[0].name_len);
    assert_true(str_eq((struct str){hit.params[0].value, hit.params[0].value_len}, "t0k"));
    assert_true(str_eq((struct str){hit.params[1].value, hit.params[1].value_len}, "a/b.bin"));
}

const struct CMUnitTest route_tests[] = {
    cmocka_unit_test_setup_teardown(test_finds, setup, teardown),
    cmocka_unit_test_setup_teardown(test_finds_nothing, setup, teardown),
    cmocka_unit_test_setup_teardown(test_other_methods, setup, teardown),
    cmocka_unit_test_setup_teardown(test_values, setup, teardown),
};
const size_t route_test_count = ARRAY_LEN(route_tests);
