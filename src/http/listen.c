/*
 * Listening sockets and the MHD daemons on them. Each thread has its own socket of one port
 * (SO_REUSEPORT), so the kernel spreads the connections. MHD's internal epoll thread hangs when
 * exactly 128 sockets wake at once; here it only ever polls, and our loop waits.
 *
 * MHD sends a file's headers as a segment of their own and sets TCP_NODELAY to push it out. The
 * updater of ESP-AT needs the image's first bytes in the segment of the headers, so MHD must
 * leave the TCP options to us: it does so for local sockets. Its daemon is started on one, whose
 * descriptor then becomes the real listening socket.
 */
#include "internal.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 1024, POOL_BYTES = 32 * 1024, POOL_STEP = 8 * 1024, KEY_FILE_MAX = 256 * 1024 };

static int make_address(const char *where, int port_wanted, struct sockaddr_storage *ret,
                        socklen_t *ret_len, int *ret_port, struct fail *f)
{
    char host[64];
    int rc = conf_listen(where, host, ret_port, f);
    if (rc < 0)
        return rc;
    if (*ret_port == 0)
        *ret_port = port_wanted;
    memset(ret, 0, sizeof(*ret));
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)*ret_port);
        *ret_len = sizeof(*v4);
        return 0;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)*ret_port);
        *ret_len = sizeof(*v6);
        return 0;
    }
    return fail(f, E_PROTO, "cannot listen on %s: the address must be numeric", where);
}

static int bind_socket(const struct sockaddr_storage *addr, socklen_t len, bool reuse_port)
{
    int on = 1, off = 0;
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (reuse_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (addr->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, (const struct sockaddr *)addr, len) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

/* With SO_REUSEPORT two daemons would share a port without a word: look before joining. */
static int probe(const struct sockaddr_storage *addr, socklen_t len)
{
    int fd = bind_socket(addr, len, false);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int listen_open(const char *where, int *io_port, bool shared, int *ret_fd, struct fail *f)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    int port;

    int rc = make_address(where, *io_port, &addr, &len, &port, f);
    if (rc < 0)
        return rc;
    rc = !shared && port != 0 ? probe(&addr, len) : 0;
    int fd = rc < 0 ? rc : bind_socket(&addr, len, true);
    if (fd >= 0 && listen(fd, BACKLOG) < 0) {
        rc = -errno;
        close(fd);
        fd = rc;
    }
    if (fd < 0)
        return fail(f, fd, "cannot listen on %s: %s", where, err_str(fd));
    len = sizeof(addr);
    if (getsockname(fd, (struct sockaddr *)&addr, &len) == 0)
        *io_port =
            ntohs(addr.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&addr)->sin6_port
                                             : ((const struct sockaddr_in *)&addr)->sin_port);
    *ret_fd = fd;
    return 0;
}

int listen_read_file(const char *path, char **ret, struct fail *f)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(f, -errno, "cannot read %s: %s", path, err_str(-errno));
    char *text = xmalloc(KEY_FILE_MAX + 1);
    size_t n = 0;
    ssize_t got;
    while (n < KEY_FILE_MAX && (got = read(fd, text + n, KEY_FILE_MAX - n)) > 0)
        n += (size_t)got;
    close(fd);
    if (n == 0 || n == KEY_FILE_MAX) {
        free(text);
        return fail(f, E_PROTO, "%s is not a PEM file", path);
    }
    text[n] = '\0';
    *ret = text;
    return 0;
}

PRINTF(2, 0)
static void on_mhd_log(void *cls UNUSED, const char *fmt, va_list ap)
{
    char text[256];
    vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    LOG(LOG_DEBUG, "http", "library", KV("text", text));
}

/* The descriptor that MHD knows becomes fd's socket; MHD's event for it names the daemon. */
static int swap_in(struct listener *l, int disguise, int fd, struct fail *f)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = l->daemon};
    int epoll_fd = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;

    if (dup3(fd, disguise, O_CLOEXEC) >= 0 &&
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, disguise, &event) == 0)
        return 0;
    return fail(f, -errno, "cannot watch the listening socket: %s", err_str(-errno));
}

static int start_daemon(struct listener *l, int fd, struct fail *f)
{
    const struct http_server *s = l->thread->server;
    bool tls = l->kind == LISTEN_TLS;
    struct MHD_OptionItem tls_options[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, s->tls_cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, s->tls_key},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem no_options[] = {{MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;

    l->daemon = MHD_start_daemon(
        flags | (tls ? (unsigned)MHD_USE_TLS : 0U), 0, conn_may_enter, l, request_on_call, l,
        MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->o.conf->http_max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)POOL_STEP, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_URI_LOG_CALLBACK, request_on_target, l,
        MHD_OPTION_NOTIFY_COMPLETED, request_on_completed, l, MHD_OPTION_NOTIFY_CONNECTION,
        conn_on_notify, l, MHD_OPTION_ARRAY, tls ? tls_options : no_options, MHD_OPTION_END);
    if (!l->daemon) {
        if (tls)
            close(fd); /* a bad key fails before MHD takes the socket, all else after */
        return fail(f, tls ? E_PROTO : -EIO, "%s",
                    tls ? "the TLS listener did not start: is the certificate and its key good?"
                        : "the HTTP library did not start");
    }
    return 0;
}

int listen_daemon(struct listener *l, int fd, struct fail *f)
{
    int disguise = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (disguise < 0) {
        int rc = -errno;
        close(fd);
        return fail(f, rc, "no socket to listen with: %s", err_str(rc));
    }
    int rc = start_daemon(l, disguise, f);
    if (rc == 0)
        rc = swap_in(l, disguise, fd, f);
    close(fd);
    return rc;
}
