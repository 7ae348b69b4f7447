/* What check.c and schema.c share: the bounds that hold for a field. */
#pragma once

#include "json.h"

#define KEY_MAX      64
#define TEXT_MAX     16384
#define ELEMENTS_MAX 1000
#define ELEMENT_MAX  65535

/* The field's own bounds, or those of its kind when both are 0. */
void field_bounds(const struct json_field *f, int64_t *ret_min, int64_t *ret_max);
