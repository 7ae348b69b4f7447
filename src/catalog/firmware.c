/*
 * Firmwares: their rows, files and target lists. A firmware is immutable but for its name, notes,
 * lists and flags. A deleted one keeps its row for the history of updates and nothing else knows
 * it any more. The bytes are the store's.
 */
#include "catalog_priv.h"
#include "event.h"

#include <inttypes.h>

/* ---- reading ---- */
static json_t *parse(const char *text)
{
    enum json_fault fault;

    return json_parse(text, strlen(text), SIZE_MAX, 32, &fault, NULL);
}

/* ["1.0","1.1"] into the arena. */
static int read_sources(const char *text, struct arena *a, struct firmware *ret)
{
    if (strcmp(text, "[]") == 0)
        return 0;
    AUTO(json_free) json_t *list = parse(text);
    size_t i;
    json_t *v;

    if (!json_is_array(list))
        return E_DB;
    ret->source_versions = arena_alloc(a, json_array_size(list) * sizeof(char *));
    json_array_foreach(list, i, v)
    {
        if (!json_is_string(v))
            return E_DB;
        ret->source_versions[ret->n_sources++] = arena_strdup(a, json_string_value(v));
    }
    return 0;
}

int firmware_row(struct db_stmt *s, struct arena *a, struct firmware *ret)
{
    const char *hardware = db_text(s, 11);
    int rc;

    *ret = (struct firmware){
        .id = db_int(s, 0),
        .project_id = db_int(s, 1),
        .type_id = db_int(s, 2),
        .module = arena_strdup(a, db_text(s, 3)),
        .version = arena_strdup(a, db_text(s, 4)),
        .name = arena_strdup(a, db_text(s, 5)),
        .notes = arena_strdup(a, db_text(s, 6)),
        .enabled = db_int(s, 7) != 0,
        .use_https = db_int(s, 8) != 0,
        .campaign_only = strcmp(db_text(s, 9), "campaign") == 0,
        .has_min_battery = !db_is_null(s, 12),
        .min_battery = db_int(s, 12),
        .has_min_signal = !db_is_null(s, 13),
        .min_signal = db_int(s, 13),
        .has_min_free_space = !db_is_null(s, 14),
        .min_free_space = db_int(s, 14),
        .image = arena_strdup(a, db_text(s, 15)),
        .created_at = db_int(s, 16),
        .updated_at = db_int(s, 17),
        .revision = db_int(s, 18),
        .must_pass = db_int(s, 19) != 0,
    };
    rc = read_sources(db_text(s, 10), a, ret);
    if (rc < 0)
        return rc;
    if (strcmp(hardware, "{}") == 0)
        return 0;
    ret->hardware = parse(hardware);
    return json_is_object(ret->hardware) ? 0 : E_DB;
}

static bool read_digest(struct db_stmt *s, int col, void *ret, size_t n)
{
    if (db_bytes(s, col) != n)
        return false;
    memcpy(ret, db_blob(s, col), n);
    return true;
}

int firmware_file_row(struct db_stmt *s, struct arena *a, struct firmware *fw)
{
    int64_t no = db_int(s, 1);
    struct firmware_file *file;

    if (no != (int64_t)fw->n_files + 1 || no > FIRMWARE_FILES_MAX)
        return E_DB;
    file = &fw->files[fw->n_files];
    file->name = arena_strdup(a, db_text(s, 2));
    file->digests.size = (uint64_t)db_int(s, 3);
    file->digests.crc32 = (uint32_t)db_int(s, 7);
    if (!read_digest(s, 4, file->digests.md5, MD5_SIZE) ||
        !read_digest(s, 5, file->digests.sha1, SHA1_SIZE) ||
        !read_digest(s, 6, file->digests.sha256, SHA256_SIZE))
        return E_DB;
    file->missing = db_int(s, 8) != 0;
    fw->n_missing += file->missing;
    fw->n_files++;
    fw->bytes_total += file->digests.size;
    return 0;
}

static int read_files(struct db *db, struct arena *a, struct firmware *fw)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_FILES);
    int rc;

    db_bind_int(q, 1, fw->id);
    while ((rc = db_step(q)) == 1) {
        rc = firmware_file_row(q, a, fw);
        if (rc < 0)
            return rc;
    }
    return rc;
}

static void list_add(struct arena *a, struct id_list *list, size_t *cap, int64_t id)
{
    if (list->n == *cap) {
        int64_t *bigger;

        *cap = *cap ? *cap * 2 : 16;
        bigger = arena_alloc(a, *cap * sizeof(*bigger));
        if (list->n)
            memcpy(bigger, list->ids, list->n * sizeof(*bigger));
        list->ids = bigger;
    }
    list->ids[list->n++] = id;
}

