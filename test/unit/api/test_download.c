/* Links of devices: what they give, to which clients, and what they count. */
#include "api_test.h"

#include <stdio.h>
#include <unistd.h>

struct offered {
    int64_t update_id;
    char path[160];
};

/* A device that reported 0.9 and was offered version 2.0 of a file of n bytes. */
static void offer_module(struct fixture *x, const char *type, const char *module, const char *runs,
                         size_t n, int64_t lifetime_ms, struct offered *ret)
{
    char meta[160], key[40], token[LINK_TOKEN_MAX], *data = xmalloc(n);
    struct answer a;
    struct fail f;
    struct db *w;
    struct arena arena;
    struct device d;
    struct update u;
    struct decision why;
    bool repeated;
    int64_t now = clock_now_ms();

    memset(data, 'd', n);
    make_type(x, type);
    (void)str_fmt(key, sizeof(key), "%s-1", type);
    make_device(x, type, key);
    (void)str_fmt(meta, sizeof(meta),
                  "{\"device_type\":\"%s\",\"version\":\"2.0\",\"module\":\"%s\"}", type, module);
    assert_int_equal(upload(x, meta, NULL, data, n, &a), 201);
    answer_done(&a);
    free(data);
    arena_init(&arena);
    core_hold(x, true); /* this thread writes now */
    assert_int_equal(db_open(x->db_path, DB_WRITE, 512, &w, &f), 0);
    assert_int_equal(db_begin(w), 0);
    struct catalog *c = catalog_cell_get(x->catalog);
    assert_int_equal(device_by_key(w, 0, key, &arena, &d), 0);
    assert_int_equal(update_reported(w, c, &d, module, runs, now, &arena), 0);
    assert_int_equal(
        update_check(w, c, &d, module, now, 48 * 3600 * 1000, &arena, &u, &repeated, &why), 0);
    assert_true(u.id > 0);
    catalog_unref(c);
    assert_int_equal(db_commit(w), 0);
    db_close(w);
    core_hold(x, false);
    link_make(x->link_key, u.id, 1, now + lifetime_ms, token);
    ret->update_id = u.id;
    (void)str_fmt(ret->path, sizeof(ret->path), "/d/%s/fw.bin", token);
    arena_done(&arena);
}

static void offer(struct fixture *x, const char *type, size_t n, int64_t lifetime_ms,
                  struct offered *ret)
{
    offer_module(x, type, "main", "0.9", n, lifetime_ms, ret);
}

static int fetch(struct fixture *x, const char *method, const char *path, const char *headers,
                 struct answer *a)
{
    ask_raw(x, method, path, headers, NULL, 0, a);
    return a->status;
}

static json_t *show(struct fixture *x, int64_t id)
{
    char path[64];
    (void)str_fmt(path, sizeof(path), "/api/v1/updates/%lld", (long long)id);
    return must(x, 200, "GET", path, NULL, NULL);
}

/* The count reaches the update by a job, after the answer. */
static void wait_for_bytes(struct fixture *x, int64_t id, int64_t n)
{
    int64_t until = clock_mono_us() + 60 * 1000000ll, have = -1;
    while (have != n) {
        json_t *u = show(x, id);
        have = json_get_int(u, "bytes_served", -1);
        json_decref(u);
        if (clock_mono_us() > until)
            fail_msg("%lld bytes were counted, not %lld", (long long)have, (long long)n);
        usleep(2000);
    }
}

static void test_serves_and_counts(void **state)
{
    struct fixture *x = *state;
    struct offered o;
    struct answer a;

    offer(x, "dl1", 300000, 60000, &o);
    assert_int_equal(fetch(x, "HEAD", o.path, NULL, &a), 200);
    assert_string_equal(answer_header(&a, "Content-Length"), "300000");
    assert_int_equal(strlen(answer_header(&a, "x-MD5")), 32);
    assert_int_equal(strlen(answer_header(&a, "ETag")), 66);
    answer_done(&a);
    assert_int_equal(fetch(x, "GET", o.path, "Range: bytes=100000-199999\r\n", &a), 206);
    assert_int_equal(a.body.n, 100000);
    answer_done(&a);
    wait_for_bytes(x, o.update_id, 100000); /* and none for HEAD */
    assert_int_equal(fetch(x, "GET", o.path, NULL, &a), 200);
    assert_int_equal(a.body.n, 300000);
    answer_done(&a);
    wait_for_bytes(x, o.update_id, 300000);
    json_t *u = show(x, o.update_id);
    assert_string_equal(json_get_str(u, "state", ""), "downloaded");
    assert_true(json_array_size(json_object_get(u, "history")) >= 2);
    json_decref(u);
    /* The list, by every filter. */
    u = must(x, 200, "GET", "/api/v1/updates?device=dl1-1&state=active&total=1", NULL, NULL);
    assert_int_equal(json_get_int(u, "total", 0), 1);
    json_decref(u);
    u = must(x, 200, "GET", "/api/v1/updates?device=dl1-1&state=verified&total=1", NULL, NULL);
    assert_int_equal(json_get_int(u, "total", -1), 0);
    json_decref(u);
    refused(x, 400, "invalid_parameter", "GET", "/api/v1/updates?state=x", NULL, NULL);
}

