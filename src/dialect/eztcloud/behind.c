/*
 * What a gateway says of the devices behind it: `gateway_*` names a device by one word, `sub_*`
 * by the list of addresses that leads to it, and reports attributes of many in one message, as a
 * tree or as a list. One word where a list is due, and the other way round, is understood; the
 * answer then looks the same.
 */
#include "eztcloud.h"

struct gateway_message {
    struct arena *a;
    struct device_events *ret;
    struct str gateway;
    enum address_form form;
    enum metric *ret_refused;
    size_t cap;
};

static int refuse(struct gateway_message *m, enum metric why)
{
    return eztcloud_refuse(m->ret_refused, why);
}

/* One more event of the device at a path that stays where it is; NULL when there are too many:
 * the message is refused. */
static struct device_event *add(struct gateway_message *m, const char **path, size_t n_path,
                                bool as_list)
{
    struct device_events *evs = m->ret;

    if (evs->n == DIALECT_EVENTS_MAX) {
        (void)refuse(m, M_BAD_LENGTH);
        return NULL;
    }
    if (evs->n == m->cap) {
        size_t cap = m->cap ? 4 * m->cap : 1;
        struct device_event *bigger = arena_alloc(m->a, cap * sizeof(*bigger));

        if (evs->n > 0)
            memcpy(bigger, evs->list, evs->n * sizeof(*bigger));
        evs->list = bigger;
        m->cap = cap;
    }
    struct device_event *ev = &evs->list[evs->n++];
    *ev = (struct device_event){
        .device = m->gateway,
        .path = path,
        .n_path = n_path,
        .form = m->form,
        .as_list = as_list,
    };
    return ev;
}

/* ---- addresses ---- */
static int take_segment(struct gateway_message *m, const json_t *j, const char **ret)
{
    if (!json_is_string(j))
        return refuse(m, M_BAD_TYPE);
    *ret = json_string_value(j);
    return device_address_ok(*ret, json_string_length(j)) ? 0 : refuse(m, M_BAD_LENGTH);
}

/* `device`: one word, or a list of words (of one, in the form of one level). */
static int take_device(struct gateway_message *m, const json_t *device, const char ***ret_path,
                       size_t *ret_n)
{
    size_t n = json_is_array(device) ? json_array_size(device) : 1;
    const char **path;
    int rc = 0;

    if (n == 0 || (n > 1 && m->form == FORM_GATEWAY))
        return refuse(m, M_BAD_TYPE);
    if (n > DEVICE_DEPTH_MAX)
        return refuse(m, M_BAD_LENGTH);
    path = arena_alloc(m->a, n * sizeof(*path));
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = take_segment(m, json_is_array(device) ? json_array_get(device, i) : device, &path[i]);
    *ret_path = path;
    *ret_n = n;
    return rc;
}

/* The type that a device shall have, should it be made; what is no text names none. */
static const char *product_of(const json_t *in)
{
    const json_t *j = json_object_get(in, "product");

    return json_is_string(j) && json_string_length(j) > 0 ? json_string_value(j) : NULL;
}

/* The event of the device that `device` names; NULL when the message is refused. */
static struct device_event *add_addressed(struct gateway_message *m, const json_t *in)
{
    const json_t *device = json_object_get(in, "device");
    const char **path = NULL;
    struct device_event *ev;
    size_t n = 0;

    if (take_device(m, device, &path, &n) < 0)
        return NULL;
    ev = add(m, path, n, json_is_array(device));
    if (ev)
        ev->product = product_of(in);
    return ev;
}

/* ---- attributes ---- */
static int take_report(struct gateway_message *m, struct device_event *ev, json_t *attributes)
{
    if (!ev)
        return E_PROTO; /* refused already */
    if (attributes && !json_is_null(attributes) && !json_is_object(attributes))
        return refuse(m, M_BAD_TYPE);
    ev->kind = EVENT_REPORT;
    ev->body = json_is_object(attributes) ? attributes : NULL;
    return 0;
}

