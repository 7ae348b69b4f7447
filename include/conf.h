/*
 * conf: TOML file and environment -> one immutable struct. One table of items (conf/items.c)
 * drives parsing, checking, defaults, OTAD_<SECTION>_<KEY> overrides, the sample file and the
 * table of otad.toml(5). The parser takes the part of TOML 1.0 that a configuration needs:
 * comments, [sections], bare and quoted keys, basic and literal strings, integers, booleans and
 * arrays of strings; anything else is refused with its line.
 */
#pragma once

#include "util.h"

#include <stdio.h>

/* An address or a network; IPv4 as ::ffff:a.b.c.d, with 96 bits more. */
struct conf_net {
    uint8_t start[16];
    unsigned bits;
};
struct conf_nets {
    const struct conf_net *list;
    size_t count;
};

struct conf {
    const char *data_dir;

    const char *http_listen;                                      /* "address:port", [v6]:port */
    const char *http_public_url;                                  /* no trailing slash */
    const char *http_public_https_url;                            /* "" = none */
    const char *http_https_listen, *http_tls_cert, *http_tls_key; /* "" = no TLS listener */
    const char *http_metrics_listen;          /* "" = /metrics is on the main listener */
    struct conf_nets http_trusted_proxies;    /* whose X-Forwarded-For is believed */
    int64_t http_threads;                     /* 0 = number of processors, at most 8 */
    int64_t http_max_connections;             /* over all threads */
    int64_t http_max_connections_per_address; /* 0 = no bound */
    int64_t http_request_timeout_s;           /* total, for headers and JSON bodies */
    int64_t http_idle_timeout_s;
    int64_t http_stall_timeout_s; /* a download or upload may stand still so long (>= 60) */
    int64_t http_max_file_mib;    /* 1..4096, default 100 */
    int64_t http_auth_failures_per_minute; /* per address; default 20 */

    const char *mqtt_url, *mqtt_username, *mqtt_password, *mqtt_client_id;
    const char *mqtt_ca, *mqtt_cert, *mqtt_key; /* for mqtts:// */
    const char *mqtt_auth_dir;                  /* "" = write no mosquitto password and ACL files */
    const char *mqtt_broker_pid_file;           /* "" = signal nobody after writing them */
    const char *mqtt_hook_secret;               /* "" = no /mqtt/auth and /mqtt/acl */
    int64_t mqtt_batch;                         /* messages per turn at most; default 2000 */

    const char *ota_command_name; /* "OTA升级" */
    int64_t ota_link_lifetime_s;  /* default 48 h */

    int64_t db_cache_kib; /* page cache of the writer */

    /* What devices that fetch their login are told. */
    const char *connect_host; /* "" = there is no such route */
    int64_t connect_mqtt_port, connect_mqtts_port, connect_tcp_port; /* 0 = left out */
    int64_t connect_per_hour;                                        /* requests of one address */

    int64_t task_keep_runs, task_keep_days; /* of each task */

    int64_t webhooks_allow_private; /* 1 = loopback, private networks and http:// are fine */
    int64_t webhooks_timeout_s;
    const char *webhooks_ca; /* "" = the system's authorities */

    int64_t logs_keep, logs_keep_days; /* of devices, about updates */

    int64_t events_keep, events_keep_hours; /* rows at most, and how long */

    enum log_level log_level;
    const char *log_rooms; /* for log_rooms_set; "" = all rooms at log_level */
    bool log_json;

    const char *admin_token; /* OTAD_ADMIN_TOKEN or …_FILE only; "" = not given */
};

/* Read path (NULL: defaults and environment alone) and the environment. On error returns E_PROTO
 * (or -errno when the file can't be read) and f->text is "FILE:LINE: what, and what would be
 * right"; for an environment variable its name stands in place of FILE:LINE.
 * The result is heap memory; conf_free() it. Any thread. */
int conf_load(const char *path, struct conf **ret, struct fail *f) MUST_USE;
void conf_free(struct conf *c);
/* Can the files that it names (certificates, keys, authorities) be read? For who asks whether it is
 * fine: other sub-commands need none of them. 0, or -errno with the same kind of text. Blocks. */
int conf_check_files(const struct conf *c, struct fail *f) MUST_USE;

/* "address:port" -> parts; port 0..65535; "[::1]:80" for v6. E_PROTO on nonsense. */
int conf_listen(const char *text, char host[64], int *ret_port, struct fail *f) MUST_USE;
/* mqtt://host[:port] or mqtts://…; default ports 1883 and 8883. */
int conf_mqtt_url(const char *text, char host[256], int *ret_port, bool *ret_tls,
                  struct fail *f) MUST_USE;
/* A numeric address, IPv4 or IPv6, as conf_net has it. False: text is none. */
bool conf_address(const char *text, uint8_t ret[16]);
bool conf_nets_have(const struct conf_nets *nets, const uint8_t address[16]);

/* The sample file with every item, its default and help, and the table of otad.toml(5). */
void conf_print_sample(FILE *out);
void conf_print_man_items(FILE *out); /* mdoc .It rows */
