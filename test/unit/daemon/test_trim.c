/* What the start took goes back, and what is needed of it comes again. */
#include "../../../src/daemon/trim.c"
#include "crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

int trim_tests(void);

static long resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
    (void)fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static volatile uint8_t sum;

static int touch_text(struct dl_phdr_info *o, size_t size, void *arg)
{
    size_t *touched = arg;

    (void)size;
    for (int i = 0; i < o->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &o->dlpi_phdr[i];
        const uint8_t *text = (const uint8_t *)(o->dlpi_addr + p->p_vaddr);

        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || !(p->p_flags & PF_R))
            continue;
        for (size_t k = 0; k < p->p_filesz; k += 4096)
            sum = (uint8_t)(sum + text[k]);
        *touched += p->p_filesz;
    }
    return 0;
}

static void code_goes_back_and_comes_again(void **state)
{
    uint8_t before[SHA256_SIZE], after[SHA256_SIZE];
    size_t touched = 0;

    (void)state;
    crypto_sha256("x", 1, before);
    (void)dl_iterate_phdr(touch_text, &touched);
    long had = resident_kib();
    trim_memory();
    assert_true(had - resident_kib() > (long)(touched / 1024) / 2);
    crypto_sha256("x", 1, after);
    assert_memory_equal(before, after, SHA256_SIZE);
}

int trim_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_goes_back_and_comes_again),
    };
    return cmocka_run_group_tests_name("daemon trim", tests, NULL, NULL);
}
