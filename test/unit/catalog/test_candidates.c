/* What the firmwares of a snapshot know of one another. */
#include "domain_fixture.h"

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
/* clang-format on */

int run_candidates_tests(void);

static void add(struct domain *d, const char *version, const char *from, bool must_pass)
{
    const char *sources[] = {from, "7.7"};
    struct firmware fw = domain_firmware_of(d, version, 10);

    fw.source_versions = sources;
    fw.n_sources = from ? 2 : 0;
    fw.must_pass = must_pass;
    MUST(firmware_insert(d->w, &fw, NULL));
}

static void expect(const struct domain *d, const char *const *versions, const size_t *ranks)
{
    const struct firmware *const *list;
    size_t n = catalog_candidates(d->catalog, d->type.id, "main", &list);

    for (size_t i = 0; i < n; i++) {
        assert_string_equal(list[i]->version, versions[i]);
        assert_int_equal(list[i]->rank, ranks[i]);
        for (size_t k = 0; k < n; k++) {
            bool peer = false;

            for (size_t p = 0; p < list[i]->n_peers; p++)
                peer |= list[i]->peers[p] == list[k];
            assert_int_equal(peer, ranks[i] == ranks[k]);
        }
    }
}

static void ranks_peers_and_sources(void **state UNUSED)
{
    static const char *const versions[] = {"2.0", "v2", "2.0.0", "1.5", "1.0.0", "1.0"};
    static const size_t ranks[] = {3, 3, 3, 2, 1, 1};
    const struct firmware *const *list;
    struct domain d;

    domain_init(&d);
    add(&d, "1.0", NULL, false);
    add(&d, "2.0.0", NULL, false);
    add(&d, "v2", "V1", false);
    add(&d, "1.0.0", NULL, false);
    add(&d, "1.5", "0.9", true);
    add(&d, "2.0", "1.5.0", false);
    domain_reload(&d);
    expect(&d, versions, ranks);
    catalog_candidates(d.catalog, d.type.id, "main", &list);
    assert_int_equal(list[0]->n_from, 1); /* of what was never uploaded nothing leads on */
    assert_int_equal(list[0]->from[0], 2);
    assert_int_equal(list[1]->n_from, 1);
    assert_int_equal(list[1]->from[0], 1);
    assert_int_equal(list[2]->n_from, 0);
    assert_int_equal(list[3]->n_from, 0);
    domain_done(&d);
}

static void opaque_ones_go_by_their_full_image(void **state UNUSED)
{
    static const char *const versions[] = {"a", "b", "b", "c", "c"};
    static const size_t ranks[] = {3, 2, 2, 1, 1};
    struct domain d;

    domain_init(&d);
    d.type.scheme = VERSION_OPAQUE;
    domain_type_changed(&d);
    add(&d, "c", "x", false);
    add(&d, "c", "y", false); /* without a full image: the newest */
    add(&d, "b", NULL, false);
    add(&d, "a", NULL, false);
    add(&d, "b", "c", false); /* comes late, and is no newer version */
    domain_reload(&d);
    expect(&d, versions, ranks);
    domain_done(&d);
}

static void floors_from_the_lowest(void **state UNUSED)
{
    static const char *const expected[] = {"1.1", "1.10", "2.0"};
    const struct firmware *const *list;
    struct domain d;

    domain_init(&d);
    assert_int_equal(catalog_floors(d.catalog, d.type.id, "main", &list), 0);
    add(&d, "2.0", NULL, true);
    add(&d, "1.9", NULL, false);
    add(&d, "1.10", "1.9", true);
    add(&d, "1.1", NULL, true);
    domain_reload(&d);
    assert_int_equal(catalog_floors(d.catalog, d.type.id, "main", &list), 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(list[i]->version, expected[i]);
    struct firmware fw;
    MUST(firmware_by_id(d.w, d.project, list[0]->id, &d.a, &fw));
    assert_int_equal(catalog_floors(d.catalog, d.type.id, "mcu", &list), 0);
    assert_true(fw.must_pass);
    fw.must_pass = false;
    MUST(firmware_update(d.w, &fw, NULL));
    domain_reload(&d);
    assert_int_equal(catalog_floors(d.catalog, d.type.id, "main", &list), 2);
    domain_done(&d);
}

int run_candidates_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_peers_and_sources),
        cmocka_unit_test(opaque_ones_go_by_their_full_image),
        cmocka_unit_test(floors_from_the_lowest),
    };

    return cmocka_run_group_tests_name("catalog: candidates", tests, NULL, NULL);
}
