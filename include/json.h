/*
 * json: the only room that sees jansson; the door re-exports json_t. Bounded parsing with the
 * kind of fault told apart, and validation of objects against field tables. The same tables
 * make the OpenAPI description. Values belong to whoever holds the reference (jansson's rules).
 */
#pragma once

#include "util.h"

#include <jansson.h>

static inline void auto_json_free(json_t **j)
{
    json_decref(*j);
}
/* AUTO(json_free) json_t *j = … */

enum json_fault {
    JSON_OK,
    JSON_FAULT_SYNTAX,
    JSON_FAULT_DUPLICATE_KEY,
    JSON_FAULT_TOO_DEEP,
    JSON_FAULT_TOO_LONG,
};
/* Call once at start, before threads. */
void json_setup(void);
/* Parse n bytes; at most max_bytes long and max_depth deep (arrays and objects counted),
 * duplicate keys refused, only an array or an object at the top, and an integer that does not
 * fit int64 is a syntax fault. The depth is checked before parsing, without recursion.
 * Returns NULL with *ret_fault set; where (may be NULL) gets "line 1, column 7: …". */
json_t *json_parse(const char *p, size_t n, size_t max_bytes, unsigned max_depth,
                   enum json_fault *ret_fault, struct fail *where);
/* The same, but an integer that does not fit is taken as its text: devices send numbers of SIM
 * cards bare. */
json_t *json_parse_big(const char *p, size_t n, size_t max_bytes, unsigned max_depth,
                       enum json_fault *ret_fault, struct fail *where);
/* Compact text, keys in insertion order; heap, caller frees. */
char *json_text(const json_t *j);
/* The same, appended. */
void json_add_text(struct sbuf *out, const json_t *j);
/* A quoted, escaped JSON string, appended (no json_t needed: the fast path of answers). */
void json_add_string(struct sbuf *out, const char *s);

/* ---- field tables: one row per member of an object that outsiders send or get ---- */
enum json_kind {
    JK_STRING, /* UTF-8 text without control characters; min/max count bytes */
    JK_TEXT,   /* as JK_STRING but line breaks and tabs are fine */
    JK_KEY,    /* str_is_key() */
    JK_INT,    /* min/max bound the value */
    JK_NUMBER, /* the same, with or without a fraction */
    JK_BOOL,
    JK_ENUM,    /* one of words, "a|b|c" */
    JK_TIME,    /* RFC 3339 */
    JK_STRINGS, /* array of JK_STRING, each at most 64 KiB… max counts elements */
    JK_OBJECT,  /* any object (read-only members such as attributes) */
    JK_ARRAY,   /* any array (read-only members) */
};
enum {
    JF_REQUIRED = 1,    /* must stand in a create request */
    JF_READ_ONLY = 2,   /* only in answers; sent in a request it is refused */
    JF_WRITE_ONLY = 4,  /* never in answers */
    JF_CREATE_ONLY = 8, /* refused in PATCH with code "immutable" */
    JF_NULLABLE = 16,   /* null is a value (clears) */
};
struct json_field {
    const char *name;
    enum json_kind kind;
    unsigned flags;
    int64_t min, max;    /* 0,0 = the kind's own bounds (strings: 0..255 bytes, ints: int64) */
    const char *words;   /* JK_ENUM */
    const char *initial; /* what holds when absent, for the description; NULL = none */
    const char *help;    /* one sentence */
};
/* One finding: where (JSON pointer), a stable code, and a sentence. */
struct json_error {
    char pointer[128], code[32], detail[200];
};
struct json_errors {
    struct json_error list[16];
    unsigned count; /* may exceed 16: the rest is dropped */
};
void json_error_add(struct json_errors *e, const char *pointer, const char *code, const char *fmt,
                    ...) PRINTF(4, 5);
/* Check obj against the table: unknown members (with the nearest known name), wrong kinds,
 * bounds, read-only, and for creates the required ones, for patches the create-only ones.
 * 0 or E_PROTO with *errs filled. Codes: unknown_field, wrong_type, too_short, too_long,
 * out_of_range, not_allowed, invalid, required, read_only, immutable. */
int json_check(const json_t *obj, const struct json_field *fields, size_t n, bool patch,
               struct json_errors *errs) MUST_USE;
/* The OpenAPI (JSON Schema) object of a table; `request` leaves out what is read-only,
 * otherwise what is write-only. New reference. */
json_t *json_schema(const struct json_field *fields, size_t n, bool request);
/* "a|b" -> ["a", "b"]. New reference. */
json_t *json_words(const char *list);

/* Typed getters; dflt when absent or null. Strings are borrowed from obj. */
const char *json_get_str(const json_t *obj, const char *name, const char *dflt);
int64_t json_get_int(const json_t *obj, const char *name, int64_t dflt);
bool json_get_bool(const json_t *obj, const char *name, bool dflt);

/* ---- paths: a JSON pointer ("/data/fw") or names with dots ("data.fw") ---- */
#define JSON_PATH_MAX       128 /* bytes */
#define JSON_PATH_STEPS_MAX 16
bool json_path_ok(const char *path); /* 1 to JSON_PATH_MAX bytes of text, well formed */
/* What stands there, borrowed from `in`; NULL when nothing does, or the path is none. */
json_t *json_path_get(const json_t *in, const char *path);
