/* Fuzz target: a query over attributes. What is taken answers for any device; what is not is told
 * with its place. */
#include "campaign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const json_t *attribute(void *arg, const char *name)
{
    return json_object_get(arg, name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct campaign_query *q;
    struct fail f = {.rc = 0};
    char text[2000];
    struct arena a;

    if (size >= sizeof(text) || memchr(data, 0, size))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    arena_init(&a);
    if (campaign_query_parse(text, &a, &q, &f) == 0) {
        AUTO(json_free) json_t *device = json_pack("{s:i,s:s,s:b}", "a", 1, "b", "v1.2", "c", 1);
        (void)campaign_query_matches(q, attribute, device);
    } else if (!f.text[0]) {
        abort();
    }
    arena_done(&a);
    return 0;
}
