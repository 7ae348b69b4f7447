/*
 * Who asks, when proxies stand in front. Each proxy adds the address of its peer at the end of
 * X-Forwarded-For, as a line of its own or behind a comma. So the last address that is none of
 * ours is the client's; what stands before it the client may have made up, and nobody looks at it.
 * Where a proxy of ours left no address that can be read, or all are proxies, nobody is named.
 */
#include "internal.h"

#include <arpa/inet.h>

enum { LINE_MAX_BYTES = 2048, ENTRY_MAX = 64 };

bool client_is_proxy(const struct conf_nets *trusted, const char *address)
{
    uint8_t a[16];
    return trusted->count > 0 && conf_address(address, a) && conf_nets_have(trusted, a);
}

static bool is_port(const char *p)
{
    int64_t port;
    return *p == ':' && p[1] != '-' && num_parse(p + 1, 0, 65535, &port) == 0;
}

/* 1.2.3.4, 1.2.3.4:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80. text is cut as needed. */
static bool parse(char *text, uint8_t ret[16])
{
    if (*text == '[') {
        char *end = strchr(++text, ']');
        if (!end || (end[1] && !is_port(end + 1)))
            return false;
        *end = '\0';
        return strchr(text, ':') && conf_address(text, ret);
    }
    char *colon = strchr(text, ':');
    if (colon && !strchr(colon + 1, ':')) {
        if (!is_port(colon))
            return false;
        *colon = '\0';
    }
    return conf_address(text, ret);
}

static void take(const struct conf_nets *trusted, const char *p, size_t n,
                 char io_text[INET6_ADDRSTRLEN])
{
    char text[ENTRY_MAX];
    struct in6_addr a;
    bool good = n > 0 && n < sizeof(text);

    if (good) {
        memcpy(text, p, n);
        text[n] = '\0';
        good = parse(text, a.s6_addr);
    }
    if (!good)
        io_text[0] = '\0';
    else if (conf_nets_have(trusted, a.s6_addr))
        return; /* a proxy between: it says who asked it */
    else if (IN6_IS_ADDR_V4MAPPED(&a))
        inet_ntop(AF_INET, &a.s6_addr[12], io_text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, &a, io_text, INET6_ADDRSTRLEN);
}

void client_line(const struct conf_nets *trusted, const char *line, char io_text[INET6_ADDRSTRLEN])
{
    size_t n = strlen(line);

    if (n > LINE_MAX_BYTES) { /* the end counts; the entry that is cut off does not */
        io_text[0] = '\0';
        line += n - LINE_MAX_BYTES;
        line += strcspn(line, ",");
        line += *line == ',';
    }
    while (*line) {
        size_t len = strcspn(line, ","), first = strspn(line, " \t"), last = len;
        while (last > first && (line[last - 1] == ' ' || line[last - 1] == '\t'))
            last--;
        if (first < last)
            take(trusted, line + first, last - first, io_text);
        line += len + (line[len] == ',');
    }
}
