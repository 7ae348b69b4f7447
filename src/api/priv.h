/*
 * Inside the api room: what its files share. A request passes the `before` hook (auth.c), which
 * leaves a struct call as the request's state; its handler reads on the thread's own connection,
 * or describes a change in a struct write that the core thread runs (write.c).
 */
#pragma once

#include "api.h"
#include "task.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- what a route is, for the hook, the handlers and the OpenAPI description ---- */
enum scope { SCOPE_NONE, SCOPE_VIEWER, SCOPE_OPERATOR, SCOPE_ADMIN };
enum { ROUTE_SCOPE = 3, ROUTE_ROOT = 4, ROUTE_API = 8 }; /* of http_route.flags */
#define VIEWER   (ROUTE_API | SCOPE_VIEWER)
#define OPERATOR (ROUTE_API | SCOPE_OPERATOR)
#define ADMIN    (ROUTE_API | SCOPE_ADMIN)
#define ROOT     (ROUTE_API | SCOPE_ADMIN | ROUTE_ROOT) /* admins of project `default` alone */

struct table {
    const char *name; /* of the schema */
    const struct json_field *fields;
    size_t n;
};
/* Hangs on http_route.arg; NULL there: not for openapi.json. */
struct write;
struct op {
    const char *summary;
    const struct table *in, *out; /* NULL = none */
    const char *query;            /* "limit|after|…"; NULL = no query parameter is known */
    int status;                   /* of success */
    bool list, patch;
    bool may_be_empty; /* the body is optional */
    /* At the headers, before a body is taken: 0, or it has answered. */
    int (*check)(struct http_request *r);
    /* For write_of: what is done, in the core's transaction, and that it changes the catalog. */
    int (*run)(struct write *w, struct db *db);
    bool catalog;
    const char *body;   /* content types of a body that is no JSON of `in`, "a|b" */
    const char *answer; /* content types of an answer that is no JSON, "a|b" */
};
#define LIST_QUERY "limit|after|total"
#define OP(o)      ((void *)(uintptr_t) & (o)) /* http_route.arg is not const */

extern const struct table project_table, token_table, type_table, device_table, rule_table,
    firmware_table, update_table, explain_table, import_table, task_table, run_request_table,
    run_table, run_device_table, connect_table, certificate_table, audit_table, webhook_table,
    webhook_delivery_table, campaign_table, campaign_abort_table, campaign_approve_table,
    dry_run_request_table, dry_run_table, command_table, attributes_push_table, app_table,
    eztcloud_login_table, eztcloud_attrs_table, consent_table, consent_answer_table,
    type_versions_table, device_versions_table, campaign_progress_table, campaign_timeline_table,
    update_log_table;
extern const struct http_route project_routes[], token_routes[], type_routes[], device_routes[],
    rule_routes[], firmware_routes[], update_routes[], task_routes[], run_routes[], open_routes[],
    download_routes[], hook_routes[], connect_routes[], audit_routes[], event_routes[],
    webhook_routes[], campaign_routes[], command_routes[], app_routes[], eztcloud_routes[],
    post_routes[], consent_routes[], version_routes[], progress_routes[], timeline_routes[],
    log_routes[];
extern const struct http_route *const api_tables[]; /* all of them, NULL-terminated */

