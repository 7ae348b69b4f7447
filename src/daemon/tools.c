/*
 * Sub-commands beside serving: health (for containers and scripts), backup and restore of the
 * database. Firmware bytes are files that never change once written (<data_dir>/blobs): a copy of
 * that folder taken after a backup of the database completes it.
 */
#include "audit.h"
#include "daemon.h"
#include "db.h"
#include "event.h"
#include "update.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEALTH_TIMEOUT_S 5

static int health_connect(const char *listen, struct fail *f)
{
    char host[64], service[8];
    int port, fd = -1, err = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *list;
    struct timeval limit = {.tv_sec = HEALTH_TIMEOUT_S};

    if (conf_listen(listen, host, &port, f) < 0)
        return f->rc;
    /* an address to listen on everywhere is reached on this machine's own */
    const char *to = strcmp(host, "0.0.0.0") == 0 || !*host ? "127.0.0.1"
                     : strcmp(host, "::") == 0              ? "::1"
                                                            : host;
    (void)str_fmt(service, sizeof(service), "%d", port);
    if (getaddrinfo(to, service, &hints, &list) != 0)
        return fail(f, E_NOTFOUND, "%s is no address", to);
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
        connect(fd, list->ai_addr, list->ai_addrlen) < 0)
        err = errno;
    freeaddrinfo(list);
    if (err) {
        if (fd >= 0)
            (void)close(fd);
        return fail(f, -err, "no otad answers at %s:%d: %s", to, port, strerror(err));
    }
    return fd;
}

int tool_health(const struct conf *conf, bool ready, struct fail *f)
{
    char request[128], answer[2048];
    size_t n = 0;
    ssize_t got;
    int fd = health_connect(conf->http_listen, f);

    if (fd < 0)
        return fd;
    (void)str_fmt(request, sizeof(request),
                  "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                  ready ? "/readyz" : "/healthz");
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
        int rc = -errno;
        (void)close(fd);
        return fail(f, rc, "asking failed: %s", strerror(-rc));
    }
    while (n < sizeof(answer) - 1 && (got = recv(fd, answer + n, sizeof(answer) - 1 - n, 0)) > 0)
        n += (size_t)got;
    (void)close(fd);
    answer[n] = '\0';
    const char *body = strstr(answer, "\r\n\r\n");
    body = body ? body + 4 : "";
    if (strncmp(answer, "HTTP/1.", 7) != 0 || n < 12)
        return fail(f, E_PROTO, "the answer is not HTTP");
    (void)printf("%s\n", body);
    return strncmp(answer + 8, " 200", 4) == 0
               ? 0
               : fail(f, E_UNAVAILABLE, "%s", ready ? "otad is not ready" : "otad is not well");
}

int tool_backup(const struct conf *conf, const char *to, struct fail *f)
{
    AUTO(free) char *path = data_db_path(conf->data_dir);

    if (access(path, R_OK) < 0)
        return fail(f, -errno, "%s: %s", path, strerror(errno));
    int rc = db_backup(path, to, f);
    if (rc == 0)
        (void)printf("%s: a copy of %s; firmware bytes are in %s/blobs\n", to, path,
                     conf->data_dir);
    return rc;
}

/* ---- the audit log ---- */
int tool_audit_verify(const struct conf *conf, const char *hash, struct fail *f)
{
    AUTO(free) char *path = data_db_path(conf->data_dir);
    char head[AUDIT_HEX_SIZE];
    int64_t rows = 0;
    struct db *db;

    if (access(path, R_OK) < 0)
        return fail(f, -errno, "%s: %s", path, strerror(errno));
    int rc = db_open(path, DB_READ, 2048, &db, f);
    if (rc < 0)
        return rc;
    rc = audit_verify(db, &rows, head, f);
    if (rc == 0 && hash) {
        rc = audit_find(db, hash);
        if (rc == E_NOTFOUND)
            (void)fail(f, rc, "no row has the hash %.64s: rows were taken from the end", hash);
        else if (rc == E_PROTO)
            (void)fail(f, rc, "a hash has 64 hexadecimal digits");
    }
    db_close(db);
    if (rc == 0)
        (void)printf("%lld rows, unbroken; the newest hash is %s\n", (long long)rows, head);
    return rc;
}

/* ---- restore ---- */
static const char *const db_ends[] = {"", "-wal", "-shm"};

#define DB_NAME_MAX 640

/* The names of one of the database's files: where it belongs, and where it is put aside. */
static int names(const char *path, const char *aside, const char *end, char here[DB_NAME_MAX],
                 char there[DB_NAME_MAX], struct fail *f)
{
    if (str_fmt(here, DB_NAME_MAX, "%s%s", path, end) &&
        str_fmt(there, DB_NAME_MAX, "%s%s", aside, end))
        return 0;
    return fail(f, -ENAMETOOLONG, "%s: too long", path);
}

