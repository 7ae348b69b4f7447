/*
 * Fuzz target: Range and entity tag lists. Input: 8 bytes of file size, then the header's value.
 * A range that is taken lies within the file; nothing reads past the text.
 */
#include "../../src/http/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t file_size, first = 0, last = 0;

    if (size < sizeof(file_size))
        return 0;
    memcpy(&file_size, data, sizeof(file_size));
    char *text = xstrndup((const char *)data + sizeof(file_size), size - sizeof(file_size));
    if (range_parse(text, file_size, &first, &last) == RANGE_OK &&
        (first > last || last >= file_size))
        abort();
    (void)etag_listed(text, "abc");
    if (etag_same(text, "abc") && !etag_listed(text, "abc"))
        abort();
    free(text);
    return 0;
}
