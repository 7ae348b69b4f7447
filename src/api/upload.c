/*
 * POST /api/v1/firmwares: multipart, streamed to disk while it is digested. With the part `meta`
 * first everything that can be refused is refused before the bytes are taken; when it comes later
 * (curl sends parts in the order of its options) only names and sizes are. The bytes
 * get their final name on the thread pool, the row in a job; whatever ends early leaves nothing.
 */
#include "priv.h"

#include <stdio.h>

enum { META_MAX = 65536, META_DEPTH = 8, HEAD_BYTES = 512, NAME_MAX_BYTES = 128 };

struct upload {
    struct write *w;
    struct api *api;
    struct db *db; /* the thread's: while receiving */
    struct loop *loop;
    int64_t limit; /* bytes of a file */
    struct sbuf meta;
    bool meta_read;
    struct firmware fw;
    enum version_scheme scheme;
    struct store_put *put[FIRMWARE_FILES_MAX];
    size_t kept; /* so many files have their final name */
    int rc;      /* of the pool's work */
};

static void upload_free(void *ext)
{
    struct upload *u = ext;
    for (size_t i = 0; i < FIRMWARE_FILES_MAX; i++)
        store_put_free(u->put[i]);
    sbuf_done(&u->meta);
    free(u);
}

static int refuse(struct upload *u, int rc, int status, const char *code, const char *fmt, ...)
    PRINTF(5, 6);
static int refuse(struct upload *u, int rc, int status, const char *code, const char *fmt, ...)
{
    va_list ap;
    u->w->status = status;
    u->w->code = code;
    u->w->fail.rc = rc;
    va_start(ap, fmt);
    (void)vsnprintf(u->w->fail.text, sizeof(u->w->fail.text), fmt, ap);
    va_end(ap);
    return rc;
}

/* ---- meta ---- */
static int take_meta(struct upload *u)
{
    struct write *w = u->w;
    struct fail where = {.rc = 0};
    struct device_type t;
    enum json_fault fault;

    w->in = json_parse(u->meta.p ? u->meta.p : "", u->meta.n, META_MAX, META_DEPTH, &fault, &where);
    if (!json_is_object(w->in))
        return refuse(u, E_PROTO, 400, "malformed_json", "The part `meta` is no JSON object: %s",
                      where.text);
    if (json_check(w->in, firmware_table.fields, firmware_table.n, false, &w->errs) < 0)
        return E_PROTO;
    struct firmware fw = {
        .project_id = w->who.project_id,
        .name = "",
        .notes = "",
        .enabled = true,
        .module = json_get_str(w->in, "module", "main"),
        .version = json_get_str(w->in, "version", NULL),
        .campaign_only = strcmp(json_get_str(w->in, "release", "open"), "campaign") == 0,
        .created_at = w->now,
        .n_files = u->fw.n_files, /* that came before it */
    };
    memcpy(fw.files, u->fw.files, sizeof(fw.files));
    u->fw = fw;
    int rc = device_type_by_key(u->db, w->who.project_id, json_get_str(w->in, "device_type", ""),
                                &w->a, &t);
    if (rc == E_NOTFOUND)
        return write_invalid(w, "/device_type", "not_found", "There is no such device type.");
    if (rc < 0)
        return rc;
    u->fw.type_id = t.id;
    u->scheme = t.scheme;
    if (u->fw.version && version_check(t.scheme, u->fw.version, &where) < 0)
        json_error_add(&w->errs, "/version", "invalid", "%s", where.text);
    rc = firmware_take(u->api, u->db, w->who.project_id, w->in, &w->a, &u->fw, &w->errs);
    u->meta_read = true;
    return rc;
}

static int meta_piece(struct upload *u, uint64_t off, const void *data, size_t n)
{
    if (u->meta_read || off != u->meta.n)
        return refuse(u, E_PROTO, 400, "malformed_multipart",
                      "There is more than one part `meta`.");
    if (u->meta.n + n > META_MAX)
        return refuse(u, E_LIMIT, 413, "too_large", "The part `meta` exceeds %d bytes.", META_MAX);
    sbuf_add(&u->meta, data, n);
    return 0;
}

/* ---- files ---- */
static const char *const endings[] = {
    ".bin",    ".img",    ".dav",   ".tar",  ".gz",  ".zip",   ".gzip",
    ".apk",    ".tar.gz", ".rar",   ".pack", ".py",  ".s19",   ".mini_1",
    ".mini_2", ".bin_1",  ".bin_2", ".hex",  ".swu", ".raucb", ".mender",
};

