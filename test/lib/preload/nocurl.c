/*
 * nocurl: preloaded into a program under test, it has no libcurl to load: as where that package is
 * not installed.
 */
#include <dlfcn.h>
#include <string.h>

void *dlopen(const char *name, int flags)
{
    static void *(*real)(const char *, int);

    if (!real)
        real = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    return real(name && strncmp(name, "libcurl", 7) == 0 ? "libcurl.so.none" : name, flags);
}
