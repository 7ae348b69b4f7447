/* Runs every group of the util tests; the exit status is the number of failed tests. */
#include "tests.h"

int main(void)
{
    return test_basics() + test_text() + test_map() + test_time() + test_zone() + test_version() +
           test_log() + test_ring() + test_metric();
}
