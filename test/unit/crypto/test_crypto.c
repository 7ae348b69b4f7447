/* Digests against published vectors and against one another, tokens, and password hashes:
 * ours are read by mosquitto, and mosquitto's by us. */
#include "crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

static void assert_hex(const void *p, size_t n, const char *want)
{
    char text[2 * SHA256_SIZE + 1];
    hex_encode(p, n, text);
    assert_string_equal(text, want);
}

/* The example of a signature in EZtCloud's description of its HTTPS API. */
static void a_signature(void **state)
{
    uint8_t md5[MD5_SIZE];
    (void)state;

    crypto_md5("1626969655123456", 16, md5);
    assert_hex(md5, MD5_SIZE, "8771d774599c38b15adba116ed82ca8d");
}

static void digests_of_known_texts(void **state)
{
    (void)state;
    struct digests d;
    struct digest_stream *s = digest_new();
    digest_end(s, &d);
    digest_free(s);
    assert_int_equal(d.size, 0);
    assert_int_equal(d.crc32, 0);
    assert_hex(d.md5, MD5_SIZE, "d41d8cd98f00b204e9800998ecf8427e");
    assert_hex(d.sha1, SHA1_SIZE, "da39a3ee5e6b4b0d3255bfef95601890afd80709");

    s = digest_new();
    digest_add(s, "12345", 5);
    digest_add(s, "", 0);
    digest_add(s, "6789", 4);
    digest_end(s, &d);
    digest_free(s);
    assert_int_equal(d.size, 9);
    assert_int_equal(d.crc32, 0xcbf43926u);
    assert_hex(d.md5, MD5_SIZE, "25f9e794323b453885f5181f1b624d0b");
    assert_hex(d.sha1, SHA1_SIZE, "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
    assert_hex(d.sha256, SHA256_SIZE,
               "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
    digest_free(NULL);
}

static void any_cut_gives_the_same(void **state)
{
    (void)state;
    uint8_t raw[500], sum[SHA256_SIZE];
    rand_bytes(raw, sizeof(raw));
    crypto_sha256(raw, sizeof(raw), sum);
    for (size_t cut = 0; cut <= sizeof(raw); cut += 7) {
        struct digests d;
        struct digest_stream *s = digest_new();
        digest_add(s, raw, cut);
        digest_add(s, raw + cut, sizeof(raw) - cut);
        digest_end(s, &d);
        digest_free(s);
        assert_memory_equal(d.sha256, sum, SHA256_SIZE);
    }
}

static void hmac_of_rfc4231(void **state)
{
    (void)state;
    uint8_t key[131], sum[SHA256_SIZE];
    crypto_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, sum);
    assert_hex(sum, SHA256_SIZE,
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    crypto_hmac_sha256(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First",
                       54, sum);
    assert_hex(sum, SHA256_SIZE,
               "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    /* an empty key after another one: nothing of the other may remain */
    crypto_hmac_sha256(NULL, 0, "", 0, sum);
    assert_hex(sum, SHA256_SIZE,
               "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void hmac_with_keys_in_turn(void **state)
{
    (void)state;
    static const char *const keys[] = {"a key", "a key", "b key", "a key", "a ke", "", "a key"};
    uint8_t first[SHA256_SIZE], sum[SHA256_SIZE];
    char longer[70];

    memset(longer, 'k', sizeof(longer));
    crypto_hmac_sha256("a key", 5, "text", 4, first);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        crypto_hmac_sha256(keys[i], strlen(keys[i]), "text", 4, sum);
        assert_true((memcmp(sum, first, SHA256_SIZE) == 0) == (strcmp(keys[i], "a key") == 0));
    }
    crypto_hmac_sha256(longer, sizeof(longer), "text", 4, sum);
    assert_memory_not_equal(sum, first, SHA256_SIZE);
    crypto_hmac_sha256("a key", 5, "text", 4, sum);
    assert_memory_equal(sum, first, SHA256_SIZE);
}

static void *hmac_often(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        uint8_t sum[SHA256_SIZE];
        crypto_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, sum);
        if (sum[0] != 0x5b || sum[31] != 0x43)
            return NULL;
    }
    return arg;
}

static void hmac_from_many_threads(void **state)
{
    (void)state;
    pthread_t t[4];
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, hmac_often, t), 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        void *ret;
        pthread_join(t[i], &ret);
        assert_ptr_equal(ret, t);
    }
}

