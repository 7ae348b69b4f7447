/*
 * What the download client reads without a socket: the URL that an offer names, and the head of
 * the server's answer. Strict where a small device would be: no chunked bodies, a length always.
 */
#include "sim.h"

#include <strings.h>

int fetch_url_parse(const char *url, struct fetch_url *ret, struct fail *f)
{
    static const char scheme[] = "http://";
    int64_t port = 80;

    if (strncasecmp(url, scheme, sizeof(scheme) - 1) != 0)
        return fail(f, E_UNSUPPORTED, "'%s' is not an http:// address", url);
    const char *p = url + sizeof(scheme) - 1;
    size_t n = strcspn(p, "/?#");
    if (n == 0 || n >= sizeof(ret->authority) || memchr(p, '@', n))
        return fail(f, E_PROTO, "'%s' names no host", url);
    memcpy(ret->authority, p, n);
    ret->authority[n] = '\0';
    ret->path = p[n] == '/' ? p + n : "/";

    const char *host = ret->authority, *end = host + n, *colon;
    if (*host == '[') {
        host++;
        end = strchr(host, ']');
        if (!end)
            return fail(f, E_PROTO, "'%s' names no host", url);
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = strchr(host, ':');
        if (colon)
            end = colon;
    }
    if (colon && num_parse(colon + 1, 1, 65535, &port) < 0)
        return fail(f, E_PROTO, "'%s' has no port that exists", url);
    if ((size_t)(end - host) >= sizeof(ret->host) || end == host)
        return fail(f, E_PROTO, "'%s' names no host", url);
    memcpy(ret->host, host, (size_t)(end - host));
    ret->host[end - host] = '\0';
    ret->port = (int)port;
    return 0;
}

static int read_field(char *line, struct fetch_head *h, struct fail *f)
{
    char *colon = strchr(line, ':');

    if (!colon)
        return fail(f, E_PROTO, "the server sent a header line without a colon");
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    for (size_t n = strlen(value); n > 0 && strchr(" \t", value[n - 1]); n--)
        value[n - 1] = '\0';
    if (strcasecmp(line, "Content-Length") == 0) {
        if (num_parse(value, 0, INT64_MAX, &h->length) < 0)
            return fail(f, E_PROTO, "the server sent the length '%.40s'", value);
    } else if (strcasecmp(line, "Content-Range") == 0) {
        char *dash = strchr(value, '-');
        if (strncasecmp(value, "bytes ", 6) != 0 || !dash)
            return 0; /* that of a 416: "bytes STAR/size" */
        *dash = '\0';
        if (num_parse(value + 6, 0, INT64_MAX, &h->from) < 0)
            return fail(f, E_PROTO, "the server sent a range that can't be read");
    } else if (strcasecmp(line, "ETag") == 0) {
        (void)str_copy(h->etag, sizeof(h->etag), value);
    } else if (strcasecmp(line, "Transfer-Encoding") == 0) {
        return fail(f, E_UNSUPPORTED, "the server sent a %.20s body", value);
    }
    return 0;
}

int fetch_head_parse(char *text, struct fetch_head *ret, struct fail *f)
{
    *ret = (struct fetch_head){.length = -1, .from = -1};
    char *save = NULL, *line = strtok_r(text, "\r\n", &save);
    int64_t status;

    if (!line || strncmp(line, "HTTP/1.", 7) != 0 || strlen(line) < 12)
        return fail(f, E_PROTO, "the server did not answer in HTTP/1");
    line[12] = '\0';
    if (num_parse(line + 9, 100, 599, &status) < 0)
        return fail(f, E_PROTO, "the server's status line can't be read");
    ret->status = (int)status;
    while ((line = strtok_r(NULL, "\r\n", &save)) != NULL) {
        int rc = read_field(line, ret, f);
        if (rc < 0)
            return rc;
    }
    if (ret->length < 0)
        return fail(f, E_PROTO, "the server did not say how long the file is");
    return 0;
}
