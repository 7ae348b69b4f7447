/* The broker's files: who stands in them, who must not, and that a failure leaves the old ones. */
#include "tests.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char *slurp(struct domain *d, const char *dir, const char *name, mode_t *ret_mode)
{
    char *path = arena_printf(&d->a, "%s/%s", dir, name);
    char *text = arena_alloc(&d->a, 65536);
    struct stat st;
    FILE *f = fopen(path, "r");

    if (!f)
        return NULL;
    text[fread(text, 1, 65535, f)] = '\0';
    assert_int_equal(fstat(fileno(f), &st), 0);
    *ret_mode = st.st_mode & 0777;
    fclose(f);
    return text;
}

static void add(struct domain *d, const char *key, const char *hash, bool enabled)
{
    struct device dev = {.project_id = d->project,
                         .type_id = d->type.id,
                         .key = key,
                         .password_hash = hash,
                         .enabled = enabled,
                         .created_at = T0};

    MUST(device_insert(d->w, &dev, NULL));
}

static void applications_stand_in_the_files(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    mode_t mode;

    domain_init(&d);
    const struct project_app app = {.project_id = d.project,
                                    .key = "PR_abcdefghij",
                                    .secret_hash = "$7$101$x$y",
                                    .token = "the-token",
                                    .created_at = T0};
    MUST(project_app_insert(d.w, &app));
    MUST(device_write_broker_files(d.w, d.fx.dir, "otad", "secret", &f));
    const char *text = slurp(&d, d.fx.dir, "passwd", &mode);
    assert_non_null(strstr(text, "\nPR_abcdefghij:$7$101$x$y\n"));
    assert_null(strstr(text, "the-token"));
    text = slurp(&d, d.fx.dir, "acl", &mode);
    assert_non_null(strstr(text, "\nuser PR_abcdefghij\n"
                                 "topic write open/PR_abcdefghij/+/attributes_push\n"
                                 "topic write open/PR_abcdefghij/+/command_send\n"
                                 "topic read open/PR_abcdefghij/#\n"));
    assert_null(strstr(text, "open/%u")); /* no pattern more for each message */
    assert_true(device_may("PR_a", false, "open/PR_a/+/attributes"));
    assert_true(device_may("PR_a", true, "open/PR_a/D1/command_send"));
    assert_false(device_may("PR_a", true, "open/PR_a/D1/attributes"));
    assert_false(device_may("PR_a", false, "open/PR_b/D1/attributes"));
    assert_false(device_may("PR_a", false, "open/+/D1/attributes"));
    domain_done(&d);
}

