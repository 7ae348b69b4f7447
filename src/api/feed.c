/*
 * GET /api/v1/events: what happened, as server-sent events. Each http thread reads what was
 * committed once, keeps the latest as text, and wakes those of its subscribers whom it concerns.
 * A subscriber is a cursor and a filter: one that reads slowly falls back to the rows, and holds
 * up nobody; one that says nothing costs a comment now and then. The committing thread only sends
 * a wake (api_committed).
 */
#include "priv.h"

#include "event.h"

enum {
    RING = 256,        /* events that a thread keeps as text */
    READ_ROWS = 200,   /* at a time */
    OUT_BYTES = 32768, /* of one piece */
    BEAT_MS = 15000,   /* silence after which a comment is sent */
    TICK_MS = 1000,
    FILTER_MAX = 1024,
};

struct kept {
    int64_t id, project_id, device_id;
    char *type, *text; /* text: as it goes out */
};

struct subscriber {
    struct feed *feed;
    struct subscriber *prev, *next;
    struct http_stream *stream;
    int64_t project_id, token_id, device_id, expires_at;
    int64_t cursor;      /* the last event that was looked at */
    int64_t lost_before; /* events up to here are gone: told first; 0 = none */
    int64_t beat_at_us;
    bool greeted, over;
    char filter[FILTER_MAX];
};

struct feed {
    struct api_thread *t;
    struct loop_wake *wake;
    struct loop_timer *timer;
    struct subscriber *first;
    atomic_int n;
    uint64_t tokens_changed;
    struct kept ring[RING];
    size_t head, count; /* the oldest is ring[head] */
    int64_t last;       /* the newest that was read */
};

/* ---- the ring ---- */
static void kept_done(struct kept *k)
{
    free(k->type);
    free(k->text);
    *k = (struct kept){0};
}

static char *sse_text(const struct event_row *r)
{
    struct sbuf b = {.p = NULL};
    sbuf_fmt(&b, "id: %lld\nevent: %s\ndata: ", (long long)r->event.id, r->event.type);
    sbuf_str(&b, r->text);
    sbuf_str(&b, "\n\n");
    return sbuf_take(&b);
}

static void ring_clear(struct feed *f)
{
    for (size_t i = 0; i < RING; i++)
        kept_done(&f->ring[i]);
    f->head = f->count = 0;
}

static int ring_add(void *arg, const struct event_row *r)
{
    struct feed *f = arg;
    struct kept *k = &f->ring[(f->head + f->count) % RING];

    if (f->count == RING)
        f->head = (f->head + 1) % RING;
    else
        f->count++;
    kept_done(k);
    *k = (struct kept){.id = r->event.id,
                       .project_id = r->event.project_id,
                       .device_id = r->event.device_id,
                       .type = xstrdup(r->event.type),
                       .text = sse_text(r)};
    f->last = r->event.id;
    return 0;
}

/* ---- who gets what ---- */
static bool concerns(const struct subscriber *s, int64_t project_id, int64_t device_id,
                     const char *type)
{
    return (project_id == s->project_id || project_id == 0) &&
           (!s->device_id || s->device_id == device_id) && event_filter_match(s->filter, type);
}

static void from_ring(struct subscriber *s, struct sbuf *out)
{
    struct feed *f = s->feed;

    for (size_t i = 0; i < f->count && out->n < OUT_BYTES; i++) {
        const struct kept *k = &f->ring[(f->head + i) % RING];
        if (k->id <= s->cursor)
            continue;
        s->cursor = k->id;
        if (concerns(s, k->project_id, k->device_id, k->type))
            sbuf_str(out, k->text);
    }
}

/* The client has to read the state anew; from here on it misses nothing. */
static void tell_lost(const struct subscriber *s, struct sbuf *out, int64_t oldest)
{
    sbuf_fmt(
        out,
        "id: %lld\nevent: reset\ndata: {\"type\":\"reset\",\"data\":{\"reason\":\"events before "
        "%lld are not kept: read the state again\"}}\n\n",
        (long long)s->cursor, (long long)oldest);
}

struct reading {
    struct subscriber *s;
    struct sbuf *out;
};

static int from_row(void *arg, const struct event_row *r)
{
    struct reading *x = arg;

    if (r->event.id > x->s->feed->last)
        return 1; /* the feed comes to it */
    /* Ids have no gaps but where rows were removed: it read too slowly, and they are gone. */
    if (x->s->cursor && r->event.id > x->s->cursor + 1) {
        x->s->cursor = r->event.id - 1;
        tell_lost(x->s, x->out, r->event.id);
    }
    x->s->cursor = r->event.id;
    if (concerns(x->s, r->event.project_id, r->event.device_id, r->event.type)) {
        AUTO(free) char *text = sse_text(r);
        sbuf_str(x->out, text);
    }
    return x->out->n >= OUT_BYTES;
}

