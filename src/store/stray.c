/*
 * Blobs that nothing names: an empty file <data_dir>/strays/<digest> for each, whose time says
 * since when. It stands beside the blobs, not in the database, for it is the database that may be
 * another one: a restored copy, or an empty one. The time 0 is of a blob that is just received and
 * whose row is not there yet: no database ever knew it.
 */
#include "store_priv.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef char stray_name[2 * SHA256_SIZE + 1];

void stray_note(struct store *s, const uint8_t sha256[SHA256_SIZE], int64_t since_ms)
{
    const struct timespec at = {.tv_sec = since_ms / 1000};
    const struct timespec both[2] = {at, at};
    stray_name name;

    hex_encode(sha256, SHA256_SIZE, name);
    int fd = openat(s->strays_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return;
    (void)futimens(fd, both);
    close(fd);
}

int64_t stray_since(struct store *s, const uint8_t sha256[SHA256_SIZE])
{
    struct stat st;
    stray_name name;

    hex_encode(sha256, SHA256_SIZE, name);
    if (fstatat(s->strays_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    return st.st_mtim.tv_sec > 0 ? (int64_t)st.st_mtim.tv_sec * 1000 : 0;
}

void stray_forget(struct store *s, const uint8_t sha256[SHA256_SIZE])
{
    stray_name name;

    hex_encode(sha256, SHA256_SIZE, name);
    (void)unlinkat(s->strays_fd, name, 0);
}