bool file_name_is_accepted(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        size_t k = strlen(endings[i]);
        if (n > k && strcasecmp(name + n - k, endings[i]) == 0)
            return true;
    }
    return false;
}

static int check_name(struct upload *u, const char *name)
{
    size_t n = name ? strlen(name) : 0;
    if (n == 0 || n > NAME_MAX_BYTES || !str_is_text(name, n) || strpbrk(name, "/\\") ||
        name[0] == '.')
        return refuse(u, E_PROTO, 422, "file_name",
                      "A file needs a name of 1 to %d bytes, without / and \\ and not hidden.",
                      NAME_MAX_BYTES);
    if (!file_name_is_accepted(name))
        return refuse(u, E_PROTO, 422, "file_ending",
                      "Files of this kind are not accepted; the known endings are .bin, .img, "
                      ".hex, .zip, .tar.gz, .swu and some more.");
    for (size_t i = 0; i < u->fw.n_files; i++)
        if (strcmp(u->fw.files[i].name, name) == 0)
            return refuse(u, E_PROTO, 422, "file_name", "Two files bear the same name.");
    return 0;
}

static int file_begin(struct upload *u, const char *filename)
{
    struct firmware *fw = &u->fw;
    struct fail f = {.rc = 0};
    int rc = 0;

    if (!u->meta_read && u->meta.n)
        rc = take_meta(u);
    if (rc < 0)
        return rc;
    if (fw->n_files == FIRMWARE_FILES_MAX)
        return refuse(u, E_LIMIT, 422, "too_many_files", "A firmware has 1 to %d files.",
                      FIRMWARE_FILES_MAX);
    rc = check_name(u, filename);
    if (rc < 0)
        return rc;
    rc = store_put_new(u->api->env.store, &u->put[fw->n_files], &f);
    if (rc < 0)
        return refuse(u, rc, err_http(rc), "storage", "%s", f.text);
    fw->files[fw->n_files++].name = arena_strdup(&u->w->a, filename);
    return 0;
}

/* A piece at offset 0 begins a file, unless it only goes on after an empty piece of the same. */
static bool begins(const struct upload *u, const char *filename, uint64_t off)
{
    size_t n = u->fw.n_files;
    return n == 0 || (off == 0 && (store_put_size(u->put[n - 1]) > 0 || !filename ||
                                   strcmp(u->fw.files[n - 1].name, filename) != 0));
}

static int file_piece(struct upload *u, const char *filename, uint64_t off, const void *data,
                      size_t n)
{
    struct fail f = {.rc = 0};
    int rc = begins(u, filename, off) ? file_begin(u, filename) : 0;
    if (rc < 0 || n == 0)
        return rc;
    struct store_put *put = u->put[u->fw.n_files - 1];
    if (store_put_size(put) + n > (uint64_t)u->limit)
        return refuse(u, E_LIMIT, 413, "too_large", "A file exceeds %lld MiB.",
                      (long long)(u->limit >> 20));
    rc = store_put_write(put, data, n, &f);
    return rc < 0 ? refuse(u, rc, err_http(rc), "storage", "%s", f.text) : 0;
}

static int on_part(struct http_request *r, void *arg, const char *name, const char *filename,
                   uint64_t off, const void *data, size_t n)
{
    struct upload *u = arg;
    (void)r;
    if (strcmp(name, "meta") == 0)
        return meta_piece(u, off, data, n);
    if (strcmp(name, "file") == 0)
        return file_piece(u, filename, off, data, n);
    return refuse(u, E_PROTO, 400, "malformed_multipart",
                  "There is a part that is neither `meta` nor `file`.");
}

/* ---- what the image says ---- */
static void note_image(struct upload *u, size_t file, const struct image_info *info)
{
    char hex[2 * SHA256_SIZE + 1];
    struct sbuf b = {.p = NULL};
    struct obj o = obj_begin(&b);

    hex_encode(info->elf_sha256, SHA256_SIZE, hex);
    obj_int(&o, "file", (int64_t)file + 1);
    obj_str(&o, "format", "esp");
    obj_str(&o, "chip", info->chip);
    if (info->has_descriptor) {
        obj_str(&o, "version", info->version);
        obj_str(&o, "project", info->project);
        obj_str(&o, "idf_version", info->idf_version);
        obj_str(&o, "built", info->built);
        obj_int(&o, "secure_version", info->secure_version);
        obj_str(&o, "elf_sha256", hex);
    }
    obj_end(&o);
    u->fw.image = arena_strdup(&u->w->a, b.p);
    sbuf_done(&b);
}

