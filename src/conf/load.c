/*
 * Loading: defaults, then the file, then the environment, into one struct that never changes
 * afterwards. An unknown key in the file stops the start, as it is most likely a misspelt one; an
 * unknown OTAD_ variable only warns, as the environment is not ours alone.
 * Precedence, highest first: OTAD_X or OTAD_X_FILE, the file, a systemd credential, the default.
 */
#include "conf.h"
#include "item.h"
#include "toml.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define ITEMS_MAX 64
#define FILE_MAX  ((size_t)1 << 20)

extern char **environ;

struct loader {
    struct conf c; /* first: what the caller holds is a pointer to it */
    struct arena a;
    const char *where[ITEMS_MAX]; /* who set it: FILE:LINE or a variable; NULL = the default */
};

static size_t index_of(const struct item *item)
{
    return (size_t)(item - conf_items);
}

static void *member(struct loader *l, const struct item *item)
{
    return (char *)&l->c + item->offset;
}

static int set_int(struct loader *l, const struct item *item, const char *where, int64_t v,
                   struct fail *f)
{
    if (v < item->min || v > item->max)
        return fail(f, E_PROTO, "%s: %s: %lld is out of range, it must be from %lld to %lld", where,
                    item->key, (long long)v, (long long)item->min, (long long)item->max);
    *(int64_t *)member(l, item) = v;
    return 0;
}

static int set_word(struct loader *l, const struct item *item, const char *where, const char *text,
                    struct fail *f)
{
    const char *words = item_words(item);
    int index = 0;
    for (const char *p = words; *p; index++) {
        size_t n = strcspn(p, "|");
        if (n == strlen(text) && memcmp(p, text, n) == 0) {
            if (item->kind == ITEM_LEVEL)
                *(enum log_level *)member(l, item) = (enum log_level)index;
            else
                *(bool *)member(l, item) = index == 1;
            return 0;
        }
        p += n + (p[n] == '|');
    }
    return fail(f, E_PROTO, "%s: %s: '%.40s' is not one of %s", where, item->key, text, words);
}

/* From text: a default, a variable, a file of a secret, or a string of the configuration. */
static int set_text(struct loader *l, const struct item *item, const char *where, const char *text,
                    struct fail *f)
{
    int64_t v;
    int rc;
    switch (item->kind) {
    case ITEM_STRING:
        return item_check_string(item, &l->a, where, text, member(l, item), f);
    case ITEM_INT:
        rc = num_parse(text, item->min, item->max, &v);
        if (rc < 0)
            return fail(f, E_PROTO, "%s: %s: '%.40s' is no whole number from %lld to %lld", where,
                        item->key, text, (long long)item->min, (long long)item->max);
        return set_int(l, item, where, v, f);
    case ITEM_LEVEL:
    case ITEM_FORMAT:
        return set_word(l, item, where, text, f);
    case ITEM_NETS:
        return item_split_nets(item, &l->a, where, text, member(l, item), f);
    }
    abort();
}

/* All of a file, NUL-terminated, in the arena. 0 or -errno; -EFBIG past max. */
static int read_all(struct arena *a, const char *path, size_t max, char **ret, size_t *ret_n,
                    mode_t *ret_mode)
{
    AUTO(free) char *buf = xmalloc(max + 1);
    struct stat st;
    size_t n = 0;
    ssize_t got = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (n <= max && got != 0) {
        got = read(fd, buf + n, max + 1 - n);
        if (got < 0 && errno != EINTR)
            break;
        n += got > 0 ? (size_t)got : 0;
    }
    int rc = got < 0 ? -errno : n > max ? -EFBIG : 0;
    *ret_mode = fstat(fd, &st) == 0 ? st.st_mode : 0;
    close(fd);
    if (rc == 0) {
        *ret = arena_alloc(a, n + 1);
        memcpy(*ret, buf, n);
        *ret_n = n;
    }
    explicit_bzero(buf, n);
    return rc;
}

/* ---- the file ---- */

static const struct item *find(const char *section, const char *key)
{
    for (size_t i = 0; i < conf_item_count; i++)
        if (strcmp(conf_items[i].section, section) == 0 && strcmp(conf_items[i].key, key) == 0)
            return &conf_items[i];
    return NULL;
}

static bool is_section(const char *name)
{
    for (size_t i = 0; i < conf_item_count; i++)
        if (*name && strcmp(conf_items[i].section, name) == 0)
            return true;
    return false;
}

