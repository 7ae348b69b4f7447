/* Devices behind gateways: addresses, generated ones, ways to reach them, presence. */
#include "tests.h"

static struct device device_of(const struct domain *d, const char *key, int64_t gateway_id,
                               const char *address)
{
    return (struct device){.project_id = d->project,
                           .type_id = d->type.id,
                           .key = key,
                           .gateway_id = gateway_id,
                           .address = address,
                           .enabled = true,
                           .created_at = T0};
}

static int64_t add(struct domain *d, const char *key, int64_t gateway_id, const char *address)
{
    struct device dev = device_of(d, key, gateway_id, address);

    MUST(device_insert(d->w, &dev, NULL));
    return dev.id;
}

static void addresses(void **state UNUSED)
{
    struct domain d;
    struct device got;
    struct fail f = {0};

    domain_init(&d);
    int64_t g = add(&d, "g", 0, "ignored"), h = add(&d, "h", 0, NULL);
    int64_t a = add(&d, "a", g, "A"), b = add(&d, "b", g, NULL);
    add(&d, "c", h, "A"); /* the same behind another one */
    add(&d, "e", a, "A");
    MUST(device_by_id(d.w, g, &d.a, &got));
    assert_string_equal(got.address, "");
    MUST(device_behind(d.w, g, "A", &d.a, &got));
    assert_int_equal(got.id, a);
    MUST(device_behind(d.w, g, "b", &d.a, &got));
    assert_int_equal(got.id, b);
    assert_int_equal(device_behind(d.w, h, "b", &d.a, &got), E_NOTFOUND);
    assert_int_equal(device_behind(d.w, 0, "", &d.a, &got), E_NOTFOUND);

    struct device dup = device_of(&d, "dup", g, "A");
    assert_int_equal(device_insert(d.w, &dup, &f), -EEXIST);
    assert_non_null(strstr(f.text, "address A"));
    MUST(device_by_id(d.w, b, &d.a, &got));
    got.address = "A";
    assert_int_equal(device_update(d.w, &got, &f), -EEXIST);
    got.address = "B";
    MUST(device_update(d.w, &got, &f));
    got.gateway_id = 0;
    MUST(device_update(d.w, &got, &f));
    MUST(device_by_id(d.w, b, &d.a, &got));
    assert_string_equal(got.address, "");

    char longest[3 * DEVICE_ADDRESS_MAX + 2] = "";
    for (int i = 0; i < DEVICE_ADDRESS_MAX; i++)
        memcpy(longest + 3 * i, "温", 4);
    assert_true(device_address_ok(longest, strlen(longest)));
    memcpy(longest + strlen(longest), "x", 2);
    assert_false(device_address_ok(longest, strlen(longest)));
    assert_false(device_address_ok("", 0));
    assert_false(device_address_ok("a\n", 2));
    assert_false(device_address_ok("\xff", 1));
    dup.address = longest;
    assert_int_equal(device_insert(d.w, &dup, &f), E_PROTO);
    domain_done(&d);
}

static void made_ones_are_bounded(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t g = add(&d, "g", 0, NULL), a = add(&d, "a", g, NULL);
    for (int i = 0; i < 3; i++) {
        struct device made = device_of(&d, NULL, i % 2 ? a : g, i ? i > 1 ? "n2" : "n1" : "n0");
        MUST(device_create_behind(d.w, &made, g, 4, &d.a));
        struct device got;
        MUST(device_by_key(d.w, 0, made.key, &d.a, &got));
        assert_int_equal(strlen(got.key), 13);
        assert_memory_equal(got.key, "SD_", 3);
        assert_string_equal(got.name, made.address);
        assert_null(got.password_hash);
        assert_true(got.enabled);
        assert_int_equal(got.online, -1);
    }
    struct device more = device_of(&d, NULL, a, "more"); /* whatever depth */
    assert_int_equal(device_create_behind(d.w, &more, g, 4, &d.a), E_LIMIT);
    domain_done(&d);
}

static void check_route(struct domain *d, int64_t id, const char *gateway, size_t n,
                        enum address_form form, bool as_list)
{
    struct device_route r;

