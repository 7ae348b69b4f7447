/*
 * Fuzz target: three versions, one a line. Comparing must not crash, and must be a total preorder
 * on any three texts whatever the scheme; a refusal always comes with a sentence.
 */
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

static void check(enum version_scheme s, char v[3][200])
{
    int ab = sign(version_compare(s, v[0], v[1])), bc = sign(version_compare(s, v[1], v[2]));
    int ac = sign(version_compare(s, v[0], v[2])), ba = sign(version_compare(s, v[1], v[0]));
    if (version_compare(s, v[0], v[0]) != 0 || ab != -ba || (ab <= 0 && bc <= 0 && ac > 0) ||
        (ab >= 0 && bc >= 0 && ac < 0) || (ab == 0 && ac != bc) || (bc == 0 && ac != ab))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char v[3][200] = {{0}};
    struct fail f;
    size_t which = 0, n = 0;
    for (size_t i = 0; i < size && which < 3; i++) {
        if (data[i] == '\n') {
            which++;
            n = 0;
        } else if (n + 1 < sizeof(v[0]) && data[i]) {
            v[which][n++] = (char)data[i];
        }
    }
    for (int s = VERSION_AUTO; s <= VERSION_OPAQUE; s++) {
        check((enum version_scheme)s, v);
        if (version_check((enum version_scheme)s, v[0], &f) < 0 && !f.text[0])
            abort();
    }
    return 0;
}
