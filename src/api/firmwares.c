/*
 * /api/v1/firmwares but for the upload: lists, details, what may change, deletion, and the
 * operator's download of a file. A firmware's content never changes once it is made.
 */
#include "priv.h"

/* ---- reading ---- */
struct page {
    struct list l;
    struct db *db;
    struct catalog *catalog;
    int64_t count;
};

static int list_one(void *arg, const struct firmware *fw)
{
    struct page *p = arg;
    if (!list_row(&p->l, fw->id))
        return 1;
    firmware_write_json(&p->l.b, p->db, p->catalog, fw, false);
    return 0;
}

static int count_one(void *arg, const struct firmware *fw)
{
    struct page *p = arg;
    (void)fw;
    p->count++;
    return 0;
}

static void handle_list(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    const char *type = http_query(r, "device_type"), *module = http_query(r, "module");
    const char *version = http_query(r, "version");
    int64_t project = c->who.project_id, total = -1;
    struct page p = {.db = c->db};
    struct device_type t = {.id = 0};
    int rc = 0;
    (void)arg;
    if (list_begin(r, &p.l) < 0)
        return;
    if (type)
        rc = device_type_by_key(c->db, project, type, http_arena(r), &t);
    bool some = rc == 0;
    p.catalog = catalog_cell_get(c->api->env.catalog);
    if (some)
        rc = firmware_list(c->db, project, t.id, module, version, p.l.after, p.l.limit + 1,
                           list_one, &p);
    else if (rc == E_NOTFOUND)
        rc = 0;
    catalog_unref(p.catalog);
    if (rc >= 0 && list_wants_total(&p.l)) {
        bool filtered = type || module || version;
        total = !some ? 0 : catalog_count(c->db, "firmwares", project);
        if (some && filtered) {
            int counted =
                firmware_list(c->db, project, t.id, module, version, 0, INT32_MAX, count_one, &p);
            rc = counted < 0 ? counted : rc;
            total = p.count;
        }
    }
    list_end(&p.l, rc, total);
}

static void handle_get(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct sbuf b = {.p = NULL};
    struct firmware fw;
    char etag[48];
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    int rc = firmware_by_id(c->db, c->who.project_id, id, http_arena(r), &fw);
    if (rc == E_NOTFOUND) {
        answer_not_found(r, "firmware");
    } else if (rc < 0) {
        http_fail(r, rc, NULL);
    } else {
        struct catalog *cat = catalog_cell_get(c->api->env.catalog);
        firmware_write_json(&b, c->db, cat, &fw, true);
        catalog_unref(cat);
        json_decref(fw.hardware);
        etag_text(etag, fw.revision, &b); /* the confirmation moves by itself */
        answer_object(r, etag, &b);
    }
    sbuf_done(&b);
}

static void handle_file(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    char etag[2 * SHA256_SIZE + 1];
    struct firmware fw;
    int64_t id, no;
    int fd;
    (void)arg;
    if (input_id(r, "id", &id) < 0 || input_id(r, "n", &no) < 0)
        return;
    int rc = firmware_by_id(c->db, c->who.project_id, id, http_arena(r), &fw);
    if (rc == 0)
        json_decref(fw.hardware);
    if (rc == E_NOTFOUND || (rc == 0 && (uint64_t)no > fw.n_files)) {
        answer_not_found(r, "file");
        return;
    }
    const struct firmware_file *file = rc == 0 ? &fw.files[no - 1] : NULL;
    if (file)
        rc = store_get(c->api->env.store, file->digests.sha256, file->digests.size, &fd);
    if (rc < 0) {
        http_fail(r, rc == E_NOTFOUND ? -EIO : rc, NULL);
        return;
    }
    hex_encode(file->digests.sha256, SHA256_SIZE, etag);
    http_reply_file(r, &(struct http_file){.fd = fd,
                                           .size = file->digests.size,
                                           .etag = etag,
                                           .content_type = "application/octet-stream",
                                           .filename = file->name});
}

/* ---- changes ---- */
static int find(struct write *w, struct db *db, struct firmware *fw)
{
    int rc = firmware_by_id(db, w->who.project_id, w->id, &w->a, fw);
    if (rc == E_NOTFOUND)
        return write_not_found(w, "firmware");
    if (rc < 0)
        return rc;
    struct catalog *c = catalog_cell_get(w->api->env.catalog);
    firmware_write_json(&w->before, db, c, fw, true);
    catalog_unref(c);
    rc = write_if_match(w, fw->revision);
    if (rc < 0)
        json_decref(fw->hardware);
    return rc;
}

static int answer_with(struct write *w, struct db *db)
{
    struct firmware fw;
    int rc = firmware_by_id(db, w->who.project_id, w->id, &w->a, &fw);
    if (rc < 0)
        return rc;
    struct catalog *c = catalog_cell_get(w->api->env.catalog);
    firmware_write_json(&w->body, db, c, &fw, true);
    catalog_unref(c);
    json_decref(fw.hardware);
    etag_text(w->etag, fw.revision, &w->body);
    return 0;
}

