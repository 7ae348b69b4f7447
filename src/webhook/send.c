/*
 * HTTP with libcurl, many messages at a time on one thread. No redirects, no proxy, TLS always
 * verified, times and answers bounded; the address is judged when a connection is about to be
 * made, after the name was resolved.
 */
#include "webhook_priv.h"

#include "curl_lib.h"

#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_MAX = 65536, CONNECT_S = 10, RETRY_AFTER_MAX_S = 86400 };

struct transfer {
    struct transfer *prev, *next;
    struct sender *sender;
    int64_t webhook_id, delivery_id;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    char error[CURL_ERROR_SIZE];
    size_t got;
    bool refused; /* its address may not be used */
    bool cut;     /* its answer was longer than anybody reads */
};

struct sender {
    const struct conf *conf;
    CURLM *multi; /* NULL before the first message */
    int wake_fd;
    struct transfer *first;
};

struct sender *sender_new(const struct conf *conf)
{
    struct sender *s = xcalloc(1, sizeof(*s));

    s->conf = conf;
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake_fd < 0)
        abort(); /* out of descriptors, at the start */
    return s;
}

static void unlink_transfer(struct transfer *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        t->sender->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
}

static void transfer_free(struct sender *s, struct transfer *t)
{
    if (t->easy) {
        (void)curl_multi_remove_handle(s->multi, t->easy);
        curl_easy_cleanup(t->easy);
        curl_slist_free_all(t->headers);
    }
    free(t->body);
    free(t);
}

void sender_free(struct sender *s)
{
    if (!s)
        return;
    for (struct transfer *t = s->first, *next; t; t = next) {
        next = t->next;
        transfer_free(s, t);
    }
    if (s->multi)
        (void)curl_multi_cleanup(s->multi);
    close(s->wake_fd);
    free(s);
}

size_t sender_count(const struct sender *s, int64_t webhook_id)
{
    size_t n = 0;
    for (const struct transfer *t = s->first; t; t = t->next)
        n += webhook_id == 0 || t->webhook_id == webhook_id;
    return n;
}

