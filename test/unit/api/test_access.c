#include "api_test.h"
static void test_nothing(void **state)
{
    (void)state;
}
const struct CMUnitTest access_tests[] = {cmocka_unit_test(test_nothing)};
const size_t access_count = ARRAY_LEN(access_tests);
