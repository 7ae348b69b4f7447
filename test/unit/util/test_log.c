/* Log lines as a reader of stderr gets them: stderr is a packet pipe, so that one read gives
 * what one write put in. */
#include "tests.h"
#include "util.h"

#include <fcntl.h>
#include <unistd.h>

static int saved_stderr, pipe_fd;
static char line[8192];

static int redirect(void **state)
{
    (void)state;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_DIRECT | O_NONBLOCK) < 0)
        return -1;
    saved_stderr = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    pipe_fd = fds[0];
    clock_fake_ms(1723109840093);
    unsetenv("JOURNAL_STREAM");
    return 0;
}

static int restore(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(pipe_fd);
    clock_fake_ms(0);
    unsetenv("JOURNAL_STREAM");
    log_setup(LOG_INFO, false);
    return 0;
}

static const char *next_line(void)
{
    ssize_t n = read(pipe_fd, line, sizeof(line) - 1);
    line[n > 0 ? n : 0] = '\0';
    return line;
}

static void logfmt_lines(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    errno = ENOTTY;
    LOG(LOG_WARN, "mqtt", "device refused", KV("dev", "d1"), KV_INT("n", -5), KV("none", NULL),
        KV_RC(E_LIMIT), KV("q", "say \"hi\"\\\n"), KV("empty", ""), KV("zh", "OTA升级"),
        KV("raw", "\xff\x01"));
    assert_int_equal(errno, ENOTTY);
    assert_string_equal(
        next_line(), "time=2024-08-08T09:37:20.093Z level=warn room=mqtt msg=\"device refused\" "
                     "dev=d1 n=-5 error=\"limit reached\" q=\"say \\\"hi\\\"\\\\\\n\" empty=\"\" "
                     "zh=OTA升级 raw=\"\xef\xbf\xbd\\u0001\"\n");
}

/* A terminal obeys controls of C1 like those of C0, and the others turn a line around or break it:
 * a stranger's serial number must not. */
static void what_a_terminal_obeys_is_escaped(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false);
    LOG(LOG_INFO, "api", "m",
        KV("csi", "\xc2\x9b"
                  "31m"),
        KV("nel", "a\xc2\x85"), KV("nbsp", "\xc2\xa0"), KV("ls", "\xe2\x80\xa8"),
        KV("rlo", "\xe2\x80\xae"
                  "x"),
        KV("iso", "\xe2\x81\xa6"), KV("mark", "\xe2\x80\x8f"), KV("dash", "\xe2\x80\x93"));
    assert_string_equal(
        next_line(), "time=2024-08-08T09:37:20.093Z level=info room=api msg=m csi=\"\\u009b31m\" "
                     "nel=\"a\\u0085\" nbsp=\xc2\xa0 ls=\"\\u2028\" rlo=\"\\u202ex\" "
                     "iso=\"\\u2066\" mark=\"\\u200f\" dash=\xe2\x80\x93\n");
    log_setup(LOG_INFO, true);
    LOG(LOG_INFO, "api", "m", KV("csi", "\xc2\x9b"));
    assert_non_null(strstr(next_line(), "\"csi\":\"\\u009b\""));
}

static void json_lines(void **state)
{
    (void)state;
    log_setup(LOG_DEBUG, true);
    LOG(LOG_DEBUG, "http", "fine", KV("a", "x\ty"), KV_INT("n", 7));
    assert_string_equal(next_line(),
                        "{\"time\":\"2024-08-08T09:37:20.093Z\",\"level\":\"debug\",\"room\":"
                        "\"http\",\"msg\":\"fine\",\"a\":\"x\\ty\",\"n\":\"7\"}\n");
}

static void journal_lines_have_a_priority(void **state)
{
    (void)state;
    setenv("JOURNAL_STREAM", "8:1234", 1);
    log_setup(LOG_INFO, false);
    LOG(LOG_ERROR, "db", "bad");
    assert_string_equal(next_line(), "<3>level=error room=db msg=bad\n");
    log_setup(LOG_INFO, true);
    LOG(LOG_INFO, "db", "good");
    assert_string_equal(next_line(), "<6>{\"level\":\"info\",\"room\":\"db\",\"msg\":\"good\"}\n");
}

static void levels_filter(void **state)
{
    (void)state;
    log_setup(LOG_WARN, false);
    LOG(LOG_INFO, "db", "unseen");
    assert_string_equal(next_line(), "");
    LOG(LOG_WARN, "db", "seen");
    assert_non_null(strstr(next_line(), "level=warn"));
}

static void long_lines_are_cut_but_well_formed(void **state)
{
    (void)state;
    char value[9000];
    for (int json = 0; json < 2; json++)
        for (size_t n = 3800; n < 4200; n++) {
            memset(value, 'x', n);
            memcpy(value + n, "升\"", 5);
            log_setup(LOG_INFO, json);
            LOG(LOG_INFO, "db", "long", KV("v", value), KV("w", "end"));
            next_line();
            size_t len = strlen(line);
            assert_in_range(len, 3800, 4096);
            assert_true(str_is_text(line, len - 1));
            assert_int_equal(line[len - 1], '\n');
            if (json)
                assert_memory_equal(line + len - 3, "\"}", 2);
            assert_string_equal(next_line(), "");
        }
}

int test_log(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(logfmt_lines, redirect, restore),
        cmocka_unit_test_setup_teardown(what_a_terminal_obeys_is_escaped, redirect, restore),
        cmocka_unit_test_setup_teardown(json_lines, redirect, restore),
        cmocka_unit_test_setup_teardown(journal_lines_have_a_priority, redirect, restore),
        cmocka_unit_test_setup_teardown(levels_filter, redirect, restore),
        cmocka_unit_test_setup_teardown(long_lines_are_cut_but_well_formed, redirect, restore),
    };
    return cmocka_run_group_tests_name("util log", tests, NULL, NULL);
}
