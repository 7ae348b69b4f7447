/* The catalog: rows, what may not be done to them, the snapshot and its cell. */
#include "domain_fixture.h"

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
/* clang-format on */

#include <pthread.h>
#include <stdatomic.h>

static void install_is_idempotent(void **state UNUSED)
{
    struct domain d;
    uint8_t key[32], again[32], zero[32] = {0};
    struct project p;
    struct fail f = {0};

    domain_init(&d);
    MUST(catalog_link_key(d.w, key));
    MUST(catalog_install(d.w, T0 + 5, NULL));
    MUST(catalog_link_key(d.w, again));
    assert_memory_equal(key, again, 32);
    assert_memory_not_equal(key, zero, 32);
    assert_int_equal(catalog_count(d.w, "projects", 0), 1);
    MUST(project_by_key(d.w, "default", &d.a, &p));
    assert_int_equal(p.created_at, T0);
    assert_int_equal(catalog_count(d.w, "nonsense", 0), E_NOTFOUND);
    db_rollback(d.w);
    assert_int_equal(catalog_link_key(d.w, key), E_NOTFOUND);
    MUST(db_begin(d.w));
    assert_int_equal(project_delete(d.w, 1, &f), E_CONFLICT);
    domain_done(&d);
}

static int name_project(void *arg, const struct project *p)
{
    snprintf(arg, 64, "%s", p->key);
    return 1;
}

static void projects(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    char name[64];

    domain_init(&d);
    struct project p = {.key = "acme", .name = "Acme", .created_at = T0};
    MUST(project_insert(d.w, &p, &f));
    assert_int_equal(project_insert(d.w, &p, &f), -EEXIST);
    assert_non_null(strstr(f.text, "acme"));
    struct project bad = {.key = "a/b", .name = "x"};
    assert_int_equal(project_insert(d.w, &bad, &f), E_PROTO);
    p.name = "ACME";
    MUST(project_update(d.w, &p, &f));
    MUST(project_by_key(d.w, "acme", &d.a, &p));
    assert_string_equal(p.name, "ACME");
    assert_int_equal(p.revision, 2);
    assert_int_equal(project_list(d.w, d.project, 10, name_project, name), 1);
    assert_string_equal(name, "acme");
    struct device_type t = d.type;
    t.project_id = p.id; /* the same key in another project */
    MUST(device_type_insert(d.w, &t, &f));
    assert_int_equal(project_delete(d.w, p.id, &f), E_CONFLICT);
    MUST(device_type_delete(d.w, t.id, &f));
    MUST(project_delete(d.w, p.id, &f));
    assert_int_equal(project_delete(d.w, p.id, &f), E_CONFLICT);
    assert_int_equal(project_by_key(d.w, "acme", &d.a, &p), E_NOTFOUND);
    MUST(device_type_delete(d.w, d.type.id, &f));
    assert_int_equal(project_delete(d.w, d.project, &f), E_CONFLICT); /* default, though empty */
    domain_done(&d);
}

static int keep_rule(void *arg, const struct rule *r)
{
    struct rule *ret = arg;

    *ret = *r;
    ret->name = ret->event = ret->version_attribute = ret->module = NULL;
    assert_string_equal(r->event, "otaCheck");
    assert_string_equal(r->version_attribute, "version");
    assert_string_equal(r->module, "main");
    return 0;
}

static void types(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    struct device_type t;
    struct rule r = {0};

    domain_init(&d);
    MUST(rule_list(d.w, d.project, d.type.id, 0, 0, 10, keep_rule, &r));
    assert_int_equal(r.type_id, d.type.id);
    assert_true(r.enabled);
    t = d.type;
    assert_int_equal(device_type_insert(d.w, &t, &f), -EEXIST);
    d.type.scheme = VERSION_SEMVER;
    d.type.event_response = true;
    d.type.backoff_s = 7;
    d.type.space_attribute = "disk";
    MUST(device_type_update(d.w, &d.type, &f));
    MUST(device_type_by_key(d.w, d.project, "cam", &d.a, &t));
    assert_int_equal(t.scheme, VERSION_SEMVER);
    assert_true(t.event_response && !t.attributes_response);
    assert_int_equal(t.backoff_s, 7);
    assert_string_equal(t.battery_attribute, "battery");
    assert_string_equal(t.space_attribute, "disk");
    assert_int_equal(t.revision, 2);
    assert_int_equal(device_type_by_key(d.w, d.project + 1, "cam", &d.a, &t), E_NOTFOUND);
    domain_done(&d);
}

