/* Rule 7: what must be passed is passed, and nothing that keeps it away lets a device jump. */
#include "../../../src/update/update_priv.h"
#include "tests.h"

struct site {
    struct domain d;
    int64_t dev, floor, high; /* firmwares 1.5 (a floor) and 2.0 */
};

static int64_t add(struct domain *d, struct firmware fw)
{
    MUST(firmware_insert(d->w, &fw, NULL));
    domain_reload(d);
    return fw.id;
}

static int64_t add_floor(struct domain *d, const char *version)
{
    struct firmware fw = domain_firmware_of(d, version, 1000);

    fw.must_pass = true;
    return add(d, fw);
}

static void site_init(struct site *s)
{
    domain_init(&s->d);
    s->dev = domain_device(&s->d, "dev");
    report(&s->d, s->dev, "1.0", T0);
    s->floor = add_floor(&s->d, "1.5");
    s->high = domain_firmware(&s->d, "2.0");
}

static void decide_for(struct domain *d, int64_t dev, struct decision *ret)
{
    struct device device = the_device(d, dev);
    struct decision quick;
    struct facts_load l;

    MUST(facts_load(d->w, &device, "main", T0, &d->a, &l));
    decide(d->catalog, &l.facts, T0, true, &d->a, ret);
    decide(d->catalog, &l.facts, T0, false, &d->a, &quick);
    assert_ptr_equal(quick.firmware, ret->firmware);
    assert_int_equal(quick.reason, ret->reason);
    facts_done(&l);
}

static int64_t offered(struct domain *d, int64_t dev)
{
    struct decision dn;

    decide_for(d, dev, &dn);
    return dn.firmware ? dn.firmware->id : 0;
}

static const struct reason_row *row_of(const struct decision *dn, int64_t firmware)
{
    for (size_t i = 0; i < dn->n_rows; i++)
        if (dn->rows[i].firmware && dn->rows[i].firmware->id == firmware)
            return &dn->rows[i];
    fail_msg("no row of firmware %lld", (long long)firmware);
    return NULL;
}

static void change(struct domain *d, int64_t id, bool enabled, bool must_pass)
{
    struct firmware fw;

    MUST(firmware_by_id(d->w, d->project, id, &d->a, &fw));
    fw.enabled = enabled;
    fw.must_pass = must_pass;
    MUST(firmware_update(d->w, &fw, NULL));
    json_decref(fw.hardware);
    domain_reload(d);
}

static void it_comes_first(void **state UNUSED)
{
    struct site s;
    struct decision dn;
    char params[80];

    site_init(&s);
    decide_for(&s.d, s.dev, &dn);
    assert_int_equal(dn.firmware->id, s.floor);
    const struct reason_row *row = row_of(&dn, s.high);
    assert_int_equal(row->reason, REASON_FLOOR_FIRST);
    (void)snprintf(params, sizeof(params),
                   "{\"floor\":%lld,\"version\":\"1.5\",\"current\":\"1.0\"}", (long long)s.floor);
    assert_string_equal(row->params, params);
    assert_non_null(strstr(row->text, "(1.5) must be passed first; the device runs 1.0"));
    report(&s.d, s.dev, "1.5", T0);
    assert_int_equal(offered(&s.d, s.dev), s.high);
    report(&s.d, s.dev, "1.6", T0); /* beyond it, by whatever way */
    assert_int_equal(offered(&s.d, s.dev), s.high);
    report(&s.d, s.dev, "1.4.9", T0);
    assert_int_equal(offered(&s.d, s.dev), s.floor);
    change(&s.d, s.floor, true, false);
    assert_int_equal(offered(&s.d, s.dev), s.high);
    domain_done(&s.d);
}

static void the_lowest_of_several_first(void **state UNUSED)
{
    static const char *const runs[] = {"1.0", "1.2", "1.5", "1.7", "1.8", "2.0"};
    struct site s;

    site_init(&s);
    int64_t low = add_floor(&s.d, "1.2"), third = add_floor(&s.d, "1.8");
    int64_t below = domain_firmware(&s.d, "1.1");
    const int64_t expected[] = {low, s.floor, third, third, s.high, 0};
    for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
        report(&s.d, s.dev, runs[i], T0);
        assert_int_equal(offered(&s.d, s.dev), expected[i]);
    }
    /* What lies below a floor that can't be had is no jump. */
    change(&s.d, low, false, true);
    report(&s.d, s.dev, "1.0", T0);
    assert_int_equal(offered(&s.d, s.dev), below);
    domain_done(&s.d);
}

