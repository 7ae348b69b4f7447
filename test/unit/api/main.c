/* One installation for each group of tests. */
#include "api_test.h"

int main(void)
{
    const struct {
        const char *name;
        const struct CMUnitTest *tests;
        size_t n;
    } groups[] = {
        {"access", access_tests, access_count},  {"resources", resource_tests, resource_count},
        {"uploads", upload_tests, upload_count}, {"downloads", download_tests, download_count},
        {"imports", import_tests, import_count}, {"audit", audit_tests, audit_test_count},
        {"feed", feed_tests, feed_count},
    };
    int failed = 0;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        failed += _cmocka_run_group_tests(groups[i].name, groups[i].tests, groups[i].n,
                                          fixture_setup, fixture_teardown);
    return failed != 0;
}