static int read_devices(struct db *db, struct arena *a, struct firmware *fw)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_DEVICES);
    size_t cap[2] = {0};
    int rc;

    db_bind_int(q, 1, fw->id);
    while ((rc = db_step(q)) == 1) {
        bool denied = db_int(q, 1) != 0;

        list_add(a, denied ? &fw->denied : &fw->devices, &cap[denied], db_int(q, 2));
    }
    return rc;
}

static int read_all(struct db *db, struct db_stmt *s, struct arena *a, struct firmware *ret)
{
    int rc = firmware_row(s, a, ret);

    if (rc == 0)
        rc = read_files(db, a, ret);
    if (rc == 0)
        rc = read_devices(db, a, ret);
    if (rc < 0) {
        json_decref(ret->hardware);
        ret->hardware = NULL;
    }
    return rc;
}

int firmware_by_id(struct db *db, int64_t project_id, int64_t id, struct arena *a,
                   struct firmware *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_BY_ID);
    int rc;

    *ret = (struct firmware){0}; /* so that hardware can be given up whatever comes */
    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, id);
    rc = db_row(q);
    return rc < 0 ? rc : read_all(db, q, a, ret);
}

int firmware_list(struct db *db, int64_t project_id, int64_t type_id, const char *module,
                  const char *version, int64_t after, int limit,
                  int (*row)(void *arg, const struct firmware *fw), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_LIST);
    struct arena a;
    struct firmware fw;
    int rc;

    arena_init(&a);
    db_bind_int(q, 1, project_id);
    db_bind_int(q, 2, type_id);
    db_bind_text(q, 3, module);
    db_bind_text(q, 4, version);
    db_bind_int(q, 5, after);
    db_bind_int(q, 6, limit);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        rc = read_all(db, q, &a, &fw);
        if (rc < 0)
            break;
        rc = row(arg, &fw);
        json_decref(fw.hardware);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}

bool firmware_uses(struct db *db, const uint8_t sha256[SHA256_SIZE])
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_USES);

    db_bind_blob(q, 1, sha256, SHA256_SIZE);
    /* Bytes are given up only on a clear no. */
    return db_row(q) != E_NOTFOUND;
}

int firmware_bytes_each(struct db *db,
                        int (*row)(void *arg, const uint8_t sha256[SHA256_SIZE], uint64_t size,
                                   bool missing),
                        void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_BYTES);
    uint8_t sha256[SHA256_SIZE];
    int rc;

    while ((rc = db_step(q)) == 1) {
        rc = read_digest(q, 0, sha256, SHA256_SIZE)
                 ? row(arg, sha256, (uint64_t)db_int(q, 1), db_int(q, 2) != 0)
                 : E_DB;
        if (rc != 0)
            break;
    }
    return rc;
}

/* ---- writing ---- */
int firmware_bytes_missing(struct db *w, const uint8_t sha256[SHA256_SIZE], bool missing)
{
    static const enum db_query both[] = {Q_FIRMWARE_BYTES_REVISE, Q_FIRMWARE_BYTES_MISSING};
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(both) && rc == 0; i++) {
        AUTO(db_reset) struct db_stmt *q = db_use(w, both[i]);

        db_bind_blob(q, 1, sha256, SHA256_SIZE);
        db_bind_int(q, 2, missing);
        rc = db_run(q);
    }
    return rc;
}

static char *sources_text(const struct firmware *fw)
{
    struct sbuf out = {0};

    sbuf_str(&out, "[");
    for (size_t i = 0; i < fw->n_sources; i++) {
        if (i)
            sbuf_str(&out, ",");
        json_add_string(&out, fw->source_versions[i]);
    }
    sbuf_str(&out, "]");
    return sbuf_take(&out);
}

static int firmware_check(struct db *w, const struct firmware *fw, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *type = db_use(w, Q_DEVICE_TYPE_BY_ID);
    struct device_type t;
    struct arena a;
    int rc;

    rc = module_check(fw->module, f);
    if (rc < 0)
        return rc;
    if (fw->n_files < 1 || fw->n_files > FIRMWARE_FILES_MAX)
        return fail(f, E_PROTO, "a firmware has 1 to %d files", FIRMWARE_FILES_MAX);
    db_bind_int(type, 1, fw->type_id);
    rc = db_row(type);
    if (rc < 0)
        return fail(f, rc == E_NOTFOUND ? E_CONFLICT : rc, "the firmware's device type is gone");
    arena_init(&a);
    device_type_row(type, &a, &t);
    rc = version_check(t.scheme, fw->version, f);
    arena_done(&a);
    return rc;
}

