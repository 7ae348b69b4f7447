/*
 * The snapshot: everything of the catalog that a decision asks for, read once and never changed.
 * It is built on one thread and then only read, so no lookup locks. Its strings and arrays live
 * in one arena; it dies with its last reference, on whichever thread that is. Beside it the cell
 * that hands the newest one to readers.
 */
#include "catalog_priv.h"

#include <pthread.h>
#include <stdatomic.h>

struct rules {
    const struct rule **list; /* by ascending id */
    size_t n, cap;
};

struct campaigns {
    const struct campaign **list; /* newest first */
    size_t n, cap;
};

struct catalog {
    atomic_int refs;
    struct arena arena;
    struct map types;        /* id -> struct device_type */
    struct map firmwares;    /* id -> struct firmware */
    struct map rules;        /* id -> struct rule */
    struct map type_rules;   /* type id -> struct rules */
    struct map device_rules; /* device id -> struct rules */
    struct map candidates;   /* type id and module -> struct candidates */
    struct map campaigns;    /* id -> struct campaign */
    struct map released_by;  /* firmware id -> struct campaigns */
    struct map rollback_of;  /* firmware id -> struct campaigns */
    struct map pushed_to;    /* type id -> struct campaigns that push */
    struct map topics; /* pattern with "+" for {sn} -> struct type_topic, of those that go up */
    const struct type_topic **topic_list; /* the same */
    size_t n_topics, cap_topics;
    struct map apps; /* project id -> struct project_app */
    struct map apps_by_key;
    bool any_live;
    struct firmware **all; /* every firmware, by ascending id */
    size_t n_all, cap_all;
};

/* ---- growing arrays in the arena ---- */
static void grow(struct arena *a, void *list, size_t n, size_t *cap, size_t size)
{
    void *old, *bigger;

    if (n < *cap)
        return;
    *cap = *cap ? *cap * 2 : 4;
    bigger = arena_alloc(a, *cap * size);
    memcpy(&old, list, sizeof(old));
    if (n)
        memcpy(bigger, old, n * size);
    memcpy(list, &bigger, sizeof(bigger));
}

static void *id_get(const struct map *m, int64_t id)
{
    return map_get(m, &id, sizeof(id));
}

/* A key of the candidates' map; modules are at most MODULE_MAX long. */
struct module_key {
    char bytes[sizeof(int64_t) + MODULE_MAX];
    size_t n;
};

static bool module_key(struct module_key *k, int64_t type_id, const char *module)
{
    size_t n = strlen(module);

    if (n > MODULE_MAX)
        return false;
    memcpy(k->bytes, &type_id, sizeof(type_id));
    memcpy(k->bytes + sizeof(type_id), module, n);
    k->n = sizeof(type_id) + n;
    return true;
}

/* ---- reading ---- */
static void load_topics(struct catalog *c, struct device_type *t)
{
    if (type_topics_read(t->topics_text, t->id, &c->arena, &t->topics) < 0) {
        LOG(LOG_WARN, "catalog", "topics of a type can't be read", KV("type", t->key));
        t->topics.n = 0;
    }
    for (size_t i = 0; i < t->topics.n; i++) {
        struct type_topic *one = &t->topics.list[i];
        const char *filter = topic_with_sn(one->pattern, str_of("+"), &c->arena);

        if (topic_is_down(one->as))
            continue;
        (void)map_put(&c->topics, filter, strlen(filter), one);
        grow(&c->arena, &c->topic_list, c->n_topics, &c->cap_topics, sizeof(*c->topic_list));
        c->topic_list[c->n_topics++] = one;
    }
}

static int load_types(struct db *db, struct catalog *c)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_DEVICE_TYPE_LIST);
    int rc;

    db_bind_int(q, 1, 0);
    db_bind_int(q, 2, 0);
    db_bind_int(q, 3, CATALOG_ALL);
    while ((rc = db_step(q)) == 1) {
        struct device_type *t = arena_alloc(&c->arena, sizeof(*t));

        device_type_row(q, &c->arena, t);
        t->progress = t->progress_text ? progress_parse(t->progress_text, &c->arena) : NULL;
        map_put(&c->types, &t->id, sizeof(t->id), t);
        load_topics(c, t);
    }
    return rc;
}

