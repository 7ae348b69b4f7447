/* The parts of the eztcloud dialect, for each other, and its payloads for dialects that share them.
 */
#pragma once

#include "dialect.h"

int eztcloud_decode(const struct dialect_in *in, struct arena *a, struct device_event *ret,
                    enum metric *ret_refused);
int eztcloud_encode(const struct device_command *cmd, struct arena *a, struct dialect_out *ret);

/* ---- payloads alone ---- */
enum eztcloud_topic {
    TOPIC_ATTRIBUTES,
    TOPIC_ATTRIBUTES_GET,
    TOPIC_EVENT_REPORT,
    TOPIC_COMMAND_REPLY,
};
/* Fills all of *ret but device and ref, which the caller has set. */
int eztcloud_decode_payload(enum eztcloud_topic topic, const struct dialect_in *in, struct arena *a,
                            struct device_event *ret, enum metric *ret_refused);
struct str eztcloud_encode_payload(const struct device_command *cmd, struct arena *a);
