/*
 * Receiving a blob: bytes go to a file of their own in tmp/ and through the digests at once, so
 * nothing is read twice and memory stays flat. It has its name only after its bytes are on
 * disk; a crash at any moment leaves a file in tmp/ (the sweep takes it) or a whole blob, noted as
 * one that nothing names yet (stray.c), which the sweep takes as well.
 *
 * A finished put holds its blob until it is freed, so that a delete of the same content cannot
 * fall between "it is there already" and the caller's own store_hold.
 */
#include "store_priv.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    /* Between hints to the kernel to write out: keeps dirty pages, and the final fsync, small. */
    FLUSH_BYTES = 8 << 20,
    /* Written at a time. The page cache keeps a file in pieces as large as they were written,
     * where the file system can, and sendfile walks large ones in less time. */
    WRITE_BYTES = 256 * 1024,
};

struct store_put {
    struct store *store;
    struct digest_stream *digest;
    int fd;
    int broken; /* an earlier write failed: the file has a hole and must not be committed */
    bool holds; /* a hold on sha256 */
    uint8_t sha256[SHA256_SIZE];
    char tmp[40];
    uint8_t *buf; /* WRITE_BYTES: what is not written yet */
    size_t n_buf;
    uint64_t size, flushed;
    uint8_t head[STORE_HEAD];
};

int store_put_new(struct store *s, struct store_put **ret, struct fail *f)
{
    struct store_put *p = xcalloc(1, sizeof(*p));
    uint8_t name[16];
    int rc;

    p->store = s;
    rand_bytes(name, sizeof(name));
    hex_encode(name, sizeof(name), p->tmp);
    p->fd = openat(s->tmp_fd, p->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (p->fd < 0) {
        rc = fail(f, -errno, "cannot receive: tmp/%s: %s", p->tmp, strerror(errno));
        free(p);
        return rc;
    }
    p->digest = digest_new();
    p->buf = xmalloc(WRITE_BYTES);
    *ret = p;
    return 0;
}

static int write_all(int fd, const uint8_t *data, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, data, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            /* A limit on file sizes and a quota are, for us, a full disk. */
            return errno == EFBIG || errno == EDQUOT ? -ENOSPC : -errno;
        data += done;
        n -= (size_t)done;
    }
    return 0;
}

static int write_out(struct store_put *p)
{
    if (!p->broken)
        p->broken = write_all(p->fd, p->buf, p->n_buf);
    p->n_buf = 0;
    return p->broken;
}

static int gather(struct store_put *p, const uint8_t *data, size_t n)
{
    while (n > 0 && !p->broken) {
        size_t room = WRITE_BYTES - p->n_buf, part = n < room ? n : room;

        memcpy(p->buf + p->n_buf, data, part);
        p->n_buf += part;
        data += part;
        n -= part;
        if (p->n_buf == WRITE_BYTES)
            (void)write_out(p);
    }
    return p->broken;
}

int store_put_write(struct store_put *p, const void *data, size_t n, struct fail *f)
{
    if (n == 0)
        return 0;
    if (gather(p, data, n) < 0)
        return fail(f, p->broken, "cannot receive: %s", strerror(-p->broken));
    if (p->size < STORE_HEAD) {
        size_t room = STORE_HEAD - (size_t)p->size;
        memcpy(p->head + p->size, data, n < room ? n : room);
    }
    digest_add(p->digest, data, n);
    p->size += n;
    if (p->size - p->flushed >= FLUSH_BYTES) {
        (void)sync_file_range(p->fd, (off_t)p->flushed, (off_t)(p->size - p->flushed),
                              SYNC_FILE_RANGE_WRITE);
        p->flushed = p->size;
    }
    return 0;
}

size_t store_put_head(const struct store_put *p, uint8_t *ret, size_t n)
{
    size_t have = p->size < STORE_HEAD ? (size_t)p->size : STORE_HEAD;

    if (n > have)
        n = have;
    memcpy(ret, p->head, n);
    return n;
}

uint64_t store_put_size(const struct store_put *p)
{
    return p->size;
}

static int publish(struct store_put *p, const char *name)
{
    struct store *s = p->store;
    char folder[3] = {name[0], name[1], '\0'};
    int rc;

    if (mkdirat(s->blobs_fd, folder, 0750) != 0 && errno != EEXIST)
        return -errno;
    /* Also when it was there: whoever made it may not have come to its fsync yet. The same
     * holds for the blob's name below. */
    rc = store_sync_dir(s->blobs_fd, ".");
    if (rc < 0)
        return rc;
    if (!store_has(s, p->sha256, p->size))
        stray_note(s, p->sha256, 0);
    /* A blob that is there is replaced: these bytes are right for certain, and those may be
     * damaged. Whoever has it open keeps what is open. */
    if (renameat(s->tmp_fd, p->tmp, s->blobs_fd, name) != 0)
        return -errno;
    p->tmp[0] = '\0';
    return store_sync_dir(s->blobs_fd, folder);
}

int store_put_commit(struct store_put *p, struct digests *ret, struct fail *f)
{
    char name[STORE_NAME_CAP];
    int rc = write_out(p);

    if (rc == 0 && fsync(p->fd) != 0)
        rc = errno == EDQUOT ? -ENOSPC : -errno;
    if (rc == 0) {
        digest_end(p->digest, ret);
        assert(ret->size == p->size);
        memcpy(p->sha256, ret->sha256, SHA256_SIZE);
        store_hold(p->store, p->sha256);
        p->holds = true;
        store_blob_name(ret->sha256, name);
        rc = publish(p, name);
    }
    /* After a failed fsync the kernel may call the pages clean: never try again. */
    p->broken = rc < 0 ? rc : -EBUSY;
    if (rc < 0)
        return fail(f, rc, "cannot keep the file: %s", strerror(-rc));
    return 0;
}

void store_put_named(struct store_put *p)
{
    stray_forget(p->store, p->sha256);
}

void store_put_free(struct store_put *p)
{
    if (!p)
        return;
    if (p->holds)
        store_unhold(p->store, p->sha256);
    close(p->fd);
    if (p->tmp[0])
        unlinkat(p->store->tmp_fd, p->tmp, 0);
    digest_free(p->digest);
    free(p->buf);
    free(p);
}
