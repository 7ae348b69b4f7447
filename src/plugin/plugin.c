/*
 * otad_mosquitto.so: what a stock mosquitto (plugin API 5; 2.0.11 to 2.0.21) asks when a client
 * logs in, subscribes, publishes or goes.
 *
 * Devices on topics without a name are told apart by two MQTT 5 user properties, `username` and
 * `clientid`, that are appended to what they publish; a client that sends such a property itself
 * is refused. Wills do not pass on_message, so they may not be published at all: a write is for
 * clients that are connected, and a client is forgotten before its will is looked at, at its end
 * or when another connection takes its client id.
 *
 * otad (the service user) publishes otad/to/<username>/<topic>: the rest of the topic goes to the
 * connections of that device alone, subscribed or not. It publishes lines to $CONTROL/otad/v1:
 * "set <username> <hash>", "place <username> <type>/<sn>" (none: without), "revoke <username>",
 * "reload", "presence". It subscribes
 * otad/presence, and gets "=", "+<username>" of all who are connected, ".", and later "+" and "-"
 * as they come and go. Topics, payloads and their memory stay the broker's: versions differ in
 * who frees them.
 */
#include "sessions.h"

#include <errno.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <mqtt_protocol.h>
#include <stdio.h>

#define EXPORT        __attribute__((visibility("default")))
#define CONTROL_TOPIC "$CONTROL/otad/v1"
#define TO_PREFIX     "otad/to/"

struct plugin {
    mosquitto_plugin_id_t *id;
    char *service_name, *service_id, *service_password, *file;
    struct logins logins;
    struct places places;
    struct sessions sessions;
    bool ticks;     /* the broker's loop does tell its turns */
    bool reloading; /* from a reload of the broker to the end of that turn */
};

static void on_changed(void *arg, struct login *l)
{
    struct plugin *p = arg;

    sessions_end(&p->sessions, l);
}

static void on_gone(void *arg, struct login *l)
{
    struct plugin *p = arg;

    places_set(&p->places, l, (struct str){NULL, 0});
    ids_forget(&p->sessions.ids, l);
}

/* ---- logging in ---- */

static bool service_fits(struct plugin *p, const char *password)
{
    if (!p->service_password) {
        struct login *l = logins_find(&p->logins, p->service_name);
        return l && login_check(l, password);
    }
    size_t n = strlen(password);
    return n == strlen(p->service_password) && crypto_equal(password, p->service_password, n);
}

/* Whose an id is. That of nobody may be a login's name: such a device most often connects with it,
 * and the broker may keep a session for it of which nothing is known here, from before its start.
 */
static const struct login *owner_of(struct plugin *p, const char *id)
{
    const struct login *owner = ids_owner(&p->sessions.ids, id, clock_mono_us());

    if (owner || strcmp(id, p->service_name) == 0)
        return owner;
    owner = logins_find(&p->logins, id);
    return owner && owner->hash ? owner : NULL;
}

/* With another's client id it would get that one's session. The service gets its own from anybody.
 */
static bool has_others_id(struct plugin *p, const struct mosquitto *client, const struct login *l)
{
    const char *id = mosquitto_client_id(client);
    const struct login *owner = id ? owner_of(p, id) : NULL;

    if (!owner || owner == l || l == &p->sessions.service)
        return false;
    mosquitto_log_printf(MOSQ_LOG_WARNING, "otad: %s is refused: client id '%.64s' is %s's",
                         l->name, id, owner->name ? owner->name : p->service_name);
    return true;
}

/* In a reload the broker asks about each session that it has, also of those who are away. None of
 * them comes by that. A refusal would not end what is kept, and it makes the broker note its expiry
 * twice. A session from the disk has no address, who logs in has one; and in the turn of a reload
 * only websockets can log in. */
static bool is_away(const struct plugin *p, const struct mosquitto *client)
{
    return !sessions_of(&p->sessions, client) &&
           (!mosquitto_client_address(client) ||
            (p->reloading && mosquitto_client_protocol(client) != mp_websockets));
}

/* The broker knows whose session it was, also of one that it read from the disk. */
static void note_away(struct plugin *p, const struct mosquitto *client)
{
    const char *id = mosquitto_client_id(client), *user = mosquitto_client_username(client);
    struct login *l = user ? logins_find(&p->logins, user) : NULL;
    int64_t now_us = clock_mono_us();

    if (id && l && l->hash && strcmp(user, p->service_name) != 0 &&
        !ids_owner(&p->sessions.ids, id, now_us))
        ids_keep(&p->sessions.ids, id, l, now_us);
}