/* A word that the core could not store is told again. */
static void test_counts_after_a_failed_commit(void **state)
{
    struct fixture *x = *state;
    struct offered o;
    struct answer a;
    offer(x, "dl2", 200000, 60000, &o);
    core_refuse_commits(x, 3);
    assert_int_equal(fetch(x, "GET", o.path, NULL, &a), 200);
    answer_done(&a);
    wait_for_bytes(x, o.update_id, 200000);
}

static void test_arduino(void **state)
{
    struct fixture *x = *state;
    struct offered o;
    struct answer a;
    char header[160], md5[64];

    offer(x, "dl3", 1000, 60000, &o);
    assert_int_equal(fetch(x, "GET", o.path, "x-ESP32-version: 2.0\r\n", &a), 304);
    (void)str_copy(md5, sizeof(md5), answer_header(&a, "x-MD5"));
    answer_done(&a);
    (void)str_fmt(header, sizeof(header), "x-ESP8266-sketch-md5: %s\r\n", md5);
    assert_int_equal(fetch(x, "GET", o.path, header, &a), 304);
    answer_done(&a);
    assert_int_equal(fetch(x, "GET", o.path, "x-ESP32-version: 1.0\r\n", &a), 200);
    answer_done(&a);
}

/* What the sketch runs says nothing of the files of others. */
static void test_arduino_asks_for_something_else(void **state)
{
    struct fixture *x = *state;
    struct offered o, mcu;
    struct answer a;

    offer(x, "dl7", 1000, 60000, &o);
    offer_module(x, "dl8", "mcu", "0.9", 1000, 60000, &mcu);
    assert_int_equal(
        fetch(x, "GET", o.path, "x-ESP32-mode: sketch\r\nx-ESP32-version: 2.0\r\n", &a), 304);
    answer_done(&a);
    assert_int_equal(
        fetch(x, "GET", o.path, "x-ESP32-mode: spiffs\r\nx-ESP32-version: 2.0\r\n", &a), 200);
    answer_done(&a);
    assert_int_equal(fetch(x, "GET", mcu.path, "x-ESP32-version: 2.0\r\n", &a), 200);
    answer_done(&a);
    assert_int_equal(fetch(x, "GET", mcu.path, "x-ESP8266-version: 2.0\r\n", &a), 200);
    answer_done(&a);
}

/* An operator's word stops a link that left before it. */
static void test_a_denied_device_gets_nothing_more(void **state)
{
    struct fixture *x = *state;
    struct offered o;
    struct answer a;
    char firmware[64];

    offer(x, "dl9", 1000, 60000, &o);
    json_t *u = show(x, o.update_id);
    (void)str_fmt(firmware, sizeof(firmware), "/api/v1/firmwares/%lld",
                  (long long)json_get_int(u, "firmware", 0));
    json_decref(u);
    make_device(x, "dl9", "dl9-2");
    static const struct {
        const char *patch;
        int status;
    } turns[] = {
        {"{\"denied_devices\":[\"dl9-1\"]}", 410},
        {"{\"denied_devices\":[\"dl9-2\"]}", 200},
        {"{\"devices\":[\"dl9-2\"],\"denied_devices\":[]}", 410},
        {"{\"devices\":[\"dl9-1\",\"dl9-2\"]}", 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(turns); i++) {
        json_decref(must(x, 200, "PATCH", firmware, NULL, turns[i].patch));
        assert_int_equal(fetch(x, "GET", o.path, NULL, &a), turns[i].status);
        assert_int_equal(a.body.n, turns[i].status == 200 ? 1000 : 0);
        answer_done(&a);
    }
}

static void test_errors(void **state)
{
    struct fixture *x = *state;
    struct offered o, late;
    struct answer a;
    char path[160], cancel[80];

    offer(x, "dl4", 1000, 60000, &o);
    offer(x, "dl5", 1000, -1000, &late);
    assert_int_equal(fetch(x, "GET", late.path, NULL, &a), 410);
    assert_int_equal(a.body.n, 0);
    answer_done(&a);
    (void)str_copy(path, sizeof(path), o.path);
    path[10] = path[10] == 'A' ? 'B' : 'A';
    assert_int_equal(fetch(x, "GET", path, NULL, &a), 403);
    answer_done(&a);
    /* What would flash an error gets none. */
    fetch(x, "GET", path, "User-Agent: esp-idf/1.0 esp32\r\n", &a);
    assert_true(a.closed);
    answer_done(&a);
    int fd = dial(x);
    char old[256];
    (void)str_fmt(old, sizeof(old), "GET %s HTTP/1.0\r\nHost: x\r\n\r\n", path);
    put(fd, old, strlen(old));
    get_answer(fd, false, &a);
    assert_true(a.closed);
    answer_done(&a);
    close(fd);
    fd = dial(x);
    (void)str_fmt(old, sizeof(old),
                  "GET %s HTTP/1.0\r\nHost: x\r\nUser-Agent: ESP32-http-Update\r\n\r\n", path);
    put(fd, old, strlen(old));
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 403);
    answer_done(&a);
    close(fd);
    /* A disabled device, then an update that has ended. */
    json_decref(must(x, 200, "PATCH", "/api/v1/devices/dl4-1", NULL, "{\"enabled\":false}"));
    assert_int_equal(fetch(x, "GET", o.path, NULL, &a), 403);
    answer_done(&a);
    json_decref(must(x, 200, "PATCH", "/api/v1/devices/dl4-1", NULL, "{\"enabled\":true}"));
    assert_int_equal(fetch(x, "GET", o.path, NULL, &a), 200);
    answer_done(&a);
    (void)str_fmt(cancel, sizeof(cancel), "/api/v1/updates/%lld/cancel", (long long)o.update_id);
    json_t *u = must(x, 200, "POST", cancel, NULL, "");
    assert_string_equal(json_get_str(u, "state", ""), "canceled");
    json_decref(u);
    refused(x, 409, "already_ended", "POST", cancel, NULL, "");
    assert_int_equal(fetch(x, "GET", o.path, NULL, &a), 410);
    answer_done(&a);
}

