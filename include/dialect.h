/*
 * dialect: the contract between one engine and many device protocols. A dialect turns bytes into
 * neutral events and neutral commands into bytes. decode and encode are pure: no database, no
 * sockets, no clock; memory comes from the arena. One row in the table (dialect/table.c), one
 * folder each, with golden files, a fuzz target and a README naming the protocol's document.
 */
#pragma once

#include "device.h" /* enum address_form and the bounds of an address */
#include "json.h"
#include "util.h"

#define DIALECT_PAYLOAD_MAX    65536 /* bytes of one device message */
#define DIALECT_DEPTH_MAX      16    /* nesting of its JSON */
#define DIALECT_TREE_DEPTH_MAX 32    /* of a tree of devices, each two levels below its parent */
#define DIALECT_NAME_MAX       64    /* method, attribute and module names */
#define DIALECT_EVENTS_MAX     256   /* devices of which one message speaks */

enum event_kind {
    EVENT_REPORT,         /* attributes: body is the object */
    EVENT_ATTRIBUTES_GET, /* asks for stored attributes: keys */
    EVENT_METHOD,         /* a named event; rules say whether it is an OTA check */
    EVENT_REPLY,          /* an answer to a command: id, and a result when it has one */
    EVENT_ONLINE,         /* a gateway says that the device behind it is connected, */
    EVENT_OFFLINE,        /* or no longer */
};
enum reply_result {
    REPLY_RECEIVED,   /* just an answer: the command arrived */
    REPLY_DOWNLOADED, /* the bytes are there */
    REPLY_INSTALLED,  /* the device says that it took the firmware */
    REPLY_FAILED,     /* one attempt failed */
};
struct device_event {
    enum event_kind kind;
    struct str device; /* key, from the topic or the broker's word; the gateway's when form is not
                        * FORM_DIRECT; the serial number when type_id is given */
    int64_t type_id;   /* a foreign topic of that type: who it is goes by the serial number, */
    struct str sn;     /* which is this */
    const char *user;  /* … and has to agree with the broker's word; NULL: it gave none */
    const char **path; /* n_path addresses behind that gateway; 0 = the device itself */
    size_t n_path;
    enum address_form form;
    bool as_list;        /* `device` was written as a list; so is the answer's */
    struct str ref;      /* what the device named its message; its answer's topic repeats it */
    const char *product; /* key of the type, should the device have to be made; NULL */
    const char *method;  /* METHOD, REPLY */
    json_t *body;        /* REPORT: attributes; METHOD, REPLY: params; maybe NULL. Of root */
    json_t *times;       /* REPORT of times past: when each attribute was true, ms UTC. Of root */
    const char **keys;   /* ATTRIBUTES_GET; n_keys 0 = all */
    size_t n_keys;
    int64_t id; /* REPLY: the command's id; METHOD: the event's own, has_id */
    bool has_id;
    enum reply_result result;
    const char *text; /* REPLY_FAILED: what failed, in words */
};
#define DEVICE_EVENT_NOW INT64_MAX /* among times: not said */
/* What one message says; a gateway's may speak of many devices. All of one kind and form, all
 * from one topic. */
struct device_events {
    struct device_event *list;
    size_t n;
    json_t *root; /* the parsed message; owner of every body */
};
void device_events_done(struct device_events *evs);

