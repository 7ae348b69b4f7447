/*
 * What the files of the catalog room share. The column orders are those of
 * sql/queries/catalog.sql.
 */
#pragma once

#include "catalog.h"

/* "No limit" for a list query. */
#define CATALOG_ALL 1000000000

void device_type_row(struct db_stmt *s, struct arena *a, struct device_type *ret);
void project_app_row(struct db_stmt *s, struct arena *a, struct project_app *ret);
void rule_row(struct db_stmt *s, struct arena *a, struct rule *ret);
/* The row alone: files, devices and denied are empty. hardware is a new reference or NULL. */
int firmware_row(struct db_stmt *s, struct arena *a, struct firmware *ret) MUST_USE;
/* One row of firmware_files[_all] into the place that its number names. */
int firmware_file_row(struct db_stmt *s, struct arena *a, struct firmware *fw) MUST_USE;

/* ---- candidates.c: the firmwares of one type and module, in order ---- */
struct candidates {
    struct firmware **list;
    size_t n, cap;
    const struct firmware **floors; /* lowest first */
    size_t n_floors;
    enum version_scheme scheme;
    bool goes_back; /* a campaign may offer what is not newer */
};
void candidates_add(struct candidates *l, struct firmware *fw, struct arena *a);
/* All are in: put them in order and fill what firmwares know of one another. */
void candidates_finish(struct candidates *l, struct arena *a);

/* The words of the column version_scheme. */
const char *version_scheme_name(enum version_scheme s);
/* A module's name, of a firmware or a rule. */
int module_check(const char *module, struct fail *f) MUST_USE;
/* The sentence for an error of a statement that has no better one. */
int catalog_fail(struct db *db, int rc, const char *what, struct fail *f);
