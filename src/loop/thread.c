/*
 * Named threads with a small stack. All signals are blocked in them, so that the thread that
 * runs loop_on_signal is the one that gets them.
 */
#include "internal.h"

#include <signal.h>

enum { STACK_BYTES = 512 * 1024 };

struct loop_thread {
    pthread_t id;
    void (*fn)(void *arg);
    void *arg;
    char name[16]; /* the kernel's bound */
};

static void *thread_main(void *arg)
{
    struct loop_thread *t = (struct loop_thread *)arg;
    pthread_setname_np(pthread_self(), t->name);
    t->fn(t->arg);
    return NULL;
}

struct loop_thread *loop_thread_start(const char *name, void (*fn)(void *arg), void *arg)
{
    struct loop_thread *t = xcalloc(1, sizeof(*t));
    t->fn = fn;
    t->arg = arg;
    str_copy(t->name, sizeof(t->name), name);

    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigset_t all, before;
    crash_only(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a thread starts with its maker's mask */
    int rc = pthread_create(&t->id, &attr, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        LOG(LOG_ERROR, "loop", "cannot start a thread", KV("thread", name), KV_RC(-rc));
        abort();
    }
    return t;
}

void loop_thread_join(struct loop_thread *t)
{
    if (!t)
        return;
    pthread_join(t->id, NULL);
    free(t);
}
