/* The TLS listener, with curl as its client. The key is this test's alone. */
#include "../../../src/http/internal.h"
#include "http_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static const char cert[] = "-----BEGIN CERTIFICATE-----\n"
                           "MIIBkDCCATagAwIBAgIUNd3yARKsLYRkudfkTUknDpWFLSgwCgYIKoZIzj0EAwIw\n"
                           "FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTAxNDM1N1oYDzIxMjYxMDI4\n"
                           "MDE0MzU3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n"
                           "PQMBBwNCAAQ6gIVWaNXXnVS8xIs+WaA+K5FEqfsMEYxiqg5KVqlrwN90LR2Djhgf\n"
                           "xZWrBlMOb+Ka8fzhLikXsGP6aAeWfHLio2QwYjAdBgNVHQ4EFgQUVo6pxrLSwbLq\n"
                           "mQkCGEkdt6nTFEYwHwYDVR0jBBgwFoAUVo6pxrLSwbLqmQkCGEkdt6nTFEYwDwYD\n"
                           "VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC\n"
                           "IDJzeMW1vcJr1fjF/hQc8RsGQXMxA69Wz5eDIUMXFsm5AiEAwNxMPkiLvg+KOQZ+\n"
                           "9HYQ5Ho3EG3ttJzN+V/JhjvA438=\n"
                           "-----END CERTIFICATE-----\n";
static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgR4r4mAwD/9LJqtbb\n"
                          "qGKrcXBZoDDMR85CcdKJaUCYxRWhRANCAAQ6gIVWaNXXnVS8xIs+WaA+K5FEqfsM\n"
                          "EYxiqg5KVqlrwN90LR2DjhgfxZWrBlMOb+Ka8fzhLikXsGP6aAeWfHLi\n"
                          "-----END PRIVATE KEY-----\n";

enum { SIZE = 300000 };
static char dir[64], cert_path[96], key_path[96], file_path[96];
static struct fixture x;

static void on_kind(struct http_request *r, void *arg)
{
    (void)arg;
    http_reply(r, 200, NULL, http_is_tls(r) ? "tls\n" : "plain\n", http_is_tls(r) ? 4 : 6);
}

static void on_whole(struct http_request *r, void *arg)
{
    (void)arg;
    http_reply(r, 200, NULL, http_body(r).p, http_body(r).n);
}

static void on_early(struct http_request *r, void *arg)
{
    (void)arg;
    http_fail(r, E_FORBIDDEN, NULL);
}

static int on_bytes(struct http_request *r, void *arg, const void *data, size_t n)
{
    (void)r, (void)arg, (void)data, (void)n;
    return E_CONFLICT;
}

static void on_end(struct http_request *r, void *arg, int rc)
{
    (void)arg;
    http_fail(r, rc, NULL);
}

static void on_refusing(struct http_request *r, void *arg)
{
    (void)arg;
    http_receive(r, 1 << 30, on_bytes, on_end, NULL);
}

static void on_file(struct http_request *r, void *arg)
{
    (void)arg;
    http_reply_file(r, &(struct http_file){
                           .fd = open(file_path, O_RDONLY | O_CLOEXEC), .size = SIZE, .etag = "e"});
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/kind", .handle = on_kind},
    {.method = "GET", .pattern = "/file", .handle = on_file},
    {.method = "PUT",
     .pattern = "/whole",
     .body = HTTP_BODY_WHOLE,
     .max_body = SIZE,
     .handle = on_whole},
    {.method = "PUT", .pattern = "/early", .body = HTTP_BODY_STREAM, .handle = on_early},
    {.method = "PUT", .pattern = "/refusing", .body = HTTP_BODY_STREAM, .handle = on_refusing},
    {0},
};
static const struct http_route *const tables[] = {routes, NULL};

static void write_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void configure(void)
{
    fixture_init(&x, tables);
    x.conf.http_https_listen = "127.0.0.1:0";
    x.conf.http_tls_cert = cert_path;
    x.conf.http_tls_key = key_path;
}

