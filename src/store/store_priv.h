/* What the files of room store share. Nobody else. */
#pragma once

#include "store.h"

#include <pthread.h>

#define STORE_HEAD 512

struct store {
    int blobs_fd, tmp_fd;  /* <data_dir>/blobs/sha256 and <data_dir>/tmp */
    int strays_fd;         /* <data_dir>/strays */
    pthread_mutex_t mutex; /* over held, and over the step from "is it held?" to unlink */
    struct map held;       /* sha256 -> number of holders */
};

#define STORE_NAME_CAP (SHA256_SIZE * 2 + 2)
/* "ab/cdef…"; its first two characters are the folder. */
void store_blob_name(const uint8_t sha256[SHA256_SIZE], char ret[STORE_NAME_CAP]);
/* ---- blobs that nothing names (stray.c) ---- */
/* Unless it is noted already. What can't be noted is no worse off: it is met anew later. */
void stray_note(struct store *s, const uint8_t sha256[SHA256_SIZE], int64_t since_ms);
int64_t stray_since(struct store *s, const uint8_t sha256[SHA256_SIZE]); /* ms; -1: not noted */
void stray_forget(struct store *s, const uint8_t sha256[SHA256_SIZE]);

/* fsync of a folder that stands in dir_fd. */
int store_sync_dir(int dir_fd, const char *name) MUST_USE;
