/* Runs every group of the campaign tests; the exit status is the number of failed tests. */
#include "tests.h"

int main(void)
{
    json_setup();
    return test_query() + test_scope() + test_define() + test_release() + test_back() +
           test_stop() + test_fell() + test_simulation() + test_overlap() + test_consent() +
           test_floors() + test_stats() + test_push() + test_finish() + test_dry();
}
