/* Defaults, file, environment, secrets, and the generated sample. */
#include "tests.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct conf *load_or_fail(const char *path)
{
    struct conf *c = NULL;
    struct fail f = {0};
    if (conf_load(path, &c, &f) < 0)
        print_error("%s\n", f.text);
    assert_non_null(c);
    return c;
}

static void assert_defaults(const struct conf *c)
{
    assert_string_equal(c->data_dir, "/var/lib/otad");
    assert_string_equal(c->http_listen, "0.0.0.0:8080");
    assert_string_equal(c->http_public_url, "http://127.0.0.1:8080");
    assert_string_equal(c->http_public_https_url, "");
    assert_string_equal(c->http_https_listen, "");
    assert_string_equal(c->http_tls_cert, "");
    assert_string_equal(c->http_tls_key, "");
    assert_string_equal(c->http_metrics_listen, "");
    assert_int_equal(c->http_trusted_proxies.count, 0);
    assert_int_equal(c->http_threads, 0);
    assert_int_equal(c->http_max_connections, 20000);
    assert_int_equal(c->http_max_connections_per_address, 0);
    assert_int_equal(c->http_request_timeout_s, 30);
    assert_int_equal(c->http_idle_timeout_s, 60);
    assert_int_equal(c->http_stall_timeout_s, 120);
    assert_int_equal(c->http_max_file_mib, 100);
    assert_int_equal(c->http_auth_failures_per_minute, 20);
    assert_string_equal(c->mqtt_url, "mqtt://127.0.0.1:1883");
    assert_string_equal(c->mqtt_username, "otad");
    assert_string_equal(c->mqtt_password, "");
    assert_string_equal(c->mqtt_client_id, "otad");
    assert_string_equal(c->mqtt_auth_dir, "");
    assert_string_equal(c->mqtt_broker_pid_file, "");
    assert_int_equal(c->mqtt_batch, 2000);
    assert_string_equal(c->ota_command_name, "OTA升级");
    assert_int_equal(c->ota_link_lifetime_s, 48 * 3600);
    assert_int_equal(c->db_cache_kib, 8192);
    assert_int_equal(c->log_level, LOG_INFO);
    assert_false(c->log_json);
    assert_string_equal(c->admin_token, "");
}

static void defaults_without_a_file(void **state)
{
    (void)state;
    struct conf *c = load_or_fail(NULL);
    assert_defaults(c);
    conf_free(c);
    conf_free(NULL);
}

static char *printed(void (*print)(FILE *))
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    print(out);
    fclose(out);
    return text;
}

static void the_sample_is_current_and_gives_the_defaults(void **state)
{
    (void)state;
    AUTO(free) char *sample = printed(conf_print_sample);
    struct conf *c;
    struct fail f;
    assert_int_equal(load_text(sample, &c, &f), 0);
    assert_defaults(c);
    conf_free(c);

    /* tests run in the root of the project */
    AUTO(free) char *kept = xcalloc(1, 65536);
    int fd = open("config/otad.toml", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, kept, 65535) > 0);
    close(fd);
    assert_string_equal(kept, sample);
}

