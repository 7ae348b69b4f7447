/* The groups of the util tests, one per file; main.c runs them all. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* cmocka has macros of these names, util.h a function. */
#undef fail
#undef fail_msg
#define fail_msg(...)                                                                              \
    do {                                                                                           \
        print_error(__VA_ARGS__);                                                                  \
        print_error("\n");                                                                         \
        _fail(__FILE__, __LINE__);                                                                 \
    } while (0)

int test_basics(void);
int test_text(void);
int test_map(void);
int test_time(void);
int test_zone(void);
int test_version(void);
int test_log(void);
int test_ring(void);
int test_metric(void);