static int on_basic_auth(int event, void *data, void *arg)
{
    const struct mosquitto_evt_basic_auth *a = data;
    struct plugin *p = arg;
    (void)event;

    if (is_away(p, a->client)) {
        note_away(p, a->client);
        return MOSQ_ERR_SUCCESS; /* it is asked for its password when it is back */
    }
    if (!a->username)
        return MOSQ_ERR_AUTH;
    bool is_service = strcmp(a->username, p->service_name) == 0;
    struct login *l = is_service ? &p->sessions.service : logins_find(&p->logins, a->username);
    const struct session *s = sessions_of(&p->sessions, a->client);
    if (!l)
        return MOSQ_ERR_AUTH;
    /* After a reload the broker asks about those that are connected, perhaps without password. */
    bool fits = !a->password ? s && s->login == l && (is_service || l->hash)
                : is_service ? service_fits(p, a->password)
                             : login_check(l, a->password);
    if (!fits || (!s && has_others_id(p, a->client, l)))
        return MOSQ_ERR_AUTH;
    sessions_add(&p->sessions, a->client, l);
    return MOSQ_ERR_SUCCESS;
}

static int on_disconnect(int event, void *data, void *arg)
{
    const struct mosquitto_evt_disconnect *d = data;
    struct plugin *p = arg;
    struct session *s = sessions_of(&p->sessions, d->client);
    (void)event;

    if (s)
        sessions_drop(&p->sessions, s, !mosquitto_client_clean_session(d->client));
    return MOSQ_ERR_SUCCESS;
}

/* ---- topics ---- */

static bool may_by_place(const struct plugin *p, const char *user, enum place_access access,
                         const char *topic)
{
    return p->places.claims.count > 0 &&
           places_may(&p->places, map_get(&p->logins.map, user, strlen(user)), access, topic);
}