static int unknown_section(const char *where, const char *name, struct fail *f)
{
    const char *nearest = "";
    unsigned best = ~0u;
    for (size_t i = 0; i < conf_item_count; i++) {
        unsigned d = str_distance(name, conf_items[i].section);
        if (*conf_items[i].section && d < best) {
            best = d;
            nearest = conf_items[i].section;
        }
    }
    return fail(f, E_PROTO, "%s: section [%.40s] is not known; the nearest is [%s]", where, name,
                nearest);
}

static int unknown_key(const char *where, const char *section, const char *key, struct fail *f)
{
    const struct item *nearest = &conf_items[0];
    unsigned best = ~0u;
    for (size_t i = 0; i < conf_item_count; i++) {
        const struct item *item = &conf_items[i];
        /* The same section counts more, but not more than the very name elsewhere. */
        unsigned d = 2 * str_distance(key, item->key);
        if (d > 0 && strcmp(item->section, section) != 0)
            d += 5;
        if (!item->env_only && d < best) {
            best = d;
            nearest = item;
        }
    }
    char here[64] = "above the first section", there[64] = "";
    if (*section)
        (void)str_fmt(here, sizeof(here), "in [%.40s]", section);
    if (!*nearest->section && *section)
        (void)str_copy(there, sizeof(there), " above the first section");
    else if (strcmp(nearest->section, section) != 0)
        (void)str_fmt(there, sizeof(there), " in [%s]", nearest->section);
    return fail(f, E_PROTO, "%s: key '%.40s' is not known %s; the nearest is '%s'%s", where, key,
                here, nearest->key, there);
}

static int set_entry(struct loader *l, const struct item *item, const char *where,
                     const struct toml_entry *e, struct fail *f)
{
    if (e->kind == TOML_INT && item->kind == ITEM_INT)
        return set_int(l, item, where, e->number, f);
    if (e->kind == TOML_STRINGS && item->kind == ITEM_NETS)
        return item_check_nets(item, &l->a, where, e->list, e->count, member(l, item), f);
    if (item->kind == ITEM_NETS)
        return fail(f, E_PROTO, "%s: %s must be a list, such as %s = [\"127.0.0.1\", \"fd00::/8\"]",
                    where, item->key, item->key);
    if (e->kind == TOML_STRING && item->kind != ITEM_INT)
        return set_text(l, item, where, e->text, f);
    if (item->kind == ITEM_INT)
        return fail(f, E_PROTO, "%s: %s must be a whole number, such as %s = %s", where, item->key,
                    item->key, item->initial);
    return fail(f, E_PROTO, "%s: %s must be text in quotes, such as %s = \"%s\"", where, item->key,
                item->key, item->initial);
}

static int load_entry(struct loader *l, const char *path, const char *section,
                      const struct toml_entry *e, struct fail *f)
{
    const char *where = arena_printf(&l->a, "%s:%u", path, e->line);
    const struct item *item = find(section, e->key);
    if (!item)
        return unknown_key(where, section, e->key, f);
    if (item->env_only)
        return fail(f, E_PROTO,
                    "%s: %s is not taken from the file; set OTAD_ADMIN_TOKEN or "
                    "OTAD_ADMIN_TOKEN_FILE",
                    where, item->key);
    const char **seen = &l->where[index_of(item)];
    if (*seen)
        return fail(f, E_PROTO, "%s: '%s' stands already at %s; keep one of them", where, e->key,
                    *seen);
    int rc = set_entry(l, item, where, e, f);
    *seen = where;
    return rc;
}

static void warn_if_open(const struct loader *l, const char *path, mode_t mode)
{
    if (*l->c.mqtt_password && S_ISREG(mode) && mode & S_IROTH)
        LOG(LOG_WARN, "conf", "the file holds a password and everybody can read it",
            KV("file", path), KV("cure", "chmod o-r, or use OTAD_MQTT_PASSWORD_FILE"));
}

static int load_file(struct loader *l, const char *path, struct fail *f)
{
    struct toml t;
    struct toml_entry e;
    struct map sections = {0};
    const char *section = "";
    char empty[1] = "", *text = empty;
    size_t n = 0;
    mode_t mode = 0;

    int rc = read_all(&l->a, path, FILE_MAX, &text, &n, &mode);
    if (rc < 0)
        return fail(f, rc, "%s: can't be read: %s", path, err_str(rc));
    rc = toml_init(&t, &l->a, path, text, n, f);
    while (rc == 0 && (rc = toml_next(&t, &e, f)) == 0 && e.kind != TOML_END) {
        if (e.kind != TOML_SECTION) {
            rc = load_entry(l, path, section, &e, f);
            continue;
        }
        const char *where = arena_printf(&l->a, "%s:%u", path, e.line);
        section = e.key;
        if (!is_section(section))
            rc = unknown_section(where, section, f);
        else if (map_put(&sections, section, strlen(section), &sections))
            rc = fail(f, E_PROTO, "%s: section [%s] stands twice; join them", where, section);
    }
    map_done(&sections);
    if (rc == 0)
        warn_if_open(l, path, mode);
    return rc;
}

