/*
 * The files that let mosquitto know our devices: password_file and acl_file, and what the plugin
 * takes of the latter. Each is written to
 * a temporary file in the same folder, synced and renamed, so that the broker never reads half of
 * one. Rows are streamed: memory stays the same for a million devices. The broker takes the files
 * up at its next start or SIGHUP, which is not this room's.
 */
#include "device_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a device may do; %u is its username. */
#define WRITE "write"
#define READ  "read"
static const struct {
    const char *access, *topic;
} patterns[] =
    {
#define TOPIC(access, pattern) {access, pattern},
#define APP(access, pattern)
#define BARE(access, pattern)
#include "device_topics.def"
#undef TOPIC
#undef APP
#undef BARE
},
  app_patterns[] = {
#define TOPIC(access, pattern)
#define APP(access, pattern) {access, pattern},
#define BARE(access, pattern)
#include "device_topics.def"
#undef TOPIC
#undef APP
#undef BARE
};

bool device_may(const char *username, bool publish, const char *topic)
{
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        if ((patterns[i].access[0] == 'w') == publish &&
            topic_covers(patterns[i].topic, topic, username))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(app_patterns); i++)
        if ((app_patterns[i].access[0] == 'w') == publish &&
            topic_covers(app_patterns[i].topic, topic, username))
            return true;
    return false;
}

/* By name, not as patterns: the broker looks through all patterns at each message. */
static int write_app_acl(void *arg, const struct project_app *app)
{
    FILE *out = arg;

    fprintf(out, "user %s\n", app->key);
    for (size_t i = 0; i < ARRAY_LEN(app_patterns); i++) {
        const char *pattern = app_patterns[i].topic, *u = strstr(pattern, "%u");

        fprintf(out, "topic %s %.*s%s%s\n", app_patterns[i].access, (int)(u - pattern), pattern,
                app->key, u + 2);
    }
    fprintf(out, "\n");
    return ferror(out) ? -EIO : 0;
}

/* A device that bears the service's name would inherit its rights; one with a colon would spoil
 * the file. */
static bool is_login(const char *key, const char *service_username)
{
    return strcmp(key, service_username) != 0 && !strchr(key, ':');
}

static void write_patterns(FILE *acl, const char *service_username)
{
    fprintf(acl, "# Written by otad; changes are lost.\nuser %s\ntopic readwrite #\n\n",
            service_username);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        fprintf(acl, "pattern %s %s\n", patterns[i].access, patterns[i].topic);
}

/* ---- foreign topics: what a device may use goes by its serial number ---- */
struct places {
    FILE *acl, *topics;
    struct db *db;
    const char *service_username;
};

static const char *access_of(const struct type_topic *t)
{
    return topic_is_down(t->as) ? READ : WRITE;
}

/* mosquitto knows a user's name alone, so each device has its lines; the plugin makes them up. */
static int write_devices(struct places *p, int64_t type_id, const struct type_topics *t)
{
    AUTO(db_reset) struct db_stmt *q = db_use(p->db, Q_DEVICE_PLACES);
    struct arena a;
    int rc;

    arena_init(&a);
    db_bind_int(q, 1, type_id);
    while ((rc = db_step(q)) == 1) {
        const char *key = db_text(q, 0), *sn = db_text(q, 1);

        if (!is_login(key, p->service_username) || !topic_sn_ok(sn, strlen(sn)))
            continue;
        fprintf(p->topics, "device %s %lld/%s\n", key, (long long)type_id, sn);
        if (db_int(q, 2))
            continue;
        fprintf(p->acl, "\nuser %s\n", key);
        for (size_t i = 0; i < t->n; i++)
            fprintf(p->acl, "topic %s %s\n", access_of(&t->list[i]),
                    topic_with_sn(t->list[i].pattern, str_of(sn), &a));
        arena_reset(&a);
        if (ferror(p->acl) || ferror(p->topics)) {
            rc = errno ? -errno : -EIO;
            break;
        }
    }
    arena_done(&a);
    return rc;
}

static int write_type(void *arg, int64_t type_id, int64_t project_id UNUSED, const char *key UNUSED,
                      const char *text)
{
    struct places *p = arg;
    struct type_topics t;
    struct arena a;
    int rc = 0;

    arena_init(&a);
    if (type_topics_read(text, type_id, &a, &t) == 0) {
        for (size_t i = 0; i < t.n; i++)
            fprintf(p->topics, "type %lld %s %s\n", (long long)type_id, access_of(&t.list[i]),
                    t.list[i].pattern);
        rc = write_devices(p, type_id, &t);
    }
    arena_done(&a);
    return rc;
}

