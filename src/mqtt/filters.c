/*
 * Subscriptions that change while the client lives. Those that came or went are told to the broker
 * at once; a connection that is not there yet begins with the whole list. What was given up is
 * remembered until the broker says that it has forgotten it: a session that is kept may have it
 * from before.
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

/* ---- given up, and not yet forgotten by the broker ---- */

static void owe(struct mqtt *m, const char *filter)
{
    if (has(m->owed, m->owed_count, filter))
        return;
    m->owed = xrealloc(m->owed, ((size_t)m->owed_count + 1) * sizeof(*m->owed));
    m->owed[m->owed_count++] = xstrdup(filter);
}

/* It is wanted again. */
static void owe_no_more(struct mqtt *m, const char *filter)
{
    for (int i = 0; i < m->owed_count; i++)
        if (strcmp(m->owed[i], filter) == 0) {
            free(m->owed[i]);
            m->owed[i] = m->owed[--m->owed_count];
            return;
        }
}

void filters_done(struct mqtt *m)
{
    for (int i = 0; i < m->owed_count; i++)
        free(m->owed[i]);
    free(TAKE(m->owed));
    m->owed_count = 0;
}

void filters_give_up(struct mqtt *m)
{
    if (m->owed_count == 0)
        return;
    int rc = mosquitto_unsubscribe_multiple(m->lib, &m->owed_mid, m->owed_count, m->owed, NULL);
    m->seq++;
    if (rc != MOSQ_ERR_SUCCESS)
        session_fail_rc(m, rc, errno);
}

/* The last one names all that is owed. */
static void on_unsubscribe(struct mosquitto *lib UNUSED, void *arg, int mid,
                           const mosquitto_property *props UNUSED)
{
    struct mqtt *m = arg;

    if (!m->lost && !m->dead && mid == m->owed_mid)
        filters_done(m);
}

void filters_hooks(struct mosquitto *lib)
{
    mosquitto_unsubscribe_v5_callback_set(lib, on_unsubscribe);
}

size_t mqtt_owed(const struct mqtt *m)
{
    return (size_t)m->owed_count;
}

/* One packet each way; an id each. */
static void tell(struct mqtt *m, char **came, int n_came, bool gone)
{
    int rc = MOSQ_ERR_SUCCESS;

    if (n_came > 0) {
        rc = mosquitto_subscribe_multiple(m->lib, NULL, n_came, came, m->subscribe_qos,
                                          MQTT_SUB_OPT_SEND_RETAIN_NEVER, NULL);
        m->seq++;
    }
    if (rc != MOSQ_ERR_SUCCESS)
        session_fail_rc(m, rc, errno);
    else if (gone)
        filters_give_up(m);
}

int mqtt_filters(struct mqtt *m, const char *const *filters, struct fail *f)
{
    int n = count(filters), old_n = m->filter_count, n_came = 0;
    bool gone = false;
    int rc = check(filters, f);

    if (rc < 0)
        return rc;
    char **old = m->filters, **now = xcalloc((size_t)n + 1, sizeof(*now));
    AUTO(free) char **came = xcalloc((size_t)n + 1, sizeof(*came));
    for (int i = 0; i < n; i++) {
        now[i] = xstrdup(filters[i]);
        owe_no_more(m, now[i]);
        if (!has(old, old_n, now[i]))
            came[n_came++] = now[i];
    }
    for (int i = 0; i < old_n; i++)
        if (!has(now, n, old[i])) {
            owe(m, old[i]);
            gone = true;
        }
    m->filters = now;
    m->filter_count = n;
    if (session_connected(m) && !m->dead && (n_came > 0 || gone)) {
        client_enter(m);
        tell(m, came, n_came, gone);
        client_leave(m);
    }
    for (int i = 0; i < old_n; i++)
        free(old[i]);
    free(old);
    return 0;
}
