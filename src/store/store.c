/*
 * The blobs that are there: opening the folders, reading, deleting, the sweep at start.
 * Everything goes through descriptors of the two folders, so a blob's path is never built from
 * anything but its digest. What a blob means, and who may have it, is not known here.
 */
#include "store_priv.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void store_blob_name(const uint8_t sha256[SHA256_SIZE], char ret[STORE_NAME_CAP])
{
    hex_encode(sha256, 1, ret);
    ret[2] = '/';
    hex_encode(sha256 + 1, SHA256_SIZE - 1, ret + 3);
}

int store_sync_dir(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? -errno : 0;

    if (fd >= 0)
        close(fd);
    return rc;
}

/* ---- opening ---- */
/* The folder, made when it is not there and then fsynced in its parent. */
static int open_dir(int parent_fd, const char *name, int *ret_fd)
{
    AUTO(free) char *copy = xstrdup(name);
    int rc = 0;

    if (mkdirat(parent_fd, name, 0750) == 0)
        rc = store_sync_dir(parent_fd, dirname(copy));
    else if (errno != EEXIST)
        rc = -errno;
    if (rc < 0)
        return rc;
    *ret_fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret_fd < 0 ? -errno : 0;
}

int store_open(const char *data_dir, struct store **ret, struct fail *f)
{
    struct store *s = xcalloc(1, sizeof(*s));
    const char *what = "";
    int root_fd = -1, blobs_fd = -1;
    int rc;

    s->blobs_fd = s->tmp_fd = s->strays_fd = -1;
    pthread_mutex_init(&s->mutex, NULL);
    rc = open_dir(AT_FDCWD, data_dir, &root_fd);
    if (rc == 0)
        rc = open_dir(root_fd, what = "tmp", &s->tmp_fd);
    if (rc == 0)
        rc = open_dir(root_fd, what = "strays", &s->strays_fd);
    if (rc == 0)
        rc = open_dir(root_fd, what = "blobs", &blobs_fd);
    if (rc == 0)
        rc = open_dir(blobs_fd, "sha256", &s->blobs_fd);
    if (root_fd >= 0)
        close(root_fd);
    if (blobs_fd >= 0)
        close(blobs_fd);
    if (rc < 0) {
        store_close(s);
        return fail(f, rc, "%s/%s: %s", data_dir, what, strerror(-rc));
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (s->blobs_fd >= 0)
        close(s->blobs_fd);
    if (s->tmp_fd >= 0)
        close(s->tmp_fd);
    if (s->strays_fd >= 0)
        close(s->strays_fd);
    pthread_mutex_destroy(&s->mutex);
    map_done(&s->held);
    free(s);
}

/* ---- reading ---- */
bool store_has(const struct store *s, const uint8_t sha256[SHA256_SIZE], uint64_t size)
{
    char name[STORE_NAME_CAP];
    struct stat st;

    store_blob_name(sha256, name);
    return fstatat(s->blobs_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == size;
}

int store_get(struct store *s, const uint8_t sha256[SHA256_SIZE], uint64_t size, int *ret_fd)
{
    char name[STORE_NAME_CAP];
    struct stat st;
    int fd;

    store_blob_name(sha256, name);
    fd = openat(s->blobs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? E_NOTFOUND : -errno;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size) {
        close(fd);
        return -EIO;
    }
    *ret_fd = fd;
    return 0;
}

/* ---- holding and deleting ---- */
static uintptr_t holders(const struct store *s, const uint8_t sha256[SHA256_SIZE])
{
    return (uintptr_t)map_get(&s->held, sha256, SHA256_SIZE);
}

void store_hold(struct store *s, const uint8_t sha256[SHA256_SIZE])
{
    pthread_mutex_lock(&s->mutex);
    map_put(&s->held, sha256, SHA256_SIZE, (void *)(holders(s, sha256) + 1));
    pthread_mutex_unlock(&s->mutex);
}

void store_unhold(struct store *s, const uint8_t sha256[SHA256_SIZE])
{
    pthread_mutex_lock(&s->mutex);
    uintptr_t n = holders(s, sha256);
    assert(n > 0);
    if (n == 1)
        map_del(&s->held, sha256, SHA256_SIZE);
    else
        map_put(&s->held, sha256, SHA256_SIZE, (void *)(n - 1));
    pthread_mutex_unlock(&s->mutex);
}

static int delete_blob(struct store *s, const uint8_t sha256[SHA256_SIZE], bool strays)
{
    char name[STORE_NAME_CAP];
    int rc = 0;

    store_blob_name(sha256, name);
    pthread_mutex_lock(&s->mutex);
    if (holders(s, sha256) > 0 || (!strays && stray_since(s, sha256) > 0))
        rc = 0; /* whoever holds it is about to name it; else the next sweep takes it */
    else if (unlinkat(s->blobs_fd, name, 0) != 0)
        rc = errno == ENOENT ? E_NOTFOUND : -errno;
    else
        stray_forget(s, sha256);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

int store_delete(struct store *s, const uint8_t sha256[SHA256_SIZE])
{
    return delete_blob(s, sha256, false);
}

/* ---- the sweep ---- */
/* A stream over the folder name of dir_fd; the caller closes. NULL with errno. */
static DIR *list_dir(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (!d && fd >= 0)
        close(fd);
    return d;
}

static struct dirent *next_entry(DIR *d)
{
    struct dirent *e;

    do
        e = readdir(d);
    while (e && e->d_name[0] == '.');
    return e;
}

static int sweep_tmp(struct store *s)
{
    DIR *d = list_dir(s->tmp_fd, ".");
    struct dirent *e;
    int rc = 0;

    if (!d)
        return -errno;
    while ((e = next_entry(d)))
        if (unlinkat(s->tmp_fd, e->d_name, 0) != 0 && errno != ENOENT)
            rc = -errno;
    closedir(d);
    return rc;
}

struct sweep {
    bool (*used)(void *arg, const uint8_t sha256[SHA256_SIZE]);
    void *arg;
    int64_t now;
    size_t kept;
};

static int sweep_blob(struct store *s, struct sweep *w, const uint8_t sha256[SHA256_SIZE])
{
    if (w->used(w->arg, sha256)) {
        stray_forget(s, sha256);
        return 0;
    }
    int64_t since = stray_since(s, sha256);
    if (since < 0)
        stray_note(s, sha256, w->now);
    if (since < 0 || (since > 0 && w->now - since < STORE_STRAY_DAYS * (int64_t)86400000)) {
        w->kept++;
        return 0;
    }
    int rc = delete_blob(s, sha256, true);
    return rc == E_NOTFOUND ? 0 : rc;
}

/* One of the 256 folders. A name that is no digest was not made here and is left alone. */
static int sweep_folder(struct store *s, const char *folder, struct sweep *w)
{
    uint8_t sha256[SHA256_SIZE];
    DIR *d = list_dir(s->blobs_fd, folder);
    struct dirent *e;
    int rc = 0;

    if (!d)
        return errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
    while ((e = next_entry(d))) {
        if (strlen(e->d_name) != SHA256_SIZE * 2 - 2 || hex_decode(folder, 2, sha256) < 0 ||
            hex_decode(e->d_name, SHA256_SIZE * 2 - 2, sha256 + 1) < 0)
            continue;
        int swept = sweep_blob(s, w, sha256);
        if (swept < 0)
            rc = swept;
    }
    closedir(d);
    return rc;
}

/* Notes of blobs that somebody else took away. */
static void sweep_strays(struct store *s)
{
    uint8_t sha256[SHA256_SIZE];
    char name[STORE_NAME_CAP];
    DIR *d = list_dir(s->strays_fd, ".");
    struct dirent *e;

    while (d && (e = next_entry(d))) {
        if (strlen(e->d_name) != 2 * SHA256_SIZE ||
            hex_decode(e->d_name, 2 * SHA256_SIZE, sha256) < 0)
            continue;
        store_blob_name(sha256, name);
        if (faccessat(s->blobs_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
            stray_forget(s, sha256);
    }
    if (d)
        closedir(d);
}

int store_sweep(struct store *s, bool (*used)(void *arg, const uint8_t sha256[SHA256_SIZE]),
                void *arg, size_t *ret_kept)
{
    struct sweep w = {.used = used, .arg = arg, .now = clock_now_ms()};
    int rc = sweep_tmp(s);
    DIR *d = list_dir(s->blobs_fd, ".");
    struct dirent *e;

    if (!d)
        return rc < 0 ? rc : -errno;
    while ((e = next_entry(d))) {
        int swept = strlen(e->d_name) == 2 ? sweep_folder(s, e->d_name, &w) : 0;
        if (swept < 0)
            rc = swept;
    }
    closedir(d);
    sweep_strays(s);
    *ret_kept = w.kept;
    return rc;
}
