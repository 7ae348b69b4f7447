/*
 * What a firmware asks of the device beside its version: hardware (rule 8) and enough battery,
 * signal and space (rule 9), all from what the device last reported. Pure.
 */
#include "update_priv.h"

#include <inttypes.h>
#include <math.h>

bool conditions_text(const json_t *value, char *ret, size_t cap)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return str_copy(ret, cap, json_string_value(value));
    case JSON_INTEGER:
        return str_fmt(ret, cap, "%" PRId64, (int64_t)json_integer_value(value));
    case JSON_REAL:
        return str_fmt(ret, cap, "%.17g", json_real_value(value));
    case JSON_TRUE:
        return str_copy(ret, cap, "true");
    case JSON_FALSE:
        return str_copy(ret, cap, "false");
    case JSON_OBJECT:
    case JSON_ARRAY:
    case JSON_NULL:
        return false;
    }
    return false;
}

/* Scalars are equal as numbers (1 and 1.0) or as text ("1" and 1). */
static bool scalar_equal(const json_t *a, const json_t *b)
{
    char x[256], y[256];

    if (json_is_string(a) && json_is_string(b))
        return strcmp(json_string_value(a), json_string_value(b)) == 0;
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    if (json_is_number(a) && json_is_number(b))
        return !(json_number_value(a) < json_number_value(b)) &&
               !(json_number_value(a) > json_number_value(b));
    return conditions_text(a, x, sizeof(x)) && conditions_text(b, y, sizeof(y)) &&
           strcmp(x, y) == 0;
}

static bool matches(const json_t *reported, const json_t *wanted)
{
    if (!reported)
        return false;
    if (!json_is_array(wanted))
        return scalar_equal(reported, wanted);
    for (size_t i = 0; i < json_array_size(wanted); i++)
        if (scalar_equal(reported, json_array_get(wanted, i)))
            return true;
    return false;
}

const char *conditions_hardware(const struct device_facts *facts, const struct firmware *fw)
{
    /* The snapshot is shared between threads: only what reads without counting references. */
    for (void *it = json_object_iter(fw->hardware); it;
         it = json_object_iter_next(fw->hardware, it)) {
        const char *name = json_object_iter_key(it);

        if (!matches(facts->attribute(facts->arg, name), json_object_iter_value(it)))
            return name;
    }
    return NULL;
}

bool conditions_elsewhere(const struct device_facts *facts, const struct firmware *fw)
{
    for (void *it = json_object_iter(fw->hardware); it;
         it = json_object_iter_next(fw->hardware, it)) {
        const json_t *reported = facts->attribute(facts->arg, json_object_iter_key(it));

        if (reported && !json_is_null(reported) && !matches(reported, json_object_iter_value(it)))
            return true;
    }
    return false;
}

static bool at_least(const json_t *reported, int64_t required)
{
    int64_t whole;

    if (json_is_integer(reported))
        return json_integer_value(reported) >= required;
    if (json_is_real(reported))
        return json_real_value(reported) >= (double)required;
    if (!json_is_string(reported))
        return false;
    if (num_parse(json_string_value(reported), INT64_MIN, INT64_MAX, &whole) == 0)
        return whole >= required;
    char *end;
    double v = strtod(json_string_value(reported), &end);
    return end != json_string_value(reported) && *end == '\0' && isfinite(v) &&
           v >= (double)required;
}

struct minimum conditions_minimum(const struct device_facts *facts, const struct device_type *type,
                                  const struct firmware *fw)
{
    const struct {
        bool set;
        struct minimum m;
    } all[] = {
        {fw->has_min_battery, {REASON_BATTERY_LOW, type->battery_attribute, NULL, fw->min_battery}},
        {fw->has_min_signal, {REASON_SIGNAL_LOW, type->signal_attribute, NULL, fw->min_signal}},
        {fw->has_min_free_space,
         {REASON_NO_SPACE, type->space_attribute, NULL, fw->min_free_space}},
    };

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct minimum m = all[i].m;

        if (!all[i].set)
            continue;
        m.reported = facts->attribute(facts->arg, m.attribute);
        if (!at_least(m.reported, m.required)) /* nor is what was not reported */
            return m;
    }
    return (struct minimum){.reason = REASON_ELIGIBLE};
}
