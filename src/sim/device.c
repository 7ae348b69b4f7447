/*
 * otasim device: one direct device of the EZtCloud protocol, step by step, saying each step in a
 * line: connects, reports its version, checks, downloads what is offered, verifies it, "reboots"
 * (a new connection) and reports the version that it then has. Its life between two offers is in
 * this file; options are in device_main.c.
 */
#include "device.h"

#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

static void say(const struct device_sim *d, const char *fmt, ...) PRINTF(2, 3);
static void say(const struct device_sim *d, const char *fmt, ...)
{
    va_list ap;

    printf("device  %s  ", d->o.broker.username);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

static void end(struct device_sim *d, int code)
{
    d->code = code;
    loop_stop(d->loop);
}

/* An attempt that went wrong: the end with --once, else the next check comes in its time. */
static void give_up(struct device_sim *d, const char *why)
{
    say(d, "update failed: %s", why);
    d->step = STEP_IDLE;
    wire_offer_done(&d->offer);
    if (d->o.once)
        end(d, SIM_FAILED);
    else
        loop_timer_start(d->next, (uint64_t)d->o.interval_ms, 0);
}

static void publish(struct device_sim *d, const char *kind, char *text, int *ret_mid)
{
    char topic[160];
    int mid = 0;

    (void)str_fmt(topic, sizeof(topic), "%s/%s", kind, d->o.broker.username);
    if (mqtt_publish(d->mqtt, topic, text, strlen(text), 1, &mid) < 0)
        say(d, "cannot send to %s", topic);
    if (ret_mid)
        *ret_mid = mid;
    free(text);
}

static void check(struct device_sim *d)
{
    if (!mqtt_is_up(d->mqtt) || d->step != STEP_IDLE)
        return;
    say(d, "checks for an update (%s)", d->o.event);
    publish(d, "event_report", wire_check(d->o.event), NULL);
    loop_timer_start(d->next, (uint64_t)d->o.interval_ms, 0);
}

static void save_state(struct device_sim *d)
{
    char temp[4096 + 8];

    if (!d->o.state_file)
        return;
    (void)str_fmt(temp, sizeof(temp), "%s.new", d->o.state_file);
    FILE *out = fopen(temp, "we");
    bool ok =
        out && fprintf(out, "%s\n", d->version) > 0 && fflush(out) == 0 && fsync(fileno(out)) == 0;
    if (out && fclose(out) != 0)
        ok = false;
    if (!ok || rename(temp, d->o.state_file) < 0)
        say(d, "cannot write %s: %s", d->o.state_file, strerror(errno));
}

/* ---- the download ---- */

static void fetch_next(struct device_sim *d);

static void reboot(struct device_sim *d)
{
    d->step = STEP_REBOOT;
    say(d, "installs %s and reboots", d->offer.version);
    if (d->o.reply)
        publish(d, "command_reply", wire_reply(d->offer.id, 0), NULL);
    if (d->o.install) {
        (void)str_copy(d->version, sizeof(d->version), d->offer.version);
        save_state(d);
    }
    wire_offer_done(&d->offer);
    loop_timer_start(d->next, (uint64_t)d->o.reboot_ms, 0);
}

static void on_note(void *arg, const char *text)
{
    struct device_sim *d = (struct device_sim *)arg;
    say(d, "download %s", text);
}

static void on_fetched(void *arg, int rc, const char *why, const struct digests *got)
{
    struct device_sim *d = (struct device_sim *)arg;
    const struct wire_file *file = &d->offer.files[d->file];

    fetch_free(TAKE(d->fetch));
    if (d->save_fd >= 0)
        close(d->save_fd);
    d->save_fd = -1;
    if (rc == 0 && d->o.verify) {
        why = wire_file_differs(file, got);
        rc = why ? E_PROTO : 0;
    }
    if (rc < 0) {
        if (d->o.reply)
            publish(d, "command_reply", wire_reply(d->offer.id, 3), NULL);
        give_up(d, why);
        return;
    }
    say(d, "downloaded %llu bytes%s", (unsigned long long)got->size,
        d->o.verify ? ", size and digests as offered" : "");
    d->file++;
    if (d->file < d->offer.n_files)
        fetch_next(d);
    else
        reboot(d);
}

static void fetch_next(struct device_sim *d)
{
    const struct wire_file *file = &d->offer.files[d->file];
    struct fetch_options o = {
        .url = file->url,
        .size = file->size,
        .save_fd = -1,
        .attempts = (int)d->o.attempts,
        .retry_ms = 500,
        .stall_ms = 30000,
        .cut_after = d->o.cut_after,
        .on_note = on_note,
        .on_done = on_fetched,
        .arg = d,
    };

    if (d->o.save_file && d->file == 0) {
        d->save_fd = open(d->o.save_file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (d->save_fd < 0) {
            give_up(d, strerror(errno));
            return;
        }
        o.save_fd = d->save_fd;
    }
    d->fetch = fetch_new(d->loop, &o);
}

/* ---- messages ---- */

static void on_offer(struct device_sim *d)
{
    struct wire_offer *o = &d->offer;

    d->step = STEP_DOWNLOAD;
    d->file = 0;
    loop_timer_stop(d->next);
    say(d, "is offered %s version %s (update %lld): %lld bytes", o->module, o->version,
        (long long)o->id, (long long)o->files[0].size);
    if (d->o.download)
        fetch_next(d);
    else
        give_up(d, "told not to download");
}

static void on_message(void *arg, const struct mqtt_message *m)
{
    struct device_sim *d = (struct device_sim *)arg;
    struct wire_offer offer;
    struct fail why;

    int rc = wire_offer_parse(m->payload, m->n, &offer, &why);
    if (rc == E_PROTO && d->step == STEP_IDLE) {
        give_up(d, why.text);
        return;
    }
    if (rc < 0) {
        say(d, "ignores a message: %s", why.text);
        return;
    }
    if (d->step != STEP_IDLE || strcmp(offer.module, d->o.module) != 0) {
        wire_offer_done(&offer); /* the same offer again, or another part's */
        return;
    }
    if (offer.upgrade) {
        d->offer = offer;
        on_offer(d);
        return;
    }
    say(d, "is up to date");
    wire_offer_done(&offer);
    if (d->o.once)
        end(d, SIM_FAILED);
}

static void on_published(void *arg, int mid)
{
    struct device_sim *d = (struct device_sim *)arg;

    if (mid != d->report_mid || d->step != STEP_REPORT)
        return;
    d->step = STEP_IDLE;
    d->report_mid = 0;
    if (!d->updated) {
        check(d);
        return;
    }
    d->updated = false;
    say(d, "runs %s", d->version);
    if (d->o.once)
        end(d, SIM_OK);
    else
        loop_timer_start(d->next, (uint64_t)d->o.interval_ms, 0);
}

static void on_state(void *arg, bool up, const char *why)
{
    struct device_sim *d = (struct device_sim *)arg;

    if (!up) {
        say(d, "disconnected: %s", why);
        return;
    }
    say(d, "connected to %s:%d", d->o.broker.host, d->o.broker.port);
    if (d->step != STEP_START && d->step != STEP_REPORT && d->step != STEP_IDLE)
        return; /* the connection was lost during the download */
    say(d, "reports %s %s", d->o.attribute, d->version);
    d->step = STEP_REPORT;
    publish(d, "attributes", wire_report(d->o.attribute, d->version), &d->report_mid);
}

static void on_batch_end(void *arg UNUSED)
{
}

int device_connect(struct device_sim *d, struct fail *f)
{
    char filter[160];
    const char *filters[] = {filter, NULL};
    const struct sim_broker *b = &d->o.broker;
    struct mqtt_options o = {
        .host = b->host,
        .port = b->port,
        .username = b->username,
        .password = b->password,
        .client_id = b->client_id ? b->client_id : b->username,
        .clean = true,
        .keepalive_s = 60,
        .version = 4,
        .filters = filters,
        .subscribe_qos = 1,
        .batch = 100,
        .batch_us = 5000,
        .on_message = on_message,
        .on_batch_end = on_batch_end,
        .on_state = on_state,
        .on_published = on_published,
        .arg = d,
    };

    (void)str_fmt(filter, sizeof(filter), "command_send/%s", b->username);
    int rc = mqtt_new(d->loop, &o, &d->mqtt, f);
    if (rc < 0)
        return rc;
    mqtt_connect(d->mqtt);
    return 0;
}

/* The next check, or the way down and up of a reboot in two steps: the connection goes away at
 * the first, while no callback of it runs. */
void device_next(void *arg)
{
    struct device_sim *d = (struct device_sim *)arg;
    struct fail why;

    if (d->step != STEP_REBOOT) {
        check(d);
        loop_timer_start(d->next, (uint64_t)d->o.interval_ms, 0);
        return;
    }
    mqtt_free(TAKE(d->mqtt));
    d->step = STEP_START;
    d->updated = true;
    if (device_connect(d, &why) < 0) {
        say(d, "cannot start again: %s", why.text);
        end(d, SIM_FAILED);
    }
}

void device_timeout(void *arg)
{
    struct device_sim *d = (struct device_sim *)arg;

    say(d, "gave up: nothing more came in time");
    end(d, SIM_FAILED);
}
