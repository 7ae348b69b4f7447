/*
 * Devices with fixed topics of their own: a device type says which of the EZtCloud protocol's
 * topics each stands for, and where in the payload things are. The serial number in the topic says
 * who it is. README.md in this folder has the rules. Pure.
 */
#include "../eztcloud/eztcloud.h"

#define TEXT_VALUE_MAX 255

static const char *const no_filters[] = {NULL}; /* they come from the catalog */

/* ---- up ---- */

static enum eztcloud_topic topic_of(enum topic_as as)
{
    switch (as) {
    case AS_ATTRIBUTES_GET:
        return TOPIC_ATTRIBUTES_GET;
    case AS_EVENT_REPORT:
        return TOPIC_EVENT_REPORT;
    case AS_COMMAND_REPLY:
        return TOPIC_COMMAND_REPLY;
    case AS_ATTRIBUTES:
    case AS_COMMAND_SEND:
    case AS_ATTRIBUTES_PUSH:
    case AS_ATTRIBUTES_GET_RESPONSE:
    case AS_ATTRIBUTES_RESPONSE:
    case AS_EVENT_RESPONSE:
    case TOPIC_AS__COUNT:
        break;
    }
    return TOPIC_ATTRIBUTES;
}

/* The fields that are there, under their new names; NULL: none of them is. New reference. */
static json_t *pick(const struct type_topic *t, const json_t *root)
{
    json_t *picked = json_object();

    for (size_t i = 0; i < t->n_fields; i++) {
        json_t *value = json_path_get(root, t->fields[i].path);
        if (value)
            json_object_set(picked, t->fields[i].name, value);
    }
    if (json_object_size(picked) > 0)
        return picked;
    json_decref(picked);
    return NULL;
}

static void move(json_t *from, json_t *to, const char *name)
{
    json_t *value = json_object_get(from, name);

    if (value)
        json_object_set(to, name, value);
    json_object_del(from, name);
}

/* What the EZtCloud protocol would have sent. Takes fields. */
static json_t *wrap(const struct type_topic *t, json_t *fields)
{
    json_t *out;

    if (t->as == AS_ATTRIBUTES)
        return fields;
    out = json_object();
    if (t->as == AS_EVENT_REPORT) {
        json_object_set_new(out, "method", json_string(t->event));
    } else {
        move(fields, out, "id");
        move(fields, out, "method");
    }
    json_object_set_new(out, "params", fields);
    return out;
}

static int take_fields(const struct dialect_in *in, json_t **ret, enum metric *ret_refused)
{
    AUTO(json_free) json_t *root = NULL;
    int rc = eztcloud_parse(in, DIALECT_DEPTH_MAX, &root, ret_refused);

    if (rc < 0)
        return rc;
    json_t *fields = pick(in->map, root);
    if (!fields)
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    *ret = wrap(in->map, fields);
    return 0;
}

/* Its name is settled: the payload is its params when it can be, and nothing otherwise. */
static json_t *constant_event(const struct dialect_in *in)
{
    enum metric ignored;
    json_t *params = NULL;

    if (eztcloud_parse(in, DIALECT_DEPTH_MAX, &params, &ignored) < 0 || !json_is_object(params)) {
        json_decref(params);
        params = json_object();
    }
    return wrap(in->map, params);
}

static int take_text(const struct dialect_in *in, json_t **ret, enum metric *ret_refused)
{
    const char *p = in->payload;
    size_t n = in->n;

    while (n > 0 && (unsigned char)p[n - 1] <= ' ') /* line ends, and the NUL of C strings */
        n--;
    while (n > 0 && (unsigned char)*p <= ' ')
        p++, n--;
    if (n > TEXT_VALUE_MAX)
        return eztcloud_refuse(ret_refused, M_BAD_LENGTH);
    if (n == 0 || !str_is_text(p, n))
        return eztcloud_refuse(ret_refused, M_BAD_TYPE);
    *ret = json_object();
    json_object_set_new(*ret, in->map->text, json_stringn(p, n));
    return 0;
}

static int decode(const struct dialect_in *in, struct arena *a, struct device_events *ret,
                  enum metric *ret_refused)
{
    const struct type_topic *t = in->map;
    int rc = 0;

    *ret = (struct device_events){0};
    if (!t || topic_is_down(t->as))
        return E_NOTFOUND;
    struct device_event from = {.form = FORM_DIRECT,
                                .device = in->sn,
                                .sn = in->sn,
                                .type_id = t->type_id,
                                .user = in->user};
    if (t->text)
        rc = take_text(in, &ret->root, ret_refused);
    else if (t->n_fields > 0)
        rc = take_fields(in, &ret->root, ret_refused);
    else if (t->event)
        ret->root = constant_event(in);
    else
        return eztcloud_decode_direct(topic_of(t->as), in, a, &from, ret, ret_refused);
    if (rc < 0)
        return rc;
    ret->list = arena_alloc(a, sizeof(*ret->list));
    ret->list[0] = from;
    ret->n = 1;
    return eztcloud_decode_one(a, &ret->list[0], topic_of(t->as), ret->root, NULL, ret_refused);
}

