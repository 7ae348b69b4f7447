#include "tests.h"

int main(void)
{
    json_setup();
    return test_schedule() + test_task() + test_kept() + test_consent();
}
