/*
 * sim: what the files of otasim share. One process, one loop, one subcommand. Nothing of the
 * daemon's domain is used: what a device knows of the protocol is written here a second time,
 * on purpose, so that a mistake in the dialect room can't hide behind the same mistake here.
 */
#pragma once

#include "crypto.h"
#include "loop.h"
#include "mqtt.h"
#include "util.h"

#include <stdio.h>

enum { SIM_OK = 0, SIM_FAILED = 1, SIM_USAGE = 2 };

/* ---- subcommands: argv[0] is the subcommand's name; the result is the exit code ---- */
int sim_device(int argc, char **argv);
int sim_fleet(int argc, char **argv);
int sim_logins(int argc, char **argv);
int sim_storm(int argc, char **argv);
int sim_rehearse(int argc, char **argv);
int sim_echo(int argc, char **argv);
int sim_import_rows(int argc, char **argv);

/* ---- options (opt.c): each prints to stderr what is wrong and returns SIM_USAGE ---- */
struct sim_broker {
    char host[256];
    int port;
    const char *username, *password, *client_id; /* NULL = not given */
};
int sim_opt_broker(const char *text, struct sim_broker *ret) MUST_USE; /* HOST:PORT, [v6]:PORT */
int sim_opt_int(const char *name, const char *text, int64_t min, int64_t max,
                int64_t *ret) MUST_USE;
/* Seconds with a fraction -> milliseconds. */
int sim_opt_seconds(const char *name, const char *text, int64_t *ret_ms) MUST_USE;
int sim_opt_stray(int argc, char **argv, int from) MUST_USE; /* words that no option took */

/* ---- latencies (hist.c): 1 us to hours, error below 2 % ---- */
#define HIST_SUB     64
#define HIST_BUCKETS (HIST_SUB * 30)
struct hist {
    uint64_t count, sum_us, max_us;
    uint64_t bucket[HIST_BUCKETS];
};
void hist_add(struct hist *h, int64_t us);
double hist_ms(const struct hist *h, double quantile); /* 0 when empty */
/* "count":…,"mean_ms":…,"p50_ms":… without braces. */
void hist_json(const struct hist *h, struct sbuf *out);

/* ---- the device's side of the protocol (wire.c) ---- */
struct wire_file {
    char *url;
    int64_t size;
    char md5[33], sha256[65]; /* "" = not said */
};
enum { WIRE_FILES_MAX = 5 };
struct wire_offer {
    bool upgrade;
    char *module, *version;
    int64_t id;
    struct wire_file files[WIRE_FILES_MAX];
    size_t n_files;
};
void wire_offer_done(struct wire_offer *o);
/* An otaUpgrade command; E_UNSUPPORTED when it is another command, E_PROTO when it is broken. */
int wire_offer_parse(const void *payload, size_t n, struct wire_offer *ret,
                     struct fail *f) MUST_USE;
/* What is wrong with the bytes that came, a sentence; NULL = they are what was offered. */
const char *wire_file_differs(const struct wire_file *file, const struct digests *got);
char *wire_report(const char *attribute, const char *version); /* caller frees */
char *wire_check(const char *event);
char *wire_reply(int64_t id, int result);

/* ---- downloads (fetch.c): HTTP/1.1 over one socket, goes on by Range after a cut ---- */
struct fetch;
struct fetch_options {
    const char *url; /* http:// only */
    int64_t size;    /* expected; -1 = whatever comes */
    int save_fd;     /* -1 = the bytes are only hashed; stays the caller's */
    int attempts;    /* connections at most */
    int64_t retry_ms, stall_ms;
    int64_t cut_after; /* breaks the first connection after so many bytes; -1 = doesn't */
    int64_t rate;      /* bytes in a second at most; 0 = as they come */
    /* A sentence now and then: "resumes at byte 4096 (the server closed the connection)". */
    void (*on_note)(void *arg, const char *text);
    /* Once: rc 0 and the digests, or what went wrong. May free the fetch. */
    void (*on_done)(void *arg, int rc, const char *why, const struct digests *d);
    void *arg;
};
/* Starts at once; on_done comes later, never from inside this call. */
struct fetch *fetch_new(struct loop *l, const struct fetch_options *o);
void fetch_free(struct fetch *f);

/* Parts of the client that know no socket (fetch_head.c). */
struct fetch_url {
    char authority[300], host[256];
    int port;
    const char *path; /* inside the text given */
};
int fetch_url_parse(const char *url, struct fetch_url *ret, struct fail *f) MUST_USE;
struct fetch_head {
    int status;
    int64_t length, from; /* -1 = not said */
    char etag[128];       /* with its quotes; "" = none */
};
/* The status line and header lines up to the blank line, NUL-terminated; changed in place. */
int fetch_head_parse(char *text, struct fetch_head *ret, struct fail *f) MUST_USE;
