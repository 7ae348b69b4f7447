/* Lines that were not printed, and how they come out: asked for, and when the process dies. */
#include "tests.h"
#include "util.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int saved_stderr, memory_fd;
static char text[1 << 20];

static int redirect(void **state)
{
    (void)state;
    memory_fd = memfd_create("stderr", MFD_CLOEXEC);
    saved_stderr = dup(STDERR_FILENO);
    if (memory_fd < 0 || saved_stderr < 0)
        return -1;
    dup2(memory_fd, STDERR_FILENO);
    clock_fake_ms(1723109840093);
    unsetenv("JOURNAL_STREAM");
    log_setup(LOG_INFO, false);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(memory_fd);
    clock_fake_ms(0);
    unsetenv("JOURNAL_STREAM");
    log_setup(LOG_INFO, false);
    return 0;
}

/* What was written since the last call. */
static const char *written(void)
{
    ssize_t n = pread(memory_fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    assert_int_equal(ftruncate(memory_fd, 0), 0);
    assert_int_equal(lseek(memory_fd, 0, SEEK_SET), 0);
    return text;
}

/* So that nothing of an earlier test is left. */
static void fill_ring(const char *msg)
{
    for (int i = 0; i < 600; i++)
        LOG(LOG_DEBUG, "db", msg, KV_INT("i", i));
}

static unsigned count_lines(const char *s, const char *with)
{
    unsigned n = 0;
    for (const char *p = s; (p = strstr(p, with)); p++)
        n++;
    return n;
}

static void the_last_lines_are_kept_in_order(void **state)
{
    (void)state;
    fill_ring("filler");
    LOG(LOG_INFO, "core", "printed");
    LOG(LOG_DEBUG, "core", "kept", KV("none", NULL), KV("q", "a \"b\"\n"), KV_INT("n", INT64_MIN),
        KV_RC(E_LIMIT));
    assert_string_equal(written(),
                        "time=2024-08-08T09:37:20.093Z level=info room=core msg=printed\n");
    log_dump();
    const char *all = written();
    assert_int_equal(count_lines(all, "\n"), 512);
    assert_null(strstr(all, "printed"));
    for (int i = 600 - 511; i < 600; i++) {
        char line[128];
        (void)snprintf(line, sizeof(line),
                       "time=2024-08-08T09:37:20.093Z level=debug room=db msg=filler i=%d\n", i);
        assert_memory_equal(all, line, strlen(line));
        all += strlen(line);
    }
    assert_string_equal(all,
                        "time=2024-08-08T09:37:20.093Z level=debug room=core msg=kept "
                        "q=\"a \\\"b\\\"\\n\" n=-9223372036854775808 error=\"limit reached\"\n");
}

static void kept_lines_of_a_journal_and_of_json(void **state)
{
    (void)state;
    fill_ring("filler");
    LOG(LOG_DEBUG, "core", "kept", KV("k", "v"));
    setenv("JOURNAL_STREAM", "8:1234", 1);
    log_setup(LOG_INFO, false);
    log_dump();
    assert_non_null(strstr(written(), "\n<7>time=2024-08-08T09:37:20.093Z level=debug room=core "
                                      "msg=kept k=v\n"));
    unsetenv("JOURNAL_STREAM");
    log_setup(LOG_INFO, true);
    log_dump();
    assert_non_null(strstr(written(),
                           "\n{\"time\":\"2024-08-08T09:37:20.093Z\",\"level\":\"debug\","
                           "\"room\":\"core\",\"msg\":\"kept\",\"k\":\"v\"}\n"));
}

static void long_values_are_cut(void **state)
{
    char value[1000];
    (void)state;
    for (size_t n = 150; n < 260; n++) {
        memset(value, 'x', n);
        memcpy(value + n, "升", 4);
        LOG(LOG_DEBUG, "core", "long", KV("v", value), KV("w", "end"));
        LOG(LOG_DEBUG, value, value, KV("v", value));
    }
    log_dump();
    const char *all = written();
    assert_true(str_utf8(all, 4) > 0);
    for (const char *p = all; *p; p += strcspn(p, "\n") + 1)
        assert_true(str_is_text(p, strcspn(p, "\n")));
    assert_non_null(strstr(all, "w=end\n"));
    assert_null(strstr(all, "=\n"));
}

static void rooms_have_levels_of_their_own(void **state)
{
    struct fail f = {0};
    (void)state;
    assert_int_equal(log_rooms_check("mqtt=debug, db=warn core=error,,", &f), 0);
    log_setup(LOG_INFO, false);
    log_rooms_set("mqtt=debug, db=warn core=error,,");
    LOG(LOG_DEBUG, "mqtt", "seen");
    LOG(LOG_INFO, "db", "unseen");
    LOG(LOG_WARN, "db", "seen");
    LOG(LOG_WARN, "core", "unseen");
    LOG(LOG_DEBUG, "http", "unseen");
    LOG(LOG_INFO, "http", "seen");
    LOG(LOG_INFO, "no-such", "seen");
    const char *all = written();
    assert_int_equal(count_lines(all, "msg=seen"), 4);
    assert_null(strstr(all, "unseen"));
    log_setup(LOG_INFO, false); /* forgets them */
    LOG(LOG_DEBUG, "mqtt", "unseen");
    LOG(LOG_INFO, "core", "seen");
    assert_int_equal(count_lines(written(), "seen"), 1);
}

static void wrong_rooms_are_named(void **state)
{
    static const struct {
        const char *text, *said;
    } wrong[] = {
        {"mqt=debug", "'mqt' is no room; the nearest is mqtt"},
        {"db=loud", "db: 'loud' is not one of error|warn|info|debug"},
        {"db", "'db' is no room=level, such as mqtt=debug"},
        {"db=", "db: '' is not one of error|warn|info|debug"},
        {"db=info, db=info", "db stands twice; keep one of them"},
        {"a-word-that-has-many-more-letters-than-all-of-the-rooms-together=debug",
         "'a-word-that-has-many-more-letters-than-a…' is no room=level, such as mqtt=debug"},
    };
    (void)state;
    log_rooms_set("db=error");
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct fail f = {0};
        assert_int_equal(log_rooms_check(wrong[i].text, &f), E_PROTO);
        assert_string_equal(f.text, wrong[i].said);
        log_rooms_set(wrong[i].text); /* changes nothing */
    }
    LOG(LOG_WARN, "db", "unseen");
    assert_string_equal(written(), "");
}