static int insert_files(struct db *w, const struct firmware *fw)
{
    for (size_t i = 0; i < fw->n_files; i++) {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_FIRMWARE_FILE_INSERT);
        const struct digests *d = &fw->files[i].digests;
        int rc;

        db_bind_int(q, 1, fw->id);
        db_bind_int(q, 2, (int64_t)i + 1);
        db_bind_text(q, 3, fw->files[i].name);
        db_bind_int(q, 4, (int64_t)d->size);
        db_bind_blob(q, 5, d->md5, MD5_SIZE);
        db_bind_blob(q, 6, d->sha1, SHA1_SIZE);
        db_bind_blob(q, 7, d->sha256, SHA256_SIZE);
        db_bind_int(q, 8, d->crc32);
        rc = db_run(q);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int insert_list(struct db *w, int64_t id, const struct id_list *list, bool denied)
{
    for (size_t i = 0; i < list->n; i++) {
        AUTO(db_reset) struct db_stmt *q = db_use(w, Q_FIRMWARE_DEVICE_INSERT);
        int rc;

        db_bind_int(q, 1, id);
        db_bind_int(q, 2, denied);
        db_bind_int(q, 3, list->ids[i]);
        rc = db_run(q);
        if (rc < 0 && rc != -EEXIST)
            return rc;
    }
    return 0;
}

static int insert_lists(struct db *w, const struct firmware *fw, struct fail *f)
{
    int rc = insert_list(w, fw->id, &fw->devices, false);

    if (rc == 0)
        rc = insert_list(w, fw->id, &fw->denied, true);
    if (rc == E_CONFLICT)
        return fail(f, rc, "a device of the firmware's lists is gone");
    return rc < 0 ? catalog_fail(w, rc, "cannot store the firmware", f) : 0;
}

/* The event, from the row, which is there even when it is deleted. */
static int tell(struct db *w, int64_t id, const char *type, int64_t now)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_FIRMWARE_TOLD);
    struct sbuf data = {.p = NULL};

    db_bind_int(q, 1, id);
    int rc = db_row(q);
    if (rc < 0)
        return rc;
    sbuf_fmt(&data, "{\"firmware\":%" PRId64 ",\"device_type\":", id);
    json_add_string(&data, db_text(q, 1));
    sbuf_str(&data, ",\"module\":");
    json_add_string(&data, db_text(q, 2));
    sbuf_str(&data, ",\"version\":");
    json_add_string(&data, db_text(q, 3));
    sbuf_fmt(&data, ",\"enabled\":%s}", db_int(q, 4) ? "true" : "false");
    rc = event_add(
        w,
        &(struct event){
            .at = now, .project_id = db_int(q, 0), .object_id = id, .type = type, .data = data.p});
    sbuf_done(&data);
    return rc;
}

int firmware_asked(struct db *w, int64_t id, const char *action UNUSED, int64_t now)
{
    return tell(w, id, "firmware.awaiting_confirmation", now);
}

int firmware_is_governed(struct db *db, const struct firmware *fw)
{
    enum version_scheme scheme = VERSION_AUTO;
    {
        AUTO(db_reset) struct db_stmt *type = db_use(db, Q_DEVICE_TYPE_BY_ID);
        struct device_type t;
        struct arena a;

        db_bind_int(type, 1, fw->type_id);
        int rc = db_row(type);
        if (rc < 0)
            return rc == E_NOTFOUND ? 0 : rc;
        arena_init(&a);
        device_type_row(type, &a, &t);
        scheme = t.scheme;
        arena_done(&a);
    }
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_GOVERNED);
    int rc;

    db_bind_int(q, 1, fw->type_id);
    db_bind_text(q, 2, fw->module);
    while ((rc = db_step(q)) == 1)
        if (version_compare(scheme, db_text(q, 0), fw->version) == 0)
            return 1;
    return rc;
}

