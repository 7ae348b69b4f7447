/* Receiving blobs and reading them back; a full disk; the order of fsync and rename. */
#include "test_store.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a record of what reaches the disk: these stand before libc's own ---- */
static struct {
    char text[256];
    bool on;
    int fsync_error; /* what fsync answers when not 0 */
} trace;

static void trace_word(const char *word)
{
    if (trace.on)
        (void)strncat(trace.text, word, sizeof(trace.text) - strlen(trace.text) - 1);
}

int fsync(int fd)
{
    struct stat st;

    if (trace.on) {
        trace_word(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? "sync-folder " : "sync-file ");
        if (trace.fsync_error) {
            errno = trace.fsync_error;
            return -1;
        }
    }
    return fdatasync(fd);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    trace_word("rename ");
    return renameat2(from_fd, from, to_fd, to, 0);
}

/* ---- tests ---- */
static void a_blob_has_its_digest_as_name(void **state)
{
    struct place *p = *state;
    struct digests d = put_blob(p->s, "123456789", 9);
    char name[80], got[16] = {0};
    int fd;

    assert_int_equal(d.size, 9);
    assert_int_equal(d.crc32, 0xcbf43926);
    hex_encode(d.sha256, SHA256_SIZE, name);
    assert_string_equal(name, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
    AUTO(free) char *path = NULL;
    assert_true(asprintf(&path,
                         "%s/blobs/sha256/15/"
                         "e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
                         p->dir) > 0);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(store_get(p->s, d.sha256, 9, &fd), 0);
    assert_int_equal(read(fd, got, sizeof(got)), 9);
    assert_string_equal(got, "123456789");
    close(fd);
    assert_int_equal(store_get(p->s, d.sha256, 10, &fd), -EIO);
    d.sha256[0] ^= 1;
    assert_int_equal(store_get(p->s, d.sha256, 9, &fd), E_NOTFOUND);
    assert_int_equal(count_below(p, "tmp"), 0);
}

static void many_small_pieces_make_one_blob(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    struct digests d, whole;
    struct store_put *put;
    uint8_t data[3000], head[600];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 % 251);
    assert_int_equal(store_put_new(p->s, &put, &f), 0);
    assert_int_equal(store_put_head(put, head, sizeof(head)), 0);
    for (size_t i = 0; i < sizeof(data); i += 7) {
        size_t n = sizeof(data) - i < 7 ? sizeof(data) - i : 7;
        assert_int_equal(store_put_write(put, data + i, n, &f), 0);
        assert_int_equal(store_put_write(put, NULL, 0, &f), 0);
        assert_int_equal(store_put_size(put), i + n);
    }
    assert_int_equal(store_put_head(put, head, sizeof(head)), 512);
    assert_memory_equal(head, data, 512);
    assert_int_equal(store_put_head(put, head, 5), 5);
    assert_int_equal(store_put_commit(put, &d, &f), 0);
    assert_true(store_put_commit(put, &whole, &f) < 0); /* once only */
    store_put_free(put);
    whole = put_blob(p->s, data, sizeof(data));
    assert_memory_equal(&d.sha256, &whole.sha256, SHA256_SIZE);
    assert_int_equal(d.size, 3000);
}

static void the_same_content_is_kept_once(void **state)
{
    struct place *p = *state;
    struct digests d = put_blob(p->s, "same", 4);
    char name[80], path[200];
    struct stat after;

    hex_encode(d.sha256, SHA256_SIZE, name);
    (void)str_fmt(path, sizeof(path), "%s/blobs/sha256/%.2s/%s", p->dir, name, name + 2);
    assert_int_equal(put_blob(p->s, "same", 4).size, 4);
    assert_int_equal(count_below(p, "blobs"), 1);
    assert_int_equal(count_below(p, "tmp"), 0);
    /* One that was cut short, by a disk that lied, is replaced. */
    assert_int_equal(truncate(path, 1), 0);
    assert_int_equal(put_blob(p->s, "same", 4).size, 4);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, 4);
}

static void an_empty_blob_is_one_too(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    struct store_put *put;
    struct digests d;
    int fd;

    assert_int_equal(store_put_new(p->s, &put, &f), 0);
    assert_int_equal(store_put_commit(put, &d, &f), 0);
    store_put_free(put);
    assert_int_equal(d.size, 0);
    assert_int_equal(store_get(p->s, d.sha256, 0, &fd), 0);
    close(fd);
}

