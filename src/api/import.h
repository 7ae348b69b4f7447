/*
 * Between import.c (jobs, answer), import_rows.c (records into checked rows) and import_parse.c
 * (CSV and NDJSON into records). Parsing is pure but for the callback that takes each record.
 */
#pragma once

#include "priv.h"

enum { IMPORT_LINE_MAX = 65536, IMPORT_COLUMNS_MAX = 32 };

struct import_parser {
    bool csv;
    /* A record as a JSON object (borrowed), or NULL with a code and a sentence: the record can't
     * be read, and a malformed CSV can't be read any further. < 0 stops. */
    int (*record)(void *arg, uint64_t row, json_t *in, const char *code, const char *detail);
    /* CSV: the header names columns that are not known, or lacks some. */
    int (*bad_header)(void *arg, const char *code, const char *detail);
    void *arg;

    uint64_t row;     /* of the last record; 0 = none */
    struct sbuf text; /* of the record so far */
    size_t field_at[IMPORT_COLUMNS_MAX + 1];
    size_t n_fields;
    const struct json_field *columns[IMPORT_COLUMNS_MAX];
    size_t n_columns;
    enum { CSV_START, CSV_PLAIN, CSV_QUOTED, CSV_QUOTE } state;
    bool header_read, any, skip_lf;
    unsigned bom; /* bytes of a byte order mark passed */
};
void import_parser_init(struct import_parser *p, bool csv);
void import_parser_done(struct import_parser *p);
int import_parse(struct import_parser *p, const char *data, size_t n) MUST_USE;
int import_parse_end(struct import_parser *p) MUST_USE; /* the last line may lack its break */

/* ---- what is under way ---- */
enum { IMPORT_BATCH_ROWS = 100, IMPORT_LISTED_MAX = 100 };

struct row_error {
    uint64_t row;
    char code[32], detail[160];
};
struct row_errors {
    uint64_t count;
    size_t listed;
    struct row_error list[IMPORT_LISTED_MAX];
};

struct import_row {
    uint64_t row;
    const char *gateway;
    struct device device;
};
struct import;
struct batch {
    struct db_job job;
    struct batch *next;
    struct import *im;
    struct arena a;
    size_t n;
    int64_t import_id; /* as run made it, or found it */
    uint64_t inserted, without_login;
    struct row_errors errs;
    struct import_row rows[IMPORT_BATCH_ROWS];
};

struct import {
    struct write *w;
    struct api *api;
    struct http_request *r;
    bool partial;

    /* the http thread's */
    struct db *db;
    struct import_parser parser;
    struct batch *filling;
    char type_key[68], zone[68];
    int64_t type_id;
    bool replay; /* the key was used: only the body's digest is wanted */
    struct digest_stream *digest;

    pthread_mutex_t lock; /* guards what follows */
    int64_t id;           /* of the import; 0 = not begun */
    struct batch *waiting, **waiting_end;
    int n_waiting;
    bool in_flight, paused, ended, gone;
    uint64_t imported, without_login;
    struct row_errors errs;
    int rc; /* of the database */
};

/* import.c; the caller holds the import's lock when the errors are the import's */
void import_note(struct row_errors *e, uint64_t row, const char *code, const char *detail);
void import_hand_over(struct import *im); /* what was filled so far goes to the core */
/* import_rows.c: the parser's callbacks; arg is the import */
int import_record(void *arg, uint64_t row, json_t *in, const char *code, const char *detail);
int import_bad_header(void *arg, const char *code, const char *detail);