/* ---- down ---- */

static enum topic_as as_of(enum command_kind kind)
{
    switch (kind) {
    case COMMAND_OFFER:
    case COMMAND_NOTHING:
    case COMMAND_SEND:
    case COMMAND_REPLY_RESPONSE: /* find() stops before */
        break;
    case COMMAND_PUSH_ATTRIBUTES:
        return AS_ATTRIBUTES_PUSH;
    case COMMAND_ATTRIBUTES:
        return AS_ATTRIBUTES_GET_RESPONSE;
    case COMMAND_REPORT_RESPONSE:
        return AS_ATTRIBUTES_RESPONSE;
    case COMMAND_METHOD_RESPONSE:
        return AS_EVENT_RESPONSE;
    }
    return AS_COMMAND_SEND;
}

/* A topic for this very command before one for any. NULL: the type has none. */
static const struct type_topic *find(const struct device_command *cmd)
{
    const char *method = cmd->kind == COMMAND_SEND ? cmd->method : "otaUpgrade";
    const struct type_topic *any = NULL;

    if (cmd->kind == COMMAND_REPLY_RESPONSE)
        return NULL; /* no topic can be declared for it */
    for (size_t i = 0; cmd->topics && i < cmd->topics->n; i++) {
        const struct type_topic *t = &cmd->topics->list[i];

        if (t->as != as_of(cmd->kind))
            continue;
        if (!t->method)
            any = t;
        else if (strcmp(t->method, method) == 0)
            return t;
    }
    return any;
}

/* "{path}": what stands there in the command. */
static const char *place_of(const json_t *j, struct arena *a)
{
    const char *text = json_string_value(j);
    size_t n = json_string_length(j);

    return text && n >= 2 && text[0] == '{' && text[n - 1] == '}'
               ? arena_strndup(a, text + 1, n - 2)
               : NULL;
}

/* The template with its places filled; a member whose place is empty is left out (NULL). New
 * reference. Its depth was bounded when it was stored. */
static json_t *fill(const json_t *template, const json_t *cmd, struct arena *a)
{
    const char *place = place_of(template, a), *name;
    json_t *out, *member, *value;
    size_t i;

    if (place)
        return json_incref(json_path_get(cmd, place));
    if (json_is_object(template)) {
        out = json_object();
        json_object_foreach((json_t *)(uintptr_t) template, name, member)
        {
            value = fill(member, cmd, a);
            if (value)
                json_object_set_new(out, name, value);
        }
        return out;
    }
    if (json_is_array(template)) {
        out = json_array();
        json_array_foreach(template, i, member)
        {
            value = fill(member, cmd, a);
            json_array_append_new(out, value ? value : json_null());
        }
        return out;
    }
    return json_deep_copy(template);
}

static int fill_payload(const struct type_topic *t, struct arena *a, struct str *payload)
{
    enum json_fault fault;
    struct sbuf b = {0};
    AUTO(json_free)
    json_t *cmd =
        json_parse(payload->p, payload->n, (size_t)4 << 20, DIALECT_TREE_DEPTH_MAX, &fault, NULL);
    AUTO(json_free)
    json_t *template = json_parse(t->payload, strlen(t->payload), TOPIC_PAYLOAD_MAX,
                                  DIALECT_DEPTH_MAX, &fault, NULL);

    if (!cmd || !template)
        return E_UNSUPPORTED;
    AUTO(json_free) json_t *out = fill(template, cmd, a);
    json_add_text(&b, out);
    *payload = (struct str){arena_strndup(a, b.p, b.n), b.n};
    sbuf_done(&b);
    return 0;
}

static int encode(const struct device_command *cmd, struct arena *a, struct dialect_out *ret)
{
    const struct type_topic *t = cmd->form == FORM_DIRECT ? find(cmd) : NULL;

    if (!t)
        return eztcloud_encode(cmd, a, ret);
    /* "Nothing to do" without its word for that would look like an upgrade. */
    if (cmd->kind == COMMAND_NOTHING && t->payload && !t->tells_upgrade)
        return E_UNSUPPORTED;
    ret->topic = topic_with_sn(t->pattern, cmd->sn, a);
    ret->payload = eztcloud_encode_payload(cmd, a);
    return t->payload ? fill_payload(t, a, &ret->payload) : 0;
}

const struct dialect dialect_mapped = {
    .name = "mapped",
    .filters = no_filters,
    .decode = decode,
    .encode = encode,
};
