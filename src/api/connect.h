/* What the files of bootstrap share: who asks for a login, and whether there is one to be had. */
#pragma once

#include "device.h"
#include "priv.h"

enum { CONNECT_SN_MAX = 128, CONNECT_PRODUCT_MAX = 64 };

struct ask {
    const char *project, *product, *sn; /* "" = not given */
    bool make;                          /* what is missing may be made */
    bool cloud;                         /* ThingsCloud: the password is the project's key */
    const char *hash, *password, *address;
};
struct found {
    struct project project;
    struct device_type type;
    struct device device;
    bool has_project, has_type, has_device, several, has_claim;
    bool fetched; /* a login, since the claim was opened */
};
struct refusal {
    int status;
    const char *code;
    struct fail why;
};

/* 401, with a sentence; returns E_NOTFOUND. */
int connect_no_device(struct refusal *no, const char *code, const char *text);
int connect_no_product(struct refusal *no); /* 436; E_NOTFOUND */
int connect_none_left(struct refusal *no);  /* the project makes no further device; E_NOTFOUND */
/* What is there of what was asked for. 0, or the database's error. */
int connect_find(struct db *db, const struct ask *ask, struct arena *a, struct found *ret) MUST_USE;
/* 0: a login may be handed out, to x->device, or (has_device false) to one that is to be made.
 * E_NOTFOUND: *no says why not. on_core: what is known in memory alone counts as well. */
int connect_check(const struct api *api, struct db *db, const struct ask *ask, struct found *x,
                  bool on_core, struct refusal *no) MUST_USE;
