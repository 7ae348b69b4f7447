/*
 * The data directory belongs to one otad at a time: a lock on <data_dir>/lock for as long as the
 * process lives. The file's content tells whether its last holder ended cleanly.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char mark[] = "running\n";

char *data_db_path(const char *data_dir)
{
    struct sbuf b = {0};
    sbuf_fmt(&b, "%s/otad.db", data_dir);
    return sbuf_take(&b);
}

int data_lock_take(const char *data_dir, struct data_lock *ret, struct fail *f)
{
    struct stat st;

    *ret = (struct data_lock){.fd = -1};
    if (mkdir(data_dir, 0750) < 0 && errno != EEXIST)
        return fail(f, -errno, "data_dir %s: %s", data_dir, strerror(errno));
    if (!str_fmt(ret->path, sizeof(ret->path), "%s/lock", data_dir))
        return fail(f, -ENAMETOOLONG, "data_dir %s: too long", data_dir);
    ret->fd = open(ret->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (ret->fd < 0)
        return fail(f, -errno, "%s: %s", ret->path, strerror(errno));
    if (flock(ret->fd, LOCK_EX | LOCK_NB) < 0) {
        int rc = -errno;
        (void)close(ret->fd);
        ret->fd = -1;
        return fail(f, rc, "%s is in use by another otad", data_dir);
    }
    ret->unclean = fstat(ret->fd, &st) == 0 && st.st_size > 0;
    if (pwrite(ret->fd, mark, sizeof(mark) - 1, 0) < 0 || fsync(ret->fd) < 0)
        LOG(LOG_WARN, "daemon", "the lock file could not be marked", KV("path", ret->path));
    return 0;
}

void data_lock_release(struct data_lock *l, bool clean)
{
    if (l->fd < 0)
        return;
    if (clean && (ftruncate(l->fd, 0) < 0 || fsync(l->fd) < 0))
        LOG(LOG_WARN, "daemon", "the lock file could not be cleared", KV("path", l->path));
    (void)close(l->fd);
    l->fd = -1;
}
