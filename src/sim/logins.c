/*
 * otasim logins: how fast a broker lets devices in. So many at a time connect, wait for CONNACK,
 * disconnect, and wait until the broker has closed; each is another device. Packets are put
 * together here, on bare sockets: a client library would cost more than what is measured.
 */
#include "sim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <sys/socket.h>
#include <unistd.h>

static const char usage[] =
    "Usage: otasim logins --broker ADDRESS:PORT [OPTION…]\n"
    "Devices log in and out; prints a line of JSON: rate, refused, errors, latencies of CONNACK.\n"
    "  --broker A:PORT   the broker, an IPv4 address\n"
    "  --devices N       another device each time, so many in turn (default 100000)\n"
    "  --first K         number of the first (default 1)\n"
    "  --prefix P        keys are P and seven digits (default bench-)\n"
    "  --password P      every device's password\n"
    "  --parallel N      at a time (default 50)\n"
    "  --seconds S       for so long (default 10)\n";

struct logins {
    struct sim_broker broker;
    const char *prefix;
    int64_t devices, first, parallel, seconds_ms;
    struct loop *loop;
    struct sockaddr_in to;
    struct slot *slots;
    int64_t next; /* of the devices */
    bool over;
    int64_t open;
    uint64_t done, refused, errors;
    struct hist waits;
};

/* One connection after the other. */
struct slot {
    struct logins *l;
    struct loop_poll *poll;
    int fd;
    bool sent, answered;
    int64_t began_us;
};

static void begin(struct slot *s);

static void end(struct slot *s)
{
    loop_poll_free(TAKE(s->poll));
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
    s->l->open--;
    if (!s->l->over)
        begin(s);
    else if (s->l->open == 0)
        loop_stop(s->l->loop);
}

static void end_wrong(struct slot *s, const char *what)
{
    if (s->l->errors++ == 0)
        fprintf(stderr, "otasim logins: %s: %s\n", what, errno ? strerror(errno) : "closed");
    s->l->over |= s->l->errors > 1000;
    end(s);
}

static void put_text(struct sbuf *b, const char *text)
{
    size_t n = strlen(text);
    const char head[2] = {(char)(n >> 8), (char)(n & 0xff)};

    sbuf_add(b, head, sizeof(head));
    sbuf_add(b, text, n);
}

/* CONNECT of MQTT 3.1.1, with a clean session, name and password; the key is the client id. */
static bool send_connect(struct slot *s)
{
    static const char head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, (char)0xc2, 0, 60};
    struct logins *l = s->l;
    struct sbuf body = {0}, packet = {0};
    char key[80];
    int64_t number = l->first + l->next++ % l->devices;

    (void)str_fmt(key, sizeof(key), "%s%07lld", l->prefix, (long long)number);
    sbuf_add(&body, head, sizeof(head));
    put_text(&body, key);
    put_text(&body, key);
    put_text(&body, l->broker.password ? l->broker.password : "");
    sbuf_add(&packet, "\x10", 1);
    for (size_t n = body.n; n > 0; n >>= 7) {
        const char byte = (char)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
        sbuf_add(&packet, &byte, 1);
    }
    sbuf_add(&packet, body.p, body.n);
    bool fine = send(s->fd, packet.p, packet.n, MSG_NOSIGNAL) == (ssize_t)packet.n;
    sbuf_done(&body);
    sbuf_done(&packet);
    return fine;
}

static void on_connack(struct slot *s, const unsigned char *p, ssize_t n)
{
    static const char disconnect[2] = {(char)0xe0, 0};

    if (n != 4 || p[0] != 0x20) {
        errno = EPROTO;
        end_wrong(s, "an answer that is no CONNACK");
        return;
    }
    s->answered = true;
    if (p[3] != 0) {
        s->l->refused++;
        end(s);
        return;
    }
    hist_add(&s->l->waits, clock_mono_us() - s->began_us);
    if (send(s->fd, disconnect, sizeof(disconnect), MSG_NOSIGNAL) != sizeof(disconnect))
        end_wrong(s, "DISCONNECT");
}

static void on_poll(void *arg, int events)
{
    struct slot *s = arg;
    unsigned char buf[64];

    errno = 0;
    if (!s->sent) {
        s->sent = true;
        if (!(events & LOOP_WRITE) || !send_connect(s))
            end_wrong(s, "connecting");
        else
            loop_poll_set(s->poll, LOOP_READ);
        return;
    }
    ssize_t n = recv(s->fd, buf, sizeof(buf), 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0 && !s->answered) {
        on_connack(s, buf, n);
    } else if (s->answered) {
        s->l->done++;
        end(s);
    } else {
        end_wrong(s, "before CONNACK");
    }
}

