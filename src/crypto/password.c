/*
 * Password hashes in the form of mosquitto's password_file: "$7$<iterations>$<salt>$<hash>",
 * PBKDF2 with HMAC-SHA512, salt and hash in base64. The salt has the 12 bytes that mosquitto
 * insists on. 101 iterations are what mosquitto_passwd writes; they guard generated passwords
 * of full strength, not what people choose.
 */
#include "crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define ITERATIONS     101
#define ITERATIONS_MAX 1000000 /* a hostile file must not stop us for minutes */
#define SALT_SIZE      12
#define HASH_SIZE      64
#define SALT_MAX       48

static bool derive(const char *password, const uint8_t *salt, size_t salt_n, int64_t iterations,
                   uint8_t ret[HASH_SIZE])
{
    return PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)salt_n, (int)iterations,
                             EVP_sha512(), HASH_SIZE, ret) == 1;
}

void crypto_password_hash(const char *password, char ret[CRYPTO_PASSWORD_TEXT])
{
    uint8_t salt[SALT_SIZE], hash[HASH_SIZE];
    char salt64[(SALT_SIZE + 2) / 3 * 4 + 1], hash64[(HASH_SIZE + 2) / 3 * 4 + 1];
    rand_bytes(salt, sizeof(salt));
    if (!derive(password, salt, sizeof(salt), ITERATIONS, hash))
        abort();
    (void)b64_encode(salt, sizeof(salt), salt64);
    (void)b64_encode(hash, sizeof(hash), hash64);
    (void)str_fmt(ret, CRYPTO_PASSWORD_TEXT, "$7$%d$%s$%s", ITERATIONS, salt64, hash64);
}

/* Padded base64 in p[0..n) -> bytes; -1 when it is none or longer than cap. */
static int decode(const char *p, size_t n, uint8_t *ret, size_t cap)
{
    uint8_t raw[144];
    if (n == 0 || n % 4 != 0 || n / 4 * 3 > sizeof(raw))
        return -1;
    int len = EVP_DecodeBlock(raw, (const unsigned char *)p, (int)n);
    if (len < 0)
        return -1;
    len -= (p[n - 1] == '=') + (p[n - 2] == '=');
    if (len < 0 || (size_t)len > cap)
        return -1;
    memcpy(ret, raw, (size_t)len);
    return len;
}

bool crypto_password_verify(const char *password, const char *hash)
{
    uint8_t salt[SALT_MAX], want[HASH_SIZE], have[HASH_SIZE];
    char count[16];
    int64_t iterations;
    if (strncmp(hash, "$7$", 3) != 0)
        return false;
    const char *p = hash + 3;
    size_t n = strcspn(p, "$");
    if (p[n] != '$' || n >= sizeof(count))
        return false;
    memcpy(count, p, n);
    count[n] = '\0';
    if (num_parse(count, 1, ITERATIONS_MAX, &iterations) < 0)
        return false;
    p += n + 1;
    n = strcspn(p, "$");
    if (p[n] != '$')
        return false;
    int salt_n = decode(p, n, salt, sizeof(salt));
    p += n + 1;
    if (salt_n < 1 || decode(p, strlen(p), want, sizeof(want)) != HASH_SIZE)
        return false;
    return derive(password, salt, (size_t)salt_n, iterations, have) &&
           CRYPTO_memcmp(want, have, HASH_SIZE) == 0;
}
