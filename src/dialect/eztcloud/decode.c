/*
 * Bytes of EZtCloud devices to events; what gateways wrap around them is in behind.c. Pure. Unknown
 * members are ignored, as the platform does; members that carry meaning must have the right type,
 * else the message is refused and counted.
 */
#include "eztcloud.h"

static const struct {
    struct str prefix;
    enum eztcloud_topic topic;
} topics[] = {
    {STR("event_report/"), TOPIC_EVENT_REPORT},
    {STR("attributes/"), TOPIC_ATTRIBUTES},
    {STR("command_reply/"), TOPIC_COMMAND_REPLY},
    {STR("attributes_get/"), TOPIC_ATTRIBUTES_GET},
    {STR("connect/"), TOPIC_CONNECT}, /* this one and the next: of gateways alone */
    {STR("disconnect/"), TOPIC_DISCONNECT},
};
static const struct {
    struct str prefix;
    enum address_form form;
} forms[] = {
    {STR("gateway_"), FORM_GATEWAY},
    {STR("sub_"), FORM_SUB},
};

int eztcloud_refuse(enum metric *ret_refused, enum metric why)
{
    *ret_refused = why;
    return E_PROTO;
}

static bool starts_with(const char *s, struct str prefix)
{
    return strncmp(s, prefix.p, prefix.n) == 0;
}

static int topic_parse(const char *topic, enum eztcloud_topic *ret, enum address_form *ret_form,
                       struct str *ret_device)
{
    *ret_form = FORM_DIRECT;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (starts_with(topic, forms[i].prefix)) {
            topic += forms[i].prefix.n;
            *ret_form = forms[i].form;
            break;
        }
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        if (!starts_with(topic, topics[i].prefix))
            continue;
        if (*ret_form == FORM_DIRECT && topics[i].topic >= TOPIC_CONNECT)
            return E_NOTFOUND;
        const char *device = topic + topics[i].prefix.n;
        size_t n = strlen(device);
        if (n == 0 || memchr(device, '/', n))
            return E_NOTFOUND;
        *ret = topics[i].topic;
        *ret_device = (struct str){device, n};
        return 0;
    }
    return E_NOTFOUND;
}

static enum metric metric_of(enum json_fault fault)
{
    switch (fault) {
    case JSON_FAULT_DUPLICATE_KEY:
        return M_BAD_DUPLICATE_KEY;
    case JSON_FAULT_TOO_DEEP:
        return M_BAD_DEPTH;
    case JSON_FAULT_TOO_LONG:
        return M_BAD_LENGTH;
    case JSON_FAULT_SYNTAX:
    case JSON_OK:
        break;
    }
    return M_BAD_JSON;
}

/* Some firmwares write ids and results as 1.0 or "1". */
bool eztcloud_whole_number(const json_t *j, int64_t *ret)
{
    if (json_is_integer(j)) {
        *ret = json_integer_value(j);
        return true;
    }
    if (json_is_real(j)) {
        double d = json_real_value(j);
        if (d < -9e15 || d > 9e15 || d != (double)(int64_t)d)
            return false;
        *ret = (int64_t)d;
        return true;
    }
    return json_is_string(j) && num_parse(json_string_value(j), INT64_MIN, INT64_MAX, ret) == 0;
}

static bool name_ok(const json_t *j)
{
    size_t n = json_string_length(j);
    return json_is_string(j) && n >= 1 && n <= DIALECT_NAME_MAX &&
           str_is_text(json_string_value(j), n);
}

static int decode_get(struct arena *a, struct device_event *ev, json_t *in,
                      enum metric *ret_refused)
{
    ev->kind = EVENT_ATTRIBUTES_GET;
    json_t *keys = json_object_get(in, "keys");
    if (!keys || json_is_null(keys))
        return 0;
    if (!json_is_array(keys))
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    size_t n = json_array_size(keys);
    if (n > 256)
        return eztcloud_refuse(ret_refused, M_BAD_LENGTH);
    ev->keys = arena_alloc(a, n * sizeof(*ev->keys) + 1);
    for (size_t i = 0; i < n; i++) {
        const json_t *key = json_array_get(keys, i);
        if (!json_is_string(key))
            return eztcloud_refuse(ret_refused, M_BAD_TYPE);
        ev->keys[ev->n_keys++] = json_string_value(key);
    }
    return 0;
}

static int decode_event(struct device_event *ev, json_t *in, enum metric *ret_refused)
{
    const json_t *method = json_object_get(in, "method");
    json_t *params = json_object_get(in, "params");

    ev->kind = EVENT_METHOD;
    if (!name_ok(method))
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    if (params && !json_is_null(params) && !json_is_object(params))
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    ev->method = json_string_value(method);
    ev->body = json_is_object(params) ? params : NULL;
    ev->has_id = eztcloud_whole_number(json_object_get(in, "id"), &ev->id);
    return 0;
}

/* What LuatOS and ThingsCloud demos send: ota_result 0 when the firmware was taken, ota_dl_result
 * 0 when it was downloaded; 1 connection failed, 3 receive error, 4 other. */
