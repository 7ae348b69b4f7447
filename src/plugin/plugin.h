/*
 * The inside of the broker's plugin. plugin.c and sessions.c know mosquitto, the other files do
 * not. Everything runs on the broker's one thread, so nothing here may wait:
 * a login is a look into memory and, at most, one short PBKDF2.
 */
#pragma once

#include "crypto.h"
#include "util.h"

/* ---- rights.c: what a device may do with topics (device_topics.def) ---- */
bool rights_publish(const char *user, const char *topic);
bool rights_subscribe(const char *user, const char *filter);
/* Bare topics are never read through a subscription: what is for a device alone is handed to it. */
bool rights_read(const char *user, const char *topic);

/* ---- logins.c: who may log in ---- */
struct session;
struct holder;
struct login {
    char *name;
    char *hash;               /* NULL: may not log in */
    uint64_t right;           /* keyed hash of the password that was right last; 0 = none */
    int64_t told_us;          /* when otad told a change; 0 = known from the file */
    unsigned round;           /* the reading of the file that had it */
    struct session *sessions; /* its connections */
    struct holder *ids;       /* the client ids that it holds */
    char *place;              /* "TYPE/SN" among foreign topics; NULL = none */
    unsigned place_round;     /* the reading of the file that named it */
};
struct logins {
    struct map map; /* name -> struct login */
    unsigned round;
    int64_t again_us; /* when what was told no longer stands against the files; 0 = they agree */
    /* The login lost its right or changed its password: its connections must go. */
    void (*on_changed)(void *arg, struct login *l);
    /* It is about to be forgotten. May be NULL. */
    void (*on_gone)(void *arg, struct login *l);
    void *arg;
};
void logins_init(struct logins *l, void (*on_changed)(void *arg, struct login *l), void *arg);
void logins_done(struct logins *l);
struct login *logins_find(struct logins *l, const char *name);
/* Does the password fit? */
bool login_check(struct login *l, const char *password);
void logins_set(struct logins *l, const char *name, const char *hash, int64_t now_us);
void logins_revoke(struct logins *l, const char *name, int64_t now_us);
/* Take over the whole file ("name:hash" lines), or nothing when it is not well formed. Changes
 * that otad told in the last minute win: the file may be older (logins_due). Returns how many
 * logins it has. */
int logins_load(struct logins *l, const char *path, int64_t now_us, struct fail *f) MUST_USE;
/* Told lately: the files may be older. */
bool login_was_told(const struct login *l, int64_t now_us);
/* The files say something else than what was told: they are read again when that has had its time.
 */
void logins_disagree(struct logins *l, const struct login *one);
/* Is it time for that? True once; when that reading fails, again after as long. */
bool logins_due(struct logins *l, int64_t now_us);
/* A file's bytes, bounded; the caller frees. */
int logins_slurp(const char *path, char **ret, size_t *ret_n, struct fail *f) MUST_USE;

/* ---- ids.c: whose a client id is ---- */
struct ids {
    struct map map;        /* client id -> struct holder */
    struct login *service; /* may have any; has no hash */
};
void ids_init(struct ids *d, struct login *service);
void ids_done(struct ids *d);
/* It is the service's, connected or not. */
void ids_reserve(struct ids *d, const char *id);
/* The login that it belongs to; NULL: to nobody. One that may not log in holds nothing. */
const struct login *ids_owner(const struct ids *d, const char *id, int64_t now_us);
/* The broker keeps a session of it for the login, from before its own start. */
void ids_keep(struct ids *d, const char *id, struct login *l, int64_t now_us);
/* s connected with it. Returns the session that had it until now, or NULL. */
struct session *ids_take(struct ids *d, const char *id, struct login *l, struct session *s);
/* s is gone; kept: the broker keeps what was subscribed, and what comes. */
void ids_leave(struct ids *d, const char *id, const struct session *s, bool kept, int64_t now_us);
/* The login, which has no sessions, is about to be forgotten. */
void ids_forget(struct ids *d, struct login *l);

/* ---- places.c: foreign topics, by serial number ---- */
struct places {
    struct map types;  /* type -> its patterns */
    struct map claims; /* "TYPE/SN" -> how many logins have it */
    char *file;
};
enum place_access { PLACE_PUBLISH, PLACE_SUBSCRIBE, PLACE_READ };
void places_init(struct places *p);
/* The file `topics` in the folder of the credentials. */
void places_beside(struct places *p, const char *credentials);
void places_done(struct places *p); /* the logins' places die with the logins */
/* place.p NULL: none. */
void places_set(struct places *p, struct login *l, struct str place);
bool places_may(const struct places *p, const struct login *l, enum place_access access,
                const char *topic);
/* Take over the file, right after logins_load(); told ones win as there. Returns how many lines. */
int places_load(struct places *p, struct logins *l, int64_t now_us, struct fail *f) MUST_USE;