static void equal_and_tokens(void **state)
{
    (void)state;
    char a[48], b[48];
    assert_true(crypto_equal("abc", "abc", 3));
    assert_false(crypto_equal("abc", "abd", 3));
    assert_true(crypto_equal("a", "b", 0));
    crypto_token("otk_", 32, a, sizeof(a));
    crypto_token("otk_", 32, b, sizeof(b));
    assert_int_equal(strlen(a), 4 + 43);
    assert_memory_equal(a, "otk_", 4);
    assert_string_not_equal(a, b);
    assert_true(str_is_key(a, 64));
}

/* Made by mosquitto_passwd 2.0.11 -b from "hunter2", and by Python's hashlib from "pässwörd". */
static const char theirs[] = "$7$101$uztf9mvn6yjpRMzt$zkftIVDSQ2Dg0C9SH48oGgx260hLRMAxgqyjV1yuVmiv+"
                             "209LUkkAp89Hc6OweLvENKanPjnC1YgTUgrN9vX9A==";
static const char python[] = "$7$1000$AAECAwQFBgcICQoL$iRR8uENz7KFceMWL2E8N1y1A2bF3Hh4ISU4B3LW+"
                             "ZuSMCQpyYie8w9kx5VDWSXKmNRD7G/HWoqriCsdDYb6b9w==";

static void reads_what_others_wrote(void **state)
{
    (void)state;
    assert_true(crypto_password_verify("hunter2", theirs));
    assert_false(crypto_password_verify("hunter3", theirs));
    assert_false(crypto_password_verify("", theirs));
    assert_true(crypto_password_verify("p\xc3\xa4ssw\xc3\xb6rd", python));
}

static void verifies_its_own(void **state)
{
    (void)state;
    char a[CRYPTO_PASSWORD_TEXT], b[CRYPTO_PASSWORD_TEXT];
    static const char *const passwords[] = {"", "x", "hunter2", "OTA升级 with blanks"};
    for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
        crypto_password_hash(passwords[i], a);
        crypto_password_hash(passwords[i], b);
        assert_string_not_equal(a, b); /* the salt is fresh */
        assert_int_equal(strlen(a), 7 + 16 + 1 + 88);
        assert_memory_equal(a, "$7$101$", 7);
        assert_true(crypto_password_verify(passwords[i], a));
        assert_false(crypto_password_verify("other", a));
    }
}

static void refuses_broken_hashes(void **state)
{
    (void)state;
    char good[CRYPTO_PASSWORD_TEXT], text[CRYPTO_PASSWORD_TEXT];
    crypto_password_hash("x", good);
    size_t n = strlen(good);
    for (size_t cut = 0; cut < n; cut++) {
        memcpy(text, good, cut);
        text[cut] = '\0';
        assert_false(crypto_password_verify("x", text));
    }
    static const char *const bad[] = {
        "$6$101$c2FsdA==$AAAA",
        "$7$0$c2FsdA==$AAAA",
        "$7$-1$c2FsdA==$AAAA",
        "$7$99999999999$c2FsdA==$AA",
        "$7$101$$",
        "$7$101$====$====",
        "$7$101$c2FsdA==$!!!!",
        "$7$$$",
        "x",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(crypto_password_verify("x", bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_of_known_texts), cmocka_unit_test(a_signature),
        cmocka_unit_test(any_cut_gives_the_same), cmocka_unit_test(hmac_of_rfc4231),
        cmocka_unit_test(hmac_with_keys_in_turn), cmocka_unit_test(hmac_from_many_threads),
        cmocka_unit_test(equal_and_tokens),       cmocka_unit_test(reads_what_others_wrote),
        cmocka_unit_test(verifies_its_own),       cmocka_unit_test(refuses_broken_hashes),
    };
    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
