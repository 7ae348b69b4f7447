/*
 * The words of a decision: for each reason its stable code, its parameters as JSON and a sentence
 * with the values that decided. Only explain and a dry run ask for them; no rule stands here.
 */
#include "update_priv.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const codes[REASON__COUNT] = {
    [REASON_ELIGIBLE] = "eligible",
    [REASON_BETTER_EXISTS] = "better_exists",
    [REASON_DEVICE_DISABLED] = "device_disabled",
    [REASON_QUARANTINED] = "quarantined",
    [REASON_VERSION_UNKNOWN] = "version_unknown",
    [REASON_FIRMWARE_DISABLED] = "firmware_disabled",
    [REASON_FILE_MISSING] = "file_missing",
    [REASON_NOT_IN_DEVICE_LIST] = "not_in_device_list",
    [REASON_DENIED] = "denied",
    [REASON_SOURCE_VERSION_MISMATCH] = "source_version_mismatch",
    [REASON_NOT_NEWER] = "not_newer",
    [REASON_FLOOR_FIRST] = "floor_first",
    [REASON_BELOW_FLOOR] = "below_floor",
    [REASON_HARDWARE_MISMATCH] = "hardware_mismatch",
    [REASON_BATTERY_LOW] = "battery_low",
    [REASON_SIGNAL_LOW] = "signal_low",
    [REASON_NO_SPACE] = "no_space",
    [REASON_CAMPAIGN_NOT_STARTED] = "campaign_not_started",
    [REASON_PHASE_NOT_OPEN] = "phase_not_open",
    [REASON_AWAITING_APPROVAL] = "awaiting_approval",
    [REASON_CONSENT_REFUSED] = "consent_refused",
    [REASON_AWAITING_CONSENT] = "awaiting_consent",
    [REASON_WINDOW_CLOSED] = "window_closed",
    [REASON_PACED] = "paced",
    [REASON_CAMPAIGN_PAUSED] = "campaign_paused",
    [REASON_CAMPAIGN_ENDED] = "campaign_ended",
    [REASON_ATTEMPTS_EXHAUSTED] = "attempts_exhausted",
    [REASON_BACKING_OFF] = "backing_off",
    [REASON_UPDATE_IN_PROGRESS] = "update_in_progress",
};

const char *reason_code(enum reason r)
{
    return codes[r];
}

/* Cut text is cut between characters, so that it stays UTF-8. */
static void trim_cut(char *s)
{
    size_t n = strlen(s), lead = n;

    while (lead > 0 && ((unsigned char)s[lead - 1] & 0xC0) == 0x80)
        lead--;
    if (lead == 0)
        return;
    unsigned char c = (unsigned char)s[lead - 1];
    size_t need = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
    if (n - lead < need)
        s[lead - 1] = '\0';
}

static void say(struct reason_row *r, const char *fmt, ...) PRINTF(2, 3);
static void say(struct reason_row *r, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(r->text, sizeof(r->text), fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof(r->text))
        trim_cut(r->text);
}

/* Takes the object. What does not fit is left out whole: the text says it too. */
static void params(struct reason_row *r, json_t *object)
{
    AUTO(json_free) json_t *taken = object;
    AUTO(free) char *text = taken ? json_text(taken) : NULL;

    if (!text || !str_copy(r->params, sizeof(r->params), text))
        (void)str_copy(r->params, sizeof(r->params), "{}");
}

static void value_text(const json_t *value, char ret[40])
{
    if (!value)
        (void)str_copy(ret, 40, "not reported");
    else if (!conditions_text(value, ret, 40) && (json_is_object(value) || json_is_array(value)))
        (void)str_copy(ret, 40, "no plain value");
    trim_cut(ret);
}

static json_t *value_param(const json_t *value)
{
    return json_is_number(value) || json_is_string(value) || json_is_boolean(value)
               ? json_deep_copy(value)
               : json_null();
}

static void explain_minimum(const struct decide_context *x, const struct firmware *fw,
                            struct reason_row *r)
{
    struct minimum m = conditions_minimum(x->facts, x->type, fw);
    char reported[40];

    value_text(m.reported, reported);
    params(r, json_pack("{s:o,s:I}", "reported", value_param(m.reported), "required",
                        (json_int_t)m.required));
    say(r, "%s must be at least %" PRId64 "; the device's is %s", m.attribute, m.required,
        reported);
}