/* w->ext holds the new lists, resolved on the http thread; whether they were sent, w->in says. */
struct lists {
    struct firmware new;
    json_t *in; /* what they were resolved from; w->in of a change, own of a confirmation */
};

static void lists_free(void *ext)
{
    struct lists *l = ext;
    json_decref(l->in);
}

static void take(const struct write *w, struct firmware *fw)
{
    const struct firmware *new = &((const struct lists *)w->ext)->new;
    const json_t *in = w->in;
    fw->name = json_get_str(in, "name", fw->name);
    fw->notes = json_get_str(in, "notes", fw->notes);
    fw->enabled = json_get_bool(in, "enabled", fw->enabled);
    fw->must_pass = json_get_bool(in, "must_pass", fw->must_pass);
    fw->use_https = json_get_bool(in, "use_https", fw->use_https);
    if (json_object_get(in, "source_versions")) {
        fw->source_versions = new->source_versions;
        fw->n_sources = new->n_sources;
    }
    if (json_object_get(in, "devices"))
        fw->devices = new->devices;
    if (json_object_get(in, "denied_devices"))
        fw->denied = new->denied;
}

static int change(struct write *w, struct db *db, const char *action UNUSED)
{
    const struct lists *l = w->ext;
    struct firmware fw;
    if (!json_equal(w->in, l->in)) { /* another request than the one that was resolved */
        w->status = 409;
        w->code = "changed_since_asked";
        return fail(&w->fail, E_CONFLICT, "Something else was asked for meanwhile; look at it.");
    }
    int rc = firmware_by_id(db, w->who.project_id, w->id, &w->a, &fw);
    if (rc < 0)
        return rc;
    take(w, &fw);
    fw.updated_at = w->now;
    rc = firmware_update(db, &fw, &w->fail);
    json_decref(fw.hardware);
    return rc;
}

static int run_patch(struct write *w, struct db *db)
{
    struct firmware old;
    bool asks = false;
    int rc = find(w, db, &old);
    if (rc < 0)
        return rc;
    const struct confirm_of of = firmware_confirm_of(&old);
    struct firmware fw = old;
    take(w, &fw);
    rc = firmware_asks(db, &old, &fw, &asks);
    json_decref(old.hardware);
    if (rc == 0)
        rc = asks ? confirm_or_do(w, db, &of, "change", change) : change(w, db, "change");
    return rc < 0 ? rc : answer_with(w, db);
}

static int find_request(struct write *w, struct db *db, struct confirm_of *ret)
{
    struct firmware fw;
    int rc = find(w, db, &fw);
    if (rc < 0)
        return rc;
    *ret = firmware_confirm_of(&fw);
    json_decref(fw.hardware);
    return 0;
}

static const struct confirm_how how = {find_request, change, answer_with};

static int run_confirm(struct write *w, struct db *db)
{
    return confirm_yes(w, db, &how);
}

static int run_deny(struct write *w, struct db *db)
{
    return confirm_no(w, db, &how);
}

/* Owns `in`, which may be NULL. NULL: answered, and w is gone. */
static struct write *resolve(struct http_request *r, struct write *w, json_t *in)
{
    const struct call *c = call_of(r);
    struct json_errors errs = {.count = 0};
    struct lists *l = arena_alloc(&w->a, sizeof(*l));
    *l = (struct lists){.in = in};
    w->ext = l;
    w->ext_free = lists_free;
    if (firmware_take(c->api, c->db, c->who.project_id, in, &w->a, &l->new, &errs) == 0)
        return w;
    input_invalid(r, &errs);
    write_free(w);
    return NULL;
}

static void handle_patch(struct http_request *r, void *arg)
{
    struct write *w = write_of(r, arg);
    if (w && (w = resolve(r, w, json_incref(w->in))))
        write_go(w, r);
}

/* Devices are looked up here, and not in the job: there may be thousands. */
static void handle_confirm(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct write *w = write_of(r, arg);
    if (!w)
        return;
    struct firmware fw;
    json_t *in = NULL;
    if (firmware_by_id(c->db, c->who.project_id, w->id, &w->a, &fw) == 0) {
        const struct confirm_of of = firmware_confirm_of(&fw);
        in = confirm_body(c->db, &of);
        json_decref(fw.hardware);
    }
    if ((w = resolve(r, w, in)))
        write_go(w, r);
}

static int run_delete(struct write *w, struct db *db)
{
    struct bytes_list *bytes = w->ext;
    struct firmware fw;
    int rc = find(w, db, &fw);
    w->status = 204;
    if (rc < 0)
        return rc;
    bytes->n = fw.n_files;
    for (size_t i = 0; i < fw.n_files; i++)
        memcpy(bytes->sha256[i], fw.files[i].digests.sha256, SHA256_SIZE);
    json_decref(fw.hardware);
    rc = firmware_delete(db, w->id, w->now, &w->fail);
    if (rc == 0) {
        const struct confirm_of of = firmware_confirm_of(&fw);
        rc = confirm_drop(db, &of);
    }
    if (rc == E_CONFLICT) {
        w->status = 409;
        w->code = "in_use";
    }
    return rc;
}

