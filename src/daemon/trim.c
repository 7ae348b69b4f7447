/*
 * What the start took goes back. Memory that was freed: every statement was compiled once, to be
 * checked. And code: initialising the libraries maps pages of their text that nothing runs again.
 * They are of files and unchanged, so the kernel brings back what is needed, from its cache.
 */
#include "daemon.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

/* Relocations in the text itself would be lost; the compilers that matter make none. */
static bool is_relocated(const struct dl_phdr_info *o)
{
    for (int i = 0; i < o->dlpi_phnum; i++) {
        if (o->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *d = (const ElfW(Dyn) *)(o->dlpi_addr + o->dlpi_phdr[i].p_vaddr);
        for (; d->d_tag != DT_NULL; d++)
            if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL)))
                return true;
    }
    return false;
}

static int drop_text(struct dl_phdr_info *o, size_t size, void *arg)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    (void)size, (void)arg;
    if (is_relocated(o))
        return 0;
    for (int i = 0; i < o->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &o->dlpi_phdr[i];
        uintptr_t from = (o->dlpi_addr + p->p_vaddr + page - 1) / page * page;
        uintptr_t to = (o->dlpi_addr + p->p_vaddr + p->p_memsz) / page * page;

        if (p->p_type == PT_LOAD && (p->p_flags & PF_X) && !(p->p_flags & PF_W) && from < to)
            (void)madvise((void *)from, to - from, MADV_DONTNEED); /* it may be locked: then not */
    }
    return 0;
}

void trim_memory(void)
{
    (void)malloc_trim(0);
    (void)dl_iterate_phdr(drop_text, NULL);
}