static void a_type_in_use_stays(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev"), fw = domain_firmware(&d, "1.0");
    assert_int_equal(device_type_delete(d.w, d.type.id, &f), E_CONFLICT);
    MUST(device_delete(d.w, dev, &f));
    assert_int_equal(device_type_delete(d.w, d.type.id, &f), E_CONFLICT);
    MUST(firmware_delete(d.w, fw, T0, &f));
    MUST(device_type_delete(d.w, d.type.id, &f));
    assert_int_equal(catalog_count(d.w, "rules", d.project), 0);
    assert_int_equal(device_type_delete(d.w, d.type.id, &f), E_NOTFOUND);
    domain_done(&d);
}

static void rules(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    struct rule got;

    domain_init(&d);
    struct rule r = {.project_id = d.project,
                     .type_id = d.type.id,
                     .name = "mcu",
                     .event = "mcuCheck",
                     .version_attribute = "mcu_version",
                     .module = "mcu",
                     .enabled = true,
                     .created_at = T0};
    MUST(rule_insert(d.w, &r, &f));
    r.enabled = false;
    MUST(rule_update(d.w, &r, &f));
    MUST(rule_by_id(d.w, d.project, r.id, &d.a, &got));
    assert_false(got.enabled);
    assert_string_equal(got.module, "mcu");
    assert_int_equal(rule_by_id(d.w, d.project + 1, r.id, &d.a, &got), E_NOTFOUND);
    struct rule bad = r;
    bad.device_id = 1; /* both */
    assert_int_equal(rule_insert(d.w, &bad, &f), E_PROTO);
    bad.device_id = bad.type_id = 0; /* neither */
    assert_int_equal(rule_insert(d.w, &bad, &f), E_PROTO);
    bad = r;
    bad.type_id = 999;
    assert_int_equal(rule_insert(d.w, &bad, &f), E_CONFLICT);
    bad = r;
    bad.module = "a module with blanks";
    assert_int_equal(rule_insert(d.w, &bad, &f), E_PROTO);
    MUST(rule_delete(d.w, r.id));
    assert_int_equal(rule_delete(d.w, r.id), E_NOTFOUND);
    domain_done(&d);
}

static struct firmware full_firmware(struct domain *d, int64_t *ids)
{
    static const char *sources[] = {"1.0", "quo\"te"};
    struct firmware fw = domain_firmware_of(d, "2.0", 100);

    fw.module = "mcu";
    fw.name = "näme";
    fw.notes = "line\nline";
    fw.use_https = fw.campaign_only = true;
    fw.source_versions = sources;
    fw.n_sources = 2;
    fw.devices = (struct id_list){ids, 2};
    fw.denied = (struct id_list){ids + 1, 1};
    fw.hardware = json_pack("{s:[s,i]}", "hw", "A", 7);
    fw.has_min_signal = true;
    fw.min_signal = -90;
    fw.image = "{\"chip\":\"ESP32\"}";
    fw.n_files = 2;
    fw.files[1].name = "b.bin";
    fw.files[1].digests = (struct digests){.size = 1ULL << 33, .crc32 = UINT32_MAX};
    memset(fw.files[1].digests.md5, 0x11, MD5_SIZE);
    memset(fw.files[1].digests.sha1, 0x22, SHA1_SIZE);
    memset(fw.files[1].digests.sha256, 0x33, SHA256_SIZE);
    return fw;
}

