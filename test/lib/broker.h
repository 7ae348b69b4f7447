/*
 * A private mosquitto for a test: a free loopback port, a temporary folder, the stock queue
 * settings. Ends with the test program. One thread.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct broker {
    int port;
    pid_t pid;  /* 0 when stopped */
    int log_fd; /* its stderr */
    char dir[64];
    char config[96];
};

/* Starts one; extra is added to its configuration (NULL: anonymous clients are allowed). Paths
 * in it are relative to the folder. Aborts with a sentence when it cannot start. */
void broker_start(struct broker *b, const char *extra);
/* Write a file into its folder, before broker_start: call broker_init first then. */
void broker_init(struct broker *b);
void broker_file(const struct broker *b, const char *name, const char *text);
/* A password file with one user. */
void broker_password(const struct broker *b, const char *user, const char *password);
/* End the process: politely (it saves its sessions), or at once. Port and folder stay. */
void broker_halt(struct broker *b, bool politely);
/* Start it again on the same port. */
void broker_resume(struct broker *b);
/* End it and remove its folder. */
void broker_stop(struct broker *b);
/* Run a program of the mosquitto package and wait: its exit status. NULL-terminated arguments. */
int broker_run(const char *program, ...) __attribute__((sentinel));