static void explain_hardware(const struct decide_context *x, const struct firmware *fw,
                             struct reason_row *r)
{
    const char *name = conditions_hardware(x->facts, fw);
    const json_t *value = x->facts->attribute(x->facts->arg, name);
    char reported[40];

    value_text(value, reported);
    params(r, json_pack("{s:s,s:o}", "attribute", name, "reported", value_param(value)));
    say(r, "this hardware is not meant: %s is %s", name, reported);
}

static void explain_attempts(const struct decide_context *x, const struct verdict *v,
                             const struct firmware *fw, struct reason_row *r)
{
    const struct past_attempt *past = decide_past(x->facts, fw->id);
    int64_t attempts = past ? past->attempts : 0;
    char at[TIME_TEXT_MAX];

    if (v->reason == REASON_BACKING_OFF) {
        time_text(v->retry_at, at);
        params(r, json_pack("{s:s}", "retry_at", at));
        say(r, "the last attempt failed; the next one is not before %s", at);
    } else if (decide_canceled(x->facts, fw)) {
        params(r, json_pack("{s:b}", "canceled", 1));
        say(r, "an operator canceled it on this device within the last day");
    } else {
        params(r, json_pack("{s:I,s:I}", "attempts", (json_int_t)attempts, "allowed",
                            (json_int_t)x->type->attempts));
        say(r, "%" PRId64 " attempts failed within a day; %" PRId64 " are allowed", attempts,
            x->type->attempts);
    }
}

static void explain_quarantine(const struct device_quarantine *why, const char *until,
                               struct reason_row *r)
{
    if (!why->cause[0]) {
        params(r, json_pack("{s:s}", "until", until));
        say(r, "too many updates failed on this device; it rests until %s", until);
        return;
    }
    params(r, json_pack("{s:s,s:s}", "until", until, "cause", why->cause));
    say(r, "it rests until %s: %s", until, why->text);
}

static void explain_device(const struct decide_context *x, const struct verdict *v,
                           struct reason_row *r)
{
    char at[TIME_TEXT_MAX];

    if (v->reason == REASON_DEVICE_DISABLED) {
        say(r, "the device is disabled");
    } else if (v->reason == REASON_QUARANTINED) {
        time_text(v->retry_at, at);
        explain_quarantine(&x->facts->quarantine, at, r);
    } else {
        params(r, json_pack("{s:s}", "module", x->facts->module));
        say(r, "the device never reported the version of module %s", x->facts->module);
    }
}

static bool is_beside(const struct device_facts *facts, const struct active_update *u)
{
    return u >= facts->beside && u < facts->beside + facts->n_beside;
}

static void explain_busy(const struct decide_context *x, struct reason_row *r)
{
    const struct device_facts *facts = x->facts;
    const struct active_update *busy = decide_busy(x->catalog, facts, x->now);

    if (!busy)
        return;
    if (facts->n_beside > 0 && is_beside(facts, busy)) {
        int64_t n = decide_beside(facts, x->now, false),
                allowed = decide_parallel(x->catalog, facts);

        params(r, json_pack("{s:I,s:s,s:s,s:I,s:I}", "update", (json_int_t)busy->id, "module",
                            busy->module, "state", update_state_name(busy->state), "in_progress",
                            (json_int_t)n, "allowed", (json_int_t)allowed));
        say(r,
            "%" PRId64 " other devices behind its gateway are being updated (update %" PRId64
            " is %s); %" PRId64 " at a time",
            n, busy->id, update_state_name(busy->state), allowed);
        return;
    }
    params(r, json_pack("{s:I,s:s,s:s}", "update", (json_int_t)busy->id, "module", busy->module,
                        "state", update_state_name(busy->state)));
    say(r, "update %" PRId64 " of %s is %s", busy->id,
        busy->device_id == facts->device->id ? busy->module
        : facts->device->gateway_id          ? "its gateway"
                                             : "a device behind it",
        update_state_name(busy->state));
}

/* The floor, and whether it is what comes now: why not, its own row says. */
static void explain_floor(const struct decide_context *x, const struct verdict *v,
                          const struct firmware *fw, struct reason_row *r)
{
    bool first = v->reason == REASON_FLOOR_FIRST;
    const struct firmware *floor = first ? x->floor : floor_left(x, fw);

    params(r, json_pack("{s:I,s:s,s:s}", "floor", (json_int_t)floor->id, "version", floor->version,
                        "current", x->facts->version));
    if (first)
        say(r, "firmware %" PRId64 " (%s) must be passed first; the device runs %s", floor->id,
            floor->version, x->facts->version);
    else
        say(r,
            "it lies below %s (firmware %" PRId64 "), which must be passed; only a campaign that "
            "allows downgrades goes back there",
            floor->version, floor->id);
}