static void assert_full(const struct firmware *got, const struct firmware *fw)
{
    assert_string_equal(got->name, fw->name);
    assert_string_equal(got->notes, fw->notes);
    assert_string_equal(got->image, fw->image);
    assert_true(got->enabled && got->use_https && got->campaign_only);
    assert_int_equal(got->n_sources, 2);
    assert_string_equal(got->source_versions[1], "quo\"te");
    assert_int_equal(got->devices.n, 2);
    assert_int_equal(got->denied.n, 1);
    assert_int_equal(got->denied.ids[0], fw->denied.ids[0]);
    assert_true(json_equal(got->hardware, fw->hardware));
    assert_true(got->has_min_signal && !got->has_min_battery && !got->has_min_free_space);
    assert_int_equal(got->min_signal, -90);
    assert_int_equal(got->n_files, 2);
    assert_int_equal(got->bytes_total, 100 + (1ULL << 33));
    assert_string_equal(got->files[1].name, "b.bin");
    assert_memory_equal(got->files[1].digests.sha1, fw->files[1].digests.sha1, SHA1_SIZE);
    assert_memory_equal(got->files[1].digests.sha256, fw->files[1].digests.sha256, SHA256_SIZE);
    assert_int_equal(got->files[1].digests.crc32, UINT32_MAX);
}

static int compare_firmware(void *arg, const struct firmware *fw)
{
    assert_full(fw, arg);
    return 0;
}

static void firmware_round_trip(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    struct firmware got;
    int64_t ids[2];

    domain_init(&d);
    ids[0] = domain_device(&d, "a");
    ids[1] = domain_device(&d, "b");
    struct firmware fw = full_firmware(&d, ids);
    MUST(firmware_insert(d.w, &fw, &f));
    MUST(firmware_by_id(d.w, d.project, fw.id, &d.a, &got));
    assert_full(&got, &fw);
    json_decref(got.hardware);
    MUST(firmware_list(d.w, d.project, d.type.id, "mcu", "2.0", 0, 10, compare_firmware, &fw));
    domain_reload(&d);
    assert_full(catalog_firmware(d.catalog, fw.id), &fw);
    got.hardware = fw.hardware;
    assert_int_equal(firmware_by_id(d.w, d.project + 1, fw.id, &d.a, &got), E_NOTFOUND);
    assert_null(got.hardware);
    assert_true(firmware_uses(d.w, fw.files[1].digests.sha256));

    /* What is immutable is not even written. */
    struct firmware changed = fw;
    changed.name = "new";
    changed.enabled = false;
    changed.devices.n = 1;
    changed.denied.n = 0;
    changed.version = "9";
    changed.module = "main";
    changed.n_files = 1;
    MUST(firmware_update(d.w, &changed, &f));
    MUST(firmware_by_id(d.w, d.project, fw.id, &d.a, &got));
    assert_string_equal(got.name, "new");
    assert_false(got.enabled);
    assert_int_equal(got.devices.n, 1);
    assert_int_equal(got.denied.n, 0);
    assert_string_equal(got.version, "2.0");
    assert_string_equal(got.module, "mcu");
    assert_int_equal(got.n_files, 2);
    assert_int_equal(got.revision, 2);
    json_decref(got.hardware);
    json_decref(fw.hardware);
    domain_done(&d);
}

static void bad_firmwares_are_refused(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};

    domain_init(&d);
    struct firmware fw = domain_firmware_of(&d, "...", 10);
    assert_int_equal(firmware_insert(d.w, &fw, &f), E_PROTO);
    fw = domain_firmware_of(&d, "1.0", 10);
    fw.n_files = 0;
    assert_int_equal(firmware_insert(d.w, &fw, &f), E_PROTO);
    fw.n_files = 6;
    assert_int_equal(firmware_insert(d.w, &fw, &f), E_PROTO);
    fw.n_files = 1;
    fw.module = "";
    assert_int_equal(firmware_insert(d.w, &fw, &f), E_PROTO);
    fw.module = "main";
    fw.type_id = 999;
    assert_int_equal(firmware_insert(d.w, &fw, &f), E_CONFLICT);
    fw.type_id = d.type.id;
    fw.devices = (struct id_list){(int64_t[]){12345}, 1};
    assert_int_equal(firmware_insert(d.w, &fw, &f), E_CONFLICT);
    domain_done(&d);
}