static int read_more(struct subscriber *s, struct sbuf *out)
{
    struct feed *f = s->feed;
    struct reading x = {s, out};

    if (f->count && s->cursor + 1 >= f->ring[f->head].id) {
        from_ring(s, out);
        return 0;
    }
    int64_t before = s->cursor;
    int rc = event_list(f->t->db, s->cursor, READ_ROWS, from_row, &x);
    if (rc == 0 && s->cursor == before)
        s->cursor = f->last; /* nothing is left between */
    return rc < 0 ? rc : 0;
}

static void greet(struct subscriber *s, struct sbuf *out)
{
    s->greeted = true;
    sbuf_str(out, "retry: 3000\n\n");
    if (s->lost_before)
        tell_lost(s, out, s->lost_before);
}

static int fill(void *arg, struct sbuf *out)
{
    struct subscriber *s = arg;
    int64_t now = clock_mono_us();

    if (s->over || (s->expires_at && s->expires_at <= clock_now_ms()))
        return HTTP_STREAM_END;
    if (!s->greeted)
        greet(s, out);
    bool behind = s->cursor < s->feed->last;
    if (behind) {
        int rc = read_more(s, out);
        if (rc < 0)
            return rc;
        behind = s->cursor < s->feed->last;
    }
    if (out->n == 0 && (behind || now >= s->beat_at_us))
        sbuf_str(out, ":\n\n");
    if (out->n)
        s->beat_at_us = now + (int64_t)BEAT_MS * 1000;
    return behind ? HTTP_STREAM_MORE : HTTP_STREAM_WAIT;
}

/* ---- the thread's side ---- */
static bool any_news(const struct subscriber *s, int64_t since)
{
    const struct feed *f = s->feed;

    if (s->cursor < since)
        return true; /* under way already */
    for (size_t i = 0; i < f->count; i++) {
        const struct kept *k = &f->ring[(f->head + i) % RING];
        if (k->id > since && concerns(s, k->project_id, k->device_id, k->type))
            return true;
    }
    return false;
}

/* A stream must not outlive its token. */
static void check_tokens(struct feed *f)
{
    uint64_t changed = atomic_load(&f->t->api->tokens_changed);

    if (changed == f->tokens_changed)
        return;
    f->tokens_changed = changed;
    for (struct subscriber *s = f->first; s; s = s->next) {
        AUTO(db_reset) struct db_stmt *q = db_use(f->t->db, Q_TOKEN_BY_ID);
        db_bind_int(q, 1, s->project_id);
        db_bind_int(q, 2, s->token_id);
        if (db_row(q) != E_NOTFOUND)
            continue;
        s->over = true;
        http_stream_wake(s->stream);
    }
}

static void on_wake(void *arg)
{
    struct feed *f = arg;
    int64_t since = f->last;

    if (!f->first)
        return;
    check_tokens(f);
    if (event_list(f->t->db, f->last, READ_ROWS, ring_add, f) < 0)
        return;
    if (f->last == since)
        return;
    for (struct subscriber *s = f->first; s; s = s->next) {
        bool all_in_ring = f->count && f->ring[f->head].id <= since + 1;
        if (s->cursor == since && all_in_ring && !any_news(s, since))
            s->cursor = f->last;
        else
            http_stream_wake(s->stream);
    }
    loop_wake_send(f->wake); /* until a look finds no more */
}

static void on_tick(void *arg)
{
    struct feed *f = arg;
    int64_t now = clock_mono_us();

    on_wake(f); /* should a word of the core ever be missed */
    for (struct subscriber *s = f->first; s; s = s->next)
        if (now >= s->beat_at_us)
            http_stream_wake(s->stream);
}

static void leave(void *arg)
{
    struct subscriber *s = arg;
    struct feed *f = s->feed;

    if (s->prev)
        s->prev->next = s->next;
    else
        f->first = s->next;
    if (s->next)
        s->next->prev = s->prev;
    if (atomic_fetch_sub(&f->n, 1) == 1) {
        ring_clear(f);
        loop_timer_stop(f->timer);
    }
    atomic_fetch_sub(&f->t->api->subscribers, 1);
    metric_add(M_EVENT_SUBSCRIBERS, -1);
    free(s);
}

struct feed *feed_new(struct api_thread *t)
{
    struct feed *f = xcalloc(1, sizeof(*f));
    struct api *api = t->api;

    f->t = t;
    f->wake = loop_wake_new(t->loop, on_wake, f);
    f->timer = loop_timer_new(t->loop, on_tick, f);
    pthread_mutex_lock(&api->feeds_lock);
    if (t->index >= 0 && t->index < API_FEEDS_MAX)
        api->feeds[t->index] = f;
    pthread_mutex_unlock(&api->feeds_lock);
    return f;
}

void feed_free(struct feed *f)
{
    struct api *api = f->t->api;

    pthread_mutex_lock(&api->feeds_lock);
    api->feeds[f->t->index] = NULL;
    pthread_mutex_unlock(&api->feeds_lock);
    loop_timer_free(f->timer);
    loop_wake_free(f->wake);
    ring_clear(f);
    free(f);
}

