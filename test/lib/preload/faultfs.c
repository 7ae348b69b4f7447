/*
 * faultfs: a preloaded library that makes the disk slow, full, broken, or deadly, for tests end
 * to end. It touches what the process does to files and nothing else; it is never linked.
 *
 *   gcc -shared -fPIC -O2 -D_GNU_SOURCE -o faultfs.so test/lib/preload/faultfs.c -ldl
 *   LD_PRELOAD=$PWD/faultfs.so FAULTFS_CONTROL=/path/file build/otad …
 *
 * The control file holds words, separated by blanks or newlines. It is looked at on every call
 * and read again when it changed (write it to another name and rename it over, so that no half
 * of it is read). Without the file, or with an empty one, everything works as usual. With
 * FAULTFS_SYNC_ONLY in the environment no write is looked at, which costs a measured process less.
 *
 *   sync_delay_us=8000   every fsync and fdatasync takes that much longer
 *   sync_block           no fsync or fdatasync ends before that word is taken back
 *   sync_eio             every fsync and fdatasync fails with EIO
 *   wal_enospc           every write to a file ending in -wal fails with ENOSPC
 *   write_enospc=TEXT    the same for files with TEXT in their path
 *   kill_before_sync=N   SIGKILL to itself in place of the Nth sync of a -wal file
 *   kill_after_sync=N    SIGKILL to itself after the Nth sync of a -wal file
 *
 * Syncs are counted from the moment when a kill word appeared (N from 1). Files are told apart
 * by /proc/self/fd, so no open needs to be caught. SQLite's mmap of -shm passes by. A killed
 * process is no power cut: what it wrote stays, so a commit killed before its sync may be there
 * after the restart, unacknowledged.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct faults {
    long sync_delay_us, kill_before, kill_after;
    bool sync_block, sync_eio, wal_enospc;
    char enospc[128];
};

static struct {
    pthread_mutex_t mutex;
    struct faults now;
    struct stat seen;
    bool have;
    long syncs; /* of -wal files since a kill word appeared */
} ctl = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- the control file, by bare system calls: ours are intercepted ---- */
static void parse_word(struct faults *f, const char *word)
{
    static const char ENOSPC_WORD[] = "write_enospc=";

    if (strcmp(word, "sync_block") == 0)
        f->sync_block = true;
    else if (strcmp(word, "sync_eio") == 0)
        f->sync_eio = true;
    else if (strcmp(word, "wal_enospc") == 0)
        f->wal_enospc = true;
    else if (strncmp(word, ENOSPC_WORD, sizeof(ENOSPC_WORD) - 1) == 0)
        snprintf(f->enospc, sizeof(f->enospc), "%s", word + sizeof(ENOSPC_WORD) - 1);
    else if (sscanf(word, "sync_delay_us=%ld", &f->sync_delay_us) != 1 &&
             sscanf(word, "kill_before_sync=%ld", &f->kill_before) != 1 &&
             sscanf(word, "kill_after_sync=%ld", &f->kill_after) != 1)
        dprintf(2, "faultfs: what is '%s'?\n", word);
}

static void read_control(const char *path, struct faults *ret)
{
    char text[1024], *rest = text, *word;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    memset(ret, 0, sizeof(*ret));
    if (fd < 0)
        return;
    n = read((int)fd, text, sizeof(text) - 1);
    syscall(SYS_close, fd);
    text[n > 0 ? n : 0] = '\0';
    while ((word = strtok_r(rest, " \t\r\n", &rest)))
        parse_word(ret, word);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static struct faults faults_now(void)
{
    const char *path = getenv("FAULTFS_CONTROL");
    struct faults copy;
    struct stat st;
    bool have;

    pthread_mutex_lock(&ctl.mutex);
    have = path && stat(path, &st) == 0;
    if (have && (!ctl.have || !same_file(&st, &ctl.seen))) {
        struct faults old = ctl.now;
        read_control(path, &ctl.now);
        ctl.seen = st;
        if (old.kill_before != ctl.now.kill_before || old.kill_after != ctl.now.kill_after)
            ctl.syncs = 0;
    } else if (!have) {
        memset(&ctl.now, 0, sizeof(ctl.now));
        ctl.syncs = 0;
    }
    ctl.have = have;
    copy = ctl.now;
    pthread_mutex_unlock(&ctl.mutex);
    return copy;
}

/* ---- what a descriptor is ---- */
static bool fd_path(int fd, char ret[PATH_MAX])
{
    char link[40];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, ret, PATH_MAX - 1);
    if (n <= 0 || ret[0] != '/') /* sockets and pipes have no path */
        return false;
    ret[n] = '\0';
    return true;
}

static bool is_wal(const char *path)
{
    size_t n = strlen(path);

    return n > 4 && strcmp(path + n - 4, "-wal") == 0;
}

static bool write_fails(int fd)
{
    static atomic_int looks; /* 0: not known yet */
    char path[PATH_MAX];
    int saved = errno;

    if (!looks)
        looks = getenv("FAULTFS_SYNC_ONLY") ? -1 : 1;
    if (looks < 0)
        return false;
    struct faults f = faults_now();
    if (!f.wal_enospc && !f.enospc[0])
        return false;
    if (fd_path(fd, path) &&
        ((f.wal_enospc && is_wal(path)) || (f.enospc[0] && strstr(path, f.enospc)))) {
        errno = ENOSPC;
        return true;
    }
    errno = saved;
    return false;
}

/* ---- writes ---- */
#define REAL(fn)                                                                                   \
    static __typeof__(fn) *real;                                                                   \
    if (!real)                                                                                     \
    real = (__typeof__(fn) *)dlsym(RTLD_NEXT, #fn)

ssize_t write(int fd, const void *p, size_t n)
{
    REAL(write);
    return write_fails(fd) ? -1 : real(fd, p, n);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    REAL(writev);
    return write_fails(fd) ? -1 : real(fd, v, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    REAL(pwrite);
    return write_fails(fd) ? -1 : real(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    REAL(pwrite64);
    return write_fails(fd) ? -1 : real(fd, p, n, at);
}

/* ---- syncs ---- */
static void delay(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};

    while (us > 0 && nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

static long count_sync(int fd, const struct faults *f)
{
    char path[PATH_MAX];
    long n;

    if ((!f->kill_before && !f->kill_after) || !fd_path(fd, path) || !is_wal(path))
        return 0;
    pthread_mutex_lock(&ctl.mutex);
    n = ++ctl.syncs;
    pthread_mutex_unlock(&ctl.mutex);
    return n;
}

static int sync_with_faults(int fd, int (*real)(int))
{
    struct faults f = faults_now();
    long n = count_sync(fd, &f);
    int rc;

    if (n && n == f.kill_before)
        kill(getpid(), SIGKILL);
    delay(f.sync_delay_us);
    for (; f.sync_block; f = faults_now())
        delay(10000);
    if (f.sync_eio) {
        errno = EIO;
        return -1;
    }
    rc = real(fd);
    if (n && n == f.kill_after)
        kill(getpid(), SIGKILL);
    return rc;
}

int fsync(int fd)
{
    REAL(fsync);
    return sync_with_faults(fd, real);
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    return sync_with_faults(fd, real);
}