static int decode_result(struct arena *a, struct device_event *ev, const json_t *params,
                         enum metric *ret_refused)
{
    static const char *const words[] = {NULL, "connecting failed", NULL, "receiving failed",
                                        "another error"};
    const json_t *install = json_object_get(params, "ota_result");
    const json_t *load = json_object_get(params, "ota_dl_result");
    int64_t code;

    if (!install && !load)
        return 0;
    if (!eztcloud_whole_number(install ? install : load, &code))
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    if (code == 0) {
        ev->result = install ? REPLY_INSTALLED : REPLY_DOWNLOADED;
        return 0;
    }
    ev->result = REPLY_FAILED;
    const char *word = code > 0 && code < (int64_t)ARRAY_LEN(words) ? words[code] : NULL;
    ev->text =
        arena_printf(a, "the device reports %s %lld%s%s", install ? "ota_result" : "ota_dl_result",
                     (long long)code, word ? ": " : "", word ? word : "");
    return 0;
}

/* outer: what the command is wrapped in; the id may stand there. */
static int decode_reply(struct arena *a, struct device_event *ev, const json_t *in,
                        const json_t *outer, enum metric *ret_refused)
{
    const json_t *method = json_object_get(in, "method");
    json_t *params = json_object_get(in, "params");
    const json_t *id = json_object_get(in, "id");

    ev->kind = EVENT_REPLY;
    if (!id || json_is_null(id))
        id = json_object_get(outer, "id");
    if (method && !json_is_null(method) && !name_ok(method))
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    if (params && !json_is_null(params) && !json_is_object(params))
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    ev->method = json_string_value(method);
    ev->body = json_is_object(params) ? params : NULL;
    if (id && !json_is_null(id)) {
        if (!eztcloud_whole_number(id, &ev->id))
            return eztcloud_refuse(ret_refused, M_BAD_TYPE);
        ev->has_id = true;
    }
    return decode_result(a, ev, params, ret_refused);
}

int eztcloud_decode_one(struct arena *a, struct device_event *ev, enum eztcloud_topic topic,
                        json_t *in, const json_t *outer, enum metric *ret_refused)
{
    switch (topic) {
    case TOPIC_ATTRIBUTES:
        ev->kind = EVENT_REPORT;
        ev->body = in;
        return 0;
    case TOPIC_ATTRIBUTES_GET:
        return decode_get(a, ev, in, ret_refused);
    case TOPIC_EVENT_REPORT:
        return decode_event(ev, in, ret_refused);
    case TOPIC_COMMAND_REPLY:
        return decode_reply(a, ev, in, outer, ret_refused);
    case TOPIC_CONNECT:
        ev->kind = EVENT_ONLINE;
        return 0;
    case TOPIC_DISCONNECT:
        ev->kind = EVENT_OFFLINE;
        return 0;
    }
    return E_NOTFOUND;
}

int eztcloud_parse(const struct dialect_in *in, unsigned depth, json_t **ret,
                   enum metric *ret_refused)
{
    enum json_fault fault;

    *ret = json_parse_big(in->payload, in->n, DIALECT_PAYLOAD_MAX, depth, &fault, NULL);
    return *ret ? 0 : eztcloud_refuse(ret_refused, metric_of(fault));
}

int eztcloud_decode_direct(enum eztcloud_topic topic, const struct dialect_in *in, struct arena *a,
                           const struct device_event *from, struct device_events *ret,
                           enum metric *ret_refused)
{
    int rc = eztcloud_parse(in, DIALECT_DEPTH_MAX, &ret->root, ret_refused);

    if (rc < 0)
        return rc;
    if (!json_is_object(ret->root))
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    ret->list = arena_alloc(a, sizeof(*ret->list));
    ret->list[0] = *from;
    ret->n = 1;
    return eztcloud_decode_one(a, &ret->list[0], topic, ret->root, NULL, ret_refused);
}

int eztcloud_decode_gateway(enum eztcloud_topic topic, enum address_form form,
                            const struct dialect_in *in, struct arena *a, struct str gateway,
                            struct device_events *ret, enum metric *ret_refused)
{
    bool tree = form == FORM_SUB && topic == TOPIC_ATTRIBUTES;
    int rc = eztcloud_parse(in, tree ? DIALECT_TREE_DEPTH_MAX : DIALECT_DEPTH_MAX, &ret->root,
                            ret_refused);

    if (rc < 0)
        return rc;
    if (!json_is_object(ret->root) && !tree)
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    return eztcloud_decode_behind(a, ret, topic, form, gateway, ret_refused);
}

int eztcloud_decode(const struct dialect_in *in, struct arena *a, struct device_events *ret,
                    enum metric *ret_refused)
{
    enum eztcloud_topic t;
    enum address_form form;
    struct str device;

    *ret = (struct device_events){0};
    if (topic_parse(in->topic, &t, &form, &device) < 0)
        return E_NOTFOUND;
    /* attributes/series is of a device of that name alone. */
    if (in->user && !str_eq(device, in->user))
        return E_NOTFOUND;
    if (form == FORM_DIRECT) {
        struct device_event from = {.device = device};
        return eztcloud_decode_direct(t, in, a, &from, ret, ret_refused);
    }
    return eztcloud_decode_gateway(t, form, in, a, device, ret, ret_refused);
}