static int load_rules(struct db *db, struct catalog *c)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_RULE_LIST);
    int rc;

    for (int i = 1; i <= 4; i++)
        db_bind_int(q, i, 0);
    db_bind_int(q, 5, CATALOG_ALL);
    while ((rc = db_step(q)) == 1) {
        struct rule *r = arena_alloc(&c->arena, sizeof(*r));
        struct map *m;
        struct rules *rules;
        int64_t id;

        rule_row(q, &c->arena, r);
        m = r->device_id ? &c->device_rules : &c->type_rules;
        id = r->device_id ? r->device_id : r->type_id;
        rules = id_get(m, id);
        if (!rules) {
            rules = arena_alloc(&c->arena, sizeof(*rules));
            map_put(m, &id, sizeof(id), rules);
        }
        grow(&c->arena, &rules->list, rules->n, &rules->cap, sizeof(*rules->list));
        rules->list[rules->n++] = r;
        map_put(&c->rules, &r->id, sizeof(r->id), r);
    }
    return rc;
}

static struct candidates *candidates_of(const struct catalog *c, int64_t type_id,
                                        const char *module)
{
    struct module_key k;

    return module_key(&k, type_id, module) ? map_get(&c->candidates, k.bytes, k.n) : NULL;
}

static void add_candidate(struct catalog *c, struct firmware *fw)
{
    const struct device_type *t = id_get(&c->types, fw->type_id);
    struct candidates *list;
    struct module_key k;

    if (!t || !module_key(&k, fw->type_id, fw->module))
        return;
    list = candidates_of(c, fw->type_id, fw->module);
    if (!list) {
        list = arena_alloc(&c->arena, sizeof(*list));
        list->scheme = t->scheme;
        map_put(&c->candidates, k.bytes, k.n, list);
    }
    candidates_add(list, fw, &c->arena);
}

static int load_firmwares(struct db *db, struct catalog *c)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_LIST);
    int rc;

    db_bind_int(q, 1, 0);
    db_bind_int(q, 2, 0);
    db_bind_int(q, 5, 0);
    db_bind_int(q, 6, CATALOG_ALL);
    while ((rc = db_step(q)) == 1) {
        struct firmware *fw = arena_alloc(&c->arena, sizeof(*fw));

        rc = firmware_row(q, &c->arena, fw);
        /* Into the list first: catalog_unref frees its hardware, whatever comes. */
        grow(&c->arena, &c->all, c->n_all, &c->cap_all, sizeof(struct firmware *));
        c->all[c->n_all++] = fw;
        if (rc < 0)
            return rc;
        map_put(&c->firmwares, &fw->id, sizeof(fw->id), fw);
        add_candidate(c, fw);
    }
    return rc;
}

static int load_files(struct db *db, struct catalog *c)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_FILES_ALL);
    int64_t missing = 0;
    int rc;

    while ((rc = db_step(q)) == 1) {
        struct firmware *fw = id_get(&c->firmwares, db_int(q, 0));

        if (!fw)
            continue; /* a deleted one's */
        rc = firmware_file_row(q, &c->arena, fw);
        if (rc < 0)
            return rc;
        missing += fw->files[fw->n_files - 1].missing;
    }
    metric_set(M_FILES_MISSING, missing);
    return rc;
}

/* ---- lists of devices: the rows come sorted, so that each list is collected in one piece ---- */
struct ids {
    int64_t *ids;
    size_t n, cap;
};

static void ids_add(struct ids *l, int64_t id)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 256;
        l->ids = xrealloc(l->ids, l->cap * sizeof(*l->ids));
    }
    l->ids[l->n++] = id;
}

/* to NULL: of something that is not in the snapshot. */
static void ids_move(struct catalog *c, struct ids *l, struct id_list *to)
{
    if (to && l->n > 0) {
        to->ids = arena_alloc(&c->arena, l->n * sizeof(*l->ids));
        memcpy(to->ids, l->ids, l->n * sizeof(*l->ids));
        to->n = l->n;
    }
    l->n = 0;
}

static struct id_list *list_of_firmware(const struct catalog *c, int64_t firmware_id, bool denied)
{
    struct firmware *fw = id_get(&c->firmwares, firmware_id);

    return !fw ? NULL : denied ? &fw->denied : &fw->devices;
}

static int load_devices(struct db *db, struct catalog *c)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_FIRMWARE_DEVICES_ALL);
    struct ids l = {0};
    int64_t firmware_id = 0;
    bool denied = false;
    int rc;

    while ((rc = db_step(q)) == 1) {
        if (db_int(q, 0) != firmware_id || (db_int(q, 1) != 0) != denied) {
            ids_move(c, &l, list_of_firmware(c, firmware_id, denied));
            firmware_id = db_int(q, 0);
            denied = db_int(q, 1) != 0;
        }
        ids_add(&l, db_int(q, 2));
    }
    ids_move(c, &l, list_of_firmware(c, firmware_id, denied));
    free(l.ids);
    return rc;
}

