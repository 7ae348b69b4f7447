/*
 * What answers are made of: objects written straight into a buffer (reads of one device are the
 * busiest route), entity tags, and pages of lists with their cursors.
 */
#include "priv.h"

#include <stdio.h>

/* ---- objects ---- */
struct obj obj_begin(struct sbuf *b)
{
    sbuf_add(b, "{", 1);
    return (struct obj){b, false};
}

void obj_name(struct obj *o, const char *name)
{
    if (o->more)
        sbuf_add(o->b, ",", 1);
    o->more = true;
    json_add_string(o->b, name);
    sbuf_add(o->b, ":", 1);
}

void obj_str(struct obj *o, const char *name, const char *v)
{
    obj_name(o, name);
    if (v)
        json_add_string(o->b, v);
    else
        sbuf_add(o->b, "null", 4);
}

void obj_int(struct obj *o, const char *name, int64_t v)
{
    char text[24];
    obj_raw(o, name, log_int(text, v));
}

void obj_bool(struct obj *o, const char *name, bool v)
{
    obj_raw(o, name, v ? "true" : "false");
}

void obj_time(struct obj *o, const char *name, int64_t ms)
{
    char text[TIME_TEXT_MAX];
    obj_str(o, name, ms ? time_text(ms, text) : NULL);
}

void obj_raw(struct obj *o, const char *name, const char *json)
{
    obj_name(o, name);
    sbuf_str(o->b, json);
}

void obj_end(struct obj *o)
{
    sbuf_add(o->b, "}", 1);
}

/* ---- one object ---- */
void etag_text(char ret[48], int64_t revision, const struct sbuf *body)
{
    if (body)
        (void)str_fmt(ret, 48, "\"%lld.%08x\"", (long long)revision,
                      crc32_update(0, body->p, body->n));
    else
        (void)str_fmt(ret, 48, "\"%lld\"", (long long)revision);
}

/* If-None-Match compares weakly: W/ is passed over. */
static bool none_match(const char *header, const char *etag)
{
    size_t want = strlen(etag);
    for (const char *p = header; *p;) {
        p += strspn(p, " \t,");
        if (*p == '*')
            return true;
        if (strncmp(p, "W/", 2) == 0)
            p += 2;
        size_t n = strcspn(p, ", \t");
        if (n == want && strncmp(p, etag, n) == 0)
            return true;
        p += n;
    }
    return false;
}

void answer_object(struct http_request *r, const char *etag, const struct sbuf *body)
{
    const char *none = http_header(r, "If-None-Match");
    http_add_header(r, "ETag", etag);
    if (none && none_match(none, etag))
        http_reply(r, 304, NULL, NULL, 0);
    else
        http_reply(r, 200, "application/json", body->p, body->n);
}

int read_found(struct http_request *r, int rc, const char *what)
{
    if (rc == E_NOTFOUND)
        answer_not_found(r, what);
    else if (rc < 0)
        http_fail(r, rc, NULL);
    return rc;
}

void answer_read(struct http_request *r, int rc, const char *what, int64_t revision, bool moves,
                 struct sbuf *b)
{
    char etag[48];

    if (read_found(r, rc, what) >= 0) {
        etag_text(etag, revision, moves ? b : NULL);
        answer_object(r, etag, b);
    }
    sbuf_done(b);
}

/* ---- lists ---- */
static int cursor_read(struct http_request *r, int64_t *ret)
{
    const char *text = http_query(r, "after");
    char digits[24];
    *ret = 0;
    if (!text)
        return 0;
    int n = strlen(text) < 32 ? b64url_decode(text, strlen(text), digits, sizeof(digits) - 1) : -1;
    if (n > 0) {
        digits[n] = '\0';
        if (num_parse(digits, 1, INT64_MAX, ret) == 0)
            return 0;
    }
    http_problem(r, 400, "invalid_parameter", NULL,
                 "The query parameter 'after' takes the 'next' of the page before.");
    return E_PROTO;
}

int list_begin(struct http_request *r, struct list *l)
{
    int64_t limit;
    int total;
    *l = (struct list){.r = r};
    if (input_query_int(r, "limit", 1, 500, 50, &limit) < 0 || cursor_read(r, &l->after) < 0 ||
        input_query_bool(r, "total", &total) < 0)
        return E_PROTO;
    l->limit = (int)limit;
    sbuf_str(&l->b, "{\"items\":[");
    return 0;
}

bool list_row(struct list *l, int64_t id)
{
    if (l->n == l->limit) {
        l->more = true;
        return false;
    }
    if (l->n++)
        sbuf_add(&l->b, ",", 1);
    l->last = id;
    return true;
}

bool list_wants_total(const struct list *l)
{
    const char *text = http_query(l->r, "total");
    return text && (strcmp(text, "1") == 0 || strcmp(text, "true") == 0);
}

void list_end(struct list *l, int rc, int64_t total)
{
    if (rc < 0) {
        http_fail(l->r, rc, NULL);
    } else {
        char digits[24], cursor[48];
        struct obj o = {&l->b, true};
        sbuf_str(&l->b, "]");
        log_int(digits, l->last);
        b64url_encode(digits, strlen(digits), cursor);
        obj_str(&o, "next", l->more ? cursor : NULL);
        if (total >= 0)
            obj_int(&o, "total", total);
        obj_end(&o);
        http_reply(l->r, 200, "application/json", l->b.p, l->b.n);
    }
    sbuf_done(&l->b);
}
