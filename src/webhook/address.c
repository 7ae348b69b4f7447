/*
 * Where messages may go: URLs of https, and addresses of the public internet. A name is judged by
 * the address that a connection is about to be made to, so no answer of a name server slips past.
 */
#include "webhook.h"

#include "curl_lib.h"

#include <netinet/in.h>
#include <sys/socket.h>

static const struct {
    uint32_t net;
    int bits;
} not_public_v4[] = {
    {0x00000000, 8},  /* "this" network */
    {0x0a000000, 8},  /* private */
    {0x64400000, 10}, /* carriers' own */
    {0x7f000000, 8},  /* loopback */
    {0xa9fe0000, 16}, /* link-local */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* protocol assignments */
    {0xc0000200, 24}, /* documentation */
    {0xc0586300, 24}, /* relays of 6to4 */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks */
    {0xc6336400, 24}, /* documentation */
    {0xcb007100, 24}, /* documentation */
    {0xe0000000, 4},  /* multicast */
    {0xf0000000, 4},  /* reserved, broadcast */
};

static bool v4_is_public(uint32_t a)
{
    for (size_t i = 0; i < ARRAY_LEN(not_public_v4); i++)
        if (((a ^ not_public_v4[i].net) >> (32 - not_public_v4[i].bits)) == 0)
            return false;
    return true;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool v6_is_public(const struct in6_addr *in)
{
    const uint8_t *a = in->s6_addr;

    if (IN6_IS_ADDR_V4MAPPED(in))
        return v4_is_public(be32(a + 12));
    if ((a[0] & 0xe0) != 0x20) /* global unicast alone */
        return false;
    if (a[0] == 0x20 && a[1] == 0x02) /* 6to4: an IPv4 address in disguise */
        return false;
    if (a[0] == 0x20 && a[1] == 0x01 && a[2] < 2) /* Teredo and other assignments */
        return false;
    if (be32(a) == 0x20010db8 || (be32(a) & 0xfffff000) == 0x3fff0000) /* documentation */
        return false;
    return true;
}

bool webhook_address_is_public(const void *sa)
{
    sa_family_t family;

    memcpy(&family, (const char *)sa + offsetof(struct sockaddr, sa_family), sizeof(family));
    if (family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, sa, sizeof(v4));
        return v4_is_public(ntohl(v4.sin_addr.s_addr));
    }
    if (family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, sa, sizeof(v6));
        return v6_is_public(&v6.sin6_addr);
    }
    return false;
}

static bool has_part(CURLU *u, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK && text && *text;
    curl_free(text);
    return has;
}

int webhook_url_check(const char *url, bool plain, struct fail *f)
{
    int rc = curl_load(f);

    if (rc < 0)
        return rc;
    CURLU *u = curl_url();
    char *scheme = NULL;
    if (!u)
        return fail(f, E_UNAVAILABLE, "out of memory");
    if (strlen(url) > WEBHOOK_URL_MAX || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK || !has_part(u, CURLUPART_HOST))
        rc = fail(f, E_PROTO, "This is no URL such as https://example.com/hook.");
    else if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        rc = fail(f, E_PROTO, "The URL must begin with https://.");
    else if (strcmp(scheme, "http") == 0 && !plain)
        rc = fail(f, E_PROTO,
                  "The URL must begin with https://; http:// is taken where the "
                  "configuration has webhooks.allow_private.");
    else if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD))
        rc = fail(f, E_PROTO, "A login has no place in the URL: the signature tells who we are.");
    else if (has_part(u, CURLUPART_FRAGMENT))
        rc = fail(f, E_PROTO, "A fragment (#…) is never sent: leave it out.");
    curl_free(scheme);
    curl_url_cleanup(u);
    return rc;
}
