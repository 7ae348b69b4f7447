/* Foreign topics through decode, engine and turn: who may speak by a serial number, and when. */
#include "site.h"

#define TOPICS                                                                                     \
    "[{\"topic\":\"/f/{sn}/version\",\"as\":\"attributes\",\"text\":\"version\"},"                 \
    "{\"topic\":\"/f/{sn}/check\",\"as\":\"event_report\",\"event\":\"otaCheck\"}]"

static int map_topics(struct note_job *n, struct db *w)
{
    struct device d = n->site->w.device;
    struct device_type t = n->site->w.type;

    d.sn = "SN-1";
    t.topics_text = TOPICS;
    CHECK(device_update(w, &d, NULL) == 0);
    return device_type_update(w, &t, NULL);
}

static void site_open_mapped(struct site *s)
{
    struct note_job job = {.job.catalog = true, .more = map_topics};

    site_open(s);
    note_submit(s, &job, "mapped");
    UNTIL(s, job.done);
    assert_int_equal(job.rc, 0);
}

static bool dialect_is(struct site *s, const char *name)
{
    struct device d;

    arena_reset(&s->w.arena);
    CHECK(device_find(s->w.reader, str_of("D1"), &s->w.arena, &d) == 0);
    return strcmp(d.dialect, name) == 0;
}

/* The serial number and the key are one device's: what it says by either keeps its order. */
static void test_order_by_either_name(void **state UNUSED)
{
    struct site s;

    site_open_mapped(&s);
    site_inject(&s, "/f/SN-1/version", "1.0.0");
    turn_batch_end(s.core);
    assert_true(s.core->committing);
    site_inject(&s, "event_report/D1", CHECK_TEXT);
    assert_int_equal(s.core->n_waiting, 1); /* the reader would answer with the past */
    turn_batch_end(s.core);
    UNTIL(&s, s.answers == 1);
    assert_non_null(strstr(s.text, "\"upgrade\":true"));
    assert_true(dialect_is(&s, ""));
    site_inject(&s, "/f/SN-1/check", "");
    turn_batch_end(s.core);
    UNTIL(&s, s.answers == 2); /* no topic down is mapped: by its key */
    assert_string_equal(s.topic, "command_send/D1");
    assert_true(dialect_is(&s, "mapped"));
    site_close(&s);
}

static bool heard(struct site *s, const char *version)
{
    site_say(s, "/f/SN-1/version", version);
    site_turn(s);
    return site_version_is(s, "D1", version);
}

static void test_subscribed_at_once_and_after_a_restart(void **state UNUSED)
{
    struct site s;

    site_open_mapped(&s);
    UNTIL(&s, heard(&s, "1.0.0"));
    site_core_close(&s);
    catalog_cell_free(s.cell);
    db_close(TAKE(s.w.reader));
    s.w.reader = db_fixture_reader(&s.w.fx);
    struct catalog *fresh;
    struct fail f = {0};
    assert_int_equal(catalog_load(s.w.reader, &fresh, &f), 0);
    s.cell = catalog_cell_new(fresh);
    site_core_open(&s);
    UNTIL(&s, heard(&s, "1.0.1"));
    site_close(&s);
}

static bool stored_is(struct site *s, const char *filter, bool there)
{
    AUTO(db_reset) struct db_stmt *q = db_use(s->w.reader, Q_SETTING_GET);

    db_bind_text(q, 1, "mqtt_topics");
    return db_row(q) == 0 && (strstr(db_text(q, 0), filter) != NULL) == there;
}

static bool heard_as(struct site *s, const char *topic, const char *text, int64_t messages)
{
    site_say(s, topic, text);
    UNTIL(s, metric_get(M_MQTT_MESSAGES) >= messages);
    return metric_get(M_MQTT_MESSAGES) == messages;
}

/* The broker keeps the session: what was unmapped while otad was away is given up, also by an otad
 * that never knew it. */
static void test_unmapped_while_away(void **state UNUSED)
{
    struct device_type plain;
    struct catalog *fresh;
    struct fail f = {0};
    struct db *db;
    struct site s;

    site_open_mapped(&s);
    UNTIL(&s, heard(&s, "1.0.0"));
    UNTIL(&s, stored_is(&s, "/f/+/version\n", true));
    plain = s.w.type;
    site_core_close(&s);
    catalog_cell_free(s.cell);
    assert_int_equal(db_open(s.w.fx.path, DB_WRITE, 512, &db, &f), 0);
    plain.topics_text = "[]";
    assert_int_equal(db_begin(db), 0);
    assert_int_equal(device_type_update(db, &plain, NULL), 0);
    assert_int_equal(db_commit(db), 0);
    db_close(db);
    assert_int_equal(catalog_load(s.w.reader, &fresh, &f), 0);
    s.cell = catalog_cell_new(fresh);
    site_core_open(&s);
    UNTIL(&s, stored_is(&s, "/f/+/version\n", false));
    int64_t before = metric_get(M_MQTT_MESSAGES);
    site_say(&s, "/f/SN-1/version", "1.0.2"); /* nobody listens */
    assert_true(heard_as(&s, "attributes/D1", "{\"version\":\"1.0.3\"}", before + 1));
    UNTIL(&s, site_version_is(&s, "D1", "1.0.3"));
    assert_int_equal(metric_get(M_MQTT_MESSAGES), before + 1);
    site_close(&s);
}

static void refused_as(struct world *w, const char *user, const char *sn, enum metric why)
{
    struct answers out = {.arena = &w->arena};
    struct device_events evs;
    enum metric refused = M_BAD_TOPIC;
    struct dialect_in in = {.topic = arena_printf(&w->arena, "/f/%s/version", sn),
                            .user = user,
                            .payload = "9.9.9",
                            .n = 5};
    struct engine x = {&w->conf, w->link_key, w->catalog, w->fx.w, &w->arena, clock_now_ms(), NULL};

    out.last = &out.first;
    in.map = catalog_topic(w->catalog, in.topic, &in.sn);
    assert_non_null(in.map);
    assert_int_equal(dialect_mapped.decode(&in, &w->arena, &evs, &refused), 0);
    assert_int_equal(engine_handle(&x, &dialect_mapped, &evs, &out), E_PROTO);
    assert_int_equal(out.refused->why, why);
    device_events_done(&evs);
}

static void test_who_may_not(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    assert_int_equal(db_begin(w.fx.w), 0);
    w.type.topics_text = TOPICS;
    w.device.sn = w.other.sn = "SN-1";
    assert_int_equal(device_type_update(w.fx.w, &w.type, NULL), 0);
    assert_int_equal(device_update(w.fx.w, &w.device, NULL), 0);
    world_reload(&w);
    refused_as(&w, "D2", "SN-1", M_BAD_IDENTITY);
    refused_as(&w, NULL, "SN-2", M_BAD_DEVICE);
    assert_int_equal(device_update(w.fx.w, &w.other, NULL), 0);
    refused_as(&w, NULL, "SN-1", M_BAD_SN);
    refused_as(&w, "D1", "SN-1", M_BAD_SN);
    assert_int_equal(db_commit(w.fx.w), 0);
    world_done(&w);
}

int run_topics_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_by_either_name),
        cmocka_unit_test(test_subscribed_at_once_and_after_a_restart),
        cmocka_unit_test(test_unmapped_while_away),
        cmocka_unit_test(test_who_may_not),
    };
    return cmocka_run_group_tests_name("core: topics", tests, NULL, NULL);
}
