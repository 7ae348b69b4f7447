/*
 * Download links. A token is the update's id, the file's number and a deadline, with a message
 * authentication code cut to 96 bits: 21 bytes, 28 characters, because an offer with its link has
 * to fit into a small device's buffer. And what a link is still good for. Pure.
 */
#include "update_priv.h"

enum { BODY = 9, MAC = 12, RAW = BODY + MAC, TEXT = RAW / 3 * 4 };
_Static_assert(RAW % 3 == 0, "whole groups, so that one token has one text");
_Static_assert(TEXT < LINK_TOKEN_MAX, "the token fits");

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void make_mac(const uint8_t key[32], const uint8_t body[BODY], uint8_t ret[SHA256_SIZE])
{
    /* A label, so that the key may serve something else as well one day. */
    uint8_t text[5 + BODY] = {'l', 'i', 'n', 'k', '1'};

    memcpy(text + 5, body, BODY);
    crypto_hmac_sha256(key, 32, text, sizeof(text), ret);
}

void link_make(const uint8_t key[32], int64_t update_id, int file_no, int64_t until_ms,
               char ret[LINK_TOKEN_MAX])
{
    uint8_t raw[RAW], mac[SHA256_SIZE];

    put_u32(raw, (uint32_t)update_id);
    raw[4] = (uint8_t)file_no;
    put_u32(raw + 5, (uint32_t)((until_ms + 999) / 1000));
    make_mac(key, raw, mac);
    memcpy(raw + BODY, mac, MAC);
    b64url_encode(raw, RAW, ret);
}

int link_read(const uint8_t key[32], const char *token, int64_t now, int64_t *ret_update_id,
              int *ret_file_no)
{
    uint8_t raw[RAW], mac[SHA256_SIZE];

    if (strnlen(token, TEXT + 1) != TEXT || b64url_decode(token, TEXT, raw, sizeof(raw)) != RAW)
        return E_AUTH;
    make_mac(key, raw, mac);
    if (!crypto_equal(mac, raw + BODY, MAC))
        return E_AUTH;
    if (now > (int64_t)get_u32(raw + 5) * 1000)
        return E_GONE;
    *ret_update_id = get_u32(raw);
    *ret_file_no = raw[4];
    return 0;
}

int update_linked_still(const struct update_linked *u, const struct firmware *fw)
{
    bool begun = u->state != UPDATE_OFFERED && u->state != UPDATE_DEFERRED;

    if (u->state < UPDATE_INSTALLING && decide_lists(fw, u->device_id) != REASON_ELIGIBLE)
        return E_GONE;
    if (u->ended && !begun) /* what waits is canceled, but not all at once */
        return E_GONE;
    return u->paused && !begun ? E_UNAVAILABLE : 0;
}
