/* Every named query of the project, and the calls by which they are used. */
#include "../../../src/db/db_priv.h"
#include "test_db.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>
#include <sys/wait.h>

static void every_query_returns_what_its_kind_says(void **state)
{
    struct db_fixture *fx = *state;

    for (unsigned q = 0; q < Q__COUNT; q++) {
        struct db_stmt *s = db_use(fx->w, (enum db_query)q);
        bool rows = sqlite3_column_count(s->s) > 0;

        if (rows != db_query_defs[q].rows)
            fail_msg("query %s of %s: :exec returns no columns, :one and :many do",
                     db_query_defs[q].name, db_query_defs[q].file);
        db_reset(s);
    }
}

/* ---- the plan of every query ---- */
static bool is_word_end(char c)
{
    return !isalnum((unsigned char)c) && c != '_';
}

/* Skips blanks and word when it stands at p; else NULL. */
static const char *after_word(const char *p, const char *word, size_t n)
{
    p += strspn(p, " ");
    return strncasecmp(p, word, n) == 0 && is_word_end(p[n]) ? p + n : NULL;
}

/* True when the query calls the table by this alias: "device AS d", "device d". */
static bool has_alias(const char *text, const char *table, const char *alias, size_t alias_n)
{
    size_t n = strlen(table);

    for (const char *p = text; (p = strcasestr(p, table)); p += n) {
        const char *as;

        if ((p > text && !is_word_end(p[-1])) || !is_word_end(p[n]))
            continue;
        as = after_word(p + n, "AS", 2);
        if (after_word(as ? as : p + n, alias, alias_n))
            return true;
    }
    return false;
}

/* The table that a line of the plan walks from end to end, or NULL. */
static const char *scanned_table(struct map *tables, const char *text, const char *detail)
{
    const char *name = detail + strlen("SCAN ");
    size_t n, it = 0, key_n;
    const void *key;
    void *value;

    if (strncmp(detail, "SCAN ", 5) != 0 || strstr(detail, "VIRTUAL TABLE"))
        return NULL;
    n = strcspn(name, " ");
    if (map_get(tables, name, n))
        return map_get(tables, name, n);
    while (map_next(tables, &it, &key, &key_n, &value))
        if (has_alias(text, value, name, n))
            return value;
    return NULL;
}

static sqlite3_stmt *prepare(sqlite3 *h, const char *sql)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(h, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(h));
    return s;
}

static int count_scans(sqlite3 *h, struct map *tables, const struct db_query_def *def)
{
    struct sbuf sql = {0};
    sqlite3_stmt *s;
    int scans = 0;

    sbuf_fmt(&sql, "EXPLAIN QUERY PLAN %s", def->text);
    s = prepare(h, sql.p);
    while (sqlite3_step(s) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(s, 3);

        if (scanned_table(tables, def->text, detail)) {
            print_error("query %s of %s: %s\n", def->name, def->file, detail);
            scans++;
        }
    }
    sqlite3_finalize(s);
    sbuf_done(&sql);
    return scans;
}

static void load_tables(sqlite3 *h, struct map *ret)
{
    sqlite3_stmt *s = prepare(h, "SELECT name FROM sqlite_schema WHERE type='table'");

    while (sqlite3_step(s) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(s, 0);
        map_put(ret, name, strlen(name), xstrdup(name));
    }
    sqlite3_finalize(s);
}

static void no_query_walks_a_table_unless_it_says_so(void **state)
{
    struct db_fixture *fx = *state;
    struct map tables = {0};
    size_t it = 0, n;
    const void *key;
    void *value;
    int scans = 0;

    load_tables(fx->w->h, &tables);
    /* The detector itself: by name and by alias. */
    assert_non_null(scanned_table(&tables, "", "SCAN setting"));
    assert_non_null(scanned_table(&tables, "x FROM setting AS s", "SCAN s USING INDEX i"));
    assert_null(scanned_table(&tables, "x FROM setting AS s, c t", "SCAN t"));
    assert_null(scanned_table(&tables, "", "SCAN CONSTANT ROW"));
    for (unsigned q = 0; q < Q__COUNT; q++)
        if (!db_query_defs[q].scan)
            scans += count_scans(fx->w->h, &tables, &db_query_defs[q]);
    while (map_next(&tables, &it, &key, &n, &value))
        free(value);
    map_done(&tables);
    assert_int_equal(scans, 0);
}