static int nobody(void *arg UNUSED, const struct firmware *fw UNUSED)
{
    return -1;
}

static void a_deleted_firmware_is_gone(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    struct firmware got;

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev");
    struct firmware fw = domain_firmware_of(&d, "2.0", 10);
    fw.devices = (struct id_list){&dev, 1};
    MUST(firmware_insert(d.w, &fw, &f));
    assert_int_equal(device_delete(d.w, dev, &f), E_CONFLICT); /* its list would mean everybody */
    MUST(firmware_delete(d.w, fw.id, T0, &f));
    assert_int_equal(firmware_delete(d.w, fw.id, T0, &f), E_NOTFOUND);
    assert_int_equal(firmware_by_id(d.w, d.project, fw.id, &d.a, &got), E_NOTFOUND);
    assert_int_equal(firmware_update(d.w, &fw, &f), E_NOTFOUND);
    assert_int_equal(firmware_list(d.w, d.project, 0, NULL, NULL, 0, 10, nobody, NULL), 0);
    assert_int_equal(catalog_count(d.w, "firmwares", d.project), 0);
    assert_false(firmware_uses(d.w, fw.files[0].digests.sha256));
    domain_reload(&d);
    assert_null(catalog_firmware(d.catalog, fw.id));
    MUST(device_delete(d.w, dev, &f));
    domain_done(&d);
}

