/* Devices: rows, keys, gateways, lists. */
#include "tests.h"

static struct device device_of(const struct domain *d, const char *key)
{
    return (struct device){.project_id = d->project,
                           .type_id = d->type.id,
                           .key = key,
                           .name = "n",
                           .sn = "sn-1",
                           .timezone = "Asia/Shanghai",
                           .tags = "[\"lab\",\"b 2\"]",
                           .password_hash = "$7$101$x$y",
                           .enabled = true,
                           .created_at = T0};
}

static void round_trip(void **state UNUSED)
{
    struct domain d;
    struct device got;
    struct fail f = {0};

    domain_init(&d);
    struct device dev = device_of(&d, "DU_1");
    MUST(device_insert(d.w, &dev, &f));
    assert_int_equal(device_insert(d.w, &dev, &f), -EEXIST);
    MUST(device_by_key(d.w, 0, "DU_1", &d.a, &got));
    assert_string_equal(got.key, "DU_1");
    assert_string_equal(got.sn, "sn-1");
    assert_string_equal(got.timezone, "Asia/Shanghai");
    assert_string_equal(got.tags, "[\"lab\",\"b 2\"]");
    assert_string_equal(got.password_hash, "$7$101$x$y");
    assert_string_equal(got.attributes, "{}");
    assert_int_equal(got.seen_at, 0);
    assert_true(got.enabled);
    assert_int_equal(device_by_key(d.w, d.project + 1, "DU_1", &d.a, &got), E_NOTFOUND);
    MUST(device_find(d.w, (struct str){"DU_1/rest", 4}, &d.a, &got));
    assert_int_equal(got.id, dev.id);
    assert_int_equal(device_find(d.w, (struct str){"DU_1", 3}, &d.a, &got), E_NOTFOUND);
    dev.enabled = false;
    dev.password_hash = NULL;
    dev.name = "other";
    dev.updated_at = T0 + 1;
    MUST(device_update(d.w, &dev, &f));
    MUST(device_by_id(d.w, dev.id, &d.a, &got));
    assert_false(got.enabled);
    assert_null(got.password_hash);
    assert_string_equal(got.name, "other");
    assert_int_equal(got.revision, 2);
    MUST(device_delete(d.w, dev.id, &f));
    assert_int_equal(device_delete(d.w, dev.id, &f), E_NOTFOUND);
    assert_int_equal(device_update(d.w, &dev, &f), E_NOTFOUND);
    struct device next = device_of(&d, "DU_2");
    MUST(device_insert(d.w, &next, &f));
    assert_true(next.id > dev.id); /* ids are never given out twice */
    domain_done(&d);
}

static void what_cannot_be_a_device(void **state UNUSED)
{
    char longest[DEVICE_KEY_MAX + 2];
    struct domain d;
    struct fail f = {0};

    domain_init(&d);
    memset(longest, 'k', sizeof(longest));
    longest[DEVICE_KEY_MAX + 1] = '\0';
    const char *bad[] = {"", "a b", "a/b", "a+b", "a#b", "+", "#", "d\xc3\xa4", "a\nb", longest};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct device dev = device_of(&d, bad[i]);
        assert_int_equal(device_insert(d.w, &dev, &f), E_PROTO);
    }
    longest[DEVICE_KEY_MAX] = '\0';
    struct device ok = device_of(&d, longest);
    MUST(device_insert(d.w, &ok, &f));
    struct device colon = device_of(&d, "AA:BB");
    assert_int_equal(device_insert(d.w, &colon, &f), E_PROTO);
    colon.password_hash = NULL;
    MUST(device_insert(d.w, &colon, &f));
    const char *tags[] = {"x", "{}", "[1]", "[\"\"]", "[\"a,b\"]", "[\"a\",", "[[]]"};
    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        struct device dev = device_of(&d, "tagged");
        dev.tags = tags[i];
        assert_int_equal(device_insert(d.w, &dev, &f), E_PROTO);
    }
    struct device evil = device_of(&d, "evil");
    evil.password_hash = "x\nroot:$7$";
    assert_int_equal(device_insert(d.w, &evil, &f), E_PROTO);
    evil = device_of(&d, "evil");
    evil.type_id = 999;
    assert_int_equal(device_insert(d.w, &evil, &f), E_CONFLICT);
    domain_done(&d);
}

