/* Who is connected: by connection and by login, and told to otad as they come and go. */
#include "sessions.h"

#include <mosquitto_broker.h>
#include <stdio.h>

#define LIST_BYTES 32768

void sessions_init(struct sessions *all)
{
    *all = (struct sessions){0};
    ids_init(&all->ids, &all->service);
}

/* ---- presence ---- */

static void publish(const char *text, size_t n)
{
    if (mosquitto_broker_publish_copy(NULL, PRESENCE_TOPIC, (int)n, text, 0, false, NULL) !=
        MOSQ_ERR_SUCCESS)
        mosquitto_log_printf(MOSQ_LOG_WARNING, "otad: presence could not be published");
}

static void tell_one(const struct sessions *all, const struct login *l, char sign)
{
    char text[256];
    int n = l == &all->service ? 0 : snprintf(text, sizeof(text), "%c%s\n", sign, l->name);

    if (n > 0 && (size_t)n < sizeof(text))
        publish(text, (size_t)n);
}

void sessions_tell(const struct sessions *all)
{
    struct sbuf b = {0};
    size_t it = 0, n;
    const void *key;
    void *value;

    sbuf_str(&b, "=\n");
    while (map_next(&all->map, &it, &key, &n, &value)) {
        const struct session *s = value;
        if (s->login == &all->service || s->login->sessions != s)
            continue; /* of several connections one speaks */
        sbuf_fmt(&b, "+%s\n", s->login->name);
        if (b.n >= LIST_BYTES) {
            publish(b.p, b.n);
            b.n = 0;
        }
    }
    sbuf_str(&b, ".\n");
    publish(b.p, b.n);
    sbuf_done(&b);
}

/* ---- coming and going ---- */

struct session *sessions_of(const struct sessions *all, const struct mosquitto *client)
{
    return map_get(&all->map, &client, sizeof(client));
}

static void session_free(struct session *s)
{
    free(s->client_id);
    free(s);
}

void sessions_drop(struct sessions *all, struct session *s, bool kept)
{
    struct login *l = s->login;
    struct session **at = &l->sessions;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    (void)map_del(&all->map, &s->client, sizeof(s->client));
    ids_leave(&all->ids, s->client_id, s, kept, clock_mono_us());
    if (!l->sessions)
        tell_one(all, l, '-');
    session_free(s);
}

void sessions_add(struct sessions *all, const struct mosquitto *client, struct login *l)
{
    struct session *s = sessions_of(all, client);

    if (s && s->login == l)
        return; /* asked again after a reload */
    if (s)
        sessions_drop(all, s, false);
    s = xcalloc(1, sizeof(*s));
    s->login = l;
    s->client = client;
    s->next = l->sessions;
    l->sessions = s;
    (void)map_put(&all->map, &s->client, sizeof(s->client), s);
    const char *id = mosquitto_client_id(client);
    s->client_id = xstrdup(id ? id : "");
    if (!s->next)
        tell_one(all, l, '+');
    struct session *before = ids_take(&all->ids, s->client_id, l, s);
    if (before)
        sessions_drop(all, before, false);
}

void sessions_end(struct sessions *all, struct login *l)
{
    for (struct session *s = l->sessions, *next; s; s = next) {
        next = s->next;
        /* Ends in sessions_drop; a connection that the broker does not know is forgotten here. */
        (void)mosquitto_kick_client_by_clientid(s->client_id, false);
        if (l->sessions == s)
            sessions_drop(all, s, false);
    }
}

void sessions_done(struct sessions *all)
{
    size_t it = 0, n;
    const void *key;
    void *value;

    while (map_next(&all->map, &it, &key, &n, &value))
        session_free(value);
    map_done(&all->map);
    ids_done(&all->ids);
}
