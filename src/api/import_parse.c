/*
 * Reads CSV (RFC 4180, with a header row) and NDJSON as they stream in. A CSV record becomes the
 * same JSON object that an NDJSON line is, so both are checked by the same field table.
 */
#include "import.h"

void import_parser_init(struct import_parser *p, bool csv)
{
    *p = (struct import_parser){.csv = csv};
}

void import_parser_done(struct import_parser *p)
{
    sbuf_done(&p->text);
}

static int broken(struct import_parser *p, const char *code, const char *detail)
{
    int rc = p->record(p->arg, ++p->row, NULL, code, detail);
    return rc < 0 ? rc : E_PROTO;
}

/* ---- CSV ---- */
static const struct json_field *column(const char *name)
{
    for (size_t i = 0; i < device_table.n; i++)
        if (strcmp(device_table.fields[i].name, name) == 0)
            return &device_table.fields[i];
    return NULL;
}

/* Says which there are: who writes the first row knows no other place that lists them. */
static int unknown_column(struct import_parser *p, const char *name)
{
    const char *hint = strchr(name, ';') ? "; a comma parts columns, not a semicolon" : "";
    struct sbuf text = {0};

    if (!str_is_text(name, strlen(name)) || strlen(name) > 64)
        name = "?";
    sbuf_fmt(&text, "The column '%s' is not known%s. There are", name, hint);
    for (size_t i = 0, n = 0; i < device_table.n; i++)
        if (!(device_table.fields[i].flags & JF_READ_ONLY))
            sbuf_fmt(&text, "%s %s", n++ ? "," : "", device_table.fields[i].name);
    sbuf_str(&text, ".");
    int rc = p->bad_header(p->arg, "unknown_column", text.p);
    sbuf_done(&text);
    return rc;
}

static int take_header(struct import_parser *p)
{
    bool key = false, type = false;

    for (size_t i = 0; i < p->n_fields; i++) {
        const char *name = p->text.p + p->field_at[i];
        const struct json_field *f = column(name);
        if (!f || (f->flags & JF_READ_ONLY))
            return unknown_column(p, name);
        for (size_t k = 0; k < i; k++)
            if (p->columns[k] == f)
                return p->bad_header(p->arg, "duplicate_column", "A column stands twice.");
        p->columns[i] = f;
        key |= strcmp(name, "key") == 0;
        type |= strcmp(name, "device_type") == 0;
    }
    if (!key || !type)
        return p->bad_header(p->arg, "missing_column",
                             "The first row must name the columns, key and device_type among "
                             "them.");
    p->n_columns = p->n_fields;
    p->header_read = true;
    return 0;
}

static json_t *tags_of(const char *text)
{
    json_t *list = json_array();
    while (*text) {
        size_t n = strcspn(text, ";,");
        if (n)
            json_array_append_new(list, json_stringn(text, n));
        text += n + (text[n] != 0);
    }
    return list;
}

/* NULL when it is no UTF-8 or no boolean. */
static json_t *cell(const struct json_field *f, const char *text)
{
    if (f->kind == JK_STRINGS)
        return tags_of(text);
    if (f->kind != JK_BOOL)
        return json_string(text);
    if (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0)
        return json_true();
    if (strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0)
        return json_false();
    return NULL;
}

static int bad_cell(struct import_parser *p, uint64_t row, const char *column, bool clean)
{
    char text[120];

    (void)str_fmt(text, sizeof(text), "The cell of '%s' %s", column,
                  clean ? "takes true or false." : "is not UTF-8, or holds control characters.");
    return p->record(p->arg, row, NULL, "invalid", text);
}

static int take_record(struct import_parser *p)
{
    uint64_t row = ++p->row;
    if (p->n_fields != p->n_columns)
        return p->record(p->arg, row, NULL, "wrong_columns",
                         "This row has more or fewer cells than the first one names columns.");
    AUTO(json_free) json_t *in = json_object();
    for (size_t i = 0; i < p->n_fields; i++) {
        const char *text = p->text.p + p->field_at[i];
        if (!*text)
            continue; /* an empty cell says nothing */
        bool clean = str_is_text(text, strlen(text));
        json_t *v = clean ? cell(p->columns[i], text) : NULL;
        if (!v)
            return bad_cell(p, row, p->columns[i]->name, clean);
        json_object_set_new(in, p->columns[i]->name, v);
    }
    return p->record(p->arg, row, in, NULL, NULL);
}