static void any_file_set_of_its_version_passes(void **state UNUSED)
{
    static const char *sources[] = {"1.0"};
    struct site s;
    struct decision dn;

    site_init(&s);
    struct firmware delta = domain_firmware_of(&s.d, "v1.5.0", 10);
    delta.source_versions = sources;
    delta.n_sources = 1;
    int64_t part = add(&s.d, delta);
    change(&s.d, s.floor, false, true); /* the marked one itself is not needed */
    decide_for(&s.d, s.dev, &dn);
    assert_int_equal(dn.firmware->id, part);
    struct update u = check(&s.d, s.dev, T0, NULL);
    MUST(moved(&s.d, u.id, UPDATE_FAILED, T0));
    change(&s.d, s.floor, true, true);
    assert_int_equal(check(&s.d, s.dev, T0, NULL).firmware_id, s.floor);
    domain_done(&s.d);
}

/* Each of these keeps the floor from the device; none of them opens the way to what is above. */
static void what_keeps_it_away_makes_the_device_wait(void **state UNUSED)
{
    static const char *sources[] = {"1.2"};

    for (int i = 0; i < 6; i++) {
        struct domain d;
        struct decision dn;
        int64_t dev, other, *list = (int64_t[]){0};

        domain_init(&d);
        dev = domain_device(&d, "dev");
        other = domain_device(&d, "other");
        report(&d, dev, "1.0", T0);
        domain_firmware(&d, "2.0");
        struct firmware fw = domain_firmware_of(&d, "1.5", 10);
        fw.must_pass = true;
        fw.enabled = i != 0;
        list[0] = i == 1 ? other : dev;
        fw.devices = i == 1 ? (struct id_list){list, 1} : fw.devices;
        fw.denied = i == 2 ? (struct id_list){list, 1} : fw.denied;
        fw.source_versions = sources;
        fw.n_sources = i == 3;
        fw.campaign_only = i == 4;
        fw.has_min_battery = i == 5;
        fw.min_battery = 50;
        int64_t floor = add(&d, fw);
        decide_for(&d, dev, &dn);
        assert_null(dn.firmware);
        assert_int_equal(dn.reason, REASON_FLOOR_FIRST);
        static const enum reason own[] = {
            REASON_FIRMWARE_DISABLED,       REASON_NOT_IN_DEVICE_LIST,   REASON_DENIED,
            REASON_SOURCE_VERSION_MISMATCH, REASON_CAMPAIGN_NOT_STARTED, REASON_BATTERY_LOW};
        assert_int_equal(row_of(&dn, floor)->reason, own[i]);
        assert_int_equal(check(&d, dev, T0, NULL).id, 0);
        domain_done(&d);
    }
}

static void a_floor_of_other_hardware_is_none(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t dev = domain_device(&d, "dev");
    report(&d, dev, "1.0", T0);
    struct firmware fw = domain_firmware_of(&d, "1.5", 10);
    fw.must_pass = true;
    fw.hardware = json_pack("{s:[s,s],s:i}", "board", "A", "B", "rev", 2);
    int64_t floor = add(&d, fw), high = domain_firmware(&d, "2.0");
    json_decref(fw.hardware);
    assert_int_equal(offered(&d, dev), 0); /* nothing reported: it may be that hardware */
    AUTO(json_free) json_t *half = json_pack("{s:s}", "board", "A");
    MUST(device_attributes_merge(d.w, dev, half));
    assert_int_equal(offered(&d, dev), 0);
    AUTO(json_free) json_t *whole = json_pack("{s:i}", "rev", 2);
    MUST(device_attributes_merge(d.w, dev, whole));
    assert_int_equal(offered(&d, dev), floor);
    AUTO(json_free) json_t *other = json_pack("{s:s}", "board", "C");
    MUST(device_attributes_merge(d.w, dev, other));
    assert_int_equal(offered(&d, dev), high);
    domain_done(&d);
}

static void it_is_of_its_type_and_module(void **state UNUSED)
{
    struct site s;
    struct device_type type = device_type_defaults;

    site_init(&s);
    change(&s.d, s.floor, true, false);
    struct firmware fw = domain_firmware_of(&s.d, "1.5", 10);
    fw.must_pass = true;
    fw.module = "mcu";
    add(&s.d, fw);
    type.project_id = s.d.project;
    type.key = "other";
    type.created_at = T0;
    MUST(device_type_insert(s.d.w, &type, NULL));
    fw.module = "main";
    fw.type_id = type.id;
    add(&s.d, fw);
    assert_int_equal(offered(&s.d, s.dev), s.high);
    domain_done(&s.d);
}

