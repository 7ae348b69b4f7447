/*
 * ThingsCloud's MQTT device protocol, direct devices and gateways of one level. Its topics name no
 * device: who published is the word of the broker's plugin, and what is for a device (or for a
 * gateway, about one behind it) goes by the plugin's topic for it.
 * Payloads are EZtCloud's. README.md in this folder names the documents. Pure.
 */
#include "thingscloud.h"

#include <inttypes.h>

#define REF_MAX 64

static const char *const filters[] = {
    "attributes", /* attributes/series comes by EZtCloud's attributes/+: not twice */
    "attributes/get/+",
    "event/report/+",
    "command/reply/+",
    "gateway/connect",
    "gateway/disconnect",
    "gateway/attributes",
    "gateway/attributes/series",
    "gateway/attributes/get",
    "gateway/event/report",
    "gateway/command/reply",
    NULL,
};

static const struct topic {
    struct str topic; /* with a slash at its end: a segment follows */
    enum eztcloud_topic is;
    enum address_form form;
    bool series;
} topics[] = {
    {STR("event/report/"), TOPIC_EVENT_REPORT, FORM_DIRECT, false},
    {STR("attributes"), TOPIC_ATTRIBUTES, FORM_DIRECT, false},
    {STR("command/reply/"), TOPIC_COMMAND_REPLY, FORM_DIRECT, false},
    {STR("attributes/get/"), TOPIC_ATTRIBUTES_GET, FORM_DIRECT, false},
    {STR("gateway/event/report"), TOPIC_EVENT_REPORT, FORM_GATEWAY, false},
    {STR("gateway/attributes"), TOPIC_ATTRIBUTES, FORM_GATEWAY, false},
    {STR("gateway/command/reply"), TOPIC_COMMAND_REPLY, FORM_GATEWAY, false},
    {STR("gateway/attributes/get"), TOPIC_ATTRIBUTES_GET, FORM_GATEWAY, false},
    {STR("attributes/series"), TOPIC_ATTRIBUTES, FORM_DIRECT, true},
    {STR("gateway/attributes/series"), TOPIC_ATTRIBUTES, FORM_GATEWAY, true},
    {STR("gateway/connect"), TOPIC_CONNECT, FORM_GATEWAY, false},
    {STR("gateway/disconnect"), TOPIC_DISCONNECT, FORM_GATEWAY, false},
};

/* The row of a topic, and what stands in its place for the device's own name of the message. */
static const struct topic *topic_parse(const char *topic, struct str *ret_ref)
{
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        struct str prefix = topics[i].topic;
        bool more = prefix.p[prefix.n - 1] == '/';

        if (strncmp(topic, prefix.p, prefix.n) != 0)
            continue;
        *ret_ref = str_of(topic + prefix.n);
        if (more ? ret_ref->n == 0 || memchr(ret_ref->p, '/', ret_ref->n) : ret_ref->n > 0)
            continue;
        return &topics[i];
    }
    return NULL;
}

static int decode(const struct dialect_in *in, struct arena *a, struct device_events *ret,
                  enum metric *ret_refused)
{
    struct device_event from = {.form = FORM_DIRECT};
    const struct topic *topic = topic_parse(in->topic, &from.ref);

    *ret = (struct device_events){0};
    if (!topic)
        return E_NOTFOUND;
    if (!in->user || !*in->user)
        return eztcloud_refuse(ret_refused, M_BAD_IDENTITY);
    if (from.ref.n > REF_MAX)
        return eztcloud_refuse(ret_refused, M_BAD_LENGTH);
    from.device = str_of(in->user);
    if (topic->series) {
        from.form = topic->form;
        return thingscloud_decode_series(in, &from, a, ret, ret_refused);
    }
    if (topic->form != FORM_DIRECT)
        return eztcloud_decode_gateway(topic->is, topic->form, in, a, from.device, ret,
                                       ret_refused);
    return eztcloud_decode_direct(topic->is, in, a, &from, ret, ret_refused);
}

static const char *topic_of(const struct device_command *cmd, struct arena *a)
{
    int device_n = (int)cmd->device.n, ref_n = (int)cmd->ref.n;
    const char *device = cmd->device.p, *ref = cmd->ref.p;

    switch (cmd->kind) {
    case COMMAND_OFFER:
    case COMMAND_NOTHING:
    case COMMAND_SEND:
        return arena_printf(a, "otad/to/%.*s/command/send/%" PRId64, device_n, device, cmd->id);
    case COMMAND_PUSH_ATTRIBUTES:
        return arena_printf(a, "otad/to/%.*s/attributes/push", device_n, device);
    case COMMAND_ATTRIBUTES:
        return arena_printf(a, "otad/to/%.*s/attributes/get/response/%.*s", device_n, device, ref_n,
                            ref ? ref : "");
    case COMMAND_REPORT_RESPONSE:
        return arena_printf(a, "otad/to/%.*s/attributes/%sresponse", device_n, device,
                            cmd->series ? "series/" : "");
    case COMMAND_METHOD_RESPONSE:
        return arena_printf(a, "otad/to/%.*s/event/response/%.*s", device_n, device, ref_n,
                            ref ? ref : "");
    case COMMAND_REPLY_RESPONSE:
        return arena_printf(a, "otad/to/%.*s/command/reply/response/%.*s", device_n, device, ref_n,
                            ref ? ref : "");
    }
    return NULL;
}

static const char *gateway_topic_of(const struct device_command *cmd)
{
    switch (cmd->kind) {
    case COMMAND_OFFER:
    case COMMAND_NOTHING:
    case COMMAND_SEND:
        return "command/send";
    case COMMAND_PUSH_ATTRIBUTES:
        return "attributes/push";
    case COMMAND_ATTRIBUTES:
        return "attributes/get/response";
    case COMMAND_REPORT_RESPONSE:
        return cmd->series ? "attributes/series/response" : "attributes/response";
    case COMMAND_METHOD_RESPONSE:
        return "event/response";
    case COMMAND_REPLY_RESPONSE:
        break; /* no document has a word for it */
    }
    return NULL;
}

static int encode_behind(const struct device_command *cmd, struct arena *a, struct dialect_out *ret)
{
    struct device_command one = *cmd;
    const char *topic = gateway_topic_of(cmd);

    if (cmd->n_path > 1 || !topic)
        return E_UNSUPPORTED; /* there is no word for what lies deeper */
    /* Noted in another protocol: here a device is one word, unless this very question had a list.
     */
    one.as_list = cmd->form == FORM_GATEWAY && cmd->as_list;
    ret->topic =
        arena_printf(a, "otad/to/%.*s/gateway/%s", (int)cmd->device.n, cmd->device.p, topic);
    ret->payload = eztcloud_encode_payload(&one, a);
    return 0;
}

static int encode(const struct device_command *cmd, struct arena *a, struct dialect_out *ret)
{
    if (cmd->form != FORM_DIRECT)
        return encode_behind(cmd, a, ret);
    ret->topic = topic_of(cmd, a);
    if (!ret->topic)
        return E_UNSUPPORTED;
    ret->payload = eztcloud_encode_payload(cmd, a);
    return 0;
}

const struct dialect dialect_thingscloud = {
    .name = "thingscloud",
    .filters = filters,
    .decode = decode,
    .encode = encode,
};
