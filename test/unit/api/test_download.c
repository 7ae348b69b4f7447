#include "api_test.h"
static void test_nothing(void **state)
{
    (void)state;
}
const struct CMUnitTest download_tests[] = {cmocka_unit_test(test_nothing)};
const size_t download_count = ARRAY_LEN(download_tests);
