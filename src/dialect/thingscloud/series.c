/*
 * `attributes/series` and `gateway/attributes/series`: attributes with the times at which they
 * were true, as a device that was away sends them when it is back. Of each attribute the newest
 * value becomes the report; its time goes with it. No public document shows the bytes, so what
 * platforms like this one use is understood:
 *   [{"ts": 1700000000000, "attributes": {…}}, …], or one such entry; `values` for `attributes`
 *   {"1700000000000": {…}, …}
 * and of a gateway {"A1": any of these, …}, or entries with `device`. A time is in milliseconds or
 * seconds; what has none is of now. Pure.
 */
#include "thingscloud.h"

#define SECONDS_MAX     99999999999 /* as milliseconds that is in 1973 */
#define TIME_DIGITS_MIN 9

/* A message under way: whose it is, and where its events go. */
struct series {
    const struct device_event *from;
    struct arena *a;
    struct device_events *ret;
    size_t cap;
    json_t *made; /* what the events own, beside the message itself: all of it is of ret->root */
    enum metric *ret_refused;
};

static int refuse(const struct series *s, enum metric why)
{
    return eztcloud_refuse(s->ret_refused, why);
}

/* ---- entries into the report of a device ---- */

static int take_time(const struct series *s, const json_t *ts, int64_t *ret)
{
    *ret = DEVICE_EVENT_NOW;
    if (!ts || json_is_null(ts))
        return 0;
    if (!eztcloud_whole_number(ts, ret) || *ret < 0)
        return refuse(s, M_BAD_TYPE);
    if (*ret <= SECONDS_MAX)
        *ret *= 1000;
    return 0;
}

static int add(const struct series *s, struct device_event *ev, const json_t *ts,
               json_t *attributes)
{
    const char *name;
    json_t *value;
    int64_t at;

    if (!json_is_object(attributes))
        return refuse(s, M_BAD_TYPE);
    int rc = take_time(s, ts, &at);
    if (rc < 0)
        return rc;
    json_object_foreach(attributes, name, value)
    {
        const json_t *known = json_object_get(ev->times, name);

        if (known && json_integer_value(known) > at)
            continue;
        json_object_set(ev->body, name, value);
        json_object_set_new(ev->times, name, json_integer(at));
    }
    return 0;
}

static json_t *attributes_of(const json_t *entry)
{
    json_t *attributes = json_object_get(entry, "attributes");

    return attributes ? attributes : json_object_get(entry, "values");
}

static bool is_time(const char *name)
{
    size_t n = strlen(name);

    return n >= TIME_DIGITS_MIN && strspn(name, "0123456789") == n;
}

/* {"1700000000000": {…}} */
static int add_by_time(const struct series *s, struct device_event *ev, json_t *in)
{
    const char *name;
    json_t *attributes;
    int rc = 0;

    json_object_foreach(in, name, attributes)
    {
        AUTO(json_free) json_t *ts = json_string(name);

        rc = is_time(name) ? add(s, ev, ts, attributes) : refuse(s, M_BAD_TYPE);
        if (rc < 0)
            break;
    }
    return rc;
}

static int add_any(const struct series *s, struct device_event *ev, json_t *in)
{
    size_t i;
    json_t *entry;
    int rc = 0;

    if (json_is_object(in))
        return attributes_of(in) ? add(s, ev, json_object_get(in, "ts"), attributes_of(in))
                                 : add_by_time(s, ev, in);
    if (!json_is_array(in))
        return refuse(s, M_BAD_TYPE);
    json_array_foreach(in, i, entry)
    {
        rc = add(s, ev, json_object_get(entry, "ts"), attributes_of(entry));
        if (rc < 0)
            break;
    }
    return rc;
}

/* ---- devices ---- */

static json_t *make_object(struct series *s)
{
    json_t *o = json_object();

    json_array_append_new(s->made, o);
    return o;
}

static struct device_event *make_event(struct series *s)
{
    struct device_events *evs = s->ret;

    if (evs->n == s->cap) {
        size_t cap = s->cap ? 4 * s->cap : 1;
        struct device_event *bigger = arena_alloc(s->a, cap * sizeof(*bigger));
        if (evs->n > 0)
            memcpy(bigger, evs->list, evs->n * sizeof(*bigger));
        evs->list = bigger;
        s->cap = cap;
    }
    struct device_event *ev = &evs->list[evs->n++];
    *ev = *s->from;
    ev->kind = EVENT_REPORT;
    ev->body = make_object(s);
    ev->times = make_object(s);
    return ev;
}

/* The event of a device behind the gateway; NULL: refused. */
static struct device_event *find(struct series *s, const char *name)
{
    struct device_events *evs = s->ret;

    if (!name || !device_address_ok(name, strlen(name))) {
        (void)refuse(s, name ? M_BAD_LENGTH : M_BAD_TYPE);
        return NULL;
    }
    for (size_t i = 0; i < evs->n; i++)
        if (strcmp(evs->list[i].path[0], name) == 0)
            return &evs->list[i];
    if (evs->n == DIALECT_EVENTS_MAX) {
        (void)refuse(s, M_BAD_LENGTH);
        return NULL;
    }
    struct device_event *ev = make_event(s);
    ev->path = arena_alloc(s->a, sizeof(*ev->path));
    ev->path[0] = name;
    ev->n_path = 1;
    return ev;
}

/* An entry with `device` in it. */
static int add_addressed(struct series *s, json_t *entry)
{
    struct device_event *ev = find(s, json_string_value(json_object_get(entry, "device")));

    return ev ? add(s, ev, json_object_get(entry, "ts"), attributes_of(entry)) : E_PROTO;
}

static int add_gateway(struct series *s, json_t *in)
{
    const char *name;
    json_t *of_one;
    size_t i;
    int rc = 0;

    if (json_is_string(json_object_get(in, "device")))
        return add_addressed(s, in);
    json_array_foreach(in, i, of_one)
    {
        rc = add_addressed(s, of_one);
        if (rc < 0)
            return rc;
    }
    json_object_foreach(in, name, of_one)
    {
        struct device_event *ev = find(s, name);
        rc = ev ? add_any(s, ev, of_one) : E_PROTO;
        if (rc < 0)
            break;
    }
    return rc;
}

int thingscloud_decode_series(const struct dialect_in *in, const struct device_event *from,
                              struct arena *a, struct device_events *ret, enum metric *ret_refused)
{
    struct series s = {.from = from, .a = a, .ret = ret, .ret_refused = ret_refused};
    json_t *message;
    int rc = eztcloud_parse(in, DIALECT_DEPTH_MAX + 4, &message, ret_refused);

    if (rc < 0)
        return rc;
    s.made = ret->root = json_array();
    json_array_append_new(s.made, message);
    return from->form == FORM_DIRECT ? add_any(&s, make_event(&s), message)
                                     : add_gateway(&s, message);
}
