/* The groups of this program. */
#pragma once

#include "db_fixture.h"
#include "store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

int put_tests(void);
int sweep_tests(void);
int image_tests(void);

/* A folder with an open store in it. */
struct place {
    char dir[64];
    struct store *s;
};
int place_setup(void **state);
int place_teardown(void **state);
#define STORE_TEST(fn) cmocka_unit_test_setup_teardown(fn, place_setup, place_teardown)

/* Put and commit n bytes; the digests, whose size says whether it worked (0: it did not). */
struct digests put_blob(struct store *s, const void *data, size_t n);
/* Regular files below <dir>/<sub>. */
size_t count_below(const struct place *p, const char *sub);