static void the_manual_rows_name_every_item(void **state)
{
    (void)state;
    AUTO(free) char *rows = printed(conf_print_man_items);
    static const char *const parts[] = {
        ".It Sy \"data_dir\"",    ".It Sy \"http.listen\"",
        ".Ev OTAD_HTTP_LISTEN .", ".Ev OTAD_MQTT_PASSWORD_FILE .",
        "OTA\\[u5347]\\[u7EA7]",  ".It Sy \"OTAD_ADMIN_TOKEN\"",
        "logfmt or json",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        assert_non_null(strstr(rows, parts[i]));
}

static void the_file_sets_items(void **state)
{
    (void)state;
    struct conf *c;
    struct fail f;
    assert_int_equal(load_text("data_dir = \"d\"\n[http]\nlisten = \"[::1]:0\"\nthreads = 4\n"
                               "public_url = \"http://ota.example.com/x//\"\n"
                               "[log]\nlevel = \"debug\"\nformat = \"json\"\n",
                               &c, &f),
                     0);
    assert_string_equal(c->data_dir, "d");
    assert_string_equal(c->http_listen, "[::1]:0");
    assert_string_equal(c->http_public_url, "http://ota.example.com/x");
    assert_int_equal(c->http_threads, 4);
    assert_int_equal(c->log_level, LOG_DEBUG);
    assert_true(c->log_json);
    conf_free(c);
}

static void unknown_names_get_the_nearest(void **state)
{
    (void)state;
    assert_refused("\n[http]\nlisen = \"x\"\n", 3, "'listen'");
    assert_refused("[mqt]\n", 1, "[mqtt]");
    assert_refused("data_dr = \"x\"", 1, "'data_dir'");
    assert_refused("[http]\nlevel = \"info\"", 2, "'level' in [log]");
    assert_refused("listen = \"x\"", 1, "'listen' in [http]");
    assert_refused("[http]\ndata_dir = \"x\"", 2, "'data_dir' above the first section");
    assert_refused("admin_token = \"x\"", 1, "OTAD_ADMIN_TOKEN_FILE");
}

static void duplicates_name_the_first(void **state)
{
    (void)state;
    char first[80];
    (void)str_fmt(first, sizeof(first), "%s:1;", conf_path);
    assert_refused("data_dir = \"a\"\n\ndata_dir = \"a\"\n", 3, first);
    assert_refused("[http]\n[log]\n[http]\n", 3, "twice");
}

static void wrong_types_and_bounds(void **state)
{
    (void)state;
    assert_refused("data_dir = 1", 1, "text in quotes");
    assert_refused("data_dir = \"\"", 1, "empty");
    assert_refused("[http]\nthreads = \"4\"", 2, "whole number");
    assert_refused("[http]\nthreads = 65", 2, "from 0 to 64");
    assert_refused("[http]\nthreads = -1", 2, "from 0 to 64");
    assert_refused("[http]\nstall_timeout_s = 59", 2, "from 60");
    assert_refused("[http]\nmax_file_mib = 4097", 2, "to 4096");
    assert_refused("[log]\nlevel = \"trace\"", 2, "error|warn|info|debug");
    assert_refused("[log]\nlevel = \"error|warn\"", 2, "error|warn|info|debug");
    assert_refused("[log]\nformat = \"xml\"", 2, "logfmt|json");
    assert_refused("[log]\nlevel = 3", 2, "text in quotes");
    assert_refused("[ota]\ncommand_name = "
                   "\"0123456789012345678901234567890123456789012345678901234567890123x\"",
                   2, "at most 16");
}

static void what_belongs_together(void **state)
{
    (void)state;
    assert_refused("[http]\n\nhttps_listen = \"0.0.0.0:443\"\ntls_cert = \"a\"", 3, "tls_key");
    assert_refused("[mqtt]\ncert = \"a\"", 2, "both");
    assert_refused("[mqtt]\nkey = \"a\"", 2, "both");
    assert_refused("[mqtt]\nbroker_pid_file = \"a\"", 2, "auth_dir");
    assert_refused("[mqtt]\npassword = \"a\"\nusername = \"\"", 2, "username");
    /* who sets these believes that there is TLS */
    assert_refused("[mqtt]\nca = \"a\"", 2, "mqtts://");
    assert_refused("[mqtt]\ncert = \"a\"\nkey = \"b\"", 2, "mqtts://");
    assert_refused("[http]\ntls_cert = \"a\"", 2, "https_listen");
    assert_refused("[http]\n\ntls_key = \"a\"", 3, "https_listen");
    assert_refused("[http]\nmetrics_listen = \"0.0.0.0:8080\"", 2, "listen has 0.0.0.0:8080");
    assert_refused("[http]\ntls_cert = \"a\"\ntls_key = \"b\"\n\nhttps_listen = \"0.0.0.0:8080\"",
                   5, "listen has 0.0.0.0:8080");
}

/* Only where somebody asks: an otad that only asks how another one is may not read them. */
static void files_that_are_named(void **state)
{
    (void)state;
    struct conf *c;
    struct fail f = {0};
    char want[160];
    assert_int_equal(load_text("[webhooks]\nca = \"/nonexistent/ca.pem\"\n", &c, &f), 0);
    assert_int_equal(conf_check_files(c, &f), -ENOENT);
    (void)str_fmt(want, sizeof(want), "%s:2: ca: /nonexistent/ca.pem can't be read: no such file",
                  conf_path);
    assert_string_equal(f.text, want);
    conf_free(c);
    assert_int_equal(load_text("[webhooks]\nca = \"/dev/null\"\n", &c, &f), 0);
    assert_int_equal(conf_check_files(c, &f), 0);
    conf_free(c);
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    struct conf *c = NULL;
    struct fail f = {0};
    assert_int_equal(conf_load("/nonexistent/otad.toml", &c, &f), -ENOENT);
    assert_string_equal(f.text, "/nonexistent/otad.toml: can't be read: no such file");
    assert_int_equal(conf_load("/", &c, &f), -EISDIR);
    AUTO(free) char *big = xmalloc((2 << 20) + 1);
    memset(big, '\n', 2 << 20);
    big[2 << 20] = '\0';
    assert_int_equal(load_text(big, &c, &f), -EFBIG);
    assert_null(c);
}

static void the_environment_wins(void **state)
{
    (void)state;
    struct conf *c;
    struct fail f;
    setenv("OTAD_DATA_DIR", "/env", 1);
    setenv("OTAD_HTTP_THREADS", "7", 1);
    setenv("OTAD_LOG_FORMAT", "json", 1);
    setenv("OTAD_MQTT_PASSWORD", " pw ", 1);
    setenv("OTAD_ADMIN_TOKEN", "token", 1);
    setenv("OTAD_HTTP_PUBLIC_URL", "http://a.b/", 1);
    assert_int_equal(
        load_text("data_dir = \"/file\"\n[http]\nthreads = 2\nidle_timeout_s = 5\n", &c, &f), 0);
    assert_string_equal(c->data_dir, "/env");
    assert_int_equal(c->http_threads, 7);
    assert_int_equal(c->http_idle_timeout_s, 5);
    assert_true(c->log_json);
    assert_string_equal(c->mqtt_password, " pw ");
    assert_string_equal(c->admin_token, "token");
    assert_string_equal(c->http_public_url, "http://a.b");
    setenv("OTAD_DATA_DIR", "/changed", 1); /* the struct holds its own copy */
    assert_string_equal(c->data_dir, "/env");
    conf_free(c);
}

static bool trusted(const struct conf *c, const char *address)
{
    uint8_t a[16];
    assert_true(conf_address(address, a));
    return conf_nets_have(&c->http_trusted_proxies, a);
}

static void lists_of_networks(void **state)
{
    (void)state;
    struct conf *c;
    struct fail f;
    assert_int_equal(load_text("[http]\ntrusted_proxies = [\"10.0.0.0/9\", \"192.0.2.7\",\n"
                               "  'fd00:1::/33', \"::1\"]\n",
                               &c, &f),
                     0);
    assert_int_equal(c->http_trusted_proxies.count, 4);
    static const char *const in[] = {"10.0.0.0",  "10.127.255.255",    "::ffff:10.1.2.3",
                                     "192.0.2.7", "fd00:1:7fff::ffff", "::1"};
    static const char *const out[] = {"10.128.0.0", "9.255.255.255", "192.0.2.6", "fd00:1:8000::",
                                      "fd00:0::1",  "::2",           "::10.0.0.1"};
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        assert_true(trusted(c, in[i]));
    for (size_t i = 0; i < ARRAY_LEN(out); i++)
        assert_false(trusted(c, out[i]));
    conf_free(c);

    setenv("OTAD_HTTP_TRUSTED_PROXIES", " 0.0.0.0/0 ,\t::2,", 1); /* all of IPv4, not of IPv6 */
    assert_int_equal(load_text("[http]\ntrusted_proxies = [\"::1\"]\n", &c, &f), 0);
    assert_true(trusted(c, "203.0.113.9") && trusted(c, "::2"));
    assert_false(trusted(c, "::1") || trusted(c, "2001:db8::1"));
    conf_free(c);
    setenv("OTAD_HTTP_TRUSTED_PROXIES", "", 1);
    assert_int_equal(load_text("[http]\ntrusted_proxies = [\"::1\"]\n", &c, &f), 0);
    assert_int_equal(c->http_trusted_proxies.count, 0);
    conf_free(c);
}

static void wrong_networks(void **state)
{
    (void)state;
    static const char *const none[] = {"",           "nginx",    "10.0.0",   "10.0.0.0.0",
                                       "1.2.3.4:80", "[::1]",    "::1%lo",   "10.0.0.0 ",
                                       "/8",         "01.2.3.4", "\\u0007 a"};
    char text[128];
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        (void)str_fmt(text, sizeof(text), "[http]\ntrusted_proxies = [\"::1\", \"%s\"]", none[i]);
        assert_refused(text, 2, "trusted_proxies: '");
        assert_refused(text, 2, "is no numeric address or network, such as");
    }
    static const char *const bits[] = {"10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-0", "10.0.0.0/8x"};
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        (void)str_fmt(text, sizeof(text), "[http]\ntrusted_proxies = [\"%s\"]", bits[i]);
        assert_refused(text, 2, "a number from 0 to 32");
    }
    assert_refused("[http]\ntrusted_proxies = [\"fd00::/129\"]", 2, "a number from 0 to 128");
    assert_refused("[http]\ntrusted_proxies = [\"10.1.2.3/12\"]", 2, "write 10.0.0.0/12");
    assert_refused("[http]\ntrusted_proxies = [\"fd00::1/64\"]", 2, "write fd00::/64");
    assert_refused("[http]\ntrusted_proxies = \"::1\"", 2, "a list, such as trusted_proxies = [");
    assert_refused("[http]\ntrusted_proxies = 1", 2, "a list, such as");
    assert_refused("[http]\nlisten = [\"0.0.0.0:1\"]", 2, "text in quotes");
}

