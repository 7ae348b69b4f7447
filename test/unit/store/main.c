/* Unit tests of room store. */
#include "test_store.h"

#include <ftw.h>
#include <stdio.h>

int place_setup(void **state)
{
    struct place *p = xcalloc(1, sizeof(*p));
    struct fail f = {0};

    fixture_dir_make(p->dir);
    if (store_open(p->dir, &p->s, &f) < 0)
        fail_msg("%s", f.text);
    *state = p;
    return 0;
}

int place_teardown(void **state)
{
    struct place *p = *state;

    store_close(p->s);
    fixture_dir_remove(p->dir);
    free(p);
    return 0;
}

struct digests put_blob(struct store *s, const void *data, size_t n)
{
    struct digests d = {0};
    struct fail f = {0};
    struct store_put *p;

    if (store_put_new(s, &p, &f) == 0) {
        if (store_put_write(p, data, n, &f) < 0 || store_put_commit(p, &d, &f) < 0)
            d.size = 0;
        store_put_free(p);
    }
    return d;
}

static size_t files_seen;

static int see_file(const char *path UNUSED, const struct stat *st UNUSED, int flag,
                    struct FTW *ftw UNUSED)
{
    files_seen += flag == FTW_F;
    return 0;
}

size_t count_below(const struct place *p, const char *sub)
{
    char path[128];

    (void)str_fmt(path, sizeof(path), "%s/%s", p->dir, sub);
    files_seen = 0;
    assert_int_equal(nftw(path, see_file, 16, FTW_PHYS), 0);
    return files_seen;
}

int main(void)
{
    return put_tests() + sweep_tests() + image_tests();
}