static void gateways(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    struct device dev[11];
    char key[16];

    domain_init(&d);
    for (int i = 0; i < 11; i++) {
        snprintf(key, sizeof(key), "g%d", i);
        dev[i] = device_of(&d, arena_strdup(&d.a, key));
        dev[i].gateway_id = i ? dev[i - 1].id : 0;
        int rc = device_insert(d.w, &dev[i], &f);
        assert_int_equal(rc, i <= 8 ? 0 : E_CONFLICT); /* eight before one, no more */
        if (rc < 0)
            break;
    }
    assert_int_equal(device_delete(d.w, dev[0].id, &f), E_CONFLICT);
    assert_non_null(strstr(f.text, "g1"));
    dev[0].gateway_id = dev[2].id; /* a ring */
    assert_int_equal(device_update(d.w, &dev[0], &f), E_CONFLICT);
    dev[0].gateway_id = dev[0].id;
    assert_int_equal(device_update(d.w, &dev[0], &f), E_CONFLICT);
    dev[0].gateway_id = 9999;
    assert_int_equal(device_update(d.w, &dev[0], &f), E_CONFLICT);
    dev[8].gateway_id = 0;
    MUST(device_update(d.w, &dev[8], &f));
    MUST(device_delete(d.w, dev[7].id, &f));
    domain_done(&d);
}

static int count(void *arg, const struct device *dev UNUSED)
{
    ++*(int *)arg;
    return 0;
}

static int stop(void *arg, const struct device *dev)
{
    *(int64_t *)arg = dev->id;
    return 7;
}

static void lists(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    char key[16];
    int64_t ids[6], last = 0;

    domain_init(&d);
    struct device_type other = d.type;
    other.key = "other";
    MUST(device_type_insert(d.w, &other, &f));
    for (int i = 0; i < 6; i++) {
        snprintf(key, sizeof(key), "d%d", i);
        struct device dev = device_of(&d, key);
        dev.sn = i == 3 ? "special" : "";
        dev.tags = i % 2 ? "[\"lab\",\"x\"]" : "[\"laboratory\"]";
        dev.enabled = i != 0;
        dev.type_id = i < 2 ? other.id : d.type.id;
        dev.gateway_id = i == 5 ? ids[4] : 0;
        MUST(device_insert(d.w, &dev, &f));
        ids[i] = dev.id;
        MUST(device_version_set(d.w, dev.id, "main", i < 4 ? "1.0" : "2.0", T0, NULL));
    }
    MUST(device_version_set(d.w, ids[0], "mcu", "2.0", T0, NULL));
    const struct {
        struct device_filter flt;
        int n;
    } cases[] = {
        {{.project_id = d.project, .enabled = -1}, 6},
        {{.project_id = d.project + 1, .enabled = -1}, 0},
        {{.project_id = d.project, .enabled = 0}, 1},
        {{.project_id = d.project, .enabled = 1}, 5},
        {{.project_id = d.project, .enabled = -1, .type_id = other.id}, 2},
        {{.project_id = d.project + 1, .enabled = -1, .type_id = other.id}, 0},
        {{.project_id = d.project, .enabled = -1, .gateway_id = ids[4]}, 1},
        {{.project_id = d.project, .enabled = -1, .gateway_id = ids[4], .type_id = other.id}, 0},
        {{.project_id = d.project, .enabled = -1, .tag = "lab"}, 3},
        {{.project_id = d.project, .enabled = -1, .tag = "x"}, 3},
        {{.project_id = d.project, .enabled = -1, .tag = ","}, 0},
        {{.project_id = d.project, .enabled = -1, .tag = "\""}, 0},
        {{.project_id = d.project, .enabled = -1, .tag = "%"}, 0},
        {{.project_id = d.project, .enabled = -1, .sn = "special"}, 1},
        {{.project_id = d.project, .enabled = -1, .sn = "none"}, 0},
        {{.project_id = d.project, .enabled = -1, .version = "2.0"}, 2},
        {{.project_id = d.project, .enabled = -1, .version = "2.0", .version_module = "mcu"}, 1},
        {{.project_id = d.project,
          .enabled = 1,
          .type_id = d.type.id,
          .tag = "lab",
          .version = "1.0"},
         1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int n = 0;
        MUST(device_list(d.w, &cases[i].flt, 0, 100, count, &n));
        assert_int_equal(n, cases[i].n);
        assert_int_equal(device_count(d.w, &cases[i].flt), cases[i].n);
    }
    assert_int_equal(device_list(d.w, &cases[0].flt, ids[2], 1, stop, &last), 7);
    assert_int_equal(last, ids[3]);
    domain_done(&d);
}

int test_rows(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(what_cannot_be_a_device),
        cmocka_unit_test(gateways),
        cmocka_unit_test(lists),
    };

    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
