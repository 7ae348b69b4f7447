/* Secrets, signatures and waiting times, as the Standard Webhooks specification has them. */
#include "webhook.h"

#include "crypto.h"

enum { KEY_MIN = 24, KEY_MAX = 64, KEY_NEW = 32 };

static const char prefix[] = "whsec_";

int64_t webhook_backoff_ms(int64_t attempts)
{
    static const int64_t seconds[] = {0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
    return attempts < 1 || attempts >= (int64_t)ARRAY_LEN(seconds) ? 0 : seconds[attempts] * 1000;
}

void webhook_secret_new(char ret[WEBHOOK_SECRET_MAX])
{
    uint8_t key[KEY_NEW];

    rand_bytes(key, sizeof(key));
    (void)str_copy(ret, WEBHOOK_SECRET_MAX, prefix);
    (void)b64_encode(key, sizeof(key), ret + strlen(prefix));
}

/* The key's bytes; < 0 when it is no secret. */
static int key_of(const char *secret, uint8_t ret[KEY_MAX])
{
    char text[WEBHOOK_SECRET_MAX];
    size_t n = strlen(prefix);

    if (strncmp(secret, prefix, n) != 0 || !str_copy(text, sizeof(text), secret + n))
        return E_PROTO;
    n = strlen(text);
    for (int pad = 0; pad < 2 && n > 0 && text[n - 1] == '='; pad++)
        text[--n] = '\0';
    for (char *p = text; *p; p++) {
        if (*p == '-' || *p == '_')
            return E_PROTO;
        *p = (char)(*p == '+' ? '-' : *p == '/' ? '_' : *p);
    }
    int got = b64url_decode(text, n, ret, KEY_MAX);
    return got < KEY_MIN ? E_PROTO : got;
}

bool webhook_secret_ok(const char *secret)
{
    uint8_t key[KEY_MAX];
    return key_of(secret, key) > 0;
}

static void add_signature(struct sbuf *out, const char *secret, const struct sbuf *signed_text)
{
    uint8_t key[KEY_MAX], mac[SHA256_SIZE];
    char text[64];
    int n = key_of(secret, key);

    if (n < 0)
        return;
    crypto_hmac_sha256(key, (size_t)n, signed_text->p, signed_text->n, mac);
    (void)b64_encode(mac, sizeof(mac), text);
    sbuf_fmt(out, "%sv1,%s", out->n ? " " : "", text);
}

void webhook_sign(const char *secret, const char *old, const char *id, int64_t timestamp_s,
                  const char *body, size_t n, char ret[WEBHOOK_SIGNATURE_MAX])
{
    struct sbuf text = {.p = NULL}, out = {.p = NULL};

    sbuf_fmt(&text, "%s.%lld.", id, (long long)timestamp_s);
    sbuf_add(&text, body, n);
    add_signature(&out, secret, &text);
    if (old)
        add_signature(&out, old, &text);
    (void)str_copy(ret, WEBHOOK_SIGNATURE_MAX, out.p ? out.p : "");
    sbuf_done(&text);
    sbuf_done(&out);
}