static void explain_source(const struct decide_context *x, const struct firmware *winner,
                           bool on_the_way, struct reason_row *r)
{
    const char *current = x->facts->version;

    if (!on_the_way) {
        params(r, json_pack("{s:s}", "current", current));
        say(r, "it upgrades only from listed versions, and %s is none of them", current);
        return;
    }
    params(r, json_pack("{s:s,s:s}", "current", current, "via", winner->version));
    say(r, "it upgrades only from listed versions; %s is none of them, and %s leads there", current,
        winner->version);
}

static void explain_firmware(const struct decide_context *x, const struct verdict *v,
                             const struct firmware *fw, const struct firmware *winner,
                             bool on_the_way, struct reason_row *r)
{
    const char *current = x->facts->version;

    switch (v->reason) {
    case REASON_ELIGIBLE:
        params(r, json_pack("{s:s}", "current", current));
        if (decide_order(x, fw) > 0)
            say(r, "%s follows %s", fw->version, current);
        else /* only a campaign lets a device go there */
            say(r, "the campaign takes it back from %s to %s", current, fw->version);
        break;
    case REASON_BETTER_EXISTS:
        params(r, json_pack("{s:I,s:s}", "firmware", (json_int_t)winner->id, "version",
                            winner->version));
        say(r, "firmware %" PRId64 " (%s) comes first%s", winner->id, winner->version,
            fw->rank > winner->rank ? ": from there the way leads further up" : "");
        break;
    case REASON_FIRMWARE_DISABLED:
        say(r, "the firmware is disabled");
        break;
    case REASON_FILE_MISSING:
        say(r, "bytes of the firmware are missing: upload the same file again");
        break;
    case REASON_NOT_IN_DEVICE_LIST:
        if (v->campaign) {
            govern_explain(x, v, r);
            break;
        }
        say(r, "the firmware is for %zu listed devices, and this is none of them", fw->devices.n);
        break;
    case REASON_DENIED:
        if (v->campaign) {
            govern_explain(x, v, r);
            break;
        }
        say(r, "the firmware's deny list holds the device");
        break;
    case REASON_SOURCE_VERSION_MISMATCH:
        explain_source(x, winner, on_the_way, r);
        break;
    case REASON_FLOOR_FIRST:
    case REASON_BELOW_FLOOR:
        explain_floor(x, v, fw, r);
        break;
    case REASON_NOT_NEWER:
        params(r, json_pack("{s:s}", "current", current));
        say(r, "%s is not newer than %s", fw->version, current);
        break;
    case REASON_HARDWARE_MISMATCH:
        explain_hardware(x, fw, r);
        break;
    case REASON_BATTERY_LOW:
    case REASON_SIGNAL_LOW:
    case REASON_NO_SPACE:
        explain_minimum(x, fw, r);
        break;
    case REASON_CAMPAIGN_NOT_STARTED:
        if (!v->campaign)
            say(r, "it is released by campaign only, and none is running");
        else
            govern_explain(x, v, r);
        break;
    case REASON_PHASE_NOT_OPEN:
    case REASON_AWAITING_APPROVAL:
    case REASON_CONSENT_REFUSED:
    case REASON_AWAITING_CONSENT:
    case REASON_WINDOW_CLOSED:
    case REASON_PACED:
    case REASON_CAMPAIGN_PAUSED:
    case REASON_CAMPAIGN_ENDED:
        govern_explain(x, v, r);
        break;
    case REASON_ATTEMPTS_EXHAUSTED:
    case REASON_BACKING_OFF:
        explain_attempts(x, v, fw, r);
        break;
    case REASON_UPDATE_IN_PROGRESS:
        explain_busy(x, r);
        break;
    case REASON_DEVICE_DISABLED:
    case REASON_QUARANTINED:
    case REASON_VERSION_UNKNOWN:
    case REASON__COUNT:
        break;
    }
}

void explain_row(const struct decide_context *x, const struct verdict *v, const struct firmware *fw,
                 const struct firmware *winner, bool on_the_way, struct reason_row *ret)
{
    *ret = (struct reason_row){.firmware = fw, .reason = v->reason, .params = "{}"};
    if (fw)
        explain_firmware(x, v, fw, winner, on_the_way, ret);
    else
        explain_device(x, v, ret);
}
