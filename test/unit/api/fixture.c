/* The api under test, its stand-in for the core, and the raw client. */
#include "api_test.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the core's stand-in ---- */
static int submit(void *core, struct db_job *job)
{
    struct fixture *x = core;
    int rc = 0;
    pthread_mutex_lock(&x->lock);
    if (x->stop) {
        rc = E_UNAVAILABLE;
    } else {
        job->next = NULL;
        *x->end = job;
        x->end = &job->next;
        pthread_cond_broadcast(&x->changed);
    }
    pthread_mutex_unlock(&x->lock);
    return rc;
}

static bool mqtt_up(void *core)
{
    (void)core;
    return true;
}

static void credentials_changed(void *core, const char *key)
{
    (void)key;
    struct fixture *x = core;
    pthread_mutex_lock(&x->lock);
    x->credentials++;
    pthread_mutex_unlock(&x->lock);
}

static bool take_refusal(struct fixture *x)
{
    pthread_mutex_lock(&x->lock);
    bool refuse = x->refuse_commit > 0;
    x->refuse_commit -= refuse;
    pthread_mutex_unlock(&x->lock);
    return refuse;
}

static int run_job(struct fixture *x, struct db *w, struct db_job *job)
{
    struct catalog *c;
    struct fail f;
    int rc = db_begin(w);
    if (rc == 0)
        rc = db_save(w);
    if (rc == 0) {
        rc = job->run(job, w);
        if (rc < 0)
            db_undo(w);
        else
            rc = db_release(w);
    }
    if (rc == 0 && take_refusal(x))
        rc = E_DB_FULL;
    if (rc < 0) {
        db_rollback(w);
        return rc;
    }
    rc = db_commit(w);
    if (rc == 0)
        api_committed(x->api);
    if (rc == 0 && job->catalog && catalog_load(w, &c, &f) == 0)
        catalog_cell_set(x->catalog, c);
    return rc;
}

static void *core_main(void *arg)
{
    struct fixture *x = arg;
    struct db *w = x->writer;
    for (;;) {
        pthread_mutex_lock(&x->lock);
        while ((!x->first || x->hold) && !(x->stop && !x->first))
            pthread_cond_wait(&x->changed, &x->lock);
        struct db_job *job = x->first;
        if (job) {
            x->first = job->next;
            if (!x->first)
                x->end = &x->first;
        }
        pthread_mutex_unlock(&x->lock);
        if (!job)
            break;
        bool ping = job->run == NULL;
        int rc = ping ? 0 : run_job(x, w, job);
        job->done(job, rc);
        pthread_mutex_lock(&x->lock);
        x->jobs++;
        pthread_cond_broadcast(&x->changed);
        pthread_mutex_unlock(&x->lock);
    }
    db_close(w);
    return NULL;
}

void core_hold(struct fixture *x, bool hold)
{
    pthread_mutex_lock(&x->lock);
    x->hold = hold;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
}

int core_jobs(struct fixture *x)
{
    pthread_mutex_lock(&x->lock);
    int n = x->jobs;
    pthread_mutex_unlock(&x->lock);
    return n;
}

void core_wait_jobs(struct fixture *x, int n)
{
    pthread_mutex_lock(&x->lock);
    while (x->jobs < n)
        pthread_cond_wait(&x->changed, &x->lock);
    pthread_mutex_unlock(&x->lock);
}

void core_refuse_commits(struct fixture *x, int n)
{
    pthread_mutex_lock(&x->lock);
    x->refuse_commit = n;
    pthread_mutex_unlock(&x->lock);
}

int core_credentials(struct fixture *x)
{
    pthread_mutex_lock(&x->lock);
    int n = x->credentials;
    pthread_mutex_unlock(&x->lock);
    return n;
}

void core_away(struct fixture *x, const char *key)
{
    pthread_mutex_lock(&x->lock);
    (void)str_copy(x->away, sizeof(x->away), key);
    pthread_mutex_unlock(&x->lock);
}