/* ---- state ---- */
#define API_FEEDS_MAX 64 /* http.threads at most */
struct feed;
struct who {
    int64_t project_id, token_id;
    enum scope scope;
    bool application; /* with its own credentials, no token */
};
struct api {
    struct api_env env;
    int64_t default_project;
    _Atomic uint64_t tokens_changed; /* counts commits that changed tokens */
    struct limit *limit, *connects, *logs;
    struct limit *passwords, *posters; /* of one device at an address, of all devices there */
    struct budgets *budgets;           /* of campaigns' downloads */
    struct busy *busy;                 /* idempotency keys whose request is under way */
    /* Making bytes permanent and removing unused ones exclude each other; so no upload is
     * answered whose bytes a deletion of the same content has just taken away. */
    pthread_mutex_t bytes_lock;
    struct db *bytes_db;     /* under bytes_lock */
    _Atomic int64_t pong_us; /* when the core last answered */
    struct db_job ping;
    atomic_bool pinging;
    pthread_mutex_t unsent_lock;
    struct served *unsent; /* downloads whose last word could not be handed over yet */
    pthread_mutex_t openapi_lock;
    char *openapi; /* under openapi_lock: made when somebody asks, then it stays */
    pthread_mutex_t feeds_lock;
    struct feed *feeds[API_FEEDS_MAX]; /* of each http thread, under feeds_lock */
    atomic_long subscribers;
    atomic_int dry_runs;
    atomic_bool stopping; /* no long work goes on */
};
struct token_cache;
struct api_thread {
    struct api *api;
    struct loop *loop;
    struct db *db;
    struct token_cache *tokens;
    struct feed *feed;
    struct loop_timer *timer;
    int index;
};
/* The request's state. */
struct call {
    struct api_thread *t;
    struct api *api;
    struct db *db;
    struct who who;
    void *own; /* the handler's */
    void (*own_free)(void *own);
};
static inline struct call *call_of(struct http_request *r)
{
    return http_state(r);
}
void call_own(struct http_request *r, void *own, void (*own_free)(void *own));
/* The token of an Authorization header, or an empty view. */
struct str bearer(const char *header);
int api_before(struct http_request *r, const struct http_route *route, void *arg);
enum { TOKEN_GUESSABLE = 20 }; /* shorter ones, that operators gave, could be guessed */
struct token_cache *token_cache_new(void);
void token_cache_free(struct token_cache *c);

/* ---- live events (feed.c): one feed per http thread, on that thread ---- */
struct feed *feed_new(struct api_thread *t);
void feed_free(struct feed *f);

/* ---- failures, or requests, per address (limit.c); any thread. Of an IPv6 address its /64 ---- */
struct limit *limit_new(int64_t most, int64_t window_s);
void limit_free(struct limit *l);
/* Seconds until the address may try again; 0 = now. */
int64_t limit_wait(struct limit *l, const char *address, int64_t now_us);
void limit_failed(struct limit *l, const char *address, int64_t now_us);
/* The same of one name at that address. */
int64_t limit_wait_for(struct limit *l, const char *address, const char *name, int64_t now_us);
void limit_failed_for(struct limit *l, const char *address, const char *name, int64_t now_us);
/* What could be guessed, and was right lately: its clients go on although others at the same
 * address fail. */
void limit_good(struct limit *l, const uint8_t hash[SHA256_SIZE]);
struct limit *log_limit_new(void); /* log.c: logs of an update */
bool limit_is_good(struct limit *l, const uint8_t hash[SHA256_SIZE]);

/* ---- input (input.c): each answers the request itself when it returns < 0 or NULL ---- */
/* Query parameters against the route's list. */
int input_query(struct http_request *r, const struct op *op);
/* The JSON object of the body, checked against op->in. New reference. */
json_t *input_object(struct http_request *r, const struct op *op);
/* Integer path parameter; not a number is 404. */
int input_id(struct http_request *r, const char *param, int64_t *ret);
int input_query_int(struct http_request *r, const char *name, int64_t min, int64_t max,
                    int64_t dflt, int64_t *ret);
int input_query_bool(struct http_request *r, const char *name, int *ret); /* -1 = absent */
int input_query_time(struct http_request *r, const char *name, int64_t dflt, int64_t *ret);
/* One of the words of the table's field of that name; NULL = absent. */
int input_query_word(struct http_request *r, const struct table *t, const char *name,
                     const char **ret);
/* The key of a device type as its id, 0 = absent: 1, or 0 when there is none, or < 0. */
int input_query_type(struct http_request *r, int64_t *ret);
const struct json_field *table_field(const struct table *t, const char *name); /* NULL: none */
void input_invalid(struct http_request *r, const struct json_errors *errs);
void answer_not_found(struct http_request *r, const char *what);
/* Pure checks; true when fine. */
bool timezone_is_known(const char *name);
bool etag_matches(const char *header, int64_t revision);                  /* If-Match, strong */
int strings_text(const json_t *array, struct arena *a, const char **ret); /* JSON text */

