#include "test_core.h"

int main(void)
{
    json_setup();
    log_setup(LOG_ERROR, false);
    int failed = run_engine_tests();
    failed += run_behind_tests();
    failed += run_progress_tests();
    failed += run_queue_tests();
    failed += run_turn_tests(); /* it forks: before the thread pool has threads */
    failed += run_topics_tests();
    failed += run_files_tests();
    failed += run_down_tests();
    failed += run_drive_tests();
    failed += run_parts_tests();
    failed += run_left_tests();
    return failed != 0;
}
