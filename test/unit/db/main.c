/* Unit tests of room db. Run from the project's folder: the embed tests use build/gen/embed. */
#include "test_db.h"

int put_setting(struct db *db, const char *name, const char *value)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_SETTING_PUT);

    db_bind_text(q, 1, name);
    db_bind_text(q, 2, value);
    return db_run(q);
}

char *get_setting(struct db *db, const char *name)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_SETTING_GET);

    db_bind_text(q, 1, name);
    return db_row(q) == 0 ? xstrdup(db_text(q, 0)) : NULL;
}

int64_t count_settings(struct db *db)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_SETTING_COUNT);

    return db_row(q) == 0 ? db_int(q, 0) : -1;
}

const char *long_text(size_t n)
{
    static char text[(1 << 20) + 1];

    memset(text, 'x', sizeof(text) - 1);
    text[n] = '\0';
    return text;
}

int fixture_setup(void **state)
{
    struct db_fixture *fx = xcalloc(1, sizeof(*fx));

    db_fixture_init(fx);
    *state = fx;
    return 0;
}

int fixture_teardown(void **state)
{
    db_fixture_done(*state);
    free(*state);
    return 0;
}

int main(void)
{
    return embed_tests() + stmt_tests() + tx_tests() + migrate_tests() + backup_tests() +
           thread_tests();
}
