/*
 * A folder that is gone after the test, with a migrated database and its writer in it. What
 * fails here aborts the test program: a fixture has nobody to tell.
 */
#pragma once

#include "db.h"

struct db_fixture {
    char dir[64];
    char path[80];
    struct db *w;
};

void db_fixture_init(struct db_fixture *fx);
void db_fixture_done(struct db_fixture *fx); /* closes w unless it is NULL; removes the folder */
struct db *db_fixture_reader(struct db_fixture *fx); /* the caller closes it */
/* Close the writer and open it again. */
void db_fixture_reopen(struct db_fixture *fx);

/* The folder alone. dir: at least 64 bytes. */
void fixture_dir_make(char *dir);
void fixture_dir_remove(const char *dir);

/* Run fn in a child of its own, for limits and crashes; returns what waitpid says. The child
 * ends with _exit(0) when fn returns; a CHECK that fails ends it with 1. */
int fixture_child(void (*fn)(void *arg), void *arg);
#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x))                                                                                  \
            fixture_check_failed(__FILE__, __LINE__, #x);                                          \
    } while (0)
_Noreturn void fixture_check_failed(const char *file, int line, const char *what);
/* The largest file this process may write; -1 for no limit. Beyond it a write fails as on a
 * full disk (EFBIG). Meant for a child. */
void fixture_limit_files(int64_t bytes);
