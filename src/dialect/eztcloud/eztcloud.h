/* The parts of the eztcloud dialect, for each other, and its payloads for dialects that share them.
 */
#pragma once

#include "dialect.h"

enum eztcloud_topic {
    TOPIC_ATTRIBUTES,
    TOPIC_ATTRIBUTES_GET,
    TOPIC_EVENT_REPORT,
    TOPIC_COMMAND_REPLY,
    TOPIC_CONNECT,
    TOPIC_DISCONNECT,
};

/* ---- decode.c ---- */
int eztcloud_decode(const struct dialect_in *in, struct arena *a, struct device_events *ret,
                    enum metric *ret_refused);
/* The payload of a device that speaks for itself, into one event; from: its device and ref. */
int eztcloud_decode_direct(enum eztcloud_topic topic, const struct dialect_in *in, struct arena *a,
                           const struct device_event *from, struct device_events *ret,
                           enum metric *ret_refused);
/* The payload of a gateway that speaks of those behind it. */
int eztcloud_decode_gateway(enum eztcloud_topic topic, enum address_form form,
                            const struct dialect_in *in, struct arena *a, struct str gateway,
                            struct device_events *ret, enum metric *ret_refused);
/* What one device says, into *ev, whose address is filled already. outer: see decode_reply(). */
int eztcloud_decode_one(struct arena *a, struct device_event *ev, enum eztcloud_topic topic,
                        json_t *in, const json_t *outer, enum metric *ret_refused);
int eztcloud_refuse(enum metric *ret_refused, enum metric why); /* E_PROTO */
/* A whole number, also one that is written as 1.0 or "1". */
bool eztcloud_whole_number(const json_t *j, int64_t *ret);
/* A payload as JSON, a new reference; E_PROTO. */
int eztcloud_parse(const struct dialect_in *in, unsigned depth, json_t **ret,
                   enum metric *ret_refused);

/* ---- behind.c: ret->root is a gateway's message; it becomes events of those behind it ---- */
int eztcloud_decode_behind(struct arena *a, struct device_events *ret, enum eztcloud_topic topic,
                           enum address_form form, struct str gateway, enum metric *ret_refused);

/* ---- encode.c ---- */
int eztcloud_encode(const struct device_command *cmd, struct arena *a, struct dialect_out *ret);
struct str eztcloud_encode_payload(const struct device_command *cmd, struct arena *a);