static void after_delete(struct write *w, struct http_request *r, int rc)
{
    if (rc == 0)
        bytes_drop_unused(r ? http_loop(r) : NULL, w->ext);
}

static void handle_delete(struct http_request *r, void *arg)
{
    int64_t id;
    (void)arg;
    if (input_id(r, "id", &id) < 0)
        return;
    struct write *w = write_new(r, run_delete);
    struct bytes_list *bytes = arena_alloc(&w->a, sizeof(*bytes));
    bytes->api = w->api;
    w->id = id;
    w->ext = bytes;
    w->after = after_delete;
    w->job.catalog = true;
    write_go(w, r);
}

/* ---- bytes that no row names ---- */
static void drop_work(void *arg)
{
    const struct bytes_list *list = arg;
    struct api *api = list->api;
    struct fail f;

    pthread_mutex_lock(&api->bytes_lock);
    if (!api->bytes_db && db_open(api->env.db_path, DB_READ, 256, &api->bytes_db, &f) < 0)
        LOG(LOG_WARN, "api", "unused firmware bytes stay until the next start", KV("why", f.text));
    for (size_t i = 0; api->bytes_db && i < list->n; i++) {
        if (firmware_uses(api->bytes_db, list->sha256[i]))
            continue;
        int rc = store_delete(api->env.store, list->sha256[i]);
        if (rc < 0 && rc != E_NOTFOUND && rc != -ENOENT && rc != -EBUSY)
            LOG(LOG_WARN, "api", "unused firmware bytes could not be removed", KV_RC(rc));
    }
    pthread_mutex_unlock(&api->bytes_lock);
}

static void drop_done(void *arg)
{
    free(arg);
}

void bytes_drop_unused(struct loop *l, const struct bytes_list *list)
{
    struct bytes_list *copy = xmalloc(sizeof(*copy));
    *copy = *list;
    if (l) {
        loop_work(l, drop_work, drop_done, copy);
        return;
    }
    drop_work(copy);
    drop_done(copy);
}

static const struct op op_list = {.summary = "List the firmwares",
                                  .out = &firmware_table,
                                  .query = LIST_QUERY "|device_type|module|version",
                                  .status = 200,
                                  .list = true};
static const struct op op_get = {.summary = "One firmware", .out = &firmware_table, .status = 200};
static const struct op op_create = {
    .summary =
        "Upload a firmware: the part `meta` (this object as JSON) and 1 to 5 parts `file`; a "
        "`meta` that comes first is checked before the files are taken; 202: it is there, not "
        "enabled, and a second person has to confirm that it be",
    .in = &firmware_table,
    .out = &firmware_table,
    .status = 201,
    .body = "multipart/form-data"};
static const struct op op_patch = {
    .summary = "Change what may change of a firmware; 202: a second person has to confirm what "
               "gives it to more devices",
    .in = &firmware_table,
    .out = &firmware_table,
    .status = 200,
    .patch = true,
    .run = run_patch,
    .catalog = true};
static const struct op op_confirm = {
    .summary = "Do what somebody with another token asked for, as `confirmation` has it",
    .out = &firmware_table,
    .status = 200,
    .run = run_confirm,
    .catalog = true};
static const struct op op_deny = {.summary = "Drop what was asked for, whoever asked",
                                  .out = &firmware_table,
                                  .status = 200,
                                  .run = run_deny};
static const struct op op_delete = {
    .summary = "Delete a firmware that no update under way needs and that is no floor",
    .status = 204};
static const struct op op_file = {.summary = "Download a file; n counts from 1", .status = 200};

#define PATH "/api/v1/firmwares"
const struct http_route firmware_routes[] = {
    {"GET", PATH, HTTP_BODY_NONE, 0, handle_list, OP(op_list), VIEWER},
    {"POST", PATH, HTTP_BODY_MULTIPART, 0, firmware_upload_handle, OP(op_create), OPERATOR},
    {"GET", PATH "/:id", HTTP_BODY_NONE, 0, handle_get, OP(op_get), VIEWER},
    {"PATCH", PATH "/:id", HTTP_BODY_WHOLE, 1048576, handle_patch, OP(op_patch), OPERATOR},
    {"DELETE", PATH "/:id", HTTP_BODY_NONE, 0, handle_delete, OP(op_delete), OPERATOR},
    {"POST", PATH "/:id/confirm", HTTP_BODY_WHOLE, 65536, handle_confirm, OP(op_confirm), OPERATOR},
    {"POST", PATH "/:id/deny", HTTP_BODY_WHOLE, 65536, write_handle, OP(op_deny), OPERATOR},
    {"GET", PATH "/:id/files/:n", HTTP_BODY_NONE, 0, handle_file, OP(op_file), OPERATOR},
    {.method = NULL},
};
