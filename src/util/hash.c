/*
 * CRC-32 of firmware, SipHash for our own tables, and random bytes. The SipHash key comes from
 * the kernel before main() runs, so that a peer can't choose keys that collide; the CRC tables
 * are made at the same moment. Neither is cryptography: that is in crypto/.
 */
#include "util.h"

#include <endian.h>
#include <sys/random.h>

static struct {
    uint64_t k0, k1;
    uint32_t crc[8][256];
} g;

static void crc_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
        g.crc[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            g.crc[t][i] = g.crc[t - 1][i] >> 8 ^ g.crc[0][g.crc[t - 1][i] & 255];
}

/* Before main(), and thus before any thread: the hot paths need no once-check. */
__attribute__((constructor)) static void setup(void)
{
    rand_bytes(&g.k0, sizeof(g.k0));
    rand_bytes(&g.k1, sizeof(g.k1));
    crc_tables();
}

void rand_bytes(void *p, size_t n)
{
    char *out = p;
    while (n > 0) {
        ssize_t got = getrandom(out, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        out += got;
        n -= (size_t)got;
    }
}

uint64_t rand_u64(void)
{
    uint64_t v;
    rand_bytes(&v, sizeof(v));
    return v;
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

/* Slicing by 8 (Kounavis and Berry): eight table look-ups replace eight dependent ones. */
uint32_t crc32_update(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t c = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v = load64(p) ^ c;
        c = g.crc[7][v & 255] ^ g.crc[6][v >> 8 & 255] ^ g.crc[5][v >> 16 & 255] ^
            g.crc[4][v >> 24 & 255] ^ g.crc[3][v >> 32 & 255] ^ g.crc[2][v >> 40 & 255] ^
            g.crc[1][v >> 48 & 255] ^ g.crc[0][v >> 56];
    }
    while (n-- > 0)
        c = c >> 8 ^ g.crc[0][(c ^ *p++) & 255];
    return ~c;
}

#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))

struct sip {
    uint64_t a, b, c, d;
};

static inline void sip_round(struct sip *v)
{
    v->a += v->b;
    v->b = ROTL(v->b, 13) ^ v->a;
    v->a = ROTL(v->a, 32);
    v->c += v->d;
    v->d = ROTL(v->d, 16) ^ v->c;
    v->a += v->d;
    v->d = ROTL(v->d, 21) ^ v->a;
    v->c += v->b;
    v->b = ROTL(v->b, 17) ^ v->c;
    v->c = ROTL(v->c, 32);
}

uint64_t hash_bytes(const void *data, size_t n)
{
    const uint8_t *p = data;
    struct sip v = {g.k0 ^ 0x736f6d6570736575u, g.k1 ^ 0x646f72616e646f6du,
                    g.k0 ^ 0x6c7967656e657261u, g.k1 ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)n << 56;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t m = load64(p);
        v.d ^= m;
        sip_round(&v);
        v.a ^= m;
    }
    for (size_t i = 0; i < n; i++)
        last |= (uint64_t)p[i] << 8 * i;
    v.d ^= last;
    sip_round(&v);
    v.a ^= last;
    v.c ^= 0xff;
    sip_round(&v);
    sip_round(&v);
    sip_round(&v);
    return v.a ^ v.b ^ v.c ^ v.d;
}
