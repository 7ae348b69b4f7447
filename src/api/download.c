/*
 * GET and HEAD /d/<token>/<name>: what devices fetch. The token names update and file and is
 * authenticated; the name is there for the device alone. Devices of 2017 flash any body that
 * comes, whatever the status, so they get their errors as a closed connection.
 */
#include "priv.h"

#include <stdio.h>

/* ---- what reached the device ---- */
/*
 * One per request. The http thread says what the client acknowledged; a job tells the core. At
 * most one job is under way, the newest range wins, and the last one is delivered as long as
 * anybody is there to take it.
 */
struct served {
    struct db_job job; /* first: the job is the struct */
    pthread_mutex_t lock;
    struct api *api;
    struct served *next;
    int64_t update_id;
    int file_no;
    uint64_t step;
    uint64_t from, to; /* acknowledged */
    uint64_t told;     /* delivered, up to here */
    uint64_t job_to;   /* in the job under way */
    unsigned failures;
    bool began, starts, in_flight, ended, given_back, listed;
};

enum { SERVED_FAILURES = 100 };

static void served_free(struct served *s)
{
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void list_unsent(struct served *s)
{
    struct api *api = s->api;
    s->listed = true;
    pthread_mutex_lock(&api->unsent_lock);
    s->next = api->unsent;
    api->unsent = s;
    pthread_mutex_unlock(&api->unsent_lock);
}

/* Under s->lock: hand over what is new, when it is worth a job. True when s must be freed. */
static bool served_push(struct served *s)
{
    if (s->in_flight || s->listed)
        return false;
    bool news = s->to > s->told && s->failures < SERVED_FAILURES;
    if (news && (s->ended || s->told == s->from || s->to - s->told >= s->step)) {
        s->job_to = s->to;
        s->in_flight = true;
        if (s->api->env.submit(s->api->env.core, &s->job) == 0)
            return false;
        s->in_flight = false;
        s->failures++;
        if (s->ended)
            list_unsent(s);
        return false;
    }
    return s->given_back;
}

static void unlock_and_free(struct served *s, bool is_over)
{
    pthread_mutex_unlock(&s->lock);
    if (is_over)
        served_free(s);
}

static int served_run(struct db_job *job, struct db *w)
{
    struct served *s = (struct served *)job;
    struct arena a;
    arena_init(&a);
    struct catalog *c = catalog_cell_get(s->api->env.catalog);
    pthread_mutex_lock(&s->lock);
    uint64_t from = s->from, to = s->job_to, sent = to - s->told;
    bool starts = s->starts;
    pthread_mutex_unlock(&s->lock);
    int rc =
        update_served(w, c, s->update_id, s->file_no, from, to, sent, starts, clock_now_ms(), &a);
    catalog_unref(c);
    arena_done(&a);
    return rc;
}

static void served_done(struct db_job *job, int rc)
{
    struct served *s = (struct served *)job;
    bool later = rc == E_DB || rc == E_DB_FULL || rc == E_UNAVAILABLE;

    pthread_mutex_lock(&s->lock);
    s->in_flight = false;
    if (!later) { /* done, or the update is no more: there is nobody to tell */
        s->told = s->job_to;
        s->starts = false;
        unlock_and_free(s, served_push(s));
        return;
    }
    s->failures++;
    if (s->ended)
        list_unsent(s);
    pthread_mutex_unlock(&s->lock);
}

static void on_sent(void *arg, uint64_t from, uint64_t to, bool last)
{
    struct served *s = arg;
    pthread_mutex_lock(&s->lock);
    if (!s->began) {
        s->began = true;
        s->starts = from == 0;
        s->from = s->told = s->to = from;
    }
    if (to > s->to)
        s->to = to;
    s->ended |= last;
    unlock_and_free(s, served_push(s));
}

static void on_free(void *arg)
{
    struct served *s = arg;
    pthread_mutex_lock(&s->lock);
    s->ended = s->given_back = true;
    unlock_and_free(s, served_push(s));
}

static struct served *take_unsent(struct api *api)
{
    pthread_mutex_lock(&api->unsent_lock);
    struct served *list = api->unsent;
    api->unsent = NULL;
    pthread_mutex_unlock(&api->unsent_lock);
    return list;
}

void served_retry(struct api *api)
{
    for (struct served *s = take_unsent(api), *next; s; s = next) {
        next = s->next;
        pthread_mutex_lock(&s->lock);
        s->listed = false;
        unlock_and_free(s, served_push(s));
    }
}

void served_drop(struct api *api)
{
    for (struct served *s = take_unsent(api), *next; s; s = next) {
        next = s->next;
        served_free(s);
    }
}

static struct served *served_new(struct http_request *r, int64_t update_id, int file_no,
                                 uint64_t size)
{
    struct served *s = xcalloc(1, sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    s->job.run = served_run;
    s->job.done = served_done;
    s->job.patient = true;
    s->api = call_of(r)->api;
    s->update_id = update_id;
    s->file_no = file_no;
    s->step = size / 20 > 65536 ? size / 20 : 65536;
    return s;
}

/* ---- who asks ---- */
static bool has_prefix(const char *s, const char *prefix)
{
    return s && strncasecmp(s, prefix, strlen(prefix)) == 0;
}

#define RETRY_AFTER_S "60"

static bool is_arduino(struct http_request *r)
{
    const char *agent = http_header(r, "User-Agent");
    return has_prefix(agent, "ESP32-http-Update") || has_prefix(agent, "ESP8266-http-Update");
}

static void refuse(struct http_request *r, int status)
{
    bool of_2017 = has_prefix(http_header(r, "User-Agent"), "esp-idf/1.0");
    if (status == 503)
        http_add_header(r, "Retry-After", RETRY_AFTER_S);
    if (of_2017 || (http_is_10(r) && !is_arduino(r)))
        http_abort(r);
    else
        http_reply(r, status, NULL, NULL, 0);
}

static const char *of_board(struct http_request *r, const char *board, const char *what)
{
    char name[40];
    (void)str_fmt(name, sizeof(name), "x-%s-%s", board, what);
    return http_header(r, name);
}

/* Arduino's updaters say what sketch they run; 304 tells them that this is it. It says nothing of
 * another module, of the files beside the sketch, or when the same is to be installed anew. */
static bool has_it_already(struct http_request *r, const struct update_linked *u, const char *md5)
{
    static const char *const boards[] = {"ESP32", "ESP8266"};
    for (size_t i = 0; i < ARRAY_LEN(boards) && u->replaces; i++) {
        const char *mode = of_board(r, boards[i], "mode");
        const char *runs = of_board(r, boards[i], "version");
        const char *sketch = of_board(r, boards[i], "sketch-md5");
        if (mode && strcasecmp(mode, "sketch") != 0)
            continue;
        if ((u->of_main && runs && strcmp(runs, u->to_version) == 0) ||
            (sketch && strcasecmp(sketch, md5) == 0))
            return true;
    }
    return false;
}

/* ---- what is served ---- */
static int status_of(int rc)
{
    switch (rc) {
    case E_AUTH:
        return 403;
    case E_GONE:
        return 410;
    case E_NOTFOUND:
        return 404;
    default:
        return 503;
    }
}

struct target {
    struct update_linked update;
    int64_t update_id;
    int file_no;
    struct firmware_file file;  /* without its name */
    struct http_budget *budget; /* its campaign's; NULL */
};

/* The update and the file that a token stands for: 0, E_AUTH, E_GONE, E_NOTFOUND or an error.
 * Nothing is kept between requests: what was cancelled, disabled or denied stops with the next one,
 * and so does what has not begun of a campaign that is paused. */
static int resolve(struct http_request *r, struct target *ret)
{
    const struct call *c = call_of(r);
    struct firmware row = {.id = 0};

    int rc = link_read(c->api->env.link_key, http_param(r, "token"), clock_now_ms(),
                       &ret->update_id, &ret->file_no);
    if (rc == 0)
        rc = update_linked(c->db, ret->update_id, &ret->update);
    if (rc < 0)
        return rc;
    struct catalog *cat = catalog_cell_get(c->api->env.catalog);
    const struct firmware *fw = catalog_firmware(cat, ret->update.firmware_id);
    if (!fw) {
        rc = firmware_by_id(c->db, ret->update.project_id, ret->update.firmware_id, http_arena(r),
                            &row);
        json_decref(row.hardware);
        fw = &row;
    }
    if (rc == 0 && (ret->file_no < 1 || (size_t)ret->file_no > fw->n_files))
        rc = E_NOTFOUND;
    if (rc == 0 && !fw->enabled)
        rc = E_GONE;
    if (rc == 0 && fw != &row)
        rc = update_linked_still(&ret->update, fw);
    if (rc == 0 && fw != &row)
        rc = update_floor(c->db, cat, ret->update_id, fw, clock_now_ms());
    if (rc == 0) {
        ret->file = fw->files[ret->file_no - 1];
        ret->file.name = NULL; /* it may go with the snapshot */
        const struct campaign *by =
            ret->update.campaign_id ? catalog_campaign(cat, ret->update.campaign_id) : NULL;
        ret->budget = by ? budgets_of(c->api->budgets, by) : NULL;
    }
    catalog_unref(cat);
    return rc;
}

static void handle(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    char md5[2 * MD5_SIZE + 1], etag[2 * SHA256_SIZE + 1];
    struct target t;
    int fd = -1;
    (void)arg;
    if (!c->db) {
        refuse(r, 503);
        return;
    }
    int rc = resolve(r, &t);
    if (rc < 0) {
        refuse(r, status_of(rc));
        return;
    }
    hex_encode(t.file.digests.md5, MD5_SIZE, md5);
    hex_encode(t.file.digests.sha256, SHA256_SIZE, etag);
    http_add_header(r, "x-MD5", md5);
    http_add_header(r, "Cache-Control", "private, no-transform");
    if (has_it_already(r, &t.update, md5)) {
        http_reply(r, 304, NULL, NULL, 0);
        return;
    }
    rc = store_get(c->api->env.store, t.file.digests.sha256, t.file.digests.size, &fd);
    if (rc < 0) {
        char id[24];
        LOG(LOG_ERROR, "api", "firmware bytes cannot be read", KV("sha256", etag),
            KV("update", log_int(id, t.update_id)), KV_RC(rc));
        refuse(r, 503);
        return;
    }
    struct http_file out = {.fd = fd,
                            .size = t.file.digests.size,
                            .etag = etag,
                            .content_type = "application/octet-stream",
                            .budget = t.budget};
    if (!http_is_head(r)) {
        out.sent = on_sent;
        out.arg = served_new(r, t.update_id, t.file_no, t.file.digests.size);
        out.free_fn = on_free;
    }
    http_reply_file(r, &out);
}

/* What no route fits gets its error as a link does. */
static void handle_nothing(struct http_request *r, void *arg)
{
    (void)arg;
    refuse(r, 404);
}

static const struct op op_download = {.summary = "What a download link points at", .status = 200};

const struct http_route download_routes[] = {
    {"GET", "/d/:token/:name", HTTP_BODY_NONE, 0, handle, OP(op_download), 0},
    {"GET", "/d/*rest", HTTP_BODY_NONE, 0, handle_nothing, NULL, 0},
    {.method = NULL},
};
