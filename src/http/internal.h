/*
 * What the files of the http room share. Never included from outside.
 *
 * A struct http_thread owns a loop, up to three MHD daemons and their connections. A struct conn
 * lives as long as its socket, a struct http_request from its request line to its completion —
 * or to the return of the last handle that was given away, whichever is later.
 */
#pragma once

#include "http.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    PARAMS_MAX = 8,
    TICK_MS = 500,
    DRAIN_MAX_BYTES = 1024 * 1024,
    PARTS_MAX = 16,
    PART_NAME_MAX = 64,
    PART_FILENAME_MAX = 255,
};

/* ---- route.c ---- */
struct route_hit {
    const struct http_route *route; /* NULL: none */
    char allow[64];                 /* the methods of the path when route is NULL; "" = unknown */
    struct {
        const char *name, *value;
        size_t name_len, value_len;
    } params[PARAMS_MAX];
    size_t param_count;
};
struct router;
struct router *router_new(const struct http_route *const *tables);
void router_free(struct router *r);
/* Values point into path. */
void router_find(const struct router *r, const char *method, const char *path,
                 struct route_hit *ret);

/* ---- range.c: pure ---- */
enum range_kind { RANGE_NONE, RANGE_OK, RANGE_UNSATISFIABLE };
/* "bytes=a-b" against a file of size bytes; RANGE_NONE = serve it whole. */
enum range_kind range_parse(const char *text, uint64_t size, uint64_t *ret_first,
                            uint64_t *ret_last);
/* The entity tag lists of If-None-Match (weak comparison, "*") and If-Range (strong). */
bool etag_listed(const char *list, const char *etag);
bool etag_same(const char *text, const char *etag);

/* ---- client.c: pure ---- */
bool client_is_proxy(const struct conf_nets *trusted, const char *address);
/* The lines of X-Forwarded-For in their order, of any length: each moves *io_text to what is known
 * then of who asked; it is "" before the first, and whenever nobody can be told. */
void client_line(const struct conf_nets *trusted, const char *line, char io_text[INET6_ADDRSTRLEN]);

/* ---- the moving parts ---- */
enum listener_kind { LISTEN_MAIN, LISTEN_TLS, LISTEN_METRICS, LISTEN__COUNT };

struct listener {
    struct http_thread *thread;
    enum listener_kind kind;
    struct MHD_Daemon *daemon; /* NULL: not configured */
    struct loop_poll *poll;
    struct loop_timer *timer;
    bool ran; /* inside MHD_run */
};

enum conn_phase {
    CONN_IDLE,    /* between requests */
    CONN_REQUEST, /* headers and small bodies: a total deadline */
    CONN_UPLOAD,  /* a streamed body: must not stall */
    CONN_HELD,    /* deferred or paused: we hold it */
    CONN_REPLY,   /* an answer is under way: must not stall */
    CONN_STREAM,  /* an answer without a known end has nothing to say now */
};

struct conn {
    struct listener *listener;
    struct MHD_Connection *mhd;
    struct conn *prev, *next;
    struct http_request *request;
    enum conn_phase phase;
    int64_t since_us;  /* of the phase, or of its last progress */
    uint64_t acked;    /* tcpi_bytes_acked when last looked at, in CONN_REPLY */
    uint64_t file_end; /* where the file on its way stops being sent; 0: there is none */
    int file_fd;
    int fd;
    int linger_fd; /* a second descriptor that keeps the socket until its rest is read; or -1 */
    bool cut, corked;
    bool is_proxy;       /* one that is trusted: its requests are others' */
    struct tails *tails; /* of files whose end is not acknowledged yet; NULL */
    char address[INET6_ADDRSTRLEN];
};

/* What a thread gets from others: a handle that comes back. */
struct http_handle {
    struct http_thread *thread;
    struct http_request *request;
    void (*fn)(struct http_request *r, void *arg);
    void *arg;
    bool pause; /* of http_pause: there is no fn */
    struct http_handle *next;
};

struct lingering;

/* Ends of files that wait (tail.c): row i is looked at every 2^i ms, its first one first. */
enum { TAIL_ROWS = 9 };
struct tails_row {
    struct tails *first, *last;
};

