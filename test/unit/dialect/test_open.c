/*
 * Golden files of the applications' topics. test/golden/open/up/NAME holds topic, user (may be
 * empty: not known), payload and after a line "---" what it means; down/NAME holds topic and bytes
 * of an event as applications hear it.
 */
#include "dialect.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "test_open.h"

static char *slurp(struct arena *a, const char *part, const char *name)
{
    const char *dir = getenv("GOLDEN_DIR");
    FILE *f = fopen(arena_printf(a, "%s/open/%s/%s", dir ? dir : "test/golden", part, name), "re");
    char *p = arena_alloc(a, 65536);

    if (!f)
        fail_msg("no golden file %s/%s", part, name);
    p[fread(p, 1, 65535, f)] = '\0';
    (void)fclose(f);
    return p;
}

static char *line(char **at)
{
    char *start = *at, *end = strchr(start, '\n');

    assert_non_null(end);
    *end = '\0';
    *at = end + 1;
    return start;
}

static const char *word(enum metric m)
{
    return m == M_BAD_JSON       ? "not_json"
           : m == M_BAD_LENGTH   ? "too_long"
           : m == M_BAD_TYPE     ? "wrong_type"
           : m == M_BAD_IDENTITY ? "no_identity"
                                 : "?";
}

static void render(struct sbuf *b, int rc, const struct open_message *m, enum metric refused)
{
    if (rc < 0) {
        sbuf_fmt(b, rc == E_NOTFOUND ? "no topic of applications\n" : "refused %s\n",
                 word(refused));
        return;
    }
    sbuf_fmt(b, "%s app=%.*s device=%.*s", m->is_command ? "command" : "attributes", (int)m->app.n,
             m->app.p, (int)m->device.n, m->device.p);
    if (m->method)
        sbuf_fmt(b, " method=%s", m->method);
    if (m->id) {
        AUTO(free) char *id = json_dumps(m->id, JSON_ENCODE_ANY);
        sbuf_fmt(b, " id=%s", id);
    }
    if (m->body) {
        sbuf_str(b, " body=");
        json_add_text(b, m->body);
    }
    sbuf_str(b, "\n");
}

static void up_one(const char *name)
{
    struct arena a;
    struct sbuf got = {0};
    struct open_message m;
    enum metric refused = M_BAD_TOPIC;

    arena_init(&a);
    char *at = slurp(&a, "up", name);
    const char *topic = line(&at), *user = line(&at);
    char *want = strstr(at, "\n---\n");
    assert_non_null(want);
    struct dialect_in in = {
        .topic = topic, .user = *user ? user : NULL, .payload = at, .n = (size_t)(want - at)};
    int rc = open_decode(&in, &m, &refused);
    render(&got, rc, &m, refused);
    if (strcmp(got.p, want + 5) != 0)
        fail_msg("%s:\n got  %s want %s", name, got.p, want + 5);
    open_message_done(&m);
    sbuf_done(&got);
    arena_done(&a);
}

void test_open_up(void **state)
{
    const char *dir = getenv("GOLDEN_DIR");
    struct arena a;
    struct dirent *e;
    unsigned n = 0;

    (void)state;
    arena_init(&a);
    DIR *d = opendir(arena_printf(&a, "%s/open/up", dir ? dir : "test/golden"));
    assert_non_null(d);
    while ((e = readdir(d)))
        if (e->d_name[0] != '.') {
            up_one(e->d_name);
            n++;
        }
    (void)closedir(d);
    arena_done(&a);
    assert_true(n >= 15);
}

static void down_one(const char *name, const struct device_event *ev, const char *id)
{
    struct arena a;
    struct dialect_out out;

    arena_init(&a);
    assert_int_equal(open_encode("PR_abcdefghij", "DU_1", ev, id, &a, &out), 0);
    assert_int_equal(strlen(out.payload.p), out.payload.n);
    const char *got = arena_printf(&a, "%s\n%s\n", out.topic, out.payload.p);
    assert_string_equal(got, slurp(&a, "down", name));
    arena_done(&a);
}

void test_open_down(void **state)
{
    AUTO(json_free) json_t *body = json_pack("{s:i,s:s}", "t", 1, "键", "\"x\"");
    struct device_event ev = {.kind = EVENT_REPORT, .body = body};
    struct dialect_out out;
    struct arena a;

    (void)state;
    down_one("attributes", &ev, NULL);
    ev = (struct device_event){.kind = EVENT_METHOD, .method = "otaCheck"};
    down_one("event", &ev, NULL);
    ev.has_id = true;
    ev.id = 1000;
    ev.body = body;
    down_one("event-with-id", &ev, NULL);
    ev.kind = EVENT_REPLY;
    down_one("reply", &ev, NULL);
    down_one("reply-of-an-application", &ev, "\"a 1\"");
    ev.method = NULL;
    ev.body = NULL;
    ev.has_id = false;
    down_one("reply-bare", &ev, NULL);
    ev.kind = EVENT_ONLINE;
    down_one("online", &ev, NULL);
    ev.kind = EVENT_OFFLINE;
    down_one("offline", &ev, NULL);
    arena_init(&a);
    ev.kind = EVENT_ATTRIBUTES_GET;
    assert_int_equal(open_encode("PR_1", "D", &ev, NULL, &a, &out), E_UNSUPPORTED);
    ev.kind = EVENT_REPORT; /* of nothing */
    assert_int_equal(open_encode("PR_1", "D", &ev, NULL, &a, &out), E_UNSUPPORTED);
    arena_done(&a);
}

void test_open_bounds(void **state)
{
    struct open_message m;
    struct sbuf b = {0};
    enum metric refused = M_BAD_TOPIC;

    (void)state;
    sbuf_str(&b, "{\"a\":\"");
    while (b.n < DEVICE_DOWN_BYTES_MAX)
        sbuf_str(&b, "0123456789abcdef");
    sbuf_str(&b, "\"}");
    struct dialect_in in = {.topic = "open/PR_1/D/attributes_push", .payload = b.p, .n = b.n};
    assert_int_equal(open_decode(&in, &m, &refused), E_PROTO);
    assert_int_equal(refused, M_BAD_LENGTH);
    open_message_done(&m);
    sbuf_done(&b);
}