static void opaque_ones_go_by_upload(void **state UNUSED)
{
    static const char *sources[] = {"field-7"};
    struct domain d;
    struct decision dn;

    domain_init(&d);
    d.type.scheme = VERSION_OPAQUE;
    domain_type_changed(&d);
    int64_t dev = domain_device(&d, "dev");
    domain_firmware(&d, "zebra");
    int64_t floor = add_floor(&d, "mango"), high = domain_firmware(&d, "apple");
    report(&d, dev, "zebra", T0);
    assert_int_equal(offered(&d, dev), floor);
    report(&d, dev, "mango", T0);
    assert_int_equal(offered(&d, dev), high);
    /* Without a place in the order it stands before every floor, whoever names it. */
    struct firmware jump = domain_firmware_of(&d, "cherry", 10);
    jump.source_versions = sources;
    jump.n_sources = 1;
    int64_t over = add(&d, jump);
    report(&d, dev, "field-7", T0);
    decide_for(&d, dev, &dn);
    assert_null(dn.firmware);
    assert_int_equal(row_of(&dn, over)->reason, REASON_FLOOR_FIRST);
    struct firmware step = domain_firmware_of(&d, "mango", 10);
    step.source_versions = sources;
    step.n_sources = 1;
    int64_t delta = add(&d, step); /* has the place of its full image, though uploaded last */
    assert_int_equal(offered(&d, dev), delta);
    report(&d, dev, "mango", T0);
    assert_int_equal(offered(&d, dev), high); /* cherry is for field-7 */
    domain_done(&d);
}

static void marked_later_it_stops_what_was_offered(void **state UNUSED)
{
    for (int s = UPDATE_OFFERED; s <= UPDATE_INSTALLED; s++) {
        struct site k;

        site_init(&k);
        change(&k.d, k.floor, true, false);
        struct update u = check(&k.d, k.dev, T0, NULL);
        assert_int_equal(u.firmware_id, k.high);
        if (s != UPDATE_OFFERED)
            MUST(moved(&k.d, u.id, (enum update_state)s, T0));
        const struct firmware *fw = catalog_firmware(k.d.catalog, k.high);
        MUST(update_floor(k.d.w, k.d.catalog, u.id, fw, T0));
        change(&k.d, k.floor, true, true);
        fw = catalog_firmware(k.d.catalog, k.high);
        assert_int_equal(update_floor(k.d.w, k.d.catalog, u.id, fw, T0), E_GONE); /* its link */
        struct update next = check(&k.d, k.dev, T0 + 1, NULL);
        if (s >= UPDATE_INSTALLING) { /* too late: it is withheld, and its end is awaited */
            assert_int_equal(next.id, 0);
            assert_int_equal(the_update(&k.d, u.id).state, s);
            report(&k.d, k.dev, "2.0", T0 + 2);
            assert_int_equal(the_update(&k.d, u.id).state, UPDATE_VERIFIED);
        } else {
            assert_int_equal(next.firmware_id, k.floor);
            u = the_update(&k.d, u.id);
            assert_int_equal(u.state, UPDATE_CANCELED);
            assert_string_equal(u.cause, "floor_first");
        }
        domain_done(&k.d);
    }
}

/* The device told a newer version meanwhile: then nothing is jumped over. */
static void a_link_goes_by_what_runs_now(void **state UNUSED)
{
    struct site s;

    site_init(&s);
    change(&s.d, s.floor, true, false);
    struct update u = check(&s.d, s.dev, T0, NULL);
    report(&s.d, s.dev, "1.5", T0 + 1);
    change(&s.d, s.floor, true, true);
    MUST(update_floor(s.d.w, s.d.catalog, u.id, catalog_firmware(s.d.catalog, s.high), T0));
    assert_int_equal(check(&s.d, s.dev, T0 + 2, NULL).id, u.id);
    domain_done(&s.d);
}

static void it_is_not_deleted_by_the_way(void **state UNUSED)
{
    struct site s;
    struct fail f;

    site_init(&s);
    assert_int_equal(firmware_delete(s.d.w, s.floor, T0, &f), E_CONFLICT);
    assert_non_null(strstr(f.text, "must_pass"));
    change(&s.d, s.floor, true, false);
    MUST(firmware_delete(s.d.w, s.floor, T0, &f));
    domain_done(&s.d);
}

int test_floor(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_first),
        cmocka_unit_test(the_lowest_of_several_first),
        cmocka_unit_test(any_file_set_of_its_version_passes),
        cmocka_unit_test(what_keeps_it_away_makes_the_device_wait),
        cmocka_unit_test(a_floor_of_other_hardware_is_none),
        cmocka_unit_test(it_is_of_its_type_and_module),
        cmocka_unit_test(opaque_ones_go_by_upload),
        cmocka_unit_test(marked_later_it_stops_what_was_offered),
        cmocka_unit_test(a_link_goes_by_what_runs_now),
        cmocka_unit_test(it_is_not_deleted_by_the_way),
    };

    return cmocka_run_group_tests_name("floor", tests, NULL, NULL);
}
