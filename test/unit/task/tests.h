/* The groups of the task room's tests, and what they share. */
#pragma once

#include "domain_fixture.h"
#include "task.h"

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
/* clang-format on */

int test_schedule(void);
int test_task(void);
int test_kept(void);
int test_consent(void);