static struct id_list *list_of_rule(const struct catalog *c, int64_t rule_id)
{
    struct rule *r = id_get(&c->rules, rule_id);

    return r ? &r->devices : NULL;
}

static int load_rule_devices(struct db *db, struct catalog *c)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_RULE_DEVICES_ALL);
    struct ids l = {0};
    int64_t rule_id = 0;
    int rc;

    while ((rc = db_step(q)) == 1) {
        if (db_int(q, 0) != rule_id) {
            ids_move(c, &l, list_of_rule(c, rule_id));
            rule_id = db_int(q, 0);
        }
        ids_add(&l, db_int(q, 1));
    }
    ids_move(c, &l, list_of_rule(c, rule_id));
    free(l.ids);
    return rc;
}

/* ---- campaigns ---- */
static void note_campaign(struct catalog *c, struct map *m, int64_t of,
                          const struct campaign *campaign)
{
    struct campaigns *l = id_get(m, of);

    if (!l) {
        l = arena_alloc(&c->arena, sizeof(*l));
        map_put(m, &of, sizeof(of), l);
    }
    grow(&c->arena, &l->list, l->n, &l->cap, sizeof(*l->list));
    memmove(l->list + 1, l->list, l->n * sizeof(*l->list));
    l->list[0] = campaign;
    l->n++;
}

static void note_back(struct catalog *c, int64_t firmware_id)
{
    const struct firmware *fw = id_get(&c->firmwares, firmware_id);
    struct candidates *list = fw ? candidates_of(c, fw->type_id, fw->module) : NULL;

    if (list)
        list->goes_back = true;
}

/* Its firmware, and of a full image the deltas of the same version. One that names a delta
 * releases no more than that. */
static void note_released(struct catalog *c, const struct campaign *campaign)
{
    const struct firmware *fw = id_get(&c->firmwares, campaign->firmware_id);

    note_campaign(c, &c->released_by, campaign->firmware_id, campaign);
    for (size_t i = 0; fw && fw->n_sources == 0 && i < fw->n_peers; i++)
        if (fw->peers[i]->n_sources > 0)
            note_campaign(c, &c->released_by, fw->peers[i]->id, campaign);
}

static void add_campaign(void *arg, struct campaign *campaign)
{
    struct catalog *c = arg;

    map_put(&c->campaigns, &campaign->id, sizeof(campaign->id), campaign);
    note_released(c, campaign);
    if (campaign->state == CAMPAIGN_COMPLETED)
        return; /* for good */
    if (campaign->push && (campaign->state != CAMPAIGN_ABORTED || campaign->rollback_id))
        note_campaign(c, &c->pushed_to, campaign->type_id, campaign);
    if (campaign->rollback_id)
        note_campaign(c, &c->rollback_of, campaign->rollback_id, campaign);
    if (campaign->rollback_id)
        note_back(c, campaign->rollback_id);
    if (campaign->allow_downgrade || campaign->allow_reinstall)
        note_back(c, campaign->firmware_id);
}

static int load_apps(struct db *db, struct catalog *c)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_PROJECT_APP_LIST);
    int rc;

    while ((rc = db_step(q)) == 1) {
        struct project_app *app = arena_alloc(&c->arena, sizeof(*app));

        project_app_row(q, &c->arena, app);
        map_put(&c->apps, &app->project_id, sizeof(app->project_id), app);
        map_put(&c->apps_by_key, app->key, strlen(app->key), app);
        c->any_live |= app->live;
    }
    return rc;
}

static void finish_candidates(struct catalog *c)
{
    size_t it = 0, n;
    const void *key;
    void *value;

    while (map_next(&c->candidates, &it, &key, &n, &value))
        candidates_finish(value, &c->arena);
}

int catalog_load(struct db *db, struct catalog **ret, struct fail *f)
{
    struct catalog *c = xcalloc(1, sizeof(*c));
    int rc;

    atomic_init(&c->refs, 1);
    arena_init(&c->arena);
    rc = load_types(db, c);
    if (rc == 0)
        rc = load_rules(db, c);
    if (rc == 0)
        rc = load_rule_devices(db, c);
    if (rc == 0)
        rc = load_firmwares(db, c);
    if (rc == 0)
        rc = load_files(db, c);
    if (rc == 0)
        rc = load_devices(db, c);
    finish_candidates(c);
    if (rc == 0)
        rc = campaign_load_all(db, &c->arena, add_campaign, c);
    if (rc == 0)
        rc = load_apps(db, c);
    if (rc < 0) {
        catalog_unref(c);
        return catalog_fail(db, rc, "cannot read the catalog", f);
    }
    *ret = c;
    return 0;
}