struct http_thread {
    struct http_server *server; /* not after the thread has ended */
    int index;
    struct loop *loop;
    struct loop_thread *os;
    struct loop_wake *wake;
    struct loop_timer *tick;
    struct listener listeners[LISTEN__COUNT];
    struct conn *conns;
    struct lingering *lingers;
    struct tails_row tails[TAIL_ROWS];
    size_t n_tails;
    struct loop_timer *tails_timer;
    int64_t tails_due_us; /* 0: it does not run */
    struct map sending;   /* send.c's */
    void *arg;            /* of thread_open */
    uint64_t id_base, id_next;
    bool stopping;
    int64_t stop_at_us;

    pthread_mutex_t lock; /* guards what follows */
    struct http_handle *back, **back_end;
    bool closed; /* the loop is gone */
    size_t refs; /* the server, and every handle that is out */
};

struct http_server {
    struct http_options o;
    struct router *router;
    int ports[LISTEN__COUNT]; /* 0: not configured */
    size_t thread_count;
    struct http_thread **threads;
    char *tls_cert, *tls_key;
    atomic_bool stopping;
    atomic_int grace_ms;
    atomic_long connections;
    pthread_mutex_t lock; /* guards per_address */
    struct map per_address;
};

enum step {
    STEP_NEW,      /* the request line was seen */
    STEP_BARE,     /* its headers are here and there is no body */
    STEP_HEADERS,  /* the handler runs, or is deferred, before the body */
    STEP_WHOLE,    /* collecting the body */
    STEP_RECEIVE,  /* handing on the body in pieces */
    STEP_FAILED,   /* a piece was refused: end is due or deferred */
    STEP_DRAIN,    /* reading what is left of a body before answering */
    STEP_FINAL,    /* the body is here; the handler or end is due or deferred */
    STEP_ANSWERED, /* an answer is queued, or the connection must go */
};

struct header {
    const char *name, *value;
    struct header *next;
};

struct http_request {
    struct conn *conn; /* NULL once it is completed */
    struct http_thread *thread;
    enum listener_kind listener;
    enum step step;
    const char *method, *path, *id;
    const char *client; /* address of who asked a proxy; NULL until somebody wants to know */
    const char *target; /* as sent, until the headers are here */
    bool is_10, is_head, bad_target, expects, has_body;
    bool in_handler;       /* MHD is calling us: answers are possible */
    bool mid_body;         /* ... but MHD would not take one */
    bool suspended, close; /* close: MHD must drop the connection without a word */
    bool gone;             /* completed while a handle is out */
    bool late;             /* deferred for too long: answered for the handler */
    int64_t content_length;
    int64_t started_us;
    struct route_hit hit;
    struct arena arena;
    void *state;
    void (*state_free)(void *state);
    struct header *headers, **headers_end;

    struct sbuf body;
    uint64_t received, drained, max;
    int rc; /* of reception */
    http_body_fn on_body;
    http_part_fn on_part;
    void (*end)(struct http_request *r, void *arg, int rc);
    void *receive_arg;
    struct MHD_PostProcessor *parser;
    unsigned parts;

    struct http_handle *deferred; /* out, or NULL */
    struct http_handle *paused;   /* out, or NULL */
    void (*resume_fn)(struct http_request *r, void *arg);
    void *resume_arg;

    struct MHD_Response *held; /* the answer that waits for the body to be drained */
    unsigned held_status;

    struct track *track;   /* of a file's bytes */
    struct stream *stream; /* the answer comes in pieces */
    struct paced *paced;   /* a file under a budget */
};

/* thread.c */
struct http_thread *thread_new(struct http_server *s, int index);
void thread_start(struct http_thread *t);
void thread_unref(struct http_thread *t);
void thread_pump(struct listener *l); /* MHD_run, and arm its timer */

/* request.c */
void *request_on_target(void *cls, const char *target, struct MHD_Connection *mhd);
enum MHD_Result request_on_call(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **con_cls);
void request_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                          enum MHD_RequestTerminationCode how);
void request_free(struct http_request *r);
/* After a callback of the handler's: what must MHD do now? */
enum MHD_Result request_settle(struct http_request *r);