/* The first file that is an ESP image with a descriptor, else the first that is an ESP image. */
static bool look_at_images(struct upload *u, struct image_info *ret)
{
    uint8_t head[HEAD_BYTES];
    struct image_info info;
    bool found = false;

    for (size_t i = 0; i < u->fw.n_files; i++) {
        image_inspect(head, store_put_head(u->put[i], head, sizeof(head)), &info);
        if (!info.is_esp || (found && !info.has_descriptor))
            continue;
        note_image(u, i, &info);
        *ret = info;
        found = true;
        if (info.has_descriptor)
            break;
    }
    return found && ret->has_descriptor && ret->version[0];
}

static int settle_version(struct upload *u)
{
    struct image_info info = {.is_esp = false};
    struct fail f;
    bool told = look_at_images(u, &info);

    if (!u->fw.version) {
        if (!told || version_check(u->scheme, info.version, &f) < 0)
            return write_invalid(u->w, "/version", "required",
                                 "The version must be given: no image tells it.");
        u->fw.version = arena_strdup(&u->w->a, info.version);
        return 0;
    }
    if (!told || json_get_bool(u->w->in, "force_version", false) ||
        version_compare(u->scheme, u->fw.version, info.version) == 0)
        return 0;
    write_invalid(u->w, "/version", "version_contradicts_image", "The image says version %s.",
                  info.version);
    return refuse(u, E_PROTO, 422, "version_contradicts_image",
                  "The image says version %s, the request says %s; force_version takes the "
                  "request's.",
                  info.version, u->fw.version);
}

static int check_complete(struct upload *u)
{
    if (u->meta.n && !u->meta_read) {
        int rc = take_meta(u);
        if (rc < 0)
            return rc;
    }
    if (u->fw.n_files == 0)
        return refuse(u, E_PROTO, 422, "file_missing",
                      "Send a part `meta` and 1 to %d parts `file`.", FIRMWARE_FILES_MAX);
    if (!u->meta_read)
        return refuse(u, E_PROTO, 422, "meta_missing",
                      "Send a part `meta` and 1 to %d parts `file`.", FIRMWARE_FILES_MAX);
    for (size_t i = 0; i < u->fw.n_files; i++)
        if (store_put_size(u->put[i]) == 0)
            return refuse(u, E_PROTO, 422, "file_empty", "The file %s is empty.",
                          u->fw.files[i].name);
    return settle_version(u);
}

/* ---- the bytes, then the row ---- */
static void work_commit(void *arg)
{
    struct upload *u = arg;
    struct api *api = u->api;

    pthread_mutex_lock(&api->bytes_lock);
    for (size_t i = 0; i < u->fw.n_files && u->rc == 0; i++) {
        struct digests *d = &u->fw.files[i].digests;
        u->rc = store_put_commit(u->put[i], d, &u->w->fail);
        u->kept += u->rc == 0;
    }
    pthread_mutex_unlock(&api->bytes_lock);
}

static int run_insert(struct write *w, struct db *db)
{
    struct upload *u = w->ext;
    struct firmware fw = u->fw;
    bool asks = false;
    int rc = firmware_asks(db, NULL, &fw, &asks);

    if (rc < 0)
        return rc;
    fw.enabled = fw.enabled && !asks; /* that is what the second person is asked */
    rc = firmware_insert(db, &fw, &w->fail);

    if (rc == E_PROTO)
        return write_invalid(w, "", "invalid", "%s", w->fail.text);
    for (size_t i = 0; i < fw.n_files && rc == 0; i++) /* others may have lacked them */
        rc = firmware_bytes_missing(db, fw.files[i].digests.sha256, false);
    if (rc == 0)
        rc = firmware_by_id(db, w->who.project_id, fw.id, &w->a, &fw);
    if (rc < 0)
        return rc;
    write_created(w, 0, "/api/v1/firmwares/%lld", (long long)fw.id);
    const struct confirm_of of = firmware_confirm_of(&fw);
    if (asks)
        rc = confirm_ask(w, db, &of, "change", "{\"enabled\":true}");
    struct catalog *c = catalog_cell_get(w->api->env.catalog);
    firmware_write_json(&w->body, db, c, &fw, true);
    catalog_unref(c);
    json_decref(fw.hardware);
    etag_text(w->etag, fw.revision, &w->body);
    return rc;
}