static int online(void *core, const char *key)
{
    struct fixture *x = core;
    pthread_mutex_lock(&x->lock);
    int is = strcmp(x->away, key) == 0 ? 0 : -1;
    pthread_mutex_unlock(&x->lock);
    return is;
}

/* ---- setup ---- */
static void install(struct fixture *x)
{
    struct fail f = {.rc = 0};
    struct catalog *c;
    struct db *w;
    int64_t now = clock_now_ms();

    assert_int_equal(db_migrate(x->db_path, &f), 0);
    assert_int_equal(db_open(x->db_path, DB_WRITE, 2000, &w, &f), 0);
    assert_int_equal(db_begin(w), 0);
    assert_int_equal(catalog_install(w, now, &f), 0);
    assert_int_equal(api_install_admin_token(w, &x->conf, now, &f), 0);
    assert_int_equal(catalog_link_key(w, x->link_key), 0);
    assert_int_equal(db_commit(w), 0);
    assert_int_equal(catalog_load(w, &c, &f), 0);
    x->catalog = catalog_cell_new(c);
    db_close(w);
}

int fixture_setup(void **state)
{
    struct fixture *x = xcalloc(1, sizeof(*x));
    struct http_options o = {.conf = &x->conf};
    struct fail f = {.rc = 0};

    json_setup();
    log_setup(LOG_ERROR, false);
    fixture_dir_make(x->dir);
    (void)str_fmt(x->db_path, sizeof(x->db_path), "%s/otad.db", x->dir);
    (void)str_copy(x->token, sizeof(x->token), "an-admin-token-of-the-tests");
    x->conf = (struct conf){
        .data_dir = x->dir,
        .admin_token = x->token,
        .http_listen = "127.0.0.1:0",
        .http_public_url = "http://127.0.0.1",
        .http_public_https_url = "",
        .http_https_listen = "",
        .http_metrics_listen = "",
        .http_threads = 2,
        .http_max_connections = 1024,
        .http_request_timeout_s = 60,
        .http_idle_timeout_s = 60,
        .http_stall_timeout_s = 60,
        .http_max_file_mib = 1,
        .http_auth_failures_per_minute = 8,
        .mqtt_username = "otad",
    };
    x->end = &x->first;
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->changed, NULL);
    install(x);
    /* As in the daemon: the writer is there before anybody reads, and closes last. */
    assert_int_equal(db_open(x->db_path, DB_WRITE, 2000, &x->writer, &f), 0);
    assert_int_equal(store_open(x->dir, &x->store, &f), 0);
    struct api_env env = {.conf = &x->conf,
                          .db_path = x->db_path,
                          .store = x->store,
                          .catalog = x->catalog,
                          .submit = submit,
                          .core = x,
                          .mqtt_up = mqtt_up,
                          .online = online,
                          .credentials_changed = credentials_changed};
    memcpy(env.link_key, x->link_key, sizeof(env.link_key));
    assert_int_equal(api_open(&env, &x->api, &f), 0);
    assert_int_equal(pthread_create(&x->core, NULL, core_main, x), 0);
    api_http_options(x->api, &o);
    assert_int_equal(http_start(&o, &x->server, &f), 0);
    x->port = http_port(x->server);
    *state = x;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *x = *state;
    core_hold(x, false);
    http_stop(x->server, 5000);
    pthread_mutex_lock(&x->lock);
    x->stop = true;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
    pthread_join(x->core, NULL);
    api_close(x->api);
    store_close(x->store);
    catalog_cell_free(x->catalog);
    pthread_mutex_destroy(&x->lock);
    pthread_cond_destroy(&x->changed);
    fixture_dir_remove(x->dir);
    free(x);
    return 0;
}

/* ---- the client ---- */
void answer_done(struct answer *a)
{
    sbuf_done(&a->body);
    json_decref(a->json);
    memset(a, 0, sizeof(*a));
}