static void candidates_are_sorted(void **state UNUSED)
{
    static const char *const upload[] = {"1.9", "1.10", "1.10-rc1", "v1.10", "0.1"};
    static const char *const expected[] = {"v1.10", "1.10", "1.10-rc1", "1.9", "0.1"};
    const struct firmware *const *list;
    struct domain d;

    domain_init(&d);
    for (size_t i = 0; i < ARRAY_LEN(upload); i++)
        domain_firmware(&d, upload[i]);
    assert_int_equal(catalog_candidates(d.catalog, d.type.id, "main", &list), 5);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_string_equal(list[i]->version, expected[i]);
    assert_int_equal(catalog_candidates(d.catalog, d.type.id, "mcu", &list), 0);
    assert_int_equal(catalog_candidates(d.catalog, d.type.id + 1, "main", &list), 0);
    char longest[100];
    memset(longest, 'm', sizeof(longest));
    longest[99] = '\0';
    assert_int_equal(catalog_candidates(d.catalog, d.type.id, longest, &list), 0);
    d.type.scheme = VERSION_OPAQUE;
    domain_type_changed(&d);
    assert_int_equal(catalog_candidates(d.catalog, d.type.id, "main", &list), 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(list[i]->version, upload[4 - i]);
    domain_done(&d);
}

static int64_t add_rule(struct domain *d, int64_t type, int64_t device, const char *event,
                        const char *attribute, const char *module, bool enabled)
{
    struct rule r = {.project_id = d->project,
                     .type_id = type,
                     .device_id = device,
                     .name = "r",
                     .event = event,
                     .version_attribute = attribute,
                     .module = module,
                     .enabled = enabled};

    MUST(rule_insert(d->w, &r, NULL));
    return r.id;
}

static void rules_of_the_snapshot(void **state UNUSED)
{
    struct domain d;
    const struct rule *got[8];
    const char *modules[8];

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev");
    add_rule(&d, d.type.id, 0, "otaCheck", "version", "boot", false);
    int64_t own = add_rule(&d, 0, dev, "otaCheck", "mcu_version", "mcu", true);
    domain_reload(&d);
    assert_int_equal(catalog_rules(d.catalog, d.type.id, dev, "otaCheck", got, 8), 2);
    assert_int_equal(got[0]->id, own); /* the device's before its type's */
    assert_string_equal(got[1]->module, "main");
    assert_int_equal(catalog_rules(d.catalog, d.type.id, dev, "otaCheck", got, 1), 1);
    assert_int_equal(catalog_rules(d.catalog, d.type.id, dev + 1, "otaCheck", got, 8), 1);
    assert_int_equal(catalog_rules(d.catalog, d.type.id, dev, "other", got, 8), 0);
    /* A version is a version, whether its rule is enabled or not. */
    assert_int_equal(catalog_version_modules(d.catalog, d.type.id, dev, "version", modules, 8), 2);
    assert_string_equal(modules[0], "main");
    assert_string_equal(modules[1], "boot");
    assert_int_equal(catalog_version_modules(d.catalog, d.type.id, dev, "mcu_version", modules, 8),
                     1);
    assert_int_equal(catalog_version_modules(d.catalog, d.type.id, dev, "hue", modules, 8), 0);
    assert_int_equal(catalog_module_rules(d.catalog, d.type.id, dev, "mcu", got, 8), 1);
    assert_int_equal(got[0]->id, own);
    assert_int_equal(catalog_module_rules(d.catalog, d.type.id, dev + 1, "mcu", got, 8), 0);
    /* of one module the device's own, then one that lists it, then the first of the type */
    int64_t listed = add_rule(&d, d.type.id, 0, "otaCheck", "listed", "main", true);
    struct rule r = {.id = listed, .type_id = d.type.id};
    MUST(rule_set_devices(d.w, &r, &dev, 1, NULL));
    add_rule(&d, d.type.id, 0, "otaCheck", "late", "main", true);
    domain_reload(&d);
    assert_int_equal(catalog_rules(d.catalog, d.type.id, dev, "otaCheck", got, 8), 2);
    assert_int_equal(got[1]->id, listed);
    assert_int_equal(catalog_rules(d.catalog, d.type.id, dev + 1, "otaCheck", got, 8), 1);
    assert_string_equal(got[0]->version_attribute, "version");
    int64_t mine = add_rule(&d, 0, dev, "otaCheck", "mine", "main", true);
    domain_reload(&d);
    assert_int_equal(catalog_rules(d.catalog, d.type.id, dev, "otaCheck", got, 8), 2);
    assert_int_equal(got[1]->id, mine);
    domain_done(&d);
}

static size_t rules_at(struct domain *d, int64_t device_id)
{
    const struct rule *got[8];

    domain_reload(d);
    return catalog_rules(d->catalog, d->type.id, device_id, "mcuCheck", got, 8);
}

static int join_key(void *arg, const char *key)
{
    strcat(arg, key);
    return 0;
}

static void a_rule_may_list_devices(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    struct rule r;
    char keys[64] = "";

    domain_init(&d);
    int64_t a = domain_device(&d, "a"), b = domain_device(&d, "b"), c = domain_device(&d, "c");
    int64_t id = add_rule(&d, d.type.id, 0, "mcuCheck", "mcu_version", "mcu", true);
    MUST(rule_by_id(d.w, d.project, id, &d.a, &r));
    assert_int_equal(rules_at(&d, a), 1);
    MUST(rule_set_devices(d.w, &r, (int64_t[]){c, a, c}, 3, &f));
    MUST(rule_devices(d.w, id, join_key, keys));
    assert_string_equal(keys, "ac");
    assert_int_equal(rules_at(&d, a), 1);
    assert_int_equal(rules_at(&d, b), 0);
    assert_int_equal(rules_at(&d, c), 1);
    /* The last one can't go: the list would be empty, and the rule for all. */
    MUST(device_delete(d.w, c, &f));
    assert_int_equal(rules_at(&d, a), 1);
    assert_int_equal(rules_at(&d, b), 0);
    assert_int_equal(device_delete(d.w, a, &f), E_CONFLICT);
    assert_non_null(strstr(f.text, "rule"));
    assert_int_equal(rule_set_devices(d.w, &r, (int64_t[]){a, 999}, 2, &f), E_CONFLICT);
    MUST(rule_set_devices(d.w, &r, NULL, 0, &f));
    assert_int_equal(rules_at(&d, b), 1);
    MUST(device_delete(d.w, a, &f));
    id = add_rule(&d, 0, b, "mcuCheck", "mcu_version", "mcu", true);
    MUST(rule_by_id(d.w, d.project, id, &d.a, &r));
    assert_int_equal(rule_set_devices(d.w, &r, &b, 1, &f), E_CONFLICT); /* it is of one device */
    domain_done(&d);
}

/* No version gets lost because a rule lists others; who is listed can have another attribute. */
static void versions_of_rules_with_lists(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    struct rule r;
    const char *modules[8];

    domain_init(&d);
    int64_t a = domain_device(&d, "a"), b = domain_device(&d, "b");
    int64_t x = add_rule(&d, d.type.id, 0, "check", "x", "mcu", true);
    int64_t y = add_rule(&d, d.type.id, 0, "check", "y", "mcu", true);
    MUST(rule_by_id(d.w, d.project, x, &d.a, &r));
    MUST(rule_set_devices(d.w, &r, &a, 1, &f));
    domain_reload(&d);
    /* y is for all: b's version is y alone, a's both */
    assert_int_equal(catalog_version_modules(d.catalog, d.type.id, a, "x", modules, 8), 1);
    assert_int_equal(catalog_version_modules(d.catalog, d.type.id, a, "y", modules, 8), 1);
    assert_int_equal(catalog_version_modules(d.catalog, d.type.id, b, "x", modules, 8), 0);
    assert_int_equal(catalog_version_modules(d.catalog, d.type.id, b, "y", modules, 8), 1);
    MUST(rule_delete(d.w, y));
    domain_reload(&d);
    assert_int_equal(catalog_version_modules(d.catalog, d.type.id, b, "x", modules, 8), 1);
    assert_string_equal(modules[0], "mcu");
    domain_done(&d);
}

static void readers_cannot_write(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};

    domain_init(&d);
    MUST(db_commit(d.w));
    struct db *r = db_fixture_reader(&d.fx);
    struct project p = {.key = "x", .name = "x"};
    assert_int_equal(project_insert(r, &p, &f), E_NEEDS_WRITE);
    struct firmware fw = domain_firmware_of(&d, "1.0", 10);
    assert_int_equal(firmware_insert(r, &fw, &f), E_NEEDS_WRITE);
    struct catalog *c;
    MUST(catalog_load(r, &c, &f));
    assert_non_null(catalog_type(c, d.type.id));
    catalog_unref(c);
    db_close(r);
    domain_done(&d);
}

