/*
 * The gate without a library: packets of all sizes go through it into a socket that takes little,
 * as libmosquitto would give them, and come out at the other end whole and in their order.
 */
#include "../../../src/mqtt/internal.h"
#include "test_mqtt.h"

#include <sys/socket.h>
#include <unistd.h>

enum { PUBLISH = 0x32, PUBACK = 0x40, PINGREQ = 0xc0 };
enum { GATHERED_MAX = 32 * 1024 };

struct packet {
    unsigned char *p;
    size_t n, at; /* at: what the library knows to be written */
};

struct line {
    int ends[2];
    struct gate g;
    struct packet queue[4000];
    size_t first, n;
    struct sbuf want, got;
};

static void sockets(struct line *l)
{
    int little = 1; /* the kernel makes its least of it */

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, l->ends), 0);
    assert_int_equal(setsockopt(l->ends[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
}

static struct line *line_new(bool holds)
{
    struct line *l = xcalloc(1, sizeof(*l));

    l->g.holds = holds;
    sockets(l);
    return l;
}

/* The connection ends, with it all that the library has queued; the next one begins. */
static void reconnect(struct line *l)
{
    close(l->ends[0]);
    close(l->ends[1]);
    while (l->first < l->n)
        free(l->queue[l->first++].p);
    sbuf_done(&l->want);
    sbuf_done(&l->got);
    gate_reset(&l->g);
    sockets(l);
}

static void line_free(struct line *l)
{
    reconnect(l);
    close(l->ends[0]);
    close(l->ends[1]);
    gate_done(&l->g);
    free(l);
}

static void put(struct line *l, unsigned char type, size_t n)
{
    struct packet *k = &l->queue[l->n];

    assert_true(l->n < ARRAY_LEN(l->queue));
    *k = (struct packet){xmalloc(n), n, 0};
    for (size_t i = 0; i < n; i++)
        k->p[i] = (unsigned char)(l->n * 31 + i * 7);
    k->p[0] = type;
    l->n++;
    sbuf_add(&l->want, k->p, n);
}

/* As mosquitto_loop_write empties its queue; what gate_close says. */
static int library(struct line *l)
{
    const struct gate_open was = gate_open(&l->g, l->ends[0], GATE_WRITE);

    while (l->first < l->n) {
        struct packet *k = &l->queue[l->first];
        ssize_t done = write(l->ends[0], k->p + k->at, k->n - k->at);

        if (done < 0) {
            assert_true(errno == EAGAIN || errno == EPIPE);
            break;
        }
        k->at += (size_t)done;
        if (k->at < k->n)
            continue;
        free(k->p);
        l->first++;
    }
    return gate_close(&l->g, was, true);
}

/* At most max bytes; how many there were. */
static size_t take(struct line *l, size_t max)
{
    char piece[4096];
    size_t all = 0;

    while (all < max) {
        size_t most = max - all < sizeof(piece) ? max - all : sizeof(piece);
        ssize_t n = read(l->ends[1], piece, most);
        if (n <= 0)
            break;
        sbuf_add(&l->got, piece, (size_t)n);
        all += (size_t)n;
    }
    return all;
}

static void check_stream(struct line *l)
{
    assert_int_equal(l->got.n, l->want.n);
    assert_memory_equal(l->got.p, l->want.p, l->want.n);
}

static void to_the_end(struct line *l)
{
    for (int rounds = 0; l->first < l->n || gate_waits(&l->g); rounds++) {
        assert_int_equal(library(l), 0);
        assert_true(take(l, 100000) > 0);
    }
    (void)take(l, SIZE_MAX);
    check_stream(l);
}

static void test_a_socket_that_takes_a_part(void **state UNUSED)
{
    struct line *l = line_new(false);

    for (int i = 0; i < 100; i++)
        put(l, i % 3 ? PUBLISH : PUBACK, i % 3 ? 300 : 4);
    assert_int_equal(library(l), 0);
    assert_int_equal(l->first, l->n);                   /* the library has nothing left … */
    assert_true(gate_waits(&l->g) && gate_owes(&l->g)); /* … the gate has */
    assert_true(l->g.at > 0);
    put(l, PUBLISH, 300); /* behind it, while the socket is still full */
    assert_int_equal(library(l), 0);
    to_the_end(l);
    assert_false(gate_waits(&l->g) || gate_owes(&l->g));
    line_free(l);
}

static void test_a_large_packet_behind_gathered_ones(void **state UNUSED)
{
    struct line *l = line_new(false);
    bool in_part = false, refused = false;

    for (int i = 0; i < 60; i++)
        put(l, PUBLISH, 500);
    put(l, PUBLISH, 3 * GATHERED_MAX);
    put(l, PUBACK, 4);
    put(l, PUBLISH, GATHERED_MAX + 1);
    put(l, PUBLISH, GATHERED_MAX);
    put(l, PINGREQ, 2);
    put(l, PUBLISH, 10);
    while (l->first < l->n || gate_waits(&l->g)) {
        assert_int_equal(library(l), 0);
        in_part |= l->g.left > 0;
        refused |= l->first == 60 && l->queue[60].at == 0; /* what is gathered goes first */
        assert_true(take(l, 1000) > 0);
    }
    (void)take(l, SIZE_MAX);
    check_stream(l);
    assert_true(in_part && refused);
    line_free(l);
}

/* Whatever comes behind whatever, and however little is taken. */
static void test_any_order(void **state UNUSED)
{
    static const size_t sizes[] = {2, 4, 100, 3000, 20000, GATHERED_MAX - 1, GATHERED_MAX + 5};
    static const unsigned char types[] = {PUBLISH, PUBLISH, PUBACK, PINGREQ};

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct line *l = line_new(false);
        uint64_t r = seed * 0x9e3779b97f4a7c15;

        for (int i = 0; i < 60; i++) {
            r = r * 6364136223846793005 + 1442695040888963407;
            unsigned char type = types[(r >> 33) % ARRAY_LEN(types)];
            put(l, type, type == PUBACK ? 4 : sizes[(r >> 40) % ARRAY_LEN(sizes)]);
            if ((r >> 50) % 3 == 0) {
                assert_int_equal(library(l), 0);
                (void)take(l, (r >> 36) % 9000);
            }
        }
        to_the_end(l);
        line_free(l);
    }
}

/* What was allowed and had not left when the connection ended never leaves: on the next one the
 * broker sends its messages anew, and they get numbers of their own. */
static void test_what_is_held_across_a_reconnect(void **state UNUSED)
{
    struct line *l = line_new(true);
    struct gate *g = &l->g;

    for (int i = 0; i < 60; i++)
        put(l, PUBLISH, 500);
    g->taken = 5;
    for (int i = 0; i < 5; i++)
        put(l, PUBACK, 4);
    put(l, PUBLISH, 10);
    g->allowed = 2;
    assert_int_equal(library(l), 0);
    assert_int_equal(l->n - l->first, 4); /* three PUBACKs, and what is behind them */
    assert_int_equal(g->sent, 2);
    assert_true(gate_waits(g) && gate_owes(g)); /* even the two are stuck */
    g->allowed = 4;                             /* this is so far in the library */
    reconnect(l);
    assert_false(gate_waits(g) || gate_owes(g));
    assert_true(g->allowed == 5 && g->sent == 5);

    g->taken = 7;
    put(l, PUBACK, 4);
    put(l, PUBACK, 4);
    assert_int_equal(library(l), 0);
    assert_int_equal(take(l, SIZE_MAX), 0); /* none of them is allowed, and nothing old comes */
    g->allowed = 6;
    assert_true(gate_owes(g));
    assert_int_equal(library(l), 0);
    assert_int_equal(take(l, SIZE_MAX), 4);
    assert_false(gate_owes(g));
    g->allowed = 7;
    to_the_end(l);

    /* a packet that was cut off half-way is no part of the next connection */
    put(l, PUBLISH, 3 * GATHERED_MAX);
    assert_int_equal(library(l), 0);
    assert_true(g->left > 0);
    reconnect(l);
    g->taken = 8;
    put(l, PUBACK, 4);
    assert_int_equal(library(l), 0);
    assert_int_equal(take(l, SIZE_MAX), 0); /* held, and not taken for the rest of that packet */
    g->allowed = 8;
    to_the_end(l);
    line_free(l);
}

/* The rest of a packet may begin like a PUBACK. */
static void test_the_rest_of_a_packet_is_none(void **state UNUSED)
{
    struct line *l = line_new(true);

    put(l, PUBLISH, 3 * GATHERED_MAX);
    memset(l->queue[0].p + 1, PUBACK, l->queue[0].n - 1);
    memset(l->want.p + 1, PUBACK, l->want.n - 1);
    to_the_end(l); /* though no PUBACK may leave */
    assert_int_equal(l->g.sent, 0);
    line_free(l);
}

static void test_a_broken_socket_is_told(void **state UNUSED)
{
    struct line *l = line_new(false);

    put(l, PUBLISH, 100);
    close(l->ends[1]);
    l->ends[1] = dup(l->ends[0]);
    assert_int_equal(library(l), EPIPE);
    put(l, PUBLISH, 2 * GATHERED_MAX);
    assert_int_equal(library(l), EPIPE);
    reconnect(l);
    put(l, PUBLISH, 100);
    to_the_end(l);
    line_free(l);
}

const struct CMUnitTest gate_tests[] = {
    cmocka_unit_test(test_a_socket_that_takes_a_part),
    cmocka_unit_test(test_a_large_packet_behind_gathered_ones),
    cmocka_unit_test(test_any_order),
    cmocka_unit_test(test_what_is_held_across_a_reconnect),
    cmocka_unit_test(test_the_rest_of_a_packet_is_none),
    cmocka_unit_test(test_a_broken_socket_is_told),
};
const size_t gate_test_count = ARRAY_LEN(gate_tests);