static void who_may_log_in(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    char hash[CRYPTO_PASSWORD_TEXT], *text, *service;
    mode_t mode;
    int64_t import;

    domain_init(&d);
    crypto_password_hash("pw", hash);
    add(&d, "DU_1", hash, true);
    add(&d, "DU_off", hash, false);
    add(&d, "DU_nopw", NULL, true);
    add(&d, "otad", hash, true); /* would inherit the service's rights */
    MUST(device_import_begin(d.w, d.project, T0, &import));
    struct device pending = {.project_id = d.project,
                             .type_id = d.type.id,
                             .key = "DU_imp",
                             .password_hash = hash,
                             .enabled = true,
                             .import_id = import};
    MUST(device_insert(d.w, &pending, NULL));
    MUST(device_write_broker_files(d.w, d.fx.dir, "otad", "secret", &f));

    text = slurp(&d, d.fx.dir, "passwd", &mode);
    assert_int_equal(mode, 0600);
    assert_non_null(strstr(text, arena_printf(&d.a, "\nDU_1:%s\n", hash)));
    assert_null(strstr(text, "DU_off"));
    assert_null(strstr(text, "DU_nopw"));
    assert_null(strstr(text, "DU_imp"));
    assert_null(strstr(text, "secret"));
    assert_int_equal(strncmp(text, "otad:$7$", 8), 0);
    assert_null(strstr(text + 1, "\notad:"));
    service = arena_strndup(&d.a, text + 5, strcspn(text + 5, "\n"));
    assert_true(crypto_password_verify("secret", service));

    text = slurp(&d, d.fx.dir, "acl", &mode);
    assert_non_null(strstr(text, "user otad\ntopic readwrite #\n"));
    const char *lines[] = {"pattern write attributes/%u\n",
                           "pattern read command_send/%u\n",
                           "pattern write data/%u/#\n",
                           "pattern read data_set/%u/#\n",
                           "pattern write gateway_event_report/%u\n",
                           "pattern read sub_command_send/%u\n"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_non_null(strstr(text, lines[i]));
    /* Every pattern is bound to the user's own name. */
    for (char *p = text; (p = strstr(p, "pattern ")) != NULL; p++)
        assert_non_null(memmem(p, strcspn(p, "\n"), "/%u", 3));
    domain_done(&d);
}

static void add_sn(struct domain *d, const char *key, const char *sn, const char *hash)
{
    struct device dev = {.project_id = d->project,
                         .type_id = d->type.id,
                         .key = key,
                         .sn = sn,
                         .password_hash = hash,
                         .enabled = true,
                         .created_at = T0};

    MUST(device_insert(d->w, &dev, NULL));
}

static void foreign_topics_go_by_serial_number(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    struct device dev;
    mode_t mode;

    domain_init(&d);
    MUST(device_write_broker_files(d.w, d.fx.dir, "otad", NULL, &f));
    assert_string_equal(slurp(&d, d.fx.dir, "topics", &mode),
                        "# Written by otad; changes are lost.\n");
    assert_null(strstr(slurp(&d, d.fx.dir, "acl", &mode), "user DU"));
    d.type.topics_text = "[{\"topic\":\"/f/{sn}/up\",\"as\":\"attributes\"},"
                         "{\"topic\":\"/f/{sn}/down\",\"as\":\"command_send\"}]";
    domain_type_changed(&d);
    add_sn(&d, "DU_1", "SN-1", "$7$x");
    add_sn(&d, "DU_2", "SN-2", "$7$x");
    add_sn(&d, "DU_3", "SN-2", "$7$x");
    add_sn(&d, "DU_4", "SN 4", "$7$x");
    add_sn(&d, "DU_5", "SN-5", NULL);
    add_sn(&d, "otad", "SN-6", "$7$x");
    add_sn(&d, "DU_7", "", "$7$x");
    struct device_type kind = d.type;
    kind.key = "other";
    kind.topics_text = NULL;
    MUST(device_type_insert(d.w, &kind, NULL));
    struct device other = {.project_id = d.project,
                           .type_id = kind.id,
                           .key = "DU_8",
                           .sn = "SN-1", /* of another type: not the same */
                           .password_hash = "$7$x",
                           .enabled = true,
                           .created_at = T0};
    MUST(device_insert(d.w, &other, NULL));
    MUST(device_write_broker_files(d.w, d.fx.dir, "otad", NULL, &f));
    const char *acl = strstr(slurp(&d, d.fx.dir, "acl", &mode), "\nuser DU");
    assert_string_equal(acl, "\nuser DU_1\ntopic write /f/SN-1/up\ntopic read /f/SN-1/down\n");
    assert_string_equal(slurp(&d, d.fx.dir, "topics", &mode),
                        arena_printf(&d.a,
                                     "# Written by otad; changes are lost.\n"
                                     "type %lld write /f/{sn}/up\ntype %lld read /f/{sn}/down\n"
                                     "device DU_1 %lld/SN-1\ndevice DU_2 %lld/SN-2\n"
                                     "device DU_3 %lld/SN-2\n",
                                     (long long)d.type.id, (long long)d.type.id,
                                     (long long)d.type.id, (long long)d.type.id,
                                     (long long)d.type.id));
    MUST(device_by_sn(d.w, d.type.id, str_of("SN-1"), &d.a, &dev));
    assert_string_equal(dev.key, "DU_1");
    MUST(device_by_sn(d.w, kind.id, str_of("SN-1"), &d.a, &dev));
    assert_string_equal(dev.key, "DU_8");
    assert_int_equal(device_by_sn(d.w, d.type.id, str_of("SN-2"), &d.a, &dev), E_CONFLICT);
    assert_int_equal(device_by_sn(d.w, d.type.id, str_of("SN-9"), &d.a, &dev), E_NOTFOUND);
    assert_int_equal(device_by_sn(d.w, d.type.id, str_of(""), &d.a, &dev), E_NOTFOUND);
    domain_done(&d);
}

static void rewriting_replaces(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    mode_t mode;

    domain_init(&d);
    MUST(device_write_broker_files(d.w, d.fx.dir, "otad", NULL, &f));
    assert_string_equal(slurp(&d, d.fx.dir, "passwd", &mode), "");
    add(&d, "DU_1", "$7$x", true);
    MUST(device_write_broker_files(d.w, d.fx.dir, "otad", "", &f));
    assert_string_equal(slurp(&d, d.fx.dir, "passwd", &mode), "DU_1:$7$x\n");
    assert_null(slurp(&d, d.fx.dir, "passwd.new", &mode));
    assert_null(slurp(&d, d.fx.dir, "acl.new", &mode));
    domain_done(&d);
}

static void failures_are_told(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};

    domain_init(&d);
    assert_int_equal(device_write_broker_files(d.w, "/nonexistent/folder", "otad", "x", &f),
                     -ENOENT);
    assert_non_null(strstr(f.text, "/nonexistent/folder"));
    assert_int_equal(device_write_broker_files(d.w, d.fx.dir, "o:tad", "x", &f), E_PROTO);
    assert_int_equal(device_write_broker_files(d.w, d.fx.dir, "otad\nuser x", "x", &f), E_PROTO);
    assert_int_equal(device_write_broker_files(d.w, d.fx.dir, "", "x", &f), E_PROTO);
    domain_done(&d);
}

