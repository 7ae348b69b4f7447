/* Loading libcurl: every function or none. It stays until the process ends. */
#include "curl_lib.h"

#include <dlfcn.h>
#include <pthread.h>

struct curl_lib curl_lib;

static struct {
    pthread_once_t once;
    char error[192]; /* "" = it is there */
} state = {.once = PTHREAD_ONCE_INIT};

static void load(void)
{
    void *so = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    void *p = so;

#define FIND(name)                                                                                 \
    if (p && (p = dlsym(so, #name)))                                                               \
        memcpy(&curl_lib.name##_p, &p, sizeof(p));
    CURL_FUNCTIONS(FIND)
#undef FIND
    if (!p) {
        const char *why = dlerror();
        (void)str_copy(state.error, sizeof(state.error), why ? why : "libcurl.so.4 is incomplete");
        return;
    }
    (void)curl_lib.curl_global_init_p(CURL_GLOBAL_DEFAULT);
}

int curl_load(struct fail *f)
{
    pthread_once(&state.once, load);
    return state.error[0]
               ? fail(f, E_UNAVAILABLE, "Webhooks need libcurl (libcurl4): %s.", state.error)
               : 0;
}