static int on_acl_check(int event, void *data, void *arg)
{
    const struct mosquitto_evt_acl_check *a = data;
    const struct plugin *p = arg;
    const char *user = mosquitto_client_username(a->client);
    bool may = false;
    (void)event;

    if (!user)
        return MOSQ_ERR_ACL_DENIED;
    if (strcmp(user, p->service_name) == 0) {
        if (a->access == MOSQ_ACL_SUBSCRIBE && strcmp(a->topic, PRESENCE_TOPIC) == 0)
            sessions_tell(&p->sessions); /* leaves when the subscription stands */
        return MOSQ_ERR_SUCCESS;
    }
    if (a->access == MOSQ_ACL_READ)
        may = rights_read(user, a->topic) || may_by_place(p, user, PLACE_READ, a->topic);
    else if (a->access == MOSQ_ACL_WRITE)
        may = sessions_of(&p->sessions, a->client) &&
              (rights_publish(user, a->topic) || may_by_place(p, user, PLACE_PUBLISH, a->topic));
    else if (a->access == MOSQ_ACL_SUBSCRIBE)
        may = rights_subscribe(user, a->topic) || may_by_place(p, user, PLACE_SUBSCRIBE, a->topic);
    else
        may = a->access == MOSQ_ACL_UNSUBSCRIBE;
    return may ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

/* Does the message carry one of our names already? */
static bool is_forged(const mosquitto_property *properties)
{
    char *name = NULL, *value = NULL;
    bool skip = false, forged = false;

    while (!forged && (properties = mosquitto_property_read_string_pair(
                           properties, MQTT_PROP_USER_PROPERTY, &name, &value, skip)) != NULL) {
        forged = name && (strcmp(name, "username") == 0 || strcmp(name, "clientid") == 0);
        free(TAKE(name));
        free(TAKE(value));
        skip = true;
    }
    return forged;
}

static void deliver(struct plugin *p, const struct mosquitto_evt_message *m)
{
    const char *to = m->topic + strlen(TO_PREFIX), *slash = strchr(to, '/');

    if (!slash || !slash[1])
        return;
    const struct login *l = map_get(&p->logins.map, to, (size_t)(slash - to));
    for (const struct session *s = l ? l->sessions : NULL; s; s = s->next)
        if (mosquitto_broker_publish_copy(s->client_id, slash + 1, (int)m->payloadlen, m->payload,
                                          m->qos ? 1 : 0, false, NULL) != MOSQ_ERR_SUCCESS)
            mosquitto_log_printf(MOSQ_LOG_WARNING, "otad: a message to %s is lost", l->name);
}

static int on_message(int event, void *data, void *arg)
{
    struct mosquitto_evt_message *m = data;
    struct plugin *p = arg;
    const struct session *s = sessions_of(&p->sessions, m->client);
    (void)event;

    if (!s)
        return MOSQ_ERR_ACL_DENIED;
    if (s->login == &p->sessions.service) {
        if (strncmp(m->topic, TO_PREFIX, strlen(TO_PREFIX)) == 0)
            deliver(p, m); /* the message itself goes on to where nobody listens */
        return MOSQ_ERR_SUCCESS;
    }
    if (m->properties && is_forged(m->properties))
        return MOSQ_ERR_ACL_DENIED;
    m->retain = false; /* nothing limits what the broker would keep, under how many topics */
    if (mosquitto_property_add_string_pair(&m->properties, MQTT_PROP_USER_PROPERTY, "clientid",
                                           s->client_id) != MOSQ_ERR_SUCCESS ||
        mosquitto_property_add_string_pair(&m->properties, MQTT_PROP_USER_PROPERTY, "username",
                                           s->login->name) != MOSQ_ERR_SUCCESS)
        return MOSQ_ERR_ACL_DENIED;
    return MOSQ_ERR_SUCCESS;
}

/* ---- what otad tells ---- */

/* An otad that knows no foreign topics writes no such file. */
static void load_places(struct plugin *p, int64_t now_us)
{
    struct fail f = {0};
    int rc = places_load(&p->places, &p->logins, now_us, &f);

    if (rc < 0 && rc != -ENOENT)
        mosquitto_log_printf(MOSQ_LOG_ERR, "otad: %s", f.text);
}

static void load(struct plugin *p)
{
    struct fail f = {0};
    int64_t start = clock_mono_us();

    if (!p->file)
        return;
    int rc = logins_load(&p->logins, p->file, start, &f);
    load_places(p, start);
    if (rc < 0)
        mosquitto_log_printf(MOSQ_LOG_ERR, "otad: %s; %s", f.text,
                             p->logins.round ? "the logins stay as they were"
                                             : "devices are refused until it can be read");
    else
        mosquitto_log_printf(MOSQ_LOG_INFO, "otad: %d logins read in %d ms", rc,
                             (int)((clock_mono_us() - start) / 1000));
}

/* Behind "set" of the same name. */
static void place(struct plugin *p, const char *name, const char *where)
{
    struct login *l = logins_find(&p->logins, name);

    if (l)
        places_set(&p->places, l, where ? str_of(where) : (struct str){NULL, 0});
}

static void command(struct plugin *p, char *line)
{
    char *name = strchr(line, ' '), *hash = NULL;

    if (name)
        *name++ = '\0';
    if (name && (hash = strchr(name, ' ')) != NULL)
        *hash++ = '\0';
    if (strcmp(line, "set") == 0 && hash && *hash)
        logins_set(&p->logins, name, hash, clock_mono_us());
    else if (strcmp(line, "place") == 0 && name)
        place(p, name, hash);
    else if (strcmp(line, "revoke") == 0 && name) {
        place(p, name, NULL);
        logins_revoke(&p->logins, name, clock_mono_us());
    } else if (strcmp(line, "reload") == 0)
        load(p);
    else if (strcmp(line, "presence") == 0)
        sessions_tell(&p->sessions);
    else
        mosquitto_log_printf(MOSQ_LOG_WARNING, "otad: unknown command '%.32s'", line);
}

static int on_control(int event, void *data, void *arg)
{
    const struct mosquitto_evt_control *c = data;
    struct plugin *p = arg;
    const struct session *s = sessions_of(&p->sessions, c->client);
    (void)event;

    if (!s || s->login != &p->sessions.service || !c->payload)
        return MOSQ_ERR_SUCCESS;
    AUTO(free) char *text = xstrndup(c->payload, c->payloadlen);
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (*line)
            command(p, line);
    }
    return MOSQ_ERR_SUCCESS;
}

static int on_reload(int event, void *data, void *arg)
{
    struct plugin *p = arg;
    (void)event;
    (void)data;

    p->reloading = p->ticks; /* or it would never end */
    load(p);
    return MOSQ_ERR_SUCCESS;
}

/* The end of a turn of the broker's loop. */
static int on_tick(int event, void *data, void *arg)
{
    struct plugin *p = arg;
    (void)event;
    (void)data;

    p->ticks = true;
    p->reloading = false;
    if (logins_due(&p->logins, clock_mono_us()))
        load(p);
    return MOSQ_ERR_SUCCESS;
}

/* ---- birth and death ---- */