static void wrong_variables_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
    } bad[] = {
        {"OTAD_HTTP_THREADS", "x"},
        {"OTAD_HTTP_THREADS", ""},
        {"OTAD_HTTP_THREADS", "65"},
        {"OTAD_DATA_DIR", ""},
        {"OTAD_HTTP_LISTEN", ":80"},
        {"OTAD_LOG_LEVEL", "INFO"},
        {"OTAD_MQTT_URL", "x"},
        {"OTAD_MQTT_PASSWORD", "\xff"},
        {"OTAD_HTTP_TRUSTED_PROXIES", "::1,,::2"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct conf *c = NULL;
        struct fail f = {0};
        clean_environment(state);
        setenv(bad[i].name, bad[i].value, 1);
        assert_int_equal(conf_load(NULL, &c, &f), E_PROTO);
        assert_memory_equal(f.text, bad[i].name, strlen(bad[i].name));
        assert_null(c);
    }
}

static void write_secret(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    (void)fputs(text, out);
    fclose(out);
}

static void secrets_come_from_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/otad-cred-XXXXXX", password[64], token[64];
    struct conf *c = NULL;
    struct fail f = {0};
    assert_non_null(mkdtemp(dir));
    (void)str_fmt(password, sizeof(password), "%s/mqtt_password", dir);
    (void)str_fmt(token, sizeof(token), "%s/admin_token", dir);
    write_secret(password, "from credential\n");

    /* a credential is the lowest source; a missing one is none */
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    c = load_or_fail(NULL);
    assert_string_equal(c->mqtt_password, "from credential");
    assert_string_equal(c->admin_token, "");
    conf_free(c);
    assert_int_equal(load_text("[mqtt]\npassword = \"from file\"\n", &c, &f), 0);
    assert_string_equal(c->mqtt_password, "from file");
    conf_free(c);
    assert_int_equal(load_text("[mqtt]\npassword = \"\"\n", &c, &f), 0);
    assert_string_equal(c->mqtt_password, "from credential");
    conf_free(c);

    write_secret(token, "tok\r\n");
    setenv("OTAD_ADMIN_TOKEN_FILE", token, 1);
    setenv("OTAD_MQTT_PASSWORD", "from env", 1);
    c = load_or_fail(NULL);
    assert_string_equal(c->admin_token, "tok");
    assert_string_equal(c->mqtt_password, "from env");
    conf_free(c);

    setenv("OTAD_MQTT_PASSWORD_FILE", password, 1);
    assert_int_equal(conf_load(NULL, &c, &f), E_PROTO);
    assert_non_null(strstr(f.text, "OTAD_MQTT_PASSWORD_FILE"));
    unsetenv("OTAD_MQTT_PASSWORD");
    write_secret(password, "two\nlines\n");
    assert_int_equal(conf_load(NULL, &c, &f), E_PROTO);
    assert_null(strstr(f.text, "two")); /* a message never repeats a secret */
    unlink(password);
    assert_int_equal(conf_load(NULL, &c, &f), -ENOENT);
    assert_memory_equal(f.text, "OTAD_MQTT_PASSWORD_FILE: ", 25);
    unlink(token);
    rmdir(dir);
}

