/* The groups of the campaign room's tests, and what they share. */
#pragma once

#include "audit.h"
#include "domain_fixture.h"
#include "update.h"

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
/* clang-format on */

/* A declaration (' for ") is refused, with this pointer and a sentence: test_define.c. */
void is_refused(const char *text, const char *pointer);

int test_query(void);
int test_scope(void);
int test_define(void);
int test_release(void);
int test_back(void);
int test_stop(void);
int test_fell(void);
int test_simulation(void);
int test_overlap(void);
int test_consent(void);
int test_floors(void);
int test_stats(void);

int test_push(void);
int test_finish(void);
int test_dry(void);

#define LIFETIME (48 * HOUR)

/* A campaign of the firmware, as a request declares it ('…' for quotes); started. */
static inline int64_t declare(struct domain *d, int64_t firmware, int64_t rollback,
                              const char *definition, const struct campaign_lists *lists)
{
    struct campaign_lists none = {.targets = {.n = 0}};
    char *text = arena_strdup(&d->a, definition);
    struct json_errors errs = {.count = 0};
    enum json_fault fault;

    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    AUTO(json_free) json_t *in = json_parse(text, strlen(text), SIZE_MAX, 16, &fault, NULL);
    assert_non_null(in);
    if (campaign_check(in, &errs) < 0)
        fail_msg("%s: %s", errs.list[0].pointer, errs.list[0].detail);
    struct campaign c = {.project_id = d->project,
                         .type_id = d->type.id,
                         .firmware_id = firmware,
                         .rollback_id = rollback,
                         .name = "c",
                         .definition = campaign_definition(in, &d->a),
                         .created_at = T0};
    MUST(campaign_insert(d->w, &c, lists ? lists : &none));
    domain_reload(d);
    return c.id;
}

static inline struct campaign_status status_of(struct domain *d, int64_t id)
{
    struct campaign_status s;
    struct campaign c;

    MUST(campaign_by_id(d->w, 0, id, &d->a, &c, &s));
    return s;
}
