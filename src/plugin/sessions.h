/*
 * Who is connected, and the telling of it. Of the plugin's files this and plugin.c know mosquitto.
 * Connections are held by the broker's pointer to them, which is only compared.
 */
#pragma once

#include "plugin.h"

#include <mosquitto.h>

#define PRESENCE_TOPIC "otad/presence"

struct session {
    struct session *next; /* of the same login */
    struct login *login;
    const struct mosquitto *client; /* only compared */
    char *client_id;
};

struct sessions {
    struct map map; /* struct mosquitto * -> struct session */
    struct ids ids;
    struct login service; /* otad's own login: its sessions alone */
};

void sessions_init(struct sessions *all);
void sessions_done(struct sessions *all); /* before the logins */
/* NULL: it is not connected, or no longer to be heard. */
struct session *sessions_of(const struct sessions *all, const struct mosquitto *client);
/* It has logged in. The same once more changes nothing. Whoever had its client id is forgotten now:
 * the broker looks at the will of that connection before it ends it. */
void sessions_add(struct sessions *all, const struct mosquitto *client, struct login *l);
/* It is gone; kept: the broker keeps its subscriptions and what comes for it. */
void sessions_drop(struct sessions *all, struct session *s, bool kept);
/* End the connections of a login, now. */
void sessions_end(struct sessions *all, struct login *l);
/* To those who subscribed PRESENCE_TOPIC: the list of all. */
void sessions_tell(const struct sessions *all);