/* What is logged while the configuration loads. */
static void logged(char *ret, size_t cap)
{
    int fds[2], saved = dup(STDERR_FILENO);
    struct conf *c = NULL;
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    dup2(fds[1], STDERR_FILENO);
    int rc = conf_load(conf_path, &c, NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = read(fds[0], ret, cap - 1);
    ret[n > 0 ? n : 0] = '\0';
    close(fds[0]);
    close(fds[1]);
    conf_free(c);
    assert_int_equal(rc, 0);
}

static void warnings(void **state)
{
    (void)state;
    char text[2048];
    write_secret(conf_path, "[mqtt]\npassword = \"hush\"\n");
    logged(text, sizeof(text));
    assert_string_equal(text, "");
    chmod(conf_path, 0644);
    logged(text, sizeof(text));
    assert_non_null(strstr(text, "level=warn"));
    assert_non_null(strstr(text, "password"));
    assert_null(strstr(text, "hush"));

    write_secret(conf_path, "");
    setenv("OTAD_URL", "http://x", 1);
    setenv("OTAD_TEST_X", "1", 1);
    logged(text, sizeof(text));
    assert_string_equal(text, "");
    setenv("OTAD_HTTP_LISTN", "hush", 1);
    logged(text, sizeof(text));
    assert_non_null(strstr(text, "name=OTAD_HTTP_LISTN nearest=OTAD_HTTP_LISTEN"));
    assert_null(strstr(text, "hush"));
}

#define CLEAN(test) cmocka_unit_test_setup_teardown(test, clean_environment, clean_environment)

int test_load(void)
{
    const struct CMUnitTest tests[] = {
        CLEAN(defaults_without_a_file),
        CLEAN(the_sample_is_current_and_gives_the_defaults),
        CLEAN(the_manual_rows_name_every_item),
        CLEAN(the_file_sets_items),
        CLEAN(unknown_names_get_the_nearest),
        CLEAN(duplicates_name_the_first),
        CLEAN(wrong_types_and_bounds),
        CLEAN(what_belongs_together),
        CLEAN(files_that_are_named),
        CLEAN(files_that_cannot_be_read),
        CLEAN(the_environment_wins),
        CLEAN(lists_of_networks),
        CLEAN(wrong_networks),
        CLEAN(wrong_variables_are_named),
        CLEAN(secrets_come_from_files),
        CLEAN(warnings),
    };
    return cmocka_run_group_tests_name("conf load", tests, NULL, NULL);
}
