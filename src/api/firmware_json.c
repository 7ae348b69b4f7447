/*
 * A firmware as JSON and back: the table of its fields, what is shown of one, and what a request
 * says of one, checked. Its bytes are no matter of this file.
 */
#include "priv.h"

#define TARGETS_MAX 10000
#define FIXED       JF_CREATE_ONLY

static const struct json_field fields[] = {
    {"id", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Number of the firmware."},
    {"name", JK_STRING, 0, 0, 255, NULL, "", "What people read."},
    {"device_type", JK_KEY, JF_REQUIRED | FIXED, 1, 64, NULL, NULL, "Key of the type it is for."},
    {"version", JK_STRING, FIXED, 1, VERSION_MAX, NULL, "what the image says",
     "Must be given unless an image tells it."},
    {"module", JK_KEY, FIXED, 1, MODULE_MAX, NULL, "main", "The module it is for."},
    {"devices", JK_STRINGS, 0, 0, TARGETS_MAX, NULL, "[]",
     "Keys of the only devices it is for; empty: all of the type."},
    {"denied_devices", JK_STRINGS, 0, 0, TARGETS_MAX, NULL, "[]",
     "Keys of devices that never get it; wins over `devices`."},
    {"source_versions", JK_STRINGS, 0, 0, 1000, NULL, "[]",
     "The only versions it is for; empty: any."},
    {"must_pass", JK_BOOL, 0, 0, 0, NULL, "false",
     "A floor: no device below this version is offered a higher one before it runs this one. While "
     "the floor can't be offered (disabled, not for the device, not released yet) the device "
     "waits; only of floors for other `hardware` it is free."},
    {"use_https", JK_BOOL, 0, 0, 0, NULL, "false", "Link to it with https."},
    {"enabled", JK_BOOL, 0, 0, 0, NULL, "true", "Whether it is offered at all."},
    {"notes", JK_TEXT, 0, 0, 16384, NULL, "", "Release notes."},
    {"release", JK_ENUM, FIXED, 0, 0, "open|campaign", "open",
     "open: offered to every check; campaign: only through one."},
    {"hardware", JK_OBJECT, FIXED, 0, 0, NULL, "{}",
     "Attributes that must match: {name: value or [values]}."},
    {"min_battery", JK_INT, FIXED | JF_NULLABLE, 0, 100, NULL, "null", "Percent."},
    {"min_signal", JK_INT, FIXED | JF_NULLABLE, -200, 200, NULL, "null", "dBm."},
    {"min_free_space", JK_INT, FIXED | JF_NULLABLE, 0, INT64_MAX, NULL, "null", "Bytes."},
    {"force_version", JK_BOOL, JF_WRITE_ONLY | FIXED, 0, 0, NULL, "false",
     "Take the declared version although the image says another."},
    {"files", JK_ARRAY, JF_READ_ONLY, 0, 0, NULL, NULL,
     "{name, size, md5, sha1, sha256, crc32, missing}, in the order of upload; missing: its bytes "
     "are not there, and the firmware is not offered until the same ones are uploaded again."},
    {"image", JK_OBJECT, JF_READ_ONLY, 0, 0, NULL, NULL,
     "What an ESP image says of itself: version, project, chip and more."},
    {"confirmation", JK_OBJECT, JF_READ_ONLY | JF_NULLABLE, 0, 0, NULL, NULL,
     "What waits for a second person: {action, body, asked_by, asked_at, expires_at}. Not in "
     "lists."},
    {"created_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it was made."},
    {"updated_at", JK_TIME, JF_READ_ONLY, 0, 0, NULL, NULL, "When it last changed."},
    {"revision", JK_INT, JF_READ_ONLY, 0, 0, NULL, NULL, "Counts changes; the ETag's number."},
};
const struct table firmware_table = {"Firmware", fields, ARRAY_LEN(fields)};

/* ---- output ---- */
static void hex_member(struct obj *o, const char *name, const void *p, size_t n)
{
    char text[2 * SHA256_SIZE + 1];
    hex_encode(p, n, text);
    obj_str(o, name, text);
}

static void write_files(struct sbuf *b, const struct firmware *fw)
{
    char crc[12];
    sbuf_add(b, "[", 1);
    for (size_t i = 0; i < fw->n_files; i++) {
        const struct digests *d = &fw->files[i].digests;
        if (i)
            sbuf_add(b, ",", 1);
        struct obj o = obj_begin(b);
        obj_str(&o, "name", fw->files[i].name);
        obj_int(&o, "size", (int64_t)d->size);
        hex_member(&o, "md5", d->md5, MD5_SIZE);
        hex_member(&o, "sha1", d->sha1, SHA1_SIZE);
        hex_member(&o, "sha256", d->sha256, SHA256_SIZE);
        (void)str_fmt(crc, sizeof(crc), "%08x", d->crc32);
        obj_str(&o, "crc32", crc);
        obj_bool(&o, "missing", fw->files[i].missing);
        obj_end(&o);
    }
    sbuf_add(b, "]", 1);
}

static void write_keys(struct sbuf *b, struct db *db, const struct id_list *list)
{
    struct device d;
    struct arena a;
    bool more = false;

    arena_init(&a);
    sbuf_add(b, "[", 1);
    for (size_t i = 0; i < list->n; i++) {
        arena_reset(&a);
        if (device_by_id(db, list->ids[i], &a, &d) < 0)
            continue;
        if (more)
            sbuf_add(b, ",", 1);
        more = true;
        json_add_string(b, d.key);
    }
    sbuf_add(b, "]", 1);
    arena_done(&a);
}

static void minimum(struct obj *o, const char *name, bool has, int64_t v)
{
    if (has)
        obj_int(o, name, v);
    else
        obj_str(o, name, NULL);
}

struct confirm_of firmware_confirm_of(const struct firmware *fw)
{
    return (struct confirm_of){"firmware", fw->project_id, fw->id, fw->revision, firmware_asked};
}

void firmware_write_json(struct sbuf *b, struct db *db, const struct catalog *c,
                         const struct firmware *fw, bool whole)
{
    const struct confirm_of of = firmware_confirm_of(fw);
    const struct device_type *t = catalog_type(c, fw->type_id);
    struct obj o = obj_begin(b);

    obj_int(&o, "id", fw->id);
    obj_str(&o, "name", fw->name);
    obj_str(&o, "device_type", t ? t->key : NULL);
    obj_str(&o, "version", fw->version);
    obj_str(&o, "module", fw->module);
    obj_name(&o, "devices");
    write_keys(b, db, &fw->devices);
    obj_name(&o, "denied_devices");
    write_keys(b, db, &fw->denied);
    obj_name(&o, "source_versions");
    sbuf_add(b, "[", 1);
    for (size_t i = 0; i < fw->n_sources; i++) {
        if (i)
            sbuf_add(b, ",", 1);
        json_add_string(b, fw->source_versions[i]);
    }
    sbuf_add(b, "]", 1);
    obj_bool(&o, "must_pass", fw->must_pass);
    obj_bool(&o, "use_https", fw->use_https);
    obj_bool(&o, "enabled", fw->enabled);
    obj_str(&o, "notes", fw->notes);
    obj_str(&o, "release", fw->campaign_only ? "campaign" : "open");
    obj_name(&o, "hardware");
    if (fw->hardware)
        json_add_text(b, fw->hardware);
    else
        sbuf_str(b, "{}");
    minimum(&o, "min_battery", fw->has_min_battery, fw->min_battery);
    minimum(&o, "min_signal", fw->has_min_signal, fw->min_signal);
    minimum(&o, "min_free_space", fw->has_min_free_space, fw->min_free_space);
    obj_name(&o, "files");
    write_files(b, fw);
    obj_raw(&o, "image", fw->image && fw->image[0] ? fw->image : "{}");
    if (whole && confirm_json(&o, db, &of) < 0)
        obj_str(&o, "confirmation", NULL); /* as if there were none: nothing hangs on it */
    obj_time(&o, "created_at", fw->created_at);
    obj_time(&o, "updated_at", fw->updated_at);
    obj_int(&o, "revision", fw->revision);
    obj_end(&o);
}

/* ---- input ---- */
static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Keys of devices -> sorted ids; a finding for each that does not exist. */
static int take_keys(struct db *db, int64_t project_id, const json_t *in, const char *name,
                     struct arena *a, struct id_list *ret, struct json_errors *errs)
{
    const json_t *list = json_object_get(in, name);
    struct device d;
    struct arena tmp;
    char at[64];
    size_t n = json_array_size(list), kept = 0;

    if (!list)
        return 0;
    ret->ids = arena_alloc(a, (n + 1) * sizeof(int64_t));
    arena_init(&tmp);
    for (size_t i = 0; i < n; i++) {
        arena_reset(&tmp);
        int rc = device_find(db, str_of(json_string_value(json_array_get(list, i))), &tmp, &d);
        if (rc == 0 && d.project_id == project_id) {
            ret->ids[kept++] = d.id;
            continue;
        }
        (void)str_fmt(at, sizeof(at), "/%s/%zu", name, i);
        json_error_add(errs, at, "not_found", "There is no such device.");
    }
    arena_done(&tmp);
    qsort(ret->ids, kept, sizeof(int64_t), by_id);
    ret->n = 0;
    for (size_t i = 0; i < kept; i++)
        if (ret->n == 0 || ret->ids[ret->n - 1] != ret->ids[i])
            ret->ids[ret->n++] = ret->ids[i];
    return errs->count ? E_PROTO : 0;
}

static void take_sources(const json_t *in, struct arena *a, struct firmware *fw,
                         struct json_errors *errs)
{
    const json_t *list = json_object_get(in, "source_versions");
    size_t n = json_array_size(list);
    struct fail f;
    char at[64];

    if (!list)
        return;
    fw->source_versions = arena_alloc(a, (n + 1) * sizeof(char *));
    fw->n_sources = n;
    for (size_t i = 0; i < n; i++) {
        fw->source_versions[i] = arena_strdup(a, json_string_value(json_array_get(list, i)));
        (void)str_fmt(at, sizeof(at), "/source_versions/%zu", i);
        if (version_check(VERSION_AUTO, fw->source_versions[i], &f) < 0)
            json_error_add(errs, at, "invalid", "%s", f.text);
    }
}

static bool is_scalar(const json_t *v)
{
    return json_is_string(v) || json_is_number(v) || json_is_boolean(v);
}

static void check_hardware(const json_t *hardware, struct json_errors *errs)
{
    const char *name;
    json_t *v, *each;
    size_t i;

    if (json_object_size(hardware) > 32)
        json_error_add(errs, "/hardware", "too_long", "At most 32 attributes can be asked for.");
    json_object_foreach((json_t *)(uintptr_t)hardware, name, v)
    {
        bool fine = is_scalar(v) || (json_is_array(v) && json_array_size(v) > 0);
        json_array_foreach(v, i, each) fine = fine && is_scalar(each);
        if (!fine)
            json_error_add(errs, "/hardware", "invalid",
                           "An attribute takes a string, number or boolean, or a list of them.");
    }
}

static void take_minimum(const json_t *in, const char *name, bool *has, int64_t *v)
{
    const json_t *j = json_object_get(in, name);
    if (json_is_integer(j)) {
        *has = true;
        *v = json_integer_value(j);
    }
}

int firmware_take(struct api *api, struct db *db, int64_t project_id, const json_t *in,
                  struct arena *a, struct firmware *fw, struct json_errors *errs)
{
    json_t *hardware = json_object_get(in, "hardware");

    fw->name = arena_strdup(a, json_get_str(in, "name", fw->name));
    fw->notes = arena_strdup(a, json_get_str(in, "notes", fw->notes));
    fw->use_https = json_get_bool(in, "use_https", fw->use_https);
    fw->enabled = json_get_bool(in, "enabled", fw->enabled);
    fw->must_pass = json_get_bool(in, "must_pass", fw->must_pass);
    if (fw->use_https && !api->env.conf->http_public_https_url[0])
        json_error_add(errs, "/use_https", "not_allowed",
                       "This needs http.public_https_url in the configuration.");
    take_sources(in, a, fw, errs);
    if (hardware) {
        check_hardware(hardware, errs);
        fw->hardware = hardware;
    }
    take_minimum(in, "min_battery", &fw->has_min_battery, &fw->min_battery);
    take_minimum(in, "min_signal", &fw->has_min_signal, &fw->min_signal);
    take_minimum(in, "min_free_space", &fw->has_min_free_space, &fw->min_free_space);
    (void)take_keys(db, project_id, in, "devices", a, &fw->devices, errs);
    (void)take_keys(db, project_id, in, "denied_devices", a, &fw->denied, errs);
    return errs->count ? E_PROTO : 0;
}