/* Of a campaign of a million devices, what is looked for is found without a walk over all. */
static void updates_of_a_campaign_go_by_their_index(void **state)
{
    static const struct {
        enum db_query query;
        const char *index;
    } plans[] = {
        {Q_UPDATE_LIST_CAMPAIGN, "ota_update_campaign (campaign_id=? AND "},
        {Q_UPDATE_LIST_CAMPAIGN_DEVICE,
         "ota_update_campaign_device (campaign_id=? AND device_id=? AND "},
        {Q_UPDATE_LIST_CAMPAIGN_STATE, "ota_update_campaign_state (campaign_id=? AND state=? AND "},
        {Q_UPDATE_LIST_CAMPAIGN_OPEN, "ota_update_open (project_id=? AND "},
        {Q_UPDATE_COUNT_CAMPAIGN_DEVICE,
         "ota_update_campaign_device (campaign_id=? AND device_id=?)"},
        {Q_UPDATE_COUNT_CAMPAIGN_STATE, "ota_update_campaign_state (campaign_id=? AND state=?)"},
        {Q_UPDATE_COUNT_CAMPAIGN_OPEN, "ota_update_open (project_id=?)"},
        {Q_UPDATE_TOTAL, "COVERING INDEX ota_update_project (project_id=?)"},
        {Q_UPDATE_TOTAL_STATE, "COVERING INDEX ota_update_state (project_id=? AND state=?)"},
        {Q_UPDATE_TOTAL_FIRMWARE, "COVERING INDEX ota_update_firmware (firmware_id=?)"},
        {Q_CAMPAIGN_COUNTS, "campaign_count USING PRIMARY KEY (campaign_id=?)"},
        {Q_CAMPAIGN_FLOW_LIST,
         "campaign_flow USING PRIMARY KEY (campaign_id=? AND step=? AND at>? AND at<?)"},
        {Q_CAMPAIGN_FLOW_PHASES, "campaign_flow USING PRIMARY KEY (campaign_id=? AND step=?)"},
        {Q_CAMPAIGN_REASONS, "campaign_reason USING PRIMARY KEY (campaign_id=?)"},
        {Q_VERSION_COUNTS, "version_count USING PRIMARY KEY (type_id=? AND module=?)"},
        {Q_VERSION_NEXT, "version_count USING PRIMARY KEY ((type_id,module)>(?,?))"},
        {Q_VERSION_POINTS,
         "version_point USING PRIMARY KEY (type_id=? AND module=? AND step=? AND at>? AND at<?)"},
        {Q_UPDATE_LOGS, "update_log_update (update_id=?)"},
        {Q_CAMPAIGN_LEFTOVERS, "ota_update_campaign_state (campaign_id=? AND state=?)"},
        {Q_CAMPAIGN_DEVICE_PAST, "ota_update_campaign_device (campaign_id=? AND device_id=?)"},
        {Q_CAMPAIGN_OF_DEVICE, "ota_update_device (device_id=?)"},
    };
    struct db_fixture *fx = *state;

    for (size_t i = 0; i < ARRAY_LEN(plans); i++) {
        struct sbuf sql = {0};
        sqlite3_stmt *s;

        sbuf_fmt(&sql, "EXPLAIN QUERY PLAN %s", db_query_defs[plans[i].query].text);
        s = prepare(fx->w->h, sql.p);
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        const char *plan = (const char *)sqlite3_column_text(s, 3);
        if (!strstr(plan, plans[i].index))
            fail_msg("%s: %s", db_query_defs[plans[i].query].name, plan);
        sqlite3_finalize(s);
        sbuf_done(&sql);
    }
}

/* ---- the calls ---- */
static void what_is_bound_is_read_back(void **state)
{
    struct db_fixture *fx = *state;
    AUTO(free) char *value = NULL;
    struct db_stmt *q;

    assert_int_equal(put_setting(fx->w, "a", "grün ’\n"), 0);
    assert_int_equal(db_changed(fx->w), 1);
    value = get_setting(fx->w, "a");
    assert_string_equal(value, "grün ’\n");
    q = db_use(fx->w, Q_SETTING_PUT);
    db_bind_text(q, 1, "b");
    db_bind_textn(q, 2, "12345", 3);
    assert_int_equal(db_run(q), 0);
    q = db_use(fx->w, Q_SETTING_GET);
    db_bind_text(q, 1, "b");
    assert_int_equal(db_step(q), 1);
    assert_string_equal(db_text(q, 0), "123");
    assert_int_equal(db_bytes(q, 0), 3);
    assert_memory_equal(db_blob(q, 0), "123", 3);
    assert_false(db_is_null(q, 0));
    assert_int_equal(db_step(q), 0);
    db_reset(q);
    q = db_use(fx->w, Q_MIGRATION_LIST);
    assert_int_equal(db_row(q), 0);
    assert_int_equal(db_int(q, 0), 1);
    assert_int_equal(db_bytes(q, 2), 32);
    db_reset(q);
}

