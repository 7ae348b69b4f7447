/* What the files of these tests share: include before <cmocka.h>. */
#pragma once

#include "dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

const char *golden(struct arena *a, const struct dialect *dialect, const char *part,
                   const char *name);
char *slurp(struct arena *a, const char *path, size_t *ret_n);
void render(struct sbuf *b, int rc, const struct device_events *evs, enum metric refused);
/* Every file of test/golden/DIALECT/PART; returns how many. */
unsigned golden_each(const struct dialect *dialect, const char *part,
                     void (*one)(const struct dialect *dialect, const char *name));

int run_mapped_tests(void);