const char *answer_header(const struct answer *a, const char *name)
{
    static char value[512];
    size_t n = strlen(name);
    for (const char *p = strstr(a->head, "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
            const char *v = p + n + 1 + strspn(p + n + 1, " ");
            (void)str_fmt(value, sizeof(value), "%.*s", (int)strcspn(v, "\r"), v);
            return value;
        }
    }
    return NULL;
}

const char *answer_code(const struct answer *a)
{
    return json_get_str(a->json, "code", "");
}

int dial(const struct fixture *x)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)x->port)};
    struct timeval patience = {.tv_sec = 60};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    int rc;
    do { /* libuv's io_uring interrupts calls that have a time limit, without a signal */
        rc = connect(fd, (struct sockaddr *)&a, sizeof(a));
    } while (rc < 0 && (errno == EINTR || errno == EALREADY));
    assert_true(rc == 0 || errno == EISCONN);
    return fd;
}

void put(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = TEMP_FAILURE_RETRY(send(fd, at, n, MSG_NOSIGNAL));
        if (done <= 0)
            return; /* the server may refuse in the middle; its answer tells */
        at += done;
        n -= (size_t)done;
    }
}

static size_t get(int fd, void *p, size_t n)
{
    ssize_t got = TEMP_FAILURE_RETRY(recv(fd, p, n, 0));
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        fail_msg("the server was silent");
    return got > 0 ? (size_t)got : 0;
}

void get_answer(int fd, bool head_only, struct answer *ret)
{
    enum json_fault fault;
    size_t n = 0, got;
    char buf[65536];

    memset(ret, 0, sizeof(*ret));
    while (n < 4 || memcmp(ret->head + n - 4, "\r\n\r\n", 4) != 0) {
        assert_true(n < sizeof(ret->head) - 1);
        if (get(fd, ret->head + n, 1) == 0) {
            ret->closed = true;
            return;
        }
        n++;
    }
    assert_int_equal(sscanf(ret->head, "HTTP/1.%*d %d ", &ret->status), 1);
    if (ret->status == 100) {
        get_answer(fd, head_only, ret);
        return;
    }
    const char *length = answer_header(ret, "Content-Length");
    size_t left = length && !head_only && ret->status != 304 ? strtoul(length, NULL, 10) : 0;
    while (left > 0 && (got = get(fd, buf, left < sizeof(buf) ? left : sizeof(buf))) > 0) {
        sbuf_add(&ret->body, buf, got);
        left -= got;
    }
    assert_int_equal(left, 0);
    if (ret->body.n && (ret->body.p[0] == '{' || ret->body.p[0] == '['))
        ret->json = json_parse(ret->body.p, ret->body.n, (size_t)1 << 24, 32, &fault, NULL);
}

void ask_raw(struct fixture *x, const char *method, const char *path, const char *headers,
             const void *body, size_t n, struct answer *ret)
{
    struct sbuf b = {.p = NULL};
    int fd = dial(x);
    sbuf_fmt(&b, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method, path,
             headers ? headers : "");
    if (body)
        sbuf_fmt(&b, "Content-Length: %zu\r\n", n);
    sbuf_str(&b, "\r\n");
    sbuf_add(&b, body ? body : "", n);
    put(fd, b.p, b.n);
    get_answer(fd, strcmp(method, "HEAD") == 0, ret);
    close(fd);
    sbuf_done(&b);
}

int ask(struct fixture *x, const char *method, const char *path, const char *headers,
        const char *body, struct answer *ret)
{
    struct sbuf h = {.p = NULL};
    sbuf_fmt(&h, "Authorization: Bearer %s\r\n%s", x->token, headers ? headers : "");
    ask_raw(x, method, path, h.p, body, body ? strlen(body) : 0, ret);
    sbuf_done(&h);
    return ret->status;
}

