/*
 * Addresses and networks: what an item that names several of them holds, and whether an address
 * is one of them. IPv4 is kept as the part of IPv6 that stands for it, so there is one comparison.
 */
#include "conf.h"
#include "item.h"

#include <arpa/inet.h>

enum { V4_BITS = 96, ALL_BITS = 128, TEXT_MAX = 64 };

bool conf_address(const char *text, uint8_t ret[16])
{
    static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};

    if (inet_pton(AF_INET6, text, ret) == 1)
        return true;
    memcpy(ret, v4, sizeof(v4));
    return inet_pton(AF_INET, text, ret + sizeof(v4)) == 1;
}

/* The first `bits` of a, the others 0. */
static void mask(const uint8_t a[16], unsigned bits, uint8_t ret[16])
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned left = bits > 8 * i ? bits - 8 * i : 0;
        left = left > 8 ? 8 : left;
        ret[i] = (uint8_t)(a[i] & (0xff00U >> left));
    }
}

bool conf_nets_have(const struct conf_nets *nets, const uint8_t address[16])
{
    uint8_t start[16];

    for (size_t i = 0; i < nets->count; i++) {
        mask(address, nets->list[i].bits, start);
        if (memcmp(start, nets->list[i].start, sizeof(start)) == 0)
            return true;
    }
    return false;
}

static int parse(const char *text, struct conf_net *ret, struct fail *f)
{
    char host[TEXT_MAX], start_text[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    uint8_t address[16];
    int64_t bits;

    if (n < sizeof(host)) {
        memcpy(host, text, n);
        host[n] = '\0';
    }
    if (n >= sizeof(host) || !conf_address(host, address))
        return fail(f, E_PROTO,
                    "'%.80s' is no numeric address or network, such as 127.0.0.1, 10.0.0.0/8 or "
                    "fd00::/8",
                    str_is_text(text, strlen(text)) ? text : "?");
    bool v4 = !strchr(host, ':');
    unsigned skip = v4 ? V4_BITS : 0;
    bits = ALL_BITS - (int)skip;
    if (slash && (slash[1] == '-' || num_parse(slash + 1, 0, bits, &bits) < 0))
        return fail(f, E_PROTO, "'%.80s': behind the / stands a number from 0 to %lld", text,
                    (long long)bits);
    ret->bits = (unsigned)bits + skip;
    mask(address, ret->bits, ret->start);
    if (memcmp(address, ret->start, sizeof(address)) == 0)
        return 0;
    inet_ntop(v4 ? AF_INET : AF_INET6, ret->start + skip / 8, start_text, sizeof(start_text));
    return fail(f, E_PROTO, "'%.80s' goes on behind its first %lld bits; write %s/%lld", text,
                (long long)bits, start_text, (long long)bits);
}

int item_check_nets(const struct item *item, struct arena *a, const char *where,
                    const char *const *list, size_t count, struct conf_nets *ret, struct fail *f)
{
    struct conf_net *nets = arena_alloc(a, (count + 1) * sizeof(*nets));

    for (size_t i = 0; i < count; i++)
        if (parse(list[i], &nets[i], f) < 0)
            return fail_prefix(f, "%s: %s: ", where, item->key);
    *ret = (struct conf_nets){nets, count};
    return 0;
}

int item_split_nets(const struct item *item, struct arena *a, const char *where, const char *text,
                    struct conf_nets *ret, struct fail *f)
{
    const char **list = arena_alloc(a, ITEM_NETS_MAX * sizeof(*list));
    size_t count = 0;

    for (text += strspn(text, " \t"); *text; text += strspn(text, " \t")) {
        size_t n = strcspn(text, ","), end = n;
        while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t'))
            end--;
        if (count == ITEM_NETS_MAX)
            return fail(f, E_PROTO, "%s: %s: at most %d are taken", where, item->key,
                        ITEM_NETS_MAX);
        list[count++] = arena_strndup(a, text, end);
        text += n + (text[n] == ',');
    }
    return item_check_nets(item, a, where, list, count, ret, f);
}