static void parameters_are_cleared_by_use_and_kept_by_run(void **state)
{
    struct db_fixture *fx = *state;
    struct db_stmt *q = db_use(fx->w, Q_SETTING_PUT);

    db_bind_text(q, 2, "same");
    for (int i = 0; i < 3; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        db_bind_text(q, 1, name);
        assert_int_equal(db_run(q), 0);
    }
    db_reset(q);
    assert_int_equal(count_settings(fx->w), 3);
    q = db_use(fx->w, Q_SETTING_PUT);
    db_bind_text(q, 1, "d"); /* parameter 2 is NULL again, and the column refuses it */
    assert_int_equal(db_run(q), E_CONFLICT);
    assert_non_null(strstr(db_error(fx->w), "setting_put: NOT NULL constraint failed"));
    q = db_use(fx->w, Q_SETTING_PUT);
    db_bind_text(q, 1, NULL);
    db_bind_blob(q, 2, "x", 1); /* of another type than the STRICT table says */
    assert_int_equal(db_run(q), E_CONFLICT);
}

static void unique_and_missing_have_codes(void **state)
{
    struct db_fixture *fx = *state;
    struct db_stmt *q;

    for (int i = 0; i < 2; i++) {
        q = db_use(fx->w, Q_SETTING_ADD);
        db_bind_text(q, 1, "twice");
        db_bind_text(q, 2, "x");
        assert_int_equal(db_run(q), i == 0 ? 0 : -EEXIST);
    }
    q = db_use(fx->w, Q_SETTING_GET);
    db_bind_text(q, 1, "none");
    assert_int_equal(db_row(q), E_NOTFOUND);
    db_reset(q);
    q = db_use(fx->w, Q_MIGRATION_ADD);
    db_bind_int(q, 1, 1);
    db_bind_text(q, 2, "again");
    db_bind_blob(q, 3, "", 0);
    db_bind_int(q, 4, 0);
    assert_int_equal(db_run(q), -EEXIST); /* an INTEGER PRIMARY KEY has a code of its own */
}

static void a_reader_sees_what_is_committed_and_writes_nothing(void **state)
{
    struct db_fixture *fx = *state;
    struct db *r = db_fixture_reader(fx);

    assert_int_equal(put_setting(r, "a", "1"), E_NEEDS_WRITE);
    assert_non_null(strstr(db_error(r), "setting_put"));
    assert_int_equal(db_begin(fx->w), 0);
    assert_int_equal(put_setting(fx->w, "a", "1"), 0);
    assert_int_equal(count_settings(r), 0);
    assert_int_equal(db_commit(fx->w), 0);
    assert_int_equal(count_settings(r), 1);
    /* One moment for several queries. */
    assert_int_equal(db_begin(r), 0);
    assert_int_equal(count_settings(r), 1);
    assert_int_equal(put_setting(fx->w, "b", "1"), 0);
    assert_int_equal(count_settings(r), 1);
    assert_int_equal(db_commit(r), 0);
    assert_int_equal(count_settings(r), 2);
    db_close(r);
}

static void use_twice(void *arg)
{
    struct db_fixture fx = {0};

    fclose(stderr);
    signal(SIGABRT, SIG_DFL);
    (void)str_copy(fx.path, sizeof(fx.path), arg);
    struct db *r = db_fixture_reader(&fx);
    db_use(r, Q_SETTING_GET);
    db_use(r, Q_SETTING_GET);
}

static void nested_use_is_a_bug(void **state)
{
    struct db_fixture *fx = *state;

    db_close(fx->w); /* no connection is carried over the fork */
    fx->w = NULL;
    int status = fixture_child(use_twice, fx->path);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

int stmt_tests(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(every_query_returns_what_its_kind_says),
        DB_TEST(no_query_walks_a_table_unless_it_says_so),
        DB_TEST(updates_of_a_campaign_go_by_their_index),
        DB_TEST(what_is_bound_is_read_back),
        DB_TEST(parameters_are_cleared_by_use_and_kept_by_run),
        DB_TEST(unique_and_missing_have_codes),
        DB_TEST(a_reader_sees_what_is_committed_and_writes_nothing),
        DB_TEST(nested_use_is_a_bug),
    };

    return cmocka_run_group_tests_name("stmt", tests, NULL, NULL);
}
