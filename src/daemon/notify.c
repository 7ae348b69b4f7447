/*
 * systemd's notification protocol: one datagram to the socket named by NOTIFY_SOCKET
 * (sd_notify(3), "Standalone Implementations"). Nothing happens outside systemd.
 */
#include "daemon.h"

#define SEND_TIMEOUT_S 1 /* a manager that reads nothing must not hold up the core */

#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_send(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(addr.sun_path))
        return;
    size_t n = strlen(path);
    memcpy(addr.sun_path, path, n);
    if (path[0] == '@')
        addr.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    /* A sign of life that finds no room is no loss: those before it wait to be read. */
    int flags = MSG_NOSIGNAL | (strcmp(state, "WATCHDOG=1") == 0 ? MSG_DONTWAIT : 0);
    struct timeval limit = {.tv_sec = SEND_TIMEOUT_S};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    (void)!sendto(fd, state, strlen(state), flags, (struct sockaddr *)&addr,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)close(fd);
}

int64_t notify_watchdog_us(void)
{
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    int64_t v, who;

    if (!us || num_parse(us, 1, INT64_MAX, &v) < 0)
        return 0;
    if (pid && (num_parse(pid, 1, INT32_MAX, &who) < 0 || who != getpid()))
        return 0;
    return v;
}