static int setup(void **state)
{
    static char bytes[SIZE];
    (void)state;
    str_copy(dir, sizeof(dir), "/tmp/http_tls_XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", dir);
    snprintf(key_path, sizeof(key_path), "%s/key.pem", dir);
    snprintf(file_path, sizeof(file_path), "%s/file", dir);
    write_file(cert_path, cert, sizeof(cert) - 1);
    write_file(key_path, key, sizeof(key) - 1);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    write_file(file_path, bytes, SIZE);

    configure();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (x.server)
        fixture_stop(&x);
    unlink(cert_path);
    unlink(key_path);
    unlink(file_path);
    rmdir(dir);
    return 0;
}

/* What curl prints, and the status behind it. */
static void curl(const char *scheme, int port, const char *rest, char *ret, size_t cap)
{
    char command[512];
    snprintf(command, sizeof(command),
             "curl -sk --noproxy '*' --max-time 60 -w ' %%{http_code}' %s://127.0.0.1:%d%s", scheme,
             port, rest);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t n = fread(ret, 1, cap - 1, f);
    ret[n] = '\0';
    pclose(f);
}

static void test_tls(void **state)
{
    static char out[2048], rest[256];
    (void)state;
    fixture_start(&x);
    int tls_port = x.server->ports[LISTEN_TLS];
    curl("https", tls_port, "/kind", out, sizeof(out));
    assert_string_equal(out, "tls\n 200");
    curl("http", x.port, "/kind", out, sizeof(out));
    assert_string_equal(out, "plain\n 200");
    snprintf(rest, sizeof(rest), "/file | (head -c %d; cat >&2) 2>/dev/null | cmp - %s", SIZE,
             file_path);
    curl("https", tls_port, rest, out, sizeof(out));
    assert_string_equal(out, "");
    snprintf(rest, sizeof(rest), "/whole -T %s | (head -c %d; cat >&2) 2>/dev/null | cmp - %s",
             file_path, SIZE, file_path);
    curl("https", tls_port, rest, out, sizeof(out));
    assert_string_equal(out, "");
}

static void test_refusals_under_tls(void **state)
{
    static const char *const targets[] = {"/early", "/refusing", "/kind"};
    static const char *const ends[] = {" 403", " 409", " 405"};
    static char out[2048], rest[256];
    (void)state;
    fixture_start(&x);
    int tls_port = x.server->ports[LISTEN_TLS];
    for (size_t i = 0; i < ARRAY_LEN(targets); i++)
        for (int ask_first = 0; ask_first < 2; ask_first++) {
            snprintf(rest, sizeof(rest), "%s -T %s -H 'Expect:%s'", targets[i], file_path,
                     ask_first ? " 100-continue" : "");
            curl("https", tls_port, rest, out, sizeof(out));
            assert_true(strlen(out) > 4);
            assert_string_equal(out + strlen(out) - 4, ends[i]);
        }
}

static void test_bad_keys_are_told(void **state)
{
    struct fail f = {0};
    (void)state;
    x.conf.http_tls_key = "/nowhere/key.pem";
    assert_int_equal(http_start(&x.options, &x.server, &f), -ENOENT);
    assert_non_null(strstr(f.text, "/nowhere/key.pem"));
    x.conf.http_tls_key = cert_path; /* not a key */
    assert_true(http_start(&x.options, &x.server, &f) < 0);
    assert_non_null(strstr(f.text, "certificate"));
    x.conf.http_tls_key = key_path;
    fixture_start(&x); /* the failed starts left nothing behind */
}

#define WITH_FILES(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
const struct CMUnitTest tls_tests[] = {
    WITH_FILES(test_tls),
    WITH_FILES(test_refusals_under_tls),
    WITH_FILES(test_bad_keys_are_told),
};
const size_t tls_test_count = ARRAY_LEN(tls_tests);
