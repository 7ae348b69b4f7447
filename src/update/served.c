/*
 * What downloads say of an update. Many devices never send progress: the bytes that left through
 * an update's own links are then all there is to know. First bytes: downloading; all bytes:
 * downloaded; from the start again after that: downloading once more. What leaves again and again
 * without getting on is an attempt that failed, before it eats up somebody's data plan.
 */
#include "update_priv.h"

#include <inttypes.h>

#define AGAIN_TIMES 10 /* so many times its size may leave again within an attempt */

/* The bytes, clamped to the file's size; how many of them are new. */
static uint64_t cover(const struct firmware *fw, struct update *u, int file_no, uint64_t from,
                      uint64_t to, struct arena *a)
{
    struct coverage c;
    uint64_t size = fw->files[file_no - 1].digests.size, before, after;

    coverage_read(&c, u->coverage);
    before = coverage_bytes(&c);
    if (!coverage_add(&c, file_no, from, to < size ? to : size))
        return 0;
    after = coverage_bytes(&c);
    u->coverage = coverage_text(&c, a);
    u->bytes_served = (int64_t)after;
    return after > before ? after - before : 1;
}

/* Adds up what left before, of this attempt: the sum, or an error, below 0. */
static int64_t count_again(struct db *w, const struct update *u, uint64_t bytes)
{
    AUTO(db_reset) struct db_stmt *q = db_use(w, Q_UPDATE_AGAIN);

    db_bind_int(q, 1, u->id);
    db_bind_int(q, 2, (int64_t)bytes);
    int rc = db_row(q);
    return rc < 0 ? rc : db_int(q, 0);
}

static const char again_and_again[] =
    "the same bytes were fetched again and again, ten times its size without getting on";
static const char first_bytes[] = "first bytes were fetched";
static const char from_the_start[] = "the device downloads it from the start again";

static int move_to_the_start(struct db *w, const struct device_type *type, struct update *u,
                             const char *words, int64_t now)
{
    u->coverage = "";
    u->percent = 0;
    return life_move(w, type, u, UPDATE_DOWNLOADING, "download", words, now);
}

/* It was fetched, and is not what runs. */
static int fail_again(struct db *w, const struct device_type *type, const struct device *d,
                      struct update *u, int64_t now, struct arena *a)
{
    bool quarantined;
    int rc = life_count_failure(w, type, d, now, &quarantined);

    if (rc < 0)
        return rc;
    if (u->attempt >= type->attempts || quarantined)
        return life_move(w, type, u, UPDATE_FAILED, "download", "downloaded again and again", now);
    const char *words =
        arena_printf(a, "attempt %" PRId64 " failed: %s", u->attempt, from_the_start);
    u->attempt++;
    return move_to_the_start(w, type, u, words, now);
}

/* The device threw away what it had fetched: the attempt failed, whether it says so or not. Or it
 * never had it: it broke off what a proxy had taken for it. So once in an attempt it is no failure.
 * A delta may not fit; it gets no second try, as the full image is the way out. */
static int begin_again(struct db *w, const struct device_type *type, const struct device *d,
                       const struct firmware *fw, struct update *u, int64_t now, struct arena *a)
{
    int64_t sum = count_again(w, u, (uint64_t)u->bytes_served);

    if (sum < 0)
        return (int)sum;
    if (fw->n_sources > 0 || sum >= 2 * u->bytes_total)
        return fail_again(w, type, d, u, now, a);
    return move_to_the_start(w, type, u, from_the_start, now);
}

/* All in one go: history tells both steps, the row is stored once, with the second. */
static int pass_downloading(struct db *w, struct update *u, const char *words, int64_t now)
{
    const char *from = update_state_name(u->state);

    u->state = UPDATE_DOWNLOADING;
    int rc = u->campaign_id
                 ? campaign_moved(w, u->campaign_id, u->phase, u->device_id, from,
                                  update_state_name(UPDATE_DOWNLOADING), CAMPAIGN_END_NONE, now)
                 : 0;
    return rc < 0 ? rc : life_record(w, u, from, "download", words, now);
}

/* From here on the device is at it, whether its user said so or not. */
static int begins(struct db *w, const struct catalog *c, const struct device_type *type,
                  struct update *u, bool all, int64_t now, struct arena *a)
{
    struct consent_word word = {.to = UPDATE_DOWNLOADING, .words = first_bytes, .arena = a};
    int rc = consent_hear(&word, w, c, u, now);

    if (rc == 0)
        rc = all ? pass_downloading(w, u, word.words, now)
                 : life_move(w, type, u, UPDATE_DOWNLOADING, "download", word.words, now);
    return rc < 0 ? rc : consent_heard(&word, w, u, now);
}

static int note_bytes(struct db *w, const struct catalog *c, const struct device_type *type,
                      struct update *u, int64_t now, struct arena *a)
{
    bool all = u->bytes_served >= u->bytes_total;
    int rc = 0;

    u->suspect = false;
    if (u->state == UPDATE_OFFERED || u->state == UPDATE_DEFERRED || u->state == UPDATE_ACCEPTED)
        rc = begins(w, c, type, u, all, now, a);
    if (rc == 0 && all && u->state == UPDATE_DOWNLOADING)
        return life_move(w, type, u, UPDATE_DOWNLOADED, "download", "all bytes were fetched", now);
    if (rc < 0)
        return rc;
    u->updated_at = now;
    return update_store_progress(w, u);
}

int update_served(struct db *w, const struct catalog *c, int64_t update_id, int file_no,
                  uint64_t from, uint64_t to, uint64_t sent, bool starts, int64_t now,
                  struct arena *a)
{
    const struct device_type *type;
    struct device_type own;
    const struct firmware *fw;
    struct device d = {0};
    struct update u = {0};
    int rc = update_by_id(w, update_id, a, &u);

    if (rc < 0)
        return rc;
    fw = catalog_firmware(c, u.firmware_id);
    if (update_is_final(u.state) || u.state == UPDATE_PLANNED || !fw)
        return 0;
    if (file_no < 1 || (size_t)file_no > fw->n_files || from >= to)
        return 0;
    rc = device_by_id(w, u.device_id, a, &d);
    if (rc < 0)
        return rc;
    type = life_rules(c, decide_type(c, &d), &u, &own);
    if (u.state == UPDATE_DOWNLOADED && starts) {
        rc = begin_again(w, type, &d, fw, &u, now, a);
        if (rc < 0 || u.state != UPDATE_DOWNLOADING)
            return rc;
    }
    uint64_t fresh = cover(fw, &u, file_no, from, to, a);
    if (sent > fresh) {
        int64_t sum = count_again(w, &u, sent - fresh);
        u.said = ""; /* should that end the attempt: no word of the device's does */
        if (sum < 0)
            return (int)sum;
        if (sum / AGAIN_TIMES > u.bytes_total)
            return life_fail_attempt(w, type, &d, &u, "download", again_and_again, now, a);
    }
    if (rc == 0 && fresh > 0 && u.campaign_id)
        rc = campaign_served(w, u.campaign_id, u.phase, (int64_t)fresh, now);
    if (rc < 0 || fresh == 0)
        return rc;
    if (u.bytes_total > 0 && u.state < UPDATE_DOWNLOADED) {
        int64_t percent = (int64_t)((double)u.bytes_served * 100 / (double)u.bytes_total);

        u.percent = percent > 100 ? 100 : percent;
    }
    return note_bytes(w, c, type, &u, now, a);
}
