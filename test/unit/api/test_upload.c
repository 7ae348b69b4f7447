/* Uploads: what is refused and when, what is stored, and that nothing else stays. */
#include "api_test.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define META(type, version)                                                                        \
    "{\"name\":\"n\",\"device_type\":\"" type "\",\"version\":\"" version "\"}"

static void wait_for_files(const struct fixture *x, const char *folder, int n)
{
    int64_t until = clock_mono_us() + 60 * 1000000ll;
    while (count_files(x, folder) != n) {
        if (clock_mono_us() > until)
            fail_msg("%s holds %d files, not %d", folder, count_files(x, folder), n);
        usleep(2000);
    }
}

static void test_stores(void **state)
{
    struct fixture *x = *state;
    struct answer a;
    int before = count_files(x, "blobs");

    make_type(x, "up1");
    assert_int_equal(upload(x, META("up1", "1.0"), NULL, "123456789", 9, &a), 201);
    const json_t *file = json_array_get(json_object_get(a.json, "files"), 0);
    assert_string_equal(json_get_str(file, "name", ""), "fw.bin");
    assert_int_equal(json_get_int(file, "size", 0), 9);
    assert_string_equal(json_get_str(file, "crc32", ""), "cbf43926");
    assert_string_equal(json_get_str(file, "md5", ""), "25f9e794323b453885f5181f1b624d0b");
    char *location = xstrdup(answer_header(&a, "Location"));
    assert_memory_equal(answer_header(&a, "ETag"), "\"1.", 3); /* and what may move by itself */
    answer_done(&a);
    json_t *fw = must(x, 200, "GET", location, NULL, NULL);
    assert_string_equal(json_get_str(fw, "version", ""), "1.0");
    assert_string_equal(json_get_str(fw, "device_type", ""), "up1");
    json_decref(fw);
    assert_int_equal(count_files(x, "blobs"), before + 1);
    assert_int_equal(count_files(x, "tmp"), 0);

    char path[200];
    (void)str_fmt(path, sizeof(path), "%s/files/1", location);
    assert_int_equal(ask(x, "GET", path, NULL, NULL, &a), 200);
    assert_int_equal(a.body.n, 9);
    assert_memory_equal(a.body.p, "123456789", 9);
    answer_done(&a);
    (void)str_fmt(path, sizeof(path), "%s/files/2", location);
    refused(x, 404, "not_found", "GET", path, NULL, NULL);

    assert_null(must(x, 204, "DELETE", location, NULL, NULL));
    refused(x, 404, "not_found", "GET", location, NULL, NULL);
    wait_for_files(x, "blobs", before);
    free(location);
}

/* The same bytes under two firmwares go with the last. */
static void test_shared_bytes(void **state)
{
    struct fixture *x = *state;
    struct answer a, b;
    char path[64];
    int before = count_files(x, "blobs");

    make_type(x, "up2");
    assert_int_equal(upload(x, META("up2", "1"), NULL, "shared", 6, &a), 201);
    assert_int_equal(upload(x, META("up2", "2"), NULL, "shared", 6, &b), 201);
    assert_int_equal(count_files(x, "blobs"), before + 1);
    (void)str_fmt(path, sizeof(path), "/api/v1/firmwares/%d", (int)json_get_int(a.json, "id", 0));
    assert_null(must(x, 204, "DELETE", path, NULL, NULL));
    (void)str_fmt(path, sizeof(path), "/api/v1/firmwares/%d/files/1",
                  (int)json_get_int(b.json, "id", 0));
    answer_done(&a);
    assert_int_equal(ask(x, "GET", path, NULL, NULL, &a), 200);
    answer_done(&a);
    path[strlen(path) - strlen("/files/1")] = '\0';
    assert_null(must(x, 204, "DELETE", path, NULL, NULL));
    wait_for_files(x, "blobs", before);
    answer_done(&b);
}

static void expect(struct fixture *x, int status, const char *code, const char *meta,
                   const char *data, size_t n)
{
    struct answer a;
    int got = upload(x, meta, NULL, data, n, &a);
    if (got != status || strcmp(answer_code(&a), code) != 0)
        fail_msg("%s: %d %s, not %d %s", meta ? meta : "no meta", got, a.body.p ? a.body.p : "",
                 status, code);
    answer_done(&a);
}

