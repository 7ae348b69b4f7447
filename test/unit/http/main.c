/* The http room: all groups, against real servers on loopback. */
#include "http_test.h"

#include <signal.h>

static int run(const char *name, const struct CMUnitTest *tests, size_t n)
{
    return _cmocka_run_group_tests(name, tests, n, NULL, NULL);
}

int main(void)
{
    int failed = 0;
    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    json_setup();
    failed += run("range", range_tests, range_test_count);
    failed += run("route", route_tests, route_test_count);
    failed += run("client", client_tests, client_test_count);
    failed += run("server", server_tests, server_test_count);
    failed += run("body", body_tests, body_test_count);
    failed += run("file", file_tests, file_test_count);
    failed += run("budget", budget_tests, budget_test_count);
    failed += run("hold", hold_tests, hold_test_count);
    failed += run("deadline", deadline_tests, deadline_test_count);
    failed += run("stream", stream_tests, stream_test_count);
    failed += run("tls", tls_tests, tls_test_count);
    return failed != 0;
}
