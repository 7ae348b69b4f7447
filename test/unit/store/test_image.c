/* ESP images, built here field by field: whole, truncated and hostile. */
#include "test_store.h"

#include <stdio.h>

enum { IMAGE_SIZE = 288 };

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void put_text(uint8_t *p, const char *s)
{
    memcpy(p, s, strlen(s));
}

static void make_image(uint8_t img[IMAGE_SIZE])
{
    memset(img, 0, IMAGE_SIZE);
    img[0x00] = 0xe9;
    img[0x01] = 5;
    img[0x0c] = 9;
    put_u32(img + 0x20, 0xabcd5432);
    put_u32(img + 0x24, 0x01020304);
    put_text(img + 0x30, "v1.2.3-4-gdeadbee");
    put_text(img + 0x50, "kettle");
    put_text(img + 0x70, "12:34:56");
    put_text(img + 0x80, "Jan  2 2026");
    put_text(img + 0x90, "v5.1.2");
    memset(img + 0xb0, 0xab, 32);
}

static void a_whole_image_is_read(void **state UNUSED)
{
    uint8_t img[IMAGE_SIZE], elf[32];
    struct image_info info;

    make_image(img);
    memset(elf, 0xab, sizeof(elf));
    image_inspect(img, sizeof(img), &info);
    assert_true(info.is_esp);
    assert_true(info.has_descriptor);
    assert_string_equal(info.version, "v1.2.3-4-gdeadbee");
    assert_string_equal(info.project, "kettle");
    assert_string_equal(info.idf_version, "v5.1.2");
    assert_string_equal(info.built, "Jan  2 2026 12:34:56");
    assert_string_equal(info.chip, "ESP32-S3");
    assert_int_equal(info.chip_id, 9);
    assert_int_equal(info.secure_version, 0x01020304);
    assert_memory_equal(info.elf_sha256, elf, 32);
}

static void chips_have_names(void **state UNUSED)
{
    static const struct {
        uint16_t id;
        const char *name;
    } CHIPS[] = {
        {0x00, "ESP32"},     {0x02, "ESP32-S2"}, {0x05, "ESP32-C3"},
        {0x0d, "ESP32-C6"},  {0x12, "ESP32-P4"}, {0x17, "ESP32-C5"},
        {0x20, "ESP32-S31"}, {0x77, "0x77"},     {0xffff, "0xffff"},
    };
    uint8_t img[IMAGE_SIZE];
    struct image_info info;

    make_image(img);
    for (size_t i = 0; i < ARRAY_LEN(CHIPS); i++) {
        img[0x0c] = (uint8_t)CHIPS[i].id;
        img[0x0d] = (uint8_t)(CHIPS[i].id >> 8);
        image_inspect(img, sizeof(img), &info);
        assert_string_equal(info.chip, CHIPS[i].name);
    }
}

/* Every length, on memory of exactly that length, so that the sanitizer sees a step too far. */
static void a_cut_image_claims_nothing_it_lacks(void **state UNUSED)
{
    uint8_t img[IMAGE_SIZE];
    struct image_info info;

    make_image(img);
    for (size_t n = 0; n <= IMAGE_SIZE; n++) {
        AUTO(free) uint8_t *part = xmalloc(n ? n : 1);

        memcpy(part, img, n);
        image_inspect(part, n, &info);
        assert_int_equal(info.is_esp, n >= 24);
        assert_int_equal(info.has_descriptor, n == IMAGE_SIZE);
        assert_int_equal(info.version[0] != '\0', n == IMAGE_SIZE);
    }
}

static void hostile_text_is_tamed(void **state UNUSED)
{
    uint8_t img[IMAGE_SIZE];
    struct image_info info;

    make_image(img);
    memset(img + 0x30, 'v', 0xb0 - 0x30); /* no NUL in any text */
    img[0x31] = '\n';
    img[0x32] = 0x1b;
    img[0x33] = 0x7f;
    img[0x34] = 0xff;
    image_inspect(img, sizeof(img), &info);
    assert_int_equal(strlen(info.version), 32);
    assert_int_equal(strlen(info.project), 32);
    assert_int_equal(strlen(info.idf_version), 32);
    assert_int_equal(strlen(info.built), 33);
    assert_memory_equal(info.version, "v????v", 6);
}

static void other_files_are_no_image(void **state UNUSED)
{
    uint8_t img[IMAGE_SIZE];
    struct image_info info;

    make_image(img);
    img[0] = 0x7f;
    image_inspect(img, sizeof(img), &info);
    assert_false(info.is_esp || info.has_descriptor);
    assert_string_equal(info.chip, "");
    make_image(img);
    img[1] = 0; /* no segments; and more than the boot loader takes */
    image_inspect(img, sizeof(img), &info);
    assert_false(info.is_esp);
    img[1] = 17;
    image_inspect(img, sizeof(img), &info);
    assert_false(info.is_esp);
    make_image(img);
    put_u32(img + 0x20, 0x3245cdab); /* old, or another byte order */
    image_inspect(img, sizeof(img), &info);
    assert_true(info.is_esp);
    assert_false(info.has_descriptor);
    assert_string_equal(info.version, "");
    memset(img, 0xff, sizeof(img));
    image_inspect(img, sizeof(img), &info);
    assert_false(info.is_esp);
}

int image_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_image_is_read),
        cmocka_unit_test(chips_have_names),
        cmocka_unit_test(a_cut_image_claims_nothing_it_lacks),
        cmocka_unit_test(hostile_text_is_tamed),
        cmocka_unit_test(other_files_are_no_image),
    };

    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
