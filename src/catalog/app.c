/*
 * What the applications of a project log in with: rows. The secret is kept as a hash. The token is
 * kept as it is: to check a signature one has to make it, and a key to encrypt the token with would
 * lie on the same disk. The database and its backups are for their owner alone.
 */
#include "catalog_priv.h"

#define KEY_RANDOM 10

void project_app_row(struct db_stmt *s, struct arena *a, struct project_app *ret)
{
    *ret = (struct project_app){
        .project_id = db_int(s, 0),
        .key = arena_strdup(a, db_text(s, 1)),
        .secret_hash = arena_strdup(a, db_text(s, 2)),
        .token = arena_strdup(a, db_text(s, 3)),
        .live = db_int(s, 4) != 0,
        .created_at = db_int(s, 5),
        .rotated_at = db_int(s, 6),
        .revision = db_int(s, 7),
    };
}

int project_app_by_project(struct db *db, int64_t project_id, struct arena *a,
                           struct project_app *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_PROJECT_APP_BY_PROJECT);
    int rc;

    db_bind_int(q, 1, project_id);
    rc = db_row(q);
    if (rc == 0)
        project_app_row(q, a, ret);
    return rc;
}

int project_app_by_key(struct db *db, const char *key, struct arena *a, struct project_app *ret)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_PROJECT_APP_BY_KEY);
    int rc;

    db_bind_text(q, 1, key);
    rc = db_row(q);
    if (rc == 0)
        project_app_row(q, a, ret);
    return rc;
}

int project_app_list(struct db *db, int (*row)(void *arg, const struct project_app *app), void *arg)
{
    AUTO(db_reset) struct db_stmt *q = db_use(db, Q_PROJECT_APP_LIST);
    struct project_app app;
    struct arena a;
    int rc;

    arena_init(&a);
    while ((rc = db_step(q)) == 1) {
        arena_reset(&a);
        project_app_row(q, &a, &app);
        rc = row(arg, &app);
        if (rc != 0)
            break;
    }
    arena_done(&a);
    return rc;
}

int project_app_insert(struct db *w, const struct project_app *app)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_PROJECT_APP_INSERT);

    db_bind_int(q, 1, app->project_id);
    db_bind_text(q, 2, app->key);
    db_bind_text(q, 3, app->secret_hash);
    db_bind_text(q, 4, app->token);
    db_bind_int(q, 5, app->live);
    db_bind_int(q, 6, app->created_at);
    return db_run(q);
}

int project_app_update(struct db *w, const struct project_app *app)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_PROJECT_APP_UPDATE);
    int rc;

    db_bind_int(q, 1, app->project_id);
    db_bind_text(q, 2, app->secret_hash);
    db_bind_text(q, 3, app->token);
    db_bind_int(q, 4, app->live);
    db_bind_int(q, 5, app->rotated_at);
    rc = db_run(q);
    return rc < 0 || db_changed(w) ? rc : E_NOTFOUND;
}

int project_app_delete(struct db *w, int64_t project_id)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_PROJECT_APP_DELETE);
    int rc;

    db_bind_int(q, 1, project_id);
    rc = db_run(q);
    return rc < 0 || db_changed(w) ? rc : E_NOTFOUND;
}

void project_app_key(char ret[APP_KEY_TEXT])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t n = sizeof(APP_KEY_PREFIX) - 1;

    memcpy(ret, APP_KEY_PREFIX, n);
    while (n < sizeof(APP_KEY_PREFIX) - 1 + KEY_RANDOM) {
        uint8_t b;

        rand_bytes(&b, 1);
        if (b < 4 * (sizeof(letters) - 1)) /* else some letters would come more often */
            ret[n++] = letters[b % (sizeof(letters) - 1)];
    }
    ret[n] = '\0';
}
