/*
 * What strings of the configuration must look like: listen addresses and URLs. A wrong one is
 * refused here, at start, with a word on what would be right, and not by a bind() or a device
 * much later. Names are not resolved: that would need the network.
 */
#include "conf.h"
#include "item.h"

#include <arpa/inet.h>

/* "host:port" or "[v6]:port" -> parts; a missing port gives *ret_port = dflt (-1: needed). */
static bool split(const char *text, char *host, size_t cap, int dflt, int *ret_port, bool *ret_v6)
{
    const char *end, *colon;
    int64_t port = dflt;
    *ret_v6 = text[0] == '[';
    if (*ret_v6) {
        text++;
        end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
        colon = end[1] ? end + 1 : NULL;
    } else {
        colon = strchr(text, ':');
        end = colon ? colon : text + strlen(text);
    }
    size_t n = (size_t)(end - text);
    if (n == 0 || n >= cap)
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    if (colon && (colon[1] == '-' || num_parse(colon + 1, 0, 65535, &port) < 0))
        return false;
    *ret_port = (int)port;
    return port >= 0;
}

static bool is_v6(const char *host)
{
    struct in6_addr a;
    return inet_pton(AF_INET6, host, &a) == 1;
}

int conf_listen(const char *text, char host[64], int *ret_port, struct fail *f)
{
    struct in_addr a4;
    bool v6;
    if (!split(text, host, 64, -1, ret_port, &v6))
        return fail(f, E_PROTO, "'%.80s' is no address:port, such as 0.0.0.0:8080 or [::]:8080",
                    text);
    if (!v6 && strcmp(host, "localhost") == 0)
        (void)str_copy(host, 64, "127.0.0.1");
    if (v6 ? !is_v6(host) : inet_pton(AF_INET, host, &a4) != 1)
        return fail(f, E_PROTO,
                    "'%.80s' is no numeric address; write one such as 0.0.0.0:8080 or [::]:8080",
                    text);
    return 0;
}

static bool is_host_name(const char *host)
{
    size_t n = strlen(host);
    for (const char *p = host; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        bool digit = *p >= '0' && *p <= '9';
        bool inner = (*p == '-' || *p == '.') && p > host && !(*p == '.' && p[-1] == '.');
        if (!letter && !digit && *p != '_' && !inner)
            return false;
    }
    return n > 0 && n <= 253 && host[n - 1] != '-';
}

static bool split_url(const char *authority, char host[256], int dflt, int *ret_port)
{
    bool v6;
    return split(authority, host, 256, dflt, ret_port, &v6) && *ret_port > 0 &&
           (v6 ? is_v6(host) : is_host_name(host));
}

/* Of an authority that split_url() took. */
static bool is_any_address(const char *authority)
{
    size_t n = authority[0] == '[' ? strcspn(authority, "]") + 1 : strcspn(authority, ":");
    return (n == 7 && memcmp(authority, "0.0.0.0", n) == 0) ||
           (n == 4 && memcmp(authority, "[::]", n) == 0);
}

int conf_mqtt_url(const char *text, char host[256], int *ret_port, bool *ret_tls, struct fail *f)
{
    const char *rest = NULL;
    *ret_tls = strncmp(text, "mqtts://", 8) == 0;
    if (*ret_tls)
        rest = text + 8;
    else if (strncmp(text, "mqtt://", 7) == 0)
        rest = text + 7;
    if (!rest)
        return fail(f, E_PROTO, "'%.80s' must start with mqtt:// or mqtts://", text);
    if (strchr(rest, '@'))
        return fail(f, E_PROTO, "a login has no place in the URL; use username and password");
    if (!split_url(rest, host, *ret_tls ? 8883 : 1883, ret_port))
        return fail(f, E_PROTO, "'%.80s' is no mqtt://host:port, such as mqtt://127.0.0.1:1883",
                    text);
    return 0;
}

static int check_http_url(const char *text, const char *scheme, size_t max, struct arena *a,
                          const char **ret, struct fail *f)
{
    char host[256], authority[300];
    size_t n = strlen(text), skip = strlen(scheme);
    int port;
    if (strncmp(text, scheme, skip) != 0)
        return fail(f, E_PROTO, "'%.80s' must start with %s", text, scheme);
    while (n > skip && text[n - 1] == '/')
        n--;
    if (n > max)
        return fail(f, E_PROTO, "the URL has %zu characters, at most %zu are taken", n, max);
    char *url = arena_strndup(a, text, n);
    for (const char *p = url; *p; p++)
        if (*p <= ' ' || *p > '~' || strchr("\"<>\\^`{|}?#@", *p))
            return fail(f, E_PROTO, "the URL '%.80s' has a character that it can't hold: %s", url,
                        "only scheme, host, port and path are taken");
    (void)str_copy(authority, sizeof(authority), url + skip);
    authority[strcspn(authority, "/")] = '\0';
    if (!split_url(authority, host, 80, &port))
        return fail(f, E_PROTO, "'%.80s' is no URL such as %sota.example.com:8080", url, scheme);
    if (is_any_address(authority))
        return fail(f, E_PROTO, "'%.80s': everywhere is an address to listen on; write one that %s",
                    url, "devices can reach");
    *ret = url;
    return 0;
}

static int check_rule(const struct item *item, struct arena *a, const char *text, const char **ret,
                      struct fail *f)
{
    char host[256];
    int port;
    bool tls;
    switch (item->rule) {
    case RULE_LISTEN_OPT:
        if (!*text)
            return 0;
        return conf_listen(text, host, &port, f);
    case RULE_LISTEN:
        return conf_listen(text, host, &port, f);
    case RULE_HTTP:
        return check_http_url(text, "http://", (size_t)item->max, a, ret, f);
    case RULE_HTTPS_OPT:
        if (!*text)
            return 0;
        return check_http_url(text, "https://", (size_t)item->max, a, ret, f);
    case RULE_MQTT:
        return conf_mqtt_url(text, host, &port, &tls, f);
    case RULE_HOST_OPT:
        if (!*text || is_host_name(text) || is_v6(text))
            return 0;
        return fail(f, E_PROTO, "'%.80s' is no name or address of a host, such as mqtt.example.com",
                    text);
    case RULE_ROOMS:
        return log_rooms_check(text, f);
    case RULE_SOME:
        return *text ? 0 : fail(f, E_PROTO, "it must not be empty");
    case RULE_ANY:
    case RULE_FILE_OPT:
    case RULE_SECRET:
        return 0;
    }
    abort();
}

int item_check_string(const struct item *item, struct arena *a, const char *where, const char *text,
                      const char **ret, struct fail *f)
{
    size_t n = strlen(text), max = item->max ? (size_t)item->max : 1024;
    int rc = 0;
    *ret = text;
    if (!str_is_text(text, n))
        rc = fail(f, E_PROTO, "the text holds control characters or is not UTF-8");
    else if (n > max && item->rule != RULE_HTTP && item->rule != RULE_HTTPS_OPT)
        rc = fail(f, E_PROTO, "the text has %zu bytes, at most %zu are taken", n, max);
    else
        rc = check_rule(item, a, text, ret, f);
    if (rc < 0)
        (void)fail_prefix(f, "%s: %s: ", where, item->key);
    return rc;
}
