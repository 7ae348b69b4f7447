/*
 * The logins in memory: first from the file that otad writes, then kept current by what otad
 * tells. The file lags behind by seconds; so a change that was told stands for a minute against
 * whatever a reading of the file says, a revocation as a login without a hash. Where the two differ
 * the file is read again after that minute: it may have been the newer one.
 */
#include "plugin.h"

#include <errno.h>
#include <stdio.h>

#define TOLD_US  60000000
#define FILE_MAX ((size_t)1 << 30)

void logins_init(struct logins *l, void (*on_changed)(void *arg, struct login *l), void *arg)
{
    *l = (struct logins){.on_changed = on_changed, .arg = arg};
}

static void login_free(struct login *l)
{
    free(l->place);
    free(l->name);
    free(l->hash);
    free(l);
}

void logins_done(struct logins *l)
{
    size_t it = 0, n;
    const void *key;
    void *value;

    while (map_next(&l->map, &it, &key, &n, &value))
        login_free(value);
    map_done(&l->map);
}

bool login_was_told(const struct login *l, int64_t now_us)
{
    return l->told_us && now_us - l->told_us < TOLD_US;
}

void logins_disagree(struct logins *l, const struct login *one)
{
    int64_t until_us = one->told_us + TOLD_US;

    if (l->again_us < until_us)
        l->again_us = until_us; /* one reading for all of them */
}

bool logins_due(struct logins *l, int64_t now_us)
{
    if (!l->again_us || now_us < l->again_us)
        return false;
    l->again_us = now_us + TOLD_US;
    return true;
}

struct login *logins_find(struct logins *l, const char *name)
{
    return map_get(&l->map, name, strlen(name));
}

bool login_check(struct login *l, const char *password)
{
    uint64_t now;

    if (!l->hash)
        return false;
    now = hash_bytes(password, strlen(password)) | 1;
    if (l->right == now)
        return true;
    if (!crypto_password_verify(password, l->hash))
        return false;
    l->right = now;
    return true;
}

static struct login *get(struct logins *l, struct str name)
{
    struct login *one = map_get(&l->map, name.p, name.n);

    if (!one) {
        one = xcalloc(1, sizeof(*one));
        one->name = xstrndup(name.p, name.n);
        (void)map_put(&l->map, name.p, name.n, one);
    }
    return one;
}

/* hash.p NULL: no login any more. */
static void change(struct logins *l, struct login *one, struct str hash)
{
    bool had = one->hash != NULL;

    if (had && hash.p && str_eq(hash, one->hash))
        return;
    free(one->hash);
    one->hash = hash.p ? xstrndup(hash.p, hash.n) : NULL;
    one->right = 0;
    if (had && l->on_changed)
        l->on_changed(l->arg, one);
}

void logins_set(struct logins *l, const char *name, const char *hash, int64_t now_us)
{
    struct login *one = get(l, str_of(name));

    one->told_us = now_us;
    change(l, one, str_of(hash));
}

void logins_revoke(struct logins *l, const char *name, int64_t now_us)
{
    struct login *one = get(l, str_of(name));

    one->told_us = now_us;
    change(l, one, (struct str){NULL, 0});
}

/* ---- the file ---- */

int logins_slurp(const char *path, char **ret, size_t *ret_n, struct fail *f)
{
    FILE *file = fopen(path, "re");
    struct sbuf b = {0};
    char piece[65536];
    size_t n;

    if (!file)
        return fail(f, -errno, "%s: %s", path, strerror(errno));
    while ((n = fread(piece, 1, sizeof(piece), file)) > 0 && b.n < FILE_MAX)
        sbuf_add(&b, piece, n);
    bool bad = ferror(file) || n > 0;
    (void)fclose(file);
    if (bad) {
        sbuf_done(&b);
        return fail(f, -EIO, "%s: it can't be read, or is too long", path);
    }
    *ret_n = b.n;
    *ret = sbuf_take(&b);
    return 0;
}

/* The next "name:hash"; false at the end. A line that is none has name.p NULL. */
static bool next_line(const char **at, const char *end, struct str *name, struct str *hash)
{
    while (*at < end) {
        const char *line = *at, *eol = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((eol ? eol : end) - line);
        const char *colon = memchr(line, ':', n);

        *at = line + n + (eol != NULL);
        if (n == 0 || *line == '#')
            continue;
        *name = (struct str){NULL, 0};
        /* A last line without its end was cut off. */
        if (colon && colon > line && eol && colon[1] == '$' && !memchr(line, '\0', n)) {
            *name = (struct str){line, (size_t)(colon - line)};
            *hash = (struct str){colon + 1, (size_t)(line + n - colon - 1)};
        }
        return true;
    }
    return false;
}

static int check_file(const char *path, const char *p, size_t n, struct fail *f)
{
    const char *at = p, *end = p + n;
    struct str name, hash;
    int count = 0;

    while (next_line(&at, end, &name, &hash)) {
        count++;
        if (!name.p)
            return fail(f, E_PROTO, "%s: entry %d is no name:hash; nothing of it is used", path,
                        count);
    }
    return count;
}

/* What the file did not have. */
static void drop_absent(struct logins *l, int64_t now_us)
{
    struct sbuf gone = {0};
    size_t it = 0, n;
    const void *key;
    void *value;

    while (map_next(&l->map, &it, &key, &n, &value)) {
        const struct login *one = value;
        if (one->round == l->round)
            continue;
        if (!login_was_told(one, now_us))
            sbuf_add(&gone, &value, sizeof(value));
        else if (one->hash)
            logins_disagree(l, one);
    }
    for (size_t i = 0; i < gone.n; i += sizeof(value)) {
        memcpy(&value, gone.p + i, sizeof(value));
        struct login *one = value;
        change(l, one, (struct str){NULL, 0});
        if (one->sessions)
            continue; /* the broker still has to end them */
        if (l->on_gone)
            l->on_gone(l->arg, one);
        (void)map_del(&l->map, one->name, strlen(one->name));
        login_free(one);
    }
    sbuf_done(&gone);
}

int logins_load(struct logins *l, const char *path, int64_t now_us, struct fail *f)
{
    AUTO(free) char *p = NULL;
    struct str name, hash;
    size_t n;
    int rc = logins_slurp(path, &p, &n, f);

    if (rc == 0)
        rc = check_file(path, p, n, f);
    if (rc < 0)
        return rc;
    l->round++;
    l->again_us = 0;
    for (const char *at = p; next_line(&at, p + n, &name, &hash);) {
        struct login *one = get(l, name);

        one->round = l->round;
        if (login_was_told(one, now_us)) {
            if (!one->hash || !str_eq(hash, one->hash))
                logins_disagree(l, one);
            continue;
        }
        one->told_us = 0;
        change(l, one, hash);
    }
    drop_absent(l, now_us);
    return rc;
}