struct catalog *catalog_ref(struct catalog *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void catalog_unref(struct catalog *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < c->n_all; i++)
        json_decref(c->all[i]->hardware);
    map_done(&c->types);
    map_done(&c->firmwares);
    map_done(&c->rules);
    map_done(&c->type_rules);
    map_done(&c->device_rules);
    map_done(&c->candidates);
    map_done(&c->campaigns);
    map_done(&c->pushed_to);
    map_done(&c->released_by);
    map_done(&c->rollback_of);
    map_done(&c->topics);
    map_done(&c->apps);
    map_done(&c->apps_by_key);
    arena_done(&c->arena);
    free(c);
}

/* ---- lookups ---- */
const struct device_type *catalog_type(const struct catalog *c, int64_t type_id)
{
    return id_get(&c->types, type_id);
}

const struct firmware *catalog_firmware(const struct catalog *c, int64_t firmware_id)
{
    return id_get(&c->firmwares, firmware_id);
}

const struct project_app *catalog_app(const struct catalog *c, int64_t project_id)
{
    return id_get(&c->apps, project_id);
}

const struct project_app *catalog_app_by_key(const struct catalog *c, struct str key)
{
    return key.n > 0 ? map_get(&c->apps_by_key, key.p, key.n) : NULL;
}

const struct project_app *catalog_live(const struct catalog *c, int64_t project_id)
{
    const struct project_app *app = c->any_live ? catalog_app(c, project_id) : NULL;

    return app && app->live ? app : NULL;
}

bool catalog_any_live(const struct catalog *c)
{
    return c->any_live;
}

bool rule_is_for(const struct rule *r, int64_t device_id)
{
    return r->devices.n == 0 || id_list_has(&r->devices, device_id);
}

/* Whose word counts more: a rule of the device, one that lists it, one of the whole type. */
static int rule_rank(const struct rule *r)
{
    return r->device_id ? 0 : r->devices.n ? 1 : 2;
}

static bool is_answered(const struct rule *const *list, size_t n, const char *module)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i]->module, module) == 0)
            return true;
    return false;
}

size_t catalog_rules(const struct catalog *c, int64_t type_id, int64_t device_id, const char *event,
                     const struct rule **ret, size_t cap)
{
    const struct rules *lists[] = {id_get(&c->device_rules, device_id),
                                   id_get(&c->type_rules, type_id)};
    size_t n = 0;

    for (int rank = 0; rank <= 2; rank++) {
        const struct rules *of = lists[rank > 0];

        for (size_t i = 0; of && i < of->n && n < cap; i++) {
            const struct rule *r = of->list[i];

            if (rule_rank(r) == rank && r->enabled && strcmp(r->event, event) == 0 &&
                rule_is_for(r, device_id) && !is_answered(ret, n, r->module))
                ret[n++] = r;
        }
    }
    return n;
}

size_t catalog_module_rules(const struct catalog *c, int64_t type_id, int64_t device_id,
                            const char *module, const struct rule **ret, size_t cap)
{
    const struct rules *lists[] = {id_get(&c->device_rules, device_id),
                                   id_get(&c->type_rules, type_id)};
    size_t n = 0;

    for (size_t k = 0; k < ARRAY_LEN(lists); k++)
        for (size_t i = 0; lists[k] && i < lists[k]->n; i++)
            if (n < cap && strcmp(lists[k]->list[i]->module, module) == 0)
                ret[n++] = lists[k]->list[i];
    return n;
}

static bool is_named_for(const struct rules *const lists[2], int64_t device_id, const char *module)
{
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; lists[k] && i < lists[k]->n; i++)
            if (strcmp(lists[k]->list[i]->module, module) == 0 &&
                rule_is_for(lists[k]->list[i], device_id))
                return true;
    return false;
}