/* {"A1": {attributes}, "A2": {attributes}} */
static int take_map(struct gateway_message *m, json_t *root)
{
    const char *name;
    json_t *attributes;

    json_object_foreach(root, name, attributes)
    {
        const char **path = arena_alloc(m->a, sizeof(*path));

        path[0] = name;
        if (!json_is_object(attributes))
            return refuse(m, M_BAD_TYPE);
        if (!device_address_ok(name, strlen(name)))
            return refuse(m, M_BAD_LENGTH);
        int rc = take_report(m, add(m, path, 1, false), attributes);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* [{"device": ["A", "B"], "attributes": {…}, "ts": …}] */
static int take_list(struct gateway_message *m, json_t *root)
{
    size_t i;
    json_t *entry;

    json_array_foreach(root, i, entry)
    {
        if (!json_is_object(entry))
            return refuse(m, M_BAD_TYPE);
        int rc = take_report(m, add_addressed(m, entry), json_object_get(entry, "attributes"));
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const char **path_below(struct gateway_message *m, const char *const *path, size_t depth,
                               const char *name)
{
    const char **below = arena_alloc(m->a, (depth + 1) * sizeof(*below));

    if (depth > 0)
        memcpy(below, path, depth * sizeof(*below));
    below[depth] = name;
    return below;
}

/* {"A": {"attributes": {…}, "ts": …, "sub": {"B": …}}}; parents come before what is below them. */
static int take_tree(struct gateway_message *m, json_t *nodes, const char *const *path,
                     size_t depth)
{
    const char *name;
    json_t *node;
    int rc = 0;

    if (nodes && !json_is_null(nodes) && !json_is_object(nodes))
        return refuse(m, M_BAD_TYPE);
    if (depth == DEVICE_DEPTH_MAX && json_object_size(nodes) > 0)
        return refuse(m, M_BAD_LENGTH);
    json_object_foreach(nodes, name, node)
    {
        const char **below = path_below(m, path, depth, name);
        json_t *attributes = json_object_get(node, "attributes");
        const char *product = product_of(node);

        if (!json_is_object(node))
            return refuse(m, M_BAD_TYPE);
        if (!device_address_ok(name, strlen(name)))
            return refuse(m, M_BAD_LENGTH);
        if (attributes || product) { /* a node without either is a step on the way */
            struct device_event *ev = add(m, below, depth + 1, true);
            if (ev)
                ev->product = product;
            rc = take_report(m, ev, attributes);
        }
        if (rc == 0)
            rc = take_tree(m, json_object_get(node, "sub"), below, depth + 1);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int take_attributes(struct gateway_message *m)
{
    if (m->form == FORM_GATEWAY)
        return take_map(m, m->ret->root);
    return json_is_array(m->ret->root) ? take_list(m, m->ret->root)
                                       : take_tree(m, m->ret->root, NULL, 0);
}

/* ---- the others: one device each, and what it says in a member of its own ---- */
static int take_one(struct gateway_message *m, enum eztcloud_topic topic, const char *member)
{
    json_t *root = m->ret->root, *in = member ? json_object_get(root, member) : root;
    struct device_event *ev;

    if (in && !json_is_null(in) && !json_is_object(in))
        return refuse(m, M_BAD_TYPE);
    ev = add_addressed(m, root);
    if (!ev)
        return E_PROTO;
    /* Without the member the gateway may have left out the wrapping. */
    return eztcloud_decode_one(m->a, ev, topic, json_is_object(in) ? in : root, root,
                               m->ret_refused);
}

int eztcloud_decode_behind(struct arena *a, struct device_events *ret, enum eztcloud_topic topic,
                           enum address_form form, struct str gateway, enum metric *ret_refused)
{
    struct gateway_message m = {
        .a = a, .ret = ret, .gateway = gateway, .form = form, .ret_refused = ret_refused};

    switch (topic) {
    case TOPIC_ATTRIBUTES:
        return take_attributes(&m);
    case TOPIC_ATTRIBUTES_GET:
        return take_one(&m, topic, "get");
    case TOPIC_EVENT_REPORT:
        return take_one(&m, topic, "event");
    case TOPIC_COMMAND_REPLY:
        return take_one(&m, topic, "command");
    case TOPIC_CONNECT:
    case TOPIC_DISCONNECT:
        return take_one(&m, topic, NULL);
    }
    return E_NOTFOUND;
}