void api_committed(struct api *api)
{
    if (atomic_load(&api->subscribers) == 0)
        return;
    pthread_mutex_lock(&api->feeds_lock);
    for (size_t i = 0; i < API_FEEDS_MAX; i++)
        if (api->feeds[i] && atomic_load(&api->feeds[i]->n) > 0)
            loop_wake_send(api->feeds[i]->wake);
    pthread_mutex_unlock(&api->feeds_lock);
}

/* ---- the request ---- */
/* Where to begin: after the id that the client has, or now. < 0: answered. */
static int read_cursor(struct http_request *r, struct subscriber *s)
{
    const char *header = http_header(r, "Last-Event-ID");
    int64_t after = -1, first, last;

    if (header && *header && num_parse(header, 0, INT64_MAX, &after) < 0) {
        http_problem(r, 400, "invalid_header", NULL, "Last-Event-ID takes the id of an event.");
        return E_PROTO;
    }
    if (after < 0 && input_query_int(r, "after", 0, INT64_MAX, -1, &after) < 0)
        return E_PROTO;
    int rc = event_ends(s->feed->t->db, &first, &last);
    if (rc < 0) {
        http_fail(r, rc, NULL);
        return rc;
    }
    if (s->feed->first == NULL)
        s->feed->last = last;
    s->cursor = after < 0 ? last : after;
    if (after > last || (after > 0 && first > after + 1)) {
        s->lost_before = first;
        s->cursor = after > last ? last : first - 1;
    }
    return 0;
}

static int read_filters(struct http_request *r, struct subscriber *s)
{
    const struct call *c = call_of(r);
    const char *types = http_query(r, "types"), *key = http_query(r, "device");
    struct fail f = {.rc = 0};
    struct device d;

    if (types &&
        (!str_copy(s->filter, sizeof(s->filter), types) || event_filter_check(types, &f) < 0)) {
        http_problem(r, 400, "invalid_parameter", NULL, "The query parameter 'types': %s",
                     f.text[0] ? f.text : "too long.");
        return E_PROTO;
    }
    if (!key)
        return 0;
    int rc = device_by_key(c->db, c->who.project_id, key, http_arena(r), &d);
    if (rc == E_NOTFOUND)
        answer_not_found(r, "device");
    else if (rc < 0)
        http_fail(r, rc, NULL);
    s->device_id = d.id;
    return rc;
}

static int read_expiry(struct http_request *r, struct subscriber *s)
{
    AUTO(db_reset) struct db_stmt *q = db_use(s->feed->t->db, Q_TOKEN_BY_ID);
    db_bind_int(q, 1, s->project_id);
    db_bind_int(q, 2, s->token_id);
    int rc = db_row(q);
    if (rc == 0)
        s->expires_at = db_int(q, 5);
    else
        http_fail(r, rc == E_NOTFOUND ? E_AUTH : rc, NULL);
    return rc;
}

static void join(struct subscriber *s)
{
    struct feed *f = s->feed;

    s->next = f->first;
    if (s->next)
        s->next->prev = s;
    f->first = s;
    if (atomic_fetch_add(&f->n, 1) == 0) {
        f->tokens_changed = atomic_load(&f->t->api->tokens_changed);
        loop_timer_start(f->timer, TICK_MS, TICK_MS);
    }
    metric_add(M_EVENT_SUBSCRIBERS, 1);
}

static void handle(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct api *api = c->api;
    long max = (long)(api->env.conf->http_max_connections / 2);
    (void)arg;

    struct subscriber *s = xcalloc(1, sizeof(*s));
    s->feed = c->t->feed;
    s->project_id = c->who.project_id;
    s->token_id = c->who.token_id;
    if (read_filters(r, s) < 0 || read_cursor(r, s) < 0 || read_expiry(r, s) < 0) {
        free(s);
        return;
    }
    if (atomic_fetch_add(&api->subscribers, 1) >= max) {
        atomic_fetch_sub(&api->subscribers, 1);
        free(s);
        http_add_header(r, "Retry-After", "30");
        http_problem(r, 503, "too_many_subscribers", NULL,
                     "Half of all connections are event streams already.");
        return;
    }
    join(s);
    http_add_header(r, "X-Accel-Buffering", "no"); /* nginx would hold them back */
    struct http_stream *stream = http_reply_stream(
        r, 200,
        &(struct http_stream_source){
            .content_type = "text/event-stream", .fill = fill, .arg = s, .free_fn = leave});
    if (!stream)
        return; /* s is gone */
    s->stream = stream;
    loop_wake_send(c->t->feed->wake); /* what was committed since the last look */
}

static const struct op op_events = {
    .summary = "Server-sent events as they happen; `after` or Last-Event-ID resumes, `types` is "
               "a list such as update.*,device.created",
    .query = "types|device|after",
    .status = 200,
    .answer = "text/event-stream"};

const struct http_route event_routes[] = {
    {"GET", "/api/v1/events", HTTP_BODY_NONE, 0, handle, OP(op_events), VIEWER},
    {.method = NULL},
};