size_t catalog_version_modules(const struct catalog *c, int64_t type_id, int64_t device_id,
                               const char *attribute, const char **ret, size_t cap)
{
    const struct rules *const lists[] = {id_get(&c->device_rules, device_id),
                                         id_get(&c->type_rules, type_id)};
    size_t n = 0;

    for (size_t k = 0; k < ARRAY_LEN(lists); k++)
        for (size_t i = 0; lists[k] && i < lists[k]->n; i++) {
            const struct rule *r = lists[k]->list[i];
            size_t j = 0;

            if (strcmp(r->version_attribute, attribute) != 0)
                continue;
            if (!rule_is_for(r, device_id) && is_named_for(lists, device_id, r->module))
                continue;
            while (j < n && strcmp(ret[j], r->module) != 0)
                j++;
            if (j == n && n < cap)
                ret[n++] = r->module;
        }
    return n;
}

size_t catalog_candidates(const struct catalog *c, int64_t type_id, const char *module,
                          const struct firmware *const **ret)
{
    const struct candidates *list = candidates_of(c, type_id, module);

    *ret = list ? (const struct firmware *const *)list->list : NULL;
    return list ? list->n : 0;
}

size_t catalog_floors(const struct catalog *c, int64_t type_id, const char *module,
                      const struct firmware *const **ret)
{
    const struct candidates *list = candidates_of(c, type_id, module);

    *ret = list ? list->floors : NULL;
    return list ? list->n_floors : 0;
}

const struct campaign *catalog_campaign(const struct catalog *c, int64_t campaign_id)
{
    return id_get(&c->campaigns, campaign_id);
}

size_t catalog_campaigns(const struct catalog *c, int64_t firmware_id, bool rollback,
                         const struct campaign *const **ret)
{
    const struct campaigns *l = id_get(rollback ? &c->rollback_of : &c->released_by, firmware_id);

    *ret = l ? l->list : NULL;
    return l ? l->n : 0;
}

size_t catalog_pushes(const struct catalog *c, int64_t type_id, const struct campaign *const **ret)
{
    const struct campaigns *l = id_get(&c->pushed_to, type_id);

    *ret = l ? l->list : NULL;
    return l ? l->n : 0;
}

bool catalog_any_push(const struct catalog *c)
{
    return c->pushed_to.count > 0;
}

bool catalog_goes_back(const struct catalog *c, int64_t type_id, const char *module)
{
    const struct candidates *list = candidates_of(c, type_id, module);

    return list && list->goes_back;
}

size_t catalog_topics(const struct catalog *c, const struct type_topic *const **ret)
{
    *ret = c->topic_list;
    return c->n_topics;
}

/* Each level in turn may be the one with the serial number; patterns never meet, so one fits. */
const struct type_topic *catalog_topic(const struct catalog *c, const char *topic,
                                       struct str *ret_sn)
{
    char key[TOPIC_PATTERN_MAX + 1];
    size_t n = strlen(topic), levels = 0;

    if (c->n_topics == 0 || n > TOPIC_PATTERN_MAX + TOPIC_SN_MAX)
        return NULL;
    for (const char *at = topic; levels < TOPIC_LEVELS_MAX; at++, levels++) {
        size_t level = strcspn(at, "/"), before = (size_t)(at - topic), key_n = n - level + 1;

        if (level > 0 && key_n < sizeof(key) && topic_sn_ok(at, level)) {
            memcpy(key, topic, before);
            key[before] = '+';
            memcpy(key + before + 1, at + level, n - before - level);
            const struct type_topic *t = map_get(&c->topics, key, key_n);
            if (t) {
                *ret_sn = (struct str){at, level};
                return t;
            }
        }
        at += level;
        if (!*at)
            break;
    }
    return NULL;
}

/* ---- the cell ---- */
struct catalog_cell {
    pthread_mutex_t lock; /* between reading the pointer and taking the reference */
    struct catalog *now;
};

struct catalog_cell *catalog_cell_new(struct catalog *first)
{
    struct catalog_cell *cell = xcalloc(1, sizeof(*cell));

    pthread_mutex_init(&cell->lock, NULL);
    cell->now = first;
    return cell;
}

void catalog_cell_free(struct catalog_cell *cell)
{
    if (!cell)
        return;
    catalog_unref(cell->now);
    pthread_mutex_destroy(&cell->lock);
    free(cell);
}

struct catalog *catalog_cell_get(struct catalog_cell *cell)
{
    struct catalog *c;

    pthread_mutex_lock(&cell->lock);
    c = catalog_ref(cell->now);
    pthread_mutex_unlock(&cell->lock);
    return c;
}

void catalog_cell_set(struct catalog_cell *cell, struct catalog *c)
{
    struct catalog *old;

    pthread_mutex_lock(&cell->lock);
    old = cell->now;
    cell->now = c;
    pthread_mutex_unlock(&cell->lock);
    catalog_unref(old);
}