/* ---- curl's questions ---- */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct transfer *t = arg;

    (void)purpose;
    if (!t->sender->conf->webhooks_allow_private && !webhook_address_is_public(&to->addr)) {
        t->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* What the receiver says beside its status is of no use: it is taken off the wire, to a bound. */
static size_t on_answer(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;

    (void)data;
    t->got += size * n;
    if (t->got <= ANSWER_MAX)
        return size * n;
    t->cut = true;
    return 0;
}

static void add_header(struct transfer *t, const char *name, const char *value)
{
    char line[256];

    (void)str_fmt(line, sizeof(line), "%s: %s", name, value);
    struct curl_slist *list = curl_slist_append(t->headers, line);
    if (!list)
        abort(); /* out of memory */
    t->headers = list;
}

static void set_headers(struct transfer *t, const struct outgoing *o)
{
    char signature[WEBHOOK_SIGNATURE_MAX], at[24];
    int64_t now_s = clock_now_ms() / 1000;

    webhook_sign(o->secret, o->old_secret, o->message_id, now_s, o->body, strlen(o->body),
                 signature);
    add_header(t, "Content-Type", "application/json");
    add_header(t, "webhook-id", o->message_id);
    add_header(t, "webhook-timestamp", log_int(at, now_s));
    add_header(t, "webhook-signature", signature);
    add_header(t, "Expect", "");
}

static void set_options(struct transfer *t, const struct outgoing *o)
{
    const struct conf *conf = t->sender->conf;
    CURL *e = t->easy;

    (void)curl_easy_setopt(e, CURLOPT_URL, o->url);
    (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR,
                           conf->webhooks_allow_private ? "https,http" : "https");
    (void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(e, CURLOPT_PROXY, ""); /* its address would be judged, not the URL's */
    (void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    (void)curl_easy_setopt(e, CURLOPT_TIMEOUT, (long)conf->webhooks_timeout_s);
    (void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
    (void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
    if (conf->webhooks_ca && conf->webhooks_ca[0])
        (void)curl_easy_setopt(e, CURLOPT_CAINFO, conf->webhooks_ca);
    (void)curl_easy_setopt(e, CURLOPT_USERAGENT, "otad/" OTAD_VERSION);
    (void)curl_easy_setopt(e, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(e, CURLOPT_POSTFIELDS, t->body);
    (void)curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(t->body));
    (void)curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
    (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    (void)curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    (void)curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_answer);
    (void)curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_PRIVATE, t);
}

void sender_send(struct sender *s, const struct outgoing *o)
{
    struct transfer *t = xcalloc(1, sizeof(*t));
    struct fail f = {0};

    t->sender = s;
    t->webhook_id = o->webhook_id;
    t->delivery_id = o->delivery_id;
    t->body = xstrdup(o->body);
    t->next = s->first;
    if (t->next)
        t->next->prev = t;
    s->first = t;
    if (curl_load(&f) < 0) {
        (void)str_copy(t->error, sizeof(t->error), f.text);
        return;
    }
    if (!s->multi)
        s->multi = curl_multi_init();
    t->easy = curl_easy_init();
    if (!t->easy || !s->multi)
        abort(); /* out of memory */
    set_headers(t, o);
    set_options(t, o);
    (void)curl_multi_add_handle(s->multi, t->easy);
}

/* ---- ends ---- */
static void result_of(const struct transfer *t, CURLcode code, struct webhook_result *ret)
{
    curl_off_t retry_after = 0;
    long status = 0;

    *ret = (struct webhook_result){
        .webhook_id = t->webhook_id, .delivery_id = t->delivery_id, .at = clock_now_ms()};
    if (t->easy) {
        (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after);
    }
    if (retry_after > 0)
        ret->retry_after_s = retry_after < RETRY_AFTER_MAX_S ? retry_after : RETRY_AFTER_MAX_S;
    if (code == CURLE_OK || t->cut) {
        ret->status = status;
        if (status < 200 || status > 299)
            (void)str_fmt(ret->error, sizeof(ret->error), "the receiver answered %ld", status);
    } else if (t->refused) {
        (void)str_copy(ret->error, sizeof(ret->error),
                       "the address is private; webhooks.allow_private allows such");
    } else {
        (void)str_copy(ret->error, sizeof(ret->error),
                       t->error[0] ? t->error : curl_easy_strerror(code));
    }
}

static void end_transfer(struct transfer *t, CURLcode code,
                         void (*ended)(void *arg, const struct webhook_result *r), void *arg)
{
    struct sender *s = t->sender;
    struct webhook_result r;

    result_of(t, code, &r);
    unlink_transfer(t);
    transfer_free(s, t);
    ended(arg, &r);
}

/* Without the library each message ends at once, with the reason. */
static void end_all(struct sender *s, void (*ended)(void *arg, const struct webhook_result *r),
                    void *arg)
{
    for (struct transfer *t = s->first, *next; t; t = next) {
        next = t->next;
        end_transfer(t, CURLE_FAILED_INIT, ended, arg);
    }
}

void sender_run(struct sender *s, void (*ended)(void *arg, const struct webhook_result *r),
                void *arg)
{
    int running, left;
    CURLMsg *m;

    if (!s->multi) {
        end_all(s, ended, arg);
        return;
    }
    (void)curl_multi_perform(s->multi, &running);
    while ((m = curl_multi_info_read(s->multi, &left))) {
        char *private = NULL;

        if (m->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        end_transfer((struct transfer *)(void *)private, m->data.result, ended, arg);
    }
}

void sender_wait(struct sender *s, int ms)
{
    uint64_t woken;

    if (s->multi) {
        struct curl_waitfd fd = {.fd = s->wake_fd, .events = CURL_WAIT_POLLIN};
        (void)curl_multi_poll(s->multi, &fd, 1, ms, NULL);
    } else {
        struct pollfd fd = {.fd = s->wake_fd, .events = POLLIN};
        (void)poll(&fd, 1, ms);
    }
    (void)!read(s->wake_fd, &woken, sizeof(woken));
}

void sender_wake(struct sender *s)
{
    (void)!write(s->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
}
