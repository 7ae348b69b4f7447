#include "api_test.h"
static void test_nothing(void **state)
{
    (void)state;
}
const struct CMUnitTest import_tests[] = {cmocka_unit_test(test_nothing)};
const size_t import_count = ARRAY_LEN(import_tests);