static void *write_many(void *arg)
{
    for (int i = 0; i < 20000; i++)
        LOG(LOG_DEBUG, "core", arg, KV("same", arg), KV_INT("i", i));
    return NULL;
}

static void threads_write_whole_lines(void **state)
{
    static const char *const names[] = {"aaaaaaaa", "bbbbbbbbbbbb", "cccccccccccccccc"};
    pthread_t threads[ARRAY_LEN(names)];
    (void)state;
    fill_ring("filler");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, (void *)(uintptr_t)names[i]),
                         0);
    for (int i = 0; i < 5; i++)
        log_dump(); /* while they write */
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        pthread_join(threads[i], NULL);
    log_dump();
    for (const char *p = written(); *p; p += strcspn(p, "\n") + 1) {
        char msg[32], same[32];
        int i;
        if (strncmp(strstr(p, "room=") + 5, "db ", 3) == 0)
            continue;
        assert_int_equal(
            sscanf(p, "time=%*s level=debug room=core msg=%31s same=%31s i=%d\n", msg, same, &i),
            3);
        assert_string_equal(msg, same);
    }
}

/* ---- the end of a process ---- */

static void *fault(void *arg)
{
    volatile char *page = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *page = 1;
    return arg;
}

static void fault_in_thread(void)
{
    pthread_t thread;
    sigset_t set;
    crash_only(&set); /* as threads here have it */
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    pthread_create(&thread, NULL, fault, NULL);
    pthread_join(thread, NULL);
}

static void fault_here(void)
{
    fault(NULL);
}

__attribute__((noinline)) static int run_over(volatile char *above, int depth)
{
    volatile char frame[4096] = {above[0]};
    return depth < INT_MAX ? run_over(frame, depth + 1) + frame[0] : 0;
}

static void stack_runs_over(void)
{
    char first[1] = "";
    (void)run_over(first, 0);
}

static void be_told(void)
{
    (void)kill(getpid(), SIGABRT);
}

static void die(void (*how)(void), const char *name, int signo)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
        for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
            (void)signal(fatal[i], SIG_DFL); /* not those of the test program */
        crash_setup();
        LOG(LOG_DEBUG, "core", "what it did last", KV("dev", "d1"));
        how();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), signo);
    const char *all = written(), *at = strstr(all, "level=error room=daemon msg=\"a fatal signal");
    assert_non_null(at);
    assert_non_null(strstr(at, name));
    assert_non_null(strstr(at, "level=debug room=core msg=\"what it did last\" dev=d1\n"));
}

static void the_ring_comes_out_at_the_end(void **state)
{
    (void)state;
    die(abort, "signal=SIGABRT", SIGABRT);
    die(be_told, "signal=SIGABRT", SIGABRT);
    die(fault_here, "signal=SIGSEGV", SIGSEGV);
    die(fault_in_thread, "signal=SIGSEGV", SIGSEGV);
    die(stack_runs_over, "signal=SIGSEGV", SIGSEGV);
}

int test_ring(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_lines_are_kept_in_order, redirect, restore),
        cmocka_unit_test_setup_teardown(kept_lines_of_a_journal_and_of_json, redirect, restore),
        cmocka_unit_test_setup_teardown(long_values_are_cut, redirect, restore),
        cmocka_unit_test_setup_teardown(rooms_have_levels_of_their_own, redirect, restore),
        cmocka_unit_test_setup_teardown(wrong_rooms_are_named, redirect, restore),
        cmocka_unit_test_setup_teardown(threads_write_whole_lines, redirect, restore),
        cmocka_unit_test_setup_teardown(the_ring_comes_out_at_the_end, redirect, restore),
    };
    return cmocka_run_group_tests_name("util ring", tests, NULL, NULL);
}