enum command_kind {
    COMMAND_OFFER,           /* an upgrade */
    COMMAND_NOTHING,         /* checked, nothing to do */
    COMMAND_ATTRIBUTES,      /* answer to ATTRIBUTES_GET */
    COMMAND_REPORT_RESPONSE, /* attributes arrived (device types that want it); of a gateway's
                              * message one for all devices, without a path */
    COMMAND_METHOD_RESPONSE, /* event arrived (device types that want it) */
    COMMAND_REPLY_RESPONSE,  /* reply arrived (the same types, where the protocol has that) */
    COMMAND_SEND,            /* any command: method, params, id */
    COMMAND_PUSH_ATTRIBUTES, /* attributes that the device is to take over */
};
struct offer_file {
    const char *name, *url;
    uint64_t size;
    const char *md5, *sha256; /* lower hex */
};
struct device_command {
    enum command_kind kind;
    struct str device; /* who it goes to, as in device_event */
    const char **path; /* and for whom */
    size_t n_path;
    enum address_form form;
    bool as_list;
    struct str ref;                   /* of the event that this answers */
    bool series;                      /* … it was a report of times past */
    const struct type_topics *topics; /* foreign ones of its type, if it speaks by them; NULL */
    struct str sn;                    /* … with this in them */
    const char *module, *version;     /* OFFER, NOTHING (module alone) */
    int64_t id;                       /* OFFER: the update's; NOTHING: 0 */
    const struct offer_file *files;
    size_t n_files;
    const char *command_name; /* "OTA升级" */
    const json_t *attributes; /* ATTRIBUTES, PUSH_ATTRIBUTES */
    const char *method;       /* SEND */
    const json_t *params;     /* SEND; NULL = {} */
    int error_code;           /* responses; 0 = OK */
    const char *error_text;
    int64_t now_ms; /* "ts" of responses */
};
struct dialect_in {
    const char *topic;
    const char *user; /* who published, by the word of the broker's plugin; NULL: not known */
    const void *payload;
    size_t n;
    const struct type_topic *map; /* the foreign topic that this one fits; NULL: none */
    struct str sn;                /* … and the serial number in it */
};
struct dialect_out {
    const char *topic;
    struct str payload;
};

struct dialect {
    const char *name;
    const char *const *filters; /* MQTT subscriptions, NULL-terminated */
    /* 0 with the events, of which there may be none, or E_NOTFOUND: not a topic of this dialect. A
     * message that is not acted on returns E_PROTO with *ret_refused naming the counter (M_BAD_…).
     * device_events_done is due whatever it returns. */
    int (*decode)(const struct dialect_in *in, struct arena *a, struct device_events *ret,
                  enum metric *ret_refused);
    /* 0, or E_UNSUPPORTED when the protocol has no such message. */
    int (*encode)(const struct device_command *cmd, struct arena *a, struct dialect_out *ret);
};
extern const struct dialect *const dialects[]; /* ended by NULL */
/* The one of that name; the first one for "" and for names that are not known (any more). */
const struct dialect *dialect_named(const char *name);
extern const struct dialect dialect_eztcloud, dialect_thingscloud, dialect_mapped;

/* ---- devices that speak over HTTP (ThingsCloud's) ---- */
/* A message that a device sent in a request: taken as if it had published it. */
struct device_post {
    const char *key;   /* who: it has proved that */
    const char *topic; /* as the dialect `thingscloud` has it */
    const void *payload;
    size_t n;
    bool takes_all; /* the answer has room for what is kept for the device */
    /* What is for it, JSON texts with commas in between; the caller's, empty before. */
    struct sbuf commands;   /* command/send */
    struct sbuf pushed;     /* attributes/push */
    struct sbuf attributes; /* attributes/get/response: one object */
    enum metric refused;    /* E_PROTO: why */
};

/* ---- applications: open/<app key>/<device key>/…, both ways (dialect/open). Pure. ---- */
extern const char *const open_filters[]; /* MQTT subscriptions, NULL-terminated */
struct open_message {                    /* what an application wants to be told to a device */
    struct str app, device;              /* of the topic */
    bool is_command;                     /* else attributes */
    const char *method;
    json_t *body;     /* attributes, or params (maybe NULL). Of root */
    const json_t *id; /* the application's own, a number or a text; NULL. Of root */
    json_t *root;
};
/* 0, E_NOTFOUND: no such topic, or E_PROTO with *ret_refused. open_message_done is due whatever it
 * returns. */
int open_decode(const struct dialect_in *in, struct open_message *ret, enum metric *ret_refused);
void open_message_done(struct open_message *m);
/* How applications hear of an event. id: JSON text that stands for a reply's own id; NULL = none.
 * E_UNSUPPORTED when they don't hear of such events. */
int open_encode(const char *app, const char *device, const struct device_event *ev, const char *id,
                struct arena *a, struct dialect_out *ret);
