/*
 * The end by a signal that says that the process itself failed: assert and abort, a fault, or the
 * SIGABRT of a watchdog. What the ring holds is written, then the signal does what it would have
 * done. Everything on this path is safe in a signal handler: no allocation, no lock, no stdio.
 */
#include "util.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)65536)
#define DUMP_MAX_S  5 /* for a reader of stderr that takes nothing */

static const struct {
    int signo;
    const char *name;
} fatal[] = {
    {SIGABRT, "SIGABRT"}, {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},
    {SIGILL, "SIGILL"},   {SIGFPE, "SIGFPE"},
};
static struct sigaction before[ARRAY_LEN(fatal)];
static _Atomic pid_t dumping; /* the thread that does it */

static void dump(const char *name)
{
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(DUMP_MAX_S);
    LOG(LOG_ERROR, "daemon", "a fatal signal; what was not printed before it follows",
        KV("signal", name));
    log_dump();
}

static void on_fatal(int signo, siginfo_t *info, void *context UNUSED)
{
    pid_t self = gettid(), other = 0;
    size_t i = 0;

    while (fatal[i].signo != signo)
        i++;
    if (atomic_compare_exchange_strong(&dumping, &other, self))
        dump(fatal[i].name);
    else if (other != self)
        for (;;)
            (void)pause(); /* who was first ends the process */
    (void)sigaction(signo, &before[i], NULL);
    if (info->si_code <= 0) /* sent; a fault comes again by itself */
        (void)raise(signo);
}

void crash_setup(void)
{
    /* A stack that ran over can't carry its own handler. That of a sanitizer is good, too. */
    stack_t stack = {.ss_size = STACK_BYTES}, there;
    if (sigaltstack(NULL, &there) == 0 && there.ss_flags & SS_DISABLE) {
        stack.ss_sp =
            mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack.ss_sp != MAP_FAILED)
            (void)sigaltstack(&stack, NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++) {
        struct sigaction act = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigemptyset(&act.sa_mask);
        (void)sigaction(fatal[i].signo, &act, &before[i]);
        if (before[i].sa_handler == SIG_IGN)
            before[i].sa_handler = SIG_DFL;
    }
}

void crash_only(sigset_t *ret)
{
    sigfillset(ret);
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        sigdelset(ret, fatal[i].signo);
}