/* ---- the environment ---- */

/* A secret from a file: its text without the newline at the end. */
static int load_secret(struct loader *l, const struct item *item, const char *where,
                       const char *path, bool may_miss, struct fail *f)
{
    char empty[1] = "", *text = empty;
    size_t n = 0;
    mode_t mode = 0;
    int rc = read_all(&l->a, path, 4096, &text, &n, &mode);
    if (rc == -ENOENT && may_miss)
        return 0;
    if (rc < 0)
        return fail(f, rc, "%s: %s can't be read: %s", where, path, err_str(rc));
    if (n > 0 && text[n - 1] == '\n')
        text[--n] = '\0';
    if (n > 0 && text[n - 1] == '\r')
        text[--n] = '\0';
    if (strlen(text) != n)
        return fail(f, E_PROTO, "%s: %s is not a text", where, path);
    l->where[index_of(item)] = where;
    return set_text(l, item, where, text, f);
}

static int load_variables(struct loader *l, const struct item *item, struct fail *f)
{
    char name[64], file_name[80];
    item_env_name(item, name);
    const char *value = getenv(name), *path = NULL;
    (void)str_fmt(file_name, sizeof(file_name), "%s_FILE", name);
    if (item->rule == RULE_SECRET)
        path = getenv(file_name);
    if (value && path)
        return fail(f, E_PROTO, "%s: %s is set too; keep one of them", name, file_name);
    if (path)
        return load_secret(l, item, arena_strdup(&l->a, file_name), path, false, f);
    if (!value)
        return 0;
    const char *where = arena_strdup(&l->a, name);
    l->where[index_of(item)] = where;
    return set_text(l, item, where, arena_strdup(&l->a, value), f);
}

/* systemd's LoadCredential=mqtt_password:… and admin_token:… need no further configuration. The
 * sample file has every secret, empty: that is none. */
static int load_credential(struct loader *l, const struct item *item, struct fail *f)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    if (item->rule != RULE_SECRET || !dir)
        return 0;
    if (l->where[index_of(item)] && **(const char **)member(l, item))
        return 0;
    const char *path =
        arena_printf(&l->a, "%s/%s%s%s", dir, item->section, *item->section ? "_" : "", item->key);
    return load_secret(l, item, path, path, true, f);
}