static int end_field(struct import_parser *p)
{
    sbuf_add(&p->text, "", 1);
    p->state = CSV_START;
    if (++p->n_fields > IMPORT_COLUMNS_MAX)
        return broken(p, "malformed", "This row has too many cells.");
    p->field_at[p->n_fields] = p->text.n;
    return 0;
}

static int end_record(struct import_parser *p)
{
    int rc = 0;
    bool blank = p->n_fields == 0 && p->text.n == 0 && !p->any;

    if (!blank) {
        rc = end_field(p);
        if (rc == 0)
            rc = p->header_read ? take_record(p) : take_header(p);
    }
    p->text.n = p->n_fields = 0;
    p->field_at[0] = 0;
    p->any = false;
    p->state = CSV_START;
    return rc;
}

static int csv_byte(struct import_parser *p, char c)
{
    bool skip = p->skip_lf && c == '\n';
    p->skip_lf = false;
    if (skip)
        return 0;
    if (c == '\0')
        return broken(p, "malformed", "This row holds a NUL.");
    if (p->state == CSV_QUOTED) {
        if (c == '"')
            p->state = CSV_QUOTE;
        else
            sbuf_add(&p->text, &c, 1);
        return 0;
    }
    if (c == '"') {
        if (p->state == CSV_PLAIN)
            return broken(p, "malformed", "A quote stands inside a cell that is not quoted.");
        if (p->state == CSV_QUOTE)
            sbuf_add(&p->text, &c, 1);
        p->state = CSV_QUOTED;
        p->any = true;
        return 0;
    }
    if (c == ',') {
        p->any = true;
        return end_field(p);
    }
    if (c == '\r' || c == '\n') {
        p->skip_lf = c == '\r';
        return end_record(p);
    }
    if (p->state == CSV_QUOTE)
        return broken(p, "malformed", "Something follows the closing quote of a cell.");
    p->state = CSV_PLAIN;
    p->any = true;
    sbuf_add(&p->text, &c, 1);
    return 0;
}

/* ---- NDJSON ---- */
static int take_line(struct import_parser *p)
{
    struct fail where = {.rc = 0};
    enum json_fault fault;
    size_t n = p->text.n;
    int rc;

    while (n > 0 && strchr(" \t\r", p->text.p[n - 1]))
        n--;
    p->text.n = 0;
    if (n == 0)
        return 0;
    AUTO(json_free) json_t *in = json_parse(p->text.p, n, IMPORT_LINE_MAX, 8, &fault, &where);
    if (json_is_object(in))
        rc = p->record(p->arg, ++p->row, in, NULL, NULL);
    else
        rc = p->record(p->arg, ++p->row, NULL, "malformed",
                       in ? "This line is no JSON object." : where.text);
    return rc;
}

static int json_bytes(struct import_parser *p, const char *data, size_t n, size_t *used)
{
    const char *end = memchr(data, '\n', n);
    size_t k = end ? (size_t)(end - data) : n;

    *used = k + (end != NULL);
    if (p->text.n + k > IMPORT_LINE_MAX)
        return broken(p, "too_long", "A line is longer than 65536 bytes.");
    sbuf_add(&p->text, data, k);
    return end ? take_line(p) : 0;
}

/* ---- both ---- */
static bool is_bom(struct import_parser *p, char c)
{
    static const char bom[] = "\xef\xbb\xbf";
    if (p->bom < 3 && c == bom[p->bom]) {
        p->bom++;
        return true;
    }
    p->bom = 3;
    return false;
}

int import_parse(struct import_parser *p, const char *data, size_t n)
{
    size_t i = 0, used;
    int rc = 0;

    while (i < n && p->bom < 3 && is_bom(p, data[i]))
        i++;
    while (i < n && rc == 0) {
        if (!p->csv) {
            rc = json_bytes(p, data + i, n - i, &used);
            i += used;
            continue;
        }
        if (p->text.n > IMPORT_LINE_MAX)
            return broken(p, "too_long", "A row is longer than 65536 bytes.");
        rc = csv_byte(p, data[i++]);
    }
    return rc;
}

int import_parse_end(struct import_parser *p)
{
    if (!p->csv)
        return p->text.n ? take_line(p) : 0;
    if (p->state == CSV_QUOTED)
        return broken(p, "malformed", "The last cell's quote is not closed.");
    int rc = end_record(p);
    if (rc == 0 && !p->header_read)
        rc = p->bad_header(p->arg, "missing_column", "The first row must name the columns.");
    return rc;
}
