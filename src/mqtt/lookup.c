/*
 * Names. The library connects to a name's first address alone, as it does not wait for the answer:
 * `localhost` is ::1 first on many machines, where a broker for this machine listens to 127.0.0.1.
 * So the addresses are looked up here, and tried one after the other. With TLS the library has to
 * have the name, to compare the certificate with it: there the address we come from says whether
 * it is to be one of IPv4 or of IPv6.
 */
#include "internal.h"

#include <netdb.h>
#include <sys/socket.h>

static const struct addrinfo *nth_of(const struct addrinfo *list, unsigned nth)
{
    const struct addrinfo *at = list;

    while (nth-- > 0)
        at = at->ai_next ? at->ai_next : list;
    return at;
}

int lookup(const char *host, unsigned nth, char *ret, size_t cap)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &list);

    if (rc != 0)
        return rc;
    const struct addrinfo *at = nth_of(list, nth);
    rc = getnameinfo(at->ai_addr, at->ai_addrlen, ret, (socklen_t)cap, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(list);
    return rc;
}