/* Whatever comes is flashed: none of the answers below /d/ has a body, wherever it is given. */
static void test_old_clients_get_no_body(void **state)
{
    struct fixture *x = *state;
    static const char *const lines[] = {
        "GET /d/ HTTP/1.0\r\n",
        "GET /d/x HTTP/1.0\r\n",
        "GET /d/x/y/z HTTP/1.0\r\n",
        "GET http://h/d/x/y/z HTTP/1.0\r\n",
        "GET /d/x/y%00 HTTP/1.0\r\n",
        "GET /d/x/y HTTP/1.0\r\nContent-Length: 5\r\n",
        "GET /d/x/y HTTP/1.0\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
        "GET /d/x/y/z HTTP/1.1\r\nHost: h\r\nUser-Agent: esp-idf/1.0 esp32\r\n",
    };
    struct answer a;
    char text[200];

    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        int fd = dial(x);
        (void)str_fmt(text, sizeof(text), "%s\r\n", lines[i]);
        put(fd, text, strlen(text));
        get_answer(fd, false, &a);
        assert_true(a.closed || a.status >= 400);
        assert_int_equal(a.body.n, 0);
        answer_done(&a);
        close(fd);
    }
    assert_int_equal(fetch(x, "GET", "/d/x/y/z", NULL, &a), 404); /* others hear it */
    answer_done(&a);
    int fd = dial(x); /* and a proxy is told what is wrong with the rest */
    put(fd, "GET /api/v1/nothing HTTP/1.0\r\n\r\n", 32);
    get_answer(fd, false, &a);
    assert_int_equal(a.status, 404);
    assert_true(a.body.n > 0);
    answer_done(&a);
    close(fd);
}

static void test_firmware_in_use(void **state)
{
    struct fixture *x = *state;
    struct offered o;
    char path[64];
    offer(x, "dl6", 1000, 60000, &o);
    json_t *u = show(x, o.update_id);
    (void)str_fmt(path, sizeof(path), "/api/v1/firmwares/%lld",
                  (long long)json_get_int(u, "firmware", 0));
    json_decref(u);
    refused(x, 409, "in_use", "DELETE", path, NULL, NULL);
    json_t *e = must(x, 200, "GET", "/api/v1/devices/dl6-1/explain?module=main", NULL, NULL);
    assert_string_equal(json_get_str(e, "current_version", ""), "0.9");
    assert_int_equal(json_get_int(json_object_get(e, "update"), "id", 0), o.update_id);
    json_decref(e);
}

const struct CMUnitTest download_tests[] = {
    cmocka_unit_test(test_serves_and_counts),
    cmocka_unit_test(test_counts_after_a_failed_commit),
    cmocka_unit_test(test_arduino),
    cmocka_unit_test(test_errors),
    cmocka_unit_test(test_firmware_in_use),
    cmocka_unit_test(test_arduino_asks_for_something_else),
    cmocka_unit_test(test_a_denied_device_gets_nothing_more),
    cmocka_unit_test(test_old_clients_get_no_body),
};
const size_t download_count = ARRAY_LEN(download_tests);
