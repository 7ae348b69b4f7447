#include "test_core.h"

#define NOW 1700000000000

static void must(int rc, const char *what, const struct fail *f)
{
    if (rc < 0)
        fail_msg("%s: %s (%s)", what, err_str(rc), f->text);
}

static void add_device(struct world *w, struct device *d, const char *key)
{
    struct fail f = {0};
    *d = (struct device){
        .project_id = w->type.project_id,
        .type_id = w->type.id,
        .key = key,
        .name = "",
        .sn = "",
        .timezone = "",
        .tags = "[]",
        .enabled = true,
        .created_at = NOW,
    };
    must(device_insert(w->fx.w, d, &f), "device", &f);
}

static void add_firmware(struct world *w)
{
    struct fail f = {0};
    w->firmware = (struct firmware){
        .project_id = w->type.project_id,
        .type_id = w->type.id,
        .module = "main",
        .version = "1.1.0",
        .name = "second",
        .notes = "",
        .image = "{}",
        .enabled = true,
        .created_at = NOW,
        .n_files = 1,
        .bytes_total = 1000,
    };
    w->firmware.files[0].name = "image.bin";
    w->firmware.files[0].digests.size = 1000;
    must(firmware_insert(w->fx.w, &w->firmware, &f), "firmware", &f);
}

void world_reload(struct world *w)
{
    struct fail f = {0};
    catalog_unref(w->catalog);
    must(catalog_load(w->fx.w, &w->catalog, &f), "snapshot", &f);
}

void world_init(struct world *w)
{
    struct fail f = {0};
    struct project p;

    memset(w, 0, sizeof(*w));
    db_fixture_init(&w->fx);
    arena_init(&w->arena);
    w->conf.http_public_url = "http://127.0.0.1:8080";
    w->conf.http_public_https_url = "";
    w->conf.ota_command_name = "OTA升级";
    w->conf.ota_link_lifetime_s = 86400;
    must(db_begin(w->fx.w), "begin", &f);
    must(catalog_install(w->fx.w, NOW, &f), "install", &f);
    must(project_by_key(w->fx.w, "default", &w->arena, &p), "project", &f);
    w->type = device_type_defaults;
    w->type.project_id = p.id;
    w->type.key = "lamp";
    w->type.name = "Lamp";
    w->type.created_at = NOW;
    must(device_type_insert(w->fx.w, &w->type, &f), "type", &f);
    add_device(w, &w->device, "D1");
    add_device(w, &w->other, "D2");
    add_firmware(w);
    must(db_commit(w->fx.w), "commit", &f);
    w->reader = db_fixture_reader(&w->fx);
    world_reload(w);
}

void world_done(struct world *w)
{
    catalog_unref(w->catalog);
    db_close(w->reader);
    arena_done(&w->arena);
    db_fixture_done(&w->fx);
}

struct said say(struct world *w, struct db *db, const char *topic, const char *payload)
{
    struct said s = {.refused = M_BAD_TOPIC};
    struct device_events evs;

    s.out.arena = &w->arena;
    s.out.last = &s.out.first;
    s.rc = dialect_eztcloud.decode(
        &(struct dialect_in){.topic = topic, .payload = payload, .n = strlen(payload)}, &w->arena,
        &evs, &s.refused);
    if (s.rc == 0) {
        struct engine x = {&w->conf, w->link_key, w->catalog, db, &w->arena, clock_now_ms(), NULL};
        s.rc = engine_handle(&x, &dialect_eztcloud, &evs, &s.out);
    }
    device_events_done(&evs);
    for (const struct refusal *r = s.out.refused; r; r = r->next) {
        s.refused = r->why;
        s.n_refused++;
    }
    if (s.out.first) {
        s.topic = s.out.first->topic;
        s.text = s.out.first->payload.p;
    }
    return s;
}

struct said tell(struct world *w, const char *topic, const char *payload)
{
    assert_int_equal(db_begin(w->fx.w), 0);
    struct said s = say(w, w->fx.w, topic, payload);
    assert_int_equal(db_commit(w->fx.w), 0);
    return s;
}
