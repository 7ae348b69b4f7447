/*
 * loop: the only room that sees libuv. One struct loop per thread; all functions belong to the
 * loop's own thread except where "any thread" is said. Callbacks run on the loop's thread.
 */
#pragma once

#include "util.h"

struct loop;
struct loop_timer;
struct loop_poll;
struct loop_wake;

struct loop *loop_new(void);
void loop_run(struct loop *l);  /* until loop_stop */
void loop_stop(struct loop *l); /* any thread; loop_run returns soon after */
void loop_free(struct loop *l); /* closes what is left open; not while it runs */
/* Run once without blocking, for tests; true while something is active. */
bool loop_step(struct loop *l);
/* The current thread runs this loop (or no thread runs it yet). */
bool loop_here(const struct loop *l);

/* Timers: one-shot when repeat_ms is 0. Free with loop_timer_free (safe in its own callback). */
typedef void (*loop_timer_cb)(void *arg);
struct loop_timer *loop_timer_new(struct loop *l, loop_timer_cb cb, void *arg);
void loop_timer_start(struct loop_timer *t, uint64_t after_ms, uint64_t repeat_ms);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);

/* Watch a descriptor that somebody else owns. Level-triggered. Stop watching before it closes. */
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
typedef void (*loop_poll_cb)(void *arg, int events); /* events 0 = error on the descriptor */
struct loop_poll *loop_poll_new(struct loop *l, int fd, loop_poll_cb cb, void *arg);
void loop_poll_set(struct loop_poll *p, int events); /* 0 pauses */
void loop_poll_free(struct loop_poll *p);

/* Wake a loop from any thread; wakes coalesce. */
struct loop_wake *loop_wake_new(struct loop *l, void (*cb)(void *arg), void *arg);
void loop_wake_send(struct loop_wake *w); /* any thread */
void loop_wake_free(struct loop_wake *w);

/* Called each time around, right before the loop waits for events (uv_prepare) and right after
 * (uv_check): what is collected in a turn is handed off in both. */
void loop_on_turn(struct loop *l, void (*cb)(void *arg), void *arg);

/* Slow work on libuv's thread pool; done runs on the loop. */
void loop_work(struct loop *l, void (*work)(void *arg), void (*done)(void *arg), void *arg);
/* Name lookup on the pool: done gets a numeric address ("" on failure, err says why). */
void loop_resolve(struct loop *l, const char *host,
                  void (*done)(void *arg, const char *address, const char *err), void *arg);

/* SIGTERM and friends. */
void loop_on_signal(struct loop *l, int signo, void (*cb)(void *arg, int signo), void *arg);

/* Threads, named, with a 512 KiB stack and all signals blocked. */
struct loop_thread;
struct loop_thread *loop_thread_start(const char *name, void (*fn)(void *arg), void *arg);
void loop_thread_join(struct loop_thread *t); /* joins and frees */