json_t *must(struct fixture *x, int status, const char *method, const char *path,
             const char *headers, const char *body)
{
    struct answer a;
    if (ask(x, method, path, headers, body, &a) != status)
        fail_msg("%s %s: %d, not %d: %s", method, path, a.status, status, a.body.p ? a.body.p : "");
    json_t *j = json_incref(a.json);
    answer_done(&a);
    return j;
}

void refused(struct fixture *x, int status, const char *code, const char *method, const char *path,
             const char *headers, const char *body)
{
    struct answer a;
    if (ask(x, method, path, headers, body, &a) != status || strcmp(answer_code(&a), code) != 0)
        fail_msg("%s %s: %d %s, not %d %s: %s", method, path, a.status, answer_code(&a), status,
                 code, a.body.p ? a.body.p : "");
    assert_non_null(strstr(answer_header(&a, "Content-Type"), "application/problem+json"));
    answer_done(&a);
}

/* ---- shorthand ---- */
void make_type(struct fixture *x, const char *key)
{
    char body[200];
    (void)str_fmt(body, sizeof(body), "{\"key\":\"%s\",\"name\":\"A type\"}", key);
    json_decref(must(x, 201, "POST", "/api/v1/device-types", NULL, body));
}

void make_device(struct fixture *x, const char *type, const char *key)
{
    char body[200];
    (void)str_fmt(body, sizeof(body),
                  "{\"key\":\"%s\",\"device_type\":\"%s\",\"password\":\"12345678\"}", key, type);
    json_decref(must(x, 201, "POST", "/api/v1/devices", NULL, body));
}

void part(struct sbuf *b, const char *name, const char *filename, const void *data, size_t n)
{
    sbuf_fmt(b, "--b0undary\r\nContent-Disposition: form-data; name=\"%s\"", name);
    if (filename)
        sbuf_fmt(b, "; filename=\"%s\"", filename);
    sbuf_str(b, "\r\n\r\n");
    sbuf_add(b, data, n);
    sbuf_str(b, "\r\n");
}

void parts_end(struct sbuf *b)
{
    sbuf_str(b, "--b0undary--\r\n");
}

int upload(struct fixture *x, const char *meta, const char *headers, const void *data, size_t n,
           struct answer *ret)
{
    struct sbuf b = {.p = NULL}, h = {.p = NULL};
    if (meta)
        part(&b, "meta", NULL, meta, strlen(meta));
    part(&b, "file", "fw.bin", data, n);
    parts_end(&b);
    sbuf_fmt(&h, "Authorization: Bearer %s\r\n" MULTIPART "%s", x->token, headers ? headers : "");
    ask_raw(x, "POST", "/api/v1/firmwares", h.p, b.p, b.n, ret);
    sbuf_done(&b);
    sbuf_done(&h);
    return ret->status;
}

int64_t make_firmware(struct fixture *x, const char *type, const char *version)
{
    char meta[200], data[64];
    struct answer a;
    (void)str_fmt(meta, sizeof(meta), "{\"name\":\"n\",\"device_type\":\"%s\",\"version\":\"%s\"}",
                  type, version);
    (void)str_fmt(data, sizeof(data), "bytes of %s %s", type, version);
    if (upload(x, meta, NULL, data, strlen(data), &a) != 201)
        fail_msg("upload: %d %s", a.status, a.body.p);
    int64_t id = json_get_int(a.json, "id", 0);
    answer_done(&a);
    return id;
}

static int files_seen;

static int see_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)path;
    (void)st;
    (void)ftw;
    files_seen += flag == FTW_F;
    return 0;
}

int count_files(const struct fixture *x, const char *folder)
{
    char path[128];
    (void)str_fmt(path, sizeof(path), "%s/%s", x->dir, folder);
    files_seen = 0;
    (void)nftw(path, see_one, 16, FTW_PHYS);
    return files_seen;
}
