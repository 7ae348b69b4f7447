/*
 * Error codes, their words and their HTTP statuses, and struct fail, which carries the sentence
 * beside the code. One table serves both; codes that are not in it are either errno values,
 * which libc names, or something unknown, which is a 500.
 */
#include "util.h"

#include <stdio.h>

static const struct {
    int rc;
    int http;
    const char *word;
} errs[] = {
    {0, 200, "fine"},
    {E_NOTFOUND, 404, "not found"},
    {E_CONFLICT, 409, "conflict"},
    {E_PROTO, 400, "malformed"},
    {E_AUTH, 401, "not authenticated"},
    {E_FORBIDDEN, 403, "forbidden"},
    {E_LIMIT, 413, "limit reached"},
    {E_DB, 503, "database failed"},
    {E_DB_FULL, 507, "database full"},
    {E_NEEDS_WRITE, 500, "needs a writer"},
    {E_PRECONDITION, 412, "precondition failed"},
    {E_GONE, 410, "gone"},
    {E_UNAVAILABLE, 503, "unavailable"},
    {E_UNSUPPORTED, 415, "not supported"},
    {-ENOENT, 404, "no such file"},
    {-EEXIST, 409, "exists already"},
    {-EINVAL, 400, "invalid"},
    {-ERANGE, 400, "out of range"},
    {-EFBIG, 413, "too large"},
    {-EMSGSIZE, 413, "message too long"},
    {-ENOSPC, 507, "no space left"},
    {-EDQUOT, 507, "quota exceeded"},
    {-EAGAIN, 503, "try again"},
    {-EBUSY, 503, "busy"},
    {-ETIMEDOUT, 503, "timed out"},
    {-ENOMEM, 503, "out of memory"},
    {-EMFILE, 503, "too many open files"},
    {-EACCES, 500, "permission denied"},
    {-EPERM, 500, "not permitted"},
    {-EIO, 500, "input/output error"},
    {-ECONNREFUSED, 500, "connection refused"},
    {-ECONNRESET, 500, "connection reset"},
    {-EPIPE, 500, "broken pipe"},
    {-EADDRINUSE, 500, "address in use"},
    {-EADDRNOTAVAIL, 500, "address not available"},
    {-ECANCELED, 503, "canceled"},
};

const char *err_str(int rc)
{
    for (size_t i = 0; i < ARRAY_LEN(errs); i++)
        if (errs[i].rc == rc)
            return errs[i].word;
    const char *word = rc < 0 && rc > -1000 ? strerrordesc_np(-rc) : NULL;
    return word ? word : "unknown error";
}

int err_http(int rc)
{
    for (size_t i = 0; i < ARRAY_LEN(errs); i++)
        if (errs[i].rc == rc)
            return errs[i].http;
    return 500;
}

int fail(struct fail *f, int rc, const char *fmt, ...)
{
    if (f) {
        va_list ap;
        va_start(ap, fmt);
        f->rc = rc;
        (void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
        va_end(ap);
    }
    return rc;
}

int fail_prefix(struct fail *f, const char *fmt, ...)
{
    if (!f)
        return 0;
    char old[sizeof(f->text)];
    memcpy(old, f->text, sizeof(old));
    old[sizeof(old) - 1] = '\0';
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(f->text, sizeof(f->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(f->text))
        (void)str_copy(f->text + n, sizeof(f->text) - (size_t)n, old);
    return f->rc;
}
