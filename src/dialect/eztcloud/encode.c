/*
 * Commands to the bytes that EZtCloud devices expect. Pure. The members of otaUpgrade and their
 * order are those of the platform's document; `sha256` and, for several files, `files` are added
 * at the end of params. The text is put together by hand: it is the hot path.
 */
#include "eztcloud.h"

#include <inttypes.h>

static void id_and_end(struct sbuf *b, const struct device_command *cmd)
{
    sbuf_str(b, ",\"id\":");
    sbuf_int(b, cmd->id);
    sbuf_str(b, "}");
}

static void file_members(struct sbuf *b, const struct offer_file *f)
{
    sbuf_str(b, "\"url\":");
    json_add_string(b, f->url);
    sbuf_str(b, ",\"size\":");
    sbuf_int(b, (int64_t)f->size);
    sbuf_str(b, ",\"md5\":\"");
    sbuf_str(b, f->md5);
    sbuf_str(b, "\",\"sha256\":\"");
    sbuf_str(b, f->sha256);
    sbuf_str(b, "\"");
}

/* ---- the wrapping of what goes to a device behind a gateway ---- */
static void device_member(struct sbuf *b, const struct device_command *cmd)
{
    sbuf_str(b, cmd->as_list ? "\"device\":[" : "\"device\":");
    for (size_t i = 0; i < cmd->n_path; i++) {
        if (i)
            sbuf_str(b, ",");
        json_add_string(b, cmd->path[i]);
    }
    if (cmd->as_list)
        sbuf_str(b, "]");
}

static bool is_behind(const struct device_command *cmd)
{
    return cmd->form != FORM_DIRECT && cmd->n_path > 0;
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
    id_and_end(b, cmd);
}

static void any_command(struct sbuf *b, const struct device_command *cmd)
{
    sbuf_str(b, "{\"method\":");
    json_add_string(b, cmd->method);
    sbuf_str(b, ",\"params\":");
    if (cmd->params)
        json_add_text(b, cmd->params);
    else
        sbuf_str(b, "{}");
    id_and_end(b, cmd);
}

static void inner_command(struct sbuf *b, const struct device_command *cmd)
{
    if (cmd->kind == COMMAND_SEND)
        any_command(b, cmd);
    else
        ota_upgrade(b, cmd);
}

/* The platform's text has the id inside of `command`, its servers send it outside: so both. */
static void command(struct sbuf *b, const struct device_command *cmd)
{
    if (!is_behind(cmd)) {
        inner_command(b, cmd);
        return;
    }
    sbuf_str(b, "{");
    device_member(b, cmd);
    sbuf_str(b, ",\"command\":");
    inner_command(b, cmd);
    id_and_end(b, cmd);
}

static void response(struct sbuf *b, const struct device_command *cmd)
{
    /* attributes_get_response says "" where the others say "OK" */
    bool get = cmd->kind == COMMAND_ATTRIBUTES;
    sbuf_str(b, "{");
    if (is_behind(cmd)) {
        device_member(b, cmd);
        sbuf_str(b, ",");
    }
    sbuf_fmt(b, "\"error_code\":%d,\"error_msg\":", cmd->error_code);
    json_add_string(b, cmd->error_text ? cmd->error_text : get ? "" : "OK");
    if (get) {
        sbuf_str(b, ",\"attributes\":");
        json_add_text(b, cmd->attributes);
    }
    sbuf_fmt(b, ",\"ts\":%" PRId64 "}", cmd->now_ms);
}

static void push(struct sbuf *b, const struct device_command *cmd)
{
    if (!is_behind(cmd)) {
        json_add_text(b, cmd->attributes);
        return;
    }
    sbuf_str(b, "{");
    device_member(b, cmd);
    sbuf_str(b, ",\"attributes\":");
    json_add_text(b, cmd->attributes);
    sbuf_str(b, "}");
}

static void payload(struct sbuf *b, const struct device_command *cmd)
{
    switch (cmd->kind) {
    case COMMAND_OFFER:
    case COMMAND_NOTHING:
    case COMMAND_SEND:
        command(b, cmd);
        break;
    case COMMAND_PUSH_ATTRIBUTES:
        push(b, cmd);
        break;
    case COMMAND_ATTRIBUTES:
    case COMMAND_REPORT_RESPONSE:
    case COMMAND_METHOD_RESPONSE:
    case COMMAND_REPLY_RESPONSE:
        response(b, cmd);
        break;
    }
}

static const char *prefix_of(enum command_kind kind)
{
    switch (kind) {
    case COMMAND_OFFER:
    case COMMAND_NOTHING:
    case COMMAND_SEND:
        return "command_send/";
    case COMMAND_PUSH_ATTRIBUTES:
        return "attributes_push/";
    case COMMAND_ATTRIBUTES:
        return "attributes_get_response/";
    case COMMAND_REPORT_RESPONSE:
        return "attributes_response/";
    case COMMAND_METHOD_RESPONSE:
        return "event_response/";
    case COMMAND_REPLY_RESPONSE:
        break; /* the protocol has none */
    }
    return NULL;
}

struct str eztcloud_encode_payload(const struct device_command *cmd, struct arena *a)
{
    struct sbuf b = {0};

    payload(&b, cmd);
    struct str text = {arena_strndup(a, b.p, b.n), b.n};
    sbuf_done(&b);
    return text;
}

int eztcloud_encode(const struct device_command *cmd, struct arena *a, struct dialect_out *ret)
{
    static const char *const forms[] = {
        [FORM_DIRECT] = "", [FORM_GATEWAY] = "gateway_", [FORM_SUB] = "sub_"};
    const char *form = forms[cmd->form], *prefix = prefix_of(cmd->kind);

    if (!prefix)
        return E_UNSUPPORTED;
    ret->topic = arena_printf(a, "%s%s%.*s", form, prefix, (int)cmd->device.n, cmd->device.p);
    ret->payload = eztcloud_encode_payload(cmd, a);
    return 0;
}
