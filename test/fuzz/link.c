/*
 * Fuzz target: download links and the text of coverage, the two that read bytes from outside or
 * from a row. A token that was not made with the key must never pass; coverage must survive any
 * text and its own output must read back the same.
 */
#include "../../src/update/update_priv.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint8_t key[32] = "a key that no input knows of it";
    char *text = xmalloc(n + 1);
    struct coverage c, back;
    struct arena a;
    int64_t id;
    int no;

    memcpy(text, data, n);
    text[n] = '\0';
    assert(link_read(key, text, 0, &id, &no) == E_AUTH);

    arena_init(&a);
    coverage_read(&c, text);
    coverage_read(&back, coverage_text(&c, &a));
    assert(coverage_bytes(&c) == coverage_bytes(&back));
    arena_done(&a);
    free(text);
    return 0;
}
