/*
 * From an update to the command that offers it: links, digests, names. The link's last segment is
 * only for people and for clients that look at the ending, so it is cut to keep the offer of one
 * file under 480 bytes, which is what small devices have buffers for, and so that ThingsCloud's SDK
 * for ESP can parse it: into a document of 512 bytes that has a slot for each member, and copies of
 * all names and texts.
 */
#include "core_priv.h"

#include <ctype.h>

#define OFFER_MAX     479
#define OFFER_FIXED   286 /* otaUpgrade of one file without module, version, base, names */
#define LINK_NAME_MIN 5   /* "x.bin" */
#define LINK_NAME_MAX 24
#define DOC_MAX       512
#define DOC_FIXED     394 /* 11 slots of 16, names, texts but those; each text with its NUL */
#define BEHIND_FIXED                                                                               \
    (sizeof("{\"device\":[],\"command\":,\"id\":2147483647}") - 1) /* a gateway's wrapping */

/* What names the device behind a gateway, and the gateway's wrapping. */
static size_t behind_size(const struct device_command *cmd)
{
    struct sbuf b = {.p = NULL};

    if (cmd->form == FORM_DIRECT || cmd->n_path == 0)
        return 0;
    for (size_t i = 0; i < cmd->n_path; i++) {
        sbuf_str(&b, i ? "," : "");
        json_add_string(&b, cmd->path[i]);
    }
    size_t n = b.n;
    sbuf_done(&b);
    return BEHIND_FIXED + n;
}

static size_t room_in(size_t max, size_t used, size_t most)
{
    if (used + LINK_NAME_MIN >= max)
        return LINK_NAME_MIN;
    return max - used < most ? max - used : most;
}

static size_t link_name_room(const struct engine *x, const struct update *u, const char *base,
                             const struct device_command *cmd)
{
    size_t texts = strlen(u->module) + strlen(u->to_version) + strlen(base) +
                   strlen(x->conf->ota_command_name);
    size_t behind = behind_size(cmd), room = LINK_NAME_MAX;

    room = room_in(OFFER_MAX, OFFER_FIXED + texts + behind, room);
    /* The wrapping for a gateway leaves no room in such a document: that needs a larger one. */
    return behind ? room : room_in(DOC_MAX, DOC_FIXED + texts, room);
}

/* The file's name with all but harmless characters replaced, its end kept when it is too long. */
static const char *link_name(struct arena *a, const char *name, size_t room)
{
    size_t n = strlen(name);
    char *out = arena_strdup(a, n > room ? name + (n - room) : name);
    for (char *p = out; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            *p = '_';
    if (*out == '.')
        *out = '_';
    return *out ? out : "f.bin";
}

static const char *hex(struct arena *a, const uint8_t *p, size_t n)
{
    char *out = arena_alloc(a, 2 * n + 1);
    hex_encode(p, n, out);
    return out;
}

int offer_command(struct engine *x, const struct update *u, struct device_command *ret)
{
    const struct firmware *fw = catalog_firmware(x->catalog, u->firmware_id);
    struct offer_file *files;

    if (!fw || fw->n_files == 0)
        return E_NOTFOUND;
    const char *base = fw->use_https && *x->conf->http_public_https_url
                           ? x->conf->http_public_https_url
                           : x->conf->http_public_url;
    size_t room = link_name_room(x, u, base, ret);
    files = arena_alloc(x->arena, fw->n_files * sizeof(*files));
    for (size_t i = 0; i < fw->n_files; i++) {
        const struct firmware_file *f = &fw->files[i];
        char token[LINK_TOKEN_MAX];
        link_make(x->link_key, u->id, (int)i + 1, u->link_until, token);
        files[i].name = f->name;
        files[i].url =
            arena_printf(x->arena, "%s/d/%s/%s", base, token, link_name(x->arena, f->name, room));
        files[i].size = f->digests.size;
        files[i].md5 = hex(x->arena, f->digests.md5, MD5_SIZE);
        files[i].sha256 = hex(x->arena, f->digests.sha256, SHA256_SIZE);
    }
    ret->kind = COMMAND_OFFER;
    ret->module = u->module;
    ret->version = u->to_version;
    ret->id = u->id;
    ret->files = files;
    ret->n_files = fw->n_files;
    ret->command_name = x->conf->ota_command_name;
    return 0;
}
