/* Runs every group of the conf tests, and holds what they share. */
#include "tests.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;
char conf_path[64] = "/tmp/otad-conf-XXXXXX";

int clean_environment(void **state)
{
    char name[128];
    (void)state;
    for (char **p = environ; *p;) {
        size_t n = strcspn(*p, "=");
        if (n < sizeof(name) && (!strncmp(*p, "OTAD_", 5) || !strncmp(*p, "CREDENTIALS_D", 13))) {
            memcpy(name, *p, n);
            name[n] = '\0';
            unsetenv(name);
            p = environ;
        } else {
            p++;
        }
    }
    chmod(conf_path, 0600);
    return 0;
}

int load_bytes(const void *p, size_t n, struct conf **ret, struct fail *f)
{
    FILE *out = fopen(conf_path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(p, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
    *f = (struct fail){0};
    *ret = NULL;
    return conf_load(conf_path, ret, f);
}

int load_text(const char *text, struct conf **ret, struct fail *f)
{
    return load_bytes(text, strlen(text), ret, f);
}

void assert_refused(const char *text, int line, const char *part)
{
    struct conf *c;
    struct fail f;
    char where[96];
    int rc = load_text(text, &c, &f);
    if (rc != E_PROTO)
        print_error("taken, but should not: %s\n", text);
    assert_int_equal(rc, E_PROTO);
    assert_null(c);
    assert_true(str_fmt(where, sizeof(where), "%s:%d: ", conf_path, line));
    if (strncmp(f.text, where, strlen(where)) != 0 || !strstr(f.text, part))
        print_error("'%s' is not about line %d and %s\n", f.text, line, part);
    assert_memory_equal(f.text, where, strlen(where));
    assert_non_null(strstr(f.text, part));
}

int main(void)
{
    int fd = mkstemp(conf_path);
    if (fd < 0)
        return 1;
    close(fd);
    int failed = test_toml() + test_load() + test_check();
    unlink(conf_path);
    return failed;
}
