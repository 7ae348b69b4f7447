/* Runs every group of the update tests; the exit status is the number of failed tests. */
#include "tests.h"

int main(void)
{
    return test_state() + test_coverage() + test_link() + test_decide() + test_naive() +
           test_floor() + test_hop() + test_flap() + test_life() + test_check() + test_served() +
           test_walk() + test_reason() + test_log();
}