    MUST(device_route(d->w, id, &d->a, &r));
    assert_string_equal(r.gateway, gateway);
    assert_int_equal(r.n_path, n);
    assert_int_equal(r.form, form);
    assert_int_equal(r.as_list, as_list);
    if (n > 0)
        assert_string_equal(r.path[0], "A");
    if (n > 1)
        assert_string_equal(r.path[1], "B");
}

static void routes(void **state UNUSED)
{
    struct domain d;
    struct device got;
    struct device_route r;

    domain_init(&d);
    int64_t g = add(&d, "g", 0, NULL), a = add(&d, "a", g, "A"), b = add(&d, "b", a, "B");
    check_route(&d, g, "g", 0, FORM_DIRECT, false);
    check_route(&d, a, "g", 1, FORM_GATEWAY, false); /* never heard of: what suits */
    check_route(&d, b, "g", 2, FORM_SUB, true);
    MUST(device_form_note(d.w, a, FORM_GATEWAY, true));
    check_route(&d, a, "g", 1, FORM_GATEWAY, true);
    MUST(device_form_note(d.w, a, FORM_SUB, false));
    check_route(&d, a, "g", 1, FORM_SUB, false);
    MUST(device_form_note(d.w, a, FORM_SUB, true));
    check_route(&d, a, "g", 1, FORM_SUB, true);
    int64_t before = db_total_changes(d.w);
    MUST(device_form_note(d.w, a, FORM_SUB, true));
    assert_int_equal(db_total_changes(d.w), before);
    MUST(device_form_note(d.w, b, FORM_DIRECT, false)); /* it connects by itself at times */
    check_route(&d, b, "b", 0, FORM_DIRECT, false);

    MUST(device_form_note(d.w, b, FORM_SUB, false)); /* one word leads nowhere from here */
    check_route(&d, b, "g", 2, FORM_SUB, true);
    MUST(device_form_note(d.w, b, FORM_GATEWAY, false));
    check_route(&d, b, "g", 2, FORM_SUB, true);
    MUST(device_by_id(d.w, a, &d.a, &got));
    got.gateway_id = 0;
    MUST(device_update(d.w, &got, NULL));
    check_route(&d, a, "a", 0, FORM_DIRECT, false);
    MUST(device_route(d.w, b, &d.a, &r));
    assert_string_equal(r.gateway, "a");
    assert_int_equal(r.n_path, 1);
    assert_int_equal(r.form, FORM_GATEWAY);
    assert_int_equal(device_route(d.w, 9999, &d.a, &r), E_NOTFOUND);
    domain_done(&d);
}

static void presence(void **state UNUSED)
{
    struct domain d;
    struct device got;

    domain_init(&d);
    int64_t g = add(&d, "g", 0, NULL);
    MUST(device_by_key(d.w, 0, "g", &d.a, &got));
    assert_int_equal(got.online, -1);
    for (int i = 1; i >= 0; i--) {
        assert_int_equal(device_online_set(d.w, g, i, 0, T0), 1);
        MUST(device_by_key(d.w, 0, "g", &d.a, &got));
        assert_int_equal(got.online, i);
        int64_t before = db_total_changes(d.w);
        MUST(device_online_set(d.w, g, i, 0, T0 + 1));
        assert_int_equal(db_total_changes(d.w), before);
    }
    assert_int_equal(device_online_set(d.w, g, true, 0, T0 + 2), 1);
    assert_int_equal(device_online_set(d.w, g, true, T0 + 3, T0 + 4), 0); /* it is there still */
    MUST(device_online_set(d.w, g, false, 0, T0 + 1));
    /* It spoke after it was said to be gone: said again, it goes once more. */
    assert_int_equal(device_online_set(d.w, g, false, T0 + 2, T0 + 3), 1);
    assert_int_equal(device_online_set(d.w, g, false, T0 + 2, T0 + 4), 0);
    domain_done(&d);
}

