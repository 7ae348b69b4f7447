/*
 * store: firmware bytes on disk, by their SHA-256: <data_dir>/blobs/sha256/ab/cdef…  A blob is
 * complete and never changes once it has its name. Any thread; one struct store_put per thread.
 */
#pragma once

#include "crypto.h"
#include "util.h"

struct store;
int store_open(const char *data_dir, struct store **ret,
               struct fail *f) MUST_USE; /* makes the folders */
void store_close(struct store *s);

/* Receive: written to tmp/ (O_EXCL), digested while it streams. */
struct store_put;
int store_put_new(struct store *s, struct store_put **ret, struct fail *f) MUST_USE;
int store_put_write(struct store_put *p, const void *data, size_t n,
                    struct fail *f) MUST_USE; /* -ENOSPC, … */
/* fsync, rename to its name, fsync of the folder. Blocks: call it on the thread pool. The
 * digests are filled. A blob that is there already is replaced, for it may be damaged. The put
 * holds the blob (store_hold) until store_put_free: take a hold of your own before that. Once only.
 */
int store_put_commit(struct store_put *p, struct digests *ret, struct fail *f) MUST_USE;
/* The first n (up to 512) bytes received, for looking at the image. */
size_t store_put_head(const struct store_put *p, uint8_t *ret, size_t n);
uint64_t store_put_size(const struct store_put *p);
/* A row names the blob now, and is committed: after a crash it is no longer taken for one that was
 * just received. */
void store_put_named(struct store_put *p);
void store_put_free(struct store_put *p); /* drops what was not committed; NULL is fine */

/* A whole blob of that size is there, by its size. Any thread. */
bool store_has(const struct store *s, const uint8_t sha256[SHA256_SIZE], uint64_t size);
/* Open for reading: a descriptor (caller closes), or E_NOTFOUND; -EIO when its size differs. */
int store_get(struct store *s, const uint8_t sha256[SHA256_SIZE], uint64_t size,
              int *ret_fd) MUST_USE;
/* 0 also when it is held, or kept since nothing named it, and so stays (the next sweep looks
 * again); E_NOTFOUND. */
int store_delete(struct store *s, const uint8_t sha256[SHA256_SIZE]) MUST_USE;
/* Start-up sweep, before anything is received: everything in tmp/, blobs that were received but
 * got no row, and those for which used() has said no for STORE_STRAY_DAYS. Until then a blob that
 * nothing names stays: the database may be an older copy, and the right one yet to come back.
 * *ret_kept: how many do. Goes on after an error and returns the last one. */
#define STORE_STRAY_DAYS 30
int store_sweep(struct store *s, bool (*used)(void *arg, const uint8_t sha256[SHA256_SIZE]),
                void *arg, size_t *ret_kept) MUST_USE;
/* A second reference-holder guard: while held, store_sweep and store_delete leave the blob
 * alone (between commit of the bytes and commit of the row). */
void store_hold(struct store *s, const uint8_t sha256[SHA256_SIZE]);
void store_unhold(struct store *s, const uint8_t sha256[SHA256_SIZE]);

/* ---- what an image says of itself ---- */
struct image_info {
    bool is_esp;         /* magic 0xE9 and a sane header */
    bool has_descriptor; /* esp_app_desc_t with magic 0xABCD5432 */
    char version[33], project[33], idf_version[33],
        built[34]; /* NUL-terminated; what is not printable ASCII is '?'; built: date, time */
    char chip[16]; /* "ESP32", "ESP32-S3", …; "0x.." when unknown */
    uint16_t chip_id;
    uint32_t secure_version;
    uint8_t elf_sha256[SHA256_SIZE];
};
/* Pure. head is the first n bytes (288 and more for everything). */
void image_inspect(const uint8_t *head, size_t n, struct image_info *ret);
