/*
 * The device's side of the EZtCloud messages: what a direct device sends, and the otaUpgrade
 * command as it reads it. Extra members are ignored, as devices do; `sha256` and `files` are
 * used when they are there.
 */
#include "sim.h"

#include "json.h"

enum { OFFER_BYTES_MAX = 65536, OFFER_DEPTH_MAX = 16 };

void wire_offer_done(struct wire_offer *o)
{
    free(o->module);
    free(o->version);
    for (size_t i = 0; i < o->n_files; i++)
        free(o->files[i].url);
    *o = (struct wire_offer){0};
}

static int read_file(const json_t *j, struct wire_offer *o, struct fail *f)
{
    const char *url = json_get_str(j, "url", NULL), *md5 = json_get_str(j, "md5", "");
    const char *sha256 = json_get_str(j, "sha256", "");
    struct wire_file *file = &o->files[o->n_files];

    if (!url)
        return fail(f, E_PROTO, "the offer has no url");
    file->size = json_get_int(j, "size", -1);
    if (file->size < 0)
        return fail(f, E_PROTO, "the offer has no size");
    if (!str_copy(file->md5, sizeof(file->md5), md5) || (*md5 && strlen(md5) != 32))
        return fail(f, E_PROTO, "the offer's md5 is not 32 digits");
    if (!str_copy(file->sha256, sizeof(file->sha256), sha256) || (*sha256 && strlen(sha256) != 64))
        return fail(f, E_PROTO, "the offer's sha256 is not 64 digits");
    file->url = xstrdup(url);
    o->n_files++;
    return 0;
}

static int read_upgrade(const json_t *params, struct wire_offer *o, struct fail *f)
{
    const json_t *files = json_object_get(params, "files"), *one;
    const char *version = json_get_str(params, "version", NULL);
    size_t i;

    if (!version)
        return fail(f, E_PROTO, "the offer has no version");
    o->version = xstrdup(version);
    if (!json_is_array(files))
        return read_file(params, o, f);
    if (json_array_size(files) == 0 || json_array_size(files) > WIRE_FILES_MAX)
        return fail(f, E_PROTO, "the offer has %zu files", json_array_size(files));
    json_array_foreach(files, i, one)
    {
        int rc = read_file(one, o, f);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int wire_offer_parse(const void *payload, size_t n, struct wire_offer *ret, struct fail *f)
{
    enum json_fault fault;
    struct fail where = {0};
    AUTO(json_free)
    json_t *j =
        json_parse((const char *)payload, n, OFFER_BYTES_MAX, OFFER_DEPTH_MAX, &fault, &where);

    *ret = (struct wire_offer){0};
    if (!j)
        return fail(f, E_PROTO, "the command is not JSON: %s", where.text);
    const char *method = json_get_str(j, "method", "");
    if (strcmp(method, "otaUpgrade") != 0)
        return fail(f, E_UNSUPPORTED, "the command is '%s', not otaUpgrade", method);
    const json_t *params = json_object_get(j, "params");
    if (!json_is_boolean(json_object_get(params, "upgrade")))
        return fail(f, E_PROTO, "the command does not say whether to upgrade");
    ret->upgrade = json_get_bool(params, "upgrade", false);
    ret->module = xstrdup(json_get_str(params, "module", "main"));
    ret->id = json_get_int(j, "id", 0);
    if (!ret->upgrade)
        return 0;
    int rc = read_upgrade(params, ret, f);
    if (rc < 0)
        wire_offer_done(ret);
    return rc;
}

const char *wire_file_differs(const struct wire_file *file, const struct digests *got)
{
    char md5[2 * MD5_SIZE + 1], sha256[2 * SHA256_SIZE + 1];

    hex_encode(got->md5, MD5_SIZE, md5);
    hex_encode(got->sha256, SHA256_SIZE, sha256);
    if ((int64_t)got->size != file->size)
        return "the size differs from the offer's";
    if (*file->md5 && strcmp(md5, file->md5) != 0)
        return "the md5 differs from the offer's";
    if (*file->sha256 && strcmp(sha256, file->sha256) != 0)
        return "the sha256 differs from the offer's";
    return NULL;
}

char *wire_report(const char *attribute, const char *version)
{
    struct sbuf b = {0};

    sbuf_str(&b, "{");
    json_add_string(&b, attribute);
    sbuf_str(&b, ":");
    json_add_string(&b, version);
    sbuf_str(&b, "}");
    return sbuf_take(&b);
}

char *wire_check(const char *event)
{
    struct sbuf b = {0};

    sbuf_str(&b, "{\"method\":");
    json_add_string(&b, event);
    sbuf_str(&b, ",\"params\":{}}");
    return sbuf_take(&b);
}

char *wire_reply(int64_t id, int result)
{
    struct sbuf b = {0};

    sbuf_fmt(&b, "{\"method\":\"otaUpgrade\",\"params\":{\"ota_result\":%d},\"id\":%lld}", result,
             (long long)id);
    return sbuf_take(&b);
}
