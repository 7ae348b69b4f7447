/* One row per item of the configuration; load.c, check.c and print.c read the same table. */
#pragma once

#include "conf.h"

enum item_kind { ITEM_STRING, ITEM_INT, ITEM_LEVEL, ITEM_FORMAT, ITEM_NETS };
enum { ITEM_NETS_MAX = 256 };

/* What a string must look like. */
enum item_rule {
    RULE_ANY,        /* printable text */
    RULE_SOME,       /* printable text, not empty */
    RULE_FILE_OPT,   /* a file that is read at start, or empty */
    RULE_SECRET,     /* printable text that no message repeats; also from a file */
    RULE_LISTEN,     /* address:port */
    RULE_LISTEN_OPT, /* the same, or empty */
    RULE_HTTP,       /* http:// URL */
    RULE_HTTPS_OPT,  /* https:// URL, or empty */
    RULE_MQTT,       /* mqtt:// or mqtts:// URL */
    RULE_HOST_OPT,   /* name or address of a host, or empty */
    RULE_ROOMS,      /* room=level … */
};

struct item {
    const char *section; /* "" = above the first section */
    const char *key;
    enum item_kind kind;
    enum item_rule rule; /* ITEM_STRING */
    size_t offset;       /* in struct conf */
    const char *initial; /* as text, whatever the kind */
    int64_t min, max;    /* ITEM_INT: the value; ITEM_STRING: max bytes, 0 = 1024 */
    bool env_only;       /* not in the file */
    const char *help;    /* one or two sentences, ASCII but for names */
};

extern const struct item conf_items[];
extern const size_t conf_item_count;

/* "error|warn|info|debug" or "logfmt|json"; NULL for the other kinds. */
const char *item_words(const struct item *item);
/* OTAD_<SECTION>_<KEY> */
void item_env_name(const struct item *item, char ret[64]);
/* Check text (where: FILE:LINE or a variable) against the rule of a string item. The value to
 * keep goes to *ret; it may be a copy in the arena. 0 or E_PROTO. */
int item_check_string(const struct item *item, struct arena *a, const char *where, const char *text,
                      const char **ret, struct fail *f) MUST_USE;
/* The same for an item that names networks: as a list, or parted by commas. */
int item_check_nets(const struct item *item, struct arena *a, const char *where,
                    const char *const *list, size_t count, struct conf_nets *ret,
                    struct fail *f) MUST_USE;
int item_split_nets(const struct item *item, struct arena *a, const char *where, const char *text,
                    struct conf_nets *ret, struct fail *f) MUST_USE;
