/*
 * Between import.c (jobs, answer) and import_parse.c (CSV and NDJSON into rows). Parsing is pure
 * but for the callback that takes each record.
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