/* ---- output (output.c) ---- */
struct obj { /* an object being written */
    struct sbuf *b;
    bool more;
};
struct obj obj_begin(struct sbuf *b);
void obj_str(struct obj *o, const char *name, const char *v); /* NULL writes null */
void obj_int(struct obj *o, const char *name, int64_t v);
void obj_bool(struct obj *o, const char *name, bool v);
void obj_time(struct obj *o, const char *name, int64_t ms); /* 0 writes null */
void obj_raw(struct obj *o, const char *name, const char *json);
void obj_name(struct obj *o, const char *name); /* the value follows */
void obj_end(struct obj *o);
void etag_text(char ret[48], int64_t revision, const struct sbuf *body); /* body NULL: revision */
/* 200 with its ETag, or 304. */
void answer_object(struct http_request *r, const char *etag, const struct sbuf *body);
/* rc of reading what the path names; < 0: answered, E_NOTFOUND as "There is no such <what>." */
int read_found(struct http_request *r, int rc, const char *what);
/* The same, and with rc 0 the object in b. moves: parts of it change without a new revision.
 * Frees b. */
void answer_read(struct http_request *r, int rc, const char *what, int64_t revision, bool moves,
                 struct sbuf *b);

struct list {
    struct http_request *r;
    struct sbuf b;
    int64_t after, last;
    int limit, n;
    bool more;
};
int list_begin(struct http_request *r, struct list *l); /* < 0: answered */
/* In a row callback: false when the page is full (then return 1). Else append the object. */
bool list_row(struct list *l, int64_t id);
bool list_wants_total(const struct list *l);
/* Answers. rc is what the room's list function returned; total < 0 = not asked. Frees. */
void list_end(struct list *l, int rc, int64_t total);

/* ---- flows of campaigns (timeline.c) ---- */
void flow_write(struct obj *o, const struct campaign_flow *f); /* its members, without `at` */
int64_t flow_ends(const struct campaign_flow *f);              /* but canceled ones */

/* ---- lists as a whole (export.c) ---- */
#define EXPORT_QUERY "|format"
#define EXPORT_TYPES "text/csv|application/x-ndjson"
enum export_format { EXPORT_NONE, EXPORT_CSV, EXPORT_NDJSON };
/* < 0: answered. */
int export_wanted(struct http_request *r, enum export_format *ret);
struct export
{
    struct api *api;
    struct db *db;
    struct arena a; /* for what its filter points at */
    enum export_format format;
    const struct table *table;
    /* Read up to limit rows behind `at` (0 = from the start). For each: write the object into row,
     * then return what export_row() says from the row callback. */
    int (*page)(struct export * x, int limit);
    void *filter;
    bool none; /* nothing can match */
    struct sbuf row;
    int64_t at;
    struct sbuf *out;
    int n;
    bool begun;
};
struct export *export_new(struct http_request *r, enum export_format format,
                          const struct table *table, int (*page)(struct export *x, int limit));
int export_row(struct export *x, int64_t id);
/* Answers; x is the answer's. name: of the file, without its ending. */
void export_go(struct export *x, struct http_request *r, const char *name);

