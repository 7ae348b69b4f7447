/* What the conf tests share: a clean environment and a configuration from a text. */
#pragma once

#include "conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* cmocka has a macro of this name; the tests don't use it. */
#undef fail

extern char conf_path[]; /* the file that load_text() writes, mode 0600 */

int clean_environment(void **state);
int load_bytes(const void *p, size_t n, struct conf **ret, struct fail *f);
int load_text(const char *text, struct conf **ret, struct fail *f);
/* Loading text fails with E_PROTO and a sentence "<path>:<line>: …<part>…". */
void assert_refused(const char *text, int line, const char *part);

int test_toml(void);
int test_load(void);
int test_check(void);
