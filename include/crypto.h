/*
 * crypto: the only room that sees OpenSSL. Digests of firmware, message authentication for
 * download links, password hashes as mosquitto reads them. All functions: any thread.
 */
#pragma once

#include "util.h"

#define MD5_SIZE    16
#define SHA1_SIZE   20
#define SHA256_SIZE 32

/* The four digests of one stream, computed together. */
struct digests {
    uint64_t size;
    uint32_t crc32;
    uint8_t md5[MD5_SIZE], sha1[SHA1_SIZE], sha256[SHA256_SIZE];
};
struct digest_stream;
struct digest_stream *digest_new(void); /* never NULL; aborts when OpenSSL lacks a digest */
void digest_add(struct digest_stream *d, const void *p, size_t n);
void digest_end(struct digest_stream *d,
                struct digests *ret); /* the stream can only be freed after */
void digest_free(struct digest_stream *d);

void crypto_md5(const void *p, size_t n, uint8_t ret[MD5_SIZE]); /* for protocols that ask for it */
void crypto_sha256(const void *p, size_t n, uint8_t ret[SHA256_SIZE]);
void crypto_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n,
                        uint8_t ret[SHA256_SIZE]);
/* Constant-time comparison. */
bool crypto_equal(const void *a, const void *b, size_t n);
/* Random token text: n random bytes as base64url, appended to prefix ("otk_"). */
void crypto_token(const char *prefix, size_t n_bytes, char *ret, size_t cap);

/* A password as mosquitto's password_file holds it: "$7$<iterations>$<salt>$<hash>",
 * PBKDF2-SHA512, 101 iterations (mosquitto_passwd(1), 2.0). A fresh random salt. */
#define CRYPTO_PASSWORD_TEXT 160
void crypto_password_hash(const char *password, char ret[CRYPTO_PASSWORD_TEXT]);
/* True when the password matches such a text. Constant time in the comparison. */
bool crypto_password_verify(const char *password, const char *hash);