/* ---- changes (write.c) ---- */
struct write {
    struct db_job job;
    struct api *api;
    struct http_handle *h;
    struct arena a;
    struct who who;
    int64_t now;
    /* Core thread, in the job's savepoint; may run twice. */
    int (*run)(struct write *w, struct db *db);
    /* Http thread, before the answer, whatever happened; r may be NULL. May be NULL. */
    void (*after)(struct write *w, struct http_request *r, int rc);
    /* Core thread, after the commit; true: write_resume() answers later. May be NULL. */
    bool (*committed)(struct write *w);
    json_t *in;
    const char *key; /* path parameter, If-Match: in the arena */
    const char *if_match;
    const char *path, *address, *request_id; /* in the arena */
    int64_t id;
    void *ext;
    void (*ext_free)(void *ext);
    bool credentials, tokens; /* changed when it succeeds */
    bool unlogged;            /* by run: it leaves no row of the audit log */
    const char *login;        /* whose credentials; NULL = many devices' */
    /* Idempotency-Key */
    const char *idem_key, *idem_route;
    uint8_t idem_hash[SHA256_SIZE];
    bool idem_held, replayed;
    /* the answer; reset before each run */
    int status;
    struct sbuf body;
    struct sbuf before; /* the object as it was, JSON, for the audit log; without secrets */
    char etag[48], location[192];
    const char *code; /* of a failure, when err's own would be too coarse */
    struct fail fail;
    struct json_errors errs;
    const char *secret_name, *secret; /* added to the answer, never stored */
    const char *secret2_name, *secret2;
};
struct write *write_new(struct http_request *r, int (*run)(struct write *w, struct db *db));
void write_free(struct write *w);
/* A change as its route describes it (op->run and the rest): with the path's id, the body checked
 * against op->in and, of a POST, the Idempotency-Key. NULL: answered. Add what is its own, then
 * write_go. */
struct write *write_of(struct http_request *r, const struct op *op) MUST_USE;
/* The handler of routes that add nothing; arg is the op. */
void write_handle(struct http_request *r, void *arg);
/* Take the Idempotency-Key of the request, if any; `route` and the body make its hash.
 * < 0: answered and w freed. */
int write_idempotent(struct write *w, struct http_request *r, const void *body, size_t n);
/* Same with a hash that is ready. */
void write_idem_hash(struct write *w, const uint8_t hash[SHA256_SIZE]);
/* Defer the request and hand the job over; it is answered when committed. */
void write_go(struct write *w, struct http_request *r);
void write_submit(struct write *w); /* the same for a request that is deferred already (w->h) */
void write_resume(struct write *w); /* see `committed`; any thread */
/* For run: a finding at a pointer; returns E_PROTO. */
int write_invalid(struct write *w, const char *pointer, const char *code, const char *fmt, ...)
    PRINTF(4, 5);
int write_if_match(struct write *w, int64_t revision); /* E_PRECONDITION */
int write_not_found(struct write *w, const char *what);
/* rc of reading the path's object, told as write_not_found does. */
int write_found(struct write *w, int rc, const char *what);
/* rc; E_CONFLICT is answered 409 with that code. */
int write_conflict(struct write *w, int rc, const char *code);
void write_created(struct write *w, int64_t revision, const char *fmt, ...) PRINTF(3, 4);
/* Look for a stored answer: 1 = found (the answer is filled), 0 = none, or an error. */
int write_replay(struct write *w, struct db *db);
int write_remember(struct write *w, struct db *db);
/* The row of the audit log (audit.c): what was done, before and after. */
int write_audit(struct write *w, struct db *db) MUST_USE;

/* confirm.c: where the project demands a second person, an action on an object is tried, undone
 * and kept as a request (202); else it is done. perform: on w->in, in the job; run once more by the
 * second person. */
struct confirm_of {
    const char *kind; /* campaign, firmware, device_type, project */
    int64_t project_id, id, revision;
    /* The event of a request, or NULL. */
    int (*tell)(struct db *w, int64_t id, const char *action, int64_t now);
};
typedef int confirm_fn(struct write *w, struct db *db, const char *action);
int confirm_or_do(struct write *w, struct db *db, const struct confirm_of *of, const char *action,
                  confirm_fn *perform) MUST_USE;
/* The request alone, as if perform had been tried. */
int confirm_ask(struct write *w, struct db *db, const struct confirm_of *of, const char *action,
                const char *body) MUST_USE;
/* The second person's word, about the object that the path names. */
struct confirm_how {
    int (*find)(struct write *w, struct db *db, struct confirm_of *ret);
    confirm_fn *perform;
    int (*answer)(struct write *w, struct db *db);
};
int confirm_yes(struct write *w, struct db *db, const struct confirm_how *how) MUST_USE;
int confirm_no(struct write *w, struct db *db, const struct confirm_how *how) MUST_USE;
int confirm_drop(struct db *db, const struct confirm_of *of) MUST_USE; /* its object goes */
/* The member `confirmation`. */
int confirm_json(struct obj *o, struct db *db, const struct confirm_of *of) MUST_USE;
/* What was sent with the request that waits; NULL: none. New reference. */
json_t *confirm_body(struct db *db, const struct confirm_of *of);

