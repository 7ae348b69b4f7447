/* Fuzz target: image_inspect reads what a stranger uploaded. Its texts always end and are plain. */
#include "store.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_text(const char *s, size_t cap)
{
    size_t n = strnlen(s, cap);

    assert(n < cap);
    for (size_t i = 0; i < n; i++)
        assert(s[i] >= 0x20 && s[i] <= 0x7e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct image_info info;

    memset(&info, 0xff, sizeof(info));
    image_inspect(data, n, &info);
    check_text(info.version, sizeof(info.version));
    check_text(info.project, sizeof(info.project));
    check_text(info.idf_version, sizeof(info.idf_version));
    check_text(info.built, sizeof(info.built));
    check_text(info.chip, sizeof(info.chip));
    assert(info.is_esp || !info.has_descriptor);
    assert(info.has_descriptor || !info.version[0]);
    return 0;
}