/* The bytes are named by a row now, or must go. Until here each store_put held them. */
static void after_insert(struct write *w, struct http_request *r, int rc)
{
    struct upload *u = w->ext;
    struct bytes_list unused = {.api = w->api};

    metric_add(rc == 0 ? M_UPLOADS : M_UPLOADS_REFUSED, 1);
    for (size_t i = 0; i < u->fw.n_files; i++) {
        if (rc == 0 && !w->replayed)
            store_put_named(u->put[i]);
        store_put_free(TAKE(u->put[i]));
        if (i < u->kept && (rc < 0 || w->replayed))
            memcpy(unused.sha256[unused.n++], u->fw.files[i].digests.sha256, SHA256_SIZE);
    }
    if (unused.n)
        bytes_drop_unused(r ? u->loop : NULL, &unused);
}

static void hash_request(struct upload *u)
{
    uint8_t all[SHA256_SIZE * (1 + FIRMWARE_FILES_MAX)], hash[SHA256_SIZE];
    struct sbuf names = {.p = NULL};

    sbuf_add(&names, u->meta.p, u->meta.n);
    for (size_t i = 0; i < u->fw.n_files; i++)
        sbuf_fmt(&names, "/%s", u->fw.files[i].name);
    crypto_sha256(names.p, names.n, all);
    sbuf_done(&names);
    for (size_t i = 0; i < u->fw.n_files; i++)
        memcpy(all + SHA256_SIZE * (1 + i), u->fw.files[i].digests.sha256, SHA256_SIZE);
    crypto_sha256(all, SHA256_SIZE * (1 + u->fw.n_files), hash);
    write_idem_hash(u->w, hash);
}

/* The pool could not make the bytes permanent. */
static void answer_storage(struct http_request *r, void *arg)
{
    struct write *w = arg;
    const struct upload *u = w->ext;
    int rc = u->rc;

    after_insert(w, r, rc);
    if (r)
        http_problem(r, err_http(rc), "storage", NULL, "%s", w->fail.text);
    write_free(w);
}

static void work_done(void *arg)
{
    struct upload *u = arg;
    if (u->rc < 0) {
        http_resume(u->w->h, answer_storage, u->w);
        return;
    }
    hash_request(u);
    write_submit(u->w);
}

/* ---- the request ---- */
static bool says_multipart(struct http_request *r)
{
    const char *type = http_header(r, "Content-Type");
    return type && strncasecmp(type, "multipart/form-data", 19) == 0;
}

static void answer_refusal(struct http_request *r, const struct write *w, int rc)
{
    metric_add(M_UPLOADS_REFUSED, 1);
    if (w->code)
        http_problem(r, w->status, w->code, w->errs.count ? &w->errs : NULL, "%s", w->fail.text);
    else if (w->errs.count)
        input_invalid(r, &w->errs);
    else if (rc == E_LIMIT)
        http_problem(r, 413, "too_large", NULL, "The request is too large.");
    else if (rc == E_UNSUPPORTED && !says_multipart(r))
        http_problem(r, 415, "unsupported_media_type", NULL, "Send multipart/form-data.");
    else if (rc == E_PROTO || rc == E_UNSUPPORTED)
        http_problem(r, 400, "malformed_multipart", NULL, "The body is no complete multipart.");
    else
        http_fail(r, rc, NULL);
}

static void on_end(struct http_request *r, void *arg, int rc)
{
    struct upload *u = arg;
    struct write *w = u->w;

    if (rc == 0)
        rc = check_complete(u);
    if (rc < 0) {
        for (size_t i = 0; i < FIRMWARE_FILES_MAX; i++)
            store_put_free(TAKE(u->put[i])); /* gone before the answer says so */
        answer_refusal(r, w, rc);            /* the request's state frees the rest */
        return;
    }
    call_own(r, NULL, NULL);
    w->h = http_defer(r);
    loop_work(u->loop, work_commit, work_done, u);
}

static void free_write(void *own)
{
    write_free(own);
}

void firmware_upload_handle(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct write *w = write_new(r, run_insert);
    struct upload *u = xcalloc(1, sizeof(*u));
    (void)arg;
    *u = (struct upload){.w = w,
                         .api = c->api,
                         .db = c->db,
                         .loop = http_loop(r),
                         .limit = c->api->env.conf->http_max_file_mib << 20};
    w->ext = u;
    w->ext_free = upload_free;
    w->after = after_insert;
    w->job.catalog = true;
    if (write_idempotent(w, r, NULL, 0) < 0)
        return;
    call_own(r, w, free_write);
    http_receive_parts(r, (uint64_t)u->limit * FIRMWARE_FILES_MAX + 2 * META_MAX, on_part, on_end,
                       u);
}
