/*
 * At the start: what the database names against what lies on the disk. Bytes that nothing names
 * are swept in their time (store.h); bytes that are named and missing are said, and their
 * firmwares are offered to nobody.
 */
#include "daemon.h"

#include "catalog.h"

struct changed {
    struct store *store;
    size_t n, cap, missing;
    struct change {
        uint8_t sha256[SHA256_SIZE];
        bool missing;
    } * list;
};

static int look(void *arg, const uint8_t sha256[SHA256_SIZE], uint64_t size, bool missing)
{
    struct changed *c = arg;
    bool is = !store_has(c->store, sha256, size);

    c->missing += is;
    if (is == missing)
        return 0;
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        c->list = xrealloc(c->list, c->cap * sizeof(*c->list));
    }
    memcpy(c->list[c->n].sha256, sha256, SHA256_SIZE);
    c->list[c->n++].missing = is;
    return 0;
}

static int note_missing(struct db *w, struct store *store)
{
    struct changed c = {.store = store};
    int rc = firmware_bytes_each(w, look, &c);

    for (size_t i = 0; i < c.n && rc == 0; i++)
        rc = firmware_bytes_missing(w, c.list[i].sha256, c.list[i].missing);
    free(c.list);
    if (rc == 0 && c.missing)
        LOG(LOG_ERROR, "daemon",
            "firmware bytes are missing: those firmwares are not offered until the same files are "
            "uploaded again, or their blobs copied back and otad restarted",
            KV_INT("files", (int64_t)c.missing));
    return rc;
}

static bool used(void *arg, const uint8_t sha256[SHA256_SIZE])
{
    return firmware_uses(arg, sha256);
}

int blobs_check(struct store *store, struct db *w, struct fail *f)
{
    size_t kept = 0;
    int rc = db_begin(w);

    if (rc == 0)
        rc = note_missing(w, store);
    rc = rc < 0 ? rc : db_commit(w);
    if (rc < 0)
        return fail(f, rc, "looking for the firmwares' bytes: %s", db_error(w));
    rc = store_sweep(store, used, w, &kept);
    if (rc < 0)
        return fail(f, rc, "sweeping blobs: %s", err_str(rc));
    if (kept)
        LOG(LOG_WARN, "daemon", "bytes that no firmware names are kept for a while",
            KV_INT("files", (int64_t)kept), KV_INT("days", STORE_STRAY_DAYS));
    return 0;
}
