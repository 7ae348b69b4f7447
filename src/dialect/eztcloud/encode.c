/*
 * Commands to the bytes that EZtCloud devices expect. Pure. The members of otaUpgrade and their
 * order are those of the platform's document; `sha256` and, for several files, `files` are added
 * at the end of params. The text is put together by hand: it is the hot path.
 */
#include "eztcloud.h"

#include <inttypes.h>

static void file_members(struct sbuf *b, const struct offer_file *f)
{
    sbuf_str(b, "\"url\":");
    json_add_string(b, f->url);
    sbuf_fmt(b, ",\"size\":%" PRIu64 ",\"md5\":\"%s\",\"sha256\":\"%s\"", f->size, f->md5,
             f->sha256);
}

static void ota_upgrade(struct sbuf *b, const struct device_command *cmd)
{
    sbuf_str(b, "{\"method\":\"otaUpgrade\",\"params\":{\"module\":");
    json_add_string(b, cmd->module);
    if (cmd->kind == COMMAND_OFFER) {
        sbuf_str(b, ",\"upgrade\":true,\"version\":");
        json_add_string(b, cmd->version);
        sbuf_str(b, ",");
        file_members(b, &cmd->files[0]);
        if (cmd->n_files > 1) {
            sbuf_str(b, ",\"files\":[");
            for (size_t i = 0; i < cmd->n_files; i++) {
                sbuf_str(b, i ? ",{\"name\":" : "{\"name\":");
                json_add_string(b, cmd->files[i].name);
                sbuf_str(b, ",");
                file_members(b, &cmd->files[i]);
                sbuf_str(b, "}");
            }
            sbuf_str(b, "]");
        }
    } else {
        sbuf_str(b, ",\"upgrade\":false");
    }
    sbuf_str(b, "},\"command_name\":");
    json_add_string(b, cmd->command_name);
    sbuf_fmt(b, ",\"id\":%" PRId64 "}", cmd->id);
}

static void response(struct sbuf *b, const struct device_command *cmd)
{
    /* attributes_get_response says "" where the others say "OK" */
    bool get = cmd->kind == COMMAND_ATTRIBUTES;
    sbuf_fmt(b, "{\"error_code\":%d,\"error_msg\":", cmd->error_code);
    json_add_string(b, cmd->error_text ? cmd->error_text : get ? "" : "OK");
    if (get) {
        sbuf_str(b, ",\"attributes\":");
        json_add_text(b, cmd->attributes);
    }
    sbuf_fmt(b, ",\"ts\":%" PRId64 "}", cmd->now_ms);
}

static const char *prefix_of(enum command_kind kind)
{
    switch (kind) {
    case COMMAND_OFFER:
    case COMMAND_NOTHING:
        return "command_send/";
    case COMMAND_ATTRIBUTES:
        return "attributes_get_response/";
    case COMMAND_REPORT_RESPONSE:
        return "attributes_response/";
    case COMMAND_METHOD_RESPONSE:
        return "event_response/";
    }
    return NULL;
}

struct str eztcloud_encode_payload(const struct device_command *cmd, struct arena *a)
{
    struct sbuf b = {0};

    if (cmd->kind == COMMAND_OFFER || cmd->kind == COMMAND_NOTHING)
        ota_upgrade(&b, cmd);
    else
        response(&b, cmd);
    struct str text = {arena_strndup(a, b.p, b.n), b.n};
    sbuf_done(&b);
    return text;
}

int eztcloud_encode(const struct device_command *cmd, struct arena *a, struct dialect_out *ret)
{
    const char *prefix = prefix_of(cmd->kind);

    if (!prefix)
        return E_UNSUPPORTED;
    size_t n = strlen(prefix);
    char *topic = arena_alloc(a, n + cmd->device.n + 1);
    memcpy(topic, prefix, n);
    memcpy(topic + n, cmd->device.p, cmd->device.n);
    ret->topic = topic;
    ret->payload = eztcloud_encode_payload(cmd, a);
    return 0;
}