/* Variables that other programs of this project read. */
static bool is_foreign(const char *name)
{
    static const char *const names[] = {"OTAD_URL", "OTAD_TOKEN", "OTAD_CONFIG", "OTAD_PROJECT"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return strncmp(name, "OTAD_TEST_", 10) == 0;
}

static void warn_unknown_variable(const char *name)
{
    char known[64], file[80], nearest[80] = "";
    unsigned best = ~0u;
    for (size_t i = 0; i < conf_item_count; i++) {
        item_env_name(&conf_items[i], known);
        (void)str_fmt(file, sizeof(file), "%s_FILE", known);
        const char *names[] = {known, conf_items[i].rule == RULE_SECRET ? file : known};
        for (size_t k = 0; k < ARRAY_LEN(names); k++) {
            unsigned d = str_distance(name, names[k]);
            if (strcmp(name, names[k]) == 0)
                return;
            if (d < best) {
                best = d;
                (void)str_copy(nearest, sizeof(nearest), names[k]);
            }
        }
    }
    LOG(LOG_WARN, "conf", "a variable is not known and was left alone", KV("name", name),
        KV("nearest", nearest));
}

static int load_environment(struct loader *l, struct fail *f)
{
    int rc = 0;
    for (size_t i = 0; i < conf_item_count && rc == 0; i++) {
        rc = load_variables(l, &conf_items[i], f);
        if (rc == 0)
            rc = load_credential(l, &conf_items[i], f);
    }
    for (char **p = environ; p && *p && rc == 0; p++) {
        char name[128];
        size_t n = strcspn(*p, "=");
        if (strncmp(*p, "OTAD_", 5) != 0 || n >= sizeof(name))
            continue;
        memcpy(name, *p, n);
        name[n] = '\0';
        if (!is_foreign(name))
            warn_unknown_variable(name);
    }
    return rc;
}

/* ---- together ---- */

static const char *where_of(const struct loader *l, const char *section, const char *key)
{
    const char *where = l->where[index_of(find(section, key))];
    return where ? where : key;
}

/* Certificates that nothing uses: whoever names them takes the connections for encrypted. */
static int check_tls(const struct loader *l, struct fail *f)
{
    const struct conf *c = &l->c;
    if (*c->http_https_listen && (!*c->http_tls_cert || !*c->http_tls_key))
        return fail(f, E_PROTO, "%s: https_listen needs tls_cert and tls_key",
                    where_of(l, "http", "https_listen"));
    if (!*c->http_https_listen && (*c->http_tls_cert || *c->http_tls_key)) {
        const char *key = *c->http_tls_cert ? "tls_cert" : "tls_key";
        return fail(f, E_PROTO, "%s: %s is of use only with https_listen", where_of(l, "http", key),
                    key);
    }
    if (!*c->mqtt_cert != !*c->mqtt_key)
        return fail(f, E_PROTO, "%s: cert and key of [mqtt] belong together; set both or none",
                    where_of(l, "mqtt", *c->mqtt_cert ? "cert" : "key"));
    if (strncmp(c->mqtt_url, "mqtts://", 8) != 0 && (*c->mqtt_ca || *c->mqtt_cert)) {
        const char *key = *c->mqtt_ca ? "ca" : "cert";
        return fail(f, E_PROTO, "%s: %s is of use only with a url that begins with mqtts://",
                    where_of(l, "mqtt", key), key);
    }
    return 0;
}

/* Two listeners at one place; port 0 is another one each time. */
static int check_listeners(const struct loader *l, struct fail *f)
{
    const struct conf *c = &l->c;
    const struct {
        const char *key, *text;
    } all[] = {{"listen", c->http_listen},
               {"https_listen", c->http_https_listen},
               {"metrics_listen", c->http_metrics_listen}};
    for (size_t i = 1; i < ARRAY_LEN(all); i++)
        for (size_t k = 0; k < i; k++) {
            const char *text = all[i].text;
            if (*text && strcmp(text, all[k].text) == 0 && strcmp(strrchr(text, ':'), ":0") != 0)
                return fail(f, E_PROTO, "%s: %s: %s has %s already; each has a port of its own",
                            where_of(l, "http", all[i].key), all[i].key, all[k].key, text);
        }
    return 0;
}

/* What no item can say alone. */
static int check_together(const struct loader *l, struct fail *f)
{
    const struct conf *c = &l->c;
    int rc = check_tls(l, f);
    if (rc == 0)
        rc = check_listeners(l, f);
    if (rc < 0)
        return rc;
    if (*c->mqtt_broker_pid_file && !*c->mqtt_auth_dir)
        return fail(f, E_PROTO, "%s: broker_pid_file is of use only with auth_dir",
                    where_of(l, "mqtt", "broker_pid_file"));
    if (*c->connect_host && !c->connect_mqtt_port && !c->connect_mqtts_port && !c->connect_tcp_port)
        return fail(f, E_PROTO, "%s: host needs one of mqtt_port, mqtts_port and tcp_port",
                    where_of(l, "connect", "host"));
    if (*c->mqtt_password && !*c->mqtt_username)
        return fail(f, E_PROTO, "%s: a password needs a username", where_of(l, "mqtt", "password"));
    return 0;
}

int conf_load(const char *path, struct conf **ret, struct fail *f)
{
    struct loader *l = xcalloc(1, sizeof(*l));
    int rc = 0;
    if (conf_item_count > ITEMS_MAX)
        abort();
    arena_init(&l->a);
    for (size_t i = 0; i < conf_item_count && rc == 0; i++)
        rc = set_text(l, &conf_items[i], "default", conf_items[i].initial, f);
    if (rc == 0 && path)
        rc = load_file(l, path, f);
    if (rc == 0)
        rc = load_environment(l, f);
    if (rc == 0)
        rc = check_together(l, f);
    if (rc < 0) {
        conf_free(&l->c);
        return rc;
    }
    *ret = &l->c;
    return 0;
}

int conf_check_files(const struct conf *c, struct fail *f)
{
    const struct loader *l = (const struct loader *)c;
    for (size_t i = 0; i < conf_item_count; i++) {
        const struct item *item = &conf_items[i];
        if (item->rule != RULE_FILE_OPT)
            continue;
        const char *path = *(const char *const *)((const char *)c + item->offset);
        if (*path && access(path, R_OK) < 0) {
            int rc = -errno;
            return fail(f, rc, "%s: %s: %s can't be read: %s",
                        where_of(l, item->section, item->key), item->key, path, err_str(rc));
        }
    }
    return 0;
}

void conf_free(struct conf *c)
{
    struct loader *l = (struct loader *)c;
    if (!l)
        return;
    arena_done(&l->a);
    free(l);
}
