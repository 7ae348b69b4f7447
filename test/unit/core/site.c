#include "site.h"

/* For TSan. The libraries are not built with it: it doesn't see the locks inside them. And
 * libmosquitto's setter of a callback ends in a tail call to unlock, which looks like ours. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libmosquitto.so\n"
           "called_from_lib:libsqlite3.so\n"
           "mutex:session_hooks\n";
}

static void on_late(void *arg UNUSED)
{
    fprintf(stderr, "the core waits for something that does not come\n");
    abort();
}

static void on_answer(void *arg, const struct mqtt_message *m)
{
    struct site *s = arg;
    size_t n = m->n < sizeof(s->text) - 1 ? m->n : sizeof(s->text) - 1;

    s->answers++;
    (void)str_copy(s->topic, sizeof(s->topic), m->topic);
    memcpy(s->text, m->payload, n);
    s->text[n] = '\0';
}

static void on_state(void *arg UNUSED, bool up UNUSED, const char *why UNUSED)
{
}

static void on_pulse(void *arg)
{
    struct site *s = arg;
    loop_stop(s->l);
}

void site_turn(struct site *s)
{
    loop_run(s->l);
}

static void dev_open(struct site *s)
{
    static const char *const filters[] = {"command_send/+", "gateway_command_send/+",
                                          "attributes_get_response/+", NULL};
    struct fail f = {0};
    struct mqtt_options o = {
        .host = "127.0.0.1",
        .port = s->b.port,
        .client_id = "devices",
        .clean = true,
        .keepalive_s = 60,
        .version = 5,
        .subscribe_qos = 1,
        .filters = filters,
        .on_message = on_answer,
        .on_state = on_state,
        .arg = s,
    };
    CHECK(mqtt_new(s->l, &o, &s->dev, &f) == 0);
    mqtt_connect(s->dev);
    UNTIL(s, mqtt_is_up(s->dev));
}

void site_core_open(struct site *s)
{
    struct fail f = {0};
    struct core_options o = {
        .conf = &s->w.conf, .loop = s->l, .db_path = s->w.fx.path, .catalog = s->cell};

    CHECK(core_open(&o, &s->core, &f) == 0);
    core_start(s->core);
    UNTIL(s, core_mqtt_up(s->core));
}

static void on_stopped(void *arg)
{
    struct site *s = arg;
    s->stopped = true;
}

void site_core_close(struct site *s)
{
    s->stopped = false;
    core_stop(s->core, on_stopped, s);
    UNTIL(s, s->stopped);
    core_close(TAKE(s->core));
}

void site_open(struct site *s)
{
    memset(s, 0, sizeof(*s));
    world_init(&s->w);
    db_close(TAKE(s->w.fx.w));
    broker_start(&s->b, NULL);
    (void)str_fmt(s->url, sizeof(s->url), "mqtt://127.0.0.1:%d", s->b.port);
    s->w.conf.mqtt_url = s->url;
    s->w.conf.mqtt_client_id = "otad";
    s->w.conf.mqtt_username = s->w.conf.mqtt_password = "";
    s->w.conf.mqtt_ca = s->w.conf.mqtt_cert = s->w.conf.mqtt_key = "";
    s->w.conf.mqtt_auth_dir = s->w.conf.mqtt_broker_pid_file = "";
    s->w.conf.mqtt_batch = 2000;
    s->w.conf.db_cache_kib = 2048;
    s->l = loop_new();
    loop_timer_start(loop_timer_new(s->l, on_late, s), 120000, 0);
    loop_timer_start(loop_timer_new(s->l, on_pulse, s), 5, 5);
    s->cell = catalog_cell_new(catalog_ref(s->w.catalog));
    site_core_open(s);
    dev_open(s);
}

void site_close(struct site *s)
{
    if (s->core)
        site_core_close(s);
    mqtt_free(s->dev);
    loop_free(s->l);
    catalog_cell_free(s->cell);
    broker_stop(&s->b);
    world_done(&s->w);
}

void site_say(struct site *s, const char *topic, const char *text)
{
    CHECK(mqtt_publish(s->dev, topic, text, strlen(text), 1, NULL) == 0);
}

void site_inject(struct site *s, const char *topic, const char *text)
{
    struct mqtt_message m = {.topic = topic, .payload = text, .n = strlen(text), .qos = 1};
    turn_message(s->core, &m);
}

bool site_version_is(struct site *s, const char *device, const char *version)
{
    char is[VERSION_MAX + 1];
    struct device d;

    arena_reset(&s->w.arena);
    CHECK(device_find(s->w.reader, str_of(device), &s->w.arena, &d) == 0);
    return device_version(s->w.reader, d.id, "main", is, NULL) == 0 && strcmp(is, version) == 0;
}

/* ---- jobs ---- */
bool site_has_setting(struct site *s, const char *name)
{
    AUTO(db_reset) struct db_stmt *q = db_use(s->w.reader, Q_SETTING_GET);
    db_bind_text(q, 1, name);
    return db_row(q) == 0;
}

static int note_run(struct db_job *job, struct db *w)
{
    struct note_job *n = (struct note_job *)job;
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_SETTING_PUT);

    n->ran++;
    db_bind_text(q, 1, n->name);
    db_bind_text(q, 2, "1");
    int rc = db_run(q);
    CHECK(!site_has_setting(n->site, n->name)); /* nobody else sees it yet */
    return rc == 0 && n->more ? n->more(n, w) : rc;
}

static void note_done(struct db_job *job, int rc)
{
    struct note_job *n = (struct note_job *)job;
    n->done++;
    n->rc = rc;
    n->commits = metric_get(M_COMMITS);
    n->was_committed = site_has_setting(n->site, n->name);
}

void note_submit(struct site *s, struct note_job *n, const char *name)
{
    n->site = s;
    n->name = name;
    n->job.run = note_run;
    n->job.done = note_done;
    CHECK(core_submit(s->core, &n->job) == 0);
}

int64_t site_campaign(struct site *s, struct db *w, const char *definition)
{
    struct firmware fw = s->w.firmware;
    struct campaign c = {.project_id = s->w.type.project_id,
                         .type_id = s->w.type.id,
                         .name = "c",
                         .definition = definition,
                         .created_at = 1};
    const struct campaign_lists none = {.targets = {.n = 0}};

    fw.version = "2.0.0";
    fw.campaign_only = true;
    CHECK(firmware_insert(w, &fw, NULL) == 0);
    c.firmware_id = fw.id;
    CHECK(campaign_insert(w, &c, &none) == 0);
    CHECK(campaign_start(w, c.id, clock_now_ms(), NULL) == 0);
    return c.id;
}