struct shared {
    struct catalog_cell *cell;
    atomic_bool stop;
    int64_t type_id;
};

static void *read_on(void *arg)
{
    struct shared *s = arg;
    size_t last = 0;

    while (!atomic_load(&s->stop)) {
        struct catalog *c = catalog_cell_get(s->cell);
        const struct firmware *const *list;
        size_t n = catalog_candidates(c, s->type_id, "main", &list);

        for (size_t i = 0; i < n; i++)
            if (list[i]->n_files != 1)
                abort();
        if (n < last)
            abort();
        last = n;
        catalog_unref(c);
    }
    return NULL;
}

static void the_cell_hands_out_the_newest(void **state UNUSED)
{
    struct domain d;
    struct shared s = {0};
    pthread_t threads[3];
    char version[16];

    domain_init(&d);
    s.type_id = d.type.id;
    s.cell = catalog_cell_new(catalog_ref(d.catalog));
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &s), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(version, sizeof(version), "1.%d", i);
        domain_firmware(&d, version);
        catalog_cell_set(s.cell, catalog_ref(d.catalog));
    }
    atomic_store(&s.stop, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    struct catalog *c = catalog_cell_get(s.cell);
    assert_ptr_equal(c, d.catalog);
    catalog_unref(c);
    catalog_cell_free(s.cell);
    domain_done(&d);
}

