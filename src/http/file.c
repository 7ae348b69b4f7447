/*
 * Files: conditional and partial requests, and the count of what the client really got. MHD
 * sends them with sendfile on plain connections. Bytes count as received when the client's TCP
 * acknowledged them; the headers, whose exact length MHD keeps to itself, are overestimated, so
 * that the count is never ahead of the truth before the end, which tail.c waits for.
 */
#include "internal.h"

#include <assert.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void auto_sbuf_done(struct sbuf *b)
{
    sbuf_done(b);
}

enum { HEAD_BYTES_MAX = 1024 };

struct track {
    void (*sent)(void *arg, uint64_t from, uint64_t to, bool last);
    void *arg;
    void (*free_fn)(void *arg);
    uint64_t from, size; /* the range of the file */
    uint64_t base;       /* the stream's position at which the headers begin */
    uint64_t told;       /* of size */
};

static struct track *track_new(const struct http_file *file, int fd, uint64_t from, uint64_t size)
{
    struct track *k = xcalloc(1, sizeof(*k));
    int unacked = 0;

    k->sent = file->sent;
    k->arg = file->arg;
    k->free_fn = file->free_fn;
    k->from = from;
    k->size = size;
    (void)ioctl(fd, SIOCOUTQ, &unacked); /* of an earlier answer on this connection */
    k->base = conn_acked(fd) + (uint64_t)(unacked > 0 ? unacked : 0);
    return k;
}

static void tell(struct track *k, uint64_t got, bool last)
{
    if (got > k->size)
        got = k->size;
    if (got < k->told)
        got = k->told;
    if (got == k->told && !last)
        return;
    metric_add(M_DOWNLOAD_BYTES, (int64_t)(got - k->told));
    k->told = got;
    if (k->sent)
        k->sent(k->arg, k->from, k->from + got, last);
}

static uint64_t body_acked(const struct track *k, int fd)
{
    uint64_t acked = conn_acked(fd);
    uint64_t head = k->base + HEAD_BYTES_MAX;
    uint64_t got = acked > head ? acked - head : 0;
    return got < k->size ? got : k->size - (k->size > 0); /* TLS makes more of it */
}

void track_sample(struct track *k, int fd)
{
    tell(k, body_acked(k, fd), false);
}

static void track_end(struct track *k, uint64_t got)
{
    tell(k, got, true);
    if (k->free_fn)
        k->free_fn(k->arg);
    free(k);
}

static uint64_t without(const struct track *k, uint64_t rest)
{
    return k->size > rest ? k->size - rest : 0;
}

void track_rest(struct track *k, uint64_t rest)
{
    tell(k, without(k, rest), false);
}

void track_done(struct track *k, uint64_t rest)
{
    track_end(k, without(k, rest));
}

void track_broken(struct track *k, int fd)
{
    track_end(k, body_acked(k, fd));
}

/* ---- headers ---- */

static void add_disposition(struct http_request *r, const char *filename)
{
    AUTO(sbuf_done) struct sbuf out = {0};
    bool plain = true;

    sbuf_str(&out, "attachment; filename=\"");
    for (const char *p = filename; *p; p++) {
        bool ok = *p >= ' ' && *p <= '~' && *p != '"' && *p != '\\';
        plain &= ok;
        sbuf_add(&out, ok ? p : "_", 1);
    }
    sbuf_str(&out, "\"");
    if (!plain) {
        sbuf_str(&out, "; filename*=UTF-8''");
        for (const char *p = filename; *p; p++) {
            bool ok = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~",
                             *p) != NULL;
            sbuf_fmt(&out, ok ? "%c" : "%%%02X", (unsigned char)*p);
        }
    }
    http_add_header(r, "Content-Disposition", out.p);
}

struct plan {
    int status;
    uint64_t first, count;
};

static struct plan plan_of(struct http_request *r, const struct http_file *file)
{
    struct plan whole = {200, 0, file->size};
    uint64_t first, last;

    const char *none_match = http_header(r, "If-None-Match");
    if (none_match && etag_listed(none_match, file->etag))
        return (struct plan){304, 0, file->size};
    if (r->is_head) /* Range is defined for GET alone */
        return whole;
    const char *range = http_header(r, "Range"), *if_range = http_header(r, "If-Range");
    if (!range || (if_range && !etag_same(if_range, file->etag)))
        return whole;
    switch (range_parse(range, file->size, &first, &last)) {
    case RANGE_NONE:
        return whole;
    case RANGE_UNSATISFIABLE:
        return (struct plan){416, 0, 0};
    case RANGE_OK:
        return (struct plan){206, first, last - first + 1};
    }
    return whole;
}

static void add_headers(struct http_request *r, const struct http_file *file, const struct plan *p)
{
    http_add_header(r, "ETag", arena_printf(&r->arena, "\"%s\"", file->etag));
    http_add_header(r, "Accept-Ranges", "bytes");
    if (p->status == 416)
        http_add_header(r, "Content-Range",
                        arena_printf(&r->arena, "bytes */%llu", (unsigned long long)file->size));
    else if (p->status == 206)
        http_add_header(r, "Content-Range",
                        arena_printf(&r->arena, "bytes %llu-%llu/%llu",
                                     (unsigned long long)p->first,
                                     (unsigned long long)(p->first + p->count - 1),
                                     (unsigned long long)file->size));
    if (p->status == 200 || p->status == 206) {
        if (file->content_type)
            http_add_header(r, "Content-Type", file->content_type);
        if (file->filename)
            add_disposition(r, file->filename);
    }
}

void http_reply_file(struct http_request *r, const struct http_file *file)
{
    assert(r->in_handler && !r->mid_body && r->step != STEP_ANSWERED);
    struct plan p = plan_of(r, file);
    bool body = (p.status == 200 || p.status == 206) && !r->is_head && p.count > 0;
    struct track *k = track_new(file, r->conn->fd, p.first, body ? p.count : 0);

    add_headers(r, file, &p);
    if (p.count == 0) {
        close(file->fd);
        http_reply(r, p.status, NULL, NULL, 0);
    } else if (body && file->budget) {
        paced_reply(r, p.status, file->fd, p.first, p.count, file->budget);
    } else {
        /* HEAD and 304 carry the length of what they stand for; MHD leaves out the bytes. */
        reply_fd(r, p.status, file->fd, p.first, p.count);
    }
    if (!body || r->close) {
        track_end(k, 0);
        return;
    }
    metric_add(M_DOWNLOADS, 1);
    r->track = k;
}