int firmware_insert(struct db *w, struct firmware *fw, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_FIRMWARE_INSERT);
    AUTO(free) char *sources = sources_text(fw);
    AUTO(free) char *hardware = fw->hardware ? json_text(fw->hardware) : NULL;
    int rc = firmware_check(w, fw, f);

    if (rc < 0)
        return rc;
    db_bind_int(q, 1, fw->project_id);
    db_bind_int(q, 2, fw->type_id);
    db_bind_text(q, 3, fw->module);
    db_bind_text(q, 4, fw->version);
    db_bind_text(q, 5, fw->name ? fw->name : "");
    db_bind_text(q, 6, fw->notes ? fw->notes : "");
    db_bind_int(q, 7, fw->enabled);
    db_bind_int(q, 8, fw->use_https);
    db_bind_text(q, 9, fw->campaign_only ? "campaign" : "open");
    db_bind_text(q, 10, sources);
    db_bind_text(q, 11, hardware ? hardware : "{}");
    if (fw->has_min_battery)
        db_bind_int(q, 12, fw->min_battery);
    if (fw->has_min_signal)
        db_bind_int(q, 13, fw->min_signal);
    if (fw->has_min_free_space)
        db_bind_int(q, 14, fw->min_free_space);
    db_bind_text(q, 15, fw->image ? fw->image : "{}");
    db_bind_int(q, 16, fw->created_at);
    db_bind_int(q, 17, fw->must_pass);
    rc = db_run(q);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the firmware", f);
    fw->id = db_last_id(w);
    fw->updated_at = fw->created_at;
    fw->revision = 1;
    fw->bytes_total = 0;
    for (size_t i = 0; i < fw->n_files; i++)
        fw->bytes_total += fw->files[i].digests.size;
    rc = insert_files(w, fw);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the firmware's files", f);
    rc = tell(w, fw->id, "firmware.created", fw->created_at);
    return rc < 0 ? catalog_fail(w, rc, "cannot store the firmware", f) : insert_lists(w, fw, f);
}

static int clear_lists(struct db *w, int64_t id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_FIRMWARE_DEVICE_CLEAR);

    db_bind_int(q, 1, id);
    return db_run(q);
}

int firmware_update(struct db *w, const struct firmware *fw, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_FIRMWARE_UPDATE);
    AUTO(free) char *sources = sources_text(fw);
    int rc;

    db_bind_int(q, 1, fw->id);
    db_bind_text(q, 2, fw->name ? fw->name : "");
    db_bind_text(q, 3, fw->notes ? fw->notes : "");
    db_bind_int(q, 4, fw->enabled);
    db_bind_int(q, 5, fw->use_https);
    db_bind_text(q, 6, sources);
    db_bind_int(q, 7, fw->must_pass);
    db_bind_int(q, 8, fw->updated_at);
    rc = db_run(q);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the firmware", f);
    if (db_changed(w) == 0)
        return fail(f, E_NOTFOUND, "there is no such firmware");
    rc = tell(w, fw->id, "firmware.changed", fw->updated_at);
    if (rc == 0)
        rc = clear_lists(w, fw->id);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot store the firmware", f);
    return insert_lists(w, fw, f);
}

/* Gone, it would hold nothing back any more: that is said by must_pass alone. */
static int check_floor(struct db *w, int64_t id, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_FIRMWARE_MUST_PASS);

    db_bind_int(q, 1, id);
    int rc = db_row(q);
    if (rc < 0)
        return rc == E_NOTFOUND ? 0 : catalog_fail(w, rc, "cannot delete the firmware", f);
    return fail(f, E_CONFLICT,
                "devices must pass through this firmware; set must_pass to false first");
}

int firmware_delete(struct db *w, int64_t id, int64_t now, struct fail *f)
{
    AUTO(db_reset) struct db_stmt *used = db_use(w, Q_FIRMWARE_IN_USE);
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_FIRMWARE_DELETE);
    int rc;

    db_bind_int(used, 1, id);
    rc = db_row(used);
    if (rc == 0)
        return fail(f, E_CONFLICT, "update %" PRId64 " is under way with this firmware",
                    db_int(used, 0));
    if (rc != E_NOTFOUND)
        return catalog_fail(w, rc, "cannot delete the firmware", f);
    int64_t campaign = campaign_needs(w, id);
    if (campaign > 0)
        return fail(f, E_CONFLICT, "campaign %" PRId64 " needs this firmware", campaign);
    if (campaign < 0)
        return catalog_fail(w, (int)campaign, "cannot delete the firmware", f);
    rc = check_floor(w, id, f);
    if (rc < 0)
        return rc;
    db_bind_int(q, 1, id);
    db_bind_int(q, 2, now);
    rc = db_run(q);
    if (rc < 0)
        return catalog_fail(w, rc, "cannot delete the firmware", f);
    if (db_changed(w) == 0)
        return fail(f, E_NOTFOUND, "there is no such firmware");
    rc = tell(w, id, "firmware.deleted", now);
    if (rc == 0)
        rc = clear_lists(w, id);
    return rc < 0 ? catalog_fail(w, rc, "cannot delete the firmware", f) : 0;
}