static void what_is_not_committed_is_dropped(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    struct store_put *put;

    store_put_free(NULL);
    assert_int_equal(store_put_new(p->s, &put, &f), 0);
    assert_int_equal(store_put_write(put, "half", 4, &f), 0);
    assert_int_equal(count_below(p, "tmp"), 1);
    store_put_free(put);
    assert_int_equal(count_below(p, ""), 0);
}

static void bytes_are_on_disk_before_the_name(void **state)
{
    struct place *p = *state;

    trace.text[0] = '\0';
    trace.on = true;
    struct digests d = put_blob(p->s, "ordered", 7);
    trace.on = false;
    assert_int_equal(d.size, 7);
    assert_string_equal(trace.text, "sync-file sync-folder rename sync-folder ");
    /* One that is there already is replaced in the same order. */
    trace.text[0] = '\0';
    trace.on = true;
    d = put_blob(p->s, "ordered", 7);
    trace.on = false;
    assert_string_equal(trace.text, "sync-file sync-folder rename sync-folder ");
}

static void a_failed_fsync_is_final(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    struct store_put *put;
    struct digests d;

    assert_int_equal(store_put_new(p->s, &put, &f), 0);
    assert_int_equal(store_put_write(put, "x", 1, &f), 0);
    trace.on = true;
    trace.fsync_error = EIO;
    assert_int_equal(store_put_commit(put, &d, &f), -EIO);
    trace.fsync_error = 0;
    assert_int_equal(store_put_commit(put, &d, &f), -EIO);
    trace.on = false;
    store_put_free(put);
    assert_int_equal(count_below(p, ""), 0);
}

static void put_on_full_disk(void *arg)
{
    struct place *p = arg;
    struct fail f = {0};
    struct store_put *put;
    struct digests d;
    uint8_t data[10000] = {1};
    int rc = 0;

    fixture_limit_files(65536);
    CHECK(store_put_new(p->s, &put, &f) == 0);
    for (int i = 0; i < 60 && rc == 0; i++)
        rc = store_put_write(put, data, sizeof(data), &f);
    CHECK(rc == -ENOSPC);
    CHECK(strstr(f.text, "cannot receive: "));
    fixture_limit_files(-1);
    /* Space that comes back does not mend the hole. */
    CHECK(store_put_write(put, data, 1, &f) == -ENOSPC);
    CHECK(store_put_commit(put, &d, &f) == -ENOSPC);
    store_put_free(put);
    CHECK(put_blob(p->s, data, sizeof(data)).size == sizeof(data));
}

static void a_full_disk_leaves_nothing(void **state)
{
    struct place *p = *state;

    assert_int_equal(fixture_child(put_on_full_disk, p), 0);
    assert_int_equal(count_below(p, "tmp"), 0);
    assert_int_equal(count_below(p, "blobs"), 1);
}

static void a_folder_that_cannot_be_is_told(void **state)
{
    struct place *p = *state;
    struct fail f = {0};
    struct store *s;
    char path[128];

    (void)str_fmt(path, sizeof(path), "%s/none/deeper", p->dir);
    assert_int_equal(store_open(path, &s, &f), -ENOENT);
    assert_non_null(strstr(f.text, path));
    (void)str_fmt(path, sizeof(path), "%s/new", p->dir);
    assert_int_equal(store_open(path, &s, &f), 0);
    store_close(s);
    (void)str_fmt(path, sizeof(path), "%s/new/tmp", p->dir);
    assert_int_equal(rmdir(path), 0);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    path[strlen(path) - 4] = '\0';
    assert_int_equal(store_open(path, &s, &f), -ENOTDIR);
    assert_non_null(strstr(f.text, "/new/tmp"));
}

int put_tests(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_blob_has_its_digest_as_name),    STORE_TEST(many_small_pieces_make_one_blob),
        STORE_TEST(the_same_content_is_kept_once),    STORE_TEST(an_empty_blob_is_one_too),
        STORE_TEST(what_is_not_committed_is_dropped), STORE_TEST(bytes_are_on_disk_before_the_name),
        STORE_TEST(a_failed_fsync_is_final),          STORE_TEST(a_full_disk_leaves_nothing),
        STORE_TEST(a_folder_that_cannot_be_is_told),
    };

    return cmocka_run_group_tests_name("put", tests, NULL, NULL);
}
