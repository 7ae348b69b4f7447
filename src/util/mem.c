/*
 * Memory that is always there. A daemon that can't get a few hundred bytes is better restarted
 * than half alive, so these abort; sizes that come from outside are bounded before they reach
 * this file.
 */
#include "util.h"

#include <unistd.h>

static void *or_abort(void *p)
{
    if (!p) {
        static const char text[] = "otad: out of memory\n";
        ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);
        (void)n;
        abort();
    }
    return p;
}

void *xmalloc(size_t n)
{
    return or_abort(malloc(n ? n : 1));
}

void *xcalloc(size_t n, size_t size)
{
    return or_abort(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n)
{
    return or_abort(realloc(p, n ? n : 1));
}

char *xstrdup(const char *s)
{
    return or_abort(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
    return or_abort(strndup(s, n));
}