static const struct hook {
    int event;
    MOSQ_FUNC_generic_callback fn;
    const char *topic;
} hooks[] = {
    {MOSQ_EVT_RELOAD, on_reload, NULL},
    {MOSQ_EVT_BASIC_AUTH, on_basic_auth, NULL},
    {MOSQ_EVT_ACL_CHECK, on_acl_check, NULL},
    {MOSQ_EVT_MESSAGE, on_message, NULL},
    {MOSQ_EVT_DISCONNECT, on_disconnect, NULL},
    {MOSQ_EVT_CONTROL, on_control, CONTROL_TOPIC},
    {MOSQ_EVT_TICK, on_tick, NULL},
};

static char *first_line(const char *path)
{
    FILE *file = fopen(path, "re");
    char text[512] = "";

    if (!file)
        return NULL;
    if (!fgets(text, sizeof(text), file))
        text[0] = '\0';
    (void)fclose(file);
    text[strcspn(text, "\r\n")] = '\0';
    return *text ? xstrdup(text) : NULL;
}

static int take_option(struct plugin *p, const struct mosquitto_opt *o)
{
    if (strcmp(o->key, "credentials_file") == 0) {
        free(p->file);
        p->file = xstrdup(o->value);
        places_beside(&p->places, p->file);
    } else if (strcmp(o->key, "service_username") == 0) {
        free(p->service_name);
        p->service_name = xstrdup(o->value);
    } else if (strcmp(o->key, "service_client_id") == 0) {
        free(p->service_id);
        p->service_id = xstrdup(o->value);
    } else if (strcmp(o->key, "service_password_file") == 0) {
        free(p->service_password);
        p->service_password = first_line(o->value);
        if (!p->service_password) {
            mosquitto_log_printf(MOSQ_LOG_ERR, "otad: no password can be read from %s", o->value);
            return MOSQ_ERR_INVAL;
        }
    } else {
        mosquitto_log_printf(MOSQ_LOG_ERR, "otad: there is no option plugin_opt_%s", o->key);
        return MOSQ_ERR_INVAL;
    }
    return MOSQ_ERR_SUCCESS;
}

/* otad's two connections, also while there is no otad. */
static void reserve(struct plugin *p)
{
    struct sbuf sending = {0};

    sbuf_fmt(&sending, "%s-tx", p->service_id);
    ids_reserve(&p->sessions.ids, p->service_id);
    ids_reserve(&p->sessions.ids, sending.p);
    sbuf_done(&sending);
}

static void plugin_free(struct plugin *p)
{
    sessions_done(&p->sessions);
    places_done(&p->places);
    logins_done(&p->logins);
    free(p->service_name);
    free(p->service_id);
    free(p->service_password);
    free(p->file);
    free(p);
}

EXPORT int mosquitto_plugin_version(int n, const int *versions);
EXPORT int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **data,
                                 struct mosquitto_opt *options, int n);
EXPORT int mosquitto_plugin_cleanup(void *data, struct mosquitto_opt *options, int n);

int mosquitto_plugin_version(int n, const int *versions)
{
    for (int i = 0; i < n; i++)
        if (versions[i] == MOSQ_PLUGIN_VERSION)
            return MOSQ_PLUGIN_VERSION;
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **data, struct mosquitto_opt *options,
                          int n)
{
    struct plugin *p = xcalloc(1, sizeof(*p));
    int rc = MOSQ_ERR_SUCCESS;

    p->id = id;
    p->service_name = xstrdup("otad");
    p->service_id = xstrdup("otad");
    sessions_init(&p->sessions);
    logins_init(&p->logins, on_changed, p);
    p->logins.on_gone = on_gone;
    places_init(&p->places);
    for (int i = 0; i < n && rc == MOSQ_ERR_SUCCESS; i++)
        rc = take_option(p, &options[i]);
    for (size_t i = 0; i < ARRAY_LEN(hooks) && rc == MOSQ_ERR_SUCCESS; i++)
        rc = mosquitto_callback_register(id, hooks[i].event, hooks[i].fn, hooks[i].topic, p);
    if (rc != MOSQ_ERR_SUCCESS) {
        plugin_free(p);
        return rc;
    }
    reserve(p);
    if (!p->file)
        mosquitto_log_printf(MOSQ_LOG_WARNING, "otad: plugin_opt_credentials_file is not given");
    load(p);
    *data = p;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_cleanup(void *data, struct mosquitto_opt *options, int n)
{
    struct plugin *p = data;
    (void)options;
    (void)n;

    if (!p)
        return MOSQ_ERR_SUCCESS;
    for (size_t i = 0; i < ARRAY_LEN(hooks); i++)
        (void)mosquitto_callback_unregister(p->id, hooks[i].event, hooks[i].fn, hooks[i].topic);
    plugin_free(p);
    return MOSQ_ERR_SUCCESS;
}
