/*
 * Subscriptions that change while the client lives. Those that came or went are told to the broker
 * at once; a connection that is not there yet begins with the whole list.
 */
#include "internal.h"

#include <mqtt_protocol.h>

static bool has(char *const *list, int n, const char *filter)
{
    for (int i = 0; i < n; i++)
        if (strcmp(list[i], filter) == 0)
            return true;
    return false;
}

static int count(const char *const *filters)
{
    int n = 0;
    while (filters && filters[n])
        n++;
    return n;
}

static int check(const char *const *filters, struct fail *f)
{
    for (const char *const *p = filters; p && *p; p++)
        if (!**p || mosquitto_sub_topic_check(*p) != MOSQ_ERR_SUCCESS)
            return fail(f, E_PROTO, "'%s' is not an MQTT topic filter", *p);
    return 0;
}

/* One packet each way; an id each. */
static void tell(struct mqtt *m, char **came, int n_came, char **gone, int n_gone)
{
    int rc = MOSQ_ERR_SUCCESS;

    if (n_came > 0) {
        rc = mosquitto_subscribe_multiple(m->lib, NULL, n_came, came, m->subscribe_qos,
                                          MQTT_SUB_OPT_SEND_RETAIN_NEVER, NULL);
        m->seq++;
    }
    if (n_gone > 0 && rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_unsubscribe_multiple(m->lib, NULL, n_gone, gone, NULL);
        m->seq++;
    }
    if (rc != MOSQ_ERR_SUCCESS)
        session_fail_rc(m, rc, errno);
}

int mqtt_filters(struct mqtt *m, const char *const *filters, struct fail *f)
{
    int n = count(filters), old_n = m->filter_count, n_came = 0, n_gone = 0;
    int rc = check(filters, f);

    if (rc < 0)
        return rc;
    char **old = m->filters, **now = xcalloc((size_t)n + 1, sizeof(*now));
    AUTO(free) char **came = xcalloc((size_t)n + 1, sizeof(*came));
    AUTO(free) char **gone = xcalloc((size_t)old_n + 1, sizeof(*gone));
    for (int i = 0; i < n; i++) {
        now[i] = xstrdup(filters[i]);
        if (!has(old, old_n, now[i]))
            came[n_came++] = now[i];
    }
    for (int i = 0; i < old_n; i++)
        if (!has(now, n, old[i]))
            gone[n_gone++] = old[i];
    m->filters = now;
    m->filter_count = n;
    if (session_connected(m) && !m->dead && n_came + n_gone > 0) {
        client_enter(m);
        tell(m, came, n_came, gone, n_gone);
        client_leave(m);
    }
    for (int i = 0; i < old_n; i++)
        free(old[i]);
    free(old);
    return 0;
}
