/*
 * The part of TOML 1.0 that a configuration needs, read one statement at a time. The text must
 * outlive the reader; values live in the arena that is given. Not for other rooms.
 */
#pragma once

#include "util.h"

enum toml_kind { TOML_END, TOML_SECTION, TOML_STRING, TOML_INT, TOML_BOOL, TOML_STRINGS };

struct toml {
    struct arena *a;
    const char *file; /* for messages */
    const char *p, *end;
    unsigned line;
};

struct toml_entry {
    enum toml_kind kind;
    unsigned line;
    const char *key;  /* of a section: its name */
    const char *text; /* TOML_STRING */
    int64_t number;   /* TOML_INT, and 0 or 1 for TOML_BOOL */
    const char **list;
    size_t count;
};

/* n bytes; checks that they are UTF-8. 0 or E_PROTO. */
int toml_init(struct toml *t, struct arena *a, const char *file, const char *text, size_t n,
              struct fail *f) MUST_USE;
/* The next section header or key; kind TOML_END after the last one. 0 or E_PROTO. */
int toml_next(struct toml *t, struct toml_entry *ret, struct fail *f) MUST_USE;
