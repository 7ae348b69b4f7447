#include "api_test.h"
static void test_nothing(void **state)
{
    (void)state;
}
const struct CMUnitTest resource_tests[] = {cmocka_unit_test(test_nothing)};
const size_t resource_count = ARRAY_LEN(resource_tests);