static void on_a_full_disk(void *arg)
{
    struct domain *d = arg;
    struct fail f = {0};
    mode_t mode;

    fixture_limit_files(20000); /* the ACL fits, 1,000 passwords don't */
    CHECK(device_write_broker_files(d->w, d->fx.dir, "otad", NULL, &f) == -EFBIG);
    CHECK(strcmp(slurp(d, d->fx.dir, "passwd", &mode), "DU_old:$7$x\n") == 0);
    CHECK(slurp(d, d->fx.dir, "passwd.new", &mode) == NULL);
}

static void a_full_disk_leaves_the_old_file(void **state UNUSED)
{
    struct domain d;
    struct fail f = {0};
    char key[16], hash[CRYPTO_PASSWORD_TEXT];

    domain_init(&d);
    add(&d, "DU_old", "$7$x", true);
    MUST(device_write_broker_files(d.w, d.fx.dir, "otad", NULL, &f));
    crypto_password_hash("pw", hash);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "DU_%d", i);
        add(&d, key, hash, true);
    }
    assert_int_equal(fixture_child(on_a_full_disk, &d), 0);
    domain_done(&d);
}

static void a_missing_folder_is_made(void **state)
{
    struct domain d;
    struct fail f = {0};
    struct stat st;
    mode_t mode;
    (void)state;

    domain_init(&d);
    const char *dir = arena_printf(&d.a, "%s/broker", d.fx.dir);
    const char *deep = arena_printf(&d.a, "%s/no/broker", d.fx.dir);
    MUST(device_write_broker_files(d.w, dir, "otad", NULL, &f));
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_string_equal(slurp(&d, dir, "passwd", &mode), "");
    assert_int_equal(device_write_broker_files(d.w, deep, "otad", NULL, &f), -ENOENT);
    assert_non_null(strstr(f.text, deep));
    static const char *const names[] = {"passwd", "acl", "topics"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(unlink(arena_printf(&d.a, "%s/%s", dir, names[i])), 0);
    assert_int_equal(rmdir(dir), 0);
    domain_done(&d);
}

int test_broker(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_may_log_in),
        cmocka_unit_test(applications_stand_in_the_files),
        cmocka_unit_test(foreign_topics_go_by_serial_number),
        cmocka_unit_test(rewriting_replaces),
        cmocka_unit_test(failures_are_told),
        cmocka_unit_test(a_missing_folder_is_made),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
    };

    return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
