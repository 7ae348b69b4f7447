/*
 * The table of items as people read it: the sample file config/otad.toml, and the rows of
 * otad.toml(5). Both are generated, so neither can disagree with what is parsed.
 */
#include "conf.h"
#include "item.h"

#define WIDTH 92

/* Text as comment lines of at most WIDTH columns. */
static void print_comment(FILE *out, const char *text)
{
    size_t column = 0;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        if (column > 0 && column + 1 + n > WIDTH) {
            (void)fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column ? " " : "# ", (int)n, p);
        p += n + (p[n] == ' ');
    }
    (void)fputc('\n', out);
}

static void print_range(FILE *out, const struct item *item)
{
    const char *words = item_words(item);
    if (item->kind == ITEM_INT)
        (void)fprintf(out, "# From %lld to %lld.\n", (long long)item->min, (long long)item->max);
    for (const char *p = words; p && *p;) {
        size_t n = strcspn(p, "|");
        (void)fprintf(out, "%s%.*s", p == words ? "# One of: " : ", ", (int)n, p);
        p += n + (p[n] == '|');
        if (!*p)
            (void)fputs(".\n", out);
    }
}

void conf_print_sample(FILE *out)
{
    const char *section = "";
    (void)fputs(
        "# otad configuration; see otad.toml(5). Every value below is the default.\n"
        "#\n"
        "# Each key can also be given as an environment variable OTAD_<SECTION>_<KEY>, such\n"
        "# as OTAD_HTTP_LISTEN or OTAD_DATA_DIR; it then wins over this file. Secrets can\n"
        "# also come from a file: OTAD_MQTT_PASSWORD_FILE, OTAD_ADMIN_TOKEN_FILE, or the\n"
        "# systemd credentials mqtt_password and admin_token.\n",
        out);
    for (size_t i = 0; i < conf_item_count; i++) {
        const struct item *item = &conf_items[i];
        if (item->env_only)
            continue;
        if (strcmp(section, item->section) != 0) {
            section = item->section;
            (void)fprintf(out, "\n[%s]\n", section);
        } else {
            (void)fputc('\n', out);
        }
        print_comment(out, item->help);
        print_range(out, item);
        if (item->kind == ITEM_NETS) {
            (void)fprintf(out, "%s = [%s]\n", item->key, item->initial);
            continue;
        }
        const char *quote = item->kind == ITEM_INT ? "" : "\"";
        (void)fprintf(out, "%s = %s%s%s\n", item->key, quote, item->initial, quote);
    }
}

/* Text for roff: what would be read as an escape, a request or a foreign character is escaped. */
static void print_roff(FILE *out, const char *text)
{
    size_t n = strlen(text);
    if (*text == '.' || *text == '\'')
        (void)fputs("\\&", out);
    while (n > 0) {
        size_t k = str_utf8(text, n);
        unsigned char c = (unsigned char)*text;
        if (c == '\\')
            (void)fputs("\\e", out);
        else if (c == '"')
            (void)fputs("\\(dq", out);
        else if (c == '-')
            (void)fputs("\\-", out);
        else if (k == 3)
            (void)fprintf(out, "\\[u%04X]",
                          (unsigned)((c & 15) << 12 | (text[1] & 63) << 6 | (text[2] & 63)));
        else
            (void)fwrite(text, 1, k, out);
        text += k;
        n -= k;
    }
}

static void print_man_kind(FILE *out, const struct item *item)
{
    const char *words = item_words(item);
    if (item->kind == ITEM_INT)
        (void)fprintf(out, "number, %lld to %lld", (long long)item->min, (long long)item->max);
    for (const char *p = words; p && *p;) {
        size_t n = strcspn(p, "|");
        (void)fprintf(out, "%s%.*s", p == words ? "" : " or ", (int)n, p);
        p += n + (p[n] == '|');
    }
    if (item->kind == ITEM_STRING)
        (void)fputs("text", out);
    if (item->kind == ITEM_NETS)
        (void)fputs("list of text; with commas in the environment", out);
}

void conf_print_man_items(FILE *out)
{
    for (size_t i = 0; i < conf_item_count; i++) {
        const struct item *item = &conf_items[i];
        char env[64];
        item_env_name(item, env);
        (void)fprintf(out, ".It Sy \"");
        if (item->env_only)
            (void)fprintf(out, "%s", env);
        else
            (void)fprintf(out, "%s%s%s", item->section, *item->section ? "." : "", item->key);
        (void)fprintf(out, "\" Pq \"");
        print_man_kind(out, item);
        (void)fprintf(out, "\"\n");
        print_roff(out, item->help);
        (void)fputc('\n', out);
        if (*item->initial) {
            (void)fputs("Default:\n.Ql \"", out);
            print_roff(out, item->initial);
            (void)fputs("\" .\n", out);
        }
        if (!item->env_only)
            (void)fprintf(out, "Environment:\n.Ev %s .\n", env);
        if (item->rule == RULE_SECRET)
            (void)fprintf(out, "From a file:\n.Ev %s_FILE .\n", env);
    }
}
