/*
 * ThingsCloud's MQTT device protocol, direct devices. Its topics name no device: who published is
 * the word of the broker's plugin, and what is for a device goes by the plugin's topic for it.
 * Payloads are EZtCloud's. README.md in this folder names the documents. Pure.
 */
#include "../eztcloud/eztcloud.h"

#include <inttypes.h>

#define REF_MAX 64

static const char *const filters[] = {
    "attributes", "attributes/get/+", "event/report/+", "command/reply/+", NULL,
};

static const struct {
    struct str topic; /* with a slash at its end: a segment follows */
    enum eztcloud_topic is;
} topics[] = {
    {STR("event/report/"), TOPIC_EVENT_REPORT},
    {STR("attributes"), TOPIC_ATTRIBUTES},
    {STR("command/reply/"), TOPIC_COMMAND_REPLY},
    {STR("attributes/get/"), TOPIC_ATTRIBUTES_GET},
};

static int topic_parse(const char *topic, enum eztcloud_topic *ret, struct str *ret_ref)
{
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        struct str prefix = topics[i].topic;
        bool more = prefix.p[prefix.n - 1] == '/';

        if (strncmp(topic, prefix.p, prefix.n) != 0)
            continue;
        *ret_ref = str_of(topic + prefix.n);
        if (more ? ret_ref->n == 0 || memchr(ret_ref->p, '/', ret_ref->n) : ret_ref->n > 0)
            continue;
        *ret = topics[i].is;
        return 0;
    }
    return E_NOTFOUND;
}

static int decode(const struct dialect_in *in, struct arena *a, struct device_events *ret,
                  enum metric *ret_refused)
{
    struct device_event from = {.form = FORM_DIRECT};
    enum eztcloud_topic topic;

    *ret = (struct device_events){0};
    if (topic_parse(in->topic, &topic, &from.ref) < 0)
        return E_NOTFOUND;
    if (!in->user || !*in->user)
        return eztcloud_refuse(ret_refused, M_BAD_IDENTITY);
    if (from.ref.n > REF_MAX)
        return eztcloud_refuse(ret_refused, M_BAD_LENGTH);
    from.device = str_of(in->user);
    return eztcloud_decode_direct(topic, in, a, &from, ret, ret_refused);
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
        return arena_printf(a, "otad/to/%.*s/attributes/response", device_n, device);
    case COMMAND_METHOD_RESPONSE:
        return arena_printf(a, "otad/to/%.*s/event/response/%.*s", device_n, device, ref_n,
                            ref ? ref : "");
    }
    return NULL;
}

static int encode(const struct device_command *cmd, struct arena *a, struct dialect_out *ret)
{
    if (cmd->form != FORM_DIRECT)
        return E_UNSUPPORTED;
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
