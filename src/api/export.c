/*
 * A list as a whole: `?format=csv` or `ndjson` on its route, or the same by the first type of
 * Accept. Rows are read page by page, each in a transaction of its own, while the client takes
 * them: so a slow client costs one buffer, pins nothing in the database, and sees rows as they are
 * when their page is read. CSV has the columns of the field table, but for the arrays of single
 * objects. A cell that a spreadsheet would take for a formula gets an apostrophe before it.
 */
#include "priv.h"

#include <inttypes.h>

enum { EXPORT_ROWS = 200, EXPORT_BYTES = 64 * 1024, ROW_MAX = 1024 * 1024 };

/* ---- what is wanted ---- */
static enum export_format by_accept(const char *accept)
{
    size_t n = accept ? strcspn(accept, ",; \t") : 0;

    if (n == strlen("text/csv") && strncasecmp(accept, "text/csv", n) == 0)
        return EXPORT_CSV;
    if (n == strlen("application/x-ndjson") && strncasecmp(accept, "application/x-ndjson", n) == 0)
        return EXPORT_NDJSON;
    return EXPORT_NONE;
}

int export_wanted(struct http_request *r, enum export_format *ret)
{
    const char *format = http_query(r, "format");

    http_add_header(r, "Vary", "Accept");
    if (!format)
        *ret = by_accept(http_header(r, "Accept"));
    else if (strcmp(format, "json") == 0)
        *ret = EXPORT_NONE;
    else if (strcmp(format, "csv") == 0)
        *ret = EXPORT_CSV;
    else if (strcmp(format, "ndjson") == 0)
        *ret = EXPORT_NDJSON;
    else {
        http_problem(r, 400, "invalid_parameter", NULL,
                     "The query parameter 'format' takes json, csv or ndjson.");
        return E_PROTO;
    }
    if (*ret == EXPORT_NONE ||
        !(http_query(r, "limit") || http_query(r, "after") || http_query(r, "total")))
        return 0;
    http_problem(r, 400, "invalid_parameter", NULL,
                 "An export is the whole list: it takes no 'limit', 'after' or 'total'.");
    return E_PROTO;
}

/* ---- CSV, RFC 4180 ---- */
static bool is_column(const struct json_field *f)
{
    return !(f->flags & JF_WRITE_ONLY) && f->kind != JK_ARRAY;
}

static void add_cell(struct sbuf *out, const char *text, size_t n, bool guard)
{
    bool formula = guard && n > 0 && strchr("=+-@\t\r", text[0]);
    bool quote = formula;

    for (size_t i = 0; i < n && !quote; i++)
        quote = strchr(",\"\r\n", text[i]) != NULL || text[i] == ' ';
    if (!quote) {
        sbuf_add(out, text, n);
        return;
    }
    sbuf_str(out, formula ? "\"'" : "\"");
    for (size_t i = 0; i < n; i++)
        sbuf_add(out, text[i] == '"' ? "\"\"" : &text[i], text[i] == '"' ? 2 : 1);
    sbuf_str(out, "\"");
}

static void add_list(struct sbuf *out, const json_t *list)
{
    struct sbuf joined = {.p = NULL};
    json_t *word;
    size_t i;

    json_array_foreach((json_t *)list, i, word)
    {
        sbuf_str(&joined, i ? "," : "");
        sbuf_str(&joined, json_string_value(word) ? json_string_value(word) : "");
    }
    if (joined.n)
        add_cell(out, joined.p, joined.n, true);
    sbuf_done(&joined);
}

static void add_value(struct sbuf *out, const json_t *v)
{
    if (json_is_string(v)) {
        add_cell(out, json_string_value(v), json_string_length(v), true);
    } else if (json_is_integer(v)) {
        sbuf_fmt(out, "%" PRId64, (int64_t)json_integer_value(v));
    } else if (json_is_boolean(v)) {
        sbuf_str(out, json_is_true(v) ? "true" : "false");
    } else if (json_is_array(v)) {
        add_list(out, v);
    } else if (json_is_object(v)) {
        AUTO(free) char *text = json_text(v);
        add_cell(out, text, strlen(text), false);
    }
}

static void add_header(struct sbuf *out, const struct table *t)
{
    bool more = false;

    for (size_t i = 0; i < t->n; i++) {
        if (!is_column(&t->fields[i]))
            continue;
        sbuf_str(out, more ? "," : "");
        sbuf_str(out, t->fields[i].name);
        more = true;
    }
    sbuf_str(out, "\r\n");
}

static int add_csv(struct sbuf *out, const struct table *t, const struct sbuf *row)
{
    enum json_fault fault;
    AUTO(json_free) json_t *o = json_parse(row->p, row->n, ROW_MAX, 64, &fault, NULL);
    bool more = false;

    if (!o)
        return E_DB;
    for (size_t i = 0; i < t->n; i++) {
        if (!is_column(&t->fields[i]))
            continue;
        sbuf_str(out, more ? "," : "");
        more = true;
        add_value(out, json_object_get(o, t->fields[i].name));
    }
    sbuf_str(out, "\r\n");
    return 0;
}

/* ---- the stream ---- */
int export_row(struct export *x, int64_t id)
{
    int rc = 0;

    if (x->format == EXPORT_CSV) {
        rc = add_csv(x->out, x->table, &x->row);
    } else {
        sbuf_add(x->out, x->row.p, x->row.n);
        sbuf_str(x->out, "\n");
    }
    x->row.n = 0;
    x->at = id;
    x->n++;
    return rc < 0 ? rc : x->out->n >= EXPORT_BYTES;
}

static int fill(void *arg, struct sbuf *out)
{
    struct export *x = arg;

    x->out = out;
    x->n = 0;
    if (!x->begun && x->format == EXPORT_CSV)
        add_header(out, x->table);
    x->begun = true;
    int rc = x->none ? 0 : x->page(x, EXPORT_ROWS);
    if (rc < 0)
        return rc;
    return rc > 0 || x->n == EXPORT_ROWS ? HTTP_STREAM_MORE : HTTP_STREAM_END;
}

static void done(void *arg)
{
    struct export *x = arg;

    sbuf_done(&x->row);
    arena_done(&x->a);
    free(x);
}

struct export *export_new(struct http_request *r, enum export_format format,
                          const struct table *table, int (*page)(struct export *x, int limit))
{
    const struct call *c = call_of(r);
    struct export *x = xcalloc(1, sizeof(*x));

    arena_init(&x->a);
    x->api = c->api;
    x->db = c->db; /* the thread's: it outlives every answer of the thread */
    x->format = format;
    x->table = table;
    x->page = page;
    return x;
}

void export_go(struct export *x, struct http_request *r, const char *name)
{
    bool csv = x->format == EXPORT_CSV;
    char text[96];

    (void)str_fmt(text, sizeof(text), "attachment; filename=\"%s.%s\"", name,
                  csv ? "csv" : "ndjson");
    http_add_header(r, "Content-Disposition", text);
    (void)http_reply_stream(
        r, 200,
        &(struct http_stream_source){.content_type =
                                         csv ? "text/csv; charset=utf-8" : "application/x-ndjson",
                                     .fill = fill,
                                     .arg = x,
                                     .free_fn = done});
}