/* The first n files: those behind them never moved, and are the present database's own. */
static void put_back(const char *path, const char *aside, size_t n)
{
    char here[DB_NAME_MAX], there[DB_NAME_MAX];

    for (size_t i = 0; i < n; i++) {
        if (names(path, aside, db_ends[i], here, there, NULL) < 0)
            continue;
        (void)unlink(here); /* a WAL of the copy must not meet the old database */
        if (rename(there, here) < 0 && errno != ENOENT)
            (void)fprintf(stderr, "otad: %s could not be put back: %s\n", there, strerror(errno));
    }
}

/* Put the present database aside, so that a restore can be undone by hand. */
static int set_aside(const char *path, const char *aside, struct fail *f)
{
    char here[DB_NAME_MAX], there[DB_NAME_MAX];

    for (size_t i = 0; i < ARRAY_LEN(db_ends); i++) {
        int rc = names(path, aside, db_ends[i], here, there, f);
        if (rc == 0 && rename(here, there) < 0 && errno != ENOENT)
            rc = fail(f, -errno, "%s: %s", here, strerror(errno));
        if (rc < 0) {
            put_back(path, aside, i);
            return rc;
        }
    }
    return 0;
}

static int sync_dir(const char *dir, struct fail *f)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? fail(f, -errno, "%s: %s", dir, strerror(errno)) : 0;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

/* Devices may hold commands with ids that this copy does not know of: none is given out again. A
 * million is more than any fleet is offered between two copies, and a thousandth of all ids. */
static int skip_ids(const char *path, struct fail *f)
{
    const struct audit row = {
        .at = clock_now_ms(), .who = "command line", .action = "otad restore", .object = path};
    struct db *w;
    int rc = db_open(path, DB_WRITE, 512, &w, f);

    if (rc < 0)
        return rc;
    rc = db_begin(w);
    if (rc == 0)
        rc = update_ids_skip(w, 1000000);
    if (rc == 0)
        rc = event_skip(w, 1000000, row.at);
    if (rc == 0)
        rc = audit_add(w, &row);
    rc = rc < 0 ? rc : db_commit(w);
    if (rc < 0)
        (void)fail(f, rc, "%s: %s", path, db_error(w));
    db_close(w);
    return rc;
}

/* Root restores, but the service runs as a user of its own: what is made here is given to whom the
 * data belongs, and SQLite does the same with what it makes beside a database. */
static int give_to_owner(const char *data_dir, const char *path, struct fail *f)
{
    struct stat st;

    if (geteuid() != 0)
        return 0;
    if (stat(data_dir, &st) < 0 || lchown(path, st.st_uid, st.st_gid) < 0)
        return fail(f, -errno, "%s can't be given to the owner of %s: %s", path, data_dir,
                    strerror(errno));
    return 0;
}

/* Without a database the next start would begin an empty one: so the copy is whole before the
 * present one moves, and whatever fails afterwards puts that back. */
static int replace_db(const char *data_dir, const char *path, const char *from, struct fail *f)
{
    char stamp[TIME_TEXT_MAX], aside[DB_NAME_MAX], copy[DB_NAME_MAX];
    int rc;

    if (!str_fmt(aside, sizeof(aside), "%s.before-restore-%s", path,
                 time_text(clock_now_ms(), stamp)) ||
        !str_fmt(copy, sizeof(copy), "%s.restoring", path))
        return fail(f, -ENAMETOOLONG, "%s: too long", path);
    if (unlink(copy) < 0 && errno != ENOENT) /* of a restore that was cut short */
        return fail(f, -errno, "%s: %s", copy, strerror(errno));
    rc = db_backup(from, copy, f);
    if (rc < 0)
        return rc;
    rc = give_to_owner(data_dir, copy, f);
    if (rc == 0)
        rc = set_aside(path, aside, f);
    if (rc == 0) {
        rc = rename(copy, path) < 0 ? fail(f, -errno, "%s: %s", path, strerror(errno)) : 0;
        if (rc == 0)
            rc = db_migrate(path, f); /* an older copy is brought up to date, a newer one refused */
        if (rc == 0)
            rc = skip_ids(path, f);
        if (rc < 0)
            put_back(path, aside, ARRAY_LEN(db_ends));
    }
    (void)unlink(copy);
    return rc < 0 ? rc : sync_dir(data_dir, f);
}

int tool_restore(const struct conf *conf, const char *from, struct fail *f)
{
    AUTO(free) char *path = data_db_path(conf->data_dir);
    struct data_lock lock;
    int rc;

    if (access(from, R_OK) < 0)
        return fail(f, -errno, "%s: %s", from, strerror(errno));
    rc = data_lock_take(conf->data_dir, &lock, f);
    if (rc < 0)
        return rc;
    rc = give_to_owner(conf->data_dir, lock.path, f);
    if (rc == 0 && (rc = db_check(from, f)) < 0)
        (void)fail_prefix(f, "%s is not a healthy database: ", from);
    if (rc == 0)
        rc = replace_db(conf->data_dir, path, from, f);
    data_lock_release(&lock, rc == 0 || !lock.unclean);
    if (rc == 0)
        (void)printf("%s: restored from %s; the one before is beside it\n", path, from);
    return rc;
}