static int write_acl(FILE *acl, FILE *topics, struct db *db, const char *service_username)
{
    struct places p = {acl, topics, db, service_username};

    write_patterns(acl, service_username);
    fprintf(topics, "# Written by otad; changes are lost.\n");
    int rc = project_app_list(db, write_app_acl, acl);
    if (rc == 0)
        rc = device_type_topics_each(db, write_type, &p);
    return rc < 0 ? rc : ferror(acl) || ferror(topics) ? -EIO : 0;
}

static int write_app_login(void *arg, const struct project_app *app)
{
    return fprintf(arg, "%s:%s\n", app->key, app->secret_hash) < 0 ? -EIO : 0;
}

static int write_passwords(FILE *out, struct db *db, const char *service_username,
                           const char *service_password)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_LOGINS);
    char hash[CRYPTO_PASSWORD_TEXT];
    int rc;

    if (service_password && *service_password) {
        crypto_password_hash(service_password, hash);
        fprintf(out, "%s:%s\n", service_username, hash);
    }
    rc = project_app_list(db, write_app_login, out);
    if (rc < 0)
        return rc;
    while ((rc = db_step(q)) == 1) {
        const char *key = db_text(q, 0);

        if (!is_login(key, service_username))
            continue;
        if (fprintf(out, "%s:%s\n", key, db_text(q, 1)) < 0)
            return errno ? -errno : -EIO;
    }
    return rc;
}

struct broker_file {
    char path[512], tmp[540];
    FILE *out;
};

static int file_begin(struct broker_file *b, const char *dir, const char *name, mode_t mode,
                      struct fail *f)
{
    int fd;

    if (!str_fmt(b->path, sizeof(b->path), "%s/%s", dir, name) ||
        !str_fmt(b->tmp, sizeof(b->tmp), "%s.new", b->path))
        return fail(f, -ENAMETOOLONG, "%s: the name is too long", dir);
    (void)unlink(b->tmp); /* a crash's */
    fd = open(b->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(f, -errno, "%s: %s", b->tmp, strerror(errno));
    /* Not the umask's to say: a file that the broker can't read locks everybody out. */
    if (fchmod(fd, mode) < 0) {
        int rc = fail(f, -errno, "%s: %s", b->tmp, strerror(errno));
        (void)close(fd);
        (void)unlink(b->tmp);
        return rc;
    }
    b->out = fdopen(fd, "w");
    if (!b->out)
        abort();
    return 0;
}

/* rc: how the writing went. Publishes the file or removes it. */
static int file_end(struct broker_file *b, int rc, struct fail *f)
{
    if (rc < 0) {
        fail(f, rc, "%s: %s", b->tmp, err_str(rc));
    } else if (fflush(b->out) != 0 || ferror(b->out) || fsync(fileno(b->out)) != 0) {
        rc = errno ? -errno : -EIO;
        fail(f, rc, "%s: %s", b->tmp, strerror(-rc));
    }
    if (fclose(b->out) != 0 && rc == 0)
        rc = fail(f, -errno, "%s: %s", b->tmp, strerror(errno));
    if (rc == 0 && rename(b->tmp, b->path) != 0)
        rc = fail(f, -errno, "%s: %s", b->path, strerror(errno));
    if (rc < 0)
        (void)unlink(b->tmp);
    return rc;
}

static int sync_dir(const char *dir, struct fail *f)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0 || fsync(fd) != 0)
        rc = fail(f, -errno, "%s: %s", dir, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

int device_write_broker_files(struct db *db, const char *dir, const char *service_username,
                              const char *service_password, struct fail *f)
{
    struct broker_file passwd, acl, topics;
    int rc;

    if (strpbrk(service_username, ":\r\n") || !*service_username)
        return fail(f, E_PROTO, "a broker's username has no colon and no line break");
    if (mkdir(dir, 0750) < 0 && errno != EEXIST)
        return fail(f, -errno, "auth_dir %s: %s", dir, strerror(errno));
    rc = file_begin(&acl, dir, "acl", 0644, f);
    if (rc < 0)
        return rc;
    rc = file_begin(&topics, dir, "topics", 0644, f);
    if (rc < 0)
        return file_end(&acl, rc, NULL);
    int wrote = write_acl(acl.out, topics.out, db, service_username);
    rc = file_end(&acl, wrote, f);
    int also = file_end(&topics, wrote, rc < 0 ? NULL : f);
    if (rc < 0 || also < 0)
        return rc < 0 ? rc : also;
    rc = file_begin(&passwd, dir, "passwd", 0600, f);
    if (rc < 0)
        return rc;
    rc = file_end(&passwd, write_passwords(passwd.out, db, service_username, service_password), f);
    return rc < 0 ? rc : sync_dir(dir, f);
}
