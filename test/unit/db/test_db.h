/* The groups of this program, and what they share. */
#pragma once

#include "db_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

int embed_tests(void);
int stmt_tests(void);
int tx_tests(void);
int migrate_tests(void);
int backup_tests(void);
int thread_tests(void);

/* db_run of setting_put. */
int put_setting(struct db *db, const char *name, const char *value);
/* Heap copy of the value, or NULL. */
char *get_setting(struct db *db, const char *name);
int64_t count_settings(struct db *db);
/* A text of n characters; static, the same one each time. n up to 1 MiB. */
const char *long_text(size_t n);

int fixture_setup(void **state);
int fixture_teardown(void **state);
#define DB_TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