static void begin(struct slot *s)
{
    s->l->open++;
    s->sent = s->answered = false;
    s->began_us = clock_mono_us();
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || (connect(s->fd, (struct sockaddr *)&s->l->to, sizeof(s->l->to)) < 0 &&
                      errno != EINPROGRESS)) {
        fprintf(stderr, "otasim logins: %s\n", strerror(errno));
        s->l->over = true;
        s->l->errors++;
        end(s);
        return;
    }
    s->poll = loop_poll_new(s->l->loop, s->fd, on_poll, s);
    loop_poll_set(s->poll, LOOP_WRITE);
}

static void on_over(void *arg)
{
    struct logins *l = arg;
    l->over = true;
}

static int run(struct logins *l)
{
    struct sbuf b = {0};

    l->to =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)l->broker.port)};
    if (inet_pton(AF_INET, l->broker.host, &l->to.sin_addr) != 1) {
        fprintf(stderr, "otasim logins: '%s' is no IPv4 address\n", l->broker.host);
        return SIM_USAGE;
    }
    l->loop = loop_new();
    l->slots = xcalloc((size_t)l->parallel, sizeof(*l->slots));
    struct loop_timer *timer = loop_timer_new(l->loop, on_over, l);
    loop_timer_start(timer, (uint64_t)l->seconds_ms, 0);
    int64_t began_us = clock_mono_us();
    for (int64_t i = 0; i < l->parallel && !l->over; i++) {
        l->slots[i] = (struct slot){.l = l, .fd = -1};
        begin(&l->slots[i]);
    }
    if (l->open > 0)
        loop_run(l->loop);
    double seconds = (double)(clock_mono_us() - began_us) / 1e6;
    sbuf_fmt(&b,
             "{\"logins\":%llu,\"seconds\":%.3f,\"rate\":%.1f,\"refused\":%llu,\"errors\":%llu,",
             (unsigned long long)l->done, seconds, (double)l->done / seconds,
             (unsigned long long)l->refused, (unsigned long long)l->errors);
    hist_json(&l->waits, &b);
    sbuf_str(&b, "}");
    puts(b.p);
    sbuf_done(&b);
    loop_timer_free(timer);
    loop_free(l->loop);
    free(l->slots);
    return l->done > 0 ? SIM_OK : SIM_FAILED;
}

int sim_logins(int argc, char **argv)
{
    static const struct option opts[] = {
        {"broker", required_argument, NULL, 'b'},
        {"devices", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'},
        {"prefix", required_argument, NULL, 'x'},
        {"password", required_argument, NULL, 'p'},
        {"parallel", required_argument, NULL, 'a'},
        {"seconds", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct logins *l = xcalloc(1, sizeof(*l));
    int c, rc = SIM_OK;

    *l = (struct logins){
        .prefix = "bench-", .devices = 100000, .first = 1, .parallel = 50, .seconds_ms = 10000};
    while (rc == SIM_OK && (c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
        if (c == 'h') {
            fputs(usage, stdout);
            free(l);
            return SIM_OK;
        }
        if (c == 'b')
            rc = sim_opt_broker(optarg, &l->broker);
        else if (c == 'n')
            rc = sim_opt_int("devices", optarg, 1, 5000000, &l->devices);
        else if (c == 'f')
            rc = sim_opt_int("first", optarg, 0, 5000000, &l->first);
        else if (c == 'a')
            rc = sim_opt_int("parallel", optarg, 1, 10000, &l->parallel);
        else if (c == 's')
            rc = sim_opt_seconds("seconds", optarg, &l->seconds_ms);
        else if (c == 'x' && str_is_key(optarg, 50))
            l->prefix = optarg;
        else if (c == 'p')
            l->broker.password = optarg;
        else
            rc = SIM_USAGE;
    }
    if (rc == SIM_OK)
        rc = sim_opt_stray(argc, argv, optind);
    if (rc == SIM_OK && !*l->broker.host) {
        fputs(usage, stderr);
        rc = SIM_USAGE;
    }
    if (rc == SIM_OK)
        rc = run(l);
    free(l);
    return rc;
}