/* A chain of so many in one import, from `gateway_id` on: the last one's id, or what refused it. */
static int64_t import_chain(struct domain *d, const char *stem, int64_t gateway_id, int n,
                            struct fail *f)
{
    int64_t import, last = gateway_id;
    char key[32];
    int rc = 0;

    MUST(device_import_begin(d->w, d->project, T0, &import));
    for (int i = 0; i < n && rc == 0; i++) {
        (void)str_fmt(key, sizeof(key), "%s%d", stem, i);
        struct device dev = device_of(d, key, last, NULL);
        dev.import_id = import;
        rc = device_insert(d->w, &dev, f);
        last = dev.id;
    }
    MUST(device_import_finish(d->w, import));
    return rc < 0 ? rc : last;
}

static int move(struct domain *d, int64_t id, int64_t gateway_id, struct fail *f)
{
    struct device dev;

    MUST(device_by_id(d->w, id, &d->a, &dev));
    dev.gateway_id = gateway_id;
    return device_update(d->w, &dev, f);
}

static void nothing_lies_too_deep(void **state UNUSED)
{
    struct device_route r;
    struct fail f = {0};
    struct domain d;

    domain_init(&d);
    int64_t last = import_chain(&d, "c", 0, DEVICE_DEPTH_MAX + 1, NULL);
    MUST(last);
    MUST(device_route(d.w, last, &d.a, &r));
    assert_int_equal(r.n_path, DEVICE_DEPTH_MAX);
    assert_int_equal(import_chain(&d, "more", last, 1, &f), E_CONFLICT);
    assert_non_null(strstr(f.text, "at most 8"));
    assert_int_equal(import_chain(&d, "long", 0, DEVICE_DEPTH_MAX + 2, &f), E_CONFLICT);

    /* what is moved takes along what stands behind it */
    int64_t g = add(&d, "g", 0, NULL), a = add(&d, "a", g, "A");
    MUST(import_chain(&d, "deep", add(&d, "b", a, "B"), DEVICE_DEPTH_MAX - 3, NULL));
    for (int i = 0; i < 300; i++) /* they hide it */
        add(&d, arena_printf(&d.a, "leaf%d", i), a, NULL);
    MUST(device_by_key(d.w, 0, "deep4", &d.a, &(struct device){0}));
    int64_t top = add(&d, "top", 0, NULL), mid = add(&d, "mid", top, NULL);
    MUST(move(&d, g, top, &f)); /* the last one has eight before it now */
    assert_int_equal(move(&d, g, mid, &f), E_CONFLICT);
    assert_non_null(strstr(f.text, "behind"));
    assert_int_equal(move(&d, top, add(&d, "outer", 0, NULL), &f), E_CONFLICT);
    MUST(move(&d, a, top, &f)); /* one less */
    MUST(move(&d, a, mid, &f));
    MUST(move(&d, g, 0, &f));
    domain_done(&d);
}

/* A move looks at so many devices at most, whatever stands there. */
static void a_move_looks_at_so_many(void **state UNUSED)
{
    struct fail f = {0};
    struct domain d;

    domain_init(&d);
    int64_t g = add(&d, "g", 0, NULL), top = add(&d, "top", 0, NULL);
    for (int i = 0; i < 10000; i++)
        add(&d, arena_printf(&d.a, "leaf%d", i), g, NULL);
    MUST(move(&d, g, top, &f));
    MUST(move(&d, g, 0, &f));
    add(&d, "one-more", g, NULL);
    assert_int_equal(move(&d, g, top, &f), E_CONFLICT);
    assert_non_null(strstr(f.text, "10000"));
    struct device dev; /* anything else of it may change */
    MUST(device_by_id(d.w, g, &d.a, &dev));
    dev.name = "other";
    MUST(device_update(d.w, &dev, &f));
    domain_done(&d);
}

int test_behind(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(made_ones_are_bounded),
        cmocka_unit_test(routes),
        cmocka_unit_test(presence),
        cmocka_unit_test(nothing_lies_too_deep),
        cmocka_unit_test(a_move_looks_at_so_many),
    };

    return cmocka_run_group_tests_name("behind", tests, NULL, NULL);
}
