/*
 * Online copies and the integrity check. A copy is taken under one read transaction: without it
 * SQLite would begin anew after every commit of the writer and never end under load. It gets
 * its name only when all of it is on disk. While it runs the WAL cannot start anew.
 */
#include "db_priv.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { STEP_PAGES = 1024, CACHE_KIB = 256 };

static int copy_pages(sqlite3 *from, sqlite3 *to)
{
    sqlite3_backup *b;
    int64_t version;
    int rc;

    rc = db_exec(from, "BEGIN");
    if (rc == SQLITE_OK)
        rc = db_exec_int(from, "PRAGMA user_version", &version); /* takes the snapshot */
    if (rc != SQLITE_OK)
        return rc;
    b = sqlite3_backup_init(to, "main", from, "main");
    if (!b)
        return sqlite3_errcode(to);
    do
        rc = sqlite3_backup_step(b, STEP_PAGES);
    while (rc == SQLITE_OK);
    int end = sqlite3_backup_finish(b);
    return rc == SQLITE_DONE ? end : rc;
}

/* Write the copy to tmp, which exists and is empty, and close it. */
static int copy_to(sqlite3 *from, const char *path, const char *tmp, struct fail *f)
{
    sqlite3 *to = NULL;
    int rc;

    rc = sqlite3_open_v2(tmp, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_extended_result_codes(to, 1);
        /* Nobody sees this file before it is whole; the fsync comes at the end. */
        rc = db_exec(to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF");
    }
    if (rc == SQLITE_OK)
        rc = copy_pages(from, to);
    if (rc != SQLITE_OK) {
        bool source = db_code(to, rc) == E_DB && sqlite3_errcode(from) != SQLITE_OK;
        rc = db_fail(f, source ? from : to, rc, "copy of", path);
    }
    sqlite3_close(to);
    return rc;
}

static int sync_path(const char *path, int flags, struct fail *f)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    int rc = 0;

    if (fd < 0 || fsync(fd) != 0)
        rc = fail(f, -errno, "sync %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

static int publish(const char *tmp, const char *to, bool replace, struct fail *f)
{
    AUTO(free) char *copy = xstrdup(to);
    int rc = sync_path(tmp, 0, f);

    if (rc < 0)
        return rc;
    /* link() never replaces; it is there wherever SQLite's WAL works. */
    if (replace ? rename(tmp, to) : link(tmp, to))
        return fail(f, -errno, "%s: %s", to, strerror(errno));
    if (!replace)
        unlink(tmp);
    return sync_path(dirname(copy), O_DIRECTORY, f);
}

int db_backup_to(const char *path, const char *to, bool replace, struct fail *f)
{
    char tmp[PATH_MAX];
    sqlite3 *from;
    int rc, fd;

    if (!replace && access(to, F_OK) == 0)
        return fail(f, -EEXIST, "%s exists already", to);
    if (!str_fmt(tmp, sizeof(tmp), "%s.tmp-XXXXXX", to))
        return fail(f, -ENAMETOOLONG, "%s: the name is too long", to);
    rc = db_handle_open(path, SQLITE_OPEN_READONLY, CACHE_KIB, &from, f);
    if (rc < 0)
        return rc;
    fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0) {
        rc = fail(f, -errno, "create %s: %s", tmp, strerror(errno));
        sqlite3_close(from);
        return rc;
    }
    close(fd);
    rc = copy_to(from, path, tmp, f);
    sqlite3_close(from);
    if (rc == 0)
        rc = publish(tmp, to, replace, f);
    if (rc < 0)
        unlink(tmp);
    return rc;
}

int db_backup(const char *path, const char *to, struct fail *f)
{
    return db_backup_to(path, to, false, f);
}

int db_check(const char *path, struct fail *f)
{
    sqlite3_stmt *s = NULL;
    sqlite3 *h;
    int rc, code = 0;

    rc = db_handle_open(path, SQLITE_OPEN_READONLY, CACHE_KIB, &h, f);
    if (rc < 0)
        return rc;
    rc = sqlite3_prepare_v2(h, "PRAGMA quick_check(1)", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc != SQLITE_ROW) {
        code = db_fail(f, h, rc, "check", path);
    } else {
        const char *found = (const char *)sqlite3_column_text(s, 0);
        if (!found || strcmp(found, "ok") != 0)
            code = fail(f, E_DB, "check %s: %s", path, found ? found : "no answer");
    }
    sqlite3_finalize(s);
    sqlite3_close(h);
    return code;
}