/* budget.c: the budget of a campaign's downloads, whose reference stays here; NULL: it has none. */
struct budgets *budgets_new(void);
void budgets_free(struct budgets *b);
struct http_budget *budgets_of(struct budgets *b, const struct campaign *c);

/* Idempotency keys under way. */
struct busy *busy_new(void);
void busy_free(struct busy *b);
bool busy_take(struct busy *b, int64_t project_id, const char *key);
void busy_drop(struct busy *b, int64_t project_id, const char *key);
/* The Idempotency-Key of a request: 0 with *ret NULL when absent; < 0: answered. */
int idem_key_of(struct http_request *r, const char **ret);

/* ---- shared between resources ---- */
int token_make(struct db *w, int64_t project_id, const char *name, enum scope scope,
               const char *token, int64_t now, int64_t expires_at, int64_t *ret_id) MUST_USE;
const char *scope_name(enum scope s);
/* Keys of devices -> ids, in the arena; findings for those that are not there. w->in is not
 * looked at: keys is. */
int device_ids(struct write *w, struct db *db, const json_t *keys, const char *pointer,
               int64_t **ret, size_t *ret_n) MUST_USE;
int device_check_text(const char *key, const char *service, struct fail *f) MUST_USE;
int device_write_json(struct sbuf *b, struct db *db, const struct catalog *c,
                      const struct device *d, const struct api *api) MUST_USE;
/* Something for the device that the path names, asked for by the request's project: answers. */
struct down_ask {
    const char *method; /* NULL: attributes */
    const char *params; /* JSON object */
    int64_t wait_ms;    /* for the reply; 0 = not at all */
    bool eztcloud;      /* answer as EZtCloud does */
};
void down_go(struct http_request *r, const struct down_ask *ask);
void device_list_handle(struct http_request *r, void *arg);
void device_import_handle(struct http_request *r, void *arg);
void device_explain_handle(struct http_request *r, void *arg);
void campaign_dry_run_handle(struct http_request *r, void *arg);
void consent_list_handle(struct http_request *r, void *arg);
void consent_answer_handle(struct http_request *r, void *arg); /* arg: its op */
/* The member `floors`: those below the campaign's firmware. */
void campaign_write_floors(struct obj *o, struct api *api, const struct campaign *c);
/* E_PROTO with a finding: a floor forbids the declared rollback. */
int campaign_check_floors(struct write *w, const struct campaign *c, bool allow_downgrade) MUST_USE;
/* whole: what lists don't have, too. */
void firmware_write_json(struct sbuf *b, struct db *db, const struct catalog *c,
                         const struct firmware *fw, bool whole);
struct confirm_of firmware_confirm_of(const struct firmware *fw);
/* release.c: whether a second person has to confirm that `old` becomes fw; NULL: that it is
 * there. */
int firmware_asks(struct db *db, const struct firmware *old, const struct firmware *fw,
                  bool *ret) MUST_USE;
void firmware_upload_handle(struct http_request *r, void *arg);
/* Object of the request -> firmware fields; semantic checks on the http thread. `db` reads. */
int firmware_take(struct api *api, struct db *db, int64_t project_id, const json_t *in,
                  struct arena *a, struct firmware *fw, struct json_errors *errs) MUST_USE;
/* Remove bytes that no row names any more. On the thread pool. */
struct bytes_list {
    struct api *api;
    uint8_t sha256[FIRMWARE_FILES_MAX][SHA256_SIZE];
    size_t n;
};
void bytes_drop_unused(struct loop *l, const struct bytes_list *list); /* l NULL: here and now */
bool file_name_is_accepted(const char *name);
/* Downloads: hand over the last words that wait; each second. At the end they are given up. */
void served_retry(struct api *api);
void served_drop(struct api *api);
