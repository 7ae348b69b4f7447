/*
 * Digests and message authentication. The algorithms are fetched once (a fetch takes locks and
 * looks names up: EVP_sha256() and friends would do it for every call). An OpenSSL that can't
 * do them is an installation that can't run this program, so failures abort with a sentence.
 */
#include "crypto.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdio.h>

static struct {
    pthread_once_t once;
    EVP_MD *md5, *sha1, *sha256;
    EVP_MAC_CTX *hmac; /* HMAC-SHA256 without a key: each thread has a copy, with its last key */
    pthread_key_t hmac_of_thread;
} g = {.once = PTHREAD_ONCE_INIT};

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    (void)fprintf(stderr, "otad: OpenSSL can't do %s\n", what);
    abort();
}

struct hmac {
    EVP_MAC_CTX *ctx;
    uint8_t key[64]; /* longer ones are not kept */
    size_t key_n;
};

static void free_hmac(void *arg)
{
    struct hmac *h = arg;
    EVP_MAC_CTX_free(h->ctx);
    OPENSSL_cleanse(h, sizeof(*h));
    free(h);
}

static void setup(void)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    g.md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    g.sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    g.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    must(g.md5 && g.sha1 && g.sha256, "MD5, SHA-1 and SHA-256");

    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    g.hmac = mac ? EVP_MAC_CTX_new(mac) : NULL;
    must(g.hmac && EVP_MAC_CTX_set_params(g.hmac, params), "HMAC-SHA256");
    EVP_MAC_free(mac);
    must(pthread_key_create(&g.hmac_of_thread, free_hmac) == 0, "HMAC-SHA256 for each thread");
}

struct digest_stream {
    struct digests sum; /* size and CRC grow here */
    EVP_MD_CTX *md5, *sha1, *sha256;
};

static EVP_MD_CTX *start(const EVP_MD *md)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    must(ctx && EVP_DigestInit_ex2(ctx, md, NULL), "digests");
    return ctx;
}

struct digest_stream *digest_new(void)
{
    struct digest_stream *d = xcalloc(1, sizeof(*d));
    pthread_once(&g.once, setup);
    d->md5 = start(g.md5);
    d->sha1 = start(g.sha1);
    d->sha256 = start(g.sha256);
    return d;
}

void digest_add(struct digest_stream *d, const void *p, size_t n)
{
    d->sum.size += n;
    d->sum.crc32 = crc32_update(d->sum.crc32, p, n);
    must(EVP_DigestUpdate(d->md5, p, n) && EVP_DigestUpdate(d->sha1, p, n) &&
             EVP_DigestUpdate(d->sha256, p, n),
         "digests");
}

void digest_end(struct digest_stream *d, struct digests *ret)
{
    must(EVP_DigestFinal_ex(d->md5, d->sum.md5, NULL) &&
             EVP_DigestFinal_ex(d->sha1, d->sum.sha1, NULL) &&
             EVP_DigestFinal_ex(d->sha256, d->sum.sha256, NULL),
         "digests");
    *ret = d->sum;
}

void digest_free(struct digest_stream *d)
{
    if (!d)
        return;
    EVP_MD_CTX_free(d->md5);
    EVP_MD_CTX_free(d->sha1);
    EVP_MD_CTX_free(d->sha256);
    free(d);
}

void crypto_md5(const void *p, size_t n, uint8_t ret[MD5_SIZE])
{
    pthread_once(&g.once, setup);
    must(EVP_Digest(p, n, ret, NULL, g.md5, NULL), "MD5");
}

void crypto_sha256(const void *p, size_t n, uint8_t ret[SHA256_SIZE])
{
    pthread_once(&g.once, setup);
    must(EVP_Digest(p, n, ret, NULL, g.sha256, NULL), "SHA-256");
}

void crypto_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n,
                        uint8_t ret[SHA256_SIZE])
{
    /* OpenSSL reads a NULL key as "keep the key that is set", which saves half of the work. */
    const void *k = key_n ? key : "";
    size_t len = 0;
    pthread_once(&g.once, setup);
    struct hmac *h = pthread_getspecific(g.hmac_of_thread);
    if (!h) {
        h = xcalloc(1, sizeof(*h));
        h->ctx = EVP_MAC_CTX_dup(g.hmac);
        must(h->ctx && pthread_setspecific(g.hmac_of_thread, h) == 0, "HMAC-SHA256");
    }
    if (key_n > 0 && key_n == h->key_n && memcmp(key, h->key, key_n) == 0)
        k = NULL;
    h->key_n = key_n <= sizeof(h->key) ? key_n : 0;
    if (k && h->key_n > 0)
        memcpy(h->key, key, key_n);
    must(EVP_MAC_init(h->ctx, k, k ? key_n : 0, NULL) && EVP_MAC_update(h->ctx, p, n) &&
             EVP_MAC_final(h->ctx, ret, &len, SHA256_SIZE) && len == SHA256_SIZE,
         "HMAC-SHA256");
}

bool crypto_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

void crypto_token(const char *prefix, size_t n_bytes, char *ret, size_t cap)
{
    uint8_t raw[64];
    size_t len = strlen(prefix);
    assert(n_bytes <= sizeof(raw) && len + (n_bytes * 4 + 2) / 3 < cap);
    memcpy(ret, prefix, len);
    rand_bytes(raw, n_bytes);
    (void)b64url_encode(raw, n_bytes, ret + len);
    OPENSSL_cleanse(raw, sizeof(raw));
}
