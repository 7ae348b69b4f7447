/* Actions of tasks: from JSON by field tables. */
#include "task_priv.h"

#include <stdio.h>

#define KINDS "ota_push|command_send|attributes_push"
#define KIND_ROW                                                                                   \
    {                                                                                              \
        "kind", JK_ENUM, JF_REQUIRED, 0, 0, KINDS, NULL, "What is done."                           \
    }

static const struct json_field ota_fields[] = {
    KIND_ROW,
    {"version_attribute", JK_STRING, 0, 1, 64, NULL, "version",
     "The reported attribute that carries the module's version."},
    {"module", JK_KEY, 0, 1, MODULE_MAX, NULL, "main", "The module that is upgraded."},
};
static const struct json_field command_fields[] = {
    KIND_ROW,
    {"method", JK_STRING, JF_REQUIRED, 1, 64, NULL, NULL, "Name of the command."},
    {"params", JK_OBJECT, 0, 0, 0, NULL, "{}", "Its parameters."},
};
static const struct json_field attributes_fields[] = {
    KIND_ROW,
    {"attributes", JK_OBJECT, JF_REQUIRED, 0, 0, NULL, NULL, "Names and values."},
};

static const struct {
    const char *name;
    const struct json_field *fields;
    size_t n;
} kinds[] = {
    [TASK_OTA_PUSH] = {"ota_push", ota_fields, ARRAY_LEN(ota_fields)},
    [TASK_COMMAND_SEND] = {"command_send", command_fields, ARRAY_LEN(command_fields)},
    [TASK_ATTRIBUTES_PUSH] = {"attributes_push", attributes_fields, ARRAY_LEN(attributes_fields)},
};

const char *task_action_name(enum task_action a)
{
    return kinds[a].name;
}

int action_parse(const json_t *in, const char *at, struct action *ret, struct json_errors *errs)
{
    const char *name = json_get_str(in, "kind", NULL);
    size_t kind = 0;

    *ret = (struct action){.kind = TASK_OTA_PUSH};
    while (kind < TASK_ACTION__COUNT && (!name || strcmp(kinds[kind].name, name) != 0))
        kind++;
    if (kind == TASK_ACTION__COUNT) {
        char pointer[64];
        (void)str_fmt(pointer, sizeof(pointer), "%s/kind", at);
        json_error_add(errs, pointer, name ? "not_allowed" : "required",
                       "kind must be one of " KINDS);
        return E_PROTO;
    }
    int rc = check_object(in, at, kinds[kind].fields, kinds[kind].n, errs);
    if (rc < 0)
        return rc;
    ret->kind = (enum task_action)kind;
    ret->module = json_get_str(in, "module", "main");
    ret->attribute = json_get_str(in, "version_attribute", "version");
    ret->method = json_get_str(in, "method", NULL);
    ret->params = json_object_get(in, "params");
    ret->attributes = json_object_get(in, "attributes");
    return 0;
}

int action_load(const char *text, struct action *ret)
{
    struct json_errors errs = {.count = 0};
    enum json_fault fault;
    json_t *root = json_parse(text, strlen(text), 1 << 20, 32, &fault, NULL);
    int rc = root ? action_parse(root, "/action", ret, &errs) : E_DB;

    if (rc < 0) {
        json_decref(root);
        return rc;
    }
    ret->root = root;
    return 0;
}

void action_done(struct action *a)
{
    json_decref(a->root);
    a->root = NULL;
}