/* body.c */
enum MHD_Result body_piece(struct http_request *r, const char *data, size_t *size);
enum MHD_Result body_start(struct http_request *r); /* http_receive was called at the headers */
enum MHD_Result body_end(struct http_request *r);   /* the last piece is here */
enum MHD_Result body_drain(struct http_request *r, size_t *size); /* drop a piece, bounded */
void body_drop(struct http_request *r);

/* hold.c */
extern _Atomic int64_t hold_max_us; /* how long a handle may be out before the client gets 503 */
void hold_take_back(struct http_thread *t); /* on the thread: what others handed back */
void hold_refuse(struct http_request *r);   /* on the thread: answer 503 for a late handler */
void hold_cut(struct http_request *r);      /* on the thread: drop it, handles stay out */

/* reply.c */
void reply_queue(struct http_request *r, int status, struct MHD_Response *resp);
/* fd is taken over. */
void reply_fd(struct http_request *r, int status, int fd, uint64_t first, uint64_t count);

/* Counts, dresses and queues the answer of a stream. */
void reply_stream(struct http_request *r, int status, struct MHD_Response *resp);

/* stream.c; all on the thread */

void stream_completed(struct http_request *r); /* the request ends before its answer is freed */
void stream_stop(struct http_request *r);      /* the server stops: what waits is at its end */
void stream_cut(struct http_request *r);       /* no byte more */
/* send.c: larger pieces of files than the library asks for. On the thread. */
extern _Atomic uint64_t send_large;      /* so many were; for the tests' sake */
void send_thread(struct http_thread *t); /* NULL at its end */
void send_begin(struct conn *c, int file_fd, uint64_t end);
void send_end(struct conn *c);

/* file.c */
struct track;
void track_sample(struct track *k, int fd);
void track_rest(struct track *k, uint64_t rest); /* all is sent, and all but rest is here */
void track_done(struct track *k, uint64_t rest); /* ... and that is the last word; frees k */
void track_broken(struct track *k, int fd);      /* not all was sent; frees k */

/* tail.c; all on the thread */
void tail_thread(struct http_thread *t, bool begins);
void tail_begin(struct conn *c, struct track *k); /* all of it is in the socket; takes k */
void tail_request(struct conn *c);                /* the next request came, and with it news */
void tail_closed(struct conn *c);                 /* c's descriptor is about to be closed */

/* budget.c: take a place for some of `want` bytes; how many, and when they may leave. Any thread.
 */
uint64_t budget_reserve(struct http_budget *b, uint64_t want, int64_t now_us, int64_t *ret_at_us);

/* paced.c; all on the thread. fd is taken over. */
void paced_reply(struct http_request *r, int status, int fd, uint64_t first, uint64_t count,
                 struct http_budget *budget);
void paced_completed(struct http_request *r); /* the request ends before its answer is freed */
void paced_cut(struct http_request *r);       /* no byte more */

/* conn.c */
void conn_on_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                    enum MHD_ConnectionNotificationCode code);
enum MHD_Result conn_may_enter(void *cls, const struct sockaddr *addr, socklen_t len);
/* A place in the bounds, for a connection or a descriptor that outlives it. */
void conn_enter(struct http_server *s, const char *address);
void conn_leave(struct http_server *s, const char *address);
void conn_phase(struct conn *c, enum conn_phase phase);
void conn_tick(struct http_thread *t);
void conn_cut(struct conn *c);
void conn_cork(struct conn *c, bool on); /* headers and the file's first bytes go together */
uint64_t conn_acked(int fd);

/* linger.c */
void linger_start(struct http_thread *t, int fd, const char *address);
void linger_tick(struct http_thread *t);
void linger_end_all(struct http_thread *t);

/* listen.c */
int listen_open(const char *where, int *io_port, bool shared, int *ret_fd, struct fail *f) MUST_USE;
/* fd is taken over, whatever comes. */
int listen_daemon(struct listener *l, int fd, struct fail *f) MUST_USE;
int listen_read_file(const char *path, char **ret, struct fail *f) MUST_USE;
