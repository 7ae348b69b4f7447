/* Fixtures for tests that touch the disk: a folder, a database in it, a child process. */
#include "db_fixture.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

_Noreturn void fixture_check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
    fflush(stderr);
    _exit(1);
}

static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "fixture: %s: %s\n", what, why);
    abort();
}

void fixture_dir_make(char *dir)
{
    const char *tmp = getenv("TMPDIR");

    if (!str_fmt(dir, 64, "%s/otad-test-XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp"))
        give_up("TMPDIR", "is too long");
    if (!mkdtemp(dir))
        give_up("mkdtemp", strerror(errno));
}

static int remove_one(const char *path, const struct stat *st UNUSED, int flag UNUSED,
                      struct FTW *ftw UNUSED)
{
    return remove(path);
}

void fixture_dir_remove(const char *dir)
{
    if (nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        give_up(dir, strerror(errno));
}

static struct db *open_db(struct db_fixture *fx, int mode)
{
    struct fail f = {0};
    struct db *db;

    if (db_open(fx->path, mode, 2000, &db, &f) < 0)
        give_up("db_open", f.text);
    return db;
}

void db_fixture_init(struct db_fixture *fx)
{
    fixture_dir_make(fx->dir);
    (void)str_fmt(fx->path, sizeof(fx->path), "%s/otad.db", fx->dir);
    fx->w = open_db(fx, DB_WRITE);
}

void db_fixture_done(struct db_fixture *fx)
{
    db_close(fx->w);
    fx->w = NULL;
    fixture_dir_remove(fx->dir);
}

struct db *db_fixture_reader(struct db_fixture *fx)
{
    return open_db(fx, DB_READ);
}

void db_fixture_reopen(struct db_fixture *fx)
{
    db_close(fx->w);
    fx->w = open_db(fx, DB_WRITE);
}

int fixture_child(void (*fn)(void *arg), void *arg)
{
    int status = 0;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0)
        give_up("fork", strerror(errno));
    if (pid == 0) {
        fn(arg);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            give_up("waitpid", strerror(errno));
    return status;
}

void fixture_limit_files(int64_t bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0)
        give_up("getrlimit", strerror(errno));
    limit.rlim_cur = bytes < 0 ? limit.rlim_max : (rlim_t)bytes;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        give_up("setrlimit", strerror(errno));
}