static void test_refusals(void **state)
{
    struct fixture *x = *state;
    int blobs = count_files(x, "blobs");

    make_type(x, "up3");
    expect(x, 422, "meta_missing", NULL, "x", 1);
    expect(x, 400, "malformed_json", "{nonsense", "x", 1);
    expect(x, 400, "malformed_json", "[1]", "x", 1);
    expect(x, 422, "validation_failed", "{\"device_type\":\"nope\",\"version\":\"1\"}", "x", 1);
    expect(x, 422, "validation_failed", "{\"device_type\":\"up3\"}", "x", 1);
    expect(x, 422, "validation_failed", META("up3", "..."), "x", 1);
    expect(x, 422, "file_empty", META("up3", "1"), "", 0);
    expect(x, 422, "validation_failed",
           "{\"device_type\":\"up3\",\"version\":\"1\",\"use_https\":true}", "x", 1);
    expect(x, 422, "validation_failed",
           "{\"device_type\":\"up3\",\"version\":\"1\",\"hardware\":{\"a\":{\"b\":1}}}", "x", 1);
    expect(x, 422, "validation_failed",
           "{\"device_type\":\"up3\",\"version\":\"1\",\"source_versions\":[\"--\"]}", "x", 1);
    wait_for_files(x, "tmp", 0);
    assert_int_equal(count_files(x, "blobs"), blobs);
}

static void test_unknown_device_has_its_pointer(void **state)
{
    struct fixture *x = *state;
    struct answer a;

    make_type(x, "up4");
    make_device(x, "up4", "up4-a");
    const char *meta =
        "{\"device_type\":\"up4\",\"version\":\"1\",\"devices\":[\"up4-a\",\"ghost\"]}";
    assert_int_equal(upload(x, meta, NULL, "x", 1, &a), 422);
    const json_t *e = json_array_get(json_object_get(a.json, "errors"), 0);
    assert_string_equal(json_get_str(e, "pointer", ""), "/devices/1");
    answer_done(&a);
    meta = "{\"device_type\":\"up4\",\"version\":\"1\",\"devices\":[\"up4-a\",\"up4-a\"]}";
    assert_int_equal(upload(x, meta, NULL, "x", 1, &a), 201);
    const json_t *devices = json_object_get(a.json, "devices");
    assert_int_equal(json_array_size(devices), 1);
    assert_string_equal(json_string_value(json_array_get(devices, 0)), "up4-a");
    answer_done(&a);
}

static void upload_named(struct fixture *x, const char *name, int status)
{
    struct sbuf b = {.p = NULL}, h = {.p = NULL};
    struct answer a;
    part(&b, "meta", NULL, META("up5", "1"), strlen(META("up5", "1")));
    part(&b, "file", name, "bytes", 5);
    parts_end(&b);
    sbuf_fmt(&h, "Authorization: Bearer %s\r\n" MULTIPART, x->token);
    ask_raw(x, "POST", "/api/v1/firmwares", h.p, b.p, b.n, &a);
    if (a.status != status)
        fail_msg("%s: %d %s", name, a.status, a.body.p ? a.body.p : "");
    answer_done(&a);
    sbuf_done(&b);
    sbuf_done(&h);
}

static void test_names(void **state)
{
    struct fixture *x = *state;
    make_type(x, "up5");
    upload_named(x, "FW.TAR.GZ", 201);
    upload_named(x, "a.mini_1", 201);
    upload_named(x, "固件.bin", 201);
    upload_named(x, "fw.exe", 422);
    upload_named(x, ".bin", 422);
    upload_named(x, "../x.bin", 422);
    upload_named(x, "a\\x.bin", 422);
    wait_for_files(x, "tmp", 0);
}

static void test_limits(void **state)
{
    struct fixture *x = *state;
    size_t mib = (size_t)1 << 20;
    char *data = xcalloc(1, mib + 1);
    struct answer a;

    make_type(x, "up6");
    assert_int_equal(upload(x, META("up6", "1"), NULL, data, mib, &a), 201);
    answer_done(&a);
    assert_int_equal(upload(x, META("up6", "2"), NULL, data, mib + 1, &a), 413);
    answer_done(&a);
    free(data);
    wait_for_files(x, "tmp", 0);
    /* Told at the headers: the body never comes. */
    struct sbuf h = {.p = NULL};
    int fd = dial(x);
    sbuf_fmt(&h,
             "POST /api/v1/firmwares HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" MULTIPART
             "Expect: 100-continue\r\nContent-Length: 99000000\r\n\r\n",
             x->token);
    put(fd, h.p, h.n);
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 413);
    answer_done(&a);
    close(fd);
    h.n = 0;
    fd = dial(x);
    sbuf_str(&h,
             "POST /api/v1/firmwares HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer no\r\n" MULTIPART
             "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n");
    put(fd, h.p, h.n);
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 401);
    answer_done(&a);
    close(fd);
    sbuf_done(&h);
}

