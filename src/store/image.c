/*
 * What a firmware image says of itself: the header of ESP images and the application
 * descriptor behind it. Reads untrusted bytes; knows nothing of files. Images older than
 * ESP-IDF 3.1 have no descriptor, and then nothing is claimed for them.
 */
#include "store.h"

#include <stdio.h>

/* Offsets in the file; everything is little endian. */
enum {
    OFF_MAGIC = 0x00,
    OFF_SEGMENTS = 0x01,
    OFF_CHIP = 0x0c,
    HEADER_SIZE = 0x18,
    OFF_DESC = 0x20,
    OFF_SECURE_VERSION = OFF_DESC + 0x04,
    OFF_VERSION = OFF_DESC + 0x10,
    OFF_PROJECT = OFF_DESC + 0x30,
    OFF_TIME = OFF_DESC + 0x50,
    OFF_DATE = OFF_DESC + 0x60,
    OFF_IDF = OFF_DESC + 0x70,
    OFF_ELF_SHA256 = OFF_DESC + 0x90,
    DESC_END = OFF_DESC + 0x100,
    MAX_SEGMENTS = 16,
};
#define IMAGE_MAGIC 0xe9
#define DESC_MAGIC  0xabcd5432u

static const struct chip {
    uint16_t id;
    const char *name;
} CHIPS[] = {
    {0x00, "ESP32"},     {0x02, "ESP32-S2"}, {0x05, "ESP32-C3"},  {0x09, "ESP32-S3"},
    {0x0c, "ESP32-C2"},  {0x0d, "ESP32-C6"}, {0x10, "ESP32-H2"},  {0x12, "ESP32-P4"},
    {0x14, "ESP32-C61"}, {0x17, "ESP32-C5"}, {0x19, "ESP32-H21"}, {0x1c, "ESP32-H4"},
    {0x20, "ESP32-S31"},
};

static uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get_u32(const uint8_t *p)
{
    return get_u16(p) | (uint32_t)get_u16(p + 2) << 16;
}

/* Text of at most n bytes up to a NUL. What does not belong into a line becomes '?'. */
static size_t get_text(char *ret, const uint8_t *p, size_t n)
{
    size_t i;

    for (i = 0; i < n && p[i]; i++)
        ret[i] = p[i] < 0x20 || p[i] > 0x7e ? '?' : (char)p[i];
    ret[i] = '\0';
    return i;
}

static void name_chip(struct image_info *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(CHIPS); i++) {
        if (CHIPS[i].id == ret->chip_id) {
            (void)str_copy(ret->chip, sizeof(ret->chip), CHIPS[i].name);
            return;
        }
    }
    (void)str_fmt(ret->chip, sizeof(ret->chip), "0x%02x", ret->chip_id);
}

static void read_descriptor(const uint8_t *head, struct image_info *ret)
{
    size_t n;

    ret->has_descriptor = true;
    ret->secure_version = get_u32(head + OFF_SECURE_VERSION);
    get_text(ret->version, head + OFF_VERSION, 32);
    get_text(ret->project, head + OFF_PROJECT, 32);
    get_text(ret->idf_version, head + OFF_IDF, 32);
    n = get_text(ret->built, head + OFF_DATE, 16);
    if (n > 0)
        ret->built[n++] = ' ';
    get_text(ret->built + n, head + OFF_TIME, 16);
    memcpy(ret->elf_sha256, head + OFF_ELF_SHA256, SHA256_SIZE);
}

void image_inspect(const uint8_t *head, size_t n, struct image_info *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (n < HEADER_SIZE || head[OFF_MAGIC] != IMAGE_MAGIC)
        return;
    if (head[OFF_SEGMENTS] < 1 || head[OFF_SEGMENTS] > MAX_SEGMENTS)
        return;
    ret->is_esp = true;
    ret->chip_id = get_u16(head + OFF_CHIP);
    name_chip(ret);
    if (n >= DESC_END && get_u32(head + OFF_DESC) == DESC_MAGIC)
        read_descriptor(head, ret);
}
