/*
 * otasim rehearse: the fleet as a whole. It lets the devices connect one after the other, says
 * now and then how far they are, and ends when told to, or when all are done: each runs the
 * version that is waited for and the server has heard it, or has failed as it was meant to.
 */
#include "rehearse.h"

#include <signal.h>

enum { CONNECT_EVERY_MS = 20 };

uint16_t rehearse_version(struct rehearse *r, const char *version)
{
    size_t i = 0;

    while (i < r->n_versions && strcmp(r->versions[i], version) != 0)
        i++;
    if (i < r->n_versions)
        return (uint16_t)i;
    if (i == VERSIONS_MAX || !str_copy(r->versions[i], sizeof(r->versions[i]), version))
        return (uint16_t)(r->n_versions - 1);
    r->n_versions++;
    return (uint16_t)i;
}

void rehearse_done(struct rehearse *r, struct member *m, bool done)
{
    if (m->done == done)
        return;
    m->done = done;
    r->n_done += done ? 1 : -1;
    if (r->n_done < r->o.devices)
        return;
    loop_timer_stop(r->limit);
    if (r->o.stay)
        puts("rehearse  all are done");
    else
        loop_stop(r->loop);
}

static void on_connect(void *arg)
{
    struct rehearse *r = arg;
    int64_t due = (clock_mono_us() - r->began_us) / 1000 * r->o.connects / 1000 + 1;

    while (r->n_begun < r->o.devices && r->n_begun < due)
        member_begin(&r->members[r->n_begun++]);
    if (r->n_begun == r->o.devices)
        loop_timer_stop(r->connect);
}

static void say_progress(const struct rehearse *r)
{
    printf("rehearse  %.1f s  connected %lld of %lld  downloading %lld  done %lld  runs",
           (double)(clock_mono_us() - r->began_us) / 1e6, (long long)r->n_up,
           (long long)r->o.devices, (long long)r->n_downloading, (long long)r->n_done);
    for (size_t i = 0; i < r->n_versions; i++)
        if (r->running[i] > 0)
            printf(" %s: %lld", r->versions[i], (long long)r->running[i]);
    putchar('\n');
}

static void on_progress(void *arg)
{
    say_progress(arg);
}

static void on_limit(void *arg)
{
    struct rehearse *r = arg;

    fprintf(stderr, "otasim rehearse: %lld of %lld devices are done\n", (long long)r->n_done,
            (long long)r->o.devices);
    r->code = SIM_FAILED;
    loop_stop(r->loop);
}

static void on_signal(void *arg, int signo)
{
    struct rehearse *r = arg;

    if (signo != SIGUSR1) {
        loop_stop(r->loop);
        return;
    }
    r->mended = true;
    puts("rehearse  mended: from now on downloads do not fail");
}

int rehearse_run(struct rehearse *r)
{
    r->loop = loop_new();
    r->connect = loop_timer_new(r->loop, on_connect, r);
    r->progress = loop_timer_new(r->loop, on_progress, r);
    r->limit = loop_timer_new(r->loop, on_limit, r);
    r->members = xcalloc((size_t)r->o.devices, sizeof(*r->members));
    for (int64_t i = 0; i < r->o.devices; i++)
        member_init(r, &r->members[i], i);
    loop_on_signal(r->loop, SIGTERM, on_signal, r);
    loop_on_signal(r->loop, SIGINT, on_signal, r);
    loop_on_signal(r->loop, SIGUSR1, on_signal, r);
    r->began_us = clock_mono_us();
    loop_timer_start(r->connect, 0, CONNECT_EVERY_MS);
    if (r->o.progress_ms > 0)
        loop_timer_start(r->progress, (uint64_t)r->o.progress_ms, (uint64_t)r->o.progress_ms);
    if (r->o.timeout_ms > 0)
        loop_timer_start(r->limit, (uint64_t)r->o.timeout_ms, 0);
    loop_run(r->loop);
    say_progress(r);
    return r->code;
}

void rehearse_end(struct rehearse *r)
{
    for (int64_t i = 0; i < r->o.devices; i++)
        member_free(&r->members[i]);
    loop_timer_free(r->connect);
    loop_timer_free(r->progress);
    loop_timer_free(r->limit);
    loop_free(r->loop);
    free(r->members);
}
