/*
 * EZtCloud's MQTT API for applications: what a project's applications publish, as messages to one
 * device; and what devices say, as the applications hear it. Topics are
 * open/<key of the applications>/<key of the device>/<what>. README.md in this folder names the
 * document. Pure.
 */
#include "dialect.h"

#include <inttypes.h>

#define ID_MAX 64

const char *const open_filters[] = {"open/+/+/attributes_push", "open/+/+/command_send", NULL};

static int refuse(enum metric *ret_refused, enum metric why)
{
    *ret_refused = why;
    return E_PROTO;
}

/* ---- in ---- */

/* The next level, which is not the last one. */
static bool level(const char **at, struct str *ret)
{
    size_t n = strcspn(*at, "/");

    *ret = (struct str){*at, n};
    *at += n + 1;
    return n > 0 && (*at)[-1] == '/';
}

static int topic_parse(const char *topic, struct open_message *ret)
{
    if (strncmp(topic, "open/", 5) != 0)
        return E_NOTFOUND;
    topic += 5;
    if (!level(&topic, &ret->app) || !level(&topic, &ret->device))
        return E_NOTFOUND;
    if (strcmp(topic, "command_send") == 0)
        ret->is_command = true;
    else if (strcmp(topic, "attributes_push") != 0)
        return E_NOTFOUND;
    return 0;
}

static bool is_name(const json_t *j)
{
    size_t n = json_string_length(j);

    return n >= 1 && n <= DIALECT_NAME_MAX && str_is_text(json_string_value(j), n);
}

static int take_command(struct open_message *m, enum metric *ret_refused)
{
    const json_t *method = json_object_get(m->root, "method");
    json_t *params = json_object_get(m->root, "params"), *id = json_object_get(m->root, "id");

    if (!is_name(method) || (params && !json_is_null(params) && !json_is_object(params)))
        return refuse(ret_refused, M_BAD_TYPE);
    if (id && !json_is_null(id) && !json_is_integer(id) &&
        (!json_is_string(id) || json_string_length(id) > ID_MAX))
        return refuse(ret_refused, M_BAD_TYPE);
    m->method = json_string_value(method);
    m->body = json_is_object(params) ? params : NULL;
    m->id = json_is_null(id) ? NULL : id;
    return 0;
}

int open_decode(const struct dialect_in *in, struct open_message *ret, enum metric *ret_refused)
{
    enum json_fault fault;

    *ret = (struct open_message){0};
    if (topic_parse(in->topic, ret) < 0)
        return E_NOTFOUND;
    /* Where the broker says who published, the topic may not say otherwise. */
    if (in->user && !str_eq(ret->app, in->user))
        return refuse(ret_refused, M_BAD_IDENTITY);
    if (in->n > DEVICE_DOWN_BYTES_MAX)
        return refuse(ret_refused, M_BAD_LENGTH);
    ret->root =
        json_parse(in->payload, in->n, DEVICE_DOWN_BYTES_MAX, DIALECT_DEPTH_MAX, &fault, NULL);
    if (!ret->root)
        return refuse(ret_refused, M_BAD_JSON);
    if (!json_is_object(ret->root))
        return refuse(ret_refused, M_BAD_TYPE);
    if (ret->is_command)
        return take_command(ret, ret_refused);
    ret->body = ret->root;
    return json_object_size(ret->root) > 0 ? 0 : refuse(ret_refused, M_BAD_TYPE);
}

void open_message_done(struct open_message *m)
{
    json_decref(m->root);
    *m = (struct open_message){0};
}

/* ---- out ---- */

static void add_id(struct sbuf *b, const struct device_event *ev, const char *id)
{
    if (id)
        sbuf_fmt(b, ",\"id\":%s", id);
    else if (ev->has_id)
        sbuf_fmt(b, ",\"id\":%" PRId64, ev->id);
}

/* {"method": …, "params": …, "id": …} */
static void add_named(struct sbuf *b, const struct device_event *ev, const char *id)
{
    sbuf_str(b, "{");
    if (ev->method) {
        sbuf_str(b, "\"method\":");
        json_add_string(b, ev->method);
        sbuf_str(b, ",");
    }
    sbuf_str(b, "\"params\":");
    if (ev->body)
        json_add_text(b, ev->body);
    else
        sbuf_str(b, "{}");
    add_id(b, ev, id);
    sbuf_str(b, "}");
}

static const char *payload(struct sbuf *b, const struct device_event *ev, const char *id)
{
    switch (ev->kind) {
    case EVENT_REPORT:
        if (!ev->body)
            return NULL;
        json_add_text(b, ev->body);
        return "attributes";
    case EVENT_METHOD:
        add_named(b, ev, NULL);
        return "event_report";
    case EVENT_REPLY:
        add_named(b, ev, id);
        return "command_reply";
    case EVENT_ONLINE:
    case EVENT_OFFLINE:
        sbuf_fmt(b, "{\"online\":%s}", ev->kind == EVENT_ONLINE ? "true" : "false");
        return "online";
    case EVENT_ATTRIBUTES_GET:
        break;
    }
    return NULL;
}

int open_encode(const char *app, const char *device, const struct device_event *ev, const char *id,
                struct arena *a, struct dialect_out *ret)
{
    struct sbuf b = {0};
    const char *what = payload(&b, ev, id);

    if (what) {
        ret->topic = arena_printf(a, "open/%s/%s/%s", app, device, what);
        ret->payload = (struct str){arena_strndup(a, b.p, b.n), b.n};
    }
    sbuf_done(&b);
    return what ? 0 : E_UNSUPPORTED;
}
