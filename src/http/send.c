/*
 * How much of a file goes out at a time. The library asks sendfile for 128 KiB, then turns to the
 * next connection: eight rounds for a MiB, each of which wakes the client, which costs twice the
 * CPU of sending it in one go (measured). It has no setting for that, but it calls sendfile64 by
 * name, and a program's own definition comes before libc's: this one hands the kernel what is left
 * of the answer, bounded so that neither a fast client nor a slow disk holds up the others for
 * long. The library takes whatever number comes back. Where its call does not come here, as in a
 * program linked statically, its own pieces are sent.
 */
#include "internal.h"

#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECE_MAX = 1024 * 1024 };

#ifdef SYS_sendfile64
enum { SENDFILE = SYS_sendfile64 };
#else
enum { SENDFILE = SYS_sendfile };
#endif

_Atomic uint64_t send_large; /* pieces; for the tests' sake */

static _Thread_local struct map *sending; /* socket -> struct conn; NULL: not an http thread */

void send_thread(struct http_thread *t)
{
    sending = t ? &t->sending : NULL;
}

void send_begin(struct conn *c, int file_fd, uint64_t end)
{
    c->file_fd = file_fd;
    c->file_end = end;
    (void)map_put(&c->listener->thread->sending, &c->fd, sizeof(c->fd), c);
}

void send_end(struct conn *c)
{
    if (c->file_end == 0)
        return;
    c->file_end = 0;
    (void)map_del(&c->listener->thread->sending, &c->fd, sizeof(c->fd));
}

ssize_t sendfile64(int out_fd, int in_fd, off64_t *offset, size_t count)
{
    const struct conn *c = sending ? map_get(sending, &out_fd, sizeof(out_fd)) : NULL;

    if (c && c->file_fd == in_fd && offset && (uint64_t)*offset < c->file_end) {
        uint64_t left = c->file_end - (uint64_t)*offset;
        uint64_t piece = left < PIECE_MAX ? left : PIECE_MAX;
        if (piece > count) {
            count = piece;
            atomic_fetch_add_explicit(&send_large, 1, memory_order_relaxed);
        }
    }
    return syscall(SENDFILE, out_fd, in_fd, offset, count);
}
