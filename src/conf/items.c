/*
 * The table of all items. A new item is a row here and a member of struct conf; the parser, the
 * environment, config/otad.toml and otad.toml(5) follow. Rows of one section stand together, in
 * the order in which people read them.
 */
#include "item.h"

#define AT(member) offsetof(struct conf, member)
#define STRING(section, key, member, rule, initial, max, help)                                     \
    {                                                                                              \
        section, key, ITEM_STRING, rule, AT(member), initial, 0, max, false, help                  \
    }
#define INT(section, key, member, initial, min, max, help)                                         \
    {                                                                                              \
        section, key, ITEM_INT, RULE_ANY, AT(member), initial, min, max, false, help               \
    }

const struct item conf_items[] = {
    STRING("", "data_dir", data_dir, RULE_SOME, "/var/lib/otad", 0,
           "Folder of the database, the firmware files and the generated admin token."),
    {"", "admin_token", ITEM_STRING, RULE_SECRET, AT(admin_token), "", 0, 255, true,
     "Becomes the admin token of project 'default' at the first start; else one is generated into "
     "<data_dir>/admin-token."},

    STRING("http", "listen", http_listen, RULE_LISTEN, "0.0.0.0:8080", 0,
           "Address and port of the API and of plain downloads; [::]:8080 for IPv6."),
    STRING("http", "public_url", http_public_url, RULE_HTTP, "http://127.0.0.1:8080", 80,
           "How devices reach this server: the base of plain download links. Set it to a name or "
           "address that the devices can use."),
    STRING("http", "public_https_url", http_public_https_url, RULE_HTTPS_OPT, "", 80,
           "Base of download links when a firmware wants HTTPS. Empty: such firmware is refused."),
    STRING("http", "https_listen", http_https_listen, RULE_LISTEN_OPT, "", 0,
           "Address and port of the TLS listener. Empty: none; a proxy in front may do TLS."),
    STRING("http", "tls_cert", http_tls_cert, RULE_FILE_OPT, "", 0,
           "File with the certificate chain (PEM) of the TLS listener."),
    STRING("http", "tls_key", http_tls_key, RULE_FILE_OPT, "", 0,
           "File with the private key (PEM) of the TLS listener."),
    STRING("http", "metrics_listen", http_metrics_listen, RULE_LISTEN_OPT, "", 0,
           "Address and port of a listener for /metrics alone. Empty: /metrics is on listen."),
    {"http", "trusted_proxies", ITEM_NETS, RULE_ANY, AT(http_trusted_proxies), "", 0, 0, false,
     "Addresses and networks of the proxies in front, such as [\"127.0.0.1\", \"fd00::/8\"]: what "
     "comes through them counts for the last address in X-Forwarded-For that is none of them, and "
     "max_connections_per_address is not for them. A proxy must set or extend that header. Empty: "
     "the header is ignored."},
    INT("http", "threads", http_threads, "0", 0, 64,
        "Threads that serve HTTP. 0: one per processor, at most 8."),
    INT("http", "max_connections", http_max_connections, "20000", 16, 1000000,
        "Open connections at most, over all threads."),
    INT("http", "max_connections_per_address", http_max_connections_per_address, "0", 0, 1000000,
        "Open connections of one address at most. 0: no bound, as many devices may share one."),
    INT("http", "request_timeout_s", http_request_timeout_s, "30", 1, 3600,
        "Seconds in which the headers and a JSON body must have arrived."),
    INT("http", "idle_timeout_s", http_idle_timeout_s, "60", 1, 3600,
        "Seconds that a connection may wait for its next request."),
    INT("http", "stall_timeout_s", http_stall_timeout_s, "120", 60, 3600,
        "Seconds that a download or upload may stand still. Some devices pause for 60 to write."),
    INT("http", "max_file_mib", http_max_file_mib, "100", 1, 4096,
        "Largest firmware file that is taken, in MiB."),
    INT("http", "auth_failures_per_minute", http_auth_failures_per_minute, "20", 1, 100000,
        "Requests with a wrong token that one address may make in a minute. Of wrong passwords so "
        "many for each device at an address, and 20 times as many for all there."),

    STRING("mqtt", "url", mqtt_url, RULE_MQTT, "mqtt://127.0.0.1:1883", 0,
           "The broker: mqtt://host:port, or mqtts://host:port for TLS."),
    STRING("mqtt", "username", mqtt_username, RULE_ANY, "otad", 255, "Login at the broker."),
    STRING("mqtt", "password", mqtt_password, RULE_SECRET, "", 255,
           "Password at the broker. Better given as OTAD_MQTT_PASSWORD_FILE or as the systemd "
           "credential mqtt_password."),
    STRING("mqtt", "client_id", mqtt_client_id, RULE_SOME, "otad", 255,
           "MQTT client identifier; unique at the broker, and the same after a restart. Without "
           "the broker's plugin nobody should guess it: who comes with it gets our session."),
    STRING("mqtt", "ca", mqtt_ca, RULE_FILE_OPT, "", 0,
           "File with the authorities (PEM) that sign the broker's certificate. Empty: the "
           "system's."),
    STRING("mqtt", "cert", mqtt_cert, RULE_FILE_OPT, "", 0,
           "File with our certificate (PEM), if the broker asks for one."),
    STRING("mqtt", "key", mqtt_key, RULE_FILE_OPT, "", 0,
           "File with the private key (PEM) of that certificate."),
    STRING("mqtt", "auth_dir", mqtt_auth_dir, RULE_ANY, "", 0,
           "Folder into which mosquitto's password and ACL files of all devices are written, and "
           "the plugin's file of topics; it is made when it is missing. Empty: none are written."),
    STRING("mqtt", "broker_pid_file", mqtt_broker_pid_file, RULE_ANY, "", 0,
           "File with the process id of mosquitto, which gets SIGHUP after they were written. "
           "Empty: nobody is signalled."),
    STRING("mqtt", "hook_secret", mqtt_hook_secret, RULE_SECRET, "", 255,
           "What another broker (EMQX) sends as bearer token to /mqtt/auth and /mqtt/acl, where it "
           "asks about logins and topics. Empty: there are no such routes."),
    INT("mqtt", "batch", mqtt_batch, "2000", 1, 65535,
        "Messages that one turn takes and one commit stores, at most."),

    {"log", "level", ITEM_LEVEL, RULE_ANY, AT(log_level), "info", 0, 0, false,
     "How much is logged."},
    STRING("log", "rooms", log_rooms, RULE_ROOMS, "", 0,
           "Parts of otad that log more or less than that, such as 'mqtt=debug, core=debug, "
           "http=warn'; the parts are the folders of the source, as in room= of a line."),
    {"log", "format", ITEM_FORMAT, RULE_ANY, AT(log_json), "logfmt", 0, 0, false,
     "How a line is written."},

    STRING("ota", "command_name", ota_command_name, RULE_SOME, "OTA升级", 16,
           "Name of the upgrade command that EZtCloud devices get."),
    INT("ota", "link_lifetime_s", ota_link_lifetime_s, "172800", 60, 365 * DAY_S,
        "Seconds that a download link works. The default is two days."),

    STRING("connect", "host", connect_host, RULE_HOST_OPT, "", 0,
           "Name or address of the broker as devices reach it: what devices that fetch their login "
           "at /api/connect are told. Empty: there is no such route."),
    INT("connect", "mqtt_port", connect_mqtt_port, "1883", 0, 65535,
        "Port for MQTT that they are told. 0: none."),
    INT("connect", "mqtts_port", connect_mqtts_port, "0", 0, 65535,
        "Port for MQTT over TLS that they are told. 0: none."),
    INT("connect", "tcp_port", connect_tcp_port, "0", 0, 65535,
        "Port of a gateway for raw TCP beside otad that they are told. 0: none."),
    INT("connect", "per_hour", connect_per_hour, "1000", 1, 1000000,
        "Requests for a login that one address may make in an hour."),

    INT("task", "keep_runs", task_keep_runs, "100", 1, 100000,
        "Ended runs of each task that are kept."),
    INT("task", "keep_days", task_keep_days, "90", 1, 3650,
        "Days for which an ended run is kept. One with messages that still wait for devices "
        "stays."),

    INT("db", "cache_kib", db_cache_kib, "8192", 256, 4 << 20,
        "Page cache of the database's writer, in KiB."),

    INT("events", "keep", events_keep, "100000", 1000, 100000000,
        "Events that are kept at most, for those who watch and were away."),
    INT("events", "keep_hours", events_keep_hours, "72", 1, 8760,
        "Hours after which an event is removed."),

    INT("logs", "keep", logs_keep, "10000", 10, 1000000,
        "Logs of devices about updates that are kept at most, of up to 64 KiB each."),
    INT("logs", "keep_days", logs_keep_days, "30", 1, 3650, "Days after which one is removed."),

    INT("webhooks", "allow_private", webhooks_allow_private, "0", 0, 1,
        "1: webhooks may go to loopback and private addresses, and over plain http://. 0: only to "
        "the public internet, over https://."),
    INT("webhooks", "timeout_s", webhooks_timeout_s, "15", 1, 60,
        "Seconds that a receiver may take to answer."),
    STRING("webhooks", "ca", webhooks_ca, RULE_FILE_OPT, "", 0,
           "File with the authorities (PEM) that sign the receivers' certificates. Empty: the "
           "system's."),
};
const size_t conf_item_count = ARRAY_LEN(conf_items);

const char *item_words(const struct item *item)
{
    switch (item->kind) {
    case ITEM_LEVEL:
        return "error|warn|info|debug"; /* the order of enum log_level */
    case ITEM_FORMAT:
        return "logfmt|json";
    case ITEM_STRING:
    case ITEM_INT:
    case ITEM_NETS:
        break;
    }
    return NULL;
}

void item_env_name(const struct item *item, char ret[64])
{
    (void)str_fmt(ret, 64, "OTAD_%s%s%s", item->section, *item->section ? "_" : "", item->key);
    for (char *p = ret; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 32);
}
