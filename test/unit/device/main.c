/* Runs every group of the device tests; the exit status is the number of failed tests. */
#include "tests.h"

int main(void)
{
    return test_rows() + test_report() + test_seen() + test_import() + test_broker() +
           test_behind() + test_presence() + test_topics() + test_down() + test_version();
}
