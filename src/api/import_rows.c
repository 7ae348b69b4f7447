/*
 * From the records of an import's body to rows: each is checked as one device would be, and what
 * is fine fills the batch that goes to the core next. Http thread.
 */
#include "import.h"

static int find_type(struct import *im, const char *key, int64_t *ret)
{
    struct device_type t;
    struct arena a;

    if (im->type_id && strcmp(im->type_key, key) == 0) {
        *ret = im->type_id;
        return 0;
    }
    arena_init(&a);
    int rc = device_type_by_key(im->db, im->w->who.project_id, key, &a, &t);
    if (rc == 0) {
        *ret = im->type_id = t.id;
        (void)str_copy(im->type_key, sizeof(im->type_key), key);
    }
    arena_done(&a);
    return rc;
}

static bool zone_is_fine(struct import *im, const char *zone)
{
    if (!zone[0] || strcmp(im->zone, zone) == 0)
        return true;
    if (!timezone_is_known(zone))
        return false;
    (void)str_copy(im->zone, sizeof(im->zone), zone);
    return true;
}

static void row_fails(struct import *im, uint64_t row, const char *code, const char *detail)
{
    pthread_mutex_lock(&im->lock);
    import_note(&im->errs, row, code, detail);
    pthread_mutex_unlock(&im->lock);
}

/* NULL = fine, else the code of what is wrong. */
static const char *check_row(struct import *im, const json_t *in, struct json_errors *errs,
                             int64_t *ret_type, int *ret_rc)
{
    struct fail f = {.rc = 0};
    *ret_rc = 0;
    errs->count = 0;
    if (json_check(in, device_table.fields, device_table.n, false, errs) < 0)
        return errs->list[0].code;
    if (device_check_text(json_get_str(in, "key", ""), im->api->env.conf->mqtt_username, &f) < 0) {
        json_error_add(errs, "/key", "invalid", "%s", f.text);
        return "invalid";
    }
    if (!zone_is_fine(im, json_get_str(in, "timezone", ""))) {
        json_error_add(errs, "/timezone", "invalid",
                       "This time zone is not known here; an IANA name such as Asia/Shanghai is.");
        return "invalid";
    }
    *ret_rc = find_type(im, json_get_str(in, "device_type", ""), ret_type);
    if (*ret_rc == E_NOTFOUND) {
        *ret_rc = 0;
        json_error_add(errs, "/device_type", "not_found", "There is no such device type.");
        return "device_type_not_found";
    }
    return NULL;
}

static void fill_row(struct import *im, uint64_t no, const json_t *in, int64_t type_id)
{
    struct batch *b = im->filling;
    char hash[CRYPTO_PASSWORD_TEXT];

    if (!b) {
        b = im->filling = xcalloc(1, sizeof(*b));
        b->im = im;
        arena_init(&b->a);
    }
    struct import_row *row = &b->rows[b->n++];
    const char *password = json_get_str(in, "password", NULL);
    *row = (struct import_row){
        .row = no,
        .gateway = arena_strdup(&b->a, json_get_str(in, "gateway", NULL)),
        .device = {.project_id = im->w->who.project_id,
                   .type_id = type_id,
                   .key = arena_strdup(&b->a, json_get_str(in, "key", "")),
                   .name = arena_strdup(&b->a, json_get_str(in, "name", "")),
                   .sn = arena_strdup(&b->a, json_get_str(in, "sn", "")),
                   .address = arena_strdup(&b->a, json_get_str(in, "address", NULL)),
                   .timezone = arena_strdup(&b->a, json_get_str(in, "timezone", "")),
                   .enabled = json_get_bool(in, "enabled", true),
                   .created_at = im->w->now}};
    (void)strings_text(json_object_get(in, "tags"), &b->a, &row->device.tags);
    if (password) {
        crypto_password_hash(password, hash);
        row->device.password_hash = arena_strdup(&b->a, hash);
    }
    if (b->n == IMPORT_BATCH_ROWS)
        import_hand_over(im);
}

int import_record(void *arg, uint64_t row, json_t *in, const char *code, const char *detail)
{
    struct import *im = arg;
    struct json_errors errs;
    int64_t type_id = 0;
    int rc;

    if (!in) {
        row_fails(im, row, code, detail);
        return 0;
    }
    code = check_row(im, in, &errs, &type_id, &rc);
    if (rc < 0)
        return rc;
    if (code)
        row_fails(im, row, code, errs.list[0].detail);
    else
        fill_row(im, row, in, type_id);
    return 0;
}

int import_bad_header(void *arg, const char *code, const char *detail)
{
    struct import *im = arg;
    im->w->status = 422;
    im->w->code = code;
    return fail(&im->w->fail, E_PROTO, "%s", detail);
}