static int name_app(void *arg, const struct project_app *app)
{
    snprintf(arg, 64, "%s", app->key);
    return 1;
}

static void applications(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    struct project_app app, got;
    char key[APP_KEY_TEXT], name[64];

    domain_init(&d);
    project_app_key(key);
    assert_int_equal(strlen(key), 13);
    assert_int_equal(
        strspn(key + 3, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"), 10);
    app = (struct project_app){
        .project_id = d.project, .key = key, .secret_hash = "h", .token = "t", .created_at = T0};
    assert_int_equal(project_app_by_project(d.w, d.project, &d.a, &got), E_NOTFOUND);
    MUST(project_app_insert(d.w, &app));
    assert_int_equal(project_app_insert(d.w, &app), -EEXIST);
    domain_reload(&d);
    assert_string_equal(catalog_app(d.catalog, d.project)->token, "t");
    assert_ptr_equal(catalog_app_by_key(d.catalog, str_of(key)), catalog_app(d.catalog, d.project));
    assert_null(catalog_app_by_key(d.catalog, STR("PR_")));
    assert_null(catalog_app_by_key(d.catalog, STR("")));
    assert_true(!catalog_live(d.catalog, d.project) && !catalog_any_live(d.catalog));
    app.live = true;
    app.token = "u";
    app.rotated_at = T0 + 1;
    MUST(project_app_update(d.w, &app));
    MUST(project_app_by_key(d.w, key, &d.a, &got));
    assert_true(got.live && got.rotated_at == T0 + 1 && got.created_at == T0 && got.revision == 2);
    assert_int_equal(project_app_list(d.w, name_app, name), 1);
    assert_string_equal(name, key);
    domain_reload(&d);
    assert_non_null(catalog_live(d.catalog, d.project));
    assert_null(catalog_live(d.catalog, d.project + 1));
    /* a device can't have its name */
    struct device dev = {.project_id = d.project, .type_id = d.type.id, .key = key};
    assert_int_equal(device_insert(d.w, &dev, &f), E_PROTO);
    assert_non_null(strstr(f.text, "applications"));
    dev.key = "PR_other";
    MUST(device_insert(d.w, &dev, &f));
    MUST(project_app_delete(d.w, d.project));
    assert_int_equal(project_app_delete(d.w, d.project), E_NOTFOUND);
    /* they go with their project */
    struct project p = {.key = "acme", .name = "Acme", .created_at = T0};
    MUST(project_insert(d.w, &p, &f));
    app.project_id = p.id;
    MUST(project_app_insert(d.w, &app));
    MUST(project_delete(d.w, p.id, &f));
    assert_int_equal(project_app_by_key(d.w, key, &d.a, &got), E_NOTFOUND);
    domain_done(&d);
}
int run_candidates_tests(void);
int run_topics_tests(void);

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(install_is_idempotent),
        cmocka_unit_test(projects),
        cmocka_unit_test(applications),
        cmocka_unit_test(types),
        cmocka_unit_test(a_type_in_use_stays),
        cmocka_unit_test(rules),
        cmocka_unit_test(firmware_round_trip),
        cmocka_unit_test(bad_firmwares_are_refused),
        cmocka_unit_test(a_deleted_firmware_is_gone),
        cmocka_unit_test(candidates_are_sorted),
        cmocka_unit_test(rules_of_the_snapshot),
        cmocka_unit_test(a_rule_may_list_devices),
        cmocka_unit_test(versions_of_rules_with_lists),
        cmocka_unit_test(readers_cannot_write),
        cmocka_unit_test(the_cell_hands_out_the_newest),
    };

    return cmocka_run_group_tests_name("catalog", tests, NULL, NULL) + run_topics_tests() +
           run_candidates_tests();
}
