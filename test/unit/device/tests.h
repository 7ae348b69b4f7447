/* The groups of the device room's tests. */
#pragma once

#include "domain_fixture.h"

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
/* clang-format on */

int test_rows(void);
int test_report(void);
int test_seen(void);
int test_import(void);
int test_broker(void);
int test_behind(void);
int test_presence(void);
int test_down(void);
int test_topics(void);
int test_version(void);