static void test_broken_off(void **state)
{
    struct fixture *x = *state;
    int blobs = count_files(x, "blobs");
    struct sbuf b = {.p = NULL};
    char junk[5000];

    make_type(x, "up7");
    memset(junk, 'j', sizeof(junk));
    sbuf_fmt(&b,
             "POST /api/v1/firmwares HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" MULTIPART
             "Content-Length: 900000\r\n\r\n",
             x->token);
    part(&b, "meta", NULL, META("up7", "1"), strlen(META("up7", "1")));
    part(&b, "file", "fw.bin", junk, sizeof(junk));
    int fd = dial(x);
    put(fd, b.p, b.n);
    wait_for_files(x, "tmp", 1);
    close(fd);
    wait_for_files(x, "tmp", 0);
    assert_int_equal(count_files(x, "blobs"), blobs);
    sbuf_done(&b);
    json_t *list = must(x, 200, "GET", "/api/v1/firmwares?device_type=up7", NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 0);
    json_decref(list);
}

/* Refused by the commit: neither row nor bytes. */
static void test_commit_fails(void **state)
{
    struct fixture *x = *state;
    int blobs = count_files(x, "blobs");
    struct answer a;

    make_type(x, "up8");
    core_hold(x, true); /* the core's own jobs must not use up the failure */
    core_refuse_commits(x, 1000);
    core_hold(x, false);
    assert_int_equal(upload(x, META("up8", "1"), NULL, "never", 5, &a), 507);
    answer_done(&a);
    core_refuse_commits(x, 0);
    wait_for_files(x, "blobs", blobs);
    assert_int_equal(upload(x, META("up8", "1"), NULL, "never", 5, &a), 201);
    answer_done(&a);
}

static void test_idempotency(void **state)
{
    struct fixture *x = *state;
    struct answer a, b;

    make_type(x, "up9");
    const char *key = "Idempotency-Key: upload-1\r\n";
    assert_int_equal(upload(x, META("up9", "1"), key, "same", 4, &a), 201);
    assert_int_equal(upload(x, META("up9", "1"), key, "same", 4, &b), 201);
    assert_int_equal(json_get_int(a.json, "id", 0), json_get_int(b.json, "id", -1));
    assert_string_equal(answer_header(&b, "Idempotency-Replayed"), "true");
    answer_done(&b);
    int blobs = count_files(x, "blobs");
    assert_int_equal(upload(x, META("up9", "1"), key, "other", 5, &b), 422);
    assert_string_equal(answer_code(&b), "idempotency_mismatch");
    wait_for_files(x, "blobs", blobs);
    answer_done(&a);
    answer_done(&b);
}

static void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void test_image(void **state)
{
    struct fixture *x = *state;
    uint8_t image[1024] = {0xE9, 1};
    struct answer a;

    make_type(x, "esp");
    put_le32(image + 0x18, 0x3F400020);
    put_le32(image + 0x1c, sizeof(image) - 0x20);
    put_le32(image + 0x20, 0xABCD5432);
    memcpy(image + 0x30, "1.2.3", 5);
    memcpy(image + 0x50, "lamp", 4);
    /* Absent: the image tells it. */
    assert_int_equal(upload(x, "{\"device_type\":\"esp\"}", NULL, image, sizeof(image), &a), 201);
    assert_string_equal(json_get_str(a.json, "version", ""), "1.2.3");
    const json_t *said = json_object_get(a.json, "image");
    assert_string_equal(json_get_str(said, "project", ""), "lamp");
    answer_done(&a);
    assert_int_equal(upload(x, META("esp", "v1.2.3.0"), NULL, image, sizeof(image), &a), 201);
    answer_done(&a);
    assert_int_equal(upload(x, META("esp", "1.2.4"), NULL, image, sizeof(image), &a), 422);
    assert_string_equal(answer_code(&a), "version_contradicts_image");
    answer_done(&a);
    const char *forced = "{\"device_type\":\"esp\",\"version\":\"1.2.4\",\"force_version\":true}";
    assert_int_equal(upload(x, forced, NULL, image, sizeof(image), &a), 201);
    assert_null(json_object_get(a.json, "force_version"));
    answer_done(&a);
}

const struct CMUnitTest upload_tests[] = {
    cmocka_unit_test(test_stores),      cmocka_unit_test(test_shared_bytes),
    cmocka_unit_test(test_refusals),    cmocka_unit_test(test_unknown_device_has_its_pointer),
    cmocka_unit_test(test_names),       cmocka_unit_test(test_limits),
    cmocka_unit_test(test_broken_off),  cmocka_unit_test(test_commit_fails),
    cmocka_unit_test(test_idempotency), cmocka_unit_test(test_image),
};
const size_t upload_count = ARRAY_LEN(upload_tests);
